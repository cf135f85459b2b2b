//! Points of secp256k1, y^2 = x^3 + 7. Variable time: for public data only.

use super::field::Field;

const SEVEN: Field = Field::from_limbs([7, 0, 0, 0]);
/// A cube root of one modulo p: (x, y) to (BETA x, y) multiplies a point by [`super::scalar::LAMBDA`].
const BETA: Field = Field::from_limbs([
    0xc139_6c28_7195_01ee,
    0x9cf0_4975_12f5_8995,
    0x6e64_479e_ac34_34e9,
    0x7ae9_6a2b_657c_0710,
]);

/// A point other than infinity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine {
    pub(super) x: Field,
    pub(super) y: Field,
}

/// The group's generator (SEC 2, 2.4.1).
pub(super) const GENERATOR: Affine = Affine {
    x: Field::from_limbs([
        0x59f2_815b_16f8_1798,
        0x029b_fcdb_2dce_28d9,
        0x55a0_6295_ce87_0b07,
        0x79be_667e_f9dc_bbac,
    ]),
    y: Field::from_limbs([
        0x9c47_d08f_fb10_d4b8,
        0xfd17_b448_a685_5419,
        0x5da4_fbfc_0e11_08a8,
        0x483a_da77_26a3_c465,
    ]),
};

impl Affine {
    /// From coordinates of 32 bytes each; none when they are too large or not on the curve.
    pub(super) fn from_bytes(bytes: &[u8; 64]) -> Option<Self> {
        let (x, y) = bytes.split_first_chunk::<32>()?;
        let (x, y) = (Field::from_bytes(x)?, Field::from_bytes(y.first_chunk::<32>()?)?);
        y.square().equals(&right_side(&x)).then_some(Self { x, y })
    }

    /// The point with this x and this parity of y, if there is one.
    pub(super) fn lift(x: Field, is_odd: bool) -> Option<Self> {
        let y = right_side(&x).sqrt()?;
        Some(Self { x, y: if y.is_odd() == is_odd { y } else { y.negate() } })
    }

    #[inline]
    pub(super) const fn negate(&self) -> Self {
        Self { x: self.x, y: self.y.negate() }
    }

    /// The point times [`super::scalar::LAMBDA`].
    pub(super) const fn endomorphism(&self) -> Self {
        Self { x: self.x.mul(&BETA), y: self.y }
    }

    /// What must be inverted to add the two: one when their sum is infinity.
    #[inline]
    pub(super) fn denominator(&self, other: &Self) -> Field {
        let dx = other.x.sub(&self.x);
        match dx.is_zero() {
            false => dx,
            // No point has y = 0: the group's order is odd.
            true if self.y.equals(&other.y) => self.y.double(),
            true => Field::ONE,
        }
    }

    /// The sum, with the inverse of [`Self::denominator`]; none when it is infinity.
    #[inline]
    pub(super) fn add(&self, other: &Self, inverse: &Field) -> Option<Self> {
        let dy = if !other.x.sub(&self.x).is_zero() {
            other.y.sub(&self.y)
        } else if self.y.equals(&other.y) {
            let square = self.x.square();
            square.double().add(&square)
        } else {
            return None;
        };
        let slope = dy.mul(inverse);
        let x = slope.square().sub(&self.x).sub(&other.x);
        let y = slope.mul(&self.x.sub(&x)).sub(&self.y);
        Some(Self { x, y })
    }
}

const fn right_side(x: &Field) -> Field {
    x.square().mul(x).add(&SEVEN)
}

/// A point (x / z^2, y / z^3), or infinity where z is zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jacobian {
    x: Field,
    y: Field,
    z: Field,
}

impl Jacobian {
    pub(super) const INFINITY: Self = Self { x: Field::ONE, y: Field::ONE, z: Field::ZERO };

    pub(super) fn is_infinity(&self) -> bool {
        self.z.is_zero()
    }

    // Explicit-Formulas Database, short Weierstrass curves with a = 0: dbl-2009-l.
    pub(super) fn double(&self) -> Self {
        let a = self.x.square();
        let b = self.y.square();
        let c = b.square();
        let d = self.x.add(&b).square().sub(&a).sub(&c).double();
        let e = a.double().add(&a);
        let x = e.square().sub(&d.double());
        let y = e.mul(&d.sub(&x)).sub(&c.double().double().double());
        Self { x, y, z: self.y.mul(&self.z).double() }
    }

    pub(super) fn add_affine(&self, other: &Affine) -> Self {
        if self.is_infinity() {
            return Self { x: other.x, y: other.y, z: Field::ONE };
        }
        let square = self.z.square();
        let dx = other.x.mul(&square).sub(&self.x);
        let dy = other.y.mul(&square.mul(&self.z)).sub(&self.y);
        self.chord(&self.x, &self.y, &dx, &dy, &self.z)
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        if self.is_infinity() {
            return *other;
        }
        if other.is_infinity() {
            return *self;
        }
        let (square, other_square) = (self.z.square(), other.z.square());
        let (x, y) = (self.x.mul(&other_square), self.y.mul(&other_square.mul(&other.z)));
        let dx = other.x.mul(&square).sub(&x);
        let dy = other.y.mul(&square.mul(&self.z)).sub(&y);
        self.chord(&x, &y, &dx, &dy, &self.z.mul(&other.z))
    }

    /// The third point on the line through `self` and another: `x` and `y` are those of `self`, and `dx` and `dy` the
    /// differences to the other's, all scaled to the common `z`.
    fn chord(&self, x: &Field, y: &Field, dx: &Field, dy: &Field, z: &Field) -> Self {
        if dx.is_zero() {
            return if dy.is_zero() { self.double() } else { Self::INFINITY };
        }
        let square = dx.square();
        let cube = square.mul(dx);
        let v = x.mul(&square);
        let x3 = dy.square().sub(&cube).sub(&v.double());
        let y3 = dy.mul(&v.sub(&x3)).sub(&y.mul(&cube));
        Self { x: x3, y: y3, z: z.mul(dx) }
    }
}
