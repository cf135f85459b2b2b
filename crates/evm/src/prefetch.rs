//! Starts delegated calls before their transaction's block: a transaction that may call the delegate is simulated when it
//! enters the pool, so that the fabric is polled early.
//!
//! What is simulated is learned: per contract and selector, whether a transaction was seen to delegate. Nothing that
//! consensus sees depends on it. One thread serves a ledger; it starts with the first candidate and ends with the ledger.

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, TxKind};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::{
    Arc, Weak,
    mpsc::{Receiver, SyncSender, sync_channel},
};

use crate::{
    core::Core,
    delegate::{Session, Source},
    execute::{admit_sender, vm},
    tx::RecoveredTx,
};

/// Most contract functions that are remembered; beyond it everything is learned anew.
const LEARNED_MAX: usize = 65_536;
/// Most transactions that wait to be simulated; others find their calls started when their block is built.
const QUEUE_MAX: usize = 256;

type Function = (Address, [u8; 4]);

/// What is known of a contract's function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Its transactions were not seen to delegate.
    Free,
    /// One was.
    Delegates,
}

#[derive(Default)]
pub(crate) struct Prefetcher {
    learned: Mutex<FxHashMap<Function, Known>>,
    queue: Mutex<Option<SyncSender<Arc<RecoveredTx>>>>,
}

fn function(tx: &RecoveredTx) -> Option<Function> {
    match tx.tx.kind() {
        TxKind::Call(to) => tx.tx.input().first_chunk::<4>().map(|selector| (to, *selector)),
        TxKind::Create => None,
    }
}

impl Prefetcher {
    /// Remembers whether a transaction made a delegated call. Once seen to delegate, a function is always simulated.
    pub(crate) fn learn(&self, tx: &RecoveredTx, delegated: bool) {
        let Some(function) = function(tx) else { return };
        let mut learned = self.learned.lock();
        match learned.get_mut(&function) {
            Some(known) if delegated => *known = Known::Delegates,
            Some(_) => {}
            None => {
                if learned.len() >= LEARNED_MAX {
                    learned.clear();
                }
                learned.insert(function, if delegated { Known::Delegates } else { Known::Free });
            }
        }
    }

    /// Whether a transaction may delegate, as far as is known.
    fn may_delegate(&self, tx: &RecoveredTx) -> bool {
        function(tx).is_some_and(|function| self.learned.lock().get(&function) != Some(&Known::Free))
    }

    /// Hands a pooled transaction to the thread; drops it when the queue is full.
    pub(crate) fn offer(&self, core: &Arc<Core>, tx: &Arc<RecoveredTx>) {
        if !self.may_delegate(tx) {
            return;
        }
        let mut queue = self.queue.lock();
        let sender = queue.get_or_insert_with(|| start(Arc::downgrade(core)));
        if sender.try_send(tx.clone()).is_err() {
            tracing::debug!(hash = %tx.hash, "the prefetch queue is full");
        }
    }
}

fn start(core: Weak<Core>) -> SyncSender<Arc<RecoveredTx>> {
    let (sender, receiver) = sync_channel(QUEUE_MAX);
    let thread = std::thread::Builder::new().name("evm-prefetch".to_owned());
    if let Err(error) = thread.spawn(move || serve(&core, &receiver)) {
        tracing::warn!(%error, "no thread for prefetching; delegated calls start when their block is built");
    }
    sender
}

/// Ends when the ledger is dropped, and the queue's other end with it.
fn serve(core: &Weak<Core>, receiver: &Receiver<Arc<RecoveredTx>>) {
    while let Ok(tx) = receiver.recv() {
        let Some(core) = core.upgrade() else { return };
        // What came before it in the queue may have shown meanwhile that its function does not delegate.
        if core.prefetcher.may_delegate(&tx) && core.pool.lock().contains(&tx.hash) {
            prefetch(&core, &tx);
        }
    }
}

/// Simulates a transaction on the pending state, up to the first delegated call that is not ready.
pub(crate) fn prefetch(core: &Core, tx: &RecoveredTx) {
    let (head, view) = core.at_head(crate::state::State::latest);
    let frame = core.pending_frame(&head);
    let source = Source::Probe { delegate: core.delegate.clone() };
    let mut session = Session::new(source, core.place(&frame));
    session.begin(tx.hash, tx.sender);
    let block = frame.env();
    let mut vm = vm(core.reader(view), frame.fork.spec(), core.genesis.chain_id, block, session, ());
    admit_sender(&mut vm, tx);
    // Earlier transactions of the sender have not run here.
    vm.ctx.cfg.disable_nonce_check = true;
    let result = revm::ExecuteEvm::transact_one(&mut vm, tx.env());
    let delegated = vm.precompiles.session.delegated();
    if delegated || result.is_ok() {
        core.prefetcher.learn(tx, delegated);
    }
}
