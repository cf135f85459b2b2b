//! The field of secp256k1: numbers modulo p = 2^256 - 2^32 - 977. Variable time: for public data only.

use super::limbs::{adc, from_bytes, mac, mul_wide, sbb, square_wide};

/// 2^256 - p.
const FOLD: u64 = 0x1_0000_03d1;
/// p.
const MODULUS: [u64; 4] = [0xffff_fffe_ffff_fc2f, u64::MAX, u64::MAX, u64::MAX];

/// A number modulo p, held as any number below 2^256 that is congruent to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field([u64; 4]);

/// Brings a product back below 2^256: 2^256 is congruent to [`FOLD`].
#[inline(always)]
const fn reduce(wide: [u64; 8]) -> Field {
    let [w0, w1, w2, w3, w4, w5, w6, w7] = wide;
    let (r0, carry) = mac(w0, w4, FOLD, 0);
    let (r1, carry) = mac(w1, w5, FOLD, carry);
    let (r2, carry) = mac(w2, w6, FOLD, carry);
    let (r3, carry) = mac(w3, w7, FOLD, carry);
    let (r0, carry) = mac(r0, carry, FOLD, 0);
    let (r1, carry) = adc(r1, 0, carry);
    let (r2, carry) = adc(r2, 0, carry);
    let (r3, carry) = adc(r3, 0, carry);
    // With a carry the rest is below 2^68, so that this addition ends in the second limb.
    let (r0, carry) = adc(r0, carry.wrapping_mul(FOLD), 0);
    Field([r0, r1.wrapping_add(carry), r2, r3])
}

impl Field {
    pub(super) const ZERO: Self = Self([0; 4]);
    pub(super) const ONE: Self = Self([1, 0, 0, 0]);

    pub(super) const fn from_limbs(limbs: [u64; 4]) -> Self {
        Self(limbs)
    }

    /// None for p and above.
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let limbs = from_bytes(bytes);
        (limbs.iter().rev().lt(MODULUS.iter().rev())).then_some(Self(limbs))
    }

    #[inline(always)]
    pub(super) const fn mul(&self, other: &Self) -> Self {
        reduce(mul_wide(&self.0, &other.0))
    }

    #[inline(always)]
    pub(super) const fn square(&self) -> Self {
        reduce(square_wide(&self.0))
    }

    #[inline(always)]
    pub(super) const fn add(&self, other: &Self) -> Self {
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (self.0, other.0);
        let (r0, carry) = adc(a0, b0, 0);
        let (r1, carry) = adc(a1, b1, carry);
        let (r2, carry) = adc(a2, b2, carry);
        let (r3, carry) = adc(a3, b3, carry);
        let (r0, carry) = adc(r0, carry.wrapping_mul(FOLD), 0);
        let (r1, carry) = adc(r1, 0, carry);
        let (r2, carry) = adc(r2, 0, carry);
        let (r3, carry) = adc(r3, 0, carry);
        // With a second carry the rest is below FOLD.
        Self([r0.wrapping_add(carry.wrapping_mul(FOLD)), r1, r2, r3])
    }

    #[inline(always)]
    pub(super) const fn double(&self) -> Self {
        self.add(self)
    }

    #[inline(always)]
    pub(super) const fn sub(&self, other: &Self) -> Self {
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (self.0, other.0);
        let (r0, borrow) = sbb(a0, b0, 0);
        let (r1, borrow) = sbb(a1, b1, borrow);
        let (r2, borrow) = sbb(a2, b2, borrow);
        let (r3, borrow) = sbb(a3, b3, borrow);
        let (r0, borrow) = sbb(r0, borrow.wrapping_mul(FOLD), 0);
        let (r1, borrow) = sbb(r1, 0, borrow);
        let (r2, borrow) = sbb(r2, 0, borrow);
        let (r3, borrow) = sbb(r3, 0, borrow);
        // With a second borrow the rest is at least 2^256 - FOLD.
        Self([r0.wrapping_sub(borrow.wrapping_mul(FOLD)), r1, r2, r3])
    }

    #[inline(always)]
    pub(super) const fn negate(&self) -> Self {
        Self::ZERO.sub(self)
    }

    /// Zero has two forms below 2^256: 0 and p.
    #[inline(always)]
    pub(super) fn is_zero(&self) -> bool {
        self.0 == [0; 4] || self.0 == MODULUS
    }

    #[inline(always)]
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.sub(other).is_zero()
    }

    /// Whether the least number that it is congruent to is odd.
    pub(super) fn is_odd(&self) -> bool {
        let [low, ..] = self.0;
        // p is odd, so that taking it away once turns the parity around.
        (low & 1 == 1) == self.0.iter().rev().lt(MODULUS.iter().rev())
    }

    #[inline]
    const fn square_times(&self, times: u32) -> Self {
        let mut power = *self;
        let mut left = times;
        while left > 0 {
            power = power.square();
            left = left.wrapping_sub(1);
        }
        power
    }

    /// Powers of 2^2-1, 2^22-1 and 2^223-1, from which inverse and root are made.
    #[inline]
    fn ladder(&self) -> (Self, Self, Self) {
        let x2 = self.square().mul(self);
        let x3 = x2.square().mul(self);
        let x6 = x3.square_times(3).mul(&x3);
        let x9 = x6.square_times(3).mul(&x3);
        let x11 = x9.square_times(2).mul(&x2);
        let x22 = x11.square_times(11).mul(&x11);
        let x44 = x22.square_times(22).mul(&x22);
        let x88 = x44.square_times(44).mul(&x44);
        let x176 = x88.square_times(88).mul(&x88);
        let x220 = x176.square_times(44).mul(&x44);
        let x223 = x220.square_times(3).mul(&x3);
        (x2, x22, x223)
    }

    /// The inverse: the power p - 2. Zero for zero.
    pub(super) fn invert(&self) -> Self {
        let (x2, x22, x223) = self.ladder();
        let power = x223.square_times(23).mul(&x22).square_times(5).mul(self);
        power.square_times(3).mul(&x2).square_times(2).mul(self)
    }

    /// A square root, if there is one: the power (p + 1) / 4.
    pub(super) fn sqrt(&self) -> Option<Self> {
        let (x2, x22, x223) = self.ladder();
        let root = x223.square_times(23).mul(&x22).square_times(6).mul(&x2).square_times(2);
        root.square().equals(self).then_some(root)
    }
}

