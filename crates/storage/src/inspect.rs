//! Reads every record of a data folder, verifies every checksum and names each damage, without changing anything.

use crate::damage::{Damage, TAIL};
use crate::disk::{Disk, FolderDisk, Mode};
use crate::live::{SEGMENTS, heights_of, index_path, segment_path};
use crate::open::{OpenError, attempt};
use crate::record::{self, Part, RecordHeader, SEGMENT_HEADER_SIZE};
use crate::scan::{Found, Scan, ScanError};
use crate::sealed;
use bletchley_ledger::StoredBlock;
use bletchley_primitives::{BlockHash, Bytes, Height};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Blocks and damages of a data folder, in the order of the chain.
///
/// After a damage it goes on with the next record that can be read. A block of which any part is damaged is not given.
#[derive(Debug)]
pub struct Inspect {
    disk: Arc<dyn Disk>,
    segments: VecDeque<Height>,
    current: Option<Position>,
    ready: VecDeque<Result<StoredBlock, Damage>>,
    expected: Height,
    parent: Option<BlockHash>,
}

struct Position {
    scan: Scan,
    offset: u64,
    first: Height,
}

impl std::fmt::Debug for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Position")
            .field("first", &self.first)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// Inspects the data folder at `folder`; nothing is created, locked or changed.
///
/// # Errors
/// [`OpenError`] when there is no ledger data or it cannot be listed. Damage is not an error here but an item.
pub fn inspect(folder: impl AsRef<Path>) -> Result<Inspect, OpenError> {
    inspect_on(Arc::new(FolderDisk::new(folder)))
}

/// Inspects a data folder on any [`Disk`].
///
/// # Errors
/// As [`inspect`].
pub fn inspect_on(disk: Arc<dyn Disk>) -> Result<Inspect, OpenError> {
    let listed = disk.list(SEGMENTS).map_err(attempt("listing the segments"));
    let names = listed.map_err(|error| error.in_folder(disk.as_ref()))?;
    let segments = VecDeque::from(heights_of(&names, "seg"));
    if segments.is_empty() {
        return Err(OpenError::NothingThere { folder: disk.name() });
    }
    let (expected, parent) = (Height(0), Some(BlockHash::default()));
    Ok(Inspect { disk, segments, current: None, ready: VecDeque::new(), expected, parent })
}

impl Iterator for Inspect {
    type Item = Result<StoredBlock, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let step = match self.current.take() {
                Some(position) => {
                    let name = segment_path(position.first);
                    self.step(position).map_err(|error| (name, error))
                }
                None => {
                    let first = self.segments.pop_front()?;
                    self.begin(first).map_err(|error| (segment_path(first), error))
                }
            };
            if let Err((file, error)) = step {
                let problem = format!("it cannot be read: {error}");
                self.damage(Damage { file, offset: 0, height: None, part: "segment", problem });
            }
        }
    }
}

impl Inspect {
    fn damage(&mut self, damage: Damage) {
        self.ready.push_back(Err(damage));
    }

    fn begin(&mut self, first: Height) -> io::Result<()> {
        let name = segment_path(first);
        let file = self.disk.open(&name, Mode::Read)?;
        let size = file.size_bytes()?;
        let scan = match Scan::begin(file.clone(), name.clone()) {
            Ok(scan) => scan,
            Err(ScanError::Io(error)) => return Err(error),
            Err(ScanError::Header(mut damage)) => {
                if self.segments.is_empty() && size <= SEGMENT_HEADER_SIZE as u64 {
                    damage.part = TAIL;
                    damage.problem = "a segment that was just being begun".into();
                }
                self.damage(damage);
                let Some(scan) = Scan::begin_without_header(file, name.clone())? else { return Ok(()) };
                scan
            }
        };
        let at = |offset, height, part, problem| Damage { file: name.clone(), offset, height, part, problem };
        if !scan.mark_whole {
            let problem = "its checksum does not fit; the next start writes it again".to_owned();
            self.damage(at(record::MARK_OFFSET as u64, None, "mark", problem));
        }
        if scan.header.first != first {
            let problem =
                format!("it says that its first block is {}, its name says {first}", scan.header.first);
            self.damage(at(0, None, "segment header", problem));
        }
        if first != self.expected {
            let problem = format!("the blocks from here on are missing; the next file begins at {first}");
            self.damage(at(0, Some(self.expected), "segment", problem));
            self.parent = None;
        }
        self.expected = first;
        if !self.segments.is_empty() {
            self.check_index(first)?;
        }
        self.current = Some(Position { scan, offset: SEGMENT_HEADER_SIZE as u64, first });
        Ok(())
    }

