//! Transactions: decoded within bounds, signers recovered in batches, once.

use alloy_consensus::{Transaction, TxEnvelope, TxType};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use bletchley_crypto::{PublicKey, RecoverError, Signed, recover, recover_claimed};
use bletchley_primitives::Signature;
use rayon::prelude::*;
use revm::{
    context::TxEnv,
    context_interface::{
        either::Either,
        transaction::{RecoveredAuthority, RecoveredAuthorization, SignedAuthorization},
    },
};
use std::sync::Arc;

/// Longest encoded transaction that is decoded, as in geth.
pub const TX_SIZE_BYTES_MAX: usize = 128 << 10;

/// Transactions per parallel unit of decoding. So many are decoded on the caller's thread.
const DECODE_CHUNK: usize = 64;

/// `r` of the signature that stands in for an impersonated sender on a development ledger; `s` is the sender's address
/// as a number. Nobody holds a key for which a signature like it could be made on purpose.
const IMPERSONATED_R: U256 = U256::ONE;

/// Why bytes are not a transaction of this ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    /// Nothing at all.
    #[error("typed transaction too short")]
    Empty,
    /// Longer than [`TX_SIZE_BYTES_MAX`].
    #[error("oversized data: transaction size {0}, limit {TX_SIZE_BYTES_MAX}")]
    TooLong(usize),
    /// Blob transactions need a data layer that this ledger does not have.
    #[error("transaction type not supported: blob transactions (type 3) have no place on this ledger")]
    Blob,
    /// A type that nobody has defined, or that is not in these rules.
    #[error("transaction type not supported: {0}")]
    Type(u8),
    /// Not a canonical encoding.
    #[error("rlp: {0}")]
    Malformed(String),
    /// Signed for another chain.
    #[error("invalid chain id for signer: have {found} want {expected}")]
    ChainId {
        /// Chain id in the transaction.
        found: u64,
        /// This ledger's.
        expected: u64,
    },
    /// No signer can be recovered.
    #[error("invalid sender: {0}")]
    Signature(#[from] RecoverError),
}

/// A transaction's canonical bytes, and the key that somebody claims to have signed it: untrusted, and only a matter of speed.
pub type ClaimedTx = (Bytes, Option<PublicKey>);

/// What decoding needs to know of a ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TxRules {
    pub(crate) chain_id: u64,
    /// Whether EIP-7702 is in force.
    pub(crate) set_code: bool,
    /// Whether impersonated senders are known: development ledgers only.
    pub(crate) dev: bool,
}

/// A transaction with its hash and the address that signed it.
#[derive(Debug, Clone)]
pub struct RecoveredTx {
    /// The transaction and its signature.
    pub tx: TxEnvelope,
    /// Its hash.
    pub hash: B256,
    /// Who signed it, or who is impersonated.
    pub sender: Address,
    /// Its canonical bytes (EIP-2718).
    pub raw: Bytes,
    /// Whether the sender is impersonated, which only a development ledger accepts.
    pub impersonated: bool,
    authorities: Vec<RecoveredAuthorization>,
}

impl RecoveredTx {
    /// The most that one unit of gas may cost, in wei.
    #[must_use]
    pub fn max_fee(&self) -> u128 {
        self.tx.max_fee_per_gas()
    }

    /// The most that goes to the proposer per unit of gas: the whole price for types without a base fee.
    #[must_use]
    pub fn max_tip(&self) -> u128 {
        self.tx.max_priority_fee_per_gas().unwrap_or_else(|| self.tx.max_fee_per_gas())
    }

    /// What goes to the proposer per unit of gas under `base_fee`; none when the transaction does not pay that.
    #[must_use]
    pub fn tip(&self, base_fee: u64) -> Option<u128> {
        self.max_fee().checked_sub(u128::from(base_fee)).map(|room| room.min(self.max_tip()))
    }

    /// Price per unit of gas under `base_fee`.
    #[must_use]
    pub fn effective_gas_price(&self, base_fee: u64) -> u128 {
        self.tx.effective_gas_price(Some(base_fee))
    }

    /// The most that the transaction can take from its sender: gas limit times price, plus value.
    #[must_use]
    pub fn cost_max(&self) -> U256 {
        U256::from(self.tx.gas_limit())
            .saturating_mul(U256::from(self.max_fee()))
            .saturating_add(self.tx.value())
    }

