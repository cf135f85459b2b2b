//! Locks: who may spend an output, and the check that a transaction's witness opens one.

use crate::codec::tagged_rlp;
use crate::ids::LOCK;
use crate::limits::LOCK_KEYS_MAX;
use crate::proof::ProofPublic;
use crate::{Owner, Witness};
use bletchley_primitives::{Address, B256, TimestampMs};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Who may spend an output. Tag 5 is reserved for outputs that a contract on another ledger holds; it is refused until
/// something can move them back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Lock {
    /// Whoever signs with the key of this address.
    Key {
        /// The address.
        address: Address,
    },
    /// Any `needed` of these keys.
    Threshold {
        /// How many must sign.
        needed: u8,
        /// The addresses, ascending, each once.
        keys: Vec<Address>,
    },
    /// Whoever can answer the identity proof: the key that it derives has this address.
    Proof {
        /// Digest of the proof's public key.
        address: Address,
        /// How to derive the key from the secrets.
        proof: Box<ProofPublic>,
    },
    /// The recipient with the preimage of `hash` before the deadline, the refund key from the deadline on.
    HashTime {
        /// SHA-256 of a preimage of exactly 32 bytes.
        hash: B256,
        /// Who may claim with the preimage.
        recipient: Address,
        /// Who may take it back.
        refund: Address,
        /// First block time at which only the refund key can spend.
        deadline_ms: TimestampMs,
    },
}

tagged_rlp!(Lock {
    1 => Key { address },
    2 => Threshold { needed, keys },
    3 => Proof { address, proof },
    4 => HashTime { hash, recipient, refund, deadline_ms },
});

/// Why a witness does not open a lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// The owner's signature is missing.
    #[error("the owner {0} did not sign")]
    NotSigned(Address),
    /// Too few of the owners signed.
    #[error("{signed} of its owners signed, {needed} must")]
    TooFew {
        /// How many signed.
        signed: usize,
        /// How many must.
        needed: u8,
    },
    /// Claimed at or after the deadline.
    #[error("it can be claimed only before block time {deadline_ms} ms")]
    Expired {
        /// The deadline.
        deadline_ms: TimestampMs,
    },
    /// Taken back before the deadline.
    #[error("it can be taken back only from block time {deadline_ms} ms on")]
    NotYet {
        /// The deadline.
        deadline_ms: TimestampMs,
    },
    /// Neither claimed with the preimage and the recipient's signature, nor taken back by the refund key.
    #[error(
        "it needs the preimage of {hash} with the signature of {recipient}, or after its deadline that of {refund}"
    )]
    Unanswered {
        /// The hash.
        hash: B256,
        /// Who may claim.
        recipient: Address,
        /// Who may take back.
        refund: Address,
    },
}

/// The time that locks are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The time of the block.
    Block(TimestampMs),
    /// Not known yet: the transaction waits for a block.
    Open,
}

/// What a transaction's witness shows, and which parts of it something asked for.
pub(crate) struct Evidence<'a> {
    signers: &'a [Address],
    preimages: &'a [B256],
    signers_used: u32,
    preimages_used: u32,
}

impl<'a> Evidence<'a> {
    pub(crate) fn new(signers: &'a [Address], witness: &'a Witness) -> Self {
        Self { signers, preimages: &witness.preimages, signers_used: 0, preimages_used: 0 }
    }

    /// Whether this key signed; marks its signature as asked for.
    pub(crate) fn signed(&mut self, address: &Address) -> bool {
        let found = self.signers.iter().position(|signer| signer == address);
        if let Some(index) = found {
            self.signers_used |= 1 << index;
        }
        found.is_some()
    }

    fn has_signed(&self, address: &Address) -> bool {
        self.signers.contains(address)
    }

    fn preimage(&self, hash: &B256) -> Option<usize> {
        self.preimages.iter().position(|preimage| Lock::hash_of(preimage) == *hash)
    }

    /// Position of the first signature, else preimage, that nothing asked for.
    pub(crate) fn unused(&self) -> Option<Unused> {
        let signer = (0..self.signers.len()).find(|i| self.signers_used & (1 << i) == 0);
        let preimage = (0..self.preimages.len()).find(|i| self.preimages_used & (1 << i) == 0);
        signer.map(Unused::Signature).or(preimage.map(Unused::Preimage))
    }
}

/// A part of a witness that no lock and no issuer asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unused {
    Signature(usize),
    Preimage(usize),
}

impl Lock {
    /// The lock of one key.
    #[must_use]
    pub const fn key(address: Address) -> Self {
        Self::Key { address }
    }

    /// Any `needed` of `keys`, whatever their order.
    #[must_use]
    pub fn threshold(needed: u8, keys: impl IntoIterator<Item = Address>) -> Self {
        let mut keys: Vec<Address> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        Self::Threshold { needed, keys }
    }

    /// The hash that a preimage answers: SHA-256.
    #[must_use]
    pub fn hash_of(preimage: &B256) -> B256 {
        B256::new(Sha256::digest(preimage).into())
    }

    /// Whom an output with this lock is listed under.
    #[must_use]
    pub fn owner(&self) -> Owner {
        match self {
            Self::Key { address } | Self::Proof { address, .. } => (*address).into(),
            Self::Threshold { .. } | Self::HashTime { .. } => Owner(LOCK.digest(&[&alloy_rlp::encode(self)])),
        }
    }

