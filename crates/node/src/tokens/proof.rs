//! Checking a proof of an output with nothing but the genesis document.

use crate::genesis::NetworkGenesis;
use alloy_primitives::Bytes;
use anyhow::{Context, Result, ensure};
use bletchley_ledger::Certificate;
use bletchley_primitives::{Height, TimestampMs, TxId, decode_bounded};
use bletchley_token::{Header, Output, OutputProof, OutputRef};
use serde_json::Value;

/// What a proof shows.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) reference: OutputRef,
    pub(crate) output: Output,
    pub(crate) spent_by: Option<TxId>,
    pub(crate) height: Height,
    pub(crate) time_ms: TimestampMs,
    /// How many validators certified the block, and how many there are.
    pub(crate) validators: (usize, usize),
}

/// Checks the answer of `/v1/tokens/outputs/{output}/proof`, asking nobody: the certificate by the validators that the
/// genesis document names, the header by the certificate, the proof by the header.
///
/// # Errors
/// Which link does not hold.
pub(crate) fn check(genesis: &NetworkGenesis, answer: &Value) -> Result<Shown> {
    let bytes = |key: &str| -> Result<Bytes> {
        let text = answer.get(key).and_then(Value::as_str).with_context(|| format!("it has no `{key}`"))?;
        text.parse().with_context(|| format!("its `{key}` is not hex"))
    };
    let header = Header::decode_bytes(&bytes("header")?).context("its header")?;
    let ledger = genesis.tokens().ledger;
    ensure!(
        header.ledger == ledger,
        "it is of ledger {}, the genesis document makes {ledger}",
        header.ledger
    );
    let certificate: Certificate =
        decode_bounded(&bytes("certificate")?, Certificate::SIZE_BYTES_MAX).context("its certificate")?;
    let set = genesis.validator_set();
    certificate.verify(&set).context("its certificate")?;
    let checkpoint = &certificate.checkpoint;
    let certified = checkpoint.ledger == ledger
        && checkpoint.height == header.height
        && checkpoint.block == header.hash()
        && checkpoint.state == header.state_root;
    ensure!(certified, "the validators certified another block than the one whose header it holds");
    let proof = OutputProof::decode_bytes(&bytes("proof")?)?;
    proof.verify(header.state_root)?;
    Ok(Shown {
        reference: proof.reference,
        output: proof.output,
        spent_by: proof.spent_by.0.map(TxId),
        height: header.height,
        time_ms: header.time_ms,
        validators: (certificate.signatures.len(), set.members().len()),
    })
}
