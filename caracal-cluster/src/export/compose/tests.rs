use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::write::{ComposeReport, Wanted, write};
use super::*;
use crate::kraft as kraft_data;
use crate::ops::OpsError;
use crate::plan::containers::tests::same_but_for_addresses;
use crate::plan::tests::{confluent_plan, contained_plan, default_plan, golden_inputs};
use crate::plan::{Operation, PatternKind, ResourceKind};
use crate::properties;
use crate::spec::Overrides;

const FACTS: Facts<'_> = Facts { cluster_id: "id", owner: "1000:1000" };

#[test]
fn only_plans_of_containers_are_exported() {
    assert_eq!(document(&default_plan(), FACTS), Err(ComposeError::NoContainers));
}

#[test]
fn confluents_registry_is_asked_at_its_root() {
    let plan = confluent_plan();
    let text = document(&plan, FACTS).unwrap();
    assert_eq!(text.matches("image: \"confluentinc/cp-schema-registry:7.9.11\"").count(), 2, "{text}");
    let files = setup::files(&plan);
    let asked: Vec<&str> = files
        .iter()
        .filter(|file| file.path.ends_with(".http"))
        .filter_map(|file| file.text.split(" HTTP").next())
        .collect();
    assert!(asked.contains(&"GET /subjects") && asked.contains(&"PUT /config"), "{asked:?}");
    let others = setup::files(&contained_plan());
    assert!(others.iter().any(|file| file.text.starts_with("GET /apis/ccompat/v7/subjects ")));
    let topics = files.iter().find(|file| file.path.ends_with(setup::TOPICS)).unwrap();
    assert!(topics.text.contains("create /brokers/topics/_schemas ") && !topics.text.contains("kafkasql"));
}

#[test]
fn no_variable_but_the_owners_is_left_for_compose() {
    let text = document(&contained_plan(), FACTS).unwrap();
    for (at, _) in text.match_indices('$') {
        assert!(text[at..].starts_with("${CARACAL_OWNER:-1000:1000}"), "{}", &text[at..at + 40]);
    }
}

#[test]
fn every_rule_and_user_of_the_plan_is_written_once() {
    let plan = contained_plan();
    let credentials: BTreeMap<_, _> =
        plan.users.iter().map(|user| (user.name.clone(), "salt=..".to_owned())).collect();
    let text = setup::users(&plan, &credentials);
    let rules = text.matches("\"permissionType\":\"Allow\"").count();
    assert_eq!(rules, plan.acls.len());
    for user in &plan.users {
        let line = format!("create /config/users/{} '", user.name);
        assert_eq!(text.matches(&line).count(), 1, "{line}");
    }
    let paths: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    for (at, path) in paths.iter().enumerate() {
        let above = path.rsplit_once('/').unwrap().0;
        assert!(above.is_empty() || paths[..at].contains(&above), "{path} comes before {above}");
        assert!(!paths[..at].contains(path), "{path} comes twice");
    }
    // A space or a quote inside would be the end of a word for ZooKeeper's command line.
    for rule in &plan.acls {
        assert!(!rule.name.contains([' ', '\'', '"', '/']), "{}", rule.name);
    }
    assert!(plan.acls.iter().any(|rule| {
        rule.pattern == PatternKind::Prefixed
            && rule.resource == ResourceKind::Group
            && rule.operation == Operation::Read
    }));
}

#[test]
fn replicas_of_a_partition_are_on_different_brokers_and_leaders_go_round() {
    let plan = contained_plan();
    let files = setup::files(&plan);
    let topics = &files.iter().find(|file| file.path.ends_with(setup::TOPICS)).unwrap().text;
    for topic in &plan.topics {
        let start = format!("create /brokers/topics/{} '", topic.name);
        let line = topics.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
        let data: serde_json::Value = serde_json::from_str(line.split_once('\'').unwrap().0).unwrap();
        let partitions = data["partitions"].as_object().unwrap();
        assert_eq!(partitions.len(), topic.partitions as usize);
        for replicas in partitions.values() {
            let set: std::collections::BTreeSet<u64> =
                replicas.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
            assert_eq!(set.len(), usize::from(topic.replication_factor));
        }
    }
}

#[test]
fn a_request_says_how_long_its_body_is() {
    for file in setup::files(&contained_plan()).iter().filter(|file| file.path.ends_with(".http")) {
        let (head, body) = file.text.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        assert_eq!(length.map_or(0, |length| length.parse::<usize>().unwrap()), body.len(), "{}", file.path);
    }
}

fn export(folder: &Path, force: bool) -> Result<ComposeReport, OpsError> {
    export_with(folder, Overrides::default(), force)
}

fn export_with(folder: &Path, overrides: Overrides, force: bool) -> Result<ComposeReport, OpsError> {
    written(&Wanted { folder, name: None, spec_file: None, overrides, force, dry_run: false })
}

