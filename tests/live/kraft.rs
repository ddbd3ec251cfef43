//! KRaft: the same secured cluster without ZooKeeper, the minimal profile, and what is refused of both.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use caracal_cluster::admin::quorum::{self, Part};
use caracal_cluster::lifecycle::Cluster;
use caracal_cluster::plan::NodeRole;
use caracal_cluster::spec::Metadata;
use rustix::process::Signal;

use crate::Test;
use crate::cluster::{TestCluster, access};
use crate::converge::{self, nothing_to_do, pids};
use crate::jdk::{self, as_admin};
use crate::openssl;
use crate::product;
use crate::tools::block;
use crate::verify;

pub(crate) const TESTS: &[Test] = &[
    ("kraft::the_same_secured_cluster_without_zookeeper", the_same_cluster),
    ("kraft::a_minimal_cluster_is_one_secured_node", a_minimal_cluster),
    ("kraft::an_older_kafka_in_kraft_mode_serves_too", an_older_kafka),
    ("kraft::an_up_killed_half_way_is_finished_by_the_next", a_killed_up),
    ("kraft::other_modes_and_versions_are_refused_by_name", refusals),
];

const KRAFT: &[&str] = &["--metadata", "kraft"];
const MINIMAL: &[&str] = &["--profile", "minimal"];

/// Kafka's own word on the quorum.
const QUORUM: &str = "org.apache.kafka.tools.MetadataQuorumCommand";

/// How long one look at the quorum may take.
const LOOK: Duration = Duration::from_secs(30);

fn the_same_cluster() -> Result<()> {
    let cluster = TestCluster::new()?;
    cluster.run(cluster.command(&product::up_with(cluster.name(), KRAFT))?)?.succeeded()?;
    let resolved = cluster.resolved()?;
    ensure!(resolved.record.metadata == Metadata::Kraft, "the record does not say the mode");
    let roles = |role| resolved.plan.nodes_of(role).count();
    let found = [NodeRole::Zookeeper, NodeRole::Controller, NodeRole::Broker, NodeRole::SchemaRegistry];
    let found = found.map(roles);
    ensure!(found == [0, 3, 3, 1], "{found:?} nodes are planned");
    let before = pids(&cluster)?;
    nothing_to_do(&cluster)?;
    ensure!(pids(&cluster)? == before, "a node was restarted");
    verify::passes(&cluster)?;
    kafkas_own_tool_sees_the_quorum(&cluster)?;
    for (node, listener) in resolved.plan.controllers() {
        openssl::is_mutual(&cluster, node, listener)?;
    }
    a_lost_controller_comes_back(&cluster)?;
    let data = converge::data(&resolved)?;
    cluster.down(false)?.succeeded()?;
    cluster.up()?.succeeded()?;
    ensure!(converge::data(&cluster.resolved()?)? == data, "records or schema ids are others than before");
    gone_without_a_trace(cluster)
}

/// `kafka-metadata-quorum` names the leader and the voters that the plan has.
fn kafkas_own_tool_sees_the_quorum(cluster: &TestCluster) -> Result<()> {
    let status = as_admin(cluster, QUORUM)?.args(["describe", "--status"]).run()?.succeeded()?.text();
    let leader =
        status.lines().find_map(|line| line.strip_prefix("LeaderId:")).context("no leader is told")?;
    let leader: u32 = leader.trim().parse()?;
    let resolved = cluster.resolved()?;
    let voters: Vec<u32> = resolved.plan.controllers().map(|(node, _)| node.id).collect();
    ensure!(voters.contains(&leader), "{leader} leads, planned are {voters:?}");
    let told =
        status.lines().find(|line| line.starts_with("CurrentVoters:")).context("no voters are told")?;
    for voter in &voters {
        ensure!(told.contains(&voter.to_string()), "{voter} is not among: {told}");
    }
    ensure!(leading(&resolved)?.1 == leader, "our own look at the quorum names another leader");
    Ok(())
}

/// The leading controller: its node and its number.
fn leading(cluster: &Cluster) -> Result<(String, u32)> {
    let access = access(cluster);
    let seen = block(quorum::look(&access.controllers(), &access.controllers_tls()?, LOOK));
    let leader = seen.iter().find(|controller| matches!(controller.part, Part::Leads));
    let leader = leader.with_context(|| format!("nobody leads: {seen:?}"))?;
    Ok((leader.node.clone(), u32::try_from(leader.id)?))
}

/// The leader is killed and loses its disk: the others go on, and `up` makes it again from what they have.
fn a_lost_controller_comes_back(cluster: &TestCluster) -> Result<()> {
    let resolved = cluster.resolved()?;
    let data = converge::data(&resolved)?;
    let (lost, _) = leading(&resolved)?;
    cluster.run(cluster.command(&product::kill(cluster.name(), &lost))?)?.succeeded()?;
    std::fs::remove_dir_all(resolved.dir.node_data(&lost.parse()?))?;
    let up = cluster.up()?.succeeded()?.saying(&["has lost its disk"])?;
    ensure!(product::mended(&up, "KRaft controllers"), "it said:\n{}", up.text());
    ensure!(converge::data(&resolved)? == data, "records or schema ids are others than before");
    nothing_to_do(cluster)
}

