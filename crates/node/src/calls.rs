//! Delegated calls between the members of one ledger, wired to the network and to who the members are.

use crate::bootstrap::HostRequests;
use crate::ledgers::Ledgers;
use anyhow::{Context, Result};
use bletchley_consensus::Post;
use bletchley_consortium::Member;
use bletchley_cryptlet::calls::{Calls, CallsParts, MemberHost};
use std::sync::{Arc, OnceLock};

/// Threads that run calls of blocks to come, where most of a call is waiting for other members' hosts.
pub(crate) const CONSORTIUM_WORKERS: usize = 8;

/// Starts calls between members: `post` sends, what arrives goes to the answer's [`bletchley_consensus::Receive`].
/// `requests` and `known` are those of the bootstrap's parts. Whoever the members are is told at once, and again with
/// [`Calls::set_members`] when that changes.
///
/// # Errors
/// What the operating system said when it was asked for threads.
pub(crate) fn start(
    ledgers: &Ledgers,
    post: Arc<dyn Post>,
    members: &[Member],
    requests: HostRequests,
    known: &OnceLock<Arc<Calls>>,
) -> Result<Arc<Calls>> {
    let parts = CallsParts {
        post,
        host: ledgers.host.clone(),
        registry: ledgers.registry.clone(),
        content: ledgers.content.clone(),
        on_host_request: Some(Arc::new(move |_, request| requests.take(request))),
    };
    let calls = Calls::start(parts, &ledgers.fabric).context("starting calls between members")?;
    calls.set_members(hosts_of(members));
    // A second one for the same bootstrap changes nothing.
    let _ = known.set(calls.clone());
    Ok(calls)
}

/// The members' hosts and nodes.
pub(crate) fn hosts_of(members: &[Member]) -> impl Iterator<Item = MemberHost> + '_ {
    members.iter().map(|member| MemberHost {
        name: member.name.clone(),
        peer: member.peer(),
        host: member.host,
    })
}
