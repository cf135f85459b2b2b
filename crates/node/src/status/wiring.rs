//! Which parts of this node the report comes from.

use super::{CallCounts, LedgerSources, NodeSources, Observatory, PoolCounts, Probed};
use crate::joined::Kind;
use crate::ledgers::{Hosted, Ledgers, Roster};
use bletchley_ledger::Machine as _;
use bletchley_primitives::LedgerId;
use bletchley_tendermint::Refusal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Ledgers {
    /// What this node says about itself; `node` brings what the network knows.
    pub(crate) fn observatory(&self, node: NodeSources) -> Arc<Observatory> {
        let extra = node.extra.clone();
        let observatory = Observatory::new(self.ground.meters.clone(), node);
        let mut root = sources(&self.root, &extra);
        let (governance, others) = (self.ground.governance.clone(), root.anomalies.clone());
        root.anomalies = Arc::new(move || {
            let turned_away = ("statement_turned_away", governance.turned_away());
            others().into_iter().chain([turned_away]).collect()
        });
        observatory.add(root);
        observatory.add(sources(&self.contracts, &extra));
        observatory
    }

    /// What the network of a single node knows.
    pub(crate) fn alone(&self) -> NodeSources {
        let ground = &self.ground;
        let member = &ground.identity.member;
        let mut node = NodeSources::alone(&ground.genesis.name, &member.name, member.peer());
        let misbehaviours = ground.misbehaviours.clone();
        node.misbehaviours = Arc::new(move || {
            let list = misbehaviours.list();
            list.iter().filter_map(|misbehaviour| serde_json::to_value(misbehaviour).ok()).collect()
        });
        let roster = self.roster.clone();
        node.calls = Arc::new(move || calls(&roster));
        node
    }
}

/// Delegated calls of all ledgers together.
fn calls(roster: &Roster) -> CallCounts {
    let ledgers = roster.all();
    let fabrics = ledgers.iter().filter_map(|ledger| ledger.contracts.as_ref());
    fabrics.map(|contracts| contracts.fabric.status()).fold(CallCounts::default(), |all, status| CallCounts {
        running: all.running.saturating_add(status.in_flight).saturating_add(status.waiting),
        ok: all.ok.saturating_add(status.signed_total.saturating_sub(status.unavailable_total)),
        unavailable: all.unavailable.saturating_add(status.unavailable_total),
    })
}

/// What is shown of one ledger. `extra` are the network's own metrics.
pub(crate) fn sources(ledger: &Arc<Hosted>, extra: &Probed<String>) -> LedgerSources {
    let machine = ledger.machine();
    let pool: Probed<PoolCounts> = match ledger.kind.clone() {
        Kind::Tokens(tokens) => Arc::new(move || PoolCounts { ready: tokens.ready(), deferred: 0 }),
        Kind::Evm(evm) => {
            let machine = machine.clone();
            Arc::new(move || {
                let (status, ready) = (evm.pool_status(), machine.ready());
                let waiting = status.pending.saturating_add(status.queued);
                PoolCounts { ready, deferred: waiting.saturating_sub(ready) }
            })
        }
    };
    let running = ledger.clone();
    let mut sources = LedgerSources {
        name: ledger.name.clone(),
        id: ledger.id,
        machine: machine.name(),
        engine: ledger.agreement.engine.name().to_owned(),
        schedule: ledger.schedule.clone(),
        meter: ledger.meter.clone(),
        head: Arc::new(move || machine.head()),
        pool,
        running: Arc::new(move || running.is_running()),
        round: Arc::new(|| None),
        certified: Arc::new(|| None),
        syncing: Arc::new(|| None),
        heard: Arc::new(BTreeMap::new),
        anomalies: Arc::new(Vec::new),
    };
    beside(&mut sources, ledger, extra);
    sources
}

/// What stands beside the engine of a ledger of several members says of it. `extra` are the network's own metrics, in which
/// simplex shows its view.
fn beside(sources: &mut LedgerSources, ledger: &Hosted, extra: &Probed<String>) {
    let Some(certificates) = ledger.certificates() else { return };
    let counters = ledger.counters();
    let known = certificates.clone();
    sources.certified = Arc::new(move || Some(known.certified()));
    let known = certificates.clone();
    sources.heard = Arc::new(move || known.heard());
    let engine = counters.clone();
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
    sources.round = match counters {
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
