//! Ending a cluster: registry, brokers, ZooKeeper, each within its own deadline.
//!
//! Brokers stop before ZooKeeper: one whose ensemble is gone hangs in its own shutdown for ever.
//!
//! [`Remains`] is everything that a cluster has on this machine, found without its description: a cluster
//! whose description cannot be read any more, that was killed half-made, or whose plan no longer knows a
//! node that runs, must still be ended wholly.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;

use super::cluster::{self, Cluster, ClusterError};
use super::error::chain;
use crate::dir::{ClusterDir, DirError, DirLock, StateRoot};
use crate::distribution::Cache;
use crate::names::{ClusterName, NodeName};
use crate::plan::{ClusterPlan, NodeRole, TopicOwner};
use crate::ports;
use crate::runtime::process::{self, Death, Stopped};
use crate::runtime::{NodeState, docker, native};
use crate::spec::RuntimeKind;

/// Seconds that a node of no known plan gets to stop.
const STOP_SECONDS: u32 = 30;

/// Who depends on others stops before them.
pub(super) const ORDER: [Option<NodeRole>; 5] = [
    Some(NodeRole::SchemaRegistry),
    None,
    Some(NodeRole::Broker),
    Some(NodeRole::Controller),
    Some(NodeRole::Zookeeper),
];

/// What became of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StopReport {
    /// The node.
    pub node: String,
    /// `not running`, `stopped`, `killed`, `failed` or `would be stopped`.
    pub outcome: &'static str,
    /// How long it took.
    pub millis: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A node of which something is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remainder {
    role: Option<NodeRole>,
    stop_seconds: u32,
}

/// Everything that a cluster has on this machine.
#[derive(Clone, Debug)]
pub struct Remains {
    dir: ClusterDir,
    leases: Option<PathBuf>,
    cluster_ids: BTreeSet<String>,
    nodes: BTreeMap<NodeName, Remainder>,
    topics: usize,
    /// Whether its nodes run in containers.
    contained: bool,
}

impl Remains {
    /// Looks for them; none when there is nothing at all of a cluster of that name.
    pub fn find(root: &StateRoot, name: &ClusterName) -> Option<Self> {
        let dir = root.cluster(name);
        // Without a place for downloads there never was one for leases.
        let leases = Cache::discover().ok().map(|cache| ports::lease_dir(cache.root()));
        let cluster_ids = cluster_ids(&dir, leases.as_deref());
        if !dir.exists() && !dir.lock_file().exists() && cluster_ids.is_empty() {
            return None;
        }
        let contained = is_contained(&dir);
        let mut remains = Self { dir, leases, cluster_ids, nodes: BTreeMap::new(), topics: 0, contained };
        remains.add_nodes();
        if let Some(plan) = cluster::last_plan(&remains.dir) {
            remains.add_plan(&plan);
        }
        if let Ok(cluster) = Cluster::existing(root, Some(name)) {
            remains.add_plan(&cluster.plan);
        }
        Some(remains)
    }

    fn add_plan(&mut self, plan: &ClusterPlan) {
        for node in &plan.nodes {
            let known = Remainder { role: Some(node.role), stop_seconds: node.stop_seconds };
            self.nodes.insert(node.name.clone(), known);
        }
        self.topics = plan.topics.iter().filter(|topic| topic.owner == TopicOwner::Application).count();
    }

    /// Nodes that only their processes or their directories tell of.
    fn add_nodes(&mut self) {
        let running = self.running();
        for name in running.into_iter().chain(node_directories(&self.dir)) {
            let Ok(name) = name.parse::<NodeName>() else { continue };
            let role = role_by_name(self.dir.cluster(), name.as_str());
            self.nodes.entry(name).or_insert(Remainder { role, stop_seconds: STOP_SECONDS });
        }
    }

    /// The names of nodes of which a process or a container is here, also of those that no plan knows any more.
    fn running(&self) -> Vec<String> {
        let ids = self.cluster_ids.iter();
        if !self.contained {
            return ids.flat_map(|id| process::find_all(id)).map(|found| found.node).collect();
        }
        ids.flat_map(|id| docker::find_all(id).unwrap_or_default()).map(|found| found.node).collect()
    }

    /// How many nodes run.
    pub(crate) fn running_count(&self) -> usize {
        let ids = self.cluster_ids.iter();
        if !self.contained {
            return ids.map(|id| process::find_all(id).len()).sum();
        }
        ids.flat_map(|id| docker::find_all(id).unwrap_or_default()).filter(|found| found.runs).count()
    }

