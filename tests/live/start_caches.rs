//! Start-up caches: made in the background, used, refused by a JVM, made again after a kill, deleted.
//!
//! In a folder of downloads of its own, which borrows Kafka and the registry from the user's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::distribution::Cache;
use caracal_cluster::runtime::process;
use rustix::process::Signal;
use serde_json::Value;

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::product;
use crate::program::{Ended, Program};
use crate::tools::{self, await_until};

pub(crate) const TESTS: &[Test] = &[
    ("start_caches::the_first_up_has_them_made_and_the_next_one_uses_them", made_and_used),
    ("start_caches::down_ends_what_up_began_in_the_background", ended_by_down),
    ("start_caches::one_that_a_jvm_refuses_is_deleted_and_said_once", refused),
    ("start_caches::a_killed_making_leaves_nothing_that_the_next_does_not_remove", killed),
];

/// How long caches of one node may take to be there.
const MAKING: Duration = Duration::from_secs(300);

const MINIMAL: [&str; 2] = ["--profile", "minimal"];

/// A cluster that was never started, with downloads of its own.
struct Scene {
    cluster: TestCluster,
    cache: PathBuf,
}

impl Scene {
    fn new() -> Result<Self> {
        // Whoever runs this alone has nothing to borrow yet.
        cluster::shared()?;
        let cluster = TestCluster::new()?;
        let cache = cluster.home().join("cache");
        fs::create_dir(&cache)?;
        for entry in fs::read_dir(Cache::discover()?.root())? {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            if path.is_dir() && !["start", "ports"].contains(&name.to_string_lossy().as_ref()) {
                symlink(&path, cache.join(name))?;
            }
        }
        Ok(Self { cluster, cache })
    }

    fn command(&self, words: &[String]) -> Result<Program> {
        let command = self.cluster.command(words)?.env("CARACAL_CACHE_DIR", &self.cache);
        Ok(command.env("CARACAL_START_CACHES", "auto"))
    }

    fn run(&self, words: &[String]) -> Result<Ended> {
        self.cluster.run(self.command(words)?)?.succeeded()
    }

    fn up(&self, more: &[&str]) -> Result<Ended> {
        self.run(&product::up_with(self.cluster.name(), &[&MINIMAL, more].concat()))
    }

    fn down(&self, volumes: bool) -> Result<()> {
        self.run(&product::down(self.cluster.name(), volumes)).map(drop)
    }

    fn caches(&self) -> Result<Vec<PathBuf>> {
        let listed = product::document(&self.run(&product::words(&["cache", "list", "--json"]))?)?;
        let caches = listed["caches"].as_array().context("no list of caches")?;
        Ok(caches.iter().filter_map(|cache| cache["path"].as_str()).map(PathBuf::from).collect())
    }

    /// The cache that the one node of this cluster was started with.
    fn used(&self) -> Result<Option<PathBuf>> {
        let plan = self.cluster.resolved()?.plan;
        let pid = self.cluster.pid(plan.nodes[0].name.as_str())?;
        let arguments = fs::read(format!("/proc/{pid}/cmdline"))?;
        let arguments = String::from_utf8_lossy(&arguments);
        let options = ["-XX:AOTCache=", "-XX:SharedArchiveFile="];
        let mut named =
            arguments.split('\0').flat_map(|argument| options.map(|option| argument.strip_prefix(option)));
        Ok(named.find_map(|path| path).map(PathBuf::from))
    }

    fn made(&self) -> Result<PathBuf> {
        let looked = || match self.caches() {
            Ok(caches) if caches.len() == 1 => Ok(Some(caches[0].clone())),
            Ok(caches) => Err(format!("{} caches", caches.len())),
            Err(error) => Err(format!("{error:#}")),
        };
        await_until("a start-up cache of one kind of node", MAKING, looked)
            .with_context(|| fs::read_to_string(self.cache.join("start/make.log")).unwrap_or_default())
    }

