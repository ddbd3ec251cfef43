//! Steps that start processes: the ensemble, the brokers, the registry's process.
//!
//! A node is right when it runs with the files of the plan: what it was started with is remembered by
//! digest, so a later change of a file is seen although the process still runs. Whether such nodes are
//! restarted one after the other or all at once is decided in [`super::restart`].

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::Mutex;

use super::restart::{self, Restart};
use super::{format, quorum, registry, session};
use crate::credentials::NodeFiles;
use crate::lifecycle::ClusterWorld;
use crate::lifecycle::engine::{Applied, Event, Observed};
use crate::lifecycle::error::{StepError, chain};
use crate::plan::{NodePlan, NodeRole};
use crate::runtime::process::Death;
use crate::runtime::{NodeState, Runtime};
use crate::wait::{Probe, WaitError, wait_for};
use crate::wire::{Connection, Deadline, Endpoint, records};
use crate::zookeeper::admin_words::{self, ServerMode};

/// How often a starting node is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);

/// How long a stage gets to become ready.
pub(in crate::lifecycle) fn patience(role: NodeRole) -> Duration {
    match role {
        NodeRole::Zookeeper | NodeRole::Controller => Duration::from_secs(90),
        NodeRole::Broker | NodeRole::SchemaRegistry => Duration::from_secs(180),
    }
}

/// Whether every node of a role runs, with its planned files, and serves.
pub(in crate::lifecycle) async fn observe(
    world: &mut ClusterWorld,
    role: NodeRole,
) -> Result<Observed, StepError> {
    let seen = observe_process(world, role)?;
    if !matches!(seen, Observed::Satisfied(_)) {
        return Ok(seen);
    }
    // Running is not serving: one look, without patience.
    match serving(world, role, Duration::from_secs(3)).await {
        Ok(summary) => Ok(Observed::Satisfied(summary)),
        Err(StepError::NotReady { node, last, .. }) => {
            Ok(Observed::Absent(format!("{node} runs but does not serve yet: {last}")))
        }
        Err(error) => Err(error),
    }
}

/// Whether every node of a role runs with its planned files.
pub(in crate::lifecycle) fn observe_process(
    world: &mut ClusterWorld,
    role: NodeRole,
) -> Result<Observed, StepError> {
    let mut absent = Vec::new();
    let mut drifted = Vec::new();
    for node in world.cluster.plan.nodes_of(role) {
        match world.runtime.observe(node) {
            NodeState::Running { .. } => {
                let changed = stale(world, node)?;
                if !changed.is_empty() {
                    let changed = restart::shown(&changed);
                    drifted.push(format!("{} runs with another {changed} than planned", node.name));
                }
            }
            NodeState::Died { .. } => {
                let death = world.runtime.cause_of_death(node).filter(Death::is_memory);
                let how = death.map_or_else(|| "has ended by itself".to_owned(), |death| death.to_string());
                drifted.push(format!("{} {how}", node.name));
            }
            NodeState::Stopped => absent.push(node.name.to_string()),
        }
    }
    Ok(if absent.is_empty() && drifted.is_empty() {
        Observed::Satisfied("running".to_owned())
    } else if drifted.is_empty() {
        Observed::Absent(format!("not running: {}", absent.join(", ")))
    } else {
        drifted.extend(absent.into_iter().map(|name| format!("{name} is not running")));
        Observed::Drifted(drifted)
    })
}

/// Starts what does not run, restarts what runs with other files, and waits until all serve.
pub(in crate::lifecycle) async fn apply(
    world: &mut ClusterWorld,
    role: NodeRole,
) -> Result<Applied, StepError> {
    launch(world, role).await?;
    Ok(serving(world, role, patience(role)).await?.into())
}

/// Starts what does not run and restarts what runs with other files: one after the other where old and
/// new can work together, else all at once.
pub(in crate::lifecycle) async fn launch(world: &ClusterWorld, role: NodeRole) -> Result<Applied, StepError> {
    let mut outdated = Vec::new();
    for node in world.cluster.plan.nodes_of(role) {
        if world.runtime.observe(node).is_running() {
            let changed = stale(world, node)?;
            if !changed.is_empty() {
                outdated.push((node, changed));
            }
        }
    }
    let paths = outdated.iter().flat_map(|(_, changed)| changed.iter().map(String::as_str));
    match Restart::for_files(paths) {
        None => Ok(format!("{} started", start_missing(world, role).await?).into()),
        Some(Restart::Whole) => {
            let why = outdated.first().map_or_else(String::new, |(_, changed)| restart::shown(changed));
            world.reporter.tell(Event::Note(format!(
                "nodes with the old and with the new {why} cannot work together: they are stopped and started as a whole"
            )));
            for dependent in restart::dependents(role) {
                stop_all(world, world.cluster.plan.nodes_of(*dependent)).await?;
            }
            stop_all(world, outdated.iter().map(|(node, _)| *node)).await?;
            Ok(format!("{} started", start_missing(world, role).await?).into())
        }
        Some(Restart::Rolling) => {
            let started = start_missing(world, role).await?;
            let rolled = outdated.len();
            for (at, (node, _)) in outdated.into_iter().enumerate() {
                if at > 0 || started > 0 {
                    before_the_next(world, role).await?;
                }
                world.runtime.stop(node).await?;
                start(world, node).await?;
            }
            Ok(format!("{started} started, {rolled} restarted one after the other").into())
        }
    }
}

