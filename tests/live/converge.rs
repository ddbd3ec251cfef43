//! `up` again: after nothing, after a kill at a random moment, after Ctrl-C, after `down`, after a dead node.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use caracal_cluster::distribution::Cache;
use caracal_cluster::lifecycle::Cluster;
use caracal_cluster::lifecycle::engine::Step;
use caracal_cluster::plan::{NodeRole, Role};
use caracal_cluster::ports;
use caracal_cluster::registry::Registry;
use caracal_cluster::wire::{Deadline, records};
use rustix::process::{Pid, Signal};

use crate::Test;
use crate::cluster::{self, TestCluster, access};
use crate::jdk::{EVENTS, PROOF_KEY, as_admin};
use crate::product::{self, PATIENCE};
use crate::program::Program;
use crate::tools::{self, block};

pub(crate) const TESTS: &[Test] = &[
    ("converge::a_second_up_changes_nothing", a_second_up_changes_nothing),
    ("converge::lost_leases_move_no_running_node", lost_leases),
    ("converge::ps_tells_the_truth_about_every_node", ps_tells_the_truth),
    ("converge::a_killed_broker_is_named_and_started_again", a_killed_broker),
    ("converge::plan_says_nothing_differs_then_exits_11_after_drift", plan_sees_drift),
    ("converge::down_v_without_a_terminal_asks_for_yes", down_v_asks),
    ("converge::stop_keeps_ports_and_start_brings_it_back", stop_and_start),
    ("converge::down_keeps_records_and_schema_ids", down_keeps_the_data),
    ("converge::a_directory_with_a_space_a_hash_and_an_umlaut_serves", an_odd_directory),
    ("converge::an_up_killed_at_a_random_moment_is_finished_by_the_next", a_killed_up),
    ("converge::an_up_ended_by_ctrl_c_is_finished_by_the_next", an_interrupted_up),
];

const LOOK: Duration = Duration::from_secs(30);

/// Runs `up` and demands that there was nothing to do.
pub(crate) fn nothing_to_do(cluster: &TestCluster) -> Result<()> {
    let up = cluster.run(cluster.command(&product::up_as_json(cluster.name()))?)?.succeeded()?;
    let steps = product::steps(&up)?;
    let planned = Step::of(&cluster.resolved()?.plan);
    ensure!(steps.len() == planned.len(), "{} steps were reported: {steps:?}", steps.len());
    let changed: Vec<_> = steps.iter().filter(|(_, outcome)| outcome != "unchanged").collect();
    ensure!(changed.is_empty(), "a second `up` changed: {changed:?}");
    Ok(())
}

fn a_second_up_changes_nothing() -> Result<()> {
    let cluster = cluster::shared()?;
    let before = pids(cluster)?;
    nothing_to_do(cluster)?;
    ensure!(pids(cluster)? == before, "a node was restarted: {before:?} became {:?}", pids(cluster)?);
    Ok(())
}

/// As after a reboot of a shell that kept leases for its session only, or from cron: none is found.
fn lost_leases() -> Result<()> {
    let cluster = cluster::shared()?;
    let (before, ports_before, id) = (pids(cluster)?, listening(cluster)?, cluster.id()?);
    let leases = ports::lease_dir(Cache::discover()?.root());
    let held =
        || Ok::<_, anyhow::Error>(ports::leases(&leases)?.into_iter().filter(|l| l.owner.cluster_id == id));
    ensure!(held()?.count() == ports_before.len(), "not every port is leased");
    let shown = addresses(cluster)?;
    ports::release_all(&leases, &id)?;
    let now = addresses(cluster)?;
    ensure!(now == shown, "without leases `ps` shows {now:?} instead of {shown:?}");
    nothing_to_do(cluster)?;
    ensure!(pids(cluster)? == before, "a node was restarted: {before:?} became {:?}", pids(cluster)?);
    let again: BTreeSet<u16> = held()?.map(|lease| lease.port).collect();
    ensure!(again == ports_before, "{ports_before:?} were leased, now {again:?} are");
    Ok(())
}

/// Each node with the addresses that `ps` shows.
fn addresses(cluster: &TestCluster) -> Result<Vec<(String, String)>> {
    let ps = cluster.run(cluster.command(&product::ps(cluster.name()))?)?.succeeded()?;
    let document = product::document(&ps)?;
    let nodes = document["nodes"].as_array().context("it lists no nodes")?;
    let shown = nodes.iter().map(|node| (node["node"].to_string(), node["addresses"].to_string()));
    let shown: Vec<_> = shown.collect();
    ensure!(shown.iter().all(|(_, addresses)| addresses.contains("127.0.0.1:")), "no address in {document}");
    Ok(shown)
}

