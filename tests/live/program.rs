//! Programs under test and programs that judge: started, fed, watched, ended by a deadline.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::tools::{self, block};

/// What runs at this moment, for Ctrl-C.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Set by Ctrl-C: whatever was started after it would be found and stopped by nobody.
static ENDING: AtomicBool = AtomicBool::new(false);

/// A program that is about to be started.
#[derive(Debug)]
pub(crate) struct Program {
    command: Command,
    shown: String,
    input: Option<Vec<u8>>,
    held: bool,
    deadline: Duration,
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    shown: String,
    started: Instant,
    pid: u32,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The command line.
    pub(crate) shown: String,
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it printed.
    pub(crate) stdout: Vec<u8>,
    /// What it complained of.
    pub(crate) stderr: Vec<u8>,
    /// How long it ran.
    pub(crate) took: Duration,
}

impl Program {
    /// A prerequisite of the suite, found on PATH.
    ///
    /// # Errors
    /// When it is not installed.
    pub(crate) fn needed(name: &str) -> Result<Self> {
        Ok(Self::at(tools::need(name)?))
    }

    /// A program by its path.
    pub(crate) fn at(program: impl AsRef<OsStr>) -> Self {
        let shown = program.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new(program);
        // If the suite itself dies in a panic, so does what it was waiting for.
        command.kill_on_drop(true);
        Self { command, shown, input: None, held: false, deadline: Duration::from_secs(120) }
    }

    /// Adds arguments.
    pub(crate) fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        for arg in args {
            let text = arg.as_ref().to_string_lossy();
            // A class path of a hundred jars tells nobody anything.
            let text = if text.len() > 200 { "..." } else { &*text };
            self.shown = format!("{} {text}", self.shown);
            self.command.arg(arg);
        }
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Takes an environment variable away.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Gives it input, and then the end of input.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Gives it an input that never ends.
    pub(crate) fn holding_input(mut self) -> Self {
        self.held = true;
        self
    }

    /// How long it may run; 2 minutes unless said.
    pub(crate) fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time.
    pub(crate) fn run(self) -> Result<Ended> {
        let deadline = self.deadline;
        self.start()?.finish(deadline)
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(mut self) -> Result<Running> {
        block(async move {
            let stdin = if self.held || self.input.is_some() { Stdio::piped() } else { Stdio::null() };
            self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
            if ENDING.load(Ordering::SeqCst) {
                bail!("{} is not started: the suite was interrupted", self.shown);
            }
            let mut child = self.command.spawn().with_context(|| format!("starting {}", self.shown))?;
            let pid = child.id().ok_or_else(|| anyhow!("{} has no process id", self.shown))?;
            remember(pid, true);
            let stdout = drain(child.stdout.take());
            let stderr = drain(child.stderr.take());
            // Held open, it stays in `child` until that is waited for to the end.
            let stdin = if self.held { None } else { child.stdin.take() };
            if let (Some(input), Some(mut stdin)) = (self.input, stdin) {
                tokio::spawn(async move {
                    // A program that refuses its input closes the pipe; its exit code tells the story.
                    let _ = stdin.write_all(&input).await;
                });
            }
            Ok(Running { child, shown: self.shown, started: Instant::now(), pid, stdout, stderr })
        })
    }
}

impl Running {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// For how long it has been running.
    pub(crate) fn ran(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it ends within a time.
    pub(crate) fn ends_within(&mut self, time: Duration) -> bool {
        // Not by `wait`, which closes an input that is held open.
        let ended = async {
            while matches!(self.child.try_wait(), Ok(None)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        block(async { timeout(time, ended).await.is_ok() })
    }

    /// Sends it a signal, if it still runs.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        // Not yet waited for to its end, so the pid is still its own.
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            rustix::process::kill_process(pid, signal)
                .with_context(|| format!("signalling {}", self.shown))?;
        }
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub(crate) fn finish(mut self, deadline: Duration) -> Result<Ended> {
        block(async move {
            let status = match timeout(deadline, self.child.wait()).await {
                Ok(status) => status.with_context(|| format!("waiting for {}", self.shown))?,
                Err(_) => {
                    let _ = self.child.kill().await;
                    remember(self.pid, false);
                    let said = text_of(&collect(self.stdout).await) + &text_of(&collect(self.stderr).await);
                    bail!("{} did not end within {deadline:?}; it said:\n{said}", self.shown);
                }
            };
            remember(self.pid, false);
            let (stdout, stderr) = (collect(self.stdout).await, collect(self.stderr).await);
            Ok(Ended { shown: self.shown, status, stdout, stderr, took: self.started.elapsed() })
        })
    }
}

impl Ended {
    /// Everything it printed, as text.
    pub(crate) fn text(&self) -> String {
        text_of(&self.stdout) + &text_of(&self.stderr)
    }

    /// Itself, if it succeeded.
    ///
    /// # Errors
    /// When it failed, with all it said.
    pub(crate) fn succeeded(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        bail!("{} failed ({}); it said:\n{}", self.shown, self.status, self.text());
    }

    /// Itself, if it failed.
    ///
    /// # Errors
    /// When it succeeded, with all it said.
    pub(crate) fn failed(self) -> Result<Self> {
        if !self.status.success() {
            return Ok(self);
        }
        bail!("{} must not succeed, but did; it said:\n{}", self.shown, self.text());
    }

    /// Itself, if it ended with this exit code.
    ///
    /// # Errors
    /// When it ended otherwise, with all it said.
    pub(crate) fn ended_with(self, code: i32) -> Result<Self> {
        if self.status.code() == Some(code) {
            return Ok(self);
        }
        bail!("{} ended with {}, not {code}; it said:\n{}", self.shown, self.status, self.text());
    }

    /// Itself, if it said every one of these.
    ///
    /// # Errors
    /// Names what it did not say.
    pub(crate) fn saying(self, parts: &[&str]) -> Result<Self> {
        let text = self.text();
        for part in parts {
            if !text.contains(part) {
                bail!("{} was to say `{part}`, but said:\n{text}", self.shown);
            }
        }
        Ok(self)
    }
}

/// Kills whatever the suite is waiting for, and lets nothing start any more; for Ctrl-C.
pub(crate) fn kill_running() {
    ENDING.store(true, Ordering::SeqCst);
    let running = RUNNING.lock().map(|set| set.clone()).unwrap_or_default();
    for pid in running {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

fn remember(pid: u32, runs: bool) {
    if let Ok(mut set) = RUNNING.lock() {
        if runs {
            set.insert(pid)
        } else {
            set.remove(&pid)
        };
    }
}

fn drain(pipe: Option<impl AsyncRead + Send + Unpin + 'static>) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes).await;
        }
        bytes
    })
}

/// A grandchild may hold the pipe open after the program has ended: what came until then counts.
async fn collect(mut task: JoinHandle<Vec<u8>>) -> Vec<u8> {
    match timeout(Duration::from_secs(10), &mut task).await {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(_) => {
            task.abort();
            b"(its output is still held open by a process that it left behind)".to_vec()
        }
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
