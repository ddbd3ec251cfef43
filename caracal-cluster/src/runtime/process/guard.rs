//! Who ends the nodes of a cluster that belongs to a test, when nobody has it any more.
//!
//! A test may die in any way, so what ends its cluster must be somebody else: a shell that waits for a lock. The
//! users of a cluster hold a shared lock on a file, which the kernel takes from them however they end; the shell
//! waits for the exclusive one. It is a shell because a test's program has no other face that could be started, and
//! because it costs 2 MB while it waits.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the guard does: wait until nobody holds the lease and nobody has joined for a while, kill the nodes by their
/// marks, remove the folder and the ports that were leased. It holds a lock of its own (`guard`), by which others know
/// that it is there. Containers are left to whoever sweeps: an engine is not asked by a shell.
const SCRIPT: &str = include_str!("guard.sh");

/// Programs without which there is no guard.
const NEEDS: [&str; 2] = ["flock", "grep"];

/// Starts the guard of a folder; says whether there is one. Where there is no `flock` or no process table that is read
/// as files, there is none: the next sweep does its work.
///
/// # Errors
/// When the shell cannot be started.
#[expect(clippy::disallowed_methods, reason = "the place where guards are started")]
pub(crate) fn start_guard(home: &Path, linger: Duration, ports: &Path) -> io::Result<bool> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if !NEEDS.iter().all(has) || !Path::new("/proc/self/cmdline").exists() {
        return Ok(false);
    }
    // The outer shell ends at once, so that nobody has to wait for the inner one.
    let arguments: [OsString; 6] = [
        "-c".into(),
        SCRIPT.into(),
        "caracal-guard".into(),
        home.into(),
        linger.as_secs().to_string().into(),
        ports.into(),
    ];
    let started = Command::new("/bin/sh")
        .args(arguments)
        .env_clear()
        .env("PATH", path)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // The Ctrl-C that ends the test is not for it.
        .process_group(0)
        .status()?;
    Ok(started.success())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::Instant;

    use super::*;

    fn gone_within(path: &Path, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while path.exists() && Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        !path.exists()
    }

    #[test]
    fn a_folder_stays_while_its_lease_is_held_and_goes_with_it() {
        let scratch = tempfile::tempdir().unwrap();
        let home = scratch.path().join("a home");
        fs::create_dir_all(home.join("state")).unwrap();
        let lease = File::create_new(home.join("lease")).unwrap();
        File::create_new(home.join("guard")).unwrap();
        lease.lock_shared().unwrap();
        assert!(start_guard(&home, Duration::ZERO, &scratch.path().join("ports")).unwrap());
        assert!(!gone_within(&home, Duration::from_millis(300)));
        drop(lease);
        assert!(gone_within(&home, Duration::from_secs(10)));
        assert!(scratch.path().exists());
    }

    #[test]
    fn whoever_joins_while_it_lingers_keeps_the_folder() {
        let scratch = tempfile::tempdir().unwrap();
        let home = scratch.path().join("home");
        fs::create_dir_all(&home).unwrap();
        let lease = File::create_new(home.join("lease")).unwrap();
        File::create_new(home.join("guard")).unwrap();
        lease.lock_shared().unwrap();
        assert!(start_guard(&home, Duration::from_secs(1), &scratch.path().join("ports")).unwrap());
        drop(lease);
        let second = File::open(home.join("lease")).unwrap();
        second.lock_shared().unwrap();
        assert!(!gone_within(&home, Duration::from_millis(1500)));
        drop(second);
        assert!(gone_within(&home, Duration::from_secs(10)));
    }
}
