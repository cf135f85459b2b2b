//! Threads for requests that compute or wait, bounded, so that the asynchronous threads stay free.

use crate::error::RpcError;
use crate::limits::{QUEUED_MAX, READS_RUNNING_MAX, SUBMITS_RUNNING_MAX};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Which queue a request waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Calls, traces, logs, everything that reads.
    Read,
    /// Transactions.
    Submit,
}

/// Two queues over tokio's blocking threads.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    reads: Queue,
    submits: Queue,
}

#[derive(Debug, Clone)]
struct Queue {
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Queue {
    fn new(running_max: usize) -> Self {
        Self {
            admitted: Arc::new(Semaphore::new(QUEUED_MAX)),
            running: Arc::new(Semaphore::new(running_max)),
        }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self { reads: Queue::new(READS_RUNNING_MAX), submits: Queue::new(SUBMITS_RUNNING_MAX) }
    }
}

impl Pool {
    /// Runs `job` when its turn comes.
    ///
    /// # Errors
    /// [`RpcError`]: busy when too many wait already, internal when the job failed.
    pub(crate) async fn run<T, F>(&self, lane: Lane, job: F) -> Result<T, RpcError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let queue = match lane {
            Lane::Read => &self.reads,
            Lane::Submit => &self.submits,
        };
        let admitted = Arc::clone(&queue.admitted).try_acquire_owned().map_err(|_| RpcError::busy())?;
        let running = Arc::clone(&queue.running).acquire_owned().await.map_err(|_| RpcError::busy())?;
        // The permits travel with the job: a client that goes away does not free its place early.
        let task = tokio::task::spawn_blocking(move || {
            let _permits = (admitted, running);
            job()
        });
        task.await.map_err(|error| {
            tracing::error!(%error, "api.job failed");
            RpcError::internal("the request failed in the node and changed nothing that is not logged there")
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn says_that_it_is_busy() {
        let pool = Pool::default();
        let _all =
            Arc::clone(&pool.reads.admitted).try_acquire_many_owned(u32::try_from(QUEUED_MAX).unwrap());
        assert_eq!(pool.run(Lane::Read, || 1).await, Err(RpcError::busy()));
        assert_eq!(pool.run(Lane::Submit, || 2).await, Ok(2));
    }
}
