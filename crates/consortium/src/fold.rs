//! The fold: entries in, the consortium out.

use crate::proposal::{Proposal, Status};
use crate::standing::SharedStanding;
use crate::statement::proposal_digest;
use crate::{Action, ActionError, Genesis, NAMESPACE, Refusal, Standing, Statement};
use bletchley_primitives::{Address, B256, Height};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most open proposals of one member.
pub const OPEN_PER_MEMBER_MAX: usize = 8;
/// Closed proposals that are kept, those with the highest numbers; the ledger keeps all of them.
pub const CLOSED_KEPT_MAX: usize = 256;
/// Refused entries that are kept, the newest.
pub const REFUSED_KEPT_MAX: usize = 64;
/// Longest reason that is kept of a refused entry.
const REASON_SIZE_CHARS_MAX: usize = 256;

/// An entry of the root ledger, as the fold reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Which registry.
    pub namespace: &'a str,
    /// Name there. It means nothing to the fold, so that nobody keeps another out by taking names.
    pub name: &'a str,
    /// What it says.
    pub payload: &'a [u8],
    /// Whose signature is under it.
    pub author: Address,
    /// Its block.
    pub height: Height,
    /// Its transaction's position there.
    pub position: u32,
}

/// What an entry did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is not the consortium's, or was taken in before.
    Passed,
    /// It was taken in; the proposal that it is about stands so now.
    Taken {
        /// Number of the proposal.
        proposal: u64,
        /// Where it stands.
        status: Status,
    },
    /// It breaks a rule and changed nothing.
    Refused(Refusal),
}

/// An entry that changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Its block.
    pub height: Height,
    /// Its transaction's position there.
    pub position: u32,
    /// Name of the entry.
    pub entry: String,
    /// Who signed it.
    pub author: Address,
    /// [`Refusal::code`].
    pub code: String,
    /// Why, in words.
    pub reason: String,
}

/// A consortium: what stands, and what its members are deciding.
///
/// ```
/// use bletchley_consortium::{Consortium, Genesis, Outcome, Parameters, Record, NAMESPACE};
/// # use bletchley_consortium::Member;
/// # use bletchley_primitives::{Address, B256, Height};
/// # let bank = Member { name: "bank".into(), peer: B256::repeat_byte(1), validator: Address::repeat_byte(2),
/// #   administrator: Address::repeat_byte(3), host: Address::repeat_byte(4), endpoint: "bank:30300".into(), is_validator: true };
/// let genesis = Genesis { members: vec![bank], parameters: Parameters::default(), ledgers: vec![] };
/// let mut consortium = Consortium::new(&genesis).unwrap();
/// let stranger = Record {
///     namespace: NAMESPACE, name: "hello", payload: b"hello", author: Address::ZERO, height: Height(1), position: 0,
/// };
/// assert!(matches!(consortium.apply(&stranger), Outcome::Refused(_)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consortium {
    standing: SharedStanding,
    open: BTreeMap<u64, Proposal>,
    closed: BTreeMap<u64, Proposal>,
    refused: VecDeque<Refused>,
    /// Number of the next proposal; the first is 1.
    next: u64,
    /// The last entry that was read.
    last: Option<(Height, u32)>,
}

impl Consortium {
    /// The consortium at genesis.
    ///
    /// # Errors
    /// The rule that the genesis document breaks.
    pub fn new(genesis: &Genesis) -> Result<Self, ActionError> {
        Ok(Self {
            standing: Arc::new(Standing::new(genesis)?),
            open: BTreeMap::new(),
            closed: BTreeMap::new(),
            refused: VecDeque::new(),
            next: 1,
            last: None,
        })
    }

    /// Takes in the next entry in the order of the ledger. One that breaks a rule is noted as refused and changes nothing
    /// else; one that was read before is passed over.
    pub fn apply(&mut self, record: &Record<'_>) -> Outcome {
        let place = (record.height, record.position);
        if record.namespace != NAMESPACE || self.last.is_some_and(|last| place <= last) {
            return Outcome::Passed;
        }
        self.last = Some(place);
        self.advance(record.height);
        match self.take(record) {
            Ok((proposal, status)) => Outcome::Taken { proposal, status },
            Err(refusal) => {
                self.note(record, &refusal);
                Outcome::Refused(refusal)
            }
        }
    }

