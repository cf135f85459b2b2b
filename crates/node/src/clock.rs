//! The computer's clock set back: waits that were reckoned on it would end by as much too late, in this program and in the
//! libraries under it. The node then stops in order and starts again in place, as if it had been restarted by hand.

use anyhow::{Context, Error};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant, SystemTime};

/// A step back of more than this is noticed. Time servers that slew a clock stay far below it.
const STEP_BACK_MAX: Duration = Duration::from_secs(1);

/// Compares the clock that people set with the one that only runs.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    wall: SystemTime,
    running: Instant,
}

impl ClockWatch {
    pub(crate) fn new() -> Self {
        Self { wall: SystemTime::now(), running: Instant::now() }
    }

    /// Whether the clock was set back since the last look.
    pub(crate) fn was_set_back(&mut self) -> bool {
        self.look(SystemTime::now(), Instant::now())
    }

    fn look(&mut self, wall: SystemTime, running: Instant) -> bool {
        let expected = self.wall + running.saturating_duration_since(self.running);
        *self = Self { wall, running };
        expected.duration_since(wall).is_ok_and(|back| back > STEP_BACK_MAX)
    }
}

/// Where the program that starts again is told the address that its clients know.
const ADDRESS_VARIABLE: &str = "BLETCHLEY_API_AGAIN";

/// Where the interface listens: as configured, or, when the system was to pick the port, where it listened before this program
/// started again.
pub(crate) fn address_again(configured: SocketAddr) -> SocketAddr {
    known_or(configured, std::env::var(ADDRESS_VARIABLE).ok().as_deref())
}

fn known_or(configured: SocketAddr, before: Option<&str>) -> SocketAddr {
    let before = before.and_then(|text| text.parse::<SocketAddr>().ok());
    before.filter(|before| configured.port() == 0 && before.ip() == configured.ip()).unwrap_or(configured)
}

/// Starts this program again in this process, with the same arguments and, for its clients, at the same address; returns only
/// when that fails.
pub(crate) fn start_again(address: SocketAddr) -> Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let program = match std::env::current_exe().context("finding this program to start it again") {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut command = std::process::Command::new(program);
    if let Some(name) = name {
        command.arg0(name);
    }
    let error = command.args(arguments).env(ADDRESS_VARIABLE, address.to_string()).exec();
    Error::new(error).context("starting again after the clock was set back; start the node by hand")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_the_system_picked_stays_the_same() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap_or_else(|_| unreachable!("{text}"));
        let (any, named) = (address("127.0.0.1:0"), address("127.0.0.1:8545"));
        assert_eq!(known_or(any, Some("127.0.0.1:40123")), address("127.0.0.1:40123"));
        assert_eq!(known_or(named, Some("127.0.0.1:40123")), named);
        for before in [None, Some("nonsense"), Some("127.0.0.2:40123")] {
            assert_eq!(known_or(any, before), any);
        }
    }

    #[test]
    fn a_step_back_is_told_from_a_clock_that_runs_jumps_ahead_or_slews() {
        let (wall, running) = (SystemTime::now(), Instant::now());
        let mut watch = ClockWatch { wall, running };
        let second = |n: u64| Duration::from_secs(n);
        assert!(!watch.look(wall + second(1), running + second(1)));
        assert!(!watch.look(wall + second(3_601), running + second(2)));
        assert!(watch.look(wall + second(3), running + second(3)));
        assert!(!watch.look(wall + second(4), running + second(4)));
        assert!(!watch.look(wall + Duration::from_millis(4_500), running + second(5)));
    }
}
