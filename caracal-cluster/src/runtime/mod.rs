//! What runs the nodes of a plan: processes of this machine, or containers.
//!
//! A runtime has few verbs: start a node, stop it by a deadline, say what it is, show its log. Everything
//! else (order, waiting, proof) is the lifecycle's, and the same for every runtime.
//!
//! **Architecture invariant:** only this folder starts the processes of nodes.

#[cfg(feature = "docker")]
pub mod docker;
#[cfg(not(feature = "docker"))]
#[path = "docker_off.rs"]
pub mod docker;
pub mod memory;
pub(crate) mod native;
pub mod process;
pub(crate) mod start_cache;

pub use self::docker::DockerRuntime;
pub use self::native::{NativeRuntime, NodeError, NodeState};
use crate::plan::NodePlan;
use crate::spec::RuntimeKind;

/// Where a cluster's nodes run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Runtime {
    /// As processes of this machine.
    Native(NativeRuntime),
    /// In containers.
    Docker(DockerRuntime),
}

impl Runtime {
    /// The runtime's name, as `--runtime` takes it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Native(_) => RuntimeKind::Native.label(),
            Self::Docker(_) => RuntimeKind::Docker.label(),
        }
    }

    /// The start-up caches that its nodes use or write, once their Java is known.
    pub(crate) fn start_caches(&self) -> Option<&start_cache::StartCaches> {
        match self {
            Self::Native(native) => native.start_caches(),
            Self::Docker(_) => None,
        }
    }

    /// Starts a node that does not run; does not wait for it.
    ///
    /// # Errors
    /// When its process or container cannot be made.
    pub async fn start(&self, node: &NodePlan) -> Result<(), NodeError> {
        match self {
            Self::Native(native) => native.start(node),
            Self::Docker(docker) => Ok(docker.start(node).await?),
        }
    }

    /// Stops a node within its own deadline, then kills it; says how it ended.
    ///
    /// # Errors
    /// When it cannot be signalled or does not end even so.
    pub async fn stop(&self, node: &NodePlan) -> Result<process::Stopped, NodeError> {
        match self {
            Self::Native(native) => native.stop(node).await,
            Self::Docker(docker) => Ok(docker.stop(node).await?),
        }
    }

    /// What a node is at this moment.
    pub fn observe(&self, node: &NodePlan) -> NodeState {
        match self {
            Self::Native(native) => native.observe(node),
            Self::Docker(docker) => docker.observe(node),
        }
    }

    /// Whether a node that was seen to run still does: for who asks many times a second, and far cheaper than
    /// [`Self::observe`].
    pub(crate) fn still_runs(&self, node: &NodePlan) -> bool {
        match self {
            Self::Native(native) => native.still_runs(node),
            Self::Docker(docker) => docker.observe(node).is_running(),
        }
    }

    /// Sends a running node a signal; says whether it was running.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn send(&self, node: &NodePlan, what: process::Blow) -> Result<bool, NodeError> {
        match self {
            Self::Native(native) => native.send(node, what),
            Self::Docker(docker) => Ok(docker.send(node, what)?),
        }
    }

    /// Cuts a running node off from all others and from us, or lets it back with the same address; says whether it
    /// was running.
    ///
    /// # Errors
    /// [`NodeError::OnlyContainers`] where nodes are processes: those share one network.
    pub fn set_cut(&self, node: &NodePlan, cut: bool) -> Result<bool, NodeError> {
        match self {
            Self::Native(_) => self.can_cut(node).map(|()| false),
            Self::Docker(docker) => Ok(docker.set_cut(node, cut)?),
        }
    }

    /// Whether [`Self::set_cut`] could do what it is asked for.
    ///
    /// # Errors
    /// [`NodeError::OnlyContainers`].
    pub fn can_cut(&self, node: &NodePlan) -> Result<(), NodeError> {
        match self {
            Self::Native(_) => Err(NodeError::OnlyContainers { node: node.name.to_string() }),
            Self::Docker(_) => Ok(()),
        }
    }

    /// Whether a node runs but was paused.
    pub fn is_paused(&self, node: &NodePlan) -> bool {
        match self {
            Self::Native(native) => native.is_paused(node),
            Self::Docker(docker) => docker.is_paused(node),
        }
    }

    /// Why a node that has ended by itself did so; none for one that runs or was stopped.
    pub fn cause_of_death(&self, node: &NodePlan) -> Option<process::Death> {
        match self {
            Self::Native(native) => native.cause_of_death(node),
            Self::Docker(docker) => docker.cause_of_death(node),
        }
    }

    /// The end of a node's log with the likely cause, for an error message.
    pub fn explain(&self, node: &NodePlan) -> String {
        match self {
            Self::Native(native) => native.explain(node),
            Self::Docker(docker) => {
                native::explain(&docker.logs(node), docker.shown(node), docker.cause_of_death(node))
            }
        }
    }
}
