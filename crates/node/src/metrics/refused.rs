//! Why input from outside was refused.

use bletchley_consensus::Nonsense;

/// A reason, as the metric `bletchley_net_refused_total` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// What no honest member sends; the log says what it was.
    Nonsense,
    /// It does not decode.
    Malformed,
    /// It names another ledger, or validators that the ledger does not have.
    WrongLedger,
    /// A signature or certificate does not hold.
    Signature,
    /// Whoever sent it has no vote in it.
    NotEntitled,
    /// It contradicts what the same member signed before.
    Equivocation,
    /// A block that does not hold: its execution gives something else.
    InvalidBlock,
    /// A block whose delegated calls do not hold.
    InvalidReceipt,
}

impl Refused {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Nonsense,
        Self::Malformed,
        Self::WrongLedger,
        Self::Signature,
        Self::NotEntitled,
        Self::Equivocation,
        Self::InvalidBlock,
        Self::InvalidReceipt,
    ];

    /// Name as the metric's label has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nonsense => "nonsense",
            Self::Malformed => "malformed",
            Self::WrongLedger => "wrong_ledger",
            Self::Signature => "signature",
            Self::NotEntitled => "not_entitled",
            Self::InvalidBlock => "invalid_block",
            Self::InvalidReceipt => "invalid_receipt",
            Self::Equivocation => "equivocation",
        }
    }
}

/// A message of a member that is refused: why, for the metric, and what was wrong, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct Refusal {
    pub(crate) reason: Refused,
    pub(crate) problem: String,
}

impl Refusal {
    pub(crate) fn new(reason: Refused, problem: impl std::fmt::Display) -> Self {
        Self { reason, problem: problem.to_string() }
    }
}

impl From<Refusal> for Nonsense {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.problem)
    }
}
