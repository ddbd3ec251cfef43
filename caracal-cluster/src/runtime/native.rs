//! Nodes as processes of this machine: `java <marks> @node.args`, each in a process group of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::docker::EngineError;
use super::process::{self, Death, ProcessSpec, ProcessState, Stopped, Target};
use super::start_cache::StartCaches;
use crate::dir::ClusterDir;
use crate::plan::NodePlan;

/// Lines of a log in an error message.
const TAIL_LINES: usize = 12;

/// Runs nodes as processes.
#[derive(Clone, Debug)]
pub struct NativeRuntime {
    dir: ClusterDir,
    cluster_id: String,
    java: Option<PathBuf>,
    start_caches: Option<StartCaches>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every reader must say what it makes of a new state")]
pub enum NodeState {
    /// It runs.
    Running {
        /// Process id.
        pid: u32,
        /// Resident memory in bytes.
        rss_bytes: u64,
        /// For how long.
        uptime: Duration,
    },
    /// It was started and has ended by itself.
    Died {
        /// Its exit code, where it is known.
        code: Option<i32>,
    },
    /// It is not running, and nobody expects it to.
    Stopped,
}

impl NodeState {
    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// The state in one word.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Running { .. } => "running",
            Self::Died { .. } => "died",
            Self::Stopped => "stopped",
        }
    }
}

/// A node that cannot be started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Not started.
    #[error(transparent)]
    Start(#[from] process::StartError),
    /// Not stopped.
    #[error(transparent)]
    Stop(#[from] process::StopError),
    /// Something that only a container can be.
    #[error(
        "{node} is a process of this machine and shares its network with all others; only containers (`--runtime docker`) can be cut off"
    )]
    OnlyContainers {
        /// The node.
        node: String,
    },
    /// The engine of its container.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No Java has been chosen yet.
    #[error("{node} cannot be started: no Java has been chosen; this is a fault of the tool")]
    NoJava {
        /// The node.
        node: String,
    },
    /// The folder of start-up caches.
    #[error("{node} cannot be started: the folder for its start-up cache cannot be written to")]
    StartCache {
        /// The node.
        node: String,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
}

/// How long a JVM that writes its start-up cache may take to end.
const RECORDING_STOP: Duration = Duration::from_secs(300);

impl NativeRuntime {
    /// Processes of one cluster.
    pub fn new(dir: ClusterDir, cluster_id: impl Into<String>) -> Self {
        Self { dir, cluster_id: cluster_id.into(), java: None, start_caches: None }
    }

    /// The same with the `java` program that new nodes are run by.
    #[must_use]
    pub fn with_java(mut self, program: PathBuf) -> Self {
        self.java = Some(program);
        self
    }

    /// The same with the start-up caches that new nodes use or write.
    #[must_use]
    pub(crate) fn with_start_caches(mut self, caches: StartCaches) -> Self {
        self.start_caches = Some(caches);
        self
    }

    /// The start-up caches that new nodes use or write.
    pub(crate) fn start_caches(&self) -> Option<&StartCaches> {
        self.start_caches.as_ref()
    }

    pub(super) fn start(&self, node: &NodePlan) -> Result<(), NodeError> {
        let Some(java) = self.java.clone() else {
            return Err(NodeError::NoJava { node: node.name.to_string() });
        };
        let home = self.dir.node(&node.name);
        let mut args = self
            .start_caches
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), |caches| caches.arguments(node))
            .map_err(|source| NodeError::StartCache { node: node.name.to_string(), source })?;
        args.push(format!("@{}", home.join("config/node.args").display()).into());
        let spec = ProcessSpec {
            target: self.target(node),
            program: java,
            args,
            working_dir: home,
            log: self.dir.node_console(&node.name),
            own_log: Some(self.dir.node_log(&node.name)),
        };
        match process::start(&spec) {
            // Somebody was faster, or an earlier run was killed between looking and starting: it runs.
            Err(process::StartError::AlreadyRunning { .. }) => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    pub(super) async fn stop(&self, node: &NodePlan) -> Result<Stopped, NodeError> {
        let records = self.start_caches.as_ref().is_some_and(StartCaches::is_recording);
        let deadline = Duration::from_secs(node.stop_seconds.into());
        let deadline = if records { deadline.max(RECORDING_STOP) } else { deadline };
        Ok(process::stop(&self.target(node), deadline).await?)
    }

    pub(super) fn send(&self, node: &NodePlan, what: process::Blow) -> Result<bool, NodeError> {
        Ok(process::send(&self.target(node), what)?)
    }

    pub(super) fn is_paused(&self, node: &NodePlan) -> bool {
        process::is_paused(&self.target(node))
    }

    pub(super) fn still_runs(&self, node: &NodePlan) -> bool {
        process::still_runs(&self.target(node))
    }

    pub(super) fn observe(&self, node: &NodePlan) -> NodeState {
        state(&self.target(node))
    }

    pub(super) fn cause_of_death(&self, node: &NodePlan) -> Option<Death> {
        cause_of_death(&self.target(node), &self.dir.node_console(&node.name))
    }

    pub(super) fn explain(&self, node: &NodePlan) -> String {
        let logs = [self.dir.node_console(&node.name), self.dir.node_log(&node.name)];
        explain(&logs, String::new(), self.cause_of_death(node))
    }

    fn target(&self, node: &NodePlan) -> Target {
        Target::new(self.cluster_id.clone(), node.name.as_str(), self.dir.node_process(&node.name))
    }
}

/// What became of a node's process.
pub(crate) fn state(target: &Target) -> NodeState {
    match process::observe(target) {
        ProcessState::Running { pid, rss_bytes, uptime, .. } => NodeState::Running { pid, rss_bytes, uptime },
        ProcessState::Exited { code, .. } => NodeState::Died { code },
        ProcessState::Absent => NodeState::Stopped,
    }
}

/// Why a node's process has ended by itself; none when it has not.
pub(crate) fn cause_of_death(target: &Target, console: &Path) -> Option<Death> {
    match process::observe(target) {
        ProcessState::Exited { pid, code } => {
            Some(process::cause_of_death(pid, code, &target.record, console))
        }
        _ => None,
    }
}

/// The end of some logs below what is shown already, with the likely cause.
pub(super) fn explain(logs: &[PathBuf], shown: String, death: Option<Death>) -> String {
    let mut hint = process::diagnose_log(&shown);
    let mut text = shown;
    for log in logs {
        let Ok(tail) = process::log_tail(log, 200) else { continue };
        hint = hint.or_else(|| process::diagnose_log(&tail));
        let lines: Vec<&str> = tail.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        if !last.is_empty() {
            text.push_str(
                &["\n  end of ", &log.display().to_string(), ":\n    ", &last.join("\n    ")].concat(),
            );
        }
    }
    if let Some(death) = death.filter(Death::is_memory) {
        return format!("{death}{text}");
    }
    match hint {
        Some(hint) => format!("likely cause: {}; {}{text}", hint.cause, hint.next_step),
        None if text.is_empty() => "it left no log".to_owned(),
        None => text.trim_start().to_owned(),
    }
}
