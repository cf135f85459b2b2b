//! Changes from outside any transaction.

use super::{store::DiffStore, zoo, *};
use alloy_primitives::{address, hex};
use bletchley_ledger::{DiffWriter, Intervention};
use revm::database_interface::DatabaseRef;
use revm::primitives::hardfork::SpecId;

const SOMEONE: Address = address!("00000000000000000000000000000000000abcde");

fn fresh() -> State {
    State::open(zoo::alloc(), &DiffStore::default(), StateOptions::default()).unwrap().state
}

#[test]
fn an_intervention_shows_at_once_and_stands_in_the_next_block() {
    let (here, there) = (fresh(), fresh());
    let one = U256::from(1);
    here.intervene("anvil_setBalance", &[Override::Balance(SOMEONE, U256::from(77))]).unwrap();
    here.intervene("anvil_setCode", &[Override::Code(SOMEONE, zoo::CHILD.into())]).unwrap();
    here.intervene("anvil_setStorageAt", &[Override::Slot(zoo::ELDER, one, U256::ZERO)]).unwrap();
    here.intervene("anvil_setNonce", &[Override::Nonce(SOMEONE, 4)]).unwrap();

    let latest = here.latest();
    let account = latest.account(&SOMEONE).unwrap().unwrap();
    assert_eq!((account.nonce, account.balance), (4, U256::from(77)));
    assert_eq!(latest.code(&SOMEONE).unwrap(), Bytes::from(zoo::CHILD));
    assert_eq!(latest.slot(&zoo::ELDER, &one).unwrap(), U256::ZERO);
    assert_eq!(
        here.view_at(Height(0)).unwrap().account(&SOMEONE).unwrap(),
        None,
        "the block itself stays as it was"
    );
    let root_before = here.root();

    // The block: one transaction that reads and writes on top of the interventions.
    let deeds = [(0, zoo::Deed::Store { salt: 3, slot: 2, value: 6 })];
    let pending = here.pending().unwrap();
    let carried = pending.interventions().to_vec();
    assert_eq!(carried.len(), 4);
    let (view, changes) = zoo::run_block(here.block_view(Some(pending)), SpecId::OSAKA, &deeds);
    let staged = here.stage(view, changes).unwrap();
    assert_ne!(staged.root, root_before);
    // One that comes in meanwhile waits for the block after.
    here.intervene("anvil_setBalance", &[Override::Balance(SOMEONE, U256::from(78))]).unwrap();
    let (root, diff) = (staged.root, staged.diff.clone());
    here.commit(staged, Height(1)).unwrap();
    assert_eq!(here.pending().unwrap().interventions().len(), 1);
    let balance = |view: &StateView| view.account(&SOMEONE).unwrap().unwrap().balance;
    assert_eq!(balance(&here.latest()), U256::from(78));
    assert_eq!(balance(&here.view_at(Height(1)).unwrap()), U256::from(77));

    // Another node gets the same out of the block's extension.
    let layer = Overrides::decode(&carried).unwrap();
    let view = there.block_view(layer);
    assert_eq!(view.storage_ref(zoo::ELDER, one), Ok(U256::ZERO));
    assert_eq!(
        view.basic_ref(SOMEONE).unwrap().unwrap().code.unwrap().original_bytes(),
        Bytes::from(zoo::CHILD)
    );
    let (view, changes) = zoo::run_block(view, SpecId::OSAKA, &deeds);
    let staged = there.stage(view, changes).unwrap();
    assert_eq!((staged.root, &staged.diff), (root, &diff));
    there.commit(staged, Height(1)).unwrap();
    assert!(there.pending().is_none());
    assert_eq!(there.latest().slot(&zoo::ELDER, &U256::from(2)).unwrap(), U256::from(6));
    let world = [(SOMEONE, there.latest().account(&SOMEONE).unwrap().unwrap())];
    let proof = there.proof(Height(1), SOMEONE, &[]).unwrap();
    assert_eq!(proof.balance, world[0].1.balance);

    // Going back brings the interventions of that time back.
    here.rewind(Height(0), None).unwrap();
    assert_eq!(here.root(), root_before);
    assert_eq!(here.latest().account(&SOMEONE).unwrap(), None);
}

#[test]
fn an_account_that_was_emptied_is_gone() {
    let state = fresh();
    state.intervene("anvil_setBalance", &[Override::Balance(SOMEONE, U256::from(7))]).unwrap();
    state.intervene("anvil_setBalance", &[Override::Balance(SOMEONE, U256::ZERO)]).unwrap();
    assert_eq!(state.latest().account(&SOMEONE).unwrap(), None);
    let root = state.root();
    let (view, changes) = zoo::run_block(state.block_view(state.pending()), SpecId::OSAKA, &[]);
    assert_eq!(state.stage(view, changes).unwrap().root, root);
}

#[test]
fn hostile_interventions_are_refused() {
    let refused = |diff: Bytes| {
        Overrides::decode(&[Intervention { method: "m".into(), diff }]).unwrap_err().to_string()
    };
    assert!(refused(hex!("ff").into()).contains("ends inside"));
    let entry = |key: &[u8], value: &[u8]| {
        let mut writer = DiffWriter::default();
        writer.put(key, value);
        refused(writer.finish())
    };
    let account = [&[1], SOMEONE.as_slice()].concat();
    assert!(entry(&account, &hex!("c28080")).contains("entry 0"), "an empty account is absent, not stored");
    assert!(entry(&account, &hex!("c3808001")).contains("entry 0"));
    assert!(entry(&account, &hex!("c2018000")).contains("entry 0"), "bytes behind the account");
    let slot = [&[2], SOMEONE.as_slice(), &[0; 32]].concat();
    assert!(entry(&slot, &hex!("0001")).contains("entry 0"), "a leading zero");
    assert!(entry(&slot, &[1; 33]).contains("entry 0"));
    let code = [&[3], keccak256(hex!("ef0100")).as_slice()].concat();
    assert!(entry(&code, &hex!("ef0100")).contains("entry 0"));
    assert_eq!(
        fresh().intervene("anvil_setCode", &[Override::Code(SOMEONE, hex!("ef0100").into())]),
        Err(InterventionError::Code)
    );
    assert!(Overrides::decode(&[]).unwrap().is_none());
}
