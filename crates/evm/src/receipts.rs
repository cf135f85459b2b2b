//! Receipts of transactions: as readers see them, as the header commits to them, and as they are kept.

use alloy_primitives::{Address, B256, Bloom, Bytes, Log, keccak256};
use alloy_rlp::{BufMut, Decodable, Encodable, Header};
use bletchley_primitives::DecodeError;
use rustc_hash::FxHashMap;

use crate::{trie::ordered_root, tx::RecoveredTx};

/// Longest encoding of a block's receipts that is decoded. Logs cost 8 gas a byte, so that a block of the largest gas
/// limit in use stays below it.
const RECEIPTS_SIZE_BYTES_MAX: usize = 512 << 20;

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinedReceipt {
    /// EIP-2718 type of the transaction.
    pub tx_type: u8,
    /// Whether it succeeded.
    pub success: bool,
    /// Gas it used.
    pub gas_used: u64,
    /// Gas the block used up to and including it.
    pub cumulative_gas_used: u64,
    /// Price per unit of gas that it paid, in wei.
    pub effective_gas_price: u128,
    /// Who signed it.
    pub sender: Address,
    /// The contract's address if it was to create one.
    pub contract: Option<Address>,
    /// What it logged.
    pub logs: Vec<Log>,
}

impl MinedReceipt {
    /// Bloom filter over its logs (Ethereum yellow paper, 4.3.1).
    #[must_use]
    pub fn bloom(&self) -> Bloom {
        let mut bloom = Bloom::ZERO;
        for log in &self.logs {
            bloom.accrue_log(log);
        }
        bloom
    }
}

/// What a header says about its receipts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiptsSeal {
    pub(crate) root: B256,
    pub(crate) bloom: Bloom,
}

/// Bits of a bloom filter by what is hashed: a block's logs repeat addresses and topics.
#[derive(Default)]
struct BloomBits {
    addresses: FxHashMap<Address, [u16; 3]>,
    topics: FxHashMap<B256, [u16; 3]>,
}

/// Eleven bits of each of the first three pairs of bytes of the hash (Ethereum yellow paper, M3:2048).
fn bits(data: &[u8]) -> [u16; 3] {
    let [a, b, c, d, e, f, ..] = keccak256(data).0;
    [[a, b], [c, d], [e, f]].map(|pair| u16::from_be_bytes(pair) & 0x7ff)
}

fn set(bloom: &mut Bloom, bits: [u16; 3]) {
    for bit in bits {
        if let Some(byte) = bloom.0.iter_mut().rev().nth(usize::from(bit >> 3)) {
            *byte |= 1 << (bit & 7);
        }
    }
}

impl BloomBits {
    fn of_logs(&mut self, logs: &[Log]) -> Bloom {
        let mut bloom = Bloom::ZERO;
        for log in logs {
            let of_address =
                self.addresses.entry(log.address).or_insert_with_key(|address| bits(address.as_slice()));
            set(&mut bloom, *of_address);
            for topic in log.topics() {
                let of_topic = self.topics.entry(*topic).or_insert_with_key(|topic| bits(topic.as_slice()));
                set(&mut bloom, *of_topic);
            }
        }
        bloom
    }
}

/// Root and bloom of a block's receipts; each receipt is encoded once (EIP-2718, EIP-658).
pub(crate) fn seal(receipts: &[MinedReceipt]) -> ReceiptsSeal {
    let mut seen = BloomBits::default();
    let mut all = Bloom::ZERO;
    let mut encoded: Vec<Vec<u8>> = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        let bloom = seen.of_logs(&receipt.logs);
        all.accrue_bloom(&bloom);
        encoded.push(encode_consensus(receipt, &bloom));
    }
    ReceiptsSeal { root: ordered_root(&encoded), bloom: all }
}

/// The receipts as the header's root commits to them.
pub(crate) fn consensus_encodings(receipts: &[MinedReceipt]) -> Vec<Bytes> {
    receipts.iter().map(|receipt| encode_consensus(receipt, &receipt.bloom()).into()).collect()
}

fn encode_consensus(receipt: &MinedReceipt, bloom: &Bloom) -> Vec<u8> {
    let payload_length = receipt.success.length()
        + receipt.cumulative_gas_used.length()
        + bloom.length()
        + receipt.logs.length();
    let list = Header { list: true, payload_length };
    let mut out = Vec::with_capacity(1 + list.length_with_payload());
    if receipt.tx_type != 0 {
        out.put_u8(receipt.tx_type);
    }
    list.encode(&mut out);
    receipt.success.encode(&mut out);
    receipt.cumulative_gas_used.encode(&mut out);
    bloom.encode(&mut out);
    receipt.logs.encode(&mut out);
    out
}

