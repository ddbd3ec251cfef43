//! Consumer groups looked at, put elsewhere and deleted, judged by `kafka-consumer-groups` and kcat.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::wire::{Deadline, records};
use rustix::process::Signal;
use serde_json::Value;

use crate::Test;
use crate::clients::kcat;
use crate::cluster::{self, TestCluster, access};
use crate::jdk::{self, GROUPS};
use crate::operate::{document, operate, pids};
use crate::product::{PATIENCE, USAGE};
use crate::tools::{self, block};

pub(crate) const TESTS: &[Test] = &[
    ("groups::a_group_is_put_elsewhere_and_kafkas_tool_sees_it_there", reset),
    ("groups::one_that_is_read_with_is_shown_and_not_touched", occupied),
];

const TOPIC: &str = "caracal.dlq";

fn write(cluster: &TestCluster, partition: i32, number: usize) -> Result<()> {
    let resolved = cluster.resolved()?;
    let access = access(&resolved);
    let deadline = Deadline::after(PATIENCE);
    block(async {
        let mut leader = access.admin()?.connect_to_leader(TOPIC, partition, deadline).await?;
        for _ in 0..number {
            records::produce(&mut leader, TOPIC, partition, None, Some(b"group"[..].into()), deadline)
                .await?;
        }
        anyhow::Ok(())
    })
}

/// What `kafka-consumer-groups` says that a group has committed, by partition.
fn committed(cluster: &TestCluster, group: &str) -> Result<BTreeMap<i32, i64>> {
    // Kafka's own patience is 5 s, which a busy machine outlasts.
    let ended =
        jdk::as_admin(cluster, GROUPS)?.args(["--timeout", "60000", "--describe", "--group", group]).run()?;
    let seen = ended.text();
    ensure!(ended.status.success() || seen.contains("does not exist"), "{seen}");
    let rows = seen.lines().filter(|line| line.split_whitespace().next() == Some(group));
    let cells = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
    Ok(cells.filter_map(|row| Some((row.get(2)?.parse().ok()?, row.get(3)?.parse().ok()?))).collect())
}

fn reset() -> Result<()> {
    const GROUP: &str = "caracal-live-reset";
    let cluster = cluster::shared()?;
    let before = pids(cluster)?;
    for partition in 0..3 {
        write(cluster, partition, 4)?;
    }
    let wrong = operate(cluster, &["groups", "reset", GROUP, "--to-earliest"])?.failed()?;
    ensure!(wrong.status.code() == Some(USAGE), "{:?}", wrong.status);
    wrong.saying(&["there is no group `caracal-live-reset`"])?;
    let make = ["groups", "reset", GROUP, "--create", "--topic", TOPIC, "--to-latest"];
    operate(cluster, &[&make[..], &["--dry-run"]].concat())?.succeeded()?.saying(&["would be reset"])?;
    ensure!(committed(cluster, GROUP)?.is_empty(), "a dry run committed");
    let latest = document(cluster, &make)?;
    let ends: BTreeMap<i32, i64> = latest["partitions"]
        .as_array()
        .context("no partitions")?
        .iter()
        .filter_map(|found| Some((i32::try_from(found["partition"].as_i64()?).ok()?, found["to"].as_i64()?)))
        .collect();
    ensure!(ends.len() == 3 && committed(cluster, GROUP)? == ends, "{ends:?}");
    // One partition, to an offset, and the others stay.
    operate(cluster, &["groups", "reset", GROUP, "--topic", "caracal.dlq:1", "--to-offset", "2"])?
        .succeeded()?;
    let after = committed(cluster, GROUP)?;
    ensure!(after.get(&1) == Some(&2) && after.get(&0) == ends.get(&0), "{after:?}");
    let beyond = document(cluster, &["groups", "reset", GROUP, "--to-offset", "4000000000"])?;
    ensure!(beyond["partitions"][0]["moved_inside"] == true, "{beyond}");
    ensure!(committed(cluster, GROUP)? == ends, "an offset beyond the end was committed");
    // Everything was written within this hour, so an hour ago is the first of these, or older.
    operate(cluster, &["groups", "reset", GROUP, "--by", "1h"])?.succeeded()?;
    let ago = committed(cluster, GROUP)?;
    ensure!(
        ago.iter().all(|(partition, offset)| ends.get(partition).is_some_and(|end| *offset + 4 <= *end)),
        "{ago:?}"
    );
    let lag = document(cluster, &["groups", "describe", GROUP])?;
    ensure!(lag["groups"][0]["lag"].as_i64() >= Some(12), "{lag}");
    operate(cluster, &["groups", "reset", GROUP, "--to-time", "2001-01-01T00:00:00Z"])?.succeeded()?;
    operate(cluster, &["groups", "reset", GROUP, "--to-earliest"])?.succeeded()?;
    let listed = document(cluster, &["groups", "list"])?;
    let ours = |group: &&Value| group["group"] == GROUP;
    let group = listed["groups"].as_array().context("no groups")?.iter().find(ours).context("not listed")?;
    ensure!(group["state"] == "Empty" && group["members"] == 0, "{group}");
    let asked = operate(cluster, &["groups", "delete", GROUP])?.failed()?;
    asked.saying(&["cannot be undone", "--yes"])?;
    operate(cluster, &["groups", "delete", GROUP, "--yes"])?.succeeded()?;
    ensure!(committed(cluster, GROUP)?.is_empty(), "it is still there");
    ensure!(pids(cluster)? == before, "an operation started or ended a node");
    Ok(())
}

fn occupied() -> Result<()> {
    const GROUP: &str = "caracal-live-occupied";
    let cluster = cluster::shared()?;
    write(cluster, 0, 1)?;
    let mut reader = kcat("consumer")?.args(["-G", GROUP, TOPIC]).start()?;
    let state = |state: &'static str, members: u64| {
        move || {
            let seen = document(cluster, &["groups", "list"]).map_err(|error| format!("{error:#}"))?;
            let groups = seen["groups"].as_array().cloned().unwrap_or_default();
            let group = groups.into_iter().find(|group| group["group"] == GROUP).ok_or("not there")?;
            let there = group["state"] == state && group["members"] == members;
            if there { Ok(Some(())) } else { Err(group.to_string()) }
        }
    };
    tools::await_until("kcat to be a member", Duration::from_secs(60), state("Stable", 1))?;
    let seen = document(cluster, &["groups", "describe", GROUP])?;
    let detail = &seen["groups"][0];
    ensure!(detail["member"][0]["partitions"] == 3, "{detail}");
    let member = detail["member"][0]["member"].as_str().context("no member")?;
    let given = detail["partitions"].as_array().context("no partitions")?;
    ensure!(given.len() == 3 && given.iter().all(|found| found["member"] == member), "{detail}");
    for words in [&["groups", "reset", GROUP, "--to-earliest"][..], &["groups", "delete", GROUP, "--yes"]] {
        let refused = operate(cluster, words)?.failed()?;
        ensure!(refused.status.code() == Some(USAGE), "{:?}", refused.status);
        refused.saying(&["is being read with", "1 member", "stop its members first"])?;
    }
    reader.signal(Signal::TERM)?;
    ensure!(reader.ends_within(Duration::from_secs(60)), "kcat does not end");
    reader.finish(PATIENCE)?;
    tools::await_until("the group to be empty", Duration::from_secs(60), state("Empty", 0))?;
    operate(cluster, &["groups", "reset", GROUP, "--to-earliest", "--topic", TOPIC])?.succeeded()?;
    operate(cluster, &["groups", "delete", GROUP, "--yes"])?.succeeded()?;
    Ok(())
}
