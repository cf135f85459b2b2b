//! `bletchley verify`: every record's checksum, then every ledger from genesis, from a copy and offline.

mod certified;
mod prefix;
mod reexecute;
mod replay;
#[cfg(test)]
mod tests;

pub use replay::{Fault, Found};

use crate::data::DataDir;
use crate::genesis::NetworkGenesis;
use crate::governance::{Anchors, EVM_LEDGER, Governance, ROOT_LEDGER, TokenAnchors, founding};
use crate::ledgers::{LedgerGenesis, RootOf, voted};
use crate::output::Output;
use crate::proofs::Start;
use anyhow::{Context, Result, bail};
use bletchley_consortium::Upgrade;
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
    for name in folders(data)? {
        holds &= inspect(data, &name, output)?;
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

/// Names of the ledgers that the folder holds, the founding ones first.
fn folders(data: &DataDir) -> Result<Vec<String>> {
    let mut names = vec![ROOT_LEDGER.to_owned(), EVM_LEDGER.to_owned()];
    let folder = data.ledgers();
    let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut further = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && !names.contains(&name) {
            further.push(name);
        }
    }
    further.sort();
    names.extend(further);
    Ok(names)
}

/// Replays the root ledger, then every other one that the folder holds: the votes on the root ledger say what those start
/// from and who validates them.
fn replay(data: &DataDir, genesis: &NetworkGenesis, again: bool, output: Output) -> Result<bool> {
    let Some(root) = Replayed::root(data, genesis, &|subject| replay_one(subject, output))? else {
        return Ok(false);
    };
    for name in folders(data)?.iter().filter(|name| *name != ROOT_LEDGER) {
        if !root.replay(name, again, output)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where trust in the certificates of a ledger starts, by the genesis document and, for a ledger that a vote created, by the
/// root ledger in a folder, every block of which is verified for it.
///
/// # Errors
/// When there is no such ledger, or the root ledger does not hold.
pub(crate) fn start_of(genesis: &NetworkGenesis, data: &DataDir, name: &str) -> Result<Start> {
    if name == EVM_LEDGER {
        return Ok(Start::of(genesis));
    }
    let root = Replayed::root(data, genesis, &|subject| subject.replay(&mut |_, _| {}).is_ok())?;
    let root = root.with_context(|| format!("the root ledger in {} does not hold", data.root().display()))?;
    let plan = voted::plan(genesis, &root.governance, name)?;
    let validators = voted::fixed_schedule(&root.governance, name)?.validators(0);
    let validators = validators.with_context(|| format!("nobody validates ledger {name}"))?;
    Ok(Start { ledger: plan.genesis.id(), validators: validators.checkpoint_set() })
}

/// A copy, whole and as far as it was replayed.
fn copy_of(data: &DataDir, name: &str) -> Result<(SharedStore, Arc<dyn Store>)> {
    let folder = data.ledger(name);
    let store = SegmentStore::open(&folder, StoreOptions::read_only());
    let store: SharedStore = Arc::new(store.with_context(|| format!("opening {}", folder.display()))?);
    let prefix = Arc::new(PrefixStore::new(store.clone()));
    Ok((store, prefix))
}

/// A replayed root ledger, for the others.
struct Replayed<'a> {
    data: &'a DataDir,
    genesis: &'a NetworkGenesis,
    governance: Governance,
    registry: Arc<TokenRegistry>,
}

impl<'a> Replayed<'a> {
    /// The root ledger, replayed by `holds`; none when it does not hold.
    fn root(
        data: &'a DataDir,
        genesis: &'a NetworkGenesis,
        holds: &dyn Fn(&Subject<'_>) -> bool,
    ) -> Result<Option<Self>> {
        let (copy, replayed) = copy_of(data, ROOT_LEDGER)?;
        let tokens = Arc::new(TokenMachine::open(genesis.tokens(), replayed.clone())?);
        // The registry's entries are read as the root ledger is replayed: they say who validates which epoch.
        let governance = Governance::open(tokens.clone(), &founding(genesis))?;
        let votes = governance.votes();
        let registry = TokenRegistry::following(tokens.clone(), genesis.registry_roots(), votes)?;
        let agreement = &genesis.agreements.tokens;
        let solo = agreement.is_solo();
        let subject = Subject {
            name: ROOT_LEDGER,
            ledger: genesis.tokens().ledger,
            machine: tokens as Arc<dyn Machine>,
            copy,
            replayed,
            // The solo engine knows one validator, whoever is voted in.
            schedule: if solo { genesis.schedule(agreement) } else { governance.schedule_for_root() },
            solo,
        };
        let last = subject.copy.head().map(|head| head.height).unwrap_or_default();
        if !holds(&subject) {
            return Ok(None);
        }
        if let Some(upgrade) = governance.guard().unknown().filter(|upgrade| upgrade.height <= last) {
            let Upgrade { version, height } = upgrade;
            bail!(
                "ledger {ROOT_LEDGER} follows protocol version {version} from block {height} on, which this program does not know; verify with a newer one"
            );
        }
        Ok(Some(Self { data, genesis, governance, registry: Arc::new(registry) }))
    }

    /// Replays a ledger beside the root ledger; false when it does not hold.
    fn replay(&self, name: &str, again: bool, output: Output) -> Result<bool> {
        let (genesis, governance) = (self.genesis, &self.governance);
        if governance.standing().ledger(name).is_none() {
            let problem = format!("no vote on ledger {ROOT_LEDGER} of this folder created it");
            output.line(format!("  {} ledger {name}: {problem}", output.bad("broken")));
            output.event(&json!({ "event": "ledger", "ledger": name, "holds": false, "part": "vote", "problem": problem }));
            return Ok(false);
        }
        let (ledger, agreement) = if name == EVM_LEDGER {
            (LedgerGenesis::Evm(Box::new(genesis.evm.clone())), genesis.agreements.evm)
        } else {
            let plan = voted::plan(genesis, governance, name)?;
            (plan.genesis, plan.agreement)
        };
        let (copy, replayed) = copy_of(self.data, name)?;
        let id = ledger.id();
        let (machine, anchors, evm): (Arc<dyn Machine>, Arc<dyn Anchors>, Option<EvmLedger>) = match ledger {
            LedgerGenesis::Tokens(genesis) => {
                let root = Arc::new(RootOf(self.registry.clone()));
                let machine = Arc::new(TokenMachine::anchored(genesis, replayed.clone(), root)?);
                (machine.clone(), Arc::new(TokenAnchors(machine)), None)
            }
            LedgerGenesis::Evm(genesis) => {
                let fabric = Arc::new(self.fabric()?);
                let evm = EvmLedger::new(*genesis, replayed.clone(), fabric, Arc::new(NoObserver))?;
                (evm.machine(), Arc::new(evm.clone()), Some(evm))
            }
        };
        let voted = governance.schedule_for(name, anchors);
        let subject = Subject {
            name,
            ledger: id,
            machine,
            copy,
            replayed,
            schedule: if agreement.is_solo() {
                voted::fixed_schedule(governance, name)?
            } else {
                voted.with_context(|| format!("nobody validates ledger {name}"))?
            },
            solo: agreement.is_solo(),
        };
        if !replay_one(&subject, output) {
            return Ok(false);
        }
        match evm.filter(|_| again) {
            Some(evm) => reexecute::reexecute(self.data, self.registry.clone(), name, &evm, output),
            None => Ok(true),
        }
    }

    fn fabric(&self) -> Result<Fabric> {
        let content = Arc::new(MemoryContent::default());
        let parts = FabricParts { registry: self.registry.clone(), content, hosts: Vec::new() };
        Ok(Fabric::start(parts, FabricConfig::default())?)
    }
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
                "  {} {:<12} {} blocks, {} transactions in {seconds:.2} s; head {} at height {}",
                output.good("holds"),
                subject.name,
                found.blocks,
                found.transactions,
                head.hash,
                head.height
            ));
            if found.uncertified > 0 {
                output.line(format!(
                    "  {} {:<12} the newest {} blocks are final here, not yet certified for outsiders",
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
