//! What outlives every crash: keys, disks, the books of the watcher, clients.

use crate::chronicle::Chronicle;
use crate::load::Clients;
use crate::plan::{Agreement, LEDGERS, Misbehaviour, Plan};
use bletchley_consensus::{FixedSchedule, PeerId, Validator, Validators};
use bletchley_consortium::{Genesis as ConsortiumGenesis, LedgerKind, LedgerSpec, Member, Parameters};
use bletchley_crypto::SecretKey;
use bletchley_evm::{Genesis as EvmGenesis, GenesisAccount};
use bletchley_net::peer_id;
use bletchley_primitives::{B256, LedgerId, TimestampMs};
use bletchley_storage::SimulatedDisk;
use bletchley_storage::conformance::Numbers;
use bletchley_token::Genesis as TokenGenesis;
use commonware_cryptography::Signer as _;
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_runtime::deterministic::{self, FaultConfig, PartialWriteMode, WriteConfig};
use commonware_utils::probability;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// When every run begins, in virtual time.
pub(crate) const START_MS: u64 = 1_800_000_000_000;
/// The token ledger.
pub(crate) const TOKENS: LedgerId = LedgerId(B256::repeat_byte(0x1d));
/// EVM chain id.
pub(crate) const CHAIN_ID: u64 = 31_337;

/// What a member has.
pub(crate) struct Seat {
    pub(crate) peer: PrivateKey,
    pub(crate) validator: SecretKey,
    /// Proposes and votes.
    pub(crate) administrator: SecretKey,
    /// What the others know of it.
    pub(crate) member: Member,
    /// One for each time that it runs: twins run twice.
    pub(crate) bodies: Vec<Body>,
    pub(crate) is_honest: bool,
}

/// One running node of a member.
pub(crate) struct Body {
    pub(crate) disks: [SimulatedDisk; LEDGERS],
    /// Members that it talks to.
    pub(crate) talks_to: Vec<usize>,
}

/// Everything that outlives a crash.
pub(crate) struct Consortium {
    pub(crate) plan: Plan,
    pub(crate) seats: Vec<Seat>,
    pub(crate) chronicle: Arc<Chronicle>,
    pub(crate) clients: Clients,
    pub(crate) draw: Numbers,
    /// How many of the plan's decisions stand.
    pub(crate) decided: usize,
    /// Virtual time played.
    pub(crate) now_ms: u64,
}

/// Who validates.
#[derive(Clone)]
pub(crate) enum Roll {
    /// The same for ever.
    Fixed(FixedSchedule),
    /// Whoever the members' votes make a validator, from this beginning on.
    Voted(Arc<ConsortiumGenesis>),
}

/// The seeded runtime: of what was not synced when everything ends, some bytes stay.
pub(crate) fn runtime(seed: u64) -> deterministic::Config {
    let torn = WriteConfig {
        failure_rate: probability!(0.0),
        retention_rate: probability!(0.5),
        mode: if seed.is_multiple_of(2) { PartialWriteMode::Prefix } else { PartialWriteMode::Subset },
    };
    deterministic::Config::new()
        .with_seed(seed)
        .with_start_time(UNIX_EPOCH + Duration::from_millis(START_MS))
        .with_storage_fault_config(FaultConfig::default().write(torn))
}

impl Consortium {
    pub(crate) fn new(plan: &Plan) -> Self {
        let seats = (0..plan.seats()).map(|member| seat(plan, member)).collect();
        Self {
            seats,
            chronicle: Arc::new(Chronicle::of(plan.agreement)),
            clients: Clients::new(plan.seed),
            draw: Numbers::new(plan.seed.wrapping_add(1) << 8),
            decided: 0,
            now_ms: 0,
            plan: plan.clone(),
        }
    }

    /// All members lose power.
    pub(crate) fn black_out(&self) {
        for disk in self.seats.iter().flat_map(|seat| &seat.bodies).flat_map(|body| &body.disks) {
            disk.cut_power();
        }
    }

    pub(crate) fn public(&self, member: usize) -> Option<PublicKey> {
        self.seats.get(member).map(|seat| seat.peer.public_key())
    }

    pub(crate) fn peers(&self, members: &[usize]) -> Vec<PeerId> {
        members.iter().filter_map(|member| self.public(*member)).map(|key| peer_id(&key)).collect()
    }

