//! The genesis document: everything that a stranger needs to verify the ledgers, in one file.

use crate::accounts::Named;
use crate::data::DataDir;
use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, Result, bail};
use bletchley_consensus::{Cadence, FixedSchedule, Schedule, Validators};
use bletchley_consortium::{MEMBERS_MAX, Member};
use bletchley_cryptlet::registry::Roots;
use bletchley_crypto::Domain;
use bletchley_evm::{Genesis as EvmGenesis, GenesisAccount};
use bletchley_ledger::ValidatorSet;
use bletchley_primitives::{LedgerId, TimestampMs};
use bletchley_token::Genesis as TokenGenesis;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const GENESIS_DOMAIN: Domain = Domain("bletchley/node/genesis/2");
const ROOTS_DOMAIN: Domain = Domain("bletchley/node/genesis-roots/2");
const TOKENS_DOMAIN: Domain = Domain("bletchley/node/tokens/1");
/// Blocks for which a validator set stands when the document is made without another number.
pub const EPOCH_BLOCKS: u64 = 300;
/// Fewest and most blocks of an epoch.
const EPOCH_BLOCKS_MIN: u64 = 2;
const EPOCH_BLOCKS_MAX: u64 = 1_000_000;
/// Longest time between blocks that have something to hold.
pub const BLOCK_MS_MAX: u64 = 60_000;
/// Longest silence of an idle ledger, unless another is asked for.
const HEARTBEAT_MS: u64 = 60_000;
/// The same where members agree: others wait for a silent leader a little longer than this, so that it is short.
pub const AGREED_HEARTBEAT_MS: u64 = 2_000;
/// Longest heartbeat where members agree, for the same reason.
const AGREED_HEARTBEAT_MS_MAX: u64 = 30_000;
/// Longest heartbeat that can be asked for: a day.
const HEARTBEAT_MS_MAX: u64 = 86_400_000;
/// Least time between blocks of a development network's token ledger.
const DEV_TOKEN_PACE_MS: u64 = 10;
/// Most accounts with a name.
const ACCOUNTS_MAX: usize = 10_000;
/// Longest name of a consortium or account.
const NAME_SIZE_BYTES_MAX: usize = 63;
/// Version of the document.
const VERSION: u32 = 2;
/// Longest genesis document: a million accounts with a token balance each.
const GENESIS_SIZE_BYTES_MAX: u64 = 1 << 30;
/// Chain id of a development ledger: what test suites expect.
pub const DEV_CHAIN_ID: u64 = 31337;
/// Chain id of any other ledger that `up` makes: the whitepaper's month.
pub const DEFAULT_CHAIN_ID: u64 = 201_606;
/// What each named account owns at the start: 10,000 ether, as on every development node.
const FUNDS_WEI: U256 = U256::from_limbs([0x19e0_c9ba_b240_0000, 0x21e, 0, 0]);
/// Base fee of a development ledger's first block, 1 gwei, so that fee estimation has something to estimate.
const DEV_BASE_FEE_WEI: u64 = 1_000_000_000;

/// How the blocks of a ledger are agreed on, by the engine's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// One validator decides alone.
    Solo,
    /// Byzantine agreement by simplex.
    Simplex,
    /// Byzantine agreement by Tendermint.
    Tendermint,
}

impl EngineName {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Solo, Self::Simplex, Self::Tendermint];

    /// The name in the genesis document.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Solo => "solo",
            Self::Simplex => "simplex",
            Self::Tendermint => "tendermint",
        }
    }

    /// Longest silence of an idle ledger when nothing else is asked for.
    #[must_use]
    pub const fn heartbeat_ms(self) -> u64 {
        match self {
            Self::Solo => HEARTBEAT_MS,
            Self::Simplex | Self::Tendermint => AGREED_HEARTBEAT_MS,
        }
    }

    /// What suits this many validators.
    #[must_use]
    pub const fn for_validators(count: usize) -> Self {
        if count == 1 { Self::Solo } else { Self::Simplex }
    }
}

/// How one ledger comes to its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Agreement {
    /// The engine.
    pub engine: EngineName,
    /// Blocks for which a validator set stands at least.
    pub epoch_blocks: u64,
    /// Least time between blocks; 0, on a development ledger only, for a block as soon as there is a transaction.
    pub block_ms: u64,
    /// Longest silence of an idle ledger; 0 for any, where one validator decides alone.
    pub heartbeat_ms: u64,
}

