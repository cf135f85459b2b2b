//! Proofs of accounts and slots at any height in reach (EIP-1186).

use super::{HistoryError, State, StateError};
use bletchley_primitives::{Address, B256, Bytes, Height, U256};
use revm::primitives::KECCAK_EMPTY;

/// Most changed values that the tries are taken back over for one proof: about two seconds of work at a million accounts.
pub const PROOF_CHANGES_MAX: usize = 500_000;

/// Why no proof was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The height is out of reach.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Too much changed since.
    #[error(
        "{changes} values changed since block {height}, and a proof goes back over {PROOF_CHANGES_MAX} at most; ask for a \
         newer block"
    )]
    TooFar {
        /// Height that was asked for.
        height: Height,
        /// Values that changed since.
        changes: usize,
    },
}

/// A slot with the nodes that prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageProof {
    /// The slot.
    pub slot: U256,
    /// Its value.
    pub value: U256,
    /// Nodes of the storage trie from its root towards the slot.
    pub proof: Vec<Bytes>,
}

/// An account with the nodes that prove it, or that it is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The account.
    pub address: Address,
    /// Its nonce.
    pub nonce: u64,
    /// Its balance in wei.
    pub balance: U256,
    /// Hash of its code.
    pub code_hash: B256,
    /// Root of its storage trie.
    pub storage_root: B256,
    /// Nodes of the state trie from its root towards the account.
    pub proof: Vec<Bytes>,
    /// The slots that were asked for.
    pub storage: Vec<StorageProof>,
}

impl State {
    /// Proves an account and some of its slots against the state root of the block at `height`.
    ///
    /// An older height takes the tries back over everything that changed since, and forward again; blocks wait for it.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn proof(
        &self,
        height: Height,
        address: Address,
        slots: &[U256],
    ) -> Result<AccountProof, ProofError> {
        let mut tries = self.tries.lock();
        tries.settle();
        // The head cannot move before the tries are released.
        let visible = self.visible.read_recursive();
        let head = visible.height;
        visible.history.reaches(head, height.0)?;
        let changes = visible.history.len_above(head, height.0);
        if changes > PROOF_CHANGES_MAX {
            return Err(ProofError::TooFar { height, changes });
        }
        let merged = visible.history.merged_above(head, height.0);
        let back = visible.flat.changes_to(&merged);
        let account = match visible.account_at(height.0, visible.rewinds, &address) {
            Ok(account) => account.unwrap_or_default(),
            Err(StateError::History(problem)) => return Err(problem.into()),
            Err(_) => super::Account::default(),
        };
        let values: Vec<U256> = slots
            .iter()
            .map(|slot| {
                let old = visible.history.slot(head, height.0, &address, slot);
                old.unwrap_or_else(|| visible.flat.slot(&address, slot))
            })
            .collect();
        drop(visible);

        let undo = (back.len() > 0).then(|| tries.apply(&back));
        let nodes = tries.proof(&address, slots);
        if let Some(undo) = undo {
            tries.undo(undo);
            tries.root();
        }
        drop(tries);
        let storage = slots
            .iter()
            .zip(values)
            .zip(nodes.slots)
            .map(|((slot, value), proof)| StorageProof { slot: *slot, value, proof })
            .collect();
        Ok(AccountProof {
            address,
            nonce: account.nonce,
            balance: account.balance,
            code_hash: if account.is_empty() { KECCAK_EMPTY } else { account.code_hash },
            storage_root: nodes.storage_root,
            proof: nodes.account,
            storage,
        })
    }
}
