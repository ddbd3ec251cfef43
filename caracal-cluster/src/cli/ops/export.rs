//! `export`: files for programs of others.

use std::path::PathBuf;
use std::process::ExitCode;

use caracal_pki::store;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::super::args::{KindArgs, PlaceArgs, PortsChoice, Reporting, Target};
use super::super::exit;
use super::{Call, Common, Failure, ended};
use crate::export::compose::write;
use crate::names::ClusterName;
use crate::ops::{OpsError, grafana, metrics};
use crate::spec::Subnet;

/// What can be exported.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum ExportCommand {
    /// Write a Grafana dashboard and Prometheus' scrape configuration
    ///
    /// Changes: writes `caracal-kafka.dashboard.json` and `prometheus.yml` into a folder of yours, replacing those of
    /// that name; nothing of the cluster. Every metric that the dashboard asks for is served by a cluster whose
    /// description has `[metrics] enabled = true`. With --dry-run nothing is written.
    ///
    /// Examples:
    ///     cargo xtask export grafana --to monitoring
    ///     prometheus --config.file=monitoring/prometheus.yml
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Grafana(GrafanaArgs),
    /// Write a folder that `docker compose up -d --wait` runs
    ///
    /// Writes `docker-compose.yml` with all that it mounts: the same nodes as those of `cluster up --runtime docker`, with
    /// authorities and passwords of their own, never those of a cluster that runs here. Services that end by
    /// themselves give users and access rules to ZooKeeper, or to KRaft's controllers as their first data, before the
    /// brokers start, then make topics and schemas, so everything is there when `up --wait` returns. The folder is a
    /// state directory: `verify`, `health`, `users` and the others work on it with --state-dir.
    ///
    /// After `users add` or `users set-password` on it export again: until then `docker compose down -v` and `up` begin with
    /// the users and passwords of before. With KRaft users and access rules are written once, when a volume is new: what
    /// the description gains later is made by `users add` and `acls add`.
    ///
    /// Changes: the folder. One that is an export already is brought up to date and keeps its authorities and
    /// passwords; one with other files is refused, unless --force. With --dry-run nothing is written, and the
    /// document is printed. Needs neither Java nor Docker; for `[metrics] enabled = true` the agent, which Maven
    /// fetches when it is not in the cache.
    ///
    /// Examples:
    ///     cargo xtask export compose --output caracal-compose
    ///     cargo xtask export compose --metadata kraft --output kraft-compose
    ///     cargo xtask export compose --output ci --profile minimal --images local-apache --dry-run
    ///     cargo xtask verify --state-dir caracal-compose
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Compose(ComposeArgs),
}

/// Arguments of `export compose`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct ComposeArgs {
    /// The folder; made when it is not there
    #[arg(long, value_name = "DIR", default_value = "caracal-compose")]
    pub output: PathBuf,
    /// The cluster's name [default: caracal]; only `caracal` uses the well-known ports
    #[arg(long, value_name = "NAME")]
    pub name: Option<ClusterName>,
    /// A description of the cluster; unset keys have the default's values
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    /// What it says instead of the description.
    #[command(flatten)]
    pub kind: KindArgs,
    /// Images: confluent, apache, local, local-apache, or the name of one [default: confluent]
    #[arg(long, value_name = "IMAGES")]
    pub images: Option<String>,
    /// Addresses of its network [default: 172.29.0.0/16 for caracal, else a free one]
    #[arg(long, value_name = "SUBNET")]
    pub subnet: Option<Subnet>,
    /// Which ports: the well-known ones, or free ones [default: guide for caracal, else auto]
    #[arg(long, value_name = "PORTS", value_enum)]
    pub ports: Option<PortsChoice>,
    /// Take a folder that is not empty and no export
    #[arg(long)]
    pub force: bool,
    /// Only print the document; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// Arguments of `export grafana`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct GrafanaArgs {
    /// The folder; made when it is not there
    #[arg(long, value_name = "DIR", default_value = "caracal-grafana")]
    pub to: PathBuf,
    /// Only say what would be written
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// What was written.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ExportReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The files.
    pub files: Vec<PathBuf>,
    /// Whether they were written.
    pub written: bool,
}

pub(super) async fn run(command: &ExportCommand) -> ExitCode {
    match command {
        ExportCommand::Grafana(args) => {
            let call = Call::new("export grafana", &args.common);
            ended(&call, async { exported(&call, args) }).await
        }
        ExportCommand::Compose(args) => {
            let target = Target { name: args.name.clone(), state_dir: Some(args.output.clone()) };
            let call = Call::new("export compose", &Common { target, reporting: args.reporting });
            ended(&call, composed(&call, args)).await
        }
    }
}

async fn composed(call: &Call, args: &ComposeArgs) -> Result<u8, Failure> {
    let place = PlaceArgs {
        images: args.images.clone(),
        subnet: args.subnet,
        ports: args.ports,
        ..PlaceArgs::default()
    };
    let wanted = write::Wanted {
        folder: &args.output,
        name: args.name.as_ref(),
        spec_file: args.spec.as_deref(),
        overrides: place.over(args.kind.overrides()),
        force: args.force,
        dry_run: args.dry_run,
    };
    let report = write::write(&wanted).await?;
    call.report(&report, || match &report.document {
        Some(document) => document.trim_end().to_owned(),
        None => format!(
            "{}: {}\nimages: {}\n\nstart:  cd {} && docker compose up -d --wait\nprove:  {}",
            if report.existed { "brought up to date" } else { "written" },
            report.folder.display(),
            report.images.join(", "),
            args.output.display(),
            call.command("verify")
        ),
    })
}

fn exported(call: &Call, args: &GrafanaArgs) -> Result<u8, Failure> {
    let operated = call.operated()?;
    // Refuses a cluster that serves no metrics.
    metrics::Looker::new(&operated, &[])?;
    let plan = &operated.cluster().plan;
    let files = [
        (args.to.join(grafana::DASHBOARD_FILE), format!("{:#}\n", grafana::dashboard())),
        (args.to.join(grafana::SCRAPE_FILE), grafana::scrape_configuration(plan)),
    ];
    if !args.dry_run {
        write(args, &files)?;
    }
    let report = ExportReport {
        cluster: plan.cluster.clone(),
        files: files.into_iter().map(|(path, _)| path).collect(),
        written: !args.dry_run,
    };
    call.report(&report, || {
        let doing = if report.written { "written" } else { "would be written" };
        let lines: Vec<String> =
            report.files.iter().map(|path| format!("{doing}: {}", path.display())).collect();
        lines.join("\n")
    })
}

fn write(args: &GrafanaArgs, files: &[(PathBuf, String)]) -> Result<(), Failure> {
    let refused = |path: &PathBuf, why: String| OpsError::Unusable { path: path.display().to_string(), why };
    std::fs::create_dir_all(&args.to).map_err(|error| refused(&args.to, error.to_string()))?;
    for (path, text) in files {
        store::write_public(path, text.as_bytes())
            .map_err(|error| refused(path, crate::lifecycle::chain(&error)))?;
    }
    Ok(())
}
