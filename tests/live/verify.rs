//! `verify`: passes on a cluster that is right, and fails on one that was sabotaged.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::distribution::find_java;
use caracal_cluster::plan::{CONTROLLER_LISTENER, ClusterPlan, NodePlan, NodeRole, Protection};
use caracal_cluster::runtime::process::{self, ProcessSpec, Target};
use caracal_cluster::spec::Metadata;
use caracal_cluster::wire::{Connection, Deadline, Endpoint};
use caracal_kafka_contract::events::EventType;

use crate::cluster::{self, TestCluster, access};
use crate::converge::nothing_to_do;
use crate::jdk::{EVENTS, GROUPS, TOPICS, as_admin};
use crate::program::Ended;
use crate::tools::{self, await_until, block};
use crate::{Test, product};

pub(crate) const TESTS: &[Test] = &[
    ("verify::passes_on_the_shared_cluster", passes_on_the_shared_cluster),
    ("verify::deletes_what_killed_runs_left_behind", deletes_what_killed_runs_left),
    ("verify::fails_when_somebody_added_a_right", fails_with_an_extra_right),
    ("verify::fails_when_a_listener_asks_for_no_certificate", fails_with_a_loose_listener),
];

/// The first `verify` builds the client library, a C build of some minutes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Runs `verify` and demands that it passes, is a whole proof, and leaves nothing behind.
pub(crate) fn passes(cluster: &TestCluster) -> Result<()> {
    let verify = cluster.command(&product::verify(cluster.name()))?.within(PATIENCE);
    let verify = cluster.run(verify)?.succeeded()?;
    is_whole(&cluster.resolved()?.plan, &product::attempts(&verify)?)?;
    let left = scratch(cluster)?;
    ensure!(left.is_empty(), "`verify` left topics and groups behind: {left:?}");
    Ok(())
}

/// Topics and groups of `verify`, as Kafka's own tools list them.
fn scratch(cluster: &TestCluster) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for class in [TOPICS, GROUPS] {
        let listed = as_admin(cluster, class)?.args(["--list"]).run()?.succeeded()?.text();
        found.extend(listed.lines().filter(|line| line.contains("verify-")).map(str::to_owned));
    }
    Ok(found)
}

