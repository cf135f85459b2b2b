//! Binary Merkle tree over ordered leaves, after RFC 9162 section 2.1 with keccak256 in place of SHA-256.

use alloy_primitives::{B256, Keccak256};

/// A tree of 2^32 leaves is deeper than anything that asks for a proof here.
pub const MERKLE_DEPTH_MAX: usize = 32;

fn leaf_hash(leaf: &B256) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([0x00]);
    hasher.update(leaf);
    hasher.finalize()
}

fn node_hash(left: &B256, right: &B256) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([0x01]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize()
}

/// Largest power of two smaller than `n` (RFC 9162, 2.1.1); `n` is at least 2.
const fn split(n: usize) -> usize {
    1 << (usize::BITS - 1 - (n - 1).leading_zeros())
}

/// Root over the leaves in their order; the keccak256 of nothing for no leaves.
#[must_use]
pub fn merkle_root(leaves: &[B256]) -> B256 {
    match leaves {
        [] => alloy_primitives::keccak256([]),
        [leaf] => leaf_hash(leaf),
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&merkle_root(left), &merkle_root(right))
        }
    }
}

/// Proof that a leaf stands at `index` among `count`.
#[derive(Clone, Debug, PartialEq, Eq, alloy_rlp::RlpEncodable, alloy_rlp::RlpDecodable)]
pub struct MerkleProof {
    /// Position of the leaf.
    pub index: u64,
    /// Number of leaves in the tree.
    pub count: u64,
    /// Sibling hashes from the leaf upwards.
    pub path: Vec<B256>,
}

/// Proof for the leaf at `index`; none when there is no such leaf.
#[must_use]
pub fn merkle_proof(leaves: &[B256], index: usize) -> Option<MerkleProof> {
    if index >= leaves.len() {
        return None;
    }
    let (mut rest, mut at, mut path) = (leaves, index, Vec::new());
    while rest.len() > 1 {
        let (left, right) = rest.split_at(split(rest.len()));
        if at < left.len() {
            path.push(merkle_root(right));
            rest = left;
        } else {
            path.push(merkle_root(left));
            at -= left.len();
            rest = right;
        }
    }
    path.reverse();
    Some(MerkleProof { index: index as u64, count: leaves.len() as u64, path })
}

impl MerkleProof {
    /// The root that this proof implies for `leaf` (RFC 9162, 2.1.3.2); none when its shape is impossible.
    #[must_use]
    pub fn root(&self, leaf: &B256) -> Option<B256> {
        if self.index >= self.count || self.path.len() > MERKLE_DEPTH_MAX {
            return None;
        }
        let (mut index, mut last, mut hash) = (self.index, self.count - 1, leaf_hash(leaf));
        for sibling in &self.path {
            if last == 0 {
                return None;
            }
            if index & 1 == 1 || index == last {
                hash = node_hash(sibling, &hash);
                while index & 1 == 0 && index != 0 {
                    index >>= 1;
                    last >>= 1;
                }
            } else {
                hash = node_hash(&hash, sibling);
            }
            index >>= 1;
            last >>= 1;
        }
        (last == 0).then_some(hash)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_leaf_proves_itself_and_nothing_else() {
        for count in 1..40usize {
            let leaves: Vec<B256> = (0..count).map(|i| B256::with_last_byte(i as u8)).collect();
            let root = merkle_root(&leaves);
            for (i, leaf) in leaves.iter().enumerate() {
                let proof = merkle_proof(&leaves, i).unwrap();
                assert_eq!(proof.root(leaf), Some(root), "{i} of {count}");
                assert_ne!(proof.root(&B256::repeat_byte(0xee)), Some(root));
                let moved = MerkleProof { index: proof.index + 1, ..proof.clone() };
                assert_ne!(moved.root(leaf), Some(root), "{i} of {count} at the wrong place");
            }
        }
        assert_eq!(merkle_proof(&[], 0), None);
    }
}
