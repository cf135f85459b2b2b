//! Which parts of this node the report comes from.

use super::{CallCounts, LedgerSources, NodeSources, Observatory, PoolCounts, Probed};
use crate::engines::EngineThread;
use crate::genesis::{Agreement, EngineName, NetworkGenesis};
use crate::governance::{EVM_LEDGER, ROOT_LEDGER};
use crate::identity::Identity;
use crate::joined::Beside;
use crate::ledgers::{Engines, Ledgers};
use bletchley_consensus::Schedule;
use bletchley_ledger::{Head, Machine};
use bletchley_primitives::LedgerId;
use bletchley_tendermint::Refusal;
use std::collections::BTreeMap;
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
        let extra = node.extra.clone();
        let observatory = Observatory::new(self.meters.clone(), node);
        let tokens = self.tokens.clone();
        let pool = Arc::new(move || PoolCounts { ready: tokens.ready(), deferred: 0 });
        let agreement = genesis.agreements.tokens;
        let mut sources = self.sources(
            genesis,
            ROOT_LEDGER,
            genesis.tokens().ledger,
            self.tokens.clone(),
            &agreement,
            &engines.tokens,
        );
        beside(&mut sources, engines.beside_tokens.as_ref(), &extra);
        let (governance, others) = (self.governance.clone(), sources.anomalies.clone());
        sources.anomalies = Arc::new(move || {
            let turned_away = ("statement_turned_away", governance.turned_away());
            others().into_iter().chain([turned_away]).collect()
        });
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
            EVM_LEDGER,
            genesis.evm.ledger_id(),
            self.evm.machine(),
            &agreement,
            &engines.evm,
        );
        beside(&mut sources, engines.beside_evm.as_ref(), &extra);
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

    /// Who validates: as the members' votes have it. A solo ledger keeps the validator of its genesis.
    fn schedule(&self, genesis: &NetworkGenesis, name: &str, agreement: &Agreement) -> Arc<dyn Schedule> {
        let voted = match (agreement.engine, name) {
            (EngineName::Solo, _) => None,
            (_, ROOT_LEDGER) => Some(self.governance.schedule_for_root()),
            _ => self.governance.schedule_for(name, Arc::new(self.evm.clone())),
        };
        voted.unwrap_or_else(|| genesis.schedule(agreement))
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
            schedule: self.schedule(genesis, name, agreement),
            meter: self.meters.ledger(name),
            head,
            pool: Arc::new(PoolCounts::default),
            running: Arc::new(move || alive.load(Ordering::Acquire)),
            round: Arc::new(|| None),
            certified: Arc::new(|| None),
            syncing: Arc::new(|| None),
            heard: Arc::new(BTreeMap::new),
            anomalies: Arc::new(Vec::new),
        }
    }
}

/// What stands beside the engine of a ledger of several members says of it. `extra` are the network's own metrics, in which
/// simplex shows its view.
fn beside(sources: &mut LedgerSources, beside: Option<&Beside>, extra: &Probed<String>) {
    let Some(beside) = beside else { return };
    let certificates = beside.certificates.clone();
    sources.certified = Arc::new(move || Some(certificates.certified()));
    let certificates = beside.certificates.clone();
    sources.heard = Arc::new(move || certificates.heard());
    let (certificates, engine) = (beside.certificates.clone(), beside.counters.clone());
    sources.anomalies = Arc::new(move || {
        let counts = certificates.counts();
        let mut all = vec![
            ("certificate_equivocation", counts.equivocations.load(Ordering::Relaxed)),
            ("certificate_disagreement", counts.disagreements.load(Ordering::Relaxed)),
        ];
        if let Some(engine) = &engine {
            all.extend(Refusal::ALL.map(|why| (why.name(), engine.refused(why))));
            all.push(("equivocation", engine.equivocations()));
            all.push(("round_lost", engine.rounds_lost()));
        }
        all
    });
    let (id, extra) = (sources.id, extra.clone());
    sources.round = match beside.counters.clone() {
        Some(counters) => Arc::new(move || Some(counters.round())),
        None => Arc::new(move || current_view(&extra(), id)),
    };
}

/// The view that simplex is in, of the newest epoch that it runs for this ledger.
fn current_view(metrics: &str, ledger: LedgerId) -> Option<u64> {
    let named = format!("id=\"{ledger}\"");
    let of_ledger = |line: &&str| line.contains("voter_state_current_view{") && line.contains(&named);
    let view = |line: &str| {
        let (labels, value) = line.rsplit_once(' ')?;
        let epoch = labels.split_once("epoch=\"")?.1.split_once('"')?.0;
        Some((epoch.parse::<u64>().ok()?, value.parse::<u64>().ok()?))
    };
    metrics.lines().filter(of_ledger).filter_map(view).max().map(|(_, view)| view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bletchley_primitives::B256;

    #[test]
    fn the_view_is_that_of_the_newest_epoch_of_the_ledger() {
        let (this, other) = (LedgerId(B256::repeat_byte(1)), LedgerId(B256::repeat_byte(2)));
        let row = |epoch: u64, ledger: LedgerId, view: u64| {
            format!(
                "ledger_simplex_engine_voter_state_current_view{{epoch=\"{epoch}\",id=\"{ledger}\"}} {view}\n"
            )
        };
        let text = [row(9, this, 40), row(10, this, 3), row(11, other, 8)].concat();
        assert_eq!([current_view(&text, this), current_view(&text, other)], [Some(3), Some(8)]);
        assert_eq!(current_view("nothing", this), None);
    }
}
