//! `bletchley verify`: every record's checksum, then both ledgers from genesis, from a copy and offline.

mod certified;
mod prefix;
mod reexecute;
mod replay;
#[cfg(test)]
mod tests;

pub use replay::{Fault, Replayed};

use crate::data::DataDir;
use crate::genesis::{Agreement, EngineName, NetworkGenesis};
use crate::governance::{EVM_LEDGER, Governance, founding};
use crate::output::Output;
use anyhow::{Context, Result};
use bletchley_consensus::Schedule;
use bletchley_cryptlet::content::MemoryContent;
use bletchley_cryptlet::fabric::{Fabric, FabricConfig, FabricParts};
use bletchley_cryptlet::registry::TokenRegistry;
use bletchley_evm::{EvmLedger, NoObserver};
use bletchley_ledger::{Machine, SharedStore, Store};
use bletchley_primitives::Height;
use bletchley_storage::{Damage, Options as StoreOptions, SegmentStore};
use bletchley_token::TokenMachine;
use prefix::PrefixStore;
use replay::Subject;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// Most damaged records that are listed one by one.
const DAMAGE_LISTED_MAX: usize = 20;

/// What to verify against.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Genesis document to trust instead of the folder's own.
    pub genesis: Option<PathBuf>,
    /// Run recorded deterministic calls again.
    pub reexecute: bool,
}

/// Verifies a data folder, prints what was found, and says whether everything holds.
///
/// # Errors
/// When the folder cannot be read at all.
pub fn verify(data: &DataDir, options: &Options, output: Output) -> Result<bool> {
    let genesis = match &options.genesis {
        Some(path) => NetworkGenesis::read_file(path)?,
        None => NetworkGenesis::read(data)?,
    };
    output.heading(format!("Verifying {} from genesis {}", data.root().display(), genesis.digest()));
    let mut holds = true;
    for name in ["tokens", "evm"] {
        holds &= inspect(data, name, output)?;
    }
    holds = holds && replay(data, &genesis, options.reexecute, output)?;
    let verdict =
        if holds { output.good("Everything holds.") } else { output.bad("Something does not hold.") };
    output.line("");
    output.line(verdict);
    if genesis.dev {
        output.line(output.dim(
            "This is a development network: its keys are public and its state can be changed from outside.",
        ));
    }
    output.event(
        &json!({ "event": "verdict", "holds": holds, "genesis": genesis.digest(), "dev": genesis.dev }),
    );
    Ok(holds)
}

/// Reads every record of a ledger and checks every checksum, so that each damaged place is found, not just the first.
fn inspect(data: &DataDir, name: &str, output: Output) -> Result<bool> {
    let folder = data.ledger(name);
    let mut damages: Vec<Damage> = Vec::new();
    let mut records = 0u64;
    let mut torn = None;
    for record in
        bletchley_storage::inspect(&folder).with_context(|| format!("reading {}", folder.display()))?
    {
        match record {
            Ok(_) => records += 1,
            Err(damage) if damage.is_torn_tail() => torn = Some(damage),
            Err(damage) => damages.push(damage),
        }
    }
    if let Some(tail) = torn {
        // What a kill leaves, or an append under way: never acknowledged, so nothing is lost with it.
        output.line(format!("  {} {name}: {tail}; the next start removes it", output.dim("unfinished")));
        output.event(&json!({ "event": "torn-tail", "ledger": name, "place": tail.place() }));
    }
    for damage in damages.iter().take(DAMAGE_LISTED_MAX) {
        output.line(format!("  {} {name}: {damage}", output.bad("damaged")));
        output.event(&json!({ "event": "damage", "ledger": name, "place": damage.place(), "problem": damage.to_string() }));
    }
    if damages.len() > DAMAGE_LISTED_MAX {
        output.line(format!("  and {} more damaged places", damages.len() - DAMAGE_LISTED_MAX));
    }
    output.progress(format!("{name}: {records} records read, {} damaged", damages.len()));
    Ok(damages.is_empty())
}

