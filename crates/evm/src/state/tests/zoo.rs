//! Contracts that create, destroy and re-create each other, and the transactions that make them do it.

use super::*;
use alloy_primitives::{Bytes, address, hex};
use proptest::prelude::*;
use revm::context::TxEnv;
use revm::database_interface::{Database, WrapDatabaseRef};
use revm::primitives::{TxKind, hardfork::SpecId};
use revm::{Context, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext};

const SENDERS: [Address; 3] = [
    address!("1000000000000000000000000000000000000001"),
    address!("1000000000000000000000000000000000000002"),
    address!("1000000000000000000000000000000000000003"),
];
const STRANGERS: [Address; 2] = [
    address!("2000000000000000000000000000000000000001"),
    address!("2000000000000000000000000000000000000002"),
];
pub(super) const FACTORY: Address = address!("f000000000000000000000000000000000000001");
/// A child that stands from genesis on, with storage.
pub(super) const ELDER: Address = address!("e000000000000000000000000000000000000001");

/// `op == 0`: sstore(word 1, word 2); otherwise: selfdestruct to the caller.
pub(super) const CHILD: [u8; 16] = hex!("5f35600d5760403560203555005b33ff");
/// sstore(1, 7); return CHILD.
const CHILD_INIT: [u8; 29] = hex!("60076001556f5f35600d5760403560203555005b33ff5f5260106010f3");
const SALTS: u64 = 3;

/// create2(CHILD_INIT, word 0) with the value; if word 1 is not zero, call the child so that it destroys itself.
fn factory_code() -> Bytes {
    let mut code = hex!("7c").to_vec();
    code.extend(CHILD_INIT);
    code.extend(hex!("5f525f35601d600334f5602035602f57005b60015f525f5f60205f5f855af100"));
    code.into()
}

fn child(salt: u64) -> Address {
    FACTORY.create2_from_code(B256::from(U256::from(salt)), CHILD_INIT)
}

/// Every address that a transaction can touch.
pub(super) fn everyone() -> Vec<Address> {
    let children = (0..SALTS).map(child);
    SENDERS.into_iter().chain(STRANGERS).chain([FACTORY, ELDER, Address::ZERO]).chain(children).collect()
}

pub(super) fn alloc() -> Vec<(Address, AllocAccount)> {
    let funded =
        |address: Address| (address, AllocAccount { balance: U256::from(1000), ..Default::default() });
    let mut alloc: Vec<_> = SENDERS.into_iter().map(funded).collect();
    alloc.push((FACTORY, AllocAccount { nonce: 1, code: factory_code(), ..Default::default() }));
    let storage =
        [(U256::from(1), U256::from(5)), (U256::from(3), U256::MAX), (U256::from(4), U256::ZERO)].into();
    alloc.push((ELDER, AllocAccount { nonce: 1, balance: U256::from(9), code: CHILD.into(), storage }));
    alloc
}

pub(super) fn model() -> CacheDB<EmptyDB> {
    let mut db = CacheDB::new(EmptyDB::default());
    for (address, account) in alloc() {
        let code = revm::state::Bytecode::new_raw(account.code);
        db.insert_account_info(
            address,
            revm::state::AccountInfo::new(account.balance, account.nonce, code.hash_slow(), code),
        );
        for (slot, value) in account.storage {
            db.insert_account_storage(address, slot, value).unwrap();
        }
    }
    db
}

/// A transaction from one of the senders.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Create { salt: u64, destroy: bool, value: u64 },
    Store { salt: u64, slot: u64, value: u64 },
    Destroy { salt: u64, value: u64 },
    Send { to: usize, value: u64 },
}

pub(super) fn deed() -> impl Strategy<Value = (usize, Deed)> {
    let salt = 0..=SALTS; // the last one means the elder
    let deed = prop_oneof![
        (0..SALTS, any::<bool>(), 0u64..3).prop_map(|(salt, destroy, value)| Deed::Create {
            salt,
            destroy,
            value
        }),
        (salt.clone(), 0u64..4, 0u64..3).prop_map(|(salt, slot, value)| Deed::Store { salt, slot, value }),
        (salt, 0u64..2).prop_map(|(salt, value)| Deed::Destroy { salt, value }),
        (0usize..11, 0u64..3).prop_map(|(to, value)| Deed::Send { to, value }),
    ];
    (0usize..3, deed)
}

pub(super) fn blocks() -> impl Strategy<Value = Vec<Vec<(usize, Deed)>>> {
    proptest::collection::vec(proptest::collection::vec(deed(), 0..9), 1..7)
}

fn words<const N: usize>(words: [u64; N]) -> Bytes {
    words.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>()).collect()
}

fn transaction((sender, deed): (usize, Deed)) -> TxEnv {
    let target = |salt| if salt == SALTS { ELDER } else { child(salt) };
    let (to, value, data) = match deed {
        Deed::Create { salt, destroy, value } => (FACTORY, value, words([salt, u64::from(destroy)])),
        Deed::Store { salt, slot, value } => (target(salt), 0, words([0, slot, value])),
        Deed::Destroy { salt, value } => (target(salt), value, words([1])),
        Deed::Send { to, value } => (everyone()[to], value, Bytes::new()),
    };
    TxEnv {
        caller: SENDERS[sender],
        kind: TxKind::Call(to),
        value: U256::from(value),
        data,
        gas_limit: 1_000_000,
        gas_price: 0,
        ..Default::default()
    }
}

macro_rules! evm_over {
    ($db:expr, $spec:expr) => {
        Context::mainnet()
            .with_db($db)
            .modify_cfg_chained(|cfg| {
                cfg.set_spec_and_mainnet_gas_params($spec);
                cfg.disable_nonce_check = true;
                cfg.tx_chain_id_check = false;
            })
            .build_mainnet()
    };
}

/// One journal over the whole block, as the machine executes it.
pub(super) fn run_block(view: BlockView, spec: SpecId, deeds: &[(usize, Deed)]) -> (BlockView, EvmState) {
    let mut evm = evm_over!(WrapDatabaseRef(view), spec);
    for deed in deeds {
        evm.transact_one(transaction(*deed)).unwrap();
    }
    let changes = evm.finalize();
    (evm.ctx.journaled_state.database.0, changes)
}

/// Every transaction alone, committed to revm's own database.
pub(super) fn run_singly<DB: Database + revm::DatabaseCommit>(
    db: DB,
    spec: SpecId,
    deeds: &[(usize, Deed)],
) -> DB {
    let mut evm = evm_over!(db, spec);
    for deed in deeds {
        assert!(evm.transact_commit(transaction(*deed)).is_ok());
    }
    evm.ctx.journaled_state.database
}
