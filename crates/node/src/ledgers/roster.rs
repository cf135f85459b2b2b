//! The ledgers that this node has now, by name: whoever does something for each of them asks here each time.

use super::hosted::Hosted;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Ledgers by name. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Roster(Arc<RwLock<BTreeMap<String, Arc<Hosted>>>>);

impl Roster {
    /// The ledgers now.
    pub(crate) fn all(&self) -> Vec<Arc<Hosted>> {
        self.0.read().values().cloned().collect()
    }

    /// The ledger with this name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Hosted>> {
        self.0.read().get(name).cloned()
    }

    pub(super) fn add(&self, ledger: Arc<Hosted>) {
        self.0.write().insert(ledger.name.clone(), ledger);
    }

    pub(super) fn remove(&self, name: &str) {
        self.0.write().remove(name);
    }
}
