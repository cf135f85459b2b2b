//! The rules of the ledger: whether a transaction may happen on a state, and what it changes. One function serves the
//! mempool, the proposer and everyone who verifies.

use crate::codec::OptionalHash;
use crate::identity::{CompositeRecord, TokenRecord};
use crate::limits::COMPOSITE_DEPTH_MAX;
use crate::lock::{Clock, Evidence, LockError, Unused};
use crate::state::{Asset, Build, State, Status, TokenInfo, TokenState, Unspent};
use crate::transaction::Checked;
use crate::{Action, AssetId, Claim, Entry, OutputRef, TokenId, Value};
use bletchley_primitives::{Address, B256, TxId};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Why a transaction may not happen on this state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No such output, or it is spent.
    #[error("output {0} is not there to be spent: it was never made, or it is spent already")]
    NotUnspent(OutputRef),
    /// Another transaction, not yet final, spends the output.
    #[error("output {output} is already spent by transaction {by}, which came first")]
    DoubleSpend {
        /// The output.
        output: OutputRef,
        /// The transaction that came first.
        by: TxId,
    },
    /// The witness does not open an input's lock.
    #[error("output {output} stays locked: {source}")]
    Locked {
        /// The output.
        output: OutputRef,
        /// What is missing.
        source: LockError,
    },
    /// The issuer did not sign.
    #[error("{0} is named as the issuer, but did not sign")]
    IssuerDidNotSign(Address),
    /// A token with this identity was issued before.
    #[error("token {token} exists already: the same issuer has issued the same identity before")]
    AlreadyIssued {
        /// The token.
        token: TokenId,
    },
    /// The transaction must spend a unique value that it does not spend.
    #[error("it must spend the output that carries {0}, and does not")]
    NotAmongInputs(TokenId),
    /// Unique values do not come out as they should.
    #[error("{value:?} must come out as often as the action says, neither lost nor doubled nor from nowhere")]
    NotConserved {
        /// The first value that differs.
        value: Value,
    },
    /// Amounts do not balance.
    #[error("asset {asset}: {input} in and {issued} issued, but {output} out and {redeemed} redeemed")]
    Unbalanced {
        /// The asset.
        asset: AssetId,
        /// Sum of the inputs.
        input: u128,
        /// Issued by this transaction.
        issued: u128,
        /// Sum of the outputs.
        output: u128,
        /// Taken out of circulation by this transaction.
        redeemed: u128,
    },
    /// A sum leaves the range of amounts.
    #[error("asset {0}: a sum of amounts exceeds 2^128 - 1")]
    Overflow(AssetId),
    /// A composite cannot be made or taken apart like this.
    #[error("composite {composite}: {problem}")]
    Composite {
        /// The composite.
        composite: TokenId,
        /// What is wrong.
        problem: String,
    },
    /// A registry entry moves without being registered, or its output carries another digest.
    #[error("registry entry {entry}: {problem}")]
    Entry {
        /// The entry.
        entry: TokenId,
        /// What is wrong.
        problem: &'static str,
    },
    /// A transaction that it corrects is not on the ledger.
    #[error("it says that it compensates transaction {0}, which is not on this ledger")]
    NothingToCompensate(TxId),
    /// A signature or preimage that nothing asks for.
    #[error("its witness has {what} {index}, which nothing asks for")]
    Superfluous {
        /// `signature` or `preimage`.
        what: &'static str,
        /// Position in the witness.
        index: usize,
    },
    /// The store could not be read.
    #[error("looking up an earlier transaction: {0}")]
    Store(String),
}

/// Changes above a state that is not touched: those of a block in the making, or of the waiting transactions.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    pub(crate) spent: FxHashMap<OutputRef, TxId>,
    pub(crate) created: FxHashMap<OutputRef, Unspent>,
    pub(crate) tokens: FxHashMap<TokenId, (TxId, TokenState)>,
    pub(crate) assets: FxHashMap<AssetId, (TxId, Asset)>,
    pub(crate) builds: FxHashMap<TokenId, (TxId, Build)>,
}

/// Whether a transaction stands on the ledger before the one that asks.
pub(crate) trait Past {
    fn holds(&self, id: TxId) -> Result<bool, String>;
}

