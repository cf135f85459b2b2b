//! Which member this node is: its keys, held against what the genesis document says of it.

use crate::accounts::{StoredKey, open_keys};
use crate::ceremony::MemberRequest;
use crate::data::DataDir;
use crate::genesis::NetworkGenesis;
use anyhow::{Context, Result, anyhow, bail};
use bletchley_consortium::Member;
use bletchley_cryptlet::keys::{FileKeyStore, KeyLabel, KeyPurpose, KeyStore, Signer};
use bletchley_net::PeerKey;
use std::sync::Arc;

/// Name of each of the node's own keys in its store.
pub const OWN: &str = "node";

/// A member's own keys.
pub struct OwnKeys {
    /// Where they are.
    pub store: Arc<FileKeyStore>,
    /// Proves who this node is to the nodes of other members.
    pub peer: PeerKey,
    /// Signs checkpoints.
    pub validator: Arc<StoredKey>,
    /// Proposes, votes, and administers the registry.
    pub administrator: Arc<StoredKey>,
    /// Signs receipts.
    pub host: Arc<StoredKey>,
}

impl OwnKeys {
    /// The keys of a folder, made where absent.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn ensure(data: &DataDir) -> Result<Self> {
        let store = open_keys(data)?;
        for purpose in
            [KeyPurpose::Validator, KeyPurpose::Administrator, KeyPurpose::Host, KeyPurpose::Publisher]
        {
            StoredKey::ensure(&store, purpose, OWN)?;
        }
        store.ensure(&KeyLabel::new(KeyPurpose::Peer, OWN)?)?;
        Self::of(store, data)
    }

    /// The keys of a folder, all of which must be there.
    ///
    /// # Errors
    /// Which one is missing, and when the store refuses.
    pub fn open(data: &DataDir) -> Result<Self> {
        if !data.keys().is_dir() {
            bail!(
                "there are no keys in {}; was the folder copied without its keys? restore them from a backup",
                data.keys().display()
            );
        }
        Self::of(open_keys(data)?, data)
    }

    fn of(store: Arc<FileKeyStore>, data: &DataDir) -> Result<Self> {
        let key = |purpose: KeyPurpose| -> Result<Arc<StoredKey>> {
            let found = StoredKey::find(&store, purpose, OWN)?;
            Ok(Arc::new(found.ok_or_else(|| {
                anyhow!(
                    "the {} key is missing from {}; restore it from a backup",
                    purpose.name(),
                    data.keys().display()
                )
            })?))
        };
        let seed = store.peer_seed(OWN).context("reading this node's network key")?;
        let peer = PeerKey::from_seed(&seed).context("this node's network key is no ed25519 key")?;
        let (validator, administrator, host) =
            (key(KeyPurpose::Validator)?, key(KeyPurpose::Administrator)?, key(KeyPurpose::Host)?);
        Ok(Self { store, peer, validator, administrator, host })
    }

    /// The member that these keys make.
    #[must_use]
    pub fn member(&self, name: &str, endpoint: &str, is_validator: bool) -> Member {
        Member {
            name: name.to_owned(),
            peer: self.peer.id().0,
            validator: self.validator.address(),
            administrator: self.administrator.address(),
            host: self.host.address(),
            endpoint: endpoint.to_owned(),
            is_validator,
        }
    }

    fn same(&self, member: &Member) -> bool {
        *member == self.member(&member.name, &member.endpoint, member.is_validator)
    }
}

/// A member of a consortium, with its keys.
pub struct Identity {
    /// As everybody sees it.
    pub member: Member,
    /// Its keys.
    pub keys: OwnKeys,
}

impl Identity {
    /// The member whose keys are in this folder. A name, when given, must be that member's.
    ///
    /// # Errors
    /// When the genesis document does not name such a member, or the keys are another's.
    pub fn open(data: &DataDir, genesis: &NetworkGenesis, name: Option<&str>) -> Result<Self> {
        let keys = OwnKeys::open(data)?;
        if let Some(member) = newcomer(data, genesis, name, &keys)? {
            return Ok(Self { member, keys });
        }
        let owner = genesis.members.iter().find(|member| keys.same(member));
        let shown = data.keys().display().to_string();
        let member = match (name, owner) {
            (None, Some(owner)) => owner,
            (None, None) => bail!(
                "the keys in {shown} belong to no member of {} ({}); was the folder copied without its keys, or is the \
                 genesis document another consortium's?",
                genesis.name,
                genesis.member_names()
            ),
            (Some(name), owner) => {
                let named = genesis.member(name).ok_or_else(|| {
                    anyhow!(
                        "{} has no member {name:?}; its members are {}",
                        genesis.name,
                        genesis.member_names()
                    )
                })?;
                match owner {
                    Some(owner) if owner.name == named.name => named,
                    Some(owner) => bail!(
                        "the keys in {shown} are those of member {}, not of {name}; start {name} on its own folder",
                        owner.name
                    ),
                    None => bail!(
                        "the keys in {shown} are not those that the genesis document names for member {name}; \
                         restore {name}'s keys from a backup"
                    ),
                }
            }
        };
        Ok(Self { member: member.clone(), keys })
    }
}

/// Who this node is when the genesis document names nobody with its keys, but its folder holds its own request to be
/// admitted, or to have new keys under its name: it follows from genesis, and the others let it in once they have voted.
fn newcomer(
    data: &DataDir,
    genesis: &NetworkGenesis,
    name: Option<&str>,
    keys: &OwnKeys,
) -> Result<Option<Member>> {
    let path = data.request();
    if !path.exists() || genesis.members.iter().any(|member| keys.same(member)) {
        return Ok(None);
    }
    let member = MemberRequest::read(&path)?.member;
    let is_meant = name.is_none_or(|name| name == member.name);
    if !is_meant || !keys.same(&member) {
        return Ok(None);
    }
    tracing::info!(
        member = member.name,
        "identity.newcomer: these keys are not among the founding members'; let in by their vote"
    );
    Ok(Some(member))
}
