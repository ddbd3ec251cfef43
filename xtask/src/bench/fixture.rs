//! `bench fixture`: the fixture of integration tests, used by processes of their own: how long one waits that joins
//! the shared cluster, whether several work at once, and what is left after many starts and many killed processes.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::spec::{ImageSet, RuntimeKind};
use caracal_cluster::testing::{FIXTURES_DIR_VARIABLE, LINGER_VARIABLE, Need, SecureCluster};
use caracal_cluster::wait::{Probe, WaitError, wait_for};
use caracal_cluster::wire::Deadline;
use caracal_pki::store;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::clusters;
use super::figures::{Sequence, Times, within};
use crate::shell;

/// Seconds in which a process joins the shared cluster.
const JOIN_BOUND: f64 = 0.1;

/// How long a cluster that nobody has may take to be gone.
const GONE: Duration = Duration::from_secs(60);

/// How long a broker may take to answer a process that has its cluster.
const ANSWER: Duration = Duration::from_secs(60);

/// How much of it.
#[derive(Debug, Args)]
pub(crate) struct FixtureArguments {
    /// Processes that join the shared cluster, one after the other
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    joins: u32,
    /// Exclusive clusters at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    at_once: u32,
    /// Exclusive clusters one after the other
    #[arg(long, default_value_t = 50)]
    starts: u32,
    /// Processes that are killed, while they start their cluster or while they have it
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// The seed of the moments at which processes are killed; by default another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// Where the nodes run
    #[arg(long, value_enum, default_value_t)]
    runtime: Runtime,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Runtime {
    #[default]
    Native,
    /// Needs an engine and the images of `image build`
    Docker,
}

/// A process that uses the fixture as a test does.
#[derive(Debug, Args)]
pub(crate) struct PlayerArguments {
    /// Its own cluster, and not the shared one
    #[arg(long)]
    exclusive: bool,
    #[arg(long, value_enum, default_value_t)]
    runtime: Runtime,
}

/// Plays a test: gets its cluster, has a broker answer, says so in one line, and keeps it until its input ends.
///
/// # Errors
/// When there is no cluster, or it does not answer.
pub(crate) async fn play(arguments: &PlayerArguments) -> Result<bool> {
    let begun = Instant::now();
    let need = need(arguments.runtime);
    let cluster = if arguments.exclusive { need.exclusive().await } else { need.shared().await }?;
    let took = begun.elapsed();
    cluster.admin()?.topics(None, Deadline::after(ANSWER)).await?;
    println!("{}", json!({ "name": cluster.name(), "seconds": took.as_secs_f64() }));
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(true)
}

fn need(runtime: Runtime) -> Need {
    let need = SecureCluster::builder().without_registry();
    match runtime {
        Runtime::Native => need,
        Runtime::Docker => need.runtime(RuntimeKind::Docker).images(ImageSet::LocalApache),
    }
}

/// Measures, then looks for what was left behind.
pub(super) async fn run(arguments: &FixtureArguments) -> Result<Value> {
    let place = Place::new(arguments.runtime)?;
    let measured = measure(&place, arguments).await;
    let left = place.await_nothing_left().await;
    let removed = match std::fs::remove_dir_all(&place.fixtures) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let Measured { first, joins, at_once, starts, kills, seed } = measured?;
    let left = left?;
    removed.with_context(|| format!("removing {}", place.fixtures.display()))?;
    let joined = joins.median();
    Ok(json!({
        "bench": "fixture",
        "compared": "processes that use `SecureCluster`, minimal and without registry: the wait of one that joins the \
                     shared cluster against its bound in seconds; exclusive ones at once, each answered by its broker; \
                     what is left of processes, files and containers after starts in a row and after processes that \
                     were killed at random moments",
        "runtime": if arguments.runtime == Runtime::Docker { "docker" } else { "native" },
        "versions": clusters::versions().await?,
        "seconds": { "first": first, "joins": joins, "at_once": at_once, "starts": starts },
        "join_median_seconds": joined,
        "join_bound_seconds": JOIN_BOUND,
        "seed": seed,
        "killed_after_ms": kills,
        "left_behind": left,
        "ok": within(joined, JOIN_BOUND) && left.is_empty(),
    }))
}

struct Measured {
    first: Times,
    joins: Times,
    at_once: Times,
    starts: Times,
    kills: Vec<u64>,
    seed: u64,
}

async fn measure(place: &Place, arguments: &FixtureArguments) -> Result<Measured> {
    let (first, joins) = join(place, arguments.joins)?;
    let at_once = all_at_once(place, arguments.at_once)?;
    let mut starts = Times::default();
    for start in 1..=arguments.starts {
        let player = place.player(true)?.ready().with_context(|| format!("start {start}"))?;
        starts.push(player.took);
        player.finish()?;
        tell(&format!("start {start} of {}", arguments.starts));
    }
    let seed = arguments
        .seed
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs()));
    // As many while it starts as while it has its cluster.
    let span = 2.0 * starts.median().or_else(|| at_once.median()).unwrap_or(3.0);
    let kills = kill(place, arguments.kills, Sequence::new(seed), Duration::from_secs_f64(span)).await?;
    Ok(Measured { first, joins, at_once, starts, kills, seed })
}

