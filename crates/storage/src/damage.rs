//! Where bytes on disk are not what was written.

use bletchley_ledger::ReadError;
use bletchley_primitives::Height;
use std::fmt;

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
