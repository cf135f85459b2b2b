//! Transactions: a body that is signed, and the witness that shows that the owners and issuers agree.

use crate::codec::hex_signatures;
use crate::ids::{TRANSACTION, WITNESSED};
use crate::limits::{
    COMPENSATES_MAX, INPUTS_MAX, OUTPUTS_MAX, PREIMAGES_MAX, SIGNATURES_MAX, TX_SIZE_BYTES_MAX,
};
use crate::{Action, Output, OutputRef, Value};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use bletchley_crypto::{RecoverError, recover_all};
use bletchley_primitives::{Address, B256, Bytes, DecodeError, LedgerId, Signature, TxId};
use rayon::prelude::*;
use rustc_hash::FxHashSet;
use serde::Serialize;

/// Version of the transaction format.
pub const TRANSACTION_VERSION: u8 = 1;

/// Transactions decoded per parallel unit of work.
const DECODE_CHUNK: usize = 128;

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, RlpEncodable, RlpDecodable)]
pub struct Body {
    /// [`TRANSACTION_VERSION`].
    pub version: u8,
    /// What it does.
    pub action: Action,
    /// Outputs that it spends, each once.
    pub inputs: Vec<OutputRef>,
    /// Outputs that it makes.
    pub outputs: Vec<Output>,
    /// Earlier transactions that it corrects; nothing on a ledger is ever undone.
    pub compensates: Vec<TxId>,
}

/// What shows that owners and issuers agree. Nothing in it is superfluous.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, RlpEncodable, RlpDecodable)]
pub struct Witness {
    /// Signatures of the transaction id, each by another key.
    #[serde(serialize_with = "hex_signatures")]
    pub signatures: Vec<Signature>,
    /// Preimages for hash locks.
    pub preimages: Vec<B256>,
}

/// A transaction as it travels: `[body, witness]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, RlpEncodable, RlpDecodable)]
pub struct Transaction {
    /// What is signed.
    pub body: Body,
    /// Why it may happen.
    pub witness: Witness,
}

/// Why bytes are not a transaction that could ever stand in a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// Not the canonical encoding of a transaction.
    #[error("the transaction does not decode: {0}")]
    Decode(#[from] DecodeError),
    /// It breaks a rule of form.
    #[error("the transaction is not well formed: {0}")]
    Form(&'static str),
    /// A signature belongs to no key.
    #[error("signature {index} of the transaction: {source}")]
    Signature {
        /// Which one.
        index: usize,
        /// What is wrong.
        source: RecoverError,
    },
    /// Two signatures are by one key.
    #[error("{0} signed the transaction twice")]
    RepeatedSigner(Address),
}

impl Body {
    /// The transaction's id on this ledger, which is also what its signatures sign.
    #[must_use]
    pub fn id(&self, ledger: LedgerId) -> TxId {
        id_of(ledger, &alloy_rlp::encode(self))
    }

    /// The first rule of form that this body breaks.
    fn problem(&self) -> Option<&'static str> {
        if self.version != TRANSACTION_VERSION {
            return Some("its version is not 1");
        }
        if self.inputs.len() > INPUTS_MAX || self.outputs.len() > OUTPUTS_MAX {
            return Some("it has more than 512 inputs or outputs");
        }
        if self.inputs.is_empty() && self.outputs.is_empty() {
            return Some("it has neither inputs nor outputs");
        }
        if self.compensates.len() > COMPENSATES_MAX || !self.compensates.is_sorted_by(|a, b| a < b) {
            return Some("it names at most 8 transactions that it compensates, ascending");
        }
        if repeats(&self.inputs) {
            return Some("it spends one output twice");
        }
        let zero = |output: &Output| matches!(output.value, Value::Amount { amount: 0, .. });
        if self.outputs.iter().any(|output| zero(output) || !output.lock.is_well_formed()) {
            return Some("an output has amount zero or a malformed lock");
        }
        self.action.problem()
    }
}

/// Lists up to this length are compared pair by pair.
const PAIRWISE_MAX: usize = 8;

fn repeats(inputs: &[OutputRef]) -> bool {
    if inputs.len() <= PAIRWISE_MAX {
        return inputs
            .iter()
            .enumerate()
            .any(|(i, input)| inputs.iter().take(i).any(|earlier| earlier == input));
    }
    let mut seen = FxHashSet::default();
    !inputs.iter().all(|input| seen.insert(input))
}

pub(crate) fn id_of(ledger: LedgerId, body: &[u8]) -> TxId {
    TxId(TRANSACTION.digest(&[ledger.0.as_slice(), body]))
}

/// A transaction with everything that is known of it without any state.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) tx: Transaction,
    pub(crate) id: TxId,
    /// Leaf of a block's transactions root: commits to the body and to the witness.
    pub(crate) leaf: B256,
    /// Who signed, in the order of the signatures.
    pub(crate) signers: Vec<Address>,
    /// The canonical bytes.
    pub(crate) bytes: Bytes,
}

