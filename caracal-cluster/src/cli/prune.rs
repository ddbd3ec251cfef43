//! `cluster prune`: what can be typed, how it reads.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::args::Reporting;
use crate::testing::Swept;

/// Arguments of `cluster prune`.
#[derive(Args, Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PruneArgs {
    /// Say what would be ended and removed
    #[arg(long)]
    pub dry_run: bool,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PruneReport {
    /// Whether it was only told.
    pub dry_run: bool,
    /// Each cluster that no test had any more.
    pub clusters: Vec<Swept>,
}

/// What `cluster prune` shows.
pub(super) fn pruned(report: &PruneReport) -> String {
    if report.clusters.is_empty() {
        return "no test has left a cluster".to_owned();
    }
    let would = if report.dry_run { "would be removed" } else { "removed" };
    let mut text = format!("{} clusters of tests that have ended {would}", report.clusters.len());
    for swept in &report.clusters {
        let nodes = swept.nodes.len();
        let _ = write!(text, "\n  {}  {nodes} nodes ran  {}", swept.cluster, swept.directory.display());
    }
    text
}