fn tell(done: &str) {
    eprintln!("fixture: {done}");
}

/// One that starts the shared cluster and keeps it, and those that join it.
fn join(place: &Place, count: u32) -> Result<(Times, Times)> {
    let (mut first, mut joins) = (Times::default(), Times::default());
    let holder = place.player(false)?.ready()?;
    first.push(holder.took);
    for _ in 0..count {
        let player = place.player(false)?.ready()?;
        ensure!(player.name == holder.name, "{} was started although {} was there", player.name, holder.name);
        joins.push(player.took);
        player.finish()?;
    }
    holder.finish()?;
    tell(&format!("{count} processes joined a shared cluster"));
    Ok((first, joins))
}

fn all_at_once(place: &Place, count: u32) -> Result<Times> {
    let started = (0..count).map(|_| place.player(true)).collect::<Result<Vec<_>>>()?;
    let players = started.into_iter().map(Player::ready).collect::<Result<Vec<_>>>()?;
    let mut times = Times::default();
    // All of them are still there.
    for player in players {
        times.push(player.took);
        player.finish()?;
    }
    tell(&format!("{count} exclusive clusters at once"));
    Ok(times)
}

/// Kills processes at moments of the span; returns the moments in milliseconds.
async fn kill(place: &Place, count: u32, mut moments: Sequence, span: Duration) -> Result<Vec<u64>> {
    let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut killed = Vec::new();
    for number in 1..=count {
        let after = moments.below(span);
        let mut player = place.player(true)?;
        tokio::time::sleep(Duration::from_millis(after)).await;
        player.child.kill()?;
        player.child.wait()?;
        killed.push(after);
        tell(&format!("kill {number} of {count}"));
    }
    Ok(killed)
}

/// A folder of the fixture's own, by whose path everything that belongs to it is known.
struct Place {
    fixtures: PathBuf,
    runtime: Runtime,
}

/// A process that was started.
struct Player {
    child: Child,
}

/// One that has its cluster.
struct Ready {
    child: Child,
    name: String,
    took: Duration,
}

impl Place {
    fn new(runtime: Runtime) -> Result<Self> {
        let fixtures = std::env::temp_dir().join(format!("caracal-bench-fixture-{}", std::process::id()));
        store::create_private_dir(&fixtures)?;
        Ok(Self { fixtures, runtime })
    }

