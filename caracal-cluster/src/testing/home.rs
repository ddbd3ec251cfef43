//! Where clusters of tests live, who holds them, and what is left of those that nobody holds.
//!
//! ```text
//! <cache>/fixtures/                   or CARACAL_FIXTURES_DIR
//!   shared-<digest>                   names the home of the shared cluster of one kind; locked while it is looked for
//!   fx<random>/                       a home: everything that one cluster owns
//!     lease                           shared lock of each user; whoever gets it alone may end the cluster
//!     guard                           shared lock of the guard, while there is one
//!     state/                          the state root, with this one cluster
//! ```
//!
//! Locks are flock's: the kernel takes them from a process however it ends. What a lock says is never written down.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use caracal_pki::store;
use uuid::Uuid;

use super::FixtureError;
use crate::dir::{DirError, StateRoot};
use crate::distribution::Cache;
use crate::lifecycle::cluster::ClusterError;
use crate::lifecycle::down::Remains;
use crate::names::ClusterName;
use crate::ports;
use crate::runtime::process::{self, Target};
use crate::wait::{Probe, WaitError, wait_for};

/// Names the environment variable for the folder of all clusters of tests.
pub const FIXTURES_DIR_VARIABLE: &str = "CARACAL_FIXTURES_DIR";

/// Names the environment variable for the seconds that a shared cluster outlives its last user.
pub const LINGER_VARIABLE: &str = "CARACAL_FIXTURES_LINGER";

/// Between two processes of one test run nobody holds the cluster for a moment.
const LINGER: Duration = Duration::from_secs(10);

/// How long a node may take to end by itself when its data goes anyway.
const END: Duration = Duration::from_millis(200);

/// How long the start of a cluster by somebody else is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

const INTERVAL: Duration = Duration::from_millis(20);

/// How long a shared cluster outlives its last user.
pub(super) fn linger() -> Duration {
    let said = std::env::var(LINGER_VARIABLE).ok().and_then(|text| text.parse().ok());
    said.map_or(LINGER, Duration::from_secs)
}

/// The folder of all homes.
#[derive(Clone, Debug)]
pub(super) struct Homes(PathBuf);

impl Homes {
    pub(super) fn discover() -> Result<Self, FixtureError> {
        let path = match std::env::var_os(FIXTURES_DIR_VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => {
                std::path::absolute(&path).map_err(FixtureError::io("finding", Path::new(&path)))?
            }
            None => Cache::discover()?.root().join("fixtures"),
        };
        Ok(Self(path))
    }

    /// A home with a lease that is held by the caller, and a guard who waits for it.
    pub(super) fn make(&self, linger: Duration) -> Result<(Home, Lease), FixtureError> {
        let random = Uuid::new_v4().simple().to_string();
        let name: ClusterName = format!("fx{}", &random[..10]).parse()?;
        let home = Home { path: self.0.join(name.as_str()), name };
        store::create_private_dir(&home.path)?;
        let made = || -> Result<Lease, FixtureError> {
            drop(open(&home.path.join("guard"))?);
            drop(open(&home.path.join("lease"))?);
            let lease =
                home.try_join()?.ok_or_else(|| FixtureError::Awaited("a new lease is held".to_owned()))?;
            let ports = ports::lease_dir(Cache::discover()?.root());
            process::start_guard(&home.path, linger, &ports)
                .map_err(FixtureError::io("starting the guard of", &home.path))?;
            Ok(lease)
        };
        let lease = made().inspect_err(|_| drop(std::fs::remove_dir_all(&home.path)))?;
        Ok((home, lease))
    }

    /// The slot of one kind of shared cluster, held by nobody else until it is dropped.
    pub(super) async fn slot(&self, kind: &str) -> Result<Slot, FixtureError> {
        let path = self.0.join(format!("shared-{kind}"));
        let what = format!("{}, which is locked while somebody starts the shared cluster", path.display());
        let waited: Result<Slot, WaitError<FixtureError>> = wait_for(&what, PATIENCE, INTERVAL, || async {
            // Whoever sweeps removes the folder when it is empty.
            let made = store::create_private_dir(&self.0).map_err(FixtureError::from);
            let file = match made.and_then(|()| open(&path)) {
                Ok(file) => file,
                Err(error) => return Probe::Failed(error),
            };
            match file.try_lock() {
                // Whoever swept may have removed the file between its opening and its locking.
                Ok(()) if is_at(&file, &path) => Probe::Ready(Slot { file, path: path.clone() }),
                Ok(()) => Probe::NotYet("it was removed".to_owned()),
                Err(TryLockError::WouldBlock) => Probe::NotYet("another process has it".to_owned()),
                Err(TryLockError::Error(source)) => {
                    Probe::Failed(FixtureError::Io { action: "locking", path: path.clone(), source })
                }
            }
        })
        .await;
        Ok(waited?)
    }

