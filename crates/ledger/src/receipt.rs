//! A delegated call and its receipt: EIP-712 typed data, signed with secp256k1, so that any EVM chain can check it.

use crate::Place;
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use bletchley_crypto::Domain;
use bletchley_primitives::{Address, B256, Bytes, Height, LedgerId, Signature, TimestampMs, TxId, keccak256};
use std::fmt;
use std::sync::LazyLock;

const CALL_DOMAIN: Domain = Domain("bletchley/ledger/call/1");

/// Bounds of one call and of the calls of one transaction.
#[derive(Debug, Clone, Copy)]
pub struct CallBounds;

impl CallBounds {
    /// Longest method name.
    pub const METHOD_SIZE_BYTES_MAX: usize = 64;
    /// Longest input.
    pub const INPUT_SIZE_BYTES_MAX: usize = 64 << 10;
    /// Longest output, and longest reason of a failure.
    pub const OUTPUT_SIZE_BYTES_MAX: usize = 64 << 10;
    /// Most delegated calls in one transaction.
    pub const CALLS_PER_TX_MAX: u32 = 32;
    /// Heights for which a receipt stays valid after the one it was asked for.
    pub const WINDOW_HEIGHTS: u64 = 256;
    /// Furthest that a receipt's as-of time may lie from its block's time, in milliseconds.
    pub const AS_OF_SKEW_MS_MAX: u64 = 15 * 60 * 1000;
}

/// Identity of a call: it fits one place in one transaction on one ledger, and nowhere else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CallId(pub B256);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A call out of a contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Ledger of the transaction.
    pub ledger: LedgerId,
    /// The transaction.
    pub transaction: TxId,
    /// Who signed the transaction; budgets are shared out by sender. Not part of the identity: the transaction fixes it.
    pub sender: Address,
    /// The contract that makes the call.
    pub caller: Address,
    /// The cryptlet: keccak256 of its name (the active version), or a package id (that version and no other).
    pub cryptlet: B256,
    /// Method of the cryptlet.
    pub method: String,
    /// ABI-encoded arguments.
    pub input: Bytes,
    /// How many equal calls (caller, cryptlet, method, input) the transaction made before this one.
    pub occurrence: u32,
}

impl Call {
    /// The call's identity.
    #[must_use]
    pub fn id(&self) -> CallId {
        call_id(
            self.ledger,
            self.transaction,
            self.caller,
            self.cryptlet,
            &self.method,
            keccak256(&self.input),
            self.occurrence,
        )
    }
}

fn call_id(
    ledger: LedgerId,
    transaction: TxId,
    caller: Address,
    cryptlet: B256,
    method: &str,
    input_digest: B256,
    occurrence: u32,
) -> CallId {
    CallId(CALL_DOMAIN.digest(&[
        ledger.0.as_slice(),
        transaction.0.as_slice(),
        caller.as_slice(),
        cryptlet.as_slice(),
        method.as_bytes(),
        input_digest.as_slice(),
        &occurrence.to_be_bytes(),
    ]))
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// The output is the cryptlet's answer.
    Ok = 0,
    /// The cryptlet answered with an error; the output is its reason.
    Failed = 1,
    /// The cryptlet broke a deterministic bound (fuel, memory, output) or trapped; the output is the reason.
    Trapped = 2,
    /// No host could finish the call in time; the output is the reason. Never re-executed.
    Unavailable = 3,
    /// The registry or its policy refuses the call; no host signed, everyone re-derives it from the anchor.
    Refused = 4,
}

impl Status {
    /// The status with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Ok),
            1 => Some(Self::Failed),
            2 => Some(Self::Trapped),
            3 => Some(Self::Unavailable),
            4 => Some(Self::Refused),
            _ => None,
        }
    }
}

impl Encodable for Status {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        (*self as u8).encode(out);
    }
    fn length(&self) -> usize {
        1
    }
}

impl Decodable for Status {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        Self::from_number(u8::decode(buf)?).ok_or(alloy_rlp::Error::Custom("unknown receipt status"))
    }
}

/// What hosts sign about a call.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Receipt {
    /// Ledger of the transaction.
    pub ledger: LedgerId,
    /// The transaction.
    pub transaction: TxId,
    /// The contract that made the call.
    pub caller: Address,
    /// The cryptlet as the contract named it.
    pub cryptlet: B256,
    /// The package that ran: code and manifest by digest; zero when refused.
    pub package: B256,
    /// Method.
    pub method: String,
    /// keccak256 of the input.
    pub input_digest: B256,
    /// Occurrence of the call in its transaction.
    pub occurrence: u32,
    /// How it ended.
    pub status: Status,
    /// keccak256 of the output.
    pub output_digest: B256,
    /// Fuel used.
    pub fuel: u64,
    /// Execution profile: engine version and flags, by digest; zero when nothing ran.
    pub profile: B256,
    /// Digest of the outside data and host calls that the run saw; zero when nothing ran.
    pub transcript: B256,
    /// The cryptlet's clock during the call.
    pub as_of_ms: TimestampMs,
    /// First height whose block may hold this receipt.
    pub valid_from: Height,
    /// Last height whose block may hold it.
    pub valid_to: Height,
}