    /// Addresses that have a part in a shared lock.
    #[must_use]
    pub fn parties(&self) -> Vec<Address> {
        match self {
            Self::Key { .. } | Self::Proof { .. } => Vec::new(),
            Self::Threshold { keys, .. } => keys.clone(),
            Self::HashTime { recipient, refund, .. } if recipient == refund => vec![*recipient],
            Self::HashTime { recipient, refund, .. } => vec![*recipient, *refund],
        }
    }

    pub(crate) fn is_well_formed(&self) -> bool {
        match self {
            Self::Key { .. } | Self::HashTime { .. } => true,
            Self::Threshold { needed, keys } => {
                (1..=LOCK_KEYS_MAX).contains(&keys.len())
                    && *needed >= 1
                    && usize::from(*needed) <= keys.len()
                    && keys.is_sorted_by(|a, b| a < b)
            }
            Self::Proof { proof, .. } => proof.is_well_formed(),
        }
    }

    /// Checks that the evidence opens this lock at this time.
    pub(crate) fn open(&self, evidence: &mut Evidence<'_>, clock: Clock) -> Result<(), LockError> {
        match self {
            Self::Key { address } | Self::Proof { address, .. } => {
                if evidence.signed(address) {
                    Ok(())
                } else {
                    Err(LockError::NotSigned(*address))
                }
            }
            Self::Threshold { needed, keys } => {
                let signed = keys.iter().filter(|key| evidence.signed(key)).count();
                if signed < usize::from(*needed) {
                    return Err(LockError::TooFew { signed, needed: *needed });
                }
                Ok(())
            }
            Self::HashTime { hash, recipient, refund, deadline_ms } => {
                let claim = evidence.preimage(hash).filter(|_| evidence.has_signed(recipient));
                if let Some(preimage) = claim {
                    if matches!(clock, Clock::Block(now) if now >= *deadline_ms) {
                        return Err(LockError::Expired { deadline_ms: *deadline_ms });
                    }
                    evidence.preimages_used |= 1 << preimage;
                    evidence.signed(recipient);
                    return Ok(());
                }
                if !evidence.has_signed(refund) {
                    return Err(LockError::Unanswered {
                        hash: *hash,
                        recipient: *recipient,
                        refund: *refund,
                    });
                }
                if matches!(clock, Clock::Block(now) if now < *deadline_ms) {
                    return Err(LockError::NotYet { deadline_ms: *deadline_ms });
                }
                evidence.signed(refund);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn a(n: u8) -> Address {
        Address::repeat_byte(n)
    }

    fn open(
        lock: &Lock,
        signers: &[Address],
        preimages: &[B256],
        clock: Clock,
    ) -> (Result<(), LockError>, Option<Unused>) {
        let witness = Witness { signatures: Vec::new(), preimages: preimages.to_vec() };
        let mut evidence = Evidence::new(signers, &witness);
        let result = lock.open(&mut evidence, clock);
        (result, evidence.unused())
    }

    #[test]
    fn keys_and_thresholds() {
        assert_eq!(open(&Lock::key(a(1)), &[a(1)], &[], Clock::Open), (Ok(()), None));
        assert_eq!(open(&Lock::key(a(1)), &[a(2)], &[], Clock::Open).0, Err(LockError::NotSigned(a(1))));
        assert_eq!(open(&Lock::key(a(1)), &[a(1), a(2)], &[], Clock::Open).1, Some(Unused::Signature(1)));
        let two_of_three = Lock::threshold(2, [a(3), a(1), a(2)]);
        assert!(two_of_three.is_well_formed());
        assert_eq!(open(&two_of_three, &[a(3), a(1)], &[], Clock::Open).0, Ok(()));
        assert_eq!(
            open(&two_of_three, &[a(3), a(9)], &[], Clock::Open).0,
            Err(LockError::TooFew { signed: 1, needed: 2 })
        );
        assert!(!Lock::threshold(4, [a(1), a(2), a(3)]).is_well_formed());
        assert!(!Lock::threshold(0, [a(1)]).is_well_formed());
        assert!(!Lock::Threshold { needed: 1, keys: vec![a(2), a(1)] }.is_well_formed());
    }

    #[test]
    fn hash_and_time() {
        let preimage = B256::repeat_byte(7);
        let deadline_ms = TimestampMs(1000);
        let hash = Lock::hash_of(&preimage);
        let lock = Lock::HashTime { hash, recipient: a(1), refund: a(2), deadline_ms };
        let at = |ms| Clock::Block(TimestampMs(ms));
        assert_eq!(open(&lock, &[a(1)], &[preimage], at(999)), (Ok(()), None));
        assert_eq!(open(&lock, &[a(1)], &[preimage], at(1000)).0, Err(LockError::Expired { deadline_ms }));
        assert_eq!(open(&lock, &[a(2)], &[], at(1000)).0, Ok(()));
        assert_eq!(open(&lock, &[a(2)], &[], at(999)).0, Err(LockError::NotYet { deadline_ms }));
        let unanswered = Err(LockError::Unanswered { hash, recipient: a(1), refund: a(2) });
        assert_eq!(open(&lock, &[a(1)], &[B256::ZERO], at(999)).0, unanswered);
        assert_eq!(open(&lock, &[a(3)], &[preimage], at(999)).0, unanswered);
        assert_eq!(open(&lock, &[a(1)], &[], at(999)).0, unanswered);
    }

    #[test]
    fn the_reserved_lock_is_refused() {
        let mut bytes = alloy_rlp::encode(Lock::key(a(1)));
        assert_eq!(bletchley_primitives::decode_bounded::<Lock>(&bytes, 64).unwrap(), Lock::key(a(1)));
        bytes[1] = 5;
        assert!(bletchley_primitives::decode_bounded::<Lock>(&bytes, 64).is_err());
    }
}