    /// The home of a name.
    pub(super) fn home(&self, name: &ClusterName) -> Home {
        Home { path: self.0.join(name.as_str()), name: name.clone() }
    }

    /// Ends and removes what nobody holds. What still has a guard is left to it, unless `all` is set.
    pub(super) async fn sweep(&self, all: bool, dry_run: bool) -> Result<Vec<Swept>, FixtureError> {
        let mut swept = Vec::new();
        let Ok(entries) = std::fs::read_dir(&self.0) else { return Ok(swept) };
        for entry in entries.flatten() {
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if name.starts_with("shared-") {
                self.sweep_slot(&entry.path(), dry_run);
                continue;
            }
            let Ok(name) = name.parse::<ClusterName>() else { continue };
            let home = self.home(&name);
            if !name.as_str().starts_with("fx") || (!all && home.is_guarded()) {
                continue;
            }
            let Some(lease) = home.try_own() else { continue };
            let nodes = home.running();
            if !dry_run {
                home.end(lease).await?;
            }
            swept.push(Swept { cluster: name, directory: home.path, nodes });
        }
        if !dry_run {
            // Fails, rightly, when something is in it.
            let _ = std::fs::remove_dir(&self.0);
        }
        swept.sort_by(|a, b| a.cluster.cmp(&b.cluster));
        Ok(swept)
    }

    /// Removes a slot that names no home any more, unless somebody has it.
    fn sweep_slot(&self, path: &Path, dry_run: bool) {
        let Ok(file) = File::open(path) else { return };
        if dry_run || file.try_lock().is_err() || !is_at(&file, path) {
            return;
        }
        let mut slot = Slot { file, path: path.to_owned() };
        if slot.named().is_none_or(|name| !self.home(&name).path.exists()) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What was left of a cluster that nobody held, and is gone now.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Swept {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its folder.
    pub directory: PathBuf,
    /// Its nodes that still ran.
    pub nodes: Vec<String>,
}

/// Names the home of the shared cluster of one kind.
#[derive(Debug)]
pub(super) struct Slot {
    file: File,
    path: PathBuf,
}

impl Slot {
    /// The home that it names.
    pub(super) fn named(&mut self) -> Option<ClusterName> {
        let mut text = String::new();
        self.file.rewind().ok()?;
        self.file.read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// Names a home that is ready.
    pub(super) fn name(&mut self, home: &ClusterName) -> Result<(), FixtureError> {
        rewrite(&mut self.file, home.as_str()).map_err(FixtureError::io("writing", &self.path))
    }
}

/// Everything that one cluster owns.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) path: PathBuf,
    pub(super) name: ClusterName,
}

/// Keeps a home: while one process holds one, nobody ends the cluster.
#[derive(Debug)]
pub(super) struct Lease {
    _file: File,
}

impl Home {
    pub(super) fn root(&self) -> Result<StateRoot, FixtureError> {
        Ok(StateRoot::at(&self.path.join("state")).map_err(ClusterError::from)?)
    }

    /// Takes part in it; none when somebody is about to end it.
    pub(super) fn try_join(&self) -> Result<Option<Lease>, FixtureError> {
        let path = self.path.join("lease");
        // Never made here: a folder that is being removed would get a second one.
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FixtureError::Io { action: "opening", path, source }),
        };
        match file.try_lock_shared() {
            Ok(()) if is_at(&file, &path) => {}
            Ok(()) | Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => {
                return Err(FixtureError::Io { action: "locking", path, source });
            }
        }
        // A guard that lingers sees by it that somebody came meanwhile.
        rewrite(&mut file, &Uuid::new_v4().to_string()).map_err(FixtureError::io("writing", &path))?;
        Ok(Some(Lease { _file: file }))
    }

    /// Takes it alone; none while anybody takes part in it.
    fn try_own(&self) -> Option<Lease> {
        let path = self.path.join("lease");
        if !path.exists() {
            // Its maker died before the first lock, or is about to take it: then the folder is seconds old.
            let age = std::fs::metadata(&self.path).ok()?.modified().ok()?.elapsed().unwrap_or_default();
            if age < Duration::from_secs(60) {
                return None;
            }
        }
        let file = open(&path).ok()?;
        file.try_lock().ok()?;
        is_at(&file, &path).then_some(Lease { _file: file })
    }

