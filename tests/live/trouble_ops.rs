//! Operations on what is not there, half there or down: each says what is the matter and what to do, and ends.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::operate::operate;
use crate::product::{PATIENCE, UNHEALTHY, USAGE};
use crate::program::Ended;
use crate::tools;

/// Need no running cluster.
pub(crate) const WITHOUT: &[Test] = &[
    ("trouble_ops::without_a_name_the_clusters_that_are_there_are_named", no_name),
    ("trouble_ops::of_a_cluster_that_is_down_it_is_said_and_what_to_do", down),
];

/// Take parts of the shared cluster away, and give them back.
pub(crate) const HALF: &[Test] = &[
    ("trouble_ops::with_one_broker_dead_the_others_answer_and_it_is_named", half_there),
    ("trouble_ops::with_the_registry_down_its_commands_say_so_and_others_work", registry_down),
    ("trouble_ops::a_broker_that_never_gets_in_sync_ends_the_wait_with_its_log", never_in_sync),
];

/// Exit code: the cluster does not exist, or is locked.
const UNAVAILABLE: i32 = 4;

/// Commands that ask the cluster something, each of which must end by itself when nobody answers.
const ASKING: [&[&str]; 9] = [
    &["health"],
    &["lag"],
    &["topics", "list"],
    &["groups", "list"],
    &["users", "list"],
    &["acls", "list"],
    &["api-versions"],
    &["users", "verify"],
    &["topics", "create", "never.made"],
];

fn plain(cluster: &TestCluster, words: &[&str]) -> Result<Ended> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    cluster.run(cluster.command(&words)?)
}

fn no_name() -> Result<()> {
    let cluster = TestCluster::new()?;
    // In this folder there is none, then there are two, neither of which has the default's name.
    let none = plain(&cluster, &["topics", "list"])?.ended_with(UNAVAILABLE)?;
    none.saying(&["no cluster `caracal`", "cluster up"])?;
    let (one, other) = (cluster.name().to_owned(), format!("{}-b", cluster.name()));
    for name in [&one, &other] {
        plain(&cluster, &["credentials", "--name", name])?.succeeded()?;
    }
    for words in
        [&["health"][..], &["topics", "list"], &["cluster", "restart", "kafka-1"], &["cluster", "down"]]
    {
        plain(&cluster, words)?.ended_with(UNAVAILABLE)?.saying(&[&format!("there is: {one}, {other}")])?;
    }
    plain(&cluster, &["cluster", "list"])?.succeeded()?.saying(&[&one, &other])?;
    plain(&cluster, &["cluster", "down", "-v", "--yes", "--name", &other])?.succeeded()?;
    cluster.take_down()
}

fn down() -> Result<()> {
    const LONGEST: Duration = Duration::from_secs(90);
    let cluster = cluster::unstarted()?;
    for words in ASKING {
        let ended = operate(cluster, words)?.ended_with(UNHEALTHY)?;
        ensure!(ended.took < LONGEST, "{words:?} took {:?}", ended.took);
        let text = ended.text();
        ensure!(!text.contains("panic"), "{text}");
        // What is the matter, in words, and where to look.
        ensure!(
            text.contains("kafka-1") || text.contains("localhost:") || text.contains("127.0.0.1:"),
            "{text}"
        );
    }
    // What only looks at files answers.
    for words in [&["cluster", "ps"][..], &["cluster", "logs"], &["certs", "check"]] {
        operate(cluster, words)?.succeeded()?;
    }
    Ok(())
}

