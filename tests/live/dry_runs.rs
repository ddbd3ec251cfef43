//! Every command that changes something, with `--dry-run`: it says what it would do, and changes nothing.
//!
//! Which commands those are is asked of the command tree, so a new one cannot be forgotten here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::cli::reference;
use serde_json::Value;

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::jvm::operated;
use crate::operate::{document, operate};
use crate::product::USAGE;
use crate::tools;

pub(crate) const TESTS: &[Test] = &[
    ("dry_runs::each_says_what_it_would_do_and_changes_nothing", changes_nothing),
    ("dry_runs::what_only_containers_have_is_refused_and_changes_nothing", only_containers),
];

/// Commands whose dry run is tried elsewhere, and where.
const ELSEWHERE: [(&str, &str); 7] = [
    ("cache clean", "start_caches::the_first_up_has_them_made_and_the_next_one_uses_them"),
    ("cache make", "start_caches::the_first_up_has_them_made_and_the_next_one_uses_them"),
    ("cluster cut", ONLY_CONTAINERS),
    ("cluster heal", ONLY_CONTAINERS),
    ("cluster prune", "fixture::what_dead_tests_left_is_pruned_and_what_living_ones_have_is_not"),
    ("export compose", "compose::an_export_is_started_proved_and_ended_by_compose"),
    ("export grafana", "metrics::turned_on_they_count_what_was_written_and_serve_the_dashboard"),
];

const ONLY_CONTAINERS: &str = "dry_runs::what_only_containers_have_is_refused_and_changes_nothing";

const USER: &str = "live-dry";
const GROUP: &str = "live-dry-group";
const TOPIC: &str = "live.dry";
const SUBJECT: &str = "live-dry-value";
const SCHEMA: &str = r#"{"type":"record","name":"Dry","fields":[{"name":"a","type":"string"}]}"#;

/// One dry run: the command, its other words, its standard input, its exit codes.
struct Case<'a> {
    command: &'a str,
    words: Vec<&'a str>,
    input: Option<&'a str>,
    codes: &'a [i32],
}

fn case<'a>(command: &'a str, words: &[&'a str]) -> Case<'a> {
    Case { command, words: words.to_vec(), input: None, codes: &[0] }
}

/// Everything by which a change would show: what brokers and registry answer, processes, and every file of the cluster
/// that no node writes.
fn state(cluster: &TestCluster) -> Result<BTreeMap<String, String>> {
    let mut state = BTreeMap::new();
    for words in [
        &["topics", "list"][..],
        &["topics", "describe", TOPIC, "caracal.dlq", "caracal.metering.events"],
        &["users", "list"],
        &["acls", "list"],
        &["groups", "list"],
        &["groups", "describe", GROUP],
        &["schemas", "list"],
        &["certs", "show"],
        &["cluster", "ps"],
    ] {
        let mut seen = document(cluster, words)?;
        forget_what_passes(&mut seen);
        if let Some(groups) = seen["groups"].as_array_mut() {
            // The registry has a new group at each start, and its old ones pass away by themselves.
            groups.retain(|group| {
                !group["group"].as_str().is_some_and(|name| name.starts_with("schema-registry"))
            });
        }
        state.insert(words.join(" "), seen.to_string());
    }
    let root = cluster.dir()?.path();
    for path in tools::walk(&root) {
        let below = path.strip_prefix(&root)?.to_string_lossy().into_owned();
        let nodes_own = ["/data", "/logs", "/run", "console.log"].iter().any(|part| below.contains(part));
        if path.is_file() && !nodes_own && !below.contains("lock") {
            let bytes = std::fs::read(&path).with_context(|| below.clone())?;
            let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata()?.permissions());
            state.insert(below, format!("{mode:o} {}", digest(&bytes)));
        }
    }
    ensure!(state.len() > 60, "only {} things were looked at", state.len());
    Ok(state)
}

fn digest(bytes: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{} bytes, {:016x}", bytes.len(), hasher.finish())
}

/// Times and memory differ from look to look.
fn forget_what_passes(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in ["millis", "rss_bytes", "uptime_seconds"] {
                fields.remove(key);
            }
            fields.values_mut().for_each(forget_what_passes);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_what_passes),
        _ => {}
    }
}

fn changes_nothing() -> Result<()> {
    let cluster = cluster::shared()?;
    let home = cluster.home().join("dry");
    let file = |name: &str, text: &str| -> Result<String> {
        std::fs::create_dir_all(&home)?;
        let path = home.join(name);
        caracal_pki::store::write_private(&path, text.as_bytes())?;
        path.to_str().map(str::to_owned).context("a path that is no text")
    };
    let schema = file("dry.avsc", SCHEMA)?;
    let declared = file("topics.toml", "[[topics]]\nname = \"live.dry.declared\"\npartitions = 2\n")?;
    let backup = home.join("backup");
    prepare(cluster, &backup)?;
    let tried = tried(cluster, &home, &schema, &declared);
    tidy(cluster)?;
    std::fs::remove_dir_all(&home)?;
    tried
}