    /// Whether a guard waits for its last user to go.
    fn is_guarded(&self) -> bool {
        let guard = File::open(self.path.join("guard"));
        guard.is_ok_and(|guard| matches!(guard.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// The nodes of which something runs.
    fn running(&self) -> Vec<String> {
        let remains = self.root().ok().and_then(|root| Remains::find(&root, &self.name));
        let Some(remains) = remains else { return Vec::new() };
        let runs = remains.nodes().filter(|(node, _)| remains.observe(node).is_running());
        runs.map(|(node, _)| node.to_string()).collect()
    }

    /// Ends its nodes without ceremony and removes all of it; the lease says that nobody else uses it.
    pub(super) async fn end(&self, lease: Lease) -> Result<(), FixtureError> {
        let root = self.root()?;
        if let Some(remains) = Remains::find(&root, &self.name) {
            for id in remains.cluster_ids() {
                for node in process::find_all(id) {
                    let target = Target::new(id, &node.node, self.path.join("no-record"));
                    process::stop(&target, END)
                        .await
                        .map_err(|error| FixtureError::Awaited(crate::lifecycle::chain(&error)))?;
                }
            }
            // Containers, whose engine has a deadline of its own; of processes nothing is left.
            let failed = remains.stop(&|_| ()).await.into_iter().find_map(|node| node.error);
            if let Some(error) = failed {
                return Err(FixtureError::Awaited(error));
            }
            let lock = remains.dir().lock("the end of a test's cluster").map_err(dir_error)?;
            remains.delete(lock)?;
        }
        match std::fs::remove_dir_all(&self.path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(FixtureError::Io { action: "removing", path: self.path.clone(), source });
            }
            _ => {}
        }
        drop(lease);
        Ok(())
    }
}

fn dir_error(error: DirError) -> FixtureError {
    ClusterError::from(error).into()
}

fn open(path: &Path) -> Result<File, FixtureError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(FixtureError::io("opening", path))
}

/// Whether a file that was opened is still the one of that path.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |there: std::fs::Metadata| file.metadata().is_ok_and(|ours| ours.ino() == there.ino());
    std::fs::metadata(path).is_ok_and(same)
}

fn rewrite(file: &mut File, text: &str) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(scratch: &tempfile::TempDir) -> Homes {
        Homes(scratch.path().join("fixtures"))
    }

    #[tokio::test]
    async fn a_held_home_is_left_and_one_that_nobody_holds_is_swept() {
        let scratch = tempfile::tempdir().unwrap();
        let homes = homes(&scratch);
        let made = |name: &str| {
            let home = homes.home(&name.parse().unwrap());
            store::create_private_dir(&home.path).unwrap();
            drop(open(&home.path.join("lease")).unwrap());
            let lease = home.try_join().unwrap().unwrap();
            (home, lease)
        };
        let (held, lease) = made("fx0000000001");
        let (left, gone) = made("fx0000000002");
        drop(gone);
        let told = homes.sweep(true, true).await.unwrap();
        assert!(left.path.exists(), "only told");
        let swept = homes.sweep(true, false).await.unwrap();
        assert_eq!(swept, told);
        assert_eq!(swept.iter().map(|swept| &swept.cluster).collect::<Vec<_>>(), [&left.name]);
        assert!(held.path.exists() && !left.path.exists());
        drop(lease);
        homes.sweep(true, false).await.unwrap();
        assert!(!homes.0.exists());
    }

    #[tokio::test]
    async fn a_slot_names_a_home_and_goes_with_it() {
        let scratch = tempfile::tempdir().unwrap();
        let homes = homes(&scratch);
        let mut slot = homes.slot("kind").await.unwrap();
        assert_eq!(slot.named(), None);
        let home = homes.home(&"fx0000000003".parse().unwrap());
        store::create_private_dir(&home.path).unwrap();
        assert!(home.try_join().unwrap().is_none());
        drop(open(&home.path.join("lease")).unwrap());
        let lease = home.try_join().unwrap().unwrap();
        slot.name(&home.name).unwrap();
        assert_eq!(slot.named(), Some(home.name.clone()));
        let path = slot.path.clone();
        drop((slot, lease));
        homes.sweep(true, false).await.unwrap();
        homes.sweep(true, false).await.unwrap();
        assert!(!path.exists() && !home.path.exists());
    }
}
