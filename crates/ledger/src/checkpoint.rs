//! Finality for outsiders: validators sign checkpoints, and more than two thirds of them make a certificate that is
//! verified from the genesis document alone.

use crate::receipt::{eip712_digest, eip712_domain, word};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::{Domain, SecretKey, recover_all};
use bletchley_primitives::{
    Address, B256, BlockHash, Bytes, DecodeError, Height, LedgerId, Signature, decode_bounded, keccak256,
};
use std::collections::BTreeSet;
use std::sync::LazyLock;

const VALIDATORS_DOMAIN: Domain = Domain("bletchley/ledger/validators/1");
const CHECKPOINT_TYPE: &str =
    "Checkpoint(bytes32 ledger,uint64 height,bytes32 block,bytes32 state,bytes32 validators,bytes32 next)";
static CHECKPOINT_TYPE_HASH: LazyLock<B256> = LazyLock::new(|| keccak256(CHECKPOINT_TYPE));
static CHECKPOINT_DOMAIN: LazyLock<B256> = LazyLock::new(|| eip712_domain("Bletchley Checkpoint"));

/// The validators of a ledger at a height, each with one vote, in ascending order of address.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct ValidatorSet {
    members: Vec<Address>,
}

impl ValidatorSet {
    /// A set of these validators; order and repetition do not matter.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = Address>) -> Self {
        let members: BTreeSet<Address> = members.into_iter().collect();
        Self { members: members.into_iter().collect() }
    }

    /// The validators in ascending order.
    #[must_use]
    pub fn members(&self) -> &[Address] {
        &self.members
    }

    /// Fewest signatures that are more than two thirds of the set.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.members.len() * 2 / 3 + 1
    }

    /// What checkpoints call this set by.
    #[must_use]
    pub fn digest(&self) -> B256 {
        let parts: Vec<&[u8]> = self.members.iter().map(|m| m.as_slice()).collect();
        VALIDATORS_DOMAIN.digest(&parts)
    }
}

/// What validators sign about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Checkpoint {
    /// The ledger.
    pub ledger: LedgerId,
    /// Height of the block.
    pub height: Height,
    /// Hash of its header.
    pub block: BlockHash,
    /// State commitment after it.
    pub state: B256,
    /// Digest of the set that signs.
    pub validators: B256,
    /// Digest of the set that signs the next height.
    pub next: B256,
}

impl Checkpoint {
    /// The digest that validators sign (EIP-712).
    #[must_use]
    pub fn signing_digest(&self) -> B256 {
        let fields = [
            *CHECKPOINT_TYPE_HASH,
            self.ledger.0,
            word(self.height.0),
            self.block.0,
            self.state,
            self.validators,
            self.next,
        ];
        let bytes: Vec<u8> = fields.iter().flat_map(|field| field.0).collect();
        eip712_digest(&CHECKPOINT_DOMAIN, &keccak256(bytes))
    }

    /// One validator's signature.
    #[must_use]
    pub fn sign(&self, key: &SecretKey) -> Signature {
        key.sign(self.signing_digest())
    }
}

/// A checkpoint with the signatures that make it final.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Certificate {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// One signature of each of a quorum of validators.
    pub signatures: Vec<Signature>,
}

/// What a store keeps beside a block as its certificate section.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Finality {
    /// What the engine wants back after a restart; empty for an engine that needs nothing.
    pub seal: Bytes,
    /// The certificate, where it was complete before the block was kept: a ledger of one validator. On others it is
    /// gathered behind the block and stands in the table of certificates.
    pub certificate: Option<Certificate>,
}

impl Finality {
    /// Longest encoding that is decoded.
    pub const SIZE_BYTES_MAX: usize = 2 * Certificate::SIZE_BYTES_MAX;

    /// Canonical bytes: the RLP list of the seal and, if there is one, the certificate.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        alloy_rlp::encode(Row { seal: self.seal.clone(), certificate: self.certificate.clone() }).into()
    }

    /// The finality in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Row { seal, certificate } = decode_bounded(bytes, Self::SIZE_BYTES_MAX)?;
        let finality = Self { seal, certificate };
        // An absent certificate may be written as an empty string as well, for the decoder.
        if finality.encode()[..] == *bytes {
            Ok(finality)
        } else {
            Err(DecodeError::Malformed("another encoding of a seal and a certificate".to_owned()))
        }
    }
}

