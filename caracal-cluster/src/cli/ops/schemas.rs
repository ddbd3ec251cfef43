//! `schemas list`, `show`, `register`, `check`, `compatibility get`, `compatibility set`.

use std::path::PathBuf;
use std::process::ExitCode;

use caracal_kafka_contract::schema::Mode;
use clap::{Args, Subcommand};

use super::super::exit;
use super::super::output::{Output, Tone};
use super::facts::FactArgs;
use super::shown::{Grid, count, seconds};
use super::{Call, Common, Failure, ended};
use crate::ops::schemas::{
    self, Against, Check, CheckReport, CheckedSchema, LevelReport, RegisterReport, ShownSchema, State,
    SubjectsReport,
};

/// What can be done with schemas.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum SchemasCommand {
    /// Show every subject: versions, record, compatibility
    ///
    /// Changes nothing.
    ///
    /// Example:
    ///     cargo xtask schemas list
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    List(FactArgs),
    /// Show a schema
    ///
    /// Prints the latest version, or the one that is named, as JSON text. Changes nothing.
    ///
    /// Example:
    ///     cargo xtask schemas show caracal.metering.events-value > metering-event.avsc
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Show(ShowSchemaArgs),
    /// Register a schema as a subject's next version
    ///
    /// Changes: the subject gets a version, which stays. It is first checked here against the versions that are
    /// there, at the subject's level, and refused with every place that does not get along. A schema that the
    /// subject has already keeps its id.
    ///
    /// Examples:
    ///     cargo xtask schemas register caracal.metering.events-value metering-event.avsc --dry-run
    ///     cargo xtask schemas register caracal.metering.events-value metering-event.avsc
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Register(RegisterSchemaArgs),
    /// Check schema files against git, a folder or the registry
    ///
    /// With --base or --folder no cluster and no registry is needed. Without either it asks the registry. Each
    /// place that does not get along is named with its rule and what to do. Exits with 10 when a schema may not
    /// follow its older versions. Changes nothing.
    ///
    /// Examples:
    ///     cargo xtask schemas check caracal-kafka-client/contract/schemas --base origin/main
    ///     cargo xtask schemas check metering-event.avsc --folder released/ --mode FULL
    ///     cargo xtask schemas check caracal-kafka-client/contract/schemas --registry
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Check(CheckSchemasArgs),
    /// Look at compatibility levels, or set them
    #[command(subcommand, after_help = exit::HELP)]
    Compatibility(CompatibilityCommand),
}

/// What can be done with compatibility levels.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum CompatibilityCommand {
    /// Show the level of a subject, or the cluster-wide one
    ///
    /// Changes nothing.
    ///
    /// Example:
    ///     cargo xtask schemas compatibility get caracal.metering.events-value
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Get(GetLevelArgs),
    /// Set the level of a subject, or the cluster-wide one
    ///
    /// Changes which schemas the registry takes from then on; registered ones stay. `cluster up` sets the
    /// cluster-wide level to the description's again.
    ///
    /// Example:
    ///     cargo xtask schemas compatibility set FULL_TRANSITIVE --subject caracal.metering.events-value
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Set(SetLevelArgs),
}

