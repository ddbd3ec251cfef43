//! `lag`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::super::output::{Output, Tone};
use super::super::{complete, exit};
use super::shown::{Grid, count, seconds};
use super::{Call, Common, Failure, ended, words};
use crate::ops::lag::{self, LagReport};

/// Arguments of `lag`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct LagArgs {
    /// One group, partition by partition [default: all groups]
    #[arg(value_name = "GROUP", add = complete::groups())]
    pub group: Option<String>,
    /// Exit with 11 when a group's lag is above this number, or cannot be told
    #[arg(long, value_name = "N")]
    pub fail_over: Option<i64>,
    /// Look again and again, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// With --watch: how long between two looks
    #[arg(long, value_name = "SPAN", value_parser = words::span, default_value = "2s", requires = "watch")]
    pub every: Duration,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

pub(super) async fn run(args: &LagArgs) -> ExitCode {
    let call = Call::new("lag", &args.common);
    ended(&call, looked(&call, args)).await
}

async fn looked(call: &Call, args: &LagArgs) -> Result<u8, Failure> {
    let operated = call.operated()?;
    let code = |report: &LagReport| {
        let over = args.fail_over.is_some_and(|limit| report.over(limit).next().is_some());
        if over { exit::DRIFT } else { exit::OK }
    };
    call.watched(
        args.watch.then_some(args.every),
        async || Ok(lag::look(&operated, args.group.as_deref()).await?),
        |report| text(report, args, call.output),
        code,
    )
    .await
}

fn text(report: &LagReport, args: &LagArgs, output: Output) -> String {
    if report.groups.is_empty() {
        return format!("cluster {} has no consumer group", report.cluster);
    }
    let number = |value: Option<i64>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    let table = if args.group.is_some() {
        let rows = report.groups.iter().flat_map(|group| &group.partitions).map(|partition| {
            vec![
                partition.topic.clone(),
                partition.partition.to_string(),
                partition.committed.to_string(),
                number(partition.end),
                number(partition.lag),
            ]
        });
        let head = &["TOPIC", "PARTITION", "COMMITTED", "END", "LAG"];
        Grid { head, rows: rows.collect(), numbers: &[1, 2, 3, 4], spare: &[2, 3] }.text(output)
    } else {
        let rows = report.groups.iter().map(|group| {
            vec![
                group.group.clone(),
                group.state.clone(),
                group.coordinator.to_string(),
                group.partitions.len().to_string(),
                group.lag.to_string(),
            ]
        });
        let head = &["GROUP", "STATE", "COORDINATOR", "PARTITIONS", "LAG"];
        Grid { head, rows: rows.collect(), numbers: &[2, 3, 4], spare: &[2, 3] }.text(output)
    };
    let whole: i64 = report.groups.iter().map(|group| group.lag).sum();
    let mut text = format!(
        "{table}\n\n{}: {whole} records behind ({})",
        count(report.groups.len(), "group"),
        seconds(report.millis)
    );
    if let Some(limit) = args.fail_over {
        let over: Vec<&str> = report.over(limit).map(|group| group.group.as_str()).collect();
        if !over.is_empty() {
            let line = format!("above {limit}, or not to be told: {}", over.join(", "));
            text.push_str(&["\n", &output.paint.paint(Tone::Bad, &line)].concat());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::super::output::Paint;
    use super::*;

    #[test]
    fn groups_and_partitions_read_as_tables_and_the_limit_is_named() {
        let output = Output { json: false, paint: Paint(false), terminal: false, width: None };
        let mut args = LagArgs {
            group: None,
            fail_over: Some(3),
            watch: false,
            every: Duration::from_secs(2),
            common: Common::default(),
        };
        let report = lag::tests::report();
        let all = text(&report, &args, output);
        assert!(all.starts_with("GROUP"), "{all}");
        assert!(
            all.contains("\n\n3 groups: 4 records behind (0.0 s)\nabove 3, or not to be told: behind, blind"),
            "{all}"
        );
        args.group = Some("blind".to_owned());
        let one = text(&LagReport { groups: vec![report.groups[2].clone()], ..report }, &args, output);
        assert!(one.starts_with("TOPIC") && one.contains('?'), "{one}");
    }
}
