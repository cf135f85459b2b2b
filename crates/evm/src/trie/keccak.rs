//! Keccak-256 of many short messages: eight at a time where the processor has AVX-512, four where it has AVX2, one by one
//! elsewhere.
//!
//! A block's root is mostly hashing, and the messages of one level of a trie do not depend on each other. Digests come out
//! later than messages go in, so each message carries a tag. The vector code is written once for both widths, and proves
//! itself against the ordinary code before its first use in a process; should it ever differ, it is not used.
#![allow(
    clippy::indexing_slicing,
    reason = "lanes and words are bounded by the sizes of the arrays that this module lays out"
)]

use bletchley_primitives::keccak256;

/// Bytes that one permutation absorbs.
const RATE_BYTES: usize = 136;
/// Longest message that waits for others, in permutations. A full branch takes four.
const PERMUTATIONS_MAX: usize = 4;
const LANES: usize = 8;
/// Fewest messages that are worth a permutation of vectors.
const LANES_MIN: usize = 3;

/// Eight words at the same place of eight messages.
type Words = [u64; LANES];

/// Messages that need the same number of permutations.
struct Lanes {
    count: usize,
    tags: [u32; LANES],
    lengths: [u16; LANES],
    /// Padded messages, interleaved.
    words: Vec<Words>,
}

impl Lanes {
    fn new(permutations: usize) -> Self {
        Self {
            count: 0,
            tags: [0; LANES],
            lengths: [0; LANES],
            words: vec![[0; LANES]; permutations * RATE_BYTES / 8],
        }
    }

    /// Adds a message with its padding (FIPS 202 with Keccak's original domain bits).
    fn push(&mut self, message: &[u8], tag: u32) {
        let lane = self.count;
        let (whole, rest) = message.as_chunks::<8>();
        let mut last = [0u8; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()] = 0x01;
        for (words, chunk) in self.words.iter_mut().zip(whole) {
            words[lane] = u64::from_le_bytes(*chunk);
        }
        self.words[whole.len()][lane] = u64::from_le_bytes(last);
        for words in &mut self.words[whole.len() + 1..] {
            words[lane] = 0;
        }
        if let Some(end) = self.words.last_mut() {
            end[lane] |= 0x80 << 56;
        }
        self.tags[lane] = tag;
        self.lengths[lane] = message.len() as u16;
        self.count += 1;
    }

    /// Hashes one lane the ordinary way.
    fn single(&self, lane: usize) -> [u8; 32] {
        let mut message = [0u8; PERMUTATIONS_MAX * RATE_BYTES];
        for (chunk, words) in message.as_chunks_mut::<8>().0.iter_mut().zip(&self.words) {
            *chunk = words[lane].to_le_bytes();
        }
        keccak256(&message[..usize::from(self.lengths[lane])]).0
    }
}

/// Collects messages and hashes them together.
pub(crate) struct Hasher {
    /// By number of permutations; empty where one by one is all there is.
    lanes: Vec<Lanes>,
}

impl Default for Hasher {
    fn default() -> Self {
        let usable = vector::is_usable();
        Self { lanes: if usable { (1..=PERMUTATIONS_MAX).map(Lanes::new).collect() } else { Vec::new() } }
    }
}

impl Hasher {
    /// Hands `message` in; `each` gets the tag and digest of every message that is done, this one perhaps later.
    #[inline]
    pub(crate) fn push(&mut self, message: &[u8], tag: u32, each: &mut impl FnMut(u32, [u8; 32])) {
        match self.lanes.get_mut(message.len() / RATE_BYTES) {
            Some(lanes) => {
                lanes.push(message, tag);
                if lanes.count == LANES {
                    hash(lanes, each);
                }
            }
            None => each(tag, keccak256(message).0),
        }
    }

    /// Hands out what is still waiting.
    pub(crate) fn finish(&mut self, each: &mut impl FnMut(u32, [u8; 32])) {
        for lanes in &mut self.lanes {
            hash(lanes, each);
        }
    }

