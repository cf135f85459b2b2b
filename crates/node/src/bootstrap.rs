//! What a member keeps registered: its host, a policy that names the hosts of all members, the ready-made cryptlets, and
//! a key of each cryptlet on its host. A component beside consensus: it looks at what the registry says, and sends the
//! one entry that is missing next, until nothing is.
//!
//! Who does it: each member admits its own host, as soon as the votes that this node knows make its administrator one of
//! the registry's; until then its host signs its half, and another member's administrator may sign the other. The policy
//! and the ready-made cryptlets are the first member's by name; the others take over one after the other when that takes
//! too long. What two members send at once is counted once, because the registry passes over what comes second.

use crate::accounts::StoredKey;
use crate::containers;
use crate::identity::OWN;
use anyhow::{Context, Result, bail};
use bletchley_consortium::Member;
use bletchley_cryptlet::calls::Calls;
use bletchley_cryptlet::content::{Content, ContentId, Durability};
use bletchley_cryptlet::fabric::LocalHost;
use bletchley_cryptlet::fetch::HttpFetcher;
use bletchley_cryptlet::keys::{FileKeyStore, KeyLabel, KeyPurpose, KeyStore, Signer};
use bletchley_cryptlet::manifest::Isolation;
use bletchley_cryptlet::package::Package;
use bletchley_cryptlet::policy::{Policy, QUORUM_MAX};
use bletchley_cryptlet::registry::{
    Claim, EVIDENCE_SOFTWARE, Entry, HostEntry, HostProfile, Registrar, RegistryView, ReleaseStatus,
    Resolved, SignedEntry, TokenRegistry,
};
use bletchley_ledger::Machine;
use bletchley_primitives::{Address, B256, TxId};
use bletchley_token::{SignedTx, TokenMachine};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Longest wait for a registration to enter a block, where this node makes the blocks alone.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked for.
const REGISTER_CHECK_INTERVAL: Duration = Duration::from_millis(2);
/// How often it is looked what is missing, while something is.
const STEP_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is looked whether something is missing.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a member waits for each one that is responsible before it.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// How long a first policy waits for the hosts of all members.
const SETTLE: Duration = Duration::from_secs(5);
/// How often a host that a founder has to admit asks for it.
const ASK_INTERVAL: Duration = Duration::from_secs(5);
/// When a transaction that is in no block is sent anew, with what the registry says then.
const RESEND: Duration = Duration::from_secs(20);
/// Most hosts that wait to be admitted.
const REQUESTS_MAX: usize = 128;

/// Who the members are now.
pub(crate) type MembersNow = Arc<dyn Fn() -> Vec<Member> + Send + Sync>;

/// What registering needs.
#[derive(Clone)]
pub(crate) struct Parts {
    /// This member's name.
    pub(crate) member: String,
    pub(crate) keys: Arc<FileKeyStore>,
    pub(crate) administrator: Arc<StoredKey>,
    pub(crate) host_key: Arc<StoredKey>,
    pub(crate) host: Arc<LocalHost>,
    pub(crate) members: MembersNow,
    pub(crate) tokens: Arc<TokenMachine>,
    pub(crate) registry: Arc<TokenRegistry>,
    pub(crate) content: Arc<dyn Content>,
    pub(crate) fetcher: Arc<HttpFetcher>,
    /// Digest of the profile that this member's host computes under.
    pub(crate) profile: B256,
    /// What this member's host says about itself, above all how it keeps cryptlets from itself.
    pub(crate) claims: Vec<Claim>,
    pub(crate) requests: HostRequests,
    /// Asks a founder to admit this host.
    pub(crate) calls: Arc<OnceLock<Arc<Calls>>>,
}

/// Hosts that ask to be admitted, from members whose administrators the registry does not know yet.
#[derive(Clone, Default)]
pub(crate) struct HostRequests(Arc<Mutex<VecDeque<SignedEntry>>>);

