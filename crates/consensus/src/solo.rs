//! The engine of a ledger with one validator: no agreement needed, only a decision when to make a block.

use crate::{Application, ApplicationError, Engine, EngineError, Signal, Signals};
use bletchley_primitives::{Bytes, TimestampMs};
use std::sync::{Arc, Mutex, PoisonError};

/// When blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cadence {
    /// As soon as a transaction is ready: what test suites expect of a development node.
    Automine,
    /// When transactions are ready, at most one block in `pace_ms`, and an empty one after `heartbeat_ms` of silence.
    Paced {
        /// Least time between blocks.
        pace_ms: u64,
        /// Longest time without a block; none for never.
        heartbeat_ms: Option<u64>,
    },
    /// Every `interval_ms`, empty or not.
    Interval {
        /// Time between blocks.
        interval_ms: u64,
    },
    /// Only when asked.
    Manual,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a block.
    Propose {
        /// Also when there is nothing to put into it.
        allow_empty: bool,
    },
    /// Wait for a signal, or until this time.
    Wait(Option<TimestampMs>),
}

/// The pure part: a decision out of the cadence, the time and the head.
#[derive(Clone, Copy, Debug)]
pub struct SoloSchedule {
    /// When the last block was made, on this node's clock.
    pub last_ms: TimestampMs,
    /// Whether the last attempt found nothing that could enter a block (all of it deferred or invalid).
    pub barren: bool,
}

impl SoloSchedule {
    /// How soon to look again at transactions that could not enter a block, should no signal come before.
    const RETRY_MS: u64 = 250;

    /// What to do at `now_ms` with `ready` transactions waiting.
    #[must_use]
    pub fn action(&self, cadence: Cadence, now_ms: TimestampMs, ready: usize) -> Action {
        let after = |ms: u64| TimestampMs(self.last_ms.0.saturating_add(ms));
        let retry = Action::Wait(Some(TimestampMs(now_ms.0.saturating_add(Self::RETRY_MS))));
        match cadence {
            Cadence::Manual => Action::Wait(None),
            Cadence::Automine if ready == 0 => Action::Wait(None),
            Cadence::Automine if self.barren => retry,
            Cadence::Automine => Action::Propose { allow_empty: false },
            Cadence::Interval { interval_ms } if now_ms >= after(interval_ms) => {
                Action::Propose { allow_empty: true }
            }
            Cadence::Interval { interval_ms } => Action::Wait(Some(after(interval_ms))),
            Cadence::Paced { pace_ms, heartbeat_ms } => {
                let heartbeat = heartbeat_ms.map(after);
                if heartbeat.is_some_and(|at| now_ms >= at) {
                    Action::Propose { allow_empty: true }
                } else if ready == 0 {
                    Action::Wait(heartbeat)
                } else if now_ms < after(pace_ms) {
                    Action::Wait(Some(after(pace_ms)))
                } else if self.barren {
                    retry
                } else {
                    Action::Propose { allow_empty: false }
                }
            }
        }
    }
}

/// The cadence, changeable while the engine runs (development ledgers).
#[derive(Clone, Debug)]
pub struct CadenceHandle(Arc<Mutex<Cadence>>);

impl CadenceHandle {
    /// A handle that starts with `cadence`.
    #[must_use]
    pub fn new(cadence: Cadence) -> Self {
        Self(Arc::new(Mutex::new(cadence)))
    }

    /// The cadence now.
    #[must_use]
    pub fn get(&self) -> Cadence {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it; wake the engine afterwards.
    pub fn set(&self, cadence: Cadence) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cadence;
    }
}

/// The solo engine.
#[derive(Debug)]
pub struct Solo {
    cadence: CadenceHandle,
}

impl Solo {
    /// Name in the genesis document.
    pub const NAME: &'static str = "solo";

    /// An engine with this cadence.
    #[must_use]
    pub const fn new(cadence: CadenceHandle) -> Self {
        Self { cadence }
    }

    fn block(
        application: &dyn Application,
        signals: &dyn Signals,
        allow_empty: bool,
    ) -> Result<bool, ApplicationError> {
        match application.propose(application.head().hash, signals.now_ms(), allow_empty)? {
            None => Ok(false),
            Some(proposal) => application.finalize(proposal.hash, Bytes::new()).map(|()| true),
        }
    }
}

