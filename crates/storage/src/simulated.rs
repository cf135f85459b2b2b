//! A disk in memory that remembers what was not synced, and loses any part of it in a power cut; for tests.

use crate::conformance::Numbers;
use crate::disk::{Disk, DiskFile, FolderLock, Mode};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Disks keep or lose this much at once.
const SECTOR_SIZE: usize = 512;

/// What goes wrong, once, at a chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process ends: this operation happens in part, none after it does.
    Crash,
    /// A write happens in part and reports that the disk is full.
    NoSpace,
    /// A sync fails, and what it should have made durable never will be, though it can be read until a power cut.
    SyncFails,
}

/// A data folder in memory. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
}

struct World {
    numbers: Numbers,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    down: bool,
    /// Handles and locks of an earlier life are dead.
    life: u64,
    locked: bool,
}

#[derive(Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Size(usize),
}

enum NameChange {
    Link(String, usize),
    Rename(String, String),
    Remove(String),
}

impl NameChange {
    fn folder(&self) -> &str {
        let (Self::Link(path, _) | Self::Rename(path, _) | Self::Remove(path)) = self;
        path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Size(size) => to.resize(*size, 0),
            Self::Write { offset, bytes } => write_into(to, *offset, bytes),
        }
    }

    /// What a power cut leaves of it: nothing, all, a beginning, or any of its sectors.
    fn apply_torn(&self, to: &mut Vec<u8>, numbers: &mut Numbers) {
        match (self, numbers.below(4)) {
            (_, 0) => {}
            (Self::Write { offset, bytes }, 2) => {
                let kept = numbers.below(bytes.len() as u64 + 1) as usize;
                write_into(to, *offset, bytes.get(..kept).unwrap_or_default());
                if numbers.below(2) == 0 {
                    to.resize(to.len().max(offset + bytes.len()), 0);
                }
            }
            (Self::Write { offset, bytes }, 3) => {
                to.resize(to.len().max(offset + bytes.len()), 0);
                let mut at = 0;
                while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
                    let size = (SECTOR_SIZE - (offset + at) % SECTOR_SIZE).min(rest.len());
                    if numbers.below(2) == 0 {
                        write_into(to, offset + at, rest.get(..size).unwrap_or_default());
                    }
                    at += size;
                }
            }
            _ => self.apply(to),
        }
    }
}

fn write_into(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    to.resize(to.len().max(end), 0);
    if let Some(target) = to.get_mut(offset..end) {
        target.copy_from_slice(bytes);
    }
}

/// How an operation goes on.
enum Turn {
    Go,
    /// Only a part of it happens; then this error.
    Part(io::Error),
}

fn down() -> io::Error {
    io::Error::other("the simulated process has ended")
}

impl World {
    /// Counts an operation and says how it goes.
    fn turn(&mut self, is_write: bool, is_sync: bool) -> io::Result<Turn> {
        if self.down {
            return Err(down());
        }
        let number = self.operations;
        self.operations += 1;
        let Some((at, fault)) = self.fault.filter(|(at, _)| number >= *at) else { return Ok(Turn::Go) };
        match fault {
            Fault::Crash if number == at => {
                self.down = true;
                Ok(Turn::Part(down()))
            }
            Fault::NoSpace if is_write => {
                self.fault = None;
                Ok(Turn::Part(io::ErrorKind::StorageFull.into()))
            }
            Fault::SyncFails if is_sync => {
                self.fault = None;
                Ok(Turn::Part(io::Error::other("simulated failure of a sync")))
            }
            _ => Ok(Turn::Go),
        }
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let turn = self.turn(false, false)?;
        let happens = match &turn {
            Turn::Go => true,
            Turn::Part(_) => self.numbers.below(2) == 0,
        };
        if happens {
            change.apply(&mut self.names);
            self.name_changes.push(change);
        }
        match turn {
            Turn::Go => Ok(()),
            Turn::Part(error) => Err(error),
        }
    }

    fn inode(&mut self, inode: usize) -> io::Result<&mut Inode> {
        self.inodes.get_mut(inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl SimulatedDisk {
    /// An empty disk, whose losses follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let world = World {
            numbers: Numbers::new(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            operations: 0,
            fault: None,
            down: false,
            life: 0,
            locked: false,
        };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// How many operations changed or synced anything until now.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.world.lock().operations
    }

    /// Lets a fault happen at the first fitting operation from number `at` on.
    pub fn plan(&self, at: u64, fault: Fault) {
        self.world.lock().fault = Some((at, fault));
    }

    /// Whether a planned crash has happened.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.world.lock().down
    }

    /// The process ends; the operating system keeps running, and all that was written stays.
    pub fn kill(&self) {
        let mut world = self.world.lock();
        world.life += 1;
        world.locked = false;
        world.down = false;
        world.fault = None;
    }

    /// The power goes: of all that was not synced, any part stays.
    pub fn cut_power(&self) {
        self.kill();
        let mut world = self.world.lock();
        let World { numbers, inodes, names, durable_names, name_changes, .. } = &mut *world;
        // A file system's journal keeps a beginning of the changes of names.
        let kept = numbers.below(name_changes.len() as u64 + 1) as usize;
        for change in name_changes.iter().take(kept) {
            change.apply(durable_names);
        }
        name_changes.clear();
        *names = durable_names.clone();
        for inode in inodes {
            for change in std::mem::take(&mut inode.unsynced) {
                change.apply_torn(&mut inode.durable, numbers);
            }
            inode.bytes = inode.durable.clone();
        }
    }

    /// Names of all files.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.world.lock().names.keys().cloned().collect()
    }

