//! `bench up`: a cold start by us, and by a script that starts the same nodes stage by stage.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use caracal_cluster::lifecycle::Cluster;
use caracal_cluster::lifecycle::engine::Step;
use caracal_cluster::plan::NodeRole;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::figures::{Times, within};
use super::{clusters, containers};
use crate::shell;

const BOUND: f64 = 1.0;
const SECOND_BOUND_SECONDS: f64 = 1.0;
const SECOND_RUNS: usize = 5;
const OURS: &str = "bench-ours";
const THEIRS: &str = "bench-script";
const SCRIPT: &str = "xtask/bench/up.sh";

/// What the script finds ready before its clock starts.
const PREPARED: [Step; 4] = [Step::Credentials, Step::Distribution, Step::Configuration, Step::Clients];

/// How often it is run.
#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    /// Pairs of cold starts, in turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Where our nodes run: as processes against the script, or in containers against processes
    #[arg(long, value_enum, default_value_t)]
    runtime: Runtime,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Runtime {
    #[default]
    Native,
    /// Needs an engine and the images of `image build`
    Docker,
}

/// Measures cold starts in turns, and second starts on the running cluster.
pub(super) async fn run(arguments: &UpArguments) -> Result<Value> {
    if arguments.runtime == Runtime::Docker {
        return containers::run(arguments.pairs).await;
    }
    let measured = measure(arguments.pairs).await;
    // Whatever happened: nothing is left running. What went wrong first is told first.
    let mut removed = Ok(());
    for name in [OURS, THEIRS] {
        removed = removed.and(clusters::remove(&clusters::name(name)?).await);
    }
    let Measured { ours, without_caches, script, second } = measured?;
    removed?;
    let ratio = ours.median_ratio(&script);
    Ok(json!({
        "bench": "up",
        "compared": {
            "ours": "`cluster up` from nothing but downloads, and start-up caches as the first `up` of a user leaves them, to \
                     the first acknowledged round trip: certificates, configuration, 3 ZooKeeper, users, 3 brokers, rules, \
                     topics, registry, client files, every log-in on every listener, schemas, one Avro event",
            "without_caches": "the same without start-up caches: the first `up` of all",
            "script": "the same seven JVMs with the same files one stage after the other, each waited for; certificates, \
                       configuration and client files are made before its clock starts, users, rules, topics and the \
                       round trip by our own commands, no proof of log-ins: all of which favours the script",
        },
        "commands": { "ours": format!("cluster up --name {OURS}"), "script": SCRIPT },
        "versions": clusters::versions().await?,
        "seconds": { "ours": ours, "without_caches": without_caches, "script": script, "second_up": second },
        "median_seconds": {
            "ours": ours.median(),
            "without_caches": without_caches.median(),
            "script": script.median(),
            "second_up": second.median(),
        },
        "ratio": ratio,
        "ratio_without_caches": without_caches.median_ratio(&script),
        "bound": BOUND,
        "second_up_bound_seconds": SECOND_BOUND_SECONDS,
        "ok": within(ratio, BOUND) && within(second.median(), SECOND_BOUND_SECONDS),
    }))
}

#[derive(Default)]
struct Measured {
    ours: Times,
    without_caches: Times,
    script: Times,
    second: Times,
}

async fn measure(pairs: u32) -> Result<Measured> {
    let (ours, theirs) = (clusters::name(OURS)?, clusters::name(THEIRS)?);
    let mut measured = Measured::default();
    clusters::make_caches(&[])?;
    for pair in 1..=pairs {
        clusters::remove(&ours).await?;
        measured.ours.push(clusters::timed_up(&ours)?);
        if pair == pairs {
            for _ in 0..SECOND_RUNS {
                measured.second.push(clusters::timed_up(&ours)?);
            }
        }
        clusters::remove(&ours).await?;
        measured.without_caches.push(clusters::timed_up_without_caches(&ours)?);
        clusters::remove(&ours).await?;

        clusters::remove(&theirs).await?;
        let cluster = clusters::steps(&theirs, &PREPARED).await?;
        let command = script(&cluster).await?;
        let started = Instant::now();
        shell::quiet(command)?;
        measured.script.push(started.elapsed());
        clusters::remove(&theirs).await?;
    }
    Ok(measured)
}

/// The script with everything that it needs to know.
async fn script(cluster: &Cluster) -> Result<Command> {
    let plan = &cluster.plan;
    let nodes = |role: NodeRole| -> String {
        let nodes = plan.nodes_of(role).map(|node| {
            let ports: Vec<String> = node
                .listeners
                .iter()
                .filter(|listener| matches!(listener.name.as_str(), "CLIENT" | "INTERNAL" | "EXTERNAL"))
                .map(|listener| format!("{}:{}", listener.dial.ip(), listener.dial.port()))
                .collect();
            format!("{}={}", node.name, ports.join(","))
        });
        nodes.collect::<Vec<_>>().join(" ")
    };
    let mut command = shell::program("bash")?;
    command
        .arg(SCRIPT)
        .env("XTASK", std::env::current_exe()?)
        .env("JAVA", clusters::java().await?)
        .env("NAME", plan.cluster.as_str())
        .env("CLUSTER_ID", &cluster.record.cluster_id)
        .env("NODES", cluster.dir.nodes())
        .env("ZOOKEEPERS", nodes(NodeRole::Zookeeper))
        .env("BROKERS", nodes(NodeRole::Broker))
        .env("REGISTRY", nodes(NodeRole::SchemaRegistry))
        .env("REGISTRY_URL", plan.endpoints.registry_url.as_deref().unwrap_or_default());
    Ok(command)
}
