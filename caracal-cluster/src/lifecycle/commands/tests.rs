//! The procedures as far as they go without a JVM.

use super::*;
use crate::lifecycle::engine::Event;

fn selection(scratch: &tempfile::TempDir, name: &str) -> Selection {
    let root = StateRoot::at(&scratch.path().join("state")).unwrap();
    Selection::named(root, Some(name.parse().unwrap()))
}

/// The guide's ports need no lease, so that these tests share nothing with the machine's clusters.
fn with_spec(scratch: &tempfile::TempDir, name: &str, more: &str) -> Selection {
    let mut selection = selection(scratch, name);
    let path = scratch.path().join("spec.toml");
    caracal_pki::store::write_private(
        &path,
        format!("name = \"{name}\"\n{more}\n[ports]\nmode = \"guide\"\n").as_bytes(),
    )
    .unwrap();
    selection.spec_file = Some(path);
    selection
}

#[tokio::test]
async fn credentials_start_nothing_and_a_second_run_changes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let selection = with_spec(&scratch, "caracal", "");
    let first = credentials(&selection, &Reporter::silent(), std::future::pending()).await.unwrap();
    assert!(!first.existed && first.clients.len() == 4, "{first:?}");
    for client in &first.clients {
        for file in ["client.properties", "kcat.conf", ".env.kafka", "profile.toml", "keystore.p12"] {
            assert!(client.path.join(file).is_file(), "{} of {}", file, client.user);
        }
    }
    let second = credentials(&selection, &Reporter::silent(), std::future::pending()).await.unwrap();
    assert!(second.existed);
    let unchanged = |step: &StepReport| matches!(step.outcome, engine::Outcome::Unchanged(_));
    assert!(second.steps.iter().all(unchanged), "{:?}", second.steps);
    let seen = ps(&selection).unwrap();
    assert_eq!(seen.nodes.len(), 7);
    assert!(seen.nodes.iter().all(|node| node.state == "stopped" && node.certificate_days_left > Some(300)));
    let plan = plan(&selection).await.unwrap();
    let standing = |step| plan.steps.iter().find(|seen| seen.step == step).unwrap().standing;
    assert!(plan.differs);
    assert_eq!(standing(Step::Credentials), Standing::Satisfied);
    assert_eq!(standing(Step::Ensemble), Standing::Absent);
    assert_eq!(standing(Step::Users), Standing::Waiting);
    let report = down(&selection, true, &|_| {}, std::future::pending()).await.unwrap();
    assert!(report.deleted && !selection.root.path().exists());
}

#[tokio::test]
async fn an_interrupt_ends_the_engine_and_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let selection = with_spec(&scratch, "caracal", "");
    let error = up(&selection, &Reporter::silent(), async {}).await.unwrap_err();
    assert!(
        matches!(error, CommandError::Engine(EngineError::Interrupted { step: Step::Preflight })),
        "{error:?}"
    );
    assert!(Remains::find(&selection.root, &selection.wanted()).is_some(), "the next `down` finds it");
}

#[tokio::test]
async fn start_of_a_cluster_that_was_never_made_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let selection = selection(&scratch, "never");
    let error = start(&selection, &Reporter::silent(), std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("cluster up --name never"), "{error}");
    assert!(matches!(ps(&selection), Err(CommandError::Cluster(ClusterError::Unknown { .. }))));
    let error = down(&selection, true, &|_| {}, std::future::pending()).await.unwrap_err();
    assert!(matches!(error, CommandError::Cluster(ClusterError::Unknown { .. })));
    assert!(!selection.root.path().exists());
}

#[tokio::test]
async fn whoever_holds_the_lock_is_named_and_nothing_is_written_before() {
    let scratch = tempfile::tempdir().unwrap();
    let selection = with_spec(&scratch, "caracal", "");
    let dir = selection.root.cluster(&selection.wanted());
    let _held = dir.lock("somebody").unwrap();
    let error = up(&selection, &Reporter::silent(), std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("somebody"), "{error}");
    assert!(!dir.path().exists(), "written before the lock");
}

#[tokio::test]
async fn a_refused_description_replaces_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let first = with_spec(&scratch, "caracal", "");
    credentials(&first, &Reporter::silent(), std::future::pending()).await.unwrap();
    let dir = first.root.cluster(&first.wanted());
    let kept = dir.read_text(&dir.spec()).unwrap();
    let fewer =
        with_spec(&scratch, "caracal", "[replication]\nfactor = 2\nmin_isr = 1\n[kafka]\nbrokers = 2");
    let error = up(&fewer, &Reporter::silent(), std::future::pending()).await.unwrap_err();
    assert!(matches!(error, CommandError::Cluster(ClusterError::KeptData { .. })), "{error:?}");
    assert_eq!(dir.read_text(&dir.spec()).unwrap(), kept);
}

