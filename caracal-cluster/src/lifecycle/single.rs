//! One node at a time: what a restart is made of.

use super::cluster::Cluster;
use super::error::StepError;
use super::steps::{distribution, nodes, quorum, registry};
use super::world::ClusterWorld;
use crate::admin::quorum::Controller;
use crate::credentials::NodeFiles;
use crate::plan::{NodePlan, NodeRole};
use crate::runtime::process::Stopped;

impl Cluster {
    /// Whether the registry was proved to have replayed its journal since its process was started.
    pub(crate) fn registry_was_proved(&self, node: &NodePlan) -> bool {
        registry::was_proved(self, node)
    }
}

impl ClusterWorld {
    /// Chooses the Java and verifies the jars that a started node will run with.
    ///
    /// # Errors
    /// When there is none, or a file is not the locked one.
    pub(crate) async fn choose_distribution(&mut self) -> Result<(), StepError> {
        distribution::apply(self).await.map(drop)
    }

    /// Whether a node runs.
    pub(crate) fn runs(&self, node: &NodePlan) -> bool {
        self.runtime.observe(node).is_running()
    }

    /// Stops a node within its own deadline, then kills it.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub(crate) async fn stop_node(&self, node: &NodePlan) -> Result<Stopped, StepError> {
        Ok(self.runtime.stop(node).await?)
    }

    /// Starts a node with the files of the plan, a broker as soon as ZooKeeper has forgotten its former run, a
    /// controller without its log as soon as another leads; does not wait for it.
    ///
    /// # Errors
    /// When a file cannot be written, ZooKeeper cannot be asked or its process cannot be made.
    pub(crate) async fn start_node(&self, node: &NodePlan) -> Result<(), StepError> {
        nodes::may_start(self, node).await?;
        let credentials = self.credentials();
        NodeFiles::new(&credentials, node).write()?;
        nodes::remember(self, node)?;
        Ok(self.runtime.start(node).await?)
    }

    /// Waits until a node serves: a member of the quorum, a broker that knows the others, a registry that has
    /// replayed its journal.
    ///
    /// # Errors
    /// When it ends or does not serve in time, with the end of its log.
    pub(crate) async fn await_service(&mut self, node: &NodePlan) -> Result<(), StepError> {
        nodes::serve_one(self, node, nodes::patience(node.role)).await?;
        if node.role == NodeRole::SchemaRegistry {
            registry::apply_ready(self).await?;
        }
        Ok(())
    }

    /// KRaft's controllers, each with its part in the quorum; none with ZooKeeper.
    ///
    /// # Errors
    /// When our own certificate cannot be read.
    pub(crate) async fn controllers(&self) -> Result<Vec<Controller>, StepError> {
        quorum::look(self).await
    }

    /// The end of a node's log with the likely cause.
    pub(crate) fn explain(&self, node: &NodePlan) -> String {
        self.runtime.explain(node)
    }

    /// Our own way to the cluster.
    pub(crate) fn way(&self) -> super::access::Access<'_> {
        self.access()
    }
}
