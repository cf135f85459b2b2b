//! Block parameters: numbers, tags and hashes (EIP-1898), resolved against the ledger.

use crate::context::ApiContext;
use crate::error::RpcError;
use crate::params::Params;
use crate::refusal;
use alloy_rpc_types_eth::{BlockId, BlockNumberOrTag};
use bletchley_evm::{BlockRef, EvmBlock, MinedReceipt};
use bletchley_primitives::{BlockHash, Height};
use std::sync::Arc;

/// A block with its receipts.
pub(crate) type Whole = (Arc<EvmBlock>, Arc<Vec<MinedReceipt>>);

/// The height that a number or tag names. Every block of this ledger is final when it is visible, so that `safe` and
/// `finalized` are the head.
pub(crate) fn number(context: &ApiContext, tag: BlockNumberOrTag) -> Height {
    match tag {
        BlockNumberOrTag::Number(number) => Height(number),
        BlockNumberOrTag::Earliest => Height(0),
        _ => context.ledger().head().height,
    }
}

/// The state that the parameter at `index` names; absent means the latest.
pub(crate) fn state(params: &Params<'_>, index: usize) -> Result<BlockRef, RpcError> {
    Ok(reference(params.optional::<BlockId>(index)?.unwrap_or_default()))
}

/// The same for a transaction that is about to be sent: absent means the pending block, where it would run. A development
/// ledger's clock may have been moved since the latest.
pub(crate) fn ahead(params: &Params<'_>, index: usize) -> Result<BlockRef, RpcError> {
    Ok(params.optional::<BlockId>(index)?.map_or(BlockRef::Pending, reference))
}

/// A block parameter in the ledger's words.
pub(crate) const fn reference(id: BlockId) -> BlockRef {
    match id {
        BlockId::Hash(hash) => BlockRef::Hash(BlockHash(hash.block_hash)),
        BlockId::Number(BlockNumberOrTag::Pending) => BlockRef::Pending,
        BlockId::Number(BlockNumberOrTag::Earliest) => BlockRef::Earliest,
        BlockId::Number(BlockNumberOrTag::Number(number)) => BlockRef::Height(Height(number)),
        BlockId::Number(_) => BlockRef::Latest,
    }
}

/// The height of the block that a parameter names, none when there is no such block.
fn height(context: &ApiContext, id: BlockId) -> Result<Option<Height>, RpcError> {
    match id {
        BlockId::Hash(hash) => {
            context.ledger().height_of(hash.block_hash.into()).map_err(|error| refusal::read(&error))
        }
        BlockId::Number(tag) => Ok(Some(number(context, tag))),
    }
}

/// The block that a parameter names, none when there is no such block. `pending` is the head here.
pub(crate) fn block(context: &ApiContext, id: BlockId) -> Result<Option<Arc<EvmBlock>>, RpcError> {
    let Some(height) = height(context, id)? else { return Ok(None) };
    context.ledger().block(height).map_err(|error| refusal::read(&error))
}

/// A block with its receipts.
pub(crate) fn whole(context: &ApiContext, id: BlockId) -> Result<Option<Whole>, RpcError> {
    let Some(block) = block(context, id)? else { return Ok(None) };
    let receipts = context.ledger().receipts(block.height()).map_err(|error| refusal::read(&error))?;
    Ok(receipts.map(|receipts| (block, receipts)))
}
