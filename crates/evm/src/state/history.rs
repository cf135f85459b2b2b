//! The values that blocks replaced: how readers see older heights.

use super::flat::FlatAccount;
use alloy_primitives::map::{AddressMap, U256Map};
use bletchley_primitives::{Address, B256, Height, U256};
use std::collections::{BTreeMap, VecDeque};

/// Blocks whose state can be read, besides the head's, on a ledger that is no archive. What they replaced is kept in
/// memory: about 80 bytes for every account or slot, so 2 MB for a block of 10,000 token transfers.
pub const WINDOW_BLOCKS: u64 = 128;

/// Why the state of a height cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// It is older than what is kept.
    #[error(
        "the state of block {height} is no longer kept (the oldest here is {oldest}); ask a node that runs in archive mode"
    )]
    Pruned {
        /// Height that was asked for.
        height: Height,
        /// Oldest height that can be read.
        oldest: Height,
    },
    /// It does not exist yet.
    #[error("block {height} does not exist yet; the head is {head}")]
    AboveHead {
        /// Height that was asked for.
        height: Height,
        /// The head.
        head: Height,
    },
    /// The ledger went back below it while it was read.
    #[error("the ledger was rewound while block {height} was read; ask again")]
    Rewound {
        /// Height that was asked for.
        height: Height,
    },
}

/// What one block replaced, in ascending order of addresses and slots.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) accounts: Vec<(Address, Option<FlatAccount>)>,
    pub(super) contracts: Vec<(Address, Vec<(U256, U256)>)>,
    /// Code that the block brought.
    pub(super) codes: Vec<B256>,
}

impl Record {
    fn account(&self, address: &Address) -> Option<Option<FlatAccount>> {
        let found = self.accounts.binary_search_by_key(address, |(address, _)| *address).ok()?;
        self.accounts.get(found).map(|(_, old)| *old)
    }

    fn slot(&self, address: &Address, slot: &U256) -> Option<U256> {
        let found = self.contracts.binary_search_by_key(address, |(address, _)| *address).ok()?;
        let (_, slots) = self.contracts.get(found)?;
        let found = slots.binary_search_by_key(slot, |(slot, _)| *slot).ok()?;
        slots.get(found).map(|(_, old)| *old)
    }

    /// How many values were replaced.
    pub(super) fn len(&self) -> usize {
        self.accounts.len() + self.contracts.iter().map(|(_, slots)| slots.len()).sum::<usize>()
    }
}

/// In which blocks a value changed, so that an archive need not look through all of them. Heights ascend.
///
/// Together with the records an archive takes about 110 bytes for every account or slot that a block changes: a million
/// token transfers, about 330 MB.
#[derive(Default)]
struct Index {
    accounts: AddressMap<Vec<u64>>,
    slots: AddressMap<U256Map<Vec<u64>>>,
}

impl Index {
    fn push(&mut self, height: u64, record: &Record) {
        for (address, _) in &record.accounts {
            self.accounts.entry(*address).or_default().push(height);
        }
        for (address, slots) in &record.contracts {
            let contract = self.slots.entry(*address).or_default();
            for (slot, _) in slots {
                contract.entry(*slot).or_default().push(height);
            }
        }
    }

    fn pop(&mut self, record: &Record) {
        for (address, _) in &record.accounts {
            self.accounts.get_mut(address).map(Vec::pop);
        }
        for (address, slots) in &record.contracts {
            let Some(contract) = self.slots.get_mut(address) else { continue };
            for (slot, _) in slots {
                contract.get_mut(slot).map(Vec::pop);
            }
        }
    }
}

/// The records of the newest blocks.
pub(super) struct History {
    /// The last one is the head's.
    records: VecDeque<Record>,
    /// How many are kept, unless all.
    window: usize,
    index: Option<Index>,
}

impl History {
    pub(super) fn new(archive: bool, window_blocks: u64) -> Self {
        Self {
            records: VecDeque::new(),
            window: usize::try_from(window_blocks).unwrap_or(usize::MAX),
            index: archive.then(Index::default),
        }
    }

    /// The oldest height that can be read.
    pub(super) fn oldest(&self, head: u64) -> u64 {
        head.saturating_sub(self.records.len() as u64)
    }

    /// Whether the state of `height` can be read.
    pub(super) fn reaches(&self, head: u64, height: u64) -> Result<(), HistoryError> {
        if height > head {
            return Err(HistoryError::AboveHead { height: Height(height), head: Height(head) });
        }
        let oldest = self.oldest(head);
        if height < oldest {
            return Err(HistoryError::Pruned { height: Height(height), oldest: Height(oldest) });
        }
        Ok(())
    }

    pub(super) fn push(&mut self, height: u64, record: Record) {
        if let Some(index) = &mut self.index {
            index.push(height, &record);
        }
        self.records.push_back(record);
        if self.index.is_none() && self.records.len() > self.window {
            self.records.pop_front();
        }
    }

    /// The head's record, which is forgotten.
    pub(super) fn pop(&mut self) -> Option<Record> {
        let record = self.records.pop_back()?;
        if let Some(index) = &mut self.index {
            index.pop(&record);
        }
        Some(record)
    }

    /// The records above `height`, oldest first.
    fn above(&self, head: u64, height: u64) -> impl DoubleEndedIterator<Item = &Record> {
        let count = usize::try_from(head.saturating_sub(height)).unwrap_or(usize::MAX);
        self.records.range(self.records.len().saturating_sub(count)..)
    }

    fn record(&self, head: u64, height: u64) -> Option<&Record> {
        self.above(head, height.checked_sub(1)?).next()
    }

    /// The account after `height` if a later block changed it (it may have been absent); none if the head's stands.
    pub(super) fn account(&self, head: u64, height: u64, address: &Address) -> Option<Option<FlatAccount>> {
        match &self.index {
            Some(index) => {
                let changed = first_above(index.accounts.get(address)?, height)?;
                self.record(head, changed)?.account(address)
            }
            None => self.above(head, height).find_map(|record| record.account(address)),
        }
    }

    /// The slot after `height` if a later block changed it; none if the head's stands.
    pub(super) fn slot(&self, head: u64, height: u64, address: &Address, slot: &U256) -> Option<U256> {
        match &self.index {
            Some(index) => {
                let changed = first_above(index.slots.get(address)?.get(slot)?, height)?;
                self.record(head, changed)?.slot(address, slot)
            }
            None => self.above(head, height).find_map(|record| record.slot(address, slot)),
        }
    }

    /// How many values the blocks above `height` replaced.
    pub(super) fn len_above(&self, head: u64, height: u64) -> usize {
        self.above(head, height).map(Record::len).sum()
    }

    /// The blocks above `height` as one.
    pub(super) fn merged_above(&self, head: u64, height: u64) -> Record {
        let mut accounts = BTreeMap::new();
        let mut contracts = BTreeMap::<Address, BTreeMap<U256, U256>>::new();
        for record in self.above(head, height).rev() {
            accounts.extend(record.accounts.iter().copied());
            for (address, slots) in &record.contracts {
                contracts.entry(*address).or_default().extend(slots.iter().copied());
            }
        }
        Record {
            accounts: accounts.into_iter().collect(),
            contracts: contracts
                .into_iter()
                .map(|(address, slots)| (address, slots.into_iter().collect()))
                .collect(),
            codes: Vec::new(),
        }
    }
}

fn first_above(heights: &[u64], height: u64) -> Option<u64> {
    heights.get(heights.partition_point(|changed| *changed <= height)).copied()
}
