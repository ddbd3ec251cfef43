use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

#[expect(clippy::disallowed_methods, reason = "files of a test")]
fn home(dir: &Path, name: &str, release: Option<&str>, script: &str) -> PathBuf {
    let home = dir.join(name);
    fs::create_dir_all(home.join("bin")).unwrap();
    let java = home.join("bin/java");
    fs::write(&java, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&java, fs::Permissions::from_mode(0o755)).unwrap();
    if let Some(version) = release {
        fs::write(home.join("release"), format!("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"{version}\"\n")).unwrap();
    }
    fs::canonicalize(home).unwrap()
}

fn java(home: &str, version: &str) -> Java {
    Java { home: home.into(), version: version.parse().unwrap(), source: JavaSource::Folder }
}

#[test]
fn versions_are_read_and_ordered() {
    for (text, major) in [("25.0.3", 25), ("1.8.0_392", 8), ("17", 17), ("26-ea", 26), ("21.0.1+12-LTS", 21)]
    {
        let version: JavaVersion = text.parse().unwrap();
        assert_eq!((version.major(), version.to_string().as_str()), (major, text));
    }
    for text in ["", "x", ".1", "999999999999"] {
        assert!(text.parse::<JavaVersion>().is_err(), "{text}");
    }
    let order = |text: &str| text.parse::<JavaVersion>().unwrap();
    assert!(order("21.0.10").order() > order("21.0.9").order());
    assert!(order("1.8.0_392").order() < order("11").order());
}

#[test]
fn the_newest_that_was_tried_is_taken() {
    let all = vec![java("/a", "21.0.9"), java("/b", "25.0.3"), java("/c", "27"), java("/d", "25.0.3")];
    assert_eq!(choose(all.clone(), 21).unwrap().home, Path::new("/b"));
    assert_eq!(choose(all[..1].to_vec(), 21).unwrap().home, Path::new("/a"));
    assert_eq!(choose(vec![java("/c", "27"), java("/a", "17")], 21).unwrap().home, Path::new("/c"));
}

#[test]
fn no_fitting_java_says_what_is_there_and_what_to_install() {
    let error =
        choose(vec![java("/old", "17.0.15"), java("/older", "1.8.0_392")], 21).unwrap_err().to_string();
    for part in
        ["older than 21", "17.0.15 in /old", "1.8.0_392 in /older", "openjdk-21-jre-headless", "CARACAL_JAVA"]
    {
        assert!(error.contains(part), "{part} in {error}");
    }
    let error = choose(Vec::new(), 17).unwrap_err().to_string();
    assert!(error.contains("no Java was found") && error.contains("/usr/lib/jvm"), "{error}");
    let error =
        JavaError::NoneFound { minimum: 21, fetch: Some("python3 is not there".to_owned()) }.to_string();
    assert!(error.ends_with("None could be fetched either: python3 is not there"), "{error}");
}

#[tokio::test]
async fn the_release_file_tells_the_version_without_starting_anything() {
    let dir = TempDir::new().unwrap();
    let marker = dir.path().join("started");
    let at = home(dir.path(), "jdk", Some("25.0.3"), &format!("touch {}", marker.display()));
    std::os::unix::fs::symlink(&at, dir.path().join("default")).unwrap();
    let places = ["jdk", "default", "nowhere"].map(|name| (dir.path().join(name), JavaSource::Folder));
    let found = look(places.to_vec()).await;
    assert_eq!(found.len(), 1, "a link to it is the same one: {found:?}");
    assert_eq!((found[0].home.as_path(), found[0].version.major()), (at.as_path(), 25));
    assert_eq!(found[0].program(), at.join("bin/java"));
    assert!(!marker.exists());
}

#[tokio::test]
async fn without_a_release_file_java_is_asked() {
    let dir = TempDir::new().unwrap();
    let real = home(dir.path(), "real", None, "");
    let script = format!("printf '    java.home = {}\\n    java.version = 21.0.4\\n' >&2", real.display());
    let shim = home(dir.path(), "shims", None, &script);
    let java = look_at(&shim, JavaSource::Path).await.unwrap();
    assert_eq!((java.home, java.version.major()), (real.clone(), 21));
    assert!(look_at(&real, JavaSource::Path).await.is_none(), "it says nothing");
}

#[tokio::test]
async fn a_named_java_must_fit() {
    let dir = TempDir::new().unwrap();
    let old = home(dir.path(), "old", Some("11.0.2"), "");
    let error = named_java(old, 17).await.unwrap_err().to_string();
    assert!(error.contains("is Java 11.0.2, but at least 17"), "{error}");
    let error = named_java(dir.path().to_owned(), 17).await.unwrap_err();
    assert!(matches!(error, JavaError::NamedIsNone { .. }), "{error}");
}

proptest! {
    #[test]
    fn any_text_as_a_version_is_read_or_refused(text in "\\PC{0,20}") {
        if let Ok(version) = text.parse::<JavaVersion>() {
            prop_assert_eq!(version.to_string(), text);
        }
    }
}
