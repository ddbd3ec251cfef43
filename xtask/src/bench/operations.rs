//! `bench operations`: commands that only look against the JVM tools that say the same; back-up against a bare
//! consumer, restore against a bare consumer and a bare producer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use caracal_cluster::distribution::{Artifact, Cache};
use caracal_cluster::lifecycle::{Cluster, chain};
use caracal_cluster::names::ClusterName;
use caracal_cluster::ops::transfer;
use clap::Args;
use serde_json::{Value, json};

use super::clusters;
use super::figures::{Times, within};
use crate::shell;

/// A command may take at most this part of its JVM tool's time.
const BOUND: f64 = 0.5;
/// What it is meant to take.
const GOAL: f64 = 0.05;
/// Back-up and restore must be at least so fast as this part of a consumer that keeps nothing. Where the brokers take
/// records more slowly than that from anybody, restore is held to this part of a bare producer.
const TRANSFER_BOUND: f64 = 0.7;

const CLUSTER: &str = "bench-operations";
const EVENTS: &str = "bench-events";
const COPY: &str = "bench-events-copy";
const POURED: &str = "bench-events-poured";

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const API_VERSIONS: &str = "kafka.admin.BrokerApiVersionsCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// Ours, the JVM tool's class, and its words.
const PAIRS: [(&[&str], &str, &[&str]); 7] = [
    (&["topics", "list", "--all"], TOPICS, &["--list"]),
    (
        &["topics", "describe", "caracal.metering.events"],
        TOPICS,
        &["--describe", "--topic", "caracal.metering.events"],
    ),
    (&["groups", "list"], GROUPS, &["--list", "--state"]),
    (&["groups", "describe"], GROUPS, &["--describe", "--all-groups"]),
    (&["lag"], GROUPS, &["--describe", "--all-groups"]),
    (&["api-versions"], API_VERSIONS, &[]),
    (&["users", "list"], CONFIGS, &["--describe", "--entity-type", "users"]),
];

/// How much is measured.
#[derive(Debug, Args)]
pub(crate) struct OperationsArguments {
    /// Pairs of runs of each command, in turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Events that are backed up and restored; 0 leaves that out
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Pairs of a bare consumer and a back-up
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    transfers: u32,
}

/// One cluster for all of it.
pub(super) async fn run(arguments: &OperationsArguments) -> Result<Value> {
    let name = clusters::name(CLUSTER)?;
    clusters::remove(&name).await?;
    clusters::timed_up(&name)?;
    let measured = measured(&name, arguments).await;
    let removed = clusters::remove(&name).await;
    let document = measured?;
    removed?;
    Ok(document)
}

async fn measured(name: &ClusterName, arguments: &OperationsArguments) -> Result<Value> {
    let cluster = clusters::look(name)?.context("the cluster is not there")?;
    let tools = Tools::find(&cluster).await?;
    // Groups, for those who list them to have something to list.
    for group in ["bench-one", "bench-two"] {
        let topic = ["--topic", "caracal.metering.events", "--create", "--to-earliest"];
        shell::quiet(ours(name, &[&["groups", "reset", group][..], &topic].concat())?)?;
    }
    let mut commands = Vec::new();
    let mut kept = true;
    for (words, class, theirs) in PAIRS {
        let (mut our_times, mut their_times) = (Times::default(), Times::default());
        for _ in 0..arguments.pairs {
            let started = Instant::now();
            shell::quiet(ours(name, words)?)?;
            our_times.push(started.elapsed());
            let tool = tools.command(class, theirs)?;
            let started = Instant::now();
            shell::quiet(tool)?;
            their_times.push(started.elapsed());
        }
        let ratio = our_times.median_ratio(&their_times);
        kept &= within(ratio, BOUND);
        commands.push(json!({
            "ours": words.join(" "),
            "tool": format!("{class} {}", theirs.join(" ")),
            "seconds": { "ours": our_times, "tool": their_times },
            "median_seconds": { "ours": our_times.median(), "tool": their_times.median() },
            "ratio": ratio,
            "ok": within(ratio, BOUND),
            "goal_met": within(ratio, GOAL),
        }));
    }
    let transfer =
        if arguments.events == 0 { json!("not run") } else { transfers(name, &cluster, arguments).await? };
    let kept = kept && (arguments.events == 0 || transfer["ok"] == true);
    Ok(json!({
        "bench": "operations",
        "compared": {
            "commands": "whole processes: ours in this build, the tools on the class path of the lock's jars with \
                         `-XX:TieredStopAtLevel=1 -XX:+UseSerialGC`, which start fastest",
            "transfer": "a librdkafka consumer of the same build and settings that reads everything and keeps nothing, against \
                         `topics backup` with its SHA-256, each as a whole process; `topics restore`, its SHA-256 check \
                         included, against that consumer and against a librdkafka producer of the same settings (acks=all to 3 \
                         copies, idempotent, snappy) that writes as many ready-made bytes from memory. Writing costs three \
                         brokers what reading costs one, so where that producer itself stays below the bound of the consumer, \
                         restore is held to the producer",
        },
        "versions": clusters::versions().await?,
        "commands": commands,
        "bound": BOUND,
        "goal": GOAL,
        "transfer": transfer,
        "ok": kept,
    }))
}

