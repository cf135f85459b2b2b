//! Two members' machines and fabrics: blocks of a proposer that lies about a delegated call, and what the other one says.

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, sol};
use bletchley_cryptlet::{
    fabric::Fabric,
    policy::Policy,
    registry::{Entry, RegistryView},
};
use bletchley_crypto::SecretKey;
use bletchley_evm::{DELEGATE_ADDRESS, EvmLedger, Genesis, GenesisAccount, NoObserver};
use bletchley_ledger::{
    Anchor, Answer, Block, Call, Delegate, DelegationRecord, ExecuteError, Executed, Extension, Machine,
    Place, ProposeContext, RecordError, Refusal, SignedReceipt, Status,
};
use bletchley_primitives::TimestampMs;
use bletchley_storage::MemoryStore;

use crate::members::Consortium;
use crate::world::{Behaviour, REGISTRY, key, sign};

const CHAIN: u64 = 31_337;

sol! {
    function call(bytes32 cryptlet, string method, bytes input) external view returns (bytes output);
}

type Lie = fn(SignedReceipt) -> SignedReceipt;

/// A proposer's fabric, whose receipts are bent before they go into a block.
struct Lying {
    fabric: Arc<Fabric>,
    lie: Lie,
}

impl Delegate for Lying {
    fn poll(&self, call: &Call, place: &Place) -> Answer {
        match self.fabric.poll(call, place) {
            Answer::Ready(receipt) => Answer::Ready(Arc::new((self.lie)((*receipt).clone()))),
            Answer::Pending => Answer::Pending,
        }
    }
    fn run(&self, call: &Call, place: &Place) -> Result<SignedReceipt, Refusal> {
        self.fabric.run(call, place)
    }
    fn anchor(&self) -> Anchor {
        self.fabric.anchor()
    }
    fn check(&self, _: &DelegationRecord, _: &Place) -> Result<(), RecordError> {
        Ok(())
    }
}

fn genesis() -> Genesis {
    let mut genesis = Genesis::new(CHAIN, TimestampMs(1_700_000_000_000));
    let balance = U256::from(10u64.pow(18));
    genesis.alloc.insert(key("sender").address(), GenesisAccount { balance, ..GenesisAccount::default() });
    genesis
}

fn ledger(delegate: Arc<dyn Delegate>) -> EvmLedger {
    EvmLedger::new(genesis(), Arc::new(MemoryStore::new()), delegate, Arc::new(NoObserver)).unwrap()
}

