//! Reads: calls, estimates, access lists, traces, logs, fees, proofs, history.

use crate::world::*;
use alloy_primitives::{Address, Bytes, U256, keccak256};
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest, state::StateOverride};
use alloy_rpc_types_trace::geth::{GethDebugTracingCallOptions, GethDebugTracingOptions};
use bletchley_evm::{
    BlockRef, CallEnd, CallError, LogQuery, LogsError, LookupError, TraceError, revert_reason,
};
use bletchley_primitives::Height;
use serde_json::json;

fn request(to: Address, input: Bytes) -> TransactionRequest {
    TransactionRequest { to: Some(to.into()), input: input.into(), ..Default::default() }
}

fn balance_of(holder: Address) -> Bytes {
    let mut input = alloy_primitives::hex!("70a08231").to_vec();
    input.extend_from_slice(holder.into_word().as_slice());
    input.into()
}

fn call_balance(world: &World, holder: Address, at: BlockRef) -> U256 {
    let outcome = world.ledger.call(&request(TOKEN, balance_of(holder)), at, None, None).unwrap();
    U256::from_be_slice(&outcome.into_output().unwrap())
}

#[test]
fn calls_see_the_block_that_is_meant() {
    let world = World::new(genesis());
    for nonce in 0..3 {
        world.run(&Tx::transfer(key(1).address(), 10, nonce), 0);
    }
    let holder = key(1).address();
    for (height, expected) in [(0, 1_000_000), (1, 1_000_010), (3, 1_000_030)] {
        assert_eq!(call_balance(&world, holder, BlockRef::Height(Height(height))), U256::from(expected));
    }
    let hash = world.ledger.block(Height(2)).unwrap().unwrap().hash;
    assert_eq!(call_balance(&world, holder, BlockRef::Hash(hash)), U256::from(1_000_020));
    assert_eq!(call_balance(&world, holder, BlockRef::Pending), U256::from(1_000_030));
    let above =
        world.ledger.call(&request(TOKEN, balance_of(holder)), BlockRef::Height(Height(9)), None, None);
    assert!(matches!(above, Err(CallError::Lookup(LookupError::NoBlock(_)))));
}

#[test]
fn overrides_change_what_a_call_sees_and_nothing_else() {
    let world = World::new(genesis());
    let holder = Address::repeat_byte(0x66);
    let overrides: StateOverride = serde_json::from_value(json!({
        TOKEN.to_string(): {"stateDiff": {balance_slot(holder).to_string(): format!("{:064x}", 77)}}
    }))
    .unwrap();
    let call = request(TOKEN, balance_of(holder));
    let outcome = world.ledger.call(&call, BlockRef::Latest, Some(overrides), None).unwrap();
    assert_eq!(outcome.end, CallEnd::Returned(U256::from(77).to_be_bytes::<32>().into()));
    assert_eq!(call_balance(&world, holder, BlockRef::Latest), U256::ZERO);
    let emptied: StateOverride = serde_json::from_value(json!({TOKEN.to_string(): {"state": {}}})).unwrap();
    let known = request(TOKEN, balance_of(key(1).address()));
    let outcome = world.ledger.call(&known, BlockRef::Latest, Some(emptied), None).unwrap();
    assert_eq!(outcome.end, CallEnd::Returned(U256::ZERO.to_be_bytes::<32>().into()));
    // Code and the block's surroundings: returns NUMBER.
    use op::*;
    let code: Bytes = vec![NUMBER, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN].into();
    let overrides: StateOverride =
        serde_json::from_value(json!({holder.to_string(): {"code": code.to_string()}})).unwrap();
    let block = BlockOverrides { number: Some(U256::from(999)), ..Default::default() };
    let outcome = world
        .ledger
        .call(&request(holder, Bytes::new()), BlockRef::Latest, Some(overrides), Some(&block))
        .unwrap();
    assert_eq!(outcome.end, CallEnd::Returned(U256::from(999).to_be_bytes::<32>().into()));
    let both: StateOverride =
        serde_json::from_value(json!({holder.to_string(): {"state": {}, "stateDiff": {}}})).unwrap();
    let refused = world.ledger.call(&known, BlockRef::Latest, Some(both), None);
    assert!(matches!(refused, Err(CallError::Override(_))));
}

