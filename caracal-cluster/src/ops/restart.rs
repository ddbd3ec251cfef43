//! Restarts: one node after the other, each only while the cluster can do without it; or all at once.
//!
//! A broker goes only while every partition keeps its minimum of in-sync copies without it, and the next one
//! only when this one is in sync everywhere again. A ZooKeeper node or a KRaft controller goes only while the
//! others are a quorum. Whoever leads, and the broker that is the controller, go last, so that each moves once.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde::Serialize;

use super::{OpsError, chosen, millis_since};
use crate::admin::TopicState;
use crate::admin::quorum::{Controller, Part};
use crate::lifecycle::ClusterWorld;
use crate::lifecycle::cluster::{Cluster, Described};
use crate::lifecycle::commands::Selection;
use crate::lifecycle::engine::Reporter;
use crate::names::{ClusterName, NodeName};
use crate::plan::{NodePlan, NodeRole};
use crate::wait::{Probe, WaitError, wait_for};
use crate::wire::{Deadline, Endpoint, TlsConfig, records};
use crate::zookeeper::admin_words::{self, ServerMode};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);

/// Partitions named in one message.
const MOST: usize = 5;

/// How a restart is to go.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Options {
    /// Which nodes; all when there is none.
    pub nodes: Vec<String>,
    /// All of them at the same time, whatever that breaks.
    pub all_at_once: bool,
    /// Only say what would be done, and whether it could be.
    pub dry_run: bool,
    /// How long the cluster gets to allow each node's restart, and to recover from it.
    pub patience: Duration,
}

/// What became of one node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RestartedNode {
    /// The node.
    pub node: NodeName,
    /// What it is.
    pub role: NodeRole,
    /// `restarted`, `started` (it was not running), `killed and started` (it did not stop in time), or
    /// `would be restarted`.
    pub outcome: &'static str,
    /// From the signal to stop until it served again.
    pub down_millis: u64,
    /// From then until all its copies were in sync; brokers only.
    pub in_sync_millis: Option<u64>,
}

/// What was done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RestartReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether all went at the same time.
    pub all_at_once: bool,
    /// Whether it was only said.
    pub dry_run: bool,
    /// Each node, in the order in which it went.
    pub nodes: Vec<RestartedNode>,
    /// How long everything took.
    pub millis: u64,
}

/// Restarts nodes with the files of the plan; a node that does not run is started.
///
/// # Errors
/// [`OpsError::Refused`] when the cluster could never do without a node; [`OpsError::Awaited`] with what was
/// awaited when it could not in time, or a node did not come back in sync. Nodes before it are restarted, those
/// after it untouched.
pub async fn restart(
    selection: &Selection,
    options: &Options,
    told: &(dyn Fn(&RestartedNode) + Sync),
) -> Result<RestartReport, OpsError> {
    let begun = Instant::now();
    let name = Cluster::expect_made(&selection.root, selection.name.as_ref())?;
    let (cluster, _lock) = if options.dry_run {
        (Cluster::existing(&selection.root, Some(&name))?, None)
    } else {
        let (cluster, lock) =
            Cluster::for_change(&selection.root, Some(&name), &Described::default(), "cluster restart")?;
        (cluster, Some(lock))
    };
    let nodes: Vec<NodePlan> = chosen(&cluster, &options.nodes)?.into_iter().cloned().collect();
    let mut world = ClusterWorld::new(cluster, Reporter::silent());
    if !options.dry_run {
        world.choose_distribution().await?;
    }
    let nodes = if options.all_at_once {
        all_at_once(&mut world, nodes, options, told).await?
    } else {
        rolling(&mut world, nodes, options, told).await?
    };
    let (all_at_once, dry_run) = (options.all_at_once, options.dry_run);
    Ok(RestartReport { cluster: name, all_at_once, dry_run, nodes, millis: millis_since(begun) })
}

