//! The nodes, and how they change.
#![allow(
    clippy::indexing_slicing,
    reason = "arena indices and child slots are made and freed in this module alone; a checked access on every step of \
              every path costs a tenth of a block's root"
)]

use super::{
    Key, Value,
    nibbles::{NIBBLES, divergence, nibble},
};

/// Index of a node. Arenas hold fewer than 2^31 nodes each: memory ends long before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NodeId(u32);

/// A node's place, by kind.
pub(super) enum Place {
    Nothing,
    Leaf(usize),
    Branch(usize),
}

impl NodeId {
    pub(super) const NOTHING: Self = Self(u32::MAX);
    const LEAF: u32 = 1 << 31;

    const fn leaf(index: usize) -> Self {
        Self(index as u32 | Self::LEAF)
    }

    const fn branch(index: usize) -> Self {
        Self(index as u32)
    }

    #[inline]
    pub(super) const fn place(self) -> Place {
        if self.0 == Self::NOTHING.0 {
            Place::Nothing
        } else if self.0 & Self::LEAF != 0 {
            Place::Leaf((self.0 & !Self::LEAF) as usize)
        } else {
            Place::Branch(self.0 as usize)
        }
    }
}

/// How a parent names a child: by the hash of its RLP, or by the RLP itself when that is shorter than a hash.
#[derive(Clone, Copy)]
pub(super) struct Reference {
    bytes: [u8; 32],
    /// 0: unknown; 32: a hash; between: that many bytes of RLP.
    length: u8,
}

impl Reference {
    pub(super) const UNKNOWN: Self = Self { bytes: [0; 32], length: 0 };

    #[inline]
    pub(super) const fn hash(bytes: [u8; 32]) -> Self {
        Self { bytes, length: 32 }
    }

    /// `node` must be shorter than 32 bytes.
    #[inline]
    pub(super) fn inline(node: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes[..node.len()].copy_from_slice(node);
        Self { bytes, length: node.len() as u8 }
    }

    #[inline]
    pub(super) const fn is_unknown(&self) -> bool {
        self.length == 0
    }

    /// The hash, unless the node is inline.
    #[inline]
    pub(super) const fn as_hash(&self) -> Option<[u8; 32]> {
        if self.length == 32 { Some(self.bytes) } else { None }
    }

    /// The inline node.
    pub(super) fn as_inline(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Appends the reference as it stands in the parent.
    #[inline]
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        if self.length == 32 {
            out.push(0xa0);
            out.extend_from_slice(&self.bytes);
        } else {
            out.extend_from_slice(self.as_inline());
        }
    }
}

/// A node as its parent holds it.
#[derive(Clone, Copy)]
pub(super) struct Child {
    pub(super) reference: Reference,
    pub(super) node: NodeId,
}

impl Child {
    const fn changed(node: NodeId) -> Self {
        Self { reference: Reference::UNKNOWN, node }
    }
}

/// A branch with the extension that leads to it, if any: its path runs from its parent's nibble to `depth`.
pub(super) struct Branch {
    /// Any key below it; its nibbles up to `depth` are the path.
    pub(super) path: Key,
    pub(super) depth: u8,
    occupied: u16,
    /// In order of nibbles, only those that `occupied` names; two at least.
    pub(super) children: Vec<Child>,
}

impl Branch {
    fn new(path: Key, depth: usize, children: [(u8, NodeId); 2]) -> Self {
        let mut branch = Self { path, depth: depth as u8, occupied: 0, children: Vec::with_capacity(2) };
        for (nibble, node) in children {
            branch.add(nibble, node);
        }
        branch
    }

    #[inline]
    const fn rank(&self, nibble: u8) -> usize {
        (self.occupied & ((1 << nibble) - 1)).count_ones() as usize
    }

    #[inline]
    pub(super) const fn has(&self, nibble: u8) -> bool {
        self.occupied & (1 << nibble) != 0
    }

    /// Which child stands at `nibble`.
    #[inline]
    pub(super) const fn slot(&self, nibble: u8) -> Option<usize> {
        if self.has(nibble) { Some(self.rank(nibble)) } else { None }
    }

    fn add(&mut self, nibble: u8, node: NodeId) {
        if self.children.len() == self.children.capacity() {
            // Most branches stay small: doubling would waste a third of the trie's memory.
            self.children.reserve_exact(if self.children.len() < 6 { 2 } else { 4 });
        }
        self.children.insert(self.rank(nibble), Child::changed(node));
        self.occupied |= 1 << nibble;
    }

    fn take(&mut self, nibble: u8) {
        self.children.remove(self.rank(nibble));
        self.occupied &= !(1 << nibble);
    }
}

pub(super) struct Leaf<V> {
    pub(super) key: Key,
    pub(super) value: V,
}

/// Where a node hangs: below the root pointer, or in a slot of a branch.
#[derive(Clone, Copy)]
pub(super) enum Edge {
    Root,
    Slot { branch: u32, slot: u8 },
}

impl Edge {
    #[inline]
    pub(super) const fn slot(branch: usize, slot: usize) -> Self {
        Self::Slot { branch: branch as u32, slot: slot as u8 }
    }
}

/// A Merkle-Patricia trie over hashed keys.
pub struct Trie<V> {
    pub(super) leaves: Vec<Leaf<V>>,
    pub(super) branches: Vec<Branch>,
    free_leaves: Vec<u32>,
    free_branches: Vec<u32>,
    pub(super) root: Child,
}

