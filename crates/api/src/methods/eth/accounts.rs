//! Accounts whose keys the node holds: the funded ones of a development ledger. Elsewhere there are none; wallets sign.

use super::super::Handler;
use crate::context::ApiContext;
use crate::error::RpcError;
use crate::json::{Json, Reply};
use crate::params::Params;
use crate::refusal;
use alloy_consensus::{SignableTransaction, TxEnvelope, TypedTransaction};
use alloy_dyn_abi::eip712::TypedData;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, U256, eip191_hash_message};
use alloy_rpc_types_eth::TransactionRequest;
use bletchley_crypto::SecretKey;
use bletchley_evm::{BaseFee, BlockRef};
use serde::Serialize;

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(match method {
        "accounts" | "requestAccounts" => Handler::Quick(|context, params| {
            params.at_most(0)?;
            Json::of(&addresses(context))
        }),
        "coinbase" => Handler::Quick(|context, params| {
            params.at_most(0)?;
            Json::of(&context.head_header()?.beneficiary)
        }),
        "sign" => Handler::Quick(|context, params| {
            params.at_most(2)?;
            sign_message(context, params.required(0)?, &params.required::<Bytes>(1)?)
        }),
        "signTypedData" | "signTypedData_v3" | "signTypedData_v4" => Handler::Heavy(|context, params| {
            params.at_most(2)?;
            let key = key_of(context, params.required(0)?)?;
            let digest = read_typed_data(params, 1)?.eip712_signing_hash().map_err(|error| {
                RpcError::invalid_params(format!(
                    "invalid argument 1: the typed data cannot be hashed: {error}"
                ))
            })?;
            Json::of(&signature_bytes(key, digest))
        }),
        "signTransaction" => Handler::Heavy(|context, params| {
            params.at_most(1)?;
            let (key, tx) = prepare(context, params)?;
            let envelope = seal(key, tx);
            Json::of(&Signed { raw: envelope.encoded_2718().into(), tx: envelope })
        }),
        "sendTransaction" => Handler::Wait(send),
        "fillTransaction" => Handler::Heavy(|context, params| {
            params.at_most(1)?;
            let request: TransactionRequest = params.required(0)?;
            let from = request.from.unwrap_or_default();
            let tx = build(complete(context, request, from)?)?;
            Json::of(&Filled { raw: unsigned(&tx), tx })
        }),
        _ => return None,
    })
}

/// `personal_`, of which tools still use one method: `eth_sign` with its parameters the other way round.
pub(in crate::methods) fn find_personal(method: &str) -> Option<Handler> {
    match method {
        "sign" => Some(Handler::Quick(|context, params| {
            params.at_most(3)?;
            sign_message(context, params.required(1)?, &params.required::<Bytes>(0)?)
        })),
        _ => None,
    }
}

/// Answer of `eth_signTransaction`.
#[derive(Serialize)]
struct Signed {
    raw: Bytes,
    tx: TxEnvelope,
}

/// Answer of `eth_fillTransaction`.
#[derive(Serialize)]
struct Filled {
    raw: Bytes,
    tx: TypedTransaction,
}

fn addresses(context: &ApiContext) -> Vec<Address> {
    context.dev().map(|dev| dev.accounts.iter().map(SecretKey::address).collect()).unwrap_or_default()
}

/// Nobody here can sign for this account.
fn unknown_account(address: Address) -> RpcError {
    RpcError::server(format!(
        "unknown account {address}: this node does not hold its key; sign with a wallet and use eth_sendRawTransaction"
    ))
}

fn key_of(context: &ApiContext, address: Address) -> Result<&SecretKey, RpcError> {
    let mut keys = context.dev().into_iter().flat_map(|dev| &dev.accounts);
    keys.find(|key| key.address() == address).ok_or_else(|| unknown_account(address))
}

/// EIP-191, version 0x45.
fn sign_message(context: &ApiContext, address: Address, message: &Bytes) -> Reply {
    Json::of(&signature_bytes(key_of(context, address)?, eip191_hash_message(message)))
}

/// `r || s || v` with `v` 27 or 28, as wallets give it.
fn signature_bytes(key: &SecretKey, digest: B256) -> Bytes {
    sign(key, digest).as_bytes().into()
}

fn sign(key: &SecretKey, digest: B256) -> Signature {
    let bytes = key.sign(digest).0;
    let word = |at: usize| bytes.get(at..at + 32).and_then(U256::try_from_be_slice).unwrap_or_default();
    Signature::new(word(0), word(32), bytes.last() == Some(&1))
}