#[tokio::test]
async fn topics_that_kept_data_cannot_become_are_refused_and_the_description_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let described = |partitions: u32| format!("[[topics]]\nname = \"orders\"\npartitions = {partitions}\n");
    let first = with_spec(&scratch, "caracal", &described(4));
    credentials(&first, &Reporter::silent(), std::future::pending()).await.unwrap();
    let mut made = Cluster::for_looking(&first.root, None, &Described::default()).unwrap();
    made.remember_carried_out().unwrap();
    let kept = made.dir.read_text(&made.dir.spec()).unwrap();
    let broker: crate::names::NodeName = "caracal-kafka-1".parse().unwrap();
    for number in 0..4 {
        let folder = made.dir.node_data(&broker).join(format!("orders-{number}"));
        caracal_pki::store::create_private_dir(&folder).unwrap();
    }
    let fewer = with_spec(&scratch, "caracal", &described(3));
    let error = up(&fewer, &Reporter::silent(), std::future::pending()).await.unwrap_err();
    assert!(matches!(error, CommandError::Cluster(ClusterError::Refused { .. })), "{error:?}");
    assert!(error.to_string().contains("`orders` has 4 partitions"), "{error}");
    assert_eq!(made.dir.read_text(&made.dir.spec()).unwrap(), kept);
    let more = with_spec(&scratch, "caracal", &described(5));
    credentials(&more, &Reporter::silent(), std::future::pending()).await.unwrap();
}

#[tokio::test]
async fn a_step_that_cannot_reach_a_node_shows_the_end_of_its_log() {
    use crate::lifecycle::engine::World as _;
    let scratch = tempfile::tempdir().unwrap();
    let selection = with_spec(&scratch, "caracal", "");
    credentials(&selection, &Reporter::silent(), std::future::pending()).await.unwrap();
    let cluster = Cluster::for_looking(&selection.root, None, &Described::default()).unwrap();
    for node in &cluster.plan.nodes {
        cluster.dir.write(&cluster.dir.node_log(&node.name), b"the last words of a node\n").unwrap();
    }
    let mut world = ClusterWorld::new(cluster, Reporter::silent());
    let error = world.observe(Step::Users).await.unwrap_err();
    let text = crate::lifecycle::chain(&error);
    assert!(matches!(error, StepError::Explained { .. }), "{text}");
    assert!(text.contains("caracal-zookeeper-") && text.contains("does not run"), "{text}");
    assert!(text.contains("the last words of a node"), "{text}");
}

#[tokio::test]
async fn what_would_be_stopped_or_made_is_told_and_nothing_is_touched() {
    let scratch = tempfile::tempdir().unwrap();
    let selection = with_spec(&scratch, "caracal", "");
    let before = plan(&selection).await.unwrap().only(&CREDENTIALS);
    assert!(before.differs && before.steps.len() == 2 && before.files.is_empty(), "{before:?}");
    assert!(matches!(would_stop(&selection, true), Err(CommandError::Cluster(ClusterError::Unknown { .. }))));
    assert!(!selection.root.path().exists());
    credentials(&selection, &Reporter::silent(), std::future::pending()).await.unwrap();
    let after = plan(&selection).await.unwrap().only(&CREDENTIALS);
    assert!(!after.differs, "{after:?}");
    let would = would_stop(&selection, true).unwrap();
    assert!(would.dry_run && would.deleted && would.nodes.len() == 7, "{would:?}");
    assert!(would.nodes.iter().all(|node| node.outcome == "not running"), "{would:?}");
    assert!(would.directory.exists());
}

#[tokio::test]
async fn drift_of_a_rendered_file_is_shown_as_lines() {
    let scratch = tempfile::tempdir().unwrap();
    let selection = with_spec(&scratch, "caracal", "");
    credentials(&selection, &Reporter::silent(), std::future::pending()).await.unwrap();
    let cluster = Cluster::for_looking(&selection.root, None, &Described::default()).unwrap();
    let node = cluster.plan.node("caracal-kafka-1").unwrap();
    let file = node.files.iter().find(|file| file.path.ends_with("server.properties")).unwrap();
    let changed = file.text.replace("broker.id=1", "broker.id=9");
    cluster.dir.write(&cluster.dir.node(&node.name).join(&file.path), changed.as_bytes()).unwrap();
    let report = plan(&selection).await.unwrap();
    let change = report.files.iter().find(|seen| seen.change == Change::Changed).unwrap();
    let diff = change.diff.as_ref().unwrap();
    assert!(diff.contains("-broker.id=9\n+broker.id=1\n"), "{diff}");
    assert_eq!(change.node.as_deref(), Some("caracal-kafka-1"));
}

