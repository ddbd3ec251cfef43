//! Clusters in containers: the same cluster, the same proof, judged by the engine's own program.
//!
//! A group of its own (`cargo xtask test docker`): it needs an engine and the images of `cargo xtask image build`.
//! Where one is missing these tests fail with the reason.

use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use caracal_cluster::names::ClusterName;
use serde_json::Value;

use crate::Test;
use crate::cluster::TestCluster;
use crate::confluent;
use crate::converge::{self, nothing_to_do};
use crate::docker_ops;
use crate::product;
use crate::program::{Ended, Program};
use crate::tools;
use crate::verify;

pub(crate) const TESTS: &[Test] = &[
    ("docker::the_same_secured_cluster_in_the_vendors_layout", in_the_vendors_layout),
    ("docker::every_command_of_the_guide_works_on_containers", every_command),
    ("docker::the_same_secured_cluster_in_the_projects_layout", in_the_projects_layout),
    ("docker::a_minimal_cluster_is_struck_and_mended", struck_and_mended),
    ("docker::what_stands_in_the_way_is_named_beforehand", what_stands_in_the_way),
];

/// By this label everything of a cluster is found.
const LABEL: &str = "caracal.cluster.id";

const LOCAL: &[&str] = &["--runtime", "docker", "--images", "local"];
const LOCAL_APACHE: &[&str] = &["--runtime", "docker", "--images", "local-apache"];
const MINIMAL: &[&str] = &["--runtime", "docker", "--images", "local-apache", "--profile", "minimal"];

/// Whether tests of containers are run instead of all others.
pub(crate) fn is_chosen() -> bool {
    confluent::is_chosen() || std::env::var_os("CARACAL_LIVE_SUITE").is_some_and(|suite| suite == "docker")
}

/// A whole cluster that one test leaves running for the next, which takes it down: a start costs a minute.
static LEFT: Mutex<Option<TestCluster>> = Mutex::new(None);

fn in_the_vendors_layout() -> Result<()> {
    let cluster = with_metrics()?;
    is_the_same(&cluster)?;
    *LEFT.lock().map_err(|_| anyhow!("a test died while it had the cluster"))? = Some(cluster);
    Ok(())
}

fn every_command() -> Result<()> {
    let left = LEFT.lock().map_err(|_| anyhow!("a test died while it had the cluster"))?.take();
    let cluster = left.map_or_else(with_metrics, Ok)?;
    docker_ops::every_command(&cluster)?;
    gone_without_a_trace(cluster)
}

fn in_the_projects_layout() -> Result<()> {
    let cluster = TestCluster::new()?;
    up(&cluster, LOCAL_APACHE)?.succeeded()?;
    is_the_same(&cluster)?;
    gone_without_a_trace(cluster)
}

/// The guide's cluster in the vendor's layout, with metrics, which every command may be asked of.
fn with_metrics() -> Result<TestCluster> {
    let cluster = TestCluster::new()?;
    let spec = docker_ops::with_metrics(&cluster)?;
    up(&cluster, &[LOCAL, &["--spec", &spec.display().to_string()]].concat())?.succeeded()?;
    // The cluster keeps its own.
    std::fs::remove_file(spec)?;
    Ok(cluster)
}

pub(crate) fn is_the_same(cluster: &TestCluster) -> Result<()> {
    nothing_to_do(cluster)?;
    verify::passes(cluster)?;
    made_as_promised(cluster)?;
    let data = converge::data(&cluster.resolved()?)?;
    cluster.down(false)?.succeeded()?;
    let left = belongings(&cluster.id()?)?;
    ensure!(left.iter().all(|line| line.starts_with("volume")), "`down` left {left:?}");
    cluster.up()?.succeeded()?;
    ensure!(converge::data(&cluster.resolved()?)? == data, "records or schema ids are others than before");
    Ok(())
}

/// Containers as the engine's own program sees them.
fn made_as_promised(cluster: &TestCluster) -> Result<()> {
    let resolved = cluster.resolved()?;
    let passwords = cluster.passwords()?;
    for node in &resolved.plan.nodes {
        let seen = docker(&["inspect", node.name.as_str()])?.succeeded()?.text();
        ensure!(
            !passwords.iter().any(|password| seen.contains(password)),
            "`docker inspect` shows a password"
        );
        let seen: Value = serde_json::from_str(&seen)?;
        let (host, config) = (&seen[0]["HostConfig"], &seen[0]["Config"]);
        let bindings = host["PortBindings"].as_object().context("nothing is published")?;
        ensure!(bindings.len() == node.listeners.len(), "{} publishes {bindings:?}", node.name);
        for binding in bindings.values().flat_map(|list| list.as_array().into_iter().flatten()) {
            ensure!(binding["HostIp"] == "127.0.0.1", "{} is published at {binding}", node.name);
        }
        let policy = &host["RestartPolicy"]["Name"];
        ensure!(policy == "unless-stopped", "{} has the restart policy {policy}", node.name);
        ensure!(
            config["StopTimeout"] == node.stop_seconds,
            "{} may take {}",
            node.name,
            config["StopTimeout"]
        );
        let container = node.container.as_ref().context("no container is planned")?;
        let address = &seen[0]["NetworkSettings"]["Networks"];
        ensure!(
            address.to_string().contains(&container.address.to_string()),
            "{} is at {address}",
            node.name
        );
        let key =
            node.secrets.iter().find(|secret| secret.path.ends_with("keystore.pem")).context("no key")?;
        let path = format!("{}/{}", container.mount, key.path);
        let mode = docker(&["exec", node.name.as_str(), "stat", "-c", "%a", &path])?.succeeded()?.text();
        ensure!(mode.trim() == "600", "{path} has mode {mode}");
        let shown = docker(&["logs", "--tail", "5", node.name.as_str()])?.succeeded()?;
        ensure!(!shown.text().trim().is_empty(), "`docker logs {}` shows nothing", node.name);
    }
    Ok(())
}

