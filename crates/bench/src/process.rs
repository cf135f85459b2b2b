//! A node under measurement: started, watched through the kernel's own accounting, ended by its pid.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a node to answer.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Over how long a node must do nothing to count as idle.
const IDLE_SPAN: Duration = Duration::from_secs(1);
/// Most of one core that an idle node uses.
const IDLE_SHARE_MAX: f64 = 0.03;

/// A child that ends when dropped.
pub(crate) struct Node {
    child: Child,
    /// JSON-RPC endpoint.
    pub(crate) rpc: String,
    /// Time from spawn to the ready line.
    pub(crate) ready: Duration,
}

impl Node {
    /// Starts `bletchley up --json` and waits for its ready line.
    pub(crate) fn bletchley(bin: &str, args: &[&str]) -> Result<Self> {
        let started = Instant::now();
        let mut child = Command::new(bin)
            .arg("up")
            .args(["--json", "--port-base", "0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {bin}"))?;
        let out = child.stdout.take().context("no stdout")?;
        let mut lines = BufReader::new(out).lines();
        let rpc = loop {
            let Some(line) = lines.next() else { bail!("{bin} ended before it was ready") };
            let event: Value = serde_json::from_str(&line?)?;
            if event.get("ready") == Some(&Value::Bool(true)) {
                break event
                    .get("rpc")
                    .and_then(Value::as_str)
                    .context("no rpc in the ready line")?
                    .to_owned();
            }
        };
        let ready = started.elapsed();
        std::thread::spawn(move || lines.for_each(drop)); // keep the pipe empty
        Ok(Self { child, rpc, ready })
    }

    /// Starts anvil on a free port.
    pub(crate) fn anvil(bin: &str, args: &[&str]) -> Result<Self> {
        let started = Instant::now();
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(bin)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {bin}"))?;
        let mut node = Self { child, rpc: format!("http://127.0.0.1:{port}"), ready: Duration::ZERO };
        while crate::rpc::call(&node.rpc, "eth_chainId", &serde_json::json!([])).is_err() {
            if started.elapsed() > START_TIMEOUT {
                bail!("{bin} did not answer within {START_TIMEOUT:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        node.ready = started.elapsed();
        Ok(node)
    }

    /// CPU seconds (user and system, all threads) since the start, those of its workers included.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        family_cpu_s(self.child.id())
    }

    /// Waits until the node does next to nothing: cryptlets compile behind the ready line of a new folder.
    pub(crate) fn await_idle(&self) -> Result<()> {
        await_idle(&|| self.cpu_s(), IDLE_SHARE_MAX)
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        resident_bytes(self.child.id())
    }

    /// Asks the node to stop (SIGTERM) and waits for it.
    pub(crate) fn stop(mut self) -> Result<()> {
        signal(self.child.id(), libc::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU seconds of a process and its children, those that are over included.
pub(crate) fn family_cpu_s(pid: u32) -> Result<f64> {
    let children = children(pid)?;
    // One may end between the list and the look at it; then it is counted as over, the next time.
    let living: f64 = children.into_iter().filter_map(|child| cpu_s(child).ok()).sum();
    Ok(ticks_s(pid, &[11, 12, 13, 14])? + living)
}

/// Children of all threads of a process.
pub(crate) fn children(pid: u32) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        all.extend(text.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(all)
}

/// CPU seconds (user and system, all threads) of a process since its start.
pub(crate) fn cpu_s(pid: u32) -> Result<f64> {
    ticks_s(pid, &[11, 12])
}

fn ticks_s(pid: u32, fields_wanted: &[usize]) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(')').context("stat has no name")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks: u64 = fields_wanted.iter().filter_map(|i| fields.get(*i)?.parse::<u64>().ok()).sum();
    // SAFETY: sysconf reads a constant of the running system and touches no memory of ours.
    #[allow(unsafe_code)]
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(ticks as f64 / per_second as f64)
}

/// Resident memory of a process now, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    memory_bytes(pid, "status", "VmRSS:")
}

/// The same, what it shares with other processes divided among them.
pub(crate) fn proportional_bytes(pid: u32) -> Result<u64> {
    memory_bytes(pid, "smaps_rollup", "Pss:")
}

fn memory_bytes(pid: u32, file: &str, field: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find(|line| line.starts_with(field)).with_context(|| format!("no {field}"))?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib * 1024)
}

/// Waits until what `cpu_s` counts takes at most this share of a core.
pub(crate) fn await_idle(cpu_s: &dyn Fn() -> Result<f64>, share_max: f64) -> Result<()> {
    let started = Instant::now();
    loop {
        let before = cpu_s()?;
        std::thread::sleep(IDLE_SPAN);
        if cpu_s()? - before <= IDLE_SPAN.as_secs_f64() * share_max {
            return Ok(());
        }
        if started.elapsed() > START_TIMEOUT {
            bail!("still busy after {START_TIMEOUT:?}");
        }
    }
}

/// Sends a signal to a process that this program started.
pub(crate) fn signal(pid: u32, number: i32) -> Result<()> {
    let pid = i32::try_from(pid)?;
    // SAFETY: the caller started this process, by itself or through `up`, and has not seen it end.
    #[allow(unsafe_code)]
    unsafe {
        libc::kill(pid, number);
    }
    Ok(())
}
