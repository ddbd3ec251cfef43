//! `verify`: passes on a cluster that is right, and fails on one that was sabotaged.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::distribution::find_java;
use caracal_cluster::plan::{NodePlan, NodeRole};
use caracal_cluster::runtime::process::{self, ProcessSpec, Target};
use caracal_cluster::wire::{Connection, Deadline, Endpoint};

use crate::cluster::{self, TestCluster, access};
use crate::converge::nothing_to_do;
use crate::jdk::{EVENTS, as_admin};
use crate::program::Ended;
use crate::tools::{self, await_until, block};
use crate::{Test, product};

pub(crate) const TESTS: &[Test] = &[
    ("verify::passes_on_the_shared_cluster", passes_on_the_shared_cluster),
    ("verify::fails_when_somebody_added_a_right", fails_with_an_extra_right),
    ("verify::fails_when_a_listener_asks_for_no_certificate", fails_with_a_loose_listener),
];

/// The first `verify` builds the client library, a C build of some minutes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Runs `verify` and demands that it passes.
pub(crate) fn passes(cluster: &TestCluster) -> Result<()> {
    let verify = cluster.command(&product::verify(cluster.name()))?.within(PATIENCE);
    product::document(&cluster.run(verify)?.succeeded()?)?;
    Ok(())
}

/// Runs the matrix of `verify` and demands that it fails.
fn fails(cluster: &TestCluster) -> Result<Ended> {
    cluster.run(cluster.command(&product::verify_the_matrix(cluster.name()))?)?.failed()
}

fn passes_on_the_shared_cluster() -> Result<()> {
    passes(cluster::shared()?)
}

fn fails_with_an_extra_right() -> Result<()> {
    const TOOL: &str = "kafka.admin.AclCommand";
    let shared = cluster::shared()?;
    let rule = ["--allow-principal", "User:producer", "--operation", "Read", "--topic", EVENTS];
    as_admin(shared, TOOL)?.args(["--add"]).args(rule).run()?.succeeded()?;
    let verify = fails(shared);
    as_admin(shared, TOOL)?.args(["--remove", "--force"]).args(rule).run()?.succeeded()?;
    verify?.saying(&["producer", EVENTS])?;
    nothing_to_do(shared)
}

fn fails_with_a_loose_listener() -> Result<()> {
    const STRICT: &str = "listener.name.external.ssl.client.auth=required";
    let shared = cluster::shared()?;
    let resolved = shared.resolved()?;
    let node = resolved.plan.nodes_of(NodeRole::Broker).nth(1).context("there is no second broker")?;
    let path = shared.dir()?.node(&node.name).join("config/server.properties");
    let right = tools::read(&path)?;
    ensure!(right.contains(STRICT), "{} does not say {STRICT}", path.display());
    tools::spoil(&path, right.replace(STRICT, &STRICT.replace("required", "none")).as_bytes())?;
    restart(shared, node)?;
    let verify = fails(shared);
    // What `up` makes of it: the file differs, and the proof sees what runs.
    let up = shared.up();
    tools::spoil(&path, right.as_bytes())?;
    restart(shared, node)?;
    verify?.saying(&[node.name.as_str(), "certificate"])?;
    up?.saying(&["config/server.properties", node.name.as_str(), "differs from the plan"])?;
    nothing_to_do(shared)
}

/// Restarts a node past the product, with whatever files it has now, and waits until it knows its cluster.
fn restart(cluster: &TestCluster, node: &NodePlan) -> Result<()> {
    let dir = cluster.dir()?;
    let home = dir.node(&node.name);
    let target = Target::new(cluster.id()?, node.name.as_str(), dir.node_process(&node.name));
    block(process::stop(&target, Duration::from_secs(60)))?;
    process::start(&ProcessSpec {
        target,
        program: block(find_java(21))?.program(),
        args: vec![format!("@{}", home.join("config/node.args").display()).into()],
        working_dir: home,
        log: dir.node_console(&node.name),
        own_log: Some(dir.node_log(&node.name)),
    })?;
    let resolved = cluster.resolved()?;
    let access = access(&resolved);
    let admin = access.user(caracal_cluster::plan::Role::Admin)?;
    let (tls, login) = (access.user_tls(admin)?, access.login(admin)?);
    let listener = node.listener("EXTERNAL").context("it has no external listener")?;
    let endpoint = Endpoint::of(node, listener);
    await_until("a log-in at the restarted broker", Duration::from_secs(180), || {
        let deadline = Deadline::after(Duration::from_secs(10));
        match block(Connection::open(&endpoint, &tls, &login, deadline)) {
            Ok(_) => Ok(Some(())),
            Err(error) => Err(error.to_string()),
        }
    })
}
