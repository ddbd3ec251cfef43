//! The fixture of integration tests: shared between processes, exclusive side by side, and nothing left of either.
//!
//! The suite's own program plays the tests that use it, told by one variable: so each has a process of its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use caracal_cluster::names::ClusterName;
use caracal_cluster::runtime::process;
use caracal_cluster::testing::{FIXTURES_DIR_VARIABLE, FixtureError, LINGER_VARIABLE, SecureCluster};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::Test;
use crate::product::{self, PATIENCE};
use crate::program::{Program, Running};
use crate::tools::{self, block};

pub(crate) const TESTS: &[Test] = &[
    ("fixture::two_processes_share_one_cluster_and_a_killed_one_leaves_nothing", shared),
    ("fixture::exclusive_ones_run_side_by_side_and_their_nodes_can_be_struck", exclusive),
    ("fixture::what_dead_tests_left_is_pruned_and_what_living_ones_have_is_not", pruned),
];

/// Which test the program plays, and the file into which it says what it got.
const PLAYS: &str = "CARACAL_LIVE_FIXTURE_PLAYS";
const SAYS: &str = "CARACAL_LIVE_FIXTURE_SAYS";

/// How long a guard may take to end what nobody has any more.
const SOON: Duration = Duration::from_secs(60);

/// Plays a test that uses the fixture, when the program was started as one.
pub(crate) fn as_a_test() -> Option<ExitCode> {
    let played = match std::env::var(PLAYS).ok()?.as_str() {
        "shared" => play_shared(),
        "exclusive" => block(play_exclusive()),
        "panic" => play_panic(),
        other => bail_code(other),
    };
    Some(match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tools::tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    })
}

fn bail_code(other: &str) -> Result<()> {
    bail!("there is no such test to play: {other}")
}

fn say(cluster: &SecureCluster, begun: Instant) -> Result<()> {
    let path = PathBuf::from(std::env::var_os(SAYS).context("nobody listens")?);
    let id = block_id(cluster)?;
    let said = json!({
        "name": cluster.name(), "bootstrap": cluster.bootstrap(), "description": cluster.description(),
        "registry": cluster.registry_url(), "id": id, "millis": begun.elapsed().as_millis(),
    });
    caracal_pki::store::write_private(&path, said.to_string().as_bytes())?;
    Ok(())
}

/// The id by which its processes are known.
fn block_id(cluster: &SecureCluster) -> Result<String> {
    let profile = cluster.profile_path("admin")?;
    let record = profile.ancestors().nth(3).context("a profile lies in a cluster")?.join("cluster.json");
    let record: Value = serde_json::from_slice(&std::fs::read(record)?)?;
    Ok(record["cluster_id"].as_str().context("a cluster has an id")?.to_owned())
}

fn until_input_ends() -> Result<()> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn play_shared() -> Result<()> {
    let begun = Instant::now();
    // From a test that is not async, and with nothing kept of the executor that made it.
    let cluster = SecureCluster::builder().shared_blocking()?;
    say(&cluster, begun)?;
    let node = cluster.node("kafka-1")?;
    ensure!(matches!(node.kill(), Err(FixtureError::Shared { .. })), "a shared node was struck");
    // Another executor uses what the first one made.
    let topic = block(cluster.unique_topic("orders"))?;
    let profile = topic.profile("producer")?;
    ensure!(profile.qualified("orders") == topic.name(), "{} is not in its namespace", topic.name());
    let names = block(async { cluster.admin()?.topics(None, soon()).await.map_err(FixtureError::from) })?;
    ensure!(names.iter().any(|found| found.name == topic.name()), "{} is not there", topic.name());
    block(topic.namespace().clone().remove())?;
    until_input_ends()
}

fn play_panic() -> Result<()> {
    let begun = Instant::now();
    let cluster = SecureCluster::builder().without_registry().exclusive_blocking()?;
    say(&cluster, begun)?;
    panic!("a test that fails");
}

