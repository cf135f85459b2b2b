//! Transactions of every type, and what they can do.

use crate::world::*;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use bletchley_evm::BlockRef;

#[test]
fn all_types_move_value_and_have_their_type_in_the_receipt() {
    let world = World::new(genesis_with_fees());
    let to = Address::repeat_byte(0x11);
    for (nonce, kind) in [0u8, 1, 2].into_iter().enumerate() {
        let tx = Tx { kind, value: U256::from(5), gas: 21_000, ..Tx::to(to, nonce as u64) };
        let receipt = world.run(&tx, 0);
        assert!(receipt.success);
        assert_eq!((receipt.tx_type, receipt.gas_used), (kind, 21_000));
    }
    // Legacy without a chain id (before EIP-155).
    let receipt = world.run(&Tx { kind: 0, chain_id: None, value: U256::from(5), ..Tx::to(to, 3) }, 0);
    assert!(receipt.success);
    assert_eq!(world.ledger.balance(&to, BlockRef::Latest).unwrap(), U256::from(20));
}

#[test]
fn zero_price_costs_nothing_and_a_base_fee_is_burnt() {
    let world = World::new(genesis());
    let tx = Tx { fee: 0, value: ether(1), gas: 21_000, ..Tx::to(Address::repeat_byte(1), 0) };
    assert!(world.run(&tx, 0).success);
    assert_eq!(world.ledger.balance(&key(0).address(), BlockRef::Latest).unwrap(), ether(99));

    let world = World::new(genesis_with_fees());
    let tx = Tx { tip: 7, value: ether(1), gas: 21_000, ..Tx::to(Address::repeat_byte(1), 0) };
    let receipt = world.run(&tx, 0);
    let block = world.ledger.block(world.ledger.head().height).unwrap().unwrap();
    assert_eq!(block.base_fee(), 875_000_000, "an eighth less after an empty block");
    assert_eq!(receipt.effective_gas_price, 875_000_007);
    let paid = U256::from(875_000_007u64) * U256::from(21_000);
    assert_eq!(world.ledger.balance(&key(0).address(), BlockRef::Latest).unwrap(), ether(99) - paid);
    assert_eq!(world.ledger.balance(&PROPOSER, BlockRef::Latest).unwrap(), U256::from(7 * 21_000));
}

#[test]
fn erc20_logs_bloom_and_index() {
    let world = World::new(genesis());
    let receipt = world.run(&Tx::transfer(key(1).address(), 42, 0), 0);
    assert!(receipt.success);
    let log = &receipt.logs[0];
    assert_eq!(log.address, TOKEN);
    assert_eq!(log.topics()[0], keccak256("Transfer(address,address,uint256)"));
    assert_eq!(log.topics()[2], key(1).address().into_word());
    let block = world.ledger.block(world.ledger.head().height).unwrap().unwrap();
    assert_eq!(block.header.logs_bloom, receipt.bloom());
    let slot = balance_slot(key(1).address());
    assert_eq!(world.ledger.storage(&TOKEN, &slot.into(), BlockRef::Latest).unwrap(), U256::from(1_000_042));
}

#[test]
fn reverts_and_lack_of_gas_are_receipts_and_change_nothing_else() {
    let world = World::new(genesis());
    let receipt = world.run(&Tx::transfer(key(1).address(), 2_000_000, 0), 0);
    assert!(!receipt.success && receipt.logs.is_empty());
    let receipt = world.run(&Tx { gas: 25_000, ..Tx::transfer(key(1).address(), 1, 1) }, 0);
    assert!(!receipt.success);
    assert_eq!(receipt.gas_used, 25_000);
    assert_eq!(world.ledger.nonce(&key(0).address(), BlockRef::Latest).unwrap(), 2);
    let slot = balance_slot(key(1).address());
    assert_eq!(world.ledger.storage(&TOKEN, &slot.into(), BlockRef::Latest).unwrap(), U256::from(1_000_000));
}

