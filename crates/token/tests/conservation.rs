//! Random transactions, honest and not: whatever enters, supplies hold and no token is in two places.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use bletchley_ledger::Machine;
use bletchley_token::{
    AssetId, Lock, Output, OutputRef, Owner, SignedTx, Status, TokenId, TokenInfo, TokenMachine, TokenRecord,
    TxBuilder, Unspent, Value,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};
use support::{GENESIS, LEDGER, Ledger, address, key, lock};

const PEOPLE: [&str; 4] = ["ann", "ben", "cid", "eve"];

#[derive(Debug, Clone)]
enum Op {
    Issue { who: usize, serial: u8 },
    Mint { amount: u64 },
    Redeem { pick: usize, amount: u64 },
    Pay { pick: usize, to: usize, amount: u64, skew: i8 },
    Give { pick: usize, to: usize, signer: Option<usize> },
    Steal { pick: usize, thief: usize },
    Compose { who: usize, serial: u8, revision: u32, picks: Vec<usize> },
    Decompose { pick: usize, to: usize, drop: bool },
    Retire { pick: usize },
    Double { pick: usize },
    Block,
}

fn ops() -> impl Strategy<Value = Op> {
    let who = 0..PEOPLE.len();
    let pick = any::<usize>();
    prop_oneof![
        3 => (who.clone(), 0u8..12).prop_map(|(who, serial)| Op::Issue { who, serial }),
        2 => (1u64..1000).prop_map(|amount| Op::Mint { amount }),
        1 => (pick, 1u64..500).prop_map(|(pick, amount)| Op::Redeem { pick, amount }),
        3 => (pick, who.clone(), 1u64..400, -1i8..=1).prop_map(|(pick, to, amount, skew)| Op::Pay { pick, to, amount, skew }),
        3 => (pick, who.clone(), prop::option::of(who.clone())).prop_map(|(pick, to, signer)| Op::Give { pick, to, signer }),
        1 => (pick, who.clone()).prop_map(|(pick, thief)| Op::Steal { pick, thief }),
        2 => (who.clone(), 0u8..3, 0u32..3, prop::collection::vec(pick, 1..4))
            .prop_map(|(who, serial, revision, picks)| Op::Compose { who, serial, revision, picks }),
        2 => (pick, who, any::<bool>()).prop_map(|(pick, to, drop)| Op::Decompose { pick, to, drop }),
        1 => pick.prop_map(|pick| Op::Retire { pick }),
        1 => pick.prop_map(|pick| Op::Double { pick }),
        2 => Just(Op::Block),
    ]
}

fn name_of(lock: &Lock) -> &'static str {
    PEOPLE.into_iter().chain(["bank"]).find(|name| self::lock(name) == *lock).unwrap()
}

struct World {
    ledger: Ledger,
    euro: AssetId,
    control: OutputRef,
    tokens: BTreeSet<TokenId>,
}

impl World {
    fn new() -> Self {
        let ledger = Ledger::new();
        let tx =
            TxBuilder::define_asset(LEDGER, address("bank"), "EUR", 2, lock("bank")).sign(&[&key("bank")]);
        let control = ledger.run(tx).output(0);
        Self { ledger, euro: AssetId::of(address("bank"), "EUR", 2), control, tokens: BTreeSet::new() }
    }

    /// Every unspent output, by owner.
    fn outputs(&self) -> Vec<Unspent> {
        let owners = PEOPLE.into_iter().chain(["bank"]).map(|name| Owner::from(address(name)));
        owners.flat_map(|owner| self.ledger.machine.outputs_of(owner, None, 1000).items).collect()
    }

    fn pick(&self, pick: usize, wanted: impl Fn(&Unspent) -> bool) -> Option<Unspent> {
        let all: Vec<Unspent> = self.outputs().into_iter().filter(wanted).collect();
        (!all.is_empty()).then(|| all[pick % all.len()].clone())
    }

    fn submit(&mut self, tx: &SignedTx) -> bool {
        self.ledger.submit(tx).is_ok()
    }

    /// Does what is asked, as far as it is possible; says whether the ledger took it.
    fn apply(&mut self, op: Op) -> bool {
        match op {
            Op::Mint { .. } | Op::Redeem { .. } | Op::Pay { .. } => self.amounts(op).unwrap_or_default(),
            Op::Compose { .. } | Op::Decompose { .. } => self.wholes(op).unwrap_or_default(),
            Op::Block => {
                if let Some(block) = self.ledger.propose() {
                    self.ledger.keep(&block);
                }
                self.check();
                true
            }
            _ => self.things(op).unwrap_or_default(),
        }
    }