impl<V: Value> Default for Trie<V> {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl<V: Value> Trie<V> {
    /// An empty trie with room for `entries`.
    #[must_use]
    pub fn with_capacity(entries: usize) -> Self {
        Self {
            leaves: Vec::with_capacity(entries),
            branches: Vec::with_capacity(entries / 3),
            free_leaves: Vec::new(),
            free_branches: Vec::new(),
            root: Child::changed(NodeId::NOTHING),
        }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leaves.len() - self.free_leaves.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that the nodes take, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let children: usize = self.branches.iter().map(|branch| branch.children.capacity()).sum();
        self.leaves.capacity() * size_of::<Leaf<V>>()
            + self.branches.capacity() * size_of::<Branch>()
            + children * size_of::<Child>()
    }

    #[inline]
    pub(super) fn child_mut(&mut self, edge: Edge) -> &mut Child {
        match edge {
            Edge::Root => &mut self.root,
            Edge::Slot { branch, slot } => &mut self.branches[branch as usize].children[usize::from(slot)],
        }
    }

    fn add_leaf(&mut self, key: &Key, value: V) -> NodeId {
        let leaf = Leaf { key: *key, value };
        if let Some(index) = self.free_leaves.pop() {
            self.leaves[index as usize] = leaf;
            return NodeId::leaf(index as usize);
        }
        self.leaves.push(leaf);
        NodeId::leaf(self.leaves.len() - 1)
    }

    fn add_branch(&mut self, branch: Branch) -> NodeId {
        if let Some(index) = self.free_branches.pop() {
            self.branches[index as usize] = branch;
            return NodeId::branch(index as usize);
        }
        self.branches.push(branch);
        NodeId::branch(self.branches.len() - 1)
    }

    fn find(&self, key: &Key) -> Option<usize> {
        let mut node = self.root.node;
        loop {
            match node.place() {
                Place::Nothing => return None,
                // The whole key is compared here, which covers the nibbles that branches skipped.
                Place::Leaf(index) => return (self.leaves[index].key == *key).then_some(index),
                Place::Branch(index) => {
                    let branch = &self.branches[index];
                    node = branch.children[branch.slot(nibble(key, usize::from(branch.depth)))?].node;
                }
            }
        }
    }

    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&V> {
        self.find(key).map(|index| &self.leaves[index].value)
    }

    /// Sets the value under `key` and returns the one it replaces. Ascending keys keep the paths in cache.
    pub fn insert(&mut self, key: &Key, value: V) -> Option<V> {
        let mut edge = Edge::Root;
        let mut start = 0;
        loop {
            let child = self.child_mut(edge);
            child.reference = Reference::UNKNOWN;
            let node = child.node;
            // Where the new key leaves the path of the node that stands here, and that node's nibble there.
            let (split, old_nibble) = match node.place() {
                Place::Nothing => {
                    self.root = Child::changed(self.add_leaf(key, value));
                    return None;
                }
                Place::Leaf(index) => {
                    let leaf = &mut self.leaves[index];
                    let split = divergence(&leaf.key, key, start, NIBBLES);
                    if split == NIBBLES {
                        return Some(std::mem::replace(&mut leaf.value, value));
                    }
                    (split, nibble(&leaf.key, split))
                }
                Place::Branch(index) => {
                    let branch = &self.branches[index];
                    let depth = usize::from(branch.depth);
                    let split = divergence(&branch.path, key, start, depth);
                    if split == depth {
                        let next = nibble(key, depth);
                        if let Some(slot) = branch.slot(next) {
                            edge = Edge::slot(index, slot);
                            start = depth + 1;
                            continue;
                        }
                        let leaf = self.add_leaf(key, value);
                        self.branches[index].add(next, leaf);
                        return None;
                    }
                    (split, nibble(&branch.path, split))
                }
            };
            let leaf = self.add_leaf(key, value);
            let children = [(old_nibble, node), (nibble(key, split), leaf)];
            let branch = self.add_branch(Branch::new(*key, split, children));
            self.child_mut(edge).node = branch;
            return None;
        }
    }

    /// Removes the value under `key` and returns it.
    pub fn remove(&mut self, key: &Key) -> Option<V> {
        self.find(key)?;
        let mut above = Edge::Root;
        let mut edge = Edge::Root;
        loop {
            let child = self.child_mut(edge);
            child.reference = Reference::UNKNOWN;
            match child.node.place() {
                Place::Nothing => return None,
                Place::Branch(index) => {
                    let branch = &self.branches[index];
                    let slot = branch.slot(nibble(key, usize::from(branch.depth)))?;
                    above = edge;
                    edge = Edge::slot(index, slot);
                }
                Place::Leaf(index) => {
                    self.free_leaves.push(index as u32);
                    self.unhang(edge, above, key);
                    return Some(std::mem::take(&mut self.leaves[index].value));
                }
            }
        }
    }

    /// Takes the node at `edge` out of its branch; a branch left with one child gives way to it.
    fn unhang(&mut self, edge: Edge, above: Edge, key: &Key) {
        let Edge::Slot { branch: index, .. } = edge else {
            self.root = Child::changed(NodeId::NOTHING);
            return;
        };
        let branch = &mut self.branches[index as usize];
        branch.take(nibble(key, usize::from(branch.depth)));
        if let [only] = branch.children[..] {
            branch.children = Vec::new();
            self.free_branches.push(index);
            *self.child_mut(above) = Child::changed(only.node);
        }
    }
}
