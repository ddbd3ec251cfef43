//! Golden files: a topology's spec, plan and every rendered file of every node, compared whole.
//!
//! The inputs are fixed (directory, jars, registry home, the guide's ports), so a change of the planner is
//! reviewed as a change of these files. `cargo xtask golden --bless` writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use caracal_cluster::credentials::{ClientFiles, Credentials};
use caracal_cluster::dir::StateRoot;
use caracal_cluster::distribution::Artifact;
use caracal_cluster::export::compose;
use caracal_cluster::plan::{
    self, ClusterPlan, Placement, PlanInputs, SecretContent, containers, guide_ports,
};
use caracal_cluster::properties;
use caracal_cluster::spec::{ClusterSpec, Subnet};

/// Every key of the guide's chapter "Configuration" with its value.
const GUIDE: [(&str, &str); 13] = [
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
    ("log.retention.hours", "720"),
    ("log.segment.bytes", "1073741824"),
    ("compression.type", "snappy"),
    ("num.network.threads", "8"),
    ("num.io.threads", "8"),
    ("socket.send.buffer.bytes", "102400"),
    ("socket.receive.buffer.bytes", "102400"),
    ("socket.request.max.bytes", "104857600"),
];

const SMALL: &str = "
name = \"small\"

[kafka]
brokers = 1
zookeepers = 1

[replication]
factor = 1
min_isr = 1
";

#[test]
fn the_default_topology_is_as_in_its_golden_files() {
    compare("default", &ClusterSpec::default());
}

#[test]
fn a_small_topology_is_as_in_its_golden_files() {
    compare("small", &ClusterSpec::parse(SMALL, "the test").unwrap());
}

#[test]
fn kraft_topologies_are_as_in_their_golden_files() {
    compare("kraft", &ClusterSpec::parse("metadata = \"kraft\"", "the test").unwrap());
    compare("minimal", &ClusterSpec::parse("name = \"minimal\"\nprofile = \"minimal\"", "the test").unwrap());
}

#[test]
fn a_topology_with_metrics_is_as_in_its_golden_files() {
    let spec = SMALL.replace("\"small\"", "\"metered\"") + "[metrics]\nenabled = true\n";
    compare("metered", &ClusterSpec::parse(&spec, "the test").unwrap());
}

#[test]
fn topologies_in_containers_are_as_in_their_golden_files() {
    let default = ClusterSpec::default();
    compare_plan("docker", &default, &contained(&default));
    let text = "name = \"minimal\"\nprofile = \"minimal\"\n[docker]\nimages = \"local-apache\"\n[metrics]\nenabled = true";
    let minimal = ClusterSpec::parse(text, "the test").unwrap();
    compare_plan("docker-minimal", &minimal, &contained(&minimal));
}

#[test]
fn a_topology_with_confluents_registry_is_as_in_its_golden_files() {
    let text = SMALL.replace("\"small\"", "\"confluent\"") + "[registry]\nflavor = \"confluent\"\n";
    let spec = ClusterSpec::parse(&text, "the test").unwrap();
    compare_plan("docker-confluent", &spec, &contained(&spec));
}

#[test]
fn exports_to_compose_are_as_in_their_golden_files() {
    let plan = contained(&ClusterSpec::default());
    let credentials = plan.users.iter().map(|user| {
        let record = format!("salt=..,stored_key=..,server_key=..,iterations={}", user.iterations);
        (user.name.clone(), record)
    });
    let mut files = exported(&plan);
    files.insert(
        format!("{}/{}", compose::setup::ZOOKEEPER_FOLDER, compose::setup::USERS),
        compose::setup::users(&plan, &credentials.collect()),
    );
    compare_files("compose", &files);
    let kraft = |text: &str| contained(&ClusterSpec::parse(text, "the test").unwrap());
    compare_files("compose-kraft", &exported(&kraft("metadata = \"kraft\"")));
    let metered = "name = \"minimal\"\nprofile = \"minimal\"\n[docker]\nimages = \"local-apache\"\n[metrics]\nenabled = true";
    compare_files("compose-minimal", &exported(&kraft(metered)));
}

/// The document of an export and the files that its services read, but for those with keys.
fn exported(plan: &ClusterPlan) -> BTreeMap<String, String> {
    let facts = compose::Facts { cluster_id: "0123456789abcdef0123456789abcdef", owner: "1000:1000" };
    let files = compose::setup::files(plan).into_iter().map(|file| (file.path, file.text));
    files.chain([(compose::FILE.to_owned(), compose::document(plan, facts).unwrap())]).collect()
}