/// Typed data (EIP-712) as an object, or as a string that holds one, which some wallets send.
fn read_typed_data(params: &Params<'_>, index: usize) -> Result<TypedData, RpcError> {
    match params.optional::<String>(index) {
        Ok(Some(text)) => serde_json::from_str(&text)
            .map_err(|error| RpcError::invalid_params(format!("invalid argument {index}: {error}"))),
        _ => params.required(index),
    }
}

fn prepare<'a>(
    context: &'a ApiContext,
    params: &Params<'_>,
) -> Result<(&'a SecretKey, TypedTransaction), RpcError> {
    let request: TransactionRequest = params.required(0)?;
    let from = sender_of(&request)?;
    let key = key_of(context, from)?;
    Ok((key, build(complete(context, request, from)?)?))
}

fn sender_of(request: &TransactionRequest) -> Result<Address, RpcError> {
    request.from.ok_or_else(|| RpcError::invalid_params("invalid argument 0: from is missing"))
}

fn send(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    let request: TransactionRequest = params.required(0)?;
    let from = sender_of(&request)?;
    let hash = match key_of(context, from) {
        Ok(key) => {
            let raw = seal(key, build(complete(context, request, from)?)?).encoded_2718();
            context.ledger().submit(raw.into())
        }
        Err(unknown) => {
            if !context.ledger().dev().is_some_and(|handle| handle.is_impersonated(&from)) {
                return Err(unknown);
            }
            let request = complete(context, request, from)?;
            context.ledger().submit_unsigned(from, &request)
        }
    };
    let hash = hash.map_err(|error| refusal::submit(&error))?;
    context.settle(hash);
    Json::of(&hash)
}

/// Fills in what the caller left open, as a wallet would.
fn complete(
    context: &ApiContext,
    mut request: TransactionRequest,
    from: Address,
) -> Result<TransactionRequest, RpcError> {
    let ledger = context.ledger();
    let chain_id = ledger.chain_id();
    if request.chain_id.is_some_and(|given| given != chain_id) {
        return Err(RpcError::invalid_params(format!("invalid chain id: this ledger's is {chain_id}")));
    }
    request.from = Some(from);
    request.chain_id = Some(chain_id);
    if request.input.unique_input().is_err() {
        return Err(RpcError::invalid_params(
            "both \"data\" and \"input\" are set and not equal; use \"input\"",
        ));
    }
    request.input =
        alloy_rpc_types_eth::TransactionInput::new(request.input.into_input().unwrap_or_default());
    if request.to.is_none() {
        if request.input.input().is_none_or(|code| code.is_empty()) {
            return Err(RpcError::invalid_params("contract creation without any data provided"));
        }
        request.to = Some(alloy_primitives::TxKind::Create);
    }
    if request.nonce.is_none() {
        request.nonce = Some(ledger.pool_nonce(&from));
    }
    if request.gas_price.is_none() {
        let tip = match (request.max_priority_fee_per_gas, ledger.genesis().base_fee) {
            (Some(tip), _) => tip,
            // Where gas costs nothing, a sender without funds shall not have to pay because others did.
            (None, BaseFee::Zero) => 0,
            (None, BaseFee::Eip1559 { .. }) => {
                ledger.max_priority_fee_per_gas().min(request.max_fee_per_gas.unwrap_or(u128::MAX))
            }
        };
        request.max_priority_fee_per_gas = Some(tip);
        let base_fee = u128::from(context.ledger().next_base_fee());
        request.max_fee_per_gas.get_or_insert_with(|| base_fee.saturating_mul(2).saturating_add(tip));
    } else if request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some() {
        return Err(RpcError::invalid_params(
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
        ));
    }
    if request.gas.is_none() {
        let mut call = request.clone();
        call.nonce = None;
        let gas = ledger
            .estimate_gas(&call, BlockRef::Pending, None, None)
            .map_err(|error| refusal::call(&error))?;
        request.gas = Some(gas);
    }
    request.value.get_or_insert(U256::ZERO);
    Ok(request)
}

fn build(request: TransactionRequest) -> Result<TypedTransaction, RpcError> {
    request
        .build_consensus_tx()
        .map_err(|error| RpcError::invalid_params(format!("invalid argument 0: {}", error.error)))
}

fn seal(key: &SecretKey, tx: TypedTransaction) -> TxEnvelope {
    let signature = sign(key, tx.signature_hash());
    tx.into_envelope(signature)
}

/// The bytes that a wallet signs.
fn unsigned(tx: &TypedTransaction) -> Bytes {
    tx.encoded_for_signing().into()
}
