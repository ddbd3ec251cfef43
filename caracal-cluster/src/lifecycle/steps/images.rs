//! What containers are made from: images that are here or are pulled, proved by a container that does what a node
//! will; and the metrics agent, which no image has.

use std::collections::BTreeMap;

use super::distribution::progress;
use crate::distribution::{Artifact, Tools};
use crate::lifecycle::ClusterWorld;
use crate::lifecycle::engine::{Applied, Event, Observed, Step};
use crate::lifecycle::error::StepError;
use crate::plan::{NodePlan, NodeRole};
use crate::runtime::docker::images;
use crate::runtime::{NodeError, Runtime};

pub(super) async fn observe(world: &ClusterWorld) -> Result<Observed, StepError> {
    let missing = images::missing(&names(world)).await.map_err(NodeError::from)?;
    if !missing.is_empty() {
        return Ok(Observed::Absent(format!("not here yet: {}", missing.join(", "))));
    }
    let agent = Artifact::metrics_agent();
    if world.cluster.spec.metrics.enabled && world.cluster.cache.installed(agent).is_none() {
        return Ok(Observed::Absent(format!("{} {} is not in the cache", agent.name(), agent.version())));
    }
    Ok(Observed::Satisfied(names(world).join(", ")))
}

pub(super) async fn apply(world: &ClusterWorld) -> Result<Applied, StepError> {
    for image in images::missing(&names(world)).await.map_err(NodeError::from)? {
        let (reporter, what) = (world.reporter.clone(), image.clone());
        let told = move |status: &str| {
            let what = format!("{what}: {status}");
            reporter.tell(Event::Progress { step: Step::Distribution, what, done: 0, total: 0 });
        };
        images::pull(&image, told).await.map_err(NodeError::from)?;
    }
    if world.cluster.spec.metrics.enabled {
        let tools = Tools::default();
        let installed =
            world.cluster.cache.install(Artifact::metrics_agent(), &tools, &*progress(world)).await?;
        installed.verify().await?;
    }
    Ok(names(world).join(", ").into())
}

/// Proves each image once, by the first node that it is for; nothing to prove where nodes are processes.
pub(super) async fn prove(world: &ClusterWorld) -> Result<(), StepError> {
    let Runtime::Docker(docker) = &world.runtime else { return Ok(()) };
    let plan = &world.cluster.plan;
    for node in by_image(world).values().filter(|node| !world.runtime.observe(node).is_running()) {
        let found = docker.prove_image(node, plan).await.map_err(NodeError::from)?;
        let image = node.container.as_ref().map_or("", |container| container.image.as_str());
        let text = match node.role {
            NodeRole::SchemaRegistry if found != plan.registry_version => {
                format!("{image} has version {found} of the registry, planned is {}", plan.registry_version)
            }
            NodeRole::SchemaRegistry => continue,
            _ if found != plan.kafka_version => format!(
                "{image} has Kafka {found}, the description says {}; both are of one line",
                plan.kafka_version
            ),
            _ => continue,
        };
        world.reporter.tell(Event::Note(text));
    }
    Ok(())
}

fn by_image(world: &ClusterWorld) -> BTreeMap<&str, &NodePlan> {
    let nodes = world.cluster.plan.nodes.iter().rev();
    nodes.filter_map(|node| Some((node.container.as_ref()?.image.as_str(), node))).collect()
}

fn names(world: &ClusterWorld) -> Vec<String> {
    by_image(world).into_keys().map(str::to_owned).collect()
}
