//! A ledger over a store in memory, keys, and blocks made by hand.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use bletchley_crypto::SecretKey;
use bletchley_evm::{BaseFee, EvmLedger, Genesis, GenesisAccount, MinedReceipt, NoObserver};
use bletchley_ledger::{Delegate, Executed, Machine, NoDelegate, ProposeContext, SharedStore};
use bletchley_primitives::TimestampMs;
use bletchley_storage::MemoryStore;
use std::sync::Arc;

pub const CHAIN: u64 = 31_337;
pub const START: TimestampMs = TimestampMs(1_700_000_000_500);
pub const TOKEN: Address = Address::repeat_byte(0x70);
pub const ASKER: Address = Address::repeat_byte(0xa5);
pub const PROPOSER: Address = Address::repeat_byte(0xcb);
pub const GWEI: u128 = 1_000_000_000;

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[b'k', n])
}

pub fn ether(n: u64) -> U256 {
    U256::from(n) * U256::from(10u64.pow(18))
}

pub fn artifact(text: &str, field: &str) -> Bytes {
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    hex::decode(json[field].as_str().unwrap()).unwrap().into()
}

pub const ERC20: &str = include_str!("../../../../contracts/artifacts/Erc20.json");
pub const DELEGATING: &str = include_str!("../../../../contracts/artifacts/Delegating.json");

/// Where Erc20.sol keeps a balance.
pub fn balance_slot(holder: Address) -> B256 {
    let mut bytes = holder.into_word().to_vec();
    bytes.extend_from_slice(&[0; 32]);
    keccak256(bytes)
}

/// Ten keys with a hundred ether and a million tokens each; a token and an asking contract.
pub fn genesis() -> Genesis {
    let mut genesis = Genesis::new(CHAIN, START);
    let mut token =
        GenesisAccount { code: artifact(ERC20, "deployedBytecode"), nonce: 1, ..GenesisAccount::default() };
    for n in 0..10 {
        let holder = key(n).address();
        let account = GenesisAccount { balance: ether(100), ..GenesisAccount::default() };
        genesis.alloc.insert(holder, account);
        token.storage.insert(balance_slot(holder), U256::from(1_000_000).into());
    }
    genesis.alloc.insert(TOKEN, token);
    let asker = GenesisAccount {
        code: artifact(DELEGATING, "deployedBytecode"),
        nonce: 1,
        ..GenesisAccount::default()
    };
    genesis.alloc.insert(ASKER, asker);
    genesis
}

pub fn genesis_with_fees() -> Genesis {
    Genesis { base_fee: BaseFee::Eip1559 { initial: 1_000_000_000 }, ..genesis() }
}

pub struct World {
    pub ledger: EvmLedger,
    pub store: SharedStore,
}

impl World {
    pub fn new(genesis: Genesis) -> Self {
        Self::with(genesis, Arc::new(NoDelegate))
    }

    pub fn with(genesis: Genesis, delegate: Arc<dyn Delegate>) -> Self {
        let store: SharedStore =
            if genesis.dev { Arc::new(MemoryStore::rewindable()) } else { Arc::new(MemoryStore::new()) };
        Self::open(genesis, store, delegate)
    }

    pub fn open(genesis: Genesis, store: SharedStore, delegate: Arc<dyn Delegate>) -> Self {
        let ledger = EvmLedger::new(genesis, store.clone(), delegate, Arc::new(NoObserver)).unwrap();
        Self { ledger, store }
    }

    pub fn propose_at(&self, time_ms: TimestampMs, allow_empty: bool) -> Option<Executed> {
        let parent = self.ledger.head().hash;
        let context = ProposeContext { parent, time_ms, proposer: PROPOSER, allow_empty };
        self.ledger.machine().propose(&context).unwrap()
    }

    pub fn keep(&self, executed: Executed) {
        let hash = executed.meta.hash;
        self.store.append(&executed.into_stored(Bytes::new())).unwrap();
        self.ledger.machine().commit(hash).unwrap();
    }

    /// A block 300 ms after the last one; its description.
    pub fn mine(&self) -> Option<Executed> {
        let time = TimestampMs(self.ledger.head().time_ms.0 + 300);
        let executed = self.propose_at(time, false)?;
        self.keep(executed.clone());
        Some(executed)
    }

    pub fn mine_empty(&self) -> Executed {
        let time = TimestampMs(self.ledger.head().time_ms.0 + 1000);
        let executed = self.propose_at(time, true).unwrap();
        self.keep(executed.clone());
        executed
    }

    /// Takes over a block that another made, checking it.
    pub fn follow(&self, theirs: &Executed) {
        let machine = self.ledger.machine();
        let prepared = machine.prepare(theirs.block.clone()).unwrap();
        let ours = machine.execute(prepared).unwrap();
        assert_eq!(&ours, theirs, "execute gives what propose gave, to the byte");
        self.keep(ours);
    }

    pub fn send(&self, tx: &Tx, from: u8) -> B256 {
        self.ledger.submit(tx.sign(from)).unwrap()
    }

    /// Sends, mines, and gives the receipt.
    pub fn run(&self, tx: &Tx, from: u8) -> MinedReceipt {
        let hash = self.send(tx, from);
        self.mine().expect("a block with the transaction");
        self.receipt(hash)
    }

