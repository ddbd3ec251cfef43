//! `bench restarts`: what a steady producer notices of a rolling restart, and of brokers that die.
//!
//! Transactions make a result of every event meanwhile, and a checker looks at what a reader of committed records saw.
//! A third part ends the producer by SIGTERM at moments of chance, as services are ended, and compares its account with
//! the topic.
//!
//! Not a ratio: what counts is that nothing that was acknowledged is missing, and how long a partition took no write.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use caracal_cluster::names::ClusterName;
use caracal_cluster::plan::NodeRole;
use clap::Args;
use serde_json::{Value, json};

use super::clusters;
use super::figures::Times;
use super::load::{Load, built, kept, ours};
use crate::shell;

const CLUSTER: &str = "bench-restarts";

/// Events a second of a service that is told to end.
const CLOSE_RATE: u32 = 20_000;

/// It is told within so long, and has at most so long to close.
const CLOSE_AFTER: Duration = Duration::from_millis(1500);
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// How much is tried.
#[derive(Debug, Args)]
pub(crate) struct RestartsArguments {
    /// Events a second, all the time
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Times that a broker is killed (SIGKILL) and brought back by `up`; 0 leaves that out
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Times that a sending service is told to end (SIGTERM) at a moment of chance; 0 leaves that out
    #[arg(long, default_value_t = 50)]
    closes: u32,
}

/// One cluster for both parts, one load for each.
pub(super) async fn run(arguments: &RestartsArguments) -> Result<Value> {
    let name = clusters::name(CLUSTER)?;
    // First what takes minutes the first time and needs no cluster.
    let program = built()?;
    clusters::remove(&name).await?;
    clusters::timed_up(&name)?;
    let measured = measured(&name, &program, arguments);
    let removed = clusters::remove(&name).await;
    let mut document = measured?;
    removed?;
    if let Value::Object(fields) = &mut document {
        fields.insert("versions".into(), clusters::versions().await?);
    }
    Ok(document)
}

fn measured(name: &ClusterName, program: &Path, arguments: &RestartsArguments) -> Result<Value> {
    let brokers = brokers(name)?;
    let load = Load::start(name, program, arguments.rate, &[] as &[&str])?;
    let started = Instant::now();
    let mut restart = ours(name, &["cluster", "restart", "--json"])?;
    restart.args(&brokers);
    shell::quiet(restart)?;
    let rolled = started.elapsed();
    let rolling = load.end()?;
    let kept_by_restart = kept(&rolling) && rolling["not_written"] == 0 && rolling["unknown"] == 0;
    eprintln!("restarts: the rolling restart took {:.1} s", rolled.as_secs_f64());
    let closes = closed(name, program, arguments)?;
    let (mut kills, mut kept_by_kills) = (Value::Null, true);
    if arguments.kills > 0 {
        kills = killed(name, program, &brokers, arguments)?;
        kept_by_kills = kills["ok"] == true;
    }
    Ok(json!({
        "bench": "restarts",
        "compared": "what the producer was told with what stands in the topic afterwards; the longest time that a partition \
                     acknowledged nothing. A restart in order may fail no send; a broker that dies may leave outcomes unknown, \
                     but nothing that was acknowledged may be missing or stand there twice, and of the transactions' results \
                     none may be missing, doubled or of an aborted transaction. A service that is told to end accounts for \
                     every record that it took",
        "events_per_second": arguments.rate,
        "rolling_restart": { "seconds": rolled.as_secs_f64(), "brokers": brokers.len(), "load": rolling, "ok": kept_by_restart },
        "closes": closes,
        "kills": kills,
        "ok": kept_by_restart && kept_by_kills && (arguments.closes == 0 || closes["ok"] == true),
    }))
}

/// Kills one broker after the other and brings each back before the next one goes.
fn killed(
    name: &ClusterName,
    program: &Path,
    brokers: &[String],
    arguments: &RestartsArguments,
) -> Result<Value> {
    let profile = clusters::profile(name, "admin")?;
    let exactly_once_by = ["--exactly-once-profile".as_ref(), profile.as_os_str()];
    let load = Load::start(name, program, arguments.rate, &exactly_once_by)?;
    let mut back = Times::default();
    for (number, broker) in (1..=arguments.kills).zip(brokers.iter().cycle()) {
        let started = Instant::now();
        shell::quiet(ours(name, &["cluster", "kill", broker])?)?;
        shell::quiet(ours(name, &["cluster", "up"])?)?;
        shell::quiet(ours(name, &["health", "--wait", "2m"])?)?;
        back.push(started.elapsed());
        eprintln!("restarts: kill {number} of {}, {broker} is back", arguments.kills);
    }
    let load = load.end()?;
    let ok = kept(&load) && exactly_once(&load);
    Ok(json!({ "kills": arguments.kills, "seconds_until_healthy": back, "load": load, "ok": ok }))
}

