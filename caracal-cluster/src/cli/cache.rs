//! `cache`: what can be typed, what is called, how it reads.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::args::{KindArgs, Reporting, Target};
use super::exit;
use super::output::{Paint, Tone};
use crate::distribution::StartCache;
use crate::lifecycle::start_caches::{CleanReport, ListedCaches, StartCachesReport};

/// Start-up caches of the nodes' JVMs.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum CacheCommand {
    /// Make the start-up caches that a cluster's nodes would start with
    ///
    /// `up` does this by itself, in the background, once it has brought up a cluster whose nodes had none. A small cluster
    /// of the same kinds of nodes runs for it and is deleted again: some 30 s of two processors and 1.6 GB of memory.
    /// What is there already is not made again. Clusters of any name and state directory share the caches, and nodes
    /// that run are not touched.
    ///
    /// Examples:
    ///     cargo xtask cache make
    ///     cargo xtask cache make --profile minimal
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Make(MakeCacheArgs),
    /// Show the start-up caches that are there
    ///
    /// Changes nothing.
    ///
    /// Example:
    ///     cargo xtask cache list
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    List(ListCacheArgs),
    /// Delete every start-up cache
    ///
    /// Nodes that run are not touched, downloads stay; the next `up` makes new ones.
    ///
    /// Examples:
    ///     cargo xtask cache clean
    ///     cargo xtask cache clean --dry-run
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Clean(CleanCacheArgs),
}

/// Arguments of `cache make`.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct MakeCacheArgs {
    /// For the nodes of which cluster; it need not be there.
    #[command(flatten)]
    pub target: Target,
    /// What it says instead of the description.
    #[command(flatten)]
    pub kind: KindArgs,
    /// Say what is missing and make nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Give way to every other program.
    #[arg(long, hide = true)]
    pub background: bool,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// Arguments of `cache list`.
#[derive(Args, Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ListCacheArgs {
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// Arguments of `cache clean`.
#[derive(Args, Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CleanCacheArgs {
    /// Say what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// What `cache make` shows.
pub(super) fn made(report: &StartCachesReport, paint: Paint) -> String {
    if report.dry_run {
        let missing: String = report.missing.iter().map(|name| format!("\n  {name}")).collect();
        return match report.missing.len() {
            0 => "every start-up cache is there".to_owned(),
            _ => format!("would be made:{missing}"),
        };
    }
    let head = match report.made {
        0 => "every start-up cache is there; nothing was made".to_owned(),
        made => {
            format!("{made} start-up caches made ({}.{} s)", report.millis / 1000, report.millis % 1000 / 100)
        }
    };
    format!("{}{}", paint.paint(Tone::Bold, &head), lines(&report.caches))
}

/// What `cache list` shows.
pub(super) fn listed(report: &ListedCaches) -> String {
    match report.caches.len() {
        0 => "there are no start-up caches; the next `up` makes them, or `cargo xtask cache make`".to_owned(),
        _ => format!("start-up caches in {}{}", report.directory.display(), lines(&report.caches)),
    }
}

/// What `cache clean` shows.
pub(super) fn cleaned(report: &CleanReport) -> String {
    let would = if report.dry_run { "would be deleted" } else { "deleted" };
    format!("{} start-up caches {would}{}", report.caches.len(), lines(&report.caches))
}

fn lines(caches: &[StartCache]) -> String {
    let mut text = String::new();
    for cache in caches {
        let name = cache.path.file_name().unwrap_or_default().to_string_lossy();
        let _ = write!(text, "\n  {:>4} MB  {name}", cache.bytes / 1_000_000);
    }
    text
}
