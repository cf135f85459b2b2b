//! Four members over a network that loses, repeats and reorders, with a seed; a member that lies; changes of validators.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use bletchley_consensus::Validator;
use bletchley_crypto::SecretKey;
use bletchley_ledger::{Block, BlockMeta, Finality, FinalityProof, FinalityProofError, StoredBlock};
use bletchley_primitives::{Address, B256, BlockHash, TimestampMs};
use bletchley_storage::MemoryStore;
use std::collections::VecDeque;

const LEDGER: LedgerId = LedgerId(B256::repeat_byte(7));
const EPOCH_BLOCKS: u64 = 10;
const MEMBERS: usize = 5;

fn key(member: usize) -> SecretKey {
    SecretKey::from_seed(&[b'm', member as u8])
}

fn peer(member: usize) -> PeerId {
    PeerId(B256::with_last_byte(member as u8 + 1))
}

/// Members 0 to 3 validate in the first two epochs, 1 to 4 from then on.
struct Changing;

impl Schedule for Changing {
    fn epoch_blocks(&self) -> u64 {
        EPOCH_BLOCKS
    }

    fn validators(&self, epoch: u64) -> Option<Arc<Validators>> {
        let members = if epoch < 2 { 0..4 } else { 1..5 };
        let validator =
            |n: usize| Validator { name: format!("member-{n}"), peer: peer(n), address: key(n).address() };
        Some(Arc::new(Validators::new(members.map(validator))))
    }

    fn change_pending(&self) -> bool {
        false
    }
}

type Mail = VecDeque<(usize, To, Bytes)>;

struct Wire {
    from: usize,
    mail: Arc<Mutex<Mail>>,
}

impl Post for Wire {
    fn send(&self, to: To, message: Bytes) -> bool {
        self.mail.lock().push_back((self.from, to, message));
        true
    }
}

struct World {
    members: Vec<Option<Arc<Certificates>>>,
    stores: Vec<SharedStore>,
    mail: Arc<Mutex<Mail>>,
    /// xorshift64*
    random: u64,
    now_ms: u64,
}

