//! The token ledger: transactions, headers, proofs of outputs, blocks of other members.

use crate::Verdict;
use crate::evm::{Parts, execute};
use bletchley_crypto::SecretKey;
use bletchley_ledger::{Block, Executed, Extension, Machine, ProposeContext, SharedStore};
use bletchley_primitives::{B256, Bytes, LedgerId, TimestampMs};
use bletchley_storage::MemoryStore;
use bletchley_token::{
    AssetId, ContractPlace, Entry, Genesis, Header, Lock, Note, OutputProof, SignedTx, TokenMachine,
    TokenRecord, Transaction, TxBuilder,
};
use std::sync::{Arc, LazyLock};

const LEDGER_ID: LedgerId = LedgerId(B256::repeat_byte(0x1d));
const GENESIS: Genesis = Genesis { ledger: LEDGER_ID, time_ms: TimestampMs(1_000) };

struct World {
    machine: TokenMachine,
    /// Every transaction of both blocks.
    transactions: Vec<SignedTx>,
    /// The block that is committed, and the one that could come next.
    blocks: [Executed; 2],
    proof: OutputProof,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let store: SharedStore = Arc::new(MemoryStore::new());
    let machine = TokenMachine::open(GENESIS, Arc::clone(&store)).unwrap();
    let (first, second) = transactions();
    let propose = |time_ms| {
        let context = ProposeContext {
            parent: machine.head().hash,
            time_ms: TimestampMs(time_ms),
            proposer: key("proposer").address(),
            allow_empty: false,
        };
        machine.propose(&context).unwrap().unwrap()
    };
    first.iter().for_each(|tx| assert_eq!(machine.submit(&tx.bytes).unwrap(), tx.id));
    let committed = propose(2_000);
    store.append(&committed.clone().into_stored(Bytes::new())).unwrap();
    machine.commit(committed.meta.hash).unwrap();
    second.iter().for_each(|tx| assert_eq!(machine.submit(&tx.bytes).unwrap(), tx.id));
    let next = propose(3_000);
    machine.discard(next.meta.hash);
    let (_, proof) = machine.prove(&first[0].output(0)).unwrap().unwrap();
    let transactions = first.into_iter().chain(second).collect();
    World { machine, transactions, blocks: [committed, next], proof }
});

fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(name.as_bytes())
}

fn lock(name: &str) -> Lock {
    Lock::key(key(name).address())
}

/// What a ledger begins with, and what can follow it: every action, every lock but those that cost memory.
fn transactions() -> (Vec<SignedTx>, Vec<SignedTx>) {
    let maker = key("maker");
    let thing = |serial: &str| TokenRecord::thing(maker.address(), "bolt", serial).unwrap();
    let records: Vec<TokenRecord> = ["1", "2", "3", "4"].into_iter().map(thing).collect();
    let threshold = Lock::threshold(2, ["maker", "ann", "bob"].map(|name| key(name).address()));
    let hashed = Lock::HashTime {
        hash: Lock::hash_of(&B256::repeat_byte(5)),
        recipient: key("ann").address(),
        refund: maker.address(),
        deadline_ms: TimestampMs(9_000),
    };
    let locks = [lock("maker"), lock("maker"), threshold, hashed];
    let tokens = records.iter().zip(locks).map(|(record, lock)| (record.clone(), "bolt".to_owned(), lock));
    let issue = TxBuilder::issue(LEDGER_ID, maker.address(), tokens).sign(&[&maker]);
    let define = TxBuilder::define_asset(LEDGER_ID, maker.address(), "EUR", 2, lock("maker")).sign(&[&maker]);

    let asset = AssetId::of(maker.address(), "EUR", 2);
    let control = (define.output(0), lock("maker"));
    let amount = TxBuilder::issue_amount(LEDGER_ID, asset, 1_000, control, lock("ann")).sign(&[&maker]);
    let parts = [(records[0].id(), issue.output(0)), (records[1].id(), issue.output(1))];
    let compose =
        TxBuilder::compose(LEDGER_ID, maker.address(), "frame", "9", 0, "a frame", &parts, lock("bob"))
            .unwrap();
    let shared = TxBuilder::transfer(LEDGER_ID).spend(issue.output(2)).token(records[2].id(), lock("bob"));
    let claimed = TxBuilder::transfer(LEDGER_ID)
        .spend(issue.output(3))
        .token(records[3].id(), lock("ann"))
        .data(B256::repeat_byte(6))
        .compensating(issue.id)
        .preimage(B256::repeat_byte(5));
    let second = vec![
        amount,
        compose.sign(&[&maker]),
        shared.sign(&[&maker, &key("ann")]),
        claimed.sign(&[&key("ann")]),
    ];
    (vec![issue, define], second)
}

