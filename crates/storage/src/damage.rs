//! Where bytes on disk are not what was written.

use bletchley_ledger::ReadError;
use bletchley_primitives::Height;
use std::fmt;

/// The part that a torn tail is called.
pub(crate) const TAIL: &str = "tail";

/// One damaged place of a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// File, relative to the data folder.
    pub file: String,
    /// Byte of the file where the damaged part begins.
    pub offset: u64,
    /// Height of the block it belongs to, where that is known.
    pub height: Option<Height>,
    /// The damaged part: a section's name, `record header`, `index`, `segment header`, ...
    pub part: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Damage {
    /// Whether this is only what a crash, or an append that goes on at this moment, leaves at the end: nothing that was
    /// ever durable is lost, and the next start cuts it off.
    #[must_use]
    pub fn is_torn_tail(&self) -> bool {
        self.part == TAIL
    }

    /// The place in words: block and part, file and offset.
    #[must_use]
    pub fn place(&self) -> String {
        let Self { file, offset, part, .. } = self;
        match self.height {
            Some(height) => format!("block {height}, {part} ({file} at byte {offset})"),
            None => format!("{part} ({file} at byte {offset})"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.problem)
    }
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> Self {
        Self::Damaged { place: damage.place(), problem: damage.problem }
    }
}
