//! Running a recorded call again, from its evidence, to see whether the same comes out.

use std::sync::Arc;

use alloy_primitives::Address;
use bletchley_ledger::{Anchor, Call, Place, SignedReceipt, Status};
use bletchley_primitives::{BlockHash, keccak256};

use super::{Evidence, Execution, FabricParts, Host, Work};
use crate::{
    container::{Unavailability, UnavailableKind},
    content::ContentId,
    manifest::Isolation,
};

/// Where a repeated run differs from the receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// What differs: `host call`, or a field of the receipt.
    pub what: &'static str,
    /// What the receipt or its evidence says.
    pub recorded: String,
    /// What came out now.
    pub repeated: String,
}

/// What a repetition came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reexecution {
    /// The same came out.
    Match,
    /// Something else came out; this is the first difference.
    Mismatch(Divergence),
    /// It could not be repeated here, which says nothing about the receipt.
    NotPossible(String),
}

pub(super) fn reexecute(parts: &FabricParts, signed: &SignedReceipt, anchor: &Anchor) -> Reexecution {
    match signed.receipt.status {
        // Checked against the registry by everyone; nothing ran.
        Status::Refused => return Reexecution::Match,
        Status::Unavailable => {
            return Reexecution::NotPossible("a call that no host could answer did not run".to_owned());
        }
        Status::Ok | Status::Failed | Status::Trapped => {}
    }
    match prepared(parts, signed, anchor) {
        Err(reason) => Reexecution::NotPossible(reason),
        Ok((host, work, evidence)) => match host.repeat(&work, &evidence) {
            Ok(execution) => first_difference(signed, &evidence, &execution)
                .map_or(Reexecution::Match, Reexecution::Mismatch),
            Err(Unavailability { kind: UnavailableKind::TranscriptMismatch, reason }) => {
                Reexecution::Mismatch(Divergence {
                    what: "host call",
                    recorded: format!("{} fetches", evidence.transcript.fetches.len()),
                    repeated: reason,
                })
            }
            Err(trouble) => Reexecution::NotPossible(format!("{}: {}", trouble.kind.name(), trouble.reason)),
        },
    }
}

fn prepared(
    parts: &FabricParts,
    signed: &SignedReceipt,
    anchor: &Anchor,
) -> Result<(Arc<dyn Host>, Work, Evidence), String> {
    let receipt = &signed.receipt;
    let id = ContentId(receipt.transcript);
    let bytes = parts
        .content
        .get(id)
        .map_err(|error| error.to_string())?
        .ok_or_else(|| format!("evidence {id} is not in the content store here"))?;
    let evidence = Evidence::decode(&bytes).map_err(|error| error.to_string())?;
    if keccak256(&evidence.input) != receipt.input_digest {
        return Err(format!("evidence {id} is of another input"));
    }
    let resolved = parts
        .registry
        .resolve(receipt.package, anchor.height)
        .ok_or_else(|| format!("package {} is not registered at the anchor", receipt.package))?;
    let host = parts
        .hosts
        .iter()
        .find(|host| host.profile() == receipt.profile)
        .cloned()
        .ok_or_else(|| format!("no host here computes under profile {}", receipt.profile))?;
    let work = Work {
        call: Call {
            ledger: receipt.ledger,
            transaction: receipt.transaction,
            sender: Address::ZERO,
            caller: receipt.caller,
            cryptlet: receipt.cryptlet,
            method: receipt.method.clone(),
            input: evidence.input.clone(),
            occurrence: receipt.occurrence,
        },
        place: Place {
            ledger: receipt.ledger,
            height: receipt.valid_from,
            parent: BlockHash::default(),
            time_ms: receipt.as_of_ms,
        },
        timeout_ms: resolved.package.manifest.limits.timeout_ms,
        package: resolved.package,
        fuel_max: evidence.fuel_max,
        // The container's own rule holds; the policy of then was about the hosts of then.
        isolation: Isolation::default(),
    };
    Ok((host, work, evidence))
}

fn first_difference(
    signed: &SignedReceipt,
    evidence: &Evidence,
    execution: &Execution,
) -> Option<Divergence> {
    let (recorded, repeated) = (&signed.receipt, &execution.receipt);
    [
        ("host calls", evidence.host_calls.to_string(), execution.evidence.host_calls.to_string()),
        ("status", format!("{:?}", recorded.status), format!("{:?}", repeated.status)),
        ("output", signed.output.to_string(), execution.output.to_string()),
        ("fuel", recorded.fuel.to_string(), repeated.fuel.to_string()),
        ("transcript", recorded.transcript.to_string(), repeated.transcript.to_string()),
    ]
    .into_iter()
    .find(|(_, recorded, repeated)| recorded != repeated)
    .map(|(what, recorded, repeated)| Divergence { what, recorded, repeated })
}