/// Arguments of `schemas show`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct ShowSchemaArgs {
    /// Which subject
    #[arg(value_name = "SUBJECT")]
    pub subject: String,
    /// Which version [default: the latest]
    #[arg(long, value_name = "N")]
    pub version: Option<i32>,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `schemas register`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct RegisterSchemaArgs {
    /// Which subject
    #[arg(value_name = "SUBJECT")]
    pub subject: String,
    /// The schema
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Only say whether it would be taken
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `schemas check`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct CheckSchemasArgs {
    /// Schema files, or folders with `.avsc` files
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Compare with the same files at this revision of git's
    #[arg(long, value_name = "REVISION")]
    pub base: Option<String>,
    /// Compare with the files of the same names in this folder
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Compare with the registry's versions; so without --base and --folder
    #[arg(long)]
    pub registry: bool,
    /// BACKWARD, FORWARD or FULL, each also with _TRANSITIVE, or NONE
    /// [default: BACKWARD; with the registry each subject's level]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<Mode>,
    /// The subject in the registry [default: the one whose record it is, by the cluster's description]
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `schemas compatibility get`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct GetLevelArgs {
    /// Which subject [default: the cluster-wide level]
    #[arg(value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `schemas compatibility set`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct SetLevelArgs {
    /// BACKWARD, FORWARD or FULL, each also with _TRANSITIVE, or NONE
    #[arg(value_name = "LEVEL")]
    pub level: Mode,
    /// Which subject [default: the cluster-wide level]
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

pub(super) async fn run(command: SchemasCommand) -> ExitCode {
    match command {
        SchemasCommand::List(args) => {
            let call = Call::new("schemas list", &args.common);
            let listed = async {
                let report = schemas::list(&call.operated()?).await?;
                call.report(&report, || list_text(&report, call.output))
            };
            ended(&call, listed).await
        }
        SchemasCommand::Show(args) => {
            let call = Call::new("schemas show", &args.common);
            let shown = async {
                let report = schemas::show(&call.operated()?, &args.subject, args.version).await?;
                call.report(&report, || schema_text(&report))
            };
            ended(&call, shown).await
        }
        SchemasCommand::Register(args) => {
            let call = Call::new("schemas register", &args.common);
            let registered = async {
                let text = schemas::schema_file(&args.file)?;
                let report =
                    schemas::register(&call.selection()?, &args.subject, &text, args.dry_run).await?;
                call.report(&report, || registered_text(&report))
            };
            ended(&call, registered).await
        }
        SchemasCommand::Check(args) => {
            let call = Call::new("schemas check", &args.common);
            ended(&call, checked(&call, args)).await
        }
        SchemasCommand::Compatibility(command) => level(command).await,
    }
}

async fn level(command: CompatibilityCommand) -> ExitCode {
    match command {
        CompatibilityCommand::Get(args) => {
            let call = Call::new("schemas compatibility get", &args.common);
            let got = async {
                let report = schemas::level(&call.operated()?, args.subject.as_deref()).await?;
                call.report(&report, || report.level.clone())
            };
            ended(&call, got).await
        }
        CompatibilityCommand::Set(args) => {
            let call = Call::new("schemas compatibility set", &args.common);
            let set = async {
                let subject = args.subject.as_deref();
                let report =
                    schemas::set_level(&call.selection()?, subject, args.level, args.dry_run).await?;
                call.report(&report, || level_text(&report))
            };
            ended(&call, set).await
        }
    }
}

async fn checked(call: &Call, args: CheckSchemasArgs) -> Result<u8, Failure> {
    let mut against: Vec<Against> = args.base.map(Against::Git).into_iter().collect();
    against.extend(args.folder.map(Against::Folder));
    if args.registry || against.is_empty() {
        against.push(Against::Registry);
    }
    let check = Check { paths: args.paths, against, mode: args.mode, subject: args.subject };
    let selection = call.selection()?;
    let report = schemas::check(&check, || crate::ops::Operated::open(&selection)).await?;
    call.report(&report, || check_text(&report, call.output))?;
    Ok(if report.ok { exit::OK } else { exit::UNHEALTHY })
}

fn list_text(report: &SubjectsReport, output: Output) -> String {
    let rows = report.subjects.iter().map(|subject| {
        let versions: Vec<String> = subject.versions.iter().map(ToString::to_string).collect();
        vec![
            subject.subject.clone(),
            versions.join(","),
            subject.id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            subject.record.clone().unwrap_or_else(|| "-".to_owned()),
            if subject.own_level { subject.compatibility.clone() } else { String::new() },
        ]
    });
    let head = &["SUBJECT", "VERSIONS", "ID", "RECORD", "OWN LEVEL"];
    let table = Grid { head, rows: rows.collect(), numbers: &[2], spare: &[3, 4] }.text(output);
    let subjects = count(report.subjects.len(), "subject");
    format!("{table}\n\n{subjects}, cluster-wide level {} ({})", report.compatibility, seconds(report.millis))
}

/// The schema alone, so that it may be redirected into a file.
fn schema_text(report: &ShownSchema) -> String {
    let parsed = serde_json::from_str::<serde_json::Value>(&report.schema);
    let pretty = parsed.and_then(|value| serde_json::to_string_pretty(&value));
    pretty.unwrap_or_else(|_| report.schema.clone())
}

fn registered_text(report: &RegisterReport) -> String {
    let number = |value: Option<i32>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    match (report.outcome, report.dry_run, report.id) {
        ("registered", true, _) => format!("{}: would be registered", report.subject),
        (outcome, _, id) => {
            format!("{}: {outcome}, version {}, id {}", report.subject, number(report.version), number(id))
        }
    }
}

fn level_text(report: &LevelReport) -> String {
    let whose = report.subject.as_deref().unwrap_or("cluster-wide");
    let would = if report.dry_run { "would be set: " } else { "" };
    format!("{whose}: {would}{} -> {}", report.before, report.level)
}

fn check_text(report: &CheckReport, output: Output) -> String {
    let mut lines = Vec::new();
    for checked in &report.schemas {
        lines.push(line(checked, output));
        lines.extend(checked.findings.iter().map(|finding| format!("  - {}", finding.text)));
    }
    let bad = |checked: &&CheckedSchema| matches!(checked.state, State::Incompatible | State::Invalid);
    let bad = report.schemas.iter().filter(bad).count();
    let verdict = if report.ok { "all may follow".to_owned() } else { format!("{bad} may not follow") };
    lines.push(format!("\n{}: {verdict} ({})", count(report.schemas.len(), "check"), seconds(report.millis)));
    lines.join("\n")
}

fn line(checked: &CheckedSchema, output: Output) -> String {
    let (tone, said) = match checked.state {
        State::Compatible => (Tone::Good, "compatible"),
        State::Unchanged => (Tone::Good, "unchanged"),
        State::New => (Tone::Good, "new"),
        State::Removed => (Tone::Warn, "is not there any more"),
        State::Incompatible => (Tone::Bad, "incompatible"),
        State::Invalid => (Tone::Bad, "not a schema"),
    };
    let subject = checked.subject.as_ref().map(|subject| format!(", {subject}")).unwrap_or_default();
    let against = format!("({}{subject}, {})", checked.against, checked.mode);
    format!("{}: {} {against}", checked.file, output.paint.paint(tone, said))
}

#[cfg(test)]
mod tests {
    use super::super::super::output::Paint;
    use super::*;

    #[test]
    fn findings_stand_below_their_schema() {
        let output = Output { json: false, paint: Paint(false), terminal: false, width: None };
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::create_dir_all(files.path().join(name).parent().unwrap()).unwrap();
            caracal_pki::store::write_private(&files.path().join(name), text.as_bytes()).unwrap();
        };
        write("old/r.avsc", r#"{"type":"record","name":"R","fields":[]}"#);
        write("new/r.avsc", r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#);
        let check = Check {
            paths: vec![files.path().join("new")],
            against: vec![Against::Folder(files.path().join("old"))],
            mode: Some(Mode::Full),
            subject: None,
        };
        let no_cluster = || Err(crate::ops::OpsError::Refused { why: "none".to_owned() });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let report = runtime.block_on(schemas::check(&check, no_cluster)).unwrap();
        let text = check_text(&report, output);
        assert!(text.contains("new/r.avsc: incompatible (") && text.contains("\n  - READER_FIELD"), "{text}");
        assert!(text.contains("1 check: 1 may not follow"), "{text}");
    }
}
