//! Hashing what changed.
#![allow(clippy::indexing_slicing, reason = "indices come from the arena's own edges")]

use super::{
    EMPTY_ROOT, Trie, Value,
    arena::{Branch, Child, Edge, Leaf, NodeId, Place, Reference},
    encode::NodeBuffer,
    keccak::Hasher,
    nibbles::put_path,
};
use bletchley_primitives::{B256, keccak256};
use rayon::prelude::*;

/// Nodes of a level that one thread takes at a time.
const SHARED_NODES: usize = 4096;

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
        let levels = self.changed_levels();
        if !levels.is_empty() {
            let mut worker = Worker::default();
            for level in levels.iter().rev() {
                self.find_references(level, &mut worker);
                for (changed, reference) in level.iter().zip(&worker.references) {
                    self.child_mut(changed.edge).reference = *reference;
                }
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
            let found: Vec<Vec<Reference>> = level
                .par_chunks(SHARED_NODES)
                .map_init(Worker::default, |worker, nodes| {
                    self.find_references(nodes, worker);
                    std::mem::take(&mut worker.references)
                })
                .collect();
            for (changed, reference) in level.iter().zip(found.into_iter().flatten()) {
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

    /// How the parents of `nodes` name them; every reference below them must be known.
    fn find_references(&self, nodes: &[Changed], worker: &mut Worker) {
        let Worker { buffer, hasher, references } = worker;
        references.clear();
        references.resize(nodes.len(), Reference::UNKNOWN);
        for (tag, changed) in (0u32..).zip(nodes) {
            let node = match changed.node.place() {
                Place::Nothing => continue,
                Place::Leaf(index) => encode_leaf(&self.leaves[index], usize::from(changed.start), buffer),
                Place::Branch(index) => encode_branch(&self.branches[index], buffer),
            };
            refer(node, tag, hasher, references);
        }
        hasher.finish(&mut |tag, hash| references[tag as usize] = Reference::hash(hash));
        // Extensions name the branches that were hashed just now.
        for (tag, changed) in (0u32..).zip(nodes) {
            if let Place::Branch(index) = changed.node.place()
                && self.branches[index].depth > changed.start
            {
                let branch = references[tag as usize];
                let node =
                    encode_extension(&self.branches[index], usize::from(changed.start), &branch, buffer);
                refer(node, tag, hasher, references);
            }
        }
        hasher.finish(&mut |tag, hash| references[tag as usize] = Reference::hash(hash));
    }
}

/// What finding references needs, kept from level to level.
#[derive(Default)]
struct Worker {
    buffer: NodeBuffer,
    hasher: Hasher,
    references: Vec<Reference>,
}

/// Puts how a parent names `node` at `tag`, now or when the hasher gets to it.
#[inline]
fn refer(node: &[u8], tag: u32, hasher: &mut Hasher, references: &mut [Reference]) {
    if node.len() < 32 {
        references[tag as usize] = Reference::inline(node);
    } else {
        hasher.push(node, tag, &mut |tag, hash| references[tag as usize] = Reference::hash(hash));
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
