//! `cargo xtask tidy`: the rules of ARCHITECTURE.md and STYLE as something that can fail.

mod manifest;
mod names;
mod purity;
mod ratchet;
mod rows;
mod rust_text;
mod sizes;
mod words;

use crate::place::Place;
use crate::{run, say};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::process::Command;

/// Arguments of `tidy`.
#[derive(Args)]
pub(crate) struct Tidy {
    /// Takes out of the ratchet what is no longer needed, and lowers what has shrunk. Adds nothing.
    #[arg(long)]
    update: bool,
    /// Prints everything found as a ratchet would hold it.
    #[arg(long, conflicts_with = "update")]
    measure: bool,
}

/// Something a rule found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Which rule.
    pub(crate) rule: &'static str,
    /// What it is about: a path, a path and a function, a crate and another.
    pub(crate) item: String,
    /// How much: lines for sizes, occurrences for the rest.
    pub(crate) measure: u64,
    /// What to do, for people.
    pub(crate) advice: String,
}

/// A tracked file of the checkout, as text.
pub(crate) struct SourceFile {
    /// Relative to the checkout, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Tidy {
    /// Checks, or updates the ratchet.
    pub(crate) fn run(self, place: &Place) -> Result<()> {
        if self.measure {
            let ratchet = ratchet::Ratchet::of(&findings(place)?);
            say::line(&ratchet.to_text()?);
            return Ok(());
        }
        if self.update {
            let path = place.at(ratchet::PATH);
            let shrunk = ratchet::Ratchet::read(&path)?.shrunk_to(&findings(place)?);
            fs::write(&path, shrunk.to_text()?).with_context(|| format!("writing {}", path.display()))?;
            say::step(&format!("{} now holds {} exceptions", ratchet::PATH, shrunk.len()));
        }
        check(place)
    }
}

/// Fails with a list of everything that is wrong.
pub(crate) fn check(place: &Place) -> Result<()> {
    let ratchet = ratchet::Ratchet::read(&place.at(ratchet::PATH))?;
    let complaints = ratchet.complaints(&findings(place)?);
    for complaint in &complaints {
        say::line(complaint);
    }
    if !complaints.is_empty() {
        bail!("tidy found {} things to put right", complaints.len());
    }
    say::step(&format!("tidy: nothing to put right, {} exceptions left in the ratchet", ratchet.len()));
    Ok(())
}

fn findings(place: &Place) -> Result<Vec<Finding>> {
    let files = tracked_files(place)?;
    let mut found = Vec::new();
    found.extend(rows::findings(&metadata(place)?));
    found.extend(manifest::findings(&files));
    found.extend(sizes::findings(&files));
    found.extend(names::findings(&files));
    found.extend(purity::findings(&files));
    found.extend(words::findings(&files));
    found.sort();
    Ok(found)
}

fn metadata(place: &Place) -> Result<rows::Metadata> {
    let args = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let text = run::output_of(&mut run::cargo(place, &args))?;
    serde_json::from_str(&text).context("reading the output of `cargo metadata`")
}

/// What git tracks or would track; files that are not text are left out.
fn tracked_files(place: &Place) -> Result<Vec<SourceFile>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&place.root);
    let listing = run::output_of(&mut git)?;
    let mut files = Vec::new();
    for path in listing.split('\0').filter(|path| !path.is_empty()) {
        // A file that was removed but not yet committed is listed and not there.
        let Ok(bytes) = fs::read(place.at(path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile { path: path.to_owned(), text });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}