impl HostRequests {
    /// Takes in a request; beyond the bound the oldest leaves, and asks again.
    pub(crate) fn take(&self, request: SignedEntry) {
        let mut all = self.0.lock();
        if all.contains(&request) {
            return;
        }
        if all.len() >= REQUESTS_MAX {
            all.pop_front();
        }
        all.push_back(request);
    }
}

/// Hosts that must sign a receipt, of a consortium with so many validators: more than can be faulty, and never one alone
/// where there are several.
pub(crate) fn quorum_for(validators: usize) -> u64 {
    let faulty = validators.saturating_sub(1) / 3;
    let least = if validators > 1 { 2 } else { 1 };
    (faulty as u64).saturating_add(1).max(least).min(QUORUM_MAX)
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing is missing.
    Done,
    /// Something is on its way, or somebody else's turn.
    Waits(String),
    /// This was sent.
    Sent(String),
}

struct Sent {
    id: TxId,
    what: String,
    since: Instant,
}

/// What is missing next.
enum Next {
    Nothing,
    Wait(String),
    Send(String, Box<SignedTx>),
}

/// The component, step by step.
pub(crate) struct Bootstrap {
    parts: Parts,
    publisher: StoredKey,
    ready_made: Vec<Package>,
    sent: Option<Sent>,
    /// Since when something is missing that others may send too.
    missing_since: BTreeMap<String, Instant>,
    asked: Option<Instant>,
}

impl Bootstrap {
    /// Keeps the code of the ready-made cryptlets, and lets them fetch what they declare.
    ///
    /// # Errors
    /// What the key store or the content store said.
    pub(crate) fn open(parts: Parts) -> Result<Self> {
        let publisher = StoredKey::ensure(&parts.keys, KeyPurpose::Publisher, OWN)?;
        let ready_made = containers::ready_made()?;
        for package in &ready_made {
            parts.content.put(package.code(), Durability::Durable)?;
            for source in &package.manifest().capabilities.fetch {
                parts.fetcher.grant(&source.url_prefix)?;
            }
        }
        let missing_since = BTreeMap::new();
        Ok(Self { parts, publisher, ready_made, sent: None, missing_since, asked: None })
    }

    /// Sends what is missing next, if it is this member's turn; never waits.
    ///
    /// # Errors
    /// When the registry or the token ledger refuses; the next step looks anew.
    pub(crate) fn step(&mut self, now: Instant) -> Result<Step> {
        let parts = &self.parts;
        if let Some(sent) = &self.sent {
            let waiting = parts.tokens.transaction(sent.id)?.is_some_and(|status| status.is_waiting());
            let read = parts.registry.anchor().height >= parts.tokens.head().height;
            let old = now.saturating_duration_since(sent.since) > RESEND;
            if (waiting && !old) || !read {
                return Ok(Step::Waits(format!("{} waits for a block", sent.what)));
            }
            self.sent = None;
        }
        match self.next(now)? {
            Next::Nothing => {
                self.missing_since.clear();
                Ok(Step::Done)
            }
            Next::Wait(what) => Ok(Step::Waits(what)),
            Next::Send(what, signed) => {
                self.parts.tokens.submit(&signed.bytes).with_context(|| what.clone())?;
                self.sent = Some(Sent { id: signed.id, what: what.clone(), since: now });
                Ok(Step::Sent(what))
            }
        }
    }

    fn next(&mut self, now: Instant) -> Result<Next> {
        let mut members = (self.parts.members)();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        let mut waits = None;
        for part in [Self::own_host, Self::others_hosts, Self::policy, Self::packages, Self::instances] {
            match part(self, &members, now)? {
                Next::Nothing => {}
                Next::Wait(what) => waits = waits.or(Some(what)),
                send @ Next::Send(..) => return Ok(send),
            }
        }
        Ok(waits.map_or(Next::Nothing, Next::Wait))
    }

