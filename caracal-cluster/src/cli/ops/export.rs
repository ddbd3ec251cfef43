//! `export`: files for programs of others.

use std::path::PathBuf;
use std::process::ExitCode;

use caracal_pki::store;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::super::exit;
use super::{Call, Common, Failure, ended};
use crate::names::ClusterName;
use crate::ops::{OpsError, grafana, metrics};

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
    }
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