/// Starts every node of a role that does not run; returns how many.
async fn start_missing(world: &ClusterWorld, role: NodeRole) -> Result<usize, StepError> {
    let mut started = 0;
    let mut nodes: Vec<&NodePlan> = world.cluster.plan.nodes_of(role).collect();
    nodes.sort_by_key(|node| format::has_lost_its_log(world, node));
    for node in nodes {
        if !world.runtime.observe(node).is_running() {
            start(world, node).await?;
            started += 1;
        }
    }
    Ok(started)
}

async fn start(world: &ClusterWorld, node: &NodePlan) -> Result<(), StepError> {
    may_start(world, node).await?;
    remember(world, node)?;
    registry::forget_proof(world, node)?;
    Ok(world.runtime.start(node).await?)
}

/// Waits for what must have happened elsewhere before a node starts.
pub(in crate::lifecycle) async fn may_start(world: &ClusterWorld, node: &NodePlan) -> Result<(), StepError> {
    if format::has_lost_its_log(world, node) {
        quorum::somebody_leads(world, node).await?;
    }
    session::former_run_is_forgotten(world, node).await
}

/// Stops nodes at the same time.
async fn stop_all<'a>(
    world: &ClusterWorld,
    nodes: impl Iterator<Item = &'a NodePlan>,
) -> Result<(), StepError> {
    try_join_all(nodes.map(|node| world.runtime.stop(node))).await?;
    Ok(())
}

