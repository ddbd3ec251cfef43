//! Changes that restart nodes of a running cluster: all of a role at once, or one after the other.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use caracal_cluster::plan::{Ca, NodeRole};
use caracal_cluster::runtime::process::{self, ProcessState, Target};

use crate::cluster::{self, TestCluster};
use crate::product;
use crate::tools;
use crate::{Test, converge};

pub(crate) const TESTS: &[Test] = &[
    ("restarts::a_changed_heap_rolls_the_brokers_and_keeps_the_records", a_changed_heap),
    ("restarts::a_new_data_authority_restarts_the_brokers_as_a_whole", a_new_data_authority),
    ("restarts::a_new_control_authority_restarts_everything", a_new_control_authority),
];

/// The shortest time from a broker's start to its service: brokers that roll start at least so far apart.
const SHORTEST_START: Duration = Duration::from_secs(1);

fn a_changed_heap() -> Result<()> {
    let cluster = cluster::shared()?;
    let resolved = cluster.resolved()?;
    let data = converge::data(&resolved)?;
    let before = converge::pids(cluster)?;
    let mut spec = resolved.spec.clone();
    spec.kafka.heap_mib += 16;
    resolved.dir.write(&resolved.dir.spec(), spec.to_toml().as_bytes())?;
    let up = cluster.up()?.succeeded()?.saying(&["config/node.args"])?;
    ensure!(product::mended(&up, "brokers"), "the brokers were not mended; it said:\n{}", up.text());
    ensure!(!up.text().contains("as a whole"), "it did not roll; it said:\n{}", up.text());
    restarted(cluster, &before, &["-kafka-"])?;
    let mut started = Vec::new();
    for node in resolved.plan.nodes_of(NodeRole::Broker) {
        started.push(start_of(cluster, node.name.as_str())?);
    }
    started.sort();
    for pair in started.windows(2) {
        let apart = pair[1].duration_since(pair[0])?;
        ensure!(apart >= SHORTEST_START, "two brokers were started within {apart:?}: that is no roll");
    }
    ensure!(converge::data(&cluster.resolved()?)? == data, "records or schema ids are others than before");
    converge::nothing_to_do(cluster)
}

fn a_new_data_authority() -> Result<()> {
    new_authority(Ca::Data, &["-kafka-", "-schema-registry"])
}

fn a_new_control_authority() -> Result<()> {
    new_authority(Ca::Control, &["-zookeeper-", "-kafka-", "-schema-registry"])
}

/// Moves an authority away, as the guide says, and demands that the next `up` converges with a new one.
fn new_authority(ca: Ca, concerned: &[&str]) -> Result<()> {
    let cluster = cluster::shared()?;
    let data = converge::data(&cluster.resolved()?)?;
    let before = converge::pids(cluster)?;
    let file = |extension| anyhow::Ok(cluster.dir()?.pki().join(format!("{}.{extension}", ca.stem())));
    let old = tools::read(&file("pem")?)?;
    for extension in ["pem", "key"] {
        let away = cluster.home().join(format!("{}.{extension}.away", ca.stem()));
        std::fs::rename(file(extension)?, &away).with_context(|| format!("moving to {}", away.display()))?;
    }
    cluster.up()?.succeeded()?.saying(&["as a whole"])?;
    ensure!(tools::read(&file("pem")?)? != old, "{} is the old one", ca.stem());
    restarted(cluster, &before, concerned)?;
    ensure!(converge::data(&cluster.resolved()?)? == data, "records or schema ids are others than before");
    converge::nothing_to_do(cluster)
}

/// Demands that nodes with these parts in their names were restarted, and no others.
fn restarted(cluster: &TestCluster, before: &[(String, u32)], concerned: &[&str]) -> Result<()> {
    for (node, pid) in before {
        let expected = concerned.iter().any(|part| node.contains(part));
        let now = cluster.pid(node)?;
        ensure!(
            (now != *pid) == expected,
            "{node} had pid {pid} and has {now}; restarted should be {concerned:?}"
        );
    }
    Ok(())
}

fn start_of(cluster: &TestCluster, node: &str) -> Result<SystemTime> {
    match process::observe(&Target::new(cluster.id()?, node, cluster.home().join("no-record"))) {
        ProcessState::Running { started, .. } => Ok(started),
        other => bail!("{node} does not run: {other:?}"),
    }
}
