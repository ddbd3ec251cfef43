//! Operating the shared cluster: logs, restarts, blows, health, lag, users, versions, certificates.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::runtime::process;
use caracal_cluster::wire::{Deadline, records};
use serde_json::Value;

use crate::Test;
use crate::cluster::{self, TestCluster, access};
use crate::product::{self, PATIENCE};
use crate::program::Ended;
use crate::tools::{self, block};

pub(crate) const TESTS: &[Test] = &[
    ("operate::health_of_a_sound_cluster_is_one_good_verdict", sound_health),
    ("operate::logs_are_merged_filtered_and_name_a_mistyped_node", logs),
    ("operate::a_refusal_is_in_the_audit_log", audit),
    ("operate::users_versions_and_certificates_are_listed", facts),
    ("operate::lag_is_what_was_committed_against_what_was_written", lag),
    ("operate::a_killed_and_a_paused_broker_make_health_fail_until_they_are_back", blows),
    ("operate::a_rolling_restart_keeps_every_partition_writable", rolling_restart),
    ("operate::a_restart_that_would_break_the_minimum_is_refused", refused_restart),
];

pub(crate) fn operate(cluster: &TestCluster, words: &[&str]) -> Result<Ended> {
    let words: Vec<String> =
        words.iter().chain(&["--name", cluster.name()]).map(|word| (*word).to_owned()).collect();
    cluster.run(cluster.command(&words)?)
}

pub(crate) fn document(cluster: &TestCluster, words: &[&str]) -> Result<Value> {
    product::document(&operate(cluster, &[words, &["--json"]].concat())?.succeeded()?)
}

/// The processes of the suite's cluster: an operation must start no JVM.
pub(crate) fn pids(cluster: &TestCluster) -> Result<Vec<u32>> {
    Ok(process::find_all(&cluster.id()?).iter().map(|found| found.pid).collect())
}

fn sound_health() -> Result<()> {
    let cluster = cluster::shared()?;
    let before = pids(cluster)?;
    let health = document(cluster, &["health", "--writes"])?;
    ensure!(health["healthy"] == true, "{health}");
    ensure!(health["leader"].is_string() && health["controller"].is_number(), "{health}");
    ensure!(health["partitions"]["total"].as_u64() > Some(20), "{health}");
    ensure!(pids(cluster)? == before, "an operation started or ended a node");
    operate(cluster, &["health"])?.succeeded()?.saying(&["is healthy", "quorum"])?;
    Ok(())
}

fn logs() -> Result<()> {
    let cluster = cluster::shared()?;
    let ended = operate(cluster, &["cluster", "logs", "--tail", "all", "--json"])?.succeeded()?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    let entries: Vec<Value> =
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("a line is no document")?;
    let nodes: std::collections::BTreeSet<&str> =
        entries.iter().filter_map(|entry| entry["node"].as_str()).collect();
    ensure!(nodes.len() == 7, "logs of {nodes:?}");
    let times: Vec<&str> = entries.iter().filter_map(|entry| entry["time"].as_str()).collect();
    ensure!(times.len() > 100, "{} entries", times.len());
    let one = operate(cluster, &["cluster", "logs", "kafka-1", "--grep", "^started$", "--level", "info"])?;
    let one = one.succeeded()?.saying(&["kafka-1", "started"])?;
    ensure!(!one.text().contains("kafka-2") && !one.text().contains('\u{1b}'), "{}", one.text());
    let wrong = operate(cluster, &["cluster", "logs", "kafka-11"])?.failed()?;
    ensure!(wrong.status.code() == Some(2), "{:?}", wrong.status);
    wrong.saying(&["no node `kafka-11`", "did you mean `kafka-1`?"])?;
    Ok(())
}

