//! The ledgers of a node: the two that every consortium is founded with, and those that votes created. Opened and started
//! by the same function each ([`hosted`]), and found in one [`Roster`].

mod further;
mod ground;
mod hosted;
mod roster;
pub(crate) mod voted;

pub(crate) use further::{Following, Shown};
pub(crate) use ground::{Footing, Ground};
pub(crate) use hosted::{Hosted, LedgerGenesis, RootOf};
pub(crate) use roster::Roster;

use crate::bootstrap;
use crate::calls::Wiring;
use crate::genesis::{Agreement, NetworkGenesis};
use crate::governance::{EVM_LEDGER, Governance, ROOT_LEDGER, founding};
use crate::joined::Kind;
use crate::network::Sharing;
use crate::publishing::{Publisher, PublisherParts};
use anyhow::{Context, Result};
use bletchley_api::rest::{Finalities, RestContext};
use bletchley_api::{ApiOptions, DevMode, Probe};
use bletchley_consensus::{Cadence, Schedule};
use bletchley_consortium::Member;
use bletchley_cryptlet::calls::Calls;
use bletchley_cryptlet::registry::{RegistryView, TokenRegistry};
use bletchley_evm::EvmLedger;
use bletchley_token::TokenMachine;
use hosted::{Contracts, Opened, Plan};
use std::sync::Arc;

/// The ledgers of a node.
pub(crate) struct Ledgers {
    pub(crate) ground: Arc<Ground>,
    /// All of them, by name.
    pub(crate) roster: Roster,
    /// The root ledger: registry, and place of votes.
    pub(crate) root: Arc<Hosted>,
    /// Its machine.
    pub(crate) tokens: Arc<TokenMachine>,
    /// The first smart-contract ledger.
    pub(crate) contracts: Arc<Hosted>,
    /// Its machine.
    pub(crate) evm: EvmLedger,
}

/// How a ledger comes to its blocks now: votes may have changed the pace since genesis.
fn agreed(governance: &Governance, name: &str, agreement: Agreement) -> Agreement {
    match governance.standing().ledger(name) {
        Some(record) => {
            Agreement { block_ms: record.spec.block_ms, heartbeat_ms: record.spec.heartbeat_ms, ..agreement }
        }
        None => agreement,
    }
}

impl Ledgers {
    /// Opens the ledgers that every consortium is founded with. No engine runs yet.
    ///
    /// # Errors
    /// What keeps a ledger from being opened.
    pub(crate) fn open(footing: Footing<'_>) -> Result<Self> {
        let genesis = footing.genesis.clone();
        let opening = || format!("consortium {} (genesis {})", genesis.name, genesis.digest());
        let circle = footing.network.map(|network| network.everybody());
        let plan = Plan {
            name: ROOT_LEDGER.to_owned(),
            genesis: LedgerGenesis::Tokens(genesis.tokens()),
            agreement: genesis.agreements.tokens,
        };
        let mut root = Opened::root(&footing.config.data, plan).with_context(opening)?;
        let Kind::Tokens(tokens) = root.kind().clone() else { unreachable_kind()? };
        let governance = Governance::open(tokens.clone(), &founding(&genesis))?;
        let registry =
            TokenRegistry::following(tokens.clone(), genesis.registry_roots(), governance.votes())?;
        let registry = Arc::new(registry);
        let ground = Arc::new(Ground::new(footing, governance.clone(), registry)?);
        root.agree(agreed(&governance, ROOT_LEDGER, genesis.agreements.tokens));
        let agreement = genesis.agreements.tokens;
        let schedule = solo_or(&genesis, &agreement, governance.schedule_for_root());
        let root = Arc::new(root.hosted(schedule, circle.clone(), ground.meters.ledger(ROOT_LEDGER)));
        let plan = Plan {
            name: EVM_LEDGER.to_owned(),
            genesis: LedgerGenesis::Evm(Box::new(genesis.evm.clone())),
            agreement: agreed(&governance, EVM_LEDGER, genesis.agreements.evm),
        };
        let opened = Opened::open(plan, &ground).with_context(opening)?;
        let Kind::Evm(evm) = opened.kind().clone() else { unreachable_kind()? };
        let schedule = governance.schedule_for(EVM_LEDGER, Arc::new(evm.clone()));
        let schedule = schedule.context("the consortium has no smart-contract ledger")?;
        let schedule = solo_or(&genesis, &genesis.agreements.evm, schedule);
        let contracts = Arc::new(opened.hosted(schedule, circle, ground.meters.ledger(EVM_LEDGER)));
        let roster = Roster::default();
        roster.add(root.clone());
        roster.add(contracts.clone());
        Ok(Self { ground, roster, root, tokens, contracts, evm })
    }

    /// Starts the engines of the founding ledgers.
    ///
    /// # Errors
    /// What keeps one from starting.
    pub(crate) fn start(&self) -> Result<()> {
        // Registrations follow each other without a pause; the ledger's own pace begins after them.
        self.root.cadence.set(Cadence::Automine);
        self.root.start(&self.ground)?;
        self.contracts.start(&self.ground)
    }

    /// Lets members' fabrics call each other's hosts, on the line of the first smart-contract ledger; none on a single node.
    ///
    /// # Errors
    /// What the operating system said when it was asked for threads.
    pub(crate) fn start_calls(
        &self,
        members: &[Member],
        parts: &bootstrap::Parts,
    ) -> Result<Option<Arc<Calls>>> {
        let wiring = || Wiring { members, bootstrap: None };
        self.root.start_calls(&self.ground, wiring())?;
        let bootstrap = Some((parts.requests.clone(), &*parts.calls));
        self.contracts.start_calls(&self.ground, Wiring { bootstrap, ..wiring() })
    }

