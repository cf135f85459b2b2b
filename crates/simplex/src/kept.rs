//! Final blocks as the stack finds them: the newest in its own archive, everything that the ledger keeps in the ledger.

use crate::application::Shared;
use crate::block::{Sealed, digest_of};
use bletchley_consensus::{Application as Ledger, EngineError, Payload};
use bletchley_primitives::LedgerId;
use commonware_codec::varint::UInt;
use commonware_consensus::marshal::store::Blocks;
use commonware_consensus::types::Height;
use commonware_cryptography::sha256::Digest;
use commonware_runtime::{Clock, Handle, Metrics, Storage};
use commonware_storage::archive::{Error, Identifier, prunable};
use commonware_storage::metadata::{self, Metadata};
use commonware_storage::translator::TwoCap;
use commonware_utils::sequence::U64;
use std::sync::Arc;

/// Where the stack notes the newest height that the ledger took in.
const PROCESSED: U64 = U64::new(0xFF);

/// The archive, and below it the ledger.
pub(crate) struct Kept<E: Storage + Metrics + Clock> {
    archive: prunable::Archive<TwoCap, E, Digest, Arc<Sealed>>,
    id: LedgerId,
    ledger: Arc<dyn Ledger>,
}

impl<E: Storage + Metrics + Clock> Kept<E> {
    pub(crate) fn new(archive: prunable::Archive<TwoCap, E, Digest, Arc<Sealed>>, shared: &Shared) -> Self {
        Self { archive, id: shared.id, ledger: shared.ledger.clone() }
    }

    fn head(&self) -> u64 {
        self.ledger.head().height.0
    }

    /// A block that the ledger keeps.
    fn in_ledger(&self, height: u64) -> Option<Arc<Sealed>> {
        if height == 0 {
            return Some(Arc::new(Sealed::genesis(self.id).inner().clone()));
        }
        let height = bletchley_primitives::Height(height);
        let block = self.ledger.block(height)?;
        let parent = Shared::digest_in(&*self.ledger, self.id, bletchley_primitives::Height(height.0 - 1))?;
        Sealed::new(Payload::new(parent, height, block)).map(Arc::new)
    }

    /// Whether the ledger itself says that this digest is that of its head, which is all that is asked for by digest.
    fn is_head(&self, digest: &Digest) -> bool {
        let head = self.ledger.head().height;
        Shared::digest_in(&*self.ledger, self.id, head).is_some_and(|kept| digest_of(kept) == *digest)
    }
}

impl<E: Storage + Metrics + Clock> Blocks for Kept<E> {
    type Block = Arc<Sealed>;
    type Error = Error;

    async fn put(self, digest: Digest, block: &Arc<Sealed>) -> Result<Self, Error> {
        let archive = Blocks::put(self.archive, digest, block).await?;
        Ok(Self { archive, ..self })
    }

    async fn sync(self) -> Result<Self, Error> {
        let archive = Blocks::sync(self.archive).await?;
        Ok(Self { archive, ..self })
    }

    async fn start_sync(self) -> Result<(Self, Handle<()>), Error> {
        let (archive, handle) = Blocks::start_sync(self.archive).await?;
        Ok((Self { archive, ..self }, handle))
    }

    async fn get(&self, id: Identifier<'_, Digest>) -> Result<Option<Arc<Sealed>>, Error> {
        let (height, key) = match id {
            Identifier::Index(height) => (Some(height), None),
            Identifier::Key(digest) => (None, Some(*digest)),
        };
        if let Some(found) = Blocks::get(&self.archive, id).await? {
            return Ok(Some(found));
        }
        let head = self.head();
        let is_head = key.is_some_and(|digest| self.is_head(&digest));
        let height = if is_head { Some(head) } else { height };
        Ok(height.filter(|height| *height <= head).and_then(|height| self.in_ledger(height)))
    }

    async fn prune(self, min: Height) -> Result<Self, Error> {
        let archive = Blocks::prune(self.archive, min).await?;
        Ok(Self { archive, ..self })
    }

    fn missing_items(&self, start: Height, max: usize) -> Vec<Height> {
        let above = Height::new(self.head().saturating_add(1));
        Blocks::missing_items(&self.archive, start.max(above), max)
    }

    fn next_gap(&self, value: Height) -> (Option<Height>, Option<Height>) {
        let head = Height::new(self.head());
        if value > head {
            return Blocks::next_gap(&self.archive, value);
        }
        // The ledger's blocks are one range, which the archive's may continue.
        let mut end = head;
        loop {
            let (reached, next) = Blocks::next_gap(&self.archive, end);
            end = end.max(reached.unwrap_or(end));
            if next != Some(end.next()) {
                return (Some(end), next);
            }
            end = end.next();
        }
    }

    fn last_index(&self) -> Option<Height> {
        let head = Height::new(self.head());
        Some(Blocks::last_index(&self.archive).map_or(head, |last| last.max(head)))
    }
}

/// Tells the stack's own files that the ledger has come further without it: blocks that were fetched by others' leave are
/// not delivered again.
///
/// # Errors
/// When the files cannot be used.
pub(crate) async fn note_head<E: Storage + Metrics + Clock>(
    context: E,
    partition: &str,
    shared: &Shared,
) -> Result<(), EngineError> {
    let head = shared.ledger.head().height;
    let config =
        metadata::Config { partition: format!("{partition}-application-metadata"), codec_config: () };
    let failed = |error| crate::stack::broken(head, format!("opening the engine's files: {error}"));
    let mut noted: Metadata<E, U64, UInt<u64>> = Metadata::init(context, config).await.map_err(failed)?;
    let behind = noted.get(&PROCESSED).is_none_or(|processed| processed.0 < head.0);
    if head.0 > 0 && behind {
        noted.put(PROCESSED, UInt(head.0));
        noted.sync().await.map_err(failed)?;
    }
    Ok(())
}
