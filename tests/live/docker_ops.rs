//! Every command of the guide's table, typed at one cluster in containers; each says something that is true.
//!
//! What the commands do in detail is tried where nodes are processes. Here it counts that none of them stands on
//! something that containers have not got: a process of this machine, a path, an address.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::cli::reference;
use caracal_cluster::plan::NodeRole;

use crate::cluster::TestCluster;
use crate::docker::docker;
use crate::operate::{document, operate};
use crate::product::UNHEALTHY;
use crate::program::{Ended, Program};
use crate::{product, tools, users};

const TOPIC: &str = "live.containers";
const USER: &str = "live-contained";

/// Commands that are not typed here, each with the reason.
const ELSEWHERE: &[(&str, &str)] = &[
    ("cache make", "start-up caches are for processes"),
    ("cache list", "start-up caches are for processes"),
    ("cache clean", "start-up caches are for processes"),
    ("cluster down", "`docker::the_same_secured_cluster_in_the_vendors_layout`"),
    ("cluster prune", "it ends clusters of tests, which are processes; `fixture::*`"),
    ("cluster start", "`docker::a_minimal_cluster_is_struck_and_mended`"),
    ("cluster stop", "`docker::a_minimal_cluster_is_struck_and_mended`"),
    ("completions", "it is about no cluster"),
    ("credentials", "it starts no node; `credentials::*`"),
    ("dashboard", "it runs until Ctrl-C; `dashboard::*`"),
    ("export compose", "it asks no cluster; `compose::*`"),
    ("verify", "`docker::the_same_secured_cluster_in_the_vendors_layout`"),
];

/// Commands that only look, and what they must say.
const LOOKS: &[(&str, &[&str])] = &[
    ("cluster ps", &["7 of 7 nodes running", "-schema-registry", "running"]),
    // Whole: the end of it may be one node's alone.
    ("cluster logs --tail all", &["zookeeper-1", "kafka-3", "schema-registry"]),
    ("cluster logs kafka-2 --since 1h --tail all --grep started", &["kafka-2", "[KafkaServer id=2] started"]),
    ("cluster plan --exit-code", &["7 nodes", "SCRAM-SHA-512 for admin"]),
    ("health --writes", &["is healthy", "3 of 3 serve", "takes writes"]),
    ("lag", &["records behind"]),
    ("topics list", &["caracal.metering.events", "5 topics, 24 partitions"]),
    ("topics describe caracal.metering.events", &["10 partitions, 3 copies, minimum 2 in sync"]),
    ("topics apply --dry-run", &["0 of 5 topics differed"]),
    ("consume caracal.metering.events --count 1", &["\"mandate_id\""]),
    ("groups list", &["schema-registry-"]),
    ("groups describe", &["schema-registry-", "coordinator"]),
    ("schemas list", &["caracal.events.MeteringEvent", "4 subjects, cluster-wide level BACKWARD"]),
    ("schemas show caracal.policy.changes-value", &["PolicyChangeEvent"]),
    ("schemas compatibility get", &["BACKWARD"]),
    ("users list", &["broker-a", "SCRAM-SHA-512 (16384)", "5 users"]),
    ("users verify", &["every user gets in everywhere"]),
    ("acls list", &["transactional-id:caracal-*", "User:broker-a"]),
    ("certs check --fail-within 30d", &["client.producer", "kafka-3.zookeeper-client"]),
    ("certs show", &["zookeeper-3 CLIENT: serial", "kafka-3 EXTERNAL: serial", "data-ca"]),
    ("api-versions", &["kafka-3 (id 3): ", "Produce"]),
    ("metrics", &["messages in, since start", "KAFKA-3", "TOGETHER"]),
];

/// All of them at a running cluster of the guide's kind whose nodes serve metrics.
pub(crate) fn every_command(cluster: &TestCluster) -> Result<()> {
    // All of them before it fails: each may have a fault of its own.
    let looks = LOOKS.iter().filter_map(|(words, saying)| {
        let said = typed(cluster, words).and_then(Ended::succeeded).and_then(|ended| ended.saying(saying));
        said.err().map(|error| format!("{error:#}"))
    });
    let failed: Vec<String> = looks.collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../caracal-kafka-client/contract/schemas");
    operate(cluster, &["schemas", "check", schemas, "--registry"])?
        .succeeded()?
        .saying(&["4 checks: all may follow"])?;
    // Whatever else is wrong with this machine.
    typed(cluster, "doctor")?.saying(&["engine "])?;
    // A command about all clusters takes no name.
    cluster.run(cluster.command(&product::list())?)?.succeeded()?.saying(&[cluster.name()])?;
    client_files(cluster)?;
    schema(cluster)?;
    records(cluster)?;
    users_and_rules(cluster)?;
    certificates(cluster)?;
    blows(cluster)?;
    nothing_is_left_out()
}

