//! Lists of files with their SHA-256 and size: what a downloaded distribution must consist of.
//!
//! A lock is text, one line a file, `sha256  size  name`, in the order of the names; lines that begin
//! with `#` and empty lines say nothing. The committed locks (folder `locks`) are compiled in, so the
//! plan knows the names of Kafka's jars without any I/O.
//!
//! ```
//! use caracal_cluster::distribution::Lock;
//!
//! let lock = Lock::parse("# two files\n\
//!     e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  0  a.jar\n\
//!     e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  0  lib/b.jar\n")?;
//! assert_eq!(lock.files()[1].name(), "lib/b.jar");
//! # Ok::<(), caracal_cluster::distribution::LockError>(())
//! ```

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use ring::digest::{Context, SHA256, digest};

/// A SHA-256 digest; shown in lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_ring(digest(&SHA256, bytes))
    }

    /// The digest of everything that `reader` gives, and how many bytes that was.
    ///
    /// # Errors
    /// Those of `reader`.
    pub fn of_reader(mut reader: impl Read) -> io::Result<(Self, u64)> {
        let mut context = Context::new(&SHA256);
        let mut buffer = vec![0; 1 << 17];
        let mut size = 0;
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => return Ok((Self::from_ring(context.finish()), size)),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            context.update(&buffer[..read]);
            size += read as u64;
        }
    }

    pub(super) fn from_ring(digest: ring::digest::Digest) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// The first two bytes, for whoever needs a number that depends on something.
    pub(crate) fn first_bytes(self) -> [u8; 2] {
        [self.0[0], self.0[1]]
    }

    fn parse(text: &str) -> Option<Self> {
        // `hex` reads capitals too; one digest has one spelling here, so that locks compare as text.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

/// One file of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedFile {
    sha256: Sha256,
    size: u64,
    name: String,
}

impl LockedFile {
    /// Path below the distribution's directory, with `/` between the parts.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Digest of the content.
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }
}

/// The files of a distribution, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    files: Vec<LockedFile>,
}

/// Why a text is not a lock.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the lock: {problem}")]
pub struct LockError {
    line: usize,
    problem: &'static str,
}

impl Lock {
    /// Reads a lock.
    ///
    /// # Errors
    /// [`LockError`] with the line: not three fields, a digest or size that is none, a name that would
    /// leave the directory, names out of order or twice.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let mut files: Vec<LockedFile> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fail = |problem| LockError { line: index + 1, problem };
            let file = parse_line(line).map_err(fail)?;
            if files.last().is_some_and(|last| last.name >= file.name) {
                return Err(fail("names are not in ascending order"));
            }
            files.push(file);
        }
        Ok(Self { files })
    }

    /// The canonical text: one line a file, no comments.
    pub fn render(&self) -> String {
        let line = |file: &LockedFile| format!("{}  {}  {}\n", file.sha256, file.size, file.name);
        self.files.iter().map(line).collect()
    }

    /// The files, in the order of their names.
    pub fn files(&self) -> &[LockedFile] {
        &self.files
    }

    /// Looks a file up by its name.
    pub fn file(&self, name: &str) -> Option<&LockedFile> {
        let at = self.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok()?;
        Some(&self.files[at])
    }

    /// Sum of the sizes in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// First 12 hex digits of the digest of the canonical text: another lock is another directory.
    pub fn short_digest(&self) -> String {
        Sha256::of(self.render().as_bytes()).to_string()[..12].to_owned()
    }

    /// Compares a directory with this lock: every file's size and digest, and no file beside them.
    ///
    /// Blocking; reads everything, on as many threads as there are processors.
    ///
    /// # Errors
    /// [`VerifyError`] with everything that differs.
    pub fn verify(&self, dir: &Path) -> Result<(), VerifyError> {
        let mut faults = self.extra_files(dir);
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Vec::new());
        let threads = thread::available_parallelism().map_or(1, usize::from).min(8);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(file) = self.files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Some(fault) = check_file(dir, file) {
                            found.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(fault);
                        }
                    }
                });
            }
        });
        faults.extend(found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()));
        if faults.is_empty() {
            return Ok(());
        }
        faults.sort_by(|a, b| a.name().cmp(b.name()));
        Err(VerifyError { dir: dir.to_owned(), faults })
    }

    fn extra_files(&self, dir: &Path) -> Vec<Fault> {
        match files_below(dir) {
            // A directory that is not there: each of its files is reported as missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => vec![Fault::Unreadable { name: ".".to_owned(), reason: error.to_string() }],
            Ok(names) => names
                .into_iter()
                .filter(|name| self.file(name).is_none())
                .map(|name| Fault::Extra { name })
                .collect(),
        }
    }
}

