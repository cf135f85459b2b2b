//! What members say on the ledger: proposals, ballots, withdrawals.

use crate::Verdict;
use bletchley_consortium::{
    Action, Consortium, Genesis, LedgerKind, LedgerSpec, Member, NAMESPACE, Outcome, Parameter, Parameters,
    Record, Rule, Statement,
};
use bletchley_primitives::{Address, B256, Height, keccak256};

fn member(name: &str) -> Member {
    let address = |purpose: &str| Address::from_word(keccak256(format!("{name}/{purpose}")));
    Member {
        name: name.to_owned(),
        peer: keccak256(name),
        validator: address("validator"),
        administrator: address("administrator"),
        host: address("host"),
        endpoint: format!("{name}.example:30300"),
        is_validator: true,
    }
}

fn ledger(name: &str, kind: LedgerKind, chain_id: u64, members: &[&str]) -> LedgerSpec {
    LedgerSpec {
        name: name.to_owned(),
        kind,
        engine: "simplex".to_owned(),
        chain_id,
        epoch_blocks: 300,
        block_ms: 100,
        heartbeat_ms: 60_000,
        members: members.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn genesis() -> Genesis {
    Genesis {
        members: vec![member("bank"), member("maker")],
        parameters: Parameters::default(),
        ledgers: vec![ledger("tokens", LedgerKind::Utxo, 0, &[]), ledger("evm", LedgerKind::Evm, 1, &[])],
    }
}

pub(crate) mod statement {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let decoded = Statement::decode(bytes);
        if let Ok(statement) = &decoded {
            assert_eq!(&statement.encode()[..], bytes, "two encodings of one statement");
        }
        let mut consortium = Consortium::new(&genesis()).unwrap();
        let before = consortium.standing().clone();
        let author = member("bank").administrator;
        let record = Record {
            namespace: NAMESPACE,
            name: "entry",
            payload: bytes,
            author,
            height: Height(1),
            position: 0,
        };
        let early = consortium.admits(bytes, author, Height(1));
        match consortium.apply(&record) {
            Outcome::Taken { proposal, status } => {
                assert!(decoded.is_ok());
                assert_eq!(early, Ok((proposal, status)));
                // One of two members is no majority.
                assert_eq!(*consortium.standing(), before);
                let digest = consortium.proposal(proposal).unwrap().digest;
                let vote = Statement::Vote { proposal, digest, yes: true }.encode();
                let author = member("maker").administrator;
                consortium.apply(&Record { payload: &vote, author, height: Height(2), ..record });
                assert!(!consortium.standing().validators().as_slice().is_empty(), "nobody votes on blocks");
            }
            Outcome::Refused(refusal) => {
                assert_eq!((early, consortium.standing()), (Err(refusal), &before));
            }
            Outcome::Passed => unreachable!("the first entry of the consortium's namespace"),
        }
        Verdict::of(decoded.is_ok())
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let moved = Member { endpoint: "elsewhere.example:1".to_owned(), ..member("bank") };
        let actions = vec![
            Action::AddMember { member: member("insurer") },
            Action::RemoveMember { name: "maker".to_owned() },
            Action::SetValidator { name: "insurer".to_owned(), is_validator: false },
            Action::UpdateMember { member: moved },
            Action::SetParameter { parameter: Parameter::BlockMs { ledger: "evm".to_owned(), value: 250 } },
            Action::SetParameter { parameter: Parameter::HeartbeatMs { ledger: "evm".to_owned(), value: 0 } },
            Action::SetParameter { parameter: Parameter::ProposalBlocks { value: 5_000 } },
            Action::SetParameter { parameter: Parameter::Rule { value: Rule::TwoThirds } },
            Action::CreateLedger { ledger: ledger("banks", LedgerKind::Evm, 7, &["bank"]) },
            Action::Upgrade { version: 2, height: Height(9_000) },
        ];
        let note = "as agreed".to_owned();
        let each = actions
            .iter()
            .map(|action| Statement::Propose { actions: vec![action.clone()], note: note.clone() });
        let others = [
            Statement::Propose { actions: actions.clone(), note: String::new() },
            Statement::Vote { proposal: 1, digest: B256::repeat_byte(7), yes: true },
            Statement::Withdraw { proposal: 300, digest: B256::repeat_byte(8) },
        ];
        each.chain(others).map(|statement| statement.encode().to_vec()).collect()
    }
}
