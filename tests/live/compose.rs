//! An export to compose: started by compose alone, proved by `verify`, ended without a trace.
//!
//! In the group of clusters in containers (`cargo xtask test docker`): it needs an engine, the images of `cargo xtask
//! image build` and Docker's compose plugin. Where one is missing these tests fail with the reason.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::kraft;
use caracal_cluster::plan::NodeRole;
use caracal_cluster::registry::Registry;
use serde_json::Value;

use crate::Test;
use crate::cluster::TestCluster;
use crate::docker::{belongings, docker, operate};
use crate::product::PATIENCE;
use crate::program::{Ended, Program};
use crate::tools::{self, block};
use crate::verify;

pub(crate) const TESTS: &[Test] = &[
    ("compose::an_export_is_started_proved_and_ended_by_compose", started_proved_and_ended),
    ("compose::a_small_export_runs_in_the_projects_layout", small_in_the_projects_layout),
    ("compose::an_export_with_kraft_is_started_proved_and_ended_by_compose", with_kraft),
    ("compose::a_minimal_export_begins_anew_with_its_new_passwords", minimal),
];

/// A whole topology is up after one to two minutes on two cores.
const START: Duration = Duration::from_secs(400);

const SMALL: &str = "[kafka]\nbrokers = 1\nzookeepers = 1\n[replication]\nfactor = 1\nmin_isr = 1\n";

fn started_proved_and_ended() -> Result<()> {
    let cluster = TestCluster::new()?;
    let dry = export(&cluster, &["--images", "local", "--dry-run"])?.succeeded()?;
    ensure!(dry.text().contains("service_completed_successfully"), "the document is not shown");
    ensure!(!cluster.state().exists(), "a dry run wrote {}", cluster.state().display());
    export(&cluster, &["--images", "local"])?.succeeded()?;
    compose(&cluster, &["config", "--quiet"])?.succeeded()?;
    compose(&cluster, &["up", "-d", "--wait"])?.succeeded()?;
    shows_no_secret(&cluster, &["volumes", "users", "topics", "schemas"])?;
    verify::passes(&cluster)?;
    holds_the_plan(&cluster)?;
    the_guides_command_works_inside(&cluster)?;
    let refused = operate(&cluster, &["cluster", "stop"])?.failed()?;
    ensure!(refused.text().contains("docker compose down"), "{}", refused.text());
    operate(&cluster, &["cluster", "restart", "kafka-2"])?.succeeded()?;
    keeps_its_data(&cluster)?;
    gone_without_a_trace(cluster)
}

fn with_kraft() -> Result<()> {
    let cluster = TestCluster::new()?;
    export(&cluster, &["--images", "local", "--metadata", "kraft"])?.succeeded()?;
    compose(&cluster, &["up", "-d", "--wait"])?.succeeded()?;
    shows_no_secret(&cluster, &["volumes", "topics", "schemas"])?;
    verify::passes(&cluster)?;
    holds_the_plan(&cluster)?;
    the_guides_command_works_inside(&cluster)?;
    first_records_are_private(&cluster)?;
    keeps_its_data(&cluster)?;
    a_lost_controller_is_made_again_on_demand(&cluster)?;
    gone_without_a_trace(cluster)
}

/// One node with metrics; its passwords are changed while it runs, and are those of the cluster that begins anew.
fn minimal() -> Result<()> {
    let cluster = TestCluster::new()?;
    let spec = cluster.home().join("minimal.toml");
    let text = format!("name = \"{}\"\nprofile = \"minimal\"\n[metrics]\nenabled = true\n", cluster.name());
    caracal_pki::store::write_private(&spec, text.as_bytes())?;
    let flags = ["--images", "local-apache", "--spec", &spec.display().to_string()];
    export(&cluster, &flags)?.succeeded()?;
    compose(&cluster, &["up", "-d", "--wait"])?.succeeded()?;
    shows_no_secret(&cluster, &["volumes", "topics"])?;
    // Without a registry the client library has nothing to try.
    operate(&cluster, &["verify", "--skip-client"])?.succeeded()?;
    holds_topics(&cluster)?;
    operate(&cluster, &["metrics"])?.succeeded()?.saying(&["messages in, since start"])?;
    let before = cluster.passwords()?;
    for user in ["consumer", "admin"] {
        operate(&cluster, &["users", "set-password", user])?.succeeded()?;
    }
    export(&cluster, &flags)?.succeeded()?;
    std::fs::remove_file(&spec)?;
    let after = cluster.passwords()?;
    ensure!(before.iter().zip(&after).filter(|(old, new)| old != new).count() == 2, "an export changes some");
    compose(&cluster, &["up", "-d", "--wait"])?.succeeded()?;
    operate(&cluster, &["users", "verify"])?.succeeded()?;
    compose(&cluster, &["down", "-v"])?.succeeded()?;
    compose(&cluster, &["up", "-d", "--wait"])?.succeeded()?;
    operate(&cluster, &["users", "verify"])?.succeeded()?;
    holds_topics(&cluster)?;
    gone_without_a_trace(cluster)
}