fn ours(name: &ClusterName, words: &[&str]) -> Result<Command> {
    let mut command = shell::program(std::env::current_exe()?)?;
    command.args(words).args(["--name", name.as_str()]);
    Ok(command)
}

/// Kafka's own tools.
struct Tools {
    java: PathBuf,
    jars: String,
    bootstrap: String,
    config: PathBuf,
}

impl Tools {
    async fn find(cluster: &Cluster) -> Result<Self> {
        let kafka =
            Cache::discover()?.installed(Artifact::default_kafka()).context("Kafka is not in the cache")?;
        let jars: Vec<String> =
            kafka.kafka_class_path().iter().map(|jar| jar.display().to_string()).collect();
        Ok(Self {
            java: clusters::java().await?,
            jars: jars.join(":"),
            bootstrap: cluster.plan.endpoints.bootstrap.join(","),
            config: cluster.dir.client(&"admin".parse()?).join("client.properties"),
        })
    }

    fn command(&self, class: &str, words: &[&str]) -> Result<Command> {
        let mut command = shell::program(&self.java)?;
        command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &self.jars, class]);
        command
            .args(["--bootstrap-server", &self.bootstrap, "--command-config"])
            .arg(&self.config)
            .args(words);
        Ok(command)
    }
}

async fn transfers(name: &ClusterName, cluster: &Cluster, arguments: &OperationsArguments) -> Result<Value> {
    let program = transfer::program(None).await.map_err(|error| anyhow!(chain(&error)))?;
    let profile = cluster.dir.client(&"admin".parse()?).join("profile.toml");
    // In the cluster's own folder, which goes with it.
    transferred(name, &program, &profile, &cluster.dir.path().join("bench"), arguments)
}