    fn registrar(&self) -> Registrar<'_> {
        let parts = &self.parts;
        Registrar { registry: &parts.registry, content: &*parts.content, keys: &*parts.keys }
    }

    fn is_administrator(&self, administrator: Address) -> bool {
        self.parts.registry.with_index(|index| index.is_administrator(administrator))
    }

    /// Whether it is this member's turn to send what all founders may send: at once for the first by name, later for
    /// each one after it.
    fn my_turn(&mut self, what: &str, members: &[Member], now: Instant) -> bool {
        let since = *self.missing_since.entry(what.to_owned()).or_insert(now);
        let administrators = members.iter().filter(|member| self.is_administrator(member.administrator));
        let mut ranks = administrators.zip(0u32..);
        let rank = ranks.find(|(member, _)| member.name == self.parts.member).map(|(_, rank)| rank);
        rank.is_some_and(|rank| now.saturating_duration_since(since) >= TAKE_OVER.saturating_mul(rank))
    }

    fn is_registered(&self, host: Address) -> bool {
        self.parts.registry.host(host, self.parts.registry.anchor().height).is_some()
    }

    fn own_host(&mut self, _members: &[Member], now: Instant) -> Result<Next> {
        let (host, administrator) = (self.parts.host_key.clone(), self.parts.administrator.clone());
        let registry = &self.parts.registry;
        let entry = registry.host(host.address(), registry.anchor().height);
        let claims = &self.parts.claims;
        let says = |entry: &HostEntry| claims.iter().all(|claim| entry.claims.contains(claim));
        if entry.is_some_and(|entry| entry.profile == self.parts.profile && says(&entry)) {
            return Ok(Next::Nothing);
        }
        let about = HostProfile {
            member: self.parts.member.clone(),
            evidence: EVIDENCE_SOFTWARE.to_owned(),
            profile: self.parts.profile,
            claims: claims.clone(),
        };
        if self.is_administrator(administrator.address()) {
            let signed = self.registrar().admit_host(about, &*host, &*administrator)?;
            return Ok(Next::Send("registering this host (evidence: software)".to_owned(), Box::new(signed)));
        }
        let due = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_INTERVAL);
        if let Some(calls) = self.parts.calls.get().filter(|_| due) {
            calls.request_host(&self.registrar().request_host(about, &*host)?);
            self.asked = Some(now);
        }
        Ok(Next::Wait(
            "this member, or another for it, admits this host once the vote for it is final here".to_owned(),
        ))
    }

    /// Signs the other half for hosts of members whose administrators the registry does not know yet.
    fn others_hosts(&mut self, members: &[Member], now: Instant) -> Result<Next> {
        let administrator = self.parts.administrator.clone();
        if !self.is_administrator(administrator.address()) {
            return Ok(Next::Nothing);
        }
        let waiting: Vec<SignedEntry> = self.parts.requests.0.lock().iter().cloned().collect();
        let mut waits = Next::Nothing;
        for request in waiting {
            let Entry::Host(entry) = request.entry.clone() else {
                self.drop_request(&request);
                continue;
            };
            let is_member = |member: &Member| member.host == entry.host && member.name == entry.member;
            let next = self.parts.registry.with_index(|index| index.next_host_sequence(entry.host));
            if !members.iter().any(is_member) || next != entry.sequence {
                self.drop_request(&request);
                continue;
            }
            let what = format!("registering the host of {}", entry.member);
            if !self.my_turn(&what, members, now) {
                waits = Next::Wait(what);
                continue;
            }
            self.drop_request(&request);
            match self.registrar().admit_signed_host(request, &*administrator) {
                Ok(signed) => return Ok(Next::Send(what, Box::new(signed))),
                Err(error) => tracing::warn!(member = entry.member, %error, "a host is not admitted"),
            }
        }
        Ok(waits)
    }

    fn drop_request(&self, request: &SignedEntry) {
        self.parts.requests.0.lock().retain(|waiting| waiting != request);
    }

    fn policy(&mut self, members: &[Member], now: Instant) -> Result<Next> {
        let registry = self.parts.registry.clone();
        let standing = registry.policy(registry.anchor().height);
        let registered: Vec<Address> =
            members.iter().map(|member| member.host).filter(|host| self.is_registered(*host)).collect();
        let required = quorum_for(members.iter().filter(|member| member.is_validator).count());
        let first = standing.is_none();
        if first && (registered.len() as u64) < required {
            return Ok(Next::Wait(format!(
                "{required} members' hosts must be registered before a policy can name them"
            )));
        }
        let desired = match &standing {
            None => initial_policy(&registered, required),
            Some(policy) => {
                let ran_by_member = |host: &Address| {
                    let entry = registry.host(*host, registry.anchor().height);
                    entry.is_some_and(|entry| members.iter().any(|member| member.name == entry.member))
                };
                let unnamed = |host: &Address| !registry.with_index(|index| index.was_named(*host));
                adapted_policy(policy, &registered, required, ran_by_member, unnamed)
            }
        };
        if standing.as_deref() == Some(&desired) {
            return Ok(Next::Nothing);
        }
        let what = "setting the policy that names the members' hosts";
        let mine = self.my_turn(what, members, now);
        let since = self.missing_since.get(what).copied().unwrap_or(now);
        let settling =
            first && registered.len() < members.len() && now.saturating_duration_since(since) < SETTLE;
        let administrator = self.parts.administrator.clone();
        if !mine || settling || !self.is_administrator(administrator.address()) {
            return Ok(Next::Wait("the policy that names the members' hosts".to_owned()));
        }
        let signed = self.registrar().set_policy(desired, &*administrator)?;
        self.missing_since.remove(what);
        Ok(Next::Send(what.to_owned(), Box::new(signed)))
    }

    fn packages(&mut self, members: &[Member], now: Instant) -> Result<Next> {
        let registry = self.parts.registry.clone();
        let height = registry.anchor().height;
        if registry.policy(height).is_none() {
            return Ok(Next::Nothing);
        }
        for package in self.ready_made.clone() {
            if registry.resolve(package.id().0, height).is_some() {
                continue;
            }
            let what = format!("registering cryptlet {}", package.manifest().name);
            if !self.my_turn(&what, members, now) {
                return Ok(Next::Wait(what));
            }
            let signed = self.registrar().register(&package, &self.publisher)?;
            return Ok(Next::Send(what, Box::new(signed)));
        }
        Ok(Next::Nothing)
    }

    /// A key of each cryptlet on this host, and its code.
    fn instances(&mut self, _members: &[Member], _now: Instant) -> Result<Next> {
        let parts = &self.parts;
        let (host, height) = (parts.host_key.address(), parts.registry.anchor().height);
        if !self.is_registered(host) {
            return Ok(Next::Nothing);
        }
        let registered: Vec<Resolved> = parts.registry.with_index(|index| index.packages(height).collect());
        for Resolved { package, status } in registered {
            if status == ReleaseStatus::Revoked {
                continue;
            }
            let release = &package.release;
            let own = parts.keys.address(&KeyLabel::of_package(release.package))?;
            let known = parts.registry.instance(release.package, host, height);
            if own.is_some_and(|own| own == release.key || Some(own) == known) {
                continue;
            }
            if let Some(calls) = parts.calls.get() {
                let code = ContentId(release.code_sha256);
                bletchley_cryptlet::fabric::Others::want(&**calls, code, &[]);
            }
            let signed = self.registrar().register_instance(release.package, &*parts.host_key)?;
            return Ok(Next::Send(
                format!("registering this host's key of cryptlet {}", release.name),
                Box::new(signed),
            ));
        }
        Ok(Next::Nothing)
    }
}

