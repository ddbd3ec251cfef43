//! Java, Kafka's jars and the registry: found in the cache, or fetched into it.

use std::sync::Arc;

use super::images;
use super::nodes::stale;
use crate::distribution::{self, Artifact, Java, JavaPolicy, OnProgress, Progress, Tools};
use crate::lifecycle::ClusterWorld;
use crate::lifecycle::engine::{Applied, Event, Observed, Step};
use crate::lifecycle::error::StepError;

pub(in crate::lifecycle) async fn observe(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    if world.is_contained() {
        return images::observe(world).await;
    }
    let policy = JavaPolicy::new(world.cluster.cache.clone());
    let Ok(java) = distribution::find_or_fetched(&policy).await else {
        return Ok(Observed::Absent(format!("no Java {} or newer yet", policy.minimum)));
    };
    // Also while every node runs: one of them may end before this run does, and is started again.
    world.use_java(&java);
    let as_planned = |node| {
        world.runtime.observe(node).is_running() && stale(world, node).is_ok_and(|changed| changed.is_empty())
    };
    if world.cluster.plan.nodes.iter().all(as_planned) {
        return Ok(Observed::Satisfied("in use by the running nodes".to_owned()));
    }
    for artifact in artifacts(world) {
        let Some(installed) = world.cluster.cache.installed(artifact) else {
            return Ok(Observed::Absent(format!(
                "{} {} is not in the cache",
                artifact.name(),
                artifact.version()
            )));
        };
        installed.verify().await?;
    }
    Ok(Observed::Satisfied(summary(world, &java)))
}

pub(in crate::lifecycle) async fn apply(world: &mut ClusterWorld) -> Result<Applied, StepError> {
    if world.is_contained() {
        return images::apply(world).await;
    }
    let progress = progress(world);
    let policy = JavaPolicy::new(world.cluster.cache.clone());
    let java = distribution::find_or_fetch(&policy, &*progress).await?;
    let tools = Tools { java_home: Some(java.home.clone()), ..Tools::default() };
    for artifact in artifacts(world) {
        let installed = world.cluster.cache.install(artifact, &tools, &*progress).await?;
        installed.verify().await?;
    }
    let summary = summary(world, &java);
    world.use_java(&java);
    Ok(summary.into())
}

/// Tells of downloads as they go on.
pub(super) fn progress(world: &ClusterWorld) -> Arc<OnProgress<'static>> {
    let reporter = world.reporter.clone();
    Arc::new(move |progress: Progress<'_>| {
        reporter.tell(Event::Progress {
            step: Step::Distribution,
            what: progress.what.to_owned(),
            done: progress.done,
            total: progress.total,
        });
    })
}

fn artifacts(world: &ClusterWorld) -> impl Iterator<Item = &'static Artifact> + use<> {
    let spec = &world.cluster.spec;
    let registry = spec.registry.enabled.then(Artifact::registry);
    let agent = spec.metrics.enabled.then(Artifact::metrics_agent);
    Artifact::kafka(&spec.kafka.version).into_iter().chain(registry).chain(agent)
}

fn summary(world: &ClusterWorld, java: &Java) -> String {
    let (version, kafka) = (&java.version, &world.cluster.spec.kafka.version);
    if !world.cluster.spec.registry.enabled {
        return format!("Java {version}, Kafka {kafka}");
    }
    let registry = world.cluster.plan.registry;
    format!("Java {version}, Kafka {kafka}, {} {}", registry.label(), registry.version())
}