    /// The digests of `messages`, in their order.
    pub(crate) fn digests<M: AsRef<[u8]>>(
        &mut self,
        messages: impl ExactSizeIterator<Item = M>,
    ) -> Vec<[u8; 32]> {
        let mut digests = vec![[0; 32]; messages.len()];
        let mut keep = |tag: u32, digest| digests[tag as usize] = digest;
        for (tag, message) in (0..).zip(messages) {
            self.push(message.as_ref(), tag, &mut keep);
        }
        self.finish(&mut keep);
        digests
    }
}

fn hash(lanes: &mut Lanes, each: &mut impl FnMut(u32, [u8; 32])) {
    if lanes.count < LANES_MIN {
        for lane in 0..lanes.count {
            each(lanes.tags[lane], lanes.single(lane));
        }
    } else {
        let digests = vector::digests(&lanes.words);
        for (tag, digest) in lanes.tags.iter().zip(digests).take(lanes.count) {
            each(*tag, digest);
        }
    }
    lanes.count = 0;
}

#[cfg(target_arch = "x86_64")]
mod vector {
    #![allow(unsafe_code, reason = "vector loads and stores, and calling what only some processors have")]

    use super::{LANES, Lanes, RATE_BYTES, Words, keccak256};
    use std::arch::x86_64::*;
    use std::sync::LazyLock;

    type Digests = [[u8; 32]; LANES];

