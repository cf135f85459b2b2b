//! The genesis document: everything that a stranger needs to verify the ledgers, in one file.

use crate::accounts::Named;
use crate::data::DataDir;
use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, Result, bail};
use bletchley_cryptlet::registry::Roots;
use bletchley_consensus::{FixedSchedule, PeerId, Schedule, Validator, Validators};
use bletchley_crypto::Domain;
use bletchley_evm::{Genesis as EvmGenesis, GenesisAccount};
use bletchley_ledger::ValidatorSet;
use bletchley_primitives::{LedgerId, TimestampMs};
use bletchley_token::Genesis as TokenGenesis;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

const GENESIS_DOMAIN: Domain = Domain("bletchley/node/genesis/1");
const ROOTS_DOMAIN: Domain = Domain("bletchley/node/genesis-roots/1");
const TOKENS_DOMAIN: Domain = Domain("bletchley/node/tokens/1");
/// Blocks for which a validator set stands at least.
const EPOCH_BLOCKS: u64 = 300;
/// Version of the document.
const VERSION: u32 = 1;
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

/// What this node's ledgers start from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkGenesis {
    /// Version of this document.
    pub version: u32,
    /// Name of the network.
    pub name: String,
    /// A development network: public keys, state that can be changed from outside.
    pub dev: bool,
    /// Who signs checkpoints.
    pub validators: Vec<Address>,
    /// Who may set policy and admit hosts.
    pub administrators: Vec<Address>,
    /// Accounts by name, for whoever reads along.
    pub accounts: Vec<Named>,
    /// Time of the first block of each ledger.
    pub time_ms: TimestampMs,
    /// The smart-contract ledger.
    pub evm: EvmGenesis,
}

/// Who takes part from the start.
#[derive(Clone, Debug)]
pub struct Founders {
    /// Who signs checkpoints.
    pub validator: Address,
    /// Who administers the registry.
    pub administrator: Address,
    /// Funded accounts.
    pub accounts: Vec<Named>,
}

impl NetworkGenesis {
    /// A network of one member.
    #[must_use]
    pub fn solo(dev: bool, time_ms: TimestampMs, founders: Founders) -> Self {
        let mut evm = EvmGenesis::new(if dev { DEV_CHAIN_ID } else { DEFAULT_CHAIN_ID }, time_ms);
        evm.dev = dev;
        evm.archive = dev;
        if dev {
            evm.base_fee = bletchley_evm::BaseFee::Eip1559 { initial: DEV_BASE_FEE_WEI };
        }
        for account in &founders.accounts {
            evm.alloc
                .insert(account.address, GenesisAccount { balance: FUNDS_WEI, ..GenesisAccount::default() });
        }
        Self {
            version: VERSION,
            name: if dev { "development".to_owned() } else { "bletchley".to_owned() },
            dev,
            validators: vec![founders.validator],
            administrators: vec![founders.administrator],
            accounts: founders.accounts,
            time_ms,
            evm,
        }
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
        let genesis: Self = serde_json::from_slice(&bytes).with_context(|| format!("reading {shown}"))?;
        genesis.check().with_context(|| format!("checking {shown}"))?;
        Ok(genesis)
    }

    fn check(&self) -> Result<()> {
        if self.version != VERSION {
            bail!("it has version {}, this program reads version {VERSION}", self.version);
        }
        if self.validators.len() != 1 {
            bail!("it names {} validators, the solo engine needs exactly one", self.validators.len());
        }
        if self.administrators.is_empty() {
            bail!("it names no administrators, so that nobody could register a cryptlet");
        }
        if self.dev != self.evm.dev {
            bail!("it says dev: {} for the network and {} for the EVM ledger", self.dev, self.evm.dev);
        }
        if self.time_ms != self.evm.time_ms {
            bail!("its ledgers start at different times");
        }
        self.evm.validate()?;
        Ok(())
    }

    /// Writes the document where none is; durable on return.
    ///
    /// # Errors
    /// When it cannot be written, or one is there already.
    pub fn write(&self, data: &DataDir) -> Result<()> {
        let path = data.genesis();
        let shown = path.display();
        std::fs::create_dir_all(data.root()).with_context(|| format!("making {}", data.root().display()))?;
        let part = path.with_extension("json.part");
        let file = std::fs::File::create(&part).with_context(|| format!("writing {}", part.display()))?;
        serde_json::to_writer_pretty(&file, self).with_context(|| format!("writing {shown}"))?;
        file.sync_all().with_context(|| format!("writing {shown}"))?;
        if path.exists() {
            bail!("{shown} exists already");
        }
        std::fs::rename(&part, &path).with_context(|| format!("writing {shown}"))?;
        std::fs::File::open(data.root()).and_then(|folder| folder.sync_all())?;
        Ok(())
    }

    /// Who validates when.
    #[must_use]
    pub fn schedule(&self) -> Arc<dyn Schedule> {
        let validator = |address: &Address| Validator {
            name: self.name.clone(),
            peer: PeerId(address.into_word()),
            address: *address,
        };
        let validators = Arc::new(Validators::new(self.validators.iter().map(validator)));
        Arc::new(FixedSchedule { epoch_blocks: EPOCH_BLOCKS, validators })
    }

    /// The validators as checkpoints name them.
    #[must_use]
    pub fn validator_set(&self) -> ValidatorSet {
        ValidatorSet::new(self.validators.iter().copied())
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
        Roots { registry: self.tokens().ledger, administrators: self.administrators.clone() }
    }

    /// One digest over everything that verification starts from, to compare with other members by voice.
    #[must_use]
    pub fn digest(&self) -> B256 {
        GENESIS_DOMAIN.digest(&[self.roots().as_slice(), self.evm.ledger_id().0.as_slice()])
    }

    fn roots(&self) -> B256 {
        let administrators: Vec<u8> = self.administrators.iter().flat_map(|a| a.0.0).collect();
        ROOTS_DOMAIN.digest(&[
            &self.version.to_be_bytes(),
            self.name.as_bytes(),
            &[u8::from(self.dev)],
            &self.time_ms.0.to_be_bytes(),
            self.validator_set().digest().as_slice(),
            &administrators,
        ])
    }
}
