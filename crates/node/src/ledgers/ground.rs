//! What all ledgers of a node stand on.

use crate::calls::CONSORTIUM_WORKERS;
use crate::containers;
use crate::data::DataDir;
use crate::engines::Ended;
use crate::genesis::NetworkGenesis;
use crate::governance::Governance;
use crate::identity::{Identity, OWN};
use crate::metrics::{Meters, PeerNames};
use crate::misbehaviour::Misbehaviours;
use crate::network::MemberNetwork;
use crate::node::NodeConfig;
use anyhow::{Context, Result};
use bletchley_cryptlet::aot::{AOT_SECRET_SIZE_BYTES, AotCache, AotSecret};
use bletchley_cryptlet::container::Container;
use bletchley_cryptlet::content::FolderContent;
use bletchley_cryptlet::fabric::{Fabric, FabricConfig, FabricParts, LocalHost};
use bletchley_cryptlet::fetch::HttpFetcher;
use bletchley_cryptlet::keys::{KeyLabel, KeyPurpose};
use bletchley_cryptlet::registry::{Claim, TokenRegistry};
use std::sync::{Arc, Weak};

/// Who this node is, whom it meets, what it keeps and counts; shared by its ledgers.
pub(crate) struct Ground {
    pub(crate) data: DataDir,
    /// Keep the state of every block.
    pub(crate) archive: bool,
    pub(crate) genesis: Arc<NetworkGenesis>,
    pub(crate) identity: Arc<Identity>,
    /// The node owns the network, and ends it when the ledgers have ended.
    network: Option<Weak<MemberNetwork>>,
    pub(crate) governance: Governance,
    pub(crate) registry: Arc<TokenRegistry>,
    pub(crate) content: Arc<FolderContent>,
    pub(crate) fetcher: Arc<HttpFetcher>,
    pub(crate) container: Arc<dyn Container>,
    pub(crate) host: Arc<LocalHost>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) misbehaviours: Arc<Misbehaviours>,
    /// Where engines say that they have ended.
    pub(crate) ended: Ended,
}

/// What a node brings to its ledgers.
pub(crate) struct Footing<'a> {
    pub(crate) config: &'a NodeConfig,
    pub(crate) genesis: Arc<NetworkGenesis>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) network: Option<&'a Arc<MemberNetwork>>,
    pub(crate) ended: Ended,
}

impl Ground {
    pub(super) fn new(
        footing: Footing<'_>,
        governance: Governance,
        registry: Arc<TokenRegistry>,
    ) -> Result<Self> {
        let Footing { config, genesis, identity, network, ended } = footing;
        let data = &config.data;
        let content = Arc::new(FolderContent::open(&data.content())?);
        let fetcher = Arc::new(HttpFetcher::default());
        let aot = AotCache::open(&data.compiled(), compiled_secret(data)?)?;
        let container = containers::open(Some(aot), fetcher.clone(), config.cryptlets)?;
        let label = KeyLabel::new(KeyPurpose::Host, OWN)?;
        let keys = identity.keys.store.clone();
        let host = Arc::new(LocalHost::open(container.clone(), content.clone(), keys, label)?);
        let meters = Arc::<Meters>::default();
        Ok(Self {
            data: data.clone(),
            archive: config.archive,
            genesis,
            identity,
            network: network.map(Arc::downgrade),
            governance,
            registry,
            content,
            fetcher,
            container,
            host,
            misbehaviours: Arc::new(Misbehaviours::counted(meters.clone())),
            meters,
            ended,
        })
    }

    /// Names of members by their nodes' keys, those who left included.
    pub(crate) fn names(&self) -> PeerNames {
        let governance = self.governance.clone();
        Arc::new(move |peer| {
            let standing = governance.standing();
            let mut records = standing.records();
            records.find(|record| record.member.peer() == peer).map(|record| record.member.name.clone())
        })
    }

    /// What the host says about how it keeps cryptlets from itself.
    pub(crate) fn claims(&self) -> Vec<Claim> {
        let claims = self.container.claims().into_iter();
        claims.map(|(name, value)| Claim { name: name.to_owned(), value }).collect()
    }

    /// The network, for a ledger that needs one.
    ///
    /// # Errors
    /// When this node has none, or it has ended.
    pub(crate) fn network(&self) -> Result<Arc<MemberNetwork>> {
        let network = self.network.as_ref().context("this node has no network")?;
        network.upgrade().context("the network has ended")
    }

    /// A fabric for the delegated calls of one ledger.
    ///
    /// # Errors
    /// What the operating system said when it was asked for threads.
    pub(crate) fn fabric(&self) -> Result<Fabric> {
        let hosts: Vec<Arc<dyn bletchley_cryptlet::fabric::Host>> = vec![self.host.clone()];
        let parts = FabricParts { registry: self.registry.clone(), content: self.content.clone(), hosts };
        let usual = FabricConfig::default();
        // Calls of a consortium wait for other members' hosts most of their time.
        let workers = if self.network.is_some() { CONSORTIUM_WORKERS } else { usual.workers };
        Ok(Fabric::start(parts, FabricConfig { workers, ..usual })?)
    }
}

/// The secret that seals compiled cryptlets, made at the first start; only the node's user may read it.
fn compiled_secret(data: &DataDir) -> Result<AotSecret> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let path = data.compiled_secret();
    if !path.exists() {
        let mut bytes = zeroize::Zeroizing::new([0u8; AOT_SECRET_SIZE_BYTES]);
        getrandom::fill(&mut *bytes).context("asking the operating system for random bytes")?;
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(&*bytes).and_then(|()| file.sync_all()));
        written.with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(AotSecret::from_file(&path)?)
}
