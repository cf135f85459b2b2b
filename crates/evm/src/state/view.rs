//! What execution and readers read from.

use super::{Account, HistoryError, Overrides, Visible};
use bletchley_primitives::{Address, B256, Bytes, Height, U256};
use parking_lot::{ArcRwLockReadGuard, RawRwLock, RwLock};
use revm::database_interface::{DBErrorMarker, DatabaseRef};
use revm::state::{AccountInfo, Bytecode};
use std::sync::Arc;

/// Hashes of earlier blocks, for the BLOCKHASH instruction.
pub trait BlockHashes: Send + Sync {
    /// Hash of the block with this number, if there is one.
    fn block_hash(&self, number: u64) -> Option<B256>;
}

/// Why the state could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The height is out of reach.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// An account names code that the state does not hold.
    #[error("the state holds no code with hash {0}; the data is damaged, run verify")]
    CodeMissing(B256),
    /// The view was not told where block hashes come from.
    #[error("the hash of block {0} was asked of a view that knows no blocks")]
    NoBlockHashes(u64),
}

impl DBErrorMarker for StateError {}

type Hashes = Option<Arc<dyn BlockHashes>>;

fn block_hash(hashes: &Hashes, number: u64) -> Result<B256, StateError> {
    let hashes = hashes.as_ref().ok_or(StateError::NoBlockHashes(number))?;
    Ok(hashes.block_hash(number).unwrap_or_default())
}

/// The head with some overrides, for executing one block. It holds the state's lock: reads are as fast as a map, and
/// nothing is committed until it is dropped or staged.
pub struct BlockView {
    visible: ArcRwLockReadGuard<RawRwLock, Visible>,
    overrides: Option<Arc<Overrides>>,
    hashes: Hashes,
}

impl BlockView {
    pub(super) const fn new(
        visible: ArcRwLockReadGuard<RawRwLock, Visible>,
        overrides: Option<Arc<Overrides>>,
    ) -> Self {
        Self { visible, overrides, hashes: None }
    }

    pub(super) fn into_parts(self) -> (ArcRwLockReadGuard<RawRwLock, Visible>, Option<Arc<Overrides>>) {
        (self.visible, self.overrides)
    }

    /// The same view, answering BLOCKHASH.
    #[must_use]
    pub fn with_block_hashes(mut self, hashes: Arc<dyn BlockHashes>) -> Self {
        self.hashes = Some(hashes);
        self
    }

    /// Height of the block below.
    #[must_use]
    pub fn height(&self) -> Height {
        Height(self.visible.height)
    }

    /// An account, if it exists.
    #[must_use]
    pub fn account(&self, address: &Address) -> Option<Account> {
        let over = self.overrides.as_ref().and_then(|overrides| overrides.account(address));
        over.unwrap_or_else(|| self.visible.flat.account(address))
    }
}

