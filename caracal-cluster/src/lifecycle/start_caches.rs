//! Making start-up caches: a small cluster of the same kinds of nodes runs once, and its JVMs write them.
//!
//! It lives in the cache of distributions, has leased ports, goes through every step of `up`, proof included,
//! and is deleted in the end. What it teaches a JVM is how a node of its kind starts and serves; nothing of
//! anybody's cluster gets into a cache. One process at a time makes them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use caracal_pki::store;
use serde::{Deserialize, Serialize};

use super::cluster::{Cluster, Described};
use super::commands::{CommandError, millis_since};
use super::down::{ORDER, Remains};
use super::engine::{self, EngineError, Event, Reporter, Step};
use super::error::chain;
use super::world::ClusterWorld;
use crate::dir::StateRoot;
use crate::distribution::{
    Artifact, Cache, Java, JavaPolicy, Making, Shelf, ShelfError, StartCache, find_or_fetched,
};
use crate::names::ClusterName;
use crate::plan::{ClusterPlan, NodePlan};
use crate::runtime::NodeState;
use crate::runtime::process::{self, log_tail};
use crate::runtime::start_cache::{Key, Mode, StartCaches, rejection};
use crate::spec::{ClusterSpec, Metadata};

/// The cluster that runs for the caches alone.
const NAME: &str = "training";

/// Brokers that it has at most: with two, one learns to follow.
const BROKERS: u16 = 2;

/// What is the matter with start-up caches.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartCacheError {
    /// Their folder.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// Somebody pressed Ctrl-C, or the cluster that they were made for was taken down.
    #[error("interrupted; what had been started for the start-up caches is removed, and none was made")]
    Interrupted,
    /// A JVM ended without writing its own.
    #[error("{node} ended without writing its start-up cache\n  {explanation}")]
    NotWritten {
        /// The node.
        node: String,
        /// The end of its log.
        explanation: String,
    },
    /// The program or the description of the cluster that makes them.
    #[error("start-up caches cannot be made: {} could not be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

/// The start-up caches for the nodes of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartCachesReport {
    /// Every cache that its nodes start with from now on.
    pub caches: Vec<StartCache>,
    /// Names of those that are not there.
    pub missing: BTreeSet<String>,
    /// How many were made now.
    pub made: usize,
    /// Whether it was only looked.
    pub dry_run: bool,
    /// How long everything took.
    pub millis: u64,
}

/// What `cache list` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedCaches {
    /// Where they lie.
    pub directory: PathBuf,
    /// Every one of them.
    pub caches: Vec<StartCache>,
}

/// What `cache clean` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CleanReport {
    /// Every cache that was deleted, or would be.
    pub caches: Vec<StartCache>,
    /// Whether it was only looked.
    pub dry_run: bool,
}

/// Makes the caches that are missing for the nodes of `like`.
///
/// # Errors
/// [`CommandError`]; a training cluster that failed is removed, with its processes.
pub(crate) async fn make(
    like: &Cluster,
    reporter: &Reporter,
    cancelled: impl Future<Output = ()>,
) -> Result<StartCachesReport, CommandError> {
    let begun = Instant::now();
    let shelf = Shelf::of(&like.cache);
    let making = shelf.lock().map_err(StartCacheError::from)?;
    let mut made = 0;
    let contained = like.plan.network.is_some();
    if !contained && missing(like).await.is_none_or(|missing| !missing.is_empty()) {
        made = train(like, &shelf, &making, reporter, cancelled).await?;
    }
    Ok(StartCachesReport { made, dry_run: false, millis: millis_since(begun), ..look_for(like).await })
}

/// What is there for the nodes of `like`, and what is not.
pub(crate) async fn look_for(like: &Cluster) -> StartCachesReport {
    let begun = Instant::now();
    let shelf = Shelf::of(&like.cache);
    let keys = keys(like).await;
    let caches: Vec<StartCache> = keys.iter().filter_map(|key| shelf.look(key.file())).collect();
    let missing = keys.iter().filter(|key| shelf.look(key.file()).is_none());
    let missing = missing.map(|key| key.file().to_owned()).collect();
    StartCachesReport { caches, missing, made: 0, dry_run: true, millis: millis_since(begun) }
}

/// Every cache that is there.
pub(crate) fn list(cache: &Cache) -> ListedCaches {
    let shelf = Shelf::of(cache);
    ListedCaches { directory: shelf.home().to_owned(), caches: shelf.list() }
}

/// Deletes every cache.
pub(crate) fn clean(cache: &Cache, dry_run: bool) -> Result<CleanReport, StartCacheError> {
    let shelf = Shelf::of(cache);
    let _making = shelf.lock()?;
    let caches = shelf.list();
    for found in caches.iter().filter(|_| !dry_run) {
        shelf.delete(found)?;
    }
    Ok(CleanReport { caches, dry_run })
}

