//! `bletchley modules`: what can be chosen for each seam.

use crate::output::Output;
use anyhow::Result;
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley modules\n  bletchley modules --json | jq -r 'select(.seam == \"consensus\").name'"
)]
pub(super) struct Modules {
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// How far a choice is to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    /// Chosen when nobody says anything.
    Default,
    /// Works, and may still change in ways that need a new ledger.
    Preview,
    /// For tests and simulation: it keeps nothing, or trusts everybody.
    TestOnly,
}

impl Tier {
    const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Preview => "preview",
            Self::TestOnly => "test only",
        }
    }
}

/// Seam, name, tier, what it is.
type Module = (&'static str, &'static str, Tier, &'static str);

/// Every choice, by seam in the order of ARCHITECTURE.md.
const MODULES: &[Module] = &[
    (
        "consensus",
        "simplex",
        Tier::Default,
        "Byzantine agreement in two message delays (commonware); several members",
    ),
    (
        "consensus",
        "tendermint",
        Tier::Preview,
        "Byzantine agreement by rounds (Tendermint's rules, malachite); several members",
    ),
    ("consensus", "solo", Tier::Default, "one validator orders alone; one member, and development"),
    ("network", "tcp", Tier::Default, "authenticated, encrypted, members only (commonware)"),
    ("network", "simulated", Tier::TestOnly, "delays, losses and partitions out of a seed"),
    ("database", "segments", Tier::Default, "append-only segments with checksums, snapshots, small tables"),
    ("database", "memory", Tier::TestOnly, "gone with the process"),
    ("database", "faulty", Tier::TestOnly, "fails and tears writes on purpose"),
    ("machine", "evm", Tier::Default, "Ethereum's machine, Osaka rules, with delegated calls"),
    ("machine", "utxo", Tier::Default, "tokens with identity and lineage; also registry and governance"),
    ("delegate", "fabric", Tier::Default, "cryptlets by registry and policy, receipts signed by hosts"),
    ("container", "wasm", Tier::Default, "WebAssembly components in the node's process (wasmtime)"),
    ("keys", "file", Tier::Default, "files that only the node's user may read, sealed"),
    ("keys", "memory", Tier::TestOnly, "gone with the process"),
    (
        "attestation",
        "software",
        Tier::Default,
        "a signature by the host's key; no trusted hardware vouches for it",
    ),
];

impl Modules {
    pub(super) fn run(self) -> Result<()> {
        let output = Output::new(self.json);
        let width =
            |cell: fn(&Module) -> &str| MODULES.iter().map(|module| cell(module).len()).max().unwrap_or(0);
        let (seams, names, tiers) = (width(|m| m.0), width(|m| m.1), width(|m| m.2.name()));
        for (seam, name, tier, what) in MODULES {
            output.event(&json!({ "seam": seam, "name": name, "tier": tier.name(), "what": what }));
            output.line(format!("{seam:<seams$}  {name:<names$}  {:<tiers$}  {what}", tier.name()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_seam_has_a_default_and_no_name_comes_twice() {
        let seams: BTreeSet<&str> = MODULES.iter().map(|module| module.0).collect();
        for seam in &seams {
            assert!(MODULES.iter().any(|module| module.0 == *seam && module.2 == Tier::Default), "{seam}");
        }
        let names: BTreeSet<(&str, &str)> = MODULES.iter().map(|module| (module.0, module.1)).collect();
        assert_eq!(names.len(), MODULES.len());
    }
}