fn transferred(
    name: &ClusterName,
    program: &Path,
    profile: &Path,
    folder: &Path,
    arguments: &OperationsArguments,
) -> Result<Value> {
    let of = |command: &str, topic: &str, words: &[&str]| -> Result<Value> {
        let mut run = shell::program(program)?;
        run.arg(command).arg("--profile").arg(profile).args(["--topic", topic]).args(words);
        Ok(serde_json::from_str(&shell::quiet(run)?)?)
    };
    let product = |words: &[&str]| -> Result<Value> {
        let mut command = ours(name, &[words, &["--json"]].concat())?;
        command.env(transfer::TRANSFER_VARIABLE, program);
        Ok(serde_json::from_str(&shell::quiet(command)?)?)
    };
    product(&["topics", "create", EVENTS, "--partitions", "6"])?;
    let count = ["--count", &arguments.events.to_string()];
    let filled = of("fill", EVENTS, &count)?;
    ensure!(filled["records"] == arguments.events, "{filled}");
    let (mut bare, mut backup) = (Times::default(), Times::default());
    let (mut producer, mut restore) = (Times::default(), Times::default());
    let mut equal = true;
    for number in 0..arguments.transfers {
        let started = Instant::now();
        let drained = of("drain", EVENTS, &["--json"])?;
        bare.push(started.elapsed());
        ensure!(drained["records"] == arguments.events, "{drained}");
        let to = folder.join(number.to_string());
        let to = to.to_str().context("a path that is no text")?;
        let started = Instant::now();
        let kept = product(&["topics", "backup", EVENTS, "--to", to])?;
        backup.push(started.elapsed());
        ensure!(kept["records"] == arguments.events, "{kept}");
        // As for a restore the topic is made for it, which is no part of writing.
        product(&["topics", "create", POURED, "--partitions", "6"])?;
        let started = Instant::now();
        let poured = of("pour", POURED, &count)?;
        producer.push(started.elapsed());
        ensure!(poured["records"] == arguments.events, "{poured}");
        product(&["topics", "delete", POURED, "--yes"])?;
        let from = format!("{to}/{EVENTS}");
        let started = Instant::now();
        let restored = product(&["topics", "restore", &from, "--as", COPY, "--no-verify"])?;
        restore.push(started.elapsed());
        equal &= restored["sha256"] == kept["sha256"];
        if number == 0 {
            // Read back once, which is not part of writing it.
            product(&["topics", "delete", COPY, "--yes"])?;
            let verified = product(&["topics", "restore", &from, "--as", COPY])?;
            equal &= verified["verified"] == true;
        }
        product(&["topics", "delete", COPY, "--yes"])?;
        std::fs::remove_dir_all(to)?;
    }
    Ok(judged(arguments.events, &Transfers { bare, backup, producer, restore }, equal))
}

/// Times of whole processes, in turns.
struct Transfers {
    bare: Times,
    backup: Times,
    producer: Times,
    restore: Times,
}

fn judged(events: u64, times: &Transfers, equal: bool) -> Value {
    let Transfers { bare, backup, producer, restore } = times;
    let fast = |ratio: Option<f64>| ratio.is_some_and(|ratio| ratio >= TRANSFER_BOUND);
    let (backup_ratio, restore_ratio) = (bare.median_ratio(backup), bare.median_ratio(restore));
    let (producer_ratio, of_producer) = (bare.median_ratio(producer), producer.median_ratio(restore));
    let brokers_are_the_limit = !fast(producer_ratio);
    let restored = fast(restore_ratio) || (brokers_are_the_limit && fast(of_producer));
    json!({
        "events": events,
        "seconds": { "bare_consumer": bare, "backup": backup, "bare_producer": producer, "restore": restore },
        "median_seconds": {
            "bare_consumer": bare.median(), "backup": backup.median(),
            "bare_producer": producer.median(), "restore": restore.median(),
        },
        "throughput_of_bare_consumer": {
            "backup": backup_ratio, "bare_producer": producer_ratio, "restore": restore_ratio,
        },
        "restore_of_bare_producer": of_producer,
        "bound": TRANSFER_BOUND,
        "brokers_are_the_limit_of_writing": brokers_are_the_limit,
        "restore_is_held_to": if brokers_are_the_limit { "bare_producer" } else { "bare_consumer" },
        "digests_equal": equal,
        "ok": equal && fast(backup_ratio) && restored,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn times(seconds: f64) -> Times {
        let mut times = Times::default();
        times.push(Duration::from_secs_f64(seconds));
        times
    }

    fn ok(bare: f64, backup: f64, producer: f64, restore: f64) -> bool {
        let [bare, backup, producer, restore] = [bare, backup, producer, restore].map(times);
        judged(1, &Transfers { bare, backup, producer, restore }, true)["ok"] == true
    }

    #[test]
    fn restore_is_held_to_the_consumer_unless_no_producer_could_keep_up_with_it() {
        assert!(ok(1.0, 1.2, 1.1, 1.3));
        assert!(ok(1.0, 1.2, 3.0, 4.0), "the brokers are the limit, and restore is near them");
        assert!(!ok(1.0, 1.2, 3.0, 5.0), "the brokers are the limit, and restore is far below them");
        assert!(!ok(1.0, 1.2, 1.3, 1.6), "a bare producer keeps up, so restore must");
        assert!(!ok(1.0, 1.6, 3.0, 3.0), "the back-up is too slow");
    }
}
