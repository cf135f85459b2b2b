//! A sum of many points times numbers of 128 bits: Pippenger's buckets with signed digits. Points within buckets are added
//! in affine coordinates, pair by pair, so that all additions of a round share one inversion (Montgomery's trick).

use super::curve::{Affine, Jacobian};
use super::field::{Field, invert_all};

/// Bits of the numbers.
const BITS: u32 = 128;
/// Digits have at least and at most so many bits.
const DIGIT_BITS: std::ops::RangeInclusive<u32> = 3..=12;
/// Cost of adding a point to its bucket and of adding up a bucket, in the same unit.
const ADD_COST: usize = 1;
const BUCKET_COST: usize = 4;
/// Points that are worked on at once, so that they stay in the processor's cache.
const GROUP_POINTS_MAX: usize = 8192;

/// A point and how often it is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    pub(super) point: Affine,
    pub(super) times: u128,
}

/// Signed digits of `bits` bits take one more window than unsigned ones would where the last one carries.
const fn windows(bits: u32) -> u32 {
    BITS / bits + 1
}

const fn buckets(bits: u32) -> usize {
    1 << (bits - 1)
}

fn digit_bits(terms: usize) -> u32 {
    let cost = |bits: &u32| windows(*bits) as usize * (terms * ADD_COST + buckets(*bits) * BUCKET_COST);
    DIGIT_BITS.min_by_key(cost).unwrap_or(*DIGIT_BITS.start())
}

/// Where a digit's point goes: the bucket within its window, and whether it is taken negatively.
type Place = Option<(u16, bool)>;

/// For each window, the lowest first, where each term goes.
fn places(terms: &[Term], bits: u32) -> Vec<Vec<Place>> {
    let half = 1u128 << (bits - 1);
    let mut all: Vec<Vec<Place>> = (0..windows(bits)).map(|_| Vec::with_capacity(terms.len())).collect();
    for term in terms {
        let (mut rest, mut carry) = (term.times, 0);
        for window in &mut all {
            let digit = (rest & (2 * half - 1)) + carry;
            rest = rest.checked_shr(bits).unwrap_or(0);
            // A digit is at most 2^bits here, and its distance to the next multiple at most 2^(bits - 1).
            let (distance, is_negative) =
                if digit > half { (2 * half - digit, true) } else { (digit, false) };
            carry = u128::from(is_negative);
            window.push(distance.checked_sub(1).map(|bucket| (bucket as u16, is_negative)));
        }
    }
    all
}

/// The sum of all terms.
pub(super) fn sum(terms: &[Term]) -> Jacobian {
    let bits = digit_bits(terms.len());
    let places = places(terms, bits);
    let group = (GROUP_POINTS_MAX / terms.len().max(1)).max(1);
    let mut work = Work::default();
    let mut total = Jacobian::INFINITY;
    for windows in places.rchunks(group) {
        work.fill(terms, windows, buckets(bits));
        while work.halve() {}
        for window in
            work.lengths.chunks(buckets(bits)).zip(work.starts(buckets(bits))).rev().map(|(l, p)| weigh(l, p))
        {
            for _ in 0..bits {
                total = total.double();
            }
            total = total.add(&window);
        }
    }
    total
}

/// Each bucket's point times its number, the first being 1.
fn weigh(lengths: &[u32], points: &[Affine]) -> Jacobian {
    let (mut running, mut sum) = (Jacobian::INFINITY, Jacobian::INFINITY);
    let mut points = points.iter().rev();
    for length in lengths.iter().rev() {
        if *length > 0
            && let Some(point) = points.next()
        {
            running = running.add_affine(point);
        }
        sum = sum.add(&running);
    }
    sum
}

/// Buckets of some windows.
#[derive(Default)]
struct Work {
    /// Points, bucket after bucket.
    points: Vec<Affine>,
    /// How many each bucket has, window after window.
    lengths: Vec<u32>,
    next: Vec<Affine>,
    denominators: Vec<Field>,
    scratch: Vec<Field>,
}

impl Work {
    fn fill(&mut self, terms: &[Term], windows: &[Vec<Place>], buckets: usize) {
        self.lengths.clear();
        self.lengths.resize(windows.len() * buckets, 0);
        let used = |places: &[Place]| places.iter().flatten().count();
        let points = windows.iter().map(|places| used(places)).sum();
        self.points.clear();
        self.points.resize(points, Affine { x: Field::ZERO, y: Field::ZERO });
        let mut begin = 0;
        for (places, lengths) in windows.iter().zip(self.lengths.chunks_mut(buckets)) {
            for (bucket, _) in places.iter().flatten() {
                if let Some(length) = lengths.get_mut(usize::from(*bucket)) {
                    *length += 1;
                }
            }
            let mut ends: Vec<usize> = Vec::with_capacity(buckets);
            for length in lengths.iter() {
                ends.push(begin);
                begin += *length as usize;
            }
            for (term, place) in terms.iter().zip(places) {
                let Some((bucket, is_negative)) = *place else { continue };
                let Some(end) = ends.get_mut(usize::from(bucket)) else { continue };
                if let Some(point) = self.points.get_mut(*end) {
                    *point = if is_negative { term.point.negate() } else { term.point };
                }
                *end += 1;
            }
        }
    }

    /// Adds the points of each bucket pair by pair; whether a bucket may still hold several.
    fn halve(&mut self) -> bool {
        self.denominators.clear();
        each(&self.points, &self.lengths, |points| {
            for [first, second] in points.as_chunks::<2>().0 {
                self.denominators.push(first.denominator(second));
            }
        });
        if self.denominators.is_empty() {
            return false;
        }
        invert_all(&mut self.denominators, &mut self.scratch);
        self.next.clear();
        let mut inverses = self.denominators.iter();
        let mut lengths = Vec::with_capacity(self.lengths.len());
        each(&self.points, &self.lengths, |points| {
            let before = self.next.len();
            let (pairs, single) = points.as_chunks::<2>();
            for ([first, second], inverse) in pairs.iter().zip(&mut inverses) {
                self.next.extend(first.add(second, inverse));
            }
            self.next.extend_from_slice(single);
            lengths.push((self.next.len() - before) as u32);
        });
        self.lengths = lengths;
        std::mem::swap(&mut self.points, &mut self.next);
        true
    }

    /// The points of each window, once every bucket holds one at most.
    fn starts(&self, buckets: usize) -> Vec<&[Affine]> {
        let mut rest = self.points.as_slice();
        let of = |lengths: &[u32]| {
            let points = lengths.iter().sum::<u32>() as usize;
            let (own, others) = rest.split_at_checked(points).unwrap_or((rest, &[]));
            rest = others;
            own
        };
        self.lengths.chunks(buckets).map(of).collect()
    }
}

/// Each bucket's points in turn.
fn each(points: &[Affine], lengths: &[u32], mut then: impl FnMut(&[Affine])) {
    let mut rest = points;
    for length in lengths {
        let (own, others) = rest.split_at_checked(*length as usize).unwrap_or((rest, &[]));
        rest = others;
        then(own);
    }
}