#[tokio::test]
async fn a_description_that_cannot_be_read_keeps_nobody_from_looking_or_ending() {
    let scratch = tempfile::tempdir().unwrap();
    let selection = with_spec(&scratch, "caracal", "");
    credentials(&selection, &Reporter::silent(), std::future::pending()).await.unwrap();
    let dir = selection.root.cluster(&selection.wanted());
    let node = "caracal-kafka-1".parse().unwrap();
    caracal_pki::store::create_private_dir(&dir.node(&node)).unwrap();
    dir.write(&dir.spec(), b"no description").unwrap();
    let seen = ps(&selection).unwrap();
    assert_eq!((seen.nodes.len(), seen.warnings.len()), (1, 1), "{seen:?}");
    assert!(seen.nodes[0].planned && seen.nodes[0].addresses.is_empty());
    let named = Selection { spec_file: None, ..selection.clone() };
    let error = up(&named, &Reporter::silent(), std::future::pending()).await.unwrap_err();
    assert!(matches!(error, CommandError::Cluster(ClusterError::Spec(_))), "{error:?}");
    assert!(dir.path().exists(), "a refused start deletes nothing");
    down(&selection, true, &|_| {}, std::future::pending()).await.unwrap();
    assert!(!selection.root.path().exists());
}

/// Descriptions that were taken before the rules that refuse them now, each with a word of the rule.
const REFUSED_BY_NOW: [(&str, &str); 3] = [
    ("[kafka.config]\n\"password.encoder.secret\" = \"hunter2\"\n", "password.encoder.secret"),
    ("[[topics]]\nname = \"kafkasql-journal\"\npartitions = 1\n", "kafkasql-journal"),
    ("[kafka]\nbrokers = 3\nkey_of_old_times = 1\n", "key_of_old_times"),
];

#[tokio::test]
async fn a_description_that_new_rules_refuse_keeps_nobody_from_looking_or_ending() {
    for (old, word) in REFUSED_BY_NOW {
        let scratch = tempfile::tempdir().unwrap();
        let selection = with_spec(&scratch, "caracal", "");
        credentials(&selection, &Reporter::silent(), std::future::pending()).await.unwrap();
        let mut made = Cluster::for_looking(&selection.root, None, &Described::default()).unwrap();
        made.remember_carried_out().unwrap();
        made.dir.write(&made.dir.spec(), format!("name = \"caracal\"\n{old}").as_bytes()).unwrap();
        let named = Selection { spec_file: None, ..selection.clone() };
        let seen = ps(&named).unwrap();
        assert_eq!((seen.nodes.len(), seen.warnings.len()), (7, 1), "{word}: {seen:?}");
        assert!(seen.warnings[0].contains(word), "{seen:?}");
        let listed = list(&named.root);
        assert_eq!((listed.clusters.len(), &listed.clusters[0].problem), (1, &None), "{word}");
        let planned = plan(&named).await.unwrap();
        let note = &planned.notes[0];
        assert!(note.severity == crate::plan::check::Severity::Error && note.consequence.contains(word));
        assert!(!format!("{planned:?}").contains("hunter2"), "a value is never shown");
        stop(&named, &|_| {}, std::future::pending()).await.unwrap();
        let kept = down(&named, false, &|_| {}, std::future::pending()).await.unwrap();
        assert!(kept.nodes.len() == 7 && !kept.deleted, "{word}: {kept:?}");
        down(&named, true, &|_| {}, std::future::pending()).await.unwrap();
        assert!(!named.root.path().exists(), "{word}");
    }
}

#[tokio::test]
async fn a_secret_that_lies_in_a_rendered_file_is_not_shown_as_a_difference() {
    let scratch = tempfile::tempdir().unwrap();
    let selection = with_spec(&scratch, "caracal", "");
    credentials(&selection, &Reporter::silent(), std::future::pending()).await.unwrap();
    let cluster = Cluster::for_looking(&selection.root, None, &Described::default()).unwrap();
    let node = cluster.plan.node("caracal-kafka-1").unwrap();
    let file = node.files.iter().find(|file| file.path.ends_with("server.properties")).unwrap();
    let old = format!("{}password.encoder.secret=hunter2\n", file.text);
    cluster.dir.write(&cluster.dir.node(&node.name).join(&file.path), old.as_bytes()).unwrap();
    let report = plan(&selection).await.unwrap();
    let change = report.files.iter().find(|seen| seen.change == Change::Changed).unwrap();
    assert!(change.diff.as_ref().unwrap().contains("-password.encoder.secret=(hidden)"), "{change:?}");
    assert!(!format!("{report:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_refused_first_attempt_leaves_nothing_and_an_authority_of_the_users_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let selection = with_spec(&scratch, "caracal", "[kafka]\nbrokers = 2");
    let error = up(&selection, &Reporter::silent(), std::future::pending()).await.unwrap_err();
    assert!(matches!(error, CommandError::Cluster(ClusterError::Spec(_))), "{error:?}");
    assert!(!selection.root.path().exists());
}

#[tokio::test]
async fn steps_are_told_while_they_run() {
    let scratch = tempfile::tempdir().unwrap();
    let selection = with_spec(&scratch, "caracal", "");
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = told.clone();
    let reporter = Reporter::new(move |event| {
        if let Event::Started(step) = event {
            sink.lock().unwrap().push(step);
        }
    });
    credentials(&selection, &reporter, std::future::pending()).await.unwrap();
    assert_eq!(*told.lock().unwrap(), [Step::Credentials, Step::Clients]);
}
