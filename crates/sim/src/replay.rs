//! The end: what honest members hold is executed once more, from genesis, by machines that know nothing.

use crate::consortium::{Consortium, evm_genesis, token_genesis};
use crate::member::RootLedger;
use bletchley_evm::{EvmLedger, NoObserver};
use bletchley_ledger::{Machine, SharedStore, Store};
use bletchley_primitives::{Bytes, Height};
use bletchley_storage::{MemoryStore, Options, SegmentStore};
use bletchley_token::TokenMachine;
use std::sync::Arc;

/// Reads the disks of an honest member after the last power cut; gives heights and the number of transactions.
///
/// # Errors
/// When a block does not hold, or is not the one that was final.
pub(crate) fn verify(all: &Consortium) -> Result<([u64; 2], u64), String> {
    let member = all.honest().first().copied().ok_or("nobody is honest")?;
    let body = all.seats.get(member).and_then(|seat| seat.bodies.first()).ok_or("no such member")?;
    let mut stores = Vec::new();
    for disk in &body.disks {
        let store = SegmentStore::open_on(Arc::new(disk.clone()), Options::default());
        stores.push(store.map_err(|error| format!("opening member {member}'s disk at the end: {error}"))?);
    }
    let [tokens, evm] = stores.as_slice() else { return Err("a member has two disks".to_owned()) };
    let machine = TokenMachine::open(token_genesis(), Arc::new(MemoryStore::new()));
    let machine = Arc::new(machine.map_err(|error| error.to_string())?);
    let memory: SharedStore = Arc::new(MemoryStore::new());
    let fresh =
        Arc::new(TokenMachine::open(token_genesis(), memory.clone()).map_err(|error| error.to_string())?);
    drop(machine);
    let first = again(all, 0, tokens, (&*fresh, &memory))?;
    let memory: SharedStore = Arc::new(MemoryStore::new());
    let root = Arc::new(RootLedger(fresh));
    let fresh = EvmLedger::new(evm_genesis(&all.clients), memory.clone(), root, Arc::new(NoObserver));
    let fresh = fresh.map_err(|error| error.to_string())?;
    let second = again(all, 1, evm, (&*fresh.machine(), &memory))?;
    Ok(([first.0, second.0], first.1 + second.1))
}

fn again(
    all: &Consortium,
    ledger: usize,
    from: &SegmentStore,
    (machine, memory): (&dyn Machine, &SharedStore),
) -> Result<(u64, u64), String> {
    let head = from.head().ok_or("the disk is empty at the end")?.height;
    let mut transactions = 0;
    for height in (1..=head.0).map(Height) {
        let problem = |problem: &dyn std::fmt::Display| {
            format!("replaying block {height} of ledger {ledger}: {problem}")
        };
        let stored = from.block(height).map_err(|error| problem(&error))?.ok_or("a block is missing")?;
        let prepared = machine.prepare(stored.block).map_err(|error| problem(&error))?;
        let executed = machine.execute(prepared).map_err(|error| problem(&error))?;
        if all.chronicle.state_root(ledger, height).is_some_and(|root| root != executed.state_root) {
            return Err(problem(&"another state than the members had"));
        }
        let hash = executed.meta.hash;
        transactions += u64::from(executed.transactions);
        memory.append(&executed.into_stored(Bytes::new())).map_err(|error| problem(&error))?;
        machine.commit(hash).map_err(|error| problem(&error))?;
    }
    Ok((head.0, transactions))
}
