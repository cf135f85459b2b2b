//! Ledgers that votes create: started as soon as the vote is final, and when the node starts; stopped when this member no
//! longer takes part.

use super::hosted::{Hosted, Opened};
use super::{Ground, Roster, voted};
use crate::calls::{Wiring, hosts_of};
use crate::genesis::Agreement;
use crate::joined::Kind;
use crate::status::{Observatory, Probed, sources};
use anyhow::{Context, Result};
use bletchley_api::rest::{Finalities, LedgerRest, RestContext};
use bletchley_api::{ApiContext, ApiOptions, LedgerMounts};
use bletchley_consortium::{Member, Standing};
use bletchley_net::Circle;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it is looked whether a ledger that did not start starts now, or one can be let go of.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Where a ledger shows itself.
pub(crate) struct Shown {
    pub(crate) observatory: Arc<Observatory>,
    /// The network's own metrics.
    pub(crate) extra: Probed<String>,
    pub(crate) mounts: LedgerMounts,
    /// The interface of the first ledgers.
    pub(crate) rest: RestContext,
    pub(crate) options: ApiOptions,
}

/// What a look came to for each ledger that did not start.
type Troubles = Arc<Mutex<BTreeMap<String, String>>>;

struct Further {
    ground: Arc<Ground>,
    roster: Roster,
    shown: Shown,
    troubles: Troubles,
}

/// Looks after the ledgers that votes create, on a thread of its own.
pub(crate) struct Following {
    look: SyncSender<bool>,
    thread: JoinHandle<()>,
}