#[test]
fn failures_say_why() {
    let world = World::new(genesis());
    let failing = TransactionRequest {
        from: Some(key(0).address()),
        ..request(TOKEN, Tx::transfer(key(1).address(), 9_000_000, 0).input)
    };
    let outcome = world.ledger.call(&failing, BlockRef::Latest, None, None).unwrap();
    let CallEnd::Reverted(data) = outcome.end else { panic!("{outcome:?}") };
    assert_eq!(data[..4], keccak256("InsufficientBalance(address,uint256,uint256)")[..4]);
    assert!(matches!(
        world.ledger.estimate_gas(&failing, BlockRef::Latest, None, None),
        Err(CallError::Reverted(_))
    ));
    let mut error = alloy_primitives::hex!("08c379a0").to_vec();
    error.extend_from_slice(&U256::from(32).to_be_bytes::<32>());
    error.extend_from_slice(&U256::from(3).to_be_bytes::<32>());
    error.extend_from_slice(b"bad");
    error.extend_from_slice(&[0; 29]);
    assert_eq!(revert_reason(&error).unwrap(), "bad");
    assert_eq!(CallError::Reverted(error.into()).to_string(), "execution reverted: bad");
    let poor = TransactionRequest {
        from: Some(Address::repeat_byte(0x99)),
        value: Some(U256::from(1)),
        ..request(TOKEN, Bytes::new())
    };
    let refused = world.ledger.call(&poor, BlockRef::Latest, None, None).unwrap_err().to_string();
    assert!(refused.contains("insufficient funds for gas * price + value"), "{refused}");
    let two = TransactionRequest { gas_price: Some(1), max_fee_per_gas: Some(1), ..poor };
    assert!(matches!(world.ledger.call(&two, BlockRef::Latest, None, None), Err(CallError::TwoPrices)));
}

#[test]
fn estimates_are_tight_and_suffice() {
    use op::*;
    let world = World::new(genesis());
    let from = key(0).address();
    let plain = TransactionRequest {
        from: Some(from),
        value: Some(U256::from(1)),
        ..request(Address::repeat_byte(1), Bytes::new())
    };
    assert_eq!(world.ledger.estimate_gas(&plain, BlockRef::Latest, None, None).unwrap(), 21_000);

    // A contract that passes on all its gas and needs 40,000 of it inside: 63/64 matters.
    let mut inner =
        vec![GAS, PUSH1, 0, 0x61, 0x9c, 0x40, GAS, 0x11, PUSH1, 14, 0x57, PUSH0, PUSH0, REVERT, JUMPDEST];
    inner[10] = 13;
    inner = vec![0x61, 0x9c, 0x40, GAS, 0x11, PUSH1, 11, 0x57, PUSH0, PUSH0, REVERT, JUMPDEST];
    let inner = world.run(&Tx::create(deployer(&inner), 0), 0).contract.unwrap();
    let mut outer = vec![PUSH0, PUSH0, PUSH0, PUSH0, PUSH0, PUSH20];
    outer.extend_from_slice(inner.as_slice());
    outer.extend_from_slice(&[GAS, 0xf1, PUSH1, 37, 0x57, PUSH0, PUSH0, REVERT, JUMPDEST]);
    let jumpdest = u8::try_from(outer.len() - 1).unwrap();
    let position = outer.iter().rposition(|byte| *byte == 37).unwrap();
    outer[position] = jumpdest;
    let outer = world.run(&Tx::create(deployer(&outer), 1), 0).contract.unwrap();

    let erc20 = Tx::transfer(Address::repeat_byte(7), 5, 0).input;
    for (nonce, (to, input)) in [(TOKEN, erc20), (outer, Bytes::new())].into_iter().enumerate() {
        let request = TransactionRequest { from: Some(from), ..request(to, input.clone()) };
        let gas = world.ledger.estimate_gas(&request, BlockRef::Latest, None, None).unwrap();
        let with = |gas: u64| {
            let request = TransactionRequest { gas: Some(gas), ..request.clone() };
            let outcome = world.ledger.call(&request, BlockRef::Latest, None, None).unwrap();
            matches!(outcome.end, CallEnd::Returned(_))
        };
        assert!(with(gas), "{gas} suffices");
        assert!(!with(gas - gas * 16 / 1000), "1.6 % less than {gas} does not");
        let nonce = 2 + nonce as u64;
        assert!(world.run(&Tx { gas, input, ..Tx::to(to, nonce) }, 0).success);
    }
    let create =
        TransactionRequest { from: Some(from), input: deployer(&[0x00]).into(), ..Default::default() };
    let gas = world.ledger.estimate_gas(&create, BlockRef::Latest, None, None).unwrap();
    assert!(world.run(&Tx { gas, ..Tx::create(deployer(&[0x00]), 4) }, 0).success);
    let endless: StateOverride =
        serde_json::from_value(json!({Address::repeat_byte(8).to_string(): {"code": "0x5b5f56"}})).unwrap();
    let request = request(Address::repeat_byte(8), Bytes::new());
    let refused = world.ledger.estimate_gas(&request, BlockRef::Latest, Some(endless), None).unwrap_err();
    assert!(matches!(refused, CallError::Allowance(_)), "{refused}");
    let _ = (JUMP, TIMESTAMP, ADD);
}

