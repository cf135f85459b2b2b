//! Which parts of this node the report comes from.

use super::{CallCounts, LedgerSources, NodeSources, Observatory, PoolCounts};
use crate::engines::EngineThread;
use crate::genesis::{Agreement, NetworkGenesis};
use crate::identity::Identity;
use crate::joined::Beside;
use crate::ledgers::{Engines, Ledgers};
use bletchley_ledger::{Head, Machine};
use bletchley_primitives::{Height, LedgerId};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Ledgers {
    /// What this node says about itself; `node` brings what the network knows.
    pub(crate) fn observatory(
        &self,
        genesis: &NetworkGenesis,
        node: NodeSources,
        engines: &Engines,
    ) -> Arc<Observatory> {
        let observatory = Observatory::new(self.meters.clone(), node);
        let tokens = self.tokens.clone();
        let pool = Arc::new(move || PoolCounts { ready: tokens.ready(), deferred: 0 });
        let agreement = genesis.agreements.tokens;
        let mut sources = self.sources(
            genesis,
            "tokens",
            genesis.tokens().ledger,
            self.tokens.clone(),
            &agreement,
            &engines.tokens,
        );
        sources.certified = certified(engines.beside_tokens.as_ref());
        sources.pool = pool;
        observatory.add(sources);
        let (evm, machine) = (self.evm.clone(), self.evm.machine());
        let pool = Arc::new(move || {
            let (status, ready) = (evm.pool_status(), machine.ready());
            PoolCounts { ready, deferred: status.pending.saturating_add(status.queued).saturating_sub(ready) }
        });
        let agreement = genesis.agreements.evm;
        let mut sources = self.sources(
            genesis,
            "evm",
            genesis.evm.ledger_id(),
            self.evm.machine(),
            &agreement,
            &engines.evm,
        );
        sources.certified = certified(engines.beside_evm.as_ref());
        sources.pool = pool;
        observatory.add(sources);
        observatory
    }

    /// What the network of a single node knows.
    pub(crate) fn alone(&self, genesis: &NetworkGenesis, identity: &Identity) -> NodeSources {
        let mut node = NodeSources::alone(&genesis.name, &identity.member.name, identity.member.peer());
        let misbehaviours = self.misbehaviours.clone();
        node.misbehaviours = Arc::new(move || {
            let list = misbehaviours.list();
            list.iter().filter_map(|misbehaviour| serde_json::to_value(misbehaviour).ok()).collect()
        });
        let fabric = self.fabric.clone();
        node.calls = Arc::new(move || {
            let status = fabric.status();
            CallCounts {
                running: status.in_flight.saturating_add(status.waiting),
                ok: status.signed_total.saturating_sub(status.unavailable_total),
                unavailable: status.unavailable_total,
            }
        });
        node
    }

    fn sources(
        &self,
        genesis: &NetworkGenesis,
        name: &str,
        id: LedgerId,
        machine: Arc<dyn Machine>,
        agreement: &Agreement,
        engine: &EngineThread,
    ) -> LedgerSources {
        let alive = engine.alive.clone();
        let machine_name = machine.name();
        let head = Arc::new(move || -> Head { machine.head() });
        LedgerSources {
            name: name.to_owned(),
            id,
            machine: machine_name,
            engine: agreement.engine.name().to_owned(),
            schedule: genesis.schedule(agreement),
            meter: self.meters.ledger(name),
            head,
            pool: Arc::new(PoolCounts::default),
            running: Arc::new(move || alive.load(Ordering::Acquire)),
            round: Arc::new(|| None),
            certified: Arc::new(|| None),
            syncing: Arc::new(|| None),
        }
    }
}

/// The newest height with a certificate, where certificates are gathered behind the blocks.
fn certified(beside: Option<&Beside>) -> Arc<dyn Fn() -> Option<Height> + Send + Sync> {
    match beside {
        None => Arc::new(|| None),
        Some(beside) => {
            let certificates = beside.certificates.clone();
            Arc::new(move || Some(certificates.certified()))
        }
    }
}