    /// The id of the cluster that runs for the caches, once a node of it does.
    fn training(&self) -> Result<String> {
        await_until("a node that runs for the caches", MAKING, || {
            let record = self.cache.join("start/training/clusters/training/cluster.json");
            let text = fs::read_to_string(&record).map_err(|error| error.to_string())?;
            let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let id = value["cluster_id"].as_str().unwrap_or_default().to_owned();
            if process::find_all(&id).is_empty() { Err("no node runs".to_owned()) } else { Ok(Some(id)) }
        })
    }

    fn end(self) -> Result<()> {
        if self.cluster.dir()?.exists() {
            self.down(true)?;
        }
        let left = training(&self.cache)?;
        ensure!(left.is_empty(), "of the making is left: {left:?}");
        self.cluster.take_down()
    }
}

/// What a making that ended must not leave: processes, files.
fn training(cache: &std::path::Path) -> Result<Vec<String>> {
    let home = cache.join("start");
    let mut left = Vec::new();
    for entry in fs::read_dir(home)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("training") {
            left.push(name);
        }
    }
    Ok(left)
}

fn made_and_used() -> Result<()> {
    let scene = Scene::new()?;
    scene.up(&[])?.saying(&["made in the background"])?;
    ensure!(scene.used()?.is_none(), "a cache was used before there was one");
    let made = scene.made()?;
    scene.down(false)?;
    let again = scene.up(&[])?;
    ensure!(!again.text().contains("in the background"), "they are made again:\n{}", again.text());
    ensure!(scene.used()? == Some(made.clone()), "{:?} was used, made was {made:?}", scene.used()?);
    let console =
        fs::read_to_string(scene.cluster.dir()?.node_console(&scene.cluster.resolved()?.plan.nodes[0].name))?;
    ensure!(!console.contains("[error"), "the JVM is not content:\n{console}");
    let missing = product::document(&scene.run(&product::words(&[
        "cache",
        "make",
        "--dry-run",
        "--json",
        "--name",
        scene.cluster.name(),
    ]))?)?;
    ensure!(missing["missing"] == Value::Array(Vec::new()), "{missing}");
    scene.down(false)?;
    scene.up(&["--start-caches", "off"])?;
    ensure!(scene.used()?.is_none(), "a cache was used although none was wanted");
    scene.run(&product::words(&["cache", "clean", "--dry-run"]))?;
    ensure!(scene.caches()?.len() == 1, "a dry run has deleted a cache");
    scene.run(&product::words(&["cache", "clean"]))?;
    ensure!(scene.caches()?.is_empty(), "the caches are still there");
    scene.end()
}

fn refused() -> Result<()> {
    let scene = Scene::new()?;
    let make = ["cache", "make", "--profile", "minimal"];
    scene.run(&product::words(&make))?;
    let made = scene.made()?;
    tools::spoil(&made, b"this is no cache")?;
    let up = scene.up(&["--start-caches", "use"])?.saying(&["refused its start-up cache", "deleted"])?;
    ensure!(up.text().matches("refused its start-up cache").count() == 1, "{}", up.text());
    ensure!(scene.caches()?.is_empty(), "the refused cache is still there");
    let again = scene.up(&["--start-caches", "use"])?;
    ensure!(!again.text().contains("refused its start-up"), "said again:\n{}", again.text());
    scene.end()
}

fn ended_by_down() -> Result<()> {
    let scene = Scene::new()?;
    scene.up(&[])?.saying(&["made in the background"])?;
    let id = scene.training()?;
    scene.down(true)?;
    ensure!(process::find_all(&id).is_empty(), "a node of the making outlives `down`");
    ensure!(scene.caches()?.is_empty(), "a making that was ended has made a cache");
    scene.end()
}

fn killed() -> Result<()> {
    let scene = Scene::new()?;
    let make = product::words(&["cache", "make", "--profile", "minimal"]);
    let making = scene.command(&make)?.start()?;
    let id = scene.training()?;
    making.signal(Signal::KILL)?;
    product::remember(&making.finish(Duration::from_secs(60))?);
    ensure!(!process::find_all(&id).is_empty(), "the node ended with whoever started it");
    scene.run(&make)?;
    ensure!(process::find_all(&id).is_empty(), "a node of the killed making still runs");
    scene.made()?;
    let left = training(&scene.cache)?;
    ensure!(left.is_empty(), "of the making is left: {left:?}");
    scene.cluster.take_down()
}
