//! What a transaction must satisfy before it enters the pool, beyond what the pool itself looks at.

use alloy_consensus::Transaction as _;
use alloy_primitives::B256;
use bletchley_crypto::PublicKey;
use revm::{
    DatabaseRef,
    context_interface::{cfg::GasParams, result::InvalidTransaction},
    handler::validation::validate_initial_tx_gas_with_gas_params,
    primitives::{KECCAK_EMPTY, eip3860, eip7825, hardfork::SpecId},
};
use std::sync::Arc;

use crate::{
    core::Core,
    pool::{Origin, SubmitError},
    state::BlockView,
    tx::{self, Arrival, ClaimedTx, RecoveredTx},
};

/// Rules that hold for every transaction of a ledger, whatever its state.
pub(crate) struct Admission {
    spec: SpecId,
    gas_params: GasParams,
    block_gas_limit: u64,
    tx_gas_limit_cap: u64,
}

impl Admission {
    pub(crate) fn new(spec: SpecId, block_gas_limit: u64) -> Self {
        let tx_gas_limit_cap =
            if spec.is_enabled_in(SpecId::OSAKA) { eip7825::TX_GAS_LIMIT_CAP } else { u64::MAX };
        Self { spec, gas_params: GasParams::new_spec(spec), block_gas_limit, tx_gas_limit_cap }
    }

    /// The most gas that one transaction may ask for.
    pub(crate) fn tx_gas_limit_max(&self) -> u64 {
        self.tx_gas_limit_cap.min(self.block_gas_limit)
    }

    fn check(&self, tx: &RecoveredTx, base_fee: u64, tip_min: u128) -> Result<(), SubmitError> {
        let found = tx.tx.gas_limit();
        if found > self.block_gas_limit {
            return Err(SubmitError::BlockGasLimit { found, limit: self.block_gas_limit });
        }
        if found > self.tx_gas_limit_cap {
            return Err(SubmitError::GasLimitCap { found, cap: self.tx_gas_limit_cap });
        }
        if tx.tx.nonce() == u64::MAX {
            return Err(SubmitError::NonceMax(tx.sender));
        }
        if tx.tx.is_create() && tx.tx.input().len() > eip3860::MAX_INITCODE_SIZE {
            return Err(SubmitError::InitcodeSize {
                found: tx.tx.input().len(),
                limit: eip3860::MAX_INITCODE_SIZE,
            });
        }
        if tx.tx.authorization_list().is_some_and(<[_]>::is_empty) {
            return Err(SubmitError::NoAuthorizations);
        }
        let (fee, tip) = (tx.max_fee(), tx.max_tip());
        if tip > fee {
            return Err(SubmitError::TipAboveFee { tip, fee });
        }
        let Some(paid) = tx.tip(base_fee) else {
            return Err(SubmitError::FeeBelowBase { found: fee, base_fee });
        };
        if paid < tip_min {
            return Err(SubmitError::Underpriced { found: paid, needed: tip_min });
        }
        let cap = self.tx_gas_limit_cap;
        validate_initial_tx_gas_with_gas_params(
            tx.env(),
            self.spec,
            &self.gas_params,
            false,
            false,
            cap,
            None,
        )
        .map(|_| ())
        .map_err(|invalid| match invalid {
            InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
                SubmitError::FloorGas { found: gas_limit, needed: gas_floor }
            }
            InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
                SubmitError::IntrinsicGas { found: gas_limit, needed: initial_gas }
            }
            other => SubmitError::State(other.to_string()),
        })
    }
}

/// A contract cannot send transactions, unless its code is a delegation (EIP-3607, EIP-7702).
fn check_sender_code(view: &BlockView, tx: &RecoveredTx) -> Result<(), SubmitError> {
    if tx.impersonated {
        return Ok(());
    }
    let Some(account) = view.account(&tx.sender).filter(|account| account.code_hash != KECCAK_EMPTY) else {
        return Ok(());
    };
    let code =
        view.code_by_hash_ref(account.code_hash).map_err(|error| SubmitError::State(error.to_string()))?;
    if code.is_empty() || code.is_eip7702() { Ok(()) } else { Err(SubmitError::SenderHasCode(tx.sender)) }
}

/// What became of transactions that came in.
pub(crate) struct Submitted {
    pub(crate) outcomes: Vec<Result<Arc<RecoveredTx>, SubmitError>>,
    /// Which of them, in order, came with a claim of a signer who did not sign.
    pub(crate) false_claims: Vec<usize>,
}

/// A transaction that may enter the pool, and its signer's key where recovery gave it.
type Checked = (Arc<RecoveredTx>, Option<PublicKey>);

/// Decodes transactions, recovers their signers in parallel, and puts them into the pool, all in one go. What another
/// member sent is recovered only if it is neither in the pool nor in one of the last blocks.
pub(crate) fn submit(core: &Arc<Core>, raws: Vec<ClaimedTx>, origin: Origin) -> Submitted {
    let (arrivals, false_claims) = tx::recover_batch(raws, &core.rules, || {
        let pool = core.pool.lock();
        move |hash: &B256| {
            let known = pool.contains(hash) || origin == Origin::Peer && core.recent.contains(hash);
            known.then_some(SubmitError::AlreadyKnown)
        }
    });
    let (base_fee, tip_min) = {
        let pool = core.pool.lock();
        (pool.base_fee(), pool.limits().tip_min)
    };
    let checked: Vec<Result<Checked, SubmitError>> = arrivals
        .into_iter()
        .map(|arrival| match arrival? {
            Arrival::Known(refusal) => Err(refusal),
            Arrival::Fresh(tx, _) if tx.impersonated && !core.dev.lock().is_impersonated(&tx.sender) => {
                Err(SubmitError::NotImpersonated(tx.sender))
            }
            Arrival::Fresh(tx, key) => core.admission.check(&tx, base_fee, tip_min).map(|()| (tx, key)),
        })
        .collect();
    let tells = origin == Origin::Local && !core.local.is_empty();
    let mut told = Vec::new();
    let outcomes: Vec<Result<Arc<RecoveredTx>, SubmitError>> = {
        let mut pool = core.pool.lock();
        let pending = core.genesis.dev.then(|| core.state.pending()).flatten();
        let view = core.state.block_view(pending);
        checked
            .into_iter()
            .map(|checked| {
                let (tx, key) = checked?;
                check_sender_code(&view, &tx)?;
                pool.insert(tx.clone(), Core::sender_account(&view, &tx.sender), origin)?;
                if tells {
                    told.push((tx.raw.clone(), key));
                }
                Ok(tx)
            })
            .collect()
    };
    if !told.is_empty() {
        core.local.tell(&told);
    }
    for tx in outcomes.iter().flatten() {
        core.observer.pooled(tx);
        // The member whose client sent it starts its calls; the others hear of the receipts, or ask when they build.
        if origin == Origin::Local {
            core.prefetcher.offer(core, tx);
        }
    }
    Submitted { outcomes, false_claims }
}
