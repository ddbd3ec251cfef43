//! `certs check`, `show`, `renew`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::super::exit;
use super::super::output::{Output, Tone};
use super::shown::{Grid, count, seconds};
use super::{Call, Common, Failure, ended, words};
use crate::ops::certs::{self, RenewOptions, RenewReport, ServedBy, ShowReport, Way};
use crate::ops::facts::{self, CertificatesReport};

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
    /// Show certificates as they lie here and as every listener presents them
    ///
    /// Chain, names, days left and serial number; shakes hands with every broker's listeners and every ZooKeeper node's
    /// client port. Exits with 10 when a listener cannot be asked or presents another certificate than the one that
    /// lies here. Changes nothing and shows no key.
    ///
    /// Examples:
    ///     cargo xtask certs show
    ///     cargo xtask certs show --json
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Show(ShowArgs),
    /// Renew certificates of nodes and users while the cluster works
    ///
    /// Issues new leaf certificates below the authorities as they are, with new keys and the same names. Brokers'
    /// listeners take theirs without a restart, proved by the serial number that each presents afterwards; brokers
    /// towards ZooKeeper, ZooKeeper and the registry are restarted one after the other, guarded as `cluster restart` is;
    /// users' client files are made anew. Old certificates are set aside and stay valid until they end. Changes the
    /// cluster's directory and what is named.
    ///
    /// Examples:
    ///     cargo xtask certs renew --within 30d
    ///     cargo xtask certs renew kafka-1 --no-restart
    ///     cargo xtask certs renew --all
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Renew(RenewArgs),
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