    /// The transaction as the virtual machine takes it.
    #[must_use]
    pub(crate) fn env(&self) -> TxEnv {
        let tx = &self.tx;
        TxEnv {
            tx_type: tx.tx_type() as u8,
            caller: self.sender,
            gas_limit: tx.gas_limit(),
            gas_price: tx.max_fee_per_gas(),
            kind: tx.kind(),
            value: tx.value(),
            data: tx.input().clone(),
            nonce: tx.nonce(),
            chain_id: tx.chain_id(),
            access_list: tx.access_list().cloned().unwrap_or_default(),
            gas_priority_fee: tx.max_priority_fee_per_gas(),
            blob_hashes: Vec::new(),
            max_fee_per_blob_gas: 0,
            authorization_list: self.authorities.iter().cloned().map(Either::Right).collect(),
        }
    }

    /// The contract's address if the transaction creates one.
    #[must_use]
    pub fn created(&self) -> Option<Address> {
        match self.tx.kind() {
            TxKind::Create => Some(self.sender.create(self.tx.nonce())),
            TxKind::Call(_) => None,
        }
    }
}

/// A transaction whose signer is not yet known.
#[derive(Debug)]
struct Decoded {
    tx: TxEnvelope,
    hash: B256,
    raw: Bytes,
    claimed: Option<PublicKey>,
}

fn decode((raw, claimed): ClaimedTx, rules: &TxRules) -> Result<Decoded, TxError> {
    if raw.len() > TX_SIZE_BYTES_MAX {
        return Err(TxError::TooLong(raw.len()));
    }
    match raw.first() {
        None => return Err(TxError::Empty),
        Some(3) => return Err(TxError::Blob),
        Some(4) if !rules.set_code => return Err(TxError::Type(4)),
        Some(0 | 5..=0x7f) => return Err(TxError::Type(raw.first().copied().unwrap_or_default())),
        Some(_) => {}
    }
    let tx = TxEnvelope::decode_2718_exact(&raw).map_err(|error| TxError::Malformed(error.to_string()))?;
    if let Some(found) = tx.chain_id()
        && found != rules.chain_id
    {
        return Err(TxError::ChainId { found, expected: rules.chain_id });
    }
    let hash = match &tx {
        TxEnvelope::Legacy(_) => keccak256(&raw),
        typed => *typed.tx_hash(),
    };
    Ok(Decoded { tx, hash, raw, claimed })
}

fn joined(r: U256, s: U256, parity: u8) -> Signature {
    let mut bytes = [0u8; Signature::SIZE_BYTES];
    let (first, rest) = bytes.split_at_mut(32);
    let (second, last) = rest.split_at_mut(32);
    first.copy_from_slice(&r.to_be_bytes::<32>());
    second.copy_from_slice(&s.to_be_bytes::<32>());
    last.copy_from_slice(&[parity]);
    Signature(bytes)
}

impl Decoded {
    fn impersonated(&self, rules: &TxRules) -> Option<Address> {
        let signature = self.tx.signature();
        let marked = rules.dev && signature.r() == IMPERSONATED_R && !signature.v();
        let word = B256::from(signature.s());
        (marked && word.iter().take(12).all(|byte| *byte == 0)).then(|| Address::from_word(word))
    }

    /// Digests and signatures to recover, the transaction's own first, then those of its authorizations (EIP-7702).
    fn signatures(&self) -> impl Iterator<Item = Signed> + '_ {
        let signature = self.tx.signature();
        let own = Signed {
            digest: self.tx.signature_hash(),
            signature: joined(signature.r(), signature.s(), u8::from(signature.v())),
            claimed: self.claimed,
        };
        let authorizations = self.tx.authorization_list().unwrap_or_default();
        std::iter::once(own).chain(authorizations.iter().map(|authorization| Signed {
            digest: authorization.signature_hash(),
            signature: authorization_signature(authorization),
            claimed: None,
        }))
    }

    fn finish(
        self,
        signers: &mut impl Iterator<Item = Result<Address, RecoverError>>,
        rules: &TxRules,
    ) -> Result<RecoveredTx, TxError> {
        let own = signers.next().unwrap_or(Err(RecoverError::NoKey));
        let impersonated = self.impersonated(rules);
        let authorities = self
            .tx
            .authorization_list()
            .unwrap_or_default()
            .iter()
            .map(|authorization| {
                let authority = match signers.next() {
                    Some(Ok(address)) => RecoveredAuthority::Valid(address),
                    _ => RecoveredAuthority::Invalid,
                };
                RecoveredAuthorization::new_unchecked(authorization.inner().clone(), authority)
            })
            .collect();
        let sender = match impersonated {
            Some(sender) => sender,
            None => own?,
        };
        Ok(RecoveredTx {
            tx: self.tx,
            hash: self.hash,
            sender,
            raw: self.raw,
            impersonated: impersonated.is_some(),
            authorities,
        })
    }
}

