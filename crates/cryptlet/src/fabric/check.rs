//! Checking a record: from the registry as of its anchor and from nothing else.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use bletchley_crypto::recover_all;
use bletchley_ledger::{CallBounds, DelegationRecord, Place, RecordError, SignedReceipt, Status};
use bletchley_primitives::{B256, Height, Signature, TimestampMs, keccak256};

use super::{
    NOTHING, Shared,
    view::{Admitted, AnchorView},
};
use crate::{content::ContentId, policy::CallRefusal};

/// Which check a receipt fails. The variants stand in the order of the checks (specs/receipt.md: Checks).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptProblem {
    /// A part is longer than its bound.
    #[error("its {what} has {found}, {most} are the most")]
    Bounds {
        /// Which part.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// Made for another ledger.
    #[error("it is for ledger {0}")]
    Ledger(B256),
    /// Made for other heights, or for more than a window of them.
    #[error(
        "it is valid from height {valid_from} to {valid_to}, at most {window} above, the block is {height}"
    )]
    Window {
        /// First height.
        valid_from: Height,
        /// Last height.
        valid_to: Height,
        /// Longest window.
        window: u64,
        /// Height of the block.
        height: Height,
    },
    /// The cryptlet's clock is too far from the block's.
    #[error("it is as of {as_of_ms} ms, more than {most} ms from the block's time {time_ms}")]
    AsOf {
        /// The cryptlet's clock.
        as_of_ms: TimestampMs,
        /// Time of the block.
        time_ms: TimestampMs,
        /// Furthest distance.
        most: u64,
    },
    /// The output is not the one that was signed.
    #[error("its output does not have the digest that was signed")]
    Output,
    /// A refusal that the registry does not give, or not so.
    #[error("it says that the call is refused, but the registry says: {0}")]
    NotRefused(String),
    /// The registry or its policy refuses the call.
    #[error("the call may not run: {0}")]
    Refused(#[from] CallRefusal),
    /// Another package ran than the registry names.
    #[error("package {found} ran, the registry names {expected}")]
    Package {
        /// Package that ran.
        found: B256,
        /// Package that should have run.
        expected: B256,
    },
    /// A field that the status does not go with.
    #[error("its {0} does not go with its status")]
    Status(&'static str),
    /// More fuel than the call could get.
    #[error("it used {found} fuel, {most} is the most")]
    Fuel {
        /// Fuel used.
        found: u64,
        /// Most fuel.
        most: u64,
    },
    /// Too few or too many signatures.
    #[error(
        "it has {found} signatures, the policy asks for {expected}: the cryptlet's and one of each of its hosts"
    )]
    SignatureCount {
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: u64,
    },
    /// A signature is malformed.
    #[error("signature {0} is not a signature")]
    Signature(usize),
    /// Not signed by the cryptlet's key.
    #[error(
        "the first signature is by {found}, the cryptlet's key is {expected}, or one it has on a host that signed"
    )]
    CryptletKey {
        /// Who signed.
        found: Address,
        /// The cryptlet's key.
        expected: Address,
    },
    /// Signed by one who is not a host that counts.
    #[error("{0} signed as a host, but the registry and its policy name no such host")]
    Host(Address),
    /// Signed by a host whose attestation result did not hold then.
    #[error("host {host} has no attestation result that holds at {as_of_ms} ms")]
    Attestation {
        /// The host.
        host: Address,
        /// As of when the receipt is.
        as_of_ms: TimestampMs,
    },
    /// Hosts repeat, or are not in ascending order.
    #[error("its hosts are not in ascending order without repetition")]
    HostOrder,
    /// Computed under another profile than the host is registered with.
    #[error("it was computed under profile {found}, host {host} is registered with {expected}")]
    Profile {
        /// The host.
        host: Address,
        /// Profile in the receipt.
        found: B256,
        /// Profile in the registry.
        expected: B256,
    },
}

/// Everything that depends on the receipt and its place alone.
pub(super) fn check_place(signed: &SignedReceipt, place: &Place) -> Result<(), ReceiptProblem> {
    let receipt = &signed.receipt;
    for (what, found, most) in [
        ("method", receipt.method.len(), CallBounds::METHOD_SIZE_BYTES_MAX),
        ("output", signed.output.len(), CallBounds::OUTPUT_SIZE_BYTES_MAX),
        ("signatures", signed.signatures.len(), SignedReceipt::SIGNATURES_MAX),
    ] {
        if found > most {
            return Err(ReceiptProblem::Bounds { what, found, most });
        }
    }
    if receipt.ledger != place.ledger {
        return Err(ReceiptProblem::Ledger(receipt.ledger.0));
    }
    let (valid_from, valid_to, height) = (receipt.valid_from, receipt.valid_to, place.height);
    let window = CallBounds::WINDOW_HEIGHTS;
    let long = valid_to.0.checked_sub(valid_from.0).is_none_or(|heights| heights > window);
    if long || height < valid_from || height > valid_to {
        return Err(ReceiptProblem::Window { valid_from, valid_to, window, height });
    }
    let most = CallBounds::AS_OF_SKEW_MS_MAX;
    if receipt.as_of_ms.0.abs_diff(place.time_ms.0) > most {
        return Err(ReceiptProblem::AsOf { as_of_ms: receipt.as_of_ms, time_ms: place.time_ms, most });
    }
    if keccak256(&signed.output) != receipt.output_digest {
        return Err(ReceiptProblem::Output);
    }
    Ok(())
}