fn audit() -> Result<()> {
    let cluster = cluster::shared()?;
    let resolved = cluster.resolved()?;
    let access = access(&resolved);
    let consumer = resolved.plan.user("consumer").context("no consumer is planned")?;
    let mut admin = access.as_user(consumer)?;
    let denied = block(admin.delete_topics(&["caracal.dlq"], Deadline::after(PATIENCE)))?;
    ensure!(denied.iter().all(|outcome| outcome.result.is_err()), "a consumer deleted a topic");
    let look = || {
        let ended =
            operate(cluster, &["cluster", "logs", "--audit", "--grep", "User:consumer.*Denied.*Delete"]);
        let said = ended.and_then(Ended::succeeded).map_err(|error| format!("{error:#}"))?.text();
        if said.contains("caracal.dlq") { Ok(Some(())) } else { Err(said) }
    };
    tools::await_until("the refusal in the audit log", Duration::from_secs(20), look)
}

fn facts() -> Result<()> {
    let cluster = cluster::shared()?;
    let users = document(cluster, &["users", "list"])?;
    let users = users["users"].as_array().context("no users")?;
    for name in ["admin", "broker-a", "consumer", "producer", "schema-registry"] {
        let user = users.iter().find(|user| user["user"] == name).with_context(|| format!("no {name}"))?;
        ensure!(user["credentials"][0]["mechanism"] == "SCRAM-SHA-512", "{user}");
    }
    let versions = document(cluster, &["api-versions"])?;
    let brokers = versions["brokers"].as_array().context("no brokers")?;
    ensure!(brokers.len() == 3, "{versions}");
    for broker in brokers {
        ensure!(broker["error"].is_null(), "{broker}");
        ensure!(broker["apis"].as_array().is_some_and(|apis| apis.len() > 40), "{broker}");
    }
    operate(cluster, &["certs", "check", "--fail-within", "30d"])?.succeeded()?;
    let soon = operate(cluster, &["certs", "check", "--fail-within", "400d"])?.failed()?;
    ensure!(soon.status.code() == Some(10), "{:?}", soon.status);
    soon.saying(&["client.producer"])?;
    Ok(())
}

fn lag() -> Result<()> {
    const GROUP: &str = "caracal-live-lag";
    const TOPIC: &str = "caracal.dlq";
    let cluster = cluster::shared()?;
    let resolved = cluster.resolved()?;
    let access = access(&resolved);
    let deadline = Deadline::after(PATIENCE);
    block(async {
        let mut admin = access.admin()?;
        let mut leader = admin.connect_to_leader(TOPIC, 0, deadline).await?;
        let mut last = 0;
        for _ in 0..5 {
            last = records::produce(&mut leader, TOPIC, 0, None, Some(b"lag"[..].into()), deadline).await?;
        }
        let mut any = admin.connect(1, deadline).await?;
        let coordinator = records::find_coordinator(&mut any, GROUP, deadline).await?;
        let mut coordinator = admin.connect(coordinator, deadline).await?;
        // The next to be read is the third of the five.
        records::commit_offset(&mut coordinator, GROUP, TOPIC, 0, last - 2, deadline).await?;
        anyhow::Ok(())
    })?;
    let lag = document(cluster, &["lag", GROUP])?;
    ensure!(lag["groups"][0]["lag"] == 3, "{lag}");
    operate(cluster, &["lag", "--fail-over", "1000000"])?.succeeded()?.saying(&[GROUP])?;
    let over = operate(cluster, &["lag", GROUP, "--fail-over", "2"])?.failed()?;
    ensure!(over.status.code() == Some(11), "{:?}", over.status);
    operate(cluster, &["lag", "caracal-live-lig"])?
        .failed()?
        .saying(&["did you mean `caracal-live-lag`?"])?;
    let deleted = block(async {
        access.admin()?.delete_groups(|name| name == GROUP, deadline).await.map_err(anyhow::Error::from)
    })?;
    ensure!(deleted.iter().filter(|group| group.result.is_ok()).count() == 1, "{deleted:?}");
    Ok(())
}

