//! The implementations, and what is run on which.

use std::sync::Arc;

use bletchley_cryptlet::{
    confined::{ConfinedConfig, ConfinedContainer},
    container::Container,
    fetch::Fetcher,
    host::WasmContainer,
};
use libtest_mimic::Trial;

use crate::{guests, liar, pool, prison, same};

/// The implementations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    InProcess,
    Confined,
}

impl Kind {
    /// A container without packages.
    pub(crate) fn open(self, fetcher: Arc<dyn Fetcher>) -> Box<dyn Container> {
        match self {
            Self::InProcess => Box::new(WasmContainer::open(None, fetcher).unwrap()),
            Self::Confined => {
                Box::new(ConfinedContainer::open(ConfinedConfig::default(), None, fetcher).unwrap())
            }
        }
    }
}

macro_rules! on_both {
    ($trials:ident, $($module:ident :: $name:ident),* $(,)?) => {
        $(for kind in [Kind::InProcess, Kind::Confined] {
            let name = format!(concat!(stringify!($module), "::", stringify!($name), "::{:?}"), kind);
            $trials.push(Trial::test(name, move || {
                $module::$name(kind);
                Ok(())
            }));
        })*
    };
}

macro_rules! on_confined {
    ($trials:ident, $($module:ident :: $name:ident),* $(,)?) => {
        $($trials.push(Trial::test(concat!(stringify!($module), "::", stringify!($name)), || {
            $module::$name();
            Ok(())
        }));)*
    };
}

/// Every test.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    on_both!(
        trials,
        guests::code_that_runs_wild_fails_with_its_own_code,
        guests::answers_that_break_the_convention_fail_with_their_own_code,
        guests::what_the_host_is_called_with_is_bounded,
        guests::fetches_are_counted_granted_and_recorded,
        guests::what_is_no_cryptlet_is_refused_before_it_is_compiled,
        guests::what_cannot_start_or_asks_too_much_is_not_loaded,
        guests::a_call_that_cannot_be_one_does_not_run,
        guests::the_wall_clock_is_a_backstop_and_no_result,
        guests::the_call_s_context_and_randomness_are_its_own,
        guests::outcomes_are_the_same_on_every_host_and_thread,
    );
    on_confined!(
        trials,
        same::outcomes_of_the_ready_made_cryptlets,
        prison::deeds_that_end_the_worker,
        prison::memory_that_is_not_given,
        prison::walls_behind_the_filter,
        prison::a_bomb_of_bytes_is_cut_at_the_limit_of_files,
        prison::what_is_there_to_see,
        prison::a_kernel_that_refuses_namespaces,
        liar::no_lie_becomes_an_outcome,
        pool::a_crash_or_a_hang_leaves_other_calls_alone,
        pool::workers_are_kept_shared_with_nobody_and_gone_at_the_end,
        pool::a_node_that_is_killed_leaves_no_worker_behind,
        pool::first_party_code_may_stay_near_and_nothing_else,
    );
    trials
}
