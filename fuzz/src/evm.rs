//! The EVM ledger: raw transactions, blocks of other members, the genesis document.

use crate::Verdict;
use alloy_consensus::{Header, SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use bletchley_crypto::SecretKey;
use bletchley_evm::{BaseFee, EvmLedger, Genesis, GenesisAccount, NoObserver};
use bletchley_ledger::{Block, ExecuteError, Extension, Machine, NoDelegate, ProposeContext, SharedStore};
use bletchley_primitives::{TimestampMs, decode_bounded};
use bletchley_storage::MemoryStore;
use std::sync::{Arc, LazyLock};

pub(crate) const CHAIN_ID: u64 = 31_337;
const START: TimestampMs = TimestampMs(1_700_000_000_500);
const CONTRACT: Address = Address::repeat_byte(0xc0);
/// Counts its calls in slot 0 and logs the count.
const COUNTER: &[u8] = &alloy_primitives::hex!("60005460010180600055600052601160206000a160206000f3");

pub(crate) fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[b'k', n])
}

/// Two funded keys and a contract.
pub(crate) fn small_genesis() -> Genesis {
    let mut genesis = Genesis::new(CHAIN_ID, START);
    genesis.dev = true;
    for n in 0..2 {
        let balance = U256::from(10).pow(U256::from(20));
        genesis.alloc.insert(key(n).address(), GenesisAccount { balance, ..GenesisAccount::default() });
    }
    let contract = GenesisAccount { nonce: 1, code: COUNTER.into(), ..GenesisAccount::default() };
    genesis.alloc.insert(CONTRACT, contract);
    genesis
}

fn open(genesis: Genesis) -> EvmLedger {
    let store: SharedStore =
        if genesis.dev { Arc::new(MemoryStore::rewindable()) } else { Arc::new(MemoryStore::new()) };
    EvmLedger::new(genesis, store, Arc::new(NoDelegate), Arc::new(NoObserver)).unwrap()
}

fn signed<T: SignableTransaction<Signature>>(tx: T, key: &SecretKey) -> Bytes
where
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let signature = signature(key, tx.signature_hash());
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

fn signature(key: &SecretKey, digest: B256) -> Signature {
    let bytes = key.sign(digest).0;
    Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1)
}

/// One transaction of each type, with consecutive nonces of one key.
pub(crate) fn raw_transactions() -> Vec<Bytes> {
    let key = key(0);
    let item = AccessListItem { address: CONTRACT, storage_keys: vec![B256::ZERO] };
    let call = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce: 2,
        gas_limit: 100_000,
        to: TxKind::Call(CONTRACT),
        input: Bytes::from_static(b"input"),
        ..TxEip1559::default()
    };
    let legacy = TxLegacy {
        chain_id: Some(CHAIN_ID),
        nonce: 0,
        gas_limit: 21_000,
        to: TxKind::Call(Address::repeat_byte(9)),
        value: U256::from(5),
        ..TxLegacy::default()
    };
    let listed = TxEip2930 {
        chain_id: CHAIN_ID,
        nonce: 1,
        gas_limit: 100_000,
        to: TxKind::Call(CONTRACT),
        access_list: AccessList(vec![item]),
        ..TxEip2930::default()
    };
    let authorization = Authorization { chain_id: U256::from(CHAIN_ID), address: CONTRACT, nonce: 0 };
    let by = signature(&self::key(1), authorization.signature_hash());
    let delegating = TxEip7702 {
        chain_id: CHAIN_ID,
        nonce: 3,
        gas_limit: 200_000,
        to: Address::repeat_byte(9),
        authorization_list: vec![authorization.into_signed(by)],
        ..TxEip7702::default()
    };
    let create = TxEip1559 { nonce: 4, to: TxKind::Create, input: COUNTER.into(), ..call.clone() };
    vec![
        signed(legacy, &key),
        signed(listed, &key),
        signed(call, &key),
        signed(delegating, &key),
        signed(create, &key),
    ]
}

pub(crate) mod transaction {
    use super::*;

    static LEDGER: LazyLock<EvmLedger> = LazyLock::new(|| open(small_genesis()));

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let raw = Bytes::copy_from_slice(bytes);
        let Ok(hash) = LEDGER.submit(raw.clone()) else {
            // A pool that has it already says so, and it stays what it was.
            return Verdict::of(holds(alloy_primitives::keccak256(bytes), &raw));
        };
        assert_eq!(hash, alloy_primitives::keccak256(bytes), "a hash that is not the bytes' own");
        assert!(holds(hash, &raw), "accepted, and nowhere to be found");
        Verdict::Accepted
    }

    fn holds(hash: B256, raw: &Bytes) -> bool {
        let Some(found) = LEDGER.transaction(hash).unwrap() else { return false };
        assert_eq!(found.tx.raw, *raw);
        assert_eq!(found.tx.tx.encoded_2718(), *raw, "two encodings of one transaction");
        true
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        raw_transactions().into_iter().map(Into::into).collect()
    }
}

#[derive(RlpEncodable, RlpDecodable)]
pub(crate) struct Parts {
    pub(crate) header: Bytes,
    pub(crate) body: Bytes,
    pub(crate) extension: Bytes,
}

