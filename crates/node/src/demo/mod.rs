//! The two stories of the whitepaper, told on a running node with real input.

mod ecb;
mod independent;
mod loan;
mod table;

pub use loan::{LoanStory, loan};
