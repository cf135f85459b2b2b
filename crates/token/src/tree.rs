//! The output tree: one leaf per output ever made, in order of creation, saying what it is and who spent it. Its root is
//! the ledger's state commitment. The shape is RFC 9162's, so that a leaf can be appended or changed in place, and any
//! leaf has a short proof.

use crate::codec::OptionalHash;
use crate::ids::{LEAF, OUTPUT, STATE};
use crate::limits::PROOF_SIZE_BYTES_MAX;
use crate::{Output, OutputRef};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::{MerkleProof, keccak256, merkle_root};
use bletchley_primitives::{B256, DecodeError, TxId, decode_bounded};
use rayon::prelude::*;

/// Hashes per parallel unit of work.
const HASH_CHUNK: usize = 1024;

/// Digest of an output where it was made: `(transaction id, position as 4 bytes, output)`.
#[must_use]
pub fn output_digest(reference: &OutputRef, output: &Output) -> B256 {
    OUTPUT.digest(&[reference.tx.0.as_slice(), &reference.position.to_be_bytes(), &alloy_rlp::encode(output)])
}

/// Leaf of the output tree: the output's digest, and the transaction that spent it or nothing.
#[must_use]
pub fn leaf(output_digest: &B256, spent_by: Option<TxId>) -> B256 {
    let spender = spent_by.as_ref().map(|id| id.0.as_slice()).unwrap_or_default();
    LEAF.digest(&[output_digest.as_slice(), spender])
}

/// State commitment of a tree with this many leaves and this root.
#[must_use]
pub fn state_root(count: u64, root: &B256) -> B256 {
    STATE.digest(&[&count.to_be_bytes(), root.as_slice()])
}

/// Hash of a leaf as it stands at the bottom of the tree (RFC 9162, 2.1.1: `0x00 || leaf`).
pub(crate) fn leaf_hash(leaf: &B256) -> B256 {
    merkle_root(std::slice::from_ref(leaf))
}

/// RFC 9162, 2.1.1: `0x01 || left || right`.
fn node_hash(left: &B256, right: &B256) -> B256 {
    let mut bytes = [1u8; 65];
    let (_, children) = bytes.split_at_mut(1);
    let (l, r) = children.split_at_mut(32);
    l.copy_from_slice(left.as_slice());
    r.copy_from_slice(right.as_slice());
    keccak256(bytes)
}

/// All nodes, level by level, the hashed leaves first. A node without a sibling stands unchanged on the next level,
/// which gives RFC 9162's shape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OutputTree {
    levels: Vec<Vec<B256>>,
}

/// Nodes that a block changes, per level in ascending order of index.
#[derive(Clone, Debug)]
pub(crate) struct TreeDelta {
    levels: Vec<Vec<(usize, B256)>>,
    count: u64,
    root: B256,
}

impl TreeDelta {
    pub(crate) fn state_root(&self) -> B256 {
        state_root(self.count, &self.root)
    }
}

impl OutputTree {
    /// The tree over these leaf hashes.
    pub(crate) fn from_leaf_hashes(leaves: Vec<B256>) -> Self {
        let mut levels = Vec::new();
        let mut level = leaves;
        while level.len() > 1 {
            let next = level
                .par_chunks(2)
                .with_min_len(HASH_CHUNK)
                .map(|pair| match pair {
                    [left, right] => node_hash(left, right),
                    [only, ..] => *only,
                    [] => B256::ZERO,
                })
                .collect();
            levels.push(std::mem::replace(&mut level, next));
        }
        if !level.is_empty() {
            levels.push(level);
        }
        Self { levels }
    }

    /// Number of leaves.
    pub(crate) fn count(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    pub(crate) fn state_root(&self) -> B256 {
        let root = self.levels.last().and_then(|level| level.first()).copied();
        state_root(self.count() as u64, &root.unwrap_or_else(|| merkle_root(&[])))
    }

    /// What changes when leaf hashes are replaced (ascending by index, each below the count) and then appended.
    pub(crate) fn plan(&self, replaced: Vec<(usize, B256)>, appended: Vec<B256>) -> TreeDelta {
        let old = self.count();
        let mut width = old + appended.len();
        let count = width as u64;
        let mut dirty = replaced;
        dirty.extend(appended.into_iter().enumerate().map(|(i, hash)| (old + i, hash)));
        if dirty.is_empty() {
            let root = self.levels.last().and_then(|level| level.first()).copied();
            return TreeDelta { levels: Vec::new(), count, root: root.unwrap_or_else(|| merkle_root(&[])) };
        }
        let mut levels = Vec::new();
        let mut depth = 0;
        while width > 1 {
            let base: &[B256] = self.levels.get(depth).map_or(&[], Vec::as_slice);
            let next = parents(base, &dirty, width);
            levels.push(std::mem::replace(&mut dirty, next));
            width = width.div_ceil(2);
            depth += 1;
        }
        let root = dirty.first().map_or(B256::ZERO, |(_, hash)| *hash);
        levels.push(dirty);
        TreeDelta { levels, count, root }
    }

    /// Makes planned changes.
    pub(crate) fn apply(&mut self, delta: &TreeDelta) {
        for (depth, changes) in delta.levels.iter().enumerate() {
            if self.levels.len() == depth {
                self.levels.push(Vec::new());
            }
            let Some(level) = self.levels.get_mut(depth) else { continue };
            for (index, hash) in changes {
                match level.get_mut(*index) {
                    Some(node) => *node = *hash,
                    None => level.push(*hash),
                }
            }
        }
    }

    /// Proof for the leaf at `index`.
    pub(crate) fn proof(&self, index: u64) -> Option<MerkleProof> {
        let mut at = usize::try_from(index).ok().filter(|at| *at < self.count())?;
        let mut path = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            if let Some(sibling) = level.get(at ^ 1) {
                path.push(*sibling);
            }
            at /= 2;
        }
        Some(MerkleProof { index, count: self.count() as u64, path })
    }
}

