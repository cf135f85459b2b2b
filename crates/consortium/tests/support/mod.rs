//! What the tests share: members by name, and a consortium that reads one entry after another.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use bletchley_consortium::{
    Action, ConsortiumHistory, Genesis, LedgerKind, LedgerSpec, Member, NAMESPACE, Outcome, Parameters,
    Record, Refusal, Rule, Statement, Status,
};
use bletchley_primitives::{Address, B256, Height, keccak256};

/// Four founders: three of them validate.
pub const FOUNDERS: [&str; 4] = ["bank-a", "bank-b", "maker", "regulator"];

pub fn address(what: &str) -> Address {
    Address::from_word(keccak256(what))
}

pub fn member(name: &str) -> Member {
    Member {
        name: name.to_owned(),
        peer: keccak256(format!("{name}/peer")),
        validator: address(&format!("{name}/validator")),
        administrator: address(&format!("{name}/administrator")),
        host: address(&format!("{name}/host")),
        endpoint: format!("{name}.example:30300"),
        is_validator: name != "regulator",
    }
}

pub fn ledger(name: &str, kind: LedgerKind, chain_id: u64, members: &[&str]) -> LedgerSpec {
    LedgerSpec {
        name: name.to_owned(),
        kind,
        engine: "simplex".to_owned(),
        chain_id,
        epoch_blocks: 300,
        block_ms: 100,
        heartbeat_ms: 20_000,
        members: members.iter().map(|name| (*name).to_owned()).collect(),
    }
}

pub fn genesis() -> Genesis {
    Genesis {
        members: FOUNDERS.map(member).to_vec(),
        parameters: Parameters { proposal_blocks: 10, rule: Rule::Majority },
        ledgers: vec![
            ledger("tokens", LedgerKind::Utxo, 0, &[]),
            ledger("evm", LedgerKind::Evm, 201_606, &[]),
        ],
    }
}

pub struct World {
    pub history: ConsortiumHistory,
    pub height: u64,
}

impl Default for World {
    fn default() -> Self {
        Self { history: ConsortiumHistory::new(&genesis()).unwrap(), height: 0 }
    }
}

impl World {
    /// A block with one entry.
    pub fn say(&mut self, author: Address, payload: &[u8]) -> Outcome {
        self.height += 1;
        let height = Height(self.height);
        let record = Record { namespace: NAMESPACE, name: "entry", payload, author, height, position: 0 };
        let outcome = self.history.apply(&record);
        self.history.advance(height);
        outcome
    }

    pub fn state(&mut self, member: &str, statement: &Statement) -> Outcome {
        self.say(address(&format!("{member}/administrator")), &statement.encode())
    }

    pub fn propose(&mut self, member: &str, actions: &[Action]) -> Outcome {
        self.state(member, &Statement::Propose { actions: actions.to_vec(), note: String::new() })
    }

    /// Number of a proposal that is open now.
    pub fn opened(&mut self, member: &str, actions: &[Action]) -> u64 {
        match self.propose(member, actions) {
            Outcome::Taken { proposal, status: Status::Open } => proposal,
            other => panic!("{other:?}"),
        }
    }

    pub fn digest(&self, proposal: u64) -> B256 {
        self.history.now().proposal(proposal).map_or(B256::ZERO, |found| found.digest)
    }

    pub fn vote(&mut self, member: &str, proposal: u64, yes: bool) -> Outcome {
        let digest = self.digest(proposal);
        self.state(member, &Statement::Vote { proposal, digest, yes })
    }

    pub fn status(&self, proposal: u64) -> Status {
        self.history.now().proposal(proposal).unwrap().status.clone()
    }

    /// Proposes, and lets the founders agree.
    pub fn decide(&mut self, actions: &[Action]) -> Status {
        let number = self.opened("bank-a", actions);
        self.vote("bank-b", number, true);
        if self.status(number) == Status::Open {
            self.vote("maker", number, true);
        }
        self.status(number)
    }

    pub fn refused(&mut self, member: &str, actions: &[Action]) -> String {
        match self.propose(member, actions) {
            Outcome::Refused(refusal @ Refusal::Action { .. }) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    }
}
