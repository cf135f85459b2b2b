//! Stores by name, for those who read the name from a configuration.

use crate::memory::MemoryStore;
use crate::open::{OpenError, Options};
use crate::store::SegmentStore;
use bletchley_ledger::SharedStore;
use std::path::Path;
use std::sync::Arc;

/// Names that [`open`] knows.
pub const NAMES: [&str; 2] = ["segments", "memory"];

/// Opens the store called `name` for the data folder `folder`.
///
/// # Errors
/// [`OpenError`].
pub fn open(name: &str, folder: &Path, options: Options) -> Result<SharedStore, OpenError> {
    match name {
        "segments" => Ok(Arc::new(SegmentStore::open(folder, options)?)),
        "memory" if options.rewindable => Ok(Arc::new(MemoryStore::rewindable())),
        "memory" => Ok(Arc::new(MemoryStore::new())),
        _ => Err(OpenError::UnknownName { name: name.to_owned(), known: NAMES.join(", ") }),
    }
}