/// A state with a layer of changes over it.
pub(crate) struct View<'a> {
    pub(crate) base: &'a State,
    pub(crate) layer: &'a Layer,
    pub(crate) past: &'a dyn Past,
}

impl View<'_> {
    fn unspent(&self, reference: &OutputRef) -> Result<&Unspent, RuleError> {
        if let Some(by) = self.layer.spent.get(reference) {
            return Err(RuleError::DoubleSpend { output: *reference, by: *by });
        }
        let found = self.layer.created.get(reference).or_else(|| self.base.unspent.get(reference));
        found.ok_or(RuleError::NotUnspent(*reference))
    }

    fn token(&self, id: &TokenId) -> Option<&TokenState> {
        let layered = self.layer.tokens.get(id).map(|(_, state)| state);
        layered.or_else(|| self.base.tokens.get(id).map(|token| &token.state))
    }

    fn asset(&self, id: &AssetId) -> Option<&Asset> {
        self.layer.assets.get(id).map(|(_, asset)| asset).or_else(|| self.base.assets.get(id))
    }

    fn build(&self, thing: &TokenId) -> Option<&Build> {
        self.layer.builds.get(thing).map(|(_, build)| build).or_else(|| self.base.builds.get(thing))
    }
}

/// What a transaction changes.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) spent: Vec<Unspent>,
    pub(crate) tokens: Vec<(TokenId, TokenState)>,
    pub(crate) assets: Vec<(AssetId, Asset)>,
    pub(crate) builds: Vec<(TokenId, Build)>,
    /// Unique values whose story this transaction is part of, ascending, each once.
    pub(crate) touched: Vec<TokenId>,
}

/// What an action makes and ends beside what moves.
#[derive(Default)]
struct Plan {
    created: Vec<Value>,
    consumed: Vec<Value>,
    issued: Option<(AssetId, u128)>,
    redeemed: Option<(AssetId, u128)>,
    entry: Option<TokenId>,
}

/// Checks a transaction against a view, and says what it changes. The order of the checks is fixed, so that everyone
/// names the same reason.
pub(crate) fn check(view: &View<'_>, tx: &Checked, clock: Clock) -> Result<Effects, RuleError> {
    let body = &tx.tx.body;
    let mut evidence = Evidence::new(&tx.signers, &tx.tx.witness);
    let mut effects = Effects { spent: Vec::with_capacity(body.inputs.len()), ..Effects::default() };
    let mut unique_in: Vec<Value> = Vec::new();
    for input in &body.inputs {
        let unspent = view.unspent(input)?;
        let opened = unspent.output.lock.open(&mut evidence, clock);
        opened.map_err(|source| RuleError::Locked { output: *input, source })?;
        if unspent.output.value.unique().is_some() {
            unique_in.push(unspent.output.value);
        }
        effects.spent.push(unspent.clone());
    }
    unique_in.sort_unstable();
    let plan = act(view, &body.action, &unique_in, &mut evidence, &mut effects)?;
    let mut unique_out: Vec<Value> =
        body.outputs.iter().map(|output| output.value).filter(|value| value.unique().is_some()).collect();
    unique_out.sort_unstable();
    conserve_unique(&unique_in, &unique_out, &plan)?;
    conserve_amounts(tx, &effects.spent, &plan)?;
    check_entries(tx, &unique_in, &unique_out, &plan)?;
    if let Some(unused) = evidence.unused() {
        let (what, index) = match unused {
            Unused::Signature(index) => ("signature", index),
            Unused::Preimage(index) => ("preimage", index),
        };
        return Err(RuleError::Superfluous { what, index });
    }
    for id in &body.compensates {
        if !view.past.holds(*id).map_err(RuleError::Store)? {
            return Err(RuleError::NothingToCompensate(*id));
        }
    }
    effects.touched = unique_in.iter().chain(&unique_out).filter_map(Value::unique).collect();
    effects.touched.sort_unstable();
    effects.touched.dedup();
    Ok(effects)
}