/// EIP-712 type of a receipt, as a contract that checks one declares it.
const RECEIPT_TYPE: &str = "Receipt(bytes32 ledger,bytes32 transaction,address caller,bytes32 cryptlet,bytes32 package,\
string method,bytes32 inputDigest,uint32 occurrence,uint8 status,bytes32 outputDigest,uint64 fuel,bytes32 profile,\
bytes32 transcript,uint64 asOfMs,uint64 validFrom,uint64 validTo)";

static RECEIPT_TYPE_HASH: LazyLock<B256> = LazyLock::new(|| keccak256(RECEIPT_TYPE));
static RECEIPT_DOMAIN: LazyLock<B256> = LazyLock::new(|| eip712_domain("Bletchley Receipt"));

/// Domain separator `EIP712Domain(string name,string version)` with version "1": the ledger is a field of what is
/// signed, so that one verifier serves every ledger.
pub(crate) fn eip712_domain(name: &str) -> B256 {
    let mut words = Vec::with_capacity(96);
    words.extend_from_slice(keccak256("EIP712Domain(string name,string version)").as_slice());
    words.extend_from_slice(keccak256(name).as_slice());
    words.extend_from_slice(keccak256("1").as_slice());
    keccak256(words)
}

/// `keccak256(0x19 0x01 || domain || struct hash)` (EIP-712).
pub(crate) fn eip712_digest(domain: &B256, struct_hash: &B256) -> B256 {
    let mut bytes = Vec::with_capacity(66);
    bytes.extend_from_slice(&[0x19, 0x01]);
    bytes.extend_from_slice(domain.as_slice());
    bytes.extend_from_slice(struct_hash.as_slice());
    keccak256(bytes)
}

pub(crate) fn word(number: u64) -> B256 {
    B256::left_padding_from(&number.to_be_bytes())
}

impl Receipt {
    /// The digest that hosts and the cryptlet sign (EIP-712).
    #[must_use]
    pub fn signing_digest(&self) -> B256 {
        let fields = [
            *RECEIPT_TYPE_HASH,
            self.ledger.0,
            self.transaction.0,
            self.caller.into_word(),
            self.cryptlet,
            self.package,
            keccak256(&self.method),
            self.input_digest,
            word(u64::from(self.occurrence)),
            word(u64::from(self.status as u8)),
            self.output_digest,
            word(self.fuel),
            self.profile,
            self.transcript,
            word(self.as_of_ms.0),
            word(self.valid_from.0),
            word(self.valid_to.0),
        ];
        eip712_digest(&RECEIPT_DOMAIN, &keccak256(fields.as_flattened_bytes()))
    }

    /// Identity of the call that this receipt answers.
    #[must_use]
    pub fn call_id(&self) -> CallId {
        call_id(
            self.ledger,
            self.transaction,
            self.caller,
            self.cryptlet,
            &self.method,
            self.input_digest,
            self.occurrence,
        )
    }

    /// Whether this receipt answers exactly this call.
    #[must_use]
    pub fn answers(&self, call: &Call) -> bool {
        self.ledger == call.ledger
            && self.transaction == call.transaction
            && self.caller == call.caller
            && self.cryptlet == call.cryptlet
            && self.method == call.method
            && self.occurrence == call.occurrence
            && self.input_digest == keccak256(&call.input)
    }
}

trait FlattenedBytes {
    fn as_flattened_bytes(&self) -> Vec<u8>;
}

impl FlattenedBytes for [B256] {
    fn as_flattened_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|word| word.0).collect()
    }
}

/// A receipt with its output and signatures, as the record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct SignedReceipt {
    /// What was signed.
    pub receipt: Receipt,
    /// The output, or the reason of a failure (UTF-8).
    pub output: Bytes,
    /// Signature of the cryptlet's own key first, then one of each host; empty when refused.
    pub signatures: Vec<Signature>,
}

impl SignedReceipt {
    /// Most signatures on one receipt: the cryptlet's and thirty-two hosts'.
    pub const SIGNATURES_MAX: usize = 33;

