//! The whole procedures behind the commands: what each one does, in its order, and nothing about how it
//! is shown. The command line, the tests' fixture and the benchmarks call the same functions.
//!
//! Whoever changes a cluster holds its lock from before the first write until the end. Looking
//! ([`ps`], [`list`], [`plan`]) takes no lock and changes nothing.

mod diff;
mod look;
mod preview;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use time::OffsetDateTime;

pub use self::diff::unified_diff;
pub use self::look::{Address, ClusterSummary, ListReport, NodeStatus, PsReport, list, ps};
pub use self::preview::{Change, FileChange, PlanReport, PlannedStep, Standing, plan};
use super::cluster::{self, Cluster, ClusterError, Described};
use super::down::{Remains, StopReport};
use super::engine::{self, EngineError, Reporter, Step, StepReport};
use super::error::StepError;
use super::start_caches::{self, CleanReport, ListedCaches, StartCacheError, StartCachesReport};
use super::world::ClusterWorld;
use crate::credentials::{Credentials, CredentialsError};
use crate::dir::{DirError, DirLock, StateRoot};
use crate::distribution::Cache;
use crate::names::{ClusterName, UserName};
use crate::ops::dashboard::snapshot::LastVerify;
use crate::plan::{ClusterPlan, Endpoints};
use crate::probe::matrix::{self, Cell, VerifyError, VerifyOptions, VerifyReport};
use crate::runtime::start_cache::Mode;
use crate::spec::Overrides;

/// Which cluster a command is about.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Selection {
    /// Where clusters are kept.
    pub root: StateRoot,
    /// Its name; none means `caracal`, or the name in the description.
    pub name: Option<ClusterName>,
    /// A file that describes it; none means the description it was made from, or the default.
    pub spec_file: Option<PathBuf>,
    /// What flags say instead of the description.
    pub overrides: Overrides,
    /// Whether nodes that are started use the start-up caches that are there.
    pub uses_start_caches: bool,
}

impl Selection {
    /// A cluster by its name, as it was described before.
    pub fn named(root: StateRoot, name: Option<ClusterName>) -> Self {
        Self { root, name, spec_file: None, overrides: Overrides::default(), uses_start_caches: true }
    }

    /// What describes the cluster.
    pub(crate) fn described(&self) -> Described<'_> {
        Described { file: self.spec_file.as_deref(), overrides: self.overrides.clone() }
    }

    /// The name that was given, or the default.
    pub fn wanted(&self) -> ClusterName {
        cluster::wanted_name(self.name.as_ref())
    }
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The cluster could not be resolved, locked, or deleted.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A step failed, or somebody interrupted it.
    #[error(transparent)]
    Engine(#[from] EngineError<StepError>),
    /// Nodes that could not be stopped; nothing was deleted.
    #[error("{} could not be stopped, so nothing was deleted:{}", count(nodes.len()), listed(nodes))]
    Stop {
        /// Each with its reason.
        nodes: Vec<String>,
    },
    /// There is nothing to prove.
    #[error("no node of cluster `{cluster}` runs, so there is nothing to prove; start it first")]
    NotRunning {
        /// The cluster.
        cluster: ClusterName,
    },
    /// The proof could not be begun.
    #[error(transparent)]
    Verify(Box<VerifyError>),
    /// Start-up caches could not be made.
    #[error(transparent)]
    StartCache(#[from] StartCacheError),
    /// A node could not be stopped or started.
    #[error(transparent)]
    Node(#[from] StepError),
    /// Somebody interrupted the stopping.
    #[error("interrupted while nodes were being stopped; those that are not stopped keep running")]
    Interrupted,
}

impl From<VerifyError> for CommandError {
    fn from(error: VerifyError) -> Self {
        Self::Verify(Box::new(error))
    }
}

impl From<DirError> for CommandError {
    fn from(error: DirError) -> Self {
        ClusterError::from(error).into()
    }
}

fn count(nodes: usize) -> String {
    if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") }
}

fn listed(nodes: &[String]) -> String {
    nodes.iter().map(|node| format!("\n  - {node}")).collect()
}

/// The files of one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientFolder {
    /// The user.
    pub user: UserName,
    /// Its folder.
    pub path: PathBuf,
}

/// What `up`, `start` or `credentials` did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its directory.
    pub directory: PathBuf,
    /// Where its nodes run.
    pub runtime: String,
    /// Whether it had been made before.
    pub existed: bool,
    /// Where clients find it.
    pub endpoints: Endpoints,
    /// The files of each user.
    pub clients: Vec<ClientFolder>,
    /// Every step, in order.
    pub steps: Vec<StepReport>,
    /// How long everything took.
    pub millis: u64,
}