    pub(crate) fn honest(&self) -> Vec<usize> {
        (0..self.seats.len())
            .filter(|member| self.seats.get(*member).is_some_and(|seat| seat.is_honest))
            .collect()
    }

    /// Who validates, as one sees it who counts only these; everybody, unless something is broken.
    pub(crate) fn roll(&self, counted: &[usize]) -> Roll {
        if self.plan.decisions.is_empty() {
            let seats = counted.iter().filter_map(|member| self.seats.get(*member));
            let validators: Vec<Validator> = seats.map(|seat| seat.member.as_validator()).collect();
            let validators = Arc::new(Validators::new(validators));
            return Roll::Fixed(FixedSchedule { epoch_blocks: self.plan.epoch_blocks, validators });
        }
        let founders = self.seats.iter().take(self.plan.members).map(|seat| seat.member.clone());
        Roll::Voted(Arc::new(ConsortiumGenesis {
            members: founders.collect(),
            parameters: Parameters::default(),
            ledgers: vec![
                self.spec("tokens", LedgerKind::Utxo, 0),
                self.spec("evm", LedgerKind::Evm, CHAIN_ID),
            ],
        }))
    }

    fn spec(&self, name: &str, kind: LedgerKind, chain_id: u64) -> LedgerSpec {
        let engine = match self.plan.agreement {
            Agreement::Simplex => bletchley_simplex::Simplex::NAME,
            Agreement::Tendermint => bletchley_tendermint::NAME,
        };
        LedgerSpec {
            name: name.to_owned(),
            kind,
            engine: engine.to_owned(),
            chain_id,
            epoch_blocks: self.plan.epoch_blocks,
            block_ms: crate::stage::PACE_MS,
            heartbeat_ms: crate::stage::HEARTBEAT_MS,
            members: Vec::new(),
        }
    }
}

fn seat(plan: &Plan, member: usize) -> Seat {
    let behaviour = plan.byzantine.filter(|(byzantine, _)| *byzantine == member).map(|(_, how)| how);
    let seed = |body: u64, ledger: u64| (plan.seed << 16) ^ ((member as u64) << 8) ^ (body << 4) ^ ledger;
    let body = |number: u64, talks_to: Vec<usize>| Body {
        disks: [SimulatedDisk::new(seed(number, 1)), SimulatedDisk::new(seed(number, 2))],
        talks_to,
    };
    let all: Vec<usize> = (0..plan.seats()).collect();
    let bodies = if behaviour == Some(Misbehaviour::Twins) {
        let others: Vec<usize> = all.iter().copied().filter(|other| *other != member).collect();
        let (few, many) = others.split_at(others.len() / 2);
        vec![body(0, few.to_vec()), body(1, many.to_vec())]
    } else {
        vec![body(0, all)]
    };
    let peer = PrivateKey::from_seed(plan.seed.wrapping_mul(64).wrapping_add(member as u64));
    let key = |what: &str| SecretKey::from_seed(format!("{what} {member} of run {}", plan.seed).as_bytes());
    let (validator, administrator) = (key("validator"), key("administrator"));
    Seat {
        member: Member {
            name: format!("member-{member}"),
            peer: peer_id(&peer.public_key()).0,
            validator: validator.address(),
            administrator: administrator.address(),
            host: key("host").address(),
            endpoint: format!("member-{member}.example:30300"),
            is_validator: true,
        },
        peer,
        validator,
        administrator,
        bodies,
        is_honest: behaviour.is_none(),
    }
}

/// Block 0 of the token ledger.
pub(crate) const fn token_genesis() -> TokenGenesis {
    TokenGenesis { ledger: TOKENS, time_ms: TimestampMs(START_MS) }
}

/// Block 0 of the EVM ledger: every client has the same.
pub(crate) fn evm_genesis(clients: &Clients) -> EvmGenesis {
    let mut genesis = EvmGenesis::new(CHAIN_ID, TimestampMs(START_MS));
    genesis.root = Some(TOKENS);
    for address in clients.addresses() {
        let account = GenesisAccount { balance: crate::load::BALANCE, ..GenesisAccount::default() };
        genesis.alloc.insert(address, account);
    }
    genesis
}