/// `down` leaves the volumes, and the next `up` what is in them: schemas are records of the registry's topic.
fn keeps_its_data(cluster: &TestCluster) -> Result<()> {
    let ids = schema_ids(cluster)?;
    compose(cluster, &["down"])?.succeeded()?;
    let left = belongings(&cluster.id()?)?;
    ensure!(left.iter().all(|line| line.starts_with("volume")), "`down` left {left:?}");
    compose(cluster, &["up", "-d", "--wait"])?.succeeded()?;
    ensure!(schema_ids(cluster)? == ids, "schemas have other ids than before");
    Ok(())
}

/// The first records, which hold keys of users, are the owner's alone in the volume too.
fn first_records_are_private(cluster: &TestCluster) -> Result<()> {
    let resolved = cluster.resolved()?;
    for node in resolved.plan.kraft_nodes() {
        let mount = &node.container.as_ref().context("no container is planned")?.mount;
        let path = format!("{mount}/data/{}", kraft::CHECKPOINT);
        let mode = docker(&["exec", node.name.as_str(), "stat", "-c", "%a", &path])?.succeeded()?.text();
        ensure!(mode.trim() == "600", "{path} has mode {mode}");
    }
    Ok(())
}

/// A controller whose volume is gone does not begin empty by itself, and does by the command that it is told.
fn a_lost_controller_is_made_again_on_demand(cluster: &TestCluster) -> Result<()> {
    let resolved = cluster.resolved()?;
    let (node, _) = resolved.plan.controllers().nth(1).context("there is one controller")?;
    let volume = &node.container.as_ref().context("no container is planned")?.volume;
    // Who prepared it holds it too, although it has ended.
    let preparer = format!("{}-volumes", cluster.name());
    for words in [&["rm", "-f", node.name.as_str(), &preparer][..], &["volume", "rm", volume]] {
        docker(words)?.succeeded()?;
    }
    compose(cluster, &["up", "-d", "--wait"])?.failed()?;
    let told = docker(&["logs", "--tail", "3", &preparer])?.succeeded()?.text();
    let (_, command) = told.split_once("docker compose ").with_context(|| format!("it says: {told}"))?;
    let command: Vec<&str> = command.split_whitespace().collect();
    ensure!(command.contains(&node.name.as_str()), "it says: {told}");
    compose(cluster, &command)?.succeeded()?;
    compose(cluster, &["up", "-d", "--wait"])?.succeeded()?;
    operate(cluster, &["health", "--wait", "1m"])?.succeeded()?;
    Ok(())
}

fn small_in_the_projects_layout() -> Result<()> {
    let cluster = TestCluster::new()?;
    let spec = cluster.home().join("small.toml");
    let text = format!("name = \"{}\"\n{SMALL}", cluster.name());
    caracal_pki::store::write_private(&spec, text.as_bytes())?;
    let spec = spec.display().to_string();
    export(&cluster, &["--images", "local-apache", "--spec", &spec])?.succeeded()?;
    std::fs::remove_file(&spec)?;
    compose(&cluster, &["up", "-d", "--wait"])?.succeeded()?;
    holds_the_plan(&cluster)?;
    operate(&cluster, &["users", "verify"])?.succeeded()?;
    gone_without_a_trace(cluster)
}

/// The folder of the export is the cluster's state directory.
fn export(cluster: &TestCluster, flags: &[&str]) -> Result<Ended> {
    let folder = cluster.state().display().to_string();
    let words = [&["export", "compose", "--name", cluster.name(), "--output", &folder], flags].concat();
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    cluster.run(cluster.command(&words)?)
}

fn compose(cluster: &TestCluster, words: &[&str]) -> Result<Ended> {
    docker(&["compose", "version"])?.succeeded().context(
        "Docker's compose plugin is not here: install it (apt-get install docker-compose-plugin, or build \
         github.com/docker/compose/v2 with Go)",
    )?;
    let folder = cluster.state();
    let run = Program::needed("docker")?
        .args(["compose", "--project-directory"])
        .args([&folder])
        .args(words)
        .within(START)
        .run()?;
    if !run.status.success() {
        for service in ["volumes", "users", "topics"] {
            let logs = docker(&["logs", "--tail", "20", &format!("{}-{service}", cluster.name())])?;
            tools::tell(&logs.text());
        }
    }
    Ok(run)
}