/// What `stop` or `down` did, or would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DownReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its directory, which is gone when `deleted`.
    pub directory: PathBuf,
    /// Whether data, credentials and logs were deleted, or would be.
    pub deleted: bool,
    /// Whether it was only told and nothing was changed.
    pub dry_run: bool,
    /// Every node, in the order of stopping.
    pub nodes: Vec<StopReport>,
    /// How long everything took.
    pub millis: u64,
}

/// Makes a cluster as described, or brings it back to its description.
///
/// # Errors
/// [`CommandError`]; what was done until then stays, and the next `up` goes on from there.
pub async fn up(
    selection: &Selection,
    reporter: &Reporter,
    cancelled: impl Future<Output = ()>,
) -> Result<UpReport, CommandError> {
    let begun = Instant::now();
    let taken = take(selection, "cluster up")?;
    bring_up(taken, selection.uses_start_caches, begun, reporter, cancelled).await
}

/// Starts a cluster that has been made before.
///
/// # Errors
/// [`CommandError`]; [`ClusterError::Unknown`] when there is none.
pub async fn start(
    selection: &Selection,
    reporter: &Reporter,
    cancelled: impl Future<Output = ()>,
) -> Result<UpReport, CommandError> {
    let begun = Instant::now();
    Cluster::expect_made(&selection.root, selection.name.as_ref())?;
    let taken = take(selection, "cluster start")?;
    bring_up(taken, selection.uses_start_caches, begun, reporter, cancelled).await
}

/// The steps of [`credentials`].
pub const CREDENTIALS: [Step; 2] = [Step::Credentials, Step::Clients];

/// Step 1 of the guide alone: authorities, certificates, passwords, and the files of every client.
/// Starts nothing and needs no Java.
///
/// # Errors
/// [`CommandError`].
pub async fn credentials(
    selection: &Selection,
    reporter: &Reporter,
    cancelled: impl Future<Output = ()>,
) -> Result<UpReport, CommandError> {
    let begun = Instant::now();
    let (cluster, _lock) = take(selection, "credentials")?;
    let mut world = ClusterWorld::new(cluster, reporter.clone());
    let steps = engine::run(&mut world, &CREDENTIALS, reporter, cancelled).await?;
    Ok(report(world.cluster(), steps, begun))
}

/// What an outside authority was asked to sign, or had signed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct OutsideReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Where requests and answers lie.
    pub folder: PathBuf,
    /// Whether it was only told, and nothing was written.
    pub dry_run: bool,
    /// Whether certificates were taken; else requests were written.
    pub taken: bool,
    /// The certificates that are asked for, or were signed.
    pub certificates: Vec<String>,
}

/// Writes a certificate request for everything that an authority has to sign into a folder; the keys stay.
///
/// # Errors
/// [`CommandError`].
pub fn request(selection: &Selection, folder: &Path, dry_run: bool) -> Result<OutsideReport, CommandError> {
    with_credentials(selection, "credentials --request", dry_run, |credentials, plan| {
        if !dry_run {
            credentials.request(folder)?;
        }
        let certificates = plan.pki.certificates.iter().map(|certificate| certificate.id.clone()).collect();
        Ok(OutsideReport {
            cluster: plan.cluster.clone(),
            folder: folder.to_owned(),
            dry_run,
            taken: false,
            certificates,
        })
    })
}

/// Takes what an outside authority signed from a folder, when all of it fits.
///
/// # Errors
/// [`CommandError`]; nothing is changed then.
pub fn accept(selection: &Selection, folder: &Path, dry_run: bool) -> Result<OutsideReport, CommandError> {
    with_credentials(selection, "credentials --accept", dry_run, |credentials, plan| {
        let certificates = credentials.accept(folder, dry_run)?;
        Ok(OutsideReport {
            cluster: plan.cluster.clone(),
            folder: folder.to_owned(),
            dry_run,
            taken: true,
            certificates,
        })
    })
}