/// The changed nodes one level up. A child that is not dirty existed before, on `base`.
fn parents(base: &[B256], dirty: &[(usize, B256)], width: usize) -> Vec<(usize, B256)> {
    let mut pairs: Vec<(usize, B256, Option<B256>)> = Vec::with_capacity(dirty.len());
    let stored = |index: usize| base.get(index).copied().unwrap_or_default();
    for (index, hash) in dirty {
        if index % 2 == 1 {
            match pairs.last_mut() {
                Some((parent, _, right)) if *parent == index / 2 => *right = Some(*hash),
                _ => pairs.push((index / 2, stored(index - 1), Some(*hash))),
            }
        } else {
            let right = (index + 1 < width).then(|| stored(index + 1));
            pairs.push((index / 2, *hash, right));
        }
    }
    pairs
        .into_par_iter()
        .with_min_len(HASH_CHUNK)
        .map(|(parent, left, right)| (parent, right.map_or(left, |right| node_hash(&left, &right))))
        .collect()
}

/// Shows, against a state commitment, that an output exists, and whether and by whom it is spent.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct OutputProof {
    /// Where the output was made.
    pub reference: OutputRef,
    /// The output.
    pub output: Output,
    /// The transaction that spent it, if one did.
    pub spent_by: OptionalHash,
    /// Place and path in the output tree.
    pub path: MerkleProof,
}

/// Why a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputProofError {
    /// Not the canonical encoding of a proof.
    #[error("the proof does not decode: {0}")]
    Decode(#[from] DecodeError),
    /// The path cannot lead from this leaf to a root.
    #[error("the proof's path does not fit leaf {index} of {count}")]
    Shape {
        /// Position of the leaf.
        index: u64,
        /// Number of leaves.
        count: u64,
    },
    /// It leads to another state commitment.
    #[error("the proof leads to state {found}, not to {expected}")]
    Root {
        /// State commitment that the proof leads to.
        found: B256,
        /// State commitment that was asked about.
        expected: B256,
    },
}

impl OutputProof {
    /// Canonical bytes.
    #[must_use]
    pub fn encode_bytes(&self) -> Vec<u8> {
        alloy_rlp::encode(self)
    }

    /// The proof in these bytes.
    ///
    /// # Errors
    /// [`OutputProofError::Decode`].
    pub fn decode_bytes(bytes: &[u8]) -> Result<Self, OutputProofError> {
        Ok(decode_bounded(bytes, PROOF_SIZE_BYTES_MAX)?)
    }

    /// Checks the proof against the state commitment of a header.
    ///
    /// # Errors
    /// [`OutputProofError`].
    pub fn verify(&self, expected: B256) -> Result<(), OutputProofError> {
        let leaf = leaf(&output_digest(&self.reference, &self.output), self.spent_by.0.map(TxId));
        let shape = OutputProofError::Shape { index: self.path.index, count: self.path.count };
        let root = self.path.root(&leaf).ok_or(shape)?;
        let found = state_root(self.path.count, &root);
        if found == expected { Ok(()) } else { Err(OutputProofError::Root { found, expected }) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn word(n: u64) -> B256 {
        keccak256(n.to_be_bytes())
    }

    proptest! {
        /// Appends and changes in place, block by block, against the recursive definition over all leaves.
        #[test]
        fn equals_naive_recomputation(blocks in proptest::collection::vec(
            (0usize..24, proptest::collection::vec(any::<proptest::sample::Index>(), 0..12)), 1..8)) {
            let mut leaves: Vec<B256> = Vec::new();
            let mut tree = OutputTree::default();
            let mut fresh = 0u64;
            for (appended, changed) in blocks {
                let mut next = || { fresh += 1; word(fresh) };
                let mut replaced = std::collections::BTreeMap::new();
                if !leaves.is_empty() {
                    for index in changed { replaced.insert(index.index(leaves.len()), next()); }
                }
                let added: Vec<B256> = (0..appended).map(|_| next()).collect();
                for (index, leaf) in &replaced { leaves[*index] = *leaf; }
                leaves.extend(&added);
                let before = tree.clone();
                let delta = tree.plan(
                    replaced.iter().map(|(i, l)| (*i, leaf_hash(l))).collect(),
                    added.iter().map(leaf_hash).collect(),
                );
                prop_assert_eq!(&tree, &before);
                tree.apply(&delta);
                let expected = state_root(leaves.len() as u64, &merkle_root(&leaves));
                prop_assert_eq!(delta.state_root(), expected);
                prop_assert_eq!(tree.state_root(), expected);
                prop_assert_eq!(&tree, &OutputTree::from_leaf_hashes(leaves.iter().map(leaf_hash).collect()));
                let root = merkle_root(&leaves);
                for (index, leaf) in leaves.iter().enumerate() {
                    let proof = tree.proof(index as u64).unwrap();
                    prop_assert_eq!(&proof, &bletchley_crypto::merkle_proof(&leaves, index).unwrap());
                    prop_assert_eq!(proof.root(leaf), Some(root));
                }
            }
            prop_assert!(tree.proof(leaves.len() as u64).is_none());
        }
    }
}
