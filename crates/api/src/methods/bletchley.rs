//! `bletchley_`: what an Ethereum client has no words for: which ledger this is, its finer clock, and which cryptlets
//! answered the calls of a block.

use super::Handler;
use crate::block_ref;
use crate::context::ApiContext;
use crate::json::{Json, Reply};
use crate::params::Params;
use crate::refusal;
use alloy_primitives::{Address, B256, Bytes};
use alloy_rpc_types_eth::BlockId;
use bletchley_evm::EvmBlock;
use bletchley_ledger::{Intervention, SignedReceipt, Status};
use serde::Serialize;

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(match method {
        "ledgerInfo" => Handler::Quick(ledger_info),
        "getDelegationRecord" => Handler::Heavy(|context, params| {
            params.at_most(1)?;
            match block_ref::block(context, params.required::<BlockId>(0)?)? {
                Some(block) => Json::of(&record(context, &block, None)),
                None => Ok(Json::null()),
            }
        }),
        "getDelegationRecordByTransaction" => Handler::Heavy(of_transaction),
        "getInterventions" => Handler::Heavy(|context, params| {
            params.at_most(1)?;
            match block_ref::block(context, params.required::<BlockId>(0)?)? {
                Some(block) => Json::of(&interventions(&block)),
                None => Ok(Json::null()),
            }
        }),
        _ => return None,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LedgerInfo {
    ledger: B256,
    machine: &'static str,
    chain_id: u64,
    fork: &'static str,
    development: bool,
    archive: bool,
    gas_limit: u64,
    head: HeadInfo,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HeadInfo {
    height: u64,
    hash: B256,
    state_root: B256,
    time_ms: u64,
}

fn ledger_info(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(0)?;
    let ledger = context.ledger();
    let (genesis, head) = (ledger.genesis(), ledger.head());
    Json::of(&LedgerInfo {
        ledger: ledger.id().0,
        machine: "evm",
        chain_id: genesis.chain_id,
        fork: genesis.fork.name(),
        development: genesis.dev,
        archive: genesis.archive,
        gas_limit: genesis.gas_limit,
        head: HeadInfo {
            height: head.height.0,
            hash: head.hash.0,
            state_root: head.state_root,
            time_ms: head.time_ms.0,
        },
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordShape {
    block_number: u64,
    block_hash: B256,
    time_ms: u64,
    anchor: AnchorShape,
    receipts: Vec<ReceiptShape>,
}

#[derive(Serialize)]
struct AnchorShape {
    ledger: B256,
    height: u64,
    block: B256,
}

/// A receipt with names beside the digests that name them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptShape {
    index: usize,
    transaction: B256,
    caller: Address,
    cryptlet: B256,
    #[serde(skip_serializing_if = "Option::is_none")]
    cryptlet_name: Option<String>,
    package: B256,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_name: Option<String>,
    method: String,
    input_digest: B256,
    occurrence: u32,
    status: &'static str,
    output: Bytes,
    /// The output as text when the call failed: it is the reason then.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    output_digest: B256,
    fuel: u64,
    profile: B256,
    transcript: B256,
    as_of_ms: u64,
    valid_from: u64,
    valid_to: u64,
    /// What the signatures sign (EIP-712).
    signing_digest: B256,
    signatures: Vec<SignatureShape>,
}

#[derive(Serialize)]
struct SignatureShape {
    signature: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<Address>,
    role: &'static str,
}

fn of_transaction(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    let hash: B256 = params.required(0)?;
    let found = context.ledger().receipt(hash).map_err(|error| refusal::read(&error))?;
    Json::of(&found.map(|found| record(context, &found.block, Some(hash))))
}

fn record(context: &ApiContext, block: &EvmBlock, only: Option<B256>) -> RecordShape {
    let record = &block.extension.record;
    let of_interest = |receipt: &SignedReceipt| only.is_none_or(|hash| receipt.receipt.transaction.0 == hash);
    RecordShape {
        block_number: block.header.number,
        block_hash: block.hash.0,
        time_ms: block.extension.time_ms.0,
        anchor: AnchorShape {
            ledger: record.anchor.ledger.0,
            height: record.anchor.height.0,
            block: record.anchor.block.0,
        },
        receipts: record
            .receipts
            .iter()
            .enumerate()
            .filter(|(_, receipt)| of_interest(receipt))
            .map(|(index, receipt)| shape(context, index, receipt))
            .collect(),
    }
}

fn shape(context: &ApiContext, index: usize, signed: &SignedReceipt) -> ReceiptShape {
    let receipt = &signed.receipt;
    let name = |id: B256| (context.options().cryptlet_name)(id);
    let signing_digest = receipt.signing_digest();
    let signatures = signed.signatures.iter().enumerate().map(|(position, signature)| SignatureShape {
        signature: Bytes::copy_from_slice(&signature.0),
        signer: bletchley_crypto::recover(signing_digest, signature).ok(),
        role: if position == 0 { "cryptlet" } else { "host" },
    });
    ReceiptShape {
        index,
        transaction: receipt.transaction.0,
        caller: receipt.caller,
        cryptlet: receipt.cryptlet,
        cryptlet_name: name(receipt.cryptlet),
        package: receipt.package,
        package_name: name(receipt.package),
        method: receipt.method.clone(),
        input_digest: receipt.input_digest,
        occurrence: receipt.occurrence,
        status: status_name(receipt.status),
        output: signed.output.clone(),
        reason: (receipt.status != Status::Ok).then(|| String::from_utf8_lossy(&signed.output).into_owned()),
        output_digest: receipt.output_digest,
        fuel: receipt.fuel,
        profile: receipt.profile,
        transcript: receipt.transcript,
        as_of_ms: receipt.as_of_ms.0,
        valid_from: receipt.valid_from.0,
        valid_to: receipt.valid_to.0,
        signing_digest,
        signatures: signatures.collect(),
    }
}

const fn status_name(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Failed => "failed",
        Status::Trapped => "trapped",
        Status::Unavailable => "unavailable",
        Status::Refused => "refused",
    }
}

#[derive(Serialize)]
struct InterventionShape {
    method: String,
    diff: Bytes,
}

fn interventions(block: &EvmBlock) -> Vec<InterventionShape> {
    let shape = |intervention: &Intervention| InterventionShape {
        method: intervention.method.clone(),
        diff: intervention.diff.clone(),
    };
    block.extension.interventions.iter().map(shape).collect()
}
