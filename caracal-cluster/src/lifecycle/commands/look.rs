//! `ps` and `list`: what is, without changing it.

use std::path::PathBuf;

use caracal_pki::inventory;
use serde::Serialize;
use time::OffsetDateTime;

use super::{CommandError, Selection, remains};
use crate::dir::{ClusterDir, ClusterRecord, StateRoot};
use crate::lifecycle::cluster::{self, Cluster};
use crate::lifecycle::down::Remains;
use crate::lifecycle::error::chain;
use crate::names::{ClusterName, NodeName};
use crate::plan::{ClusterPlan, NodePlan, NodeRole};
use crate::runtime::NodeState;

/// One port of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    /// The listener's name.
    pub listener: String,
    /// Where it is reached from this machine.
    pub address: std::net::SocketAddr,
}

/// What one node is at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub node: NodeName,
    /// `zookeeper`, `broker`, `schema-registry`; none for a node that no plan knows.
    pub role: Option<NodeRole>,
    /// `running`, `died` or `stopped`.
    pub state: &'static str,
    /// Why it died; none while it runs, or when it was stopped.
    pub death: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// Resident memory in bytes.
    pub rss_bytes: Option<u64>,
    /// Seconds since it was started.
    pub uptime_seconds: Option<u64>,
    /// Every port, those for clients first; empty when the plan cannot be told.
    pub addresses: Vec<Address>,
    /// Days until the first of its certificates expires; negative after that.
    pub certificate_days_left: Option<i64>,
    /// Whether the plan knows it, or no plan can be read; a running node that it does not know was left behind.
    pub planned: bool,
}

/// What `ps` found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PsReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its directory.
    pub directory: PathBuf,
    /// Every node, in the order of starting; unplanned ones last.
    pub nodes: Vec<NodeStatus>,
    /// What kept this report from being whole.
    pub warnings: Vec<String>,
}

/// One cluster in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterSummary {
    /// Its name.
    pub cluster: ClusterName,
    /// Its directory.
    pub directory: PathBuf,
    /// Where its nodes run.
    pub runtime: Option<String>,
    /// Kafka's version.
    pub kafka_version: Option<String>,
    /// The registry's flavour and version.
    pub registry: Option<String>,
    /// Nodes that run.
    pub running: usize,
    /// Nodes that were planned.
    pub nodes: usize,
    /// Why it cannot be read, or that it was never finished.
    pub problem: Option<String>,
}

/// What `list` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListReport {
    /// The folder that was looked into.
    pub state_root: PathBuf,
    /// Every cluster there, by name.
    pub clusters: Vec<ClusterSummary>,
}

/// Looks at every node of a cluster, planned or merely running.
///
/// # Errors
/// When there is no such cluster.
pub fn ps(selection: &Selection) -> Result<PsReport, CommandError> {
    let remains = remains(selection)?;
    let mut warnings = Vec::new();
    let (plan, certain) = match Cluster::existing(&selection.root, Some(&selection.wanted())) {
        Ok(cluster) => (Some(cluster.plan), cluster.ports_known),
        Err(error) => {
            warnings.push(format!("shown as far as the last plan tells: {}", chain(&error)));
            (cluster::last_plan(remains.dir()), true)
        }
    };
    let plan = plan.as_ref();
    let planned = plan.into_iter().flat_map(|plan| &plan.nodes).map(|node| (&node.name, Some(node)));
    let others =
        remains.nodes().map(|(name, _)| name).filter(|name| !is_planned(plan, name)).map(|name| (name, None));
    let nodes = planned
        .chain(others)
        .map(|(name, node)| status(&remains, name, node, certain, plan.is_none()))
        .filter(|status| status.planned || status.state == "running")
        .collect();
    Ok(PsReport {
        cluster: remains.dir().cluster().clone(),
        directory: remains.dir().path(),
        nodes,
        warnings,
    })
}

