//! `bench up --runtime docker`: a cold start of the whole cluster in containers against the same one as processes.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::clusters;
use super::figures::{Times, within};
use crate::shell;

/// An engine makes a network, volumes and containers, tries each image, and forwards each connection.
const BOUND: f64 = 1.5;
const CONTAINERS: &str = "bench-docker";
const PROCESSES: &str = "bench-native";

const IN_CONTAINERS: &[&str] = &["--runtime", "docker", "--images", "local", "--start-caches", "off"];
const AS_PROCESSES: &[&str] = &["--runtime", "native", "--start-caches", "off"];
const WITH_CACHES: &[&str] = &["--runtime", "native", "--start-caches", "use"];

/// Measures cold starts in turns.
pub(super) async fn run(pairs: u32) -> Result<Value> {
    let mut docker = shell::program("docker")?;
    docker.args(["version", "--format", "{{.Server.Version}}"]);
    let engine = shell::quiet(docker).context("no container engine answers")?;
    let measured = measure(pairs).await;
    // Whatever happened: nothing is left running. What went wrong first is told first.
    let mut removed = Ok(());
    for name in [CONTAINERS, PROCESSES] {
        removed = removed.and(clusters::remove(&clusters::name(name)?).await);
    }
    let [containers, processes, with_caches] = measured?;
    removed?;
    let ratio = containers.median_ratio(&processes);
    Ok(json!({
        "bench": "up in containers",
        "compared": {
            "containers": "`cluster up` from images that are here to the last proof: 3 ZooKeeper, 3 brokers, registry",
            "processes": "the same cluster as processes, from nothing but downloads, also without start-up caches",
            "with_caches": "the same with start-up caches, which containers have not got",
        },
        "commands": {
            "containers": format!("cluster up {}", IN_CONTAINERS.join(" ")),
            "processes": format!("cluster up {}", AS_PROCESSES.join(" ")),
            "with_caches": format!("cluster up {}", WITH_CACHES.join(" ")),
        },
        "engine": engine.trim(),
        "versions": clusters::versions().await?,
        "seconds": { "containers": containers, "processes": processes, "with_caches": with_caches },
        "median_seconds": {
            "containers": containers.median(),
            "processes": processes.median(),
            "with_caches": with_caches.median(),
        },
        "ratio": ratio,
        "ratio_with_caches": containers.median_ratio(&with_caches),
        "bound": BOUND,
        "ok": within(ratio, BOUND),
    }))
}

async fn measure(pairs: u32) -> Result<[Times; 3]> {
    let mut measured = [Times::default(), Times::default(), Times::default()];
    clusters::make_caches(&[])?;
    let kinds = [(CONTAINERS, IN_CONTAINERS), (PROCESSES, AS_PROCESSES), (PROCESSES, WITH_CACHES)];
    for _ in 0..pairs {
        for (times, (name, flags)) in measured.iter_mut().zip(kinds) {
            let name = clusters::name(name)?;
            clusters::remove(&name).await?;
            times.push(clusters::timed_up_with(&name, flags)?);
            clusters::remove(&name).await?;
        }
    }
    Ok(measured)
}
