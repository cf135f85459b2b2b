//! Epochs as the stack counts them, and signing schemes by epoch, out of the ledger's schedule.

use bletchley_consensus::{PeerId, Schedule, Validators, epoch_of, last_of};
use bletchley_net::public_key;
use bletchley_primitives::LedgerId;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::types::{Epoch, EpochInfo, Epocher, Height};
use commonware_cryptography::certificate::{Provider, Scoped};
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_utils::ordered::Set;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Schemes that are kept ready; older ones are made again when somebody asks for an old block.
const SCHEMES_MAX: usize = 64;

/// Epochs of so many blocks. The stack's own ones begin with genesis; ours begin with block 1, and genesis counts to the
/// first of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epochs(pub(crate) u64);

impl Epocher for Epochs {
    fn containing(&self, height: Height) -> Option<EpochInfo> {
        let epoch = Epoch::new(epoch_of(bletchley_primitives::Height(height.get()), self.0));
        Some(EpochInfo::new(epoch, height, self.first(epoch)?, self.last(epoch)?))
    }

    fn first(&self, epoch: Epoch) -> Option<Height> {
        match epoch.get().checked_mul(self.0)? {
            0 => Some(Height::zero()),
            before => before.checked_add(1).map(Height::new),
        }
    }

    fn last(&self, epoch: Epoch) -> Option<Height> {
        Some(Height::new(last_of(epoch.get(), self.0).0))
    }
}

/// Makes the scheme of any epoch whose validators are known. A member that is not among them only verifies.
#[derive(Clone)]
pub(crate) struct Schemes {
    namespace: Arc<[u8]>,
    me: PrivateKey,
    schedule: Arc<dyn Schedule>,
    abstains_through: Option<u64>,
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
    /// A member with the key `me`, which only verifies up to the epoch `abstains_through`.
    pub(crate) fn new(
        ledger: LedgerId,
        me: PrivateKey,
        schedule: Arc<dyn Schedule>,
        abstains_through: Option<u64>,
    ) -> Self {
        let namespace: Arc<[u8]> = [b"bletchley/simplex/1/".as_slice(), ledger.0.as_slice()].concat().into();
        Self { namespace, me, schedule, abstains_through, made: Arc::default() }
    }

    /// The scheme of an epoch; none while its validators are not known.
    pub(crate) fn of(&self, epoch: u64) -> Option<Arc<Scheme>> {
        if let Some(scheme) = self.made.read().get(&epoch) {
            return Some(scheme.clone());
        }
        let keys = keys(&*self.schedule.validators(epoch)?);
        let votes = self.abstains_through.is_none_or(|last| epoch > last);
        let signer = || Scheme::signer(&self.namespace, keys.clone(), self.me.clone());
        let scheme = votes.then(signer).flatten().unwrap_or_else(|| Scheme::verifier(&self.namespace, keys));
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bletchley_consensus::{FixedSchedule, Validator};
    use commonware_cryptography::Signer as _;
    use commonware_cryptography::certificate::Scheme as _;

    #[test]
    fn a_member_that_abstains_only_verifies_until_the_epoch_is_over() {
        let key = PrivateKey::from_seed(1);
        let others = [2, 3, 4].map(PrivateKey::from_seed);
        let validator = |key: &PrivateKey| Validator {
            name: String::new(),
            peer: bletchley_net::peer_id(&key.public_key()),
            address: bletchley_primitives::Address::ZERO,
        };
        let validators = Validators::new(others.iter().chain([&key]).map(validator));
        let schedule = Arc::new(FixedSchedule { epoch_blocks: 10, validators: Arc::new(validators) });
        let votes = |abstains_through| {
            let schemes = Schemes::new(LedgerId::default(), key.clone(), schedule.clone(), abstains_through);
            [0, 6, 7, 8].map(|epoch| schemes.of(epoch).unwrap().me().is_some())
        };
        assert_eq!(votes(None), [true; 4]);
        assert_eq!(votes(Some(6)), [false, false, true, true]);
    }

    #[test]
    fn epochs_begin_with_block_one() {
        let epochs = Epochs(10);
        let of = |height| {
            let info = epochs.containing(Height::new(height)).unwrap();
            (info.epoch().get(), info.first().get(), info.last().get())
        };
        assert_eq!([of(0), of(1), of(10)], [(0, 0, 10); 3]);
        assert_eq!([of(11), of(20)], [(1, 11, 20); 2]);
    }
}
