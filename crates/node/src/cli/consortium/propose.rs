//! `bletchley consortium propose`.

use super::running::conclude;
use super::speak::Member;
use crate::ceremony::MemberRequest;
use crate::cli::Common;
use crate::genesis::{EPOCH_BLOCKS, EngineName};
use anyhow::{Context, Result, anyhow};
use bletchley_consortium::{Action, LedgerKind, LedgerSpec, Parameter, Report, Statement};
use bletchley_ledger::PROTOCOL_VERSION_NEWEST;
use bletchley_primitives::Height;
use clap::{Args, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(
    after_help = "Proposing counts as this member's yes. The others vote with `bletchley consortium vote`.\n\nExamples:\n  bletchley consortium propose add-member insurer.request.json --note \"joins in May\"\n  bletchley consortium propose set-validator regulator on\n  bletchley consortium propose set-parameter evm.blockMs 250\n  bletchley consortium propose create-ledger banks --kind evm --chain-id 4243 --members bank-a,bank-b\n  bletchley consortium propose upgrade 2 --height 20000"
)]
pub(super) struct Propose {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Args)]
struct Manner {
    /// Why, in one line that the others read.
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
    /// Wait until the proposal is decided.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A new member, from its signed request.
    AddMember {
        /// The file that `bletchley member request` wrote.
        request: PathBuf,
        #[command(flatten)]
        manner: Manner,
    },
    /// A member leaves for good; its name and keys are not used again.
    RemoveMember {
        /// Name of the member.
        name: String,
        #[command(flatten)]
        manner: Manner,
    },
    /// A member votes on blocks, or no longer does.
    SetValidator {
        /// Name of the member.
        name: String,
        /// On or off.
        seat: Switch,
        #[command(flatten)]
        manner: Manner,
    },
    /// A member changes its keys, from a new signed request under its name.
    RotateKeys {
        /// The file that `bletchley member request` wrote.
        request: PathBuf,
        #[command(flatten)]
        manner: Manner,
    },
    /// A member's node moves.
    SetEndpoint {
        /// Name of the member.
        name: String,
        /// Where other members reach it.
        #[arg(value_name = "HOST:PORT")]
        endpoint: String,
        #[command(flatten)]
        manner: Manner,
    },
    /// A parameter: rule, proposalBlocks, LEDGER.blockMs, LEDGER.heartbeatMs. A new pace holds from the next block on.
    SetParameter {
        /// Which.
        parameter: String,
        /// To what.
        value: String,
        #[command(flatten)]
        manner: Manner,
    },
    /// A new ledger, for all members or for some: their nodes start it as soon as the members agree. Others know that it
    /// exists, and nothing else of it.
    #[command(
        after_help = "Examples:\n  bletchley consortium propose create-ledger banks --kind evm --chain-id 4243 --members bank-a,bank-b\n  bletchley consortium propose create-ledger bonds --kind utxo --members bank-a,bank-b,regulator --wait\n\nWhen it runs: JSON-RPC at http://HOST:PORT/ledgers/NAME, REST under http://HOST:PORT/ledgers/NAME/v1"
    )]
    CreateLedger(CreateLedger),
    /// A later protocol version, from a block of the token ledger on. A node whose program does not know it stops before
    /// that block. Version 2 lets blocks of smart-contract ledgers use twice the gas.
    Upgrade {
        /// Protocol version.
        version: u32,
        /// First block of that version.
        #[arg(long)]
        height: u64,
        #[command(flatten)]
        manner: Manner,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Evm,
    Utxo,
}

#[derive(Debug, Args)]
struct CreateLedger {
    /// Name: lower-case letters, digits and hyphens.
    name: String,
    /// What it runs.
    #[arg(long, value_enum, default_value = "evm")]
    kind: Kind,
    /// Number that wallets tell an evm ledger from others by.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    chain_id: u64,
    /// How it agrees on its blocks. [default: solo for one named member, simplex for more]
    #[arg(long, value_enum)]
    engine: Option<EngineName>,
    /// The members that share it; all, those who join later too, when none is named.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    members: Vec<String>,
    /// Milliseconds that blocks lie apart at least, while there is something to put into them.
    #[arg(long, value_name = "MS", default_value_t = 200)]
    block_ms: u64,
    /// Longest silence while it is idle, in milliseconds. [default: 60000 for solo, 2000 where members agree]
    #[arg(long, value_name = "MS")]
    heartbeat_ms: Option<u64>,
    /// Blocks for which a set of validators stands at least.
    #[arg(long, value_name = "BLOCKS", default_value_t = EPOCH_BLOCKS)]
    epoch_blocks: u64,
    #[command(flatten)]
    manner: Manner,
}