/// Arguments of `certs show`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct ShowArgs {
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `certs renew`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct RenewArgs {
    /// Nodes, users or certificates
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Every certificate
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Only those that end within this span
    #[arg(long, value_name = "SPAN", value_parser = words::span)]
    pub within: Option<Duration>,
    /// Only those that come into use without a restart: brokers' listeners and users
    #[arg(long)]
    pub no_restart: bool,
    /// Only say what would be renewed, and how; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

pub(super) async fn run(command: CertsCommand) -> ExitCode {
    match command {
        CertsCommand::Check(args) => {
            let call = Call::new("certs check", &args.common);
            let days = days(args.fail_within);
            let checked = async {
                let report = facts::certificates(&call.operated()?)?;
                call.report(&report, || check_text(&report, days, call.output))?;
                Ok(if report.ending_within(days).next().is_some() { exit::UNHEALTHY } else { exit::OK })
            };
            ended(&call, checked).await
        }
        CertsCommand::Show(args) => {
            let call = Call::new("certs show", &args.common);
            let shown = async {
                let report = certs::show(&call.operated()?).await?;
                call.report(&report, || show_text(&report, call.output))?;
                let whole = report.listeners.iter().all(|served| served.as_on_disk);
                Ok(if whole { exit::OK } else { exit::UNHEALTHY })
            };
            ended(&call, shown).await
        }
        CertsCommand::Renew(args) => {
            let call = Call::new("certs renew", &args.common);
            ended(&call, renew(&call, args)).await
        }
    }
}

fn days(span: Duration) -> i64 {
    i64::try_from(span.as_secs().div_ceil(86_400)).unwrap_or(i64::MAX)
}

async fn renew(call: &Call, args: RenewArgs) -> Result<u8, Failure> {
    // Nothing named is more often forgotten than meant.
    if args.names.is_empty() && !args.all && args.within.is_none() {
        let message = "say which certificates: NAME ..., --within SPAN, or --all".to_owned();
        return Err(Failure::Said { message, code: exit::USAGE });
    }
    let options = RenewOptions {
        names: args.names,
        within_days: args.within.map(days),
        no_restart: args.no_restart,
        dry_run: args.dry_run,
    };
    let told = |text: &str| call.say(&format!("{} {text}", call.output.paint.paint(Tone::Good, "\u{2713}")));
    let report = certs::renew(&call.selection()?, &options, &told).await?;
    call.report(&report, || renew_text(&report, call.output))
}

fn check_text(report: &CertificatesReport, days: i64, output: Output) -> String {
    let table = files(&report.certificates, output);
    let ending: Vec<&str> = report.ending_within(days).map(|found| found.id.as_str()).collect();
    if ending.is_empty() {
        return format!("{table}\n\nno certificate ends within {days} days");
    }
    let line = format!("within {days} days end: {}", ending.join(", "));
    format!("{table}\n\n{}", output.paint.paint(Tone::Bad, &line))
}

fn files(certificates: &[facts::Certificate], output: Output) -> String {
    let rows = certificates.iter().map(|certificate| {
        let (id, days_left) = (certificate.id.clone(), format!("{}d", certificate.days_left));
        vec![id, days_left, certificate.info.subject.clone(), certificate.info.serial_hex.clone()]
    });
    let head = &["CERTIFICATE", "LEFT", "SUBJECT", "SERIAL"];
    Grid { head, rows: rows.collect(), numbers: &[1], spare: &[3, 2] }.text(output)
}

fn show_text(report: &ShowReport, output: Output) -> String {
    let lines: Vec<String> = report.listeners.iter().map(|served| served_text(served, output)).collect();
    format!(
        "{}\n\npresented by listeners:\n{}\n\n({})",
        files(&report.certificates, output),
        lines.join("\n"),
        seconds(report.millis)
    )
}

fn served_text(served: &ServedBy, output: Output) -> String {
    let at = format!("{} {}", served.node, served.listener);
    if let Some(error) = &served.error {
        return output.paint.paint(Tone::Bad, &format!("\u{2717} {at}: {error}"));
    }
    let Some(leaf) = served.chain.first() else { return format!("? {at}: no certificate") };
    let names: Vec<String> = leaf.sans.iter().map(ToString::to_string).collect();
    let issuers: Vec<&str> = served.chain.iter().map(|link| link.issuer.as_str()).collect();
    let (tone, mark, fits) = match served.as_on_disk {
        true => (Tone::Good, "\u{2713}", String::new()),
        false => (Tone::Bad, "\u{2717}", format!("; it is not {} as it lies here", served.certificate)),
    };
    format!(
        "{} {at}: serial {}, {} days left{fits}\n    {} issued by {}\n    for {}\n    {}",
        output.paint.paint(tone, mark),
        leaf.serial_hex,
        served.days_left.unwrap_or_default(),
        leaf.subject,
        issuers.join(", "),
        names.join(", "),
        served.agreed.as_deref().unwrap_or_default(),
    )
}

fn renew_text(report: &RenewReport, output: Output) -> String {
    if report.certificates.is_empty() {
        return "no certificate has to be renewed".to_owned();
    }
    let rows = report.certificates.iter().map(|renewed| {
        let way = match (renewed.way, &renewed.node) {
            (Way::Reload, Some(node)) => format!("{node} reloads"),
            (Way::Restart, Some(node)) => format!("{node} restarts"),
            (Way::ClientFiles, _) => "client files".to_owned(),
            _ => "next use".to_owned(),
        };
        let serial = |serial: &Option<String>| serial.clone().unwrap_or_else(|| "-".to_owned());
        vec![renewed.certificate.clone(), way, serial(&renewed.old_serial), serial(&renewed.new_serial)]
    });
    let head = &["CERTIFICATE", "BY", "OLD SERIAL", "NEW SERIAL"];
    let table = Grid { head, rows: rows.collect(), numbers: &[], spare: &[2, 3] }.text(output);
    let what = count(report.certificates.len(), "certificate");
    if report.dry_run {
        return format!("{table}\n\n{what} would be renewed");
    }
    let shown = report.listeners.iter().filter(|served| served.as_on_disk).count();
    format!(
        "{table}\n\n{what} renewed; {shown} of {} present what lies here ({})",
        count(report.listeners.len(), "listener"),
        seconds(report.millis)
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::output::Paint;
    use super::*;
    use crate::ops::certs::Renewed;

    #[test]
    fn a_listener_that_cannot_be_asked_or_presents_another_one_is_said() {
        let output = Output { json: false, paint: Paint(false), terminal: false, width: None };
        let served = ServedBy {
            node: "k1".to_owned(),
            listener: "EXTERNAL".to_owned(),
            certificate: "k1.listener".to_owned(),
            as_on_disk: false,
            chain: Vec::new(),
            days_left: None,
            agreed: None,
            error: Some("refused".to_owned()),
        };
        assert_eq!(served_text(&served, output), "\u{2717} k1 EXTERNAL: refused");
        let report = RenewReport {
            cluster: "demo".parse().unwrap(),
            dry_run: true,
            certificates: vec![Renewed {
                certificate: "k1.listener".to_owned(),
                way: Way::Reload,
                node: Some("demo-kafka-1".parse().unwrap()),
                old_serial: Some("0a".to_owned()),
                new_serial: None,
            }],
            listeners: Vec::new(),
            restarted: Vec::new(),
            millis: 1,
        };
        let text = renew_text(&report, output);
        assert!(
            text.contains("demo-kafka-1 reloads") && text.contains("1 certificate would be renewed"),
            "{text}"
        );
    }
}
