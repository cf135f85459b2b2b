//! `/v1/tokens/{id}/lineage`: the story of a token on the token ledger, and what contracts recorded about it.
//!
//! A contract can log anything about any token. What it says is marked as acknowledged only when the token's owner named
//! the contract on the token ledger, so that a stranger's contract claims nothing unseen.

use super::answer::{Answer, Refusal, read};
use super::{RestContext, names};
use crate::limits::{RECORD_BLOCKS_MAX, RECORD_CONTRACTS_MAX};
use alloy_primitives::{Address, B256, LogData, U256, b256};
use axum::Json;
use axum::extract::{Path, State};
use bletchley_evm::{EvmLedger, LOGS_BLOCKS_MAX, LogQuery, LogsError, PlacedLog};
use bletchley_primitives::{Height, LedgerId};
use bletchley_token::{Event, Happening, Note, TokenId};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// `ItemRecorded(bytes32 indexed tokenId, bytes32 indexed ledgerId, bytes32 outputId, address indexed by)`.
const ITEM_RECORDED: B256 = b256!("10d6dc0ba4d847a9dbc09625181e0d5de5fd2f49c3de249f69ecaac0f87f61bc");
/// `Transfer(address indexed from, address indexed to, uint256 indexed tokenId)`, ERC-721.
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

pub(super) async fn show(State(context): State<RestContext>, Path(id): Path<String>) -> Answer {
    let id = names::token(&id)?;
    super::tokens::existing(&context.tokens, id)?;
    let told = read(move || {
        let told = context.tokens.lineage(id).map_err(Refusal::internal)?;
        let told = told.ok_or_else(|| Refusal::not_found(format!("no token {id}")))?;
        let chain = Chain { evm: &context.evm, tokens: context.tokens.ledger(), token: id };
        let mut acknowledged = BTreeSet::new();
        chain.acknowledged(&told.events, &mut acknowledged);
        let (records, complete) = chain.records(&acknowledged).map_err(Refusal::internal)?;
        let mut answer = json!(told);
        if let Some(object) = answer.as_object_mut() {
            object.insert("records".to_owned(), Value::Array(records));
            object.insert("records_truncated".to_owned(), Value::Bool(!complete));
        }
        Ok(answer)
    });
    told.await.map(Json)
}

/// Where contracts may have recorded a token.
struct Chain<'a> {
    evm: &'a EvmLedger,
    tokens: LedgerId,
    token: TokenId,
}

impl Chain<'_> {
    /// The contracts on this EVM ledger that the token's owners named, for this very token.
    fn acknowledged(&self, events: &[Event], found: &mut BTreeSet<Address>) {
        for event in events {
            match &event.happening {
                Happening::Recorded { note: Note::Contract { place }, .. } => {
                    let here = place.ledger == LedgerId::default() || place.ledger == self.evm.id();
                    let item = place.item == U256::from_be_bytes(self.token.0.0);
                    if here && item && place.chain_id == self.evm.chain_id() {
                        found.insert(place.contract);
                    }
                }
                // What is recorded of a composite is no record of its parts: the item differs.
                Happening::BuiltInto { within, .. } => self.acknowledged(within, found),
                _ => {}
            }
        }
    }

    /// What contracts logged about the token, oldest first, and whether that is all.
    fn records(&self, acknowledged: &BTreeSet<Address>) -> Result<(Vec<Value>, bool), LogsError> {
        let recorded = |addresses| {
            let topics = [vec![ITEM_RECORDED], vec![self.token.0], vec![self.tokens.0], Vec::new()];
            LogQuery { addresses, topics, ..LogQuery::default() }
        };
        let (mut logs, mut complete) = self.search(&recorded(Vec::new()))?;
        if !complete && !acknowledged.is_empty() {
            // Strangers who log much must not hide what the owner acknowledged.
            logs.extend(self.search(&recorded(acknowledged.iter().copied().collect()))?.0);
        }
        let mut contracts: Vec<Address> = acknowledged.iter().copied().take(RECORD_CONTRACTS_MAX).collect();
        for log in &logs {
            if contracts.contains(&log.log.address) {
                continue;
            }
            if contracts.len() == RECORD_CONTRACTS_MAX {
                complete = false;
                break;
            }
            contracts.push(log.log.address);
        }
        if !contracts.is_empty() {
            let (mut own, mut others) = (contracts, Vec::new());
            if own.len() > acknowledged.len() {
                others = own.split_off(acknowledged.len());
            }
            for addresses in [own, others].into_iter().filter(|addresses| !addresses.is_empty()) {
                let topics = [vec![TRANSFER], Vec::new(), Vec::new(), vec![self.token.0]];
                let (found, all) = self.search(&LogQuery { addresses, topics, ..LogQuery::default() })?;
                logs.extend(found);
                complete &= all;
            }
        }
        logs.sort_by_key(|log| (log.height, log.log_index));
        logs.dedup();
        let shown = logs.iter().map(|log| self.shown(log, acknowledged.contains(&log.log.address)));
        Ok((shown.collect(), complete))
    }

    /// Logs from the newest blocks back, as far as the bounds allow.
    fn search(&self, query: &LogQuery) -> Result<(Vec<PlacedLog>, bool), LogsError> {
        let head = self.evm.head().height.0;
        let (mut to, mut found) = (head, Vec::new());
        loop {
            let from = to.saturating_sub(LOGS_BLOCKS_MAX - 1);
            let range = LogQuery { from: Height(from), to: Height(to), ..query.clone() };
            match self.evm.logs(&range) {
                Ok(logs) => found.extend(logs),
                Err(LogsError::TooManyResults { .. }) => return Ok((found, false)),
                Err(error) => return Err(error),
            }
            if from == 0 {
                return Ok((found, true));
            }
            if head - from >= RECORD_BLOCKS_MAX {
                return Ok((found, false));
            }
            to = from - 1;
        }
    }

    fn shown(&self, log: &PlacedLog, acknowledged: bool) -> Value {
        let address_in = |data: &LogData, position: usize| {
            data.topics().get(position).map(|topic| Address::from_word(*topic))
        };
        let data = &log.log.data;
        let mut record = json!({
            "chain_id": self.evm.chain_id(), "contract": log.log.address, "acknowledged": acknowledged,
            "transaction": log.tx_hash, "height": log.height, "block": log.block_hash,
            "time_ms": log.time_seconds.saturating_mul(1000),
        });
        let more = if data.topics().first() == Some(&ITEM_RECORDED) {
            let output = data.data.get(..32).map(B256::from_slice);
            json!({ "event": "item_recorded", "by": address_in(data, 3), "output_id": output })
        } else {
            json!({ "event": "transfer", "from": address_in(data, 1), "to": address_in(data, 2) })
        };
        if let (Some(record), Value::Object(more)) = (record.as_object_mut(), more) {
            record.extend(more);
        }
        record
    }
}
