//! Signing schemes by epoch, out of the ledger's schedule.

use bletchley_consensus::{PeerId, Schedule, Validators};
use bletchley_net::public_key;
use bletchley_primitives::LedgerId;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::types::Epoch;
use commonware_cryptography::certificate::{Provider, Scoped};
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_utils::ordered::Set;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Schemes that are kept ready; older ones are made again when somebody asks for an old block.
const SCHEMES_MAX: usize = 64;

/// Makes the scheme of any epoch whose validators are known. A member that is not among them only verifies.
#[derive(Clone)]
pub(crate) struct Schemes {
    namespace: Arc<[u8]>,
    me: PrivateKey,
    schedule: Arc<dyn Schedule>,
    made: Arc<RwLock<BTreeMap<u64, Arc<Scheme>>>>,
}

impl std::fmt::Debug for Schemes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schemes").field("made", &self.made.read().len()).finish_non_exhaustive()
    }
}

fn keys(validators: &Validators) -> Set<PublicKey> {
    let peers = validators.as_slice().iter().map(|validator| validator.peer);
    Set::from_iter_dedup(peers.filter_map(|peer: PeerId| public_key(peer)))
}

impl Schemes {
    pub(crate) fn new(ledger: LedgerId, me: PrivateKey, schedule: Arc<dyn Schedule>) -> Self {
        let namespace: Arc<[u8]> = [b"bletchley/simplex/1/".as_slice(), ledger.0.as_slice()].concat().into();
        Self { namespace, me, schedule, made: Arc::default() }
    }

    /// The scheme of an epoch; none while its validators are not known.
    pub(crate) fn of(&self, epoch: u64) -> Option<Arc<Scheme>> {
        if let Some(scheme) = self.made.read().get(&epoch) {
            return Some(scheme.clone());
        }
        let keys = keys(&*self.schedule.validators(epoch)?);
        let scheme = Scheme::signer(&self.namespace, keys.clone(), self.me.clone())
            .unwrap_or_else(|| Scheme::verifier(&self.namespace, keys));
        let scheme = Arc::new(scheme);
        let mut made = self.made.write();
        if made.len() >= SCHEMES_MAX
            && let Some(oldest) = made.keys().next().copied()
        {
            made.remove(&oldest);
        }
        made.insert(epoch, scheme.clone());
        Some(scheme)
    }
}

impl Provider for Schemes {
    type Scope = Epoch;
    type Scheme = Scheme;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<Scheme>> {
        self.of(epoch.get()).map(Scoped::scheme)
    }
}