    fn player(&self, exclusive: bool) -> Result<Player> {
        let mut command = shell::program(std::env::current_exe()?)?;
        command.arg("bench-player").args(exclusive.then_some("--exclusive"));
        if self.runtime == Runtime::Docker {
            command.args(["--runtime", "docker"]);
        }
        command.env(FIXTURES_DIR_VARIABLE, &self.fixtures).env(LINGER_VARIABLE, "2");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Player { child: command.spawn().context("starting a process that uses the fixture")? })
    }

    /// What is left once everything had its time to go; containers only after the sweep that their doc promises.
    async fn await_nothing_left(&self) -> Result<Vec<String>> {
        if self.runtime == Runtime::Docker {
            let mut prune = shell::program(std::env::current_exe()?)?;
            prune.args(["cluster", "prune", "--json"]).env(FIXTURES_DIR_VARIABLE, &self.fixtures);
            shell::quiet(prune)?;
        }
        let gone =
            wait_for("every cluster of the bench to be gone", GONE, Duration::from_millis(50), async || {
                match self.left() {
                    Ok(left) if left.is_empty() => Probe::Ready(()),
                    Ok(left) => Probe::NotYet(left.join(", ")),
                    Err(error) => Probe::Failed(error),
                }
            });
        match gone.await {
            Err(WaitError::Failed(error)) => Err(error),
            // After the deadline too: it says what is left.
            _ => self.left(),
        }
    }

    fn left(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        // A sweep may have taken the empty folder along.
        let homes = match std::fs::read_dir(&self.fixtures) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            opened => Some(opened.with_context(|| format!("looking into {}", self.fixtures.display()))?),
        };
        for entry in homes.into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                left.push(format!("folder {}", path.display()));
            }
        }
        left.extend(processes_that_know(&self.fixtures)?);
        if self.runtime == Runtime::Docker {
            for kind in ["container", "network", "volume"] {
                left.extend(of_the_engine(kind)?);
            }
        }
        Ok(left)
    }
}

/// Processes with the folder's path among their arguments or in their environment.
fn processes_that_know(folder: &Path) -> Result<Vec<String>> {
    let sought = folder.as_os_str().as_encoded_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let is_process =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        // One that ends meanwhile has nothing to read.
        let reads = |what: &str| std::fs::read(path.join(what)).unwrap_or_default();
        if is_process && ["cmdline", "environ"].iter().any(|what| holds(&reads(what), sought)) {
            found.push(format!("process {}", path.display()));
        }
    }
    Ok(found)
}

fn holds(text: &[u8], sought: &[u8]) -> bool {
    text.windows(sought.len()).any(|window| window == sought)
}

/// What the engine has of the fixture's clusters, whose names begin with `fx`.
fn of_the_engine(kind: &str) -> Result<Vec<String>> {
    let name = if kind == "container" { "{{.Names}}" } else { "{{.Name}}" };
    let mut list = shell::program("docker")?;
    list.args([kind, "ls", "--format", name]).args((kind == "container").then_some("--all"));
    let output = list.output().context("asking the container engine by `docker`")?;
    ensure!(output.status.success(), "docker {kind} ls: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(names.lines().filter(|name| name.starts_with("fx")).map(|name| format!("{kind} {name}")).collect())
}

impl Player {
    /// Waits until it has its cluster; what it said goes into the error when it has none.
    fn ready(mut self) -> Result<Ready> {
        let output = self.child.stdout.take().context("its output is a pipe")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() {
            let ended = self.child.wait_with_output()?;
            anyhow::bail!("a process got no cluster: {}", String::from_utf8_lossy(&ended.stderr));
        }
        let said: Value = serde_json::from_str(&line)?;
        let name = said["name"].as_str().context("it did not say the cluster's name")?.to_owned();
        let seconds = said["seconds"].as_f64().context("it did not say how long it waited")?;
        Ok(Ready { child: self.child, name, took: Duration::from_secs_f64(seconds) })
    }
}

impl Ready {
    /// Lets it end as a test does that has passed.
    fn finish(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let ended = self.child.wait_with_output()?;
        ensure!(ended.status.success(), "a process failed: {}", String::from_utf8_lossy(&ended.stderr));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_among_arguments() {
        assert!(holds(b"java\0-Dx=/tmp/fixtures/fx1\0", b"/tmp/fixtures"));
        assert!(!holds(b"java\0", b"/tmp/fixtures"));
        assert!(!holds(b"", b"/tmp/fixtures"));
    }

    #[test]
    fn a_process_that_knows_a_folder_is_seen() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("caracal-nobody-{}", std::process::id()));
        assert_eq!(processes_that_know(&folder)?, Vec::<String>::new());
        // `cat` waits for its input.
        let mut child = shell::program("cat")?.env("KNOWS", &folder).stdin(Stdio::piped()).spawn()?;
        let seen = processes_that_know(&folder)?;
        drop(child.stdin.take());
        child.wait()?;
        assert_eq!(seen, [format!("process /proc/{}", child.id())]);
        Ok(())
    }
}
