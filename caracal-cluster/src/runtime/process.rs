//! Nodes as processes of this machine, which outlive the command that started them.
//!
//! A node is known by its marks: two arguments that [`start`] puts first on its command line and that
//! name cluster and node. They are there from the first instant, so a start that is killed before
//! anything is written down loses no process: [`find`] sees it in the process table. The record beside
//! the node's data is a hint that spares the search. A bare pid is never signalled: right before each
//! signal, pid, start time and marks must be those of the node, and where the kernel has process file
//! descriptors the signal goes to the very process that was looked at.
//!
//! ```
//! use caracal_cluster::runtime::process::{ProcessState, Target, observe};
//!
//! let target = Target::new("no-such-cluster", "caracal-kafka-1", "/nowhere/process.json");
//! assert_eq!(observe(&target), ProcessState::Absent);
//! ```

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::wait::{Elapsed, Probe, wait_for};

mod background;
mod death;
#[cfg(feature = "testing")]
mod guard;
mod log;
mod table;

pub(crate) use background::{Job, in_background};
pub use death::{Death, cause_of_death};
#[cfg(feature = "testing")]
pub(crate) use guard::start_guard;
pub use log::{Hint, diagnose_log, log_tail};
use table::Seen;

/// How long the kernel may take to remove a process that was killed.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How often a process that is to end is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// What the environment of a node is made of; everything else stays here. Kafka's scripts, the JVM and
/// the registry read variables of any name, and a node must not depend on the shell it was started from.
const KEPT_VARIABLES: [&str; 3] = ["PATH", "HOME", "TZ"];

/// The locale of every node: by it a JVM decodes its arguments and encodes the names of files.
const LOCALE: (&str, &str) = ("LC_ALL", "C.UTF-8");

/// Which node, and where its record lies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// Id of the cluster, which no other cluster of this machine has.
    pub cluster_id: String,
    /// Name of the node in its cluster.
    pub node: String,
    /// Path of the record.
    pub record: PathBuf,
}

impl Target {
    /// A node of a cluster, with its record.
    pub fn new(cluster_id: impl Into<String>, node: impl Into<String>, record: impl Into<PathBuf>) -> Self {
        Self { cluster_id: cluster_id.into(), node: node.into(), record: record.into() }
    }
}

/// What is to be started.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the one caller fills every field, and must when one is added")]
pub struct ProcessSpec {
    /// Which node this is.
    pub target: Target,
    /// The program; it must accept the marks, which are `-D` properties, as its first arguments. `java` does.
    pub program: PathBuf,
    /// Its further arguments. They are visible to every user of this machine: no secrets.
    pub args: Vec<OsString>,
    /// Where it runs.
    pub working_dir: PathBuf,
    /// Where its output goes: appended, private.
    pub log: PathBuf,
    /// A log that the node itself writes, where it has one: what earlier runs left in it is divided from
    /// this run's.
    pub own_log: Option<PathBuf>,
}

/// Who a process is: enough to know it again, also after its pid was given to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// When it started, in the system's own counting (Linux: ticks since boot; else seconds since 1970).
    pub start: u64,
    /// The cluster it belongs to.
    pub cluster_id: String,
    /// The node it is.
    pub node: String,
}

/// What became of a node's process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessState {
    /// It runs.
    Running {
        /// Process id.
        pid: u32,
        /// When it was started.
        started: SystemTime,
        /// Resident memory in bytes.
        rss_bytes: u64,
        /// For how long it has been running.
        uptime: Duration,
    },
    /// It was started and never stopped, but runs no more.
    Exited {
        /// Its former process id.
        pid: u32,
        /// Its exit code; known only to the run that started it. Above 128: that signal plus 128.
        code: Option<i32>,
    },
    /// It was not started, or it was stopped.
    Absent,
}

/// How a node was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// It was not running.
    NotRunning,
    /// It ended by itself after SIGTERM.
    Ended {
        /// Its process id.
        pid: u32,
        /// How long that took.
        after: Duration,
    },
    /// It did not end before the deadline and was killed.
    Killed {
        /// Its process id.
        pid: u32,
        /// How long everything took.
        after: Duration,
    },
}

/// How long a new process may take to show its arguments; a program that replaces itself never does.
const MARKS_DEADLINE: Duration = Duration::from_millis(500);

