//! Proofs that an entry stands in a trie, or that it does not (EIP-1186).
#![allow(clippy::indexing_slicing, reason = "indices come from the arena's own edges")]

use super::{
    Key, Trie, Value,
    arena::Place,
    encode::NodeBuffer,
    nibbles::{divergence, nibble},
    root::{encode_branch, encode_extension, encode_leaf, reference_to},
};
use bletchley_primitives::Bytes;

impl<V: Value> Trie<V> {
    /// The nodes from the root towards `key`, the root first. Nodes that stand inside their parent are not listed again.
    pub fn proof(&mut self, key: &Key) -> Vec<Bytes> {
        self.root();
        let mut proof = Proof::default();
        let mut buffer = NodeBuffer::default();
        let mut node = self.root.node;
        let mut start = 0;
        loop {
            match node.place() {
                Place::Nothing => break,
                Place::Leaf(index) => {
                    proof.add(encode_leaf(&self.leaves[index], start, &mut buffer));
                    break;
                }
                Place::Branch(index) => {
                    let branch = &self.branches[index];
                    let depth = usize::from(branch.depth);
                    if depth > start {
                        let reference = reference_to(encode_branch(branch, &mut buffer));
                        proof.add(encode_extension(branch, start, &reference, &mut buffer));
                        if divergence(&branch.path, key, start, depth) < depth {
                            break;
                        }
                    }
                    proof.add(encode_branch(branch, &mut buffer));
                    let Some(slot) = branch.slot(nibble(key, depth)) else { break };
                    node = branch.children[slot].node;
                    start = depth + 1;
                }
            }
        }
        proof.nodes
    }
}

#[derive(Default)]
struct Proof {
    nodes: Vec<Bytes>,
}

impl Proof {
    fn add(&mut self, node: &[u8]) {
        if self.nodes.is_empty() || node.len() >= 32 {
            self.nodes.push(Bytes::copy_from_slice(node));
        }
    }
}
