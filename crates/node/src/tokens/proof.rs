//! Checking a proof of an output with nothing but the genesis document.

use crate::certificates::token_header_link;
use crate::proofs::Start;
use alloy_primitives::Bytes;
use anyhow::{Context, Result, ensure};
use bletchley_ledger::FinalityProof;
use bletchley_primitives::{Height, TimestampMs, TxId};
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

/// Checks the answer of `/v1/tokens/outputs/{output}/proof`, asking nobody: the certificates by the validators that the
/// ledger starts with and those that followed them, the header by the certificates, the proof by the header.
///
/// # Errors
/// Which link does not hold.
pub(crate) fn check(start: &Start, answer: &Value) -> Result<Shown> {
    let bytes = |key: &str| -> Result<Bytes> {
        let text = answer.get(key).and_then(Value::as_str).with_context(|| format!("it has no `{key}`"))?;
        text.parse().with_context(|| format!("its `{key}` is not hex"))
    };
    let ledger = start.ledger;
    let encoded =
        answer.pointer("/finality/encoded").and_then(Value::as_str).context("it has no `finality`")?;
    let encoded: Bytes = encoded.parse().context("its `finality` is not hex")?;
    let finality = FinalityProof::decode(&encoded).context("its `finality`")?;
    let proved = finality.verify(ledger, &start.validators, token_header_link)?;
    let header = Header::decode_bytes(&proved.header).context("its header")?;
    ensure!(header.ledger == ledger, "it is of ledger {}, {ledger} was expected", header.ledger);
    let proof = OutputProof::decode_bytes(&bytes("proof")?)?;
    proof.verify(header.state_root)?;
    Ok(Shown {
        reference: proof.reference,
        output: proof.output,
        spent_by: proof.spent_by.0.map(TxId),
        height: header.height,
        time_ms: header.time_ms,
        validators: (proved.signatures, proved.validators.members().len()),
    })
}
