//! A member that joins, and others that help it, or lie to it, over wires in memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::client::{Outcome, Subject, Times, catch_up};
use super::desk::Desk;
use super::exchange::{Exchange, Serving};
use super::server::{Certified, Server};
use crate::certificates::token_header_link;
use bletchley_consensus::{Payload, PeerId, Post, Receive, Schedule, To, Validator, Validators};
use bletchley_crypto::SecretKey;
use bletchley_ledger::{
    BlockParts, Blocks, CERTIFICATES_TABLE, Certificate, Checkpoint, Claim, Finality, FinalityReadError,
    FinalityReader, HeightRange, Machine, Piece, ProposeContext, SharedStore, StoredFinality, SyncMessage,
    ValidatorSet, WantBlocks,
};
use bletchley_primitives::{Address, B256, Bytes, Height, LedgerId, TimestampMs};
use bletchley_storage::MemoryStore;
use bletchley_token::{Genesis, TokenMachine};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const EPOCH_BLOCKS: u64 = 100;
const BLOCKS: u64 = 1_450;
const JOINER: PeerId = PeerId(B256::repeat_byte(0xee));

fn genesis(ledger: u8) -> Genesis {
    Genesis { ledger: LedgerId(B256::repeat_byte(ledger)), time_ms: TimestampMs(1_000) }
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[b'v', n])
}

fn peer(n: u8) -> PeerId {
    PeerId(B256::with_last_byte(n))
}

/// Validators 0 to 3 up to epoch 4, then 1 to 4.
#[derive(Clone)]
struct Changing;

fn members(epoch: u64) -> std::ops::Range<u8> {
    if epoch < 5 { 0..4 } else { 1..5 }
}

fn epoch(height: u64) -> u64 {
    height.saturating_sub(1) / EPOCH_BLOCKS
}

fn set(height: u64) -> ValidatorSet {
    Changing.validators(epoch(height)).unwrap().checkpoint_set()
}

impl Schedule for Changing {
    fn epoch_blocks(&self) -> u64 {
        EPOCH_BLOCKS
    }

    fn validators(&self, epoch: u64) -> Option<Arc<Validators>> {
        let validator =
            |n| Validator { name: format!("member-{n}"), peer: peer(n), address: key(n).address() };
        Some(Arc::new(Validators::new(members(epoch).map(validator))))
    }

    fn change_pending(&self) -> bool {
        false
    }
}

/// A ledger of so many blocks; its last block, each last one of an epoch and each seventh are certified.
fn grown(ledger: u8, blocks: u64) -> SharedStore {
    let store = Arc::new(MemoryStore::new());
    let machine = TokenMachine::open(genesis(ledger), store.clone()).unwrap();
    let mut payload = Payload::genesis(machine.ledger());
    for height in 1..=blocks {
        let context = ProposeContext {
            parent: machine.head().hash,
            time_ms: TimestampMs(1_000 + height),
            proposer: Address::ZERO,
            allow_empty: true,
        };
        let executed = machine.propose(&context).unwrap().unwrap();
        payload = Payload::new(payload, Height(height), executed.block.clone()).digest();
        let finality = Finality { seal: Bytes::copy_from_slice(payload.as_slice()), certificate: None };
        bletchley_ledger::Store::append(&*store, &executed.clone().into_stored(finality.encode())).unwrap();
        machine.commit(executed.meta.hash).unwrap();
        if height % 7 == 0 || height % EPOCH_BLOCKS == 0 || height == blocks {
            let checkpoint = Checkpoint {
                ledger: machine.ledger(),
                height: Height(height),
                block: executed.meta.hash,
                state: executed.state_root,
                validators: set(height).digest(),
                next: set(height + 1).digest(),
            };
            let signers = members(epoch(height));
            let signatures = (signers.start..signers.end - 1).map(|n| checkpoint.sign(&key(n))).collect();
            let row = Bytes::from(alloy_rlp::encode(Certificate { checkpoint, signatures }));
            let key = Bytes::copy_from_slice(&height.to_be_bytes());
            bletchley_ledger::Store::table_write(&*store, CERTIFICATES_TABLE, &[(key, Some(row))]).unwrap();
        }
    }
    store
}

