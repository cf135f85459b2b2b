//! Final blocks on their way into the ledger.

use crate::application::Shared;
use crate::block::{Sealed, b256_of};
use bletchley_consensus::{ApplicationError, EngineError};
use bletchley_primitives::{Bytes, Height};
use commonware_cryptography::{Digested, Digestible as _};
use commonware_runtime::{Clock, Spawner};

/// Name in the genesis document.
pub(crate) const NAME: &str = "simplex";

/// What became of a final block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It is the head now.
    Kept,
    /// It was kept before: the stack delivers at least once.
    Again,
    /// Blocks below it are missing: this one comes first.
    Missing(Height),
}

fn failed(height: Height, source: ApplicationError) -> EngineError {
    EngineError { engine: NAME, height, source }
}

fn broken(height: Height, problem: &str) -> EngineError {
    failed(height, ApplicationError::Keep { height, problem: problem.to_owned() })
}

/// Executes a final block if this member has not done so, and keeps it.
///
/// # Errors
/// [`EngineError`] when the ledger cannot go on: it says otherwise about the same height, refuses what a quorum
/// accepted, or cannot write.
pub(crate) async fn deliver<E: Spawner + Clock>(
    context: &E,
    shared: &Shared,
    block: &Digested<Sealed>,
) -> Result<Delivered, EngineError> {
    let (payload, digest) = (block.inner().payload(), b256_of(&block.digest()));
    let (height, head) = (payload.height, shared.ledger.head());
    if height <= head.height {
        return match shared.digest_at(height) {
            Some(kept) if kept != digest => Err(broken(
                height,
                "this data folder has another block there than the consortium; restore it from a member's copy, or empty it to join anew",
            )),
            _ => Ok(Delivered::Again),
        };
    }
    if height > head.height.next() {
        return Ok(Delivered::Missing(head.height.next()));
    }
    let stopped = || broken(height, "the node is stopping");
    let verdict = shared.verify(context, &payload.block()).await.ok_or_else(stopped)?;
    let hash = verdict.map_err(|source| failed(height, source))?.hash;
    let (ledger, seal) = (shared.ledger.clone(), Bytes::copy_from_slice(digest.as_slice()));
    let kept = Shared::apart(context, move || ledger.finalize(hash, seal)).await.ok_or_else(stopped)?;
    kept.map_err(|source| failed(height, source))?;
    *shared.moved_at.lock() = context.current();
    shared.moved.notify_waiters();
    Ok(Delivered::Kept)
}
