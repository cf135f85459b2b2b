//! A small deterministic mutator: the same number gives the same input, on every machine.

use crate::structure;

/// Inputs grow by at most this much beyond their seed.
const GROWTH_SIZE_BYTES_MAX: usize = 64 << 10;
/// Most changes to one input.
const CHANGES_MAX: usize = 6;
/// Longest run of bytes that is removed, repeated or taken from another seed.
const RUN_SIZE_BYTES_MAX: usize = 96;

/// Numbers at which arithmetic goes wrong.
pub(crate) const NUMBERS: &[u64] = &[
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    (1 << 53) + 1,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// What text formats trip over.
pub(crate) const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ",",
    ":",
    "0x",
    "\"0x\"",
    "null",
    "true",
    "-1",
    "1e999",
    "0.1",
    "[[",
    "\n",
    "\0",
    "\\u0000",
    "\\ud800",
    "é",
    "=",
    "#",
    "N/A",
    "latest",
    "pending",
    "earliest",
    "0xffffffffffffffff",
    "0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "18446744073709551616",
    "9999-99-99",
];

/// Pseudo-random numbers (xorshift64*).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of this number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        // Splitmix64 spreads neighbouring numbers; zero would stay zero.
        let mut state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((state ^ (state >> 31)).max(1))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; zero when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { usize::try_from(self.number() >> 33).unwrap() % end }
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn run<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.below(bytes.len());
        let size = self.below(RUN_SIZE_BYTES_MAX.min(bytes.len() - start) + 1);
        &bytes[start..start + size]
    }
}

/// An input made of one of the seeds, as `number` decides.
#[must_use]
pub fn input(seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(number);
    let mut bytes = numbers.pick(seeds).clone();
    let size_bytes_max = bytes.len() + GROWTH_SIZE_BYTES_MAX;
    if numbers.below(2) == 0
        && let Some(changed) = structure::changed(&bytes, &mut numbers)
    {
        bytes = changed;
        if numbers.below(2) == 0 {
            bytes = structure::changed(&bytes, &mut numbers).unwrap_or(bytes);
        }
    } else {
        // Most often one change: two hide what each of them finds.
        let changes = if numbers.below(2) == 0 { 1 } else { 1 + numbers.below(CHANGES_MAX) };
        (0..changes).for_each(|_| change(&mut bytes, seeds, &mut numbers));
    }
    bytes.truncate(size_bytes_max);
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], numbers: &mut Numbers) {
    let at = numbers.below(bytes.len());
    match numbers.below(11) {
        0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
        2 if !bytes.is_empty() => {
            bytes[at] = *numbers.pick(&[0, 1, 0x7f, 0x80, 0xb8, 0xbf, 0xc0, 0xf8, 0xff])
        }
        3 => bytes.truncate(at),
        4 => {
            let size = numbers.run(bytes).len().min(bytes.len() - at);
            bytes.drain(at..at + size);
        }
        5 => {
            let repeated = numbers.run(bytes).to_vec();
            bytes.splice(at..at, repeated);
        }
        6 => {
            let other: &Vec<u8> = numbers.pick(seeds);
            let other = numbers.run(other).to_vec();
            let over = if numbers.below(2) == 0 { 0 } else { other.len().min(bytes.len() - at) };
            bytes.splice(at..at + over, other);
        }
        7 => {
            // An integer of a fixed width, either way round.
            let number = *numbers.pick(NUMBERS);
            let width = *numbers.pick(&[1, 2, 4, 8]);
            let mut integer = number.to_be_bytes()[8 - width..].to_vec();
            if numbers.below(2) == 0 {
                integer.reverse();
            }
            let over = width.min(bytes.len() - at);
            bytes.splice(at..at + over, integer);
        }
        8 => length(bytes, numbers),
        9 => digits(bytes, numbers),
        _ => {
            let word = numbers.pick(WORDS).as_bytes();
            let over =
                if numbers.below(2) == 0 { 0 } else { numbers.below(word.len() + 1).min(bytes.len() - at) };
            bytes.splice(at..at + over, word.iter().copied());
        }
    }
}

/// Makes a length of RLP, LEB128 or a fixed width a little wrong: the bytes that begin strings and lists are those from 0x80 on.
fn length(bytes: &mut [u8], numbers: &mut Numbers) {
    let lengths: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] >= 0x80).take(4096).collect();
    if !lengths.is_empty() {
        let at = *numbers.pick(&lengths);
        bytes[at] = match numbers.below(4) {
            0 => bytes[at].wrapping_add(1),
            1 => bytes[at].wrapping_sub(1),
            2 => bytes[at] ^ 0x40,
            _ => bytes[at] & 0xc0 | 0x3f,
        };
    }
}

/// Replaces a number in text by one at which arithmetic goes wrong.
fn digits(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|at| {
            bytes[*at].is_ascii_digit()
                && !at.checked_sub(1).is_some_and(|before| bytes[before].is_ascii_digit())
        })
        .take(4096)
        .collect();
    if !starts.is_empty() {
        let start = *numbers.pick(&starts);
        let size = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = numbers.pick(NUMBERS).to_string();
        bytes.splice(start..start + size, number.into_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_gives_one_input() {
        let seeds = [b"{\"jsonrpc\":\"2.0\",\"id\":1}".to_vec(), vec![0xf8, 0x80, 7]];
        let inputs: Vec<_> = (0..500).map(|number| input(&seeds, number)).collect();
        assert_eq!(inputs, (0..500).map(|number| input(&seeds, number)).collect::<Vec<_>>());
        let distinct: std::collections::BTreeSet<_> = inputs.iter().collect();
        assert!(distinct.len() > 250, "{}", distinct.len());
    }

    #[test]
    fn an_empty_seed_can_be_changed() {
        assert!((0..200).any(|number| !input(&[Vec::new()], number).is_empty()));
    }
}
