//! The list of today's exceptions. It only gets shorter.

use super::Finding;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where the list is, below the checkout.
pub(crate) const PATH: &str = "xtask/ratchet.json";

/// Exceptions by rule and item, each with the measure it may not exceed.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Ratchet {
    rules: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Ratchet {
    /// Reads the list; a missing file is an empty list.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("reading {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// A list that excuses all of these findings.
    pub(crate) fn of(findings: &[Finding]) -> Self {
        let mut ratchet = Self::default();
        for finding in findings {
            let allowed =
                ratchet.rules.entry(finding.rule.to_owned()).or_default().entry(finding.item.clone());
            let allowed = allowed.or_default();
            *allowed = (*allowed).max(finding.measure);
        }
        ratchet
    }

    /// The list as it is kept on disk.
    pub(crate) fn to_text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self).context("writing the ratchet")? + "\n")
    }

    /// How many exceptions there are.
    pub(crate) fn len(&self) -> usize {
        self.rules.values().map(BTreeMap::len).sum()
    }

    /// What is wrong, a line each: findings without an exception or beyond it, and exceptions without a finding.
    pub(crate) fn complaints(&self, findings: &[Finding]) -> Vec<String> {
        let mut complaints: Vec<String> =
            findings.iter().filter_map(|finding| self.complaint(finding)).collect();
        let measured = Self::of(findings);
        for (rule, item, _) in self.entries() {
            if measured.allowed(rule, item).is_none() {
                complaints.push(format!(
                    "{rule}: {item} no longer needs its exception; run `cargo xtask tidy --update`"
                ));
            }
        }
        complaints
    }

    /// This list without what is no longer found, each measure lowered to what is found now.
    pub(crate) fn shrunk_to(&self, findings: &[Finding]) -> Self {
        let measured = Self::of(findings);
        let mut shrunk = Self::default();
        for (rule, item, allowed) in self.entries() {
            if let Some(now) = measured.allowed(rule, item) {
                shrunk.rules.entry(rule.to_owned()).or_default().insert(item.to_owned(), allowed.min(now));
            }
        }
        shrunk
    }

    fn complaint(&self, finding: &Finding) -> Option<String> {
        let Finding { rule, item, measure, advice } = finding;
        match self.allowed(rule, item) {
            None => Some(format!("{rule}: {item}: {advice}")),
            Some(allowed) if allowed < *measure => Some(format!(
                "{rule}: {item}: grew from {allowed} to {measure}, and an exception may not grow: {advice}"
            )),
            Some(_) => None,
        }
    }

    fn allowed(&self, rule: &str, item: &str) -> Option<u64> {
        self.rules.get(rule)?.get(item).copied()
    }

    fn entries(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.rules.iter().flat_map(|(rule, items)| {
            items.iter().map(move |(item, measure)| (rule.as_str(), item.as_str(), *measure))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(item: &str, measure: u64) -> Finding {
        Finding { rule: "file_lines", item: item.to_owned(), measure, advice: "split it".to_owned() }
    }

    #[test]
    fn a_finding_without_exception_is_a_complaint() {
        assert_eq!(Ratchet::default().complaints(&[finding("a.rs", 700)]), ["file_lines: a.rs: split it"]);
    }

    #[test]
    fn an_exception_holds_until_it_grows() {
        let ratchet = Ratchet::of(&[finding("a.rs", 700)]);
        assert!(ratchet.complaints(&[finding("a.rs", 700)]).is_empty());
        assert!(ratchet.complaints(&[finding("a.rs", 650)]).is_empty());
        assert_eq!(ratchet.complaints(&[finding("a.rs", 701)]).len(), 1);
    }

    #[test]
    fn an_exception_without_finding_must_go() {
        let ratchet = Ratchet::of(&[finding("a.rs", 700)]);
        let complaints = ratchet.complaints(&[]);
        assert_eq!(complaints.len(), 1);
        assert!(complaints.iter().all(|complaint| complaint.contains("no longer needs its exception")));
    }

    #[test]
    fn an_update_shrinks_and_adds_nothing() {
        let ratchet = Ratchet::of(&[finding("a.rs", 700), finding("b.rs", 800)]);
        let shrunk = ratchet.shrunk_to(&[finding("a.rs", 650), finding("c.rs", 900)]);
        assert_eq!(shrunk, Ratchet::of(&[finding("a.rs", 650)]));
        assert_eq!(ratchet.shrunk_to(&[finding("a.rs", 999)]), Ratchet::of(&[finding("a.rs", 700)]));
    }
}