    /// The index beside a sealed segment can be made again; that it is damaged is worth knowing.
    fn check_index(&mut self, first: Height) -> io::Result<()> {
        let name = index_path(first);
        let file = match self.disk.open(&name, Mode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for offset in sealed::damaged_pages(file.as_ref())? {
            let problem =
                "its checksum does not fit; delete this file, it is made again at the next start".to_owned();
            self.damage(Damage { file: name.clone(), offset, height: None, part: "segment index", problem });
        }
        Ok(())
    }

    fn step(&mut self, mut position: Position) -> io::Result<()> {
        let Position { scan, offset, .. } = &mut position;
        match scan.at(*offset)? {
            Found::End => {
                if *offset < scan.durable_end {
                    let problem =
                        format!("the file ends here, but was durable up to byte {}", scan.durable_end);
                    let damage = scan.damage(*offset, self.expected, "record header", problem);
                    self.damage(damage);
                }
                return Ok(());
            }
            Found::Whole(header) => {
                self.check_link(scan, *offset, &header);
                let record = Bytes::copy_from_slice(scan.record(*offset, &header)?);
                let block = record::decode(&header, &record);
                if !block.index.is_sorted() {
                    let at = *offset + header.span(Part::Index).offset;
                    let damage =
                        scan.damage(at, header.meta.height, "index", "its entries are not in order".into());
                    self.damage(damage);
                }
                self.ready.push_back(Ok(block));
                *offset += header.record_size();
            }
            Found::Parts(header, parts) => {
                self.check_link(scan, *offset, &header);
                for span in &parts {
                    let damage = scan.part_damage(*offset, &header, span);
                    self.damage(damage);
                }
                *offset += header.record_size();
            }
            found @ (Found::Short | Found::NoHeader(_)) => {
                let problem = match found {
                    Found::NoHeader(problem) => problem,
                    _ => "the record runs beyond the end of the file".into(),
                };
                match self.skip(scan, *offset, problem)? {
                    Some(next) => *offset = next,
                    None => return Ok(()),
                }
            }
        }
        self.current = Some(position);
        Ok(())
    }

    fn check_link(&mut self, scan: &Scan, offset: u64, header: &RecordHeader) {
        let meta = header.meta;
        if meta.height != self.expected {
            let problem = format!("block {} stands where block {} must", meta.height, self.expected);
            self.damage(scan.damage(offset, self.expected, "record header", problem));
        } else if self.parent.is_some_and(|parent| parent != meta.parent) {
            let problem = format!("it names {} as its parent, which is not the block before it", meta.parent);
            self.damage(scan.damage(offset, meta.height, "record header", problem));
        }
        self.expected = meta.height.next();
        self.parent = Some(meta.hash);
    }

    /// Reports that no record can be read at `offset`; gives the offset of the next one.
    fn skip(&mut self, scan: &mut Scan, offset: u64, problem: String) -> io::Result<Option<u64>> {
        let next = scan.find_header(offset + 1)?;
        let following = match next {
            Some(next) => scan.header_at(next)?,
            None => None,
        };
        let (problem, part) = match following {
            Some(header) if header.meta.height > self.expected.next() => {
                let lost = header.meta.height.0.saturating_sub(1);
                (
                    format!("{problem}; nothing can be read of blocks {} to {lost}", self.expected),
                    "record header",
                )
            }
            Some(_) => (problem, "record header"),
            None if self.segments.is_empty() && offset >= scan.durable_end => {
                let rest = scan.size() - offset;
                (
                    format!("{rest} bytes of a block whose append did not end; the next start cuts them off"),
                    TAIL,
                )
            }
            None => (problem, "record header"),
        };
        self.damage(scan.damage(offset, self.expected, part, problem));
        self.parent = None;
        self.expected = following.map_or(self.expected.next(), |header| header.meta.height);
        Ok(next)
    }
}