impl Agreement {
    /// Agreement with the usual epoch and heartbeat.
    #[must_use]
    pub const fn new(engine: EngineName, block_ms: u64) -> Self {
        Self { engine, epoch_blocks: EPOCH_BLOCKS, block_ms, heartbeat_ms: engine.heartbeat_ms() }
    }

    /// Whether one validator decides alone.
    #[must_use]
    pub const fn is_solo(&self) -> bool {
        matches!(self.engine, EngineName::Solo)
    }

    /// The pace of an engine that makes blocks on its own clock.
    #[must_use]
    pub fn cadence(&self) -> Cadence {
        if self.block_ms == 0 {
            return Cadence::Automine;
        }
        Cadence::Paced {
            pace_ms: self.block_ms,
            heartbeat_ms: (self.heartbeat_ms > 0).then_some(self.heartbeat_ms),
        }
    }

    fn check(&self, ledger: &str, dev: bool, validators: usize) -> Result<()> {
        let within = |what: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            bail!("its {what} of ledger {ledger} is {value}; it lies between {least} and {most}")
        };
        within("epochBlocks", self.epoch_blocks, EPOCH_BLOCKS_MIN, EPOCH_BLOCKS_MAX)?;
        within("blockMs", self.block_ms, u64::from(!dev), BLOCK_MS_MAX)?;
        match self.engine {
            EngineName::Solo => within("heartbeatMs", self.heartbeat_ms, 0, HEARTBEAT_MS_MAX)?,
            _ => within("heartbeatMs", self.heartbeat_ms, 100, AGREED_HEARTBEAT_MS_MAX)?,
        }
        if self.heartbeat_ms != 0 && self.heartbeat_ms < self.block_ms {
            bail!("its heartbeatMs of ledger {ledger} is shorter than its blockMs");
        }
        if self.engine == EngineName::Solo && validators != 1 {
            bail!(
                "it names {validators} validators, and the solo engine of ledger {ledger} needs exactly one; \
                 choose simplex or tendermint"
            );
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let name = self.engine.name();
        let numbers = [self.epoch_blocks, self.block_ms, self.heartbeat_ms];
        name.bytes().chain(numbers.into_iter().flat_map(u64::to_be_bytes)).collect()
    }
}

/// How each ledger that exists from the start comes to its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Agreements {
    /// The token ledger, which is also the registry and the place of votes.
    pub tokens: Agreement,
    /// The smart-contract ledger.
    pub evm: Agreement,
}

impl Agreements {
    /// The same for both ledgers.
    #[must_use]
    pub const fn alike(agreement: Agreement) -> Self {
        Self { tokens: agreement, evm: agreement }
    }

    /// A development network: a block for every transaction, no heartbeat.
    #[must_use]
    pub const fn development() -> Self {
        let quiet = Agreement { heartbeat_ms: 0, ..Agreement::new(EngineName::Solo, 0) };
        Self { tokens: Agreement { block_ms: DEV_TOKEN_PACE_MS, ..quiet }, evm: quiet }
    }
}

/// What the ledgers of a consortium start from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkGenesis {
    /// Version of this document.
    pub version: u32,
    /// Name of the consortium.
    pub name: String,
    /// A development network: public keys, state that can be changed from outside.
    pub dev: bool,
    /// Who takes part from the start. Their administrators are where trust in the registry starts.
    pub members: Vec<Member>,
    /// How each ledger comes to its blocks.
    pub agreements: Agreements,
    /// Accounts by name, for whoever reads along.
    pub accounts: Vec<Named>,
    /// Time of the first block of each ledger.
    pub time_ms: TimestampMs,
    /// The smart-contract ledger.
    pub evm: EvmGenesis,
}

/// What a consortium is founded with.
#[derive(Clone, Debug)]
pub struct Founding {
    /// Name of the consortium.
    pub name: String,
    /// A development network.
    pub dev: bool,
    /// Chain id of the smart-contract ledger.
    pub chain_id: u64,
    /// Who takes part.
    pub members: Vec<Member>,
    /// Funded accounts.
    pub accounts: Vec<Named>,
    /// How each ledger comes to its blocks.
    pub agreements: Agreements,
    /// Time of the first block of each ledger.
    pub time_ms: TimestampMs,
}

