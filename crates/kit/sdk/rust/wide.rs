
/// An unsigned integer of 256 bits, or of fewer where the manifest says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct U256([u64; 4]);

impl U256 {
    /// Nothing.
    pub const ZERO: Self = Self([0; 4]);
    /// The largest.
    pub const MAX: Self = Self([u64::MAX; 4]);

    /// From 32 bytes, big-endian.
    pub fn from_be_bytes(bytes: [u8; 32]) -> Self {
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().rev().zip(bytes.chunks(8)) {
            *limb = chunk.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        }
        Self(limbs)
    }

    /// As 32 bytes, big-endian.
    pub fn to_be_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (limb, chunk) in self.0.iter().rev().zip(bytes.chunks_mut(8)) {
            chunk.copy_from_slice(&limb.to_be_bytes());
        }
        bytes
    }

    /// The value, if it has at most 128 bits.
    pub fn to_u128(self) -> Option<u128> {
        (self.0[2] == 0 && self.0[3] == 0).then(|| u128::from(self.0[0]) | u128::from(self.0[1]) << 64)
    }

    /// Bits up to the highest one that is set.
    pub fn bits(self) -> usize {
        (0..4).rev().find(|at| self.0[*at] != 0).map_or(0, |at| at * 64 + 64 - self.0[at].leading_zeros() as usize)
    }

    /// The sum, if it fits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let (mut sum, mut carry) = ([0; 4], false);
        for at in 0..4 {
            let (once, first) = self.0[at].overflowing_add(other.0[at]);
            let (twice, second) = once.overflowing_add(u64::from(carry));
            sum[at] = twice;
            carry = first || second;
        }
        (!carry).then(|| Self(sum))
    }

    /// The difference, if it is not negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        (self >= other).then(|| self.wrapping_sub(other))
    }

    fn wrapping_sub(self, other: Self) -> Self {
        let (mut difference, mut borrow) = ([0; 4], false);
        for at in 0..4 {
            let (once, first) = self.0[at].overflowing_sub(other.0[at]);
            let (twice, second) = once.overflowing_sub(u64::from(borrow));
            difference[at] = twice;
            borrow = first || second;
        }
        Self(difference)
    }

    /// The product, if it fits.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        let mut product = [0_u64; 8];
        for left in 0..4 {
            let mut carry = 0_u128;
            for right in 0..4 {
                let sum = u128::from(self.0[left]) * u128::from(other.0[right])
                    + u128::from(product[left + right])
                    + carry;
                product[left + right] = sum as u64;
                carry = sum >> 64;
            }
            product[left + 4] = carry as u64;
        }
        product[4..].iter().all(|limb| *limb == 0).then(|| Self([product[0], product[1], product[2], product[3]]))
    }

    /// Quotient and remainder, if the divisor is not zero.
    pub fn checked_div_rem(self, divisor: Self) -> Option<(Self, Self)> {
        if divisor == Self::ZERO {
            return None;
        }
        if let (Some(left), Some(right)) = (self.to_u128(), divisor.to_u128()) {
            return Some(((left / right).into(), (left % right).into()));
        }
        let (mut quotient, mut rest) = ([0; 4], Self::ZERO);
        for bit in (0..self.bits()).rev() {
            // The rest is below the divisor, so a bit that is shifted out means that it is subtracted.
            let carried = rest.0[3] >> 63 == 1;
            for at in (0..4).rev() {
                rest.0[at] = rest.0[at] << 1 | if at == 0 { 0 } else { rest.0[at - 1] >> 63 };
            }
            rest.0[0] |= self.0[bit / 64] >> (bit % 64) & 1;
            if carried || rest >= divisor {
                rest = rest.wrapping_sub(divisor);
                quotient[bit / 64] |= 1 << (bit % 64);
            }
        }
        Some((Self(quotient), rest))
    }
}

impl Ord for U256 {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

impl PartialOrd for U256 {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

macro_rules! from_small {
    ($($small:ty),*) => {$(
        impl From<$small> for U256 {
            fn from(value: $small) -> Self {
                let value = value as u128;
                Self([value as u64, (value >> 64) as u64, 0, 0])
            }
        }
    )*};
}

from_small!(u8, u16, u32, u64, u128);

impl fmt::Display for U256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut rest, mut digits) = (*self, Vec::new());
        loop {
            let (quotient, digit) = rest.checked_div_rem(Self::from(10_u8)).unwrap_or_default();
            digits.push(b'0' + digit.0[0] as u8);
            rest = quotient;
            if rest == Self::ZERO {
                break;
            }
        }
        digits.reverse();
        f.write_str(&String::from_utf8_lossy(&digits))
    }
}

impl std::str::FromStr for U256 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is not a number of at most 256 bits", text);
        if text.is_empty() {
            return Err(wrong());
        }
        text.chars().try_fold(Self::ZERO, |value, letter| {
            let digit = letter.to_digit(10).ok_or_else(wrong)?;
            value.checked_mul(10_u8.into()).and_then(|value| value.checked_add(digit.into())).ok_or_else(wrong)
        })
    }
}

impl Abi for U256 {
    const DYNAMIC: bool = false;
    const HEAD: usize = WORD;

    fn decode(input: &[u8], _base: usize, at: usize) -> Self {
        let mut bytes = [0; WORD];
        bytes.copy_from_slice(&input[at..at + WORD]);
        Self::from_be_bytes(bytes)
    }

    fn encode(&self, out: &mut Vec<u8>, _base: usize, at: usize) {
        out[at..at + WORD].copy_from_slice(&self.to_be_bytes());
    }

    fn fits(&self, bits: usize) -> bool {
        self.bits() <= bits
    }
}

/// A signed integer of 256 bits, or of fewer where the manifest says so: a magnitude and a sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct I256 {
    negative: bool,
    magnitude: U256,
}

impl I256 {
    /// A number of this magnitude; zero has no sign. `None` below -2^255 and from 2^255 on.
    pub fn new(negative: bool, magnitude: U256) -> Option<Self> {
        let half = U256([0, 0, 0, 1 << 63]);
        let fits = magnitude < half || (negative && magnitude == half);
        fits.then(|| Self { negative: negative && magnitude != U256::ZERO, magnitude })
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.negative
    }

    /// Its distance from zero.
    pub fn magnitude(self) -> U256 {
        self.magnitude
    }
}

impl From<i128> for I256 {
    fn from(value: i128) -> Self {
        Self { negative: value < 0, magnitude: value.unsigned_abs().into() }
    }
}

impl fmt::Display for I256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.negative { "-" } else { "" }, self.magnitude)
    }
}

impl Abi for I256 {
    const DYNAMIC: bool = false;
    const HEAD: usize = WORD;

    fn decode(input: &[u8], base: usize, at: usize) -> Self {
        let word = U256::decode(input, base, at);
        if word.0[3] >> 63 == 0 {
            return Self { negative: false, magnitude: word };
        }
        Self { negative: true, magnitude: U256::ZERO.wrapping_sub(word) }
    }

    fn encode(&self, out: &mut Vec<u8>, base: usize, at: usize) {
        let word = if self.negative { U256::ZERO.wrapping_sub(self.magnitude) } else { self.magnitude };
        word.encode(out, base, at);
    }

    fn fits(&self, bits: usize) -> bool {
        let used = self.magnitude.bits();
        // A power of two is the lowest negative number of its width.
        let lowest = self.negative && used > 0 && self.magnitude.0.iter().map(|limb| limb.count_ones()).sum::<u32>() == 1;
        used < bits || (lowest && used == bits)
    }
}
