//! What every verifier must keep to, as one suite that each of them runs over evidence that it accepts.

use alloy_primitives::Bytes;
use bletchley_primitives::TimestampMs;

use crate::{
    COLLATERAL_SIZE_BYTES_MAX, EVIDENCE_SIZE_BYTES_MAX, Evidence, Kind, Verified, Verifier, VerifyError,
};

/// Evidence that is good, and when.
#[derive(Clone, Debug)]
pub struct Good {
    /// The evidence.
    pub evidence: Evidence,
    /// Trust anchors that it leads to.
    pub anchors: Vec<Bytes>,
    /// A time at which it is good.
    pub at: TimestampMs,
    /// Times at which its certificates, collateral or endorsements are not; none where it has none.
    pub not_at: Vec<TimestampMs>,
    /// How far apart the bits are that are flipped: 1 for every bit.
    pub stride: usize,
}

/// A promise that a verifier breaks.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

fn broken<T>(what: String) -> Result<T, Broken> {
    Err(Broken(what))
}

/// Runs the suite and gives what the evidence says.
///
/// # Errors
/// [`Broken`], the first promise that is not kept.
pub fn check(verifier: &dyn Verifier, good: &Good) -> Result<Verified, Broken> {
    let verify = |evidence: &Evidence| verifier.verify(evidence, &good.anchors, good.at);
    let Ok(verified) = verify(&good.evidence) else {
        return broken(format!("good evidence is refused: {:?}", verify(&good.evidence)));
    };
    flipped(&verified, good, &verify)?;
    resized(good, &verify)?;
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != verifier.kind()) {
        let other = Evidence { kind, ..good.evidence.clone() };
        if !matches!(verify(&other), Err(VerifyError::OtherKind { .. })) {
            return broken(format!("evidence that calls itself {kind} is read: {:?}", verify(&other)));
        }
    }
    for at in &good.not_at {
        let then = verifier.verify(&good.evidence, &good.anchors, *at);
        if !matches!(then, Err(VerifyError::NotValidThen { .. })) {
            return broken(format!("evidence is not refused for its time at {at} ms: {then:?}"));
        }
    }
    Ok(verified)
}

/// A flipped bit never changes what evidence says: it is refused, or the bit meant nothing.
fn flipped(
    verified: &Verified,
    good: &Good,
    verify: &impl Fn(&Evidence) -> Result<Verified, VerifyError>,
) -> Result<(), Broken> {
    let stride = good.stride.max(1);
    let (mut flips, mut refusals) = (0usize, 0usize);
    for in_collateral in [false, true] {
        let part = if in_collateral { &good.evidence.collateral } else { &good.evidence.bytes };
        for bit in (0..part.len().saturating_mul(8)).step_by(stride) {
            let mut bytes = part.to_vec();
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            let mut evidence = good.evidence.clone();
            let place = if in_collateral { &mut evidence.collateral } else { &mut evidence.bytes };
            *place = bytes.into();
            flips = flips.saturating_add(1);
            match verify(&evidence) {
                Err(_) => refusals = refusals.saturating_add(1),
                Ok(found) if found == *verified => {}
                Ok(found) => {
                    return broken(format!(
                        "bit {bit} of the {} changes what is said: {found:?}",
                        if in_collateral { "collateral" } else { "evidence" }
                    ));
                }
            }
        }
    }
    // Whoever accepted nearly everything would keep the promise above by saying always the same.
    if refusals < flips / 2 {
        return broken(format!("of {flips} flipped bits only {refusals} are noticed"));
    }
    Ok(())
}

/// Cut short, empty, or too long.
fn resized(good: &Good, verify: &impl Fn(&Evidence) -> Result<Verified, VerifyError>) -> Result<(), Broken> {
    let Evidence { bytes, collateral, .. } = &good.evidence;
    let with_bytes = |bytes: Vec<u8>| Evidence { bytes: bytes.into(), ..good.evidence.clone() };
    let half = |bytes: &Bytes| bytes.get(..bytes.len() / 2).unwrap_or_default().to_vec();
    let mut bad = vec![
        with_bytes(Vec::new()),
        with_bytes(half(bytes)),
        with_bytes(vec![0xff; bytes.len()]),
        with_bytes([bytes.as_ref(), &vec![0; EVIDENCE_SIZE_BYTES_MAX]].concat()),
    ];
    let padded = [collateral.as_ref(), &vec![b' '; COLLATERAL_SIZE_BYTES_MAX]].concat();
    bad.push(Evidence { collateral: padded.into(), ..good.evidence.clone() });
    if !collateral.is_empty() {
        bad.push(Evidence { collateral: half(collateral).into(), ..good.evidence.clone() });
        bad.push(Evidence { collateral: Bytes::new(), ..good.evidence.clone() });
    }
    for evidence in bad {
        if let Ok(found) = verify(&evidence) {
            let (bytes, collateral) = (evidence.bytes.len(), evidence.collateral.len());
            return broken(format!("{bytes} bytes with {collateral} of collateral are believed: {found:?}"));
        }
    }
    Ok(())
}
