//! `bletchley consortium` on a running member: what stands, what is being decided, proposing and voting.

use super::propose::Propose;
use super::speak::{Member, Said};
use crate::cli::Common;
use crate::output::Output;
use anyhow::{Result, anyhow};
use bletchley_consortium::{Action, LedgerKind, ProposalReport, Report, Statement, Status};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum Running {
    /// Members, ledgers, parameters and open proposals of the running consortium.
    Show(Show),
    /// The members, those who left included.
    Members(Show),
    /// The ledgers: what they run, who shares them, how fast their blocks come; those of other members too.
    Ledgers(Show),
    /// Open proposals, and those that closed lately.
    Proposals(Show),
    /// Propose something to the members.
    Propose(Propose),
    /// Vote on a proposal, or change this member's vote.
    #[command(
        after_help = "Examples:\n  bletchley consortium proposals\n  bletchley consortium vote yes 3 --member bank-b"
    )]
    Vote(Vote),
    /// Take back this member's own proposal.
    Withdraw(Withdraw),
}

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ballot {
    Yes,
    No,
}

#[derive(Debug, Args)]
pub(super) struct Vote {
    /// For or against.
    ballot: Ballot,
    /// Number of the proposal.
    proposal: u64,
    /// Wait until the proposal is decided.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Withdraw {
    /// Number of the proposal.
    proposal: u64,
    #[command(flatten)]
    common: Common,
}

impl Running {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Show(show) => show.with(|output, report| {
                members(output, report);
                ledgers(output, report);
                parameters(output, report);
                proposals(output, report);
            }),
            Self::Members(show) => show.with(members),
            Self::Ledgers(show) => show.with(ledgers),
            Self::Proposals(show) => show.with(proposals),
            Self::Propose(propose) => propose.run(),
            Self::Vote(vote) => vote.run(),
            Self::Withdraw(withdraw) => withdraw.run(),
        }
    }
}

impl Show {
    fn with(self, show: impl FnOnce(Output, &Report)) -> Result<()> {
        let output = self.common.output();
        let report = super::speak::report(&self.common)?;
        if output.is_json() {
            output.event(&serde_json::to_value(&report)?);
        } else {
            show(output, &report);
        }
        Ok(())
    }
}

impl Vote {
    fn run(self) -> Result<()> {
        let member = Member::open(&self.common)?;
        let report = member.report()?;
        let digest = digest_of(&report, self.proposal)?;
        let yes = matches!(self.ballot, Ballot::Yes);
        let said = member.say(&Statement::Vote { proposal: self.proposal, digest, yes })?;
        conclude(&member, said, self.wait)
    }
}

impl Withdraw {
    fn run(self) -> Result<()> {
        let member = Member::open(&self.common)?;
        let report = member.report()?;
        let digest = digest_of(&report, self.proposal)?;
        let said = member.say(&Statement::Withdraw { proposal: self.proposal, digest })?;
        conclude(&member, said, false)
    }
}

fn digest_of(report: &Report, number: u64) -> Result<bletchley_primitives::B256> {
    let mut all = report.open.iter().chain(&report.closed);
    let found = all.find(|found| found.proposal.number == number);
    found.map(|found| found.proposal.digest).ok_or_else(|| {
        let open: Vec<String> = report.open.iter().map(|open| open.proposal.number.to_string()).collect();
        let open =
            if open.is_empty() { "none is open".to_owned() } else { format!("open: {}", open.join(", ")) };
        anyhow!("there is no proposal {number} ({open}); see `bletchley consortium proposals`")
    })
}

/// Says where the proposal stands, after waiting for its end when asked to.
pub(super) fn conclude(member: &Member, said: Said, wait: bool) -> Result<()> {
    let Said { transaction, height, mut proposal } = said;
    let output = member.output();
    if wait && proposal.proposal.status == Status::Open {
        output
            .progress(format!("waiting for the members to decide on proposal {}", proposal.proposal.number));
        proposal = member.await_decision(proposal.proposal.number)?;
    }
    let mut event = serde_json::to_value(&proposal)?;
    if let Some(object) = event.as_object_mut() {
        object.insert("transaction".to_owned(), json!(transaction));
        object.insert("height".to_owned(), json!(height));
    }
    output.event(&event);
    one(output, &proposal);
    if proposal.proposal.status == Status::Open && !output.is_json() {
        let number = proposal.proposal.number;
        output.line(output.dim(&format!("  others vote with: bletchley consortium vote yes {number}")));
    }
    if proposal.proposal.status == Status::Accepted {
        proposal.proposal.actions.iter().for_each(|action| what_follows(output, action));
    }
    match &proposal.proposal.status {
        Status::Failed { reason } => Err(anyhow!("agreed on, but it can no longer happen: {reason}")),
        status @ (Status::Rejected | Status::Expired) if wait => {
            Err(anyhow!("proposal {} is {}", proposal.proposal.number, status.name()))
        }
        _ => Ok(()),
    }
}

