//! How much gas a transaction needs: the least with which it succeeds, within a known tolerance.

use alloy_primitives::TxKind;
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest, state::StateOverride};
use revm::{DatabaseRef, context::TxEnv, context_interface::result::ExecutionResult};

use crate::{
    call::{CallError, Simulation, affordable_gas, describe_halt},
    ledger::EvmLedger,
    read::BlockRef,
};

/// Gas of a transaction that moves value to an account without code.
const TRANSFER_GAS: u64 = 21_000;
/// Gas that a call with value gives its callee for nothing.
const STIPEND: u64 = 2_300;
/// A search ends when its bounds are this close, in thousandths, as in geth.
const TOLERANCE_PER_MILLE: u64 = 15;

impl EvmLedger {
    /// The gas that a transaction needs to succeed: exact for most, at most 1.5 % too much for the others.
    ///
    /// # Errors
    /// [`CallError`]; a transaction that fails whatever gas it gets gives its reason.
    pub fn estimate_gas(
        &self,
        request: &TransactionRequest,
        at: BlockRef,
        state: Option<StateOverride>,
        block: Option<&BlockOverrides>,
    ) -> Result<u64, CallError> {
        let mut simulation = Simulation::new(&self.core, at, state, block)?;
        let mut env = simulation.env(request)?;
        let limit = self.tx_gas_limit_max();
        let mut allowance = request.gas.filter(|gas| *gas >= TRANSFER_GAS).unwrap_or(limit).min(limit);
        let sender = simulation.database.basic_ref(env.caller);
        let balance =
            sender.map_err(|error| CallError::State(error.to_string()))?.unwrap_or_default().balance;
        if let Some(affordable) = affordable_gas(balance, &env) {
            allowance = allowance.min(affordable);
        }
        env.gas_limit = allowance;
        if is_transfer(&simulation, &env)? && allowance >= TRANSFER_GAS {
            let tried = simulation.run(TxEnv { gas_limit: TRANSFER_GAS, ..env.clone() })?;
            if tried.is_success() {
                return Ok(TRANSFER_GAS);
            }
        }
        search(&mut simulation, &env, allowance)
    }
}

fn is_transfer(simulation: &Simulation<'_>, env: &TxEnv) -> Result<bool, CallError> {
    let TxKind::Call(to) = env.kind else { return Ok(false) };
    let plain = env.data.is_empty() && env.access_list.is_empty() && env.authorization_list.is_empty();
    let account = simulation.database.basic_ref(to).map_err(|error| CallError::State(error.to_string()))?;
    Ok(plain && account.is_none_or(|account| account.is_empty_code_hash()))
}

fn search(simulation: &mut Simulation<'_>, env: &TxEnv, allowance: u64) -> Result<u64, CallError> {
    let mut attempt = |gas_limit: u64| simulation.run(TxEnv { gas_limit, ..env.clone() });
    let succeeds = |gas_limit: u64, attempt: &mut dyn FnMut(u64) -> Result<ExecutionResult, CallError>| {
        match attempt(gas_limit) {
            Ok(result) => Ok(result.is_success()),
            // Below the intrinsic gas a transaction does not even begin.
            Err(CallError::Invalid(_)) => Ok(false),
            Err(error) => Err(error),
        }
    };
    let first = match attempt(allowance)? {
        ExecutionResult::Success { gas, .. } => gas,
        ExecutionResult::Revert { output, .. } => return Err(CallError::Reverted(output)),
        ExecutionResult::Halt {
            reason: revm::context_interface::result::HaltReason::OutOfGas(_), ..
        } => {
            return Err(CallError::Allowance(allowance));
        }
        ExecutionResult::Halt { reason, .. } => return Err(CallError::Halted(describe_halt(&reason))),
    };
    // Nothing less than what it spent before refunds (or the floor of EIP-7623) can do; for most that is enough as well.
    let spent = first.total_gas_spent().max(first.floor_gas());
    if spent >= allowance || succeeds(spent, &mut attempt)? {
        return Ok(spent.min(allowance));
    }
    let (mut low, mut high) = (spent, allowance);
    // A call passes on 63/64 of its gas (EIP-150), and may need the stipend.
    let guess = spent.saturating_add(STIPEND).saturating_mul(64) / 63;
    if guess < high {
        if succeeds(guess, &mut attempt)? { high = guess } else { low = guess }
    }
    while high - low > 1 && (high - low).saturating_mul(1000) > high.saturating_mul(TOLERANCE_PER_MILLE) {
        // Gas limits of contracts that ask for much are mostly far too high: look at low values first.
        let middle = low.saturating_mul(2).min(low + (high - low) / 2);
        if succeeds(middle, &mut attempt)? { high = middle } else { low = middle }
    }
    Ok(high)
}
