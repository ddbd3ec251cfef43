//! The user's cache of distributions: what lies in it is complete, because it came by one rename.
//!
//! A directory's name holds the digest of its lock, so another lock never finds an old directory. A
//! file lock beside it makes a second process wait instead of fetching the same again.

use std::{
    convert::Infallible,
    env,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

use super::{
    OnProgress, Progress, Unit,
    artifacts::{Artifact, Content},
    lock::VerifyError,
    maven::{self, FetchError, MavenError},
    unpack::{UnpackError, Watch, unpack},
};
use crate::wait::{Probe, WaitError, wait_for};

/// How long to wait for another process that installs the same.
const OTHERS_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Where downloaded distributions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

/// The tools an installation needs.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tools {
    /// Path of `mvn`; looked for on PATH when absent.
    pub maven: Option<PathBuf>,
    /// Home of the Java that Maven gets when it would find none by itself.
    pub java_home: Option<PathBuf>,
}

/// Why a distribution was not installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// Neither `CARACAL_CACHE_DIR` nor `XDG_CACHE_HOME` nor `HOME` says where the cache is.
    #[error("no place for downloads is known: set HOME, or CARACAL_CACHE_DIR to a directory")]
    NoCache,
    /// Maven did not bring it.
    #[error(transparent)]
    Maven(#[from] MavenError),
    /// What came is not what is locked.
    #[error("what was downloaded is not what the lock expects, and was thrown away: {0}")]
    Verify(VerifyError),
    /// The archive could not be unpacked.
    #[error("{archive} could not be unpacked")]
    Unpack {
        /// Name of the archive.
        archive: String,
        /// What is wrong.
        #[source]
        source: UnpackError,
    },
    /// The disk is full.
    #[error("the disk that holds {} is full: about 500 MB are needed. Free some, or set CARACAL_CACHE_DIR to a directory on another disk", path.display())]
    DiskFull {
        /// The cache.
        path: PathBuf,
    },
    /// The cache may not be written to.
    #[error("{} may not be written to: look at its owner, or set CARACAL_CACHE_DIR to a directory of your own", path.display())]
    NotWritable {
        /// The cache.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// Another failure of reading or writing.
    #[error("the cache {} could not be used", path.display())]
    Io {
        /// The cache.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// Another process did not finish.
    #[error("{0}. If that process hangs, end it: its lock ends with it")]
    Busy(WaitError<Infallible>),
}

impl InstallError {
    /// The right variant for a failure of reading or writing below `root`.
    pub(super) fn io(root: &Path, source: io::Error) -> Self {
        let path = root.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { path, source }
            }
            _ => Self::Io { path, source },
        }
    }
}

impl Cache {
    /// The user's cache: `CARACAL_CACHE_DIR`, else `XDG_CACHE_HOME/caracal`, else `~/.cache/caracal`.
    ///
    /// # Errors
    /// [`InstallError::NoCache`] when none of the three is set.
    pub fn discover() -> Result<Self, InstallError> {
        Self::from_env(|name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
            .ok_or(InstallError::NoCache)
    }

    /// A cache at a place of the caller's.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn from_env(var: impl Fn(&str) -> Option<PathBuf>) -> Option<Self> {
        // The XDG specification says to ignore relative paths.
        let xdg = || var("XDG_CACHE_HOME").filter(|dir| dir.is_absolute()).map(|dir| dir.join("caracal"));
        let home = || var("HOME").map(|home| home.join(".cache/caracal"));
        let root = var("CARACAL_CACHE_DIR").or_else(xdg).or_else(home)?;
        // The nodes run in directories of their own: their class path must not depend on ours.
        Some(Self { root: std::path::absolute(root).ok()? })
    }

    /// The cache's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where this artifact lies, or will lie; no I/O.
    pub fn directory(&self, artifact: &Artifact) -> PathBuf {
        self.root.join(artifact.directory_name())
    }

