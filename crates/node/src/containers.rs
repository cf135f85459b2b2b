//! The containers of a node's host: ready-made code may share the node's process, everything else runs confined.

use anyhow::Result;
use bletchley_cryptlet::aot::AotCache;
use bletchley_cryptlet::container::Container;
use bletchley_cryptlet::fetch::Fetcher;
use bletchley_cryptlet::host::WasmContainer;
use bletchley_cryptlet::isolation::Isolating;
use bletchley_cryptlet::manifest::{Isolation, Manifest};
use bletchley_cryptlet::package::Package;
use serde::Deserialize;
use std::sync::Arc;

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

/// The packages that ship with the node: what its operator runs anyway, known by digest.
///
/// # Errors
/// When one of them does not parse, which a test would have shown.
pub(crate) fn ready_made() -> Result<Vec<Package>> {
    let package = |(manifest, code): (&str, &'static [u8])| -> Result<Package> {
        Ok(Package::new(Manifest::from_toml(manifest)?, code.into())?)
    };
    READY_MADE.into_iter().map(package).collect()
}

/// How cryptlets are run.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cryptlets {
    /// What to do where the kernel refuses namespaces.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// How far the cryptlets that ship with the node are kept from it; all others are confined in any case.
    #[serde(default)]
    pub first_party: Isolation,
}

impl Cryptlets {
    /// The same, with what ships with the node confined too if that is asked for.
    #[must_use]
    pub fn confining(self, asked: bool) -> Self {
        if asked { Self { first_party: Isolation::Process, ..self } } else { self }
    }
}

/// Whether confined cryptlets must have namespaces of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespaces {
    /// Have them where the kernel gives them; the other walls stand in any case, and the host's claims say which.
    #[default]
    Optional,
    /// Run no confined cryptlet without them.
    Required,
}

/// Opens the containers of a host.
///
/// # Errors
/// When the engine does not start.
pub(crate) fn open(
    aot: Option<AotCache>,
    fetcher: Arc<dyn Fetcher>,
    cryptlets: Cryptlets,
) -> Result<Arc<dyn Container>> {
    let aot = aot.map(Arc::new);
    let near = Arc::new(WasmContainer::open(aot.clone(), fetcher.clone())?);
    let mut first_party = ready_made()?;
    first_party.retain(|_| cryptlets.first_party == Isolation::InProcess);
    let confined = confined(aot, fetcher, cryptlets)?;
    Ok(Arc::new(Isolating::new(near, confined, first_party.iter().map(|package| package.id()))))
}

#[cfg(target_os = "linux")]
fn confined(
    aot: Option<Arc<AotCache>>,
    fetcher: Arc<dyn Fetcher>,
    cryptlets: Cryptlets,
) -> Result<Option<Arc<dyn Container>>> {
    use bletchley_cryptlet::confined::{ConfinedConfig, ConfinedContainer};
    let namespaces_required = cryptlets.namespaces == Namespaces::Required;
    let config = ConfinedConfig { namespaces_required, ..ConfinedConfig::default() };
    Ok(Some(Arc::new(ConfinedContainer::open(config, aot, fetcher)?)))
}

/// Nowhere else is there a jail: what is not ready-made is refused.
#[cfg(not(target_os = "linux"))]
fn confined(
    _aot: Option<Arc<AotCache>>,
    _fetcher: Arc<dyn Fetcher>,
    _cryptlets: Cryptlets,
) -> Result<Option<Arc<dyn Container>>> {
    Ok(None)
}
