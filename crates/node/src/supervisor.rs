//! Members of a consortium on one computer, each a process of its own: started, watched, stopped together.
//!
//! A child stops in order when the pipe on its standard input closes, and that happens however its parent ends: nothing
//! is left behind by a parent that was killed. Whoever starts members catches signals first: one that comes before all
//! are ready stops those that were started.

use crate::data::DataDir;
use crate::output::Output;
use crate::stopping::Signals;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Flag by which a child knows that it stops with its standard input.
pub const STOP_FLAG: &str = "until-stdin-closes";
/// How often children are looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// How often they are looked at while they stop.
const STOP_INTERVAL: Duration = Duration::from_millis(10);
/// Longest wait for an orderly stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait until members that answer can also make blocks together.
const AGREE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often they are asked.
const AGREE_INTERVAL: Duration = Duration::from_millis(25);
/// Lines of its log that are shown of a child that died, and bytes that are read to find them.
const LOG_LINES_SHOWN: usize = 10;
const LOG_TAIL_SIZE_BYTES: u64 = 8 << 10;

/// A member to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its name.
    pub name: String,
    /// Its folder, with its configuration.
    pub data: DataDir,
}

/// A member's process.
struct Member {
    launch: Launch,
    process: Child,
    /// Held open while the child shall run.
    hold: Option<ChildStdin>,
    /// What it said when it was ready.
    ready: Option<Value>,
    ended: bool,
}

/// What a child said on its output.
enum Said {
    Event(usize, Value),
    Silent(usize),
}

/// Members that run.
pub struct Supervisor {
    members: Vec<Member>,
}

impl Supervisor {
    /// Starts every member as a process of `program`, and returns when each is ready; none when the signals asked to stop
    /// before that, and all that were started have stopped.
    ///
    /// # Errors
    /// When one cannot be started, or has ended before it was ready: all of them must come up.
    pub fn start(
        program: &Path,
        launches: Vec<Launch>,
        more_args: &[String],
        signals: &Signals,
        progress: &dyn Fn(&str),
    ) -> Result<Option<Self>> {
        let mut supervisor = Self { members: Vec::new() };
        match supervisor.start_all(program, launches, more_args, signals, progress) {
            Ok(true) => Ok(Some(supervisor)),
            Ok(false) => {
                progress("stopping the members");
                supervisor.stop();
                Ok(None)
            }
            Err(error) => {
                supervisor.stop();
                Err(error)
            }
        }
    }

    /// Whether every member is ready; false when it was asked to stop before.
    fn start_all(
        &mut self,
        program: &Path,
        launches: Vec<Launch>,
        more_args: &[String],
        signals: &Signals,
        progress: &dyn Fn(&str),
    ) -> Result<bool> {
        let (say, said) = channel();
        for (index, launch) in launches.into_iter().enumerate() {
            if signals.stopping().is_asked() {
                return Ok(false);
            }
            progress(&format!("starting {}", launch.name));
            self.members.push(spawn(program, launch, more_args, index, &say)?);
        }
        drop(say);
        self.await_ready(&said, signals)
    }

    fn await_ready(&mut self, said: &Receiver<Said>, signals: &Signals) -> Result<bool> {
        while self.members.iter().any(|member| member.ready.is_none()) {
            if signals.stopping().is_asked() {
                return Ok(false);
            }
            let (index, event) = match said.recv_timeout(WATCH_INTERVAL) {
                Ok(Said::Event(index, event)) => (index, Some(event)),
                Ok(Said::Silent(index)) => (index, None),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => bail!("no member says anything any more"),
            };
            let Some(member) = self.members.get_mut(index) else { continue };
            match event {
                Some(event) if event.get("ready") == Some(&Value::Bool(true)) => member.ready = Some(event),
                Some(event) => {
                    if let Some(error) = event.get("error").and_then(Value::as_str) {
                        bail!("member {} did not start: {error}", member.launch.name);
                    }
                }
                None => {
                    let status = member.process.wait()?;
                    member.ended = true;
                    bail!("member {} did not start: {}", member.launch.name, member.obituary(status));
                }
            }
        }
        Ok(true)
    }

    /// What each member said when it was ready, in order.
    pub fn ready(&self) -> impl Iterator<Item = &Value> {
        self.members.iter().filter_map(|member| member.ready.as_ref())
    }