#[test]
fn access_lists_name_the_slots() {
    let world = World::new(genesis());
    let request = TransactionRequest {
        from: Some(key(0).address()),
        ..request(TOKEN, Tx::transfer(key(1).address(), 5, 0).input)
    };
    let outcome = world.ledger.create_access_list(&request, BlockRef::Latest, None).unwrap();
    assert_eq!(outcome.error, None);
    let item = outcome.access_list.0.iter().find(|item| item.address == TOKEN).unwrap();
    for holder in [key(0).address(), key(1).address()] {
        assert!(item.storage_keys.contains(&balance_slot(holder)));
    }
}

fn tracer(value: serde_json::Value) -> GethDebugTracingOptions {
    serde_json::from_value(value).unwrap()
}

#[test]
fn traces_repeat_what_happened() {
    let world = World::new(genesis());
    world.send(&Tx::transfer(key(1).address(), 1, 0), 0);
    let hash = world.send(&Tx::transfer(key(2).address(), 2, 1), 0);
    world.mine().unwrap();
    let trace =
        |options| serde_json::to_value(world.ledger.trace_transaction(hash, options).unwrap()).unwrap();

    let call = trace(tracer(json!({"tracer": "callTracer", "tracerConfig": {"withLog": true}})));
    assert_eq!(call["type"], "CALL");
    assert_eq!(call["logs"].as_array().unwrap().len(), 1);
    let gas_used = world.receipt(hash).gas_used;
    assert_eq!(call["gasUsed"], format!("{gas_used:#x}"));

    let steps = trace(tracer(json!({})));
    assert_eq!(steps["failed"], false);
    assert_eq!(steps["gas"], gas_used);
    let ops: Vec<&str> =
        steps["structLogs"].as_array().unwrap().iter().map(|s| s["op"].as_str().unwrap()).collect();
    assert_eq!(ops.iter().filter(|op| **op == "SSTORE").count(), 2);

    let prestate = trace(tracer(json!({"tracer": "prestateTracer"})));
    let sender = key(0).address().to_string().to_lowercase();
    assert_eq!(prestate[&sender]["nonce"], 1, "after the block's first transaction");
    let slot = balance_slot(key(0).address()).to_string();
    let token = TOKEN.to_string().to_lowercase();
    assert_eq!(prestate[&token]["storage"][&slot], format!("0x{:064x}", 999_999));

    let diff = trace(tracer(json!({"tracer": "prestateTracer", "tracerConfig": {"diffMode": true}})));
    assert_eq!(diff["post"][&token]["storage"][&slot], format!("0x{:064x}", 999_997));
    assert_eq!(diff["post"][&sender]["nonce"], 2);

    let four = trace(tracer(json!({"tracer": "4byteTracer"})));
    assert_eq!(four["0xa9059cbb-64"], 1);
    assert_eq!(trace(tracer(json!({"tracer": "noopTracer"}))), json!({}));
    assert!(trace(tracer(json!({"tracer": "flatCallTracer"}))).is_array());
    assert!(matches!(
        world.ledger.trace_transaction(hash, tracer(json!({"tracer": "{step: function() {}}"}))),
        Err(TraceError::Tracer(_))
    ));
    let unknown = world.ledger.trace_transaction(keccak256("x"), tracer(json!({})));
    assert!(matches!(unknown, Err(TraceError::NoTransaction)));

    let block = world.ledger.trace_block(BlockRef::Latest, tracer(json!({"tracer": "callTracer"}))).unwrap();
    assert_eq!(block.len(), 2);
    assert_eq!(block[1].tx_hash(), Some(hash));
    assert!(matches!(
        world.ledger.trace_block(BlockRef::Earliest, tracer(json!({}))),
        Err(TraceError::Genesis)
    ));
}

#[test]
fn calls_can_be_traced_with_overrides() {
    let world = World::new(genesis());
    let holder = Address::repeat_byte(0x66);
    let options: GethDebugTracingCallOptions = serde_json::from_value(json!({
        "tracer": "callTracer",
        "stateOverrides": {TOKEN.to_string(): {"stateDiff": {balance_slot(holder).to_string(): format!("0x{:064x}", 77)}}}
    }))
    .unwrap();
    let trace =
        world.ledger.trace_call(&request(TOKEN, balance_of(holder)), BlockRef::Latest, options).unwrap();
    let trace = serde_json::to_value(trace).unwrap();
    assert_eq!(trace["output"], format!("0x{:064x}", 77));
}