    /// What happens to money.
    fn amounts(&mut self, op: Op) -> Option<bool> {
        let is_amount = |u: &Unspent| matches!(u.output.value, Value::Amount { .. });
        let taken = match op {
            Op::Mint { amount } => {
                let control = (self.control, lock("bank"));
                let tx = TxBuilder::issue_amount(LEDGER, self.euro, amount.into(), control, lock("ann"));
                let tx = tx.sign(&[&key("bank")]);
                let taken = self.submit(&tx);
                if taken {
                    self.control = tx.output(0);
                }
                taken
            }
            Op::Redeem { pick, amount } => {
                let from = self.pick(pick, is_amount)?;
                let Value::Amount { amount: held, .. } = from.output.value else { unreachable!() };
                let mut tx =
                    TxBuilder::redeem(LEDGER, self.euro, amount.into(), (self.control, lock("bank")));
                tx = tx.spend(from.reference);
                if let Some(rest) = held.checked_sub(amount.into()).filter(|rest| *rest > 0) {
                    tx = tx.amount(self.euro, rest, from.output.lock.clone());
                }
                let tx = tx.sign(&[&key("bank"), &key(name_of(&from.output.lock))]);
                let taken = self.submit(&tx);
                if taken {
                    self.control = tx.output(0);
                }
                taken
            }
            Op::Pay { pick, to, amount, skew } => {
                let from = self.pick(pick, is_amount)?;
                let Value::Amount { amount: held, .. } = from.output.value else { unreachable!() };
                let paid = u128::from(amount).min(held);
                let rest = (held - paid).saturating_add_signed(skew.into());
                let mut tx = TxBuilder::transfer(LEDGER).spend(from.reference).amount(
                    self.euro,
                    paid,
                    lock(PEOPLE[to]),
                );
                if rest > 0 {
                    tx = tx.amount(self.euro, rest, from.output.lock.clone());
                }
                self.submit(&tx.sign(&[&key(name_of(&from.output.lock))]))
            }
            _ => return None,
        };
        Some(taken)
    }

    /// What happens to single tokens.
    fn things(&mut self, op: Op) -> Option<bool> {
        let is_token = |u: &Unspent| matches!(u.output.value, Value::Token { .. });
        let token_of = |u: &Unspent| u.output.value.unique().unwrap();
        let taken = match op {
            Op::Issue { who, serial } => {
                let maker = PEOPLE[who];
                let record = TokenRecord::thing(address(maker), "thing", &serial.to_string()).unwrap();
                self.tokens.insert(record.id());
                let tx = TxBuilder::issue(LEDGER, address(maker), [(record, String::new(), lock(maker))]);
                self.submit(&tx.sign(&[&key(maker)]))
            }
            Op::Give { pick, to, signer } => {
                let from = self.pick(pick, is_token)?;
                let signer = signer.map_or(name_of(&from.output.lock), |signer| PEOPLE[signer]);
                let tx = TxBuilder::transfer(LEDGER)
                    .spend(from.reference)
                    .token(token_of(&from), lock(PEOPLE[to]));
                self.submit(&tx.sign(&[&key(signer)]))
            }
            Op::Steal { pick, thief } => {
                let own = self.pick(pick, |u| name_of(&u.output.lock) == PEOPLE[thief])?;
                let other = self.pick(pick, is_token)?;
                // Spends what is its own, and makes another's token out of it.
                let tx = TxBuilder::transfer(LEDGER)
                    .spend(own.reference)
                    .output(Output::new(own.output.value, lock(PEOPLE[thief])))
                    .token(token_of(&other), lock(PEOPLE[thief]));
                assert!(!self.submit(&tx.sign(&[&key(PEOPLE[thief])])));
                false
            }
            Op::Retire { pick } => {
                let from = self.pick(pick, is_token)?;
                let tx = TxBuilder::retire(LEDGER, &[(token_of(&from), from.reference)]);
                self.submit(&tx.sign(&[&key(name_of(&from.output.lock))]))
            }
            Op::Double { pick } => {
                let from = self.pick(pick, is_token)?;
                let sell = |to: &str| {
                    let tx =
                        TxBuilder::transfer(LEDGER).spend(from.reference).token(token_of(&from), lock(to));
                    tx.sign(&[&key(name_of(&from.output.lock))])
                };
                let first = self.submit(&sell("ann"));
                assert!(!self.submit(&sell("eve")));
                first
            }
            _ => return None,
        };
        Some(taken)
    }