fn listening(cluster: &TestCluster) -> Result<BTreeSet<u16>> {
    let nodes = cluster.resolved()?.plan.nodes;
    Ok(nodes.iter().flat_map(|node| &node.listeners).map(|listener| listener.bind.port()).collect())
}

fn ps_tells_the_truth() -> Result<()> {
    let cluster = cluster::shared()?;
    let ps = cluster.run(cluster.command(&product::ps(cluster.name()))?)?.succeeded()?;
    let document = product::document(&ps)?;
    let nodes = document["nodes"].as_array().context("it lists no nodes")?;
    let running = pids(cluster)?;
    ensure!(nodes.len() == running.len(), "{} nodes are listed, {} run", nodes.len(), running.len());
    for (name, pid) in running {
        let node = nodes.iter().find(|node| node["node"] == name.as_str());
        let node = node.with_context(|| format!("{name} is not listed in {document}"))?;
        ensure!(node["state"] == "running" && node["pid"] == pid, "{name} has pid {pid}, listed is {node}");
        let days = node["certificate_days_left"].as_i64();
        let expected = if name.ends_with("schema-registry") { None } else { Some(364..=365) };
        let right = expected.is_none_or(|expected| days.is_some_and(|days| expected.contains(&days)));
        ensure!(right, "{name} has a certificate of 365 days made just now, listed is {node}");
    }
    Ok(())
}

/// Every node's pid.
pub(crate) fn pids(cluster: &TestCluster) -> Result<Vec<(String, u32)>> {
    let resolved = cluster.resolved()?;
    resolved
        .plan
        .nodes
        .iter()
        .map(|node| Ok((node.name.to_string(), cluster.pid(node.name.as_str())?)))
        .collect()
}

fn a_killed_broker() -> Result<()> {
    let cluster = cluster::shared()?;
    let before = pids(cluster)?;
    let (node, pid) =
        before.iter().find(|(node, _)| node.ends_with("kafka-3")).context("no third broker")?.clone();
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no pid")?;
    rustix::process::kill_process(raw, Signal::KILL)?;
    tools::await_until("the end of the killed broker", Duration::from_secs(20), || {
        match cluster.pid(&node) {
            Err(_) => Ok(Some(())),
            Ok(pid) => Err(format!("it runs as {pid}")),
        }
    })?;
    let up = cluster.up()?.succeeded()?.saying(&[&node])?;
    ensure!(product::mended(&up, "brokers"), "it does not say that it mended the brokers:\n{}", up.text());
    for (other, pid) in &before {
        let now = cluster.pid(other)?;
        ensure!(
            (now != *pid) == (*other == node),
            "{other} had pid {pid} and has {now}; only {node} was killed"
        );
    }
    nothing_to_do(cluster)
}

fn plan_sees_drift() -> Result<()> {
    let cluster = cluster::shared()?;
    let plan = || cluster.run(cluster.command(&product::plan(cluster.name()))?);
    let before = pids(cluster)?;
    let same = product::document(&plan()?.succeeded()?)?;
    ensure!(same["differs"] == false, "nothing differs, but `plan` says: {}", same["steps"]);
    let resolved = cluster.resolved()?;
    let node = resolved.plan.nodes_of(NodeRole::Broker).nth(1).context("there is no second broker")?;
    let path = cluster.dir()?.node(&node.name).join("config/server.properties");
    let right = tools::read(&path)?;
    let spoiled = format!("{right}\nauto.create.topics.enable=true\n");
    tools::spoil(&path, spoiled.as_bytes())?;
    let drifted = plan();
    let kept = tools::read(&path)?;
    tools::spoil(&path, right.as_bytes())?;
    let drifted = product::document(&drifted?.ended_with(product::DRIFT)?)?;
    ensure!(drifted["differs"] == true, "it exits with {}, but does not say so", product::DRIFT);
    let files = drifted["files"].as_array().context("it lists no files")?;
    let differing: Vec<_> = files.iter().filter(|file| file["change"] != "same").collect();
    let [file] = differing[..] else { bail!("not one file differs, but {differing:?}") };
    let named = file["node"] == node.name.as_str() && file["path"] == "config/server.properties";
    ensure!(named, "another file differs: {file}");
    let diff = file["diff"].as_str().unwrap_or_default();
    ensure!(diff.contains("auto.create.topics.enable=true"), "the difference is not shown: {file}");
    ensure!(kept == spoiled, "`plan` changed a file");
    ensure!(pids(cluster)? == before, "`plan` restarted a node");
    ensure!(plan()?.status.success(), "the file is as it was, but something differs still");
    Ok(())
}