fn replay(data: &DataDir, genesis: &NetworkGenesis, again: bool, output: Output) -> Result<bool> {
    let copy = |name: &str| -> Result<(SharedStore, Arc<dyn Store>)> {
        let folder = data.ledger(name);
        let store = SegmentStore::open(&folder, StoreOptions::read_only());
        let store: SharedStore = Arc::new(store.with_context(|| format!("opening {}", folder.display()))?);
        let prefix = Arc::new(PrefixStore::new(store.clone()));
        Ok((store, prefix))
    };
    let (token_copy, token_replayed) = copy("tokens")?;
    let (evm_copy, evm_replayed) = copy("evm")?;
    let tokens = Arc::new(TokenMachine::open(genesis.tokens(), token_replayed.clone())?);
    let registry = Arc::new(TokenRegistry::open(tokens.clone(), genesis.registry_roots())?);
    let content = Arc::new(MemoryContent::default());
    let fabric = Fabric::start(
        FabricParts { registry: registry.clone(), content, hosts: Vec::new() },
        FabricConfig::default(),
    )?;
    let evm =
        EvmLedger::new(genesis.evm.clone(), evm_replayed.clone(), Arc::new(fabric), Arc::new(NoObserver))?;
    // The registry's entries are read as the root ledger is replayed: they say who validates which epoch.
    let governance = Governance::open(tokens.clone(), &founding(genesis))?;
    let evm_schedule = governance.schedule_for(EVM_LEDGER, Arc::new(evm.clone()));
    let evm_schedule = evm_schedule.context("the genesis document makes no EVM ledger")?;
    // The solo engine knows one validator, whoever is voted in.
    let schedule = |agreement: &Agreement, voted: Arc<dyn Schedule>| match agreement.engine {
        EngineName::Solo => genesis.schedule(agreement),
        EngineName::Simplex | EngineName::Tendermint => voted,
    };
    let agreements = &genesis.agreements;
    let subjects = [
        Subject {
            name: "tokens",
            ledger: genesis.tokens().ledger,
            machine: tokens as Arc<dyn Machine>,
            copy: token_copy,
            replayed: token_replayed,
            schedule: schedule(&agreements.tokens, governance.schedule_for_root()),
            solo: agreements.tokens.engine == EngineName::Solo,
        },
        Subject {
            name: "evm",
            ledger: genesis.evm.ledger_id(),
            machine: evm.machine(),
            copy: evm_copy,
            replayed: evm_replayed,
            schedule: schedule(&agreements.evm, evm_schedule),
            solo: agreements.evm.engine == EngineName::Solo,
        },
    ];
    for subject in &subjects {
        if !replay_one(subject, output) {
            return Ok(false);
        }
    }
    if again { reexecute::reexecute(data, registry, &evm, output) } else { Ok(true) }
}

fn replay_one(subject: &Subject<'_>, output: Output) -> bool {
    let (started, mut shown) = (Instant::now(), Instant::now());
    let found = subject.replay(&mut |height: Height, last: Height| {
        if shown.elapsed() >= PROGRESS_INTERVAL {
            shown = Instant::now();
            output.progress(format!("{}: block {height} of {last}", subject.name));
        }
    });
    match found {
        Ok(found) => {
            let seconds = started.elapsed().as_secs_f64();
            let per_second = found.transactions as f64 / seconds.max(1e-9);
            let head = subject.machine.head();
            output.line(format!(
                "  {} {:<7} {} blocks, {} transactions in {seconds:.2} s; head {} at height {}",
                output.good("holds"),
                subject.name,
                found.blocks,
                found.transactions,
                head.hash,
                head.height
            ));
            if found.uncertified > 0 {
                output.line(format!(
                    "  {} {:<7} the newest {} blocks are final here, not yet certified for outsiders",
                    output.dim("waiting"),
                    subject.name,
                    found.uncertified
                ));
            }
            output.event(&json!({
                "event": "ledger", "ledger": subject.name, "holds": true, "blocks": found.blocks,
                "transactions": found.transactions, "seconds": seconds, "transactionsPerSecond": per_second,
                "height": head.height, "head": head.hash, "stateRoot": head.state_root,
                "uncertified": found.uncertified,
            }));
            true
        }
        Err(fault) => {
            output.line(format!("  {} {fault}", output.bad("broken")));
            let fault: Value = json!({
                "event": "ledger", "ledger": fault.ledger, "holds": false, "height": fault.height, "part": fault.part,
                "problem": fault.problem,
            });
            output.event(&fault);
            false
        }
    }
}