async fn play_exclusive() -> Result<()> {
    let begun = Instant::now();
    let cluster = SecureCluster::builder().without_registry().exclusive().await?;
    say(&cluster, begun)?;
    let node = cluster.node("kafka-1")?;
    node.kill()?;
    let gone = Instant::now();
    while node.is_running() {
        ensure!(gone.elapsed() < SOON, "a killed node still runs");
        tokio::task::yield_now().await;
    }
    ensure!(matches!(node.kill(), Err(FixtureError::NotRunning { .. })), "it was killed twice");
    node.restart().await?;
    ensure!(node.is_running(), "it is not back");
    cluster.admin()?.topics(None, soon()).await?;
    node.pause()?;
    node.resume()?;
    let cut = node.cut();
    ensure!(cut.is_err(), "a process was cut off from its own machine");
    let home = cluster.profile_path("admin")?;
    cluster.shutdown().await?;
    ensure!(!home.exists(), "{} outlived the cluster", home.display());
    Ok(())
}

fn soon() -> caracal_cluster::wire::Deadline {
    caracal_cluster::wire::Deadline::after(SOON)
}

/// A place for clusters of tests, and the programs that use it.
struct Place {
    home: tempfile::TempDir,
}

/// A test that has its cluster.
struct Played {
    running: Running,
    said: Value,
}

impl Place {
    fn new() -> Result<Self> {
        Ok(Self { home: tempfile::Builder::new().prefix("caracal-fixtures-").tempdir()? })
    }

    fn fixtures(&self) -> PathBuf {
        self.home.path().join("fixtures")
    }

    fn start(&self, test: &str, name: &str) -> Result<Running> {
        let program = Program::at(std::env::current_exe()?)
            .env(PLAYS, test)
            .env(SAYS, self.home.path().join(name))
            .env(FIXTURES_DIR_VARIABLE, self.fixtures())
            .env(LINGER_VARIABLE, "2");
        program.holding_input().start()
    }

    /// Waits until a test has its cluster.
    fn await_played(&self, mut running: Running, name: &str) -> Result<Played> {
        let path = self.home.path().join(name);
        let begun = Instant::now();
        while !path.exists() {
            if running.ends_within(Duration::from_millis(50)) && !path.exists() {
                running.finish(SOON)?.succeeded()?;
                bail!("a test ended without a word");
            }
            ensure!(begun.elapsed() < PATIENCE, "no cluster within {PATIENCE:?}");
        }
        let said = serde_json::from_slice(&std::fs::read(path)?)?;
        Ok(Played { running, said })
    }

    /// Waits until no process and no folder of a cluster is left.
    fn await_nothing_of(&self, said: &Value) -> Result<()> {
        let name: ClusterName = text(said, "name")?.parse()?;
        let home = self.fixtures().join(name.as_str());
        let id = text(said, "id")?;
        tools::await_until("a cluster that nobody has to be gone", SOON, || {
            let left = process::find_all(&id).len();
            if left > 0 || home.exists() {
                Err(format!("{left} nodes, {}", shown(&home)))
            } else {
                Ok(Some(()))
            }
        })
    }
}

fn shown(home: &Path) -> String {
    if home.exists() { format!("{} is there", home.display()) } else { "no folder".to_owned() }
}

fn text(said: &Value, key: &str) -> Result<String> {
    Ok(said[key].as_str().with_context(|| format!("a test did not say its {key}: {said}"))?.to_owned())
}

