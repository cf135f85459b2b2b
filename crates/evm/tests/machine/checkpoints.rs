//! `CheckpointVerifier.sol` on this machine: real certificates of this machine's own blocks, and forged ones.

use crate::world::*;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_sol_types::{SolCall, SolError, SolValue, sol};
use bletchley_crypto::SecretKey;
use bletchley_evm::{BlockRef, CallEnd, Included, StateProof, header_link};
use bletchley_ledger::{Certificate, Checkpoint, Section, ValidatorSet};
use bletchley_primitives::{Height, Signature};

const VERIFIER: &str = include_str!("../../../../contracts/artifacts/CheckpointVerifier.json");

mod abi {
    use super::sol;
    sol! {
        struct Checkpoint {
            bytes32 ledger;
            uint64 height;
            bytes32 blockHash;
            bytes32 state;
            bytes32 validators;
            bytes32 next;
        }
        function height() external view returns (uint64 newest);
        function validatorsDigest() external view returns (bytes32 digest);
        function certifiedAt(bytes32 blockHash) external view returns (uint64 at);
        function validators() external view returns (address[] set);
        function submit(Checkpoint checkpoint, bytes[] signatures, address[] nextSet) external;
        function digestOf(Checkpoint checkpoint) external pure returns (bytes32 digest);
        function transactionAt(bytes[] headers, uint256 index, bytes[] nodes) external view returns (bytes item);
        function receiptAt(bytes[] headers, uint256 index, bytes[] nodes) external view returns (bytes item);
        function storageAt(bytes[] headers, address account, bytes32 slot, bytes[] accountNodes, bytes[] slotNodes) external view returns (uint256 value);
        function accountAt(bytes[] headers, address account, bytes[] nodes) external view returns (uint256 nonce, uint256 balance, bytes32 storageRoot, bytes32 codeHash);
        error BadSet();
        error WrongLedger(bytes32 found);
        error NotNewer(uint64 found, uint64 newest);
        error WrongSet(bytes32 found, bytes32 expected);
        error BadSignature(uint256 position);
        error NoQuorum(uint256 found, uint256 needed);
        error NotCertified(bytes32 blockHash);
        error NotProved();
        error BadNode(uint256 position);
        error Malformed();
    }
}

/// The order of secp256k1.
const ORDER: U256 =
    U256::from_limbs([0xbfd2_5e8c_d036_4141, 0xbaae_dce6_af48_a03b, 0xffff_ffff_ffff_fffe, u64::MAX]);

/// A ledger that is followed, its validators, and the ledger with the contract that follows it.
struct Following {
    followed: World,
    keys: Vec<SecretKey>,
    here: World,
    verifier: Address,
}

fn validator(n: u8) -> SecretKey {
    SecretKey::from_seed(&[b'v', n])
}

fn set_of(keys: &[SecretKey]) -> ValidatorSet {
    ValidatorSet::new(keys.iter().map(SecretKey::address))
}

impl Following {
    fn new() -> Self {
        let (followed, here) = (World::new(genesis()), World::new(genesis()));
        let keys: Vec<SecretKey> = (0..4).map(validator).collect();
        let mut code = artifact(VERIFIER, "bytecode").to_vec();
        let arguments = (followed.ledger.id().0, set_of(&keys).members().to_vec());
        code.extend_from_slice(&arguments.abi_encode_params());
        let receipt = here.run(&Tx { gas: 8_000_000, ..Tx::create(code.into(), 0) }, 0);
        assert!(receipt.success);
        Self { followed, keys, here, verifier: receipt.contract.unwrap() }
    }

    fn header(&self, height: u64) -> Bytes {
        self.followed.store.section(Height(height), Section::Header).unwrap().unwrap()
    }

    fn checkpoint(&self, height: u64, next: &ValidatorSet) -> Checkpoint {
        let link = header_link(&self.header(height)).unwrap();
        let (ledger, validators) = (self.followed.ledger.id(), set_of(&self.keys).digest());
        Checkpoint {
            ledger,
            height: link.height,
            block: link.hash,
            state: link.state,
            validators,
            next: next.digest(),
        }
    }