    /// What an entry with this payload by this author would do in the block at `height`, had it been the next.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn admits(&self, payload: &[u8], author: Address, height: Height) -> Result<(u64, Status), Refusal> {
        let mut tried = self.clone();
        tried.advance(height);
        tried.take(&Record { namespace: NAMESPACE, name: "", payload, author, height, position: 0 })
    }

    /// Closes the proposals whose time was over before the block at `height`.
    pub fn advance(&mut self, height: Height) {
        let over: Vec<u64> = self
            .open
            .values()
            .filter(|proposal| proposal.expires_at < height)
            .map(|proposal| proposal.number)
            .collect();
        for number in over {
            let at = self.open.get(&number).map(|proposal| proposal.expires_at).unwrap_or_default();
            self.close(number, Status::Expired, at);
        }
    }

    fn take(&mut self, record: &Record<'_>) -> Result<(u64, Status), Refusal> {
        let member = self.standing.administered_by(record.author);
        let member = member.ok_or(Refusal::NotMember(record.author))?.name.clone();
        match Statement::decode(record.payload)? {
            Statement::Propose { actions, note } => self.propose(record, member, actions, note),
            Statement::Vote { proposal, digest, yes } => {
                let found = self.open_proposal(proposal, digest)?;
                if found.ballots.get(&member) == Some(&yes) {
                    return Err(Refusal::SameBallot { number: proposal, member });
                }
                found.ballots.insert(member, yes);
                Ok((proposal, self.resolve(proposal, record.height)))
            }
            Statement::Withdraw { proposal, digest } => {
                let found = self.open_proposal(proposal, digest)?;
                if found.author != member {
                    return Err(Refusal::NotAuthor { number: proposal, author: found.author.clone() });
                }
                self.close(proposal, Status::Withdrawn, record.height);
                Ok((proposal, Status::Withdrawn))
            }
        }
    }

    fn propose(
        &mut self,
        record: &Record<'_>,
        author: String,
        actions: Vec<Action>,
        note: String,
    ) -> Result<(u64, Status), Refusal> {
        let open = self.open.values().filter(|proposal| proposal.author == author).count();
        if open >= OPEN_PER_MEMBER_MAX {
            return Err(Refusal::TooManyOpen { author, open });
        }
        self.standing
            .after(&actions, record.height)
            .map_err(|(position, source)| Refusal::Action { position, source })?;
        let number = self.next;
        self.next = number.saturating_add(1);
        let lifetime = self.standing.parameters().proposal_blocks;
        let proposal = Proposal {
            number,
            digest: proposal_digest(number, &author, record.payload),
            ballots: BTreeMap::from([(author.clone(), true)]),
            author,
            actions,
            note,
            proposed_at: record.height,
            expires_at: Height(record.height.0.saturating_add(lifetime)),
            status: Status::Open,
            closed_at: None,
        };
        self.open.insert(number, proposal);
        Ok((number, self.resolve(number, record.height)))
    }

    fn open_proposal(&mut self, number: u64, digest: B256) -> Result<&mut Proposal, Refusal> {
        if let Some(closed) = self.closed.get(&number) {
            return Err(Refusal::Closed { number, status: closed.status.name() });
        }
        if number > 0 && number < self.next && !self.open.contains_key(&number) {
            return Err(Refusal::Closed { number, status: "long decided" });
        }
        let proposal = self.open.get_mut(&number).ok_or(Refusal::NoProposal(number))?;
        if proposal.digest != digest {
            return Err(Refusal::Digest { number, found: digest, expected: proposal.digest });
        }
        Ok(proposal)
    }

    /// Counts the ballots of those who are members now, and does what they decided.
    fn resolve(&mut self, number: u64, height: Height) -> Status {
        let Some(proposal) = self.open.get(&number) else { return Status::Open };
        let tally = proposal.tally(&self.standing);
        let rule = self.standing.parameters().rule;
        if rule.is_met(tally.yes, tally.members) {
            let status = match self.standing.after(&proposal.actions, height) {
                Ok(next) => {
                    self.standing = Arc::new(next);
                    Status::Accepted
                }
                Err((position, source)) => {
                    let reason = Refusal::Action { position, source }.to_string();
                    Status::Failed { reason: reason.chars().take(REASON_SIZE_CHARS_MAX).collect() }
                }
            };
            self.close(number, status.clone(), height);
            return status;
        }
        if !rule.is_met(tally.members.saturating_sub(tally.no), tally.members) {
            self.close(number, Status::Rejected, height);
            return Status::Rejected;
        }
        Status::Open
    }

    fn close(&mut self, number: u64, status: Status, height: Height) {
        let Some(mut proposal) = self.open.remove(&number) else { return };
        proposal.status = status;
        proposal.closed_at = Some(height);
        self.closed.insert(number, proposal);
        if self.closed.len() > CLOSED_KEPT_MAX {
            self.closed.pop_first();
        }
    }

    fn note(&mut self, record: &Record<'_>, refusal: &Refusal) {
        if self.refused.len() >= REFUSED_KEPT_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(Refused {
            height: record.height,
            position: record.position,
            entry: record.name.chars().take(REASON_SIZE_CHARS_MAX).collect(),
            author: record.author,
            code: refusal.code().to_owned(),
            reason: refusal.to_string().chars().take(REASON_SIZE_CHARS_MAX).collect(),
        });
    }

    /// What stands.
    #[must_use]
    pub const fn standing(&self) -> &SharedStanding {
        &self.standing
    }

    /// A proposal, open or among the closed ones that are kept.
    #[must_use]
    pub fn proposal(&self, number: u64) -> Option<&Proposal> {
        self.open.get(&number).or_else(|| self.closed.get(&number))
    }

    /// The open proposals, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Proposal> {
        self.open.values()
    }

    /// The closed proposals that are kept, oldest first.
    pub fn closed(&self) -> impl Iterator<Item = &Proposal> {
        self.closed.values()
    }

    /// The newest entries that changed nothing, oldest first.
    pub fn refused(&self) -> impl Iterator<Item = &Refused> {
        self.refused.iter()
    }
}
