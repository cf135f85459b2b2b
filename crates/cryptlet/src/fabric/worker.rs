//! The workers: run a call, try again while hosts cannot answer, gather the signatures, keep the evidence.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Shared,
    host::{Gathered, Host, gather, unavailable},
    table::{Job, Next},
};
use crate::{
    container::{Unavailability, UnavailableKind},
    content::Durability,
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
    let hosts = shared.usable_hosts(&shared.pinned());
    let trouble = match attempt(shared, &hosts, &mut job, deadline) {
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
    // That a call could not be answered cannot be repeated: the other hosts take the executing one's word.
    let signed = hosts.first().map(|executor| {
        let others: Vec<_> = hosts.iter().skip(1).cloned().collect();
        gather(executor.as_ref(), &others, job.quorum, &job.work, receipt, output, |host, receipt| {
            host.sign(receipt)
        })
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
    })?;
    if let Err(error) = shared.parts.content.put(&execution.evidence.encode(), Durability::Relaxed) {
        // The receipt stands without its evidence; only re-execution needs it.
        tracing::warn!(call = %job.id, %error, "evidence of a call was not kept");
    }
    let others: Vec<_> = hosts
        .iter()
        .filter(|host| host.address() != executor.address() && host.profile() == executor.profile())
        .cloned()
        .collect();
    let (receipt, output) = (execution.receipt.clone(), execution.output.clone());
    let signed = gather(executor.as_ref(), &others, job.quorum, work, receipt, output, |host, _| {
        host.confirm(work, &execution)
    });
    Ok(settled(job, Some(signed)))
}

fn finish(shared: &Shared, job: &Job, gathered: Option<Gathered>) {
    let wake = shared.table.lock().finish(job, gathered);
    let tell = shared.on_ready.read().clone();
    if let Some(tell) = tell {
        wake.into_iter().for_each(|id| tell(id));
    }
}