/// Something to change of each kind. These are real changes, and start no JVM either.
fn prepare(cluster: &TestCluster, backup: &Path) -> Result<()> {
    let to = backup.to_str().context("a path that is no text")?;
    for (words, input) in [
        (&["topics", "create", TOPIC, "-p", "3"][..], None),
        (&["produce", TOPIC], Some("one\ntwo\nthree\n")),
        (&["topics", "backup", TOPIC, "--to", to], None),
        (&["groups", "reset", GROUP, "--topic", TOPIC, "--create", "--to-earliest"], None),
        (&["users", "add", USER, "--role", "consumer-group", "--topic", TOPIC, "--group", GROUP], None),
        (
            &["acls", "add", "--principal", USER, "--operation", "describe", "--resource", "topic:live.x"],
            None,
        ),
    ] {
        operated(cluster, words, input)?.succeeded()?;
    }
    Ok(())
}

fn tidy(cluster: &TestCluster) -> Result<()> {
    for words in [
        &["users", "remove", USER][..],
        &["groups", "delete", GROUP, "--yes"],
        &["topics", "delete", TOPIC, "--yes"],
    ] {
        operated(cluster, words, None)?.succeeded()?;
    }
    let subjects = operate(cluster, &["schemas", "list"])?.succeeded()?.text();
    ensure!(!subjects.contains(SUBJECT), "a dry run registered {SUBJECT}:\n{subjects}");
    Ok(())
}

fn tried(cluster: &TestCluster, home: &Path, schema: &str, declared: &str) -> Result<()> {
    let below = |name: &str| home.join(name).display().to_string();
    let (from, other, exported) = (below(&format!("backup/{TOPIC}")), below("other"), below("exported"));
    let rule = ["--principal", USER, "--operation", "describe", "--resource"];
    let (there, new) = ([&rule[..], &["topic:live.x"]].concat(), [&rule[..], &["topic:live.y"]].concat());
    let cases = [
        case("cluster up", &[]),
        case("cluster down", &["-v"]),
        case("cluster start", &[]),
        case("cluster stop", &[]),
        case("credentials", &[]),
        case("cluster restart", &["kafka-1"]),
        case("cluster kill", &["kafka-2"]),
        case("cluster pause", &["kafka-3"]),
        case("cluster resume", &["kafka-3"]),
        Case { input: Some("four\n"), ..case("produce", &[TOPIC]) },
        case("groups reset", &[GROUP, "--topic", TOPIC, "--to-latest"]),
        case("groups delete", &[GROUP]),
        case("schemas register", &[SUBJECT, schema]),
        case("schemas compatibility set", &["FULL"]),
        case("topics create", &["live.dry.new", "-p", "2"]),
        case("topics alter", &[TOPIC, "-c", "retention.ms=60000"]),
        case("topics delete", &[TOPIC]),
        // 11: what is declared differs from what is there.
        Case { codes: &[11], ..case("topics apply", &[declared]) },
        case("topics backup", &[TOPIC, "--to", &other]),
        case("topics restore", &[&from, "--as", "live.dry.copy"]),
        case("users add", &["live-dry-new", "--role", "admin", "--out", &exported]),
        case("users remove", &[USER]),
        case("users set-password", &["consumer"]),
        case("acls add", &new),
        case("acls remove", &there),
        case("certs renew", &["--all"]),
    ];
    let here: BTreeSet<String> = cases.iter().map(|case| case.command.to_owned()).collect();
    for command in reference::changing() {
        let elsewhere = ELSEWHERE.iter().any(|(name, _)| *name == command);
        ensure!(here.contains(&command) != elsewhere, "the dry run of `{command}` is tried nowhere");
    }
    let before = state(cluster)?;
    for case in &cases {
        let words: Vec<&str> =
            case.command.split(' ').chain(case.words.iter().copied()).chain(["--dry-run"]).collect();
        let ended = operated(cluster, &words, case.input)?;
        let code = ended.status.code().unwrap_or(-1);
        ensure!(case.codes.contains(&code), "{} ended with {code}:\n{}", ended.shown, ended.text());
        let says = ended.text();
        // What it would do, or, of a cluster that is as it should be, that it would do nothing.
        let told = ["would", "nothing was changed"].iter().any(|word| says.contains(word))
            || (case.command == "cluster resume" && says.contains("kafka-3"));
        ensure!(told, "{} does not say what it would do:\n{says}", ended.shown);
        let after = state(cluster)?;
        let changed: Vec<&String> =
            before.keys().chain(after.keys()).filter(|key| before.get(*key) != after.get(*key)).collect();
        ensure!(changed.is_empty(), "{} changed {changed:?}:\n{says}", ended.shown);
        for path in [&other, &exported] {
            ensure!(!Path::new(path).exists(), "{} made {path}", ended.shown);
        }
    }
    Ok(())
}

fn only_containers() -> Result<()> {
    let cluster = cluster::shared()?;
    // No node may come or go meanwhile, which is all that they could do.
    for command in ["cut", "heal"] {
        operated(cluster, &["cluster", command, "kafka-1", "--dry-run"], None)?
            .ended_with(USAGE)?
            .saying(&["container"])?;
    }
    Ok(())
}