fn act(
    view: &View<'_>,
    action: &Action,
    unique_in: &[Value],
    evidence: &mut Evidence<'_>,
    effects: &mut Effects,
) -> Result<Plan, RuleError> {
    let mut plan = Plan::default();
    let mut signed_by = |issuer: &Address| {
        if evidence.signed(issuer) { Ok(()) } else { Err(RuleError::IssuerDidNotSign(*issuer)) }
    };
    let holds = |value: Value| match unique_in.binary_search(&value) {
        Ok(_) => Ok(()),
        Err(_) => Err(RuleError::NotAmongInputs(value.unique().unwrap_or_default())),
    };
    match action {
        Action::Transfer {} => {}
        Action::Issue { issuer, claims } => {
            signed_by(issuer)?;
            issue(view, *issuer, claims, effects, &mut plan)?;
        }
        Action::DefineAsset { issuer, peg, decimals } => {
            signed_by(issuer)?;
            let defined = Asset { issuer: *issuer, peg: peg.clone(), decimals: *decimals, supply: 0 };
            define(view, defined, effects, &mut plan)?;
        }
        Action::IssueAmount { asset, amount } => {
            holds(Value::Control { asset: *asset })?;
            change_supply(view, *asset, effects, |supply| supply.checked_add(*amount))?;
            plan.issued = Some((*asset, *amount));
        }
        Action::Redeem { asset, amount } => {
            holds(Value::Control { asset: *asset })?;
            change_supply(view, *asset, effects, |supply| supply.checked_sub(*amount))?;
            plan.redeemed = Some((*asset, *amount));
        }
        Action::Compose { issuer, properties, revision, label, parts } => {
            signed_by(issuer)?;
            parts.iter().try_for_each(|part| holds(Value::Token { token: *part }))?;
            let parts_root = CompositeRecord::root_of(parts);
            let record =
                CompositeRecord { issuer: *issuer, properties: *properties, revision: *revision, parts_root };
            compose(view, record, label, parts, effects, &mut plan)?;
        }
        Action::Decompose { composite, parts } => {
            holds(Value::Token { token: *composite })?;
            decompose(view, *composite, parts, effects, &mut plan)?;
        }
        Action::Retire { tokens } => {
            for token in tokens {
                holds(Value::Token { token: *token })?;
                let info = view.token(token).map(|state| state.info.clone());
                let info = info.ok_or(RuleError::NotAmongInputs(*token))?;
                effects.tokens.push((*token, TokenState { info, status: Status::Retired {} }));
                plan.consumed.push(Value::Token { token: *token });
            }
        }
        Action::Record { token, .. } => holds(Value::Token { token: *token })?,
        Action::Register { issuer, entry } => {
            signed_by(issuer)?;
            let id = entry.id();
            plan.entry = Some(id);
            if view.token(&id).is_some() {
                holds(Value::Entry { entry: id })?;
            } else {
                let Entry { namespace, name, .. } = entry.clone();
                let info = Arc::new(TokenInfo::Entry { issuer: *issuer, namespace, name });
                effects.tokens.push((id, TokenState { info, status: Status::Held {} }));
                plan.created.push(Value::Entry { entry: id });
            }
        }
    }
    Ok(plan)
}

fn define(view: &View<'_>, defined: Asset, effects: &mut Effects, plan: &mut Plan) -> Result<(), RuleError> {
    let asset = AssetId::of(defined.issuer, &defined.peg, defined.decimals);
    let token = asset.control();
    if view.token(&token).is_some() {
        return Err(RuleError::AlreadyIssued { token });
    }
    let info = Arc::new(TokenInfo::Control { issuer: defined.issuer, asset });
    effects.tokens.push((token, TokenState { info, status: Status::Held {} }));
    effects.assets.push((asset, defined));
    plan.created.push(Value::Control { asset });
    Ok(())
}

fn issue(
    view: &View<'_>,
    issuer: Address,
    claims: &[Claim],
    effects: &mut Effects,
    plan: &mut Plan,
) -> Result<(), RuleError> {
    for Claim { identity, label } in claims {
        let record = TokenRecord { issuer, identity: identity.clone() };
        let token = record.id();
        // A thing and a composite of one manufacturer, class and serial cannot both exist.
        if view.token(&token).is_some() || view.build(&token).is_some() {
            return Err(RuleError::AlreadyIssued { token });
        }
        let info = Arc::new(TokenInfo::Identity { record, label: label.clone() });
        effects.tokens.push((token, TokenState { info, status: Status::Held {} }));
        plan.created.push(Value::Token { token });
    }
    plan.created.sort_unstable();
    let twice = plan.created.windows(2).find_map(|pair| match pair {
        [Value::Token { token }, next] if *next == (Value::Token { token: *token }) => Some(*token),
        _ => None,
    });
    twice.map_or(Ok(()), |token| Err(RuleError::AlreadyIssued { token }))
}