async fn rolling(
    world: &mut ClusterWorld,
    nodes: Vec<NodePlan>,
    options: &Options,
    told: &(dyn Fn(&RestartedNode) + Sync),
) -> Result<Vec<RestartedNode>, OpsError> {
    let mut done = Vec::new();
    for node in in_order(world, nodes).await {
        let running = world.runs(&node);
        if running {
            await_leave(world, &node, options.patience).await?;
        }
        let restarted = if options.dry_run {
            would(&node, running)
        } else {
            let mut restarted = one(world, &node).await?;
            if node.role == NodeRole::Broker {
                restarted.in_sync_millis = Some(await_in_sync(world, &node, options.patience).await?);
            }
            restarted
        };
        told(&restarted);
        done.push(restarted);
    }
    Ok(done)
}

/// The quorum, then brokers, then the registry; whoever leads goes last among its equals.
async fn in_order(world: &ClusterWorld, mut nodes: Vec<NodePlan>) -> Vec<NodePlan> {
    let controller = controller(world).await;
    let leader = quorum_leader(world).await;
    let mut leaders = Vec::new();
    for node in &nodes {
        let leads = match node.role {
            NodeRole::Zookeeper => mode(world, node).await.is_some_and(|mode| mode == ServerMode::Leader),
            NodeRole::Broker if leader.is_none() => controller == i32::try_from(node.id).ok(),
            _ => leader.as_deref() == Some(node.name.as_str()),
        };
        if leads {
            leaders.push(node.name.clone());
        }
    }
    let stage = |role| match role {
        NodeRole::Zookeeper | NodeRole::Controller => 0,
        NodeRole::Broker => 1,
        NodeRole::SchemaRegistry => 2,
    };
    nodes.sort_by_key(|node| (stage(node.role), leaders.contains(&node.name)));
    nodes
}

/// The node that leads KRaft's controllers; none with ZooKeeper.
async fn quorum_leader(world: &ClusterWorld) -> Option<String> {
    let controllers = world.controllers().await.ok()?;
    let leads = |controller: &Controller| matches!(controller.part, Part::Leads);
    controllers.into_iter().find(leads).map(|controller| controller.node)
}

/// The broker that is the controller. With KRaft a broker names any of them, which does no harm here.
async fn controller(world: &ClusterWorld) -> Option<i32> {
    let mut admin = world.way().admin().ok()?;
    admin.cluster(Deadline::after(LOOK)).await.ok()?.controller
}

async fn mode(world: &ClusterWorld, node: &NodePlan) -> Option<ServerMode> {
    let tls = world.way().zookeeper_tls().ok()?;
    asked(node, &tls).await
}

async fn asked(node: &NodePlan, tls: &TlsConfig) -> Option<ServerMode> {
    let endpoint = Endpoint::of(node, node.listener("CLIENT")?);
    Some(admin_words::status(&endpoint, tls, Deadline::after(LOOK)).await.ok()?.mode)
}

fn would(node: &NodePlan, running: bool) -> RestartedNode {
    RestartedNode {
        node: node.name.clone(),
        role: node.role,
        outcome: if running { "would be restarted" } else { "would be started" },
        down_millis: 0,
        in_sync_millis: None,
    }
}

async fn one(world: &mut ClusterWorld, node: &NodePlan) -> Result<RestartedNode, OpsError> {
    use crate::runtime::process::Stopped;
    let begun = Instant::now();
    let outcome = match world.stop_node(node).await? {
        Stopped::NotRunning => "started",
        Stopped::Ended { .. } => "restarted",
        Stopped::Killed { .. } => "killed and started",
    };
    world.start_node(node).await?;
    world.await_service(node).await?;
    Ok(RestartedNode {
        node: node.name.clone(),
        role: node.role,
        outcome,
        down_millis: millis_since(begun),
        in_sync_millis: None,
    })
}