/// A refusal must be exactly what the registry gives for this call at this place.
fn check_refusal(signed: &SignedReceipt, place: &Place, view: &AnchorView) -> Result<(), ReceiptProblem> {
    let receipt = &signed.receipt;
    let refusal = match view.admit(receipt.cryptlet, receipt.caller, &receipt.method, place.time_ms) {
        Ok(_) => return Err(ReceiptProblem::NotRefused("the call may run".to_owned())),
        Err(refusal) => refusal.to_string(),
    };
    if signed.output.as_ref() != refusal.as_bytes() {
        return Err(ReceiptProblem::NotRefused(refusal));
    }
    for (wrong, what) in [
        (!signed.signatures.is_empty(), "signatures"),
        (receipt.package != NOTHING, "package"),
        (receipt.fuel != 0, "fuel"),
        (receipt.profile != NOTHING, "profile"),
        (receipt.transcript != NOTHING, "transcript"),
        (receipt.as_of_ms != place.time_ms, "as-of time"),
        (receipt.valid_from != place.height || receipt.valid_to != place.height, "window"),
    ] {
        if wrong {
            return Err(ReceiptProblem::Status(what));
        }
    }
    Ok(())
}

/// Everything about an answered receipt but who signed it.
pub(super) fn check_admitted(signed: &SignedReceipt, admitted: &Admitted) -> Result<(), ReceiptProblem> {
    let receipt = &signed.receipt;
    let expected = admitted.package.release.package;
    if receipt.package != expected {
        return Err(ReceiptProblem::Package { found: receipt.package, expected });
    }
    if receipt.status != Status::Ok && std::str::from_utf8(&signed.output).is_err() {
        return Err(ReceiptProblem::Status("output"));
    }
    let unavailable = receipt.status == Status::Unavailable;
    for (wrong, what) in [
        (unavailable && receipt.fuel != 0, "fuel"),
        ((receipt.profile == NOTHING) != unavailable, "profile"),
        ((receipt.transcript == NOTHING) != unavailable, "transcript"),
    ] {
        if wrong {
            return Err(ReceiptProblem::Status(what));
        }
    }
    let most = admitted.fuel_max();
    if receipt.fuel > most {
        return Err(ReceiptProblem::Fuel { found: receipt.fuel, most });
    }
    let (found, expected) = (signed.signatures.len(), admitted.policy.quorum.saturating_add(1));
    if found as u64 != expected {
        return Err(ReceiptProblem::SignatureCount { found, expected });
    }
    Ok(())
}

/// Who signed: the cryptlet's key (that of the release, or that on a host that signed), then hosts in ascending order that count and compute under the receipt's profile.
pub(super) fn check_signers(
    signed: &SignedReceipt,
    admitted: &Admitted,
    view: &AnchorView,
    signers: &[Address],
) -> Result<(), ReceiptProblem> {
    let receipt = &signed.receipt;
    let (first, hosts) = signers.split_first().unwrap_or((&Address::ZERO, &[]));
    let (found, expected) = (*first, admitted.package.release.key);
    let on_host = |host: &Address| view.instance(admitted.package.release.package, *host) == Some(found);
    if found != expected && !hosts.iter().any(on_host) {
        return Err(ReceiptProblem::CryptletKey { found, expected });
    }
    let mut before: Option<Address> = None;
    for host in hosts.iter().copied() {
        let entry = view.host(host).ok_or(ReceiptProblem::Host(host))?;
        if view.host_at(host, receipt.as_of_ms).is_none() {
            return Err(ReceiptProblem::Attestation { host, as_of_ms: receipt.as_of_ms });
        }
        if before.is_some_and(|before| before >= host) {
            return Err(ReceiptProblem::HostOrder);
        }
        before = Some(host);
        if receipt.status != Status::Unavailable && receipt.profile != entry.profile {
            return Err(ReceiptProblem::Profile { host, found: receipt.profile, expected: entry.profile });
        }
    }
    Ok(())
}

/// Receipts whose signatures are to be recovered, by position, with what they were admitted to.
type Answered<'a> = Vec<(usize, &'a SignedReceipt, Admitted)>;