/// Between two nodes of a rolling restart: every node serves, and no partition lacks a copy that the next
/// stop could turn into its last.
async fn before_the_next(world: &ClusterWorld, role: NodeRole) -> Result<(), StepError> {
    serving(world, role, patience(role)).await?;
    let Some(node) = world.cluster.plan.nodes_of(role).next().filter(|_| role == NodeRole::Broker) else {
        return Ok(());
    };
    let admin = Mutex::new(world.access().admin()?);
    await_node(&world.runtime, node, "complete copies of every partition", patience(role), || async {
        match admin.lock().await.cluster(Deadline::after(LOOK)).await {
            Ok(state) if state.is_healthy() => Probe::Ready("complete".to_owned()),
            Ok(state) => Probe::NotYet(format!(
                "{} partitions lack a copy or a leader: {}",
                state.under_replicated.len().max(state.offline.len()),
                state
                    .under_replicated
                    .iter()
                    .chain(&state.offline)
                    .take(5)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
            Err(error) => Probe::NotYet(chain(&error)),
        }
    })
    .await?;
    Ok(())
}

/// Files (by path) that a running node was started without or with another content of; empty when it is
/// the planned one.
pub(super) fn stale(world: &ClusterWorld, node: &NodePlan) -> Result<Vec<String>, StepError> {
    let credentials = world.credentials();
    let planned = NodeFiles::new(&credentials, node).digests()?;
    let text = world.cluster.dir.read_text(&world.cluster.dir.node_launched(&node.name))?;
    let launched: BTreeMap<String, String> =
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    Ok(restart::changed(&planned, &launched))
}

/// Remembers what a node is started with, before it is: killed in between, the next run starts it again.
pub(in crate::lifecycle) fn remember(world: &ClusterWorld, node: &NodePlan) -> Result<(), StepError> {
    let credentials = world.credentials();
    let digests = NodeFiles::new(&credentials, node).digests()?;
    world.cluster.dir.write_json(&world.cluster.dir.node_launched(&node.name), &digests)?;
    Ok(())
}

/// Waits until every node of a role serves.
async fn serving(world: &ClusterWorld, role: NodeRole, patience: Duration) -> Result<String, StepError> {
    let nodes: Vec<&NodePlan> = world.cluster.plan.nodes_of(role).collect();
    let seen = try_join_all(nodes.iter().map(|node| serve_one(world, node, patience))).await?;
    Ok(match role {
        NodeRole::Zookeeper | NodeRole::Controller => format!("{} nodes, {}", nodes.len(), seen.join(", ")),
        NodeRole::Broker => format!("{} brokers know each other", nodes.len()),
        NodeRole::SchemaRegistry => "running".to_owned(),
    })
}

pub(in crate::lifecycle) async fn serve_one(
    world: &ClusterWorld,
    node: &NodePlan,
    patience: Duration,
) -> Result<String, StepError> {
    match node.role {
        NodeRole::Zookeeper => member(world, node, patience).await,
        NodeRole::Broker => broker(world, node, patience).await,
        NodeRole::Controller => quorum::member(world, node, patience).await,
        NodeRole::SchemaRegistry => Ok("running".to_owned()),
    }
}

/// A ZooKeeper node serves when it leads or follows.
async fn member(world: &ClusterWorld, node: &NodePlan, patience: Duration) -> Result<String, StepError> {
    let access = world.access();
    let tls = access.zookeeper_tls()?;
    let Some(endpoint) = node.listener("CLIENT").map(|listener| Endpoint::of(node, listener)) else {
        return Ok("no client port".to_owned());
    };
    await_node(&world.runtime, node, "a leader or follower", patience, || async {
        match admin_words::status(&endpoint, &tls, Deadline::after(LOOK)).await {
            Ok(status) => match status.mode {
                ServerMode::Leader | ServerMode::Standalone => Probe::Ready("leads".to_owned()),
                ServerMode::Follower | ServerMode::Observer => Probe::Ready("follows".to_owned()),
                ServerMode::NotServing => Probe::NotYet("running, in no quorum".to_owned()),
            },
            Err(error) => Probe::NotYet(chain(&error)),
        }
    })
    .await
}

/// A broker serves when the administrator logs in and the broker knows all others.
async fn broker(world: &ClusterWorld, node: &NodePlan, patience: Duration) -> Result<String, StepError> {
    let access = world.access();
    let Some(endpoint) = node.listener("EXTERNAL").map(|listener| Endpoint::of(node, listener)) else {
        return Ok("no external listener".to_owned());
    };
    let planned: Vec<i32> = access.brokers("EXTERNAL").iter().map(|broker| broker.id).collect();
    let (tls, login) = access.administrator()?;
    await_node(&world.runtime, node, "an administrator's log-in and all brokers", patience, || async {
        match known_brokers(&endpoint, &tls, &login).await {
            Ok(known) if planned.iter().all(|id| known.contains(id)) => Probe::Ready("serves".to_owned()),
            Ok(known) => Probe::NotYet(format!("it knows the brokers {known:?} of {planned:?}")),
            Err(error) => Probe::NotYet(chain(&error)),
        }
    })
    .await
}

async fn known_brokers(
    endpoint: &Endpoint,
    tls: &crate::wire::TlsConfig,
    login: &crate::wire::Login,
) -> Result<Vec<i32>, crate::wire::WireError> {
    let deadline = Deadline::after(LOOK);
    let mut connection = Connection::open(endpoint, tls, login, deadline).await?;
    let metadata = records::metadata(&mut connection, Some(&[]), deadline).await?;
    Ok(metadata.brokers.iter().map(|broker| broker.id).collect())
}

/// Waits for a node; one that ends meanwhile is reported at once, with its log's tail.
pub(super) async fn await_node<F>(
    runtime: &Runtime,
    node: &NodePlan,
    what: &str,
    patience: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<String, StepError>
where
    F: Future<Output = Probe<String, StepError>>,
{
    let outcome = wait_for(&format!("{what} of {}", node.name), patience, INTERVAL, || {
        let look = if runtime.still_runs(node) {
            Ok(probe())
        } else {
            match runtime.observe(node) {
                NodeState::Running { .. } => Ok(probe()),
                NodeState::Died { code } => Err(code),
                NodeState::Stopped => Err(None),
            }
        };
        async move {
            match look {
                Ok(probe) => probe.await,
                Err(code) => Probe::Failed(StepError::NodeDied {
                    node: node.name.to_string(),
                    code,
                    explanation: String::new(),
                }),
            }
        }
    })
    .await;
    match outcome {
        Ok(seen) => Ok(seen),
        Err(WaitError::Failed(StepError::NodeDied { node: name, code, .. })) => {
            Err(StepError::NodeDied { node: name, code, explanation: runtime.explain(node) })
        }
        Err(WaitError::Failed(error)) => Err(error),
        Err(WaitError::TimedOut { what, elapsed, last }) => Err(StepError::NotReady {
            node: node.name.to_string(),
            awaited: what,
            waited_seconds: elapsed.as_secs(),
            last,
            explanation: runtime.explain(node),
        }),
    }
}
