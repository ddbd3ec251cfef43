//! Topics made, changed, declared and deleted by the product, judged by `kafka-topics`.

use anyhow::{Context as _, Result, ensure};

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::jdk::{self, TOPICS};
use crate::operate::{document, operate, pids};
use crate::product::{DRIFT, USAGE};

pub(crate) const TESTS: &[Test] = &[
    ("topics::made_changed_and_deleted_ones_are_so_for_kafka_topics", made_changed_deleted),
    ("topics::what_can_never_be_right_is_refused_before_a_broker_is_asked", refusals),
    ("topics::declared_ones_are_compared_and_brought_to_what_is_declared", declared),
];

/// What `kafka-topics --describe` says of a topic in its first line; none when it does not know it.
fn described(cluster: &TestCluster, topic: &str) -> Result<Option<String>> {
    let seen = jdk::as_admin(cluster, TOPICS)?.args(["--describe"]).run()?.succeeded()?.text();
    let head = format!("Topic: {topic}\t");
    Ok(seen
        .lines()
        .find(|line| line.starts_with(&head) && line.contains("PartitionCount"))
        .map(str::to_owned))
}

fn saying(line: Option<&String>, parts: &[&str]) -> Result<()> {
    let line = line.context("kafka-topics does not know the topic")?;
    parts.iter().try_for_each(|part| {
        ensure!(line.contains(part), "`{part}` is not in {line}");
        Ok(())
    })
}

fn refused(cluster: &TestCluster, words: &[&str], saying: &[&str]) -> Result<()> {
    let ended = operate(cluster, words)?.failed()?;
    ensure!(ended.status.code() == Some(USAGE), "{words:?}: {:?}\n{}", ended.status, ended.text());
    ended.saying(saying)?;
    Ok(())
}

fn made_changed_deleted() -> Result<()> {
    const TOPIC: &str = "live.topics.made";
    let cluster = cluster::shared()?;
    let before = pids(cluster)?;
    let make = ["topics", "create", TOPIC, "--partitions", "2", "--config", "retention.ms=3600000"];
    let would = document(cluster, &[&make[..], &["--dry-run"]].concat())?;
    ensure!(would["dry_run"] == true && would["topics"][0]["outcome"] == "created", "{would}");
    ensure!(described(cluster, TOPIC)?.is_none(), "a dry run made it");
    operate(cluster, &make)?.succeeded()?;
    let made = described(cluster, TOPIC)?;
    saying(made.as_ref(), &["PartitionCount: 2", "ReplicationFactor: 3", "retention.ms=3600000"])?;
    let alter = ["topics", "alter", TOPIC, "-p", "5", "-c", "cleanup.policy=compact", "-u", "retention.ms"];
    let altered = document(cluster, &alter)?;
    ensure!(altered["topics"][0]["changes"].as_array().map(Vec::len) == Some(3), "{altered}");
    let after = described(cluster, TOPIC)?;
    saying(after.as_ref(), &["PartitionCount: 5", "cleanup.policy=compact"])?;
    ensure!(!after.unwrap_or_default().contains("retention.ms"), "a setting is still set");
    let again = document(cluster, &alter)?;
    ensure!(again["topics"][0]["outcome"] == "unchanged", "{again}");
    let listed = document(cluster, &["topics", "list"])?;
    let topics = listed["topics"].as_array().context("no topics")?;
    let ours = topics.iter().find(|topic| topic["topic"] == TOPIC).context("it is not listed")?;
    ensure!(ours["partitions"] == 5 && ours["cleanup_policy"] == "compact", "{ours}");
    ensure!(topics.iter().all(|topic| topic["owner"] != "kafka" && topic["owner"] != "registry"), "{listed}");
    let detail = document(cluster, &["topics", "describe", TOPIC])?;
    ensure!(detail["topics"][0]["partition"].as_array().map(Vec::len) == Some(5), "{detail}");
    refused(cluster, &["topics", "delete", TOPIC], &["cannot be undone", "--yes"])?;
    operate(cluster, &["topics", "delete", TOPIC, "--dry-run"])?
        .succeeded()?
        .saying(&["would be deleted"])?;
    ensure!(described(cluster, TOPIC)?.is_some(), "a question deleted it");
    operate(cluster, &["topics", "delete", TOPIC, "--yes"])?.succeeded()?;
    ensure!(described(cluster, TOPIC)?.is_none(), "it is still there");
    ensure!(pids(cluster)? == before, "an operation started or ended a node");
    Ok(())
}