fn half_there() -> Result<()> {
    let cluster = cluster::shared()?;
    operate(cluster, &["cluster", "kill", "kafka-2"])?.succeeded()?;
    let looked = || -> Result<()> {
        // As long as the dead one's session lasts (18 s), it is still named as leader of its partitions.
        tools::await_until("other leaders", Duration::from_secs(120), || {
            let lag = operate(cluster, &["lag"]).map_err(|error| format!("{error:#}"))?;
            if lag.status.success() { Ok(Some(())) } else { Err(lag.text()) }
        })?;
        for words in [&["topics", "list"][..], &["groups", "list"], &["users", "list"], &["acls", "list"]] {
            operate(cluster, words)?.succeeded()?;
        }
        operate(cluster, &["api-versions"])?.ended_with(UNHEALTHY)?.saying(&["kafka-2"])?;
        operate(cluster, &["health"])?.ended_with(UNHEALTHY)?.saying(&["kafka-2", "NOT healthy"])?;
        // The minimum of two copies would not be kept, which is waited for until the deadline.
        let waited = operate(cluster, &["cluster", "restart", "kafka-1", "--deadline", "5s"])?;
        waited.ended_with(UNHEALTHY)?.saying(&[
            "waited 5 s for the cluster to be able to do without",
            "too few in-sync copies",
            "was not touched",
        ])?;
        Ok(())
    };
    let seen = looked();
    recovered(cluster, "kafka-2")?;
    seen
}

fn recovered(cluster: &TestCluster, node: &str) -> Result<()> {
    operate(cluster, &["cluster", "restart", node])?.succeeded()?;
    operate(cluster, &["health", "--wait", "3m"])?.succeeded().map(drop)
}

fn registry_down() -> Result<()> {
    let cluster = cluster::shared()?;
    let schema = cluster.home().join("down.avsc");
    caracal_pki::store::write_private(&schema, br#"{"type":"record","name":"D","fields":[]}"#)?;
    let path = schema.display().to_string();
    operate(cluster, &["cluster", "kill", "schema-registry"])?.succeeded()?;
    let looked = || -> Result<()> {
        for words in [
            &["schemas", "list"][..],
            &["schemas", "show", "caracal.metering.events-value"],
            &["schemas", "register", "live-down-value", &path],
            &["schemas", "check", &path, "--registry", "--subject", "live-down-value"],
            &["schemas", "compatibility", "get"],
        ] {
            let ended = operate(cluster, words)?.ended_with(UNHEALTHY)?;
            ended.saying(&["registry", "health"])?;
        }
        operate(cluster, &["health"])?.ended_with(UNHEALTHY)?.saying(&["schema-registry"])?;
        for words in [&["topics", "list"][..], &["lag"], &["certs", "check"]] {
            operate(cluster, words)?.succeeded()?;
        }
        // Records that need no schema go all the same.
        operate(cluster, &["consume", "caracal.dlq", "--encoding", "base64", "--count", "1"])?.succeeded()?;
        Ok(())
    };
    let seen = looked();
    recovered(cluster, "schema-registry")?;
    std::fs::remove_file(schema)?;
    seen
}

/// A topic whose only other copy hangs: the broker that was restarted can never catch up with it.
fn never_in_sync() -> Result<()> {
    const TOPIC: &str = "live.never.in.sync";
    let cluster = cluster::shared()?;
    // On the default's three brokers every pair of them holds some of these partitions.
    let make = ["topics", "create", TOPIC, "-p", "12", "-r", "2", "-c", "min.insync.replicas=1"];
    operate(cluster, &make)?.succeeded()?;
    // While its session lasts (18 s) nobody knows that it hangs.
    operate(cluster, &["cluster", "pause", "kafka-2"])?.succeeded()?;
    let waited = operate(cluster, &["cluster", "restart", "kafka-1", "--deadline", "20s"]);
    operate(cluster, &["cluster", "resume", "kafka-2"])?.succeeded()?;
    tools::await_until("a healthy cluster", PATIENCE, || {
        let health = operate(cluster, &["health"]).map_err(|error| format!("{error:#}"))?;
        if health.status.success() { Ok(Some(())) } else { Err(health.text()) }
    })?;
    operate(cluster, &["topics", "delete", TOPIC, "--yes"])?.succeeded()?;
    let waited = waited?;
    let code = waited.status.code();
    ensure!(code == Some(UNHEALTHY) && code != Some(USAGE), "{code:?}:\n{}", waited.text());
    waited.saying(&["waited", "kafka-1", "last seen:", "server.log"])?;
    Ok(())
}
