//! Members of a consortium under measurement, each a process: started by `up`, watched through the kernel's accounting.

use crate::erc20::{CHAIN_ID, Population};
use crate::process::{cpu_s, proportional_bytes, resident_bytes, signal};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a member is asked for what is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Where ports are looked for.
const PORT_FIRST: u16 = 12_000;
const PORT_LAST: u16 = 31_000;
const PORT_STEP: usize = 200;
/// From a member's port for clients to its port for other members, as `up` has it.
const P2P_OFFSET: u16 = 100;
/// Gas of a block of the load.
const GAS_LIMIT: u64 = 1_000_000_000;

/// One member.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Its interface for clients.
    pub(crate) rpc: String,
    /// Its folder.
    pub(crate) data: PathBuf,
    /// Set when this program started it, and not `up`.
    own: Option<Child>,
}

/// Members that run.
pub(crate) struct Consortium {
    supervisor: Child,
    /// In the order of the genesis document.
    pub(crate) members: Vec<Member>,
    /// Time from spawn to the ready line: all processes answer, and blocks can be made.
    pub(crate) ready: Duration,
}

/// Spawns the binary, and reads its output up to the ready line.
fn spawn(bin: &str, args: &[&str]) -> Result<(Child, Value)> {
    let mut child = Command::new(bin)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {bin}"))?;
    let out = child.stdout.take().context("no stdout")?;
    let mut lines = BufReader::new(out).lines();
    loop {
        let Some(line) = lines.next() else { bail!("{bin} {args:?} ended before it was ready") };
        let event: Value = serde_json::from_str(&line?)?;
        if let Some(error) = event.get("error") {
            bail!("{bin} {args:?}: {error}");
        }
        if event.get("ready") == Some(&Value::Bool(true)) {
            std::thread::spawn(move || lines.for_each(drop)); // keep the pipe empty
            return Ok((child, event));
        }
    }
}

fn text(event: &Value, key: &str) -> Result<String> {
    Ok(event.get(key).and_then(Value::as_str).with_context(|| format!("no {key}: {event}"))?.to_owned())
}

fn pid(event: &Value) -> Result<u32> {
    Ok(u32::try_from(event.get("pid").and_then(Value::as_u64).context("no pid")?)?)
}

impl Consortium {
    /// Starts `up --json` on a folder and waits for its ready line.
    pub(crate) fn start(bin: &str, data: &str, args: &[&str]) -> Result<Self> {
        let started = Instant::now();
        let mut all = vec!["up", "--json", "--data", data];
        all.extend_from_slice(args);
        let (supervisor, event) = spawn(bin, &all)?;
        let ready = started.elapsed();
        let members = event.get("members").and_then(Value::as_array).context("no members")?;
        let members = members
            .iter()
            .map(|member| {
                Ok(Member {
                    name: text(member, "name")?,
                    pid: pid(member)?,
                    rpc: text(member, "rpc")?,
                    data: text(member, "data")?.into(),
                    own: None,
                })
            })
            .collect::<Result<Vec<Member>>>()?;
        Ok(Self { supervisor, members, ready })
    }

    /// Founds a consortium in a new folder and starts it.
    pub(crate) fn found(bin: &str, data: &str, members: usize) -> Result<Self> {
        let base = free_port_base(members)?;
        Self::start(bin, data, &["--members", &members.to_string(), "--port-base", &base])
    }

    /// Founds a consortium whose smart-contract ledger starts with this population, and starts it.
    pub(crate) fn with_population(
        bin: &str,
        data: &str,
        members: usize,
        population: &Population,
    ) -> Result<Self> {
        let first = Self::found(bin, data, members)?;
        let folders: Vec<PathBuf> = first.members.iter().map(|member| member.data.clone()).collect();
        first.stop()?;
        for folder in &folders {
            populate(folder, population)?;
        }
        Self::start(bin, data, &[])
    }

