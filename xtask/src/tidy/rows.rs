//! Rule `rows`: arrows between crates point down, never sideways and never up.

use super::Finding;
use serde::Deserialize;

/// The rows, bottom first (ARCHITECTURE.md). Crates of one row do not know each other. Consensus rules stand on the ledger's
/// types, so they have a row of their own.
const ROWS: &[&[&str]] = &[
    &["bletchley-primitives"],
    &["bletchley-crypto"],
    &["bletchley-ledger"],
    &["bletchley-consensus"],
    &["bletchley-consortium"],
    &["bletchley-storage", "bletchley-net"],
    &["bletchley-attest", "bletchley-evm", "bletchley-token", "bletchley-simplex", "bletchley-tendermint"],
    &["bletchley-cryptlet"],
    &["bletchley-api", "bletchley-kit"],
    &["bletchley-node"],
    &["bletchley-bench", "bletchley-fuzz", "bletchley-sim"],
];
/// Stand beside the rows: nothing depends on them and they depend on nothing of ours.
const BESIDE: &[&str] = &["xtask"];
/// What no row below the I/O edge may depend on.
const NOT_BELOW_THE_EDGE: &[&str] =
    &["tokio", "axum", "redb", "ureq", "getrandom", "rand", "mio", "async-std", "tempdir"];
/// The rows that are pure end before this crate's row.
const EDGE: &str = "bletchley-storage";

/// What `cargo metadata --no-deps` says, as far as it is needed here.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `None` for an ordinary one, else `dev` or `build`.
    kind: Option<String>,
    /// Where it is, if it is of this workspace.
    path: Option<String>,
}

/// Arrows that point the wrong way, crates without a row, and effects below the edge.
pub(crate) fn findings(metadata: &Metadata) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in &metadata.packages {
        if BESIDE.contains(&package.name.as_str()) {
            found.extend(ours(package).map(|dependency| wrong_way(&package.name, &dependency.name)));
            continue;
        }
        let Some(row) = row_of(&package.name) else {
            found.push(Finding {
                rule: "rows",
                item: package.name.clone(),
                measure: 1,
                advice:
                    "this crate stands in no row; add it to ARCHITECTURE.md and to xtask/src/tidy/rows.rs"
                        .to_owned(),
            });
            continue;
        };
        let arrows =
            ours(package).filter(|dependency| row_of(&dependency.name).is_none_or(|below| below >= row));
        found.extend(arrows.map(|dependency| wrong_way(&package.name, &dependency.name)));
        if row_of(EDGE).is_some_and(|edge| row < edge) {
            found.extend(effects(package));
        }
    }
    found
}

fn ours(package: &Package) -> impl Iterator<Item = &Dependency> {
    package.dependencies.iter().filter(|dependency| dependency.path.is_some())
}

fn row_of(name: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&name))
}

fn wrong_way(from: &str, to: &str) -> Finding {
    Finding {
        rule: "rows",
        item: format!("{from} -> {to}"),
        measure: 1,
        advice: "a crate may depend only on rows below its own".to_owned(),
    }
}

fn effects(package: &Package) -> impl Iterator<Item = Finding> {
    let wrong = |dependency: &&Dependency| {
        dependency.kind.as_deref() != Some("dev") && NOT_BELOW_THE_EDGE.contains(&dependency.name.as_str())
    };
    package.dependencies.iter().filter(wrong).map(|dependency| Finding {
        rule: "purity",
        item: format!("{} -> {}", package.name, dependency.name),
        measure: 1,
        advice: "the rows below storage have no effects: return them as values".to_owned(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn items(json: &str) -> Vec<String> {
        let metadata: Metadata = serde_json::from_str(json).unwrap();
        findings(&metadata).into_iter().map(|finding| finding.item).collect()
    }

    #[test]
    fn down_is_allowed() {
        let json = r#"{"packages":[{"name":"bletchley-evm","dependencies":[
            {"name":"bletchley-ledger","kind":null,"path":"x"},{"name":"tokio","kind":null,"path":null}]}]}"#;
        assert!(items(json).is_empty());
    }

    #[test]
    fn sideways_and_up_are_not() {
        let json = r#"{"packages":[{"name":"bletchley-evm","dependencies":[
            {"name":"bletchley-token","kind":null,"path":"x"},{"name":"bletchley-api","kind":"dev","path":"x"}]}]}"#;
        assert_eq!(items(json), ["bletchley-evm -> bletchley-token", "bletchley-evm -> bletchley-api"]);
    }

    #[test]
    fn a_crate_needs_a_row() {
        assert_eq!(items(r#"{"packages":[{"name":"bletchley-new","dependencies":[]}]}"#), ["bletchley-new"]);
    }

    #[test]
    fn the_lower_rows_are_pure() {
        let json = r#"{"packages":[{"name":"bletchley-ledger","dependencies":[
            {"name":"tokio","kind":null,"path":null},{"name":"tempfile","kind":"dev","path":null}]}]}"#;
        assert_eq!(items(json), ["bletchley-ledger -> tokio"]);
    }
}
