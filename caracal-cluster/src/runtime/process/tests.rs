//! Real processes: shells that ignore their further arguments, as a JVM ignores properties it does not know.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;
use uuid::Uuid;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// A directory with a node in it; whatever of its cluster still runs in the end is killed.
struct Scene {
    dir: TempDir,
    cluster_id: String,
}

impl Scene {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), cluster_id: Uuid::new_v4().to_string() }
    }

    fn target(&self, node: &str) -> Target {
        Target::new(&self.cluster_id, node, self.dir.path().join(format!("{node}.json")))
    }

    /// A node that runs `script` as a shell script; it writes "ready" when it has begun.
    fn spec(&self, node: &str, script: &str) -> ProcessSpec {
        let program = self.dir.path().join(format!("{node}.sh"));
        #[expect(clippy::disallowed_methods, reason = "a script of a test")]
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        ProcessSpec {
            target: self.target(node),
            program,
            args: vec!["last".into()],
            working_dir: self.dir.path().to_owned(),
            log: self.dir.path().join(format!("{node}.log")),
            own_log: Some(self.dir.path().join(format!("{node}.own.log"))),
        }
    }

    fn log(&self, node: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{node}.log"))).unwrap()
    }

    async fn until_logged(&self, node: &str, text: &str) {
        until(text, || self.log(node).contains(text)).await;
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for identity in find_all(&self.cluster_id) {
            signal(&identity, Signal::KILL).unwrap();
        }
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    wait_for(what, SOON, Duration::from_millis(10), || async {
        if holds() {
            Probe::<(), std::convert::Infallible>::Ready(())
        } else {
            Probe::NotYet("not yet".to_owned())
        }
    })
    .await
    .unwrap();
}

/// Waits without a process of its own, so that SIGTERM ends it at once.
const WAITS: &str = "echo ready; while :; do read -r line < /dev/zero; done";