impl Engine for Solo {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn run(
        self: Box<Self>,
        application: Arc<dyn Application>,
        signals: Arc<dyn Signals>,
    ) -> Result<(), EngineError> {
        let failed =
            |source| EngineError { engine: Self::NAME, height: application.head().height.next(), source };
        let mut schedule = SoloSchedule { last_ms: application.head().time_ms, barren: false };
        loop {
            let allow_empty = match schedule.action(self.cadence.get(), signals.now_ms(), application.ready())
            {
                Action::Propose { allow_empty } => allow_empty,
                Action::Wait(deadline_ms) => match signals.wait(deadline_ms) {
                    Signal::Stop => return Ok(()),
                    Signal::Work | Signal::Deadline => {
                        schedule.barren = false;
                        continue;
                    }
                    Signal::Mine { blocks } => {
                        for _ in 0..blocks {
                            Self::block(&*application, &*signals, true).map_err(failed)?;
                        }
                        schedule.last_ms = signals.now_ms();
                        signals.mined(blocks);
                        continue;
                    }
                },
            };
            let made = Self::block(&*application, &*signals, allow_empty).map_err(failed)?;
            schedule.barren = !made;
            if made {
                schedule.last_ms = signals.now_ms();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Proposal;
    use bletchley_ledger::{Block, Head};
    use bletchley_primitives::{B256, BlockHash, Height};
    use std::collections::VecDeque;

    /// A clock that jumps to whatever is waited for, and a script of transactions that arrive.
    struct Script {
        state: Mutex<State>,
    }

    #[derive(Default)]
    struct State {
        now_ms: u64,
        stop_ms: u64,
        arrivals: VecDeque<u64>,
        ready: usize,
        proposed: Option<usize>,
        blocks: Vec<(u64, usize)>,
        asked: VecDeque<u32>,
    }

    impl Script {
        fn new(stop_ms: u64, arrivals: &[u64]) -> Arc<Self> {
            let arrivals = arrivals.iter().copied().collect();
            Arc::new(Self { state: Mutex::new(State { stop_ms, arrivals, ..State::default() }) })
        }

        fn run(self: &Arc<Self>, cadence: Cadence) -> Vec<(u64, usize)> {
            Box::new(Solo::new(CadenceHandle::new(cadence))).run(self.clone(), self.clone()).unwrap();
            self.state.lock().unwrap().blocks.clone()
        }
    }

    impl Signals for Script {
        fn now_ms(&self) -> TimestampMs {
            TimestampMs(self.state.lock().unwrap().now_ms)
        }

        fn wait(&self, deadline_ms: Option<TimestampMs>) -> Signal {
            let mut s = self.state.lock().unwrap();
            if let Some(blocks) = s.asked.pop_front() {
                return Signal::Mine { blocks };
            }
            let arrival = s.arrivals.front().copied().unwrap_or(u64::MAX);
            let deadline = deadline_ms.map_or(u64::MAX, |d| d.0);
            let next = arrival.min(deadline);
            if next >= s.stop_ms {
                return Signal::Stop;
            }
            s.now_ms = s.now_ms.max(next);
            if arrival <= deadline {
                s.arrivals.pop_front();
                s.ready += 1;
                Signal::Work
            } else {
                Signal::Deadline
            }
        }

        fn mined(&self, _blocks: u32) {}

        fn on_wake(&self, _: Box<dyn Fn() + Send + Sync>) {}
    }

    impl Application for Script {
        fn head(&self) -> Head {
            Head {
                height: Height(0),
                hash: BlockHash::default(),
                state_root: B256::ZERO,
                time_ms: TimestampMs(0),
            }
        }
        fn ready(&self) -> usize {
            self.state.lock().unwrap().ready
        }
        fn propose(
            &self,
            _: BlockHash,
            _: TimestampMs,
            allow_empty: bool,
        ) -> Result<Option<Proposal>, ApplicationError> {
            let mut s = self.state.lock().unwrap();
            let count = s.ready;
            s.proposed = Some(count);
            let proposal = Proposal {
                height: Height(1),
                hash: BlockHash::default(),
                block: Block::default(),
                time_ms: TimestampMs(0),
                transactions: 0,
            };
            Ok((count > 0 || allow_empty).then_some(proposal))
        }
        fn verify(&self, _: Block) -> Result<Proposal, ApplicationError> {
            unreachable!("a solo engine has nobody to verify")
        }
        fn finalize(&self, _: BlockHash, _: Bytes) -> Result<(), ApplicationError> {
            let mut s = self.state.lock().unwrap();
            let (now, count) = (s.now_ms, s.proposed.take().unwrap());
            s.ready -= count;
            s.blocks.push((now, count));
            Ok(())
        }
        fn seal(&self, _: Height) -> Option<Bytes> {
            None
        }
        fn block(&self, _: Height) -> Option<Block> {
            None
        }
        fn abandon(&self, _: BlockHash) {}
    }

    #[test]
    fn automine_makes_one_block_for_each_arrival() {
        assert_eq!(Script::new(100, &[5, 6, 90]).run(Cadence::Automine), [(5, 1), (6, 1), (90, 1)]);
    }

    #[test]
    fn paced_gathers_what_arrives_between_blocks_and_beats_when_idle() {
        let cadence = Cadence::Paced { pace_ms: 100, heartbeat_ms: Some(1000) };
        let blocks = Script::new(2500, &[150, 160, 170, 300]).run(cadence);
        assert_eq!(blocks, [(150, 1), (250, 2), (350, 1), (1350, 0), (2350, 0)]);
    }

    #[test]
    fn an_idle_ledger_without_heartbeat_makes_nothing() {
        assert_eq!(Script::new(1 << 40, &[]).run(Cadence::Paced { pace_ms: 100, heartbeat_ms: None }), []);
    }

    #[test]
    fn interval_makes_empty_blocks() {
        assert_eq!(
            Script::new(350, &[120]).run(Cadence::Interval { interval_ms: 100 }),
            [(100, 0), (200, 1), (300, 0)]
        );
    }

    #[test]
    fn manual_makes_only_what_is_asked() {
        let script = Script::new(100, &[5]);
        script.state.lock().unwrap().asked.push_back(2);
        assert_eq!(script.run(Cadence::Manual), [(0, 0), (0, 0)]);
    }

    #[test]
    fn what_cannot_enter_a_block_does_not_spin() {
        let schedule = SoloSchedule { last_ms: TimestampMs(0), barren: true };
        assert_eq!(
            schedule.action(Cadence::Automine, TimestampMs(10), 3),
            Action::Wait(Some(TimestampMs(260)))
        );
    }
}