fn header(height: u64, fork: u8) -> bletchley_token::Header {
    let parent = if height == 0 { BlockHash::default() } else { header(height - 1, 0).hash() };
    bletchley_token::Header {
        version: bletchley_token::HEADER_VERSION,
        ledger: LEDGER,
        height: Height(height),
        parent,
        time_ms: TimestampMs(height),
        transactions_root: B256::ZERO,
        state_root: B256::repeat_byte(fork),
        extension: B256::ZERO,
        receipts: B256::ZERO,
        proposer: Address::ZERO,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let stores: Vec<SharedStore> =
            (0..MEMBERS).map(|_| Arc::new(MemoryStore::new()) as SharedStore).collect();
        let mut world = Self {
            members: vec![None; MEMBERS],
            stores,
            mail: Arc::default(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now_ms: 0,
        };
        for member in 0..MEMBERS {
            world.append(member, 0);
            world.start(member);
        }
        world
    }

    fn start(&mut self, member: usize) {
        let parts = CertificatesParts {
            ledger: LEDGER,
            schedule: Arc::new(Changing),
            store: self.stores[member].clone(),
            read_header: token_header_link,
            validator: Arc::new(key(member)),
            post: Arc::new(Wire { from: member, mail: self.mail.clone() }),
        };
        self.members[member] = Some(Arc::new(Certificates::open(parts).unwrap()));
    }

    fn append(&self, member: usize, height: u64) {
        let header = header(height, 0);
        let block = Block { header: header.encode_bytes(), ..Block::default() };
        let meta = BlockMeta {
            height: header.height,
            hash: header.hash(),
            parent: header.parent,
            time_ms: header.time_ms,
        };
        let seal = Bytes::from_static(b"seal");
        let certificate = Finality { seal, certificate: None }.encode();
        let stored = StoredBlock {
            meta,
            block,
            receipts: Bytes::new(),
            diff: Bytes::new(),
            certificate,
            index: Vec::new(),
        };
        self.stores[member].append(&stored).unwrap();
    }

    /// A member keeps its next block.
    fn keep(&self, member: usize, height: u64) {
        self.append(member, height);
        let certificates = self.members[member].as_ref().unwrap();
        let checkpoint = certificates.checkpoint_of(Height(height)).unwrap().unwrap();
        certificates.kept(&checkpoint);
    }

    fn chance(&mut self, of: u64) -> bool {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33 < (of << 31) / 100
    }

    /// Delivers everything, of which some is lost, some comes twice and some late.
    fn deliver(&mut self, lost_percent: u64) {
        let mut turns = 0;
        while let Some((from, to, message)) = { self.mail.lock().pop_front() } {
            turns += 1;
            assert!(turns < 100_000, "messages beget messages without end");
            if lost_percent > 0 && self.chance(20) && turns < 10_000 {
                self.mail.lock().push_back((from, to, message));
                continue;
            }
            for member in (0..MEMBERS).filter(|member| *member != from) {
                if matches!(to, To::One(one) if one != peer(member)) || self.chance(lost_percent) {
                    continue;
                }
                let times = if self.chance(lost_percent) { 2 } else { 1 };
                let Some(certificates) = self.members[member].clone() else { continue };
                for _ in 0..times {
                    certificates.receive(peer(from), message.clone()).unwrap();
                }
            }
        }
    }

    fn pass(&mut self, ms: u64, lost_percent: u64) {
        for _ in 0..ms / 250 {
            self.now_ms += 250;
            for certificates in self.members.iter().flatten() {
                certificates.tick(self.now_ms);
            }
            self.deliver(lost_percent);
        }
    }

    fn of(&self, member: usize) -> &Certificates {
        self.members[member].as_ref().unwrap()
    }

    fn prove(&self, member: usize, height: u64) -> Option<FinalityProof> {
        self.of(member).prove(Height(height)).unwrap()
    }
}

fn genesis_set() -> ValidatorSet {
    Changing.validators(0).unwrap().checkpoint_set()
}

#[test]
fn every_block_is_proved_to_outsiders_over_changes_of_validators_and_losses() {
    for seed in 1..=20 {
        let mut world = World::new(seed);
        let lost_percent = if seed == 1 { 0 } else { 30 };
        for height in 1..=35 {
            for member in 0..MEMBERS {
                world.keep(member, height);
            }
            world.deliver(lost_percent);
            world.pass(250, lost_percent);
        }
        world.pass(30_000, lost_percent);
        for member in 0..MEMBERS {
            for height in 1..=35 {
                let proof = world
                    .prove(member, height)
                    .unwrap_or_else(|| panic!("seed {seed}: {member} cannot prove {height}"));
                let proved = proof.verify(LEDGER, &genesis_set(), token_header_link).unwrap();
                assert_eq!(proved.link.hash, header(height, 0).hash());
                assert_eq!(proof.changes.len(), usize::from(height > 20));
            }
            assert_eq!(world.of(member).certified(), Height(35));
            assert!(world.of(member).silent().is_empty());
            assert_eq!(world.of(member).counts().disagreements.load(Ordering::Relaxed), 0);
        }
    }
}

#[test]
fn proofs_that_were_tampered_with_are_refused() {
    let mut world = World::new(1);
    for height in 1..=25 {
        (0..MEMBERS).for_each(|member| world.keep(member, height));
        world.deliver(0);
    }
    let good = world.prove(0, 25).unwrap();
    let check = |proof: &FinalityProof| proof.verify(LEDGER, &genesis_set(), token_header_link).unwrap_err();
    assert!(good.verify(LEDGER, &genesis_set(), token_header_link).is_ok());
    let other = good.verify(LedgerId::default(), &genesis_set(), token_header_link).unwrap_err();
    assert_eq!(other, FinalityProofError::Ledger(Height(20)));
    let mut forged = good.clone();
    forged.changes.clear();
    assert!(matches!(check(&forged), FinalityProofError::Certificate { .. }), "the old set no longer signs");
    let mut forged = good.clone();
    forged.changes[0].next = ValidatorSet::new([key(9).address()]);
    assert_eq!(check(&forged), FinalityProofError::Change(Height(20)));
    let mut forged = good.clone();
    forged.changes.push(good.changes[0].clone());
    assert_eq!(check(&forged), FinalityProofError::Change(Height(20)));
    let mut forged = good.clone();
    forged.headers = vec![header(25, 1).encode_bytes()];
    assert_eq!(check(&forged), FinalityProofError::Another(Height(25)));
    forged.headers =
        vec![header(23, 1).encode_bytes(), header(24, 0).encode_bytes(), header(25, 0).encode_bytes()];
    assert_eq!(check(&forged), FinalityProofError::Link(Height(24)));
    forged.headers.clear();
    assert_eq!(check(&forged), FinalityProofError::Headers(0));
}

#[test]
fn what_a_restart_lost_is_signed_again_and_asked_for() {
    let mut world = World::new(3);
    for height in 1..=22 {
        (0..MEMBERS).for_each(|member| world.keep(member, height));
        world.deliver(0);
    }
    // All are killed before anything was written.
    for member in 0..MEMBERS {
        world.members[member] = None;
    }
    for member in 0..3 {
        world.start(member);
        assert!(world.prove(member, 22).is_none());
    }
    world.pass(5_000, 0);
    // The end of the first epochs by the old set, of which three are there; the new one waits for the third of its four.
    assert!(world.prove(1, 20).is_some());
    assert!(world.prove(1, 22).is_none());
    assert_eq!(world.of(1).silent(), ["member-3", "member-4"]);
    world.start(4);
    world.pass(5_000, 0);
    for member in [0, 1, 2, 4] {
        assert!(world.prove(member, 22).is_some(), "member {member}");
        world.of(member).write().unwrap();
    }
    // What was written needs nobody.
    for member in 0..MEMBERS {
        world.members[member] = None;
    }
    world.start(1);
    assert!(world.prove(1, 22).is_some() && world.prove(1, 3).is_some());
    assert_eq!(world.of(1).certified(), Height(22));
    // One that lost its table gets everything from another one alone.
    let store = MemoryStore::new();
    world.stores[3] = Arc::new(store);
    (0..=22).for_each(|height| world.append(3, height));
    world.start(3);
    world.pass(20_000, 0);
    assert!(world.prove(3, 22).is_some() && world.prove(3, 7).is_some());
}

#[test]
fn a_liar_is_named_and_strangers_are_refused() {
    let world = World::new(4);
    (0..MEMBERS).for_each(|member| world.keep(member, 1));
    let own = world.of(0).checkpoint_of(Height(1)).unwrap().unwrap();
    let vote = |member: usize, checkpoint: Checkpoint| {
        let signature = checkpoint.sign(&key(member));
        CheckpointMessage::Votes(vec![CheckpointVote { checkpoint, signature }]).encode()
    };
    let lie = Checkpoint { state: B256::repeat_byte(9), ..own };
    world.of(0).receive(peer(2), vote(2, lie)).unwrap();
    world.of(0).receive(peer(2), vote(2, own)).unwrap();
    assert_eq!(world.of(0).counts().equivocations.load(Ordering::Relaxed), 1);
    assert_eq!(world.of(0).counts().disagreements.load(Ordering::Relaxed), 1);
    assert!(world.of(0).receive(peer(2), vote(2, lie)).is_err(), "it has lied before");
    assert!(world.of(0).receive(peer(4), vote(4, own)).is_err(), "it does not validate yet");
    assert!(world.of(0).receive(peer(1), vote(3, own)).is_ok(), "checked with the quorum");
    assert!(world.of(0).receive(peer(3), vote(3, own)).is_ok());
    assert!(world.of(0).receive(peer(1), vote(1, own)).is_err(), "its forged vote was found");
    assert!(world.prove(0, 1).is_none());
    assert!(world.of(0).receive(peer(1), vote(1, own)).is_ok());
    assert!(world.prove(0, 1).is_some());
    for nonsense in [&b""[..], b"\x01", b"\x01\x00\xc0", b"\x02\x01\xc1\x07", &[1, 2, 0xf8]] {
        assert!(world.of(0).receive(peer(1), Bytes::copy_from_slice(nonsense)).is_err());
    }
    assert!(world.of(0).counts().refused.load(Ordering::Relaxed) >= 8);
}

#[test]
fn votes_far_above_the_head_and_floods_of_questions_leave_nothing() {
    let world = World::new(5);
    (0..MEMBERS).for_each(|member| world.keep(member, 1));
    let own = world.of(0).checkpoint_of(Height(1)).unwrap().unwrap();
    for height in 2 + AHEAD_BLOCKS_MAX..1_000 {
        let set = Changing.validators((height - 1) / EPOCH_BLOCKS).unwrap().checkpoint_set().digest();
        let checkpoint = Checkpoint { height: Height(height), validators: set, ..own };
        let vote = CheckpointVote { checkpoint, signature: checkpoint.sign(&key(1)) };
        world.of(0).receive(peer(1), CheckpointMessage::Votes(vec![vote]).encode()).unwrap();
    }
    assert_eq!(world.of(0).gathering.lock().book.open(), [Height(1)]);
    world.mail.lock().clear();
    for _ in 0..100 {
        world.of(0).receive(peer(1), CheckpointMessage::Want(vec![Height(1)]).encode()).unwrap();
    }
    assert_eq!(world.mail.lock().len(), WANTS_PER_TICK_MAX as usize);
}