impl Checked {
    /// Decodes one transaction; its signers are not recovered yet.
    pub(crate) fn decode(ledger: LedgerId, bytes: &[u8]) -> Result<Self, TransactionError> {
        if bytes.len() > TX_SIZE_BYTES_MAX {
            let too_long =
                DecodeError::TooLong { size_bytes: bytes.len(), size_bytes_max: TX_SIZE_BYTES_MAX };
            return Err(too_long.into());
        }
        let malformed = |e: alloy_rlp::Error| TransactionError::Decode(e.into());
        let mut rest = bytes;
        let mut payload = alloy_rlp::Header::decode_bytes(&mut rest, true).map_err(malformed)?;
        if !rest.is_empty() {
            return Err(DecodeError::Trailing(rest.len()).into());
        }
        let both = payload;
        let body = Body::decode(&mut payload).map_err(malformed)?;
        let (body_bytes, witness_bytes) = both.split_at(both.len() - payload.len());
        let witness = Witness::decode(&mut payload).map_err(malformed)?;
        if !payload.is_empty() {
            return Err(TransactionError::Form("something follows its witness"));
        }
        if witness.signatures.len() > SIGNATURES_MAX || witness.preimages.len() > PREIMAGES_MAX {
            return Err(TransactionError::Form("it has more than 16 signatures or preimages"));
        }
        if witness.signatures.is_empty() {
            return Err(TransactionError::Form("nobody signed it"));
        }
        if let Some(problem) = body.problem() {
            return Err(TransactionError::Form(problem));
        }
        let id = id_of(ledger, body_bytes);
        let leaf = WITNESSED.digest(&[id.0.as_slice(), witness_bytes]);
        let bytes = Bytes::copy_from_slice(bytes);
        Ok(Self { tx: Transaction { body, witness }, id, leaf, signers: Vec::new(), bytes })
    }

    /// Takes over who signed.
    fn signed_by(
        mut self,
        recovered: impl Iterator<Item = Result<Address, RecoverError>>,
    ) -> Result<Self, TransactionError> {
        for (index, signer) in recovered.enumerate() {
            let signer = signer.map_err(|source| TransactionError::Signature { index, source })?;
            if self.signers.contains(&signer) {
                return Err(TransactionError::RepeatedSigner(signer));
            }
            self.signers.push(signer);
        }
        Ok(self)
    }

    /// Decodes transactions and recovers all their signers, in parallel. `known` says who signed a transaction that was
    /// seen before (by id and leaf), so that nothing is recovered twice.
    pub(crate) fn decode_all<B: AsRef<[u8]> + Sync>(
        ledger: LedgerId,
        items: &[B],
        known: impl Fn(&Self) -> Option<Vec<Address>>,
    ) -> Vec<Result<Self, TransactionError>> {
        let mut decoded: Vec<Result<Self, TransactionError>> = items
            .par_iter()
            .with_min_len(DECODE_CHUNK)
            .map(|bytes| Self::decode(ledger, bytes.as_ref()))
            .collect();
        let mut wanted: Vec<(B256, Signature)> = Vec::with_capacity(decoded.len());
        for tx in decoded.iter_mut().flatten() {
            match known(tx) {
                Some(signers) => tx.signers = signers,
                None => wanted.extend(tx.tx.witness.signatures.iter().map(|signature| (tx.id.0, *signature))),
            }
        }
        let mut recovered = recover_all(&wanted).into_iter();
        decoded
            .into_iter()
            .map(|tx| {
                let tx = tx?;
                if !tx.signers.is_empty() {
                    return Ok(tx);
                }
                let count = tx.tx.witness.signatures.len();
                tx.signed_by(recovered.by_ref().take(count).collect::<Vec<_>>().into_iter())
            })
            .collect()
    }
}

impl Transaction {
    /// Canonical bytes.
    #[must_use]
    pub fn encode_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.length());
        self.encode(&mut out);
        out.into()
    }

    /// The transaction in these bytes, if it is well formed. Signatures are not checked.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub fn decode_bytes(ledger: LedgerId, bytes: &[u8]) -> Result<(TxId, Self), TransactionError> {
        Checked::decode(ledger, bytes).map(|checked| (checked.id, checked.tx))
    }

    /// The transaction in these bytes with its id and the addresses that signed it, in the order of the signatures.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub fn decode_signed(
        ledger: LedgerId,
        bytes: &[u8],
    ) -> Result<(TxId, Self, Vec<Address>), TransactionError> {
        let mut one = Checked::decode_all(ledger, &[bytes], |_| None);
        let checked = one.pop().unwrap_or(Err(TransactionError::Form("there is none")))?;
        Ok((checked.id, checked.tx, checked.signers))
    }

    /// The transaction's id on this ledger.
    #[must_use]
    pub fn id(&self, ledger: LedgerId) -> TxId {
        self.body.id(ledger)
    }
}