fn written(wanted: &Wanted<'_>) -> Result<ComposeReport, OpsError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(write(wanted))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn an_export_is_private_and_its_brokers_differ_from_processes_in_addresses_and_paths_only() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("export");
    let report = export(&folder, false).unwrap();
    assert!(!report.existed && report.images.iter().any(|image| image.starts_with("confluentinc/cp-kafka:")));
    let (native, contained) = (default_plan(), contained_plan());
    for node in ["caracal-kafka-1", "caracal-kafka-2", "caracal-kafka-3"] {
        let text_of = |plan: &ClusterPlan| {
            let node = plan.node(node).unwrap();
            node.files.iter().find(|file| file.path.ends_with("server.properties")).unwrap().text.clone()
        };
        let path = folder.join("clusters/caracal/nodes").join(node).join("config/server.properties");
        let exported = std::fs::read_to_string(path).unwrap();
        assert_eq!(exported, text_of(&contained), "{node}: Docker and compose differ");
        same_but_for_addresses(node, properties::parse(&text_of(&native)), properties::parse(&exported));
    }
    let secrets: Vec<String> = files_below(&folder.join("clusters/caracal/passwords"))
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    assert!(secrets.len() >= 5);
    for path in files_below(&folder) {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    for file in [FILE, ENVIRONMENT_FILE, "README.md", "clusters/caracal/setup/zookeeper/users.zk"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        assert!(!secrets.iter().any(|secret| text.contains(secret.as_str())), "{file} holds a password");
    }
    assert_eq!(std::fs::read_link(folder.join(GUIDES_FILE)).unwrap(), Path::new(FILE));
}

#[test]
fn a_second_export_keeps_authorities_and_passwords_and_another_one_has_its_own() {
    let temp = TempDir::new().unwrap();
    let (one, other) = (temp.path().join("one"), temp.path().join("other"));
    export(&one, false).unwrap();
    let kept = |folder: &Path, file: &str| std::fs::read(folder.join("clusters/caracal").join(file)).unwrap();
    let before = ["pki/data-ca.pem", "passwords/admin", "cluster.json"].map(|file| kept(&one, file));
    let (document, _) = (std::fs::read(one.join(FILE)).unwrap(), export(&other, false).unwrap());
    assert!(export(&one, false).unwrap().existed);
    assert_eq!(["pki/data-ca.pem", "passwords/admin", "cluster.json"].map(|file| kept(&one, file)), before);
    assert_eq!(std::fs::read(one.join(FILE)).unwrap(), document);
    for file in ["pki/data-ca.pem", "passwords/admin"] {
        assert_ne!(kept(&one, file), kept(&other, file), "{file}");
    }
}

fn kraft() -> Overrides {
    Overrides { metadata: Some(Metadata::Kraft), ..Overrides::default() }
}

#[test]
fn nodes_of_kraft_find_who_they_are_and_controllers_alone_the_users() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("export");
    export_with(&folder, kraft(), false).unwrap();
    let nodes = folder.join("clusters/caracal/nodes");
    let read = |node: &str, file: &str| std::fs::read(nodes.join(node).join("data").join(file)).unwrap();
    let holds = |bytes: &[u8], name: &str| bytes.windows(name.len()).any(|at| at == name.as_bytes());
    let mut ids = Vec::new();
    for (node, id) in [("caracal-controller-2", "102"), ("caracal-kafka-2", "2")] {
        let meta = String::from_utf8(read(node, kraft_data::META)).unwrap();
        assert_eq!(kraft_data::meta_value(&meta, "node.id"), Some(id));
        ids.push(kraft_data::meta_value(&meta, "cluster.id").unwrap().to_owned());
        let first = read(node, kraft_data::CHECKPOINT);
        let controls = node.contains("controller");
        assert!(holds(&first, "metadata.version"), "{node} has no level of metadata");
        assert_eq!(holds(&first, "broker-a"), controls, "users of {node}");
        assert_eq!(holds(&first, "User:producer"), controls, "rules of {node}");
    }
    assert_eq!(ids[0], ids[1], "nodes of two clusters");
    for path in files_below(&folder) {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    for password in files_below(&folder.join("clusters/caracal/passwords")) {
        let secret = std::fs::read_to_string(&password).unwrap();
        for path in files_below(&nodes).iter().chain(&files_below(&folder.join("clusters/caracal/setup"))) {
            let allowed = path.ends_with("secrets/passwords/inter-broker")
                || path.components().any(|part| part.as_os_str() == "secrets");
            assert!(allowed || !holds(&std::fs::read(path).unwrap(), &secret), "{}", path.display());
        }
    }
    // Who a node is stays; what is written at its first start follows the passwords.
    let before = read("caracal-controller-1", kraft_data::META);
    assert!(export_with(&folder, kraft(), false).unwrap().existed);
    assert_eq!(read("caracal-controller-1", kraft_data::META), before);
}

#[test]
fn brokers_wait_for_controllers_of_their_own_and_combined_ones_for_nobody() {
    let separate = document(&of_kraft(""), FACTS).unwrap();
    let broker = service(&separate, "kafka-1");
    for at in 1..=3 {
        let wanted = format!("controller-{at}:\n        condition: \"service_healthy\"");
        assert!(broker.contains(&wanted), "{broker}");
    }
    assert!(service(&separate, "controller-1").contains(":2386 ([0-9A-F]+:[0-9A-F]+ )?01 "));
    assert!(!separate.contains("  users:"), "there is no ZooKeeper to write into");
    let topics = service(&separate, "topics");
    assert!(
        topics.contains(CERTIFICATES_MOUNT) && topics.contains("kafka-3:\n        condition"),
        "{topics}"
    );
    let combined = document(&of_kraft("[kafka]\nroles = \"combined\"\n"), FACTS).unwrap();
    assert!(!combined.contains("controller-1:"), "{combined}");
    let depends = service(&combined, "kafka-1");
    let depends = depends.split_once("depends_on:").unwrap().1;
    assert!(depends.contains("volumes:") && !depends.contains(HEALTHY), "{depends}");
}

#[test]
fn a_minimal_export_ends_with_its_topics_and_mounts_the_agent_where_metrics_are_wanted() {
    let text = "profile = \"minimal\"\n[metrics]\nenabled = true\n";
    let document = document(&of_spec(text), FACTS).unwrap();
    let topics = service(&document, "topics");
    assert!(topics.contains("command: [\"stay\"]") && topics.contains("healthcheck:"), "{topics}");
    assert!(!document.contains("schema-registry") && !document.contains("schemas:"));
    let node = service(&document, "kafka-1");
    assert!(node.contains("setup/agent\"\n        target: \"/caracal/agent\""), "{node}");
}

#[test]
fn topics_of_kraft_are_asked_for_with_everything_that_is_planned() {
    let plan = of_kraft("");
    let files = setup::files(&plan);
    for topic in &plan.topics {
        let path = format!("{}/topics/{}.args", setup::KAFKA_FOLDER, topic.name);
        let text = &files.iter().find(|file| file.path == path).unwrap().text;
        for (key, value) in &topic.config {
            assert!(text.contains(&format!("\"--config\"\n\"{key}={value}\"\n")), "{text}");
        }
        assert!(text.contains(&format!("\"--partitions\"\n\"{}\"", topic.partitions)), "{text}");
    }
    let prepare = &files.iter().find(|file| file.path.ends_with(setup::PREPARE)).unwrap().text;
    for name in [kraft_data::META, kraft_data::METADATA_LOG] {
        assert!(prepare.contains(&format!("/{name}\"")), "the script does not know {name}");
    }
}

/// A service of a document.
fn service<'a>(document: &'a str, name: &str) -> &'a str {
    let (_, rest) = document.split_once(&format!("\n  {name}:\n")).unwrap();
    rest.split("\n\n").next().unwrap()
}

