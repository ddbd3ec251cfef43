//! Nodes as containers: `java @node.args` in an image that is a mere carrier of jars.
//!
//! What runs is known by labels, not by a file: cluster id and node name, so a cluster is found again by whoever
//! looks, also after the engine was restarted. A node's directory is mounted as a whole and its data folder is a
//! named volume on the same disk. The container is made with a fixed address of the cluster's own network, which
//! testcontainers has no word for, and is then started by testcontainers as a reusable one, so that no handle
//! that is dropped takes it away.
//!
//! A node that was stopped has no container; one that has ended by itself keeps it until the next start, with
//! what the engine knows about its death.

mod container;
mod engine;
mod error;
pub mod images;
mod network;
mod preflight;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use self::engine::{EngineVersion, answers};
pub use self::error::EngineError;
pub(crate) use self::network::free_subnet;
use super::native::NodeState;
use super::process::{Blow, Death, Stopped};
use crate::dir::ClusterDir;
use crate::names::NodeName;
use crate::plan::{ClusterPlan, ContainerPlan, NetworkPlan, NodePlan};

/// Lines of a container's output in an error message.
const TAIL_LINES: usize = 12;

/// Runs nodes as containers.
#[derive(Clone, Debug)]
pub struct DockerRuntime {
    dir: ClusterDir,
    cluster_id: String,
    network: NetworkPlan,
    /// The folder with the metrics agent, where one is wanted.
    agent: Option<PathBuf>,
    /// Whether compose makes and removes its containers; here they are only started and stopped then.
    composed: bool,
}

/// A container of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) node: String,
    pub(crate) runs: bool,
}

impl DockerRuntime {
    /// Containers of one cluster.
    pub fn new(
        dir: ClusterDir,
        cluster_id: impl Into<String>,
        network: NetworkPlan,
        agent: Option<PathBuf>,
    ) -> Self {
        Self { dir, cluster_id: cluster_id.into(), network, agent, composed: false }
    }

    /// The same for containers that compose has made.
    #[must_use]
    pub fn composed(self) -> Self {
        Self { composed: true, ..self }
    }

