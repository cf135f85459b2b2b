//! Each language from an empty folder to tests that pass, with the tools that developers get; and what each says when
//! something is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod everything;
mod faults;
mod place;

use bletchley_kit::Language;

#[test]
fn javascript() {
    everything::passes(Language::JavaScript);
}

#[test]
fn typescript() {
    everything::passes(Language::TypeScript);
}

#[test]
fn python() {
    everything::passes(Language::Python);
}

#[test]
fn c() {
    everything::passes(Language::C);
}

#[test]
fn rust() {
    everything::passes(Language::Rust);
}