    /// What the processor has, if it gives the right digests.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Vectors {
        None,
        FourLanes,
        EightLanes,
    }

    static VECTORS: LazyLock<Vectors> = LazyLock::new(|| {
        // SAFETY: each is called only after its instructions were detected.
        if is_x86_feature_detected!("avx512f") && is_right(|words| unsafe { eight_lanes::digests(words) }) {
            Vectors::EightLanes
        } else if is_x86_feature_detected!("avx2") && is_right(|words| unsafe { four_lanes::digests(words) })
        {
            Vectors::FourLanes
        } else {
            Vectors::None
        }
    });

    pub(super) fn is_usable() -> bool {
        *VECTORS != Vectors::None
    }

    /// The digests of eight padded messages.
    pub(super) fn digests(words: &[Words]) -> Digests {
        match *VECTORS {
            // SAFETY: this value was chosen because avx512f was detected.
            Vectors::EightLanes => unsafe { eight_lanes::digests(words) },
            // SAFETY: this value was chosen because avx2 was detected.
            Vectors::FourLanes => unsafe { four_lanes::digests(words) },
            Vectors::None => [[0; 32]; LANES], // Not reached: no hasher has lanes then.
        }
    }

    fn is_right(digests: impl Fn(&[Words]) -> Digests) -> bool {
        (1..=super::PERMUTATIONS_MAX).all(|permutations| {
            let mut lanes = Lanes::new(permutations);
            let longest = permutations * RATE_BYTES - 1;
            let bytes: Vec<u8> = (0..longest).map(|n| (n * 31 + permutations) as u8).collect();
            let messages = || (0..LANES).map(|lane| &bytes[lane..longest - lane * 7]);
            for message in messages() {
                lanes.push(message, 0);
            }
            messages().map(|message| keccak256(message).0).eq(digests(&lanes.words))
        })
    }

    /// Round constants of iota (FIPS 202, 3.2.5).
    const ROUNDS: [u64; 24] = [
        0x0000_0000_0000_0001,
        0x0000_0000_0000_8082,
        0x8000_0000_0000_808a,
        0x8000_0000_8000_8000,
        0x0000_0000_0000_808b,
        0x0000_0000_8000_0001,
        0x8000_0000_8000_8081,
        0x8000_0000_0000_8009,
        0x0000_0000_0000_008a,
        0x0000_0000_0000_0088,
        0x0000_0000_8000_8009,
        0x0000_0000_8000_000a,
        0x0000_0000_8000_808b,
        0x8000_0000_0000_008b,
        0x8000_0000_0000_8089,
        0x8000_0000_0000_8003,
        0x8000_0000_0000_8002,
        0x8000_0000_0000_0080,
        0x0000_0000_0000_800a,
        0x8000_0000_8000_000a,
        0x8000_0000_8000_8081,
        0x8000_0000_0000_8080,
        0x0000_0000_8000_0001,
        0x8000_0000_8000_8008,
    ];

    /// One step along pi's cycle of 24 words, with rho's rotation (FIPS 202, 3.2.2 and 3.2.3).
    macro_rules! turn {
        ($state:ident, $moving:ident, $to:literal, $by:literal) => {
            let next = $state[$to];
            $state[$to] = rotate::<$by, { 64 - $by }>($moving);
            $moving = next;
        };
    }

    /// Keccak over vectors of one width, out of the operations that stand beside it: `zero`, `splat`, `load`, `store`,
    /// `rotate`, `xor`, `xor3` (a ^ b ^ c) and `chi` (a ^ (!b & c)).
    macro_rules! keccak {
        ($feature:literal, $vector:ident, $width:literal) => {
            /// The digests of eight padded messages, as many at a time as a vector holds.
            #[target_feature(enable = $feature)]
            pub(super) fn digests(words: &[Words]) -> Digests {
                let mut digests = Digests::default();
                for first in (0..LANES).step_by($width) {
                    let mut state = [zero(); 25];
                    for block in words.chunks_exact(RATE_BYTES / 8) {
                        for (word, message) in state.iter_mut().zip(block) {
                            *word = xor(*word, load(&message.as_chunks::<$width>().0[first / $width]));
                        }
                        permute(&mut state);
                    }
                    for (index, word) in state.iter().take(4).enumerate() {
                        for (digest, lane) in digests[first..].iter_mut().zip(store(*word)) {
                            digest[index * 8..index * 8 + 8].copy_from_slice(&lane.to_le_bytes());
                        }
                    }
                }
                digests
            }

            /// Keccak-f\[1600\]. Word `x + 5 y` is the lane (x, y).
            #[target_feature(enable = $feature)]
            fn permute(state: &mut [$vector; 25]) {
                let mut a = *state;
                for constant in ROUNDS {
                    // theta
                    let mut parity = [zero(); 5];
                    for x in 0..5 {
                        parity[x] = xor3(xor3(a[x], a[x + 5], a[x + 10]), a[x + 15], a[x + 20]);
                    }
                    for x in 0..5 {
                        let change = xor(parity[(x + 4) % 5], rotate::<1, 63>(parity[(x + 1) % 5]));
                        for y in 0..5 {
                            a[x + 5 * y] = xor(a[x + 5 * y], change);
                        }
                    }
                    // rho and pi
                    let mut moving = a[1];
                    turn!(a, moving, 10, 1);
                    turn!(a, moving, 7, 3);
                    turn!(a, moving, 11, 6);
                    turn!(a, moving, 17, 10);
                    turn!(a, moving, 18, 15);
                    turn!(a, moving, 3, 21);
                    turn!(a, moving, 5, 28);
                    turn!(a, moving, 16, 36);
                    turn!(a, moving, 8, 45);
                    turn!(a, moving, 21, 55);
                    turn!(a, moving, 24, 2);
                    turn!(a, moving, 4, 14);
                    turn!(a, moving, 15, 27);
                    turn!(a, moving, 23, 41);
                    turn!(a, moving, 19, 56);
                    turn!(a, moving, 13, 8);
                    turn!(a, moving, 12, 25);
                    turn!(a, moving, 2, 43);
                    turn!(a, moving, 20, 62);
                    turn!(a, moving, 14, 18);
                    turn!(a, moving, 22, 39);
                    turn!(a, moving, 9, 61);
                    turn!(a, moving, 6, 20);
                    a[1] = rotate::<44, 20>(moving);
                    // chi
                    for y in [0, 5, 10, 15, 20] {
                        let row = [a[y], a[y + 1], a[y + 2], a[y + 3], a[y + 4]];
                        for x in 0..5 {
                            a[y + x] = chi(row[x], row[(x + 1) % 5], row[(x + 2) % 5]);
                        }
                    }
                    // iota
                    a[0] = xor(a[0], splat(constant));
                }
                *state = a;
            }
        };
    }

    /// A short function over vectors.
    macro_rules! operation {
        ($feature:literal, $name:ident($($argument:ident: $kind:ty),*) -> $result:ty, $value:expr) => {
            #[inline]
            #[target_feature(enable = $feature)]
            fn $name($($argument: $kind),*) -> $result {
                $value
            }
        };
    }

    mod four_lanes {
        use super::*;

        operation!("avx2", zero() -> __m256i, _mm256_setzero_si256());
        operation!("avx2", splat(word: u64) -> __m256i, _mm256_set1_epi64x(word.cast_signed()));
        operation!("avx2", xor(a: __m256i, b: __m256i) -> __m256i, _mm256_xor_si256(a, b));
        operation!("avx2", xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i, xor(xor(a, b), c));
        operation!("avx2", chi(a: __m256i, b: __m256i, c: __m256i) -> __m256i, xor(a, _mm256_andnot_si256(b, c)));
        // SAFETY: the array is as long as the vector; the load needs no alignment.
        operation!("avx2", load(from: &[u64; 4]) -> __m256i, unsafe { _mm256_loadu_si256(from.as_ptr().cast()) });

        #[inline]
        #[target_feature(enable = "avx2")]
        fn store(from: __m256i) -> [u64; 4] {
            let mut words = [0; 4];
            // SAFETY: the array is as long as the vector; the store needs no alignment.
            unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), from) };
            words
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn rotate<const LEFT: i32, const RIGHT: i32>(a: __m256i) -> __m256i {
            _mm256_or_si256(_mm256_slli_epi64::<LEFT>(a), _mm256_srli_epi64::<RIGHT>(a))
        }

        keccak!("avx2", __m256i, 4);
    }

    mod eight_lanes {
        use super::*;

        operation!("avx512f", zero() -> __m512i, _mm512_setzero_si512());
        operation!("avx512f", splat(word: u64) -> __m512i, _mm512_set1_epi64(word.cast_signed()));
        operation!("avx512f", xor(a: __m512i, b: __m512i) -> __m512i, _mm512_xor_si512(a, b));
        // The literals are the operations' truth tables, read at (a, b, c) from (1, 1, 1) down.
        operation!("avx512f", xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i, _mm512_ternarylogic_epi64::<0x96>(a, b, c));
        operation!("avx512f", chi(a: __m512i, b: __m512i, c: __m512i) -> __m512i, _mm512_ternarylogic_epi64::<0xd2>(a, b, c));
        // SAFETY: the array is as long as the vector; the load needs no alignment.
        operation!("avx512f", load(from: &[u64; 8]) -> __m512i, unsafe { _mm512_loadu_si512(from.as_ptr().cast()) });

        #[inline]
        #[target_feature(enable = "avx512f")]
        fn store(from: __m512i) -> [u64; 8] {
            let mut words = [0; 8];
            // SAFETY: the array is as long as the vector; the store needs no alignment.
            unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), from) };
            words
        }

        #[inline]
        #[target_feature(enable = "avx512f")]
        fn rotate<const LEFT: i32, const RIGHT: i32>(a: __m512i) -> __m512i {
            _mm512_rol_epi64::<LEFT>(a)
        }

        keccak!("avx512f", __m512i, 8);
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod vector {
    use super::{LANES, Words};

    pub(super) const fn is_usable() -> bool {
        false
    }

    pub(super) const fn digests(_words: &[Words]) -> [[u8; 32]; LANES] {
        [[0; 32]; LANES] // Never called: nothing is usable here.
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_length_and_every_number_of_messages_has_the_ordinary_digest() {
        let message: Vec<u8> = (0..700u32).map(|n| ((n * n) >> 3) as u8).collect();
        for length in 0..600 {
            for count in [1, 2, 3, 8, 11] {
                let messages = || (0..count).map(|start| &message[start..start + length]);
                let expected: Vec<_> = messages().map(|message| keccak256(message).0).collect();
                assert_eq!(
                    Hasher::default().digests(messages()),
                    expected,
                    "{count} messages of {length} bytes"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn mixed_messages_have_the_ordinary_digests(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 0..80),
        ) {
            let expected: Vec<_> = messages.iter().map(|message| keccak256(message).0).collect();
            prop_assert_eq!(&Hasher::default().digests(messages.iter()), &expected);
            let mut without_vectors = Hasher { lanes: Vec::new() };
            prop_assert_eq!(without_vectors.digests(messages.iter()), expected);
        }
    }
}