    /// A certificate by some of the validators, which the verifier in Rust accepts as well.
    fn certificate(&self, height: u64, signers: &[usize], next: &ValidatorSet) -> Certificate {
        let checkpoint = self.checkpoint(height, next);
        let signatures = signers.iter().map(|n| checkpoint.sign(&self.keys[*n])).collect();
        Certificate { checkpoint, signatures }
    }

    fn good(&self, height: u64) -> Certificate {
        let certificate = self.certificate(height, &[3, 0, 2], &set_of(&self.keys));
        certificate.verify(&set_of(&self.keys)).unwrap();
        certificate
    }

    fn view(&self, input: Vec<u8>) -> CallEnd {
        let request = TransactionRequest {
            to: Some(self.verifier.into()),
            input: Bytes::from(input).into(),
            ..Default::default()
        };
        self.here.ledger.call(&request, BlockRef::Latest, None, None).unwrap().end
    }

    fn ask<C: SolCall>(&self, call: &C) -> C::Return {
        match self.view(call.abi_encode()) {
            CallEnd::Returned(output) => C::abi_decode_returns(&output).unwrap(),
            other => panic!("{}: {other:?}", C::SIGNATURE),
        }
    }

    /// What a submission would come to.
    fn refusal(&self, certificate: &Certificate, next: &[Address]) -> Bytes {
        match self.view(submission(certificate, next)) {
            CallEnd::Reverted(reason) => reason,
            other => panic!("it should be refused: {other:?}"),
        }
    }

    fn submit(&self, certificate: &Certificate, next: &[Address]) {
        let nonce = self.here.ledger.pool_nonce(&key(0).address());
        let input = submission(certificate, next).into();
        let receipt = self.here.run(&Tx { input, gas: 2_000_000, ..Tx::to(self.verifier, nonce) }, 0);
        assert!(receipt.success, "submission of block {}", certificate.checkpoint.height);
    }
}

fn shown(checkpoint: &Checkpoint) -> abi::Checkpoint {
    abi::Checkpoint {
        ledger: checkpoint.ledger.0,
        height: checkpoint.height.0,
        blockHash: checkpoint.block.0,
        state: checkpoint.state,
        validators: checkpoint.validators,
        next: checkpoint.next,
    }
}

fn submission(certificate: &Certificate, next: &[Address]) -> Vec<u8> {
    let signatures =
        certificate.signatures.iter().map(|signature| Bytes::copy_from_slice(&signature.0)).collect();
    let checkpoint = shown(&certificate.checkpoint);
    abi::submitCall { checkpoint, signatures, nextSet: next.to_vec() }.abi_encode()
}

#[test]
fn certificates_are_taken_over_and_digests_are_those_of_rust() {
    let world = Following::new();
    assert_eq!(world.ask(&abi::validatorsDigestCall {}), set_of(&world.keys).digest());
    assert_eq!(world.ask(&abi::validatorsCall {}), set_of(&world.keys).members());
    for _ in 0..3 {
        world.followed.mine_empty();
    }
    for height in [1, 3] {
        let good = world.good(height);
        let digest = world.ask(&abi::digestOfCall { checkpoint: shown(&good.checkpoint) });
        assert_eq!(digest, good.checkpoint.signing_digest());
        world.submit(&good, &[]);
        assert_eq!(world.ask(&abi::heightCall {}), height);
        assert_eq!(world.ask(&abi::certifiedAtCall { blockHash: good.checkpoint.block.0 }), height);
        assert_eq!(good.checkpoint.height.0, height);
    }
    let late = abi::NotNewer { found: 2, newest: 3 }.abi_encode();
    assert_eq!(world.refusal(&world.good(2), &[]), late);
}

