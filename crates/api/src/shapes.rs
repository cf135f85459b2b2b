//! The ledger's blocks, transactions, receipts and logs in the shapes that the Ethereum JSON-RPC specification gives.

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{
    Header as ConsensusHeader, ReceiptEnvelope, ReceiptWithBloom, Sealed, TxEnvelope, TxType,
};
use alloy_primitives::U256;
use alloy_rpc_types_eth::{
    Block, BlockTransactions, Header, Log, Transaction, TransactionReceipt, Withdrawals,
};
use bletchley_evm::{EvmBlock, FoundReceipt, MinedReceipt, PlacedLog, RecoveredTx};

/// A header with its hash, as `newHeads` gives it.
pub(crate) fn head(block: &EvmBlock) -> Header {
    let sealed: Sealed<ConsensusHeader> = Sealed::new_unchecked(block.header.clone(), block.hash.0);
    Header::from_consensus(sealed, None, Some(U256::from(block.size_bytes)))
}

/// A header that no block has: its hash and size are of no meaning.
pub(crate) fn unsealed(header: ConsensusHeader) -> Header {
    Header::from_consensus(Sealed::new_unchecked(header, Default::default()), None, None)
}

/// A block with its transactions, or only their hashes.
pub(crate) fn block(block: &EvmBlock, full: bool) -> Block {
    let transactions = if full {
        BlockTransactions::Full(
            block
                .transactions
                .iter()
                .enumerate()
                .map(|(index, tx)| mined_transaction(block, index, tx))
                .collect(),
        )
    } else {
        BlockTransactions::Hashes(block.transactions.iter().map(|tx| tx.hash).collect())
    };
    Block::new(head(block), transactions).with_withdrawals(Some(Withdrawals::default()))
}

/// A transaction at its place in a block.
pub(crate) fn mined_transaction(block: &EvmBlock, index: usize, tx: &RecoveredTx) -> Transaction {
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    Transaction {
        inner: recovered(tx),
        block_hash: Some(block.hash.0),
        block_number: Some(block.header.number),
        transaction_index: Some(index as u64),
        effective_gas_price: Some(tx.effective_gas_price(base_fee)),
        block_timestamp: Some(block.header.timestamp),
    }
}

/// A transaction that is in no block yet.
pub(crate) fn pending_transaction(tx: &RecoveredTx) -> Transaction {
    Transaction {
        inner: recovered(tx),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        effective_gas_price: Some(tx.max_fee()),
        block_timestamp: None,
    }
}

fn recovered(tx: &RecoveredTx) -> Recovered<TxEnvelope> {
    Recovered::new_unchecked(tx.tx.clone(), tx.sender)
}

/// A log at its place.
fn placed_log(block: &EvmBlock, inner: alloy_primitives::Log, tx_index: usize, log_index: u64) -> Log {
    Log {
        inner,
        block_hash: Some(block.hash.0),
        block_number: Some(block.header.number),
        block_timestamp: Some(block.header.timestamp),
        transaction_hash: block.transactions.get(tx_index).map(|tx| tx.hash),
        transaction_index: Some(tx_index as u64),
        log_index: Some(log_index),
        removed: false,
    }
}

/// A log that a query found.
pub(crate) fn found_log(found: PlacedLog) -> Log {
    Log {
        inner: found.log,
        block_hash: Some(found.block_hash.0),
        block_number: Some(found.height.0),
        block_timestamp: Some(found.time_seconds),
        transaction_hash: Some(found.tx_hash),
        transaction_index: Some(found.tx_index as u64),
        log_index: Some(found.log_index as u64),
        removed: false,
    }
}

/// The receipt of a transaction.
pub(crate) fn receipt(found: &FoundReceipt) -> Option<TransactionReceipt> {
    Some(receipt_after(&found.block, found.receipt()?, found.index, found.first_log_index as u64))
}

/// All receipts of a block.
pub(crate) fn all_receipts(block: &EvmBlock, receipts: &[MinedReceipt]) -> Vec<TransactionReceipt> {
    let mut logs_before = 0;
    let place = |(index, receipt): (usize, &MinedReceipt)| {
        let shaped = receipt_after(block, receipt, index, logs_before);
        logs_before += receipt.logs.len() as u64;
        shaped
    };
    receipts.iter().enumerate().map(place).collect()
}

fn receipt_after(
    block: &EvmBlock,
    receipt: &MinedReceipt,
    index: usize,
    logs_before: u64,
) -> TransactionReceipt {
    let tx = block.transactions.get(index);
    let logs = receipt.logs.iter().zip(logs_before..);
    let inner = ReceiptWithBloom {
        receipt: alloy_consensus::Receipt {
            status: receipt.success.into(),
            cumulative_gas_used: receipt.cumulative_gas_used,
            logs: logs.map(|(log, log_index)| placed_log(block, log.clone(), index, log_index)).collect(),
        },
        logs_bloom: receipt.bloom(),
    };
    TransactionReceipt {
        inner: envelope(receipt.tx_type, inner),
        transaction_hash: tx.map(|tx| tx.hash).unwrap_or_default(),
        transaction_index: Some(index as u64),
        block_hash: Some(block.hash.0),
        block_number: Some(block.header.number),
        gas_used: receipt.gas_used,
        effective_gas_price: receipt.effective_gas_price,
        blob_gas_used: None,
        blob_gas_price: None,
        from: receipt.sender,
        to: tx.and_then(|tx| alloy_consensus::Transaction::to(&tx.tx)),
        contract_address: receipt.contract,
    }
}

/// A receipt as consensus encodes it (EIP-2718), for `debug_getRawReceipts`.
pub(crate) fn raw_receipt(receipt: &MinedReceipt) -> alloy_primitives::Bytes {
    let inner = ReceiptWithBloom {
        receipt: alloy_consensus::Receipt {
            status: receipt.success.into(),
            cumulative_gas_used: receipt.cumulative_gas_used,
            logs: receipt.logs.clone(),
        },
        logs_bloom: receipt.bloom(),
    };
    alloy_eips::eip2718::Encodable2718::encoded_2718(&envelope(receipt.tx_type, inner)).into()
}

fn envelope<T>(tx_type: u8, inner: ReceiptWithBloom<alloy_consensus::Receipt<T>>) -> ReceiptEnvelope<T> {
    // Blob transactions have no place on this ledger; every type in a block is one of these.
    match TxType::try_from(tx_type) {
        Ok(TxType::Eip2930) => ReceiptEnvelope::Eip2930(inner),
        Ok(TxType::Eip1559) => ReceiptEnvelope::Eip1559(inner),
        Ok(TxType::Eip7702) => ReceiptEnvelope::Eip7702(inner),
        _ => ReceiptEnvelope::Legacy(inner),
    }
}