impl Following {
    /// Starts every ledger that stands and that this member shares, then follows the votes.
    ///
    /// # Errors
    /// When no thread can be started. A ledger that does not start is shown in `/status` and tried again.
    pub(crate) fn start(ground: &Arc<Ground>, roster: &Roster, shown: Shown) -> Result<Self> {
        let troubles = Troubles::default();
        let known = troubles.clone();
        shown.observatory.warn_of(Arc::new(move || known.lock().values().cloned().collect()));
        let further = Further { ground: ground.clone(), roster: roster.clone(), shown, troubles };
        further.look();
        // One request that waits is enough: a look sees everything.
        let (look, asked) = sync_channel::<bool>(1);
        let ask = look.clone();
        ground.governance.on_change(move |_| {
            let _ = ask.try_send(true);
        });
        let run = move || {
            loop {
                match asked.recv_timeout(LOOK_INTERVAL) {
                    Ok(true) | Err(RecvTimeoutError::Timeout) => further.look(),
                    Ok(false) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("ledgers".to_owned()).spawn(run);
        Ok(Self { look, thread: thread.context("starting a thread")? })
    }

    /// Follows no more votes; ledgers that run go on.
    pub(crate) fn stop(self) {
        let _ = self.look.send(false);
        let _ = self.thread.join();
    }
}

/// The members that share a ledger now.
fn members_of(standing: &Standing, name: &str) -> Vec<Member> {
    standing.ledger_members(name).unwrap_or_default().into_iter().cloned().collect()
}

impl Further {
    /// Starts what is to run and does not, stops what is not to run any more, and follows the pace and members of the rest.
    fn look(&self) {
        let standing = self.ground.governance.standing();
        for ledger in self.roster.all() {
            self.follow(&standing, &ledger);
        }
        let further = standing.ledgers().map(|record| &record.spec);
        for spec in further.filter(|spec| !voted::is_founding(&spec.name)) {
            let shares = members_of(&standing, &spec.name).iter().any(|member| self.is_me(member));
            match self.roster.get(&spec.name) {
                None if shares => self.try_start(&spec.name),
                Some(ledger) if !shares => self.let_go(&ledger),
                _ => {}
            }
        }
    }

    fn is_me(&self, member: &Member) -> bool {
        member.name == self.ground.identity.member.name
    }

    /// Pace by vote: engines of several members ask for it at each block and only have to be woken.
    fn follow(&self, standing: &Standing, ledger: &Hosted) {
        if let Some(record) = standing.ledger(&ledger.name) {
            let spec = &record.spec;
            let now =
                Agreement { block_ms: spec.block_ms, heartbeat_ms: spec.heartbeat_ms, ..ledger.agreement };
            ledger.follow_pace(now);
        }
        let members = members_of(standing, &ledger.name);
        if let Some(calls) = ledger.calls().filter(|_| !voted::is_founding(&ledger.name)) {
            calls.set_members(hosts_of(&members));
        }
    }

    fn try_start(&self, name: &str) {
        let started = self.start(name);
        let mut troubles = self.troubles.lock();
        match started {
            Ok(()) => {
                troubles.remove(name);
            }
            Err(error) => {
                let words = format!("ledger {name} does not start: {error:#}");
                let before = troubles.insert(name.to_owned(), words.clone());
                if before.as_ref() != Some(&words) {
                    tracing::error!(ledger = name, error = words, "ledgers.start: it is tried again");
                }
            }
        }
    }

    fn start(&self, name: &str) -> Result<()> {
        let ground = &self.ground;
        let governance = &ground.governance;
        let standing = governance.standing();
        let record = standing.ledger(name).context("the vote that created it is not here")?;
        let plan = voted::plan(&ground.genesis, governance, name)?;
        let is_solo = plan.agreement.is_solo();
        let opened = Opened::open(plan, ground)?;
        let schedule = if is_solo {
            voted::fixed_schedule(governance, name)?
        } else {
            let schedule = governance.schedule_for(name, opened.anchors());
            schedule.context("the vote that created it is not here")?
        };
        let members = members_of(&standing, name);
        let circle = match ground.network() {
            _ if is_solo => None,
            Ok(network) if !record.spec.is_subset() => Some(network.everybody()),
            Ok(_) => Some(Circle::new(members.iter().map(Member::peer))),
            Err(error) => return Err(error),
        };
        let ledger = Arc::new(opened.hosted(schedule, circle, ground.meters.ledger(name)));
        ledger.start(ground)?;
        ledger.start_calls(ground, Wiring { members: &members, bootstrap: None })?;
        self.roster.add(ledger.clone());
        self.shown.show(&ledger);
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        let (id, height) = (ledger.id, ledger.head().height);
        tracing::info!(ledger = name, %id, %height, members = names.join(", "), "ledgers.start");
        Ok(())
    }

    /// Stops a ledger that this member shares no longer, once it does not vote on the next block any more either.
    fn let_go(&self, ledger: &Arc<Hosted>) {
        let me = self.ground.identity.member.peer();
        if ledger.sharing().is_some_and(|sharing| sharing.validators.contains(&me)) {
            return;
        }
        tracing::warn!(
            ledger = ledger.name,
            "ledgers.stop: this member shares it no longer; its data stay where they are"
        );
        self.shown.hide(&ledger.name);
        self.roster.remove(&ledger.name);
        let stopped = ledger.stop_engine();
        if let Some(Err(error)) = ledger.certificates().map(|certificates| certificates.write()) {
            tracing::warn!(ledger = ledger.name, %error, "certificates.write");
        }
        stopped.finish(ledger);
    }
}

impl Shown {
    fn show(&self, ledger: &Arc<Hosted>) {
        self.observatory.add(sources(ledger, &self.extra));
        let finality = ledger.finality();
        let base = &self.rest;
        let (rpc, rest) = match &ledger.kind {
            Kind::Tokens(tokens) => {
                let finality = Finalities { tokens: finality, ..base.finality.clone() };
                // Entries there mean nothing to the consortium: its place of votes is the root ledger.
                let context =
                    RestContext { tokens: tokens.clone(), finality, consortium: None, ..base.clone() };
                (None, LedgerRest { context, has_contracts: false })
            }
            Kind::Evm(evm) => {
                let finality = Finalities { evm: finality, ..base.finality.clone() };
                let context = RestContext { evm: evm.clone(), finality, ..base.clone() };
                let operation = self.observatory.operation(&ledger.name);
                let options = ApiOptions { operation, ..self.options.clone() };
                let feed = ledger.feed();
                let rpc = ApiContext::new(evm.clone(), feed, options);
                (Some(rpc), LedgerRest { context, has_contracts: true })
            }
        };
        self.mounts.add(&ledger.name, rpc, rest);
    }

    fn hide(&self, name: &str) {
        self.mounts.remove(name);
        self.observatory.remove(name);
    }
}