/// A command that comes to be is typed here too, or said to be tried elsewhere.
fn nothing_is_left_out() -> Result<()> {
    let typed: Vec<String> = product::said().into_iter().map(|(line, _)| line).collect();
    for command in reference::commands() {
        let name = command.get_bin_name().unwrap_or_default().trim_start_matches("cargo xtask ").to_owned();
        let here = typed.iter().any(|line| line.contains(&format!(" {name} ")));
        let elsewhere = ELSEWHERE.iter().any(|(known, _)| *known == name);
        ensure!(here || elsewhere, "`{name}` was typed at no cluster in containers");
    }
    Ok(())
}

fn typed(cluster: &TestCluster, words: &str) -> Result<Ended> {
    operate(cluster, &words.split(' ').collect::<Vec<_>>())
}

fn kcat(cluster: &TestCluster, user: &str, words: &[&str]) -> Result<Program> {
    let config = cluster.dir()?.client(&user.parse()?).join("kcat.conf");
    let kcat = Program::needed("kcat")?.args(["-F".as_ref(), config.as_os_str()]);
    Ok(kcat.args(words).args(["-m", "30"]).within(Duration::from_secs(60)))
}

/// What a service is given points to where the containers are published.
fn client_files(cluster: &TestCluster) -> Result<()> {
    let resolved = cluster.resolved()?;
    let folder = resolved.dir.client(&"producer".parse()?);
    let bootstrap = &resolved.plan.endpoints.bootstrap;
    for file in [".env.kafka", "profile.toml", "client.properties"] {
        let text = tools::read(&folder.join(file))?;
        ensure!(bootstrap.iter().all(|broker| text.contains(broker)), "{file} does not name {bootstrap:?}");
    }
    let profile = folder.join("profile.toml").display().to_string();
    for who in [["--profile", profile.as_str()], ["--user", "consumer"]] {
        let words = [&["doctor", "connect", bootstrap[0].as_str()][..], &who].concat();
        operate(cluster, &words)?.succeeded()?.saying(&["gets in", "refuses TLS 1.1", "kafka-1 EXTERNAL"])?;
    }
    let seen = kcat(cluster, "consumer", &["-L"])?.run()?.succeeded()?;
    seen.saying(&["3 brokers", bootstrap[2].as_str(), "caracal.dlq"])?;
    Ok(())
}

