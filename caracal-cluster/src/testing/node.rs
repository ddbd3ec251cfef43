//! Nodes of an exclusive cluster: struck, and mended again.

use std::time::Duration;

use super::need::blocking;
use super::{FixtureError, SecureCluster};
use crate::names::NodeName;
use crate::ops::nodes;
use crate::ops::restart;
use crate::plan::{NodePlan, NodeRole};
use crate::runtime::process::Blow;

/// How long a node may take to come back.
const PATIENCE: Duration = Duration::from_secs(120);

/// One node of a cluster.
#[derive(Clone, Debug)]
pub struct Node {
    cluster: SecureCluster,
    name: NodeName,
    role: NodeRole,
}

impl Node {
    pub(super) fn new(cluster: SecureCluster, node: &NodePlan) -> Self {
        Self { cluster, name: node.name.clone(), role: node.role }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// What it is.
    pub fn role(&self) -> NodeRole {
        self.role
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        let cluster = self.cluster.cluster();
        let node = cluster.plan.node(self.name.as_str());
        node.is_some_and(|node| cluster.runtime().observe(node).is_running())
    }

    /// Ends it at once, without a chance to tidy up.
    ///
    /// # Errors
    /// [`FixtureError::Shared`] on a shared cluster; [`FixtureError::NotRunning`].
    pub fn kill(&self) -> Result<(), FixtureError> {
        self.strike(Blow::Kill, "killed")
    }

    /// Stops it in its tracks, its connections open.
    ///
    /// # Errors
    /// As [`Node::kill`].
    pub fn pause(&self) -> Result<(), FixtureError> {
        self.strike(Blow::Pause, "paused")
    }

    /// Lets a paused one go on.
    ///
    /// # Errors
    /// As [`Node::kill`].
    pub fn resume(&self) -> Result<(), FixtureError> {
        self.strike(Blow::Resume, "resumed")
    }

    /// Stops it in order, or takes it as it is when it does not run, starts it, and waits until it serves.
    ///
    /// # Errors
    /// [`FixtureError::Shared`]; [`FixtureError::Ops`] with the end of its log when it does not come back.
    pub async fn restart(&self) -> Result<(), FixtureError> {
        self.refuse_shared("restarted")?;
        let options = restart::Options {
            nodes: vec![self.name.to_string()],
            // The only node of a cluster can never be done without.
            all_at_once: true,
            dry_run: false,
            patience: PATIENCE,
        };
        restart::restart(&self.cluster.selection()?, &options, &|_| ()).await?;
        Ok(())
    }

    /// As [`Node::restart`], for tests that are not async.
    ///
    /// # Errors
    /// As [`Node::restart`].
    pub fn restart_blocking(&self) -> Result<(), FixtureError> {
        blocking(self.restart())
    }

    /// Cuts it off from all other nodes, which go on. Containers only: processes of one machine share its network.
    ///
    /// # Errors
    /// [`FixtureError::Shared`]; [`FixtureError::Ops`] for a cluster of processes.
    pub fn cut(&self) -> Result<(), FixtureError> {
        self.set_cut(true)
    }

    /// Lets one that was cut off back.
    ///
    /// # Errors
    /// As [`Node::cut`].
    pub fn heal(&self) -> Result<(), FixtureError> {
        self.set_cut(false)
    }

    fn set_cut(&self, cut: bool) -> Result<(), FixtureError> {
        self.refuse_shared("cut off")?;
        nodes::set_cut(&self.cluster.selection()?, &[self.name.to_string()], cut, false)?;
        Ok(())
    }

    fn strike(&self, blow: Blow, action: &'static str) -> Result<(), FixtureError> {
        self.refuse_shared(action)?;
        let report = nodes::strike(&self.cluster.selection()?, &[self.name.to_string()], blow, false)?;
        if report.nodes.iter().any(|node| node.outcome == "not running") {
            return Err(FixtureError::NotRunning { node: self.name.to_string(), action });
        }
        Ok(())
    }

    fn refuse_shared(&self, action: &'static str) -> Result<(), FixtureError> {
        if self.cluster.is_shared() {
            return Err(FixtureError::Shared { node: self.name.to_string(), action });
        }
        Ok(())
    }
}