    /// CPU seconds of all members together.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        self.members.iter().map(|member| cpu_s(member.pid)).sum()
    }

    /// Resident memory of all members together, pages that they share counted for each.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.members.iter().map(|member| resident_bytes(member.pid)).sum()
    }

    /// The same, pages that they share counted once.
    pub(crate) fn proportional_bytes(&self) -> Result<u64> {
        self.members.iter().map(|member| proportional_bytes(member.pid)).sum()
    }

    /// Endpoints for clients.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| member.rpc.clone()).collect()
    }

    /// Median finality of the smart-contract ledger's recent blocks, from making to keeping, as members say it: the mean of
    /// their medians.
    pub(crate) fn finality_ms(&self) -> Result<f64> {
        let medians: Vec<f64> = self
            .members
            .iter()
            .filter_map(|member| member.ledger().ok()?.pointer("/finality/p50Ms")?.as_f64())
            .collect();
        if medians.is_empty() {
            bail!("no member says how long its blocks took to become final");
        }
        Ok(medians.iter().sum::<f64>() / medians.len() as f64)
    }

    /// Asks every process to stop, and waits for them.
    pub(crate) fn stop(mut self) -> Result<()> {
        signal(self.supervisor.id(), libc::SIGTERM)?;
        self.supervisor.wait()?;
        for member in &mut self.members {
            match &mut member.own {
                Some(child) => {
                    signal(member.pid, libc::SIGTERM)?;
                    child.wait()?;
                }
                None => await_end(member.pid)?,
            }
        }
        Ok(())
    }
}

impl Drop for Consortium {
    fn drop(&mut self) {
        // Members that `up` started stop when it is gone.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

impl Member {
    /// What it says of its smart-contract ledger.
    pub(crate) fn ledger(&self) -> Result<Value> {
        let status: Value = ureq::get(format!("{}/status", self.rpc)).call()?.body_mut().read_json()?;
        let ledgers = status.get("ledgers").and_then(Value::as_array).context("no ledgers")?;
        let evm = ledgers.iter().find(|ledger| ledger.get("name") == Some(&json!("evm")));
        evm.cloned().context("no smart-contract ledger")
    }

    /// Height of its smart-contract ledger.
    pub(crate) fn height(&self) -> Result<u64> {
        self.ledger()?.get("height").and_then(Value::as_u64).context("no height")
    }

    /// Waits until it has this block.
    pub(crate) fn await_height(&self, height: u64) -> Result<()> {
        let started = Instant::now();
        while self.height().unwrap_or(0) < height {
            if started.elapsed() > WAIT_MAX {
                bail!("{} has not reached block {height} after {WAIT_MAX:?}", self.name);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Kills it, takes its ledgers away but not its keys, and starts it again; gives the time from then until it has caught
    /// up with `height`.
    pub(crate) fn join_anew(&mut self, bin: &str, height: u64, flags: &[&str]) -> Result<Duration> {
        signal(self.pid, libc::SIGKILL)?;
        await_end(self.pid)?;
        empty(&self.data)?;
        let config = self.data.join("member.toml");
        let config = config.to_str().context("the folder's name is not UTF-8")?;
        let started = Instant::now();
        let words = [&["node", "start", "--json", "--config", config], flags].concat();
        let (child, event) = spawn(bin, &words)?;
        self.own = Some(child);
        self.pid = pid(&event)?;
        self.rpc = text(&event, "rpc")?;
        self.await_height(height)?;
        Ok(started.elapsed())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(child) = &mut self.own {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until a process that `up` started has ended: it may outlive `up` for a moment.
fn await_end(pid: u32) -> Result<()> {
    let started = Instant::now();
    // The first thread may be gone while others still hold the ports.
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    while Path::new(&format!("/proc/{pid}/exe")).read_link().is_ok() || threads() > 1 {
        if started.elapsed() > WAIT_MAX {
            bail!("process {pid} does not end");
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// A port base of which every port is free, for so many members. Below the ports that systems give to outgoing connections,
/// so that none of those takes the port of a member that is down.
fn free_port_base(members: usize) -> Result<String> {
    let members = u16::try_from(members)?;
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    (PORT_FIRST..PORT_LAST)
        .step_by(PORT_STEP)
        .find(|base| (0..members).all(|index| is_free(base + index) && is_free(base + P2P_OFFSET + index)))
        .map(|base| base.to_string())
        .context("found no free ports")
}

/// Takes a member's ledgers away.
fn empty(folder: &Path) -> Result<()> {
    for name in ["ledgers", "consensus"] {
        let path = folder.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// Puts the population into a member's genesis document, before anything has happened.
fn populate(folder: &Path, population: &Population) -> Result<()> {
    let document = folder.join("genesis.json");
    let mut genesis: Value = serde_json::from_slice(&std::fs::read(&document)?)?;
    let evm =
        genesis.get_mut("evm").and_then(Value::as_object_mut).context("the genesis document has no evm")?;
    evm.insert("chainId".into(), json!(CHAIN_ID));
    evm.insert("gasLimit".into(), json!(GAS_LIMIT));
    evm.insert("alloc".into(), population.alloc()?);
    std::fs::write(&document, serde_json::to_vec(&genesis)?)?;
    empty(folder)
}
