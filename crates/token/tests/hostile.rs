//! Bytes from strangers: refused or canonical, never a panic, and never a trace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use bletchley_crypto::Argon2Params;
use bletchley_ledger::{Block, Extension, Machine};
use bletchley_primitives::{Address, B256, Bytes, LedgerId, Signature, TimestampMs, TxId, U256};
use bletchley_token::{
    Action, AssetId, Body, Claim, ContractPlace, Entry, FactorKind, HardDigest, Header, Identity, Lock, Note,
    OptionalHash, Output, OutputProof, OutputRef, ProofPublic, TokenId, Transaction, TransactionError,
    TxBuilder, Value, Witness, limits,
};
use proptest::prelude::*;
use support::{LEDGER, Ledger, address, key, lock};

fn hash() -> impl Strategy<Value = B256> + Clone {
    any::<[u8; 32]>().prop_map(B256::new)
}

fn addresses() -> impl Strategy<Value = Address> + Clone {
    any::<[u8; 20]>().prop_map(Address::new)
}

fn locks() -> impl Strategy<Value = Lock> {
    let public =
        (hash(), prop::sample::subsequence(FactorKind::ALL.to_vec(), 1..=5)).prop_map(|(salt, factors)| {
            let Argon2Params { memory_kib, passes, lanes } = Argon2Params::LEAST;
            ProofPublic { salt, memory_kib, passes, lanes, factors }
        });
    prop_oneof![
        addresses().prop_map(Lock::key),
        prop::collection::vec(addresses(), 1..5).prop_map(|keys| Lock::threshold(1, keys)),
        (addresses(), public).prop_map(|(address, proof)| Lock::Proof { address, proof: Box::new(proof) }),
        (hash(), addresses(), addresses(), any::<u64>()).prop_map(|(hash, recipient, refund, deadline)| {
            Lock::HashTime { hash, recipient, refund, deadline_ms: TimestampMs(deadline) }
        }),
    ]
}

fn outputs() -> impl Strategy<Value = Output> {
    let value = prop_oneof![
        hash().prop_map(|h| Value::Token { token: TokenId(h) }),
        (hash(), 1..=u128::MAX).prop_map(|(h, amount)| Value::Amount { asset: AssetId(h), amount }),
        hash().prop_map(|h| Value::Control { asset: AssetId(h) }),
        hash().prop_map(|h| Value::Entry { entry: TokenId(h) }),
    ];
    (value, locks(), prop::option::of(hash())).prop_map(|(value, lock, data)| Output {
        value,
        lock,
        data: OptionalHash(data),
    })
}

fn identities() -> impl Strategy<Value = Identity> {
    let hard = (hash(), hash()).prop_map(|(salt, digest)| HardDigest {
        salt,
        params: Argon2Params::RECOMMENDED,
        names: vec!["dob".into(), "name".into()],
        digest,
    });
    prop_oneof![
        hash().prop_map(|properties| Identity::Thing { properties }),
        hard.clone().prop_map(|hard| Identity::Person { hard }),
        hard.prop_map(|hard| Identity::Organisation { hard }),
        Just(Identity::Anonymous {}),
    ]
}

fn tokens() -> impl Strategy<Value = Vec<TokenId>> {
    prop::collection::btree_set(hash(), 1..4).prop_map(|set| set.into_iter().map(TokenId).collect())
}

