//! The whole consortium, engine to state, on a seeded runtime, network and disk; nothing of it is shipped.
//!
//! A [`Plan`] follows from a seed: members, faults, misbehaviour, load. [`run`] plays it in virtual time and checks, all
//! the while, what must hold. The same plan gives the same [`Outcome`], digest included. `docs/simulation.md` says what
//! is simulated and what is not.

mod broken;
mod campaign;
mod chronicle;
mod consortium;
mod liar;
mod load;
mod member;
mod noise;
mod plan;
mod politics;
mod replay;
mod stage;

pub use broken::Bug;
pub use campaign::{Campaign, Summary};
pub use plan::{Agreement, Decision, Era, Fault, Misbehaviour, Plan, Scenario, Weather};

use commonware_runtime::deterministic::{self, Checkpoint};
use consortium::Consortium;
use serde::Serialize;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The plan's seed.
    pub seed: u64,
    /// Digest over every event of runtime, network and storage, and over the final blocks: the same for the same plan.
    pub digest: String,
    /// Virtual time that was played.
    pub virtual_ms: u64,
    /// Final blocks of the token ledger and of the EVM ledger.
    pub heights: [u64; 2],
    /// Transactions in them.
    pub transactions: u64,
    /// Faults that were played.
    pub faults: usize,
    /// Proposals that were refused, and whose proposer is known.
    pub refused: u64,
    /// Who misbehaved, and how.
    pub byzantine: Option<Misbehaviour>,
    /// Decisions that the members made.
    pub decisions: usize,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[error(
    "seed {seed}, after {virtual_ms} ms: {problem}\nagain: cargo xtask sim --scenario {scenario} --seeds 1 --first-seed {seed}"
)]
pub struct Failure {
    /// What the plan was drawn for.
    pub scenario: Scenario,
    /// The plan's seed.
    pub seed: u64,
    /// Virtual time when it was noticed.
    pub virtual_ms: u64,
    /// What was seen, and what should have been.
    pub problem: String,
}

/// Plays a plan.
///
/// # Errors
/// [`Failure`]: something that must hold did not.
pub fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let mut consortium = Consortium::new(plan);
    let played = catch_unwind(AssertUnwindSafe(|| play(plan, &mut consortium)));
    let problem = match played {
        Ok(Ok(outcome)) => return Ok(outcome),
        Ok(Err(problem)) => problem,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        }
    };
    // A liveness problem may be the consequence of a safety problem that came first.
    let problem = consortium.chronicle.problem().unwrap_or(problem);
    Err(Failure { scenario: plan.scenario, seed: plan.seed, virtual_ms: consortium.now_ms, problem })
}

fn play(plan: &Plan, consortium: &mut Consortium) -> Result<Outcome, String> {
    let mut left: Option<Checkpoint> = None;
    for (number, era) in plan.eras.iter().enumerate() {
        let runner = match left.take() {
            None => deterministic::Runner::new(consortium::runtime(plan.seed)),
            Some(checkpoint) => deterministic::Runner::from(checkpoint),
        };
        let is_last = number + 1 == plan.eras.len();
        let (played, checkpoint) =
            runner.start_and_recover(|context| stage::play(context, consortium, era, is_last));
        played?;
        left = Some(checkpoint);
        // Everything ends at once; what was not synced is lost, or torn.
        consortium.black_out();
    }
    let (heights, transactions) = replay::verify(consortium)?;
    let runtime = left.map(|checkpoint| checkpoint.auditor().state()).unwrap_or_default();
    Ok(Outcome {
        seed: plan.seed,
        digest: format!("{runtime}-{}", consortium.chronicle.digest()),
        virtual_ms: consortium.now_ms,
        heights,
        transactions,
        faults: plan.eras.iter().map(|era| era.faults.len()).sum(),
        refused: consortium.chronicle.refused(),
        byzantine: plan.byzantine.map(|(_, misbehaviour)| misbehaviour),
        decisions: consortium.decided,
    })
}
