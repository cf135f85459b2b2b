//! Byzantine agreement by simplex (Chan and Pass, "Simplex Consensus", 2023) on commonware's stack.
//!
//! One member runs, for each ledger, a marshal (which has every final block in order and fetches what is missing), a
//! broadcast buffer, and one simplex engine for each epoch. The generic part ([`stack`]) runs on sockets and in a
//! seeded simulation alike; [`Simplex`] is it on sockets, behind the Engine seam.
//!
//! An epoch ends with a block whose height its ledger's genesis fixes. The validators of the next one follow from the
//! ledger's state after that block; its digest is what the next epoch's engine starts from.
//!
//! What a validator must not forget, commonware's journals keep: votes are durable before they are sent.

mod application;
mod block;
mod delivery;
mod engine;
mod epochs;
mod kept;
mod settings;
pub mod stack;

pub use block::Sealed;
pub use engine::Simplex;
pub use settings::Settings;
