//! Log filters: read, bounded, and turned into the ledger's query.

use crate::block_ref;
use crate::context::ApiContext;
use crate::error::RpcError;
use crate::params::Params;
use crate::refusal;
use alloy_rpc_types_eth::{BlockNumberOrTag, Filter, FilterBlockOption};
use bletchley_evm::{LOGS_ALTERNATIVES_MAX, LogQuery};
use bletchley_primitives::Height;

/// The filter at `index` of the parameters; absent means every log.
pub(crate) fn read(params: &Params<'_>, index: usize) -> Result<Filter, RpcError> {
    let filter: Filter = params.optional(index)?.unwrap_or_default();
    let alternatives = filter.topics.iter().map(|topic| topic.len()).chain([filter.address.len()]);
    if alternatives.max() > Some(LOGS_ALTERNATIVES_MAX) {
        return Err(RpcError::invalid_params(format!(
            "exceed max addresses or topics: at most {LOGS_ALTERNATIVES_MAX} in each place"
        )));
    }
    Ok(filter)
}

/// The heights that a filter names, both included.
pub(crate) fn range(context: &ApiContext, filter: &Filter) -> Result<(Height, Height), RpcError> {
    match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let height = context.ledger().height_of(hash.into()).map_err(|error| refusal::read(&error))?;
            let height = height.ok_or_else(|| RpcError::server("unknown block"))?;
            Ok((height, height))
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let height = |tag: Option<BlockNumberOrTag>| block_ref::number(context, tag.unwrap_or_default());
            let (from, to) = (height(from_block), height(to_block));
            if from > to && to_block.is_some() {
                return Err(RpcError::invalid_params(
                    "invalid block range params: fromBlock lies after toBlock",
                ));
            }
            Ok((from, to.min(context.ledger().head().height)))
        }
    }
}

/// What a filter looks for, wherever.
pub(crate) fn criteria(filter: &Filter) -> LogQuery {
    LogQuery {
        from: Height(0),
        to: Height(u64::MAX),
        addresses: filter.address.iter().copied().collect(),
        topics: filter.topics.clone().map(|topic| topic.iter().copied().collect()),
    }
}
