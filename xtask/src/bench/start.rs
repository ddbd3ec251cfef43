//! `bench start`: what start-up caches, KRaft and the minimal profile bring, each beside what it is compared with.
//!
//! Every variant is a whole `up` as a user runs it, from nothing but downloads, in turns; the document also says where
//! the seconds go, step by step, and what the nodes cost in processor time and memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use caracal_cluster::dir::ClusterDir;
use caracal_cluster::lifecycle::Cluster;
use caracal_cluster::lifecycle::commands::{self, Selection};
use caracal_cluster::lifecycle::engine::Step;
use caracal_cluster::names::ClusterName;
use caracal_cluster::runtime::process;
use caracal_cluster::spec::{Overrides, Profile};
use clap::Args;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::clusters;
use super::figures::{Times, within};
use crate::shell;

const CLUSTER: &str = "bench-start";

/// Ours to the same without caches; KRaft to ZooKeeper; the minimal node in seconds, and to a PLAINTEXT one.
const CACHED_BOUND: f64 = 0.70;
const KRAFT_BOUND: f64 = 1.0;
const MINIMAL_BOUND_SECONDS: f64 = 2.0;
const PLAINTEXT_BOUND: f64 = 1.3;
const MEMORY_BOUND_BYTES: u64 = 2_000_000_000;

/// How long a PLAINTEXT node may take.
const PLAINTEXT_PATIENCE: Duration = Duration::from_secs(120);

/// How often each variant is started.
#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    /// Rounds, each with one start of every variant
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// One way to start a cluster.
struct Variant {
    name: &'static str,
    flags: &'static [&'static str],
}

const VARIANTS: [Variant; 6] = [
    Variant { name: "zookeeper", flags: &["--start-caches", "use"] },
    Variant { name: "zookeeper_without_caches", flags: &["--start-caches", "off"] },
    Variant { name: "kraft", flags: &["--metadata", "kraft", "--start-caches", "use"] },
    Variant { name: "kraft_without_caches", flags: &["--metadata", "kraft", "--start-caches", "off"] },
    Variant { name: "minimal", flags: &["--profile", "minimal", "--start-caches", "use"] },
    Variant { name: "minimal_without_caches", flags: &["--profile", "minimal", "--start-caches", "off"] },
];

/// What one variant took.
#[derive(Default)]
struct Measured {
    times: Times,
    /// Of the last start.
    steps: Map<String, Value>,
    processor_seconds: Map<String, Value>,
    resident_bytes: u64,
}

/// Starts every variant in turns.
pub(super) async fn run(arguments: &StartArguments) -> Result<Value> {
    let name = clusters::name(CLUSTER)?;
    for flags in [&[][..], &["--metadata", "kraft"], &["--profile", "minimal"]] {
        clusters::make_caches(flags)?;
    }
    clusters::remove(&name).await?;
    let mut measured: Vec<Measured> = VARIANTS.iter().map(|_| Measured::default()).collect();
    let mut plaintext = Times::default();
    let outcome = rounds(arguments.rounds, &name, &mut measured, &mut plaintext).await;
    let removed = clusters::remove(&name).await;
    outcome?;
    removed?;
    document(&measured, &plaintext).await
}

async fn rounds(
    rounds: u32,
    name: &ClusterName,
    measured: &mut [Measured],
    plaintext: &mut Times,
) -> Result<()> {
    for _ in 0..rounds {
        for (variant, measured) in VARIANTS.iter().zip(measured.iter_mut()) {
            measure(name, variant, measured).with_context(|| variant.name)?;
            clusters::remove(name).await?;
        }
        plaintext.push(plaintext_node(name).await.context("a PLAINTEXT node")?);
        clusters::remove(name).await?;
    }
    Ok(())
}