fn down_v_asks() -> Result<()> {
    let cluster = cluster::shared()?;
    let (before, leases) = (pids(cluster)?, cluster.leases()?);
    let down = cluster.run(cluster.command(&product::down_asking(cluster.name()))?)?;
    down.ended_with(product::USAGE)?.saying(&["no terminal to ask at", "--yes", cluster.name()])?;
    ensure!(pids(cluster)? == before, "nodes were stopped without an answer");
    ensure!(cluster.leases()? == leases, "ports were given back without an answer");
    data(&cluster.resolved()?)?;
    Ok(())
}

fn stop_and_start() -> Result<()> {
    let cluster = cluster::shared()?;
    let (before, leases) = (data(&cluster.resolved()?)?, cluster.leases()?);
    let old = pids(cluster)?;
    ensure!(!leases.is_empty(), "no port is leased for a cluster that runs");
    cluster.run(cluster.command(&product::stop(cluster.name()))?)?.succeeded()?;
    let running = caracal_cluster::runtime::process::find_all(&cluster.id()?);
    ensure!(running.is_empty(), "after `stop` there still run {running:?}");
    ensure!(cluster.leases()? == leases, "`stop` gave ports back: {leases:?} became {:?}", cluster.leases()?);
    let listed = |wanted: usize| -> Result<()> {
        let list = product::document(&cluster.run(cluster.command(&product::list())?)?.succeeded()?)?;
        let all = list["clusters"].as_array().context("it lists no clusters")?;
        let [ours] = &all[..] else { bail!("not one cluster is listed: {list}") };
        let right =
            ours["cluster"] == cluster.name() && ours["running"] == wanted && ours["nodes"] == old.len();
        ensure!(right, "{wanted} of {} nodes run, listed is {ours}", old.len());
        Ok(())
    };
    listed(0)?;
    cluster.run(cluster.command(&product::start(cluster.name()))?)?.succeeded()?;
    ensure!(cluster.leases()? == leases, "`start` chose other ports: {leases:?}, {:?}", cluster.leases()?);
    let new = pids(cluster)?;
    let alike = |(one, other): (&(String, u32), &(String, u32))| one.1 == other.1;
    ensure!(!old.iter().zip(&new).any(alike), "a process outlived `stop`: {old:?}, then {new:?}");
    listed(new.len())?;
    let after = data(&cluster.resolved()?)?;
    ensure!(before == after, "before `stop`: {before:?}, after `start`: {after:?}");
    nothing_to_do(cluster)
}

/// Offset of the first event of `up`, and every subject with its id.
pub(crate) fn data(resolved: &Cluster) -> Result<(i64, Vec<(String, i32)>)> {
    let access = access(resolved);
    let first = block(async {
        let mut reader = access.as_user(access.user(Role::Consumer)?)?;
        let mut leader = reader.connect_to_leader(EVENTS, 0, Deadline::after(LOOK)).await?;
        let found =
            records::fetch(&mut leader, EVENTS, 0, 0, Duration::from_secs(5), Deadline::after(LOOK)).await?;
        let proof = found.iter().find(|record| record.key.as_deref() == Some(PROOF_KEY.as_bytes()));
        anyhow::Ok(proof.context("the event of the first `up` is not there")?.offset)
    })?;
    let registry =
        Registry::new(resolved.plan.endpoints.registry_url.as_deref().context("no registry is planned")?)?;
    let mut ids = Vec::new();
    for subject in &resolved.plan.subjects {
        let known = block(registry.lookup(&subject.subject, &subject.schema))?;
        ids.push((
            subject.subject.clone(),
            known.with_context(|| format!("{} is gone", subject.subject))?.id,
        ));
    }
    Ok((first, ids))
}

fn down_keeps_the_data() -> Result<()> {
    let cluster = cluster::shared()?;
    let before = data(&cluster.resolved()?)?;
    let ports = cluster.resolved()?.plan.endpoints.bootstrap;
    cluster.down(false)?.succeeded()?;
    let running = caracal_cluster::runtime::process::find_all(&cluster.id()?);
    ensure!(running.is_empty(), "after `down` there still run {running:?}");
    let up = cluster.up()?.succeeded()?;
    ensure!(!up.text().contains("data was deleted"), "it said:\n{}", up.text());
    let after = data(&cluster.resolved()?)?;
    ensure!(before == after, "before `down`: {before:?}, after the next `up`: {after:?} ({ports:?})");
    nothing_to_do(cluster)
}