    /// The artifact, if it is installed.
    pub fn installed(&self, artifact: &'static Artifact) -> Option<Installed> {
        let dir = self.directory(artifact);
        dir.is_dir().then_some(Installed { artifact, dir })
    }

    /// Makes sure that the artifact is installed.
    ///
    /// What is there already is returned as it is: ask [`Installed::verify`] whether it is still right.
    /// Dropping the future stops Maven and leaves nothing behind that a later call would mistake for
    /// a distribution.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub async fn install(
        &self,
        artifact: &'static Artifact,
        tools: &Tools,
        progress: &OnProgress<'_>,
    ) -> Result<Installed, InstallError> {
        let place = self.place(&artifact.directory_name(), progress).await?;
        let dir = match place {
            Place::Taken(dir) => dir,
            Place::Free(slot) => {
                let content = self.bring(artifact, tools, slot.work(), progress).await?;
                slot.fill(&content).map_err(|error| InstallError::io(&self.root, error))?
            }
        };
        Ok(Installed { artifact, dir })
    }

    /// Fetches, checks and unpacks in `work`; the path of what is to be kept.
    async fn bring(
        &self,
        artifact: &'static Artifact,
        tools: &Tools,
        work: &Path,
        progress: &OnProgress<'_>,
    ) -> Result<PathBuf, InstallError> {
        let io = |error| InstallError::io(&self.root, error);
        let what = || format!("{} {}", artifact.name(), artifact.version());
        let found = tools.maven.clone().or_else(|| on_path("mvn"));
        let mvn = found.ok_or_else(|| MavenError::Missing { what: what() })?;
        // Only when Maven would find none: the user's own Java may know the CA of a proxy.
        let has_java = env::var_os("JAVA_HOME").is_some() || on_path("java").is_some();
        let java_home = tools.java_home.as_deref().filter(|_| !has_java);
        let download = work.join("download");
        fs::create_dir(&download).map_err(io)?;
        maven::fetch(artifact, &mvn, java_home, &download, progress).await.map_err(|error| match error {
            FetchError::Maven(error) => error.into(),
            FetchError::Io(error) => io(error),
        })?;
        let checked = download.clone();
        let verify = move || artifact.download().verify(&checked);
        blocking(verify).await.map_err(io)?.map_err(InstallError::Verify)?;
        if let Content::AsDownloaded = artifact.content() {
            return Ok(download);
        }
        let archive = download.join(artifact.download().files()[0].name());
        let tree = work.join("tree");
        unpack_watched(artifact, &archive, &tree, progress).await.map_err(|error| match error {
            UnpackError::Io(error) => io(error),
            source => InstallError::Unpack { archive: archive.display().to_string(), source },
        })?;
        Ok(tree)
    }

    /// Finds the directory `name`, or a place to make it in, alone among all processes.
    pub(super) async fn place(&self, name: &str, progress: &OnProgress<'_>) -> Result<Place, InstallError> {
        let io = |error| InstallError::io(&self.root, error);
        let target = self.root.join(name);
        if target.is_dir() {
            return Ok(Place::Taken(target));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.root).map_err(io)?;
        let lock_path = self.root.join(format!("{name}.lock"));
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = open.map_err(io)?;
        let held = format!("another process that installs {name} (it holds {})", lock_path.display());
        let waiting = format!("waiting for {held}");
        let told = AtomicBool::new(false);
        let locked = wait_for(&held, OTHERS_DEADLINE, Duration::from_millis(100), || async {
            match lock.try_lock() {
                Ok(()) => Probe::<_, Infallible>::Ready(Ok(())),
                Err(TryLockError::WouldBlock) => {
                    if !told.swap(true, Ordering::Relaxed) {
                        progress(Progress { what: &waiting, done: 0, total: 0, unit: Unit::Files });
                    }
                    Probe::NotYet("the lock is held".to_owned())
                }
                Err(TryLockError::Error(error)) => Probe::Ready(Err(error)),
            }
        });
        locked.await.map_err(InstallError::Busy)?.map_err(io)?;
        if target.is_dir() {
            return Ok(Place::Taken(target));
        }
        let prefix = format!(".{name}-");
        self.sweep(&prefix).map_err(io)?;
        let work = tempfile::Builder::new().prefix(&prefix).tempdir_in(&self.root).map_err(io)?;
        Ok(Place::Free(Slot { target, work, _lock: lock }))
    }

    /// Removes what killed processes left; only the holder of the lock may.
    fn sweep(&self, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

/// What [`Cache::place`] found.
#[derive(Debug)]
pub(super) enum Place {
    /// It is there.
    Taken(PathBuf),
    /// It is not, and nobody else is making it.
    Free(Slot),
}

/// The right to make one directory of the cache.
#[derive(Debug)]
pub(super) struct Slot {
    target: PathBuf,
    work: TempDir,
    // Freed by the kernel however this process ends.
    _lock: File,
}

impl Slot {
    /// A directory on the cache's disk, removed in the end.
    pub(super) fn work(&self) -> &Path {
        self.work.path()
    }

    /// Makes `content`, a directory below [`Slot::work`], the cache's.
    pub(super) fn fill(self, content: &Path) -> io::Result<PathBuf> {
        fs::rename(content, &self.target)?;
        Ok(self.target)
    }
}

/// An installed distribution.
#[derive(Clone, Debug)]
pub struct Installed {
    artifact: &'static Artifact,
    dir: PathBuf,
}

impl Installed {
    /// What it is.
    pub fn artifact(&self) -> &'static Artifact {
        self.artifact
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        self.artifact.lock().file(name).map(|file| self.dir.join(file.name()))
    }

    /// Kafka's class path: every jar, in the lock's order. An AOT cache is good for this order only.
    pub fn kafka_class_path(&self) -> Vec<PathBuf> {
        let files = self.artifact.lock().files().iter();
        files.filter(|file| file.name().ends_with(".jar")).map(|file| self.dir.join(file.name())).collect()
    }

    /// Whether every file still is what the lock says, and nothing lies beside them.
    ///
    /// Reads everything (56 MB of Kafka take some 0.1 s), on a thread for blocking work.
    ///
    /// # Errors
    /// [`VerifyError`] names each file with the expected and the found digest.
    pub async fn verify(&self) -> Result<(), VerifyError> {
        let this = self.clone();
        match blocking(move || this.artifact.lock().verify(&this.dir)).await {
            Ok(result) => result,
            // Only a runtime that is shutting down refuses the thread; do it here then.
            Err(_) => self.artifact.lock().verify(&self.dir),
        }
    }
}

