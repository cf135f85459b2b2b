//! Parts that are broken on purpose: a simulation that does not notice them is worth nothing.

use bletchley_consensus::{Application, ApplicationError, PeerId, Proposal};
use bletchley_ledger::{Block, Executed, Head, Machine, ProposeContext, SharedStore};
use bletchley_primitives::{Address, BlockHash, Bytes, Height, TimestampMs};
use bletchley_storage::{Disk, DiskFile, FolderLock, Mode};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// What is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bug {
    /// Nothing.
    #[default]
    None,
    /// The store of member 0 says that blocks are durable and does not sync them.
    SkippedSync,
    /// Member 0 shows blocks before they are durable.
    ShownEarly,
    /// Half of the members count as a quorum, for the members of that half: two blocks become final at one height.
    HalfQuorum,
    /// Member 0 keeps a block of its own where another one became final.
    OwnBlock,
    /// Members accept every block that decodes.
    Credulous,
}

/// A disk whose syncs of segments do nothing.
#[derive(Debug)]
pub(crate) struct ForgetfulDisk(pub(crate) Arc<dyn Disk>);

#[derive(Debug)]
struct ForgetfulFile(Arc<dyn DiskFile>);

impl Disk for ForgetfulDisk {
    fn name(&self) -> String {
        self.0.name()
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        self.0.create_folder(folder)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }

    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.open(path, mode)?;
        // The small tables stay as they are.
        Ok(if path.contains('/') { Arc::new(ForgetfulFile(file)) } else { file })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.0.sync_folder(folder)
    }

    fn lock(&self) -> io::Result<Option<FolderLock>> {
        self.0.lock()
    }

    fn unforeseeable(&self) -> u64 {
        self.0.unforeseeable()
    }
}

impl DiskFile for ForgetfulFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.0.size_bytes()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        self.0.set_size(size_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A runner that is broken in one way.
pub(crate) struct BrokenRunner {
    pub(crate) bug: Bug,
    pub(crate) inner: Arc<dyn Application>,
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) store: SharedStore,
    pub(crate) held: Mutex<BTreeMap<BlockHash, Executed>>,
}

fn internal(height: Height, problem: &str) -> ApplicationError {
    ApplicationError::Keep { height, problem: problem.to_owned() }
}

impl BrokenRunner {
    fn hold(&self, executed: Executed) -> Proposal {
        let proposal = Proposal {
            height: executed.meta.height,
            hash: executed.meta.hash,
            block: executed.block.clone(),
            time_ms: executed.meta.time_ms,
            transactions: executed.transactions,
        };
        self.held.lock().insert(proposal.hash, executed);
        proposal
    }

    /// Keeps what was executed on the head, visible first and durable second.
    fn show_and_keep(&self, hash: BlockHash, seal: Bytes) -> Result<(), ApplicationError> {
        let height = self.machine.head().height.next();
        let executed =
            self.held.lock().get(&hash).cloned().ok_or_else(|| internal(height, "not executed"))?;
        self.machine.commit(hash).map_err(|error| internal(height, &error.to_string()))?;
        let finality = bletchley_ledger::Finality { seal, certificate: None };
        let stored = executed.into_stored(finality.encode());
        self.store.append(&stored).map_err(|error| internal(height, &error.to_string()))
    }

    fn replaces(&self, height: Height) -> bool {
        self.bug == Bug::OwnBlock && height.0.is_multiple_of(7)
    }
}

impl Application for BrokenRunner {
    fn head(&self) -> Head {
        self.inner.head()
    }

    fn ready(&self) -> usize {
        self.inner.ready()
    }

    fn propose(
        &self,
        parent: BlockHash,
        time_ms: TimestampMs,
        empty: bool,
    ) -> Result<Option<Proposal>, ApplicationError> {
        if self.bug != Bug::ShownEarly {
            return self.inner.propose(parent, time_ms, empty);
        }
        let context = ProposeContext { parent, time_ms, proposer: Address::ZERO, allow_empty: empty };
        Ok(self.machine.propose(&context)?.map(|executed| self.hold(executed)))
    }

    fn verify(&self, block: Block) -> Result<Proposal, ApplicationError> {
        match self.bug {
            Bug::ShownEarly => {
                let prepared = self.machine.prepare(block)?;
                Ok(self.hold(self.machine.execute(prepared)?))
            }
            Bug::Credulous => match self.inner.verify(block.clone()) {
                Err(error) if !error.is_early() => {
                    let head = self.inner.head();
                    let hash = BlockHash(alloy_primitives::keccak256(&block.header));
                    Ok(Proposal {
                        height: head.height.next(),
                        hash,
                        block,
                        time_ms: head.time_ms,
                        transactions: 0,
                    })
                }
                verdict => verdict,
            },
            _ => self.inner.verify(block),
        }
    }

    fn refused(&self, height: Height, proposer: PeerId, error: &ApplicationError) {
        self.inner.refused(height, proposer, error);
    }

    fn finalize(&self, hash: BlockHash, seal: Bytes) -> Result<(), ApplicationError> {
        let head = self.inner.head();
        match self.bug {
            Bug::ShownEarly => self.show_and_keep(hash, seal),
            Bug::Credulous => self.inner.finalize(hash, seal).or(Ok(())),
            _ if self.replaces(head.height.next()) => {
                let time_ms = TimestampMs(head.time_ms.0.saturating_add(1));
                let own = self.inner.propose(head.hash, time_ms, true)?;
                let own = own.ok_or_else(|| internal(head.height, "no block of its own"))?;
                self.inner.finalize(own.hash, seal)
            }
            _ => self.inner.finalize(hash, seal),
        }
    }

    fn seal(&self, height: Height) -> Option<Bytes> {
        self.inner.seal(height)
    }

    fn block(&self, height: Height) -> Option<Block> {
        self.inner.block(height)
    }

    fn abandon(&self, hash: BlockHash) {
        self.inner.abandon(hash);
    }
}
