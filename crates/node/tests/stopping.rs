//! A consortium on one computer, asked to stop: from its very ready line on, and before there is one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const BIN: &str = env!("CARGO_BIN_EXE_bletchley");

/// `up` with two members; killed when dropped, and its members with it.
struct Up(Child);

impl Up {
    fn start(data: &Path, more: &[&str]) -> Self {
        let mut up = Command::new(BIN);
        up.args(["up", "--members", "2", "--port-base", "0", "--data"]).arg(data).args(more);
        Self(up.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processes whose arguments name this folder.
fn processes_of(data: &Path) -> usize {
    let folder = data.display().to_string();
    let arguments = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).ok();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(arguments).filter(|bytes| String::from_utf8_lossy(bytes).contains(&folder)).count()
}

#[test]
fn whoever_reads_the_ready_line_can_stop_it_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &["--json"]);
    let mut lines = BufReader::new(up.0.stdout.take().unwrap()).lines();
    let event = |line: std::io::Result<String>| serde_json::from_str::<Value>(&line.ok()?).ok();
    let ready = lines.by_ref().find_map(|line| event(line).filter(|event| event["ready"] == true)).unwrap();
    up.signal("-TERM");
    assert_eq!(up.0.wait().unwrap().code(), Some(0));
    let members = ready["members"].as_array().unwrap();
    assert_eq!(members.len(), 2);
    for member in members {
        // The last thing that a node removes when it stops in order.
        let running = Path::new(member["data"].as_str().unwrap()).join("node.json");
        assert!(!running.exists(), "{} was not stopped in order", running.display());
    }
    assert_eq!(processes_of(folder.path()), 0);
}

#[test]
fn a_signal_before_all_are_ready_stops_those_that_were_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &[]);
    let mut lines = BufReader::new(up.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.contains("starting ")).unwrap();
    up.signal("-INT");
    let mut said = String::new();
    up.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(up.0.wait().unwrap().code(), Some(0), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("stopping the members")), "{rest:?}");
    assert!(!said.contains("Bletchley is up"), "{said}");
    assert_eq!(processes_of(folder.path()), 0);
}