fn shared() -> Result<()> {
    let place = Place::new()?;
    // Both at once: one of them starts it, the other waits for that.
    let (first, second) = (place.start("shared", "first")?, place.start("shared", "second")?);
    let first = place.await_played(first, "first")?;
    let second = place.await_played(second, "second")?;
    ensure!(first.said["id"] == second.said["id"], "{} and {}", first.said, second.said);
    let third = place.await_played(place.start("shared", "third")?, "third")?;
    ensure!(third.said["id"] == first.said["id"], "{} and {}", first.said, third.said);
    tools::tell(&format!("the shared cluster was joined within {} ms", third.said["millis"]));
    text(&third.said, "registry")?;
    ensure!(text(&first.said, "description")?.starts_with("native, Kafka 4."), "{}", first.said);
    // The last two die without a word; before that the cluster stays, although the one that made it has gone.
    second.running.signal(Signal::KILL)?;
    second.running.finish(SOON)?.failed()?;
    let id = text(&first.said, "id")?;
    ensure!(!process::find_all(&id).is_empty(), "a cluster that two tests have was ended");
    first.running.signal(Signal::KILL)?;
    third.running.signal(Signal::KILL)?;
    first.running.finish(SOON)?.failed()?;
    third.running.finish(SOON)?.failed()?;
    place.await_nothing_of(&first.said)
}

fn exclusive() -> Result<()> {
    let place = Place::new()?;
    let (one, other) = (place.start("exclusive", "one")?, place.start("exclusive", "other")?);
    let one = place.await_played(one, "one")?;
    let other = place.await_played(other, "other")?;
    ensure!(one.said["id"] != other.said["id"], "{} and {}", one.said, other.said);
    ensure!(one.said["bootstrap"] != other.said["bootstrap"], "{} and {}", one.said, other.said);
    refuses_strangers(&one.said)?;
    one.running.finish(PATIENCE)?.succeeded()?.saying(&["SecureCluster: exclusive, native, Kafka 4."])?;
    other.running.finish(PATIENCE)?.succeeded()?;
    place.await_nothing_of(&one.said)?;
    place.await_nothing_of(&other.said)?;
    // A panic is an end like any other.
    let failing = place.await_played(place.start("panic", "panic")?, "panic")?;
    failing.running.finish(SOON)?.failed()?.saying(&["a test that fails"])?;
    place.await_nothing_of(&failing.said)
}

/// A client without a certificate gets nothing from a broker, by the word of kcat.
fn refuses_strangers(said: &Value) -> Result<()> {
    let bootstrap = said["bootstrap"][0].as_str().context("a cluster has an address")?;
    let kcat = Program::needed("kcat")?.args(["-L", "-b", bootstrap, "-m", "5"]).args([
        "-X",
        "security.protocol=ssl",
        "-X",
        "enable.ssl.certificate.verification=false",
    ]);
    kcat.run()?.failed()?;
    Ok(())
}

fn pruned() -> Result<()> {
    let place = Place::new()?;
    let prune = |flags: &[&str]| -> Result<Vec<Value>> {
        let ended = Program::at(product::xtask()?)
            .args(["cluster", "prune", "--json"])
            .args(flags)
            .env(FIXTURES_DIR_VARIABLE, place.fixtures())
            .run()?
            .succeeded()?;
        let report: Value = serde_json::from_slice(&ended.stdout)?;
        Ok(report["clusters"].as_array().context("no clusters in the report")?.clone())
    };
    let mut alive = place.await_played(place.start("shared", "alive")?, "alive")?;
    ensure!(prune(&[])?.is_empty(), "a cluster that a test has was pruned");
    // What a loss of power leaves: a folder whose lock nobody has, and nobody who waits for it.
    let left = place.fixtures().join("fx00000000ff");
    caracal_pki::store::create_private_dir(&left.join("state"))?;
    caracal_pki::store::write_private(&left.join("lease"), b"")?;
    let told = prune(&["--dry-run"])?;
    ensure!(told.len() == 1 && left.exists(), "a dry run said {told:?}");
    ensure!(prune(&[])? == told && !left.exists(), "{} is still there", left.display());
    if alive.running.ends_within(Duration::from_millis(50)) {
        alive.running.finish(SOON)?.succeeded()?;
        bail!("the living test ended by itself");
    }
    ensure!(!process::find_all(&text(&alive.said, "id")?).is_empty(), "the living one was ended");
    alive.running.signal(Signal::KILL)?;
    alive.running.finish(SOON)?.failed()?;
    // It lingers for a moment; who prunes does not wait for that.
    prune(&[])?;
    place.await_nothing_of(&alive.said)
}
