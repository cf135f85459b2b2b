//! Logs, and filters that remember what they reported.

use super::super::Handler;
use crate::context::ApiContext;
use crate::error::RpcError;
use crate::filters::{Kind, Poll};
use crate::json::{Json, Reply};
use crate::limits::FILTER_BLOCKS_MAX;
use crate::log_filter;
use crate::params::Params;
use crate::refusal;
use crate::shapes;
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::{Filter, FilterBlockOption};
use bletchley_evm::LogQuery;
use bletchley_primitives::Height;
use std::time::Instant;

pub(super) fn find(method: &str) -> Option<Handler> {
    Some(match method {
        "getLogs" => Handler::Heavy(|context, params| {
            params.at_most(1)?;
            logs(context, &log_filter::read(params, 0)?)
        }),
        "newFilter" => Handler::Quick(|context, params| {
            params.at_most(1)?;
            let filter = Box::new(log_filter::read(params, 0)?);
            if matches!(filter.block_option, FilterBlockOption::AtBlockHash(_)) {
                return Err(RpcError::invalid_params(
                    "a filter with blockHash never changes: use eth_getLogs",
                ));
            }
            install(context, Kind::Logs { filter, next: context.ledger().head().height.next() })
        }),
        "newBlockFilter" => Handler::Quick(|context, params| {
            params.at_most(0)?;
            install(context, Kind::Blocks { next: context.ledger().head().height.next() })
        }),
        "newPendingTransactionFilter" => Handler::Quick(|context, params| {
            params.at_most(1)?;
            if params.or_default::<bool>(0)? {
                return Err(RpcError::invalid_params(
                    "whole transactions are given by eth_subscribe newPendingTransactions; a filter gives hashes",
                ));
            }
            install(context, Kind::Transactions { hashes: Vec::new(), overflowed: false })
        }),
        "uninstallFilter" => Handler::Quick(|context, params| {
            params.at_most(1)?;
            Json::of(&context.feed().filters().uninstall(params.required(0)?))
        }),
        "getFilterChanges" => Handler::Heavy(changes),
        "getFilterLogs" => Handler::Heavy(|context, params| {
            params.at_most(1)?;
            let filter = context.feed().filters().log_criteria(params.required(0)?, Instant::now())?;
            logs(context, &filter)
        }),
        _ => return None,
    })
}

fn install(context: &ApiContext, kind: Kind) -> Reply {
    Json::of(&context.feed().filters().install(kind, Instant::now())?)
}

fn logs(context: &ApiContext, filter: &Filter) -> Reply {
    let (from, to) = log_filter::range(context, filter)?;
    logs_between(context, filter, from, to)
}

fn logs_between(context: &ApiContext, filter: &Filter, from: Height, to: Height) -> Reply {
    if from > to {
        return Json::of::<[(); 0]>(&[]);
    }
    let query = LogQuery { from, to, ..log_filter::criteria(filter) };
    let found = context.ledger().logs(&query).map_err(|error| refusal::logs(&error))?;
    Json::of(&found.into_iter().map(shapes::found_log).collect::<Vec<_>>())
}

fn changes(context: &ApiContext, params: &Params<'_>) -> Reply {
    params.at_most(1)?;
    let id: U256 = params.required(0)?;
    let filters = context.feed().filters();
    let head = context.ledger().head().height;
    match filters.poll(id, head, FILTER_BLOCKS_MAX, Instant::now())? {
        Poll::Transactions(hashes) => Json::of(&hashes),
        Poll::Blocks { from, to } => {
            let mut hashes: Vec<B256> = Vec::new();
            for height in from.0..=to.0 {
                match context.ledger().header(Height(height)).map_err(|error| refusal::read(&error))? {
                    Some(header) => hashes.push(header.hash_slow()),
                    None => break,
                }
            }
            Json::of(&hashes)
        }
        Poll::Logs { filter, from, to } => {
            let (first, last) = log_filter::range(context, &filter)?;
            // A filter without toBlock follows the head.
            let open_ended = matches!(filter.block_option, FilterBlockOption::Range { to_block: None, .. });
            let last = if open_ended { to } else { last.min(to) };
            let first = match filter.block_option {
                FilterBlockOption::Range { from_block: Some(tag), .. } if tag.is_number() => first.max(from),
                _ => from,
            };
            logs_between(context, &filter, first, last).inspect_err(|_| filters.put_back(id, from))
        }
    }
}
