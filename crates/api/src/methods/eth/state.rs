//! Accounts: balance, nonce, code, storage, and the proof of them.

use super::super::Handler;
use crate::block_ref;
use crate::context::ApiContext;
use crate::error::RpcError;
use crate::json::{Json, Reply};
use crate::limits::PROOF_SLOTS_MAX;
use crate::params::{Params, Wide};
use crate::refusal;
use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use serde::Serialize;

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(match method {
        "getBalance" => Handler::Quick(|context, params| {
            params.at_most(2)?;
            let at = block_ref::state(params, 1)?;
            Json::of(
                &context
                    .ledger()
                    .balance(&params.required(0)?, at)
                    .map_err(|error| refusal::lookup(&error))?,
            )
        }),
        "getTransactionCount" => Handler::Quick(|context, params| {
            params.at_most(2)?;
            let at = block_ref::state(params, 1)?;
            let nonce =
                context.ledger().nonce(&params.required(0)?, at).map_err(|error| refusal::lookup(&error))?;
            Json::quantity(U256::from(nonce))
        }),
        "getCode" => Handler::Quick(|context, params| {
            params.at_most(2)?;
            let at = block_ref::state(params, 1)?;
            Json::of(
                &context.ledger().code(&params.required(0)?, at).map_err(|error| refusal::lookup(&error))?,
            )
        }),
        "getStorageAt" => Handler::Quick(|context, params| {
            params.at_most(3)?;
            let at = block_ref::state(params, 2)?;
            let slot = params.required::<Wide>(1)?.0;
            let value = context.ledger().storage(&params.required(0)?, &slot, at);
            Json::of(&B256::from(value.map_err(|error| refusal::lookup(&error))?))
        }),
        "getAccount" => Handler::Heavy(account),
        "getProof" => Handler::Heavy(proof),
        _ => return None,
    })
}

/// `eth_getAccount`, as geth has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountShape {
    code_hash: B256,
    storage_root: B256,
    balance: U256,
    #[serde(serialize_with = "hexadecimal")]
    nonce: u64,
}

fn hexadecimal<S: serde::Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    U256::from(*number).serialize(serializer)
}

fn account(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(2)?;
    let at = block_ref::state(params, 1)?;
    let proof =
        context.ledger().proof(params.required(0)?, &[], at).map_err(|error| refusal::proof(&error))?;
    Json::of(&AccountShape {
        code_hash: proof.code_hash,
        storage_root: proof.storage_root,
        balance: proof.balance,
        nonce: proof.nonce,
    })
}

fn proof(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(3)?;
    let address: Address = params.required(0)?;
    let slots: Vec<Wide> = params.or_default(1)?;
    if slots.len() > PROOF_SLOTS_MAX {
        return Err(RpcError::invalid_params(format!(
            "too many keys: at most {PROOF_SLOTS_MAX} in one proof"
        )));
    }
    // The answer repeats each key as it was asked for.
    let keys: Vec<_> = params.or_default(1)?;
    let slots: Vec<U256> = slots.into_iter().map(|slot| slot.0).collect();
    let at = block_ref::state(params, 2)?;
    let proof = context.ledger().proof(address, &slots, at).map_err(|error| refusal::proof(&error))?;
    Json::of(&EIP1186AccountProofResponse {
        address,
        balance: proof.balance,
        code_hash: proof.code_hash,
        nonce: proof.nonce,
        storage_hash: proof.storage_root,
        account_proof: proof.proof,
        storage_proof: keys
            .into_iter()
            .zip(proof.storage)
            .map(|(key, storage)| EIP1186StorageProof { key, value: storage.value, proof: storage.proof })
            .collect(),
    })
}