#[test]
fn contracts_are_created_by_transaction_and_by_create2() {
    use op::*;
    let world = World::new(genesis());
    let receipt = world.run(&Tx::create(world_erc20(), 0), 0);
    assert!(receipt.success);
    assert_eq!(receipt.contract, Some(key(0).address().create(0)));
    let code = world.ledger.code(&receipt.contract.unwrap(), BlockRef::Latest).unwrap();
    assert_eq!(code, artifact(ERC20, "deployedBytecode"));

    // A factory: copies its call data into memory and makes a contract of it with salt 0.
    let factory =
        deployer(&[CALLDATASIZE, PUSH0, PUSH0, CALLDATACOPY, PUSH0, CALLDATASIZE, PUSH0, PUSH0, CREATE2]);
    let factory = world.run(&Tx::create(factory, 1), 0).contract.unwrap();
    let init = deployer(&[PUSH1, 7, PUSH0, SSTORE]);
    let call = Tx { input: init.clone(), ..Tx::to(factory, 2) };
    assert!(world.run(&call, 0).success);
    let made = factory.create2_from_code(B256::ZERO, &init);
    assert_eq!(world.ledger.nonce(&made, BlockRef::Latest).unwrap(), 1);
    assert!(world.run(&Tx::to(made, 3), 0).success);
    assert_eq!(world.ledger.storage(&made, &U256::ZERO, BlockRef::Latest).unwrap(), U256::from(7));
}

fn world_erc20() -> Bytes {
    let mut code = artifact(ERC20, "bytecode").to_vec();
    code.extend_from_slice(&U256::from(1000).to_be_bytes::<32>());
    code.into()
}

/// A contract that is made and destroyed in one transaction is gone (EIP-6780), and can be made anew in the same block.
#[test]
fn selfdestruct_and_creation_anew_in_one_block() {
    use op::*;
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    let destroyed_at_once: Bytes = vec![PUSH1, 9, PUSH0, SSTORE, CALLER, SELFDESTRUCT].into();
    let stays = deployer(&[PUSH1, 7, PUSH0, SSTORE]);
    let factory =
        deployer(&[CALLDATASIZE, PUSH0, PUSH0, CALLDATACOPY, PUSH0, CALLDATASIZE, PUSH0, PUSH0, CREATE2]);
    let factory = {
        let executed = (ours.send(&Tx::create(factory, 0), 0), ours.mine().unwrap());
        theirs.follow(&executed.1);
        ours.receipt(executed.0).contract.unwrap()
    };
    let gone = factory.create2_from_code(B256::ZERO, &destroyed_at_once);
    ours.send(&Tx { input: destroyed_at_once.clone(), ..Tx::to(factory, 1) }, 0);
    ours.send(&Tx { input: destroyed_at_once, ..Tx::to(factory, 2) }, 0);
    ours.send(&Tx { value: U256::from(3), gas: 21_000, ..Tx::to(gone, 3) }, 0);
    ours.send(&Tx { input: stays.clone(), ..Tx::to(factory, 4) }, 0);
    let executed = ours.mine().unwrap();
    assert_eq!(executed.transactions, 4);
    theirs.follow(&executed);
    assert_eq!(ours.ledger.balance(&gone, BlockRef::Latest).unwrap(), U256::from(3));
    assert!(ours.ledger.code(&gone, BlockRef::Latest).unwrap().is_empty());
    assert_eq!(ours.ledger.storage(&gone, &U256::ZERO, BlockRef::Latest).unwrap(), U256::ZERO);
    // And a restart, which rebuilds the state from the diffs, finds the same root.
    let again =
        World::open(genesis(), theirs.store.clone(), std::sync::Arc::new(bletchley_ledger::NoDelegate));
    assert_eq!(again.ledger.head(), ours.ledger.head());
}