/// The caches that nodes of a cluster would start with and that are not there; none when that cannot be told yet,
/// because Java or the jars are not there either.
pub(crate) async fn missing(like: &Cluster) -> Option<BTreeSet<String>> {
    let kafka = Artifact::kafka(&like.spec.kafka.version)?;
    like.cache.installed(kafka)?;
    java(&like.cache).await?;
    Some(look_for(like).await.missing)
}

/// Lets another process make what is missing for the nodes of a cluster, and gives the file that it writes what
/// it does into; none when nothing is missing.
pub(crate) async fn make_in_background(like: &Cluster) -> Result<Option<PathBuf>, StartCacheError> {
    if missing(like).await.is_none_or(|missing| missing.is_empty()) {
        return Ok(None);
    }
    let shelf = Shelf::of(&like.cache);
    // Looked at and given back: whoever makes them at this moment makes most likely these.
    match shelf.lock() {
        Ok(making) => drop(making),
        Err(ShelfError::Busy { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let root = like.dir.path().ancestors().nth(2).map(Path::to_owned).unwrap_or_default();
    let (name, log) = (like.plan.cluster.as_str(), shelf.path("make.log"));
    let program = std::env::current_exe().map_err(file(&log))?;
    let mut arguments: Vec<OsString> =
        ["cache", "make", "--background", "--name", name].map(Into::into).to_vec();
    arguments.extend(["--state-dir".into(), root.into_os_string()]);
    let job = process::in_background(&program, &arguments, &log).map_err(file(&program))?;
    let begun = Begun { cluster_id: like.record.cluster_id.clone(), job };
    let record = serde_json::to_vec(&begun).map_err(io::Error::other).map_err(file(&log))?;
    store::write_private(&shelf.path(BEGUN), &record).map_err(io::Error::other).map_err(file(&log))?;
    Ok(Some(log))
}

/// Ends what was begun in the background for a cluster that is taken down: nothing that `up` has started outlives
/// `down`. The next `up` begins again.
pub(super) async fn end_background<'a>(cache: &Cache, mut cluster_ids: impl Iterator<Item = &'a str>) {
    let shelf = Shelf::of(cache);
    let begun = fs::read(shelf.path(BEGUN)).ok().and_then(|text| serde_json::from_slice::<Begun>(&text).ok());
    let Some(begun) = begun.filter(|begun| cluster_ids.any(|id| id == begun.cluster_id)) else { return };
    if begun.job.end(ENDING).await {
        // What it had begun is gone with it; the record alone says nothing any more.
        let _ = fs::remove_file(shelf.path(BEGUN));
    }
}

/// The record of a making in the background.
const BEGUN: &str = "making.json";

/// How long a making may take to end its nodes: at worst one that writes its cache at that moment.
const ENDING: Duration = Duration::from_secs(90);

/// Who was begun in the background, and for whose nodes.
#[derive(Debug, Deserialize, Serialize)]
struct Begun {
    cluster_id: String,
    job: process::Job,
}

/// Deletes caches that were refused by the JVM of a node which was started with them, and says so of each once.
pub(super) fn drop_refused(world: &ClusterWorld) {
    let Some(caches) = world.runtime.start_caches() else { return };
    for node in &world.cluster().plan.nodes {
        let used = caches.used_by(node).filter(|used| was_there(&used.path, world.runtime.observe(node)));
        let Some(used) = used else { continue };
        let console = log_tail(&world.cluster().dir.node_console(&node.name), usize::MAX).unwrap_or_default();
        if let Some(line) = rejection(&console) {
            let name = used.path.file_name().unwrap_or_default().to_string_lossy();
            let outcome = match Shelf::of(&world.cluster().cache).delete(&used) {
                Ok(()) => "it was deleted, and the next making of caches brings another".to_owned(),
                Err(error) => chain(&error),
            };
            let note =
                format!("the JVM of {} refused its start-up cache {name} ({line}); {outcome}", node.name);
            world.reporter.tell(Event::Note(note));
        }
    }
}

/// How far the system's clock of files and that of processes may differ.
const CLOCKS: Duration = Duration::from_secs(2);

/// Whether a cache was there before a node was started: one that was made since is not what its JVM refused.
fn was_there(cache: &Path, node: NodeState) -> bool {
    let NodeState::Running { uptime, .. } = node else { return false };
    let made = fs::metadata(cache).and_then(|meta| meta.modified()).ok();
    made.and_then(|made| made.elapsed().ok()).is_some_and(|age| age + CLOCKS > uptime)
}

async fn keys(like: &Cluster) -> BTreeSet<Key> {
    // A container's Java and jars are those of its image.
    if like.plan.network.is_some() {
        return BTreeSet::new();
    }
    match java(&like.cache).await {
        Some(java) => keys_of(&StartCaches::new(Shelf::of(&like.cache), &java, Mode::Use), &like.plan),
        None => BTreeSet::new(),
    }
}

fn keys_of(caches: &StartCaches, plan: &ClusterPlan) -> BTreeSet<Key> {
    plan.nodes.iter().filter_map(|node| caches.key(node)).collect()
}

async fn java(cache: &Cache) -> Option<Java> {
    find_or_fetched(&JavaPolicy::new(cache.clone())).await.ok()
}

/// A cluster with one of each kind of node, and what each needs beside it to learn its work.
fn training_spec(like: &ClusterSpec) -> ClusterSpec {
    let mut spec = like.clone();
    spec.name = training_name();
    spec.kafka.brokers = spec.kafka.brokers.min(BROKERS);
    if spec.metadata == Metadata::Kraft && spec.kafka.roles == crate::spec::Roles::Combined {
        spec.kafka.brokers = spec.kafka.brokers.max(spec.kafka.controllers);
    }
    spec.replication.factor = spec.replication.factor.min(spec.kafka.brokers);
    spec.replication.min_isr = spec.replication.min_isr.min(spec.replication.factor);
    spec.ports = crate::spec::PortsSpec::default();
    spec.memory.overcommit = false;
    spec
}

fn training_name() -> ClusterName {
    NAME.parse().unwrap_or_else(|error| unreachable!("a constant that is a name: {error}"))
}

/// Runs the training cluster and keeps what its JVMs wrote; it leaves nothing else, whatever happened.
async fn train(
    like: &Cluster,
    shelf: &Shelf,
    making: &Making,
    reporter: &Reporter,
    cancelled: impl Future<Output = ()>,
) -> Result<usize, CommandError> {
    let root = StateRoot::at(&shelf.path(NAME))?;
    remove(&root).await?;
    let work = shelf.begin(making).map_err(StartCacheError::from)?;
    let outcome = run(like, &root, &work, reporter, cancelled).await;
    remove(&root).await?;
    let collected = outcome.and_then(|()| Ok(shelf.collect(making).map_err(StartCacheError::from)?));
    shelf.forget_work().map_err(StartCacheError::from)?;
    collected
}

/// Ends a training, also one that was killed: its nodes, its files.
async fn remove(root: &StateRoot) -> Result<(), CommandError> {
    if let Some(remains) = Remains::find(root, &training_name()) {
        let lock = remains.dir().lock("cache make")?;
        remains.stop(&|_| {}).await;
        remains.delete(lock)?;
    }
    Ok(())
}

async fn run(
    like: &Cluster,
    root: &StateRoot,
    work: &Path,
    reporter: &Reporter,
    cancelled: impl Future<Output = ()>,
) -> Result<(), CommandError> {
    let description = work.join("cluster.toml");
    let text = training_spec(&like.spec).to_toml();
    store::write_private(&description, text.as_bytes())
        .map_err(io::Error::other)
        .map_err(file(&description))?;
    let described = Described { file: Some(&description), ..Described::default() };
    let (cluster, _lock) = Cluster::for_change(root, None, &described, "cache make")?;
    let steps = Step::of(&cluster.plan);
    let mut world =
        ClusterWorld::new(cluster, reporter.clone()).with_start_caches(Mode::Record(work.to_owned()));
    let mut cancelled = std::pin::pin!(cancelled);
    match engine::run(&mut world, &steps, reporter, &mut cancelled).await {
        Err(EngineError::Interrupted { .. }) => return Err(StartCacheError::Interrupted.into()),
        other => other?,
    };
    tokio::select! {
        biased;
        () = cancelled => Err(StartCacheError::Interrupted.into()),
        ended = end(&world, work) => ended,
    }
}

/// Stops the nodes, registry first; each writes its cache while it ends.
async fn end(world: &ClusterWorld, work: &Path) -> Result<(), CommandError> {
    for role in ORDER.into_iter().flatten() {
        let nodes: Vec<&NodePlan> = world.cluster().plan.nodes_of(role).collect();
        futures::future::try_join_all(nodes.iter().map(|node| world.stop_node(node))).await?;
        for node in nodes {
            world.has_recorded(node, work)?;
        }
    }
    Ok(())
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> StartCacheError + use<> {
    let path = path.to_owned();
    move |source| StartCacheError::Io { path, source }
}