impl NetworkGenesis {
    /// The document of a consortium.
    ///
    /// # Errors
    /// Why no ledger can start from it.
    pub fn new(founding: Founding) -> Result<Self> {
        let Founding { name, dev, chain_id, members, accounts, agreements, time_ms } = founding;
        let mut evm = EvmGenesis::new(chain_id, time_ms);
        evm.dev = dev;
        evm.archive = dev;
        if dev {
            evm.base_fee = bletchley_evm::BaseFee::Eip1559 { initial: DEV_BASE_FEE_WEI };
        }
        evm.alloc = funded(&accounts);
        let mut genesis = Self { version: VERSION, name, dev, members, agreements, accounts, time_ms, evm };
        genesis.check()?;
        genesis.evm.root = Some(genesis.tokens().ledger);
        Ok(genesis)
    }

    /// What the named accounts own at the start of a smart-contract ledger.
    #[must_use]
    pub fn named_funds(&self) -> BTreeMap<Address, GenesisAccount> {
        funded(&self.accounts)
    }

    /// Reads and checks the document of a data folder.
    ///
    /// # Errors
    /// When there is none, or it is not one that this program can use.
    pub fn read(data: &DataDir) -> Result<Self> {
        let path = data.genesis();
        if !path.exists() {
            bail!("{} holds no ledger: `bletchley up --data {0}` makes one", data.root().display());
        }
        Self::read_file(&path)
    }

    /// Reads and checks a document.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_file(path: &Path) -> Result<Self> {
        let shown = path.display();
        let size_bytes = std::fs::metadata(path).with_context(|| format!("opening {shown}"))?.len();
        if size_bytes > GENESIS_SIZE_BYTES_MAX {
            bail!("{shown} has {size_bytes} bytes; a genesis document has at most {GENESIS_SIZE_BYTES_MAX}");
        }
        let bytes = std::fs::read(path).with_context(|| format!("opening {shown}"))?;
        let version: Versioned =
            serde_json::from_slice(&bytes).with_context(|| format!("reading {shown}"))?;
        if version.version != VERSION {
            bail!(
                "{shown} has version {}, this program reads version {VERSION}; start a new folder with --data, or use \
                 the program that made it",
                version.version
            );
        }
        let mut genesis: Self = serde_json::from_slice(&bytes).with_context(|| format!("reading {shown}"))?;
        genesis.check().with_context(|| format!("checking {shown}"))?;
        genesis.evm.root = Some(genesis.tokens().ledger);
        Ok(genesis)
    }

    fn check(&self) -> Result<()> {
        if self.version != VERSION {
            bail!("it has version {}, this program reads version {VERSION}", self.version);
        }
        check_name(&self.name)?;
        check_members(&self.members)?;
        let validators = self.members.iter().filter(|member| member.is_validator).count();
        if validators == 0 {
            bail!("none of its members is a validator, so that nobody could make a block");
        }
        if self.dev && self.members.len() != 1 {
            bail!("a development network has exactly one member, it names {}", self.members.len());
        }
        self.agreements.tokens.check("tokens", self.dev, validators)?;
        self.agreements.evm.check("evm", self.dev, validators)?;
        self.check_accounts()?;
        if self.dev != self.evm.dev {
            bail!("it says dev: {} for the network and {} for the EVM ledger", self.dev, self.evm.dev);
        }
        if self.time_ms != self.evm.time_ms {
            bail!("its ledgers start at different times");
        }
        self.evm.validate()?;
        Ok(())
    }

    fn check_accounts(&self) -> Result<()> {
        if self.accounts.len() > ACCOUNTS_MAX {
            bail!("it names {} accounts, at most {ACCOUNTS_MAX} can have names", self.accounts.len());
        }
        let mut names = BTreeSet::new();
        for account in &self.accounts {
            if account.name.is_empty() || account.name.len() > NAME_SIZE_BYTES_MAX {
                bail!("an account's name has 1 to {NAME_SIZE_BYTES_MAX} letters, not {:?}", account.name);
            }
            if !names.insert(account.name.as_str()) {
                bail!("it names two accounts {}", account.name);
            }
        }
        Ok(())
    }

    /// Writes the document where none is; durable on return.
    ///
    /// # Errors
    /// When it cannot be written, or one is there already.
    pub fn write(&self, data: &DataDir) -> Result<()> {
        self.write_file(&data.genesis())
    }

    /// As [`Self::write`], at a path.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_file(&self, path: &Path) -> Result<()> {
        let shown = path.display();
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let part = path.with_extension("json.part");
        let file = std::fs::File::create(&part).with_context(|| format!("writing {}", part.display()))?;
        serde_json::to_writer_pretty(&file, self).with_context(|| format!("writing {shown}"))?;
        file.sync_all().with_context(|| format!("writing {shown}"))?;
        if path.exists() {
            bail!("{shown} exists already");
        }
        std::fs::rename(&part, path).with_context(|| format!("writing {shown}"))?;
        std::fs::File::open(folder).and_then(|folder| folder.sync_all())?;
        Ok(())
    }

    /// The validators of the first epoch of every ledger.
    #[must_use]
    pub fn validators(&self) -> Arc<Validators> {
        let validators = self.members.iter().filter(|member| member.is_validator).map(Member::as_validator);
        Arc::new(Validators::new(validators))
    }

    /// Who validates when, while nobody has voted: the founders, for ever.
    #[must_use]
    pub fn schedule(&self, agreement: &Agreement) -> Arc<dyn Schedule> {
        Arc::new(FixedSchedule { epoch_blocks: agreement.epoch_blocks, validators: self.validators() })
    }

    /// The validators of the first epoch as checkpoints name them.
    #[must_use]
    pub fn validator_set(&self) -> ValidatorSet {
        self.validators().checkpoint_set()
    }

    /// The member with this name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The members' names, for errors and listings.
    #[must_use]
    pub fn member_names(&self) -> String {
        let names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
        names.join(", ")
    }

    /// What the token ledger, which is also the registry, starts from.
    #[must_use]
    pub fn tokens(&self) -> TokenGenesis {
        TokenGenesis {
            ledger: LedgerId(TOKENS_DOMAIN.digest(&[self.roots().as_slice()])),
            time_ms: self.time_ms,
        }
    }

    /// Where trust in the registry starts.
    #[must_use]
    pub fn registry_roots(&self) -> Roots {
        let administrators = self.members.iter().map(|member| member.administrator).collect();
        Roots { registry: self.tokens().ledger, administrators }
    }

    /// One digest over everything that verification starts from, to compare with other members by voice.
    #[must_use]
    pub fn digest(&self) -> B256 {
        let accounts: Vec<u8> = self
            .accounts
            .iter()
            .flat_map(|named| {
                let size = (named.name.len() as u64).to_be_bytes();
                size.into_iter().chain(named.name.bytes()).chain(named.address.0.0)
            })
            .collect();
        GENESIS_DOMAIN.digest(&[self.roots().as_slice(), self.evm.ledger_id().0.as_slice(), &accounts])
    }

    fn roots(&self) -> B256 {
        ROOTS_DOMAIN.digest(&[
            &self.version.to_be_bytes(),
            self.name.as_bytes(),
            &[u8::from(self.dev)],
            &self.time_ms.0.to_be_bytes(),
            &alloy_rlp::encode(&self.members),
            &self.agreements.tokens.encode(),
            &self.agreements.evm.encode(),
        ])
    }
}