#[test]
fn logs_are_found_by_address_topic_and_range() {
    let world = World::new(genesis());
    for nonce in 0..5 {
        world.send(&Tx::transfer(key(1 + (nonce % 2) as u8).address(), 1, nonce), 0);
        world.send(&Tx::transfer(key(9).address(), 1, nonce), 3);
        world.mine().unwrap();
    }
    let all = LogQuery { from: Height(0), to: Height(99), ..Default::default() };
    let found = world.ledger.logs(&all).unwrap();
    assert_eq!(found.len(), 10);
    assert_eq!((found[1].log_index, found[1].tx_index, found[1].height), (1, 1, Height(1)));
    let to_one = LogQuery {
        topics: [vec![], vec![], vec![key(1).address().into_word()], vec![]],
        addresses: vec![TOKEN],
        ..all.clone()
    };
    let heights: Vec<u64> = world.ledger.logs(&to_one).unwrap().iter().map(|log| log.height.0).collect();
    assert_eq!(heights, [1, 3, 5]);
    let range = LogQuery { from: Height(2), to: Height(3), ..to_one.clone() };
    assert_eq!(world.ledger.logs(&range).unwrap().len(), 1);
    let elsewhere = LogQuery { addresses: vec![ASKER], ..all.clone() };
    assert!(world.ledger.logs(&elsewhere).unwrap().is_empty());
    let backwards = LogQuery { from: Height(3), to: Height(2), ..all.clone() };
    assert!(matches!(world.ledger.logs(&backwards), Err(LogsError::Range { .. })));
    let greedy = LogQuery { addresses: vec![TOKEN; 1001], ..all };
    assert!(matches!(world.ledger.logs(&greedy), Err(LogsError::TooManyAlternatives(1001))));
}

#[test]
fn fees_follow_the_base_fee_and_what_others_paid() {
    let world = World::new(genesis());
    assert_eq!((world.ledger.gas_price(), world.ledger.max_priority_fee_per_gas()), (0, 0));
    let world = World::new(genesis_with_fees());
    assert_eq!(world.ledger.gas_price(), 875_000_000);
    for nonce in 0..4 {
        world.run(&Tx { tip: 5, ..Tx::transfer(key(1).address(), 1, nonce) }, 0);
    }
    assert_eq!(world.ledger.max_priority_fee_per_gas(), 5);
    let history = world.ledger.fee_history(3, BlockRef::Latest, &[0.0, 50.0]).unwrap();
    assert_eq!(history.oldest_block, 2);
    assert_eq!(history.base_fee_per_gas.len(), 4);
    assert_eq!(history.reward.unwrap(), vec![vec![5, 5]; 3]);
    assert!(history.gas_used_ratio.iter().all(|ratio| *ratio > 0.0));
    assert!(world.ledger.fee_history(3, BlockRef::Latest, &[50.0, 10.0]).is_err());
    assert!(world.ledger.fee_history(3, BlockRef::Latest, &[f64::NAN]).is_err());
    assert_eq!(world.ledger.fee_history(9999, BlockRef::Latest, &[]).unwrap().oldest_block, 0);
}

#[test]
fn proofs_verify_against_the_header() {
    use alloy_trie::{Nibbles, proof::verify_proof};
    let world = World::new(genesis());
    for nonce in 0..3 {
        world.run(&Tx::transfer(key(1).address(), 10, nonce), 0);
    }
    for height in [1, 3] {
        let slot: U256 = balance_slot(key(1).address()).into();
        let proof = world.ledger.proof(TOKEN, &[slot], BlockRef::Height(Height(height))).unwrap();
        let header = world.ledger.header(Height(height)).unwrap().unwrap();
        let account = alloy_trie::TrieAccount {
            nonce: proof.nonce,
            balance: proof.balance,
            storage_root: proof.storage_root,
            code_hash: proof.code_hash,
        };
        let key = Nibbles::unpack(keccak256(TOKEN));
        verify_proof(header.state_root, key, Some(alloy_rlp::encode(account)), &proof.proof).unwrap();
        let value = U256::from(1_000_000 + 10 * height);
        let key = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
        verify_proof(proof.storage_root, key, Some(alloy_rlp::encode(value)), &proof.storage[0].proof)
            .unwrap();
    }
}

#[test]
fn state_beyond_the_window_is_refused_with_advice_unless_archived() {
    for archive in [false, true] {
        let world = World::new(bletchley_evm::Genesis { archive, ..genesis() });
        for _ in 0..200 {
            world.mine_empty();
        }
        let old = world.ledger.balance(&key(0).address(), BlockRef::Height(Height(3)));
        if archive {
            assert_eq!(old.unwrap(), ether(100));
        } else {
            assert!(matches!(old, Err(LookupError::History(_))));
        }
    }
}
