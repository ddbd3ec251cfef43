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
    /// Prove each start by `verify` too
    #[arg(long)]
    verify: bool,
    /// The seed of the moments at which starts are killed; by default another one each time
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs all of it, goes on after a failure, and looks for what was left behind.
pub(super) async fn run(arguments: &SoakArguments) -> Result<Value> {
    let name = clusters::name(CLUSTER)?;
    clusters::remove(&name).await?;
    let seed = arguments
        .seed
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs()));
    let mut failures = Vec::new();
    let mut times = Times::default();
    for start in 1..=arguments.starts {
        match cold(&name, arguments.verify) {
            Ok(took) => times.push(took),
            Err(error) => failures.push(format!("start {start}: {error:#}")),
        }
        failures.extend(clean(&name, &format!("start {start}")).await?);
    }
    let mut moments = Sequence::new(seed);
    // Somewhere in a start: as long as one takes here, or took in the mean of other machines.
    let whole = times.median().unwrap_or(15.0);
    let mut kills = Vec::new();
    for kill in 1..=arguments.kills {
        let after = Duration::from_secs_f64(
            whole * f64::from(u32::try_from(moments.below(1000)).unwrap_or(0)) / 1000.0,
        );
        let (report, failure) = killed(&name, after).await;
        failures.extend(failure.map(|failure| format!("kill {kill}: {failure}")));
        kills.push(report);
        failures.extend(clean(&name, &format!("kill {kill}")).await?);
    }
    Ok(json!({
        "bench": "soak",
        "compared": "each cold start is proved by `up` itself: every user's log-in on every listener, refused \
                     handshakes without certificate, one Avro round trip",
        "proved_by_verify": arguments.verify,
        "versions": clusters::versions().await?,
        "seconds": { "starts": times },
        "median_seconds": times.median(),
        "seed": seed,
        "kills": kills,
        "failures": failures,
        "ok": failures.is_empty(),
    }))
}

/// One start, proved; how long it took without the proof by `verify`.
fn cold(name: &ClusterName, verify: bool) -> Result<Duration> {
    let took = clusters::timed_up(name)?;
    if verify {
        let mut command = shell::program(std::env::current_exe()?)?;
        command.args(["verify", "--json", "--name", name.as_str()]);
        shell::quiet(command)?;
    }
    Ok(took)
}

/// Starts, kills the start, and starts again.
async fn killed(name: &ClusterName, after: Duration) -> (Value, Option<String>) {
    let outcome = async {
        let mut up = clusters::up(name)?;
        tokio::time::sleep(after).await;
        let over = up.try_wait()?.is_some();
        if !over {
            up.kill()?;
        }
        up.wait()?;
        let mended = clusters::timed_up(name)?;
        anyhow::Ok((over, mended))
    };
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match outcome.await {
        Ok((over, mended)) => (
            json!({ "killed_after_ms": millis(after), "was_over": over, "mended_in_ms": millis(mended) }),
            None,
        ),
        Err(error) => (
            json!({ "killed_after_ms": millis(after), "error": format!("{error:#}") }),
            Some(format!("{error:#}")),
        ),
    }
}

/// Removes the cluster and tells what is left of it.
async fn clean(name: &ClusterName, when: &str) -> Result<Vec<String>> {
    let Some(cluster) = clusters::look(name)? else { return Ok(Vec::new()) };
    clusters::remove(name).await?;
    Ok(clusters::traces(&cluster)?.into_iter().map(|trace| format!("{when}: left behind: {trace}")).collect())
}
