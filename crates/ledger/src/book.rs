//! Gathering checkpoint votes into certificates: pure, bounded, and without a clock.

use crate::{Certificate, Checkpoint, ValidatorSet};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_crypto::recover_all;
use bletchley_primitives::{Address, B256, Height, LedgerId, Signature};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One validator's signature under a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct CheckpointVote {
    /// What it signed.
    pub checkpoint: Checkpoint,
    /// Its signature.
    pub signature: Signature,
}

/// Two different checkpoints that one validator signed for one height: proof that it, or whoever has its key, lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equivocation {
    /// The validator.
    pub validator: Address,
    /// The vote that came first.
    pub first: CheckpointVote,
    /// The vote that contradicts it.
    pub second: CheckpointVote,
}

/// Why a vote was refused: no honest member sends such a one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoteError {
    /// It is for another ledger.
    #[error("a vote for block {0} of another ledger")]
    Ledger(Height),
    /// It names other validators than the ledger has at this height.
    #[error("a vote for block {0} that names another validator set than the ledger has there")]
    WrongSet(Height),
    /// The sender does not validate at this height.
    #[error("a vote for block {height} by {voter}, which is no validator there")]
    Stranger {
        /// Height of the block.
        height: Height,
        /// Who sent it.
        voter: Address,
    },
    /// The signature is not the sender's.
    #[error("a vote for block {height} that {voter} sent and did not sign")]
    Signature {
        /// Height of the block.
        height: Height,
        /// Who sent it.
        voter: Address,
    },
    /// The sender has signed two checkpoints for the height already.
    #[error("another vote for block {height} by {voter}, which has contradicted itself there")]
    Liar {
        /// Height of the block.
        height: Height,
        /// Who sent it.
        voter: Address,
    },
}

/// What a vote brought.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Gathered {
    /// A certificate, complete with this vote.
    pub certificate: Option<Certificate>,
    /// Voters whose kept votes turned out not to be signed by them.
    pub forgers: Vec<Address>,
    /// A contradiction that this vote showed.
    pub equivocation: Option<Equivocation>,
    /// Votes of validators for another block than this member holds final, signatures checked.
    pub disagreements: Vec<(Address, CheckpointVote)>,
}

/// The votes for one height.
struct Votes {
    set: Arc<ValidatorSet>,
    /// What this member kept there, once it did.
    own: Option<Checkpoint>,
    /// The vote of each validator that was heard, and whether its signature was checked.
    heard: BTreeMap<Address, (CheckpointVote, bool)>,
    liars: BTreeSet<Address>,
    /// Complete: only contradictions matter from then on.
    certified: Option<Checkpoint>,
}

/// Votes for recent heights of one ledger. Signatures are checked together, once there are enough for a quorum.
///
/// Bounds: [`CertificateBook::HEIGHTS_MAX`] heights, one vote of each validator for each, and
/// [`CertificateBook::EQUIVOCATIONS_MAX`] contradictions. The last blocks of epochs are forgotten last.
pub struct CertificateBook {
    ledger: LedgerId,
    heights: BTreeMap<Height, Votes>,
    equivocations: Vec<Equivocation>,
    equivocations_seen: u64,
    epoch_blocks: u64,
    floor: Height,
}

impl CertificateBook {
    /// Most heights with votes.
    pub const HEIGHTS_MAX: usize = 1_024;
    /// Most contradictions that are kept; later ones are counted only.
    pub const EQUIVOCATIONS_MAX: usize = 64;

    /// An empty book of a ledger whose epochs have this many blocks, at least one.
    #[must_use]
    pub fn new(ledger: LedgerId, epoch_blocks: u64) -> Self {
        Self {
            ledger,
            heights: BTreeMap::new(),
            equivocations: Vec::new(),
            equivocations_seen: 0,
            epoch_blocks: epoch_blocks.max(1),
            floor: Height(0),
        }
    }

    /// What this member kept at a height, and its own vote if it validates there. Gives a certificate when it was the
    /// last that was missing.
    pub fn kept(
        &mut self,
        checkpoint: Checkpoint,
        own: Option<(Address, Signature)>,
        set: &Arc<ValidatorSet>,
    ) -> Gathered {
        let votes = self.votes(checkpoint.height, set);
        votes.own = Some(checkpoint);
        let other = |(voter, (vote, _)): (&Address, &(CheckpointVote, bool))| {
            (vote.checkpoint != checkpoint && signed_by(vote, *voter)).then(|| (*voter, vote.clone()))
        };
        let disagreements = votes.heard.iter().filter_map(other).collect();
        if let Some((address, signature)) = own {
            // What this member signed itself needs no check.
            votes.heard.insert(address, (CheckpointVote { checkpoint, signature }, true));
        }
        let gathered = votes.count(&checkpoint);
        self.shrink();
        Gathered { disagreements, ..gathered }
    }

