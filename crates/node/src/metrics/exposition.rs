//! From OpenMetrics, which the library writes, to the Prometheus text format, which every scraper of the last ten years
//! reads; and two texts in one scrape.
//!
//! The differences that matter (prometheus.io/docs/instrumenting/exposition_formats): a counter's family carries its
//! `_total` in the text format, there are no units, and no end mark.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What the answer of `/metrics` is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rewrites OpenMetrics as Prometheus text. What is neither stays away.
#[must_use]
pub(super) fn to_prometheus(text: &str) -> String {
    rewritten(text, &BTreeSet::new())
}

/// `ours` (Prometheus text), then those families of `theirs` (OpenMetrics) that ours does not have.
#[must_use]
pub fn joined(ours: &str, theirs: &str) -> String {
    let taken: BTreeSet<&str> = ours
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|rest| rest.split(' ').next())
        .collect();
    let mut out = ours.to_owned();
    out.push_str(&rewritten(theirs, &taken));
    out
}

/// A family: its name in the text format and its type.
struct Family<'a> {
    name: String,
    kind: &'a str,
}

fn families(text: &str) -> BTreeMap<&str, Family<'_>> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let family = |(name, kind): (&'_ str, &'_ str)| match kind {
        "counter" if name.ends_with("_total") => (name.to_owned(), "counter"),
        "counter" => (format!("{name}_total"), "counter"),
        "gauge" | "histogram" | "summary" => (name.to_owned(), ""),
        _ => (name.to_owned(), "untyped"),
    };
    types
        .map(|(name, kind)| {
            let (full, as_kind) = family((name, kind));
            (name, Family { name: full, kind: if as_kind.is_empty() { kind } else { as_kind } })
        })
        .collect()
}

fn rewritten(text: &str, taken: &BTreeSet<&str>) -> String {
    let families = families(text);
    let mut out = String::with_capacity(text.len());
    // Samples follow the line that names their family's type.
    let mut skipping = false;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            let Some(family) = families.get(name) else { continue };
            skipping = taken.contains(family.name.as_str());
            if !skipping {
                let _ = writeln!(out, "# HELP {} {help}", family.name);
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap_or(rest);
            let Some(family) = families.get(name) else { continue };
            skipping = taken.contains(family.name.as_str());
            if !skipping {
                let _ = writeln!(out, "# TYPE {} {}", family.name, family.kind);
            }
        } else if !line.starts_with('#') && !line.is_empty() && !skipping {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_keep_their_name_in_both_lines() {
        let open = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total{x=\"1\"} 2\n# HELP g G.\n# TYPE g gauge\n# UNIT g seconds\ng 3\n# EOF\n";
        let text = to_prometheus(open);
        assert_eq!(
            text,
            "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n# HELP g G.\n# TYPE g gauge\ng 3\n"
        );
    }

    #[test]
    fn a_family_comes_once() {
        let ours = "# HELP g G.\n# TYPE g gauge\ng 3\n";
        let theirs = "# HELP g Theirs.\n# TYPE g gauge\ng 4\n# HELP h H.\n# TYPE h gauge\nh 5\n# EOF\n";
        let both = joined(ours, theirs);
        assert!(both.contains("g 3\n") && both.contains("h 5\n") && !both.contains("g 4"), "{both}");
        assert!(!both.contains("EOF"));
    }
}