/// Makes the lock of everything below `dir`.
///
/// For whoever moves to a new version: install it once, look at what came, commit the text.
///
/// # Errors
/// A file that cannot be read, that is a link or no file at all, or whose name cannot stand in a lock.
pub fn lock_from_directory(dir: &Path) -> io::Result<Lock> {
    let mut files = Vec::new();
    for name in files_below(dir)? {
        let invalid =
            |problem: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {problem}"));
        check_name(&name).map_err(invalid)?;
        let path = dir.join(&name);
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(invalid("is neither a file nor a directory"));
        }
        let (sha256, size) = Sha256::of_reader(File::open(&path)?)?;
        files.push(LockedFile { sha256, size, name });
    }
    Ok(Lock { files })
}

/// What differs between a directory and its lock.
#[derive(Debug)]
pub struct VerifyError {
    dir: PathBuf,
    faults: Vec<Fault>,
}

impl VerifyError {
    /// The directory that was looked at.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Everything that differs, in the order of the names.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl std::error::Error for VerifyError {}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        write!(f, "{} is not what the lock says: ", self.dir.display())?;
        for (index, fault) in self.faults.iter().take(SHOWN).enumerate() {
            write!(f, "{}{fault}", if index == 0 { "" } else { "; " })?;
        }
        if let Some(more) = self.faults.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            write!(f, "; and {more} more")?;
        }
        write!(
            f,
            ". Nothing was started from it. Find out who changed it, then delete the directory: \
             the next run fetches it anew"
        )
    }
}

/// One difference between a directory and its lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The content is another one.
    #[error("{name} has SHA-256 {found} ({size} bytes), expected {expected} ({locked_size} bytes)")]
    Changed {
        /// Name in the lock.
        name: String,
        /// The locked digest.
        expected: Sha256,
        /// The locked size in bytes.
        locked_size: u64,
        /// The digest of what lies there.
        found: Sha256,
        /// Its size in bytes.
        size: u64,
    },
    /// The file is not there.
    #[error("{name} is missing")]
    Missing {
        /// Name in the lock.
        name: String,
    },
    /// A file, link or other entry that the lock does not know.
    #[error("{name} does not belong there")]
    Extra {
        /// Path below the directory.
        name: String,
    },
    /// It could not be read, or is no regular file.
    #[error("{name} cannot be read ({reason})")]
    Unreadable {
        /// Name in the lock.
        name: String,
        /// The system's words.
        reason: String,
    },
}

impl Fault {
    /// Path below the directory.
    pub fn name(&self) -> &str {
        match self {
            Self::Changed { name, .. }
            | Self::Missing { name }
            | Self::Extra { name }
            | Self::Unreadable { name, .. } => name,
        }
    }

    /// `found` lies where `file` should.
    pub(super) fn changed(file: &LockedFile, found: Sha256, size: u64) -> Self {
        let name = file.name.clone();
        Self::Changed { name, expected: file.sha256, locked_size: file.size, found, size }
    }
}

fn check_file(dir: &Path, file: &LockedFile) -> Option<Fault> {
    let name = || file.name.clone();
    let path = dir.join(&file.name);
    let digest = fs::symlink_metadata(&path).and_then(|metadata| {
        if metadata.is_file() {
            Sha256::of_reader(File::open(&path)?)
        } else {
            Err(io::Error::other("it is not a regular file"))
        }
    });
    match digest {
        Ok((sha256, size)) if sha256 == file.sha256 && size == file.size => None,
        Ok((sha256, size)) => Some(Fault::changed(file, sha256, size)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Fault::Missing { name: name() }),
        Err(error) => Some(Fault::Unreadable { name: name(), reason: error.to_string() }),
    }
}

/// The names of everything below `dir` that is no directory.
fn files_below(dir: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut open = vec![(dir.to_owned(), String::new())];
    while let Some((dir, prefix)) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                open.push((entry.path(), format!("{name}/")));
            } else {
                names.insert(name);
            }
        }
    }
    Ok(names)
}

fn parse_line(line: &str) -> Result<LockedFile, &'static str> {
    let mut fields = line.splitn(3, "  ");
    let (Some(sha256), Some(size), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("not of the form `sha256  size  name`");
    };
    let sha256 = Sha256::parse(sha256).ok_or("the digest is not 64 lower-case hex digits")?;
    let plain = !size.starts_with('+') && (size == "0" || !size.starts_with('0'));
    let size = size.parse().ok().filter(|_| plain).ok_or("the size is not a number of bytes")?;
    check_name(name)?;
    Ok(LockedFile { sha256, size, name: name.to_owned() })
}

