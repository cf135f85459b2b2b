//! What each action may and may not do, through the mempool into blocks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use bletchley_crypto::Argon2Params;
use bletchley_ledger::Machine;
use bletchley_primitives::{Address, B256, Bytes, Height, LedgerId, TimestampMs, TxId, U256};
use bletchley_token::{
    AssetId, CompositeRecord, ContractPlace, Entry, FactorKind, Factors, Lock, LockError, Note, Output,
    Properties, RuleError, SignedTx, Status, SubmitError, TokenId, TokenRecord, TxBuilder, TxStatus, Value,
};
use support::{LEDGER, Ledger, address, key, lock};

fn issue(maker: &str, class: &str, serial: &str, owner: &str) -> (TokenId, SignedTx) {
    let record = TokenRecord::thing(address(maker), class, serial).unwrap();
    let tx = TxBuilder::issue_thing(LEDGER, address(maker), class, serial, lock(owner))
        .unwrap()
        .sign(&[&key(maker)]);
    (record.id(), tx)
}

fn rule(error: SubmitError) -> RuleError {
    match error {
        SubmitError::Rule { source, .. } => *source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_thing_is_issued_once_by_its_manufacturer() {
    let ledger = Ledger::new();
    let (screw, tx) = issue("acme", "screw", "7", "acme");
    let first = ledger.run(tx);
    assert_eq!(ledger.owner(screw), Some(lock("acme")));
    // The same serial again, by the manufacturer itself.
    let again = TxBuilder::issue_thing(LEDGER, address("acme"), "screw", "7", lock("bob"))
        .unwrap()
        .sign(&[&key("acme")]);
    assert_eq!(rule(ledger.refused(&again)), RuleError::AlreadyIssued { token: screw });
    // By a forger in the manufacturer's name.
    let forged = TxBuilder::issue_thing(LEDGER, address("acme"), "screw", "8", lock("eve"))
        .unwrap()
        .sign(&[&key("eve")]);
    assert_eq!(rule(ledger.refused(&forged)), RuleError::IssuerDidNotSign(address("acme")));
    // In the forger's own name it is another thing.
    let (other, tx) = issue("eve", "screw", "7", "eve");
    assert_ne!(other, screw);
    ledger.run(tx);
    // Twice in one transaction.
    let record = TokenRecord::thing(address("acme"), "screw", "9").unwrap();
    let claim = || (record.clone(), String::new(), lock("acme"));
    let twice = TxBuilder::issue(LEDGER, address("acme"), [claim(), claim()]).sign(&[&key("acme")]);
    assert_eq!(rule(ledger.refused(&twice)), RuleError::AlreadyIssued { token: record.id() });
    // The very same transaction.
    assert_eq!(ledger.refused(&first), SubmitError::Final(first.id));
}

#[test]
fn a_double_sale_is_refused_and_names_the_first_one() {
    let ledger = Ledger::new();
    let (phone, tx) = issue("acme", "phone", "1", "acme");
    let issued = ledger.run(tx);
    let sell = |to: &str| {
        TxBuilder::transfer(LEDGER).spend(issued.output(0)).token(phone, lock(to)).sign(&[&key("acme")])
    };
    let first = sell("bob");
    ledger.submit(&first).unwrap();
    let refused = rule(ledger.refused(&sell("carol")));
    assert_eq!(refused, RuleError::DoubleSpend { output: issued.output(0), by: first.id });
    assert_eq!(ledger.refused(&first), SubmitError::Waiting(first.id));
    ledger.block();
    let error = ledger.refused(&sell("carol"));
    assert_eq!(error.code(), "double_spend");
    assert_eq!(rule(error), RuleError::DoubleSpend { output: issued.output(0), by: first.id });
    assert_eq!(ledger.owner(phone), Some(lock("bob")));
    // And who does not own it cannot sell it.
    let stolen =
        TxBuilder::transfer(LEDGER).spend(first.output(0)).token(phone, lock("eve")).sign(&[&key("eve")]);
    let source = LockError::NotSigned(address("bob"));
    assert_eq!(rule(ledger.refused(&stolen)), RuleError::Locked { output: first.output(0), source });
}

#[test]
fn unconfirmed_outputs_can_be_spent_in_a_chain() {
    let ledger = Ledger::new();
    let (phone, tx) = issue("acme", "phone", "1", "a0");
    ledger.submit(&tx).unwrap();
    let mut last = tx;
    for hop in 0..200 {
        let (from, to) = (format!("a{hop}"), format!("a{}", hop + 1));
        last = TxBuilder::transfer(LEDGER).spend(last.output(0)).token(phone, lock(&to)).sign(&[&key(&from)]);
        ledger.submit(&last).unwrap();
    }
    assert_eq!(ledger.machine.ready(), 201);
    assert_eq!(ledger.block().transactions, 201);
    assert_eq!(ledger.owner(phone), Some(lock("a200")));
    assert_eq!(ledger.machine.output_counts(), (201, 1));
    assert_eq!(ledger.machine.ready(), 0);
}

#[test]
fn the_chain_of_waiting_transactions_is_bounded_and_shrinks_with_blocks() {
    let ledger = Ledger::new();
    let (phone, tx) = issue("acme", "phone", "1", "acme");
    ledger.submit(&tx).unwrap();
    let mut last = tx;
    let hop = |last: &SignedTx, n: u8| {
        let transfer = TxBuilder::transfer(LEDGER).spend(last.output(0)).token(phone, lock("acme"));
        transfer.data(B256::repeat_byte(n)).sign(&[&key("acme")])
    };
    for n in 1..bletchley_token::limits::POOL_CHAIN_DEPTH_MAX {
        last = hop(&last, n as u8);
        ledger.submit(&last).unwrap();
    }
    let next = hop(&last, 0);
    assert_eq!(ledger.refused(&next), SubmitError::TooDeep);
    ledger.block();
    ledger.submit(&next).unwrap();
}

#[test]
fn fungible_amounts_are_conserved() {
    let ledger = Ledger::new();
    let bank = key("bank");
    let euro = AssetId::of(bank.address(), "EUR", 2);
    let defined =
        ledger.run(TxBuilder::define_asset(LEDGER, bank.address(), "EUR", 2, lock("bank")).sign(&[&bank]));
    let again = TxBuilder::define_asset(LEDGER, bank.address(), "EUR", 2, lock("bank")).sign(&[&bank]);
    assert_eq!(ledger.refused(&again), SubmitError::Final(defined.id));
    let issue = TxBuilder::issue_amount(LEDGER, euro, 1_000, (defined.output(0), lock("bank")), lock("ann"));
    let issued = ledger.run(issue.sign(&[&bank]));
    assert_eq!(ledger.machine.balance(address("ann").into(), euro), 1_000);
    assert_eq!(ledger.machine.asset(euro).unwrap().definition.supply, 1_000);

    let have = ledger.machine.select(address("ann").into(), euro, 300).unwrap();
    let pay = TxBuilder::transfer(LEDGER)
        .pay(euro, 300, &have, lock("ben"), lock("ann"))
        .unwrap()
        .sign(&[&key("ann")]);
    ledger.run(pay.clone());
    assert_eq!(ledger.machine.balance(address("ann").into(), euro), 700);
    assert_eq!(ledger.machine.balance(address("ben").into(), euro), 300);
    assert!(ledger.machine.select(address("ben").into(), euro, 301).is_none());

    // More out than in.
    let more =
        TxBuilder::transfer(LEDGER).spend(pay.output(0)).amount(euro, 301, lock("ben")).sign(&[&key("ben")]);
    let unbalanced = RuleError::Unbalanced { asset: euro, input: 300, issued: 0, output: 301, redeemed: 0 };
    assert_eq!(rule(ledger.refused(&more)), unbalanced);
    // Less out than in.
    let less =
        TxBuilder::transfer(LEDGER).spend(pay.output(0)).amount(euro, 299, lock("ben")).sign(&[&key("ben")]);
    assert!(matches!(rule(ledger.refused(&less)), RuleError::Unbalanced { .. }));
    // Sums that wrap around.
    let wrap = TxBuilder::transfer(LEDGER)
        .spend(pay.output(0))
        .amount(euro, u128::MAX, lock("ben"))
        .amount(euro, 301, lock("ben"))
        .sign(&[&key("ben")]);
    assert_eq!(rule(ledger.refused(&wrap)), RuleError::Overflow(euro));
    // An asset out of nothing.
    let other = AssetId::of(address("ben"), "EUR", 2);
    let nothing = TxBuilder::transfer(LEDGER)
        .spend(pay.output(0))
        .amount(euro, 300, lock("ben"))
        .amount(other, 1, lock("ben"))
        .sign(&[&key("ben")]);
    assert!(matches!(rule(ledger.refused(&nothing)), RuleError::Unbalanced { .. }));
    // Issued by someone else than the issuer.
    let control = issued.output(0);
    let forged =
        TxBuilder::issue_amount(LEDGER, euro, 5, (control, lock("ben")), lock("ben")).sign(&[&key("ben")]);
    assert!(matches!(rule(ledger.refused(&forged)), RuleError::Locked { .. }));
    let without = TxBuilder::issue_amount(LEDGER, euro, 5, (pay.output(0), lock("ben")), lock("ben"))
        .sign(&[&key("ben")]);
    assert_eq!(rule(ledger.refused(&without)), RuleError::NotAmongInputs(euro.control()));
    // The control cannot be doubled.
    let doubled = TxBuilder::issue_amount(LEDGER, euro, 5, (control, lock("bank")), lock("bank"))
        .output(Output::new(Value::Control { asset: euro }, lock("ben")))
        .sign(&[&bank]);
    assert_eq!(
        rule(ledger.refused(&doubled)),
        RuleError::NotConserved { value: Value::Control { asset: euro } }
    );
    // Redeemed with the issuer.
    let redeem = TxBuilder::redeem(LEDGER, euro, 300, (control, lock("bank"))).spend(pay.output(0));
    ledger.run(redeem.sign(&[&bank, &key("ben")]));
    assert_eq!(ledger.machine.asset(euro).unwrap().definition.supply, 700);
    // More than is in circulation.
    let control = ledger.held(euro.control());
    let too_much = TxBuilder::redeem(LEDGER, euro, 701, (control, lock("bank"))).sign(&[&bank]);
    assert_eq!(rule(ledger.refused(&too_much)), RuleError::Overflow(euro));
}

#[test]
fn composites_move_as_one_and_come_apart() {
    let ledger = Ledger::new();
    let acme = key("acme");
    let (screw, tx) = issue("acme", "screw", "1", "acme");
    let screw_tx = ledger.run(tx);
    let (case, tx) = issue("acme", "case", "1", "acme");
    let case_tx = ledger.run(tx);
    let parts = [(screw, screw_tx.output(0)), (case, case_tx.output(0))];
    let compose = |revision: u32, parts: &[(TokenId, bletchley_token::OutputRef)]| {
        TxBuilder::compose(LEDGER, acme.address(), "phone", "1", revision, "Phone 1", parts, lock("acme"))
            .unwrap()
            .sign(&[&acme])
    };
    assert!(matches!(rule(ledger.refused(&compose(1, &parts))), RuleError::Composite { .. }));
    let made = ledger.run(compose(0, &parts));
    let phone = CompositeRecord::assemble(acme.address(), "phone", "1", 0, &[screw, case]).unwrap();
    assert!(phone.matches(&Properties::of_thing("phone", "1").unwrap()));
    let phone = phone.id();
    assert_eq!(ledger.machine.token(screw).unwrap().status, Status::PartOf { composite: phone });
    assert_eq!(ledger.machine.parts(phone).unwrap().unwrap().len(), 2);
    // A part cannot move alone.
    let alone =
        TxBuilder::transfer(LEDGER).spend(screw_tx.output(0)).token(screw, lock("eve")).sign(&[&acme]);
    assert_eq!(
        rule(ledger.refused(&alone)),
        RuleError::DoubleSpend { output: screw_tx.output(0), by: made.id }
    );
    // Nor can the whole be built twice, or issued as a simple thing.
    let (nut, tx) = issue("acme", "nut", "1", "acme");
    let nut_tx = ledger.run(tx);
    let second = compose(1, &[(nut, nut_tx.output(0))]);
    assert!(matches!(rule(ledger.refused(&second)), RuleError::Composite { .. }));
    let (_, plain) = issue("acme", "phone", "1", "acme");
    assert!(matches!(rule(ledger.refused(&plain)), RuleError::AlreadyIssued { .. }));
    // It is sold as one.
    let sold = ledger
        .run(TxBuilder::transfer(LEDGER).spend(made.output(0)).token(phone, lock("bob")).sign(&[&acme]));
    // Taken apart with other parts than its own.
    let wrong = TxBuilder::decompose(LEDGER, (phone, sold.output(0)), &[screw, nut], &lock("bob"))
        .sign(&[&key("bob")]);
    assert!(matches!(rule(ledger.refused(&wrong)), RuleError::Composite { .. }));
    // With a part missing from the outputs.
    let mut short =
        TxBuilder::decompose(LEDGER, (phone, sold.output(0)), &[screw, case], &lock("bob")).body().clone();
    short.outputs.pop();
    let id = short.id(LEDGER);
    let witness = bletchley_token::Witness { signatures: vec![key("bob").sign(id.0)], preimages: Vec::new() };
    let short = bletchley_token::Transaction { body: short, witness };
    assert!(matches!(
        rule(ledger.machine.submit(&short.encode_bytes()).unwrap_err()),
        RuleError::NotConserved { .. }
    ));
    let apart = TxBuilder::decompose(LEDGER, (phone, sold.output(0)), &[screw, case], &lock("bob"))
        .sign(&[&key("bob")]);
    ledger.run(apart);
    assert_eq!(ledger.owner(screw), Some(lock("bob")));
    assert_eq!(ledger.machine.token(phone).unwrap().status, Status::TakenApart {});
    let thing = TokenRecord::thing(acme.address(), "phone", "1").unwrap().id();
    assert_eq!(ledger.machine.build(thing), (1, None));
    // Assembled again from the same parts it is a new whole.
    let parts = [(screw, ledger.held(screw)), (case, ledger.held(case))];
    let again =
        TxBuilder::compose(LEDGER, acme.address(), "phone", "1", 1, "Phone 1", &parts, lock("bob")).unwrap();
    ledger.run(again.sign(&[&acme, &key("bob")]));
    assert_eq!(ledger.machine.token(phone).unwrap().status, Status::TakenApart {});
}

#[test]
fn composites_nest_to_a_bounded_depth() {
    let ledger = Ledger::new();
    let acme = key("acme");
    let (mut inner, tx) = issue("acme", "seed", "0", "acme");
    let mut output = ledger.run(tx).output(0);
    for level in 0..9u32 {
        let tx = TxBuilder::compose(
            LEDGER,
            acme.address(),
            "box",
            &level.to_string(),
            0,
            "",
            &[(inner, output)],
            lock("acme"),
        )
        .unwrap()
        .sign(&[&acme]);
        if level == 8 {
            assert!(matches!(rule(ledger.refused(&tx)), RuleError::Composite { .. }));
            break;
        }
        inner =
            CompositeRecord::assemble(acme.address(), "box", &level.to_string(), 0, &[inner]).unwrap().id();
        output = ledger.run(tx).output(0);
    }
    assert_eq!(ledger.machine.token(inner).unwrap().info.depth(), 8);
}

#[test]
fn retired_tokens_never_come_back() {
    let ledger = Ledger::new();
    let (screw, tx) = issue("acme", "screw", "1", "acme");
    let issued = ledger.run(tx);
    let lost = TxBuilder::transfer(LEDGER).spend(issued.output(0)).sign(&[&key("acme")]);
    assert_eq!(rule(ledger.refused(&lost)), RuleError::NotConserved { value: Value::Token { token: screw } });
    ledger.run(TxBuilder::retire(LEDGER, &[(screw, issued.output(0))]).sign(&[&key("acme")]));
    assert_eq!(ledger.machine.token(screw).unwrap().status, Status::Retired {});
    let again = TxBuilder::issue_thing(LEDGER, address("acme"), "screw", "1", lock("bob"))
        .unwrap()
        .sign(&[&key("acme")]);
    assert_eq!(rule(ledger.refused(&again)), RuleError::AlreadyIssued { token: screw });
}

#[test]
fn people_are_owned_by_proofs_of_several_factors() {
    let ledger = Ledger::new();
    let properties = Properties::new([("username", "ada"), ("dob", "1815-12-10")]).unwrap();
    let record =
        TokenRecord::person(address("registrar"), &properties, B256::repeat_byte(5), Argon2Params::LEAST)
            .unwrap();
    let factors =
        Factors::new().with(FactorKind::Password, "enchantress").with(FactorKind::KeyCard, [7u8; 16]);
    let owner = factors.lock(B256::repeat_byte(6), Argon2Params::LEAST).unwrap();
    let tx =
        TxBuilder::issue(LEDGER, address("registrar"), [(record.clone(), "Ada".to_owned(), owner.clone())]);
    let issued = ledger.run(tx.sign(&[&key("registrar")]));
    let view = ledger.machine.token(record.id()).unwrap();
    assert_eq!(view.info.property_names(), ["dob", "username"]);
    assert!(view.info.matches(&properties).unwrap());
    assert!(
        !view.info.matches(&Properties::new([("username", "ada"), ("dob", "1815-12-11")]).unwrap()).unwrap()
    );
    // The lock alone tells how to derive the key; the secrets never travel.
    let Some(Lock::Proof { proof, .. }) = ledger.owner(record.id()) else { panic!() };
    let wrong = factors.clone().with(FactorKind::Password, "Enchantress").derive(&proof).unwrap();
    let transfer =
        || TxBuilder::transfer(LEDGER).spend(issued.output(0)).token(record.id(), lock("guardian"));
    assert!(matches!(rule(ledger.refused(&transfer().sign(&[&wrong]))), RuleError::Locked { .. }));
    ledger.run(transfer().sign(&[&factors.derive(&proof).unwrap()]));
    assert_eq!(ledger.owner(record.id()), Some(lock("guardian")));
    // An anonymous token is a fresh key's own.
    let fresh = TokenRecord::anonymous(address("fresh"));
    let claim =
        || TxBuilder::issue(LEDGER, address("fresh"), [(fresh.clone(), String::new(), lock("fresh"))]);
    assert!(matches!(rule(ledger.refused(&claim().sign(&[&key("eve")]))), RuleError::IssuerDidNotSign(_)));
    ledger.run(claim().sign(&[&key("fresh")]));
}

#[test]
fn thresholds_and_superfluous_signatures() {
    let ledger = Ledger::new();
    let board = Lock::threshold(2, [address("a"), address("b"), address("c")]);
    let record = TokenRecord::thing(address("acme"), "deed", "1").unwrap();
    let tx = TxBuilder::issue(LEDGER, address("acme"), [(record.clone(), "deed".to_owned(), board.clone())]);
    let issued = ledger.run(tx.sign(&[&key("acme")]));
    let shared = ledger.machine.shared_outputs_of(address("b"), None, 10);
    assert_eq!(shared.items.len(), 1);
    assert_eq!(ledger.machine.outputs_of(board.owner(), None, 10).items, shared.items);
    let move_on = || TxBuilder::transfer(LEDGER).spend(issued.output(0)).token(record.id(), lock("bob"));
    assert!(matches!(rule(ledger.refused(&move_on().sign(&[&key("a")]))), RuleError::Locked { .. }));
    assert!(matches!(
        rule(ledger.refused(&move_on().sign(&[&key("a"), &key("eve")]))),
        RuleError::Locked { .. }
    ));
    let surplus = move_on().sign(&[&key("a"), &key("eve"), &key("b")]);
    assert_eq!(rule(ledger.refused(&surplus)), RuleError::Superfluous { what: "signature", index: 1 });
    assert!(matches!(ledger.refused(&move_on().sign(&[&key("a"), &key("a")])), SubmitError::Transaction(_)));
    assert!(matches!(ledger.refused(&move_on().sign(&[])), SubmitError::Transaction(_)));
    ledger.run(move_on().sign(&[&key("c"), &key("a")]));
    assert!(ledger.machine.shared_outputs_of(address("b"), None, 10).items.is_empty());
}

#[test]
fn hash_and_time_locks_pay_once_either_way() {
    let preimage = B256::repeat_byte(9);
    let deadline_ms = TimestampMs(50_000);
    let (hash, recipient, refund) = (Lock::hash_of(&preimage), address("bob"), address("ann"));
    let timed = Lock::HashTime { hash, recipient, refund, deadline_ms };
    for late in [false, true] {
        let ledger = Ledger::new();
        let record = TokenRecord::thing(address("ann"), "coin", "1").unwrap();
        let tx = TxBuilder::issue(LEDGER, address("ann"), [(record.clone(), String::new(), timed.clone())]);
        let issued = ledger.run(tx.sign(&[&key("ann")]));
        let move_to =
            |name: &str| TxBuilder::transfer(LEDGER).spend(issued.output(0)).token(record.id(), lock(name));
        let claim = move_to("bob").preimage(preimage).sign(&[&key("bob")]);
        let back = move_to("ann").sign(&[&key("ann")]);
        if late {
            // The refund waits in the pool until the deadline has come; it does not stall others.
            ledger.submit(&back).unwrap();
            assert!(ledger.propose().is_none());
            assert_eq!((ledger.machine.ready(), ledger.machine.waiting()), (0, 1));
            let (_, other) = issue("acme", "screw", "1", "acme");
            ledger.submit(&other).unwrap();
            assert_eq!(ledger.block().transactions, 1);
            ledger.set_time(deadline_ms.0);
            assert_eq!(ledger.block().transactions, 1);
            assert_eq!(ledger.owner(record.id()), Some(lock("ann")));
        } else {
            let stranger = move_to("eve").preimage(preimage).sign(&[&key("eve")]);
            assert!(matches!(rule(ledger.refused(&stranger)), RuleError::Locked { .. }));
            ledger.run(claim);
            assert_eq!(ledger.owner(record.id()), Some(lock("bob")));
        }
    }
    // A claim that comes too late leaves the pool when a block is built.
    let ledger = Ledger::new();
    let record = TokenRecord::thing(address("ann"), "coin", "1").unwrap();
    let tx = TxBuilder::issue(LEDGER, address("ann"), [(record.clone(), String::new(), timed)]);
    let issued = ledger.run(tx.sign(&[&key("ann")]));
    ledger.set_time(deadline_ms.0);
    let claim = TxBuilder::transfer(LEDGER)
        .spend(issued.output(0))
        .token(record.id(), lock("bob"))
        .preimage(preimage);
    let claim = claim.sign(&[&key("bob")]);
    ledger.submit(&claim).unwrap();
    let next = TxBuilder::transfer(LEDGER)
        .spend(claim.output(0))
        .token(record.id(), lock("eve"))
        .sign(&[&key("bob")]);
    ledger.submit(&next).unwrap();
    assert!(ledger.propose().is_none());
    assert_eq!(ledger.machine.waiting(), 0);
}

#[test]
fn entries_have_revisions_by_height() {
    let ledger = Ledger::new();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = seen.clone();
    ledger.machine.on_commit(move |committed| {
        sink.lock().unwrap().extend(committed.entries.iter().map(|e| e.entry.version.clone()));
    });
    let entry = |version: &str, payload: &'static [u8]| Entry {
        namespace: "cryptlet".into(),
        name: "fx-rates".into(),
        version: version.into(),
        payload: Bytes::from_static(payload),
    };
    let publisher = key("publisher");
    let register = |entry: Entry, previous| {
        TxBuilder::register(LEDGER, publisher.address(), entry, previous, lock("publisher"))
            .sign(&[&publisher])
    };
    let first = ledger.run(register(entry("1.0.0", b"one"), None));
    assert!(matches!(
        rule(ledger.refused(&register(entry("1.0.1", b"x"), None))),
        RuleError::NotAmongInputs(id) if id == entry("", b"").id()
    ));
    let stolen =
        TxBuilder::register(LEDGER, address("eve"), entry("9", b"bad"), Some(first.output(0)), lock("eve"));
    assert!(matches!(rule(ledger.refused(&stolen.sign(&[&key("eve")]))), RuleError::Locked { .. }));
    let second = ledger.run(register(entry("1.1.0", b"two"), Some(first.output(0))));
    let at = |height| {
        ledger.machine.entry_at("cryptlet", "fx-rates", Height(height)).map(|e| e.entry.payload.clone())
    };
    assert_eq!(at(0), None);
    assert_eq!(at(1), Some(Bytes::from_static(b"one")));
    assert_eq!(at(2), Some(Bytes::from_static(b"two")));
    assert_eq!(at(99), Some(Bytes::from_static(b"two")));
    assert_eq!(ledger.machine.entry_history("cryptlet", "fx-rates").len(), 2);
    assert_eq!(ledger.machine.entries("cryptlet").len(), 1);
    assert_eq!(ledger.machine.entries_after("cryptlet", Height(1)).len(), 1);
    assert_eq!(*seen.lock().unwrap(), ["1.0.0", "1.1.0"]);
    // An entry changes hands only by being registered, and its output says what it says.
    let value = Value::Entry { entry: entry("", b"").id() };
    let moved = TxBuilder::transfer(LEDGER).spend(second.output(0)).output(Output::new(value, lock("eve")));
    assert!(matches!(rule(ledger.refused(&moved.sign(&[&publisher]))), RuleError::Entry { .. }));
    let builder = TxBuilder::register(
        LEDGER,
        publisher.address(),
        entry("2", b"y"),
        Some(second.output(0)),
        lock("eve"),
    );
    let lying = builder.data(B256::ZERO).sign(&[&publisher]);
    assert!(matches!(rule(ledger.refused(&lying)), RuleError::Entry { .. }));
    let bad = Entry { name: "has space".into(), ..entry("1", b"") };
    assert!(matches!(ledger.refused(&register(bad, None)), SubmitError::Transaction(_)));
    assert_eq!(
        ledger.reopen().machine.entry_history("cryptlet", "fx-rates"),
        ledger.machine.entry_history("cryptlet", "fx-rates")
    );
}

#[test]
fn notes_and_compensations() {
    let ledger = Ledger::new();
    let (phone, tx) = issue("acme", "phone", "1", "acme");
    let issued = ledger.run(tx);
    let place = ContractPlace {
        ledger: LedgerId(B256::repeat_byte(2)),
        chain_id: 1337,
        contract: Address::repeat_byte(3),
        item: U256::from(7),
        transaction: TxId::default(),
    };
    let note = Note::Contract { place };
    let noted = TxBuilder::record(LEDGER, (phone, issued.output(0)), note.clone(), lock("acme"))
        .sign(&[&key("acme")]);
    let noted = ledger.run(noted);
    let wrong = ledger.run(
        TxBuilder::transfer(LEDGER).spend(noted.output(0)).token(phone, lock("bob")).sign(&[&key("acme")]),
    );
    let back = TxBuilder::transfer(LEDGER).spend(wrong.output(0)).token(phone, lock("acme"));
    let nothing = back.clone().compensating(TxId(B256::repeat_byte(1))).sign(&[&key("bob")]);
    assert_eq!(rule(ledger.refused(&nothing)), RuleError::NothingToCompensate(TxId(B256::repeat_byte(1))));
    let back = ledger.run(back.compensating(wrong.id).sign(&[&key("bob")]));
    let status = ledger.machine.transaction(back.id).unwrap();
    assert!(matches!(status, Some(TxStatus::Final { height: Height(4), position: 0, .. })));
    assert_eq!(ledger.machine.transaction(TxId::default()).unwrap(), None);
}
