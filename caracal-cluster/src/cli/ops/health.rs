//! `health`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::super::exit;
use super::super::output::{Paint, Tone, wrap_indented};
use super::shown::{count, seconds};
use super::{Call, Common, Failure, ended, words};
use crate::ops::health::{self, Check, HealthReport, State};

/// How often a cluster is looked at while it is waited for.
const INTERVAL: Duration = Duration::from_millis(500);

/// Arguments of `health`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct HealthArgs {
    /// Look again and again, until Ctrl-C
    #[arg(long, conflicts_with = "wait")]
    pub watch: bool,
    /// With --watch: how long between two looks
    #[arg(long, value_name = "SPAN", value_parser = words::span, default_value = "2s", requires = "watch")]
    pub every: Duration,
    /// Look until it is healthy, at most so long
    #[arg(long, value_name = "SPAN", value_parser = words::span)]
    pub wait: Option<Duration>,
    /// Show every check, not only those that are not ok
    #[arg(long)]
    pub all: bool,
    /// Also write to the registry: proves that it takes writes
    #[arg(long)]
    pub writes: bool,
    /// How long one node may take to answer
    #[arg(long, value_name = "SPAN", value_parser = words::span, default_value = "5s")]
    pub timeout: Duration,
    /// Days that every certificate must have left; fewer are a warning
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub certificate_days: i64,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

pub(super) async fn run(args: &HealthArgs) -> ExitCode {
    let call = Call::new("health", &args.common);
    ended(&call, looked(&call, args)).await
}

async fn looked(call: &Call, args: &HealthArgs) -> Result<u8, Failure> {
    let options = health::Options {
        patience: args.timeout,
        certificate_days: args.certificate_days,
        writes: args.writes,
    };
    let operated = call.operated()?;
    if args.watch {
        let look = async || Ok(health::look(&operated, &options).await?);
        return call.watched(Some(args.every), look, |report| shown(call, args, report), verdict).await;
    }
    let end = args.wait.map(|wait| Instant::now() + wait);
    loop {
        let report = health::look(&operated, &options).await?;
        if report.healthy || end.is_none_or(|end| Instant::now() + INTERVAL >= end) {
            call.report(&report, || shown(call, args, &report))?;
            return Ok(verdict(&report));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn verdict(report: &HealthReport) -> u8 {
    if report.healthy { exit::OK } else { exit::UNHEALTHY }
}

fn shown(call: &Call, args: &HealthArgs, report: &HealthReport) -> String {
    text(report, args.all, call.output.paint, call.output.width)
}

/// The report as a person reads it: what is not ok first, then one line a kind of check, then the verdict.
fn text(report: &HealthReport, all: bool, paint: Paint, width: Option<usize>) -> String {
    let mut lines = Vec::new();
    let mut kinds: Vec<&'static str> = Vec::new();
    for check in &report.checks {
        if !kinds.contains(&check.check) {
            kinds.push(check.check);
        }
    }
    for kind in kinds {
        let of_kind: Vec<&Check> = report.checks.iter().filter(|check| check.check == kind).collect();
        let bad: Vec<&&Check> = of_kind.iter().filter(|check| check.state != State::Ok).collect();
        if all || of_kind.len() == 1 {
            lines.extend(of_kind.iter().map(|check| line(check, paint)));
            continue;
        }
        lines.extend(bad.iter().map(|check| line(check, paint)));
        if bad.is_empty() {
            let seen = format!("all {} ok", of_kind.len());
            let whole = Check { check: kind, target: String::new(), state: State::Ok, seen };
            lines.push(line(&whole, paint));
        }
    }
    let failed = report.failures().count();
    let took = seconds(report.millis);
    let verdict = if report.healthy {
        paint.paint(Tone::Good, &format!("cluster {} is healthy ({took})", report.cluster))
    } else {
        let text =
            format!("cluster {} is NOT healthy: {} failed ({took})", report.cluster, count(failed, "check"));
        paint.paint(Tone::Bad, &text)
    };
    let lines: Vec<String> = lines.iter().map(|line| wrap_indented(line, width)).collect();
    format!("{}\n\n{verdict}", lines.join("\n"))
}

fn line(check: &Check, paint: Paint) -> String {
    let tone = match check.state {
        State::Ok => Tone::Good,
        State::Warning => Tone::Warn,
        State::NotRun => Tone::Dim,
        State::Failed => Tone::Bad,
    };
    let state = paint.paint(tone, &format!("{:<8}", check.state.label()));
    let target = match check.target.as_str() {
        "" | "cluster" | "machine" | "partitions" | "brokers" | "ensemble" => String::new(),
        node => format!("{node}: "),
    };
    format!("{state}{:<17} {target}{}", check.check, check.seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: State) -> HealthReport {
        let check = |name, target: &str, state, seen: &str| Check {
            check: name,
            target: target.to_owned(),
            state,
            seen: seen.to_owned(),
        };
        HealthReport {
            cluster: "demo".parse().unwrap(),
            healthy: state == State::Ok,
            leader: None,
            controller: Some(1),
            partitions: None,
            checks: vec![
                check("process", "demo-kafka-1", State::Ok, "running (pid 1)"),
                check("process", "demo-kafka-2", state, "seen"),
                check("disk", "machine", State::Ok, "room"),
            ],
            millis: 120,
        }
    }

    #[test]
    fn what_is_well_takes_one_line_a_kind_and_what_is_not_one_each() {
        let good = text(&report(State::Ok), false, Paint(false), None);
        assert_eq!(
            good,
            "ok      process           all 2 ok\nok      disk              room\n\ncluster demo is healthy (0.1 s)"
        );
        let bad = text(&report(State::Failed), false, Paint(false), Some(60));
        assert!(bad.contains("FAILED  process           demo-kafka-2: seen\n"), "{bad}");
        assert!(!bad.contains("demo-kafka-1"), "{bad}");
        assert!(bad.ends_with("cluster demo is NOT healthy: 1 check failed (0.1 s)"), "{bad}");
        assert!(text(&report(State::Ok), true, Paint(false), None).contains("demo-kafka-1: running"));
        assert_eq!([State::Ok, State::Failed].map(|state| verdict(&report(state))), [0, 10]);
    }
}