/// The receipts as they are kept: per transaction its sender, success, gas used and logs. The rest follows from the
/// transactions and the header. The sender is there so that reading a block recovers no signatures.
pub(crate) fn encode(receipts: &[MinedReceipt]) -> Bytes {
    let body = |receipt: &MinedReceipt| {
        receipt.sender.length() + receipt.success.length() + receipt.gas_used.length() + receipt.logs.length()
    };
    let list = |payload_length: usize| Header { list: true, payload_length };
    let payload_length = receipts.iter().map(|receipt| list(body(receipt)).length_with_payload()).sum();
    let outer = list(payload_length);
    let mut out = Vec::with_capacity(outer.length_with_payload());
    outer.encode(&mut out);
    for receipt in receipts {
        list(body(receipt)).encode(&mut out);
        receipt.sender.encode(&mut out);
        receipt.success.encode(&mut out);
        receipt.gas_used.encode(&mut out);
        receipt.logs.encode(&mut out);
    }
    out.into()
}

/// What is kept of one receipt.
#[derive(Debug, Clone)]
pub(crate) struct KeptReceipt {
    pub(crate) sender: Address,
    success: bool,
    gas_used: u64,
    logs: Vec<Log>,
}

impl Decodable for KeptReceipt {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let payload = &mut Header::decode_bytes(buf, true)?;
        let receipt = Self {
            sender: Address::decode(payload)?,
            success: bool::decode(payload)?,
            gas_used: u64::decode(payload)?,
            logs: Vec::decode(payload)?,
        };
        if payload.is_empty() { Ok(receipt) } else { Err(alloy_rlp::Error::UnexpectedLength) }
    }
}

/// The kept receipts of a block.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<KeptReceipt>, DecodeError> {
    bletchley_primitives::decode_bounded(bytes, RECEIPTS_SIZE_BYTES_MAX)
}

/// Fills in what follows from the transactions and the base fee.
pub(crate) fn complete(
    kept: Vec<KeptReceipt>,
    txs: &[std::sync::Arc<RecoveredTx>],
    base_fee: u64,
) -> Vec<MinedReceipt> {
    let mut cumulative_gas_used = 0u64;
    kept.into_iter()
        .zip(txs)
        .map(|(kept, tx)| {
            cumulative_gas_used = cumulative_gas_used.saturating_add(kept.gas_used);
            MinedReceipt {
                tx_type: tx.tx.tx_type() as u8,
                success: kept.success,
                gas_used: kept.gas_used,
                cumulative_gas_used,
                effective_gas_price: tx.effective_gas_price(base_fee),
                sender: kept.sender,
                contract: tx.created(),
                logs: kept.logs,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom, proofs};
    use alloy_primitives::LogData;

    fn receipts(count: u64) -> Vec<MinedReceipt> {
        let mut cumulative_gas_used = 0;
        (0..count)
            .map(|i| {
                cumulative_gas_used += 21_000 + i;
                let log = |n: u64| Log {
                    address: Address::repeat_byte((n % 5) as u8),
                    data: LogData::new_unchecked(
                        (0..n % 5).map(|t| keccak256((t * n).to_be_bytes())).collect(),
                        vec![7; n as usize % 70].into(),
                    ),
                };
                MinedReceipt {
                    tx_type: [0u8, 1, 2, 4][i as usize % 4],
                    success: i % 3 != 0,
                    gas_used: 21_000 + i,
                    cumulative_gas_used,
                    effective_gas_price: 0,
                    sender: Address::repeat_byte(9),
                    contract: None,
                    logs: (0..i % 4).map(|n| log(n + i)).collect(),
                }
            })
            .collect()
    }

    /// The other side: alloy's receipts, blooms and root.
    #[test]
    fn seal_equals_alloy() {
        for count in [0u64, 1, 2, 127, 128, 129, 300] {
            let ours = receipts(count);
            let theirs: Vec<ReceiptEnvelope> = ours
                .iter()
                .map(|r| {
                    let receipt = Receipt {
                        status: Eip658Value::Eip658(r.success),
                        cumulative_gas_used: r.cumulative_gas_used,
                        logs: r.logs.clone(),
                    };
                    let with = ReceiptWithBloom { logs_bloom: r.bloom(), receipt };
                    match r.tx_type {
                        0 => ReceiptEnvelope::Legacy(with),
                        1 => ReceiptEnvelope::Eip2930(with),
                        2 => ReceiptEnvelope::Eip1559(with),
                        _ => ReceiptEnvelope::Eip7702(with),
                    }
                })
                .collect();
            let seal = seal(&ours);
            assert_eq!(seal.root, proofs::calculate_receipt_root(&theirs), "{count} receipts");
            let bloom = ours.iter().fold(Bloom::ZERO, |all, r| all | r.bloom());
            assert_eq!(seal.bloom, bloom);
        }
    }

    #[test]
    fn kept_receipts_round_trip() {
        let ours = receipts(30);
        let kept = decode(&encode(&ours)).unwrap();
        assert_eq!(kept.len(), 30);
        for (kept, ours) in kept.iter().zip(&ours) {
            assert_eq!(
                (kept.sender, kept.success, kept.gas_used, &kept.logs),
                (ours.sender, ours.success, ours.gas_used, &ours.logs)
            );
        }
    }
}
