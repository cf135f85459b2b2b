//! What a member waits for.

use crate::settings::Settings;
use arc_malachitebft_core_types::{Round, Timeout, TimeoutKind};
use std::time::Duration;

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Timers of one height. There are never more than a few.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    armed: Vec<(Timeout, u64)>,
    /// Round, deadline, and whether it may come earlier once there is work.
    proposal: Option<(Round, u64, bool)>,
    begin_ms: Option<u64>,
}

fn longer(base: Duration, round: Round, settings: &Settings) -> u64 {
    let rounds = round.as_u32().unwrap_or(0);
    millis(base.saturating_add(settings.step.saturating_mul(rounds)).min(settings.longest.max(base)))
}

impl Timers {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn arm(&mut self, timeout: Timeout, now_ms: u64, settings: &Settings) {
        let after_ms = match timeout.kind {
            TimeoutKind::Propose => longer(settings.propose, timeout.round, settings),
            TimeoutKind::Prevote => longer(settings.prevote, timeout.round, settings),
            TimeoutKind::Precommit => longer(settings.precommit, timeout.round, settings),
            TimeoutKind::Rebroadcast => millis(settings.rebroadcast),
            TimeoutKind::FinalizeHeight(after) => millis(after),
        };
        self.disarm(timeout);
        self.armed.push((timeout, now_ms.saturating_add(after_ms)));
    }

    pub(crate) fn disarm(&mut self, timeout: Timeout) {
        self.armed.retain(|(armed, _)| *armed != timeout);
        if timeout.kind == TimeoutKind::Propose
            && self.proposal.is_some_and(|(round, ..)| round == timeout.round)
        {
            self.proposal = None;
        }
    }

    pub(crate) fn await_proposal(&mut self, round: Round, begin_ms: u64, lazy: bool, settings: &Settings) {
        let at_ms = begin_ms.saturating_add(longer(settings.propose, round, settings));
        self.proposal = Some((round, at_ms, lazy));
    }

    /// There is work: whoever waits for the heartbeat waits for a proposal from `begin_ms` on.
    pub(crate) fn hurry(&mut self, begin_ms: u64, settings: &Settings) {
        if let Some((round, at_ms, lazy @ true)) = &mut self.proposal {
            *at_ms = (*at_ms).min(begin_ms.saturating_add(longer(settings.propose, *round, settings)));
            *lazy = false;
        }
    }

    /// The height's validators are asked for again then.
    pub(crate) const fn set_begin(&mut self, at_ms: u64) {
        self.begin_ms = Some(at_ms);
    }

    pub(crate) fn take_begin(&mut self, now_ms: u64) -> bool {
        self.begin_ms.take_if(|at_ms| *at_ms <= now_ms).is_some()
    }

    pub(crate) fn next_ms(&self) -> Option<u64> {
        let proposal = self.proposal.map(|(_, at_ms, _)| at_ms);
        self.armed.iter().map(|(_, at_ms)| *at_ms).chain(proposal).chain(self.begin_ms).min()
    }

    /// What has elapsed, oldest first.
    pub(crate) fn elapsed(&mut self, now_ms: u64) -> Option<Timeout> {
        if let Some((round, ..)) = self.proposal.take_if(|(_, at_ms, _)| *at_ms <= now_ms) {
            return Some(Timeout::propose(round));
        }
        let due = self.armed.iter().enumerate().filter(|(_, (_, at_ms))| *at_ms <= now_ms);
        let (at, _) = due.min_by_key(|(_, (_, at_ms))| *at_ms)?;
        Some(self.armed.swap_remove(at).0)
    }
}