/// A name must stay below the directory and on its line.
fn check_name(name: &str) -> Result<(), &'static str> {
    if name.chars().any(|c| c.is_control() || c == '\\') {
        return Err("the name holds a control character or a backslash");
    }
    if name.starts_with(char::is_whitespace) || name.ends_with(char::is_whitespace) {
        return Err("the name begins or ends with a space");
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("the name is not a plain path below the directory");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, prelude::*};
    use tempfile::TempDir;

    use super::*;

    /// The test's own writer: what the lock code writes is not what the lock code should judge by.
    #[expect(clippy::disallowed_methods, reason = "files of a test")]
    fn put(dir: &Path, name: &str, content: &[u8]) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn two_jars() -> (TempDir, Lock) {
        let dir = TempDir::new().unwrap();
        put(dir.path(), "a.jar", b"first");
        put(dir.path(), "lib/b.jar", b"second");
        let lock = lock_from_directory(dir.path()).unwrap();
        (dir, lock)
    }

    #[test]
    fn a_directory_fits_the_lock_made_of_it() {
        let (dir, lock) = two_jars();
        assert_eq!(lock.files().len(), 2);
        assert_eq!(lock.total_bytes(), 11);
        // From `printf second | sha256sum`.
        let second = "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4";
        assert_eq!(lock.file("lib/b.jar").unwrap().sha256().to_string(), second);
        lock.verify(dir.path()).unwrap();
    }

    #[test]
    fn a_tampered_jar_is_refused_with_both_digests_its_place_and_the_next_step() {
        let (dir, lock) = two_jars();
        put(dir.path(), "a.jar", b"First");
        let error = lock.verify(dir.path()).unwrap_err();
        let text = error.to_string();
        for part in ["a.jar", &dir.path().display().to_string(), "delete the directory"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains(&Sha256::of(b"first").to_string()), "{text}");
        assert!(text.contains(&Sha256::of(b"First").to_string()), "{text}");
        assert!(!text.contains("b.jar"), "{text}");
    }

    #[test]
    fn missing_extra_and_linked_files_are_named() {
        let (dir, lock) = two_jars();
        fs::rename(dir.path().join("a.jar"), dir.path().join("c.jar")).unwrap();
        fs::remove_file(dir.path().join("lib/b.jar")).unwrap();
        put(dir.path(), "second", b"second");
        std::os::unix::fs::symlink("../second", dir.path().join("lib/b.jar")).unwrap();
        let error = lock.verify(dir.path()).unwrap_err();
        let extra = |name: &str| Fault::Extra { name: name.to_owned() };
        assert_eq!(error.faults()[0], Fault::Missing { name: "a.jar".to_owned() });
        assert_eq!(error.faults()[1], extra("c.jar"));
        assert!(matches!(&error.faults()[2], Fault::Unreadable { name, .. } if name == "lib/b.jar"));
        assert_eq!(error.faults()[3], extra("second"));
        let gone = lock.verify(&dir.path().join("nowhere")).unwrap_err();
        assert!(gone.faults().iter().all(|fault| matches!(fault, Fault::Missing { .. })));
    }

    #[test]
    fn what_is_no_lock_is_refused_with_its_line() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (text, problem) in [
            ("x".to_owned(), "not of the form"),
            (format!("{digest} 0 a.jar"), "not of the form"),
            (format!("{}  0  a.jar", &digest[1..]), "64 lower-case hex digits"),
            (format!("{}  0  a.jar", digest.to_uppercase()), "64 lower-case hex digits"),
            (format!("{digest}  -1  a.jar"), "not a number of bytes"),
            (format!("{digest}  +1  a.jar"), "not a number of bytes"),
            (format!("{digest}  01  a.jar"), "not a number of bytes"),
            (format!("{digest}  0  ../a.jar"), "not a plain path"),
            (format!("{digest}  0  /a.jar"), "not a plain path"),
            (format!("{digest}  0  lib//a.jar"), "not a plain path"),
            (format!("{digest}  0  b.jar\n{digest}  0  a.jar"), "ascending order"),
            (format!("{digest}  0  a.jar\n{digest}  0  a.jar"), "ascending order"),
        ] {
            let error = Lock::parse(&format!("# heading\n{text}")).unwrap_err().to_string();
            assert!(error.contains(problem), "{error} for {text}");
            assert!(error.starts_with(&format!("line {} of", 1 + text.lines().count())), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_read_back(
            entries in btree_map("[a-z0-9][a-z0-9 _.-]{0,8}[a-z](/[a-zA-Z0-9_-]{1,9}){0,2}", any::<(u64, [u8; 32])>(), 0..20)
        ) {
            let files = entries.into_iter().map(|(name, (size, bytes))| {
                LockedFile { sha256: Sha256(bytes), size, name }
            });
            let lock = Lock { files: files.collect() };
            prop_assert_eq!(&Lock::parse(&lock.render()).unwrap(), &lock);
            let commented = format!("# heading\n\n{}", lock.render());
            prop_assert_eq!(Lock::parse(&commented).unwrap().short_digest(), lock.short_digest());
        }

        #[test]
        fn no_text_makes_the_parser_panic_or_accept_a_way_out(text in "[ -~\n]{0,200}", name in "[./a\\\\]{1,12}") {
            let _ = Lock::parse(&text);
            let line = format!("{}  1  {name}", Sha256([7; 32]));
            if let Ok(lock) = Lock::parse(&line) {
                let path = Path::new("/base").join(lock.files()[0].name());
                prop_assert!(path.starts_with("/base"));
                prop_assert!(path.components().all(|part| !matches!(part, std::path::Component::ParentDir)));
            }
        }
    }
}