fn actions() -> impl Strategy<Value = Action> {
    let note = prop_oneof![
        hash().prop_map(|digest| Note::Digest { digest }),
        (hash(), any::<u64>(), addresses(), hash()).prop_map(|(ledger, chain_id, contract, transaction)| {
            let item = U256::from(chain_id);
            let place = ContractPlace {
                ledger: LedgerId(ledger),
                chain_id,
                contract,
                item,
                transaction: TxId(transaction),
            };
            Note::Contract { place }
        }),
    ];
    prop_oneof![
        Just(Action::Transfer {}),
        (addresses(), prop::collection::vec((identities(), "[ -~]{0,64}"), 1..4)).prop_map(
            |(issuer, claims)| {
                let claims = claims.into_iter().map(|(identity, label)| Claim { identity, label }).collect();
                Action::Issue { issuer, claims }
            }
        ),
        (addresses(), "[A-Z]{1,32}", 0u8..=36).prop_map(|(issuer, peg, decimals)| Action::DefineAsset {
            issuer,
            peg,
            decimals
        }),
        (hash(), 1..=u128::MAX)
            .prop_map(|(asset, amount)| Action::IssueAmount { asset: AssetId(asset), amount }),
        (hash(), 1..=u128::MAX).prop_map(|(asset, amount)| Action::Redeem { asset: AssetId(asset), amount }),
        (addresses(), hash(), any::<u32>(), "[ -~]{0,64}", tokens()).prop_map(
            |(issuer, properties, revision, label, parts)| {
                Action::Compose { issuer, properties, revision, label, parts }
            }
        ),
        (hash(), tokens())
            .prop_map(|(composite, parts)| Action::Decompose { composite: TokenId(composite), parts }),
        tokens().prop_map(|tokens| Action::Retire { tokens }),
        (hash(), note).prop_map(|(token, note)| Action::Record { token: TokenId(token), note }),
        (
            addresses(),
            "[a-z]{1,32}",
            "[a-z.]{1,128}",
            "[0-9.]{1,64}",
            prop::collection::vec(any::<u8>(), 0..100)
        )
            .prop_map(|(issuer, namespace, name, version, payload)| {
                Action::Register {
                    issuer,
                    entry: Entry { namespace, name, version, payload: payload.into() },
                }
            }),
    ]
}