fn initial_policy(hosts: &[Address], required: u64) -> Policy {
    let mut hosts = hosts.to_vec();
    hosts.sort_unstable();
    let alone = Policy::single_host(Address::ZERO);
    Policy { hosts, quorum: required, single_host_allowed: required == 1, ..alone }
}

/// The policy with the hosts of new members and without those of former ones. What an administrator took out stays out,
/// and a quorum is lowered only where it could not be met any more.
fn adapted_policy(
    policy: &Policy,
    registered: &[Address],
    required: u64,
    run_by_member: impl Fn(&Address) -> bool,
    unnamed: impl Fn(&Address) -> bool,
) -> Policy {
    let mut hosts: Vec<Address> = policy.hosts.iter().copied().filter(run_by_member).collect();
    hosts.extend(registered.iter().filter(|host| unnamed(host)));
    hosts.sort_unstable();
    hosts.dedup();
    if hosts == policy.hosts || hosts.is_empty() {
        return policy.clone();
    }
    let quorum = policy.quorum.max(required).min(hosts.len() as u64);
    let single_host_allowed = quorum == 1 || policy.single_host_allowed;
    Policy { hosts, quorum, single_host_allowed, ..policy.clone() }
}

/// The component on a thread of its own.
pub(crate) struct Bootstrapping {
    stop: Arc<(Mutex<bool>, Condvar)>,
    state: Arc<Mutex<Step>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bootstrapping {
    /// Registers everything at once where this member is alone, as its own blocks follow each other without a pause;
    /// otherwise beside consensus, for as long as the node runs.
    ///
    /// # Errors
    /// When this member is alone and the registry refuses, or no block takes a registration.
    pub(crate) fn start(parts: Parts, progress: &dyn Fn(&str)) -> Result<Self> {
        let alone = (parts.members)().len() == 1;
        let mut bootstrap = Bootstrap::open(parts)?;
        let first =
            if alone { run_alone(&mut bootstrap, progress)? } else { Step::Waits("the network".to_owned()) };
        let (stop, state) = (Arc::<(Mutex<bool>, Condvar)>::default(), Arc::new(Mutex::new(first)));
        let (stopped, shown) = (stop.clone(), state.clone());
        let run = move || beside(&mut bootstrap, &stopped, &shown);
        let thread = std::thread::Builder::new().name("bootstrap".to_owned()).spawn(run);
        Ok(Self { stop, state, thread: Some(thread.context("starting a thread")?) })
    }

    /// Says what is still missing of host, policy and cryptlets; none as soon as all was registered once.
    pub(crate) fn missing(&self) -> Arc<dyn Fn() -> Option<String> + Send + Sync> {
        let (state, was_done) = (self.state.clone(), AtomicBool::new(false));
        Arc::new(move || match &*state.lock() {
            _ if was_done.load(Ordering::Acquire) => None,
            Step::Done => {
                was_done.store(true, Ordering::Release);
                None
            }
            Step::Waits(what) | Step::Sent(what) => Some(what.clone()),
        })
    }

    /// Ends the thread.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that registers had panicked");
        }
    }
}

