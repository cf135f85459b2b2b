//! Domain separation: one prefix per purpose, so that no digest can stand where another belongs.

use alloy_primitives::{B256, Keccak256};

/// Purpose of a digest, as a string that is unique in the workspace (`bletchley/<crate>/<purpose>/<version>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain(pub &'static str);

impl Domain {
    /// keccak256 over the length-prefixed domain, then each part with its length (u64, big endian) before it.
    #[must_use]
    pub fn digest(self, parts: &[&[u8]]) -> B256 {
        let mut hasher = Keccak256::new();
        for part in std::iter::once(self.0.as_bytes()).chain(parts.iter().copied()) {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::Domain;

    #[test]
    fn parts_cannot_shift_into_each_other() {
        let domain = Domain("bletchley/crypto/test/1");
        assert_ne!(domain.digest(&[b"ab", b"c"]), domain.digest(&[b"a", b"bc"]));
        assert_ne!(domain.digest(&[b"abc"]), domain.digest(&[b"abc", b""]));
    }
}