fn refusals() -> Result<()> {
    let cluster = cluster::shared()?;
    let one = ["topics", "create", "live.one", "--replication-factor", "1"];
    refused(cluster, &one, &["min.insync.replicas of 2 can never be had of 1 copy"])?;
    refused(cluster, &["topics", "create", "live.four", "-r", "4"], &["needs 4 brokers, there are 3"])?;
    let four = ["topics", "create", "live.isr", "-c", "min.insync.replicas=4"];
    refused(cluster, &four, &["can never be had of 3 copies"])?;
    refused(cluster, &["topics", "create", "caracal.dlq"], &["exists already", "topics alter"])?;
    refused(cluster, &["topics", "create", "caracal_dlq"], &["differ only in"])?;
    refused(cluster, &["topics", "alter", "caracal.dlq", "-p", "1"], &["takes no partition away"])?;
    refused(cluster, &["topics", "alter", "caracal.dlq", "-r", "1"], &["moves data"])?;
    refused(cluster, &["topics", "alter", "caracal.dlp", "-p", "9"], &["did you mean `caracal.dlq`?"])?;
    let odd = ["topics", "alter", "caracal.dlq", "-c", "retention.mss=1"];
    refused(cluster, &odd, &["no setting `retention.mss`", "did you mean `retention.ms`?"])?;
    // A value that only the brokers can judge.
    let value = ["topics", "alter", "caracal.dlq", "-c", "compression.type=none-such", "--dry-run"];
    refused(cluster, &value, &["compression.type"])?;
    for own in ["__consumer_offsets", "kafkasql-journal"] {
        refused(cluster, &["topics", "delete", own, "--yes"], &[own, "own"])?;
        refused(cluster, &["topics", "alter", own, "-c", "retention.ms=1"], &[own, "own"])?;
        ensure!(described(cluster, own)?.is_some(), "{own} is gone");
    }
    // The same where it can be right.
    let right = ["topics", "create", "live.one", "-r", "1", "-c", "min.insync.replicas=1", "--dry-run"];
    operate(cluster, &right)?.succeeded()?.saying(&["would be created"])?;
    Ok(())
}

fn declared() -> Result<()> {
    const TOPIC: &str = "live.topics.declared";
    let cluster = cluster::shared()?;
    let file = cluster.home().join("topics.toml");
    let path = file.to_str().context("a path that is no text")?;
    let declare = |partitions: u32, settings: &str| {
        let text =
            format!("[[topics]]\nname = \"{TOPIC}\"\npartitions = {partitions}\nconfig = {{ {settings} }}\n");
        caracal_pki::store::write_private(&file, text.as_bytes())
    };
    let drift = |differs: bool| -> Result<serde_json::Value> {
        let ended = operate(cluster, &["topics", "apply", path, "--dry-run", "--json"])?;
        let code = if differs { DRIFT } else { 0 };
        ensure!(ended.status.code() == Some(code), "{:?}\n{}", ended.status, ended.text());
        crate::product::document(&ended)
    };
    declare(2, "\"retention.ms\" = 3600000")?;
    ensure!(drift(true)?["topics"][0]["standing"] == "absent", "it is there before it is made");
    ensure!(described(cluster, TOPIC)?.is_none(), "a dry run made it");
    operate(cluster, &["topics", "apply", path])?.succeeded()?.saying(&["created"])?;
    saying(described(cluster, TOPIC)?.as_ref(), &["PartitionCount: 2", "retention.ms=3600000"])?;
    drift(false)?;
    declare(4, "\"cleanup.policy\" = \"compact\"")?;
    ensure!(drift(true)?["topics"][0]["standing"] == "differs", "a difference is not seen");
    operate(cluster, &["topics", "apply", path, "--exact"])?.succeeded()?.saying(&["altered"])?;
    let now = described(cluster, TOPIC)?;
    saying(now.as_ref(), &["PartitionCount: 4", "cleanup.policy=compact"])?;
    ensure!(!now.unwrap_or_default().contains("retention.ms"), "--exact left a setting");
    declare(3, "")?;
    ensure!(drift(true)?["topics"][0]["standing"] == "unchangeable", "fewer partitions are not seen");
    refused(cluster, &["topics", "apply", path], &["takes no partition away"])?;
    declare(2, "\"min.insync.replicas\" = 7")?;
    refused(cluster, &["topics", "apply", path, "--dry-run"], &["can never be had"])?;
    caracal_pki::store::write_private(&file, b"[[topics]]\nname = \"x\"\npartition = 1\n")?;
    refused(cluster, &["topics", "apply", path, "--dry-run"], &["topics.toml", "line 3", "partitions"])?;
    operate(cluster, &["topics", "delete", TOPIC, "--yes"])?.succeeded()?;
    // The description itself: what `up` made is as declared.
    operate(cluster, &["topics", "apply", "--dry-run"])?.succeeded()?.saying(&["0 of 5 topics differed"])?;
    Ok(())
}
