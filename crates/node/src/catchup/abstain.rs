//! What a member must not do twice: when its data is older than what it signed, it follows until the epoch ends in which it
//! may have voted.

use bletchley_consensus::{Schedule, epoch_of};
use bletchley_crypto::recover_all;
use bletchley_ledger::{Certificate, Store, TableError};
use bletchley_primitives::{Address, Bytes, Height};

/// Small table of a store.
const TABLE: &str = "sync";
/// Key of the last epoch in which this member does not vote, eight bytes big-endian.
const KEY: &[u8] = b"abstains-through";
/// How far votes may be ahead of the newest certified block.
const VOTED_AHEAD_BLOCKS: u64 = 16;

/// Whether `me` signed this certificate.
pub(super) fn signed_by(certificate: &Certificate, me: Address) -> bool {
    let digest = certificate.checkpoint.signing_digest();
    let items: Vec<_> = certificate.signatures.iter().map(|signature| (digest, *signature)).collect();
    recover_all(&items).into_iter().any(|signer| signer.is_ok_and(|signer| signer == me))
}

/// Notes durably that this member does not vote in the epochs of blocks up to `newest`, and a little beyond.
///
/// # Errors
/// [`TableError`].
pub(super) fn note(store: &dyn Store, newest: Height, schedule: &dyn Schedule) -> Result<u64, TableError> {
    let voted = Height(newest.0.saturating_add(VOTED_AHEAD_BLOCKS));
    let epoch = epoch_of(voted, schedule.epoch_blocks());
    let row = (Bytes::from_static(KEY), Some(Bytes::copy_from_slice(&epoch.to_be_bytes())));
    store.table_write(TABLE, &[row])?;
    Ok(epoch)
}

/// The last epoch in which this member does not vote, if it is not over.
///
/// # Errors
/// [`TableError`].
pub(crate) fn abstains_through(
    store: &dyn Store,
    schedule: &dyn Schedule,
) -> Result<Option<u64>, TableError> {
    let Some(bytes) = store.table_get(TABLE, KEY)? else { return Ok(None) };
    let last = bytes.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
    let head = store.head().map(|head| head.height).unwrap_or_default();
    let now = epoch_of(head.next(), schedule.epoch_blocks());
    Ok(last.filter(|last| now <= *last))
}
