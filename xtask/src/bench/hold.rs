//! `bench hold`: what the whole cluster's JVMs do under a steady load: how long they stand still to collect garbage, and
//! what memory they take.
//!
//! Not a ratio: a pause counts by itself, for whoever waits for a broker waits that long.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::lifecycle::commands::{self, Selection};
use caracal_cluster::names::ClusterName;
use clap::Args;
use serde_json::{Map, Value, json};

use super::clusters;
use super::load::{Load, built, kept, ours};
use crate::shell;

const CLUSTER: &str = "bench-hold";

/// Bytes of all nodes after the round trip; milliseconds of a pause in which everything is collected.
const MEMORY_BOUND_BYTES: u64 = 2_000_000_000;
const FULL_PAUSE_BOUND_MILLIS: f64 = 200.0;

/// What is held, and how long.
#[derive(Debug, Args)]
pub(crate) struct HoldArguments {
    /// Events a second
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Minutes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=120))]
    minutes: u32,
    /// Brokers' and controllers' mode
    #[arg(long, value_parser = ["zookeeper", "kraft"], default_value = "zookeeper")]
    metadata: String,
}

/// What a JVM's log tells of its collections.
#[derive(Debug, Default, PartialEq)]
struct Pauses {
    count: u64,
    longest_millis: f64,
    full: u64,
    longest_full_millis: f64,
}

/// One cluster, one load.
pub(super) async fn run(arguments: &HoldArguments) -> Result<Value> {
    let name = clusters::name(CLUSTER)?;
    let program = built()?;
    clusters::remove(&name).await?;
    let measured = measured(&name, &program, arguments);
    let removed = clusters::remove(&name).await;
    let document = measured?;
    removed?;
    Ok(document)
}

fn measured(name: &ClusterName, program: &Path, arguments: &HoldArguments) -> Result<Value> {
    shell::quiet(ours(name, &["cluster", "up", "--metadata", &arguments.metadata])?)?;
    shell::quiet(ours(name, &["verify"])?)?;
    let after_round_trip = resident(name)?;
    let load = Load::start(name, program, arguments.rate, &[] as &[&str])?;
    hold(Duration::from_secs(60) * arguments.minutes);
    let after_load = resident(name)?;
    let load = load.end()?;
    let pauses = pauses(name)?;
    let full = pauses.iter().map(|(_, pauses)| pauses.longest_full_millis).fold(0.0, f64::max);
    let total: u64 = after_round_trip.values().sum();
    let ok = kept(&load) && full <= FULL_PAUSE_BOUND_MILLIS && total <= MEMORY_BOUND_BYTES;
    let pauses: Map<String, Value> =
        pauses.into_iter().map(|(node, pauses)| (node, shown(&pauses))).collect();
    Ok(json!({
        "bench": "hold",
        "compared": "the pauses that each JVM's own log tells of, and the resident memory of all nodes after `up` and `verify` \
                     and at the end of the load, with their bounds",
        "metadata": arguments.metadata,
        "events_per_second": arguments.rate,
        "minutes": arguments.minutes,
        "heaps": heaps(name)?,
        "resident_bytes": { "after_round_trip": total, "by_node": after_round_trip, "after_load": after_load },
        "pauses": pauses,
        "load": load,
        "bounds": { "resident_bytes": MEMORY_BOUND_BYTES, "full_pause_millis": FULL_PAUSE_BOUND_MILLIS },
        "ok": ok,
    }))
}

#[expect(clippy::disallowed_methods, reason = "the time that the load is held is what is waited for")]
fn hold(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        eprintln!("hold: {} s left", left.as_secs());
        std::thread::sleep(left.min(Duration::from_secs(60)));
    }
}

/// Resident bytes of each node.
fn resident(name: &ClusterName) -> Result<std::collections::BTreeMap<String, u64>> {
    let seen = commands::ps(&Selection::named(clusters::state()?, Some(name.clone())))?;
    seen.nodes
        .into_iter()
        .map(|node| {
            Ok((
                node.node.to_string(),
                node.rss_bytes.with_context(|| format!("{} does not run", node.node))?,
            ))
        })
        .collect()
}

/// The heap that each node's JVM is given, as its argument file says it.
fn heaps(name: &ClusterName) -> Result<Map<String, Value>> {
    let cluster = clusters::look(name)?.context("the cluster is not there")?;
    let mut heaps = Map::new();
    for node in &cluster.plan.nodes {
        let arguments = node.files.iter().find(|file| file.path == "config/node.args");
        let limits: Vec<&str> = arguments
            .map(|file| file.text.lines().filter(|line| line.starts_with("-Xm")).collect())
            .unwrap_or_default();
        heaps.insert(node.name.to_string(), json!(limits.join(" ")));
    }
    Ok(heaps)
}

fn pauses(name: &ClusterName) -> Result<Vec<(String, Pauses)>> {
    let cluster = clusters::look(name)?.context("the cluster is not there")?;
    let mut all = Vec::new();
    for node in &cluster.plan.nodes {
        let path = cluster.dir.node_gc_log(&node.name);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let pauses = told(&text);
        // Every one of them collects while it starts or under the load; none at all would be a log in other words.
        ensure!(pauses.count > 0, "{} tells of no pause", path.display());
        all.push((node.name.to_string(), pauses));
    }
    Ok(all)
}

/// Reads lines such as `[..][..] GC(4) Pause Young (Normal) (G1 Evacuation Pause) 83M->19M(128M) 6.214ms`.
fn told(log: &str) -> Pauses {
    let mut pauses = Pauses::default();
    for line in log.lines() {
        let Some((_, pause)) = line.split_once(" Pause ") else { continue };
        let Some(millis) = pause.rsplit(' ').next().and_then(|last| last.strip_suffix("ms")?.parse().ok())
        else {
            continue;
        };
        pauses.count += 1;
        pauses.longest_millis = pauses.longest_millis.max(millis);
        if pause.starts_with("Full") {
            pauses.full += 1;
            pauses.longest_full_millis = pauses.longest_full_millis.max(millis);
        }
    }
    pauses
}

fn shown(pauses: &Pauses) -> Value {
    json!({
        "pauses": pauses.count,
        "longest_millis": pauses.longest_millis,
        "full": pauses.full,
        "longest_full_millis": pauses.longest_full_millis,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_read_of_both_collectors_logs() {
        let log = "[2026-01-01T00:00:00.000+0000][0.3s] Using G1\n\
                   [t][1.0s] GC(0) Pause Young (Normal) (G1 Evacuation Pause) 23M->5M(128M) 2.345ms\n\
                   [t][2.0s] GC(1) Concurrent Mark Cycle 12.5ms\n\
                   [t][2.1s] GC(1) Pause Remark 30M->29M(128M) 4.5ms\n\
                   [t][3.0s] GC(2) Pause Full (Metadata GC Threshold) 12M->9M(64M) 31.000ms\n\
                   [t][4.0s] GC(3) Pause Young (Allocation Failure) 9M->";
        let expected = Pauses { count: 3, longest_millis: 31.0, full: 1, longest_full_millis: 31.0 };
        assert_eq!(told(log), expected);
        assert_eq!(told(""), Pauses::default());
    }
}
