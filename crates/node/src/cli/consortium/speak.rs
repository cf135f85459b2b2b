//! A member speaks: its administrator key signs a statement, the token ledger takes it, and the consortium says what came
//! of it.

use crate::cli::Common;
use crate::client::Client;
use crate::identity::OwnKeys;
use crate::output::Output;
use crate::tokens::{Final, TokenLedger, sign};
use anyhow::{Context, Result, anyhow, bail};
use bletchley_consortium::{NAMESPACE, ProposalReport, Report, Statement, Status};
use bletchley_cryptlet::keys::Signer;
use bletchley_primitives::TxId;
use bletchley_token::{Entry, Lock, TxBuilder};
use std::time::{Duration, Instant};

/// Version of the entries, as the token ledger shows it.
const ENTRY_VERSION: &str = "1";
/// Names that are tried for an entry.
const NAMES_MAX: u64 = 64;
/// Longest wait for a final entry to be counted: the fold follows each commit at once.
const COUNTED_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Pause between two looks at what other people decide.
const DECISION_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait for other people.
const DECISION_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// The consortium as a running member tells it.
pub(super) fn report(common: &Common) -> Result<Report> {
    read(&Client::of(&common.folder()?)?)
}

fn read(client: &Client) -> Result<Report> {
    let report = client.rest("GET", "/v1/consortium", None)?;
    serde_json::from_value(report).context("reading what the node says of the consortium")
}

/// A member of the running consortium, whose keys are at hand.
pub(super) struct Member {
    client: Client,
    keys: OwnKeys,
    name: String,
    output: Output,
}

/// What became of a statement.
pub(super) struct Said {
    pub(super) transaction: TxId,
    pub(super) height: u64,
    pub(super) proposal: ProposalReport,
}

impl Member {
    pub(super) fn open(common: &Common) -> Result<Self> {
        let data = common.folder()?;
        let client = Client::of(&data)?;
        let keys = OwnKeys::open(&data)?;
        let administrator = keys.administrator.address();
        let report = read(&client)?;
        let found = report
            .members
            .iter()
            .find(|record| record.is_active() && record.member.administrator == administrator);
        let name = found.map(|record| record.member.name.clone()).ok_or_else(|| {
            anyhow!(
                "the administrator key in {} ({administrator}) is no member's of this consortium; members vote, with \
                 the key that the consortium knows",
                data.root().display()
            )
        })?;
        Ok(Self { client, keys, name, output: common.output() })
    }

    pub(super) const fn output(&self) -> Output {
        self.output
    }

    pub(super) fn report(&self) -> Result<Report> {
        read(&self.client)
    }

    /// Signs a statement, has it made final, and says where the proposal that it is about stands then.
    pub(super) fn say(&self, statement: &Statement) -> Result<Said> {
        let ledger = TokenLedger::open(&self.client)?;
        let key = &*self.keys.administrator;
        let name = self.free_name(statement)?;
        let entry = Entry {
            namespace: NAMESPACE.to_owned(),
            name: name.clone(),
            version: ENTRY_VERSION.to_owned(),
            payload: statement.encode(),
        };
        let builder =
            TxBuilder::register(ledger.ledger, key.address(), entry, None, Lock::key(key.address()));
        let Final { id, height } = ledger.settle(&sign(&builder, &[key])?)?;
        let report = self.counted(height)?;
        let same = |entry: &&bletchley_consortium::Refused| entry.height.0 == height && entry.entry == name;
        if let Some(refused) = report.refused.iter().find(same) {
            bail!("{} (it was fine when it was sent, others came first)", refused.reason);
        }
        let proposal = self.proposal_of(&report, statement, height).with_context(|| {
            format!("the statement is final in block {height}, but the node does not tell its proposal")
        })?;
        Ok(Said { transaction: id, height, proposal })
    }

    /// A name that no entry has yet. Names say nothing to the consortium.
    fn free_name(&self, statement: &Statement) -> Result<String> {
        let first = match statement {
            Statement::Propose { .. } => {
                let report = self.report()?;
                let all = report.open.iter().chain(&report.closed);
                all.map(|found| found.proposal.number).max().unwrap_or_default()
            }
            Statement::Vote { .. } | Statement::Withdraw { .. } => 0,
        };
        for turn in first..first.saturating_add(NAMES_MAX) {
            let name = statement.entry_name(&self.name, turn);
            if self.client.find(&format!("/v1/tokens/entries/{NAMESPACE}/{name}"))?.is_none() {
                return Ok(name);
            }
        }
        bail!("{NAMES_MAX} entries of {} for this are on the ledger already", self.name)
    }

    /// The consortium, once it has counted a block.
    fn counted(&self, height: u64) -> Result<Report> {
        let started = Instant::now();
        loop {
            let report = self.report()?;
            if report.height.0 >= height {
                return Ok(report);
            }
            if started.elapsed() > COUNTED_TIMEOUT {
                bail!("block {height} is final, but the node has not counted it within {COUNTED_TIMEOUT:?}");
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn proposal_of(&self, report: &Report, statement: &Statement, height: u64) -> Option<ProposalReport> {
        let mut all = report.open.iter().chain(&report.closed).map(|found| (found, &found.proposal));
        let found = match statement {
            Statement::Propose { actions, note } => all.find(|(_, proposal)| {
                proposal.author == self.name
                    && proposal.proposed_at.0 == height
                    && proposal.actions == *actions
                    && proposal.note == *note
            }),
            Statement::Vote { proposal: number, .. } | Statement::Withdraw { proposal: number, .. } => {
                all.find(|(_, proposal)| proposal.number == *number)
            }
        };
        found.map(|(found, _)| found.clone())
    }

    /// The proposal, once the members have decided on it.
    pub(super) fn await_decision(&self, number: u64) -> Result<ProposalReport> {
        let started = Instant::now();
        loop {
            let report = self.report()?;
            let closed = report.closed.into_iter().find(|found| found.proposal.number == number);
            if let Some(found) = closed.filter(|found| found.proposal.status != Status::Open) {
                return Ok(found);
            }
            if started.elapsed() > DECISION_TIMEOUT {
                bail!("the members have not decided on proposal {number} within {DECISION_TIMEOUT:?}");
            }
            std::thread::sleep(DECISION_INTERVAL);
        }
    }
}
