//! `txpool_`: what waits for a block.

use super::Handler;
use crate::context::ApiContext;
use crate::json::{Json, Reply};
use crate::params::Params;
use crate::shapes;
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U256};
use bletchley_evm::{RecoveredTx, SenderTxs};
use serde::Serialize;
use std::collections::BTreeMap;

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(match method {
        "status" => Handler::Quick(status),
        "content" => Handler::Heavy(|context, params| {
            params.at_most(0)?;
            let content = context.ledger().pool_content();
            Json::of(&Split {
                pending: by_sender(&content.pending, shapes::pending_transaction),
                queued: by_sender(&content.queued, shapes::pending_transaction),
            })
        }),
        "contentFrom" => Handler::Heavy(content_from),
        "inspect" => Handler::Heavy(|context, params| {
            params.at_most(0)?;
            let content = context.ledger().pool_content();
            Json::of(&Split {
                pending: by_sender(&content.pending, summary),
                queued: by_sender(&content.queued, summary),
            })
        }),
        _ => return None,
    })
}

#[derive(Serialize)]
struct Split<T> {
    pending: T,
    queued: T,
}

fn status(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(0)?;
    let status = context.ledger().pool_status();
    Json::of(&Split { pending: U256::from(status.pending), queued: U256::from(status.queued) })
}

/// Addresses are written with their checksum and nonces in decimal, as geth does.
fn by_sender<T>(
    senders: &BTreeMap<Address, SenderTxs>,
    shape: fn(&RecoveredTx) -> T,
) -> BTreeMap<String, BTreeMap<String, T>> {
    senders.iter().map(|(sender, txs)| (sender.to_checksum(None), by_nonce(txs, shape))).collect()
}

fn by_nonce<T>(txs: &SenderTxs, shape: fn(&RecoveredTx) -> T) -> BTreeMap<String, T> {
    txs.iter().map(|(nonce, tx)| (nonce.to_string(), shape(tx))).collect()
}

fn content_from(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    let sender: Address = params.required(0)?;
    let content = context.ledger().pool_content();
    let of = |senders: &BTreeMap<Address, SenderTxs>| {
        senders.get(&sender).map(|txs| by_nonce(txs, shapes::pending_transaction)).unwrap_or_default()
    };
    Json::of(&Split { pending: of(&content.pending), queued: of(&content.queued) })
}

/// `0x...: value wei + gas × price wei`, as geth writes it.
fn summary(tx: &RecoveredTx) -> String {
    let to = match tx.tx.to() {
        Some(to) => to.to_checksum(None),
        None => "contract creation".to_owned(),
    };
    format!("{to}: {} wei + {} gas × {} wei", tx.tx.value(), tx.tx.gas_limit(), tx.max_fee())
}
