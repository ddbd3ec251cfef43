//! Small things that every judge needs: the async runtime, programs of this machine, waiting, spoiling files.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made")
});

/// Runs a future to its end on the suite's runtime.
pub(crate) fn block<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}

/// Runs a future beside the tests.
pub(crate) fn beside(future: impl Future<Output = ()> + Send + 'static) {
    RUNTIME.spawn(future);
}

/// Says something to whoever watches the suite.
#[expect(clippy::print_stderr, reason = "the suite's own words go beside libtest's lines")]
pub(crate) fn tell(line: &str) {
    eprintln!("live: {line}");
}

/// What has to be installed for a program to be there.
const PACKAGES: &[(&str, &str)] = &[
    ("java", "a JDK 21 or newer (`apt-get install openjdk-21-jdk-headless`)"),
    ("keytool", "a JDK 21 or newer (`apt-get install openjdk-21-jdk-headless`)"),
    ("chromium", "Chromium (`apt-get install chromium`)"),
    ("curl", "curl (`apt-get install curl`)"),
    ("git", "git (`apt-get install git`)"),
    ("kcat", "kcat (`apt-get install kcat`)"),
    ("mvn", "Maven (`apt-get install maven`)"),
    ("openssl", "OpenSSL 3 (`apt-get install openssl`)"),
    ("python3", "Python 3 with venv (`apt-get install python3-venv`)"),
    ("bash", "bash (`apt-get install bash`)"),
    ("script", "bsdutils (`apt-get install bsdutils`)"),
    ("unshare", "util-linux (`apt-get install util-linux`)"),
];

/// The path of a prerequisite.
///
/// # Errors
/// Says what to install: a judge that is not there must not look like one that found nothing.
pub(crate) fn need(program: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| {
        let package =
            PACKAGES.iter().find(|(name, _)| *name == program).map_or(program, |(_, package)| package);
        anyhow!("the live suite needs `{program}`, which is not on PATH: install {package}")
    })
}

/// Waits until a look finds what is awaited; a look that finds it not yet says what it saw.
pub(crate) fn await_until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        let seen = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => "not yet".to_owned(),
            Err(seen) => seen,
        };
        if Instant::now() >= end {
            bail!("waited {deadline:?} for {what}, in vain; last seen: {seen}");
        }
        block(async { tokio::time::sleep(Duration::from_millis(50)).await });
    }
}

/// Writes a file as somebody who tampers would: in place, mode and owner kept.
#[expect(
    clippy::disallowed_methods,
    reason = "the file keeps its inode and mode, which is what a hand edit does"
)]
pub(crate) fn spoil(path: &Path, bytes: &[u8]) -> Result<()> {
    if !path.exists() {
        bail!("{} is not there to be changed", path.display());
    }
    std::fs::write(path, bytes).with_context(|| format!("changing {}", path.display()))
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Every file and folder below a folder, itself included; links are not followed.
pub(crate) fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut at = 0;
    while at < found.len() {
        let dir = found[at].clone();
        at += 1;
        let is_dir = std::fs::symlink_metadata(&dir).is_ok_and(|entry| entry.is_dir());
        if is_dir && let Ok(entries) = std::fs::read_dir(&dir) {
            let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            found.extend(paths);
        }
    }
    found
}

/// Whether the suite runs as root, which some faults need.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