fn transactions() -> impl Strategy<Value = Transaction> {
    let inputs = prop::collection::btree_set((hash(), any::<u32>()), 0..12);
    let compensates = prop::collection::btree_set(hash(), 0..4);
    let witness = (prop::collection::vec(any::<[u8; 32]>(), 1..4), prop::collection::vec(hash(), 0..3));
    (actions(), inputs, prop::collection::vec(outputs(), 1..5), compensates, witness).prop_map(
        |(action, inputs, outputs, compensates, (signatures, preimages))| {
            let inputs =
                inputs.into_iter().map(|(tx, position)| OutputRef { tx: TxId(tx), position }).collect();
            let compensates = compensates.into_iter().map(TxId).collect();
            let signature =
                |half: [u8; 32]| Signature(std::array::from_fn(|i| if i < 64 { half[i % 32] } else { 0 }));
            let signatures = signatures.into_iter().map(signature).collect();
            let body = Body { version: 1, action, inputs, outputs, compensates };
            Transaction { body, witness: Witness { signatures, preimages } }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn transactions_round_trip(tx in transactions()) {
        let bytes = tx.encode_bytes();
        let (id, read) = Transaction::decode_bytes(LEDGER, &bytes).unwrap();
        prop_assert_eq!(&read, &tx);
        prop_assert_eq!(id, tx.id(LEDGER));
        prop_assert_ne!(id, tx.id(LedgerId::default()));
        for output in &tx.body.outputs {
            let proof = OutputProof {
                reference: OutputRef::new(id, 1),
                output: output.clone(),
                spent_by: OptionalHash(Some(id.0)),
                path: bletchley_crypto::MerkleProof { index: 1, count: 2, path: vec![id.0] },
            };
            prop_assert_eq!(OutputProof::decode_bytes(&proof.encode_bytes()).unwrap(), proof);
        }
    }

    /// One byte changed: refused, or read as what it then canonically says.
    #[test]
    fn changed_bytes_are_refused_or_canonical(tx in transactions(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = tx.encode_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok((_, read)) = Transaction::decode_bytes(LEDGER, &bytes) {
            prop_assert_eq!(read.encode_bytes().to_vec(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let ledger = Ledger::new();
        prop_assert!(Transaction::decode_bytes(LEDGER, &bytes).is_err());
        prop_assert!(Header::decode_bytes(&bytes).is_err());
        prop_assert!(OutputProof::decode_bytes(&bytes).is_err());
        prop_assert!(ledger.machine.submit(&bytes).is_err());
        let block = |header: Bytes, body: Bytes, extension: Bytes| Block { header, body, extension };
        let header = bletchley_token::Header { height: bletchley_primitives::Height(1), ..support::GENESIS.header() };
        let good = (header.encode_bytes(), Extension::at(support::GENESIS.time_ms).encode());
        let bytes = Bytes::from(bytes);
        let empty = Bytes::from_static(&[0xc0]);
        prop_assert!(ledger.machine.prepare(block(bytes.clone(), empty.clone(), good.1.clone())).is_err());
        if bytes != empty {
            prop_assert!(ledger.machine.prepare(block(good.0.clone(), bytes.clone(), good.1.clone())).is_err());
        }
        prop_assert!(ledger.machine.prepare(block(good.0, empty, bytes)).is_err());
        prop_assert_eq!(ledger.machine.waiting(), 0);
    }
}

#[test]
fn lengths_are_bounded_before_decoding() {
    let ledger = Ledger::new();
    let long = vec![0xf8; limits::TX_SIZE_BYTES_MAX + 1];
    assert!(matches!(
        Transaction::decode_bytes(LEDGER, &long),
        Err(TransactionError::Decode(bletchley_primitives::DecodeError::TooLong { .. }))
    ));
    // A list that claims to be longer than memory.
    let bomb = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert!(ledger.machine.submit(&bomb).is_err());
    let batch = vec![Vec::<u8>::new(); limits::SUBMIT_BATCH_MAX + 1];
    assert!(
        ledger
            .machine
            .submit_batch(&batch)
            .iter()
            .all(|r| matches!(r, Err(bletchley_token::SubmitError::Batch(_))))
    );
}

#[test]
fn rules_of_form() {
    let acme = key("acme");
    let sign = |body: Body| {
        let id = body.id(LEDGER);
        let witness = Witness { signatures: vec![acme.sign(id.0)], preimages: Vec::new() };
        Transaction { body, witness }.encode_bytes()
    };
    let base = TxBuilder::transfer(LEDGER)
        .spend(OutputRef::new(TxId::default(), 0))
        .token(TokenId::default(), lock("acme"));
    let base = base.body().clone();
    assert!(Transaction::decode_bytes(LEDGER, &sign(base.clone())).is_ok());
    let broken = [
        Body { version: 2, ..base.clone() },
        Body { inputs: vec![base.inputs[0]; 2], ..base.clone() },
        Body { inputs: vec![base.inputs[0]; 20], ..base.clone() },
        Body { inputs: Vec::new(), outputs: Vec::new(), ..base.clone() },
        Body { outputs: vec![base.outputs[0].clone(); limits::OUTPUTS_MAX + 1], ..base.clone() },
        Body { compensates: vec![TxId::default(); 2], ..base.clone() },
        Body {
            outputs: vec![Output::new(Value::Amount { asset: AssetId::default(), amount: 0 }, lock("a"))],
            ..base.clone()
        },
        Body {
            outputs: vec![Output::new(base.outputs[0].value, Lock::threshold(3, [address("a")]))],
            ..base.clone()
        },
        Body { action: Action::Issue { issuer: acme.address(), claims: Vec::new() }, ..base.clone() },
        Body {
            action: Action::Issue {
                issuer: acme.address(),
                claims: vec![Claim { identity: Identity::Anonymous {}, label: "\u{1b}[2J".into() }],
            },
            ..base.clone()
        },
        Body {
            action: Action::Retire { tokens: vec![TokenId(B256::repeat_byte(2)), TokenId::default()] },
            ..base.clone()
        },
        Body { action: Action::IssueAmount { asset: AssetId::default(), amount: 0 }, ..base },
    ];
    for body in broken {
        assert!(matches!(Transaction::decode_bytes(LEDGER, &sign(body)), Err(TransactionError::Form(_))));
    }
}
