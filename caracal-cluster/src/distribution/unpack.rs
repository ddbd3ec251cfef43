//! Unpacks a `tar.gz` against a lock: what is not locked is not written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use flate2::read::GzDecoder;
use ring::digest::{Context, SHA256};

use super::lock::{Fault, Lock, Sha256};

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// It cannot be read, or not be written below the target.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Its content is not what is locked.
    #[error("the archive's content is not what the lock says: {0}")]
    Content(Box<Fault>),
    /// The one who asked has gone.
    #[error("stopped half-way")]
    Cancelled,
}

/// What the unpacking thread and the one who waits for it share.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Bytes of the archive that are read.
    pub(super) done: AtomicU64,
    /// Set by the one who waits: stop.
    pub(super) cancelled: AtomicBool,
}

/// Unpacks `archive` into the new directory `into`. Blocking.
pub(super) fn unpack(archive: &Path, lock: &Lock, into: &Path, watch: &Watch) -> Result<(), UnpackError> {
    let counted = Counted { inner: File::open(archive)?, watch };
    let mut tar = tar::Archive::new(GzDecoder::new(BufReader::with_capacity(1 << 17, counted)));
    fs::create_dir(into)?;
    let mut written = 0;
    for entry in tar.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        // Only locked names are written, and none of those leads out of the directory.
        let locked = lock.file(&name).filter(|_| kind.is_file());
        let locked = locked.ok_or(UnpackError::Content(Box::new(Fault::Extra { name })))?;
        let path = into.join(locked.name());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // `create_new`: an archive that has a name twice is not one we know.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path)?;
        let (sha256, size) = copy(&mut entry, &mut file, watch)?;
        if sha256 != locked.sha256() || size != locked.size() {
            return Err(UnpackError::Content(Box::new(Fault::changed(locked, sha256, size))));
        }
        written += 1;
    }
    if written != lock.files().len() {
        let missing = lock.files().iter().find(|file| !into.join(file.name()).exists());
        let name = missing.map_or_else(String::new, |file| file.name().to_owned());
        return Err(UnpackError::Content(Box::new(Fault::Missing { name })));
    }
    Ok(())
}

/// Copies and digests in one pass.
fn copy(from: &mut impl Read, to: &mut impl Write, watch: &Watch) -> Result<(Sha256, u64), UnpackError> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        if watch.cancelled.load(Ordering::Relaxed) {
            return Err(UnpackError::Cancelled);
        }
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok((Sha256::from_ring(context.finish()), size));
        }
        context.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        size += read as u64;
    }
}

/// Counts what is read, for the progress bar.
struct Counted<'a, R> {
    inner: R,
    watch: &'a Watch,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.watch.done.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use tempfile::TempDir;

    use super::*;

    fn archive(dir: &TempDir, entries: &[(&str, &[u8])]) -> std::path::PathBuf {
        let path = dir.path().join("a.tar.gz");
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path).unwrap();
        let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
        for (name, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o4777);
            // Not `set_path`, which refuses what a hostile archive holds.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, *content).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
        path
    }

    fn lock(files: &[(&str, &[u8])]) -> Lock {
        let line =
            |(name, content): &(&str, &[u8])| format!("{}  {}  {name}\n", Sha256::of(content), content.len());
        Lock::parse(&files.iter().map(line).collect::<String>()).unwrap()
    }

    #[test]
    fn what_is_locked_is_written_and_fits_the_lock() {
        let dir = TempDir::new().unwrap();
        let files: [(&str, &[u8]); 2] = [("lib/a.jar", b"one"), ("run.jar", b"two")];
        let path = archive(&dir, &files);
        let watch = Watch::default();
        let into = dir.path().join("tree");
        unpack(&path, &lock(&files), &into, &watch).unwrap();
        lock(&files).verify(&into).unwrap();
        assert_eq!(watch.done.load(Ordering::Relaxed), fs::metadata(path).unwrap().len());
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(into.join("run.jar")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o7133, 0, "{mode:o}: the archive's modes are not taken over");
    }

    #[test]
    fn what_is_not_locked_is_refused() {
        let locked: [(&str, &[u8]); 2] = [("a", b"one"), ("b", b"two")];
        for (entries, says) in [
            (vec![("../evil", b"x".as_slice())], "../evil does not belong"),
            (vec![("a", b"one".as_slice()), ("c", b"x")], "c does not belong"),
            (vec![("a", b"One".as_slice())], "a has SHA-256"),
            (vec![("a", b"one".as_slice())], "b is missing"),
            (vec![("a", b"one".as_slice()), ("a", b"one")], "exists"),
        ] {
            let dir = TempDir::new().unwrap();
            let path = archive(&dir, &entries);
            let error =
                unpack(&path, &lock(&locked), &dir.path().join("tree"), &Watch::default()).unwrap_err();
            assert!(error.to_string().contains(says), "{error} for {says}");
            assert!(!dir.path().join("evil").exists());
        }
    }

    #[test]
    fn it_stops_when_nobody_waits_any_more() {
        let dir = TempDir::new().unwrap();
        let files: [(&str, &[u8]); 1] = [("a", b"one")];
        let path = archive(&dir, &files);
        let watch = Watch { cancelled: AtomicBool::new(true), ..Watch::default() };
        let result = unpack(&path, &lock(&files), &dir.path().join("tree"), &watch);
        assert!(matches!(result, Err(UnpackError::Cancelled)));
    }
}
