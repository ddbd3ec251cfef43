//! Clusters of the suite: unique, in folders of their own, on leased ports, and gone in the end whatever happens.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use caracal_cluster::dir::{ClusterDir, StateRoot};
use caracal_cluster::distribution::Cache;
use caracal_cluster::lifecycle::{Access, Cluster};
use caracal_cluster::names::ClusterName;
use caracal_cluster::ports;
use caracal_cluster::runtime::process::{self, Target};
use caracal_cluster::wire::SharedSaltedPasswords;

use crate::docker;
use crate::product::{self, PATIENCE};
use crate::program::{self, Ended, Program};
use crate::secrets;
use crate::tools::{self, block};

/// Every cluster that may still own something.
static OWNED: Mutex<Vec<Owned>> = Mutex::new(Vec::new());

/// The cluster that judges share.
static SHARED: OnceLock<Result<TestCluster, String>> = OnceLock::new();

/// How long the shared cluster took to start.
static TOOK: OnceLock<Duration> = OnceLock::new();

/// The cluster that has a directory and ports but was never started.
static UNSTARTED: OnceLock<Result<TestCluster, String>> = OnceLock::new();

/// What has to be given back for one cluster.
#[derive(Clone, Debug)]
struct Owned {
    name: ClusterName,
    home: PathBuf,
    /// Its id, as soon as it is known: a test may spoil the file that says it.
    id: Option<String>,
    /// Whether its nodes run in containers.
    contained: bool,
}

/// A cluster of the suite.
#[derive(Debug)]
pub(crate) struct TestCluster {
    name: ClusterName,
    home: PathBuf,
}

impl TestCluster {
    /// A cluster with a folder and nothing in it.
    pub(crate) fn new() -> Result<Self> {
        Self::new_below("caracal-live-")
    }