fn measure(name: &ClusterName, variant: &Variant, measured: &mut Measured) -> Result<()> {
    let mut command = shell::program(std::env::current_exe()?)?;
    command.args(["cluster", "up", "--json", "--name", name.as_str()]).args(variant.flags);
    let started = Instant::now();
    let printed = shell::quiet(command)?;
    measured.times.push(started.elapsed());
    let report: Value = serde_json::from_str(&printed)?;
    let steps = report["steps"].as_array().context("no steps in the report of `up`")?;
    measured.steps = steps
        .iter()
        .filter_map(|step| {
            Some((step["step"].as_str()?.to_owned(), json!(seconds(step["millis"].as_u64()?))))
        })
        .collect();
    (measured.processor_seconds, measured.resident_bytes) = cost(name)?;
    Ok(())
}

fn seconds(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}

/// Processor seconds since their start by role, and resident bytes of all nodes together.
fn cost(name: &ClusterName) -> Result<(Map<String, Value>, u64)> {
    let mut by_role: BTreeMap<&str, f64> = BTreeMap::new();
    let mut resident = 0;
    for node in commands::ps(&Selection::named(clusters::state()?, Some(name.clone())))?.nodes {
        let (pid, bytes) =
            node.pid.zip(node.rss_bytes).with_context(|| format!("{} does not run", node.node))?;
        let role = node.role.with_context(|| format!("{} is in no plan", node.node))?;
        *by_role.entry(role.label()).or_default() += processor_seconds(pid)?;
        resident += bytes;
    }
    let by_role = by_role
        .into_iter()
        .map(|(role, seconds)| (role.to_owned(), json!((seconds * 100.0).round() / 100.0)));
    Ok((by_role.collect(), resident))
}

