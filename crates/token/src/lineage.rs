//! Lineage: the story of a unique token from its issue on, through transfers, composites, notes and corrections.

use crate::limits::LINEAGE_EVENTS_MAX;
use crate::query::{Bodies, damaged};
use crate::state::{Status, TokenInfo};
use crate::{Action, Lock, Note, TokenId, TokenMachine, Transaction};
use bletchley_ledger::{Location, ReadError};
use bletchley_primitives::{Address, BlockHash, Height, TimestampMs, TxId};
use rustc_hash::FxHashMap;
use serde::Serialize;

/// What happened to a token in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// It came to be: provenance.
    Issued {
        /// Who signed for it.
        by: Address,
        /// Its first owner.
        to: Lock,
    },
    /// It was put together from parts.
    Assembled {
        /// Who signed for it.
        by: Address,
        /// Its parts, ascending.
        parts: Vec<TokenId>,
        /// Its first owner.
        to: Lock,
    },
    /// It changed hands, or was made anew for the same owner.
    Transferred {
        /// The owner before.
        from: Option<Lock>,
        /// The owner after.
        to: Lock,
    },
    /// It became a part of a composite, and moved with it as `within` tells.
    BuiltInto {
        /// The composite.
        composite: TokenId,
        /// Who assembled it.
        by: Address,
        /// What happened to the composite while it stood, its assembly and its taking apart left out.
        within: Vec<Event>,
    },
    /// It came out of a composite that was taken apart.
    Released {
        /// The composite.
        composite: TokenId,
        /// The owner after.
        to: Lock,
    },
    /// It was taken apart.
    TakenApart {
        /// Its parts.
        parts: Vec<TokenId>,
    },
    /// Its owner attached a note.
    Recorded {
        /// The note.
        note: Note,
        /// The owner after.
        to: Lock,
    },
    /// As a registry entry, it got a new revision.
    Registered {
        /// Who signed for it.
        by: Address,
        /// The version.
        version: String,
        /// The owner after.
        to: Lock,
    },
    /// As the control of an asset, it changed the supply.
    SupplyChanged {
        /// `issue amount` or `redeem`.
        action: &'static str,
        /// The amount, decimal.
        amount: String,
        /// The owner after.
        to: Lock,
    },
    /// It ended for good.
    Retired {
        /// The last owner.
        from: Option<Lock>,
    },
}

/// One step of a lineage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The transaction.
    pub tx: TxId,
    /// Height of its block.
    pub height: Height,
    /// Hash of its block.
    pub block: BlockHash,
    /// Time of its block.
    pub time_ms: TimestampMs,
    /// What happened.
    #[serde(flatten)]
    pub happening: Happening,
    /// Earlier transactions that this one says it corrects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compensates: Vec<TxId>,
}

/// The story of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lineage {
    /// The token.
    pub token: TokenId,
    /// What it is.
    pub info: TokenInfo,
    /// Where it is now.
    pub status: Status,
    /// Whose it is now: its own owner, or that of the outermost composite that it is part of.
    pub owner: Option<Lock>,
    /// The composites that it is part of now, innermost first.
    pub part_of: Vec<TokenId>,
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// Whether the story is longer than what is told here.
    pub truncated: bool,
}

/// What telling a story needs to remember.
struct Teller<'a> {
    machine: &'a TokenMachine,
    bodies: Bodies,
    blocks: FxHashMap<Height, (BlockHash, TimestampMs)>,
    left: usize,
    truncated: bool,
}

impl TokenMachine {
    /// The full story of a unique token: its provenance, every change of hands, the composites that it was part of with
    /// what happened to them meanwhile, notes, corrections. None when there is no such token.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn lineage(&self, token: TokenId) -> Result<Option<Lineage>, ReadError> {
        let (info, status, owner, part_of) = {
            let state = self.state();
            let Some(found) = state.tokens.get(&token) else { return Ok(None) };
            let (mut part_of, mut outermost) = (Vec::new(), found);
            while let Status::PartOf { composite } = outermost.state.status {
                part_of.push(composite);
                let Some(next) = state.tokens.get(&composite) else { break };
                outermost = next;
            }
            let owner = outermost.output.and_then(|output| state.unspent.get(&output));
            let owner = owner.map(|unspent| unspent.output.lock.clone());
            ((*found.state.info).clone(), found.state.status, owner, part_of)
        };
        let mut teller = Teller {
            machine: self,
            bodies: Bodies::default(),
            blocks: FxHashMap::default(),
            left: LINEAGE_EVENTS_MAX,
            truncated: false,
        };
        let events = teller.story(token)?;
        Ok(Some(Lineage { token, info, status, owner, part_of, events, truncated: teller.truncated }))
    }

    /// The parts that a composite was made of, ascending; none when it is no composite.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn parts(&self, composite: TokenId) -> Result<Option<Vec<TokenId>>, ReadError> {
        let first = {
            let state = self.state();
            let token = state.tokens.get(&composite);
            let whole = token.filter(|token| matches!(&*token.state.info, TokenInfo::Composite { .. }));
            match whole.and_then(|token| token.history.first()) {
                Some(first) => *first,
                None => return Ok(None),
            }
        };
        let made = self.transaction_at(first)?;
        Ok(made.and_then(|(_, tx)| match tx.body.action {
            Action::Compose { parts, .. } => Some(parts),
            _ => None,
        }))
    }
}