    pub(super) async fn start(&self, node: &NodePlan) -> Result<(), EngineError> {
        let planned = planned(node)?.clone();
        let (runtime, node) = (self.clone(), node.clone());
        engine::call(async move |docker| {
            if runtime.composed {
                return container::start(&docker, node.name.as_str()).await;
            }
            network::ensure(&docker, &runtime.network, &runtime.cluster_id).await?;
            network::ensure_volume(&docker, &runtime.dir, &runtime.cluster_id, &node, &planned).await?;
            if container::make(&docker, &runtime, &node, &planned).await? {
                container::launch(&docker, &runtime, &node, &planned).await?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn stop(&self, node: &NodePlan) -> Result<Stopped, EngineError> {
        stop(&self.cluster_id, node.name.as_str(), node.stop_seconds, self.composed).await
    }

    pub(super) fn send(&self, node: &NodePlan, what: Blow) -> Result<bool, EngineError> {
        let (runtime, name) = (self.clone(), node.name.clone());
        engine::ask(async move |docker| {
            let seen = container::inspect(&docker, &runtime.cluster_id, name.as_str()).await?;
            let Some(seen) = seen.filter(runs) else { return Ok(false) };
            if what == Blow::Kill {
                // Read again by whoever asks why it is gone.
                let _ = runtime.dir.write(&killed_mark(&runtime.dir, &name), id(&seen).as_bytes());
            }
            container::strike(&docker, name.as_str(), what).await?;
            Ok(true)
        })
    }

    pub(super) fn is_paused(&self, node: &NodePlan) -> bool {
        let seen = self.look(node).ok().flatten();
        seen.and_then(|seen| seen.state?.paused).unwrap_or_default()
    }

    /// What a node is; an engine that does not answer runs nothing that could be reached.
    pub(super) fn observe(&self, node: &NodePlan) -> NodeState {
        self.look(node).ok().flatten().map_or(NodeState::Stopped, |seen| state(&seen))
    }

    pub(super) fn cause_of_death(&self, node: &NodePlan) -> Option<Death> {
        cause_of_death(&self.dir, &self.cluster_id, &node.name)
    }

    /// The end of what a node's process printed, as lines below a title, for an error message.
    pub(super) fn shown(&self, node: &NodePlan) -> String {
        let printed = printed(&node.name);
        let lines: Vec<&str> = printed.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        if last.is_empty() {
            return String::new();
        }
        ["\n  end of `docker logs ", node.name.as_str(), "`:\n    ", &last.join("\n    ")].concat()
    }

    /// Takes a node out of the network, or back into it with the same address.
    ///
    /// # Errors
    /// When it does not run, or the engine refuses.
    pub(crate) fn set_cut(&self, node: &NodePlan, cut: bool) -> Result<bool, EngineError> {
        let planned = planned(node)?.clone();
        let (runtime, name) = (self.clone(), node.name.to_string());
        engine::ask(async move |docker| {
            let seen = container::inspect(&docker, &runtime.cluster_id, &name).await?;
            let Some(seen) = seen.filter(runs) else { return Ok(false) };
            let networks = seen.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
            let connected = networks.contains_key(&runtime.network.name);
            match (cut, connected) {
                (true, true) => network::disconnect(&docker, &runtime.network, &name).await?,
                (false, false) => network::connect(&docker, &runtime.network, &name, &planned).await?,
                _ => {}
            }
            Ok(true)
        })
    }

    /// What keeps the nodes from being started that a look at the engine can tell: that it answers and is new
    /// enough, that the network's addresses are free, that no container of another owner has a node's name, and who
    /// publishes a port that is taken.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub(crate) async fn problems(&self, nodes: Vec<NodePlan>) -> Result<Vec<String>, EngineError> {
        let runtime = self.clone();
        engine::call(async move |docker| {
            let mut problems = engine::too_old(&docker).await?;
            problems.extend(network::clashes(&docker, &runtime.network, &runtime.cluster_id).await?);
            for node in &nodes {
                match container::inspect(&docker, &runtime.cluster_id, node.name.as_str()).await {
                    Ok(_) => {}
                    Err(foreign @ EngineError::Foreign { .. }) => problems.push(foreign.to_string()),
                    Err(error) => return Err(error),
                }
            }
            Ok(problems)
        })
        .await
    }

    /// Proves that images carry what nodes need: see [`images`].
    ///
    /// # Errors
    /// [`EngineError`] when an image cannot run a node, with what is wrong about it.
    pub(crate) async fn prove_image(
        &self,
        node: &NodePlan,
        plan: &ClusterPlan,
    ) -> Result<String, EngineError> {
        let (runtime, node) = (self.clone(), node.clone());
        let wanted = preflight::Wanted { kafka: plan.kafka_version.clone(), registry: plan.registry };
        engine::call(async move |docker| {
            let planned = planned(&node)?.clone();
            network::ensure_volume(&docker, &runtime.dir, &runtime.cluster_id, &node, &planned).await?;
            preflight::prove(&runtime, &node, &planned, &wanted).await
        })
        .await
    }

    /// Where a node's own logging writes.
    pub(super) fn logs(&self, node: &NodePlan) -> Vec<PathBuf> {
        vec![self.dir.node_log(&node.name)]
    }

    fn look(&self, node: &NodePlan) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let (id, name) = (self.cluster_id.clone(), node.name.to_string());
        engine::ask(async move |docker| container::inspect(&docker, &id, &name).await)
    }
}

/// Stops the container of a node, whatever its plan, and removes it unless it shall be kept.
pub(crate) async fn stop(
    cluster_id: &str,
    node: &str,
    seconds: u32,
    keep: bool,
) -> Result<Stopped, EngineError> {
    let (cluster_id, node) = (cluster_id.to_owned(), node.to_owned());
    engine::call(async move |docker| {
        let begun = Instant::now();
        let seen = match container::inspect(&docker, &cluster_id, &node).await {
            // One of that name that is not ours is none of ours to stop.
            Ok(None) | Err(EngineError::Foreign { .. }) => return Ok(Stopped::NotRunning),
            Ok(Some(seen)) => seen,
            Err(error) => return Err(error),
        };
        let ran = runs(&seen);
        let pid = pid(&seen);
        if ran {
            container::stop(&docker, &node, seconds).await?;
        }
        let after = container::inspect(&docker, &cluster_id, &node).await?;
        let code = after.and_then(|seen| seen.state?.exit_code);
        if !keep {
            container::remove(&docker, &node).await?;
        }
        let after = begun.elapsed();
        Ok(match (ran, code) {
            (false, _) => Stopped::NotRunning,
            (true, Some(137)) => Stopped::Killed { pid, after },
            (true, _) => Stopped::Ended { pid, after },
        })
    })
    .await
}

/// Every container of a cluster, also of nodes that no plan knows any more.
pub(crate) fn find_all(cluster_id: &str) -> Result<Vec<Found>, EngineError> {
    let cluster_id = cluster_id.to_owned();
    engine::ask(async move |docker| container::find_all(&docker, &cluster_id).await)
}

/// Removes the network of a cluster, and its volumes when its data shall go.
pub(crate) fn remove_rest(cluster_id: &str, volumes: bool) -> Result<(), EngineError> {
    let cluster_id = cluster_id.to_owned();
    engine::ask(async move |docker| network::remove_all(&docker, &cluster_id, volumes).await)
}

/// What became of a node of a cluster, by its name alone.
pub(crate) fn observe(cluster_id: &str, node: &str) -> NodeState {
    let (cluster_id, node) = (cluster_id.to_owned(), node.to_owned());
    let seen = engine::ask(async move |docker| container::inspect(&docker, &cluster_id, &node).await);
    seen.ok().flatten().map_or(NodeState::Stopped, |seen| state(&seen))
}

fn planned(node: &NodePlan) -> Result<&ContainerPlan, EngineError> {
    node.container.as_ref().ok_or_else(|| EngineError::NotPlanned { node: node.name.to_string() })
}

fn state(seen: &ContainerInspectResponse) -> NodeState {
    let Some(state) = &seen.state else { return NodeState::Stopped };
    match state.status {
        Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::PAUSED) => {
            let pid = pid(seen);
            NodeState::Running { pid, rss_bytes: resident(pid), uptime: uptime(state) }
        }
        // Made and not started: a start was cut short.
        Some(ContainerStateStatusEnum::CREATED) | None => NodeState::Stopped,
        Some(_) => NodeState::Died { code: state.exit_code.and_then(|code| i32::try_from(code).ok()) },
    }
}

fn runs(seen: &ContainerInspectResponse) -> bool {
    state(seen).is_running()
}

fn id(seen: &ContainerInspectResponse) -> String {
    seen.id.clone().unwrap_or_default()
}

/// Process id on the engine's machine, which may be another one than this.
fn pid(seen: &ContainerInspectResponse) -> u32 {
    seen.state
        .as_ref()
        .and_then(|state| state.pid)
        .and_then(|pid| u32::try_from(pid).ok())
        .unwrap_or_default()
}

/// Resident memory where the process table shows the container's process; else unknown, which is 0.
fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or_default()
        * 1024
}