/// Checks every receipt of a record. The first problem in the order of the receipts is named among those of the same
/// stage: first everything but signatures, then signatures.
pub(super) fn check_record(
    shared: &Shared,
    record: &DelegationRecord,
    place: &Place,
) -> Result<(), RecordError> {
    let count = record.receipts.len();
    if count > DelegationRecord::RECEIPTS_MAX {
        return Err(RecordError::TooMany { count, count_max: DelegationRecord::RECEIPTS_MAX });
    }
    if record.receipts.is_empty() && record.anchor == bletchley_ledger::Anchor::default() {
        return Ok(());
    }
    if !shared.parts.registry.is_final(&record.anchor) {
        return Err(RecordError::Anchor { height: record.anchor.height });
    }
    if record.receipts.is_empty() {
        return Ok(());
    }
    let view = shared.view(record.anchor);
    let mut answered: Answered<'_> = Vec::with_capacity(count);
    for (index, signed) in record.receipts.iter().enumerate() {
        let admitted =
            check_unsigned(signed, place, &view).map_err(|problem| refused(index, signed, &problem))?;
        answered.extend(admitted.map(|admitted| (index, signed, admitted)));
    }
    let mut known = known_signers(shared, &answered);
    let unknown: Vec<_> = answered.iter().filter(|(index, ..)| !known.contains_key(index)).collect();
    let items: Vec<(B256, Signature)> = unknown
        .iter()
        .flat_map(|(_, signed, _)| {
            let digest = signed.receipt.signing_digest();
            signed.signatures.iter().map(move |signature| (digest, *signature))
        })
        .collect();
    let mut recovered = recover_all(&items).into_iter();
    for (index, signed, _) in unknown {
        let signers: Vec<_> = recovered.by_ref().take(signed.signatures.len()).collect();
        let malformed = signers.iter().position(Result::is_err);
        if let Some(position) = malformed {
            return Err(refused(*index, signed, &ReceiptProblem::Signature(position)));
        }
        known.insert(*index, signers.into_iter().flatten().collect());
    }
    for (index, signed, admitted) in &answered {
        let signers = known.get(index).map_or(&[][..], Vec::as_slice);
        check_signers(signed, admitted, &view, signers)
            .map_err(|problem| refused(*index, signed, &problem))?;
    }
    want_evidence(shared, &answered, &known);
    Ok(())
}

/// Has the evidence of checked receipts fetched from those who signed them: who has it can run the calls again.
fn want_evidence(shared: &Shared, answered: &Answered<'_>, signers: &BTreeMap<usize, Vec<Address>>) {
    let Some(others) = shared.others() else { return };
    let own: Vec<Address> = shared.parts.hosts.iter().map(|host| host.address()).collect();
    for (index, signed, _) in answered {
        let hosts = signers.get(index).and_then(|signers| signers.get(1..)).unwrap_or_default();
        // A host that signed has the evidence.
        if signed.receipt.transcript != NOTHING && !hosts.iter().any(|host| own.contains(host)) {
            others.want(ContentId(signed.receipt.transcript), hosts);
        }
    }
}

/// Checks a receipt that is in no block yet, at the newest anchor, and gives its signers. Whether it fits a block is
/// asked again when one is built.
pub(super) fn check_shared(shared: &Shared, signed: &SignedReceipt) -> Result<Vec<Address>, ReceiptProblem> {
    let receipt = &signed.receipt;
    if receipt.status == Status::Refused {
        return Err(ReceiptProblem::Status("status"));
    }
    let place = Place {
        ledger: receipt.ledger,
        height: receipt.valid_from,
        parent: bletchley_primitives::BlockHash::default(),
        time_ms: receipt.as_of_ms,
    };
    let view = shared.view(shared.parts.registry.anchor());
    check_place(signed, &place)?;
    let admitted = view.admit(receipt.cryptlet, receipt.caller, &receipt.method, receipt.as_of_ms)?;
    check_admitted(signed, &admitted)?;
    let digest = receipt.signing_digest();
    let items: Vec<_> = signed.signatures.iter().map(|signature| (digest, *signature)).collect();
    let recovered = recover_all(&items);
    if let Some(position) = recovered.iter().position(Result::is_err) {
        return Err(ReceiptProblem::Signature(position));
    }
    let signers: Vec<Address> = recovered.into_iter().flatten().collect();
    check_signers(signed, &admitted, &view, &signers)?;
    Ok(signers)
}

fn check_unsigned(
    signed: &SignedReceipt,
    place: &Place,
    view: &AnchorView,
) -> Result<Option<Admitted>, ReceiptProblem> {
    check_place(signed, place)?;
    if signed.receipt.status == Status::Refused {
        return check_refusal(signed, place, view).map(|()| None);
    }
    let receipt = &signed.receipt;
    let admitted = view.admit(receipt.cryptlet, receipt.caller, &receipt.method, receipt.as_of_ms)?;
    check_admitted(signed, &admitted)?;
    Ok(Some(admitted))
}

/// Signers of the receipts that this node made itself, equal to the byte: they need no recovery.
fn known_signers(shared: &Shared, answered: &Answered<'_>) -> BTreeMap<usize, Vec<Address>> {
    let table = shared.table.lock();
    answered
        .iter()
        .filter_map(|(index, signed, _)| {
            let (made, signers) = table.made_here(signed.receipt.call_id())?;
            (made.as_ref() == *signed).then(|| (*index, signers.to_vec()))
        })
        .collect()
}

fn refused(index: usize, signed: &SignedReceipt, problem: &ReceiptProblem) -> RecordError {
    RecordError::Receipt {
        index,
        cryptlet: signed.receipt.cryptlet.to_string(),
        method: signed.receipt.method.chars().take(CallBounds::METHOD_SIZE_BYTES_MAX).collect(),
        problem: problem.to_string(),
    }
}
