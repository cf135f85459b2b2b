//! What a store holds of a token ledger: the state at its head.

use crate::header::Header;
use crate::state::{Loader, RowError, State};
use bletchley_ledger::{Anchor, BlockMeta, DiffReader, Extension, Head, ReadError, Section, SharedStore};
use bletchley_primitives::Height;

pub(crate) fn damaged(height: Height, problem: impl ToString) -> ReadError {
    ReadError::Damaged {
        place: format!("token ledger, state at block {height}"),
        problem: problem.to_string(),
    }
}

/// The state at the head of a store, from its snapshot and the diffs above it.
pub(crate) fn load(store: &SharedStore, head: BlockMeta) -> Result<State, ReadError> {
    let mut loader = Loader::default();
    let mut next = Height(0);
    if let Some(mut snapshot) = store.snapshot()? {
        let height = snapshot.height();
        let mut problem: Option<RowError> = None;
        snapshot.for_each(&mut |key, value| {
            if problem.is_none() {
                problem = loader.row(key, Some(value)).err();
            }
        })?;
        if let Some(problem) = problem {
            return Err(damaged(height, problem));
        }
        next = height.next();
    }
    while next <= head.height {
        let diff =
            store.section(next, Section::Diff)?.ok_or_else(|| damaged(next, "its changes are missing"))?;
        for change in DiffReader::new(&diff).map_err(|e| damaged(next, e))? {
            let (key, value) = change.map_err(|e| damaged(next, e))?;
            loader.row(key, value).map_err(|e| damaged(next, e))?;
        }
        next = next.next();
    }
    let header = store
        .section(head.height, Section::Header)?
        .ok_or_else(|| damaged(head.height, "it has no header"))?;
    let header = Header::decode_bytes(&header).map_err(|e| damaged(head.height, e))?;
    let at =
        Head { height: head.height, hash: head.hash, state_root: header.state_root, time_ms: head.time_ms };
    let mut state = loader.finish(at);
    state.anchor = anchor_of(store, head.height)?;
    let found = state.tree.state_root();
    if found != header.state_root {
        let problem = format!("its rows give state {found}, its header says {}", header.state_root);
        return Err(damaged(head.height, problem));
    }
    Ok(state)
}

/// What a kept block's extension names.
pub(crate) fn anchor_of(store: &SharedStore, height: Height) -> Result<Anchor, ReadError> {
    let extension = store.section(height, Section::Extension)?;
    let extension = extension.ok_or_else(|| damaged(height, "it has no extension"))?;
    Ok(Extension::decode(&extension).map_err(|e| damaged(height, e))?.record.anchor)
}
