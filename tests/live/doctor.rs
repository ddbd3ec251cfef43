//! `doctor` on this machine, and `doctor connect` at every kind of port, judged by what is known of each.

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::plan::NodeRole;
use serde_json::Value;

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::product;
use crate::program::{Ended, Program};
use crate::tools;

pub(crate) const TESTS: &[Test] = &[
    ("doctor::this_machine_is_looked_at_with_next_steps", machine),
    ("doctor::each_kind_of_port_is_told_apart", ports),
    ("doctor::a_user_gets_in_or_is_told_why_not", log_ins),
    ("doctor::an_old_tls_server_and_a_stranger_are_found_out", strangers),
];

fn operate(cluster: &TestCluster, words: &[&str]) -> Result<Ended> {
    let words: Vec<String> =
        words.iter().chain(&["--name", cluster.name()]).map(|word| (*word).to_owned()).collect();
    cluster.run(cluster.command(&words)?)
}

fn connect(cluster: &TestCluster, code: i32, words: &[&str]) -> Result<Value> {
    let words = [&["doctor", "connect"], words, &["--json"]].concat();
    product::document(&operate(cluster, &words)?.ended_with(code)?)
}

/// Where a listener of the shared cluster is dialled.
fn dial(role: NodeRole, listener: &str) -> Result<String> {
    let resolved = cluster::shared()?.resolved()?;
    let node = resolved.plan.nodes_of(role).next().context("no such node")?;
    let port = node.listener(listener).with_context(|| format!("no listener {listener}"))?.dial.port();
    Ok(format!("localhost:{port}"))
}

fn machine() -> Result<()> {
    let cluster = cluster::shared()?;
    let report = product::document(&operate(cluster, &["doctor", "--json"])?.succeeded()?)?;
    let findings = report["findings"].as_array().context("no findings")?;
    for check in [
        "java",
        "maven",
        "docker",
        "memory",
        "disk",
        "ports",
        "clock",
        "permissions",
        "gitignore",
        "openssl",
        "no-default-password",
        "certificate-age",
        "separate-credentials",
        "audit-log",
    ] {
        let found = findings.iter().find(|finding| finding["check"] == check);
        let found = found.with_context(|| format!("nothing about {check}: {report}"))?;
        ensure!(found["level"] != "fail", "{found}");
        ensure!(found["level"] == "ok" || found["next"].is_string(), "{found}");
    }
    // The same with something wrong: a private file that others may read.
    let key = cluster.dir()?.pki().join("data-ca.key");
    let mode = |mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode))
    };
    mode(0o644)?;
    let open = operate(cluster, &["doctor"]);
    mode(0o600)?;
    open?.ended_with(3)?.saying(&["FAIL", "permissions", "data-ca.key", "next: chmod go-rwx"])?;
    Ok(())
}