fn is_planned(plan: Option<&ClusterPlan>, name: &NodeName) -> bool {
    plan.is_some_and(|plan| plan.node(name.as_str()).is_some())
}

fn status(
    remains: &Remains,
    name: &NodeName,
    node: Option<&NodePlan>,
    certain: bool,
    plan_unknown: bool,
) -> NodeStatus {
    let role = remains.nodes().find(|(known, _)| *known == name).and_then(|(_, role)| role);
    let mut status = NodeStatus {
        node: name.clone(),
        role: node.map(|node| node.role).or(role),
        state: "stopped",
        death: None,
        pid: None,
        rss_bytes: None,
        uptime_seconds: None,
        addresses: node.filter(|_| certain).map(addresses).unwrap_or_default(),
        certificate_days_left: certificate_days_left(remains.dir(), name),
        planned: node.is_some() || plan_unknown,
    };
    match remains.observe(name) {
        NodeState::Running { pid, rss_bytes, uptime } => {
            status.state = "running";
            status.pid = Some(pid);
            status.rss_bytes = Some(rss_bytes);
            status.uptime_seconds = Some(uptime.as_secs());
        }
        NodeState::Died { .. } => {
            status.state = "died";
            status.death = remains.cause_of_death(name).map(|death| death.to_string());
        }
        NodeState::Stopped => {}
    }
    status
}

/// A node's ports; the one that clients dial first.
fn addresses(node: &NodePlan) -> Vec<Address> {
    let for_clients = |name: &str| matches!(name, "EXTERNAL" | "CLIENT" | "HTTP");
    let mut addresses: Vec<Address> = node
        .listeners
        .iter()
        .map(|listener| Address { listener: listener.name.to_string(), address: listener.dial })
        .collect();
    addresses.sort_by_key(|address| !for_clients(&address.listener));
    addresses
}

/// The smallest number of days that any of a node's certificates has left.
fn certificate_days_left(dir: &ClusterDir, node: &NodeName) -> Option<i64> {
    let prefix = format!("{node}.");
    let now = OffsetDateTime::now_utc();
    let certificates = std::fs::read_dir(dir.pki()).ok()?.flatten().filter(|entry| {
        entry.file_name().to_str().is_some_and(|name| {
            // `<node>.<purpose>.pem`; what was set aside has a name with more parts.
            name.strip_prefix(&prefix)
                .and_then(|rest| rest.strip_suffix(".pem"))
                .is_some_and(|p| !p.contains('.'))
        })
    });
    let days = certificates.filter_map(|entry| {
        let pem = dir.read_text(&entry.path()).ok()??;
        inventory::inspect_pem(&pem).ok()?.first().map(|leaf| leaf.days_left(now))
    });
    days.min()
}

/// Every cluster below a state root.
pub fn list(root: &StateRoot) -> ListReport {
    let clusters = root.clusters().iter().map(|name| summary(root, name)).collect();
    ListReport { state_root: root.path().to_owned(), clusters }
}

fn summary(root: &StateRoot, name: &ClusterName) -> ClusterSummary {
    let dir = root.cluster(name);
    let record = dir.read_record();
    let running = Remains::find(root, name).map_or(0, |remains| remains.running_count());
    let problem = match &record {
        Ok(Some(_)) => None,
        Ok(None) => {
            Some("was never finished: `cluster up` finishes it, `cluster down -v` removes it".to_owned())
        }
        Err(error) => Some(chain(error)),
    };
    let record = record.ok().flatten();
    let planned = cluster::last_plan(&dir).map(|plan| plan.nodes.len());
    ClusterSummary {
        cluster: name.clone(),
        directory: dir.path(),
        nodes: planned.unwrap_or_else(|| record.as_ref().map_or(0, ClusterRecord::nodes)),
        runtime: record.as_ref().map(|record| record.runtime.clone()),
        kafka_version: record.as_ref().map(|record| record.kafka_version.clone()),
        registry: record.as_ref().map(|record| format!("{} {}", record.registry, record.registry_version)),
        running,
        problem,
    }
}
