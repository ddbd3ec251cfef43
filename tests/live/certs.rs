//! Renewing certificates of the running cluster; OpenSSL says what each listener presents before and after.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::plan::{BOOTSTRAP_CERTIFICATE, CONTROLLER_LISTENER, NodeRole};
use caracal_cluster::runtime::process;

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::jdk::{EVENTS, as_admin};
use crate::product;
use crate::program::Program;
use crate::users::{document, nothing_differs, operate};

pub(crate) const TESTS: &[Test] = &[
    ("certs::listeners_present_new_certificates_without_a_restart", reloaded),
    ("certs::what_cannot_reload_is_restarted_one_after_the_other", restarted),
    ("certs::show_and_renew_name_what_is_not_there", refused),
];

/// What OpenSSL is presented, by node and listener: brokers' listeners and ZooKeeper's client ports.
fn serials(cluster: &TestCluster) -> Result<BTreeMap<String, String>> {
    let resolved = cluster.resolved()?;
    let pki = resolved.dir.pki();
    let mut serials = BTreeMap::new();
    for node in &resolved.plan.nodes {
        let (ca, id, named) = match node.role {
            NodeRole::Broker => ("data-ca", "client.consumer", &["INTERNAL", "EXTERNAL"][..]),
            NodeRole::Zookeeper => ("control-ca", BOOTSTRAP_CERTIFICATE, &["CLIENT"][..]),
            NodeRole::Controller => ("control-ca", BOOTSTRAP_CERTIFICATE, &[CONTROLLER_LISTENER][..]),
            NodeRole::SchemaRegistry => continue,
        };
        for listener in node.listeners.iter().filter(|listener| named.contains(&listener.name.as_str())) {
            let file = |stem: &str, kind: &str| pki.join(format!("{stem}.{kind}"));
            let seen = Program::needed("openssl")?
                .args(["s_client", "-connect", &listener.dial.to_string(), "-servername", "localhost"])
                .args(["-verify_return_error", "-verify_hostname", "localhost"])
                .args(["-CAfile".as_ref(), file(ca, "pem").as_os_str()])
                .args(["-cert".as_ref(), file(id, "pem").as_os_str()])
                .args(["-key".as_ref(), file(id, "key").as_os_str()])
                .input("")
                .within(Duration::from_secs(60))
                .run()?;
            let at = format!("{} {}", node.name, listener.name);
            ensure!(seen.text().contains("Verify return code: 0 (ok)"), "{at}:\n{}", seen.text());
            let read = Program::needed("openssl")?.args(["x509", "-noout", "-serial"]);
            let serial = read.input(seen.stdout.clone()).run()?.succeeded()?.text();
            let serial = serial.trim().strip_prefix("serial=").context("no serial")?.to_lowercase();
            serials.insert(at, serial);
        }
    }
    ensure!(serials.len() == 9, "{serials:?}");
    Ok(serials)
}

fn pids(cluster: &TestCluster) -> Result<BTreeMap<String, u32>> {
    Ok(process::find_all(&cluster.id()?).iter().map(|found| (found.node.clone(), found.pid)).collect())
}

/// The serial number in hexadecimal, as OpenSSL prints it: in whole bytes.
fn as_openssl(serial: &serde_json::Value) -> Result<String> {
    let serial = serial.as_str().context("no serial")?;
    Ok(if serial.len() % 2 == 1 { format!("0{serial}") } else { serial.to_owned() })
}