/// Works with the credentials of a cluster, under its lock unless nothing is to be changed.
fn with_credentials<T>(
    selection: &Selection,
    command: &str,
    only_look: bool,
    work: impl FnOnce(&Credentials<'_>, &ClusterPlan) -> Result<T, CredentialsError>,
) -> Result<T, CommandError> {
    let (cluster, _lock) = if only_look {
        let (root, name) = (&selection.root, selection.name.as_ref());
        (Cluster::for_looking(root, name, &selection.described())?, None)
    } else {
        let (cluster, lock) = take(selection, command)?;
        (cluster, Some(lock))
    };
    let credentials = Credentials::new(&cluster.dir, &cluster.plan, OffsetDateTime::now_utc());
    work(&credentials, &cluster.plan)
        .map_err(|source| EngineError::Step { step: Step::Credentials, source: source.into() }.into())
}

/// Stops every node and keeps everything, ports included.
///
/// # Errors
/// [`CommandError`].
pub async fn stop(
    selection: &Selection,
    told: &(dyn Fn(&StopReport) + Sync),
    cancelled: impl Future<Output = ()>,
) -> Result<DownReport, CommandError> {
    let begun = Instant::now();
    refuse_composed(selection)?;
    let (remains, _lock) = find(selection, "cluster stop")?;
    let nodes = stop_all(&remains, told, cancelled).await?;
    Ok(down_report(&remains, nodes, false, begun))
}

/// Stops every node and gives its ports back. Data, logs, authorities, passwords and client files stay,
/// unless `volumes` is set: then nothing stays.
///
/// Works on whatever is there, also when the description cannot be read or `up` was killed half-way.
///
/// # Errors
/// [`CommandError`]; nothing is deleted while a node still runs.
pub async fn down(
    selection: &Selection,
    volumes: bool,
    told: &(dyn Fn(&StopReport) + Sync),
    cancelled: impl Future<Output = ()>,
) -> Result<DownReport, CommandError> {
    let begun = Instant::now();
    if !volumes {
        refuse_composed(selection)?;
    }
    let (remains, lock) = find(selection, if volumes { "cluster down -v" } else { "cluster down" })?;
    if let Ok(cache) = Cache::discover() {
        start_caches::end_background(&cache, remains.cluster_ids()).await;
    }
    let nodes = stop_all(&remains, told, cancelled).await?;
    if volumes {
        remains.delete(lock)?;
    } else {
        remains.tidy()?;
    }
    Ok(down_report(&remains, nodes, volumes, begun))
}

/// What [`stop`] would do, or [`down`]; takes no lock and changes nothing.
///
/// # Errors
/// [`ClusterError::Unknown`] when there is nothing of such a cluster.
pub fn would_stop(selection: &Selection, volumes: bool) -> Result<DownReport, CommandError> {
    let begun = Instant::now();
    let remains = remains(selection)?;
    Ok(DownReport { dry_run: true, ..down_report(&remains, remains.would_stop(), volumes, begun) })
}

/// Proves, beyond what `up` proves, what each user may do and what everybody is refused. Takes no lock and
/// leaves the cluster as it was, but for its own scratch topics and events.
///
/// # Errors
/// When there is no such cluster, none of its nodes runs, or its credentials cannot be read. What is not as
/// it should be is no error but a cell of the report.
pub async fn verify(
    selection: &Selection,
    options: &VerifyOptions,
    told: &(dyn Fn(&Cell) + Sync),
) -> Result<VerifyReport, CommandError> {
    let cluster = Cluster::existing(&selection.root, selection.name.as_ref())?;
    let runtime = cluster.runtime();
    if !cluster.plan.nodes.iter().any(|node| runtime.observe(node).is_running()) {
        return Err(CommandError::NotRunning { cluster: cluster.plan.cluster });
    }
    let report = matrix::verify(&cluster, options, told).await?;
    // For the dashboard; a folder that cannot be written to makes no proof worse.
    let _ = cluster.dir.write_json(&cluster.dir.last_verify(), &LastVerify::of(&report));
    Ok(report)
}

/// Makes the start-up caches that nodes of this cluster would start with, where they are missing; the cluster
/// itself need not be there, and is not touched.
///
/// # Errors
/// [`CommandError`].
pub async fn make_start_caches(
    selection: &Selection,
    gives_way: bool,
    reporter: &Reporter,
    cancelled: impl Future<Output = ()>,
) -> Result<StartCachesReport, CommandError> {
    if gives_way {
        // Refused on some systems; then it is only less polite.
        let _ = rustix::process::setpriority_process(None, 19);
    }
    start_caches::make(&like(selection)?, reporter, cancelled).await
}

/// Which start-up caches [`make_start_caches`] would make.
///
/// # Errors
/// [`CommandError`].
pub async fn missing_start_caches(selection: &Selection) -> Result<StartCachesReport, CommandError> {
    Ok(start_caches::look_for(&like(selection)?).await)
}

/// Lets another process make the start-up caches that the nodes of a cluster have not got, and gives the file
/// that it writes into; none when nothing is missing, or somebody makes them already.
///
/// # Errors
/// [`CommandError`].
pub async fn make_start_caches_in_background(selection: &Selection) -> Result<Option<PathBuf>, CommandError> {
    Ok(start_caches::make_in_background(&like(selection)?).await?)
}

/// The start-up caches that are there.
///
/// # Errors
/// [`CommandError`] when no place for them is known.
pub fn start_caches() -> Result<ListedCaches, CommandError> {
    Ok(start_caches::list(&Cache::discover().map_err(ClusterError::from)?))
}

/// Deletes every start-up cache.
///
/// # Errors
/// [`CommandError`].
pub fn clean_start_caches(dry_run: bool) -> Result<CleanReport, CommandError> {
    let cache = Cache::discover().map_err(ClusterError::from)?;
    Ok(start_caches::clean(&cache, dry_run)?)
}

fn like(selection: &Selection) -> Result<Cluster, CommandError> {
    Ok(Cluster::for_looking(&selection.root, selection.name.as_ref(), &selection.described())?)
}

/// What is left of a cluster; what `down` would end.
///
/// # Errors
/// [`ClusterError::Unknown`] when there is nothing.
pub fn remains(selection: &Selection) -> Result<Remains, CommandError> {
    let name = selection.wanted();
    Remains::find(&selection.root, &name).ok_or_else(|| Cluster::unknown(&selection.root, &name).into())
}

/// Refuses what would take containers away from compose.
fn refuse_composed(selection: &Selection) -> Result<(), CommandError> {
    let dir = selection.root.cluster(&selection.wanted());
    if !dir.read_record()?.is_some_and(|record| record.composed) {
        return Ok(());
    }
    let folder = selection.root.path().display().to_string();
    Err(ClusterError::Composed { cluster: dir.cluster().to_string(), folder }.into())
}

fn take(selection: &Selection, command: &str) -> Result<(Cluster, DirLock), CommandError> {
    refuse_composed(selection)?;
    Ok(Cluster::for_change(&selection.root, selection.name.as_ref(), &selection.described(), command)?)
}

async fn bring_up(
    (cluster, _lock): (Cluster, DirLock),
    uses_caches: bool,
    begun: Instant,
    reporter: &Reporter,
    cancelled: impl Future<Output = ()>,
) -> Result<UpReport, CommandError> {
    let mut carried_out = cluster.clone();
    let mut world = ClusterWorld::new(cluster, reporter.clone());
    if !uses_caches {
        world = world.with_start_caches(Mode::Off);
    }
    let steps = Step::of(&carried_out.plan);
    let steps = engine::run(&mut world, &steps, reporter, cancelled).await?;
    start_caches::drop_refused(&world);
    carried_out.remember_carried_out()?;
    Ok(report(&carried_out, steps, begun))
}

/// What is there, under the lock: looked at again once it is held, because the holder before may have
/// changed or deleted it.
fn find(selection: &Selection, command: &str) -> Result<(Remains, DirLock), CommandError> {
    let lock = remains(selection)?.dir().lock(command)?;
    Ok((remains(selection)?, lock))
}

async fn stop_all(
    remains: &Remains,
    told: &(dyn Fn(&StopReport) + Sync),
    cancelled: impl Future<Output = ()>,
) -> Result<Vec<StopReport>, CommandError> {
    let nodes = tokio::select! {
        biased;
        () = cancelled => return Err(CommandError::Interrupted),
        nodes = remains.stop(told) => nodes,
    };
    let failed: Vec<String> =
        nodes.iter().filter_map(|node| Some(format!("{}: {}", node.node, node.error.as_ref()?))).collect();
    if failed.is_empty() { Ok(nodes) } else { Err(CommandError::Stop { nodes: failed }) }
}

fn report(cluster: &Cluster, steps: Vec<StepReport>, begun: Instant) -> UpReport {
    let users = cluster.plan.users.iter().filter(|user| user.certificate.is_some());
    UpReport {
        cluster: cluster.plan.cluster.clone(),
        directory: cluster.dir.path(),
        runtime: cluster.record.runtime.clone(),
        existed: cluster.existed,
        endpoints: cluster.plan.endpoints.clone(),
        clients: users
            .map(|user| ClientFolder { user: user.name.clone(), path: cluster.dir.client(&user.name) })
            .collect(),
        steps,
        millis: millis_since(begun),
    }
}

fn down_report(remains: &Remains, nodes: Vec<StopReport>, deleted: bool, begun: Instant) -> DownReport {
    DownReport {
        cluster: remains.dir().cluster().clone(),
        directory: remains.dir().path(),
        deleted,
        dry_run: false,
        nodes,
        millis: millis_since(begun),
    }
}

pub(super) fn millis_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
