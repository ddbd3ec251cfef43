//! Ending a cluster: registry, brokers, ZooKeeper, each within its own deadline.
//!
//! Brokers stop before ZooKeeper: one whose ensemble is gone hangs in its own shutdown for ever.

use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;

use super::cluster::{Cluster, ClusterError};
use super::error::chain;
use crate::dir::DirLock;
use crate::plan::{NodePlan, NodeRole};
use crate::runtime::Runtime;
use crate::runtime::process::{self, Stopped};

/// What became of one node.
#[derive(Clone, Debug, Serialize)]
pub struct StopReport {
    /// The node.
    pub node: String,
    /// `not running`, `stopped`, `killed` or `failed`.
    pub outcome: &'static str,
    /// How long it took.
    pub millis: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Stops every node; one that cannot be stopped does not keep the others running.
pub async fn stop(cluster: &Cluster, told: &(dyn Fn(&StopReport) + Sync)) -> Vec<StopReport> {
    let runtime = cluster.runtime();
    let mut reports = Vec::new();
    for role in [NodeRole::SchemaRegistry, NodeRole::Broker, NodeRole::Zookeeper] {
        let nodes: Vec<&NodePlan> = cluster.plan.nodes_of(role).collect();
        reports.extend(join_all(nodes.iter().map(|node| stop_node(&runtime, node, told))).await);
    }
    reports.extend(stop_strays(cluster, told).await);
    reports
}

async fn stop_node(runtime: &Runtime, node: &NodePlan, told: &(dyn Fn(&StopReport) + Sync)) -> StopReport {
    let report = report(node.name.as_str(), runtime.stop(node).await.map_err(|error| chain(&error)));
    told(&report);
    report
}

/// Processes of nodes that the plan does not know any more.
async fn stop_strays(cluster: &Cluster, told: &(dyn Fn(&StopReport) + Sync)) -> Vec<StopReport> {
    let mut reports = Vec::new();
    for stray in process::find_all(&cluster.record.cluster_id) {
        let Ok(name) = stray.node.parse() else { continue };
        let record = cluster.dir.node_process(&name);
        let target = process::Target::new(&cluster.record.cluster_id, &stray.node, record);
        let stopped = process::stop(&target, Duration::from_secs(30)).await.map_err(|error| chain(&error));
        let report = report(&stray.node, stopped);
        told(&report);
        reports.push(report);
    }
    reports
}

fn report(node: &str, stopped: Result<Stopped, String>) -> StopReport {
    let (outcome, after, error) = match stopped {
        Ok(Stopped::NotRunning) => ("not running", Duration::ZERO, None),
        Ok(Stopped::Ended { after, .. }) => ("stopped", after, None),
        Ok(Stopped::Killed { after, .. }) => ("killed", after, None),
        Err(error) => ("failed", Duration::ZERO, Some(error)),
    };
    let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    StopReport { node: node.to_owned(), outcome, millis, error }
}

/// What `down` leaves when it keeps the data: everything but what a start makes again.
///
/// # Errors
/// [`ClusterError`].
pub fn tidy(cluster: &Cluster) -> Result<(), ClusterError> {
    for node in &cluster.plan.nodes {
        let home = cluster.dir.node(&node.name);
        for folder in ["run", "config", "secrets"] {
            let path = home.join(folder);
            match std::fs::remove_dir_all(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    let path = path.display().to_string();
                    return Err(crate::dir::DirError::Io { action: "removing", path, source }.into());
                }
                _ => {}
            }
        }
    }
    cluster.release_ports()
}

/// Deletes everything: data, credentials, logs, leases.
///
/// # Errors
/// [`ClusterError`].
pub fn delete(cluster: &Cluster, lock: DirLock) -> Result<(), ClusterError> {
    cluster.release_ports()?;
    cluster.dir.remove(lock)?;
    Ok(())
}