/// Demands that nothing is missing in a proof that passed: what it must hold is said here once more.
fn is_whole(plan: &ClusterPlan, attempts: &BTreeMap<String, String>) -> Result<()> {
    // One attempt, or one a user, each of them passed.
    let passed = |what: &str| {
        let mut tried = attempts
            .iter()
            .filter(|(id, _)| {
                id.strip_prefix(what).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .peekable();
        tried.peek().is_some() && tried.all(|(_, outcome)| outcome == "passed")
    };
    let mut missing: Vec<String> = needed(plan).into_iter().filter(|what| !passed(what)).collect();
    let leads = |node: &&NodePlan| passed(&format!("control-plane/{}/QUORUM/no-certificate", node.name));
    let leaders = plan.nodes_of(NodeRole::Zookeeper).filter(leads).count();
    if leaders != plan.nodes_of(NodeRole::Zookeeper).count().min(1) {
        missing.push(format!("the quorum port of one leader (found: {leaders})"));
    }
    // Only the leader has a quorum port, and not every machine has an address but loopback.
    let may_be_missing = |id: &str| id.contains("/QUORUM/") || id.ends_with("/outside");
    let not_run = attempts.iter().filter(|(id, outcome)| *outcome != "passed" && !may_be_missing(id));
    missing.extend(not_run.map(|(id, outcome)| format!("{id} ({outcome})")));
    ensure!(missing.is_empty(), "`verify` passed although it did not try:\n  {}", missing.join("\n  "));
    Ok(())
}

/// The attempts without which a proof is none, by their ids or what these begin with.
fn needed(plan: &ClusterPlan) -> Vec<String> {
    const HANDSHAKES: [&str; 8] = [
        "right-certificate",
        "minted-certificate",
        "no-certificate",
        "foreign-certificate",
        "expired-certificate",
        "early-certificate",
        "plaintext",
        "tls-1.1",
    ];
    const LOG_INS: [&str; 4] = ["wrong-password", "unknown-user", "sha-256", "no-log-in"];
    let mut needed = Vec::new();
    for node in &plan.nodes {
        for listener in &node.listeners {
            let at = format!("{}/{}", node.name, listener.name);
            match listener.protection {
                Protection::MutualTlsScram => {
                    let wrong = HANDSHAKES.iter().chain(&["control-plane-certificate"]);
                    needed.extend(wrong.map(|slug| format!("transport/{at}/{slug}")));
                    needed.extend(LOG_INS.map(|slug| format!("authentication/{at}/{slug}")));
                    needed.extend(
                        plan.users.iter().map(|user| format!("authentication/{at}/log-in/{}", user.name)),
                    );
                }
                // Of these only the leader's is open.
                Protection::MutualTls if listener.name.as_str() == "QUORUM" => {}
                Protection::MutualTls => {
                    if listener.name.as_str() == CONTROLLER_LISTENER {
                        let quorum = ["describes-quorum", "stranger-describes-quorum"];
                        needed.extend(quorum.map(|slug| format!("control-plane/{at}/{slug}")));
                    }
                    let wrong = HANDSHAKES.iter().chain(&["application-certificate"]);
                    needed.extend(wrong.map(|slug| format!("control-plane/{at}/{slug}")));
                }
                Protection::Http => needed.push(format!("registry/{at}/loopback")),
            }
        }
    }
    for (topic, slug, user) in
        [(EVENTS, "read", "producer"), (EVENTS, "write", "consumer"), (EVENTS, "rights", "schema-registry")]
    {
        needed.push(format!("authorization/{topic}/{slug}/{user}"));
    }
    needed.extend(
        ["create", "round-trip", "delete"].map(|slug| format!("authorization/verify-x/{slug}/admin")),
    );
    if plan.metadata == Metadata::Zookeeper {
        needed.extend(["stranger-reads", "acl"].map(|slug| format!("control-plane//config/users/{slug}")));
    }
    for subject in &plan.subjects {
        let at = &subject.subject;
        needed.extend(["schema", "compatible", "incompatible"].map(|slug| format!("registry/{at}/{slug}")));
    }
    needed.extend(EventType::ALL.map(|event| format!("client/{}/round-trip", event.name())));
    needed
}

/// Runs the matrix of `verify` and demands that it says that the proof failed.
fn fails(cluster: &TestCluster) -> Result<Ended> {
    let verify = cluster.command(&product::verify_the_matrix(cluster.name()))?;
    cluster.run(verify)?.ended_with(product::UNHEALTHY)
}

fn passes_on_the_shared_cluster() -> Result<()> {
    passes(cluster::shared()?)
}

fn deletes_what_killed_runs_left() -> Result<()> {
    // In the first second of 1970 begun, so certainly over.
    const TOPIC: &str = "verify-00000001-00000001";
    const GROUP: &str = "caracal-verify-00000001-00000001-0000000000000001-caracal.metering.events";
    let shared = cluster::shared()?;
    as_admin(shared, TOPICS)?.args(["--create", "--topic", TOPIC]).run()?.succeeded()?;
    let commit = ["--reset-offsets", "--to-earliest", "--execute", "--topic", EVENTS, "--group", GROUP];
    as_admin(shared, GROUPS)?.args(commit).run()?.succeeded()?;
    let planted = scratch(shared)?;
    let is_planted = |name: &str| planted.iter().any(|line| line.contains(name));
    ensure!(is_planted(TOPIC) && is_planted(GROUP), "not planted: there is only {planted:?}");
    shared.run(shared.command(&product::verify_the_matrix(shared.name()))?)?.succeeded()?;
    let left = scratch(shared)?;
    ensure!(left.is_empty(), "what a killed run left is still there: {left:?}");
    Ok(())
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