#[test]
fn the_reference_says_what_the_commands_help_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    let rendered = caracal_cluster::cli::reference::markdown();
    if std::env::var_os("CARACAL_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        caracal_pki::store::write_public(&path, rendered.as_bytes()).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == rendered,
        "docs/reference.md is not what the commands' help says; write it by `cargo xtask golden --bless`:\n{}",
        diff(&found, &rendered)
    );
}

#[test]
fn every_default_of_the_guide_is_in_every_broker() {
    let plan = planned(&ClusterSpec::default());
    let mut problems = Vec::new();
    let mut brokers = 0;
    for node in
        plan.nodes.iter().filter(|node| node.files.iter().any(|f| f.path.ends_with("server.properties")))
    {
        brokers += 1;
        let file = node.files.iter().find(|file| file.path == "config/server.properties").unwrap();
        let settings: BTreeMap<String, String> = properties::parse(&file.text).into_iter().collect();
        for (key, value) in GUIDE {
            match settings.get(key) {
                Some(found) if found == value => {}
                found => problems.push(format!("{}: {key} is {found:?}, the guide says {value}", node.name)),
            }
        }
        for key in properties::doubled_keys(&file.text) {
            problems.push(format!("{}: {key} is set twice", node.name));
        }
    }
    assert_eq!(brokers, 3, "the guide has three brokers");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_guides_registry_settings_are_in_the_plan() {
    let plan = planned(&ClusterSpec::default());
    assert!(!plan.subjects.is_empty());
    for subject in &plan.subjects {
        assert_eq!(subject.compatibility, "BACKWARD", "{}", subject.subject);
    }
    assert!(!plan.topics.is_empty());
    for topic in &plan.topics {
        assert_eq!(topic.replication_factor, 3, "{}", topic.name);
    }
}

fn planned(spec: &ClusterSpec) -> ClusterPlan {
    plan::plan(spec, &native(spec)).unwrap()
}

/// The same cluster in containers, as on the guide's subnet.
fn contained(spec: &ClusterSpec) -> ClusterPlan {
    let inputs = PlanInputs {
        placement: Placement::Containers(Subnet::GUIDE),
        directory: containers::CONTAINER_DIRECTORY.to_owned(),
        kafka_jars: vec![format!("{}/*", spec.docker.layout().jars())],
        metrics_agent: format!("{}/agent.jar", containers::AGENT_FOLDER),
        registry_home: spec.registry.flavor.image_home().to_owned(),
        ..native(spec)
    };
    plan::plan(spec, &inputs).unwrap()
}

fn native(spec: &ClusterSpec) -> PlanInputs {
    let jars = Artifact::kafka(&spec.kafka.version).unwrap().lock().files().iter();
    PlanInputs {
        placement: Placement::Processes,
        directory: format!("/state/clusters/{}", spec.name),
        kafka_jars: jars.map(|file| format!("/cache/kafka/{}", file.name())).collect(),
        metrics_agent: "/cache/metrics/agent.jar".to_owned(),
        registry_home: "/cache/registry".to_owned(),
        registry_version: spec.registry.flavor.version().to_owned(),
        ports: guide_ports(spec),
        additions: plan::Additions::default(),
    }
}

fn compare(topology: &str, spec: &ClusterSpec) {
    compare_plan(topology, spec, &planned(spec));
}

fn compare_plan(topology: &str, spec: &ClusterSpec, plan: &ClusterPlan) {
    compare_files(topology, &render(spec, plan));
}

fn compare_files(topology: &str, rendered: &BTreeMap<String, String>) {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(topology);
    if std::env::var_os("CARACAL_BLESS").is_some_and(|value| value == "1") {
        bless(&home, rendered);
        return;
    }
    let found = read(&home, &home);
    let paths: BTreeSet<&String> = rendered.keys().chain(found.keys()).collect();
    let differences: Vec<String> = paths
        .into_iter()
        .filter_map(|path| match (found.get(path), rendered.get(path)) {
            (Some(old), Some(new)) if old == new => None,
            (Some(old), Some(new)) => Some(format!("{path} differs:\n{}", diff(old, new))),
            (Some(_), None) => Some(format!("{path} is there but is not rendered any more")),
            (None, _) => Some(format!("{path} is rendered but not there")),
        })
        .collect();
    assert!(
        differences.is_empty(),
        "{} of {} golden files of `{topology}` differ (- is the file, + is what is rendered now):\n\n{}\n\n\
         If every change is meant, write them by `cargo xtask golden --bless` and commit them with it.",
        differences.len(),
        rendered.len(),
        differences.join("\n\n")
    );
}

/// Every file of a topology by its path in the golden directory.
fn render(spec: &ClusterSpec, plan: &ClusterPlan) -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([
        ("spec.toml".to_owned(), spec.to_toml()),
        ("plan.json".to_owned(), plan_document(plan)),
        ("users.txt".to_owned(), users(plan)),
        ("acls.txt".to_owned(), acls(plan)),
        ("topics.txt".to_owned(), topics(plan)),
        ("certificates.txt".to_owned(), certificates(plan)),
    ]);
    for node in &plan.nodes {
        for file in &node.files {
            files.insert(format!("nodes/{}/{}", node.name, file.path), file.text.clone());
        }
        for secret in &node.secrets {
            files.insert(format!("nodes/{}/{}", node.name, secret.path), reference(&secret.content));
        }
    }
    let root = StateRoot::at(Path::new("/state")).unwrap();
    let dir = root.cluster(&spec.name);
    let credentials = Credentials::new(&dir, plan, time::OffsetDateTime::UNIX_EPOCH);
    for user in &plan.users {
        if let Some(client) = ClientFiles::new(&credentials, user) {
            files.insert(format!("clients/{}/profile.toml", user.name), client.profile().to_toml().unwrap());
        }
    }
    files
}

