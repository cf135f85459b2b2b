//! Outside data of a test: only what the test names, and a problem for everything else.

use std::time::Duration;

use bletchley_cryptlet::{
    fetch::{Fetched, Fetcher, RESPONSE_SIZE_BYTES_MAX},
    manifest::FetchSource,
};
use parking_lot::Mutex;

use crate::case::{Answer, Fixture};

/// Answers the fetches of the test that is running.
#[derive(Debug, Default)]
pub(super) struct Fixtures(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    fixtures: Vec<Fixture>,
    asked: Vec<bool>,
    missing: Vec<String>,
}

impl Fixtures {
    /// Forgets the last run.
    pub(super) fn begin(&self, fixtures: Vec<Fixture>) {
        *self.0.lock() = State { asked: vec![false; fixtures.len()], fixtures, missing: Vec::new() };
    }

    /// What was asked for and not there, and what was there and not asked for.
    pub(super) fn problems(&self) -> Vec<String> {
        let state = self.0.lock();
        let unused = state.fixtures.iter().zip(&state.asked).filter(|(_, asked)| !**asked);
        let unused = unused.map(|(fixture, _)| {
            format!("nothing fetched `{}` of source `{}`, which the test has", fixture.path, fixture.source)
        });
        state.missing.iter().cloned().chain(unused).collect()
    }
}

impl Fetcher for Fixtures {
    fn get(&self, source: &FetchSource, path: &str, _timeout: Duration) -> Fetched {
        let mut state = self.0.lock();
        let found =
            state.fixtures.iter().position(|fixture| fixture.source == source.name && fixture.path == path);
        let Some(at) = found else {
            let missing =
                format!("fetched `{path}` of source `{}`, which the test does not have", source.name);
            state.missing.push(missing);
            return Fetched::Unavailable(format!("the test has no answer of source `{}`", source.name));
        };
        if let Some(asked) = state.asked.get_mut(at) {
            *asked = true;
        }
        match state.fixtures.get(at).map(|fixture| &fixture.answer) {
            Some(Answer::Response { body, .. }) if body.len() > RESPONSE_SIZE_BYTES_MAX => {
                Fetched::TooLarge(RESPONSE_SIZE_BYTES_MAX as u64)
            }
            Some(Answer::Response { status, body }) => {
                Fetched::Response { status: *status, body: body.clone().into() }
            }
            Some(Answer::Denied) => Fetched::Denied(format!("this host does not grant `{}`", source.name)),
            Some(Answer::Unavailable) | None => {
                Fetched::Unavailable(format!("source `{}` did not answer in time", source.name))
            }
        }
    }
}