    pub fn receipt(&self, hash: B256) -> MinedReceipt {
        self.ledger.receipt(hash).unwrap().expect("mined").receipt().unwrap().clone()
    }
}

/// A transaction of any type, with defaults that pass.
#[derive(Clone, Debug)]
pub struct Tx {
    pub kind: u8,
    pub chain_id: Option<u64>,
    pub nonce: u64,
    pub gas: u64,
    pub fee: u128,
    pub tip: u128,
    pub to: TxKind,
    pub value: U256,
    pub input: Bytes,
    pub authorizations: Vec<SignedAuthorization>,
}

impl Tx {
    pub fn to(to: Address, nonce: u64) -> Self {
        Self {
            kind: 2,
            chain_id: Some(CHAIN),
            nonce,
            gas: 200_000,
            fee: 2 * GWEI,
            tip: 0,
            to: to.into(),
            value: U256::ZERO,
            input: Bytes::new(),
            authorizations: Vec::new(),
        }
    }

    pub fn create(code: Bytes, nonce: u64) -> Self {
        Self { to: TxKind::Create, input: code, gas: 3_000_000, ..Self::to(Address::ZERO, nonce) }
    }

    pub fn transfer(to: Address, amount: u64, nonce: u64) -> Self {
        let mut input = hex!("a9059cbb").to_vec();
        input.extend_from_slice(to.into_word().as_slice());
        input.extend_from_slice(&U256::from(amount).to_be_bytes::<32>());
        Self { input: input.into(), ..Self::to(TOKEN, nonce) }
    }

    pub fn sign(&self, from: u8) -> Bytes {
        self.sign_with(&key(from))
    }

    pub fn sign_with(&self, key: &SecretKey) -> Bytes {
        let chain_id = self.chain_id.unwrap_or_default();
        let Self { nonce, gas: gas_limit, fee, tip, to, value, .. } = *self;
        let input = self.input.clone();
        let access_list = Default::default();
        let (max_fee_per_gas, max_priority_fee_per_gas, gas_price) = (fee, tip, fee);
        let envelope: TxEnvelope = match self.kind {
            0 => signed(
                TxLegacy { chain_id: self.chain_id, nonce, gas_price, gas_limit, to, value, input },
                key,
            ),
            1 => signed(
                TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input },
                key,
            ),
            2 => signed(
                TxEip1559 {
                    chain_id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas,
                    max_priority_fee_per_gas,
                    to,
                    value,
                    access_list,
                    input,
                },
                key,
            ),
            _ => signed(
                TxEip7702 {
                    chain_id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas,
                    max_priority_fee_per_gas,
                    to: *to.to().unwrap(),
                    value,
                    access_list,
                    authorization_list: self.authorizations.clone(),
                    input,
                },
                key,
            ),
        };
        envelope.encoded_2718().into()
    }
}

fn to_alloy(signature: bletchley_primitives::Signature) -> alloy_primitives::Signature {
    let (rs, v) = signature.0.split_at(64);
    alloy_primitives::Signature::from_bytes_and_parity(rs, v[0] == 1)
}

fn signed<T: SignableTransaction<alloy_primitives::Signature>>(tx: T, key: &SecretKey) -> TxEnvelope
where
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let signature = to_alloy(key.sign(tx.signature_hash()));
    tx.into_signed(signature).into()
}

pub fn authorize(key: &SecretKey, address: Address, nonce: u64) -> SignedAuthorization {
    let authorization = Authorization { chain_id: U256::from(CHAIN), address, nonce };
    let signature = to_alloy(key.sign(authorization.signature_hash()));
    authorization.into_signed(signature)
}

/// A small assembler: bytes as they are, so that a test reads like a listing.
pub mod op {
    pub const ADD: u8 = 0x01;
    pub const SLOAD: u8 = 0x54;
    pub const SSTORE: u8 = 0x55;
    pub const JUMP: u8 = 0x56;
    pub const JUMPDEST: u8 = 0x5b;
    pub const PUSH0: u8 = 0x5f;
    pub const PUSH1: u8 = 0x60;
    pub const PUSH20: u8 = 0x73;
    pub const MSTORE: u8 = 0x52;
    pub const BLOCKHASH: u8 = 0x40;
    pub const NUMBER: u8 = 0x43;
    pub const TIMESTAMP: u8 = 0x42;
    pub const SUB: u8 = 0x03;
    pub const RETURN: u8 = 0xf3;
    pub const REVERT: u8 = 0xfd;
    pub const CREATE2: u8 = 0xf5;
    pub const DELEGATECALL: u8 = 0xf4;
    pub const GAS: u8 = 0x5a;
    pub const SELFDESTRUCT: u8 = 0xff;
    pub const CALLER: u8 = 0x33;
    pub const POP: u8 = 0x50;
    pub const CALLDATASIZE: u8 = 0x36;
    pub const CALLDATACOPY: u8 = 0x37;
}

/// Code that makes a contract with this code: it copies what follows it into memory and returns that.
pub fn deployer(runtime: &[u8]) -> Bytes {
    let length = u8::try_from(runtime.len()).unwrap();
    // PUSH1 length, PUSH1 offset of the runtime, PUSH0, CODECOPY, PUSH1 length, PUSH0, RETURN
    let mut code = vec![0x60, length, 0x60, 10, 0x5f, 0x39, 0x60, length, 0x5f, op::RETURN];
    code.extend_from_slice(runtime);
    code.into()
}