#[derive(RlpEncodable, RlpDecodable)]
#[rlp(trailing)]
struct Row {
    seal: Bytes,
    certificate: Option<Certificate>,
}

/// Why a certificate does not make its block final.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Signed by another set than the one that the ledger has at this height.
    #[error("it names another validator set than the ledger has at height {0}")]
    WrongSet(Height),
    /// A signature is malformed, by a stranger, or repeated.
    #[error("signature {0} is not by a validator of the set, or repeats one")]
    Signature(usize),
    /// Too few signatures.
    #[error("{found} signatures, a quorum is {quorum}")]
    NoQuorum {
        /// Valid signatures found.
        found: usize,
        /// Signatures needed.
        quorum: usize,
    },
}

impl Certificate {
    /// Longest encoding that is decoded: a checkpoint and a thousand signatures.
    pub const SIZE_BYTES_MAX: usize = 128 << 10;

    /// Checks that a quorum of `validators` signed.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(&self, validators: &ValidatorSet) -> Result<(), CertificateError> {
        if self.checkpoint.validators != validators.digest() {
            return Err(CertificateError::WrongSet(self.checkpoint.height));
        }
        if self.signatures.len() > validators.members.len() {
            return Err(CertificateError::Signature(validators.members.len()));
        }
        let digest = self.checkpoint.signing_digest();
        let items: Vec<_> = self.signatures.iter().map(|signature| (digest, *signature)).collect();
        let mut seen = BTreeSet::new();
        for (index, signer) in recover_all(&items).into_iter().enumerate() {
            let known = signer.ok().filter(|signer| validators.members.binary_search(signer).is_ok());
            if !known.is_some_and(|signer| seen.insert(signer)) {
                return Err(CertificateError::Signature(index));
            }
        }
        let quorum = validators.quorum();
        if seen.len() < quorum {
            Err(CertificateError::NoQuorum { found: seen.len(), quorum })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u8) -> Vec<SecretKey> {
        (0..count).map(|i| SecretKey::from_seed(&[i])).collect()
    }

    fn certificate(keys: &[SecretKey], signers: &[usize]) -> (ValidatorSet, Certificate) {
        let set = ValidatorSet::new(keys.iter().map(SecretKey::address));
        let checkpoint = Checkpoint {
            ledger: LedgerId(B256::repeat_byte(1)),
            height: Height(9),
            block: BlockHash(B256::repeat_byte(2)),
            state: B256::repeat_byte(3),
            validators: set.digest(),
            next: set.digest(),
        };
        let signatures =
            signers.iter().filter_map(|i| keys.get(*i)).map(|key| checkpoint.sign(key)).collect();
        (set, Certificate { checkpoint, signatures })
    }

    #[test]
    fn more_than_two_thirds_and_each_once() {
        let keys = keys(4);
        let verify = |signers: &[usize]| {
            let (set, certificate) = certificate(&keys, signers);
            certificate.verify(&set)
        };
        assert_eq!(verify(&[0, 1, 2]), Ok(()));
        assert_eq!(verify(&[0, 1]), Err(CertificateError::NoQuorum { found: 2, quorum: 3 }));
        assert_eq!(verify(&[0, 1, 1]), Err(CertificateError::Signature(2)));
        let (_, strangers) = certificate(&super::tests::keys(5), &[4, 0, 1]);
        let (set, _) = certificate(&keys, &[]);
        assert_eq!(strangers.verify(&set), Err(CertificateError::WrongSet(Height(9))));
    }

    #[test]
    fn a_changed_field_changes_the_signer() {
        let keys = keys(1);
        let (set, good) = certificate(&keys, &[0]);
        assert_eq!(good.verify(&set), Ok(()));
        let mut forged = good;
        forged.checkpoint.state = B256::repeat_byte(4);
        assert_eq!(forged.verify(&set), Err(CertificateError::Signature(0)));
    }
}