impl Parts {
    /// A block as one run of bytes, which is what a fuzzer can change.
    pub(crate) fn of(block: Block) -> Vec<u8> {
        alloy_rlp::encode(Self { header: block.header, body: block.body, extension: block.extension })
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Block> {
        let parts: Self = decode_bounded(bytes, Extension::SIZE_BYTES_MAX).ok()?;
        Some(Block { header: parts.header, body: parts.body, extension: parts.extension })
    }
}

/// Gives a block to a machine: it is executed as it is or refused, and either way the head stays.
pub(crate) fn execute(machine: &dyn Machine, block: Block) -> Verdict {
    let head = machine.head();
    let executed = machine.prepare(block.clone()).and_then(|prepared| machine.execute(prepared));
    let verdict = match executed {
        Ok(executed) => {
            assert_eq!(executed.block, block, "another block than was given");
            machine.discard(executed.meta.hash);
            Verdict::Accepted
        }
        Err(error @ ExecuteError::Internal { .. }) => panic!("what no input should cause: {error}"),
        Err(_) => Verdict::Refused,
    };
    assert_eq!(machine.head(), head, "an uncommitted block became visible");
    verdict
}

pub(crate) mod block {
    use super::*;

    static LEDGER: LazyLock<(EvmLedger, Vec<Vec<u8>>)> = LazyLock::new(|| {
        let ledger = open(small_genesis());
        let machine = ledger.machine();
        let mut blocks = Vec::new();
        for raw in raw_transactions() {
            let time_ms = TimestampMs(START.0 + 1_000);
            let (parent, proposer) = (machine.head().hash, Address::repeat_byte(0xcb));
            let context = ProposeContext { parent, time_ms, proposer, allow_empty: true };
            let executed = machine.propose(&context).unwrap().unwrap();
            machine.discard(executed.meta.hash);
            blocks.push(Parts::of(executed.block));
            ledger.submit(raw).unwrap();
        }
        (ledger, blocks)
    });

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Some(block) = Parts::read(bytes) else { return Verdict::Refused };
        let machine = LEDGER.0.machine();
        let verdict = execute(&*machine, block.clone());
        // The header commits to the extension; a change behind that is worth a look too.
        if let Ok(mut header) = Header::decode(&mut block.header.as_ref()) {
            header.extra_data = Extension::digest(&block.extension).0.into();
            execute(&*machine, Block { header: alloy_rlp::encode(&header).into(), ..block });
        }
        verdict
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        LEDGER.1.clone()
    }
}

pub(crate) mod genesis {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(genesis) = serde_json::from_slice::<Genesis>(bytes) else { return Verdict::Refused };
        let again: Genesis = serde_json::from_slice(&serde_json::to_vec(&genesis).unwrap()).unwrap();
        assert_eq!(again, genesis, "a document that does not read back");
        assert_eq!(again.ledger_id(), genesis.ledger_id());
        if genesis.validate().is_err() {
            return Verdict::Refused;
        }
        let ledger = open(genesis.clone());
        assert_eq!(ledger.id(), genesis.ledger_id());
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let mut with_fees = small_genesis();
        with_fees.dev = false;
        with_fees.base_fee = BaseFee::Eip1559 { initial: 1_000_000_000 };
        with_fees.alloc.entry(CONTRACT).or_default().storage.insert(B256::ZERO, B256::repeat_byte(1));
        let bare = br#"{"chainId":7,"timeMs":1700000000000}"#.to_vec();
        vec![serde_json::to_vec(&small_genesis()).unwrap(), serde_json::to_vec(&with_fees).unwrap(), bare]
    }
}

pub(crate) mod inclusion {
    use super::*;
    use bletchley_evm::{Included, InclusionProof, ProvedSlot, StateProof};

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        if let Ok(proof) = InclusionProof::decode(bytes) {
            assert_eq!(&proof.encode()[..], bytes, "two encodings of one proof");
            let _ = proof.verify(&header());
            return Verdict::Accepted;
        }
        let Ok(proof) = StateProof::decode(bytes) else { return Verdict::Refused };
        assert_eq!(&proof.encode()[..], bytes, "two encodings of one proof");
        let _ = proof.verify(keccak256(proof.nodes.first().cloned().unwrap_or_default()));
        Verdict::Accepted
    }

    fn node(seed: u8) -> Bytes {
        alloy_rlp::encode(vec![Bytes::from(vec![seed; 32]), Bytes::from(vec![0x20, seed])]).into()
    }

    /// A header whose roots are hashes of the nodes above.
    fn header() -> Vec<u8> {
        let (transactions_root, receipts_root) = (keccak256(node(1)), keccak256(node(2)));
        alloy_rlp::encode(Header { transactions_root, receipts_root, ..Header::default() })
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let lists = [(Included::Transaction, 1), (Included::Receipt, 2)];
        let inclusion = lists.map(|(list, seed)| {
            let item = Bytes::from(vec![seed; 40]);
            InclusionProof { list, index: 0, item, nodes: vec![node(seed), node(3)] }.encode().into()
        });
        let slot = ProvedSlot { slot: U256::from(7), value: U256::from(9), nodes: vec![node(4)] };
        let state = StateProof {
            address: CONTRACT,
            nonce: 1,
            balance: U256::from(5),
            storage_root: B256::repeat_byte(6),
            code_hash: B256::repeat_byte(7),
            nodes: vec![node(5)],
            slots: vec![slot],
        };
        inclusion.into_iter().chain([state.encode().into()]).collect()
    }
}
