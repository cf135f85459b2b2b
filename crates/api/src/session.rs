//! The subscriptions of one WebSocket, and what each has to be told about an event.

use crate::error::RpcError;
use crate::feed::BlockEvent;
use crate::json::{Json, Reply};
use crate::limits::WS_SUBSCRIPTIONS_MAX;
use crate::log_filter;
use crate::params::Params;
use crate::shapes;
use alloy_primitives::U256;
use bletchley_evm::{LogQuery, RecoveredTx};
use parking_lot::Mutex;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

#[derive(Debug)]
enum Kind {
    Heads,
    Logs(Box<LogQuery>),
    Transactions {
        full: bool,
    },
    /// Accepted because clients ask for it; a node that follows its own head has nothing to report.
    Syncing,
}

#[derive(Debug)]
struct Subscription {
    id: U256,
    kind: Kind,
    /// The turn whose answer announces it; nothing is sent before that answer.
    unannounced: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Session {
    subscriptions: Mutex<Vec<Subscription>>,
    seed: RandomState,
}

/// One body that came by a session, counted so that subscriptions start after their answer.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) session: Arc<Session>,
    pub(crate) number: u64,
}

impl Turn {
    /// `eth_subscribe`
    pub(crate) fn subscribe(&self, params: &Params<'_>) -> Reply {
        params.at_most(2)?;
        let name: String = params.required(0)?;
        let kind = match name.as_str() {
            "newHeads" => Kind::Heads,
            "logs" => Kind::Logs(Box::new(log_filter::criteria(&log_filter::read(params, 1)?))),
            "newPendingTransactions" => Kind::Transactions { full: params.or_default(1)? },
            "syncing" => Kind::Syncing,
            other => {
                let shown: String = other.chars().take(40).collect();
                return Err(RpcError::method_not_found(&format!("eth_subscribe \"{shown}\"")));
            }
        };
        let mut subscriptions = self.session.subscriptions.lock();
        if subscriptions.len() >= WS_SUBSCRIPTIONS_MAX {
            return Err(RpcError::limit(format!(
                "limit exceeded: a connection has at most {WS_SUBSCRIPTIONS_MAX} subscriptions"
            )));
        }
        let salt = (self.number, subscriptions.len());
        let mut id = U256::from(self.session.seed.hash_one(salt) | 1);
        while subscriptions.iter().any(|subscription| subscription.id == id) {
            id = id.wrapping_add(U256::from(2));
        }
        subscriptions.push(Subscription { id, kind, unannounced: Some(self.number) });
        Json::of(&id)
    }

    /// `eth_unsubscribe`
    pub(crate) fn unsubscribe(&self, params: &Params<'_>) -> Reply {
        params.at_most(1)?;
        let id: U256 = params.required(0)?;
        let mut subscriptions = self.session.subscriptions.lock();
        let before = subscriptions.len();
        subscriptions.retain(|subscription| subscription.id != id);
        if subscriptions.len() == before {
            return Err(RpcError::server("subscription not found"));
        }
        Json::of(&true)
    }
}

impl Session {
    /// The answer of a turn is on its way: its subscriptions may speak.
    pub(crate) fn announce(&self, turn: u64) {
        for subscription in self.subscriptions.lock().iter_mut() {
            if subscription.unannounced == Some(turn) {
                subscription.unannounced = None;
            }
        }
    }

    pub(crate) fn wants_transactions(&self) -> bool {
        self.subscriptions.lock().iter().any(|s| matches!(s.kind, Kind::Transactions { .. }))
    }

    /// How many subscriptions there are.
    pub(crate) fn len(&self) -> usize {
        self.subscriptions.lock().len()
    }

    /// Notifications of the subscription at `index`, in the order in which they were made, for a change of the chain.
    pub(crate) fn on_block(&self, event: &BlockEvent, index: usize) -> Vec<Vec<u8>> {
        let BlockEvent::Committed { block, receipts } = event else { return Vec::new() };
        let mut messages = Vec::new();
        let subscriptions = self.subscriptions.lock();
        let Some(subscription) = subscriptions.get(index).filter(|s| s.unannounced.is_none()) else {
            return messages;
        };
        match &subscription.kind {
            Kind::Heads => push(&mut messages, subscription.id, Json::of(&shapes::head(block))),
            Kind::Logs(query) if query.may_match(&block.header.logs_bloom) => {
                for log in query.select(block, receipts) {
                    push(&mut messages, subscription.id, Json::of(&shapes::found_log(log)));
                }
            }
            Kind::Logs(_) | Kind::Transactions { .. } | Kind::Syncing => {}
        }
        messages
    }

    /// Notifications for a pooled transaction.
    pub(crate) fn on_transaction(&self, tx: &Arc<RecoveredTx>) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        for subscription in self.subscriptions.lock().iter().filter(|s| s.unannounced.is_none()) {
            match subscription.kind {
                Kind::Transactions { full: true } => {
                    push(&mut messages, subscription.id, Json::of(&shapes::pending_transaction(tx)));
                }
                Kind::Transactions { full: false } => {
                    push(&mut messages, subscription.id, Json::of(&tx.hash))
                }
                _ => {}
            }
        }
        messages
    }
}

fn push(messages: &mut Vec<Vec<u8>>, id: U256, result: Reply) {
    match result {
        Ok(json) => {
            let head = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"eth_subscription\",\"params\":{{\"subscription\":\"{id:#x}\",\"result\":"
            );
            let mut message = head.into_bytes();
            message.extend_from_slice(&json.0);
            message.extend_from_slice(b"}}");
            messages.push(message);
        }
        Err(error) => tracing::error!(%error, "api.notify: the event could not be written as JSON"),
    }
}
