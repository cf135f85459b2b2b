//! State overrides of a reader's call: a layer over a view that nobody else sees.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rpc_types_eth::{BlockOverrides, state::StateOverride};
use revm::{
    DatabaseRef,
    context::BlockEnv,
    primitives::KECCAK_EMPTY,
    state::{AccountInfo, Bytecode},
};
use rustc_hash::FxHashMap;

use crate::execute::DbError;

/// Why overrides were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// A slot cannot be both part of a new state and a change of the old one.
    #[error("account {0} has both 'state' and 'stateDiff'")]
    StateAndDiff(Address),
    /// Precompiled contracts stay where they are.
    #[error("account {0}: 'movePrecompileToAddress' is not supported on this ledger")]
    MovePrecompile(Address),
    /// The code is not code.
    #[error("account {0}: the code starts like an EIP-7702 delegation but is none")]
    Code(Address),
    /// State could not be read.
    #[error("{0}")]
    State(String),
}

#[derive(Debug, Clone, Default)]
struct Patch {
    info: AccountInfo,
    /// Whether slots that are not listed are zero.
    fresh: bool,
    slots: FxHashMap<U256, U256>,
}

/// A view with some accounts replaced or changed.
#[derive(Debug, Clone)]
pub(crate) struct Overlay<V> {
    view: V,
    patches: FxHashMap<Address, Patch>,
    codes: FxHashMap<B256, Bytecode>,
}

impl<V: DatabaseRef> Overlay<V> {
    pub(crate) fn new(view: V, overrides: Option<StateOverride>) -> Result<Self, OverrideError> {
        let mut overlay = Self { view, patches: FxHashMap::default(), codes: FxHashMap::default() };
        for (address, account) in overrides.unwrap_or_default() {
            if account.state.is_some() && account.state_diff.is_some() {
                return Err(OverrideError::StateAndDiff(address));
            }
            if account.move_precompile_to.is_some() {
                return Err(OverrideError::MovePrecompile(address));
            }
            let info =
                overlay.view.basic_ref(address).map_err(|error| OverrideError::State(error.to_string()))?;
            let mut patch = Patch { info: info.unwrap_or_default(), ..Patch::default() };
            patch.info.balance = account.balance.unwrap_or(patch.info.balance);
            patch.info.nonce = account.nonce.unwrap_or(patch.info.nonce);
            if let Some(code) = account.code {
                overlay.set_code(address, &mut patch.info, code)?;
            }
            patch.fresh = account.state.is_some();
            let slots = account.state.or(account.state_diff).unwrap_or_default();
            patch.slots = slots.into_iter().map(|(slot, value)| (slot.into(), value.into())).collect();
            overlay.patches.insert(address, patch);
        }
        Ok(overlay)
    }

    fn set_code(
        &mut self,
        address: Address,
        info: &mut AccountInfo,
        code: Bytes,
    ) -> Result<(), OverrideError> {
        info.code_hash = if code.is_empty() { KECCAK_EMPTY } else { keccak256(&code) };
        let code = Bytecode::new_raw_checked(code).map_err(|_| OverrideError::Code(address))?;
        self.codes.insert(info.code_hash, code.clone());
        info.code = Some(code);
        Ok(())
    }
}

impl<V: DatabaseRef> DatabaseRef for Overlay<V> {
    type Error = DbError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, DbError> {
        match self.patches.get(&address) {
            Some(patch) => Ok(Some(patch.info.clone())),
            None => self.view.basic_ref(address).map_err(|error| DbError::State(error.to_string())),
        }
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, DbError> {
        match self.codes.get(&code_hash) {
            Some(code) => Ok(code.clone()),
            None => self.view.code_by_hash_ref(code_hash).map_err(|error| DbError::State(error.to_string())),
        }
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, DbError> {
        if let Some(patch) = self.patches.get(&address) {
            if let Some(value) = patch.slots.get(&index) {
                return Ok(*value);
            }
            if patch.fresh {
                return Ok(U256::ZERO);
            }
        }
        self.view.storage_ref(address, index).map_err(|error| DbError::State(error.to_string()))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, DbError> {
        // The reader above this layer answers from the store.
        Err(DbError::BlockHash(number, "a layer of overrides knows no blocks".to_owned()))
    }
}

/// Changes a block's surroundings; hashes of other blocks stay as they are.
pub(crate) fn apply_block(env: &mut BlockEnv, overrides: Option<&BlockOverrides>) {
    let Some(overrides) = overrides else { return };
    env.number = overrides.number.unwrap_or(env.number);
    env.timestamp = overrides.time.map_or(env.timestamp, U256::from);
    env.gas_limit = overrides.gas_limit.unwrap_or(env.gas_limit);
    env.beneficiary = overrides.coinbase.unwrap_or(env.beneficiary);
    env.prevrandao = overrides.random.or(env.prevrandao);
    env.difficulty = overrides.difficulty.unwrap_or(env.difficulty);
    if let Some(base_fee) = overrides.base_fee {
        env.basefee = base_fee.saturating_to();
    }
}
