//! Why input from outside was refused.

/// A reason, as the metric `bletchley_net_refused_total` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// What no honest member sends; the log says what it was.
    Nonsense,
    /// It does not decode.
    Malformed,
    /// It is longer than its protocol allows.
    Oversized,
    /// It names another ledger, or another consortium.
    WrongLedger,
    /// It was heard before, where once is all that is allowed.
    Replayed,
    /// It is about heights or epochs that are long past, or too far ahead.
    OutOfRange,
    /// A signature does not hold, or belongs to another key than it says.
    Signature,
    /// It is signed by somebody who has no vote in it.
    NotEntitled,
    /// It contradicts what the same member signed before.
    Equivocation,
    /// A block that does not hold: its execution gives something else.
    InvalidBlock,
    /// A receipt of a delegated call that does not hold.
    InvalidReceipt,
    /// Whoever sent it is no member.
    Stranger,
    /// Whoever sent it was a member and is one no longer.
    Revoked,
    /// There was more of it than one member may send.
    Flood,
    /// An answer to something that nobody asked.
    Unasked,
}

impl Refused {
    /// Every reason.
    pub const ALL: [Self; 15] = [
        Self::Nonsense,
        Self::Malformed,
        Self::Oversized,
        Self::WrongLedger,
        Self::Replayed,
        Self::OutOfRange,
        Self::Signature,
        Self::NotEntitled,
        Self::Equivocation,
        Self::InvalidBlock,
        Self::InvalidReceipt,
        Self::Stranger,
        Self::Revoked,
        Self::Flood,
        Self::Unasked,
    ];

    /// Name as the metric's label has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nonsense => "nonsense",
            Self::Malformed => "malformed",
            Self::Oversized => "oversized",
            Self::WrongLedger => "wrong_ledger",
            Self::Replayed => "replayed",
            Self::OutOfRange => "out_of_range",
            Self::Signature => "signature",
            Self::NotEntitled => "not_entitled",
            Self::Equivocation => "equivocation",
            Self::InvalidBlock => "invalid_block",
            Self::InvalidReceipt => "invalid_receipt",
            Self::Stranger => "stranger",
            Self::Revoked => "revoked",
            Self::Flood => "flood",
            Self::Unasked => "unasked",
        }
    }
}