impl Drop for Bootstrapping {
    fn drop(&mut self) {
        self.end();
    }
}

fn run_alone(bootstrap: &mut Bootstrap, progress: &dyn Fn(&str)) -> Result<Step> {
    let mut since = Instant::now();
    loop {
        match bootstrap.step(Instant::now())? {
            Step::Done => return Ok(Step::Done),
            Step::Sent(what) => {
                progress(&what);
                since = Instant::now();
            }
            Step::Waits(what) if since.elapsed() > REGISTER_TIMEOUT => {
                bail!("no block of the token ledger took a registration within {REGISTER_TIMEOUT:?}: {what}");
            }
            Step::Waits(_) => std::thread::sleep(REGISTER_CHECK_INTERVAL),
        }
    }
}

fn beside(bootstrap: &mut Bootstrap, stop: &(Mutex<bool>, Condvar), shown: &Mutex<Step>) {
    let mut problem = String::new();
    loop {
        let step = match bootstrap.step(Instant::now()) {
            Ok(step) => {
                problem.clear();
                step
            }
            Err(error) => {
                let words = format!("{error:#}");
                if words != problem {
                    tracing::warn!(error = words, "registering; it is tried again");
                    problem.clone_from(&words);
                }
                Step::Waits(words)
            }
        };
        if let Step::Sent(what) = &step {
            tracing::info!(what, "bootstrap.send");
        }
        let done = step == Step::Done;
        let before = std::mem::replace(&mut *shown.lock(), step);
        if done && before != Step::Done {
            tracing::info!("host, policy and cryptlets are registered");
            load_all(&bootstrap.parts.host, &bootstrap.parts.registry);
        }
        let mut stopped = stop.0.lock();
        if !*stopped {
            stop.1.wait_for(
                &mut stopped,
                if done || !problem.is_empty() { WATCH_INTERVAL } else { STEP_INTERVAL },
            );
        }
        if *stopped {
            return;
        }
    }
}

