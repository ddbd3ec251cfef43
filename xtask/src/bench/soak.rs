//! `bench soak`: many cold starts, each proved; then starts killed at random moments, each mended by the next.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use caracal_cluster::names::ClusterName;
use clap::Args;
use serde_json::{Value, json};

use super::clusters;
use super::figures::{Sequence, Times};
use crate::shell;

const CLUSTER: &str = "bench-soak";

/// How much of it.
#[derive(Debug, Args)]
pub(crate) struct SoakArguments {
    /// Cold starts in a row
    #[arg(long, default_value_t = 20)]
    starts: u32,
    /// Starts that are killed
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Leave out `verify` after each start; `up` proves itself all the same
    #[arg(long)]
    skip_verify: bool,
    /// The seed of the moments at which starts are killed; by default another one each time
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs all of it, goes on after a failure, and looks for what was left behind.
pub(super) async fn run(arguments: &SoakArguments) -> Result<Value> {
    let name = clusters::name(CLUSTER)?;
    clusters::remove(&name).await?;
    let verify = !arguments.skip_verify;
    let seed = arguments
        .seed
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs()));
    let (mut failures, mut told) = (Vec::new(), 0);
    let mut times = Times::default();
    for start in 1..=arguments.starts {
        match cold(&name, verify) {
            Ok(took) => times.push(took),
            Err(error) => failures.push(format!("start {start}: {error:#}")),
        }
        failures.extend(clean(&name, &format!("start {start}")).await);
        told = tell(&format!("start {start} of {}", arguments.starts), &failures, told);
    }
    let mut moments = Sequence::new(seed);
    // Somewhere in a start: as long as one takes here, or took in the mean of other machines.
    let whole = times.median().unwrap_or(15.0);
    let mut kills = Vec::new();
    while kills.len() < arguments.kills as usize {
        let number = kills.len() + 1;
        let after = Duration::from_secs_f64(
            whole * f64::from(u32::try_from(moments.below(1000)).unwrap_or(0)) / 1000.0,
        );
        let killed = killed(&name, after, verify).await;
        failures.extend(clean(&name, &format!("kill {number}")).await);
        match killed {
            // It was up before it could be killed, which proves nothing here: another moment.
            Ok(Killed::TooLate) => continue,
            Ok(Killed::Mended(report)) => kills.push(report),
            Err(error) => {
                let why = format!("{error:#}");
                failures.push(format!("kill {number} after {} ms: {why}", millis(after)));
                kills.push(json!({ "killed_after_ms": millis(after), "error": why }));
            }
        }
        told = tell(&format!("kill {number} of {}", arguments.kills), &failures, told);
    }
    Ok(json!({
        "bench": "soak",
        "compared": "each cold start is proved by `up` itself (every user's log-in on every listener, refused \
                     handshakes without certificate, one Avro round trip) and, unless it was left out, by `verify`; \
                     each killed start is finished by the next, which is proved alike",
        "proved_by_verify": verify,
        "versions": clusters::versions().await?,
        "seconds": { "starts": times },
        "median_seconds": times.median(),
        "seed": seed,
        "kills": kills,
        "failures": failures,
        "ok": failures.is_empty(),
    }))
}

/// Says how far it is and what failed since `told` failures; returns how many there are.
fn tell(done: &str, failures: &[String], told: usize) -> usize {
    eprintln!("soak: {done}, {} failures so far", failures.len());
    for failure in failures.iter().skip(told) {
        eprintln!("  {failure}");
    }
    failures.len()
}

/// One start, proved; how long it took without the proof by `verify`.
fn cold(name: &ClusterName, verify: bool) -> Result<Duration> {
    let took = clusters::timed_up(name)?;
    if verify {
        prove(name)?;
    }
    Ok(took)
}

fn prove(name: &ClusterName) -> Result<()> {
    let mut command = shell::program(std::env::current_exe()?)?;
    command.args(["verify", "--json", "--name", name.as_str()]);
    shell::quiet(command)?;
    Ok(())
}

/// What came of a start that was to be killed.
enum Killed {
    /// It had ended before.
    TooLate,
    /// The next start finished it.
    Mended(Value),
}

/// Starts, kills the start, and starts again.
async fn killed(name: &ClusterName, after: Duration, verify: bool) -> Result<Killed> {
    let mut up = clusters::up(name)?;
    tokio::time::sleep(after).await;
    let over = up.try_wait()?.is_some();
    if !over {
        up.kill()?;
    }
    up.wait()?;
    if over {
        return Ok(Killed::TooLate);
    }
    let mended = cold(name, verify)?;
    Ok(Killed::Mended(json!({ "killed_after_ms": millis(after), "mended_in_ms": millis(mended) })))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Removes the cluster and tells what is left of it, or why it could not be removed.
async fn clean(name: &ClusterName, when: &str) -> Vec<String> {
    let removed = async {
        let Some(cluster) = clusters::look(name)? else { return Ok(Vec::new()) };
        clusters::remove(name).await?;
        clusters::traces(&cluster)
    };
    match removed.await {
        Ok(traces) => traces.into_iter().map(|trace| format!("{when}: left behind: {trace}")).collect(),
        Err(error) => vec![format!("{when}: it could not be removed: {error:#}")],
    }
}