fn uptime(state: &ContainerState) -> Duration {
    let started = state.started_at.as_deref().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    started.and_then(|at| SystemTime::now().duration_since(at.into()).ok()).unwrap_or_default()
}

fn printed(node: &NodeName) -> String {
    let name = node.to_string();
    engine::ask(async move |docker| container::printed(&docker, &name).await).unwrap_or_default()
}

/// Why the container of a node has ended by itself; none when it has not.
pub(crate) fn cause_of_death(dir: &ClusterDir, cluster_id: &str, node: &NodeName) -> Option<Death> {
    let (cluster_id, name) = (cluster_id.to_owned(), node.to_string());
    let seen = engine::ask(async move |docker| container::inspect(&docker, &cluster_id, &name).await);
    let seen = seen.ok().flatten()?;
    let NodeState::Died { code } = state(&seen) else { return None };
    let killed = dir.read_text(&killed_mark(dir, node)).ok().flatten();
    if killed.is_some_and(|by| by == id(&seen)) {
        return Some(Death::Killed);
    }
    let by_kernel = seen.state.as_ref().and_then(|state| state.oom_killed).unwrap_or_default();
    Some(match code {
        _ if by_kernel => Death::KernelMemory(Some(memory_limit(&seen))),
        _ if printed(node).contains("Terminating due to java.lang.OutOfMemoryError") => Death::HeapFull,
        Some(code) if code > 128 => Death::Signal(code - 128),
        Some(code) => Death::Code(code),
        None => Death::Unknown,
    })
}

/// Says which container was killed by our command.
fn killed_mark(dir: &ClusterDir, node: &NodeName) -> PathBuf {
    dir.node(node).join("run/killed-container")
}

fn memory_limit(seen: &ContainerInspectResponse) -> String {
    let limit = seen.host_config.as_ref().and_then(|host| host.memory).unwrap_or_default();
    format!("its container may use {} MiB", limit >> 20)
}