#[test]
fn forged_certificates_are_refused() {
    let world = Following::new();
    world.followed.mine_empty();
    let (good, set) = (world.good(1), set_of(&world.keys));
    let bad = |position: u64| abi::BadSignature { position: U256::from(position) }.abi_encode();
    let few = world.certificate(1, &[0, 1], &set);
    let needed = abi::NoQuorum { found: U256::from(2), needed: U256::from(3) }.abi_encode();
    assert_eq!(world.refusal(&few, &[]), needed);
    assert_eq!(world.refusal(&world.certificate(1, &[0, 1, 0], &set), &[]), bad(2), "a repeated signer");
    let mut forged = good.clone();
    forged.signatures[1] = good.checkpoint.sign(&validator(9));
    assert_eq!(world.refusal(&forged, &[]), bad(1), "a stranger");
    let mut forged = good.clone();
    forged.checkpoint.ledger.0 = B256::repeat_byte(5);
    let other = abi::WrongLedger { found: B256::repeat_byte(5) }.abi_encode();
    assert_eq!(world.refusal(&forged, &[]), other);
    let strangers: Vec<SecretKey> = (10..14).map(validator).collect();
    let checkpoint = Checkpoint { validators: set_of(&strangers).digest(), ..good.checkpoint };
    let signatures = strangers.iter().map(|key| checkpoint.sign(key)).collect();
    let wrong = abi::WrongSet { found: checkpoint.validators, expected: set.digest() }.abi_encode();
    assert_eq!(world.refusal(&Certificate { checkpoint, signatures }, &[]), wrong);
    // A changed field: the signatures are somebody else's then.
    let mut forged = good.clone();
    forged.checkpoint.state = B256::repeat_byte(6);
    assert_eq!(world.refusal(&forged, &[]), bad(0));
    // The same signature with s in the upper half, and the parity turned.
    let mut forged = good.clone();
    let mut bytes = good.signatures[0].0;
    let s = U256::from_be_slice(&bytes[32..64]);
    bytes[32..64].copy_from_slice(&(ORDER - s).to_be_bytes::<32>());
    bytes[64] ^= 1;
    forged.signatures[0] = Signature(bytes);
    assert_eq!(world.refusal(&forged, &[]), bad(0), "high s");
    let mut forged = good.clone();
    forged.signatures[2].0[64] = 27;
    assert_eq!(world.refusal(&forged, &[]), bad(2), "v counts from 0");
    let mut forged = good.clone();
    forged.signatures[2].0[..64].fill(0);
    assert_eq!(world.refusal(&forged, &[]), bad(2));
    assert_eq!(world.refusal(&good, set.members()), abi::BadSet {}.abi_encode(), "a set without a change");
    world.submit(&good, &[]);
}

#[test]
fn validators_change_where_the_old_ones_say_so() {
    let mut world = Following::new();
    world.followed.mine_empty();
    world.followed.mine_empty();
    world.followed.mine_empty();
    let new: Vec<SecretKey> = (2..7).map(validator).collect();
    let next = set_of(&new);
    let change = world.certificate(2, &[0, 1, 3], &next);
    let wrong = set_of(&new[1..]);
    let refused = abi::WrongSet { found: wrong.digest(), expected: next.digest() }.abi_encode();
    assert_eq!(world.refusal(&change, wrong.members()), refused);
    let missing =
        abi::WrongSet { found: ValidatorSet::new([]).digest(), expected: next.digest() }.abi_encode();
    assert_eq!(world.refusal(&change, &[]), missing);
    let mut disordered = next.members().to_vec();
    disordered.swap(0, 1);
    assert!(!world.refusal(&change, &disordered).is_empty());
    world.submit(&change, next.members());
    assert_eq!(world.ask(&abi::validatorsCall {}), next.members());
    // The old ones are heard no more.
    let old = world.good(3);
    let refused = abi::WrongSet { found: old.checkpoint.validators, expected: next.digest() }.abi_encode();
    assert_eq!(world.refusal(&old, &[]), refused);
    world.keys = new;
    let few = world.certificate(3, &[0, 1, 2], &next);
    let needed = abi::NoQuorum { found: U256::from(3), needed: U256::from(4) }.abi_encode();
    assert_eq!(world.refusal(&few, &[]), needed);
    world.submit(&world.certificate(3, &[4, 1, 2, 0], &next), &[]);
    assert_eq!(world.ask(&abi::heightCall {}), 3);
}

