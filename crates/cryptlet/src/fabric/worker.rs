//! The workers: run a call, try again while hosts cannot answer, gather the signatures, keep the evidence.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::Address;
use bletchley_primitives::Signature;

use super::{
    Shared,
    host::{Gathered, Host, Round, unavailable},
    others::{Claim, ranked},
    table::{Job, Next},
    view::AnchorView,
};
use crate::{
    container::{Unavailability, UnavailableKind},
    content::{ContentId, Durability},
};

/// Most doublings of the pause between attempts.
const PAUSE_DOUBLINGS_MAX: u32 = 6;

pub(super) fn work(shared: &Shared) {
    loop {
        let mut table = shared.table.lock();
        let job = loop {
            match table.next() {
                Next::Job(job) => break *job,
                Next::Closed => return,
                Next::Nothing(None) => shared.work_added.wait(&mut table),
                Next::Nothing(Some(when)) => {
                    shared.work_added.wait_until(&mut table, when);
                }
            }
        };
        drop(table);
        run(shared, job);
    }
}

fn run(shared: &Shared, mut job: Job) {
    let started = Instant::now();
    let timeout = Duration::from_millis(job.work.timeout_ms);
    let deadline = *job.deadline.get_or_insert_with(|| started.checked_add(timeout).unwrap_or(started));
    let view = shared.pinned();
    let hosts = shared.usable_hosts(&view, job.work.place.time_ms);
    let trouble = match attempt(shared, &view, &hosts, &mut job, deadline) {
        Ok(done) => return finish(shared, &job, done),
        Err(trouble) => trouble,
    };
    job.attempts = job.attempts.saturating_add(1);
    let doublings = job.attempts.saturating_sub(1).min(PAUSE_DOUBLINGS_MAX);
    let pause = Duration::from_millis(shared.config.retry_pause_ms.saturating_mul(1 << doublings));
    let again = Instant::now().checked_add(pause).filter(|again| *again < deadline);
    if let Some(again) = again.filter(|_| job.attempts < shared.config.attempts_max) {
        tracing::debug!(call = %job.id, reason = %trouble.reason, "a host could not answer, trying again");
        shared.table.lock().delay(job, again);
        shared.work_added.notify_one();
        return;
    }
    tracing::warn!(call = %job.id, reason = %trouble.reason, attempts = job.attempts, "no host could answer");
    let (receipt, output) = unavailable(&job.work, Some(&trouble));
    // That a call could not be answered cannot be repeated: the other hosts of this node take the executing one's
    // word. Those of other members try it themselves.
    let signed = hosts.first().map(|executor| {
        let others: Vec<_> = hosts.iter().skip(1).cloned().collect();
        let (work, quorum) = (&job.work, job.quorum);
        let instance = view.instance(work.package.release.package, executor.address());
        let round = Round { executor: executor.as_ref(), work, quorum, instance, receipt, output };
        // They get as long as the attempts here had, and are asked while the reason still stands.
        let until = Instant::now().checked_add(timeout).unwrap_or(deadline);
        round.gather(
            &others,
            |host, receipt| host.sign(receipt),
            |receipt, output, needed| {
                let claim = Claim { work, receipt, output, evidence: None };
                elsewhere(shared, &view, executor.as_ref(), &claim, needed, until)
            },
        )
    });
    finish(shared, &job, settled(&job, signed));
}

fn settled(job: &Job, signed: Option<Result<Gathered, super::HostError>>) -> Option<Gathered> {
    match signed {
        Some(Ok(gathered)) => Some(gathered),
        Some(Err(error)) => {
            tracing::error!(call = %job.id, %error, "a receipt could not be signed; its transaction waits");
            None
        }
        None => {
            tracing::error!(call = %job.id, "this node has no host that the policy names; the transaction waits");
            None
        }
    }
}

/// One attempt, on the next host in turn. `Ok(None)` when the answer is there but cannot be signed.
fn attempt(
    shared: &Shared,
    view: &AnchorView,
    hosts: &[Arc<dyn Host>],
    job: &mut Job,
    deadline: Instant,
) -> Result<Option<Gathered>, Unavailability> {
    let turn = (job.attempts as usize).checked_rem(hosts.len()).unwrap_or(0);
    let Some(executor) = hosts.get(turn) else { return Ok(settled(job, None)) };
    let left = deadline.saturating_duration_since(Instant::now());
    job.work.timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let work = &job.work;
    // A container does not panic; if one does, the call failed here and the worker goes on.
    let execution = catch_unwind(AssertUnwindSafe(|| executor.execute(work))).unwrap_or_else(|_| {
        Err(Unavailability { kind: UnavailableKind::HostFault, reason: "the container panicked".to_owned() })
    });
    if let (Err(Unavailability { kind: UnavailableKind::NotLoaded, .. }), Some(elsewhere)) =
        (&execution, shared.others())
    {
        elsewhere.want(ContentId(work.package.release.code_sha256), &[]);
    }
    let execution = execution?;
    if let Err(error) = shared.parts.content.put(&execution.evidence.encode(), Durability::Relaxed) {
        // The receipt stands without its evidence; only re-execution needs it.
        tracing::warn!(call = %job.id, %error, "evidence of a call was not kept");
    }
    let others: Vec<_> = hosts
        .iter()
        .filter(|host| host.address() != executor.address() && host.profile() == executor.profile())
        .cloned()
        .collect();
    let round = Round {
        executor: executor.as_ref(),
        work,
        quorum: job.quorum,
        instance: view.instance(work.package.release.package, executor.address()),
        receipt: execution.receipt.clone(),
        output: execution.output.clone(),
    };
    let signed = round.gather(
        &others,
        |host, _| host.confirm(work, &execution),
        |receipt, output, needed| {
            let claim = Claim { work, receipt, output, evidence: Some(&execution.evidence) };
            elsewhere(shared, view, executor.as_ref(), &claim, needed, deadline)
        },
    );
    Ok(settled(job, Some(signed)))
}

/// Signatures of other members' hosts that count and compute under the executing host's profile.
fn elsewhere(
    shared: &Shared,
    view: &AnchorView,
    executor: &dyn Host,
    claim: &Claim<'_>,
    needed: usize,
    deadline: Instant,
) -> Vec<(Address, Signature)> {
    let Some(others) = shared.others() else { return Vec::new() };
    let profile = executor.profile();
    let own: Vec<_> = shared.parts.hosts.iter().map(|host| host.address()).collect();
    let suits = |host: &Address| {
        !own.contains(host)
            && view.host_at(*host, claim.work.place.time_ms).is_some_and(|entry| entry.profile == profile)
    };
    let hosts = ranked(claim.work.call.id(), others.hosts().into_iter().filter(suits));
    others.confirm(claim, &hosts, needed, deadline)
}

fn finish(shared: &Shared, job: &Job, gathered: Option<Gathered>) {
    if let (Some(gathered), Some(others)) = (&gathered, shared.others()) {
        others.share(&gathered.signed);
    }
    let wake = shared.table.lock().finish(job, gathered);
    shared.tell(&wake);
}