#[tokio::test]
async fn a_node_is_started_observed_and_stopped() {
    let scene = Scene::new();
    let spec = scene.spec("n1", r#"echo "ready: $*"; umask; pwd; exec sleep 1000"#);
    assert_eq!(observe(&spec.target), ProcessState::Absent);
    let identity = start(&spec).unwrap();
    scene.until_logged("n1", &scene.dir.path().display().to_string()).await;
    let ready = format!("ready: -Dcaracal.cluster.id={} -Dcaracal.node=n1 last\n", scene.cluster_id);
    assert!(scene.log("n1").contains(&format!("\n{ready}0077\n")), "{}", scene.log("n1"));
    for file in ["n1.log", "n1.json"] {
        let mode = fs::metadata(scene.dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    // `sleep` has replaced the script and its arguments: only what keeps the marks is a node.
    until("the loss of the marks", || find(&scene.cluster_id, "n1").is_none()).await;
    assert!(table::runs(identity.pid, identity.start));
    let pid = rustix::process::Pid::from_raw(i32::try_from(identity.pid).unwrap()).unwrap();
    assert_eq!(stop(&spec.target, SOON).await.unwrap(), Stopped::NotRunning);
    assert!(table::runs(identity.pid, identity.start), "a process without marks is not signalled");
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    until("its end", || !table::runs(identity.pid, identity.start)).await;
    reap(identity.pid);

    let spec = scene.spec("n2", WAITS);
    let identity = start(&spec).unwrap();
    scene.until_logged("n2", "ready").await;
    let ProcessState::Running { pid, rss_bytes, uptime, .. } = observe(&spec.target) else { panic!("runs") };
    assert!(pid == identity.pid && rss_bytes > 0 && uptime < SOON);
    let error = start(&spec).unwrap_err();
    assert!(matches!(error, StartError::AlreadyRunning { pid, .. } if pid == identity.pid), "{error}");
    let stopped = stop(&spec.target, SOON).await.unwrap();
    assert!(
        matches!(stopped, Stopped::Ended { pid, after } if pid == identity.pid && after < SOON),
        "{stopped:?}"
    );
    assert_eq!(observe(&spec.target), ProcessState::Absent);
    assert_eq!(stop(&spec.target, SOON).await.unwrap(), Stopped::NotRunning);
}

#[tokio::test]
async fn an_orphan_without_a_record_is_found_and_stopped() {
    let scene = Scene::new();
    let spec = scene.spec("n1", WAITS);
    let identity = start(&spec).unwrap();
    fs::remove_file(&spec.target.record).unwrap();
    assert_eq!(find(&scene.cluster_id, "n1"), Some(identity.clone()));
    assert!(matches!(observe(&spec.target), ProcessState::Running { pid, .. } if pid == identity.pid));
    assert!(matches!(start(&spec), Err(StartError::AlreadyRunning { .. })));
    assert!(matches!(stop(&spec.target, SOON).await.unwrap(), Stopped::Ended { .. }));
    assert_eq!(find_all(&scene.cluster_id), []);
}

#[tokio::test]
async fn a_node_that_ignores_the_request_is_killed_after_the_deadline() {
    let scene = Scene::new();
    let spec = scene.spec("n1", &format!("trap '' TERM; {WAITS}"));
    start(&spec).unwrap();
    scene.until_logged("n1", "ready").await;
    let deadline = Duration::from_millis(300);
    let stopped = stop(&spec.target, deadline).await.unwrap();
    assert!(
        matches!(stopped, Stopped::Killed { after, .. } if after >= deadline && after < SOON),
        "{stopped:?}"
    );
    assert_eq!(find_all(&scene.cluster_id), []);
}

#[tokio::test]
async fn a_node_that_died_is_told_with_its_code_until_it_is_stopped() {
    let scene = Scene::new();
    let spec = scene.spec("n1", "echo dying >&2; exit 3");
    let identity = start(&spec).unwrap();
    let exited = ProcessState::Exited { pid: identity.pid, code: Some(3) };
    until("its exit", || observe(&spec.target) == exited).await;
    assert_eq!(observe(&spec.target), exited, "asked twice, told twice");
    assert_eq!(log_tail(&spec.log, 1).unwrap(), "dying\n");
    start(&spec).expect("a dead one may be started again");
    until("its second exit", || matches!(observe(&spec.target), ProcessState::Exited { code: Some(3), .. }))
        .await;
    assert_eq!(log_tail(&spec.log, 5).unwrap(), "dying\n", "only of the latest run");
    assert_eq!(scene.log("n1").matches("dying\n").count(), 2, "the log is appended to");
    assert_eq!(stop(&spec.target, SOON).await.unwrap(), Stopped::NotRunning);
    assert_eq!(observe(&spec.target), ProcessState::Absent);
}

#[tokio::test]
async fn a_pid_that_was_given_to_another_process_is_not_touched() {
    let scene = Scene::new();
    let spec = scene.spec("n1", WAITS);
    let other = start(&scene.spec("n2", WAITS)).unwrap();
    let forged = |identity: &Identity| write_record(&spec.target.record, identity).unwrap();
    // A record of n1 with the pid of n2; then even with its start time; then of another time.
    for start in [other.start + 1, other.start] {
        forged(&Identity { node: "n1".to_owned(), start, ..other.clone() });
        assert!(matches!(observe(&spec.target), ProcessState::Exited { pid, .. } if pid == other.pid));
        assert_eq!(stop(&spec.target, SOON).await.unwrap(), Stopped::NotRunning);
        assert!(is_there(&other));
    }
    let earlier = Identity { start: other.start - 1, ..other.clone() };
    signal(&earlier, Signal::KILL).expect("nobody to signal is no failure");
    assert!(is_there(&other));
}

#[tokio::test]
async fn only_whole_marks_count() {
    let scene = Scene::new();
    let [cluster, node] = marks(&scene.cluster_id, "n1");
    let text = format!("sleep 1000 & wait; : {} {}", cluster.display(), node.display());
    #[expect(clippy::disallowed_methods, reason = "a process that only mentions a node")]
    let mut mention =
        std::process::Command::new("/bin/sh").args(["-c", &text]).process_group(0).spawn().unwrap();
    assert_eq!(find_all(&scene.cluster_id), []);
    let group = rustix::process::Pid::from_child(&mention);
    rustix::process::kill_process_group(group, Signal::KILL).unwrap();
    mention.wait().unwrap();
}

#[tokio::test]
async fn the_environment_is_minimal_and_the_group_its_own() {
    let scene = Scene::new();
    let script =
        format!("echo $LC_ALL; env | cut -d= -f1 | sort | tr '\\n' ' '; ps -o pgid= -p $$ || echo; {WAITS}");
    let identity = start(&scene.spec("n1", &script)).unwrap();
    scene.until_logged("n1", "ready").await;
    let log = scene.log("n1");
    // The shell adds the last four by itself.
    let allowed = [&KEPT_VARIABLES[..], &["LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"]].concat();
    let (_, own) = log.split_once('\n').unwrap();
    let own = own.strip_prefix("C.UTF-8\n").unwrap();
    let names = own.split_whitespace().take_while(|word| word.parse::<u32>().is_err() && *word != "ready");
    for name in names {
        assert!(allowed.contains(&name), "{name} in {log}");
    }
    assert!(log.contains("PATH"), "{log}");
    let pid = rustix::process::Pid::from_raw(i32::try_from(identity.pid).unwrap()).unwrap();
    assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid);
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let scene = Scene::new();
    let good = scene.spec("n1", WAITS);
    let program = scene.dir.path().join("none");
    let error = start(&ProcessSpec { program, ..good.clone() }).unwrap_err().to_string();
    assert!(error.starts_with("n1 cannot be started") && error.ends_with("is no executable file"), "{error}");
    let working_dir = scene.dir.path().join("none");
    let error = start(&ProcessSpec { working_dir, ..good.clone() }).unwrap_err();
    assert!(matches!(&error, StartError::File { path, .. } if path.ends_with("none")), "{error}");
    let target = Target { record: scene.dir.path().join("none/record.json"), ..good.target.clone() };
    let error = start(&ProcessSpec { target, ..good }).unwrap_err();
    assert!(matches!(error, StartError::File { .. }), "{error}");
    assert_eq!(find_all(&scene.cluster_id), [], "what cannot be written down is not left running");
}

#[tokio::test]
async fn what_an_earlier_run_left_in_the_nodes_own_log_does_not_count() {
    let scene = Scene::new();
    let spec = scene.spec("n", "sleep 60");
    let own = spec.own_log.clone().unwrap();
    start(&spec).unwrap();
    assert!(!own.exists(), "a log that only the node makes");
    stop(&spec.target, SOON).await.unwrap();
    log::open(&own).unwrap().write_all(b"java.net.BindException: Address already in use\n").unwrap();
    start(&spec).unwrap();
    assert_eq!(log_tail(&own, 9).unwrap(), "");
    assert_eq!(diagnose_log(&fs::read_to_string(&own).unwrap()), None);
    log::open(&own).unwrap().write_all(b"INFO started\n").unwrap();
    assert_eq!(log_tail(&own, 9).unwrap(), "INFO started\n");
    stop(&spec.target, SOON).await.unwrap();
}