/// A transaction that came from outside.
#[derive(Debug, Clone)]
pub(crate) enum Arrival<K> {
    /// It was here before; what is known of it.
    Known(K),
    /// Its signer was recovered now, and this is the signer's key.
    Fresh(Arc<RecoveredTx>, Option<PublicKey>),
}

impl Arrival<Arc<RecoveredTx>> {
    pub(crate) fn into_tx(self) -> Arc<RecoveredTx> {
        match self {
            Self::Known(tx) | Self::Fresh(tx, _) => tx,
        }
    }
}

/// Decodes transactions and recovers the signers of those that nothing is known of; large batches in parallel. `known`
/// gives the look-up by hash: it may hold a lock, which is taken once and let go before anything is recovered. Gives
/// besides which of them, in order, came with a false claim.
pub(crate) fn recover_batch<K, L: Fn(&B256) -> Option<K>>(
    raws: Vec<ClaimedTx>,
    rules: &TxRules,
    known: impl FnOnce() -> L,
) -> (Vec<Result<Arrival<K>, TxError>>, Vec<usize>) {
    let decoded: Vec<Result<Decoded, TxError>> = if raws.len() <= DECODE_CHUNK {
        raws.into_iter().map(|raw| decode(raw, rules)).collect()
    } else {
        raws.into_par_iter().with_min_len(DECODE_CHUNK).map(|raw| decode(raw, rules)).collect()
    };
    let lookup = known();
    let looked_up: Vec<Result<Result<Decoded, K>, TxError>> = decoded
        .into_iter()
        .map(|decoded| {
            decoded.map(|decoded| match lookup(&decoded.hash) {
                Some(known) => Err(known),
                None => Ok(decoded),
            })
        })
        .collect();
    drop(lookup);
    let unknown: Vec<&Decoded> =
        looked_up.iter().filter_map(|entry| entry.as_ref().ok()?.as_ref().ok()).collect();
    let items: Vec<Signed> = if unknown.len() <= DECODE_CHUNK {
        unknown.into_iter().flat_map(Decoded::signatures).collect()
    } else {
        unknown.into_par_iter().with_min_len(DECODE_CHUNK).flat_map_iter(Decoded::signatures).collect()
    };
    let (mut false_claims, mut keys) = (Vec::new(), recover_claimed(&items).keys.into_iter());
    let arrivals = looked_up
        .into_iter()
        .enumerate()
        .map(|(index, entry)| match entry? {
            Ok(decoded) => {
                let key = keys.as_slice().first().copied().and_then(Result::ok);
                if decoded.claimed.is_some() && decoded.claimed != key {
                    false_claims.push(index);
                }
                let mut signers = keys.by_ref().map(|key| key.map(|key| key.address()));
                decoded.finish(&mut signers, rules).map(|tx| Arrival::Fresh(Arc::new(tx), key))
            }
            Err(known) => Ok(Arrival::Known(known)),
        })
        .collect();
    (arrivals, false_claims)
}

/// Who signed each authorization (EIP-7702); nobody where the signature is invalid.
pub(crate) fn recover_authorizations(authorizations: &[SignedAuthorization]) -> Vec<RecoveredAuthorization> {
    authorizations
        .iter()
        .map(|authorization| {
            let authority =
                match recover(authorization.signature_hash(), &authorization_signature(authorization)) {
                    Ok(address) => RecoveredAuthority::Valid(address),
                    Err(_) => RecoveredAuthority::Invalid,
                };
            RecoveredAuthorization::new_unchecked(authorization.inner().clone(), authority)
        })
        .collect()
}

/// The signature as it is recovered. A parity above 1 is invalid (EIP-7702) and recovers nobody.
fn authorization_signature(authorization: &SignedAuthorization) -> Signature {
    joined(authorization.r(), authorization.s(), authorization.y_parity())
}

/// A transaction from this ledger's own data, whose sender is known.
pub(crate) fn with_sender(raw: Bytes, sender: Address, rules: &TxRules) -> Result<RecoveredTx, TxError> {
    let decoded = decode((raw, None), rules)?;
    let mut signers: Vec<Result<Address, RecoverError>> = vec![Ok(sender)];
    if decoded.tx.tx_type() == TxType::Eip7702 {
        let rest = decoded.signatures().skip(1);
        signers.extend(rest.map(|signed| recover(signed.digest, &signed.signature)));
    }
    decoded.finish(&mut signers.into_iter(), rules)
}

/// The signature of an impersonated sender.
pub(crate) fn impersonation(sender: Address) -> alloy_primitives::Signature {
    alloy_primitives::Signature::new(IMPERSONATED_R, sender.into_word().into(), false)
}