/// Whether every event's result is there, once, and none of an aborted transaction is.
fn exactly_once(load: &Value) -> bool {
    let judged = &load["exactly_once"];
    judged["anomalies"] == 0 && judged["results"].as_u64().is_some_and(|results| results > 0)
}

/// Ends one sending service after the other by SIGTERM, each with its own time to close in.
fn closed(name: &ClusterName, program: &Path, arguments: &RestartsArguments) -> Result<Value> {
    if arguments.closes == 0 {
        return Ok(Value::Null);
    }
    let mut chance = Chance::new();
    let (mut bad, mut unknown, mut records) = (Vec::new(), 0, 0);
    for number in 1..=arguments.closes {
        // Faster than the brokers take it in, so that much is under way.
        let within = chance.below(CLOSE_WITHIN).as_millis().to_string();
        let load = Load::start(name, program, CLOSE_RATE, &["--close-within", &within])?;
        #[expect(
            clippy::disallowed_methods,
            reason = "a moment of chance, below its bound, is what is waited for"
        )]
        std::thread::sleep(chance.below(CLOSE_AFTER));
        let told = load.told_to_end()?;
        records += told["taken"].as_u64().unwrap_or(0);
        unknown += told["unknown"].as_u64().unwrap_or(0);
        if !accounted(&told) {
            bad.push(told);
        }
        if number % 10 == 0 {
            eprintln!("restarts: close {number} of {}", arguments.closes);
        }
    }
    Ok(json!({
        "closes": arguments.closes, "records": records, "unknown": unknown, "not_accounted_for": bad, "ok": bad.is_empty(),
    }))
}

/// Whether a service that was told to end has counted every record, as its handles did, and the topic agrees: all that
/// it calls written is there, and nothing that it calls not written.
fn accounted(told: &Value) -> bool {
    let number = |key: &str| told[key].as_u64();
    let (Some(written), Some(unknown), Some(there)) =
        (number("written"), number("unknown"), number("read_back"))
    else {
        return false;
    };
    number("taken").is_some_and(|taken| taken > 0)
        && number("accounted_for_at_close") == number("taken")
        && told["counts_agree"] == true
        && number("lost") == Some(0)
        && number("not_written_but_there") == Some(0)
        && (written..=written + unknown).contains(&there)
}

/// SplitMix64 (Steele, Lea, Flood 2014), begun by the clock.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.map_or(1, |since| since.as_nanos() as u64))
    }

    fn below(&mut self, bound: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bound.mul_f64((z >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// The brokers, as commands take them.
fn brokers(name: &ClusterName) -> Result<Vec<String>> {
    let cluster = clusters::look(name)?.context("the cluster is not there")?;
    Ok(cluster.plan.nodes_of(NodeRole::Broker).map(|node| node.name.to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_agrees_with_the_topic_or_is_none() {
        let told = json!({
            "taken": 10, "accounted_for_at_close": 10, "written": 7, "not_written": 1, "unknown": 2, "read_back": 8, "lost": 0,
            "not_written_but_there": 0, "counts_agree": true,
        });
        assert!(accounted(&told));
        for (key, wrong) in [
            ("accounted_for_at_close", json!(9)),
            ("counts_agree", json!(false)),
            ("lost", json!(1)),
            ("not_written_but_there", json!(1)),
            ("read_back", json!(6)),
            ("read_back", json!(10)),
            ("taken", json!(0)),
            ("written", Value::Null),
        ] {
            let mut told = told.clone();
            told[key] = wrong;
            assert!(!accounted(&told), "{key}");
        }
    }

    #[test]
    fn no_result_is_no_proof() {
        assert!(exactly_once(&json!({ "exactly_once": { "anomalies": 0, "results": 5 } })));
        assert!(!exactly_once(&json!({ "exactly_once": { "anomalies": 0, "results": 0 } })));
        assert!(!exactly_once(&json!({ "exactly_once": { "anomalies": 1, "results": 5 } })));
        assert!(!exactly_once(&json!({ "exactly_once": null })));
    }
}