impl DatabaseRef for BlockView {
    type Error = StateError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StateError> {
        if let Some(over) = self.overrides.as_ref().and_then(|overrides| overrides.account(&address)) {
            return over.map(|account| self.visible.info(self.overrides.as_deref(), &account)).transpose();
        }
        Ok(self.visible.flat.accounts.get(&address).map(|account| self.visible.flat.info(account)))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, StateError> {
        self.visible.code(self.overrides.as_deref(), &code_hash)
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, StateError> {
        let over = self.overrides.as_ref().and_then(|overrides| overrides.slot(&address, &index));
        Ok(over.unwrap_or_else(|| self.visible.flat.slot(&address, &index)))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StateError> {
        block_hash(&self.hashes, number)
    }
}

/// The state of one height, for readers; cheap to clone, holds no lock between reads.
#[derive(Clone)]
pub struct StateView {
    visible: Arc<RwLock<Visible>>,
    height: u64,
    rewinds: u64,
    overrides: Option<Arc<Overrides>>,
    hashes: Hashes,
}

impl StateView {
    pub(super) const fn new(
        visible: Arc<RwLock<Visible>>,
        height: u64,
        rewinds: u64,
        overrides: Option<Arc<Overrides>>,
    ) -> Self {
        Self { visible, height, rewinds, overrides, hashes: None }
    }

    /// The same view, answering BLOCKHASH.
    #[must_use]
    pub fn with_block_hashes(mut self, hashes: Arc<dyn BlockHashes>) -> Self {
        self.hashes = Some(hashes);
        self
    }

    /// The same view under a block's interventions, for executing that block again.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Option<Arc<Overrides>>) -> Self {
        self.overrides = overrides;
        self
    }

    /// The height that is shown.
    #[must_use]
    pub const fn height(&self) -> Height {
        Height(self.height)
    }

    /// An account, if it exists.
    ///
    /// # Errors
    /// [`StateError::History`] when the height has gone out of reach.
    pub fn account(&self, address: &Address) -> Result<Option<Account>, StateError> {
        if let Some(over) = self.overrides.as_ref().and_then(|overrides| overrides.account(address)) {
            return Ok(over);
        }
        let visible = self.visible.read_recursive();
        visible.account_at(self.height, self.rewinds, address)
    }

    /// A slot; zero if it was never set.
    ///
    /// # Errors
    /// [`StateError::History`] when the height has gone out of reach.
    pub fn slot(&self, address: &Address, slot: &U256) -> Result<U256, StateError> {
        if let Some(over) = self.overrides.as_ref().and_then(|overrides| overrides.slot(address, slot)) {
            return Ok(over);
        }
        let visible = self.visible.read_recursive();
        visible.reaches(self.height, self.rewinds)?;
        let old = visible.history.slot(visible.height, self.height, address, slot);
        Ok(old.unwrap_or_else(|| visible.flat.slot(address, slot)))
    }

    /// The code of an account; empty if it has none.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn code(&self, address: &Address) -> Result<Bytes, StateError> {
        match self.account(address)? {
            Some(account) => Ok(self.code_by_hash_ref(account.code_hash)?.original_bytes()),
            None => Ok(Bytes::new()),
        }
    }
}

impl DatabaseRef for StateView {
    type Error = StateError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StateError> {
        let Some(account) = self.account(&address)? else { return Ok(None) };
        self.visible.read_recursive().info(self.overrides.as_deref(), &account).map(Some)
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, StateError> {
        self.visible.read_recursive().code(self.overrides.as_deref(), &code_hash)
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, StateError> {
        self.slot(&address, &index)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StateError> {
        block_hash(&self.hashes, number)
    }
}

impl Visible {
    /// Whether a view of `height`, taken after so many rewinds, still shows what it showed.
    fn reaches(&self, height: u64, rewinds: u64) -> Result<(), HistoryError> {
        if self.rewinds != rewinds {
            return Err(HistoryError::Rewound { height: Height(height) });
        }
        self.history.reaches(self.height, height)
    }

    pub(super) fn account_at(
        &self,
        height: u64,
        rewinds: u64,
        address: &Address,
    ) -> Result<Option<Account>, StateError> {
        self.reaches(height, rewinds)?;
        let old = self.history.account(self.height, height, address);
        Ok(old
            .map_or_else(|| self.flat.account(address), |old| old.map(|account| self.flat.expand(&account))))
    }

    fn code(&self, overrides: Option<&Overrides>, hash: &B256) -> Result<Bytecode, StateError> {
        let code = overrides.and_then(|overrides| overrides.code(hash)).or_else(|| self.flat.codes.get(hash));
        code.cloned().ok_or(StateError::CodeMissing(*hash))
    }

    fn info(&self, overrides: Option<&Overrides>, account: &Account) -> Result<AccountInfo, StateError> {
        let code = self.code(overrides, &account.code_hash)?;
        Ok(AccountInfo::new(account.balance, account.nonce, account.code_hash, code))
    }
}
