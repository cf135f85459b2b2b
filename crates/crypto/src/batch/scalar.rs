//! Numbers modulo the group's order, by the `k256` crate, and their halves under the curve's endomorphism.

use super::limbs::{adc, from_bytes, mul_wide};
use k256::Scalar;
use k256::elliptic_curve::ff::PrimeField as _;

/// A cube root of one modulo the group's order.
pub(super) const LAMBDA: [u8; 32] =
    alloy_primitives::hex!("5363ad4cc05c30e0a5261c028812645a122e22ea20816678df02967c1b23bd72");

// A short basis of the lattice of (a, b) with a + b LAMBDA = 0: Gallant, Lambert, Vanstone, "Faster Point Multiplication on
// Elliptic Curves with Efficient Endomorphisms", section 4. Wrong numbers would make long halves, never wrong ones.
const MINUS_B1: u128 = 0xe443_7ed6_010e_8828_6f54_7fa9_0abf_e4c3;
const B2: u128 = 0x3086_d221_a7d4_6bcd_e86c_90e4_9284_eb15;
/// 2^384 times b2 and -b1 over the order, rounded.
const G1: [u64; 4] =
    [0xe893_209a_45db_b031, 0x3daa_8a14_71e8_ca7f, 0xe86c_90e4_9284_eb15, 0x3086_d221_a7d4_6bcd];
const G2: [u64; 4] =
    [0x1571_b4ae_8ac4_7f71, 0x2212_08ac_9df5_06c6, 0x6f54_7fa9_0abf_e4c4, 0xe443_7ed6_010e_8828];

/// A number of at most 128 bits with its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Half {
    pub(super) is_negative: bool,
    pub(super) magnitude: u128,
}

/// `first + second LAMBDA` is the number; none if a half has more than 128 bits, which does not happen.
pub(super) fn split(number: &Scalar) -> Option<(Half, Half)> {
    let limbs = from_bytes(&number.to_repr().into());
    let c1 = Scalar::from(high(&mul_wide(&limbs, &G1)));
    let c2 = Scalar::from(high(&mul_wide(&limbs, &G2)));
    let lambda = Option::<Scalar>::from(Scalar::from_repr(LAMBDA.into()))?;
    let second = c1 * Scalar::from(MINUS_B1) - c2 * Scalar::from(B2);
    let first = number - &(second * lambda);
    Some((half(&first)?, half(&second)?))
}

/// What stands above the 384th bit, rounded.
fn high(wide: &[u64; 8]) -> u128 {
    let [_, _, _, _, _, below, low, top] = *wide;
    let (low, carry) = adc(low, 0, below >> 63);
    u128::from(top.wrapping_add(carry)) << 64 | u128::from(low)
}

fn half(number: &Scalar) -> Option<Half> {
    let short = |number: &Scalar| {
        let bytes: [u8; 32] = number.to_repr().into();
        let (high, low) = bytes.split_first_chunk::<16>()?;
        (*high == [0; 16]).then_some(u128::from_be_bytes(*low.first_chunk::<16>()?))
    };
    match short(number) {
        Some(magnitude) => Some(Half { is_negative: false, magnitude }),
        None => Some(Half { is_negative: true, magnitude: short(&-number)? }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use k256::elliptic_curve::bigint::U256;
    use k256::elliptic_curve::ops::Reduce;
    use proptest::prelude::*;

    fn whole(half: Half) -> Scalar {
        let number = Scalar::from(half.magnitude);
        if half.is_negative { -number } else { number }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn halves_are_short_and_make_the_whole(bytes in any::<[u8; 32]>()) {
            let lambda = Scalar::from_repr(LAMBDA.into()).unwrap();
            let number = <Scalar as Reduce<U256>>::reduce_bytes(&bytes.into());
            for number in [number, -number, Scalar::ZERO, Scalar::ONE, -Scalar::ONE, lambda, -lambda] {
                let (first, second) = split(&number).unwrap();
                prop_assert_eq!(whole(first) + whole(second) * lambda, number);
            }
        }
    }
}