impl CreateLedger {
    fn spec(&self) -> LedgerSpec {
        let mut members = self.members.clone();
        members.sort();
        members.dedup();
        let alone = if members.len() == 1 { EngineName::Solo } else { EngineName::Simplex };
        let engine = self.engine.unwrap_or(alone);
        LedgerSpec {
            name: self.name.clone(),
            kind: match self.kind {
                Kind::Evm => LedgerKind::Evm,
                Kind::Utxo => LedgerKind::Utxo,
            },
            engine: engine.name().to_owned(),
            chain_id: self.chain_id,
            epoch_blocks: self.epoch_blocks,
            block_ms: self.block_ms,
            heartbeat_ms: self.heartbeat_ms.unwrap_or(engine.heartbeat_ms()),
            members,
        }
    }
}

fn requested(path: &Path) -> Result<bletchley_consortium::Member> {
    let request = MemberRequest::read(path)?;
    request.verify().with_context(|| format!("checking {}", path.display()))?;
    Ok(request.member)
}

fn known(report: &Report, name: &str) -> Result<bletchley_consortium::Member> {
    let found = report.members.iter().find(|record| record.member.name == name && record.is_active());
    found.map(|record| record.member.clone()).ok_or_else(|| {
        let active = report.members.iter().filter(|record| record.is_active());
        let names: Vec<&str> = active.map(|record| record.member.name.as_str()).collect();
        anyhow!("there is no member {name}; there are {}", names.join(", "))
    })
}

impl What {
    const fn manner(&self) -> &Manner {
        match self {
            Self::AddMember { manner, .. }
            | Self::RemoveMember { manner, .. }
            | Self::SetValidator { manner, .. }
            | Self::RotateKeys { manner, .. }
            | Self::SetEndpoint { manner, .. }
            | Self::SetParameter { manner, .. }
            | Self::Upgrade { manner, .. } => manner,
            Self::CreateLedger(create) => &create.manner,
        }
    }

    fn action(&self, report: &Report) -> Result<Action> {
        Ok(match self {
            Self::AddMember { request, .. } => Action::AddMember { member: requested(request)? },
            Self::RemoveMember { name, .. } => Action::RemoveMember { name: known(report, name)?.name },
            Self::SetValidator { name, seat, .. } => {
                let is_validator = matches!(seat, Switch::On);
                Action::SetValidator { name: known(report, name)?.name, is_validator }
            }
            Self::RotateKeys { request, .. } => {
                let member = requested(request)?;
                let is_validator = known(report, &member.name)?.is_validator;
                Action::UpdateMember { member: bletchley_consortium::Member { is_validator, ..member } }
            }
            Self::SetEndpoint { name, endpoint, .. } => {
                let member = known(report, name)?;
                let endpoint = endpoint.clone();
                Action::UpdateMember { member: bletchley_consortium::Member { endpoint, ..member } }
            }
            Self::SetParameter { parameter, value, .. } => {
                Action::SetParameter { parameter: Parameter::parse(parameter, value)? }
            }
            Self::CreateLedger(create) => Action::CreateLedger { ledger: create.spec() },
            Self::Upgrade { version, height, .. } => {
                Action::Upgrade { version: *version, height: Height(*height) }
            }
        })
    }
}

impl Propose {
    pub(super) fn run(self) -> Result<()> {
        let manner = self.what.manner();
        let member = Member::open(&manner.common)?;
        let action = self.what.action(&member.report()?)?;
        let statement = Statement::Propose { actions: vec![action.clone()], note: manner.note.clone() };
        if let Action::Upgrade { version, .. } = &action
            && *version > PROTOCOL_VERSION_NEWEST
        {
            member.output().progress(format!(
                "this program knows protocol versions up to {PROTOCOL_VERSION_NEWEST}: nodes that run it stop before that block"
            ));
        }
        // What the encoding refuses, such as a note of two lines, is refused before it is signed.
        Statement::decode(&statement.encode())?;
        let said = member.say(&statement)?;
        conclude(&member, said, manner.wait)
    }
}
