//! Clusters for a benchmark: made step by step, as whole processes, and removed without a trace.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use caracal_cluster::dir::{DirLock, StateRoot};
use caracal_cluster::distribution::{self, Artifact};
use caracal_cluster::lifecycle::commands::{self, Selection};
use caracal_cluster::lifecycle::engine::{self, Reporter, Step};
use caracal_cluster::lifecycle::{Cluster, ClusterWorld, Described, chain};
use caracal_cluster::names::ClusterName;
use caracal_cluster::ports;
use caracal_cluster::runtime::process;
use caracal_cluster::spec::Overrides;
use serde_json::{Value, json};

use crate::shell;

/// The registry needs Java 21.
const LEAST_JAVA: u16 = 21;

/// The state root that the environment names.
///
/// # Errors
/// When the current folder is gone.
pub(super) fn state() -> Result<StateRoot> {
    Ok(StateRoot::from_environment()?)
}

/// The connection profile of one of a cluster's users.
///
/// # Errors
/// When the user's name is no legal one.
pub(super) fn profile(name: &ClusterName, user: &str) -> Result<PathBuf> {
    Ok(state()?.cluster(name).client(&user.parse()?).join("profile.toml"))
}

/// A cluster's name.
///
/// # Errors
/// When it is no legal one.
pub(super) fn name(text: &str) -> Result<ClusterName> {
    Ok(text.parse()?)
}

/// A cluster that is about to be made or is there, with leased ports, and the lock that holds it.
///
/// # Errors
/// When it cannot be resolved.
pub(super) fn hold(name: &ClusterName) -> Result<(Cluster, DirLock)> {
    hold_a(name, &Overrides::default())
}

fn hold_a(name: &ClusterName, overrides: &Overrides) -> Result<(Cluster, DirLock)> {
    let described = Described { overrides: overrides.clone(), ..Described::default() };
    Cluster::for_change(&state()?, Some(name), &described, "bench").map_err(|error| anyhow!(chain(&error)))
}

/// A cluster as it is; none when it was never made.
///
/// # Errors
/// When it cannot be resolved.
pub(super) fn look(name: &ClusterName) -> Result<Option<Cluster>> {
    let root = state()?;
    if !root.cluster(name).exists() {
        return Ok(None);
    }
    Cluster::for_looking(&root, Some(name), &Described::default())
        .map(Some)
        .map_err(|error| anyhow!(chain(&error)))
}

/// Carries out some steps of `up` here, silently.
///
/// # Errors
/// When one fails.
pub(super) async fn steps(name: &ClusterName, steps: &[Step]) -> Result<Cluster> {
    steps_of_a(name, &Overrides::default(), steps).await
}

/// The same of a cluster of another kind than the guide's.
///
/// # Errors
/// When one fails.
pub(super) async fn steps_of_a(name: &ClusterName, overrides: &Overrides, steps: &[Step]) -> Result<Cluster> {
    let (cluster, _lock) = hold_a(name, overrides)?;
    let mut world = ClusterWorld::new(cluster.clone(), Reporter::silent());
    engine::run(&mut world, steps, &Reporter::silent(), std::future::pending())
        .await
        .map_err(|error| anyhow!(chain(&error)))?;
    Ok(cluster)
}

/// Stops a cluster and deletes everything of it; none there is fine.
///
/// # Errors
/// When a node cannot be stopped or something cannot be deleted.
pub(super) async fn remove(name: &ClusterName) -> Result<()> {
    let root = state()?;
    if root.cluster(name).exists() {
        let selection = Selection::named(root, Some(name.clone()));
        commands::down(&selection, true, &|_| {}, std::future::pending())
            .await
            .map_err(|error| anyhow!(chain(&error)))?;
    }
    Ok(())
}

/// What a removed cluster has left behind, which must be nothing.
///
/// # Errors
/// When leases cannot be read.
pub(super) fn traces(cluster: &Cluster) -> Result<Vec<String>> {
    let id = &cluster.record.cluster_id;
    let mut traces: Vec<String> = process::find_all(id)
        .iter()
        .map(|process| format!("process {} of {}", process.pid, process.node))
        .collect();
    let leases = ports::leases(&ports::lease_dir(cluster.cache.root()))?;
    traces.extend(
        leases
            .iter()
            .filter(|lease| lease.owner.cluster_id == *id)
            .map(|lease| format!("lease of port {}", lease.port)),
    );
    let files = [cluster.dir.path(), cluster.dir.lock_file()];
    traces.extend(files.iter().filter(|path| path.exists()).map(|path| format!("file {}", path.display())));
    Ok(traces)
}

/// Start-up caches of a kind of cluster: made before the clock starts, as by an earlier `up`.
///
/// # Errors
/// When they cannot be made.
pub(super) fn make_caches(flags: &[&str]) -> Result<()> {
    let mut command = shell::program(std::env::current_exe()?)?;
    command.args(["cache", "make", "--json"]).args(flags);
    shell::quiet(command).map(drop)
}

/// `up` as a user runs it: a process of its own; with the start-up caches that are there, and making none beside it.
///
/// # Errors
/// When it cannot be started.
pub(super) fn up(name: &ClusterName) -> Result<Child> {
    up_with(name, &["--start-caches", "use"])
}

fn up_with(name: &ClusterName, flags: &[&str]) -> Result<Child> {
    let mut command = shell::program(std::env::current_exe()?)?;
    command.args(["cluster", "up", "--name", name.as_str()]).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    command.spawn().context("xtask cannot be started")
}

/// Runs `up` to its end and tells how long it took.
///
/// # Errors
/// When it fails.
pub(super) fn timed_up(name: &ClusterName) -> Result<Duration> {
    timed(name, up)
}

/// The same without start-up caches.
///
/// # Errors
/// When it fails.
pub(super) fn timed_up_without_caches(name: &ClusterName) -> Result<Duration> {
    timed_up_with(name, &["--start-caches", "off"])
}

/// The same with flags.
///
/// # Errors
/// When it fails.
pub(super) fn timed_up_with(name: &ClusterName, flags: &[&str]) -> Result<Duration> {
    timed(name, |name| up_with(name, flags))
}

fn timed(name: &ClusterName, up: impl FnOnce(&ClusterName) -> Result<Child>) -> Result<Duration> {
    let started = Instant::now();
    let status = up(name)?.wait()?;
    anyhow::ensure!(status.success(), "`cluster up --name {name}` failed ({status}); its output is above");
    Ok(started.elapsed())
}

/// What is measured with what.
///
/// # Errors
/// When there is no Java.
pub(super) async fn versions() -> Result<Value> {
    let java = distribution::find_java(LEAST_JAVA).await?;
    Ok(json!({
        "xtask": env!("CARGO_PKG_VERSION"),
        "build": if cfg!(debug_assertions) { "dev" } else { "release" },
        "java": java.version.to_string(),
        "kafka": Artifact::default_kafka().version(),
        "registry": format!("apicurio {}", Artifact::registry().version()),
        "system": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
    }))
}

/// The `java` that nodes are run by.
///
/// # Errors
/// When there is none.
pub(super) async fn java() -> Result<PathBuf> {
    Ok(distribution::find_java(LEAST_JAVA).await?.program())
}

/// The time, for certificates.
pub(super) fn now() -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc()
}
