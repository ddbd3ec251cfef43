//! Files: the only module of this crate that touches the file system.
//!
//! A file has its final mode from the moment it exists, appears under its name only when whole (written
//! beside it, then renamed), and replaces what was there; a symbolic link of that name is replaced, never
//! followed. Nothing is synced to the disk: certificates and stores can be made again, and after a power cut a torn
//! one is found by its reader.
//!
//! ```
//! use caracal_pki::store;
//!
//! # let scratch = tempfile::tempdir().unwrap();
//! let dir = scratch.path().join("secrets");
//! store::create_private_dir(&dir)?;
//! store::write_private(&dir.join("client.key"), b"not a real key")?;
//! assert_eq!(store::read_private(&dir.join("client.key"))?.as_slice(), b"not a real key");
//! # Ok::<(), store::StoreError>(())
//! ```

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::x509::hexadecimal;

/// What went wrong with a file or directory: which, why, and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} {}: {reason}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// File or directory.
        path: PathBuf,
        /// Likely cause and next step.
        reason: &'static str,
        /// The operating system's own words.
        #[source]
        source: io::Error,
    },
    /// Others than the owner can get at it.
    #[error(
        "{} is open to other users (mode {mode:03o}); if nobody else can have used it, run: chmod {wanted:o} {}",
        path.display(), path.display()
    )]
    OpenToOthers {
        /// File or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The permission bits that it should have.
        wanted: u32,
    },
    /// It belongs to somebody else.
    #[error(
        "{} belongs to user {owner}, but this process runs as user {user}; run as that user or choose another path",
        path.display()
    )]
    ForeignOwner {
        /// File or directory.
        path: PathBuf,
        /// User id of its owner.
        owner: u32,
        /// User id of this process.
        user: u32,
    },
    /// It is there, but not a regular file or not a directory.
    #[error("{} is not a {wanted}; move it away or choose another path", path.display())]
    WrongKind {
        /// What is there.
        path: PathBuf,
        /// What should be there.
        wanted: &'static str,
    },
}

/// Creates a directory, and those above it that are missing, for the owner alone (mode 0700). One that is
/// there already is taken if it is the owner's and closed to others.
///
/// # Errors
/// [`StoreError::OpenToOthers`], [`StoreError::ForeignOwner`], [`StoreError::WrongKind`],
/// [`StoreError::Io`].
pub fn create_private_dir(path: &Path) -> Result<(), StoreError> {
    let action = "create directory";
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && fs::symlink_metadata(dir).is_err())
        .collect();
    for dir in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(dir) {
            // Somebody else of this user made it meanwhile; the check below decides.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_error(action, dir, error)),
            // A umask can only have taken bits away, also the owner's.
            Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o700))
                .map_err(|error| io_error(action, dir, error))?,
        }
    }
    let metadata = fs::metadata(path).map_err(|error| io_error(action, path, error))?;
    if !metadata.is_dir() {
        return Err(StoreError::WrongKind { path: path.to_owned(), wanted: "directory" });
    }
    check_private(path, &metadata, 0o700)
}

/// Writes a file that only its owner can read (mode 0600 from creation), atomically.
///
/// # Errors
/// [`StoreError::Io`], [`StoreError::WrongKind`] when a directory has that name. What was there stays.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write(path, bytes, 0o600)
}

/// Writes a file that everybody can read (mode 0644 whatever the umask), atomically. For certificates and
/// configuration, never for keys and passwords.
///
/// # Errors
/// As [`write_private`].
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write(path, bytes, 0o644)
}

/// Reads a file that must be the owner's and closed to others. The content is zeroed on drop.
///
/// # Errors
/// [`StoreError::OpenToOthers`], [`StoreError::ForeignOwner`], [`StoreError::WrongKind`],
/// [`StoreError::Io`].
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let action = "read";
    // Not blocking: a pipe of that name would otherwise hold us up for ever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|error| io_error(action, path, error.into()))?;
    let mut file = File::from(file);
    // Of the open file, so that nobody can exchange it between check and reading.
    let metadata = file.metadata().map_err(|error| io_error(action, path, error))?;
    if !metadata.is_file() {
        return Err(StoreError::WrongKind { path: path.to_owned(), wanted: "regular file" });
    }
    check_private(path, &metadata, 0o600)?;
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    file.read_to_end(&mut content).map_err(|error| io_error(action, path, error))?;
    Ok(content)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(StoreError::WrongKind { path: path.to_owned(), wanted: "regular file" });
    }
    let failed = |error| io_error("write", path, error);
    let temporary = temporary_name(path).map_err(failed)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&temporary, flags, Mode::from_raw_mode(mode))
        .map_err(|error| failed(error.into()))?;
    let result = fill(File::from(file), bytes, mode).and_then(|()| fs::rename(&temporary, path));
    result.map_err(|error| {
        // Best effort: the first error is the one that matters.
        let _ = fs::remove_file(&temporary);
        failed(error)
    })
}

fn fill(mut file: File, bytes: &[u8], mode: u32) -> io::Result<()> {
    // The umask has taken bits away at most; this gives them back.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)
}

/// A hidden name in the same directory, so that the rename stays within one file system.
fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut random = [0_u8; 8];
    SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("no random octets"))?;
    // The name is cut so that the longest legal one still has room for what is added.
    let name: String = name.to_string_lossy().chars().take(40).collect();
    Ok(path.with_file_name(format!(".{name}.{}.tmp", hexadecimal(&random))))
}

fn check_private(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), StoreError> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(StoreError::ForeignOwner { path: path.to_owned(), owner: metadata.uid(), user });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreError::OpenToOthers { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    let reason = match Errno::from_io_error(&source) {
        Some(Errno::NOSPC) => "the disk is full; free space there or choose another directory",
        Some(Errno::DQUOT) => "your disk quota is used up; free space there or choose another directory",
        Some(Errno::ROFS) => "the file system is read-only; choose a directory on another one",
        Some(Errno::ACCESS | Errno::PERM) => {
            "permission is denied; check owner and mode of it and of the directories above it"
        }
        Some(Errno::NOENT) => "it, or a directory above it, does not exist",
        Some(Errno::NOTDIR) => "something above it is not a directory",
        Some(Errno::NAMETOOLONG) => "the path is too long; choose a shorter one",
        Some(Errno::MFILE | Errno::NFILE) => "too many files are open; raise the limit with 'ulimit -n'",
        Some(Errno::IO) => "the device reports an error; look at the system's log",
        _ if source.kind() == io::ErrorKind::InvalidInput => "the path does not end in a file name",
        _ => "the operating system refused",
    };
    StoreError::Io { action, path: path.to_owned(), reason, source }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn errors_name_path_cause_and_next_step_and_keep_the_source() {
        for (errno, part) in [
            (Errno::NOSPC, "disk is full; free space"),
            (Errno::DQUOT, "quota"),
            (Errno::ROFS, "read-only; choose"),
            (Errno::ACCESS, "permission is denied; check"),
            (Errno::PERM, "permission is denied; check"),
            (Errno::MFILE, "ulimit"),
            (Errno::IO, "system's log"),
            (Errno::BUSY, "refused"),
        ] {
            let error = io_error("write", Path::new("/state/key"), errno.into());
            let text = error.to_string();
            assert!(text.starts_with("cannot write /state/key: ") && text.contains(part), "{text}");
            let source = error.source().unwrap().to_string();
            assert!(!text.contains(&source), "the source is repeated: {text}");
        }
    }
}
