//! No operation starts a JVM: each is watched while it runs, from outside, by the system's process table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use caracal_cluster::cli::reference;

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::operate::pids;
use crate::product::{PATIENCE, USAGE};
use crate::program::{Ended, Program};

pub(crate) const TESTS: &[Test] = &[
    ("jvm::the_watch_sees_one_that_lives_for_a_moment", watch_works),
    ("jvm::no_command_that_only_looks_starts_one", looking),
];

/// How often the process table is read; the shortest life of a JVM is several times that.
const INTERVAL: Duration = Duration::from_millis(10);

/// Commands that only look and are not run here, each with the reason.
const ELSEWHERE: [(&str, &str); 3] = [
    ("dashboard", "it runs until Ctrl-C; `dashboard::*`"),
    ("doctor", "it asks the machine's Java for its version, which is what it is for"),
    ("verify", "it takes longest of all; `verify::*`"),
];

/// Runs a program and fails when it, or whatever it started, was a JVM.
pub(crate) fn watched(program: Program) -> Result<Ended> {
    let mut running = program.start()?;
    let (root, ended) = (running.pid(), Arc::new(AtomicBool::new(false)));
    let ends = Arc::clone(&ended);
    let watch = std::thread::spawn(move || {
        let mut seen = BTreeSet::new();
        while !ends.load(Ordering::SeqCst) {
            seen.extend(jvms_below(root));
            std::thread::park_timeout(INTERVAL);
        }
        seen
    });
    while !running.ends_within(Duration::from_millis(200)) && running.ran() < PATIENCE {}
    ended.store(true, Ordering::SeqCst);
    let done = running.finish(Duration::from_secs(1));
    let Ok(seen) = watch.join() else { bail!("the watch for JVMs ended by itself") };
    let done = done?;
    ensure!(seen.is_empty(), "{} started a JVM (process {seen:?})", done.shown);
    Ok(done)
}

/// The same for a command about a cluster, none of whose nodes may have come or gone either.
pub(crate) fn operated(cluster: &TestCluster, words: &[&str], input: Option<&str>) -> Result<Ended> {
    let before = pids(cluster)?;
    let words: Vec<String> =
        words.iter().chain(&["--name", cluster.name()]).map(|word| (*word).to_owned()).collect();
    let command = cluster.command(&words)?;
    let command = match input {
        Some(input) => command.input(input),
        None => command,
    };
    let ended = watched(command)?;
    ensure!(pids(cluster)? == before, "{} started or ended a node", ended.shown);
    Ok(ended)
}

/// JVMs among the descendants of a process.
fn jvms_below(root: u32) -> Vec<u32> {
    let mut parents = BTreeMap::new();
    let mut jvms = Vec::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return jvms };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name stands in brackets and may hold anything; state and parent follow the last one.
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let Some(parent) = tail.split_whitespace().nth(1).and_then(|word| word.parse().ok()) else {
            continue;
        };
        parents.insert(pid, parent);
        if head.ends_with("(java") {
            jvms.push(pid);
        }
    }
    jvms.retain(|jvm| {
        let mut at = *jvm;
        while let Some(parent) = parents.get(&at) {
            if *parent == root {
                return true;
            }
            at = *parent;
        }
        false
    });
    jvms
}

fn watch_works() -> Result<()> {
    Program::needed("java")?;
    let shell = Program::at("/bin/sh").args(["-c", "(java -version; true)"]);
    let Err(error) = watched(shell) else { bail!("a JVM that was started was not seen") };
    ensure!(error.to_string().contains("started a JVM"), "{error:#}");
    watched(Program::at("/bin/sh").args(["-c", "sleep 0.1"])).map(drop)
}

fn looking() -> Result<()> {
    let cluster = cluster::shared()?;
    let broker = cluster.resolved()?.plan.endpoints.bootstrap.first().cloned().unwrap_or_default();
    let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../caracal-kafka-client/contract/schemas");
    let asked = ["--principal", "consumer", "--operation", "read", "--resource", "topic:caracal.dlq"];
    let table: Vec<(&str, Vec<&str>, i32)> = vec![
        ("cluster ps", vec![], 0),
        ("cluster plan", vec![], 0),
        ("cluster logs", vec!["kafka-1", "--tail", "5"], 0),
        ("health", vec![], 0),
        ("doctor connect", vec![&broker, "--user", "consumer"], 0),
        ("lag", vec![], 0),
        ("api-versions", vec![], 0),
        ("consume", vec!["caracal.dlq", "--count", "1"], 0),
        ("groups list", vec![], 0),
        ("groups describe", vec![], 0),
        ("schemas list", vec![], 0),
        ("schemas show", vec!["caracal.metering.events-value"], 0),
        ("schemas check", vec![schemas, "--registry"], 0),
        ("schemas compatibility get", vec![], 0),
        ("topics list", vec![], 0),
        ("topics describe", vec!["caracal.dlq"], 0),
        // The shared cluster serves none, and says so.
        ("metrics", vec![], USAGE),
        ("users list", vec![], 0),
        ("users verify", vec!["consumer"], 0),
        ("acls list", vec![], 0),
        ("acls explain", asked.to_vec(), 0),
        ("certs check", vec![], 0),
        ("certs show", vec![], 0),
    ];
    // These are about no cluster.
    let alone = [
        ("cache list", vec!["cache", "list"]),
        ("cluster list", vec!["cluster", "list"]),
        ("completions", vec!["completions", "bash"]),
    ];
    let run: BTreeSet<&str> = table.iter().map(|row| row.0).chain(alone.iter().map(|row| row.0)).collect();
    for command in reference::commands().iter().filter(|command| !reference::takes_dry_run(command)) {
        let typed = command.get_bin_name().unwrap_or_default().trim_start_matches("cargo xtask ").to_owned();
        let elsewhere = ELSEWHERE.iter().any(|(name, _)| *name == typed);
        ensure!(
            run.contains(typed.as_str()) != elsewhere,
            "`{typed}` is watched nowhere: add it to the table"
        );
    }
    // The client's program is built by cargo when it is not there yet, which is no part of an operation.
    operated(cluster, &["consume", "caracal.dlq", "--count", "1"], None)?.succeeded()?;
    for (name, words, code) in &table {
        let all: Vec<&str> = name.split(' ').chain(words.iter().copied()).collect();
        operated(cluster, &all, None)?.ended_with(*code)?;
    }
    for (_, words) in alone {
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        watched(cluster.command(&words)?)?.succeeded()?;
    }
    Ok(())
}