fn a_minimal_cluster() -> Result<()> {
    let cluster = TestCluster::new()?;
    cluster.run(cluster.command(&product::up_with(cluster.name(), MINIMAL))?)?.succeeded()?;
    let plan = cluster.resolved()?.plan;
    ensure!(plan.nodes.len() == 1 && plan.controllers().count() == 1, "{} nodes", plan.nodes.len());
    nothing_to_do(&cluster)?;
    cluster.run(cluster.command(&product::verify_the_matrix(cluster.name()))?)?.succeeded()?;
    let node = &plan.nodes[0];
    for listener in &node.listeners {
        openssl::is_mutual(&cluster, node, listener)?;
    }
    let topics = as_admin(&cluster, jdk::TOPICS)?.args(["--list"]).run()?.succeeded()?.text();
    ensure!(topics.lines().any(|line| line == jdk::EVENTS), "{} is not among:\n{topics}", jdk::EVENTS);
    // Its only disk is its metadata: that cannot be made again, and nothing is put in its place.
    cluster.run(cluster.command(&product::kill(cluster.name(), node.name.as_str()))?)?.succeeded()?;
    std::fs::remove_dir_all(cluster.dir()?.node_data(&node.name))?;
    cluster.up()?.failed()?.saying(&["the metadata of the cluster is lost", "cluster down -v"])?;
    ensure!(!cluster.dir()?.node_data(&node.name).exists(), "an empty log was put in its place");
    gone_without_a_trace(cluster)
}

fn an_older_kafka() -> Result<()> {
    let cluster = TestCluster::new()?;
    let flags = [MINIMAL, &["--kafka-version", "3.9.2"]].concat();
    cluster.run(cluster.command(&product::up_with(cluster.name(), &flags))?)?.succeeded()?;
    ensure!(cluster.resolved()?.record.kafka_version == "3.9.2", "the record does not say the version");
    nothing_to_do(&cluster)?;
    cluster.run(cluster.command(&product::verify_the_matrix(cluster.name()))?)?.succeeded()?;
    gone_without_a_trace(cluster)
}

/// Killed at each moment that leaves something else half-made: formatted, controllers alone, brokers on their way.
fn a_killed_up() -> Result<()> {
    let whole = std::time::Instant::now();
    let first = TestCluster::new()?;
    first.run(first.command(&product::up_with(first.name(), MINIMAL))?)?.succeeded()?;
    let whole = whole.elapsed();
    gone_without_a_trace(first)?;
    for share in [0.1, 0.4, 0.8] {
        let cluster = TestCluster::new()?;
        let mut up = cluster.command(&product::up_with(cluster.name(), MINIMAL))?.start()?;
        up.ends_within(whole.mul_f64(share));
        up.signal(Signal::KILL)?;
        product::remember(&up.finish(Duration::from_secs(60))?);
        cluster.learn_id();
        let again = cluster.command(&product::up_with(cluster.name(), MINIMAL))?;
        cluster.run(again)?.succeeded().with_context(|| format!("after a kill at {share} of {whole:?}"))?;
        nothing_to_do(&cluster)?;
        gone_without_a_trace(cluster)?;
    }
    Ok(())
}

fn refusals() -> Result<()> {
    let refused = |cluster: &TestCluster, flags: &[&str], words: &[&str]| -> Result<()> {
        let up = cluster.command(&product::up_with(cluster.name(), flags))?;
        cluster.run(up)?.ended_with(product::USAGE)?.saying(words).map(drop)
    };
    let fresh = TestCluster::new()?;
    refused(&fresh, &["--kafka-version", "4.3.1"], &["has no ZooKeeper", "--metadata kraft"])?;
    refused(&fresh, &["--kafka-version", "3.9.1"], &["CVE-2026-35554", "3.9.2", "danger"])?;
    refused(&fresh, &["--metadata", "kraft", "--kafka-version", "4.3.0"], &["4.3.0"])?;
    if fresh.state().exists() {
        bail!("a refused `up` left {}", fresh.state().display());
    }
    // Prepared as far as the step that needs a Java: its record says what its data will be.
    let nowhere = fresh.home().join("nowhere");
    let up = fresh.command(&product::up_with(fresh.name(), KRAFT))?.env("CARACAL_JAVA", nowhere);
    fresh.run(up)?.failed()?;
    refused(&fresh, &["--metadata", "zookeeper"], &["metadata mode kraft", "migration", "down -v"])?;
    refused(&fresh, &["--kafka-version", "3.9.2"], &["Kafka 4.3.1", "upgrade"])?;
    refused(&fresh, MINIMAL, &["profile full", "minimal"])?;
    gone_without_a_trace(fresh)
}

fn gone_without_a_trace(cluster: TestCluster) -> Result<()> {
    cluster.down(true)?.succeeded()?;
    let left = cluster.leftovers()?;
    ensure!(left.is_empty(), "after `down -v` there is left:\n  {}", left.join("\n  "));
    cluster.take_down()
}