/// The plan as it is stored, but for the texts of files: those lie beside it, whole.
fn plan_document(plan: &ClusterPlan) -> String {
    let mut plan = plan.clone();
    for node in &mut plan.nodes {
        for file in &mut node.files {
            file.text = format!("<nodes/{}/{}>", node.name, file.path);
        }
        for secret in &mut node.secrets {
            if let SecretContent::Properties(text) = &mut secret.content {
                *text = format!("<nodes/{}/{}>", node.name, secret.path);
            }
        }
    }
    serde_json::to_string_pretty(&plan).unwrap() + "\n"
}

fn reference(content: &SecretContent) -> String {
    match content {
        SecretContent::KeystorePem(id) => format!("PEM: private key and chain of the certificate {id}\n"),
        SecretContent::TruststorePem(cas) => {
            let names: Vec<&str> = cas.iter().map(|ca| ca.stem()).collect();
            format!("PEM: certificates of {}\n", names.join(", "))
        }
        SecretContent::Password(user) => format!("password of {user}\n"),
        SecretContent::Properties(text) => text.clone(),
    }
}

fn users(plan: &ClusterPlan) -> String {
    lines(plan.users.iter().map(|user| {
        format!(
            "{:<16} {:?}, SCRAM-SHA-512 with {} iterations, certificate {}{}",
            user.name.as_str(),
            user.role,
            user.iterations,
            user.certificate.as_deref().unwrap_or("none"),
            if user.super_user { ", super user" } else { "" }
        )
    }))
}

fn acls(plan: &ClusterPlan) -> String {
    lines(plan.acls.iter().map(|rule| {
        format!(
            "{:<16} {:?} {:?} {} {:?}",
            rule.user.as_str(),
            rule.operation,
            rule.pattern,
            rule.name,
            rule.resource
        )
    }))
}

fn topics(plan: &ClusterPlan) -> String {
    lines(plan.topics.iter().map(|topic| {
        let config: Vec<String> = topic.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!(
            "{} ({:?}): {} partitions, RF {}, {}",
            topic.name,
            topic.owner,
            topic.partitions,
            topic.replication_factor,
            config.join(" ")
        )
    }))
}

fn certificates(plan: &ClusterPlan) -> String {
    lines(plan.pki.certificates.iter().map(|leaf| {
        let names: Vec<String> = leaf.sans.iter().map(|san| format!("{san:?}")).collect();
        format!(
            "{} by {}: CN={}, OU={}, {:?}, [{}]",
            leaf.id,
            leaf.ca.stem(),
            leaf.common_name,
            leaf.organizational_unit,
            leaf.usage,
            names.join(", ")
        )
    }))
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |mut text, line| {
        text.push_str(&line);
        text.push('\n');
        text
    })
}

fn read(home: &Path, folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return files };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(read(home, &path));
        } else {
            let name = path.strip_prefix(home).unwrap().display().to_string();
            files.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    files
}

#[expect(clippy::disallowed_methods, reason = "golden files are public and belong to the sources")]
fn bless(home: &Path, rendered: &BTreeMap<String, String>) {
    let _ = std::fs::remove_dir_all(home);
    for (path, text) in rendered {
        let path: PathBuf = home.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// Lines that went (`-`) and came (`+`), by the longest common subsequence.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            let _ = writeln!(text, "  {:>4} - {}", i + 1, old[i]);
            i += 1;
        } else {
            let _ = writeln!(text, "  {:>4} + {}", j + 1, new[j]);
            j += 1;
        }
    }
    text
}

#[test]
fn a_diff_shows_what_went_and_what_came() {
    assert_eq!(diff("a\nb\nc", "a\nc\nd"), "     2 - b\n     3 + d\n");
    assert_eq!(diff("a\n", "a\n"), "");
}
