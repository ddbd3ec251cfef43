//! Blows to single nodes, for tests of one's own service: kill, pause, resume, cut, heal.

use serde::Serialize;

use super::{OpsError, chosen};
use crate::lifecycle::StepError;
use crate::lifecycle::cluster::Cluster;
use crate::lifecycle::commands::Selection;
use crate::names::{ClusterName, NodeName};
use crate::runtime::process::Blow;

/// What became of one node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct StruckNode {
    /// The node.
    pub node: NodeName,
    /// `killed`, `paused`, `resumed`, `cut off`, `back`, `not running`; with `would be ` before it in a dry run.
    pub outcome: String,
}

/// What was done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct StrikeReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it was only said.
    pub dry_run: bool,
    /// Each node that was named.
    pub nodes: Vec<StruckNode>,
}

/// Does something to nodes, which must be named. Takes the cluster's lock, so that no `up` mends at the same
/// time what is broken here.
///
/// # Errors
/// When there is no such cluster or node, or a process cannot be signalled.
pub fn strike(
    selection: &Selection,
    names: &[String],
    blow: Blow,
    dry_run: bool,
) -> Result<StrikeReport, OpsError> {
    let cluster = Cluster::existing(&selection.root, selection.name.as_ref())?;
    let nodes = chosen(&cluster, names)?;
    let _lock = if dry_run { None } else { Some(cluster.dir.lock(command(blow))?) };
    let runtime = cluster.runtime();
    let mut report = StrikeReport {
        cluster: cluster.plan.cluster.clone(),
        dry_run,
        nodes: Vec::with_capacity(nodes.len()),
    };
    for node in nodes {
        let runs = if dry_run {
            runtime.observe(node).is_running()
        } else {
            runtime.send(node, blow).map_err(StepError::from)?
        };
        let outcome = match (runs, dry_run) {
            (false, _) => "not running".to_owned(),
            (true, false) => done(blow).to_owned(),
            (true, true) => ["would be ", done(blow)].concat(),
        };
        report.nodes.push(StruckNode { node: node.name.clone(), outcome });
    }
    Ok(report)
}

/// Cuts nodes off from all others, or lets them back; all of them where none is named.
///
/// # Errors
/// When there is no such cluster or node, its nodes are no containers, or the engine refuses.
pub fn set_cut(
    selection: &Selection,
    names: &[String],
    cut: bool,
    dry_run: bool,
) -> Result<StrikeReport, OpsError> {
    let (command, done) = if cut { ("cluster cut", "cut off") } else { ("cluster heal", "back") };
    let cluster = Cluster::existing(&selection.root, selection.name.as_ref())?;
    let nodes = chosen(&cluster, names)?;
    let _lock = if dry_run { None } else { Some(cluster.dir.lock(command)?) };
    let runtime = cluster.runtime();
    let mut struck = Vec::with_capacity(nodes.len());
    for node in nodes {
        let runs = if dry_run {
            runtime.can_cut(node).map_err(StepError::from)?;
            runtime.observe(node).is_running()
        } else {
            runtime.set_cut(node, cut).map_err(StepError::from)?
        };
        let outcome = match (runs, dry_run) {
            (false, _) => "not running".to_owned(),
            (true, false) => done.to_owned(),
            (true, true) => ["would be ", done].concat(),
        };
        struck.push(StruckNode { node: node.name.clone(), outcome });
    }
    Ok(StrikeReport { cluster: cluster.plan.cluster.clone(), dry_run, nodes: struck })
}

fn command(blow: Blow) -> &'static str {
    match blow {
        Blow::Kill => "cluster kill",
        Blow::Pause => "cluster pause",
        Blow::Resume => "cluster resume",
    }
}

fn done(blow: Blow) -> &'static str {
    match blow {
        Blow::Kill => "killed",
        Blow::Pause => "paused",
        Blow::Resume => "resumed",
    }
}