/// A schema more, a level of its own, and a dashboard for what is measured.
fn schema(cluster: &TestCluster) -> Result<()> {
    const SUBJECT: &str = "live-containers-value";
    let file = cluster.home().join("live.avsc");
    let path = file.display().to_string();
    caracal_pki::store::write_private(&file, br#"{"type":"record","name":"Contained","fields":[]}"#)?;
    operate(cluster, &["schemas", "register", SUBJECT, &path])?.succeeded()?;
    typed(cluster, "schemas list")?.succeeded()?.saying(&[SUBJECT, "Contained"])?;
    operate(cluster, &["schemas", "compatibility", "set", "NONE", "--subject", SUBJECT])?.succeeded()?;
    let level = document(cluster, &["schemas", "compatibility", "get", SUBJECT])?;
    ensure!(level["level"] == "NONE", "{level}");
    let url = cluster.resolved()?.plan.endpoints.registry_url.context("no registry is planned")?;
    let curl = Program::needed("curl")?.args(["-sf", &format!("{url}/subjects")]).run()?.succeeded()?;
    curl.saying(&[SUBJECT, "caracal.metering.events-value"])?;
    let to = cluster.home().join("monitoring");
    operate(cluster, &["export", "grafana", "--to", &to.display().to_string()])?.succeeded()?;
    std::fs::remove_dir_all(to)?;
    std::fs::remove_file(file)?;
    Ok(())
}

/// A topic made, changed, written, read, saved, restored and deleted; a group beside it.
fn records(cluster: &TestCluster) -> Result<()> {
    const GROUP: &str = "caracal-live-contained";
    const COPY: &str = "live.containers.copy";
    let counted = || -> Result<u64> {
        let report = document(cluster, &["metrics"])?;
        Ok(report["total"]["messages_in_total"].as_f64().context("nothing is counted")? as u64)
    };
    let before = counted()?;
    operate(cluster, &["topics", "create", TOPIC, "-p", "2"])?.succeeded()?;
    operate(cluster, &["topics", "alter", TOPIC, "-p", "3", "-c", "retention.ms=3600000"])?.succeeded()?;
    let made = document(cluster, &["topics", "describe", TOPIC])?;
    ensure!(made["topics"][0]["partition"].as_array().map(Vec::len) == Some(3), "{made}");
    let write = users::command(cluster, &["produce", TOPIC, "-K", "|", "--partition", "1"])?;
    cluster.run(write.input("k|one\nk|two\nk|three\n"))?.succeeded()?.saying(&["3 records written"])?;
    let read = ["-C", "-t", TOPIC, "-o", "beginning", "-e", "-q", "-f", "%p|%k|%s\\n"];
    let read = kcat(cluster, "admin", &read)?.run()?.succeeded()?;
    let read = String::from_utf8_lossy(&read.stdout);
    ensure!(read == "1|k|one\n1|k|two\n1|k|three\n", "kcat reads {read}");
    ensure!(counted()? >= before + 3, "three records were written, and not counted");
    let reset = ["groups", "reset", GROUP, "--create", "--topic", TOPIC, "--to-earliest"];
    operate(cluster, &reset)?.succeeded()?;
    let lag = document(cluster, &["lag", GROUP])?;
    ensure!(lag["groups"][0]["lag"] == 3, "{lag}");
    operate(cluster, &["groups", "describe", GROUP])?.succeeded()?.saying(&["3 records behind"])?;
    operate(cluster, &["groups", "delete", GROUP, "--yes"])?.succeeded()?;
    let to = cluster.home().join("backup");
    let folder = to.join(TOPIC).display().to_string();
    let saved = document(cluster, &["topics", "backup", TOPIC, "--to", &to.display().to_string()])?;
    let restored = document(cluster, &["topics", "restore", &folder, "--as", COPY])?;
    ensure!(restored["verified"] == true && restored["sha256"] == saved["sha256"], "{restored}");
    let copy = operate(cluster, &["consume", COPY, "--partition", "1", "--from", "-1", "--count", "1"])?;
    copy.succeeded()?.saying(&["three"])?;
    for topic in [TOPIC, COPY] {
        operate(cluster, &["topics", "delete", topic, "--yes"])?.succeeded()?;
    }
    std::fs::remove_dir_all(to)?;
    typed(cluster, "topics list")?.succeeded()?.saying(&["5 topics"])?;
    Ok(())
}

/// A user added, refused, explained, allowed, given another password and removed.
fn users_and_rules(cluster: &TestCluster) -> Result<()> {
    const RULE: [&str; 6] = ["--principal", USER, "--operation", "write", "--resource", "topic:caracal.dlq"];
    let writes = || kcat(cluster, USER, &["-P", "-t", "caracal.dlq"])?.input("x").run();
    let add = ["users", "add", USER, "--role", "consumer-group", "--topic", "caracal.dlq", "--group", USER];
    let added = document(cluster, &add)?;
    let log_ins = added["log_ins"].as_array().context("no log-ins")?;
    ensure!(log_ins.len() == 6 && log_ins.iter().all(|login| login["outcome"] == "accepted"), "{added}");
    let refused = writes()?.failed()?.text();
    ensure!(refused.contains("authoriz"), "not refused for its rights:\n{refused}");
    tools::await_until("the refusal in the audit log", Duration::from_secs(20), || {
        let pattern = format!("User:{USER}.*Denied.*Write");
        let seen = operate(cluster, &["cluster", "logs", "--audit", "--grep", &pattern]);
        let seen = seen.and_then(Ended::succeeded).map_err(|error| format!("{error:#}"))?.text();
        if seen.contains("caracal.dlq") { Ok(Some(())) } else { Err(seen) }
    })?;
    let explain = || operate(cluster, &[&["acls", "explain"][..], &RULE].concat())?.succeeded();
    explain()?.saying(&["denied", "acls add"])?;
    operate(cluster, &[&["acls", "add"][..], &RULE].concat())?.succeeded()?.saying(&["1 rule added"])?;
    explain()?.saying(&["allowed"])?;
    writes()?.succeeded()?;
    operate(cluster, &[&["acls", "remove"][..], &RULE].concat())?.succeeded()?.saying(&["1 rule removed"])?;
    operate(cluster, &["users", "set-password", USER])?.succeeded()?.saying(&["old one is refused"])?;
    operate(cluster, &["users", "verify", USER])?.succeeded()?.saying(&["logs in on all 6 listeners"])?;
    operate(cluster, &["users", "remove", USER])?.succeeded()?.saying(&["was removed"])?;
    // The registry reads its password when it starts.
    let registry = node(cluster, "schema-registry");
    let before = started(&registry)?;
    operate(cluster, &["users", "set-password", "schema-registry"])?.succeeded()?.saying(&["restarted:"])?;
    ensure!(started(&registry)? != before, "the registry runs on with its old password");
    operate(cluster, &["health", "--writes", "--wait", "2m"])?.succeeded()?;
    users::nothing_differs(cluster)
}

/// A broker that reads its new certificate while it runs, and a ZooKeeper node that is restarted for it.
fn certificates(cluster: &TestCluster) -> Result<()> {
    let (broker, keeper) = (node(cluster, "kafka-1"), node(cluster, "zookeeper-2"));
    let (ran, served) = (started(&broker)?, serial(cluster, &broker)?);
    let renewed = document(cluster, &["certs", "renew", "kafka-1", "--no-restart"])?;
    let now = serial(cluster, &broker)?;
    ensure!(now != served, "OpenSSL is presented the old certificate: {renewed}");
    let issued = renewed["certificates"][0]["new_serial"].as_str().context("no serial")?;
    ensure!(now.trim_start_matches('0') == issued.trim_start_matches('0'), "{now} is not {issued}");
    ensure!(started(&broker)? == ran, "the broker was restarted");
    let ran = started(&keeper)?;
    let renewed = document(cluster, &["certs", "renew", "zookeeper-2"])?;
    ensure!(renewed["restarted"].as_array().is_some_and(|nodes| nodes.len() == 1), "{renewed}");
    ensure!(started(&keeper)? != ran, "ZooKeeper was not restarted");
    operate(cluster, &["certs", "show"])?.succeeded()?;
    users::nothing_differs(cluster)
}

/// Cut off, paused, killed: seen, told, mended.
fn blows(cluster: &TestCluster) -> Result<()> {
    let broker = node(cluster, "kafka-3");
    let before = started(&broker)?;
    for (blow, remedy, told) in [
        ("cluster cut kafka-3", "cluster heal kafka-3", "kafka-3"),
        ("cluster pause kafka-3", "cluster resume kafka-3", "paused; `cluster resume`"),
    ] {
        typed(cluster, blow)?.succeeded()?.saying(&["undo:"])?;
        let seen = typed(cluster, "health --timeout 1s");
        typed(cluster, remedy)?.succeeded()?;
        seen?.ended_with(UNHEALTHY)?.saying(&["NOT healthy", told])?;
        typed(cluster, "health --wait 2m")?.succeeded()?;
    }
    ensure!(started(&broker)? == before, "a cut or a pause restarted it");
    typed(cluster, "cluster kill kafka-3")?.succeeded()?.saying(&["killed", "undo:"])?;
    typed(cluster, "health")?.ended_with(UNHEALTHY)?.saying(&["kafka-3", "was killed by `cluster kill`"])?;
    typed(cluster, "cluster restart kafka-3")?.succeeded()?.saying(&["started", "in sync"])?;
    ensure!(started(&broker)? != before, "it was not started again");
    typed(cluster, "cluster restart kafka-2")?.succeeded()?.saying(&["restarted", "in sync"])?;
    typed(cluster, "health --wait 2m")?.succeeded()?;
    users::nothing_differs(cluster)
}

fn node(cluster: &TestCluster, short: &str) -> String {
    format!("{}-{short}", cluster.name())
}

/// When the engine started a node.
fn started(node: &str) -> Result<String> {
    Ok(docker(&["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", node])?.succeeded()?.text())
}

/// The serial number that a broker's listener for clients presents, as OpenSSL sees it.
fn serial(cluster: &TestCluster, node: &str) -> Result<String> {
    let resolved = cluster.resolved()?;
    let broker = resolved.plan.nodes_of(NodeRole::Broker).find(|broker| broker.name.as_str() == node);
    let listener = broker.and_then(|broker| broker.listener("EXTERNAL")).context("no listener")?;
    let file = |name: &str| resolved.dir.pki().join(name);
    let seen = Program::needed("openssl")?
        .args(["s_client", "-verify_return_error", "-connect", &listener.dial.to_string()])
        .args(["-CAfile".as_ref(), file("data-ca.pem").as_os_str()])
        .args(["-cert".as_ref(), file("client.consumer.pem").as_os_str()])
        .args(["-key".as_ref(), file("client.consumer.key").as_os_str()])
        .input("")
        .within(Duration::from_secs(60))
        .run()?;
    let read = Program::needed("openssl")?.args(["x509", "-noout", "-serial"]);
    let serial = read.input(seen.stdout).run()?.succeeded()?.text();
    Ok(serial.trim().strip_prefix("serial=").context("no serial")?.to_lowercase())
}

/// The description of a cluster whose nodes serve metrics.
pub(crate) fn with_metrics(cluster: &TestCluster) -> Result<PathBuf> {
    let file = cluster.home().join("cluster.toml");
    let text = format!("name = \"{}\"\n[metrics]\nenabled = true\n", cluster.name());
    caracal_pki::store::write_public(&file, text.as_bytes())?;
    Ok(file)
}