/// How often it is looked at.
const MARKS_INTERVAL: Duration = Duration::from_millis(1);

/// Why a node was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It runs already.
    #[error("{node} is running already (pid {pid})")]
    AlreadyRunning {
        /// The node.
        node: String,
        /// Its process.
        pid: u32,
    },
    /// The program cannot be executed.
    #[error("{node} cannot be started: {} is no executable file", program.display())]
    Program {
        /// The node.
        node: String,
        /// The program.
        program: PathBuf,
    },
    /// A file or directory that the node needs.
    #[error("{node} cannot be started: {} could not be used", path.display())]
    File {
        /// The node.
        node: String,
        /// Its log, working directory or record.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The system refused a new process.
    #[error("{node} cannot be started: the system refused to run {}", program.display())]
    Spawn {
        /// The node.
        node: String,
        /// The program.
        program: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

/// Why a node was not stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// The signal was refused.
    #[error("{node} (pid {pid}) could not be signalled; does it run as another user?")]
    Signal {
        /// The node.
        node: String,
        /// Its process.
        pid: u32,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// It is still there after SIGKILL.
    #[error(
        "{node} (pid {pid}) is still there {} after SIGKILL: it hangs in the kernel, most likely on a disk that \
         does not answer",
        Elapsed(KILL_DEADLINE)
    )]
    Undying {
        /// The node.
        node: String,
        /// Its process.
        pid: u32,
    },
    /// It was stopped, but its record could not be removed.
    #[error("{node} is stopped, but {} could not be removed", path.display())]
    Record {
        /// The node.
        node: String,
        /// Its record.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

/// The two arguments by which the process of a node is known.
pub fn marks(cluster_id: &str, node: &str) -> [OsString; 2] {
    [format!("{}{cluster_id}", table::CLUSTER_MARK).into(), format!("{}{node}", table::NODE_MARK).into()]
}

/// Starts a node: own process group, no input, output to its log, minimal environment, private files.
///
/// It is not waited for. Blocking, but only for the time of a fork.
///
/// # Errors
/// See [`StartError`]; a node that runs already is one.
pub fn start(spec: &ProcessSpec) -> Result<Identity, StartError> {
    let Target { cluster_id, node, record } = &spec.target;
    let file = |path: &Path| {
        let (node, path) = (node.clone(), path.to_owned());
        move |source| StartError::File { node, path, source }
    };
    if let Some(running) = locate(&spec.target) {
        return Err(StartError::AlreadyRunning { node: node.clone(), pid: running.pid });
    }
    if !crate::distribution::is_executable(&spec.program) {
        return Err(StartError::Program { node: node.clone(), program: spec.program.clone() });
    }
    if let Some(old) = read_record(&spec.target) {
        reap(old.pid);
    }
    fs::read_dir(&spec.working_dir).map_err(file(&spec.working_dir))?;
    let mut output = log::open(&spec.log).map_err(file(&spec.log))?;
    log::begin(&mut output).map_err(file(&spec.log))?;
    if let Some(own) = spec.own_log.as_deref().filter(|own| own.exists()) {
        log::open(own).and_then(|mut own| log::begin(&mut own)).map_err(file(own))?;
    }
    death::born(record);
    let errors = output.try_clone().map_err(file(&spec.log))?;
    let refused = |source| StartError::Spawn { node: node.clone(), program: spec.program.clone(), source };
    let mut child = command(spec).stdout(output).stderr(errors).spawn().map_err(refused)?;
    let pid = child.id();
    // Not reaped yet, so the pid is in the table even if it has ended already.
    let start = table::start_of(pid).unwrap_or_default();
    let identity = Identity { pid, start, cluster_id: cluster_id.clone(), node: node.clone() };
    if let Err(source) = write_record(record, &identity) {
        // Still our unreaped child: this pid can be nobody else's.
        let _ = child.kill();
        let _ = child.wait();
        return Err(file(record)(source));
    }
    await_marks(&identity);
    Ok(identity)
}

/// Waits until a new process shows the arguments by which it is known, or has ended.
///
/// The fork is answered a moment before the kernel has put the new program's arguments in place; whoever looked
/// then would take the node for dead.
#[expect(clippy::disallowed_methods, reason = "blocking as a fork is, within a deadline of its own")]
fn await_marks(identity: &Identity) {
    let end = Instant::now() + MARKS_DEADLINE;
    while table::runs(identity.pid, identity.start)
        && table::look(identity.pid).is_none_or(|seen| seen.identity() != *identity)
        && Instant::now() < end
    {
        std::thread::sleep(MARKS_INTERVAL);
    }
}

/// What became of a node's process. Blocking for some milliseconds.
pub fn observe(target: &Target) -> ProcessState {
    if let Some(seen) = locate(target) {
        let uptime = SystemTime::now().duration_since(seen.started).unwrap_or_default();
        return ProcessState::Running {
            pid: seen.pid,
            started: seen.started,
            rss_bytes: seen.rss_bytes,
            uptime,
        };
    }
    match read_record(target) {
        Some(identity) => ProcessState::Exited { pid: identity.pid, code: exit_code(identity.pid) },
        None => ProcessState::Absent,
    }
}

/// Whether the process that a node's record names still runs: one small file of the process table, where
/// [`observe`] reads many.
pub(crate) fn still_runs(target: &Target) -> bool {
    read_record(target).is_some_and(|identity| table::runs(identity.pid, identity.start))
}

/// The running process of a node, by its marks alone.
pub fn find(cluster_id: &str, node: &str) -> Option<Identity> {
    find_all(cluster_id).into_iter().find(|identity| identity.node == node)
}

/// Every running process of a cluster, also of nodes that no plan knows any more.
pub fn find_all(cluster_id: &str) -> Vec<Identity> {
    let mut found: Vec<_> =
        table::marked().into_iter().filter(|seen| seen.cluster_id == cluster_id).collect();
    // A node that forks looks like two of it for an instant: the parent is the node.
    let pids: Vec<_> = found.iter().map(|seen| (seen.pid, seen.node.clone())).collect();
    found.retain(|seen| !pids.iter().any(|(pid, node)| Some(*pid) == seen.parent && *node == seen.node));
    let mut found: Vec<_> = found.iter().map(Seen::identity).collect();
    found.sort_by(|a, b| (&a.node, a.pid).cmp(&(&b.node, b.pid)));
    found
}

/// Cluster id and node of the process with this pid, if it is one of ours.
pub(crate) fn node_of(pid: u32) -> Option<(String, String)> {
    table::look(pid).map(|seen| (seen.cluster_id, seen.node))
}

/// Stops a node: SIGTERM, and SIGKILL when it has not ended by the deadline. Its record is removed.
///
/// # Errors
/// See [`StopError`].
pub async fn stop(target: &Target, deadline: Duration) -> Result<Stopped, StopError> {
    let begun = Instant::now();
    let Some(identity) = locate(target).map(|seen| seen.identity()) else {
        if let Some(old) = read_record(target) {
            reap(old.pid);
        }
        forget(target)?;
        return Ok(Stopped::NotRunning);
    };
    let pid = identity.pid;
    signal(&identity, Signal::TERM)?;
    let stopped = if gone(&identity, deadline).await {
        Stopped::Ended { pid, after: begun.elapsed() }
    } else {
        signal(&identity, Signal::KILL)?;
        if !gone(&identity, KILL_DEADLINE).await {
            return Err(StopError::Undying { node: identity.node, pid });
        }
        Stopped::Killed { pid, after: begun.elapsed() }
    };
    reap(pid);
    forget(target)?;
    Ok(stopped)
}

/// What is done to a node's process to see how others take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Ended at once, without a chance to tidy up (SIGKILL).
    Kill,
    /// Stopped in its tracks, its connections open (SIGSTOP).
    Pause,
    /// Let go on (SIGCONT).
    Resume,
}

/// Sends a node's process a signal; says whether it was running. A killed node's record stays, so that it is
/// seen to have ended by itself.
///
/// # Errors
/// [`StopError::Signal`].
pub fn send(target: &Target, what: Blow) -> Result<bool, StopError> {
    let Some(identity) = locate(target).map(|seen| seen.identity()) else { return Ok(false) };
    if what == Blow::Kill {
        death::killed(&target.record, identity.pid);
    }
    signal(
        &identity,
        match what {
            Blow::Kill => Signal::KILL,
            Blow::Pause => Signal::STOP,
            Blow::Resume => Signal::CONT,
        },
    )?;
    Ok(true)
}

/// Whether a node's process runs but was paused.
pub fn is_paused(target: &Target) -> bool {
    locate(target).is_some_and(|seen| seen.paused)
}

/// The node's process: by its record if that is still right, else by a search.
fn locate(target: &Target) -> Option<Seen> {
    if let Some(identity) = read_record(target)
        && let Some(seen) = table::look(identity.pid)
        && seen.identity() == identity
    {
        return Some(seen);
    }
    let identity = find(&target.cluster_id, &target.node)?;
    table::look(identity.pid).filter(|seen| seen.identity() == identity)
}

/// Signals this very process, or nobody.
fn signal(identity: &Identity, signal: Signal) -> Result<(), StopError> {
    send_if(identity.pid, signal, || is_there(identity)).map_err(|source| StopError::Signal {
        node: identity.node.clone(),
        pid: identity.pid,
        source,
    })
}

/// Signals the process with this pid if it still is the one that is meant; one that has ended is no error.
fn send_if(pid: u32, signal: Signal, is_meant: impl Fn() -> bool) -> io::Result<()> {
    let send = || -> rustix::io::Result<()> {
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or(rustix::io::Errno::SRCH)?;
        #[cfg(target_os = "linux")]
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            // Opened first, looked at second: if it is the one now, the descriptor is the one's.
            Ok(descriptor) if is_meant() => {
                return rustix::process::pidfd_send_signal(&descriptor, signal);
            }
            Ok(_) => return Err(rustix::io::Errno::SRCH),
            // A kernel before 5.3.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error),
        }
        if is_meant() { rustix::process::kill_process(pid, signal) } else { Err(rustix::io::Errno::SRCH) }
    };
    match send() {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the process with this pid is this node, by start time and marks.
fn is_there(identity: &Identity) -> bool {
    table::look(identity.pid).is_some_and(|seen| seen.identity() == *identity)
}

async fn gone(identity: &Identity, deadline: Duration) -> bool {
    has_ended(&identity.node, identity.pid, identity.start, deadline).await
}

async fn has_ended(what: &str, pid: u32, start: u64, deadline: Duration) -> bool {
    let probe = || async {
        if table::runs(pid, start) {
            Probe::NotYet("it is still there".to_owned())
        } else {
            Probe::<(), std::convert::Infallible>::Ready(())
        }
    };
    wait_for(what, deadline, INTERVAL, probe).await.is_ok()
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts nodes")]
fn command(spec: &ProcessSpec) -> std::process::Command {
    // The shell only sets the mask of file modes, which cannot be done between fork and exec without
    // unsafe code, and then becomes the program: same pid, and the marks are in its arguments too.
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", r#"umask 077; exec "$@""#, "sh"]).arg(&spec.program);
    command.args(marks(&spec.target.cluster_id, &spec.target.node)).args(&spec.args);
    command.current_dir(&spec.working_dir).stdin(Stdio::null()).process_group(0);
    command.env_clear().envs(KEPT_VARIABLES.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command.env(LOCALE.0, LOCALE.1);
    if env::var_os("PATH").is_none() {
        command.env("PATH", OsStr::new("/usr/bin:/bin"));
    }
    command
}

/// The exit code of a child of this run that has ended. It stays for the next one who asks.
fn exit_code(pid: u32) -> Option<i32> {
    wait_id(pid, rustix::process::WaitIdOptions::NOWAIT)
}

/// Lets the kernel forget a child of this run that has ended.
fn reap(pid: u32) {
    wait_id(pid, rustix::process::WaitIdOptions::empty());
}

fn wait_id(pid: u32, more: rustix::process::WaitIdOptions) -> Option<i32> {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | more;
    let status = waitid(WaitId::Pid(pid), options).ok()??;
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))
}

/// The record, if it is there and speaks of this node.
fn read_record(target: &Target) -> Option<Identity> {
    let text = fs::read(&target.record).ok()?;
    let identity: Identity = serde_json::from_slice(&text).ok()?;
    (identity.cluster_id == target.cluster_id && identity.node == target.node).then_some(identity)
}

fn write_record(path: &Path, identity: &Identity) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // Mode 0600 from its creation, as `tempfile` makes all of its files.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&serde_json::to_vec(identity)?)?;
    file.persist(path)?;
    Ok(())
}

fn forget(target: &Target) -> Result<(), StopError> {
    match fs::remove_file(&target.record) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StopError::Record { node: target.node.clone(), path: target.record.clone(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
