//! Files and directories as the operating system sees them: modes under any umask, at every moment.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use caracal_pki::store::{self, StoreError};

use crate::fixture::{Scratch, command, succeed};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn close(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Also run by the next test in processes of their own, each with another umask.
#[test]
fn modes_are_exact() {
    let scratch = Scratch::new();
    let dir = scratch.path("a/b/c");
    store::create_private_dir(&dir).unwrap();
    store::create_private_dir(&dir).unwrap();
    for made in ["a", "a/b", "a/b/c"] {
        assert_eq!(mode(&scratch.path(made)), 0o700, "{made}");
    }
    store::write_private(&dir.join("key"), b"secret").unwrap();
    store::write_public(&dir.join("certificate"), b"public").unwrap();
    assert_eq!(mode(&dir.join("key")), 0o600);
    assert_eq!(mode(&dir.join("certificate")), 0o644);
    // What is replaced does not pass its mode on.
    close(&dir.join("key"), 0o666);
    store::write_private(&dir.join("key"), b"new").unwrap();
    assert_eq!(mode(&dir.join("key")), 0o600);
    assert_eq!(store::read_private(&dir.join("key")).unwrap().as_slice(), b"new");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "a temporary file was left behind");
}

#[test]
fn modes_are_exact_under_any_umask() {
    let this = std::env::current_exe().unwrap();
    for umask in ["000", "022", "077", "277"] {
        let script = format!("umask {umask} && exec \"$0\" --exact files::modes_are_exact");
        let said = succeed(command("sh").arg("-c").arg(script).arg(&this));
        assert!(said.contains("1 passed"), "{umask}: {said}");
    }
}

/// Run by the next test in a process of its own, with umask 000.
#[test]
fn no_moment_is_open() {
    let scratch = Scratch::new();
    let content = vec![7_u8; 8 << 20];
    let (target, dir) = (scratch.path("key"), scratch.dir().to_owned());
    let enough = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let enough = Arc::clone(&enough);
        move || {
            while !enough.load(Ordering::Relaxed) {
                store::write_private(&target, &content).unwrap();
            }
        }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut seen = BTreeSet::new();
    // The file itself and four temporary ones.
    while seen.len() < 5 && Instant::now() < deadline {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            // It may have got its final name meanwhile.
            if let Ok(metadata) = entry.metadata() {
                assert_eq!(metadata.mode() & 0o077, 0, "{:?} is open to others", entry.file_name());
                seen.insert(entry.file_name());
            }
        }
    }
    enough.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(seen.len() >= 5, "within 20 s only these files were seen: {seen:?}");
}

#[test]
fn no_moment_is_open_without_umask() {
    let this = std::env::current_exe().unwrap();
    let script = "umask 000 && exec \"$0\" --exact files::no_moment_is_open";
    let said = succeed(command("sh").arg("-c").arg(script).arg(&this));
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn links_are_replaced_not_followed() {
    let scratch = Scratch::new();
    let victim = scratch.write("victim", "untouched");
    symlink(&victim, scratch.path("key")).unwrap();
    store::write_private(&scratch.path("key"), b"secret").unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    assert!(fs::symlink_metadata(scratch.path("key")).unwrap().is_file());
}

#[test]
fn open_files_and_directories_are_refused_with_the_command_that_closes_them() {
    let scratch = Scratch::new();
    let key = scratch.write("key", "secret");
    for open in [0o640, 0o604, 0o620, 0o601] {
        close(&key, open);
        let error = store::read_private(&key).unwrap_err();
        assert!(matches!(error, StoreError::OpenToOthers { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("chmod 600 {}", key.display())), "{error}");
    }
    let dir = scratch.path("dir");
    store::create_private_dir(&dir).unwrap();
    close(&dir, 0o755);
    let error = store::create_private_dir(&dir).unwrap_err().to_string();
    assert!(error.contains(&format!("chmod 700 {}", dir.display())) && error.contains("mode 755"), "{error}");
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    let scratch = Scratch::new();
    let mut foreign = scratch.write("key", "secret");
    if std::os::unix::fs::chown(&foreign, Some(12_345), None).is_err() {
        // Only root can give files away; everybody else has root's to try.
        foreign = "/etc/passwd".into();
    }
    let error = store::read_private(&foreign).unwrap_err();
    assert!(matches!(error, StoreError::ForeignOwner { .. }), "{error:?}");
    let foreign = if foreign.starts_with("/etc") {
        "/etc".into()
    } else {
        let dir = scratch.path("dir");
        store::create_private_dir(&dir).unwrap();
        std::os::unix::fs::chown(&dir, Some(12_345), None).unwrap();
        dir
    };
    let error = store::create_private_dir(&foreign).unwrap_err();
    assert!(matches!(error, StoreError::ForeignOwner { .. }), "{error:?}");
}

#[test]
fn what_is_of_the_wrong_kind_is_refused() {
    let scratch = Scratch::new();
    let (file, dir, pipe) = (scratch.write("file", ""), scratch.path("dir"), scratch.path("pipe"));
    store::create_private_dir(&dir).unwrap();
    succeed(command("mkfifo").args(["-m", "600"]).arg(&pipe));
    for error in [
        store::create_private_dir(&file).unwrap_err(),
        store::write_private(&dir, b"").unwrap_err(),
        store::read_private(&dir).unwrap_err(),
        store::read_private(&pipe).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::WrongKind { .. }), "{error:?}");
    }
    for (error, part) in [
        (store::create_private_dir(&file.join("below")).unwrap_err(), "not a directory"),
        (store::write_private(&scratch.path("missing/key"), b"").unwrap_err(), "does not exist"),
        (store::read_private(&scratch.path("missing")).unwrap_err(), "does not exist"),
        (store::write_private(&scratch.path(&"x".repeat(300)), b"").unwrap_err(), "too long"),
        (store::write_private(Path::new("/"), b"").unwrap_err(), "regular file"),
    ] {
        assert!(error.to_string().contains(part), "{part} is not in {error}");
    }
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    // A limit on file size fails in the middle of writing, as a full disk does.
    let scratch = Scratch::new();
    let this = std::env::current_exe().unwrap();
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact files::writing_in_vain --nocapture";
    store::create_private_dir(&scratch.path("small")).unwrap();
    let said = succeed(
        command("sh").arg("-c").arg(script).arg(&this).env("CARACAL_TEST_DIR", scratch.path("small")),
    );
    assert!(said.contains("1 passed") && said.contains("refused: cannot write"), "{said}");
    assert_eq!(fs::read(scratch.path("small/key")).unwrap(), b"old");
    assert_eq!(fs::read_dir(scratch.path("small")).unwrap().count(), 1);
}

/// The inner half of the test above; by itself it writes a large file and all is well.
#[test]
fn writing_in_vain() {
    let scratch = Scratch::new();
    let limited = std::env::var_os("CARACAL_TEST_DIR");
    let key = limited.as_ref().map_or_else(|| scratch.path("key"), |dir| Path::new(dir).join("key"));
    store::write_private(&key, b"old").unwrap();
    match (store::write_private(&key, &vec![1; 1 << 20]), limited) {
        (Ok(()), None) => assert_eq!(store::read_private(&key).unwrap().len(), 1 << 20),
        (Err(error), Some(_)) => println!("refused: {error}"),
        (result, limited) => panic!("{result:?} with {limited:?}"),
    }
}