    /// The root ledger's own pace, once what a lone member registers at its start is registered.
    pub(crate) fn settle_pace(&self) {
        let agreement = agreed(&self.ground.governance, ROOT_LEDGER, self.root.agreement);
        self.root.set_cadence(agreement.cadence());
    }

    /// Who hears of each ledger, and who votes on its next block.
    pub(crate) fn sharing(roster: &Roster) -> Vec<Sharing> {
        roster.all().iter().filter_map(|ledger| ledger.sharing()).collect()
    }

    pub(crate) fn api_options(&self, dev: Option<DevMode>) -> ApiOptions {
        let roster = self.roster.clone();
        let running: Probe = Arc::new(move || {
            let all = roster.all().iter().all(|ledger| ledger.is_running());
            if all { Ok(()) } else { Err("an engine has ended; the node is stopping".to_owned()) }
        });
        let registry = self.ground.registry.clone();
        let name = move |id| {
            let found = registry.resolve(id, registry.anchor().height)?;
            Some(found.package.release.name.clone())
        };
        ApiOptions {
            dev,
            healthy: running.clone(),
            ready: running,
            cryptlet_name: Arc::new(name),
            ..ApiOptions::default()
        }
    }

    /// What registering needs: `requests` and `calls` of it are to be shared with the calls between members.
    pub(crate) fn bootstrap_parts(&self, members: bootstrap::MembersNow) -> bootstrap::Parts {
        let ground = &self.ground;
        let keys = &ground.identity.keys;
        bootstrap::Parts {
            member: ground.identity.member.name.clone(),
            keys: keys.store.clone(),
            administrator: keys.administrator.clone(),
            host_key: keys.host.clone(),
            host: ground.host.clone(),
            members,
            tokens: self.tokens.clone(),
            registry: ground.registry.clone(),
            content: ground.content.clone(),
            fetcher: ground.fetcher.clone(),
            profile: ground.container.profile().digest(),
            claims: ground.claims(),
            requests: bootstrap::HostRequests::default(),
            calls: Arc::default(),
        }
    }

    /// What publishes cryptlets in this member's name.
    ///
    /// # Errors
    /// As [`Publisher::open`].
    pub(crate) fn publisher(&self) -> Result<Publisher> {
        let ground = &self.ground;
        let parts = PublisherParts {
            tokens: self.tokens.clone(),
            registry: ground.registry.clone(),
            content: ground.content.clone(),
            fetcher: ground.fetcher.clone(),
        };
        Publisher::open(parts, &ground.identity, &ground.data)
    }

    /// What the REST interface reaches.
    ///
    /// # Errors
    /// When the first smart-contract ledger has no fabric.
    pub(crate) fn rest_context(&self, admin_token: &str) -> Result<RestContext> {
        let (ground, genesis) = (&self.ground, &self.ground.genesis);
        let Some(Contracts { fabric, .. }) = &self.contracts.contracts else { unreachable_kind()? };
        Ok(RestContext {
            tokens: self.tokens.clone(),
            registry: ground.registry.clone(),
            evm: self.evm.clone(),
            finality: self.finalities(),
            consortium: Some(Arc::new(ground.governance.clone())),
            fabric: fabric.clone(),
            fetcher: ground.fetcher.clone(),
            network: serde_json::json!({
                "name": genesis.name, "dev": genesis.dev, "genesis": genesis.digest(),
                "chainId": genesis.evm.chain_id, "accounts": genesis.accounts,
                "member": ground.identity.member.name, "members": genesis.members, "agreements": genesis.agreements,
            }),
            admin_token: admin_token.to_owned(),
            publishing: Some(Arc::new(self.publisher()?)),
            mirrors: Arc::default(),
        })
    }

    /// Certificates of every ledger.
    fn finalities(&self) -> Finalities {
        let roster = self.roster.clone();
        let of = move |name: &str| roster.get(name).map(|ledger| ledger.finality());
        Finalities { tokens: self.root.finality(), evm: self.contracts.finality(), of: Arc::new(of) }
    }

    /// Ends every engine after the block that it is making; what is left ends with [`Stopping::finish`].
    pub(crate) fn stop_engines(&self) -> Stopping {
        Stopping(self.roster.all().into_iter().map(|ledger| (ledger.stop_engine(), ledger)).collect())
    }
}

/// Ledgers whose engines have ended.
pub(crate) struct Stopping(Vec<(hosted::Stopped, Arc<Hosted>)>);

impl Stopping {
    /// Ends what stood beside the engines.
    pub(crate) fn finish(self) {
        self.0.into_iter().for_each(|(stopped, ledger)| stopped.finish(&ledger));
    }
}

/// A solo ledger keeps its validator: its certificates are complete before the votes in a block are counted.
fn solo_or(genesis: &NetworkGenesis, agreement: &Agreement, voted: Arc<dyn Schedule>) -> Arc<dyn Schedule> {
    if agreement.is_solo() { genesis.schedule(agreement) } else { voted }
}

fn unreachable_kind<T>() -> Result<T> {
    anyhow::bail!("a founding ledger is of another kind than the genesis document makes it")
}