fn funded(accounts: &[Named]) -> BTreeMap<Address, GenesisAccount> {
    let funds = || GenesisAccount { balance: FUNDS_WEI, ..GenesisAccount::default() };
    accounts.iter().map(|account| (account.address, funds())).collect()
}

/// The first thing to read of a document: whether the rest can be.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Whether a consortium can have this name.
///
/// # Errors
/// When not, with what a name is.
pub fn check_name(name: &str) -> Result<()> {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if name.is_empty() || name.len() > NAME_SIZE_BYTES_MAX || !letters {
        bail!(
            "{name:?} is no name for a consortium: use 1 to {NAME_SIZE_BYTES_MAX} lower-case letters, digits and hyphens"
        );
    }
    Ok(())
}

/// Whether these can be the members of one consortium: each a member, none with a name, key or endpoint of another.
///
/// # Errors
/// What is wrong, and with whom.
pub fn check_members(members: &[Member]) -> Result<()> {
    if members.is_empty() || members.len() > MEMBERS_MAX {
        bail!("a consortium has 1 to {MEMBERS_MAX} members, this one has {}", members.len());
    }
    let (mut names, mut peers, mut endpoints) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut keys: BTreeMap<Address, &str> = BTreeMap::new();
    for member in members {
        member.check()?;
        let name = member.name.as_str();
        if !names.insert(name) {
            bail!("two members have the name {name}");
        }
        if bletchley_net::public_key(member.peer()).is_none() {
            bail!("the peer key of member {name} is no ed25519 public key");
        }
        if !peers.insert(member.peer) {
            bail!("member {name} has the peer key of another member");
        }
        if !endpoints.insert(member.endpoint.as_str()) {
            bail!("member {name} has the endpoint {} of another member", member.endpoint);
        }
        for key in [member.validator, member.administrator, member.host] {
            if let Some(other) = keys.insert(key, name) {
                bail!("members {other} and {name} both name the key {key}; a key belongs to one member");
            }
        }
    }
    Ok(())
}
