//! The schema registry: ready when it has replayed, and its subjects.

use std::time::Duration;

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::nodes::{self, await_node};
use crate::dir::DirError;
use crate::lifecycle::engine::{Applied, Event, Observed};
use crate::lifecycle::error::{StepError, chain};
use crate::lifecycle::{Cluster, ClusterWorld};
use crate::plan::{NodePlan, NodeRole, SubjectPlan};
use crate::registry::{Registry, RegistryError};
use crate::runtime::NodeState;
use crate::wait::Probe;

const PATIENCE: Duration = Duration::from_secs(180);

/// How long one gets that was launched before its topics were there; a start takes 5 to 25 s.
const FIRST_PATIENCE: Duration = Duration::from_secs(75);

/// That one process of the registry has been proved ready: proving it again would add to its journal.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Proved {
    pid: u32,
    compatibility: String,
}

pub(in crate::lifecycle) async fn observe_ready(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let Some(node) = registry_node(world) else { return Ok(Observed::Satisfied("none planned".to_owned())) };
    let NodeState::Running { pid, .. } = world.runtime.observe(node) else {
        return Ok(Observed::Absent("not running".to_owned()));
    };
    if proved(&world.cluster, node)?.is_none_or(|known| known.pid != pid) {
        return Ok(Observed::Absent("not proved to have replayed its journal".to_owned()));
    }
    let wanted = wanted_compatibility(world);
    match client(world)?.compatibility().await {
        Ok(level) if level == wanted => Ok(Observed::Satisfied(summary(world))),
        Ok(level) => Ok(Observed::Drifted(vec![format!("compatibility is {level}, planned is {wanted}")])),
        Err(error) if error.is_transient() => Ok(Observed::Absent(chain(&error))),
        Err(error) => Err(error.into()),
    }
}

/// Waits until a write comes back: only then has everything before it been replayed.
pub(in crate::lifecycle) async fn apply_ready(world: &mut ClusterWorld) -> Result<Applied, StepError> {
    let Some(node) = registry_node(world) else { return Ok("none planned".into()) };
    let wanted = wanted_compatibility(world);
    match answered_write(world, node, &wanted, FIRST_PATIENCE).await {
        // It was launched before its topics and rules were made, and on a slow machine asked for them too
        // early. Now they are there.
        Err(StepError::NodeDied { .. }) => {
            nodes::launch(world, NodeRole::SchemaRegistry).await?;
            answered_write(world, node, &wanted, PATIENCE).await?;
        }
        // Or it did not end, but goes on without its storage and never looks for it again.
        Err(StepError::NotReady { .. }) => {
            world.reporter.tell(Event::Note(format!("{} is started again: it found no storage", node.name)));
            world.runtime.stop(node).await?;
            nodes::launch(world, NodeRole::SchemaRegistry).await?;
            answered_write(world, node, &wanted, PATIENCE).await?;
        }
        other => other?,
    }
    if let NodeState::Running { pid, .. } = world.runtime.observe(node) {
        let proved = Proved { pid, compatibility: wanted };
        world.cluster.dir.write_json(&proved_path(&world.cluster, node), &proved)?;
    }
    Ok(summary(world).into())
}

async fn answered_write(
    world: &ClusterWorld,
    node: &NodePlan,
    level: &str,
    patience: Duration,
) -> Result<(), StepError> {
    let registry = client(world)?;
    await_node(&world.runtime, node, "an answered write", patience, || async {
        match registry.set_compatibility(level).await {
            Ok(()) => Probe::Ready("ready".to_owned()),
            Err(error) if error.is_transient() => Probe::NotYet(chain(&error)),
            // Half-way through its journal it takes the level for unset, and finds it set a moment later.
            Err(error @ RegistryError::Refused { status: 409, .. }) => Probe::NotYet(chain(&error)),
            Err(error) => Probe::Failed(error.into()),
        }
    })
    .await?;
    Ok(())
}

pub(in crate::lifecycle) async fn observe_schemas(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let registry = client(world)?;
    let subjects = &world.cluster.plan.subjects;
    let missing = missing_schemas(&registry, subjects).await?;
    Ok(if missing.is_empty() {
        Observed::Satisfied(schema_summary(subjects))
    } else if missing.len() == subjects.len() {
        Observed::Absent("no schema is registered".to_owned())
    } else {
        let lines = missing
            .iter()
            .map(|subject| format!("{} lacks the schema of {}", subject.subject, subject.record));
        Observed::Drifted(lines.collect())
    })
}

pub(in crate::lifecycle) async fn apply_schemas(world: &mut ClusterWorld) -> Result<Applied, StepError> {
    let registry = client(world)?;
    let missing = missing_schemas(&registry, &world.cluster.plan.subjects).await?;
    try_join_all(missing.iter().map(|subject| registry.register(&subject.subject, &subject.schema))).await?;
    Ok(schema_summary(&world.cluster.plan.subjects).into())
}

async fn missing_schemas<'a>(
    registry: &Registry,
    subjects: &'a [SubjectPlan],
) -> Result<Vec<&'a SubjectPlan>, StepError> {
    let lookups = subjects.iter().map(|subject| registry.lookup(&subject.subject, &subject.schema));
    let found = try_join_all(lookups).await?;
    Ok(subjects.iter().zip(found).filter(|(_, found)| found.is_none()).map(|(subject, _)| subject).collect())
}

pub(super) fn client(world: &ClusterWorld) -> Result<Registry, StepError> {
    Ok(Registry::new(world.cluster.plan.endpoints.registry_url.as_deref().unwrap_or_default())?)
}

fn registry_node(world: &ClusterWorld) -> Option<&NodePlan> {
    world.cluster.plan.nodes_of(NodeRole::SchemaRegistry).next()
}

/// Whether the registry's process has been proved to have replayed its journal.
pub(in crate::lifecycle) fn was_proved(cluster: &Cluster, node: &NodePlan) -> bool {
    let known = proved(cluster, node).ok().flatten();
    matches!(cluster.runtime().observe(node), NodeState::Running { pid, .. } if known.is_some_and(|known| known.pid == pid))
}

fn proved(cluster: &Cluster, node: &NodePlan) -> Result<Option<Proved>, StepError> {
    let text = cluster.dir.read_text(&proved_path(cluster, node))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

fn proved_path(cluster: &Cluster, node: &NodePlan) -> std::path::PathBuf {
    cluster.dir.node(&node.name).join("run/ready.json")
}

/// Forgets that a node was proved ready, before it is started: its new process may get the old one's pid.
pub(super) fn forget_proof(world: &ClusterWorld, node: &NodePlan) -> Result<(), DirError> {
    let path = proved_path(&world.cluster, node);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(DirError::Io { action: "removing", path: path.display().to_string(), source })
        }
        _ => Ok(()),
    }
}

fn wanted_compatibility(world: &ClusterWorld) -> String {
    world.cluster.spec.registry.compatibility.as_registry().to_owned()
}

fn summary(world: &ClusterWorld) -> String {
    let plan = &world.cluster.plan;
    let url = plan.endpoints.registry_url.as_deref().unwrap_or_default();
    format!("{} {} at {url}", plan.registry.label(), plan.registry_version)
}

fn schema_summary(subjects: &[SubjectPlan]) -> String {
    format!("{} subjects", subjects.len())
}