fn blows() -> Result<()> {
    let cluster = cluster::shared()?;
    operate(cluster, &["cluster", "pause", "kafka-3"])?.succeeded()?.saying(&["paused"])?;
    let paused = operate(cluster, &["health", "--timeout", "1s"])?;
    operate(cluster, &["cluster", "resume", "kafka-3"])?.succeeded()?;
    ensure!(paused.status.code() == Some(10), "{}", paused.text());
    paused.saying(&["NOT healthy", "paused", "kafka-3"])?;
    let pid = cluster.pid(&format!("{}-kafka-2", cluster.name()))?;
    operate(cluster, &["cluster", "kill", "kafka-2", "--dry-run"])?
        .succeeded()?
        .saying(&["would be killed"])?;
    ensure!(cluster.pid(&format!("{}-kafka-2", cluster.name()))? == pid, "a dry run killed it");
    operate(cluster, &["cluster", "kill", "kafka-2"])?.succeeded()?.saying(&["killed", "undo:"])?;
    let killed = operate(cluster, &["health"])?.failed()?;
    killed.saying(&["NOT healthy", "kafka-2", "was killed by `cluster kill`"])?;
    operate(cluster, &["cluster", "restart", "kafka-2"])?.succeeded()?.saying(&["started", "in sync"])?;
    operate(cluster, &["health", "--wait", "2m"])?.succeeded()?;
    Ok(())
}

fn rolling_restart() -> Result<()> {
    let cluster = cluster::shared()?;
    let before = pids(cluster)?;
    let words = ["cluster", "restart", "kafka-1", "kafka-2", "kafka-3", "--name", cluster.name(), "--json"];
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let mut restart = cluster.command(&words)?.start()?;
    // Watched from outside: never may a partition have fewer copies than a write needs.
    let resolved = cluster.resolved()?;
    let access = access(&resolved);
    let mut looks = 0;
    while !restart.ends_within(Duration::from_millis(50)) {
        let seen = block(async {
            access.admin()?.topics(None, Deadline::after(PATIENCE)).await.map_err(anyhow::Error::from)
        });
        let Ok(topics) = seen else { continue };
        looks += 1;
        for topic in topics {
            let least = topic.min_in_sync();
            for partition in &topic.partitions {
                let copies = partition.in_sync.len();
                ensure!(copies >= least, "{}-{} had {copies} in-sync copies", topic.name, partition.id);
            }
        }
    }
    let report = product::document(&restart.finish(PATIENCE)?.succeeded()?)?;
    ensure!(looks > 10, "only {looks} looks");
    let nodes = report["nodes"].as_array().context("no nodes")?;
    ensure!(nodes.len() == 3 && nodes.iter().all(|node| node["outcome"] == "restarted"), "{report}");
    let after = pids(cluster)?;
    ensure!(after.iter().filter(|pid| !before.contains(pid)).count() == 3, "{before:?} became {after:?}");
    operate(cluster, &["health", "--wait", "2m"])?.succeeded()?;
    Ok(())
}

fn refused_restart() -> Result<()> {
    const TOPIC: &str = "live-min-isr-3";
    let cluster = cluster::shared()?;
    let resolved = cluster.resolved()?;
    let access = access(&resolved);
    let deadline = Deadline::after(PATIENCE);
    let mut topic =
        resolved.plan.topics.iter().find(|topic| topic.partitions > 1).context("no topic")?.clone();
    topic.name = TOPIC.parse()?;
    topic.config = vec![("min.insync.replicas".to_owned(), "3".to_owned())];
    let made = block(async {
        access.admin()?.create_topics(&[topic], deadline).await.map_err(anyhow::Error::from)
    })?;
    ensure!(made.iter().all(|outcome| outcome.result.is_ok()), "{made:?}");
    let before = pids(cluster)?;
    let restart = operate(cluster, &["cluster", "restart", "kafka-1"]);
    block(async { access.admin()?.delete_topics(&[TOPIC], deadline).await.map_err(anyhow::Error::from) })?;
    let restart = restart?.failed()?;
    ensure!(restart.status.code() == Some(2), "{:?}", restart.status);
    restart.saying(&[TOPIC, "needs 3", "--all-at-once"])?;
    ensure!(pids(cluster)? == before, "a refused restart touched a node");
    Ok(())
}
