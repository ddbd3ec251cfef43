//! Records written, read, backed up and restored by the product, judged by kcat.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::Test;
use crate::clients::kcat;
use crate::cluster::{self, TestCluster};
use crate::jdk::EVENTS;
use crate::operate::{document, operate, pids};
use crate::product::{PATIENCE, USAGE};
use crate::program::Ended;

pub(crate) const TESTS: &[Test] = &[
    ("transfer::what_produce_writes_kcat_reads_and_what_kcat_writes_consume_reads", both_ways),
    ("transfer::json_becomes_avro_and_avro_becomes_json", avro),
    ("transfer::a_restored_topic_is_the_same_to_the_byte", restored),
    ("transfer::a_backup_that_is_not_whole_or_has_no_room_is_refused", refused),
];

/// The product with something on its standard input.
fn fed(cluster: &TestCluster, words: &[&str], input: &str) -> Result<Ended> {
    let words: Vec<String> =
        words.iter().chain(&["--name", cluster.name()]).map(|word| (*word).to_owned()).collect();
    cluster.run(cluster.command(&words)?.input(input).within(PATIENCE))
}

/// Everything of a topic as kcat sees it: partition, key, value, time, headers; sorted.
fn seen(topic: &str) -> Result<Vec<String>> {
    seen_as(topic, "%p|%K|%k|%S|%s|%T|%h\\n")
}