/// Runs `work` on a thread for blocking work.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

/// The first executable file of this name on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

/// Whether this is a file that may be executed.
pub(crate) fn is_executable(path: &Path) -> bool {
    use rustix::fs::{Access, access};
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

/// Unpacks on another thread and reports from this one.
async fn unpack_watched(
    artifact: &'static Artifact,
    archive: &Path,
    tree: &Path,
    progress: &OnProgress<'_>,
) -> Result<(), UnpackError> {
    let watch = Arc::new(Watch::default());
    let guard = CancelOnDrop(Arc::clone(&watch));
    let total = artifact.download().files()[0].size();
    let what = format!("unpacking {} {}", artifact.name(), artifact.version());
    let job = {
        let (archive, tree, watch) = (archive.to_owned(), tree.to_owned(), Arc::clone(&watch));
        move || unpack(&archive, artifact.lock(), &tree, &watch)
    };
    let mut job = std::pin::pin!(blocking(job));
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let result = loop {
        tokio::select! {
            result = &mut job => break result,
            _ = tick.tick() => {
                let done = watch.done.load(Ordering::Relaxed).min(total);
                progress(Progress { what: &what, done, total, unit: Unit::Bytes });
            }
        }
    };
    drop(guard);
    result??;
    progress(Progress { what: &what, done: total, total, unit: Unit::Bytes });
    Ok(())
}

/// Tells the unpacking thread that nobody waits any more.
struct CancelOnDrop(Arc<Watch>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