    /// A refusal: what everyone derives from the registry when a call may not run.
    #[must_use]
    pub fn refused(call: &Call, place: &Place, reason: &str) -> Self {
        let output = Bytes::copy_from_slice(reason.as_bytes());
        let receipt = Receipt {
            ledger: call.ledger,
            transaction: call.transaction,
            caller: call.caller,
            cryptlet: call.cryptlet,
            package: B256::ZERO,
            method: call.method.clone(),
            input_digest: keccak256(&call.input),
            occurrence: call.occurrence,
            status: Status::Refused,
            output_digest: keccak256(&output),
            fuel: 0,
            profile: B256::ZERO,
            transcript: B256::ZERO,
            as_of_ms: place.time_ms,
            valid_from: place.height,
            valid_to: place.height,
        };
        Self { receipt, output, signatures: Vec::new() }
    }

    /// Whether this is a refusal, which nobody signs.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.receipt.status == Status::Refused && self.signatures.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloy_sol_types::{SolStruct, eip712_domain, sol};

    mod solidity {
        #![allow(unreachable_pub)]
        use super::sol;
        sol! {
            struct Receipt {
                bytes32 ledger; bytes32 transaction; address caller; bytes32 cryptlet; bytes32 package; string method;
                bytes32 inputDigest; uint32 occurrence; uint8 status; bytes32 outputDigest; uint64 fuel; bytes32 profile;
                bytes32 transcript; uint64 asOfMs; uint64 validFrom; uint64 validTo;
            }
        }
    }

    fn example() -> Receipt {
        Receipt {
            ledger: LedgerId(B256::repeat_byte(1)),
            transaction: TxId(B256::repeat_byte(2)),
            caller: Address::repeat_byte(3),
            cryptlet: keccak256("fx-rates"),
            package: B256::repeat_byte(5),
            method: "rate".into(),
            input_digest: B256::repeat_byte(6),
            occurrence: 7,
            status: Status::Failed,
            output_digest: B256::repeat_byte(8),
            fuel: 9_000_000_000,
            profile: B256::repeat_byte(10),
            transcript: B256::repeat_byte(11),
            as_of_ms: TimestampMs(1_700_000_000_123),
            valid_from: Height(12),
            valid_to: Height(13),
        }
    }

    /// The other side of the digest: alloy's EIP-712, from the Solidity declaration.
    #[test]
    fn digest_equals_eip712_of_the_solidity_struct() {
        let ours = example();
        let theirs = solidity::Receipt {
            ledger: ours.ledger.0,
            transaction: ours.transaction.0,
            caller: ours.caller,
            cryptlet: ours.cryptlet,
            package: ours.package,
            method: ours.method.clone(),
            inputDigest: ours.input_digest,
            occurrence: ours.occurrence,
            status: ours.status as u8,
            outputDigest: ours.output_digest,
            fuel: ours.fuel,
            profile: ours.profile,
            transcript: ours.transcript,
            asOfMs: ours.as_of_ms.0,
            validFrom: ours.valid_from.0,
            validTo: ours.valid_to.0,
        };
        let domain = eip712_domain! { name: "Bletchley Receipt", version: "1", };
        assert_eq!(ours.signing_digest(), theirs.eip712_signing_hash(&domain));
    }

    #[test]
    fn encoding_round_trips_and_refuses_trailing_bytes() {
        let signed = SignedReceipt {
            receipt: example(),
            output: Bytes::from_static(b"why"),
            signatures: vec![Signature([7; 65])],
        };
        let mut bytes = alloy_rlp::encode(&signed);
        assert_eq!(bletchley_primitives::decode_bounded::<SignedReceipt>(&bytes, 4096).unwrap(), signed);
        bytes.push(0);
        assert!(bletchley_primitives::decode_bounded::<SignedReceipt>(&bytes, 4096).is_err());
    }

    #[test]
    fn a_call_fits_one_place_only() {
        let call = Call {
            ledger: LedgerId(B256::repeat_byte(1)),
            transaction: TxId(B256::repeat_byte(2)),
            sender: Address::ZERO,
            caller: Address::repeat_byte(3),
            cryptlet: keccak256("fx-rates"),
            method: "rate".into(),
            input: Bytes::from_static(b"in"),
            occurrence: 0,
        };
        let others = [
            Call { ledger: LedgerId(B256::repeat_byte(9)), ..call.clone() },
            Call { transaction: TxId(B256::repeat_byte(9)), ..call.clone() },
            Call { caller: Address::repeat_byte(9), ..call.clone() },
            Call { cryptlet: B256::repeat_byte(9), ..call.clone() },
            Call { method: "rat".into(), ..call.clone() },
            Call { input: Bytes::from_static(b"im"), ..call.clone() },
            Call { occurrence: 1, ..call.clone() },
        ];
        assert!(others.iter().all(|other| other.id() != call.id()));
        assert_eq!(Call { sender: Address::repeat_byte(9), ..call.clone() }.id(), call.id());
    }
}