struct Stored {
    finality: StoredFinality,
    certified: Height,
}

impl FinalityReader for Stored {
    fn certificate(&self, height: Height) -> Result<Option<Certificate>, FinalityReadError> {
        self.finality.certificate(height)
    }

    fn header(&self, height: Height) -> Result<Option<Bytes>, FinalityReadError> {
        self.finality.header(height)
    }

    fn covered_until(&self, height: Height) -> Height {
        height
    }

    fn changes(&self, height: Height) -> Vec<(Height, ValidatorSet)> {
        let change = (Height(5 * EPOCH_BLOCKS), set(5 * EPOCH_BLOCKS + 1));
        [change].into_iter().filter(|(last, _)| *last < height).collect()
    }
}

impl Certified for Stored {
    fn certified(&self) -> Height {
        self.certified
    }
}

type Ends = Arc<Mutex<BTreeMap<PeerId, Arc<Exchange>>>>;
/// What becomes of a message on its way.
type Twist = Arc<dyn Fn(SyncMessage) -> Vec<Bytes> + Send + Sync>;

struct Wire {
    from: PeerId,
    ends: Ends,
    twist: Twist,
    nonsense: Arc<AtomicUsize>,
}

impl Post for Wire {
    fn send(&self, to: To, message: Bytes) -> bool {
        let ends: Vec<Arc<Exchange>> = {
            let all = self.ends.lock();
            let wanted = |id: &PeerId| *id != self.from && (to == To::All || to == To::One(*id));
            all.iter().filter(|(id, _)| wanted(id)).map(|(_, end)| end.clone()).collect()
        };
        let messages = (self.twist)(SyncMessage::decode(&message).unwrap());
        for message in &messages {
            for end in &ends {
                if end.receive(self.from, message.clone()).is_err() {
                    self.nonsense.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        !ends.is_empty()
    }
}

fn honest() -> Twist {
    Arc::new(|message| vec![message.encode()])
}

fn lying(twist: impl Fn(SyncMessage) -> SyncMessage + Send + Sync + 'static) -> Twist {
    Arc::new(move |message| vec![twist(message).encode()])
}

struct World {
    ends: Ends,
    servings: Vec<Serving>,
    nonsense: Arc<AtomicUsize>,
    machine: Arc<TokenMachine>,
    store: SharedStore,
    desk: Desk,
}

impl World {
    /// A joiner beside members that serve these ledgers, each with a habit.
    fn new(helpers: Vec<(SharedStore, Twist)>) -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let machine = Arc::new(TokenMachine::open(genesis(1), store.clone()).unwrap());
        let mut world = Self {
            ends: Ends::default(),
            servings: Vec::new(),
            nonsense: Arc::default(),
            machine,
            store,
            desk: Desk::default(),
        };
        for (n, (store, twist)) in (0u8..).zip(helpers) {
            world.serve(peer(n), store, twist);
        }
        world
    }

    fn serve(&mut self, id: PeerId, store: SharedStore, twist: Twist) -> Arc<Exchange> {
        let (ends, nonsense) = (self.ends.clone(), self.nonsense.clone());
        let post = Arc::new(Wire { from: id, ends, twist, nonsense });
        let certified = store.head().unwrap().height;
        let server = Server::new(store.clone(), EPOCH_BLOCKS);
        let (serving, exchange) = Serving::start("tokens", server, post).unwrap();
        if certified > Height(0) {
            let stored = Stored { finality: StoredFinality::new(store), certified };
            serving.server().certified_by(Arc::new(stored));
        }
        self.ends.lock().insert(id, exchange.clone());
        self.servings.push(serving);
        exchange
    }

    fn join(&mut self, me: Address) -> Outcome {
        let exchange = self.serve(JOINER, self.store.clone(), honest());
        let subject = Subject {
            name: "tokens".to_owned(),
            ledger: genesis(1).ledger,
            machine: self.machine.clone(),
            store: self.store.clone(),
            schedule: Arc::new(Changing),
            read_header: token_header_link,
            seal_holds: Arc::new(|_, digest, seal| seal == digest.as_slice()),
            knows_rules: Arc::new(|_| Ok(())),
            me,
            has_engine_files: false,
        };
        let times = Times {
            ask: Duration::from_millis(300),
            answer: Duration::from_millis(150),
            patience: Duration::from_secs(20),
        };
        catch_up(&subject, &exchange, &self.desk, times).unwrap()
    }

    fn refused(&self) -> u64 {
        self.desk.refused.load(Ordering::Relaxed)
    }

    /// Whatever the joiner has is what the others have.
    fn assert_same(&self, other: &SharedStore) {
        let head = self.store.head().unwrap();
        assert_eq!(self.machine.head().hash, head.hash);
        for height in 0..=head.height.0 {
            assert_eq!(self.store.block(Height(height)).unwrap(), other.block(Height(height)).unwrap());
        }
    }
}

fn stranger() -> Address {
    key(99).address()
}

#[test]
fn a_joiner_gets_every_block_and_the_certificates_that_prove_them() {
    let ledger = grown(1, BLOCKS);
    let mut world = World::new(vec![(ledger.clone(), honest()), (ledger.clone(), honest())]);
    let outcome = world.join(stranger());
    assert_eq!(outcome, Outcome { blocks: BLOCKS, ..Outcome::default() });
    assert_eq!((world.machine.head().height, world.refused()), (Height(BLOCKS), 0));
    world.assert_same(&ledger);
    let own = StoredFinality::new(world.store.clone());
    for last in (EPOCH_BLOCKS..=BLOCKS).step_by(EPOCH_BLOCKS as usize).chain([BLOCKS]) {
        own.certificate(Height(last)).unwrap().unwrap().verify(&set(last)).unwrap();
    }
    assert_eq!(world.join(stranger()).blocks, 0, "there is nothing more");
}

#[test]
fn a_small_gap_is_left_to_the_engine_and_a_lone_member_goes_on() {
    let mut world = World::new(vec![(grown(1, super::GAP_BLOCKS), honest())]);
    assert_eq!(world.join(stranger()), Outcome::default());
    let mut world = World::new(Vec::new());
    assert_eq!(world.join(key(0).address()), Outcome::default());
}

#[test]
fn whoever_signed_above_its_own_head_does_not_vote_until_the_epoch_is_over() {
    let ledger = grown(1, BLOCKS);
    let mut world = World::new(vec![(ledger, honest())]);
    let outcome = world.join(key(1).address());
    assert_eq!(outcome.abstains_through, Some(epoch(BLOCKS + 16)));
    let again = super::abstain::abstains_through(&*world.store, &Changing).unwrap();
    assert_eq!(again, outcome.abstains_through, "a restart does not forget it");
    let mut world = World::new(vec![(grown(1, BLOCKS), honest())]);
    world.desk = Desk::new(false, true);
    assert_eq!(world.join(key(1).address()).abstains_through, None, "unless somebody made sure");
}

fn twisted(blocks: impl Fn(&mut Blocks) + Send + Sync + 'static) -> Twist {
    lying(move |message| match message {
        SyncMessage::Blocks(mut answer) => {
            blocks(&mut answer);
            SyncMessage::Blocks(answer)
        }
        other => other,
    })
}

fn liars() -> Vec<(&'static str, SharedStore, Twist)> {
    let ledger = grown(1, BLOCKS);
    let first = |change: fn(&mut BlockParts)| twisted(move |answer| change(&mut answer.blocks[0]));
    let headers = |change: fn(&mut bletchley_ledger::Headers)| {
        lying(move |message| match message {
            SyncMessage::Headers(mut answer) => {
                change(&mut answer);
                SyncMessage::Headers(answer)
            }
            other => other,
        })
    };
    let short = grown(1, 100);
    let stale = Arc::new(|message| {
        let claim = Claim { head: Height(BLOCKS), certified: Height(BLOCKS) };
        match message {
            SyncMessage::Claim(_) => vec![SyncMessage::Claim(claim).encode()],
            other => vec![other.encode()],
        }
    });
    let silent = Arc::new(|message| match message {
        SyncMessage::Blocks(_) | SyncMessage::Headers(_) => Vec::new(),
        other => vec![other.encode()],
    });
    vec![
        ("a wrong body", ledger.clone(), first(|parts| parts.body = Bytes::from_static(b"\xc1\x80"))),
        ("a wrong extension", ledger.clone(), first(|parts| parts.extension = Bytes::new())),
        ("a wrong seal", ledger.clone(), first(|parts| parts.seal = Bytes::from_static(&[7; 32]))),
        (
            "more than was asked for",
            ledger.clone(),
            twisted(|answer| {
                let last = answer.blocks.last().unwrap().clone();
                answer.blocks.resize(200, last);
            }),
        ),
        (
            "a header of its own",
            ledger.clone(),
            headers(|answer| answer.headers[3] = answer.headers[2].clone()),
        ),
        (
            "headers without a certificate",
            ledger.clone(),
            headers(|answer| {
                answer.headers.pop();
            }),
        ),
        (
            "a forged certificate",
            ledger.clone(),
            headers(|answer| {
                let last = answer.certificates.last_mut().unwrap();
                last.signatures[0] = last.checkpoint.sign(&key(77));
            }),
        ),
        ("another ledger", grown(2, BLOCKS), honest()),
        ("an old head", short, stale),
        ("silence", ledger, silent),
    ]
}

#[test]
fn a_liar_is_dropped_and_counted_and_the_others_do() {
    for (lie, store, twist) in liars() {
        let ledger = grown(1, BLOCKS);
        let mut world =
            World::new(vec![(store, twist), (ledger.clone(), honest()), (ledger.clone(), honest())]);
        let outcome = world.join(stranger());
        assert_eq!((outcome.blocks, outcome.gave_up), (BLOCKS, None), "{lie}");
        world.assert_same(&ledger);
        assert!(world.refused() <= 1, "{lie}: only the liar");
    }
}

#[test]
fn among_liars_nothing_wrong_is_taken_in() {
    for (lie, store, twist) in liars() {
        let mut world = World::new(vec![(store, twist)]);
        let outcome = world.join(stranger());
        assert!(outcome.blocks < BLOCKS, "{lie}");
        assert_eq!(world.refused(), 1, "{lie}");
        world.assert_same(&grown(1, BLOCKS));
    }
}

#[test]
fn what_comes_twice_or_unasked_changes_nothing() {
    let ledger = grown(1, BLOCKS);
    let twice: Twist = Arc::new(|message| vec![message.encode(); 2]);
    let unasked: Twist = Arc::new(|message| {
        let piece = Piece { height: Height(1), offset: 0, size_bytes: 4, bytes: Bytes::from_static(b"abcd") };
        let blocks = Blocks { from: Height(1), blocks: vec![BlockParts::default()] };
        let more = [SyncMessage::Piece(piece), SyncMessage::Blocks(blocks), SyncMessage::Missing(Height(1))];
        [message].into_iter().chain(more).map(|message| message.encode()).collect()
    });
    for habit in [twice, unasked] {
        let mut world = World::new(vec![(ledger.clone(), habit), (ledger.clone(), honest())]);
        assert_eq!(world.join(stranger()).blocks, BLOCKS);
        world.assert_same(&ledger);
    }
}

#[test]
fn what_is_no_message_is_nonsense() {
    let mut world = World::new(Vec::new());
    let exchange = world.serve(JOINER, world.store.clone(), honest());
    let long = Bytes::from(vec![1u8; SyncMessage::SIZE_BYTES_MAX + 3]);
    let range = HeightRange { from: Height(5), to: Height(2) };
    let reversed = SyncMessage::WantBlocks(WantBlocks { range, results: 0 }).encode();
    for bytes in [Bytes::new(), Bytes::from_static(b"\x09\x00\x80"), long, reversed] {
        assert!(exchange.receive(peer(1), bytes).is_err());
    }
}