fn change_supply(
    view: &View<'_>,
    id: AssetId,
    effects: &mut Effects,
    change: impl Fn(u128) -> Option<u128>,
) -> Result<(), RuleError> {
    let asset = view.asset(&id).ok_or(RuleError::NotAmongInputs(id.control()))?;
    let supply = change(asset.supply).ok_or(RuleError::Overflow(id))?;
    effects.assets.push((id, Asset { supply, ..asset.clone() }));
    Ok(())
}

fn compose(
    view: &View<'_>,
    record: CompositeRecord,
    label: &str,
    parts: &[TokenId],
    effects: &mut Effects,
    plan: &mut Plan,
) -> Result<(), RuleError> {
    let (composite, thing) = (record.id(), record.thing());
    let refused = |problem: String| RuleError::Composite { composite, problem };
    if view.token(&thing).is_some() || view.token(&composite).is_some() {
        return Err(RuleError::AlreadyIssued { token: thing });
    }
    let build =
        view.build(&thing).copied().unwrap_or(Build { next_revision: 0, standing: OptionalHash(None) });
    if let Some(standing) = build.standing.0 {
        return Err(refused(format!("its manufacturer, class and serial stand already as {standing}")));
    }
    if record.revision != build.next_revision {
        return Err(refused(format!(
            "revision {}, the next one is {}",
            record.revision, build.next_revision
        )));
    }
    let mut depth = 0u8;
    for part in parts {
        let state = view.token(part).ok_or(RuleError::NotAmongInputs(*part))?;
        depth = depth.max(state.info.depth());
        let status = Status::PartOf { composite };
        effects.tokens.push((*part, TokenState { info: state.info.clone(), status }));
        plan.consumed.push(Value::Token { token: *part });
    }
    if depth >= COMPOSITE_DEPTH_MAX {
        return Err(refused(format!("nested more than {COMPOSITE_DEPTH_MAX} deep")));
    }
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let info = Arc::new(TokenInfo::Composite {
        record,
        label: label.to_owned(),
        parts: count,
        depth: depth.saturating_add(1),
    });
    effects.tokens.push((composite, TokenState { info, status: Status::Held {} }));
    let next_revision =
        record.revision.checked_add(1).ok_or_else(|| refused("too many revisions".to_owned()))?;
    effects.builds.push((thing, Build { next_revision, standing: OptionalHash(Some(composite.0)) }));
    plan.created.push(Value::Token { token: composite });
    Ok(())
}

fn decompose(
    view: &View<'_>,
    composite: TokenId,
    parts: &[TokenId],
    effects: &mut Effects,
    plan: &mut Plan,
) -> Result<(), RuleError> {
    let refused = |problem: &str| RuleError::Composite { composite, problem: problem.to_owned() };
    let info = view.token(&composite).map(|state| state.info.clone());
    let info = info.ok_or(RuleError::NotAmongInputs(composite))?;
    let TokenInfo::Composite { record, .. } = &*info else {
        return Err(refused("it is no composite"));
    };
    let leaves: Vec<B256> = parts.iter().map(|part| part.0).collect();
    if bletchley_crypto::merkle_root(&leaves) != record.parts_root {
        return Err(refused("these are not the parts that its id commits to"));
    }
    for part in parts {
        let state = view.token(part).ok_or_else(|| refused("a part is unknown"))?;
        effects.tokens.push((*part, TokenState { info: state.info.clone(), status: Status::Held {} }));
        plan.created.push(Value::Token { token: *part });
    }
    let thing = record.thing();
    if let Some(build) = view.build(&thing) {
        effects.builds.push((thing, Build { standing: OptionalHash(None), ..*build }));
    }
    effects.tokens.push((composite, TokenState { info: info.clone(), status: Status::TakenApart {} }));
    plan.consumed.push(Value::Token { token: composite });
    Ok(())
}