/// Inverts all of them at the price of one inversion and three products each. None may be zero.
pub(super) fn invert_all(numbers: &mut [Field], scratch: &mut Vec<Field>) {
    scratch.clear();
    let mut product = Field::ONE;
    for number in numbers.iter() {
        scratch.push(product);
        product = product.mul(number);
    }
    let mut inverse = product.invert();
    for (number, before) in numbers.iter_mut().zip(scratch.iter()).rev() {
        let own = inverse.mul(before);
        inverse = inverse.mul(number);
        *number = own;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::needless_range_loop)]
    use super::*;
    use k256::elliptic_curve::ff::PrimeField as _;
    use proptest::prelude::*;

    /// Numbers near every border that the arithmetic has, and any others.
    fn limb() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            Just(0),
            Just(1),
            Just(u64::MAX),
            Just(u64::MAX - 1),
            (0..4u64).prop_map(|d| FOLD - 2 + d),
            (0..4u64).prop_map(|d| 0xffff_fffe_ffff_fc2f - 2 + d),
        ]
    }

    fn number() -> impl Strategy<Value = Field> {
        prop_oneof![
            [limb(), limb(), limb(), limb()].prop_map(Field),
            limb().prop_map(|low| Field([low, u64::MAX, u64::MAX, u64::MAX])),
        ]
    }

    /// The same number by the schoolbook: numbers of 32 bits, long division by doubling and subtracting.
    fn canonical(wide: &[u64; 8]) -> [u64; 4] {
        let mut rest = [0u64; 5];
        for bit in (0..512).rev() {
            for i in (1..5).rev() {
                rest[i] = rest[i] << 1 | rest[i - 1] >> 63;
            }
            rest[0] = rest[0] << 1 | wide[bit / 64] >> (bit % 64) & 1;
            let (mut less, mut borrow) = (rest, 0);
            for i in 0..5 {
                (less[i], borrow) = sbb(rest[i], MODULUS.get(i).copied().unwrap_or(0), borrow);
            }
            if borrow == 0 {
                rest = less;
            }
        }
        [rest[0], rest[1], rest[2], rest[3]]
    }

    fn least(x: &Field) -> [u64; 4] {
        canonical(&[x.0[0], x.0[1], x.0[2], x.0[3], 0, 0, 0, 0])
    }

    fn product(a: &[u64; 4], b: &[u64; 4]) -> [u64; 8] {
        let mut out = [0u64; 8];
        for i in 0..4 {
            let mut carry = 0;
            for j in 0..4 {
                let t = u128::from(a[i]) * u128::from(b[j]) + u128::from(out[i + j]) + u128::from(carry);
                (out[i + j], carry) = (t as u64, (t >> 64) as u64);
            }
            out[i + 4] = carry;
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn products_and_squares_are_those_of_long_division(a in number(), b in number()) {
            prop_assert_eq!(least(&a.mul(&b)), canonical(&product(&a.0, &b.0)));
            prop_assert_eq!(least(&a.square()), canonical(&product(&a.0, &a.0)));
        }

        #[test]
        fn sums_and_differences_are_those_of_long_division(a in number(), b in number()) {
            let (sum, minus) = (a.add(&b), a.sub(&b));
            let (mut wide, mut carry) = ([0; 8], 0);
            for i in 0..4 {
                (wide[i], carry) = adc(a.0[i], b.0[i], carry);
            }
            wide[4] = carry;
            prop_assert_eq!(least(&sum), canonical(&wide));
            prop_assert!(minus.add(&b).equals(&a));
            prop_assert!(a.add(&a.negate()).is_zero());
            prop_assert_eq!(a.equals(&b), least(&a) == least(&b));
            prop_assert_eq!(a.is_odd(), least(&a)[0] & 1 == 1);
        }

        #[test]
        fn roots_and_inverses(a in number()) {
            let square = a.square();
            let root = square.sqrt().unwrap();
            prop_assert!(root.equals(&a) || root.equals(&a.negate()));
            prop_assert_eq!(a.is_zero(), square.negate().sqrt().is_some());
            prop_assert!(a.is_zero() || a.mul(&a.invert()).equals(&Field::ONE));
        }
    }

    #[test]
    fn bytes_from_the_modulus_on_are_refused() {
        let mut bytes = [0xff; 32];
        assert!(Field::from_bytes(&bytes).is_none());
        let modulus: Vec<u8> = MODULUS.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
        bytes.copy_from_slice(&modulus);
        assert!(Field::from_bytes(&bytes).is_none());
        bytes[31] -= 1;
        assert!(Field::from_bytes(&bytes).unwrap().add(&Field::ONE).is_zero());
        assert!(bool::from(k256::Scalar::from_repr(bytes.into()).is_none()), "p is above the group's order");
    }

    #[test]
    fn all_are_inverted() {
        let mut numbers: Vec<Field> = (1..50).map(|n| Field([n, n, 7, n])).collect();
        let before = numbers.clone();
        invert_all(&mut numbers, &mut Vec::new());
        assert!(numbers.iter().zip(&before).all(|(a, b)| a.mul(b).equals(&Field::ONE)));
    }
}