/// Who depends on others stops first and starts last.
async fn all_at_once(
    world: &mut ClusterWorld,
    nodes: Vec<NodePlan>,
    options: &Options,
    told: &(dyn Fn(&RestartedNode) + Sync),
) -> Result<Vec<RestartedNode>, OpsError> {
    let nodes = in_order(world, nodes).await;
    let begun = Instant::now();
    let mut done: Vec<RestartedNode> = nodes.iter().map(|node| would(node, world.runs(node))).collect();
    if options.dry_run {
        done.iter().for_each(told);
        return Ok(done);
    }
    const ROLES: [NodeRole; 4] =
        [NodeRole::Zookeeper, NodeRole::Controller, NodeRole::Broker, NodeRole::SchemaRegistry];
    for role in ROLES.iter().rev() {
        let of_role = nodes.iter().filter(|node| node.role == *role);
        for stopped in join_all(of_role.map(|node| world.stop_node(node))).await {
            stopped?;
        }
    }
    for role in ROLES {
        let of_role: Vec<&NodePlan> = nodes.iter().filter(|node| node.role == role).collect();
        for node in &of_role {
            world.start_node(node).await?;
        }
        for node in of_role {
            world.await_service(node).await?;
            if let Some(restarted) = done.iter_mut().find(|restarted| restarted.node == node.name) {
                restarted.outcome =
                    if restarted.outcome == "would be restarted" { "restarted" } else { "started" };
                restarted.down_millis = millis_since(begun);
                told(restarted);
            }
        }
    }
    Ok(done)
}

/// Waits until the cluster can do without a node.
async fn await_leave(world: &ClusterWorld, node: &NodePlan, patience: Duration) -> Result<(), OpsError> {
    let what = format!("the cluster to be able to do without {}", node.name);
    let waited: Result<(), WaitError<OpsError>> = wait_for(&what, patience, INTERVAL, || async {
        let in_the_way = match node.role {
            NodeRole::Zookeeper => quorum_without(world, node).await,
            NodeRole::Controller => voters_without(world, node).await,
            NodeRole::Broker => match voters_without(world, node).await {
                Ok(None) => copies_without(world, node).await,
                otherwise => otherwise,
            },
            NodeRole::SchemaRegistry => Ok(None),
        };
        match in_the_way {
            Ok(None) => Probe::Ready(()),
            Ok(Some(why)) => Probe::NotYet(why),
            Err(error @ OpsError::Refused { .. }) => Probe::Failed(error),
            Err(error) => Probe::NotYet(crate::lifecycle::chain(&error)),
        }
    })
    .await;
    let advice = format!(
        "\n  {} was not touched; look at `health`, or restart it all the same with --all-at-once",
        node.name
    );
    settled(waited, &advice)
}

fn settled<T>(waited: Result<T, WaitError<OpsError>>, explanation: &str) -> Result<T, OpsError> {
    waited.map_err(|error| OpsError::waited(error, explanation))
}

/// Why the ensemble cannot do without a node, if it cannot.
async fn quorum_without(world: &ClusterWorld, node: &NodePlan) -> Result<Option<String>, OpsError> {
    let plan = &world.cluster().plan;
    let members: Vec<&NodePlan> = plan.nodes_of(NodeRole::Zookeeper).collect();
    let needed = members.len() / 2 + 1;
    if members.len() - 1 < needed {
        return Err(OpsError::refused(format!(
            "an ensemble of {} has no quorum without {}: restart it with --all-at-once; brokers wait for it \
             as long as their session lasts (18 s)",
            members.len(),
            node.name
        )));
    }
    let tls = world.way().zookeeper_tls()?;
    let others = members.iter().filter(|member| member.name != node.name);
    let modes = join_all(others.map(|member| asked(member, &tls))).await;
    let serving = modes.iter().flatten().filter(|mode| **mode != ServerMode::NotServing).count();
    Ok((serving < needed).then(|| format!("{serving} other members serve, a quorum needs {needed}")))
}

/// Why KRaft's controllers cannot do without a node, if they cannot; any other node is none of them.
async fn voters_without(world: &ClusterWorld, node: &NodePlan) -> Result<Option<String>, OpsError> {
    let all = world.cluster().plan.controllers().count();
    if !world.cluster().plan.controllers().any(|(controller, _)| controller.name == node.name) {
        return Ok(None);
    }
    let needed = all / 2 + 1;
    if all - 1 < needed {
        return Err(OpsError::refused(format!(
            "a quorum of {all} is none without {}: restart it with --all-at-once; brokers go on serving what they \
             lead, and nothing can be changed until it is back",
            node.name
        )));
    }
    let controllers = world.controllers().await?;
    let others = controllers.iter().filter(|controller| controller.node != node.name.as_str());
    let serving = others.filter(|controller| controller.part.serves()).count();
    Ok((serving < needed).then(|| format!("{serving} other controllers serve, a quorum needs {needed}")))
}

