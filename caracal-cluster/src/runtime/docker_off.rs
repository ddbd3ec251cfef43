//! Containers where they are not built in: every verb says so.

#[path = "docker/error.rs"]
mod error;

use std::path::PathBuf;

pub use self::error::EngineError;
use super::NodeState;
use super::process::{Blow, Death, Stopped};
use crate::dir::ClusterDir;
use crate::names::NodeName;
use crate::plan::{ClusterPlan, NetworkPlan, NodePlan};
use crate::spec::Subnet;

/// What an engine says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct EngineVersion {
    /// Its version.
    pub engine: String,
    /// Its interface's version.
    pub api: String,
}

/// Nodes as containers, which this build cannot run.
#[derive(Clone, Debug)]
pub struct DockerRuntime;

/// A container of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) node: String,
    pub(crate) runs: bool,
}

#[expect(clippy::unused_async, reason = "the signatures of the runtime that is left out")]
impl DockerRuntime {
    /// Containers of one cluster.
    pub fn new(_: ClusterDir, _: impl Into<String>, _: NetworkPlan, _: Option<PathBuf>) -> Self {
        Self
    }

    /// The same for containers that compose has made.
    #[must_use]
    pub fn composed(self) -> Self {
        self
    }

    pub(super) async fn start(&self, _: &NodePlan) -> Result<(), EngineError> {
        Err(EngineError::NotBuilt)
    }

    pub(super) async fn stop(&self, _: &NodePlan) -> Result<Stopped, EngineError> {
        Err(EngineError::NotBuilt)
    }

    pub(super) fn send(&self, _: &NodePlan, _: Blow) -> Result<bool, EngineError> {
        Err(EngineError::NotBuilt)
    }

    pub(super) fn is_paused(&self, _: &NodePlan) -> bool {
        false
    }

    pub(super) fn observe(&self, _: &NodePlan) -> NodeState {
        NodeState::Stopped
    }

    pub(super) fn cause_of_death(&self, _: &NodePlan) -> Option<Death> {
        None
    }

    pub(super) fn logs(&self, _: &NodePlan) -> Vec<PathBuf> {
        Vec::new()
    }

    pub(super) fn shown(&self, _: &NodePlan) -> String {
        String::new()
    }

    pub(crate) fn set_cut(&self, _: &NodePlan, _: bool) -> Result<bool, EngineError> {
        Err(EngineError::NotBuilt)
    }

    pub(crate) async fn problems(&self, _: Vec<NodePlan>) -> Result<Vec<String>, EngineError> {
        Err(EngineError::NotBuilt)
    }

    pub(crate) async fn prove_image(&self, _: &NodePlan, _: &ClusterPlan) -> Result<String, EngineError> {
        Err(EngineError::NotBuilt)
    }
}

#[expect(clippy::unused_async, reason = "the signature of the runtime that is left out")]
pub(crate) async fn stop(_: &str, _: &str, _: u32, _: bool) -> Result<Stopped, EngineError> {
    Err(EngineError::NotBuilt)
}

pub(crate) fn find_all(_: &str) -> Result<Vec<Found>, EngineError> {
    Err(EngineError::NotBuilt)
}

pub(crate) fn remove_rest(_: &str, _: bool) -> Result<(), EngineError> {
    Err(EngineError::NotBuilt)
}

pub(crate) fn observe(_: &str, _: &str) -> NodeState {
    NodeState::Stopped
}

pub(crate) fn cause_of_death(_: &ClusterDir, _: &str, _: &NodeName) -> Option<Death> {
    None
}

pub(crate) fn free_subnet(_: &str) -> Subnet {
    Subnet::small(0)
}

/// The engine's version, if one answers that may be used.
///
/// # Errors
/// [`EngineError::NotBuilt`].
#[expect(clippy::unused_async, reason = "the signature of the runtime that is left out")]
pub async fn answers() -> Result<EngineVersion, EngineError> {
    Err(EngineError::NotBuilt)
}

/// Images.
pub mod images {
    use super::EngineError;

    /// Those of some images that are not here.
    ///
    /// # Errors
    /// [`EngineError::NotBuilt`].
    #[expect(clippy::unused_async, reason = "the signature of the runtime that is left out")]
    pub async fn missing(_: &[String]) -> Result<Vec<String>, EngineError> {
        Err(EngineError::NotBuilt)
    }

    /// Fetches an image.
    ///
    /// # Errors
    /// [`EngineError::NotBuilt`].
    #[expect(clippy::unused_async, reason = "the signature of the runtime that is left out")]
    pub async fn pull(_: &str, _: impl Fn(&str) + Send + 'static) -> Result<(), EngineError> {
        Err(EngineError::NotBuilt)
    }
}
