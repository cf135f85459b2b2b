//! Which container runs what. First-party code, which ships inside the node and is known by its digest, may share the
//! node's process; everything else runs confined. Manifest and policy can ask for more, and nothing can ask for less.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    container::{Container, Invocation, LoadError, Outcome},
    manifest::{Isolation, Manifest},
    package::{Package, PackageId},
    profile::ExecutionProfile,
};

/// Name of this implementation of the Container seam.
pub const CONTAINER_NAME: &str = "wasm";

/// Two containers of one profile, and the rule between them.
pub struct Isolating {
    near: Arc<dyn Container>,
    /// None where the platform has none: then only first-party code runs.
    confined: Option<Arc<dyn Container>>,
    first_party: BTreeSet<PackageId>,
}

impl Isolating {
    /// Runs `first_party` in `near` unless more is asked for, and everything else in `confined`.
    #[must_use]
    pub fn new(
        near: Arc<dyn Container>,
        confined: Option<Arc<dyn Container>>,
        first_party: impl IntoIterator<Item = PackageId>,
    ) -> Self {
        Self { near, confined, first_party: first_party.into_iter().collect() }
    }

    /// How far this package is kept from the host where nobody asks for more.
    #[must_use]
    pub fn rule(&self, package: &PackageId) -> Isolation {
        if self.first_party.contains(package) { Isolation::InProcess } else { Isolation::Process }
    }

    /// The container that has the package loaded for this isolation, or a stronger one.
    fn holder(&self, package: &PackageId, least: Isolation) -> Option<&Arc<dyn Container>> {
        let near = Some(&self.near).filter(|_| self.rule(package).max(least) == Isolation::InProcess);
        let all = [near, self.confined.as_ref()];
        all.into_iter().flatten().find(|container| container.is_loaded(package, least))
    }
}

impl Container for Isolating {
    fn name(&self) -> &'static str {
        CONTAINER_NAME
    }

    fn profile(&self) -> &ExecutionProfile {
        self.near.profile()
    }

    fn load(&self, package: &Package, least: Isolation) -> Result<PackageId, LoadError> {
        let asked = self.rule(&package.id()).max(least).max(package.manifest().isolation);
        if asked == Isolation::InProcess {
            return self.near.load(package, asked);
        }
        let confined = self.confined.as_ref().ok_or_else(|| LoadError::Isolation {
            name: package.manifest().name.clone(),
            asked: asked.name(),
            given: Isolation::InProcess.name(),
        })?;
        confined.load(package, asked)
    }

    fn is_loaded(&self, package: &PackageId, least: Isolation) -> bool {
        self.holder(package, least).is_some()
    }

    fn unload(&self, package: &PackageId) {
        self.near.unload(package);
        if let Some(confined) = &self.confined {
            confined.unload(package);
        }
    }

    fn manifest(&self, package: &PackageId) -> Option<Manifest> {
        self.holder(package, Isolation::InProcess)?.manifest(package)
    }

    fn claims(&self) -> Vec<(&'static str, String)> {
        let mut claims = self
            .confined
            .as_ref()
            .map_or_else(|| vec![("isolation", "none".to_owned())], |confined| confined.claims());
        if !self.first_party.is_empty() {
            claims.push(("isolation.first-party", Isolation::InProcess.name().to_owned()));
        }
        claims.sort_unstable();
        claims
    }

    fn invoke(&self, package: &PackageId, call: &Invocation) -> Outcome {
        let holder = self.holder(package, call.isolation);
        // Not loaded: both say so in the same words.
        holder.unwrap_or(&self.near).invoke(package, call)
    }
}