    /// Takes a vote that `voter` sent. `set` is the set of the vote's height.
    ///
    /// # Errors
    /// [`VoteError`] when no honest validator sends this.
    pub fn offer(
        &mut self,
        voter: Address,
        vote: CheckpointVote,
        set: &Arc<ValidatorSet>,
    ) -> Result<Gathered, VoteError> {
        let height = vote.checkpoint.height;
        if vote.checkpoint.ledger != self.ledger {
            return Err(VoteError::Ledger(height));
        }
        if vote.checkpoint.validators != set.digest() {
            return Err(VoteError::WrongSet(height));
        }
        if set.members().binary_search(&voter).is_err() {
            return Err(VoteError::Stranger { height, voter });
        }
        if height < self.floor && !self.heights.contains_key(&height) {
            return Ok(Gathered::default()); // certified long ago, or covered by a later certificate
        }
        let votes = self.votes(height, set);
        if votes.liars.contains(&voter) {
            return Err(VoteError::Liar { height, voter });
        }
        let gathered = match votes.heard.get(&voter) {
            Some((known, _)) if known.checkpoint == vote.checkpoint => Ok(Gathered::default()),
            Some(_) => votes.contradiction(voter, vote),
            None => {
                let contradicts = [votes.certified, votes.own]
                    .iter()
                    .flatten()
                    .any(|checkpoint| *checkpoint != vote.checkpoint);
                if contradicts && !signed_by(&vote, voter) {
                    return Err(VoteError::Signature { height, voter });
                }
                let checkpoint = vote.checkpoint;
                let disagreements = if contradicts { vec![(voter, vote.clone())] } else { Vec::new() };
                votes.heard.insert(voter, (vote, contradicts));
                Ok(Gathered { disagreements, ..votes.count(&checkpoint) })
            }
        }?;
        if gathered.forgers.contains(&voter) {
            self.shrink();
            return Err(VoteError::Signature { height, voter });
        }
        if let Some(found) = &gathered.equivocation {
            self.equivocations_seen = self.equivocations_seen.saturating_add(1);
            if self.equivocations.len() < Self::EQUIVOCATIONS_MAX {
                self.equivocations.push(found.clone());
            }
        }
        self.shrink();
        Ok(gathered)
    }

    /// Takes note that a height is certified, so that its votes need no more checking.
    pub fn certified(&mut self, certificate: &Certificate) {
        if let Some(votes) = self.heights.get_mut(&certificate.checkpoint.height) {
            votes.certified = Some(certificate.checkpoint);
        }
    }

    /// What this member kept at a height of which it still gathers votes.
    #[must_use]
    pub fn own(&self, height: Height) -> Option<Checkpoint> {
        self.heights.get(&height).and_then(|votes| votes.own)
    }

    /// The vote of a validator that was heard at a height.
    #[must_use]
    pub fn vote(&self, height: Height, voter: Address) -> Option<&CheckpointVote> {
        self.heights.get(&height)?.heard.get(&voter).map(|(vote, _)| vote)
    }

    /// Heights that this member kept and that are not certified, in ascending order.
    #[must_use]
    pub fn open(&self) -> Vec<Height> {
        let open = |(height, votes): (&Height, &Votes)| {
            (votes.own.is_some() && votes.certified.is_none()).then_some(*height)
        };
        self.heights.iter().filter_map(open).collect()
    }

    /// Forgets the heights below `height`, except the last blocks of epochs that are not certified: those are never
    /// given up, because they say who signs next.
    pub fn forget_below(&mut self, height: Height) {
        self.floor = self.floor.max(height);
        let epoch_blocks = self.epoch_blocks;
        self.heights.retain(|at, votes| {
            *at >= height
                || (votes.certified.is_none() && votes.own.is_some() && at.0.is_multiple_of(epoch_blocks))
        });
    }