    /// What became of a node.
    pub(crate) fn observe(&self, name: &NodeName) -> NodeState {
        let states = self.cluster_ids.iter().map(|id| {
            if self.contained {
                return docker::observe(id, name.as_str());
            }
            native::state(&process::Target::new(id, name.as_str(), self.dir.node_process(name)))
        });
        states.reduce(|a, b| if a == NodeState::Stopped { b } else { a }).unwrap_or(NodeState::Stopped)
    }

    /// Why a node has ended by itself; none for one that has not.
    pub(crate) fn cause_of_death(&self, name: &NodeName) -> Option<Death> {
        self.cluster_ids.iter().find_map(|id| {
            if self.contained {
                return docker::cause_of_death(&self.dir, id, name);
            }
            let target = process::Target::new(id, name.as_str(), self.dir.node_process(name));
            native::cause_of_death(&target, &self.dir.node_console(name))
        })
    }

    /// The cluster's directory.
    pub fn dir(&self) -> &ClusterDir {
        &self.dir
    }

    /// Every id under which processes of this cluster may run; more than one only after the record was lost.
    pub fn cluster_ids(&self) -> impl Iterator<Item = &str> {
        self.cluster_ids.iter().map(String::as_str)
    }

    /// Every node of which something is here, with its role where it is known.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeName, Option<NodeRole>)> {
        self.nodes.iter().map(|(name, node)| (name, node.role))
    }

    /// The number of the application's topics, as far as a plan tells.
    pub fn topics(&self) -> usize {
        self.topics
    }

    /// Stops every node; one that cannot be stopped does not keep the others running.
    pub async fn stop(&self, told: &(dyn Fn(&StopReport) + Sync)) -> Vec<StopReport> {
        let mut reports = Vec::new();
        for role in ORDER {
            let nodes = self.nodes.iter().filter(|(_, node)| node.role == role);
            reports.extend(join_all(nodes.map(|(name, node)| self.stop_node(name, *node, told))).await);
        }
        reports
    }

    /// What [`Self::stop`] would make of each node; signals nobody.
    pub fn would_stop(&self) -> Vec<StopReport> {
        let of = |role| self.nodes.iter().filter(move |(_, node)| node.role == role);
        let nodes = ORDER.into_iter().flat_map(of);
        nodes
            .map(|(name, _)| StopReport {
                node: name.to_string(),
                outcome: if self.observe(name).is_running() { "would be stopped" } else { "not running" },
                millis: 0,
                error: None,
            })
            .collect()
    }

    async fn stop_node(
        &self,
        name: &NodeName,
        node: Remainder,
        told: &(dyn Fn(&StopReport) + Sync),
    ) -> StopReport {
        let mut last = report(name.as_str(), Ok(Stopped::NotRunning));
        for id in &self.cluster_ids {
            let stopped = if self.contained {
                docker::stop(id, name.as_str(), node.stop_seconds, false).await.map_err(|error| chain(&error))
            } else {
                let target = process::Target::new(id, name.as_str(), self.dir.node_process(name));
                let deadline = Duration::from_secs(node.stop_seconds.into());
                process::stop(&target, deadline).await.map_err(|error| chain(&error))
            };
            if !matches!(stopped, Ok(Stopped::NotRunning)) {
                last = report(name.as_str(), stopped);
            }
        }
        told(&last);
        last
    }

    /// What `down` leaves when it keeps the data: everything but what a start makes again.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn tidy(&self) -> Result<(), ClusterError> {
        for name in self.nodes.keys() {
            let home = self.dir.node(name);
            for folder in ["run", "config", "secrets"] {
                let path = home.join(folder);
                match std::fs::remove_dir_all(&path) {
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        let path = path.display().to_string();
                        return Err(DirError::Io { action: "removing", path, source }.into());
                    }
                    _ => {}
                }
            }
        }
        self.remove_rest(false)?;
        self.release_ports()
    }

    /// Networks, and volumes where the data goes too.
    fn remove_rest(&self, volumes: bool) -> Result<(), ClusterError> {
        for id in self.cluster_ids.iter().filter(|_| self.contained) {
            docker::remove_rest(id, volumes)?;
        }
        Ok(())
    }

    /// Deletes everything: data, credentials, logs, leases.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn delete(&self, lock: DirLock) -> Result<(), ClusterError> {
        self.remove_rest(true)?;
        self.release_ports()?;
        Ok(self.dir.remove(lock)?)
    }

    fn release_ports(&self) -> Result<(), ClusterError> {
        if let Some(leases) = self.leases.as_ref().filter(|leases| leases.exists()) {
            for id in &self.cluster_ids {
                ports::release_all(leases, id)?;
            }
        }
        Ok(())
    }
}