fn struck_and_mended() -> Result<()> {
    let cluster = TestCluster::new()?;
    up(&cluster, MINIMAL)?.succeeded()?;
    // Without a registry the client library has nothing to try.
    cluster.run(cluster.command(&product::verify_the_matrix(cluster.name()))?)?.succeeded()?;
    let node = cluster.resolved()?.plan.nodes[0].name.to_string();
    operate(&cluster, &["cluster", "pause", &node])?.succeeded()?;
    let state = docker(&["inspect", "-f", "{{.State.Status}}", &node])?.succeeded()?.text();
    ensure!(state.trim() == "paused", "it is {state}");
    let health = operate(&cluster, &["health", "--json"])?;
    ensure!(health.text().contains("cluster resume"), "`health` does not see the pause: {}", health.text());
    operate(&cluster, &["cluster", "resume", &node])?.succeeded()?;
    operate(&cluster, &["cluster", "cut", &node])?.succeeded()?;
    let cut = operate(&cluster, &["health", "--json"])?;
    ensure!(!cut.text().contains("\"healthy\":true"), "`health` does not see the cut: {}", cut.text());
    operate(&cluster, &["cluster", "heal"])?.succeeded()?;
    nothing_to_do(&cluster)?;
    operate(&cluster, &["cluster", "restart", "--all-at-once"])?.succeeded()?;
    nothing_to_do(&cluster)?;
    operate(&cluster, &["cluster", "stop"])?.succeeded()?;
    let left = belongings(&cluster.id()?)?;
    ensure!(!left.iter().any(|line| line.starts_with("container")), "`stop` left {left:?}");
    operate(&cluster, &["cluster", "start"])?.succeeded()?;
    nothing_to_do(&cluster)?;
    operate(&cluster, &["cluster", "kill", &node])?.succeeded()?;
    let ps = cluster.run(cluster.command(&product::ps(cluster.name()))?)?.succeeded()?;
    ensure!(
        ps.text().contains("killed by `cluster kill`"),
        "`ps` does not say why it is gone: {}",
        ps.text()
    );
    cluster.up()?.succeeded()?;
    nothing_to_do(&cluster)?;
    out_of_memory(&cluster, &node)?;
    let other = operate(&cluster, &["cluster", "up", "--runtime", "native"])?.failed()?;
    ensure!(other.text().contains("stays where it was made"), "{}", other.text());
    gone_without_a_trace(cluster)
}

/// The kernel ends a node in a container that is too small; the reason is told, and `up` gives it what is planned.
fn out_of_memory(cluster: &TestCluster, node: &str) -> Result<()> {
    const LIMIT: &[&str] = &["update", "--restart", "no", "--memory", "96m", "--memory-swap", "96m"];
    // A running one cannot be given less than it has.
    for words in [&["stop"][..], LIMIT, &["start"], &["wait"]] {
        docker(&[words, &[node]].concat())?.succeeded()?;
    }
    // The engine hears of the kernel's verdict by another way than of the end, and sometimes later.
    tools::await_until("the engine's word that the kernel killed it", Duration::from_secs(20), || {
        let shown = docker(&["inspect", "-f", "{{.State.OOMKilled}}, exit code {{.State.ExitCode}}", node]);
        let shown = shown.and_then(Ended::succeeded).map_err(|error| format!("{error:#}"))?.text();
        if shown.starts_with("true") { Ok(Some(())) } else { Err(shown) }
    })?;
    for words in [&["cluster", "ps", "--json"][..], &["health"]] {
        operate(cluster, words)?.saying(&[
            "was killed by the kernel",
            "its container may use 96 MiB",
            "heap_mib",
        ])?;
    }
    cluster.up()?.succeeded()?;
    nothing_to_do(cluster)
}

