//! `doctor` and `doctor connect`.

use std::path::PathBuf;
use std::process::ExitCode;

use caracal_kafka_contract::profile::{ConnectionProfile, Mechanism as ProfileMechanism};
use caracal_scram::Mechanism;
use clap::{Args, Subcommand};
use secrecy::SecretString;

use super::super::output::{Output, Tone, wrap_indented};
use super::super::{complete, exit};
use super::shown::seconds;
use super::{Call, Common, Failure, ended};
use crate::lifecycle::chain;
use crate::ops::doctor::connect::{ConnectReport, Verdict, Visitor, connect};
use crate::ops::doctor::{self, DoctorReport, Finding, Level};
use crate::ops::{OpsError, planned_at};
use crate::wire::{Login, TlsConfig, TlsIdentity};

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
#[command(args_conflicts_with_subcommands = true)]
pub struct DoctorArgs {
    /// Look at an address instead of the machine
    #[command(subcommand)]
    pub command: Option<DoctorCommand>,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// What else can be looked at.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum DoctorCommand {
    /// Say what listens at an address, what it shows, and whether a user gets in
    ///
    /// Tells a closed port from a silent one, Kafka or ZooKeeper without TLS, HTTP, TLS: its versions (old ones too),
    /// chain, names, days left, whether a client certificate is demanded. With --user or --profile it also tries to
    /// get in, and says why not and what to do. Sends nothing secret to anybody whose certificate was not checked.
    /// Changes nothing. Exits with 10 when nobody (or somebody else) listens there, with 12 when user name, password
    /// or mechanism was refused, with 13 when a certificate or the handshake was.
    ///
    /// Examples:
    ///     cargo xtask doctor connect localhost:9093
    ///     cargo xtask doctor connect localhost:9093 --user consumer
    ///     cargo xtask doctor connect kafka.example.com:9093 --profile ./profile.toml
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Connect(ConnectArgs),
}

/// Arguments of `doctor connect`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct ConnectArgs {
    /// The address
    #[arg(value_name = "HOST:PORT")]
    pub address: String,
    /// Try to get in as this user of the cluster
    #[arg(long, value_name = "USER", conflicts_with = "profile", add = complete::users())]
    pub user: Option<String>,
    /// Try to get in as a connection profile says (`clients/<user>/profile.toml`)
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

pub(super) async fn run(args: &DoctorArgs) -> ExitCode {
    if let Some(DoctorCommand::Connect(args)) = &args.command {
        let call = Call::new("doctor connect", &args.common);
        return ended(&call, connected(&call, args)).await;
    }
    let call = Call::new("doctor", &args.common);
    ended(&call, examined(&call)).await
}

async fn examined(call: &Call) -> Result<u8, Failure> {
    let report = doctor::examine(&call.selection()?).await;
    call.report(&report, || machine_text(&report, call.output))?;
    Ok(if report.worst == Level::Fail { exit::MACHINE } else { exit::OK })
}

async fn connected(call: &Call, args: &ConnectArgs) -> Result<u8, Failure> {
    if !args.address.contains(':') {
        let message = format!("`{}` names no port: write HOST:PORT", args.address);
        return Err(Failure::Said { message, code: exit::USAGE });
    }
    let visitor = visitor(call, args)?;
    let planned = planned_at(&call.target.root()?, &args.address);
    let report = connect(&args.address, planned, visitor.as_ref()).await;
    call.report(&report, || connect_text(&report, call.output))?;
    Ok(match report.verdict {
        Verdict::Ok => exit::OK,
        Verdict::Unreachable => exit::UNHEALTHY,
        Verdict::Authentication => exit::AUTHENTICATION,
        Verdict::Tls => exit::TLS,
    })
}

fn visitor(call: &Call, args: &ConnectArgs) -> Result<Option<Visitor>, Failure> {
    if let Some(path) = &args.profile {
        return Ok(Some(of_profile(path)?));
    }
    let Some(name) = &args.user else { return Ok(None) };
    let operated = call.operated()?;
    let plan = &operated.cluster().plan;
    let known = || plan.users.iter().map(|user| user.name.as_str());
    let user = plan.user(name).ok_or_else(|| OpsError::no_such("user", name, known()))?;
    let access = operated.access();
    Ok(Some(Visitor { tls: access.user_tls(user)?, login: access.login(user)? }))
}