/// A slot that one transaction changes and a later one only reads is changed by the block.
#[test]
fn a_slot_written_and_later_only_read_is_kept() {
    use op::*;
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    // With call data: slot 0 = 5. Without: reads slot 0.
    let code =
        deployer(&[CALLDATASIZE, PUSH1, 8, 0x57, PUSH0, SLOAD, POP, 0x00, JUMPDEST, PUSH1, 5, PUSH0, SSTORE]);
    ours.send(&Tx::create(code, 0), 0);
    let executed = ours.mine().unwrap();
    theirs.follow(&executed);
    let contract = key(0).address().create(0);
    ours.send(&Tx { input: vec![1].into(), ..Tx::to(contract, 1) }, 0);
    ours.send(&Tx::to(contract, 2), 0);
    let executed = ours.mine().unwrap();
    theirs.follow(&executed);
    for world in [&ours, &theirs] {
        assert_eq!(world.ledger.storage(&contract, &U256::ZERO, BlockRef::Latest).unwrap(), U256::from(5));
    }
    let again =
        World::open(genesis(), theirs.store.clone(), std::sync::Arc::new(bletchley_ledger::NoDelegate));
    assert_eq!(again.ledger.storage(&contract, &U256::ZERO, BlockRef::Latest).unwrap(), U256::from(5));
}

#[test]
fn a_key_can_delegate_to_code_and_still_send() {
    use op::*;
    let (ours, theirs) = (World::new(genesis()), World::new(genesis()));
    let code = deployer(&[PUSH1, 5, PUSH0, SSTORE]);
    let target = {
        let hash = ours.send(&Tx::create(code, 0), 0);
        theirs.follow(&ours.mine().unwrap());
        ours.receipt(hash).contract.unwrap()
    };
    let owner = key(4).address();
    let mut wrong = authorize(&key(5), target, 0);
    wrong = alloy_eips::eip7702::SignedAuthorization::new_unchecked(
        wrong.inner().clone(),
        9,
        wrong.r(),
        wrong.s(),
    );
    let tx = Tx { kind: 4, authorizations: vec![authorize(&key(4), target, 0), wrong], ..Tx::to(owner, 1) };
    let hash = ours.send(&tx, 0);
    let executed = ours.mine().unwrap();
    theirs.follow(&executed);
    assert!(ours.receipt(hash).success);
    let mut designator = vec![0xef, 0x01, 0x00];
    designator.extend_from_slice(target.as_slice());
    assert_eq!(theirs.ledger.code(&owner, BlockRef::Latest).unwrap(), Bytes::from(designator));
    assert_eq!(theirs.ledger.storage(&owner, &U256::ZERO, BlockRef::Latest).unwrap(), U256::from(5));
    assert!(
        ours.ledger.code(&key(5).address(), BlockRef::Latest).unwrap().is_empty(),
        "invalid parity authorizes nobody"
    );
    // EIP-3607 makes an exception for delegations.
    let receipt = ours.run(&Tx { value: U256::from(1), ..Tx::to(Address::repeat_byte(2), 1) }, 4);
    assert!(receipt.success);
    // The stored block gives the same authorities back.
    let again =
        World::open(genesis(), theirs.store.clone(), std::sync::Arc::new(bletchley_ledger::NoDelegate));
    assert_eq!(again.ledger.code(&owner, BlockRef::Latest).unwrap().len(), 23);
}

#[test]
fn the_block_is_cut_by_gas() {
    let small = bletchley_evm::Genesis { gas_limit: 1_000_000, ..genesis() };
    let world = World::new(small);
    for n in 0..10 {
        world.send(&Tx { gas: 900_000, ..Tx::transfer(key(0).address(), 1, 0) }, n);
    }
    let first = world.mine().unwrap();
    assert!(first.transactions >= 2 && first.transactions < 10, "{}", first.transactions);
    let mut all = first.transactions;
    while let Some(next) = world.mine() {
        all += next.transactions;
    }
    assert_eq!(all, 10);
}
