//! `api-versions`, `certs check`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::super::exit;
use super::super::output::{Output, Tone};
use super::shown::{Grid, seconds};
use super::{Call, Common, ended, words};
use crate::ops::facts::{self, ApisReport, CertificatesReport};

/// What can be done with certificates.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum CertsCommand {
    /// Show every certificate's days left; fail when one ends soon
    ///
    /// Reads the certificates in the cluster's directory, the one that ends first at the front; the cluster need
    /// not run. Exits with 10 when one has expired or ends within --fail-within. Changes nothing.
    ///
    /// Example:
    ///     cargo xtask certs check --fail-within 30d
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Check(CertsArgs),
}

/// Arguments of commands that only list.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct FactArgs {
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `certs check`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct CertsArgs {
    /// Fail when a certificate ends within this span; expired ones always fail
    #[arg(long, value_name = "SPAN", value_parser = words::span, default_value = "0d")]
    pub fail_within: Duration,
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

pub(super) async fn certs(command: &CertsCommand) -> ExitCode {
    let CertsCommand::Check(args) = command;
    let call = Call::new("certs check", &args.common);
    let days = i64::try_from(args.fail_within.as_secs().div_ceil(86_400)).unwrap_or(i64::MAX);
    let checked = async {
        let report = facts::certificates(&call.operated()?)?;
        call.report(&report, || certs_text(&report, days, call.output))?;
        Ok(if report.ending_within(days).next().is_some() { exit::UNHEALTHY } else { exit::OK })
    };
    ended(&call, checked).await
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

fn certs_text(report: &CertificatesReport, days: i64, output: Output) -> String {
    let rows = report.certificates.iter().map(|certificate| {
        let (id, days_left) = (certificate.id.clone(), format!("{}d", certificate.days_left));
        vec![id, days_left, certificate.info.subject.clone(), certificate.info.serial_hex.clone()]
    });
    let head = &["CERTIFICATE", "LEFT", "SUBJECT", "SERIAL"];
    let table = Grid { head, rows: rows.collect(), numbers: &[1], spare: &[3, 2] }.text(output);
    let ending: Vec<&str> = report.ending_within(days).map(|found| found.id.as_str()).collect();
    if ending.is_empty() {
        return format!("{table}\n\nno certificate ends within {days} days");
    }
    let line = format!("within {days} days end: {}", ending.join(", "));
    format!("{table}\n\n{}", output.paint.paint(Tone::Bad, &line))
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
