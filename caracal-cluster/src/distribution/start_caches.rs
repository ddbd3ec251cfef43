//! The folder of start-up caches: files by name, one maker at a time.
//!
//! What one is and who uses it: [`crate::runtime::start_cache`].

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Cache;

/// Caches that are kept; of more, the oldest go: of Javas and versions that are long gone nobody tells.
const KEPT: usize = 16;

/// How the files of caches end: AOT caches, archives of classes.
const ENDS: [&str; 2] = ["aot", "jsa"];

/// What is the matter with the folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShelfError {
    /// Somebody makes caches at this moment.
    #[error("another process makes start-up caches (it holds {}); they are there when it has ended", lock.display())]
    Busy {
        /// The lock.
        lock: PathBuf,
    },
    /// A file.
    #[error("start-up caches: {} could not be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

/// One start-up cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartCache {
    /// Its file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    home: PathBuf,
}

/// The right to make caches; freed by the kernel however its process ends.
#[derive(Debug)]
pub(crate) struct Making {
    _lock: File,
}

impl Shelf {
    /// The one of a user's cache of distributions.
    pub(crate) fn of(cache: &Cache) -> Self {
        Self { home: cache.root().join("start") }
    }

    /// Where it lies.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Where a cache lies, or will lie.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// The cache of a name, if it is there.
    pub(crate) fn look(&self, name: &str) -> Option<StartCache> {
        let path = self.path(name);
        let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some(StartCache { path, bytes: meta.len() })
    }

    /// Every cache that is there, by name.
    pub(crate) fn list(&self) -> Vec<StartCache> {
        let Ok(entries) = fs::read_dir(&self.home) else { return Vec::new() };
        let names = entries.flatten().map(|entry| entry.path()).filter(|path| is_cache(path));
        let mut found: Vec<StartCache> =
            names.filter_map(|path| self.look(path.file_name()?.to_str()?)).collect();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    /// Makes this process the only one that makes caches.
    ///
    /// # Errors
    /// [`ShelfError::Busy`] when another one is.
    pub(crate) fn lock(&self) -> Result<Making, ShelfError> {
        let builder = DirBuilder::new().recursive(true).mode(0o700).create(&self.home);
        builder.map_err(failed(&self.home))?;
        let path = self.home.join("lock");
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = open.map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Making { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(ShelfError::Busy { lock: path }),
            Err(TryLockError::Error(source)) => Err(ShelfError::Io { path, source }),
        }
    }

    /// An empty folder for a making, without what a killed one left there.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn begin(&self, _making: &Making) -> Result<PathBuf, ShelfError> {
        let work = self.work();
        self.forget_work()?;
        DirBuilder::new().mode(0o700).create(&work).map_err(failed(&work))?;
        Ok(work)
    }

    /// Moves what a making wrote to where nodes look for it; says how many that were.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn collect(&self, _making: &Making) -> Result<usize, ShelfError> {
        let work = self.work();
        let mut moved = 0;
        for entry in fs::read_dir(&work).map_err(failed(&work))? {
            let path = entry.map_err(failed(&work))?.path();
            if let Some(name) = path.file_name().filter(|_| is_cache(&path)) {
                fs::rename(&path, self.home.join(name)).map_err(failed(&path))?;
                moved += 1;
            }
        }
        self.forget_oldest();
        Ok(moved)
    }

    /// Removes the folder of a making.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn forget_work(&self) -> Result<(), ShelfError> {
        let work = self.work();
        match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&work)(error)),
            _ => Ok(()),
        }
    }

    /// Deletes one cache.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn delete(&self, cache: &StartCache) -> Result<(), ShelfError> {
        fs::remove_file(&cache.path).map_err(failed(&cache.path))
    }

    fn work(&self) -> PathBuf {
        self.home.join("training.caches")
    }

    fn forget_oldest(&self) {
        let age = |cache: &StartCache| fs::metadata(&cache.path).and_then(|meta| meta.modified()).ok();
        let mut found = self.list();
        found.sort_by_key(age);
        let surplus = found.len().saturating_sub(KEPT);
        for cache in &found[..surplus] {
            // One that another process deletes at the same time is gone as well.
            let _ = self.delete(cache);
        }
    }
}

/// Whether nobody else of this making has claimed a name.
///
/// # Errors
/// Those of the disk.
pub(crate) fn claim(work: &Path, name: &str) -> io::Result<bool> {
    let path = work.join(format!("{name}.claimed"));
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_cache(path: &Path) -> bool {
    path.extension().is_some_and(|end| ENDS.iter().any(|known| end == *known))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ShelfError + use<> {
    let path = path.to_owned();
    move |source| ShelfError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_making_at_a_time_and_what_a_killed_one_left_is_gone() {
        let scratch = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(&Cache::at(scratch.path()));
        let making = shelf.lock().unwrap();
        assert!(matches!(shelf.lock(), Err(ShelfError::Busy { .. })));
        let work = shelf.begin(&making).unwrap();
        assert!(claim(&work, "a.aot").unwrap() && !claim(&work, "a.aot").unwrap());
        caracal_pki::store::write_private(&work.join("left.aot"), b"x").unwrap();
        shelf.begin(&making).unwrap();
        assert_eq!(shelf.collect(&making).unwrap(), 0, "what was left is no cache");
    }

    #[test]
    fn caches_are_moved_and_of_too_many_the_oldest_go() {
        let scratch = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(&Cache::at(scratch.path()));
        let making = shelf.lock().unwrap();
        for number in 0..=KEPT {
            let work = shelf.begin(&making).unwrap();
            let file = work.join(format!("broker-{number:02}.aot"));
            caracal_pki::store::write_private(&file, b"cache").unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(number as u64 + 1);
            File::open(&file).unwrap().set_modified(time).unwrap();
            claim(&work, "broker").unwrap();
            assert_eq!(shelf.collect(&making).unwrap(), 1);
        }
        let kept = shelf.list();
        assert_eq!((kept.len(), kept[0].bytes), (KEPT, 5));
        assert!(shelf.look("broker-00.aot").is_none() && shelf.look("broker-16.aot").is_some());
        shelf.delete(&kept[0]).unwrap();
        assert!(shelf.delete(&kept[0]).is_err());
    }
}