    /// Waits until every member says of itself that it can work; false when that takes longer than a minute, or when it
    /// is asked to stop.
    #[must_use]
    pub fn await_agreement(&self, signals: &Signals) -> bool {
        let config = ureq::Agent::config_builder().timeout_global(Some(WATCH_INTERVAL)).build();
        let agent: ureq::Agent = config.into();
        let started = Instant::now();
        let mut waiting: Vec<String> = self
            .ready()
            .filter_map(|ready| ready.get("rest").and_then(Value::as_str))
            .map(|rest| format!("{rest}/readyz"))
            .collect();
        loop {
            waiting.retain(|url| agent.get(url).call().is_err());
            if waiting.is_empty() {
                return true;
            }
            if started.elapsed() > AGREE_TIMEOUT || signals.wait(AGREE_INTERVAL) {
                return false;
            }
        }
    }

    /// Watches until it is asked to stop, then stops every member in order. A member that ends by itself is reported and
    /// stays down: whoever runs this decides when to start it again.
    ///
    /// # Errors
    /// When every member has ended by itself.
    pub fn run_until_stopped(mut self, signals: &Signals, output: Output) -> Result<()> {
        let outcome = self.watch(signals, output);
        output.progress("stopping the members");
        self.stop();
        outcome
    }

    fn watch(&mut self, signals: &Signals, output: Output) -> Result<()> {
        while !signals.wait(WATCH_INTERVAL) {
            for member in self.members.iter_mut().filter(|member| !member.ended) {
                member.look(output)?;
            }
            if self.members.iter().all(|member| member.ended) {
                bail!("every member has ended; start them again with the same command");
            }
        }
        Ok(())
    }

    /// Stops every member in order, and those that do not stop without.
    pub fn stop(mut self) {
        for member in &mut self.members {
            drop(member.hold.take());
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        for member in &mut self.members {
            while matches!(member.process.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    let _ = member.process.kill();
                    let _ = member.process.wait();
                    break;
                }
                std::thread::sleep(STOP_INTERVAL);
            }
        }
    }
}

impl Member {
    /// Reports the end of this member, if it has come.
    fn look(&mut self, output: Output) -> Result<()> {
        let Some(status) = self.process.try_wait()? else { return Ok(()) };
        self.ended = true;
        let name = &self.launch.name;
        let restart = crate::client::start_command(&self.launch.data);
        output.line("");
        output.line(format!("{} {}", output.bad(&format!("{name} has ended:")), self.obituary(status)));
        output.line(format!("  start it again with  {restart}"));
        output.event(&json!({
            "event": "member-ended", "member": name, "status": status.to_string(), "log": self.launch.data.log(),
            "restart": restart,
        }));
        Ok(())
    }

    fn obituary(&self, status: ExitStatus) -> String {
        let log = self.launch.data.log();
        let lines = last_lines(&log);
        let lines: String = lines.iter().map(|line| format!("\n    {line}")).collect();
        format!("{status}; its log is {}{lines}", log.display())
    }
}

fn spawn(
    program: &Path,
    launch: Launch,
    more_args: &[String],
    index: usize,
    say: &Sender<Said>,
) -> Result<Member> {
    let path: PathBuf = launch.data.log();
    let log = OpenOptions::new().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("opening {}", path.display()))?;
    let mut process = Command::new(program)
        .args(["node", "start", "--json", &format!("--{STOP_FLAG}"), "--config"])
        .arg(launch.data.config())
        .args(more_args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C in a terminal reaches a whole group: the parent alone decides when its children stop.
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {} for member {}", program.display(), launch.name))?;
    let hold = process.stdin.take();
    let out = process.stdout.take().context("a child without output")?;
    let say = say.clone();
    std::thread::Builder::new()
        .name(format!("hear-{}", launch.name))
        .spawn(move || {
            // Read to the end, so that the child never waits for a full pipe.
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    let _ = say.send(Said::Event(index, event));
                }
            }
            let _ = say.send(Said::Silent(index));
        })
        .context("starting a thread")?;
    Ok(Member { launch, process, hold, ready: None, ended: false })
}

fn last_lines(path: &Path) -> Vec<String> {
    let tail = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size_bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(size_bytes.saturating_sub(LOG_TAIL_SIZE_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_SIZE_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = tail().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(LOG_LINES_SHOWN)).map(|line| (*line).to_owned()).collect()
}