/// Actions that need no ledger to decode.
fn more_transactions() -> Vec<Vec<u8>> {
    let maker = key("maker");
    let token =
        (TokenRecord::thing(maker.address(), "bolt", "1").unwrap().id(), WORLD.transactions[0].output(0));
    let place = ContractPlace {
        ledger: LEDGER_ID,
        chain_id: 31_337,
        contract: maker.address(),
        item: bletchley_primitives::U256::from(7),
        transaction: WORLD.transactions[0].id,
    };
    let entry = Entry {
        namespace: "cryptlets".to_owned(),
        name: "fx-rates".to_owned(),
        version: "1.0.0".to_owned(),
        payload: Bytes::from_static(b"payload"),
    };
    let asset = AssetId::of(maker.address(), "EUR", 2);
    [
        TxBuilder::retire(LEDGER_ID, &[token]),
        TxBuilder::decompose(LEDGER_ID, token, &[token.0], &lock("ann")),
        TxBuilder::record(LEDGER_ID, token, Note::Contract { place }, lock("maker")),
        TxBuilder::register(LEDGER_ID, maker.address(), entry, None, lock("maker")),
        TxBuilder::redeem(LEDGER_ID, asset, 5, (WORLD.transactions[1].output(0), lock("maker"))),
    ]
    .into_iter()
    .map(|builder| builder.sign(&[&maker]).bytes.into())
    .collect()
}

pub(crate) mod transaction {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let decoded = Transaction::decode_bytes(LEDGER_ID, bytes);
        let signed = Transaction::decode_signed(LEDGER_ID, bytes);
        let submitted = WORLD.machine.submit(bytes);
        let Ok((id, tx)) = decoded else {
            assert!(signed.is_err() && submitted.is_err(), "accepted, and not decoded");
            return Verdict::Refused;
        };
        assert_eq!(&tx.encode_bytes()[..], bytes, "two encodings of one transaction");
        assert_eq!(tx.id(LEDGER_ID), id);
        if let Ok((same, _, signers)) = signed {
            assert_eq!((same, signers.len()), (id, tx.witness.signatures.len()));
        } else {
            assert!(submitted.is_err(), "accepted without signers");
        }
        serde_json::to_vec(&tx).expect("every transaction can be shown");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let known = WORLD.transactions.iter().map(|tx| tx.bytes.to_vec());
        known.chain(more_transactions()).collect()
    }
}

pub(crate) mod header {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(header) = Header::decode_bytes(bytes) else { return Verdict::Refused };
        assert_eq!(&header.encode_bytes()[..], bytes, "two encodings of one header");
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let made = WORLD.blocks.iter().map(|executed| executed.block.header.to_vec());
        made.chain([GENESIS.header().encode_bytes().into()]).collect()
    }
}

pub(crate) mod output_proof {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Ok(proof) = OutputProof::decode_bytes(bytes) else { return Verdict::Refused };
        assert_eq!(proof.encode_bytes(), bytes, "two encodings of one proof");
        if proof.verify(WORLD.blocks[0].state_root).is_ok() {
            assert_eq!(proof, WORLD.proof, "a proof of what is not there");
        }
        Verdict::Accepted
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![WORLD.proof.encode_bytes()]
    }
}

pub(crate) mod block {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let Some(block) = Parts::read(bytes) else { return Verdict::Refused };
        let machine = &WORLD.machine;
        // The committed block no longer continues the head, but it is prepared like any other.
        let is_prepared = machine.prepare(block.clone()).is_ok();
        execute(machine, block.clone());
        if let Ok(mut header) = Header::decode_bytes(&block.header) {
            header.extension = Extension::digest(&block.extension);
            execute(machine, Block { header: header.encode_bytes(), ..block });
        }
        Verdict::of(is_prepared)
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        WORLD.blocks.iter().map(|executed| Parts::of(executed.block.clone())).collect()
    }
}