/// Neither the document nor what the engine shows holds a password, and each container has its health.
fn shows_no_secret(cluster: &TestCluster, services: &[&str]) -> Result<()> {
    let resolved = cluster.resolved()?;
    let document = tools::read(&cluster.state().join("docker-compose.yml"))?;
    let passwords = cluster.passwords()?;
    let containers = belongings(&cluster.id()?)?;
    let containers: Vec<&str> =
        containers.iter().filter_map(|line| line.strip_prefix("container ")).collect();
    for service in services {
        let name = format!("{}-{service}", cluster.name());
        ensure!(containers.contains(&name.as_str()), "{name} is not among {containers:?}");
    }
    ensure!(containers.len() == resolved.plan.nodes.len() + services.len(), "there are {containers:?}");
    for container in containers {
        let seen = docker(&["inspect", container])?.succeeded()?.text();
        let logs = docker(&["logs", container])?.succeeded()?;
        for (where_, text) in
            [("the document", &document), ("`docker inspect`", &seen), ("`docker logs`", &logs.text())]
        {
            let shown = passwords.iter().any(|password| text.contains(password));
            ensure!(!shown, "{where_} of {container} shows a password");
            ensure!(!text.contains("stored_key"), "{where_} of {container} shows a key");
        }
        let seen: Value = serde_json::from_str(&seen)?;
        let state = &seen[0]["State"];
        let fine =
            state["Health"]["Status"] == "healthy" || (state["Status"] == "exited" && state["ExitCode"] == 0);
        ensure!(fine, "{container} is {state}");
    }
    Ok(())
}

/// Topics and schemas are as planned; users and rules are what `verify` tries.
fn holds_the_plan(cluster: &TestCluster) -> Result<()> {
    holds_topics(cluster)?;
    let resolved = cluster.resolved()?;
    ensure!(schema_ids(cluster)?.len() == resolved.plan.subjects.len());
    Ok(())
}

fn holds_topics(cluster: &TestCluster) -> Result<()> {
    let topics = operate(cluster, &["topics", "apply", "--dry-run", "--json"])?.succeeded()?;
    ensure!(topics.text().contains("\"differs\":false"), "topics differ: {}", topics.text());
    Ok(())
}

fn schema_ids(cluster: &TestCluster) -> Result<Vec<i32>> {
    let resolved = cluster.resolved()?;
    let url = resolved.plan.endpoints.registry_url.as_deref().context("no registry is planned")?;
    let registry = Registry::new(url)?;
    let find = |subject: &caracal_cluster::plan::SubjectPlan| {
        let known = block(registry.lookup(&subject.subject, &subject.schema))?;
        Ok(known.with_context(|| format!("{} is not registered", subject.subject))?.id)
    };
    resolved.plan.subjects.iter().map(find).collect()
}

/// `docker exec ... --bootstrap-server localhost:9092 --command-config /etc/kafka/secrets/client.properties`, by the
/// class behind the script, which local images have not.
fn the_guides_command_works_inside(cluster: &TestCluster) -> Result<()> {
    let resolved = cluster.resolved()?;
    let broker = resolved.plan.nodes_of(NodeRole::Broker).next().context("no broker is planned")?;
    let jars = broker.container.as_ref().and_then(|container| container.layout).context("no jars")?.jars();
    // Kafka 4 has moved it.
    let package =
        if resolved.plan.kafka_version.starts_with('3') { "kafka.admin" } else { "org.apache.kafka.tools" };
    let class = ["-cp", &format!("{jars}/*"), &format!("{package}.BrokerApiVersionsCommand")];
    let flags =
        ["--bootstrap-server", "localhost:9092", "--command-config", "/etc/kafka/secrets/client.properties"];
    let words = [&["exec", broker.name.as_str(), "java"][..], &class, &flags].concat();
    let seen = docker(&words)?.succeeded()?.text();
    for broker in resolved.plan.nodes_of(NodeRole::Broker) {
        ensure!(seen.contains(&format!("{}:9092", broker.name)), "{} is not in: {seen}", broker.name);
    }
    Ok(())
}

fn gone_without_a_trace(cluster: TestCluster) -> Result<()> {
    let id = cluster.id()?;
    compose(&cluster, &["down", "-v"])?.succeeded()?;
    let left = belongings(&id)?;
    ensure!(left.is_empty(), "after `docker compose down -v` there is left:\n  {}", left.join("\n  "));
    // Its ports were leased; the guide's are not.
    let down = cluster.command(&crate::product::down(cluster.name(), true))?.within(PATIENCE);
    cluster.run(down)?.succeeded()?;
    std::fs::remove_dir_all(cluster.state())?;
    let left = cluster.leftovers()?;
    ensure!(left.is_empty(), "in the end there is left:\n  {}", left.join("\n  "));
    cluster.take_down()
}
