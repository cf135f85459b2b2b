//! What the operating system says about this process, under the names that every Prometheus client library uses.

use super::gauge;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Ticks in a second of the times in `/proc`: proc_pid_stat(5), a constant of Linux's interface.
const TICKS_IN_A_SECOND: f64 = 100.0;

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) open_files: u64,
    pub(crate) open_files_max: u64,
    pub(crate) threads: u64,
}

impl Usage {
    /// Of this process; zeroes where the operating system does not say.
    pub(crate) fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        Self {
            resident_bytes: field(&status, "VmRSS:").saturating_mul(1024),
            cpu_seconds: cpu_seconds(&read("/proc/self/stat")),
            open_files: std::fs::read_dir("/proc/self/fd")
                .map_or(0, |files| u64::try_from(files.count()).unwrap_or(0)),
            open_files_max: field(&read("/proc/self/limits"), "Max open files"),
            threads: field(&status, "Threads:"),
        }
    }
}

/// The number after a name.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// User and system time: fields 14 and 15, counted after the name in brackets, which may hold anything.
fn cpu_seconds(stat: &str) -> f64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_IN_A_SECOND
}

pub(super) struct ProcessGauges {
    resident_bytes: Gauge,
    cpu_seconds: Counter<f64, AtomicU64>,
    counted_cpu: Mutex<f64>,
    open_files: Gauge,
    open_files_max: Gauge,
    threads: Gauge,
    uptime_seconds: Gauge,
    started: Instant,
}

impl ProcessGauges {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let gauges = Self {
            resident_bytes: Gauge::default(),
            cpu_seconds: Counter::default(),
            counted_cpu: Mutex::new(0.0),
            open_files: Gauge::default(),
            open_files_max: Gauge::default(),
            threads: Gauge::default(),
            uptime_seconds: Gauge::default(),
            started: Instant::now(),
        };
        let start: Gauge = Gauge::default();
        start.set(gauge(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())));
        registry.register(
            "process_resident_memory_bytes",
            "Memory of this process that is in RAM",
            gauges.resident_bytes.clone(),
        );
        registry.register(
            "process_cpu_seconds",
            "Processor time of this process, user and system",
            gauges.cpu_seconds.clone(),
        );
        registry.register("process_open_fds", "Open files and sockets", gauges.open_files.clone());
        registry.register(
            "process_max_fds",
            "Most files and sockets that may be open",
            gauges.open_files_max.clone(),
        );
        registry.register("process_threads", "Threads", gauges.threads.clone());
        registry.register(
            "process_start_time_seconds",
            "When this process started, in seconds since 1970",
            start,
        );
        registry.register(
            "bletchley_node_uptime_seconds",
            "Time since this process started",
            gauges.uptime_seconds.clone(),
        );
        gauges
    }

    /// Asks the operating system.
    pub(super) fn read(&self) {
        let usage = Usage::now();
        self.resident_bytes.set(gauge(usage.resident_bytes));
        let mut counted = self.counted_cpu.lock();
        if usage.cpu_seconds > *counted {
            self.cpu_seconds.inc_by(usage.cpu_seconds - *counted);
            *counted = usage.cpu_seconds;
        }
        self.open_files.set(gauge(usage.open_files));
        self.open_files_max.set(gauge(usage.open_files_max));
        self.threads.set(gauge(usage.threads));
        self.uptime_seconds.set(gauge(self.started.elapsed().as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_move_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 12 0 100 1000 10";
        assert!((cpu_seconds(stat) - 3.0).abs() < 1e-9);
        assert_eq!(cpu_seconds("nothing like it"), 0.0);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::now();
        assert!(usage.resident_bytes > 100_000 && usage.open_files > 2 && usage.threads > 0, "{usage:?}");
        assert!(usage.open_files_max >= usage.open_files);
    }
}