impl Teller<'_> {
    /// The events of one token, oldest first. Composites do not contain themselves, so the recursion ends; its depth is
    /// bounded by that of nesting.
    fn story(&mut self, token: TokenId) -> Result<Vec<Event>, ReadError> {
        let history = {
            let state = self.machine.state();
            state.tokens.get(&token).map(|token| token.history.clone()).unwrap_or_default()
        };
        let mut events = Vec::with_capacity(history.len().min(self.left));
        let mut owner: Option<Lock> = None;
        for location in history {
            if self.left == 0 {
                self.truncated = true;
                break;
            }
            self.left -= 1;
            let Location { height, .. } = location;
            let found = self.machine.transaction_in(&mut self.bodies, location)?;
            let (id, tx) =
                found.ok_or_else(|| damaged(height, "a transaction of a token's story is missing"))?;
            let to = owner_after(&tx, token);
            let happening = self.happening(token, &tx, owner.take(), to.clone())?;
            let (block, time_ms) = self.block(height)?;
            events.push(Event {
                tx: id,
                height,
                block,
                time_ms,
                happening,
                compensates: tx.body.compensates,
            });
            owner = to;
        }
        Ok(events)
    }

    fn block(&mut self, height: Height) -> Result<(BlockHash, TimestampMs), ReadError> {
        if let Some(known) = self.blocks.get(&height) {
            return Ok(*known);
        }
        let header = self.machine.header(height)?.ok_or_else(|| damaged(height, "its header is missing"))?;
        let known = (header.hash(), header.time_ms);
        self.blocks.insert(height, known);
        Ok(known)
    }

    fn happening(
        &mut self,
        token: TokenId,
        tx: &Transaction,
        from: Option<Lock>,
        to: Option<Lock>,
    ) -> Result<Happening, ReadError> {
        Ok(match (&tx.body.action, to) {
            (Action::Issue { issuer, .. } | Action::DefineAsset { issuer, .. }, Some(to))
                if from.is_none() =>
            {
                Happening::Issued { by: *issuer, to }
            }
            (Action::Compose { issuer, parts, .. }, Some(to))
                if from.is_none() && !parts.contains(&token) =>
            {
                Happening::Assembled { by: *issuer, parts: parts.clone(), to }
            }
            (Action::Compose { issuer, parts, .. }, None) if parts.binary_search(&token).is_ok() => {
                let composite = made_by(tx, parts);
                let whole = self.story(composite)?;
                let within = whole.into_iter().filter(|event| {
                    !matches!(event.happening, Happening::Assembled { .. } | Happening::TakenApart { .. })
                });
                Happening::BuiltInto { composite, by: *issuer, within: within.collect() }
            }
            (Action::Decompose { composite, parts }, Some(to)) if parts.binary_search(&token).is_ok() => {
                Happening::Released { composite: *composite, to }
            }
            (Action::Decompose { composite, parts }, None) if *composite == token => {
                Happening::TakenApart { parts: parts.clone() }
            }
            (Action::Record { token: about, note }, Some(to)) if *about == token => {
                Happening::Recorded { note: note.clone(), to }
            }
            (Action::Register { issuer, entry }, Some(to)) if entry.id() == token => {
                Happening::Registered { by: *issuer, version: entry.version.clone(), to }
            }
            (
                action @ (Action::IssueAmount { asset, amount } | Action::Redeem { asset, amount }),
                Some(to),
            ) if asset.control() == token => {
                Happening::SupplyChanged { action: action.name(), amount: amount.to_string(), to }
            }
            (_, Some(to)) => Happening::Transferred { from, to },
            (_, None) => Happening::Retired { from },
        })
    }
}

/// The owner of a token after a transaction; none when it ended or was built into a composite there.
fn owner_after(tx: &Transaction, token: TokenId) -> Option<Lock> {
    let output = tx.body.outputs.iter().find(|output| output.value.unique() == Some(token));
    output.map(|output| output.lock.clone())
}

/// The composite that a compose transaction made.
fn made_by(tx: &Transaction, parts: &[TokenId]) -> TokenId {
    let Action::Compose { issuer, properties, revision, .. } = &tx.body.action else {
        return TokenId::default();
    };
    let parts_root = crate::CompositeRecord::root_of(parts);
    crate::CompositeRecord { issuer: *issuer, properties: *properties, revision: *revision, parts_root }.id()
}
