//! The two stories of the whitepaper, told on a running node with real input.

mod ecb;
mod independent;
mod items;
mod loan;
mod refusals;
mod supply_chain;
pub(crate) mod table;

pub use loan::{LoanStory, loan};
pub use supply_chain::supply_chain;