/// User and system time of a process (proc(5), `stat`, fields 14 and 15), in seconds.
fn processor_seconds(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(')').context("stat has no name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| -> Result<u32> { Ok(fields.get(at).context("stat is too short")?.parse()?) };
    Ok(f64::from(ticks(11)? + ticks(12)?) / TICKS_A_SECOND)
}

/// `USER_HZ`, which is 100 on every architecture that Java runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// The same jars, flags and formatted data as the minimal node, no caches, and nothing of security: from the start of its
/// process to its first answer.
async fn plaintext_node(name: &ClusterName) -> Result<Duration> {
    const PREPARED: [Step; 4] = [Step::Credentials, Step::Distribution, Step::Configuration, Step::Format];
    let overrides = Overrides { profile: Some(Profile::Minimal), ..Overrides::default() };
    let cluster = clusters::steps_of_a(name, &overrides, &PREPARED).await?;
    let node = cluster.plan.nodes.first().context("the minimal plan has no node")?;
    let port = node.listener("EXTERNAL").context("no external listener")?.dial.port();
    let home = cluster.dir.node(&node.name);
    let arguments = without_security(&cluster.dir, &home)?;
    let java = clusters::java().await?;
    let started = Instant::now();
    let mut child = start(&java, &cluster, node.name.as_str(), &home, &arguments)?;
    let answered = answers(port, &mut child).await;
    let took = started.elapsed();
    answered?;
    Ok(took)
}

/// Writes the node's settings without listeners' security and authorizer; gives its argument file.
fn without_security(dir: &ClusterDir, home: &Path) -> Result<PathBuf> {
    const GONE: [&str; 6] =
        ["listener.name.", "sasl.", "authorizer.", "super.users", "allow.everyone.", "listener.security."];
    let text = std::fs::read_to_string(home.join("config/server.properties"))?;
    let mut settings: String = text
        .lines()
        .filter(|line| !GONE.iter().any(|gone| line.starts_with(gone)))
        .flat_map(|line| [line, "\n"])
        .collect();
    settings.push_str(
        "listener.security.protocol.map=INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT\n",
    );
    dir.write(&home.join("config/plain.properties"), settings.as_bytes())?;
    let arguments = std::fs::read_to_string(home.join("config/node.args"))?;
    let plain = home.join("config/plain.args");
    dir.write(&plain, arguments.replace("config/server.properties", "config/plain.properties").as_bytes())?;
    Ok(plain)
}

/// Starts a JVM with the marks by which `down` knows its processes.
fn start(java: &Path, cluster: &Cluster, node: &str, home: &Path, arguments: &Path) -> Result<Child> {
    let mut command = shell::program(java)?;
    command.args(process::marks(&cluster.record.cluster_id, node)).arg(format!("@{}", arguments.display()));
    command.current_dir(home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    command.spawn().context("java cannot be started")
}

/// Waits for the first answer to an ApiVersions request (key 18, version 0), the first that any client sends.
async fn answers(port: u16, child: &mut Child) -> Result<()> {
    let end = Instant::now() + PLAINTEXT_PATIENCE;
    loop {
        if let Ok(true) = tokio::time::timeout(Duration::from_secs(5), asked(port)).await.unwrap_or(Ok(false))
        {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("the PLAINTEXT node ended ({status})");
        }
        ensure!(Instant::now() < end, "the PLAINTEXT node did not answer in {PLAINTEXT_PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn asked(port: u16) -> std::io::Result<bool> {
    // Size, key, version, correlation id, no client id.
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&REQUEST).await?;
    let mut head = [0; 8];
    stream.read_exact(&mut head).await?;
    Ok(head[4..] == [0, 0, 0, 7])
}

async fn document(measured: &[Measured], plaintext: &Times) -> Result<Value> {
    let of = |name: &str| VARIANTS.iter().position(|variant| variant.name == name).map(|at| &measured[at]);
    let ratio = |ours: &str, theirs: &str| of(ours)?.times.median_ratio(&of(theirs)?.times);
    let minimal = of("minimal");
    let cached = ratio("zookeeper", "zookeeper_without_caches");
    let kraft = ratio("kraft", "zookeeper");
    let to_plaintext = minimal.and_then(|minimal| minimal.times.median_ratio(plaintext));
    let minimal_seconds = minimal.and_then(|minimal| minimal.times.median());
    let resident = of("zookeeper").map_or(u64::MAX, |measured| measured.resident_bytes);
    let variants: Map<String, Value> = VARIANTS
        .iter()
        .zip(measured)
        .map(|(variant, measured)| (variant.name.to_owned(), shown(variant, measured)))
        .collect();
    let held = within(cached, CACHED_BOUND)
        && within(kraft, KRAFT_BOUND)
        && within(minimal_seconds, MINIMAL_BOUND_SECONDS)
        && within(to_plaintext, PLAINTEXT_BOUND)
        && resident <= MEMORY_BOUND_BYTES;
    Ok(json!({
        "bench": "start",
        "compared": {
            "variants": "`cluster up` from nothing but downloads and start-up caches to the last proof, with and without the \
                         caches; the minimal node has no registry, and is ready when every user has logged in",
            "plaintext": "one broker and controller with the minimal node's jars, flags and formatted data, without caches and \
                          without any security, from the start of its process to its first answer",
        },
        "versions": clusters::versions().await?,
        "variants": variants,
        "plaintext": { "seconds": plaintext, "median_seconds": plaintext.median() },
        "ratios": {
            "caches_to_none_zookeeper": cached,
            "caches_to_none_kraft": ratio("kraft", "kraft_without_caches"),
            "caches_to_none_minimal": ratio("minimal", "minimal_without_caches"),
            "kraft_to_zookeeper": kraft,
            "minimal_to_plaintext": to_plaintext,
        },
        "bounds": {
            "caches_to_none_zookeeper": CACHED_BOUND,
            "kraft_to_zookeeper": KRAFT_BOUND,
            "minimal_seconds": MINIMAL_BOUND_SECONDS,
            "minimal_to_plaintext": PLAINTEXT_BOUND,
            "zookeeper_resident_bytes": MEMORY_BOUND_BYTES,
        },
        "ok": held,
    }))
}

fn shown(variant: &Variant, measured: &Measured) -> Value {
    json!({
        "command": format!("cluster up {}", variant.flags.join(" ")),
        "seconds": measured.times,
        "median_seconds": measured.times.median(),
        "steps": measured.steps,
        "processor_seconds": measured.processor_seconds,
        "resident_bytes": measured.resident_bytes,
    })
}