/// Where to look next.
fn what_follows(output: Output, action: &Action) {
    match action {
        Action::CreateLedger { ledger } => {
            let who = if ledger.is_subset() { ledger.members.join(", ") } else { "all members".to_owned() };
            let path = match ledger.kind {
                LedgerKind::Evm => format!("JSON-RPC at /ledgers/{}", ledger.name),
                LedgerKind::Utxo => format!("REST under /ledgers/{}/v1/tokens", ledger.name),
            };
            output.line(output.dim(&format!("  it starts now on the nodes of {who}: {path}")));
        }
        Action::Upgrade { version, height } => output.line(output.dim(&format!(
            "  every node must run a program that knows version {version} before block {height}; `bletchley status` warns"
        ))),
        _ => {}
    }
}

fn one(output: Output, found: &ProposalReport) {
    let proposal = &found.proposal;
    let status = match proposal.status {
        Status::Accepted => output.good("accepted"),
        Status::Open => output.bold("open"),
        Status::Failed { .. } | Status::Rejected => output.bad(proposal.status.name()),
        Status::Withdrawn | Status::Expired => output.dim(proposal.status.name()),
    };
    output.line(format!("  {:>4}  {status}  by {}", proposal.number, proposal.author));
    for line in &found.summary {
        output.line(format!("        {line}"));
    }
    if !proposal.note.is_empty() {
        output.line(format!("        \"{}\"", proposal.note));
    }
    let (yes, no, members) = (found.tally.yes, found.tally.no, found.tally.members);
    let needed = found.needed;
    let mut line = format!("{yes} yes, {no} no, of {members} members; {needed} yes needed");
    if proposal.status == Status::Open {
        line.push_str(&format!("; open until block {}", proposal.expires_at));
    }
    output.line(output.dim(&format!("        {line}")));
    let ballots: Vec<String> = proposal
        .ballots
        .iter()
        .map(|(name, yes)| format!("{name} {}", if *yes { "yes" } else { "no" }))
        .collect();
    output.line(output.dim(&format!("        {}", ballots.join(", "))));
}

fn members(output: Output, report: &Report) {
    output.heading("Members");
    for record in &report.members {
        let member = &record.member;
        let seat = match (record.left_at, member.is_validator) {
            (Some(height), _) => output.dim(&format!("left at block {height}")),
            (None, true) => "validator".to_owned(),
            (None, false) => "observer".to_owned(),
        };
        output.line(format!("  {:<18} {:<28} {seat}", member.name, member.endpoint));
    }
}

fn ledgers(output: Output, report: &Report) {
    output.heading("Ledgers");
    for ledger in &report.ledgers {
        let spec = &ledger.spec;
        let shared = if spec.is_subset() { spec.members.join(", ") } else { "all members".to_owned() };
        output.line(format!("  {:<18} {:<5} {:<11} {shared}", spec.name, spec.kind.name(), spec.engine));
        let chain = if spec.chain_id > 0 { format!("chain id {}, ", spec.chain_id) } else { String::new() };
        let pace = format!(
            "{chain}blockMs {}, heartbeatMs {}, epochs of {} blocks",
            spec.block_ms, spec.heartbeat_ms, spec.epoch_blocks
        );
        output.line(output.dim(&format!("                     {pace}")));
    }
}

fn parameters(output: Output, report: &Report) {
    output.heading("Parameters");
    output.line(format!("  rule               {}", report.parameters.rule.name()));
    output.line(format!("  proposalBlocks     {}", report.parameters.proposal_blocks));
    output.line(format!("  protocol version   {}", report.protocol_version));
    for upgrade in report.upgrades.iter().filter(|upgrade| upgrade.height > report.height) {
        output.line(format!("  from block {:<8} version {}", upgrade.height, upgrade.version));
    }
}

/// Closed proposals that people are shown; programs get all that are kept.
const CLOSED_SHOWN_MAX: usize = 10;

fn proposals(output: Output, report: &Report) {
    output.heading("Open proposals");
    if report.open.is_empty() {
        output.line("  none; `bletchley consortium propose --help` tells what can be proposed");
    }
    report.open.iter().for_each(|found| one(output, found));
    let skipped = report.closed.len().saturating_sub(CLOSED_SHOWN_MAX);
    if !report.closed.is_empty() {
        output.heading("Closed lately");
        report.closed.iter().skip(skipped).for_each(|found| one(output, found));
    }
}
