//! What a new network registers first: this host, a policy that names it, and the ready-made cryptlets.

use crate::accounts::StoredKey;
use crate::genesis::NetworkGenesis;
use anyhow::{Context, Result, bail};
use bletchley_cryptlet::container::Container;
use bletchley_cryptlet::content::Content;
use bletchley_cryptlet::fabric::LocalHost;
use bletchley_cryptlet::fetch::HttpFetcher;
use bletchley_cryptlet::keys::{FileKeyStore, KeyPurpose, Signer};
use bletchley_cryptlet::manifest::Manifest;
use bletchley_cryptlet::package::Package;
use bletchley_cryptlet::policy::Policy;
use bletchley_cryptlet::registry::{
    EVIDENCE_SOFTWARE, HostProfile, Registrar, RegistryView, Resolved, TokenRegistry,
};
use bletchley_ledger::Machine;
use bletchley_token::{SignedTx, TokenMachine};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for a registration to enter a block.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked for.
const REGISTER_CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// Manifest and component of each ready-made cryptlet.
const READY_MADE: [(&str, &[u8]); 2] = [
    (
        include_str!("../../../cryptlets/calendar/cryptlet.toml"),
        include_bytes!("../../../cryptlets/calendar/calendar.wasm"),
    ),
    (
        include_str!("../../../cryptlets/fx-rates/cryptlet.toml"),
        include_bytes!("../../../cryptlets/fx-rates/fx-rates.wasm"),
    ),
];

/// What registering needs.
pub(crate) struct Parts<'a> {
    pub(crate) genesis: &'a NetworkGenesis,
    pub(crate) keys: &'a Arc<FileKeyStore>,
    pub(crate) tokens: &'a Arc<TokenMachine>,
    pub(crate) registry: &'a Arc<TokenRegistry>,
    pub(crate) content: &'a dyn Content,
    pub(crate) fetcher: &'a Arc<HttpFetcher>,
    pub(crate) container: &'a dyn Container,
}

/// Registers whatever of it is not registered yet, and lets the ready-made cryptlets fetch what they declare.
///
/// # Errors
/// When the registry refuses, or no block takes a registration.
pub(crate) fn register(parts: &Parts<'_>, progress: &dyn Fn(&str)) -> Result<()> {
    let key = |purpose| StoredKey::ensure(parts.keys, purpose, "node");
    let (administrator, publisher, host) =
        (key(KeyPurpose::Administrator)?, key(KeyPurpose::Publisher)?, key(KeyPurpose::Host)?);
    let registrar = Registrar { registry: parts.registry, content: parts.content, keys: &**parts.keys };
    let height = || parts.registry.anchor().height;
    let profile = parts.container.profile().digest();
    if parts.registry.host(host.address(), height()).is_none_or(|entry| entry.profile != profile) {
        progress("registering this host (evidence: software) and the policy that names it");
        let about = HostProfile {
            member: parts.genesis.name.clone(),
            evidence: EVIDENCE_SOFTWARE.to_owned(),
            profile,
            claims: Vec::new(),
        };
        parts.submit(registrar.admit_host(about, &host, &administrator)?)?;
    }
    if parts.registry.policy(height()).is_none() {
        parts.submit(registrar.set_policy(Policy::single_host(host.address()), &administrator)?)?;
    }
    for (manifest, code) in READY_MADE {
        let package = Package::new(Manifest::from_toml(manifest)?, code.into())?;
        if parts.registry.resolve(package.id().0, height()).is_none() {
            progress(&format!("registering cryptlet {}", package.manifest().name));
            parts.submit(registrar.register(&package, &publisher)?)?;
        }
        for source in &package.manifest().capabilities.fetch {
            parts.fetcher.grant(&source.url_prefix)?;
        }
    }
    Ok(())
}

impl Parts<'_> {
    fn submit(&self, signed: SignedTx) -> Result<()> {
        self.tokens.submit(&signed.bytes).context("registering")?;
        let started = Instant::now();
        while self.tokens.transaction(signed.id)?.is_some_and(|status| status.is_waiting()) {
            if started.elapsed() > REGISTER_TIMEOUT {
                bail!("no block of the token ledger took a registration within {REGISTER_TIMEOUT:?}");
            }
            std::thread::sleep(REGISTER_CHECK_INTERVAL);
        }
        // The registry follows commits on the engine's thread; what it has read is what calls resolve against.
        while self.registry.anchor().height < self.tokens.head().height {
            std::thread::sleep(REGISTER_CHECK_INTERVAL);
        }
        Ok(())
    }
}

/// Compiles the registered cryptlets behind the ready line, so that the first call does not wait for the compiler.
///
/// # Errors
/// What the operating system said when it was asked for a thread.
pub(crate) fn warm_up(host: Arc<LocalHost>, registry: Arc<TokenRegistry>) -> Result<()> {
    let height = registry.anchor().height;
    let registered: Vec<Resolved> = registry.with_index(|index| index.packages(height).collect());
    let warm = move || {
        for found in registered {
            if let Err(trouble) = host.load(&found.package) {
                tracing::warn!(name = found.package.release.name, reason = %trouble.reason, "node.warm_up");
            }
        }
    };
    std::thread::Builder::new().name("warm-up".to_owned()).spawn(warm).context("starting a thread")?;
    Ok(())
}
