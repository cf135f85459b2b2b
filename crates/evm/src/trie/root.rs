//! Hashing what changed.
#![allow(clippy::indexing_slicing, reason = "indices come from the arena's own edges")]

use super::{
    EMPTY_ROOT, Trie, Value,
    arena::{Branch, Child, Edge, Leaf, NodeId, Place, Reference},
    encode::NodeBuffer,
    nibbles::put_path,
};
use bletchley_primitives::{B256, keccak256};
use rayon::prelude::*;

/// Fewest changed nodes of a level that are worth sharing among threads.
const SHARED_NODES_MIN: usize = 4096;

/// A node whose reference is unknown: where it hangs, and the nibble at which its own path starts.
#[derive(Clone, Copy)]
struct Changed {
    edge: Edge,
    node: NodeId,
    start: u8,
}

impl<V: Value> Trie<V> {
    /// The root hash; encodes and hashes what changed since the last call.
    pub fn root(&mut self) -> B256 {
        let mut buffer = NodeBuffer::default();
        for level in self.changed_levels().iter().rev() {
            for changed in level {
                let reference = self.reference(changed, &mut buffer);
                self.child_mut(changed.edge).reference = reference;
            }
        }
        self.root_hash()
    }

    /// As [`Self::root`], sharing large levels among threads; for building a trie, where most of it is unknown.
    pub fn root_in_parallel(&mut self) -> B256
    where
        V: Sync,
    {
        for level in self.changed_levels().iter().rev() {
            let references: Vec<Reference> = level
                .par_iter()
                .with_min_len(SHARED_NODES_MIN / 4)
                .map_init(NodeBuffer::default, |buffer, changed| self.reference(changed, buffer))
                .collect();
            for (changed, reference) in level.iter().zip(references) {
                self.child_mut(changed.edge).reference = reference;
            }
        }
        self.root_hash()
    }

    fn root_hash(&self) -> B256 {
        if self.root.node == NodeId::NOTHING {
            return EMPTY_ROOT;
        }
        // A root shorter than a hash is hashed all the same.
        self.root.reference.as_hash().map_or_else(|| keccak256(self.root.reference.as_inline()), B256::new)
    }

    /// Every node with an unknown reference, by distance from the root.
    fn changed_levels(&self) -> Vec<Vec<Changed>> {
        let mut levels = Vec::new();
        let mut level = Vec::new();
        if self.root.reference.is_unknown() && self.root.node != NodeId::NOTHING {
            level.push(Changed { edge: Edge::Root, node: self.root.node, start: 0 });
        }
        while !level.is_empty() {
            let mut below = Vec::with_capacity(level.len() * 2);
            for changed in &level {
                let Place::Branch(index) = changed.node.place() else { continue };
                let branch = &self.branches[index];
                below.extend(
                    branch.children.iter().enumerate().filter(|(_, c)| c.reference.is_unknown()).map(
                        |(slot, child)| Changed {
                            edge: Edge::slot(index, slot),
                            node: child.node,
                            start: branch.depth + 1,
                        },
                    ),
                );
            }
            levels.push(std::mem::replace(&mut level, below));
        }
        levels
    }

    /// How the parent names this node; every reference below it must be known.
    #[inline]
    fn reference(&self, changed: &Changed, buffer: &mut NodeBuffer) -> Reference {
        let start = usize::from(changed.start);
        match changed.node.place() {
            Place::Nothing => Reference::UNKNOWN,
            Place::Leaf(index) => reference_to(encode_leaf(&self.leaves[index], start, buffer)),
            Place::Branch(index) => {
                let branch = &self.branches[index];
                let reference = reference_to(encode_branch(branch, buffer));
                if usize::from(branch.depth) == start {
                    return reference;
                }
                reference_to(encode_extension(branch, start, &reference, buffer))
            }
        }
    }
}

/// How a parent names a node with this encoding.
#[inline]
pub(super) fn reference_to(node: &[u8]) -> Reference {
    if node.len() < 32 { Reference::inline(node) } else { Reference::hash(keccak256(node).0) }
}

pub(super) fn encode_leaf<'a, V: Value>(
    leaf: &Leaf<V>,
    start: usize,
    buffer: &'a mut NodeBuffer,
) -> &'a [u8] {
    let out = buffer.begin();
    put_path(out, &leaf.key, start, V::path_nibbles(&leaf.key), true);
    leaf.value.put(out);
    buffer.finish()
}

pub(super) fn encode_branch<'a>(branch: &Branch, buffer: &'a mut NodeBuffer) -> &'a [u8] {
    let out = buffer.begin();
    let mut children = branch.children.iter();
    for nibble in 0..16 {
        match branch.has(nibble).then(|| children.next()).flatten() {
            Some(Child { reference, .. }) => reference.put(out),
            None => out.push(0x80),
        }
    }
    out.push(0x80); // A branch of fixed-length keys never holds a value itself.
    buffer.finish()
}

pub(super) fn encode_extension<'a>(
    branch: &Branch,
    start: usize,
    reference: &Reference,
    buffer: &'a mut NodeBuffer,
) -> &'a [u8] {
    let out = buffer.begin();
    put_path(out, &branch.path, start, usize::from(branch.depth), false);
    reference.put(out);
    buffer.finish()
}
