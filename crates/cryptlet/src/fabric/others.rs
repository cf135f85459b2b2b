//! The hosts of other members, as a fabric sees them.

use std::time::Instant;

use alloy_primitives::{Address, Bytes, keccak256};
use bletchley_ledger::{CallId, Receipt, SignedReceipt};
use bletchley_primitives::Signature;

use super::{Evidence, Work, view::AnchorView};
use crate::content::ContentId;

/// What other members' hosts are asked to sign.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The call.
    pub work: &'a Work,
    /// What the executing host says came of it.
    pub receipt: &'a Receipt,
    /// The output.
    pub output: &'a Bytes,
    /// What it saw; none when no host here could answer.
    pub evidence: Option<&'a Evidence>,
}

/// The hosts of other members. A host there signs what it confirmed by its own run, never on somebody's word.
pub trait Others: Send + Sync {
    /// Their addresses, as far as they are members now.
    fn hosts(&self) -> Vec<Address>;

    /// Asks these hosts, in this order, until `needed` signed or the time is over. Every signature that is given was
    /// checked to be the host's.
    fn confirm(
        &self,
        claim: &Claim<'_>,
        hosts: &[Address],
        needed: usize,
        deadline: Instant,
    ) -> Vec<(Address, Signature)>;

    /// Tells everyone of a finished receipt, so that nobody else runs the call.
    fn share(&self, signed: &SignedReceipt);

    /// Fetches content that is missing here, some time, from one of the members with these hosts (from any if empty).
    fn want(&self, content: ContentId, hosts: &[Address]);
}

/// Hosts in the order in which they are responsible for a call: by digest of call and host, so that every member
/// comes to the same order and the calls are spread over all hosts.
pub(super) fn ranked(call: CallId, hosts: impl Iterator<Item = Address>) -> Vec<Address> {
    let mut ranked: Vec<_> = hosts
        .map(|host| {
            let mut bytes = call.0.to_vec();
            bytes.extend_from_slice(host.as_slice());
            (keccak256(bytes), host)
        })
        .collect();
    ranked.sort_unstable();
    ranked.dedup();
    ranked.into_iter().map(|(_, host)| host).collect()
}

/// How many hosts are responsible for a call before the first of `own`: those of them that count and are members.
pub(super) fn turn(call: CallId, view: &AnchorView, own: &[Address], others: &[Address]) -> usize {
    let counts = |host: &Address| own.contains(host) || others.contains(host);
    let ranked = ranked(call, view.hosts().filter(counts));
    ranked.iter().position(|host| own.contains(host)).unwrap_or(ranked.len())
}