    /// Bytes of a file, none when it is not there.
    #[must_use]
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let world = self.world.lock();
        Some(world.inodes.get(*world.names.get(path)?)?.bytes.clone())
    }

    /// Replaces a file, durably, as damage would; creates it when it is not there.
    pub fn replace(&self, path: &str, bytes: Vec<u8>) {
        let mut world = self.world.lock();
        let inode = world.inodes.len();
        world.inodes.push(Inode { bytes: bytes.clone(), durable: bytes, unsynced: Vec::new() });
        world.names.insert(path.to_owned(), inode);
        world.durable_names.insert(path.to_owned(), inode);
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedDisk")
    }
}

impl Disk for SimulatedDisk {
    fn name(&self) -> String {
        "(simulated disk)".into()
    }

    fn create_folder(&self, _: &str) -> io::Result<()> {
        // Folders are not simulated: names hold whole paths.
        if self.is_down() { Err(down()) } else { Ok(()) }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let world = self.world.lock();
        let within = |path: &String| {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            (parent == folder).then(|| name.to_owned())
        };
        Ok(world.names.keys().filter_map(within).collect())
    }

    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world.lock();
        if world.down {
            return Err(down());
        }
        let there = world.names.get(path).copied();
        let inode = match (there, mode) {
            (Some(inode), Mode::Read | Mode::Write) => inode,
            (None, Mode::Read | Mode::Write) => return Err(io::ErrorKind::NotFound.into()),
            (there, Mode::Create) => {
                let inode = there.unwrap_or(world.inodes.len());
                if there.is_none() {
                    world.inodes.push(Inode::default());
                    world.change_names(NameChange::Link(path.to_owned(), inode))?;
                } else {
                    let truncated = world.inode(inode)?;
                    truncated.bytes.clear();
                    truncated.unsynced.push(Change::Size(0));
                }
                inode
            }
        };
        let life = world.life;
        drop(world);
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode, life, writable: mode != Mode::Read }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world.lock();
        if !world.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change_names(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut world = self.world.lock();
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change_names(NameChange::Remove(path.to_owned()))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut world = self.world.lock();
        if let Turn::Part(error) = world.turn(false, true)? {
            return Err(error);
        }
        let (synced, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut world.name_changes).into_iter().partition(|change| change.folder() == folder);
        for change in synced {
            change.apply(&mut world.durable_names);
        }
        world.name_changes = rest;
        Ok(())
    }

    fn lock(&self) -> io::Result<Option<FolderLock>> {
        let mut world = self.world.lock();
        if world.locked {
            return Ok(None);
        }
        world.locked = true;
        Ok(Some(Box::new(SimulatedLock { disk: self.clone(), life: world.life })))
    }

    fn unforeseeable(&self) -> u64 {
        self.world.lock().numbers.next()
    }
}

struct SimulatedLock {
    disk: SimulatedDisk,
    life: u64,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut world = self.disk.world.lock();
        if world.life == self.life {
            world.locked = false;
        }
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
    life: u64,
    writable: bool,
}

impl SimulatedFile {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut world = self.disk.world.lock();
        if world.life != self.life {
            return Err(down());
        }
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let (change, error) = match (world.turn(matches!(change, Change::Write { .. }), false)?, change) {
            (Turn::Go, change) => (Some(change), None),
            (Turn::Part(error), Change::Write { offset, mut bytes }) => {
                bytes.truncate(world.numbers.below(bytes.len() as u64 + 1) as usize);
                (Some(Change::Write { offset, bytes }), Some(error))
            }
            (Turn::Part(error), change) => ((world.numbers.below(2) == 0).then_some(change), Some(error)),
        };
        let inode = world.inode(self.inode)?;
        if let Some(change) = change {
            change.apply(&mut inode.bytes);
            inode.unsynced.push(change);
        }
        error.map_or(Ok(()), Err)
    }
}

impl DiskFile for SimulatedFile {
    fn size_bytes(&self) -> io::Result<u64> {
        let mut world = self.disk.world.lock();
        Ok(world.inode(self.inode)?.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut world = self.disk.world.lock();
        let bytes = &world.inode(self.inode)?.bytes;
        let from = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)?.get(..into.len()));
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.change(Change::Write { offset, bytes: bytes.to_vec() })
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        self.change(Change::Size(usize::try_from(size_bytes).map_err(|_| io::ErrorKind::FileTooLarge)?))
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.world.lock();
        if world.life != self.life {
            return Err(down());
        }
        let turn = world.turn(false, true)?;
        let crashed = world.down;
        let inode = world.inode(self.inode)?;
        if let Turn::Part(error) = turn {
            if !crashed {
                inode.unsynced.clear();
            }
            return Err(error);
        }
        for change in std::mem::take(&mut inode.unsynced) {
            change.apply(&mut inode.durable);
        }
        Ok(())
    }
}
