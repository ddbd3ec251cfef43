//! Directories, locks and records.

use tempfile::TempDir;

use super::*;

fn dir() -> (TempDir, ClusterDir) {
    let temp = TempDir::new().unwrap();
    let root = StateRoot::at(&temp.path().join("state")).unwrap();
    (temp, root.cluster(&"caracal".parse().unwrap()))
}

#[test]
fn a_second_holder_is_told_who_the_first_is() {
    let (_temp, dir) = dir();
    let lock = dir.lock("cluster up").unwrap();
    let error = dir.lock("cluster down").unwrap_err().to_string();
    assert!(error.contains("`cluster up`") && error.contains(&std::process::id().to_string()), "{error}");
    drop(lock);
    dir.lock("cluster down").unwrap();
}

#[test]
fn a_removed_cluster_leaves_nothing_behind() {
    let (temp, dir) = dir();
    let lock = dir.lock("cluster up").unwrap();
    dir.create().unwrap();
    dir.write(&dir.spec(), b"name = \"caracal\"\n").unwrap();
    dir.remove(lock).unwrap();
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    dir.lock("cluster up").unwrap();
}

#[test]
fn another_clusters_files_survive_a_removal() {
    let (_temp, dir) = dir();
    let other = ClusterDir { root: dir.root.clone(), name: "other".parse().unwrap() };
    dir.create().unwrap();
    other.create().unwrap();
    dir.remove(dir.lock("down").unwrap()).unwrap();
    assert!(other.exists() && !dir.exists());
}

#[test]
fn a_root_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_temp, dir) = dir();
    std::fs::create_dir_all(&dir.root).unwrap();
    std::fs::set_permissions(&dir.root, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = dir.create().unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("chmod 700"), "{source}");
}

#[test]
fn a_newer_record_is_refused_by_its_number() {
    let (_temp, dir) = dir();
    dir.create().unwrap();
    dir.write(&dir.record(), br#"{"format": 99, "something": "new"}"#).unwrap();
    let error = dir.read_record().unwrap_err().to_string();
    assert!(error.contains("format 99") && error.contains("newer version"), "{error}");
}

#[test]
fn a_damaged_record_names_its_file() {
    let (_temp, dir) = dir();
    dir.create().unwrap();
    dir.write(&dir.record(), b"{").unwrap();
    let error = dir.read_record().unwrap_err().to_string();
    assert!(error.contains("cluster.json"), "{error}");
}

#[test]
fn an_equal_file_is_not_written_again() {
    let (_temp, dir) = dir();
    dir.create().unwrap();
    let path = dir.path().join("a/b");
    assert!(dir.write(&path, b"x").unwrap());
    assert!(!dir.write(&path, b"x").unwrap());
    assert!(dir.write(&path, b"y").unwrap());
}