/// Whatever is unique goes in and comes out once, but for what the action makes and ends.
fn conserve_unique(unique_in: &[Value], unique_out: &[Value], plan: &Plan) -> Result<(), RuleError> {
    if plan.created.is_empty() && plan.consumed.is_empty() {
        return same(unique_in, unique_out);
    }
    let mut left: Vec<Value> = unique_in.iter().chain(&plan.created).copied().collect();
    let mut right: Vec<Value> = unique_out.iter().chain(&plan.consumed).copied().collect();
    left.sort_unstable();
    right.sort_unstable();
    same(&left, &right)
}

fn same(left: &[Value], right: &[Value]) -> Result<(), RuleError> {
    let differs = left.iter().zip(right).find(|(a, b)| a != b).map(|(a, b)| *a.min(b));
    let longer = if left.len() > right.len() { left.get(right.len()) } else { right.get(left.len()) };
    match differs.or(longer.copied()) {
        Some(value) => Err(RuleError::NotConserved { value }),
        None => Ok(()),
    }
}

/// Sums of amounts per asset.
fn sums(amounts: impl Iterator<Item = Value>) -> Result<Vec<(AssetId, u128)>, RuleError> {
    let mut sums: Vec<(AssetId, u128)> = amounts
        .filter_map(|value| match value {
            Value::Amount { asset, amount } => Some((asset, amount)),
            _ => None,
        })
        .collect();
    sums.sort_unstable_by_key(|(asset, _)| *asset);
    let mut total: Vec<(AssetId, u128)> = Vec::with_capacity(sums.len());
    for (asset, amount) in sums {
        match total.last_mut() {
            Some((last, sum)) if *last == asset => {
                *sum = sum.checked_add(amount).ok_or(RuleError::Overflow(asset))?;
            }
            _ => total.push((asset, amount)),
        }
    }
    Ok(total)
}

fn conserve_amounts(tx: &Checked, spent: &[Unspent], plan: &Plan) -> Result<(), RuleError> {
    let inputs = sums(spent.iter().map(|unspent| unspent.output.value))?;
    let outputs = sums(tx.tx.body.outputs.iter().map(|output| output.value))?;
    if inputs == outputs && plan.issued.is_none() && plan.redeemed.is_none() {
        return Ok(());
    }
    let of = |list: &[(AssetId, u128)], asset: AssetId| {
        let found = list.binary_search_by_key(&asset, |(id, _)| *id).ok().and_then(|at| list.get(at));
        found.map_or(0, |(_, sum)| *sum)
    };
    let planned = |plan: Option<(AssetId, u128)>, asset: AssetId| {
        plan.filter(|(id, _)| *id == asset).map_or(0, |(_, amount)| amount)
    };
    let changed = plan.issued.iter().chain(&plan.redeemed);
    for (asset, _) in inputs.iter().chain(&outputs).chain(changed) {
        let (input, output) = (of(&inputs, *asset), of(&outputs, *asset));
        let (issued, redeemed) = (planned(plan.issued, *asset), planned(plan.redeemed, *asset));
        let left = input.checked_add(issued).ok_or(RuleError::Overflow(*asset))?;
        let right = output.checked_add(redeemed).ok_or(RuleError::Overflow(*asset))?;
        if left != right {
            return Err(RuleError::Unbalanced { asset: *asset, input, issued, output, redeemed });
        }
    }
    Ok(())
}

/// Entries move only by being registered, and their output always carries the digest of what they say.
fn check_entries(
    tx: &Checked,
    unique_in: &[Value],
    unique_out: &[Value],
    plan: &Plan,
) -> Result<(), RuleError> {
    for value in unique_in.iter().chain(unique_out) {
        if let Value::Entry { entry } = value
            && plan.entry != Some(*entry)
        {
            let problem = "it changes hands only with a registration";
            return Err(RuleError::Entry { entry: *entry, problem });
        }
    }
    let Action::Register { entry, .. } = &tx.tx.body.action else { return Ok(()) };
    let id = entry.id();
    let carried = tx.tx.body.outputs.iter().find(|output| output.value == Value::Entry { entry: id });
    if carried.map(|output| output.data.0) != Some(Some(entry.data_digest())) {
        return Err(RuleError::Entry {
            entry: id,
            problem: "its output must carry the digest of what it says",
        });
    }
    Ok(())
}
