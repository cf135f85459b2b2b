//! Numbers of 256 bits as four 64-bit limbs, the least significant first.

/// `a + b * c + carry`, low and high half. It cannot overflow: (2^64-1)^2 + 2 (2^64-1) = 2^128-1.
#[inline(always)]
pub(super) const fn mac(a: u64, b: u64, c: u64, carry: u64) -> (u64, u64) {
    let sum = (b as u128).wrapping_mul(c as u128).wrapping_add(a as u128).wrapping_add(carry as u128);
    (sum as u64, (sum >> 64) as u64)
}

/// `a + b + carry`, low half and carry.
#[inline(always)]
pub(super) const fn adc(a: u64, b: u64, carry: u64) -> (u64, u64) {
    let sum = (a as u128).wrapping_add(b as u128).wrapping_add(carry as u128);
    (sum as u64, (sum >> 64) as u64)
}

/// `a - b - borrow`, low half and borrow (0 or 1).
#[inline(always)]
pub(super) const fn sbb(a: u64, b: u64, borrow: u64) -> (u64, u64) {
    let difference = (a as u128).wrapping_sub(b as u128).wrapping_sub(borrow as u128);
    (difference as u64, ((difference >> 64) as u64) & 1)
}

/// The full product.
#[inline(always)]
pub(super) const fn mul_wide(a: &[u64; 4], b: &[u64; 4]) -> [u64; 8] {
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (*a, *b);
    let (w0, carry) = mac(0, a0, b0, 0);
    let (w1, carry) = mac(0, a0, b1, carry);
    let (w2, carry) = mac(0, a0, b2, carry);
    let (w3, w4) = mac(0, a0, b3, carry);
    let (w1, carry) = mac(w1, a1, b0, 0);
    let (w2, carry) = mac(w2, a1, b1, carry);
    let (w3, carry) = mac(w3, a1, b2, carry);
    let (w4, w5) = mac(w4, a1, b3, carry);
    let (w2, carry) = mac(w2, a2, b0, 0);
    let (w3, carry) = mac(w3, a2, b1, carry);
    let (w4, carry) = mac(w4, a2, b2, carry);
    let (w5, w6) = mac(w5, a2, b3, carry);
    let (w3, carry) = mac(w3, a3, b0, 0);
    let (w4, carry) = mac(w4, a3, b1, carry);
    let (w5, carry) = mac(w5, a3, b2, carry);
    let (w6, w7) = mac(w6, a3, b3, carry);
    [w0, w1, w2, w3, w4, w5, w6, w7]
}

/// The full square.
#[inline(always)]
pub(super) const fn square_wide(a: &[u64; 4]) -> [u64; 8] {
    let [a0, a1, a2, a3] = *a;
    let (w1, carry) = mac(0, a0, a1, 0);
    let (w2, carry) = mac(0, a0, a2, carry);
    let (w3, w4) = mac(0, a0, a3, carry);
    let (w3, carry) = mac(w3, a1, a2, 0);
    let (w4, w5) = mac(w4, a1, a3, carry);
    let (w5, w6) = mac(w5, a2, a3, 0);
    let w7 = w6 >> 63;
    let w6 = (w6 << 1) | (w5 >> 63);
    let w5 = (w5 << 1) | (w4 >> 63);
    let w4 = (w4 << 1) | (w3 >> 63);
    let w3 = (w3 << 1) | (w2 >> 63);
    let w2 = (w2 << 1) | (w1 >> 63);
    let w1 = w1 << 1;
    let (w0, carry) = mac(0, a0, a0, 0);
    let (w1, carry) = adc(w1, 0, carry);
    let (w2, high) = mac(w2, a1, a1, carry);
    let (w3, carry) = adc(w3, 0, high);
    let (w4, high) = mac(w4, a2, a2, carry);
    let (w5, carry) = adc(w5, 0, high);
    let (w6, high) = mac(w6, a3, a3, carry);
    let (w7, _) = adc(w7, 0, high);
    [w0, w1, w2, w3, w4, w5, w6, w7]
}

/// From 32 bytes, the most significant first.
#[inline]
pub(super) fn from_bytes(bytes: &[u8; 32]) -> [u64; 4] {
    let mut limbs = [0; 4];
    for (limb, chunk) in limbs.iter_mut().rev().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_be_bytes(*chunk);
    }
    limbs
}
