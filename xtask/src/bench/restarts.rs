//! `bench restarts`: what a steady producer notices of a rolling restart, and of brokers that die.
//!
//! Not a ratio: what counts is that nothing that was acknowledged is missing, and how long a partition took no write.
//! The load is a program of the client crate, so that xtask compiles no librdkafka.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::names::ClusterName;
use caracal_cluster::plan::NodeRole;
use clap::Args;
use serde_json::{Value, json};

use super::clusters;
use super::figures::Times;
use crate::shell;

const CLUSTER: &str = "bench-restarts";

/// How much is tried.
#[derive(Debug, Args)]
pub(crate) struct RestartsArguments {
    /// Events a second, all the time
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Times that a broker is killed (SIGKILL) and brought back by `up`; 0 leaves that out
    #[arg(long, default_value_t = 10)]
    kills: u32,
}

/// One cluster for both parts, one load for each.
pub(super) async fn run(arguments: &RestartsArguments) -> Result<Value> {
    let name = clusters::name(CLUSTER)?;
    // First what takes minutes the first time and needs no cluster.
    let program = built()?;
    clusters::remove(&name).await?;
    clusters::timed_up(&name)?;
    let measured = measured(&name, &program, arguments);
    let removed = clusters::remove(&name).await;
    let mut document = measured?;
    removed?;
    if let Value::Object(fields) = &mut document {
        fields.insert("versions".into(), clusters::versions().await?);
    }
    Ok(document)
}

fn measured(name: &ClusterName, program: &Path, arguments: &RestartsArguments) -> Result<Value> {
    let brokers = brokers(name)?;
    let load = Load::start(name, program, arguments.rate)?;
    let started = Instant::now();
    let mut restart = ours(name, &["cluster", "restart", "--json"])?;
    restart.args(&brokers);
    shell::quiet(restart)?;
    let rolled = started.elapsed();
    let rolling = load.end()?;
    let kept_by_restart = kept(&rolling) && rolling["not_written"] == 0 && rolling["unknown"] == 0;
    eprintln!("restarts: the rolling restart took {:.1} s", rolled.as_secs_f64());
    let (mut kills, mut kept_by_kills) = (Value::Null, true);
    if arguments.kills > 0 {
        kills = killed(name, program, &brokers, arguments)?;
        kept_by_kills = kept(&kills["load"]);
    }
    Ok(json!({
        "bench": "restarts",
        "compared": "what the producer was told with what stands in the topic afterwards; the longest time that a partition \
                     acknowledged nothing. A restart in order may fail no send; a broker that dies may leave outcomes unknown, \
                     but nothing that was acknowledged may be missing or stand there twice",
        "events_per_second": arguments.rate,
        "rolling_restart": { "seconds": rolled.as_secs_f64(), "brokers": brokers.len(), "load": rolling, "ok": kept_by_restart },
        "kills": kills,
        "ok": kept_by_restart && kept_by_kills,
    }))
}

/// Kills one broker after the other and brings each back before the next one goes.
fn killed(
    name: &ClusterName,
    program: &Path,
    brokers: &[String],
    arguments: &RestartsArguments,
) -> Result<Value> {
    let load = Load::start(name, program, arguments.rate)?;
    let mut back = Times::default();
    for (number, broker) in (1..=arguments.kills).zip(brokers.iter().cycle()) {
        let started = Instant::now();
        shell::quiet(ours(name, &["cluster", "kill", broker])?)?;
        shell::quiet(ours(name, &["cluster", "up"])?)?;
        shell::quiet(ours(name, &["health", "--wait", "2m"])?)?;
        back.push(started.elapsed());
        eprintln!("restarts: kill {number} of {}, {broker} is back", arguments.kills);
    }
    let load = load.end()?;
    let ok = kept(&load);
    Ok(json!({ "kills": arguments.kills, "seconds_until_healthy": back, "load": load, "ok": ok }))
}

/// Whether everything that was acknowledged is there, once, and every event that was taken has an outcome.
fn kept(load: &Value) -> bool {
    let number = |key: &str| load[key].as_u64();
    let taken = number("taken");
    taken.is_some_and(|taken| taken > 0)
        && number("lost") == Some(0)
        && number("duplicated") == Some(0)
        && number("accounted_for_at_close") == taken
}

/// The load's program, built.
fn built() -> Result<PathBuf> {
    let mut build = shell::cargo()?;
    build.args(["bench", "--quiet", "--package", "caracal-kafka-client", "--bench", "steady", "--no-run"]);
    let output = build.args(["--message-format", "json"]).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the load's program was not built; cargo's output is above");
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let mut messages = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let program =
        messages.find(|message| message["target"]["name"] == "steady" && message["executable"].is_string());
    let program = program.as_ref().and_then(|message| message["executable"].as_str());
    Ok(program.context("cargo names no program of the load")?.into())
}

/// The brokers, as commands take them.
fn brokers(name: &ClusterName) -> Result<Vec<String>> {
    let cluster = clusters::look(name)?.context("the cluster is not there")?;
    Ok(cluster.plan.nodes_of(NodeRole::Broker).map(|node| node.name.to_string()).collect())
}

fn ours(name: &ClusterName, words: &[&str]) -> Result<Command> {
    let mut command = shell::program(std::env::current_exe()?)?;
    command.args(words).args(["--name", name.as_str()]);
    Ok(command)
}

/// The program that sends; killed when it is dropped before its end.
struct Load {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Load {
    /// Starts it and waits until it sends.
    fn start(name: &ClusterName, program: &Path, rate: u32) -> Result<Self> {
        // Not by cargo, which would be killed in its place.
        let mut command = shell::program(program)?;
        command.arg("--producer-profile").arg(clusters::profile(name, "producer")?);
        command.arg("--consumer-profile").arg(clusters::profile(name, "consumer")?);
        command.args(["--rate", &rate.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().context("the load's program cannot be started")?;
        let output = child.stdout.take().context("its output is closed")?;
        let mut load = Self { child, output: BufReader::new(output) };
        ensure!(load.document()?["sending"] == true, "the load's program does not send");
        Ok(load)
    }

    /// Lets it end, and reads what it counted.
    fn end(mut self) -> Result<Value> {
        drop(self.child.stdin.take());
        let document = self.document()?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "the load's program failed ({ended}); its output is above");
        Ok(document)
    }

    fn document(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("the load's program")?;
        ensure!(!line.is_empty(), "the load's program ended early; its output is above");
        serde_json::from_str(&line).context("the load's program printed no document")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