/// Each of a JVM's arguments, `.properties` files, URIs and librdkafka's files writes such a path in its own way.
fn an_odd_directory() -> Result<()> {
    let cluster = TestCluster::new_below("a b#ü%-")?;
    cluster.up()?.succeeded()?;
    nothing_to_do(&cluster)?;
    let dir = cluster.dir()?;
    for node in cluster.resolved()?.plan.nodes {
        // The registry has no log file of its own.
        let log = dir.node_log(&node.name);
        let logs = node.role != NodeRole::SchemaRegistry;
        ensure!(!logs || log.is_file(), "{} does not log to {}", node.name, log.display());
    }
    let java =
        as_admin(&cluster, "org.apache.kafka.tools.TopicCommand")?.args(["--list"]).run()?.succeeded()?;
    ensure!(java.text().lines().any(|line| line == EVENTS), "{EVENTS} is not among:\n{}", java.text());
    let config = dir.client(&"consumer".parse()?).join("kcat.conf");
    let kcat = Program::needed("kcat")?.args(["-F".as_ref(), config.as_os_str()]).args(["-L", "-m", "30"]);
    let kcat = kcat.within(Duration::from_secs(90)).run()?.succeeded()?;
    ensure!(kcat.text().contains(EVENTS), "{EVENTS} is not among:\n{}", kcat.text());
    cluster.down(true)?.succeeded()?;
    let left = cluster.leftovers()?;
    ensure!(left.is_empty(), "`down -v` left:\n{}", left.join("\n"));
    cluster.take_down()
}

/// Ends a fresh `up` by a signal after a part of the time that one takes; then `up`, `down -v`, and nothing is left.
fn end_and_finish(signal: Signal, after: Duration, code: Option<i32>) -> Result<()> {
    let cluster = TestCluster::new()?;
    let mut first = cluster.command(&product::up(cluster.name()))?.start()?;
    let ended_by_itself = first.ends_within(after);
    first.signal(signal)?;
    let first = first.finish(Duration::from_secs(60))?;
    cluster.learn_id();
    product::remember(&first);
    if !ended_by_itself && code.is_some() && first.status.code() != code {
        bail!("{signal:?} ended `up` with {}, not {code:?}; it said:\n{}", first.status, first.text());
    }
    cluster
        .up()?
        .succeeded()
        .with_context(|| format!("the `up` after one that was ended after {after:?}"))?;
    data(&cluster.resolved()?)?;
    nothing_to_do(&cluster)?;
    cluster.down(true)?.succeeded()?;
    let left = cluster.leftovers()?;
    ensure!(left.is_empty(), "after `down -v` there is left:\n  {}", left.join("\n  "));
    cluster.take_down()
}

fn a_killed_up() -> Result<()> {
    let kills: u32 = variable("CARACAL_LIVE_KILLS")?.unwrap_or(2);
    let seed: u64 = variable("CARACAL_LIVE_SEED")?.unwrap_or(20_261_122);
    let whole = cluster::took_to_start()?;
    let mut random = SplitMix(seed);
    for kill in 1..=kills {
        // One kill in each part of the time, so that few kills are not all early by chance.
        let share = (f64::from(kill - 1) + random.next_share()) / f64::from(kills);
        let after = whole.mul_f64(share);
        tools::tell(&format!("kill {kill} of {kills} after {after:.1?} of about {whole:.1?} (seed {seed})"));
        end_and_finish(Signal::KILL, after, None)
            .with_context(|| format!("kill {kill} after {after:?}, CARACAL_LIVE_SEED={seed}"))?;
    }
    Ok(())
}

fn an_interrupted_up() -> Result<()> {
    // While the brokers start: the moment with most in flight.
    let after = cluster::took_to_start()?.mul_f64(0.35).min(PATIENCE);
    end_and_finish(Signal::INT, after, Some(130))
}

fn variable<T: std::str::FromStr>(name: &str) -> Result<Option<T>> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| anyhow::anyhow!("{name}={text} is not a number"))
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (2014); good enough to choose moments.
struct SplitMix(u64);

impl SplitMix {
    /// The next number from 0 to 1.
    fn next_share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        f64::from(u32::try_from(mixed >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}
