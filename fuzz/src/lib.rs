//! One fuzz target for each format that comes from outside, with seeds and a mutator; test code, which ships in nothing.
//!
//! A target takes hostile bytes and panics when a promise is broken: what decodes must encode to the same bytes (or, for
//! text, to something that decodes to the same value), a refused block changes nothing, an answer is well-formed. Two
//! programs drive the targets: `tests/smoke.rs` on every `cargo test`, and libFuzzer (see `README.md` beside this crate).
//!
//! ```
//! use bletchley_fuzz::{Verdict, target};
//! let diff = target("diff").unwrap();
//! assert_eq!((diff.check)(&[0xff]), Verdict::Refused);
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a target reports what it found"
)]

mod agreement;
mod attest;
mod consortium;
mod cryptlet;
mod evm;
mod json_rpc;
mod ledger;
pub mod mutate;
mod signatures;
mod storage;
mod structure;
mod token;

/// What a target made of its input. Both are fine; a defect is a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is of the format, and all that must hold of it holds.
    Accepted,
    /// It is not of the format.
    Refused,
}

impl Verdict {
    fn of(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Refused }
    }
}

/// A format from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name, also of the libFuzzer binary.
    pub name: &'static str,
    /// Takes any bytes.
    pub check: fn(&[u8]) -> Verdict,
    /// Valid examples, to be mutated.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many mutated inputs the smoke test tries: fewer where one takes longer.
    pub smoke_runs: u32,
}

/// Inputs of a target that only decodes.
const RUNS: u32 = 40_000;
/// Inputs of a target that recovers signers, or reads kilobytes.
const RUNS_SLOW: u32 = 8_000;
/// Inputs of a target that recovers many signers.
const RUNS_SIGNERS: u32 = 500;
/// Inputs of a target that opens a ledger for each.
const RUNS_LEDGER: u32 = 4_000;

macro_rules! targets {
    ($($module:ident::$name:ident as $text:literal, $runs:expr;)*) => {
        /// All of them.
        pub const TARGETS: &[Target] = &[
            $(Target {
                name: $text,
                check: $module::$name::check,
                seeds: $module::$name::seeds,
                smoke_runs: $runs,
            },)*
        ];
    };
}

targets! {
    ledger::extension as "extension", RUNS;
    ledger::signed_receipt as "signed_receipt", RUNS;
    ledger::delegation_record as "delegation_record", RUNS;
    ledger::certificate as "certificate", RUNS_SLOW;
    ledger::finality as "finality", RUNS;
    ledger::finality_proof as "finality_proof", RUNS_SLOW;
    ledger::checkpoint_message as "checkpoint_message", RUNS;
    ledger::sync_message as "sync_message", RUNS;
    ledger::diff as "diff", RUNS;
    evm::transaction as "evm_transaction", RUNS_SLOW;
    evm::block as "evm_block", RUNS_SLOW;
    evm::inclusion as "evm_inclusion", RUNS_SLOW;
    evm::genesis as "evm_genesis", RUNS_LEDGER;
    token::transaction as "token_transaction", RUNS_SLOW;
    token::header as "token_header", RUNS;
    token::output_proof as "token_output_proof", RUNS;
    token::block as "token_block", RUNS_SLOW;
    consortium::statement as "consortium_statement", RUNS_SLOW;
    cryptlet::manifest as "manifest", RUNS;
    cryptlet::manifest_toml as "manifest_toml", RUNS_SLOW;
    cryptlet::package as "package", RUNS;
    cryptlet::component as "component", RUNS_SLOW;
    cryptlet::transcript as "transcript", RUNS;
    cryptlet::evidence as "evidence", RUNS;
    cryptlet::abi as "abi", RUNS;
    cryptlet::registry_entry as "registry_entry", RUNS;
    cryptlet::rates_csv as "rates_csv", RUNS;
    cryptlet::rates_zip as "rates_zip", RUNS;
    cryptlet::rates_request as "rates_request", RUNS;
    attest::statement as "attest_statement", RUNS_SLOW;
    attest::policy as "attest_policy", RUNS;
    attest::result as "attest_result", RUNS_SLOW;
    attest::wrapped_key as "attest_wrapped_key", RUNS_SLOW;
    attest::quote as "attest_quote", RUNS_SLOW;
    attest::endorsement as "attest_endorsement", RUNS_SLOW;
    agreement::tendermint_message as "tendermint_message", RUNS;
    agreement::tendermint_seal as "tendermint_seal", RUNS;
    signatures::claims as "claims", RUNS_SIGNERS;
    storage::segment as "segment", RUNS_SLOW;
    json_rpc::body as "json_rpc", RUNS_SLOW;
}

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