fn reloaded() -> Result<()> {
    let cluster = cluster::shared()?;
    let (before, ran) = (serials(cluster)?, pids(cluster)?);
    operate(cluster, &["certs", "renew", "--all", "--no-restart", "--dry-run"])?.succeeded()?.saying(&[
        "kafka-1 reloads",
        "client files",
        "would be renewed",
    ])?;
    ensure!(serials(cluster)? == before, "a dry run changed something");
    let report = document(cluster, &["certs", "renew", "--all", "--no-restart"])?;
    let after = serials(cluster)?;
    ensure!(pids(cluster)? == ran, "a node was restarted");
    ensure!(report["restarted"].as_array().is_some_and(Vec::is_empty), "{report}");
    let renewed = report["certificates"].as_array().context("no certificates")?;
    for (at, serial) in &after {
        let (node, listener) = at.split_once(' ').context("no listener")?;
        let old = &before[at];
        if listener == "CLIENT" {
            ensure!(serial == old, "{at} presents another certificate although ZooKeeper cannot reload");
            continue;
        }
        let id = format!("{node}.listener");
        let of = renewed
            .iter()
            .find(|one| one["certificate"] == id.as_str())
            .with_context(|| format!("no {id}"))?;
        ensure!(serial != old, "{at} presents its old certificate");
        ensure!(*serial == as_openssl(&of["new_serial"])?, "{at} presents {serial}, issued was {of}");
        ensure!(*old == as_openssl(&of["old_serial"])?, "{at} presented {old}, known was {of}");
    }
    // Everybody gets in with new client certificates, brokers with each other too, and nothing stays behind.
    operate(cluster, &["users", "verify"])?.succeeded()?;
    operate(cluster, &["health", "--wait", "2m"])?.succeeded()?;
    operate(cluster, &["certs", "show"])?.succeeded()?.saying(&["days left", "kafka-3 EXTERNAL"])?;
    let describe = ["--describe", "--entity-type", "brokers", "--entity-name", "1"];
    let dynamic = as_admin(cluster, "kafka.admin.ConfigCommand")?.args(describe).run()?.succeeded()?.text();
    ensure!(!dynamic.contains("ssl.keystore.location"), "the broker keeps an alteration:\n{dynamic}");
    let config = cluster.dir()?.client(&"consumer".parse()?).join("kcat.conf");
    let read = ["-C", "-t", EVENTS, "-o", "beginning", "-c", "1", "-e", "-q", "-f", "%k", "-m", "30"];
    Program::needed("kcat")?.args(["-F".as_ref(), config.as_os_str()]).args(read).run()?.succeeded()?;
    nothing_differs(cluster)
}

fn restarted() -> Result<()> {
    let cluster = cluster::shared()?;
    let name = |short: &str| format!("{}-{short}", cluster.name());
    let (before, ran) = (serials(cluster)?, pids(cluster)?);
    let report = document(cluster, &["certs", "renew", "zookeeper-2", "kafka-2", "schema-registry"])?;
    let (after, runs) = (serials(cluster)?, pids(cluster)?);
    for node in ["zookeeper-2", "kafka-2", "schema-registry"] {
        ensure!(ran[&name(node)] != runs[&name(node)], "{node} was not restarted: {report}");
    }
    for node in ["zookeeper-1", "zookeeper-3", "kafka-1", "kafka-3"] {
        ensure!(ran[&name(node)] == runs[&name(node)], "{node} was restarted: {report}");
    }
    for (at, serial) in &after {
        let named = at.starts_with(&name("kafka-2")) || at.starts_with(&name("zookeeper-2"));
        ensure!((*serial != before[at]) == named, "{at}: {} became {serial}", before[at]);
    }
    operate(cluster, &["health", "--writes", "--wait", "2m"])?.succeeded()?;
    operate(cluster, &["certs", "show"])?.succeeded()?;
    nothing_differs(cluster)
}

fn refused() -> Result<()> {
    let cluster = cluster::shared()?;
    operate(cluster, &["certs", "renew", "kafka-22"])?
        .ended_with(product::USAGE)?
        .saying(&["did you mean"])?;
    operate(cluster, &["certs", "renew"])?.ended_with(product::USAGE)?.saying(&["--all"])?;
    operate(cluster, &["certs", "renew", "--within", "10d"])?
        .succeeded()?
        .saying(&["no certificate has to be"])?;
    let shown = document(cluster, &["certs", "show"])?;
    let listeners = shown["listeners"].as_array().context("no listeners")?;
    ensure!(listeners.len() == 9 && listeners.iter().all(|served| served["as_on_disk"] == true), "{shown}");
    ensure!(listeners.iter().all(|served| served["chain"][0]["sans"].as_array().is_some()), "{shown}");
    // A broker that is away is said to be, with a code of its own.
    operate(cluster, &["cluster", "pause", "kafka-3"])?.succeeded()?;
    let away = operate(cluster, &["certs", "show"]);
    operate(cluster, &["cluster", "resume", "kafka-3"])?.succeeded()?;
    away?.ended_with(product::UNHEALTHY)?.saying(&["kafka-3"])?;
    operate(cluster, &["health", "--wait", "2m"])?.succeeded()?;
    Ok(())
}
