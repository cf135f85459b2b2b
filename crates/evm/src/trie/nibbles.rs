//! Keys read four bits at a time.
#![allow(
    clippy::indexing_slicing,
    reason = "positions are below the key's 64 nibbles by construction of the arena"
)]

use super::{Key, encode::put_string};

/// Nibbles in a key.
pub(super) const NIBBLES: usize = 64;

/// The nibble of `key` at `at`.
#[inline]
pub(super) const fn nibble(key: &Key, at: usize) -> u8 {
    let byte = key[at / 2];
    if at.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f }
}

/// The first position in `from..to` at which the keys differ, or `to`. Nibbles before `from` must be equal.
#[inline]
pub(super) fn divergence(a: &Key, b: &Key, from: usize, to: usize) -> usize {
    for byte in from / 2..to.div_ceil(2) {
        let difference = a[byte] ^ b[byte];
        if difference != 0 {
            return (byte * 2 + usize::from(difference < 0x10)).min(to);
        }
    }
    to
}

/// Appends the nibbles `from..to` as an RLP string in hex-prefix encoding (yellow paper, appendix C).
pub(super) fn put_path(out: &mut Vec<u8>, key: &Key, from: usize, to: usize, is_leaf: bool) {
    let mut path = [0u8; 33];
    let flag = if is_leaf { 0x20 } else { 0x00 };
    let odd = (to - from) % 2 == 1;
    path[0] = if odd { flag | 0x10 | nibble(key, from) } else { flag };
    let first = from + usize::from(odd);
    let bytes = (to - first) / 2;
    if first.is_multiple_of(2) {
        path[1..=bytes].copy_from_slice(&key[first / 2..first / 2 + bytes]);
    } else {
        for (i, byte) in path[1..=bytes].iter_mut().enumerate() {
            *byte = nibble(key, first + 2 * i) << 4 | nibble(key, first + 2 * i + 1);
        }
    }
    put_string(out, &path[..=bytes]);
}
