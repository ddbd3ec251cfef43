//! `api-versions`.

use std::process::ExitCode;

use clap::Args;

use super::super::exit;
use super::super::output::{Output, Tone};
use super::shown::{Grid, seconds};
use super::{Call, Common, ended};
use crate::ops::facts::{self, ApisReport};

/// Arguments of commands that only list.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct FactArgs {
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

pub(super) async fn api_versions(args: &FactArgs) -> ExitCode {
    let call = Call::new("api-versions", &args.common);
    let listed = async {
        let report = facts::api_versions(&call.operated()?).await?;
        call.report(&report, || apis_text(&report, call.output))?;
        let whole = report.brokers.iter().all(|broker| broker.error.is_none());
        Ok(if whole { exit::OK } else { exit::UNHEALTHY })
    };
    ended(&call, listed).await
}

fn apis_text(report: &ApisReport, output: Output) -> String {
    let mut text = String::new();
    for broker in &report.brokers {
        let line = match &broker.error {
            None => format!("{} (id {}): {} requests", broker.node, broker.id, broker.apis.len()),
            Some(error) => {
                output.paint.paint(Tone::Bad, &format!("{} (id {}): {error}", broker.node, broker.id))
            }
        };
        text.push_str(&[&line, "\n"].concat());
    }
    let first = report.brokers.iter().find(|broker| broker.error.is_none());
    let differing = report
        .brokers
        .iter()
        .filter(|broker| broker.error.is_none())
        .any(|broker| first.is_some_and(|first| first.apis != broker.apis));
    if differing {
        text.push_str("they do not all speak the same: --json shows each one's\n");
    }
    if let Some(first) = first {
        let rows = first.apis.iter().map(|api| {
            let name = api_name(api.key);
            vec![api.key.to_string(), name, api.min.to_string(), api.max.to_string()]
        });
        let head = &["KEY", "REQUEST", "FROM", "TO"];
        let grid = Grid { head, rows: rows.collect(), numbers: &[0, 2, 3], spare: &[] };
        text.push_str(&["\n", &grid.text(output), "\n"].concat());
    }
    format!("{text}\n({})", seconds(report.millis))
}

fn api_name(key: i16) -> String {
    crate::wire::requests::name_of(key).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::super::output::Paint;
    use super::*;
    use crate::ops::facts::{Api, BrokerApis};

    #[test]
    fn brokers_that_differ_or_cannot_be_asked_are_said() {
        let output = Output { json: false, paint: Paint(false), terminal: false, width: None };
        let broker = |id: i32, max: i16, error: Option<&str>| BrokerApis {
            node: format!("n{id}"),
            id,
            apis: vec![Api { key: 0, min: 0, max }],
            error: error.map(str::to_owned),
        };
        let report = ApisReport {
            cluster: "demo".parse().unwrap(),
            brokers: vec![broker(1, 9, None), broker(2, 8, None), broker(3, 9, Some("refused"))],
            millis: 40,
        };
        let text = apis_text(&report, output);
        for part in ["n1 (id 1): 1 requests", "n3 (id 3): refused", "do not all speak the same", "Produce"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
