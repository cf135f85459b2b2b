//! Final blocks taken over with their results: everything is checked against the header, and nothing is run.

use super::{EvmMachine, Sealed};
use crate::{
    block::decode_header,
    body,
    core::extension_matches,
    delegate, receipts,
    receipts::MinedReceipt,
    trie::ordered_root,
    tx::{self, RecoveredTx},
};
use alloy_consensus::Header;
use bletchley_ledger::{Block, ExecuteError, Executed, Extension, Machine as _, Prepared};
use bletchley_primitives::{BlockHash, Bytes, DecodeError, Height, keccak256};
use std::sync::Arc;

/// A block whose transactions and receipts are those that its header commits to.
struct Inspected {
    header: Header,
    extension: Extension,
    txs: Vec<Arc<RecoveredTx>>,
    receipts: Vec<MinedReceipt>,
    diff: Bytes,
    block: Block,
}

fn mismatch(
    height: Height,
    field: &'static str,
    found: impl ToString,
    expected: impl ToString,
) -> ExecuteError {
    ExecuteError::Mismatch { height, field, found: found.to_string(), expected: expected.to_string() }
}

fn decode(part: &'static str) -> impl Fn(DecodeError) -> ExecuteError {
    move |source| ExecuteError::Decode { part, source }
}

impl EvmMachine {
    /// The transactions of a block and what became of them. Who sent them stands beside the receipts, and no header commits
    /// to that: unless others vouched for it, the signatures say so.
    fn transactions(
        &self,
        header: &Header,
        body: &Bytes,
        kept: &Bytes,
        vouched: bool,
    ) -> Result<(Vec<Arc<RecoveredTx>>, Vec<MinedReceipt>), ExecuteError> {
        let height = Height(header.number);
        let raws = body::decode(body).map_err(decode("body"))?;
        let receipts = receipts::decode(kept).map_err(decode("receipts"))?;
        if receipts.len() != raws.len() {
            return Err(mismatch(height, "receipts", receipts.len(), raws.len()));
        }
        let root = ordered_root(&raws);
        if root != header.transactions_root {
            return Err(mismatch(height, "transactionsRoot", header.transactions_root, root));
        }
        let refused =
            |position: usize, problem: String| ExecuteError::Transaction { height, position, problem };
        let txs: Vec<Arc<RecoveredTx>> = if vouched {
            let with = |(position, (raw, kept)): (usize, (Bytes, &receipts::KeptReceipt))| {
                let tx = tx::with_sender(raw, kept.sender, &self.core.rules);
                tx.map(Arc::new).map_err(|error| refused(position, error.to_string()))
            };
            raws.into_iter().zip(&receipts).enumerate().map(with).collect::<Result<_, _>>()?
        } else {
            let recovered = self.recover(raws).into_iter().enumerate();
            recovered
                .map(|(position, tx)| tx.map_err(|error| refused(position, error.to_string())))
                .collect::<Result<_, _>>()?
        };
        if let Some(position) = txs.iter().zip(&receipts).position(|(tx, kept)| tx.sender != kept.sender) {
            return Err(refused(position, "its receipt names another sender".to_owned()));
        }
        let receipts = receipts::complete(receipts, &txs, header.base_fee_per_gas.unwrap_or_default());
        let seal = receipts::seal(&receipts);
        if seal.root != header.receipts_root {
            return Err(mismatch(height, "receiptsRoot", header.receipts_root, seal.root));
        }
        if seal.bloom != header.logs_bloom {
            return Err(mismatch(height, "logsBloom", header.logs_bloom, seal.bloom));
        }
        if receipts::encode(&receipts) != *kept {
            let source = DecodeError::Malformed("another encoding of the receipts".to_owned());
            return Err(decode("receipts")(source));
        }
        Ok((txs, receipts))
    }

    pub(super) fn inspect_block(
        &self,
        block: Block,
        receipts: &Bytes,
        diff: Bytes,
        vouched: bool,
    ) -> Result<Prepared, ExecuteError> {
        let header = decode_header(&block.header).map_err(decode("header"))?;
        let height = Height(header.number);
        let extension = Extension::decode(&block.extension).map_err(decode("extension"))?;
        if !extension_matches(&header, &block.extension) {
            let digest = Extension::digest(&block.extension);
            return Err(mismatch(height, "extraData", &header.extra_data, digest));
        }
        delegate::check_bounds(&extension.record)
            .map_err(|source| ExecuteError::Record { height, source })?;
        if !extension.interventions.is_empty() {
            return Err(mismatch(height, "interventions", extension.interventions.len(), 0));
        }
        let (txs, receipts) = self.transactions(&header, &block.body, receipts, vouched)?;
        Ok(Prepared(Box::new(Inspected { header, extension, txs, receipts, diff, block })))
    }

    pub(super) fn adopt_block(&self, inspected: Prepared) -> Result<Executed, ExecuteError> {
        let core = &*self.core;
        let inspected = inspected.0.downcast::<Inspected>().map_err(|_| ExecuteError::Internal {
            height: self.head().height.next(),
            problem: "the block was inspected by another machine".to_owned(),
        })?;
        let Inspected { header, extension, txs, receipts, diff, block } = *inspected;
        let height = Height(header.number);
        let mut held = core.held.lock();
        let head = core.head();
        let parent = BlockHash(header.parent_hash);
        if parent != head.hash || height != head.height().next() {
            return Err(ExecuteError::NotOnHead { height, parent, head: head.hash });
        }
        let staged = core.state.stage_diff(&diff).map_err(|problem| {
            let source = DecodeError::Malformed(problem.to_owned());
            ExecuteError::Decode { part: "state changes", source }
        })?;
        if staged.root != header.state_root {
            let found = staged.root;
            core.state.discard(staged);
            return Err(mismatch(height, "stateRoot", header.state_root, found));
        }
        let hash = BlockHash(keccak256(&block.header));
        let sealed = Sealed { header, receipts, staged };
        Ok(self.hold(&mut held, sealed, hash, txs, extension, block))
    }
}
