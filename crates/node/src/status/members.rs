//! The members whose data folders are here, asked one by one what they say about themselves; silence is an answer too.

use super::StatusReport;
use crate::client::Running;
use crate::data::DataDir;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// Longest wait for one member: who takes longer counts as down.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer that is read.
const ANSWER_SIZE_BYTES_MAX: u64 = 4 << 20;
/// Most members that are asked.
const MEMBERS_MAX: usize = 128;

/// A member at one moment.
#[derive(Clone, Debug)]
pub(crate) struct MemberView {
    /// Its name; of a single node that is down, its folder.
    pub(crate) name: String,
    /// What it said, or why it said nothing.
    pub(crate) state: Result<Box<StatusReport>, String>,
}

impl MemberView {
    /// For programs.
    pub(crate) fn json(&self) -> Value {
        match &self.state {
            Ok(report) => json!({ "member": self.name, "up": true, "status": report }),
            Err(why) => json!({ "member": self.name, "up": false, "why": why }),
        }
    }
}

/// Where members may be found.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    folders: Vec<(String, DataDir)>,
    agent: ureq::Agent,
}

impl Members {
    /// The members of a consortium's folder, or the one whose folder it is.
    ///
    /// # Errors
    /// When there is no member at all.
    pub(crate) fn of(data: &DataDir) -> Result<Self> {
        let shown = data.root().display().to_string();
        let mut folders = inside(data);
        if folders.is_empty() {
            if !data.root().is_dir() {
                bail!("{shown} does not exist: `bletchley up --data {shown}` starts a node there");
            }
            folders.push((shown, data.clone()));
        }
        let config =
            ureq::Agent::config_builder().timeout_global(Some(LOOK_TIMEOUT)).http_status_as_error(false);
        Ok(Self { folders, agent: config.build().into() })
    }

    /// Asks all of them at once.
    pub(crate) fn look(&self) -> Vec<MemberView> {
        std::thread::scope(|scope| {
            let asked: Vec<_> =
                self.folders.iter().map(|(name, data)| (name, scope.spawn(move || self.ask(data)))).collect();
            asked
                .into_iter()
                .map(|(name, asking)| {
                    let state = asking.join().unwrap_or_else(|_| Err("asking it failed".to_owned()));
                    let name = state.as_ref().map_or(name, |report| &report.member).clone();
                    MemberView { name, state }
                })
                .collect()
        })
    }

    fn ask(&self, data: &DataDir) -> Result<Box<StatusReport>, String> {
        let running = std::fs::read_to_string(data.running()).ok();
        let running = running.and_then(|text| serde_json::from_str::<Running>(&text).ok());
        let running = running.ok_or_else(|| "not running".to_owned())?;
        let url = format!("{}/status", running.rest);
        let silent =
            |why: String| format!("process {} does not answer at {}: {why}", running.pid, running.rest);
        let mut response = self.agent.get(&url).call().map_err(|error| silent(error.to_string()))?;
        if !response.status().is_success() {
            return Err(silent(response.status().to_string()));
        }
        let body = response.body_mut().with_config().limit(ANSWER_SIZE_BYTES_MAX);
        body.read_json().map(Box::new).map_err(|error| silent(error.to_string()))
    }
}

fn inside(data: &DataDir) -> Vec<(String, DataDir)> {
    let Ok(entries) = std::fs::read_dir(data.members()) else { return Vec::new() };
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    let mut folders: Vec<(String, DataDir)> = folders
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .take(MEMBERS_MAX)
        .map(|name| (name.clone(), data.member(&name)))
        .collect();
    folders.sort_by(|one, other| one.0.cmp(&other.0));
    folders
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn silent_members_are_there_too() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::new(folder.path());
        for name in ["bank-b", "bank-a"] {
            std::fs::create_dir_all(data.member(name).root()).unwrap();
        }
        // Port 1 on loopback refuses connections.
        let stale = r#"{"pid":7,"member":"bank-b","rpc":"http://127.0.0.1:1","ws":"","rest":"http://127.0.0.1:1","admin_token":""}"#;
        std::fs::write(data.member("bank-b").running(), stale).unwrap();
        let views = Members::of(&data).unwrap().look();
        let names: Vec<_> = views.iter().map(|view| view.name.as_str()).collect();
        assert_eq!(names, ["bank-a", "bank-b"]);
        assert_eq!(views[0].state.as_ref().unwrap_err(), "not running");
        assert!(
            views[1].state.as_ref().unwrap_err().starts_with("process 7 does not answer"),
            "{:?}",
            views[1]
        );
        assert!(Members::of(&DataDir::new(folder.path().join("nothing"))).is_err());
    }
}