fn what_stands_in_the_way() -> Result<()> {
    let cluster = TestCluster::new()?;
    let node = format!("{}-kafka-1", cluster.name());
    let refused = |flags: &[&str], words: &[&str]| -> Result<()> {
        let images: &[&str] = if flags.contains(&"--images") { &[] } else { &["--images", "local-apache"] };
        let ended =
            up(&cluster, &[&["--runtime", "docker", "--profile", "minimal"], images, flags].concat())?
                .failed()?;
        let text = ended.text().split_whitespace().collect::<Vec<_>>().join(" ");
        let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
        ensure!(missing.is_empty(), "{missing:?} are not in: {text}");
        let made = belongings(&cluster.id()?)?;
        ensure!(!made.iter().any(|line| line.starts_with("container")), "{made:?} were made all the same");
        cluster.down(true)?.succeeded()?;
        Ok(())
    };
    // Addresses of the engine's own network, whichever they are.
    let bridge = docker(&["network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Subnet}}"])?;
    let bridge = bridge.succeeded()?.text().trim().to_owned();
    refused(&["--subnet", &bridge], &["taken by the network `bridge`", "--subnet"])?;
    docker(&["create", "--name", &node, "caracal-local/kafka-apache:4.3.1", "java"])?.succeeded()?;
    let foreign = refused(&[], &[&node, "is not ours", "caracal-local/kafka-apache:4.3.1"]);
    docker(&["rm", "-f", &node])?.succeeded()?;
    foreign?;
    // If that fails, somebody else holds it already.
    let held = TcpListener::bind("127.0.0.1:9093");
    refused(&["--ports", "guide"], &["9093", "--ports auto"])?;
    drop(held);
    refused(
        &["--images", "caracal-local/no-such:1"],
        &["caracal-local/no-such:1", "cargo xtask image build"],
    )?;
    refused(&["--images", "caracal-local/kafka-apache:4.3.1"], &["docker.layout", "layout `apache`"])?;
    refused(&["--images", "caracal-local/apicurio-registry:3.3.3"], &["no jars of Kafka lie in"])?;
    refused(
        &["--kafka-version", "3.9.2", "--images", "caracal-local/kafka-confluent:4.3.1"],
        &["4.3.1", "3.9.2"],
    )?;
    // An image with the other registry: nothing of it can be run by Confluent's settings.
    let file = cluster.home().join("other.toml");
    let registry = "[docker]\nregistry_image = \"caracal-local/apicurio-registry:3.3.3\"";
    let text = format!("name = \"{}\"\n{registry}\n", cluster.name());
    caracal_pki::store::write_public(&file, text.as_bytes())?;
    let spec = file.display().to_string();
    refused(
        &["--registry", "confluent", "--spec", &spec],
        &["kafka-schema-registry-*.jar", "it has another registry"],
    )?;
    let absent = cluster.command(&product::up_with(cluster.name(), MINIMAL))?;
    let absent = cluster.run(absent.env("DOCKER_HOST", "unix:///nowhere/docker.sock"))?.failed()?;
    ensure!(absent.text().contains("no container engine answers"), "{}", absent.text());
    cluster.take_down()
}

pub(crate) fn up(cluster: &TestCluster, flags: &[&str]) -> Result<Ended> {
    cluster.run(cluster.command(&product::up_with(cluster.name(), flags))?)
}

pub(crate) fn operate(cluster: &TestCluster, words: &[&str]) -> Result<Ended> {
    let words: Vec<String> =
        words.iter().copied().chain(["--name", cluster.name()]).map(str::to_owned).collect();
    cluster.run(cluster.command(&words)?)
}

/// The engine's own program.
pub(crate) fn docker(words: &[&str]) -> Result<Ended> {
    Program::needed("docker")?.args(words).run()
}

/// `down -v`, after which the engine knows nothing of the cluster.
pub(crate) fn gone_without_a_trace(cluster: TestCluster) -> Result<()> {
    let id = cluster.id()?;
    cluster.down(true)?.succeeded()?;
    let mut left = belongings(&id)?;
    left.extend(cluster.leftovers()?);
    ensure!(left.is_empty(), "after `down -v` there is left:\n  {}", left.join("\n  "));
    cluster.take_down()
}

/// Everything that the engine has of a cluster: containers, networks, volumes.
pub(crate) fn belongings(id: &str) -> Result<Vec<String>> {
    let filter = format!("label={LABEL}={id}");
    let mut found = Vec::new();
    for (kind, words) in [
        ("container", &["ps", "-a", "--format", "{{.Names}}"][..]),
        ("network", &["network", "ls", "--format", "{{.Name}}"]),
        ("volume", &["volume", "ls", "--format", "{{.Name}}"]),
    ] {
        let listed = docker(&[words, &["--filter", &filter]].concat())?.succeeded()?.text();
        found.extend(listed.lines().map(|name| format!("{kind} {name}")));
    }
    Ok(found)
}

/// Removes everything that the engine has of a cluster; says what could not be.
pub(crate) fn give_back(cluster: &ClusterName, id: &str) -> Vec<String> {
    let removed = || -> Result<()> {
        for line in belongings(id)? {
            let Some((kind, name)) = line.split_once(' ') else { continue };
            let force: &[&str] = if kind == "network" { &[] } else { &["-f"] };
            docker(&[&[kind, "rm"], force, &[name]].concat())?.succeeded()?;
        }
        Ok(())
    };
    removed().err().map(|error| format!("cluster {cluster}: {error:#}")).into_iter().collect()
}
