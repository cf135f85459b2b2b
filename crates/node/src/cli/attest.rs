//! `bletchley attest`.

use super::Common;
use crate::attest::{self, Document, Question};
use crate::output::Output;
use crate::signals::wall_now_ms;
use alloy_primitives::{Address, B256};
use anyhow::{Context, Result, bail};
use bletchley_attest::{
    Appraiser, AttestationResult, Kind, RuntimeClaims, SignedResult, Statement, Verifiers,
};
use bletchley_cryptlet::keys::Signer;
use bletchley_primitives::{LedgerId, TimestampMs};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(
    after_help = "A host makes a statement: claims about what it runs, and evidence that carries their digest. A verifier checks it\nagainst a policy. Evidence of kind `software` is the host's own word: no hardware vouches for it.\n\nTry:\n  bletchley attest show\n  bletchley attest quote --nonce 0x1111111111111111111111111111111111111111111111111111111111111111 --out host.statement\n  bletchley attest check host.statement --policy policy.toml"
)]
pub(super) struct AttestCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What this node claims of itself; or what a statement or result in a file says, unchecked.
    Show(Show),
    /// Make a statement that answers a verifier's nonce.
    Quote(Quote),
    /// Check a statement against a policy, offline.
    Check(Check),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley attest show                       this node, on its own word\n  bletchley attest show --tpm /dev/tpmrm0     with the names of the TPM's keys, for a policy to pin\n  bletchley attest show host.statement"
)]
struct Show {
    /// A statement or a result.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Socket or device of a TPM.
    #[arg(long, value_name = "PATH")]
    tpm: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The claims are those of this program's file and of the folder's configuration. The ephemeral key ends with this\ncommand: nothing can be released to a statement that was made here.\n\nExamples:\n  bletchley attest quote --nonce 0x11...11 --out host.statement\n  bletchley attest quote --nonce 0x11...11 --location DE-BY --tpm /dev/tpmrm0 --out host.statement"
)]
struct Quote {
    /// The verifier's nonce, 32 bytes in hexadecimal.
    #[arg(long, value_name = "HEX")]
    nonce: B256,
    /// File for the statement.
    #[arg(long, value_name = "FILE", default_value = "host.statement")]
    out: PathBuf,
    /// Where this host stands, an ISO 3166 code such as DE or DE-BY.
    #[arg(long, value_name = "PLACE", default_value = "")]
    location: String,
    /// SHA-256 of one component, when the statement is about that one.
    #[arg(long, value_name = "HEX")]
    component: Option<B256>,
    /// Socket or device of a TPM; without one the evidence is software.
    #[arg(long, value_name = "PATH")]
    tpm: Option<PathBuf>,
    /// Endorsement of the TPM's attestation key.
    #[arg(long, value_name = "FILE", requires = "tpm")]
    endorsement: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley attest check host.statement --policy policy.toml --nonce 0x11...11\n  bletchley attest check host.statement --policy policy.toml --at 2026-11-22T12:00:00Z --json\n  bletchley attest check host.statement --policy policy.toml --nonce 0x11...11 --sign host.result\n\nExit status: 0 accepted, 2 refused, 1 something could not be read.\n\nA policy (specs/attestation.md) can be as short as:\n  verifiers = []\n  validity-ms = 86400000\n  [[rules]]\n  kind = \"software\"\n  references = [{ label = \"any host, on its own word\" }]"
)]
struct Check {
    /// The statement.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The policy, as TOML or as it stands on a registry.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The nonce that was asked with; without it an old statement is not noticed, and nothing is signed.
    #[arg(long, value_name = "HEX")]
    nonce: Option<B256>,
    /// The registry's ledger; that of the statement when not given.
    #[arg(long, value_name = "ID")]
    registry: Option<B256>,
    /// The time to check at, such as 2026-11-22T12:00:00Z; now when not given.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Sign the result with this node's verifier key, into this file.
    #[arg(long, value_name = "FILE", requires = "nonce")]
    sign: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl AttestCommand {
    pub(super) fn run(self) -> Result<u8> {
        match self.action {
            Action::Show(show) => show.run().map(|()| 0),
            Action::Quote(quote) => quote.run().map(|()| 0),
            Action::Check(check) => check.run(),
        }
    }
}

impl Show {
    fn run(self) -> Result<()> {
        let output = self.common.output();
        match &self.file {
            Some(file) => match attest::read_file(file)? {
                Document::Statement(statement) => {
                    show_statement(&statement, output);
                    output.line("  nothing of this was checked: bletchley attest check");
                }
                Document::Result(signed) => show_result(&signed, output),
            },
            None => {
                let question = Question { tpm: self.tpm.clone(), ..Question::default() };
                show_statement(&attest::state(&self.common.folder()?, question)?, output);
            }
        }
        let Some(path) = &self.tpm else { return Ok(()) };
        let identity = attest::tpm_identity(path)?;
        let (ek, ak) = (identity.endorsement_key.name(), identity.attestation_key.name());
        output.line(format!("  endorsement key  {ek}"));
        output.line(format!("  attestation key  {ak}"));
        output.event(&json!({ "endorsementKey": ek, "attestationKey": ak }));
        Ok(())
    }
}

impl Quote {
    fn run(self) -> Result<()> {
        let output = self.common.output();
        let question = Question {
            nonce: self.nonce,
            component: self.component.unwrap_or_default(),
            location: self.location,
            tpm: self.tpm,
            endorsement: self.endorsement,
        };
        let statement = attest::state(&self.common.folder()?, question)?;
        write(&self.out, &statement.encode())?;
        show_statement(&statement, output);
        output.line(format!("{} {}", output.good("written"), self.out.display()));
        Ok(())
    }
}

impl Check {
    fn run(self) -> Result<u8> {
        let output = self.common.output();
        let statement = match attest::read_file(&self.file)? {
            Document::Statement(statement) => statement,
            Document::Result(_) => bail!("{} is a result, not a statement; show it", self.file.display()),
        };
        let policy = attest::read_policy(&self.policy)?;
        let verifier = match &self.sign {
            Some(_) => Some(attest::verifier_key(&self.common.folder()?)?),
            None => None,
        };
        let appraiser = Appraiser {
            verifiers: &Verifiers::built_in(),
            policy: &policy,
            registry: self.registry.map_or(statement.claims.registry, LedgerId),
            verifier: verifier.as_ref().map_or(Address::ZERO, Signer::address),
        };
        let at = time(self.at.as_deref())?;
        let kind = statement.evidence.kind;
        let result = match appraiser.appraise(self.nonce.unwrap_or(statement.nonce), &statement, at) {
            Ok(result) => result,
            Err(error) => {
                output.line(format!("{} {error}", output.bad("refused:")));
                output.line(format!("  evidence   {}", attest::label(kind)));
                output.event(&json!({
                    "accepted": false, "code": error.code(), "problem": error.to_string(), "kind": kind,
                }));
                return Ok(2);
            }
        };
        show_accepted(&result, &statement, self.nonce.is_some(), output);
        if let (Some(path), Some(key)) = (&self.sign, &verifier) {
            let signature = key.sign(result.signing_digest())?;
            write(path, &SignedResult { result, signature }.encode())?;
            output.line(format!(
                "{} {} by verifier {}",
                output.good("signed"),
                path.display(),
                key.address()
            ));
            if !policy.names_verifier(key.address()) {
                output.line("  the policy does not name this verifier: its results do not count under it");
            }
        }
        Ok(0)
    }
}

fn time(text: Option<&str>) -> Result<TimestampMs> {
    let Some(text) = text else { return Ok(wall_now_ms()) };
    let time: jiff::Timestamp = text.parse().with_context(|| format!("reading the time {text:?}"))?;
    let ms = u64::try_from(time.as_millisecond()).context("a time before 1970")?;
    Ok(TimestampMs(ms))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

fn stamp(at: TimestampMs) -> String {
    let ms = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    ms.map_or_else(|| format!("{at} ms"), |time| time.to_string())
}

fn trust(kind: Kind, output: Output) -> String {
    if kind.is_hardware() { attest::label(kind) } else { output.bad(&attest::label(kind)) }
}

fn show_statement(statement: &Statement, output: Output) {
    let Statement { nonce, claims, evidence } = statement;
    output.heading("Statement");
    output.line(format!("  evidence   {}", trust(evidence.kind, output)));
    show_claims(claims, output);
    output.line(format!("  nonce      {nonce}"));
    output.line(format!("  statement  {}", statement.id()));
    output.event(&json!({
        "statement": statement.id(), "kind": evidence.kind, "meaning": evidence.kind.meaning(), "nonce": nonce,
        "claims": claims, "claimsDigest": claims.digest(), "reportData": claims.report_data(*nonce),
        "evidenceBytes": evidence.bytes, "collateralBytes": evidence.collateral,
    }));
}

fn show_claims(claims: &RuntimeClaims, output: Output) {
    let or =
        |text: &str, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text.to_owned() };
    let component = if claims.component.is_zero() { "any".to_owned() } else { claims.component.to_string() };
    for (name, value) in [
        ("host", claims.host.to_string()),
        ("registry", claims.registry.to_string()),
        ("binary", claims.binary.to_string()),
        ("engine", claims.engine.clone()),
        ("profile", claims.profile.to_string()),
        ("isolation", claims.isolation.clone()),
        ("component", component),
        ("world", claims.world.clone()),
        ("config", claims.config.to_string()),
        ("location", or(&claims.location, "not said")),
        ("key", claims.ephemeral_key.to_string()),
    ] {
        output.line(format!("  {name:<10} {value}"));
    }
}

fn show_accepted(result: &AttestationResult, statement: &Statement, nonce_compared: bool, output: Output) {
    output.line(format!("{} as {:?}", output.good("accepted"), result.reference));
    output.line(format!("  evidence   {}", trust(result.kind, output)));
    output.line(format!("  tier       {}", result.tier.name()));
    show_claims(&statement.claims, output);
    output.line(format!("  holds      from {} to {}", stamp(result.at), stamp(result.expires)));
    if !nonce_compared {
        output.line("  no nonce was given: this may be an old statement");
    }
    output.event(&json!({
        "accepted": true, "result": result, "meaning": result.kind.meaning(), "nonceCompared": nonce_compared,
    }));
}

fn show_result(signed: &SignedResult, output: Output) {
    let result = &signed.result;
    output.heading("Result");
    for (name, value) in [
        ("evidence", trust(result.kind, output)),
        ("tier", result.tier.name().to_owned()),
        ("reference", result.reference.clone()),
        ("host", result.host.to_string()),
        ("location", result.location.clone()),
        ("verifier", result.verifier.to_string()),
        ("policy", result.policy.to_string()),
        ("statement", result.statement.to_string()),
        ("holds", format!("from {} to {}", stamp(result.at), stamp(result.expires))),
    ] {
        output.line(format!("  {name:<10} {value}"));
    }
    output.event(&json!({
        "result": result, "meaning": result.kind.meaning(), "digest": signed.digest(),
    }));
}
