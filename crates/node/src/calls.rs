//! Delegated calls between the members of one ledger, wired to the network and to who the members are.

use crate::bootstrap::HostRequests;
use crate::ledgers::Ground;
use anyhow::{Context, Result};
use bletchley_consensus::Post;
use bletchley_consortium::Member;
use bletchley_cryptlet::calls::{Calls, CallsParts, MemberHost};
use bletchley_cryptlet::fabric::Fabric;
use std::sync::{Arc, OnceLock};

/// Threads that run calls of blocks to come, where most of a call is waiting for other members' hosts.
pub(crate) const CONSORTIUM_WORKERS: usize = 8;

/// What of the node's own registering hears of the calls.
pub(crate) struct Wiring<'a> {
    /// Who the members are now, of those that share the ledger.
    pub(crate) members: &'a [Member],
    /// Where hosts ask to be admitted, and who is told of the calls once they run: on the first smart-contract ledger,
    /// which all members share.
    pub(crate) bootstrap: Option<(HostRequests, &'a OnceLock<Arc<Calls>>)>,
}

/// Starts calls between the members of a ledger: `post` sends, what arrives goes to the answer's
/// [`bletchley_consensus::Receive`]. Whoever the members are is told at once, and again with [`Calls::set_members`] when
/// that changes.
///
/// # Errors
/// What the operating system said when it was asked for threads.
pub(crate) fn start(
    ground: &Ground,
    fabric: &Arc<Fabric>,
    post: Arc<dyn Post>,
    wiring: Wiring<'_>,
) -> Result<Arc<Calls>> {
    let Wiring { members, bootstrap } = wiring;
    let (requests, known) = bootstrap.unzip();
    let parts = CallsParts {
        post,
        host: ground.host.clone(),
        registry: ground.registry.clone(),
        content: ground.content.clone(),
        on_host_request: requests.map(|requests| -> bletchley_cryptlet::calls::OnHostRequest {
            Arc::new(move |_, request| requests.take(request))
        }),
    };
    let calls = Calls::start(parts, fabric).context("starting calls between members")?;
    calls.set_members(hosts_of(members));
    if let Some(known) = known {
        // A second one for the same bootstrap changes nothing.
        let _ = known.set(calls.clone());
    }
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
