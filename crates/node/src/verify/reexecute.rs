//! Running recorded cryptlet calls again, from their evidence: nobody is asked, and no host's word is taken.

use super::Fault;
use crate::containers::{self, Cryptlets};
use crate::data::DataDir;
use crate::output::Output;
use anyhow::Result;
use bletchley_cryptlet::content::FolderContent;
use bletchley_cryptlet::fabric::{Fabric, FabricConfig, FabricParts, LocalHost, Reexecution};
use bletchley_cryptlet::fetch::NoFetcher;
use bletchley_cryptlet::keys::{KeyLabel, KeyPurpose, MemoryKeyStore};
use bletchley_cryptlet::registry::TokenRegistry;
use bletchley_evm::EvmLedger;
use bletchley_ledger::Machine;
use bletchley_primitives::Height;
use serde_json::json;
use std::sync::Arc;

/// What came of running the recorded calls again.
#[derive(Default)]
struct Tally {
    equal: u64,
    not_possible: u64,
}

/// Repeats every recorded call of a replayed ledger; false when one comes to something else.
///
/// # Errors
/// When the container does not start, or the blocks cannot be read.
pub(super) fn reexecute(
    data: &DataDir,
    registry: Arc<TokenRegistry>,
    name: &str,
    evm: &EvmLedger,
    output: Output,
) -> Result<bool> {
    let content = Arc::new(FolderContent::read_only(&data.content()));
    let container = containers::open(None, Arc::new(NoFetcher), Cryptlets::default())?;
    let label = KeyLabel::new(KeyPurpose::Host, "verifier")?;
    let host = LocalHost::open(container, content.clone(), Arc::new(MemoryKeyStore::default()), label)?;
    let parts = FabricParts { registry, content, hosts: vec![Arc::new(host)] };
    let fabric = Fabric::start(parts, FabricConfig::default())?;
    let mut tally = Tally::default();
    for height in 1..=evm.machine().head().height.0 {
        let Some(extension) = evm.extension(Height(height))? else { continue };
        for (index, signed) in extension.record.receipts.iter().enumerate() {
            match fabric.reexecute(signed, &extension.record.anchor) {
                Reexecution::Match => tally.equal += 1,
                Reexecution::NotPossible(reason) => {
                    tally.not_possible += 1;
                    tracing::warn!(ledger = name, height, index, reason, "verify.reexecute");
                }
                Reexecution::Mismatch(difference) => {
                    let problem = format!(
                        "receipt {index}: {} was {}, running it again gives {}",
                        difference.what, difference.recorded, difference.repeated
                    );
                    let part = "delegation record".to_owned();
                    let fault = Fault { ledger: name.to_owned(), height: Height(height), part, problem };
                    output.line(format!("  {} {fault}", output.bad("broken")));
                    output.event(&json!({ "event": "reexecuted", "holds": false, "height": height, "problem": fault.problem }));
                    return Ok(false);
                }
            }
        }
    }
    let Tally { equal, not_possible } = tally;
    output.line(format!(
        "  {} {equal} recorded calls of ledger {name} run again with equal results",
        output.good("holds")
    ));
    if not_possible > 0 {
        output.line(format!("  {not_possible} could not be run again here: their evidence is not in this folder, or no host had answered"));
    }
    output
        .event(&json!({ "event": "reexecuted", "holds": true, "equal": equal, "notPossible": not_possible }));
    Ok(true)
}