fn ports() -> Result<()> {
    let cluster = cluster::shared()?;
    let broker = connect(cluster, 0, &[&dial(NodeRole::Broker, "EXTERNAL")?])?;
    ensure!(broker["listens"] == "tls" && broker["client_certificate"] == "demanded", "{broker}");
    ensure!(broker["planned"].as_str().is_some_and(|at| at.ends_with("kafka-1 EXTERNAL")), "{broker}");
    let version = |name: &str| {
        let all = broker["versions"].as_array().into_iter().flatten();
        all.clone().find(|version| version["version"] == name).map(|version| version["accepted"].clone())
    };
    ensure!(version("TLS 1.3") == Some(true.into()) && version("TLS 1.2") == Some(true.into()), "{broker}");
    ensure!(version("TLS 1.1") == Some(false.into()) && version("TLS 1.0") == Some(false.into()), "{broker}");
    ensure!(broker["chain"][0]["days_left"].as_i64() > Some(300), "{broker}");
    ensure!(broker["chain"][0]["sans"].to_string().contains("localhost"), "{broker}");
    // Somebody else reads the same serial.
    let at = dial(NodeRole::Broker, "EXTERNAL")?;
    let shown =
        Program::needed("openssl")?.args(["s_client", "-connect", &at, "-showcerts"]).input("").run()?.text();
    let leaf = shown.split("-----END CERTIFICATE-----").next().unwrap_or_default();
    let leaf = leaf.split_once("-----BEGIN").map_or("", |(_, rest)| rest);
    let leaf = format!("-----BEGIN{leaf}-----END CERTIFICATE-----\n");
    let serial =
        Program::needed("openssl")?.args(["x509", "-noout", "-serial"]).input(leaf).run()?.succeeded()?;
    let ours = broker["chain"][0]["serial_hex"].as_str().unwrap_or_default().to_uppercase();
    ensure!(serial.text().to_uppercase().contains(&ours), "{ours} is not in {}", serial.text());
    let zookeeper = connect(cluster, 0, &[&dial(NodeRole::Zookeeper, "CLIENT")?])?;
    ensure!(zookeeper["listens"] == "tls" && zookeeper["client_certificate"] == "demanded", "{zookeeper}");
    let registry = connect(cluster, 0, &[&dial(NodeRole::SchemaRegistry, "HTTP")?])?;
    ensure!(registry["listens"] == "http", "{registry}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let closed = connect(cluster, 10, &[&closed])?;
    ensure!(closed["listens"] == "nobody" && closed["verdict"] == "unreachable", "{closed}");
    let held = std::net::TcpListener::bind("127.0.0.1:0")?;
    let silent = connect(cluster, 10, &[&held.local_addr()?.to_string()])?;
    ensure!(silent["listens"] == "silent", "{silent}");
    operate(cluster, &["doctor", "connect", "localhost"])?.ended_with(2)?.saying(&["HOST:PORT"])?;
    Ok(())
}

fn log_ins() -> Result<()> {
    let cluster = cluster::shared()?;
    let at = dial(NodeRole::Broker, "EXTERNAL")?;
    let consumer = connect(cluster, 0, &[&at, "--user", "consumer"])?;
    ensure!(consumer["let_in"] == true && consumer["mechanisms"][0] == "SCRAM-SHA-512", "{consumer}");
    let profile = cluster.dir()?.clients().join("producer/profile.toml").display().to_string();
    let producer = connect(cluster, 0, &[&at, "--profile", &profile])?;
    ensure!(producer["let_in"] == true && producer["user"] == "producer", "{producer}");
    // The same with another password: a copy of the profile's folder.
    let copy = cluster.home().join("copied");
    std::fs::create_dir(&copy)?;
    for name in ["profile.toml", "ca.pem", "client.pem", "client.key", "password"] {
        let from = cluster.dir()?.clients().join("producer").join(name);
        caracal_pki::store::write_private(&copy.join(name), &std::fs::read(from)?)?;
    }
    caracal_pki::store::write_private(&copy.join("password"), b"another-password-altogether")?;
    let copied = copy.join("profile.toml").display().to_string();
    let refused = connect(cluster, 12, &[&at, "--profile", &copied])?;
    ensure!(refused["verdict"] == "authentication" && refused["let_in"] == false, "{refused}");
    ensure!(!refused.to_string().contains("another-password-altogether"), "the password is shown");
    // And with a certificate that its broker does not know: one of ZooKeeper's authority.
    let control = tools::read(&cluster.dir()?.pki().join("control-ca.pem"))?;
    caracal_pki::store::write_private(&copy.join("ca.pem"), control.as_bytes())?;
    let distrusted = connect(cluster, 13, &[&at, "--profile", &copied])?;
    ensure!(distrusted["verdict"] == "tls", "{distrusted}");
    std::fs::remove_dir_all(copy)?;
    let wrong_port = connect(cluster, 13, &[&dial(NodeRole::SchemaRegistry, "HTTP")?, "--user", "consumer"])?;
    ensure!(wrong_port["listens"] == "http" && wrong_port["let_in"] == false, "{wrong_port}");
    operate(cluster, &["doctor", "connect", &at, "--user", "consumr"])?
        .failed()?
        .saying(&["did you mean `consumer`?"])?;
    Ok(())
}

/// OpenSSL as a server that is none of ours: TLS 1.2 alone, no client certificate asked for, a foreign authority.
fn strangers() -> Result<()> {
    let cluster = cluster::shared()?;
    let home = cluster.home().join("stranger");
    std::fs::create_dir(&home)?;
    let (key, certificate) =
        (home.join("s.key").display().to_string(), home.join("s.pem").display().to_string());
    let words =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9"];
    Program::needed("openssl")?
        .args(words)
        .args([
            "-subj",
            "/CN=stranger",
            "-addext",
            "subjectAltName=DNS:stranger",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ])
        .run()?
        .succeeded()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = Program::needed("openssl")?
        .args([
            "s_server",
            "-accept",
            &port.to_string(),
            "-key",
            &key,
            "-cert",
            &certificate,
            "-tls1_2",
            "-quiet",
        ])
        .holding_input()
        .start()?;
    let at = format!("127.0.0.1:{port}");
    tools::await_until("OpenSSL's server", std::time::Duration::from_secs(20), || {
        std::net::TcpStream::connect(&at).map(|_| Some(())).map_err(|error| error.to_string())
    })?;
    let seen = connect(cluster, 0, &[&at]);
    let tried = connect(cluster, 13, &[&at, "--user", "consumer"]);
    server.signal(rustix::process::Signal::KILL)?;
    std::fs::remove_dir_all(home)?;
    let (seen, tried) = (seen?, tried?);
    ensure!(seen["listens"] == "tls" && seen["client_certificate"] == "not-asked-for", "{seen}");
    ensure!(seen["chain"][0]["subject"] == "CN=stranger", "{seen}");
    let warned = |check: &str| {
        let findings = seen["findings"].as_array().into_iter().flatten();
        findings.clone().any(|finding| finding["check"] == check && finding["level"] == "warn")
    };
    ensure!(
        warned("versions") && warned("certificate"),
        "neither TLS 1.2 alone nor 9 days are warned of: {seen}"
    );
    ensure!(tried["verdict"] == "tls" && tried["let_in"] == false, "{tried}");
    Ok(())
}