/// Which partitions cannot do without a broker, if any.
async fn copies_without(world: &ClusterWorld, node: &NodePlan) -> Result<Option<String>, OpsError> {
    let broker = i32::try_from(node.id).unwrap_or(i32::MAX);
    let topics = world.way().admin()?.topics(None, Deadline::after(LOOK * 2)).await?;
    let never = short_of(&topics, |partition| {
        let others = partition.replicas.iter().filter(|id| **id != broker).count();
        partition.replicas.contains(&broker).then_some(others)
    });
    if !never.is_empty() {
        return Err(OpsError::refused(format!(
            "{} cannot be restarted without going below the minimum of in-sync copies: {}; give those topics \
             more copies or a lower min.insync.replicas, or restart it with --all-at-once",
            node.name,
            some_of(&never)
        )));
    }
    let now = short_of(&topics, |partition| {
        let others = partition.in_sync.iter().filter(|id| **id != broker).count();
        partition.replicas.contains(&broker).then_some(others)
    });
    Ok((!now.is_empty()).then(|| format!("too few in-sync copies of {}", some_of(&now))))
}

/// Partitions for which a count of copies is below the topic's minimum.
fn short_of(
    topics: &[TopicState],
    copies: impl Fn(&records::PartitionMetadata) -> Option<usize>,
) -> Vec<String> {
    let mut short = Vec::new();
    for topic in topics {
        let least = topic.min_in_sync();
        for partition in &topic.partitions {
            if let Some(copies) = copies(partition).filter(|copies| *copies < least) {
                short.push(format!("{}-{} ({copies} without it, needs {least})", topic.name, partition.id));
            }
        }
    }
    short
}

fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Waits until a broker's copies are all in sync; gives how long that took.
async fn await_in_sync(world: &ClusterWorld, node: &NodePlan, patience: Duration) -> Result<u64, OpsError> {
    let begun = Instant::now();
    let broker = i32::try_from(node.id).unwrap_or(i32::MAX);
    let what = format!("every copy on {} to be in sync", node.name);
    let waited = wait_for(&what, patience, INTERVAL, || async {
        let topics = match world.way().admin() {
            Ok(mut admin) => admin.topics(None, Deadline::after(LOOK * 2)).await,
            Err(error) => return Probe::Failed(OpsError::from(error)),
        };
        let topics = match topics {
            Ok(topics) => topics,
            Err(error) => return Probe::NotYet(crate::lifecycle::chain(&error)),
        };
        let behind: Vec<String> = topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
            .filter(|(_, found)| found.replicas.contains(&broker) && !found.in_sync.contains(&broker))
            .map(|(topic, partition)| format!("{}-{}", topic.name, partition.id))
            .collect();
        if behind.is_empty() {
            Probe::Ready(())
        } else {
            Probe::NotYet(format!("behind: {}", some_of(&behind)))
        }
    })
    .await;
    settled(waited, &format!("\n  {}", world.explain(node)))?;
    Ok(millis_since(begun))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::records::PartitionMetadata;

    #[test]
    fn a_broker_may_go_only_while_the_minimum_stays() {
        let topic = TopicState::for_tests(
            "t",
            "2",
            vec![
                PartitionMetadata::new(0, Some(1), &[1, 2, 3], &[1, 2, 3]),
                PartitionMetadata::new(1, Some(1), &[1, 2, 3], &[1, 2]),
            ],
        );
        let without = |broker: i32| {
            short_of(std::slice::from_ref(&topic), |partition| {
                Some(partition.in_sync.iter().filter(|id| **id != broker).count())
            })
        };
        assert_eq!(without(1), ["t-1 (1 without it, needs 2)"]);
        assert!(without(3).is_empty(), "it holds no in-sync copy that counts");
        assert_eq!(some_of(&vec!["x".to_owned(); 7]), "x, x, x, x, x and 2 more");
    }
}
