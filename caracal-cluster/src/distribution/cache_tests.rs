//! Installations with a stand-in for Maven: a script that puts given files where it is told to.

use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::Mutex,
    time::Instant,
};

use super::*;

const JAR: &str = "probe-1.jar";

/// An artifact of one jar that holds `content`.
fn artifact(content: &'static str) -> &'static Artifact {
    let digest = crate::distribution::Sha256::of(content.as_bytes());
    let text = format!("{digest}  {}  {JAR}\n", content.len());
    Box::leak(Box::new(Artifact::for_test(text.leak())))
}

/// `mvn` as a shell script; `body` sees the directory to fill as `$out`.
#[expect(clippy::disallowed_methods, reason = "a script of a test")]
fn maven(dir: &Path, body: &str) -> Tools {
    let path = dir.join("mvn");
    let find = r#"for arg; do case "$arg" in -DoutputDirectory=*) out="${arg#*=}";; esac; done"#;
    fs::write(&path, format!("#!/bin/sh\n{find}\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Tools { maven: Some(path), ..Tools::default() }
}

fn silent(_: Progress<'_>) {}

#[tokio::test]
async fn what_maven_brings_is_checked_and_kept() {
    let dir = TempDir::new().unwrap();
    let cache = Cache::at(dir.path().join("deep/cache"));
    let seen = Mutex::new(Vec::new());
    let tools = maven(
        dir.path(),
        &format!("printf good > \"$out/{JAR}\"; echo \"[INFO] Copying {JAR} to $out/{JAR}\""),
    );
    let artifact = artifact("good");
    assert!(cache.installed(artifact).is_none());
    let report = |progress: Progress<'_>| {
        seen.lock().unwrap().push((progress.what.to_owned(), progress.done, progress.total, progress.unit));
    };
    let installed = cache.install(artifact, &tools, &report).await.unwrap();
    installed.verify().await.unwrap();
    assert_eq!(installed.kafka_class_path(), [cache.directory(artifact).join(JAR)]);
    let seen = seen.into_inner().unwrap();
    // One file: no bar that stands still until it is there.
    let step = |done, total| ("fetching probe 1".to_owned(), done, total, Unit::Files);
    assert_eq!(seen, [step(0, 0), step(1, 1)]);
    assert_eq!(["", " (158 MB)"], [999_999, 158_400_000].map(maven::megabytes));
    let mode = fs::metadata(cache.root()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    let broken = maven(dir.path(), "exit 1");
    cache.install(artifact, &broken, &silent).await.expect("installed already: Maven is not asked");
}

#[tokio::test]
async fn what_is_not_locked_is_thrown_away() {
    let dir = TempDir::new().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let tools = maven(dir.path(), &format!("printf evil > \"$out/{JAR}\""));
    let artifact = artifact("good");
    let error = cache.install(artifact, &tools, &silent).await.unwrap_err();
    assert!(matches!(error, InstallError::Verify(_)), "{error}");
    assert!(error.to_string().contains(JAR), "{error}");
    assert!(cache.installed(artifact).is_none());
    let left: Vec<_> = fs::read_dir(cache.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [format!("{}.lock", artifact.directory_name()).as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_one_fetches() {
    let dir = TempDir::new().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let count = dir.path().join("count");
    let body = format!("echo x >> {}; sleep 0.4; printf good > \"$out/{JAR}\"", count.display());
    let tools = maven(dir.path(), &body);
    let artifact = artifact("good");
    let waited = Mutex::new(false);
    let report =
        |progress: Progress<'_>| *waited.lock().unwrap() |= progress.what.starts_with("waiting for another");
    let (a, b) =
        tokio::join!(cache.install(artifact, &tools, &report), cache.install(artifact, &tools, &report),);
    assert_eq!(a.unwrap().dir(), b.unwrap().dir());
    assert_eq!(fs::read_to_string(count).unwrap(), "x\n");
    assert!(waited.into_inner().unwrap());
}

#[tokio::test]
async fn what_a_killed_process_left_is_swept() {
    let dir = TempDir::new().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let artifact = artifact("good");
    let left = cache.root().join(format!(".{}-x1y2z3/download", artifact.directory_name()));
    fs::create_dir_all(&left).unwrap();
    let other = cache.root().join(".other-1-x1y2z3");
    fs::create_dir_all(&other).unwrap();
    let tools = maven(dir.path(), &format!("printf good > \"$out/{JAR}\""));
    cache.install(artifact, &tools, &silent).await.unwrap();
    assert!(!left.exists());
    assert!(other.exists(), "another artifact's work is not ours");
}

#[tokio::test]
async fn a_dropped_installation_ends_maven_and_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let pid_file = dir.path().join("pid");
    let tools = maven(dir.path(), &format!("echo $$ > {}; exec sleep 100", pid_file.display()));
    let artifact = artifact("good");
    {
        let install = cache.install(artifact, &tools, &silent);
        let started = wait_for("the pid", Duration::from_secs(20), Duration::from_millis(10), || async {
            match fs::read_to_string(&pid_file) {
                Ok(text) if text.ends_with('\n') => Probe::<_, Infallible>::Ready(text),
                _ => Probe::NotYet("not written".to_owned()),
            }
        });
        tokio::select! {
            result = install => panic!("ended early: {result:?}"),
            started = started => { started.unwrap(); }
        }
    }
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    wait_for("the end of Maven", Duration::from_secs(20), Duration::from_millis(10), || async {
        match rustix::process::test_kill_process(pid) {
            Err(rustix::io::Errno::SRCH) => Probe::<_, Infallible>::Ready(()),
            other => Probe::NotYet(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    assert_eq!(fs::read_dir(cache.root()).unwrap().count(), 1, "only the lock file");
}

#[tokio::test]
async fn failures_say_what_to_do() {
    let dir = TempDir::new().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let artifact = artifact("good");
    let body = "echo '[ERROR] Could not transfer artifact a:b:pom:1: repo.example: Name or service not known'; exit 1";
    let error = cache.install(artifact, &maven(dir.path(), body), &silent).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("network") && text.contains("Name or service not known"), "{text}");

    let nowhere = Tools { maven: Some(dir.path().join("nowhere/mvn")), ..Tools::default() };
    let error = cache.install(artifact, &nowhere, &silent).await.unwrap_err();
    assert!(matches!(error, InstallError::Maven(MavenError::Start { .. })), "{error}");

    // A file in the way stands for every place that cannot be written to; root may write anywhere else.
    let file = dir.path().join("mvn");
    let error = Cache::at(file.join("cache")).install(artifact, &nowhere, &silent).await.unwrap_err();
    assert!(error.to_string().contains("could not be used"), "{error}");
    let full = InstallError::io(dir.path(), io::ErrorKind::StorageFull.into()).to_string();
    assert!(full.contains("full") && full.contains("CARACAL_CACHE_DIR"), "{full}");
    let denied = InstallError::io(dir.path(), io::ErrorKind::PermissionDenied.into()).to_string();
    assert!(denied.contains("may not be written to"), "{denied}");
}

#[tokio::test]
async fn a_changed_file_in_the_cache_is_found() {
    let dir = TempDir::new().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let artifact = artifact("good");
    let tools = maven(dir.path(), &format!("printf good > \"$out/{JAR}\""));
    let installed = cache.install(artifact, &tools, &silent).await.unwrap();
    symlink("/dev/null", installed.dir().join("extra.jar")).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test tampers")]
    fs::write(installed.file(JAR).unwrap(), "evil").unwrap();
    let error = installed.verify().await.unwrap_err();
    assert_eq!(error.faults().len(), 2, "{error}");
}

#[test]
fn the_place_follows_the_environment() {
    let place = |vars: &[(&str, &str)]| {
        let var =
            |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value));
        Cache::from_env(var).map(|cache| cache.root().to_owned())
    };
    let all = [("CARACAL_CACHE_DIR", "/c"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
    assert_eq!(place(&all), Some("/c".into()));
    assert_eq!(place(&all[1..]), Some("/x/caracal".into()));
    assert_eq!(place(&all[2..]), Some("/h/.cache/caracal".into()));
    assert_eq!(place(&[("XDG_CACHE_HOME", "rel"), ("HOME", "/h")]), Some("/h/.cache/caracal".into()));
    assert_eq!(place(&[]), None);
}

#[test]
fn installation_can_be_spawned() {
    fn is_send<T: Send>(_: T) {}
    let started = Instant::now();
    let cache = Cache::at("/nowhere");
    is_send(cache.install(artifact("good"), &Tools::default(), &silent));
    assert!(started.elapsed() < Duration::from_secs(1));
}