/// Somebody by a profile's files; none of what they hold is ever shown.
fn of_profile(path: &PathBuf) -> Result<Visitor, OpsError> {
    let unusable =
        |path: &std::path::Path, why: String| OpsError::Unusable { path: path.display().to_string(), why };
    let profile = ConnectionProfile::load(path).map_err(|error| unusable(path, chain(&error)))?;
    let read =
        |path: PathBuf| std::fs::read_to_string(&path).map_err(|error| unusable(&path, error.to_string()));
    let identity = TlsIdentity {
        ca_pem: read(profile.ca_file())?,
        chain_pem: read(profile.certificate_file())?,
        key_pem: SecretString::from(read(profile.key_file())?),
    };
    let tls = TlsConfig::mutual(&identity).map_err(|error| unusable(path, chain(&error)))?;
    let password = read(profile.password_file())?;
    let password = SecretString::from(password.strip_suffix('\n').unwrap_or(&password).to_owned());
    let mechanism = match profile.kafka.sasl.mechanism {
        ProfileMechanism::ScramSha256 => Mechanism::ScramSha256,
        _ => Mechanism::ScramSha512,
    };
    Ok(Visitor {
        tls,
        login: Login::new(profile.kafka.sasl.username.clone(), password).with_mechanism(mechanism),
    })
}

fn machine_text(report: &DoctorReport, output: Output) -> String {
    let count = |level: Level| report.findings.iter().filter(|finding| finding.level == level).count();
    let sum = format!(
        "{} ok, {} to look at, {} failed ({})",
        count(Level::Ok),
        count(Level::Warn),
        count(Level::Fail),
        seconds(report.millis)
    );
    format!("{}\n\n{}", lines(&report.findings, output), output.paint.paint(tone(report.worst), &sum))
}

fn connect_text(report: &ConnectReport, output: Output) -> String {
    let mut head = report.target.clone();
    if let Some(address) = report.address.filter(|address| address.to_string() != report.target) {
        head = format!("{head} ({address})");
    }
    if let Some(planned) = &report.planned {
        head = format!("{head}: planned for {planned}");
    }
    let sum = match (report.verdict, report.let_in) {
        (Verdict::Ok, Some(true)) => format!("{} gets in", report.user.as_deref().unwrap_or_default()),
        (Verdict::Ok, _) => "nothing is wrong as far as a stranger can see".to_owned(),
        (Verdict::Unreachable, _) => "there is nobody to talk to".to_owned(),
        (Verdict::Authentication, _) => "the log-in was refused".to_owned(),
        (Verdict::Tls, _) => "TLS keeps it from working".to_owned(),
    };
    let sum = format!("{sum} ({})", seconds(report.millis));
    format!(
        "{}\n{}\n\n{}",
        output.paint.paint(Tone::Bold, &head),
        lines(&report.findings, output),
        output.paint.paint(tone(report.worst()), &sum)
    )
}

/// A finding a line, what to do below it.
fn lines(findings: &[Finding], output: Output) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let line = |finding: &Finding| {
        let level = output.paint.paint(tone(finding.level), &format!("{:<4}", finding.level.label()));
        let mut text =
            wrap_indented(&format!("{level}  {:<width$}  {}", finding.check, finding.seen), output.width);
        if let Some(next) = &finding.next {
            let next = wrap_indented(&format!("      next: {next}"), output.width);
            text.push_str(&["\n", &next].concat());
        }
        text
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn tone(level: Level) -> Tone {
    match level {
        Level::Ok => Tone::Good,
        Level::Warn => Tone::Warn,
        Level::Fail => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::output::{Paint, columns};
    use super::*;

    fn finding(level: Level, next: Option<&str>) -> Finding {
        let next = next.map(str::to_owned);
        Finding {
            check: "java",
            level,
            seen: "Java 25 from a folder with a rather long name".to_owned(),
            next,
        }
    }

    #[test]
    fn findings_read_with_their_next_step_at_any_width() {
        let report = DoctorReport {
            cluster: "demo".parse().unwrap(),
            worst: Level::Fail,
            findings: vec![
                finding(Level::Ok, None),
                finding(Level::Fail, Some("install a newer one of them, please")),
            ],
            millis: 20,
        };
        let output = |width| Output { json: false, paint: Paint(false), terminal: true, width };
        let wide = machine_text(&report, output(None));
        assert!(wide.starts_with("ok    java  Java 25") && wide.contains("\n      next: install"), "{wide}");
        assert!(wide.ends_with("1 ok, 0 to look at, 1 failed (0.0 s)"), "{wide}");
        let narrow = machine_text(&report, output(Some(40)));
        assert!(narrow.lines().all(|line| columns(line) <= 40), "{narrow}");
    }
}
