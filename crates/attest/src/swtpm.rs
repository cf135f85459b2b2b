//! A simulated TPM for tests: Debian's swtpm in a process of its own, on sockets in a folder of its own.

use std::{
    io,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::tpm::{Transport, UnixTransport};

/// How long it may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A TPM that is gone, with all that it knew, when this is dropped.
#[derive(Debug)]
pub struct SimulatedTpm {
    process: Child,
    folder: tempfile::TempDir,
}

impl SimulatedTpm {
    /// A new TPM with a seed of its own.
    ///
    /// # Errors
    /// When swtpm is not installed, or does not start.
    pub fn start() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let mut command = Command::new("swtpm");
        command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        command.args(["--tpmstate", &format!("dir={}", folder.path().display())]);
        command.args(["--ctrl", &format!("type=unixio,path={}", at("tpm.ctrl"))]);
        command.args(["--server", &format!("type=unixio,path={}", at("tpm"))]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().map_err(|error| {
            let how =
                "these tests need swtpm: `apt-get install swtpm`, or `cargo xtask test`, which installs it";
            io::Error::new(error.kind(), format!("starting swtpm: {error}; {how}"))
        })?;
        let mut tpm = Self { process, folder };
        tpm.wait()?;
        Ok(tpm)
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("tpm")
    }

    /// A connection; swtpm serves one at a time.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn connect(&self) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(UnixTransport::connect(&self.socket())?))
    }

    /// Polls for the socket: there is nothing to be woken by.
    fn wait(&mut self) -> io::Result<()> {
        let until = Instant::now() + START_TIMEOUT;
        while !self.socket().exists() {
            if let Some(status) = self.process.try_wait()? {
                return Err(io::Error::other(format!("swtpm ended with {status}")));
            }
            if Instant::now() > until {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "swtpm does not listen"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for SimulatedTpm {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
