//! Appends without a sync each, for a node that catches up: a file in the folder says that the end of the log may be loose,
//! so that what a crash leaves of it is cut off when the folder is opened, and not taken for damage.

use super::{Growing, SegmentStore, Writer};
use crate::disk::{Disk, Mode};
use crate::live::Segment;
use crate::memory::check_next;
use crate::open::{StepError, attempt, write_mark};
use crate::record::{RECORD_SIZE_BYTES_MAX, RecordHeader};
use bletchley_ledger::{AppendError, Store as _, StoredBlock};
use std::io;

/// Says that blocks after the mark of the last segment may be there in part only.
const LOOSE: &str = "loose";

/// Whether the folder says so.
pub(super) fn is_noted(disk: &dyn Disk) -> Result<bool, StepError> {
    let names = disk.list("").map_err(attempt("listing the folder"))?;
    Ok(names.iter().any(|name| name == LOOSE))
}

/// Says that the log is whole.
pub(super) fn forget(disk: &dyn Disk) -> io::Result<()> {
    disk.remove(LOOSE)?;
    disk.sync_folder("")
}

impl SegmentStore {
    /// Appends a block; durable on return, or only after the next [`Self::settle_all`].
    pub(super) fn append_as(&self, block: &StoredBlock, durable: bool) -> Result<(), AppendError> {
        let height = block.meta.height;
        if self.options.read_only {
            let source = io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "this store was opened read-only");
            return Err(AppendError::Io { height, source });
        }
        let mut writer = self.writer.lock();
        if writer.poisoned {
            return Err(AppendError::Poisoned);
        }
        check_next(*self.head.read(), &block.meta)?;
        let size_bytes = RecordHeader::of(block, 0).map_or(u64::MAX, |header| header.record_size());
        if size_bytes > RECORD_SIZE_BYTES_MAX {
            return Err(AppendError::TooLarge { size_bytes, size_bytes_max: RECORD_SIZE_BYTES_MAX });
        }
        let appended = self.loosen(&mut writer, !durable);
        appended.and_then(|()| self.append_to(&mut writer, block, size_bytes, durable)).map_err(|source| {
            writer.poisoned = true;
            AppendError::Io { height, source }
        })
    }

    /// Notes in the folder whether the log's end may be loose, before it is, and after it is not any more.
    fn loosen(&self, writer: &mut Writer, loose: bool) -> io::Result<()> {
        if writer.noted_loose == loose {
            return Ok(());
        }
        if loose {
            self.disk.open(LOOSE, Mode::Create)?.sync()?;
            self.disk.sync_folder("")?;
        } else {
            self.settle_log(writer)?;
            forget(self.disk.as_ref())?;
        }
        writer.noted_loose = loose;
        Ok(())
    }

    /// Syncs what was appended without, and marks it.
    pub(super) fn settle_log(&self, writer: &mut Writer) -> io::Result<()> {
        if !writer.unsettled {
            return Ok(());
        }
        if let Some(Growing { segment, end }) = &writer.live
            && let Segment::Live(live) = segment.as_ref()
        {
            live.file.sync()?;
            write_mark(live.file.as_ref(), live.salt, *end)?;
            live.file.sync()?;
        }
        writer.unsettled = false;
        Ok(())
    }

    pub(super) fn settle_all(&self) -> Result<(), AppendError> {
        let mut writer = self.writer.lock();
        if writer.poisoned {
            return Err(AppendError::Poisoned);
        }
        let settled = self.settle_log(&mut writer);
        settled.map_err(|source| {
            writer.poisoned = true;
            AppendError::Io { height: self.head().map(|head| head.height).unwrap_or_default(), source }
        })
    }
}