/// The ids that record, process records and leases tell; read leniently, because a damaged file must not
/// keep its cluster alive.
fn cluster_ids(dir: &ClusterDir, leases: Option<&Path>) -> BTreeSet<String> {
    let id_in = |path: &Path| -> Option<String> {
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        value.get("cluster_id")?.as_str().filter(|id| !id.is_empty()).map(str::to_owned)
    };
    let records = node_directories(dir)
        .into_iter()
        .filter_map(|name| name.parse().ok())
        .map(|name: NodeName| dir.node_process(&name));
    let mut ids: BTreeSet<String> = records.chain([dir.record()]).filter_map(|path| id_in(&path)).collect();
    let held = leases.and_then(|leases| ports::leases(leases).ok()).unwrap_or_default();
    let ours = held.into_iter().filter(|lease| lease.owner.state_dir == dir.path());
    ids.extend(ours.map(|lease| lease.owner.cluster_id));
    ids
}

/// Whether nodes run in containers; read as leniently.
fn is_contained(dir: &ClusterDir) -> bool {
    let value = |path: &Path| -> Option<serde_json::Value> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    };
    let runtime = value(&dir.record()).and_then(|record| Some(record.get("runtime")?.as_str()?.to_owned()));
    runtime.as_deref() == Some(RuntimeKind::Docker.label())
}

fn node_directories(dir: &ClusterDir) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir.nodes()) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// What a node is, by the names that the planner gives.
fn role_by_name(cluster: &ClusterName, node: &str) -> Option<NodeRole> {
    let rest = node.strip_prefix(cluster.as_str())?.strip_prefix('-')?;
    match rest.split_once('-') {
        Some(("zookeeper", _)) => Some(NodeRole::Zookeeper),
        Some(("controller", _)) => Some(NodeRole::Controller),
        Some(("kafka", _)) => Some(NodeRole::Broker),
        Some(("schema", "registry")) => Some(NodeRole::SchemaRegistry),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_told_by_the_planners_names_and_no_others() {
        let plan = crate::plan::tests::default_plan();
        for node in &plan.nodes {
            assert_eq!(role_by_name(&plan.cluster, node.name.as_str()), Some(node.role), "{}", node.name);
        }
        assert_eq!(role_by_name(&plan.cluster, "other-kafka-1"), None);
        assert_eq!(role_by_name(&plan.cluster, "caracal-thing"), None);
    }

    #[test]
    fn nothing_is_found_where_nothing_is_and_a_lock_alone_is_something() {
        let scratch = tempfile::tempdir().unwrap();
        let root = StateRoot::at(&scratch.path().join("state")).unwrap();
        let name: ClusterName = "gone".parse().unwrap();
        assert!(Remains::find(&root, &name).is_none());
        let lock = root.cluster(&name).lock("test").unwrap();
        let remains = Remains::find(&root, &name).unwrap();
        assert_eq!(remains.nodes().count(), 0);
        remains.delete(lock).unwrap();
        assert!(!root.path().exists(), "the root was ours alone");
        assert!(Remains::find(&root, &name).is_none());
    }

    #[test]
    fn a_damaged_record_still_tells_its_id_and_its_nodes() {
        let scratch = tempfile::tempdir().unwrap();
        let root = StateRoot::at(&scratch.path().join("state")).unwrap();
        let name: ClusterName = "half".parse().unwrap();
        let dir = root.cluster(&name);
        dir.create().unwrap();
        dir.write(&dir.record(), br#"{"format":99,"cluster_id":"abc","unknown":true}"#).unwrap();
        dir.write(&dir.spec(), b"this is no description").unwrap();
        let node: NodeName = "half-kafka-7".parse().unwrap();
        dir.write(&dir.node_process(&node), b"{}").unwrap();
        let remains = Remains::find(&root, &name).unwrap();
        assert_eq!(remains.cluster_ids().collect::<Vec<_>>(), ["abc"]);
        assert_eq!(remains.nodes().collect::<Vec<_>>(), [(&node, Some(NodeRole::Broker))]);
        remains.tidy().unwrap();
        assert!(!dir.node_process(&node).exists() && dir.node(&node).exists());
    }
}