fn of_kraft(rest: &str) -> ClusterPlan {
    of_spec(&format!("metadata = \"kraft\"\n{rest}"))
}

fn of_spec(text: &str) -> ClusterPlan {
    let spec = crate::spec::ClusterSpec::parse(text, "the test").unwrap();
    let inputs = crate::plan::PlanInputs {
        directory: containers::CONTAINER_DIRECTORY.to_owned(),
        placement: crate::plan::Placement::Containers(crate::spec::Subnet::GUIDE),
        metrics_agent: format!("{}/agent.jar", containers::AGENT_FOLDER),
        ..golden_inputs(&spec)
    };
    crate::plan::plan(&spec, &inputs).unwrap()
}

#[test]
fn a_folder_with_other_files_is_taken_by_force_only() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("full");
    caracal_pki::store::create_private_dir(&folder).unwrap();
    caracal_pki::store::write_private(&folder.join("mine"), b"x").unwrap();
    let refused = export(&folder, false).unwrap_err().to_string();
    assert!(refused.contains("is not empty") && refused.contains("--force"), "{refused}");
    assert_eq!(files_below(&folder).len(), 1, "something was written all the same");
    export(&folder, true).unwrap();
    assert!(folder.join("mine").exists() && folder.join(FILE).exists());
    let name = "other".parse().unwrap();
    let wanted = Wanted {
        folder: &folder,
        name: Some(&name),
        spec_file: None,
        overrides: Overrides::default(),
        force: false,
        dry_run: false,
    };
    assert!(written(&wanted).unwrap_err().to_string().contains("an export of cluster `caracal`"));
}

#[test]
fn what_compose_runs_is_not_started_or_stopped_by_us() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("export");
    export(&folder, false).unwrap();
    let root = crate::dir::StateRoot::at(&folder).unwrap();
    let selection = crate::lifecycle::commands::Selection::named(root, None);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let stopped = crate::lifecycle::commands::stop(&selection, &|_| {}, std::future::pending());
    let refused = runtime.block_on(stopped).unwrap_err().to_string();
    assert!(refused.contains("docker compose down"), "{refused}");
}
