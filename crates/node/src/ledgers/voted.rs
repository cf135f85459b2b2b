//! What a ledger that a vote created starts from. Every member, and everybody who has the genesis document and the root
//! ledger, computes the same.

use super::hosted::{LedgerGenesis, Plan};
use crate::genesis::{Agreement, EngineName, NetworkGenesis};
use crate::governance::{EVM_LEDGER, Governance, ROOT_LEDGER};
use anyhow::{Context, Result, bail};
use bletchley_consensus::{FixedSchedule, Schedule};
use bletchley_consortium::{LedgerKind, LedgerRecord};
use bletchley_crypto::Domain;
use bletchley_evm::Genesis as EvmGenesis;
use bletchley_primitives::{B256, LedgerId};
use bletchley_token::Genesis as TokenGenesis;
use std::sync::Arc;

const CHARTER: Domain = Domain("bletchley/node/voted-ledger/1");
const TOKENS: Domain = Domain("bletchley/node/voted-tokens/1");

/// Whether a ledger stands in the genesis document.
pub(crate) fn is_founding(name: &str) -> bool {
    name == ROOT_LEDGER || name == EVM_LEDGER
}

/// The ledger as it was created: what votes changed since is no part of its genesis.
fn created(governance: &Governance, name: &str) -> Result<LedgerRecord> {
    let record = governance.standing().ledger(name).cloned();
    let record = record.with_context(|| format!("the consortium has no ledger {name}"))?;
    let then = governance.at(record.created_at);
    let then = then.with_context(|| format!("block {} of the root ledger is not here", record.created_at))?;
    then.ledger(name).cloned().with_context(|| format!("ledger {name} was not created when it says"))
}

/// Digest over the consortium's genesis and what was voted.
fn charter(genesis: &NetworkGenesis, record: &LedgerRecord) -> B256 {
    CHARTER.digest(&[genesis.digest().as_slice(), &alloy_rlp::encode(record)])
}

/// What a ledger that a vote created starts from, and how fast its blocks come as votes have it now.
///
/// # Errors
/// When there is no such ledger, or this program does not know its engine.
pub(crate) fn plan(genesis: &NetworkGenesis, governance: &Governance, name: &str) -> Result<Plan> {
    let record = created(governance, name)?;
    let charter = charter(genesis, &record);
    let spec = &record.spec;
    let engine = EngineName::ALL.into_iter().find(|engine| engine.name() == spec.engine);
    let Some(engine) = engine else { bail!("ledger {name}: this program has no engine {}", spec.engine) };
    let agreement = Agreement {
        engine,
        epoch_blocks: spec.epoch_blocks,
        block_ms: spec.block_ms,
        heartbeat_ms: spec.heartbeat_ms,
    };
    let ledger = match spec.kind {
        LedgerKind::Utxo => LedgerGenesis::Tokens(TokenGenesis {
            ledger: LedgerId(TOKENS.digest(&[charter.as_slice()])),
            time_ms: genesis.time_ms,
        }),
        LedgerKind::Evm => LedgerGenesis::Evm(Box::new(EvmGenesis {
            root: Some(genesis.tokens().ledger),
            charter: Some(charter),
            alloc: genesis.named_funds(),
            ..EvmGenesis::new(spec.chain_id, genesis.time_ms)
        })),
    };
    Ok(Plan { name: name.to_owned(), genesis: ledger, agreement: super::agreed(governance, name, agreement) })
}

/// The one validator of a solo ledger, which it keeps.
///
/// # Errors
/// When there is no such ledger.
pub(crate) fn fixed_schedule(governance: &Governance, name: &str) -> Result<Arc<dyn Schedule>> {
    let record = created(governance, name)?;
    let then = governance.at(record.created_at).context("the root ledger is not read so far")?;
    let validators = then.validators_of(name).context("the ledger is not there")?;
    let epoch_blocks = record.spec.epoch_blocks;
    Ok(Arc::new(FixedSchedule { epoch_blocks, validators: Arc::new(validators) }))
}
