//! The thread that starts workers and lets idle ones go. One thread for all of a container's life: the kernel ends a
//! worker when the thread that started it ends, so that none outlives a node that was killed.

use std::{
    fs::File,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    Program,
    pool::Pool,
    process::{Birth, Process},
    session::Fault,
};
use crate::worker::{Limits, Task};

/// How often it is looked whether a worker has idled too long.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A worker to be started.
pub(super) struct Order {
    pub(super) task: Task,
    pub(super) limits: Limits,
    pub(super) code: Arc<File>,
    pub(super) output: Option<Arc<File>>,
}

type Asked = (Order, SyncSender<Result<Process, Fault>>);

/// Owns the thread; dropping it ends every worker between calls, then the thread.
pub(super) struct Keeper {
    orders: Option<Sender<Asked>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(program: Program, pool: Arc<Mutex<Pool>>) -> std::io::Result<Self> {
        let (orders, asked) = channel();
        let thread =
            Builder::new().name("cryptlet-keeper".to_owned()).spawn(move || keep(&program, &pool, &asked))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Starts a worker and waits for its jail.
    pub(super) fn order(&self, order: Order) -> Result<Process, Fault> {
        let (answer, answered) = sync_channel(1);
        let orders = self.orders.as_ref().ok_or(Fault::Gone)?;
        orders.send((order, answer)).map_err(|_| Fault::Gone)?;
        answered.recv().map_err(|_| Fault::Gone)?
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn keep(program: &Program, pool: &Mutex<Pool>, asked: &Receiver<Asked>) {
    loop {
        match asked.recv_timeout(LOOK_INTERVAL) {
            Ok((Order { task, limits, code, output }, answer)) => {
                let birth = Birth { program, task, limits, code: &code, output: output.as_deref() };
                // Nobody waits any more: the worker ends as it is dropped.
                let _ = answer.send(Process::start(&birth));
            }
            Err(RecvTimeoutError::Timeout) => {
                // Taken out first: ending them waits for the kernel.
                let retired = pool.lock().retire(Instant::now(), None);
                drop(retired);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