    /// What happens to composites.
    fn wholes(&mut self, op: Op) -> Option<bool> {
        let is_token = |u: &Unspent| matches!(u.output.value, Value::Token { .. });
        let token_of = |u: &Unspent| u.output.value.unique().unwrap();
        let taken = match op {
            Op::Compose { who, serial, revision, picks } => {
                let parts: BTreeMap<TokenId, Unspent> = picks
                    .into_iter()
                    .filter_map(|pick| self.pick(pick, is_token))
                    .map(|u| (token_of(&u), u))
                    .collect();
                let maker = PEOPLE[who];
                let list: Vec<_> = parts.iter().map(|(id, u)| (*id, u.reference)).collect();
                let ids: Vec<TokenId> = parts.keys().copied().collect();
                let serial = serial.to_string();
                let record = bletchley_token::CompositeRecord::assemble(
                    address(maker),
                    "whole",
                    &serial,
                    revision,
                    &ids,
                );
                let tx = TxBuilder::compose(
                    LEDGER,
                    address(maker),
                    "whole",
                    &serial,
                    revision,
                    "",
                    &list,
                    lock(maker),
                );
                let names: BTreeSet<&str> =
                    parts.values().map(|u| name_of(&u.output.lock)).chain([maker]).collect();
                let keys: Vec<_> = names.into_iter().map(key).collect();
                let taken = self.submit(&tx.unwrap().sign(&keys.iter().collect::<Vec<_>>()));
                if taken {
                    self.tokens.insert(record.unwrap().id());
                }
                taken
            }
            Op::Decompose { pick, to, drop } => {
                let whole = |u: &Unspent| {
                    let info =
                        u.output.value.unique().and_then(|id| self.ledger.machine.token(id)).map(|t| t.info);
                    matches!(info, Some(TokenInfo::Composite { .. }))
                };
                let from = self.pick(pick, whole)?;
                let mut parts = self.ledger.machine.parts(token_of(&from)).unwrap().unwrap();
                if drop {
                    parts.pop();
                }
                let tx = TxBuilder::decompose(
                    LEDGER,
                    (token_of(&from), from.reference),
                    &parts,
                    &lock(PEOPLE[to]),
                );
                let taken = self.submit(&tx.sign(&[&key(name_of(&from.output.lock))]));
                assert!(!(drop && taken));
                taken
            }
            _ => return None,
        };
        Some(taken)
    }

    fn check(&self) {
        let outputs = self.outputs();
        let (made, unspent) = self.ledger.machine.output_counts();
        assert_eq!(outputs.len(), unspent);
        assert!(made as usize >= unspent);
        let amounts = outputs.iter().filter_map(|u| match u.output.value {
            Value::Amount { amount, .. } => Some(amount),
            _ => None,
        });
        assert_eq!(amounts.sum::<u128>(), self.ledger.machine.asset(self.euro).unwrap().definition.supply);
        let mut places: BTreeMap<TokenId, usize> = BTreeMap::new();
        for id in outputs.iter().filter_map(|u| u.output.value.unique()) {
            *places.entry(id).or_default() += 1;
        }
        assert!(places.values().all(|count| *count == 1));
        for id in &self.tokens {
            let Some(token) = self.ledger.machine.token(*id) else { continue };
            assert_eq!(token.status == Status::Held {}, places.contains_key(id));
            assert_eq!(token.output.is_some(), places.contains_key(id));
            if let Status::PartOf { composite } = token.status {
                assert!(self.ledger.machine.parts(composite).unwrap().unwrap().contains(id));
                let whole = self.ledger.machine.token(composite).unwrap().status;
                assert!(whole != Status::TakenApart {});
            }
            let story = self.ledger.machine.lineage(*id).unwrap().unwrap();
            assert_eq!(story.events.len(), token.events);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_made_up(ops in prop::collection::vec(ops(), 1..60)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        world.apply(Op::Block);
        let head = world.ledger.machine.head();
        // A restart, and a replay from genesis, come to the same.
        prop_assert_eq!(world.ledger.reopen().machine.head(), head);
        let replay = TokenMachine::replay(GENESIS, world.ledger.store.clone());
        for height in 1..=head.height.0 {
            let stored = world.ledger.store.block(bletchley_primitives::Height(height)).unwrap().unwrap();
            let executed = replay.execute(replay.prepare(stored.block.clone()).unwrap()).unwrap();
            replay.commit(executed.meta.hash).unwrap();
            prop_assert_eq!(executed.into_stored(stored.certificate.clone()), stored);
        }
        prop_assert_eq!(replay.head(), head);
    }
}

/// The random transactions above are no empty show: with a fixed seed, every kind of them is taken and refused.
#[test]
fn the_random_transactions_do_happen() {
    let mut runner = TestRunner::deterministic();
    let (mut taken, mut refused) = (BTreeMap::<String, usize>::new(), BTreeMap::<String, usize>::new());
    for _ in 0..24 {
        let mut world = World::new();
        for op in prop::collection::vec(ops(), 80).new_tree(&mut runner).unwrap().current() {
            let name = format!("{op:?}").split([' ', '{']).next().unwrap().to_owned();
            let count = if world.apply(op) { &mut taken } else { &mut refused };
            *count.entry(name).or_default() += 1;
        }
    }
    for name in ["Issue", "Mint", "Redeem", "Pay", "Give", "Compose", "Decompose", "Retire", "Double"] {
        assert!(
            taken.contains_key(name) && (refused.contains_key(name) || name == "Mint"),
            "{name}: {taken:?} taken, {refused:?} refused"
        );
    }
    assert!(!taken.contains_key("Steal"));
}