    /// The same in a folder whose name begins as given.
    pub(crate) fn new_below(prefix: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name: ClusterName = format!("t{}-{number}", std::process::id()).parse()?;
        // Kept: the folder is removed with what runs in it, and not by a destructor that knows only files.
        let home = tempfile::Builder::new().prefix(&format!("{prefix}{name}-")).tempdir()?.keep();
        let owned = Owned { name: name.clone(), home: home.clone(), id: None, contained: false };
        OWNED.lock().map_err(|_| anyhow!("a test died while it was making a cluster"))?.push(owned);
        Ok(Self { name, home })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// A folder of its own, with everything that it owns in it.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Where its state lies (`CARACAL_STATE_DIR`).
    pub(crate) fn state(&self) -> PathBuf {
        self.home.join("state")
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> Result<ClusterDir> {
        Ok(StateRoot::at(&self.state())?.cluster(&self.name))
    }

    /// Its plan and record, as the product reads them.
    pub(crate) fn resolved(&self) -> Result<Cluster> {
        Ok(Cluster::existing(&StateRoot::at(&self.state())?, Some(&self.name))?)
    }

    /// Every user's password, to look for where none may be.
    pub(crate) fn passwords(&self) -> Result<Vec<String>> {
        let resolved = self.resolved()?;
        let read = |user: &caracal_cluster::plan::UserPlan| {
            Ok(tools::read(&resolved.dir.password(&user.name))?.trim().to_owned())
        };
        resolved.plan.users.iter().map(read).collect()
    }

    /// Its id.
    pub(crate) fn id(&self) -> Result<String> {
        let known =
            OWNED.lock().ok().and_then(|all| all.iter().find(|owned| owned.name == self.name)?.id.clone());
        known.or_else(|| read_id(&self.home, &self.name)).context("the cluster has no id yet")
    }

    /// A command of the product, about this cluster.
    pub(crate) fn command(&self, words: &[String]) -> Result<Program> {
        let program = Program::at(product::xtask()?).args(words);
        Ok(self.surround(program).within(PATIENCE))
    }

    /// The same below another program (`sh -c ... "$@"`, `unshare`), which gets the command line as arguments.
    pub(crate) fn command_below(&self, wrapper: Program, words: &[String]) -> Result<Program> {
        let program = wrapper.args([product::xtask()?.as_os_str()]).args(words);
        Ok(self.surround(program).within(PATIENCE))
    }

    fn surround(&self, program: Program) -> Program {
        // Not the caller's: what a command leaves in a temporary folder is searched and removed.
        let program = program.env("CARACAL_STATE_DIR", self.state()).env("TMPDIR", &self.home);
        // A machine whose engine has the images would be given containers, which have a suite of their own.
        if docker::is_chosen() { program } else { program.env("DOCKER_HOST", "unix:///nowhere/docker.sock") }
    }

    /// Runs a command to its end and keeps what it said.
    pub(crate) fn run(&self, command: Program) -> Result<Ended> {
        // Before and after it: a command may replace a password, or delete all of them.
        secrets::learn(self);
        let ended = command.run();
        self.learn_id();
        secrets::learn(self);
        let ended = ended?;
        product::remember(&ended);
        Ok(ended)
    }

    /// Runs `up`.
    pub(crate) fn up(&self) -> Result<Ended> {
        self.run(self.command(&product::up(self.name()))?)
    }

    /// Runs `down`, with `-v` when the data shall go.
    pub(crate) fn down(&self, volumes: bool) -> Result<Ended> {
        self.run(self.command(&product::down(self.name(), volumes))?)
    }

    /// Remembers its id while the file that says it is whole.
    pub(crate) fn learn_id(&self) {
        let Some(id) = read_id(&self.home, &self.name) else { return };
        if let Ok(mut all) = OWNED.lock()
            && let Some(owned) = all.iter_mut().find(|owned| owned.name == self.name)
        {
            owned.id = Some(id);
            owned.contained |= is_contained(&self.home, &self.name);
        }
    }

    /// Pid of a running node.
    pub(crate) fn pid(&self, node: &str) -> Result<u32> {
        let found = process::find(&self.id()?, node).with_context(|| format!("{node} does not run"))?;
        Ok(found.pid)
    }

    /// The ports that are kept for it, each with what for.
    pub(crate) fn leases(&self) -> Result<BTreeSet<(u16, String)>> {
        let id = self.id()?;
        let leases = ports::leases(&ports::lease_dir(Cache::discover()?.root()))?;
        let ours = leases.into_iter().filter(|lease| lease.owner.cluster_id == id);
        Ok(ours.map(|lease| (lease.port, lease.purpose)).collect())
    }

    /// Everything that it still has although it was removed: processes, leases, files.
    pub(crate) fn leftovers(&self) -> Result<Vec<String>> {
        let id = self.id()?;
        let mut left: Vec<String> = process::find_all(&id)
            .iter()
            .map(|found| format!("{} runs (pid {})", found.node, found.pid))
            .collect();
        let leases = self.leases()?.into_iter();
        left.extend(leases.map(|(port, purpose)| format!("port {port} is still leased for {purpose}")));
        let files = tools::walk(&self.home);
        left.extend(files.iter().skip(1).map(|path| format!("{} is still there", path.display())));
        Ok(left)
    }

    /// Ends it and removes all it has; says what could not be.
    pub(crate) fn take_down(self) -> Result<()> {
        let left = block(give_back(&self.name));
        std::mem::forget(self);
        if left.is_empty() { Ok(()) } else { bail!("{}", left.join("\n")) }
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        for line in block(give_back(&self.name)) {
            tools::tell(&line);
        }
    }
}

/// Reaches a resolved cluster as the product does.
pub(crate) fn access(cluster: &Cluster) -> Access<'_> {
    Access::new(&cluster.dir, &cluster.plan, SharedSaltedPasswords::default())
}

/// The running cluster that judges share, started by the first of them.
///
/// It is started by somebody whose umask takes nothing away: private files are private by themselves.
pub(crate) fn shared() -> Result<&'static TestCluster> {
    let made = SHARED.get_or_init(|| {
        let start = || {
            let cluster = TestCluster::new()?;
            tools::tell(&format!("starting the shared cluster {}", cluster.name()));
            let shell = Program::at("/bin/sh").args(["-c", r#"umask 000; exec "$@""#, "sh"]);
            let up = cluster.run(cluster.command_below(shell, &product::up(cluster.name()))?)?.succeeded()?;
            tools::tell(&format!("it is up after {:.1} s", up.took.as_secs_f32()));
            let _ = TOOK.set(up.took);
            Ok(cluster)
        };
        start().map_err(|error: anyhow::Error| format!("the shared cluster did not come up: {error:#}"))
    });
    made.as_ref().map_err(|error| anyhow!("{error}"))
}

/// How long a whole `up` takes on this machine, as the shared cluster showed.
pub(crate) fn took_to_start() -> Result<Duration> {
    shared()?;
    TOOK.get().copied().context("nobody measured how long the shared cluster took")
}

/// A cluster that has an identity, a directory and leased ports, but was never started.
pub(crate) fn unstarted() -> Result<&'static TestCluster> {
    let made = UNSTARTED.get_or_init(|| {
        let make = || {
            let cluster = TestCluster::new()?;
            // The first steps are done, the one that needs a Java is not.
            let nowhere = cluster.home().join("nowhere");
            let up = cluster.command(&product::up(cluster.name()))?.env("CARACAL_JAVA", nowhere);
            cluster.run(up)?.failed()?;
            Ok(cluster)
        };
        make().map_err(|error: anyhow::Error| format!("no cluster could be prepared: {error:#}"))
    });
    made.as_ref().map_err(|error| anyhow!("{error}"))
}

/// Takes every cluster down that is still there; returns what went wrong.
pub(crate) fn take_all_down() -> Vec<String> {
    block(give_all_back())
}

/// Makes Ctrl-C and a polite end clean up like the orderly end does.
pub(crate) fn clean_up_on_signals() {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        tools::beside(async move {
            let Ok(mut signals) = signal(kind) else { return };
            signals.recv().await;
            tools::tell("interrupted: stopping every cluster of this run");
            // First whoever could still start nodes, then the nodes.
            program::kill_running();
            for line in give_all_back().await {
                tools::tell(&line);
            }
            std::process::exit(128 + kind.as_raw_value());
        });
    }
}