fn transaction(cryptlet: &str, from: &SecretKey) -> Bytes {
    let call = callCall {
        cryptlet: keccak256(cryptlet),
        method: "rate".into(),
        input: Bytes::from_static(b"USDEUR"),
    };
    let tx = TxEip1559 {
        chain_id: CHAIN,
        gas_limit: 300_000,
        max_fee_per_gas: 2_000_000_000,
        to: DELEGATE_ADDRESS.into(),
        input: call.abi_encode().into(),
        ..TxEip1559::default()
    };
    let signature = from.sign(tx.signature_hash());
    let signature = alloy_primitives::Signature::from_raw(&signature.0).unwrap();
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

/// The block that a liar proposes, and what an honest member says to it.
fn proposed(all: &Consortium, cryptlet: &str, lie: Lie) -> (Executed, EvmLedger) {
    let fabric = Arc::clone(&all.members[0].fabric);
    let liar = ledger(Arc::new(Lying { fabric, lie }));
    liar.submit(transaction(cryptlet, &key("sender"))).unwrap();
    let head = liar.head();
    let context = ProposeContext {
        parent: head.hash,
        time_ms: TimestampMs(head.time_ms.0 + 300),
        proposer: Address::repeat_byte(0xba),
        allow_empty: false,
    };
    let executed = loop {
        match liar.machine().propose(&context).unwrap() {
            Some(executed) => break executed,
            // The call runs, maybe since before, when the transaction entered the pool.
            None => {
                liar.wake_deferred();
                std::thread::yield_now();
            }
        }
    };
    let fabric = Arc::clone(&all.members[2].fabric);
    (executed, ledger(fabric))
}

fn said(verifier: &EvmLedger, block: Block) -> Result<(), RecordError> {
    let machine = verifier.machine();
    match machine.prepare(block).and_then(|prepared| machine.execute(prepared)) {
        Ok(_) => Ok(()),
        Err(ExecuteError::Record { source, .. }) => Err(source),
        Err(other) => panic!("{other}"),
    }
}

/// The block with another record, and a header that commits to it.
fn with_record(executed: &Executed, change: impl FnOnce(&mut DelegationRecord)) -> Block {
    use alloy_rlp::Decodable;
    let mut extension = Extension::decode(&executed.block.extension).unwrap();
    change(&mut extension.record);
    let bytes = extension.encode();
    let mut header = alloy_consensus::Header::decode(&mut executed.block.header.as_ref()).unwrap();
    header.extra_data = Bytes::copy_from_slice(Extension::digest(&bytes).as_slice());
    Block { header: alloy_rlp::encode(&header).into(), extension: bytes, ..executed.block.clone() }
}

fn consortium() -> Consortium {
    Consortium::with_turns(vec![Behaviour::Honest; 3], 0)
}

#[test]
fn an_honest_block_of_one_member_is_executed_by_another() {
    let all = consortium();
    let (executed, verifier) = proposed(&all, "fx-rates", |receipt| receipt);
    assert_eq!(said(&verifier, executed.block), Ok(()));
}

#[test]
fn a_wrong_result_that_only_the_own_host_signed() {
    let all = consortium();
    let (executed, verifier) = proposed(&all, "fx-rates", |mut signed| {
        signed.output = Bytes::from_static(b"a rate that suits me");
        signed.receipt.output_digest = keccak256(&signed.output);
        signed.signatures = sign(&signed, &key("cryptlet on 0"), &[&key("host 0")]);
        signed
    });
    let refusal = said(&verifier, executed.block).unwrap_err().to_string();
    assert!(refusal.contains("2 signatures, the policy asks for 3"), "{refusal}");
}

#[test]
fn a_digest_that_does_not_fit_and_a_call_that_is_withheld() {
    let all = consortium();
    let (executed, verifier) = proposed(&all, "fx-rates", |receipt| receipt);
    let wrong = with_record(&executed, |record| record.receipts[0].receipt.output_digest = B256::ZERO);
    let refusal = said(&verifier, wrong).unwrap_err().to_string();
    assert!(refusal.contains("digest"), "{refusal}");
    let withheld = said(&verifier, with_record(&executed, |record| record.receipts.clear())).unwrap_err();
    assert!(matches!(withheld, RecordError::Order { .. }), "{withheld}");
    assert_eq!(said(&verifier, executed.block), Ok(()), "a refused block leaves no trace");
}

#[test]
fn an_unregistered_cryptlet() {
    let all = consortium();
    let (executed, verifier) = proposed(&all, "ghost", |refusal| {
        assert_eq!(refusal.receipt.status, Status::Refused, "an honest member says so");
        let mut signed = refusal;
        signed.receipt.status = Status::Ok;
        signed.output = Bytes::from_static(b"boo");
        signed.receipt.output_digest = keccak256(&signed.output);
        signed.receipt.package = B256::repeat_byte(1);
        signed.receipt.profile = B256::repeat_byte(2);
        signed.receipt.transcript = B256::repeat_byte(3);
        signed.signatures = sign(&signed, &key("cryptlet on 0"), &[&key("host 0"), &key("host 1")]);
        signed
    });
    let refusal = said(&verifier, executed.block).unwrap_err().to_string();
    assert!(refusal.contains("no cryptlet") && refusal.contains("is registered"), "{refusal}");
}

#[test]
fn a_host_that_was_taken_out_of_the_policy() {
    let all = consortium();
    // Until now every host counts; whoever signs is taken out afterwards, but for one.
    let (executed, verifier) = proposed(&all, "fx-rates", |receipt| receipt);
    let standing = all.registry.policy(all.registry.anchor().height).unwrap();
    let mut hosts = vec![all.members[0].host_address(), key("new host").address()];
    hosts.sort_unstable();
    let policy = Policy { sequence: 1, hosts, ..(*standing).clone() };
    all.registry.append(&[Entry::Policy(policy).sign(REGISTRY, &[&key("administrator")]).unwrap()]).unwrap();
    let now = with_record(&executed, |record| record.anchor = all.registry.anchor());
    let refusal = said(&verifier, now).unwrap_err().to_string();
    assert!(refusal.contains("the policy asks for 2 hosts, 1 can answer"), "{refusal}");
}
