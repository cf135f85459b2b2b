//! Ethereum headers as this ledger fills them in.
//!
//! Fields that Ethereum's main network gives a meaning this ledger has no use for hold fixed values: no uncles, no
//! difficulty, no withdrawals, no blobs, no beacon root, no requests. `extraData` commits to the block's extension, and
//! `mixHash` (which contracts read as `PREVRANDAO`) is a digest of the parent: it is known in advance, and no contract
//! may take it for a secret.

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{
    eip1559::{BaseFeeParams, calc_next_block_base_fee},
    eip7685::EMPTY_REQUESTS_HASH,
};
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U256};
use bletchley_crypto::Domain;
use bletchley_ledger::{ExecuteError, Extension};
use bletchley_primitives::{BlockHash, Height, TimestampMs};
use revm::{
    context::BlockEnv, context_interface::block::BlobExcessGasAndPrice, primitives::hardfork::SpecId,
};

use crate::genesis::{BaseFee, Fork, Genesis};

const RANDAO_DOMAIN: Domain = Domain("bletchley/evm/randao/1");

/// Longest header that is decoded: Ethereum's fields and 32 bytes of extra data take about 650 bytes.
pub(crate) const HEADER_SIZE_BYTES_MAX: usize = 1024;

/// What a header says before anything ran.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) parent: BlockHash,
    pub(crate) height: Height,
    pub(crate) time_ms: TimestampMs,
    pub(crate) beneficiary: Address,
    pub(crate) gas_limit: u64,
    pub(crate) base_fee: u64,
    pub(crate) fork: Fork,
}

/// What execution adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Results {
    pub(crate) state_root: B256,
    pub(crate) transactions_root: B256,
    pub(crate) receipts_root: B256,
    pub(crate) logs_bloom: Bloom,
    pub(crate) gas_used: u64,
    pub(crate) extension: B256,
}

/// Base fee of the block after `parent`.
pub(crate) fn next_base_fee(rule: BaseFee, parent: &Header) -> u64 {
    match rule {
        BaseFee::Zero => 0,
        BaseFee::Eip1559 { .. } => calc_next_block_base_fee(
            parent.gas_used,
            parent.gas_limit,
            parent.base_fee_per_gas.unwrap_or_default(),
            BaseFeeParams::ethereum(),
        ),
    }
}

impl Frame {
    /// The digest that stands in for randomness.
    pub(crate) fn mix_hash(&self) -> B256 {
        RANDAO_DOMAIN.digest(&[self.parent.0.as_slice()])
    }

    /// The block as contracts see it.
    pub(crate) fn env(&self) -> BlockEnv {
        BlockEnv {
            number: U256::from(self.height.0),
            beneficiary: self.beneficiary,
            timestamp: U256::from(self.time_ms.seconds()),
            gas_limit: self.gas_limit,
            basefee: self.base_fee,
            difficulty: U256::ZERO,
            prevrandao: Some(self.mix_hash()),
            blob_excess_gas_and_price: Some(no_blobs(self.fork.spec())),
            slot_num: self.height.0,
        }
    }

    /// The whole header.
    pub(crate) fn seal(&self, results: &Results) -> Header {
        Header {
            parent_hash: self.parent.0,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: self.beneficiary,
            state_root: results.state_root,
            transactions_root: results.transactions_root,
            receipts_root: results.receipts_root,
            logs_bloom: results.logs_bloom,
            difficulty: U256::ZERO,
            number: self.height.0,
            gas_limit: self.gas_limit,
            gas_used: results.gas_used,
            timestamp: self.time_ms.seconds(),
            extra_data: Bytes::copy_from_slice(results.extension.as_slice()),
            mix_hash: self.mix_hash(),
            nonce: B64::ZERO,
            base_fee_per_gas: Some(self.base_fee),
            withdrawals_root: Some(EMPTY_WITHDRAWALS),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: requests_hash(self.fork),
            block_access_list_hash: None,
            slot_number: None,
        }
    }
}

fn no_blobs(spec: SpecId) -> BlobExcessGasAndPrice {
    let fraction = if spec.is_enabled_in(SpecId::PRAGUE) {
        revm::primitives::eip4844::BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE
    } else {
        revm::primitives::eip4844::BLOB_BASE_FEE_UPDATE_FRACTION_CANCUN
    };
    BlobExcessGasAndPrice::new(0, fraction)
}

const fn requests_hash(fork: Fork) -> Option<B256> {
    match fork {
        Fork::Cancun => None,
        Fork::Prague | Fork::Osaka => Some(EMPTY_REQUESTS_HASH),
    }
}

/// The header of the genesis block.
pub(crate) fn genesis(genesis: &Genesis, state_root: B256) -> Header {
    let frame = Frame {
        parent: BlockHash::default(),
        height: Height(0),
        time_ms: genesis.time_ms,
        beneficiary: Address::ZERO,
        gas_limit: genesis.gas_limit,
        base_fee: genesis.base_fee_initial(),
        fork: genesis.fork,
    };
    frame.seal(&Results {
        state_root,
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        logs_bloom: Bloom::ZERO,
        gas_used: 0,
        extension: Extension::digest(&genesis.extension().encode()),
    })
}

/// Compares a header with what execution gives, field by field, so that a refusal names what differs.
pub(crate) fn check(found: &Header, expected: &Header) -> Result<(), ExecuteError> {
    let height = Height(expected.number);
    macro_rules! compare {
        ($($name:literal: $field:ident),+ $(,)?) => {
            $(if found.$field != expected.$field {
                return Err(ExecuteError::Mismatch {
                    height,
                    field: $name,
                    found: format!("{:?}", found.$field),
                    expected: format!("{:?}", expected.$field),
                });
            })+
        };
    }
    compare!(
        "number": number,
        "parentHash": parent_hash,
        "timestamp": timestamp,
        "gasLimit": gas_limit,
        "baseFeePerGas": base_fee_per_gas,
        "extraData": extra_data,
        "mixHash": mix_hash,
        "sha3Uncles": ommers_hash,
        "difficulty": difficulty,
        "nonce": nonce,
        "withdrawalsRoot": withdrawals_root,
        "blobGasUsed": blob_gas_used,
        "excessBlobGas": excess_blob_gas,
        "parentBeaconBlockRoot": parent_beacon_block_root,
        "requestsHash": requests_hash,
        "blockAccessListHash": block_access_list_hash,
        "slotNumber": slot_number,
        "transactionsRoot": transactions_root,
        "gasUsed": gas_used,
        "receiptsRoot": receipts_root,
        "logsBloom": logs_bloom,
        "stateRoot": state_root,
        "miner": beneficiary,
    );
    Ok(())
}