async fn give_all_back() -> Vec<String> {
    let names: Vec<ClusterName> =
        OWNED.lock().map(|all| all.iter().map(|owned| owned.name.clone()).collect()).unwrap_or_default();
    let mut left = Vec::new();
    for name in names {
        left.extend(give_back(&name).await);
    }
    left
}

/// Stops what runs, ends leases, removes files; returns what could not be.
async fn give_back(name: &ClusterName) -> Vec<String> {
    let taken = OWNED.lock().ok().and_then(|mut all| {
        let at = all.iter().position(|owned| owned.name == *name)?;
        Some(all.remove(at))
    });
    let Some(owned) = taken else { return Vec::new() };
    let mut left = Vec::new();
    if let Some(id) = owned.id.or_else(|| read_id(&owned.home, &owned.name)) {
        if owned.contained || is_contained(&owned.home, &owned.name) {
            let (name, id) = (name.clone(), id.clone());
            let given = tokio::task::spawn_blocking(move || docker::give_back(&name, &id)).await;
            left.extend(given.unwrap_or_else(|error| vec![error.to_string()]));
        }
        for node in process::find_all(&id) {
            // Nothing of it is needed any more: no orderly end.
            let target = Target::new(&id, &node.node, owned.home.join("no-record"));
            if let Err(error) = process::stop(&target, Duration::from_millis(200)).await {
                left.push(format!("cluster {name}: {error}"));
            }
        }
        let released =
            Cache::discover().map(|cache| ports::release_all(&ports::lease_dir(cache.root()), &id));
        if let Ok(Err(error)) = released {
            left.push(format!("cluster {name}: {error}"));
        }
    }
    if std::env::var_os("CARACAL_LIVE_KEEP").is_some_and(|keep| keep == "1") {
        tools::tell(&format!("kept: {}", owned.home.display()));
    } else if let Err(error) = std::fs::remove_dir_all(&owned.home)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        left.push(format!("cluster {name}: {} could not be removed: {error}", owned.home.display()));
    }
    left
}

fn is_contained(home: &Path, name: &ClusterName) -> bool {
    let record = home.join("state/clusters").join(name.as_str()).join("cluster.json");
    std::fs::read_to_string(record).is_ok_and(|text| text.contains("\"docker\""))
}

fn read_id(home: &Path, name: &ClusterName) -> Option<String> {
    let record = home.join("state/clusters").join(name.as_str()).join("cluster.json");
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(record).ok()?).ok()?;
    value["cluster_id"].as_str().map(str::to_owned)
}