fn seen_as(topic: &str, format: &str) -> Result<Vec<String>> {
    let read = ["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", format];
    let text = kcat("admin")?.args(read).run()?.succeeded()?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

fn lines(ended: &Ended) -> Result<Vec<Value>> {
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

fn both_ways() -> Result<()> {
    const TOPIC: &str = "live.transfer.text";
    let cluster = cluster::shared()?;
    operate(cluster, &["topics", "create", TOPIC, "-p", "3"])?.succeeded()?;
    let before = pids(cluster)?;
    let write = ["produce", TOPIC, "-K", "|", "--header", "from=live", "--partition", "1"];
    fed(cluster, &[&write[..], &["--dry-run"]].concat(), "k|one\n")?
        .succeeded()?
        .saying(&["would be written"])?;
    ensure!(seen(TOPIC)?.is_empty(), "a dry run wrote");
    let time = ["--timestamp", "2026-01-02T03:04:05Z"];
    fed(cluster, &[&write[..], &time].concat(), "k|one\nk|two\n|\n")?
        .succeeded()?
        .saying(&["3 records written"])?;
    let at = "1767323045000";
    let expected = [
        format!("1|0||0||{at}|from=live"),
        format!("1|1|k|3|one|{at}|from=live"),
        format!("1|1|k|3|two|{at}|from=live"),
    ];
    ensure!(seen(TOPIC)? == expected, "{:?}", seen(TOPIC)?);
    kcat("admin")?
        .args(["-P", "-t", TOPIC, "-p", "2", "-K", ":", "-Z", "-H", "by=kcat"])
        .input("from:kcat\ngone:\n")
        .run()?
        .succeeded()?;
    let read = lines(&operate(cluster, &["consume", TOPIC, "--json", "--partition", "2"])?.succeeded()?)?;
    let of = |at: usize| (&read[at]["key"], &read[at]["value"], &read[at]["headers"][0]["name"]);
    ensure!(read.len() == 2 && of(0) == (&"from".into(), &"kcat".into(), &"by".into()), "{read:?}");
    ensure!(read[1]["value"].is_null() && read[1]["key"] == "gone", "a tombstone: {read:?}");
    let last =
        operate(cluster, &["consume", TOPIC, "-p", "1", "--from", "-2", "--count", "1"])?.succeeded()?;
    ensure!(String::from_utf8_lossy(&last.stdout) == "k\ttwo\n", "{}", last.text());
    let since =
        operate(cluster, &["consume", TOPIC, "--from", "2026-06-01T00:00:00Z", "--json"])?.succeeded()?;
    ensure!(lines(&since)?.iter().all(|line| line["partition"] == 2), "{}", since.text());
    // What is read can be written again, to the byte.
    let whole = operate(cluster, &["consume", TOPIC, "--json"])?.succeeded()?;
    operate(cluster, &["topics", "create", "live.transfer.again", "-p", "3"])?.succeeded()?;
    let again = ["produce", "live.transfer.again", "--format", "json"];
    fed(cluster, &again, &String::from_utf8_lossy(&whole.stdout))?.succeeded()?;
    ensure!(seen("live.transfer.again")? == seen(TOPIC)?, "a copy by lines of JSON differs");
    let typo = operate(cluster, &["consume", "live.transfer.txt"])?.failed()?;
    ensure!(typo.status.code() == Some(USAGE), "{:?}", typo.status);
    typo.saying(&["did you mean `live.transfer.text`?"])?;
    operate(cluster, &["consume", "kafkasql-journal", "--user", "consumer"])?.failed()?;
    ensure!(pids(cluster)? == before, "an operation started or ended a node");
    operate(cluster, &["topics", "delete", TOPIC, "live.transfer.again", "--yes"])?.succeeded()?;
    Ok(())
}

fn avro() -> Result<()> {
    let cluster = cluster::shared()?;
    let read = lines(&operate(cluster, &["consume", EVENTS, "--json"])?.succeeded()?)?;
    let event =
        read.iter().find(|line| line["value_encoding"] == "avro").context("no event is shown as JSON")?;
    ensure!(event["value"]["agent_id"].is_string() && event["schema_id"].is_number(), "{event}");
    let mut value = event["value"].clone();
    value["event_id"] = "0192f0c1-7a11-7cc3-98c4-dc0c0c07398f".into();
    let write = ["produce", EVENTS, "--key", "transfer-live", "--partition", "9"];
    fed(cluster, &write, &format!("{value}\n"))?.succeeded()?;
    // The same event through the schema, and by bytes that begin as the registry's serialisers write them.
    let last = ["consume", EVENTS, "--partition", "9", "--from", "-1"];
    let back = lines(&operate(cluster, &[&last[..], &["--json"]].concat())?.succeeded()?)?;
    ensure!(back[0]["value"] == value && back[0]["schema_id"] == event["schema_id"], "{back:?}");
    let bytes = operate(cluster, &[&last[..], &["--format", "raw"]].concat())?.succeeded()?.stdout;
    let id = u32::try_from(event["schema_id"].as_u64().context("no id")?)?;
    ensure!(bytes.starts_with(&[&[0][..], &id.to_be_bytes()].concat()), "{bytes:?}");
    value["surprise"] = 1.into();
    let wrong = fed(cluster, &write, &format!("{value}\n"))?.failed()?;
    ensure!(wrong.status.code() == Some(USAGE), "{:?}", wrong.status);
    wrong.saying(&["line 1", "no field `surprise`"])?;
    Ok(())
}

fn backed_up(cluster: &TestCluster, topic: &str, to: &Path) -> Result<Value> {
    document(cluster, &["topics", "backup", topic, "--to", to.to_str().context("a path that is no text")?])
}

fn restored() -> Result<()> {
    const COPY: &str = "live.transfer.copy";
    let cluster = cluster::shared()?;
    let to = cluster.home().join("backup");
    let backup = backed_up(cluster, EVENTS, &to)?;
    ensure!(backup["records"].as_u64() > Some(0) && backup["schemas"].as_u64() > Some(0), "{backup}");
    let folder = to.join(EVENTS);
    let path = folder.to_str().context("a path that is no text")?;
    let restore = ["topics", "restore", path, "--as", COPY];
    let would = document(cluster, &[&restore[..], &["--dry-run"]].concat())?;
    ensure!(would["made"] == true && would["records"] == backup["records"], "{would}");
    let restored = document(cluster, &restore)?;
    ensure!(restored["verified"] == true && restored["sha256"] == backup["sha256"], "{restored}");
    // The copy's schema may have an id of its own, so kcat compares what stands beside the values.
    let beside = |topic: &str| seen_as(topic, "%p|%K|%k|%S|%T|%h\\n");
    ensure!(beside(COPY)? == beside(EVENTS)?, "kcat sees another topic");
    let events = |topic: &str| -> Result<Vec<(Value, Value)>> {
        let read = lines(&operate(cluster, &["consume", topic, "--json"])?.succeeded()?)?;
        let mut events: Vec<(Value, Value)> =
            read.into_iter().map(|line| (line["value"].clone(), line["timestamp"].clone())).collect();
        events.sort_by_key(|event| format!("{event:?}"));
        Ok(events)
    };
    ensure!(events(COPY)? == events(EVENTS)?, "the copy's events differ");
    let again = operate(cluster, &restore)?.failed()?;
    ensure!(again.status.code() == Some(USAGE), "{:?}", again.status);
    again.saying(&["is not empty", "--as"])?;
    operate(cluster, &["topics", "delete", COPY, "--yes"])?.succeeded()?;
    std::fs::remove_dir_all(&to)?;
    Ok(())
}

fn refused() -> Result<()> {
    const COPY: &str = "live.transfer.broken";
    let cluster = cluster::shared()?;
    let to = cluster.home().join("broken");
    backed_up(cluster, EVENTS, &to)?;
    let folder = to.join(EVENTS);
    let path = folder.to_str().context("a path that is no text")?;
    let records = folder.join("records");
    let whole = std::fs::read(&records)?;
    let refuse = |saying: &[&str]| -> Result<()> {
        let ended = operate(cluster, &["topics", "restore", path, "--as", COPY])?.failed()?;
        ensure!(ended.status.code() == Some(USAGE), "{:?}", ended.status);
        ended.saying(saying)?;
        let listed = operate(cluster, &["topics", "list"])?.succeeded()?.text();
        ensure!(!listed.contains(COPY), "a topic was made for a back-up that is not whole");
        Ok(())
    };
    caracal_pki::store::write_private(&records, &whole[..whole.len() - 3])?;
    refuse(&["cut short"])?;
    let mut damaged = whole.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    caracal_pki::store::write_private(&records, &damaged)?;
    refuse(&["SHA-256"])?;
    std::fs::remove_file(folder.join("manifest.json"))?;
    refuse(&["no manifest", "cut short"])?;
    let own = operate(cluster, &["topics", "backup", "__consumer_offsets", "--to", path])?.failed()?;
    own.saying(&["belongs to Kafka"])?;
    std::fs::remove_dir_all(&to)?;
    Ok(())
}