#[test]
fn transactions_receipts_and_state_are_proved_under_certified_blocks() {
    let world = Following::new();
    // 130 transactions: indices of one byte, of two, and zero.
    let hashes: Vec<B256> = (0..13u64)
        .flat_map(|nonce| (0..10u8).map(move |from| (nonce, from)))
        .map(|(nonce, from)| world.followed.send(&Tx::transfer(key(9).address(), 3, nonce), from))
        .collect();
    world.followed.mine().unwrap();
    let slot = balance_slot(key(9).address());
    let state: StateProof =
        world.followed.ledger.proof(TOKEN, &[slot.into()], BlockRef::Latest).unwrap().into();
    world.followed.mine_empty();
    world.followed.mine_empty();
    let headers: Vec<Bytes> = (1..=3).map(|height| world.header(height)).collect();
    let prove = |n: usize, list| world.followed.ledger.prove_inclusion(hashes[n], list).unwrap().unwrap().1;
    let first = prove(0, Included::Transaction);
    let call = |headers: &[Bytes], index: u64, nodes: &[Bytes]| {
        abi::transactionAtCall { headers: headers.to_vec(), index: U256::from(index), nodes: nodes.to_vec() }
            .abi_encode()
    };
    let early = world.view(call(&headers, first.index, &first.nodes));
    let not_yet = abi::NotCertified { blockHash: keccak256(&headers[2]) }.abi_encode();
    assert_eq!(early, CallEnd::Reverted(not_yet.into()));
    world.submit(&world.good(3), &[]);
    for n in [0, 1, 127, 128, 129] {
        let proof = prove(n, Included::Transaction);
        let (headers, index) = (headers.clone(), U256::from(proof.index));
        let item = world.ask(&abi::transactionAtCall { headers: headers.clone(), index, nodes: proof.nodes });
        assert_eq!((item.clone(), keccak256(&item)), (proof.item, hashes[n]));
        let proof = prove(n, Included::Receipt);
        let item = world.ask(&abi::receiptAtCall { headers, index, nodes: proof.nodes });
        assert_eq!(item, proof.item);
    }
    let nodes: Vec<Bytes> = state.nodes.clone();
    let value = world.ask(&abi::storageAtCall {
        headers: headers.clone(),
        account: TOKEN,
        slot,
        accountNodes: nodes.clone(),
        slotNodes: state.slots[0].nodes.clone(),
    });
    assert_eq!((value, value), (state.slots[0].value, U256::from(1_000_000 + 3 * 117)));
    let account = world.ask(&abi::accountAtCall { headers: headers.clone(), account: TOKEN, nodes });
    assert_eq!((account.nonce, account.codeHash), (U256::from(state.nonce), state.code_hash));
    assert_eq!((account.balance, account.storageRoot), (state.balance, state.storage_root));

    let refused =
        |input: Vec<u8>, reason: Vec<u8>| assert_eq!(world.view(input), CallEnd::Reverted(reason.into()));
    refused(call(&headers, 500, &first.nodes), abi::NotProved {}.abi_encode());
    refused(call(&headers, 5, &first.nodes), abi::BadNode { position: U256::from(1) }.abi_encode());
    refused(
        call(&headers, first.index, &first.nodes[..1]),
        abi::BadNode { position: U256::from(1) }.abi_encode(),
    );
    let gap = [headers[0].clone(), headers[2].clone()];
    refused(
        call(&gap, first.index, &first.nodes),
        abi::NotCertified { blockHash: keccak256(&headers[0]) }.abi_encode(),
    );
    refused(call(&[], first.index, &first.nodes), abi::NotCertified { blockHash: B256::ZERO }.abi_encode());
    let junk = Bytes::from_static(b"\xc1\x80");
    refused(
        call(std::slice::from_ref(&junk), 0, &[]),
        abi::NotCertified { blockHash: keccak256(&junk) }.abi_encode(),
    );
}
