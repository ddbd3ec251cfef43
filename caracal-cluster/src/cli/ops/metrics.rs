//! `metrics`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::super::output::{Output, Tone};
use super::super::{complete, exit};
use super::shown::{Grid, seconds};
use super::{Call, Common, Failure, ended, words};
use crate::ops::metrics::{FIGURES, Figure, Looker, MetricsReport, Unit};

/// Arguments of `metrics`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct MetricsArgs {
    /// Only these nodes (`kafka-1`); may be given several times [default: all]
    #[arg(long, value_name = "NODE", add = complete::nodes())]
    pub node: Vec<String>,
    /// Look again and again, until Ctrl-C; rates are then those since the look before
    #[arg(long)]
    pub watch: bool,
    /// With --watch: how long between two looks
    #[arg(long, value_name = "SPAN", value_parser = words::span, default_value = "2s", requires = "watch")]
    pub every: Duration,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

pub(super) async fn run(args: &MetricsArgs) -> ExitCode {
    let call = Call::new("metrics", &args.common);
    ended(&call, looked(&call, args)).await
}

async fn looked(call: &Call, args: &MetricsArgs) -> Result<u8, Failure> {
    let operated = call.operated()?;
    let mut looker = Looker::new(&operated, &args.node)?;
    call.watched(
        args.watch.then_some(args.every),
        async || Ok(looker.look().await),
        |report| text(report, call.output),
        |report| if report.is_whole() { exit::OK } else { exit::UNHEALTHY },
    )
    .await
}

/// A figure a line, a node a column, the sum last; on a narrow terminal only the sum.
fn text(report: &MetricsReport, output: Output) -> String {
    let prefix = format!("{}-", report.cluster);
    let short = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_uppercase();
    let names: Vec<String> = report.nodes.iter().map(|node| short(node.node.as_str())).collect();
    let mut head = vec!["FIGURE"];
    head.extend(names.iter().map(String::as_str));
    head.push("TOGETHER");
    let mut seen = Vec::new();
    let mut rows = Vec::new();
    for figure in FIGURES {
        let Some(total) = report.total.get(figure.key) else { continue };
        if seen.contains(&figure.key) {
            continue;
        }
        seen.push(figure.key);
        let mut row = vec![title(figure)];
        row.extend(report.nodes.iter().map(|node| {
            node.figures.get(figure.key).map_or_else(|| "-".to_owned(), |value| shown(figure.unit, *value))
        }));
        row.push(shown(figure.unit, *total));
        rows.push(row);
    }
    let numbers: Vec<usize> = (1..head.len()).collect();
    // The ensemble first, then the registry, then brokers from behind: the sum stays.
    let spare: Vec<usize> = (1..head.len() - 1).collect();
    let table = Grid { head: &head, rows, numbers: &numbers, spare: &spare }.text(output);
    let rates = match report.rates {
        "one-minute" => "rates are the means of the last minute",
        _ => "rates are those since the look before",
    };
    let mut text = format!("{table}\n\n{rates} ({})", seconds(report.millis));
    for node in &report.nodes {
        if let Some(error) = &node.error {
            let line = output.paint.paint(Tone::Bad, &format!("{}: {error}", node.node));
            text.push_str(&["\n", &line].concat());
        }
    }
    text
}

fn title(figure: &Figure) -> String {
    figure.title.to_owned()
}

/// A number as a person reads it.
fn shown(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Bytes => bytes(value),
        Unit::BytesPerSecond => format!("{}/s", bytes(value)),
        Unit::Count => format!("{value:.0}"),
        Unit::Millis => format!("{value:.0} ms"),
        Unit::PerSecond => format!("{value:.1}/s"),
        Unit::Share => format!("{:.0} %", value * 100.0),
        Unit::Seconds => format!("{value:.1} s"),
    }
}

fn bytes(value: f64) -> String {
    const STEPS: [(f64, &str); 3] = [(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB")];
    STEPS
        .iter()
        .find(|(size, _)| value >= *size)
        .map_or_else(|| format!("{value:.0} B"), |(size, unit)| format!("{:.1} {unit}", value / size))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::super::output::{Paint, columns};
    use super::*;
    use crate::ops::metrics::NodeMetrics;
    use crate::plan::NodeRole;

    fn report() -> MetricsReport {
        let node = |name: &str, role, error: Option<&str>, figures: &[(&'static str, f64)]| NodeMetrics {
            node: name.parse().unwrap(),
            role,
            error: error.map(str::to_owned),
            figures: figures.iter().copied().collect(),
        };
        let figures = [("messages_in_per_second", 2.5), ("heap_used_bytes", 3.0 * 1_048_576.0)];
        MetricsReport {
            cluster: "demo".parse().unwrap(),
            rates: "one-minute",
            nodes: vec![
                node("demo-kafka-1", NodeRole::Broker, None, &figures),
                node("demo-kafka-2", NodeRole::Broker, Some("no metrics from x"), &[]),
            ],
            total: BTreeMap::from(figures),
            millis: 12,
        }
    }

    #[test]
    fn a_figure_is_a_line_and_who_does_not_answer_is_said() {
        let output = |width| Output { json: false, paint: Paint(false), terminal: true, width };
        let wide = text(&report(), output(None));
        assert!(wide.contains("KAFKA-1") && wide.contains("2.5/s") && wide.contains("3.0 MiB"), "{wide}");
        assert!(wide.ends_with("(0.0 s)\ndemo-kafka-2: no metrics from x"), "{wide}");
        let narrow = text(&report(), output(Some(30)));
        assert!(narrow.contains("TOGETHER") && !narrow.contains("KAFKA-1"), "{narrow}");
        assert!(narrow.lines().take(4).all(|line| columns(line) <= 30), "{narrow}");
    }

    #[test]
    fn numbers_read_in_their_units() {
        for (unit, value, text) in [
            (Unit::Bytes, 900.0, "900 B"),
            (Unit::BytesPerSecond, 2048.0, "2.0 KiB/s"),
            (Unit::Share, 0.98, "98 %"),
            (Unit::Millis, 12.4, "12 ms"),
        ] {
            assert_eq!(shown(unit, value), text);
        }
    }
}