    /// Validators of a height that were not heard: whom a certificate waits for.
    #[must_use]
    pub fn silent(&self, height: Height) -> Vec<Address> {
        let Some(votes) = self.heights.get(&height) else { return Vec::new() };
        votes.set.members().iter().filter(|member| !votes.heard.contains_key(*member)).copied().collect()
    }

    /// The contradictions that were seen first.
    #[must_use]
    pub fn equivocations(&self) -> &[Equivocation] {
        &self.equivocations
    }

    /// How many contradictions were seen.
    #[must_use]
    pub const fn equivocations_seen(&self) -> u64 {
        self.equivocations_seen
    }

    fn votes(&mut self, height: Height, set: &Arc<ValidatorSet>) -> &mut Votes {
        self.heights.entry(height).or_insert_with(|| Votes {
            set: set.clone(),
            own: None,
            heard: BTreeMap::new(),
            liars: BTreeSet::new(),
            certified: None,
        })
    }

    /// Keeps to the bound: certified heights go first, then the lowest that changes no set, then what lies above what
    /// this member kept.
    fn shrink(&mut self) {
        while self.heights.len() > Self::HEIGHTS_MAX {
            let epoch_blocks = self.epoch_blocks;
            let certified = self.heights.iter().find(|(_, votes)| votes.certified.is_some());
            let plain = || {
                let plain = |(at, votes): &(&Height, &Votes)| {
                    votes.own.is_some() && !at.0.is_multiple_of(epoch_blocks)
                };
                self.heights.iter().find(plain)
            };
            let Some(height) = certified.or_else(plain).map(|(height, _)| *height) else {
                self.heights.pop_last();
                continue;
            };
            self.heights.remove(&height);
        }
    }
}

impl Votes {
    /// A second checkpoint by one validator. Its first vote may be one that it never signed.
    fn contradiction(&mut self, voter: Address, second: CheckpointVote) -> Result<Gathered, VoteError> {
        let height = second.checkpoint.height;
        if !signed_by(&second, voter) {
            return Err(VoteError::Signature { height, voter });
        }
        let Some((first, checked)) = self.heard.remove(&voter) else { return Ok(Gathered::default()) };
        if !checked && !signed_by(&first, voter) {
            let checkpoint = second.checkpoint;
            self.heard.insert(voter, (second, true));
            return Ok(self.count(&checkpoint));
        }
        self.heard.insert(voter, (first.clone(), true));
        self.liars.insert(voter);
        let equivocation = Some(Equivocation { validator: voter, first, second });
        Ok(Gathered { equivocation, ..Gathered::default() })
    }

    /// Makes a certificate when a quorum voted for `checkpoint`, after checking the signatures not checked yet.
    fn count(&mut self, checkpoint: &Checkpoint) -> Gathered {
        let mut gathered = Gathered::default();
        let quorum = self.set.quorum();
        let agree =
            |votes: &Self| votes.heard.values().filter(|(vote, _)| vote.checkpoint == *checkpoint).count();
        // Votes ahead of this member are kept unchecked: only what it kept itself is worth the work.
        if self.certified.is_some() || self.own != Some(*checkpoint) || agree(self) < quorum {
            return gathered;
        }
        let digest = checkpoint.signing_digest();
        let unchecked: Vec<(Address, Signature)> = self
            .heard
            .iter()
            .filter(|(_, (vote, checked))| !checked && vote.checkpoint == *checkpoint)
            .map(|(voter, (vote, _))| (*voter, vote.signature))
            .collect();
        let items: Vec<(B256, Signature)> =
            unchecked.iter().map(|(_, signature)| (digest, *signature)).collect();
        for ((voter, _), signer) in unchecked.iter().zip(recover_all(&items)) {
            if signer.as_ref() == Ok(voter) {
                if let Some((_, checked)) = self.heard.get_mut(voter) {
                    *checked = true;
                }
            } else {
                self.heard.remove(voter);
                gathered.forgers.push(*voter);
            }
        }
        if agree(self) >= quorum {
            self.certified = Some(*checkpoint);
            let signatures = self
                .heard
                .values()
                .filter(|(vote, _)| vote.checkpoint == *checkpoint)
                .map(|(vote, _)| vote.signature);
            let signatures = signatures.take(quorum).collect();
            gathered.certificate = Some(Certificate { checkpoint: *checkpoint, signatures });
        }
        gathered
    }
}

fn signed_by(vote: &CheckpointVote, voter: Address) -> bool {
    bletchley_crypto::recover(vote.checkpoint.signing_digest(), &vote.signature) == Ok(voter)
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