/// Compiles the registered cryptlets behind the ready line, so that the first call does not wait for the compiler.
///
/// # Errors
/// What the operating system said when it was asked for a thread.
pub(crate) fn warm_up(host: Arc<LocalHost>, registry: Arc<TokenRegistry>) -> Result<()> {
    let warm = move || load_all(&host, &registry);
    std::thread::Builder::new().name("warm-up".to_owned()).spawn(warm).context("starting a thread")?;
    Ok(())
}

/// Compiles what is registered and not compiled yet. Code that is not here comes later, from another member.
fn load_all(host: &LocalHost, registry: &TokenRegistry) {
    let height = registry.anchor().height;
    let registered: Vec<Resolved> = registry.with_index(|index| index.packages(height).collect());
    for found in registered {
        if let Err(trouble) = host.load(&found.package, Isolation::default()) {
            tracing::warn!(name = found.package.release.name, reason = %trouble.reason, "node.warm_up");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(numbers: &[u8]) -> Vec<Address> {
        numbers.iter().map(|number| Address::repeat_byte(*number)).collect()
    }

    #[test]
    fn a_quorum_is_more_than_can_be_faulty_and_never_one_of_several() {
        let of = [1, 2, 3, 4, 6, 7, 10, 100].map(quorum_for);
        assert_eq!(of, [1, 2, 2, 2, 2, 3, 4, QUORUM_MAX]);
    }

    #[test]
    fn a_policy_follows_the_members_and_respects_administrators() {
        let first = initial_policy(&hosts(&[2, 1]), 2);
        assert_eq!((first.check(), first.quorum, first.single_host_allowed), (Ok(()), 2, false));
        let all = |_: &Address| true;
        let joined =
            adapted_policy(&first, &hosts(&[1, 2, 3]), 2, all, |host| *host == Address::repeat_byte(3));
        assert_eq!((joined.hosts.clone(), joined.check()), (hosts(&[1, 2, 3]), Ok(())));
        // An administrator took 3 out: it was named before, and stays out.
        assert_eq!(adapted_policy(&first, &hosts(&[1, 2, 3]), 2, all, |_| false), first);
        // Member 3 left; more validators need more hosts only when the hosts change too.
        let left =
            adapted_policy(&joined, &hosts(&[1, 2]), 2, |host| *host != Address::repeat_byte(3), |_| false);
        assert_eq!((left.hosts.clone(), left.quorum), (hosts(&[1, 2]), 2));
        let alone =
            adapted_policy(&first, &hosts(&[1]), 1, |host| *host == Address::repeat_byte(1), |_| false);
        assert_eq!((alone.quorum, alone.single_host_allowed, alone.check()), (1, true, Ok(())));
        let grown =
            adapted_policy(&Policy::single_host(Address::repeat_byte(1)), &hosts(&[1, 2]), 2, all, |_| true);
        assert_eq!((grown.quorum, grown.check()), (2, Ok(())));
    }
}
