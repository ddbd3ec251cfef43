//! The rules of a spec that a grammar cannot say, each found with its line.

use std::collections::{BTreeMap, BTreeSet};

use caracal_kafka_contract::events::EventType;
use toml::de::{DeTable, DeValue};

use super::error::{Finding, SpecError, line_at};
use super::versions::{self, vulnerability};
use super::{ClusterSpec, Metadata, PortMode, Roles, owned};
use crate::distribution::Artifact;

use crate::plan::memory::budget_mib;
use crate::plan::{OWN_TOPICS, Role, twin};
use crate::properties;

/// Checks everything and reports every finding at once.
pub(super) fn check(spec: &ClusterSpec, text: &str, origin: &str) -> Result<(), SpecError> {
    let mut found = Findings { text, list: Vec::new() };
    sizes(spec, &mut found);
    replication(spec, &mut found);
    security(spec, &mut found);
    config(spec, &mut found);
    users(spec, &mut found);
    topics(spec, &mut found);
    memory(spec, &mut found);
    if found.list.is_empty() {
        return Ok(());
    }
    Err(SpecError { origin: origin.to_owned(), findings: found.list })
}

struct Findings<'a> {
    text: &'a str,
    list: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, key: &str, message: String) {
        let line = line_of(self.text, key);
        self.list.push(Finding { line, key: key.to_owned(), message });
    }

    fn range(&mut self, key: &str, value: u32, allowed: std::ops::RangeInclusive<u32>) {
        if !allowed.contains(&value) {
            self.add(key, format!("{value} is outside {} to {}", allowed.start(), allowed.end()));
        }
    }
}

fn sizes(spec: &ClusterSpec, found: &mut Findings<'_>) {
    found.range("kafka.brokers", spec.kafka.brokers.into(), 1..=9);
    match spec.metadata {
        Metadata::Zookeeper => quorum("kafka.zookeepers", spec.kafka.zookeepers, "an ensemble", found),
        Metadata::Kraft => controllers(spec, found),
    }
    found.range("kafka.heap_mib", spec.kafka.heap_mib, 256..=65536);
    found.range("kafka.zookeeper_heap_mib", spec.kafka.zookeeper_heap_mib, 64..=16384);
    found.range("registry.heap_mib", spec.registry.heap_mib, 192..=16384);
    found.range("kafka.controller_heap_mib", spec.kafka.controller_heap_mib, 128..=16384);
    version(spec, found);
    if spec.port_mode() == PortMode::Guide && (spec.kafka.brokers > 3 || spec.metadata_nodes() > 3) {
        let message = "the guide's port table has 3 brokers and 3 nodes for their metadata; \
                       larger clusters need `leased`";
        found.add("ports.mode", message.to_owned());
    }
}

fn quorum(key: &str, n: u16, what: &str, found: &mut Findings<'_>) {
    found.range(key, n.into(), 1..=7);
    if n.is_multiple_of(2) && n > 0 {
        let fewer = n - 1;
        found.add(
            key,
            format!("{n} is even: {what} survives no more failures with {n} than with {fewer} nodes"),
        );
    }
}

fn controllers(spec: &ClusterSpec, found: &mut Findings<'_>) {
    let (controllers, brokers) = (spec.kafka.controllers, spec.kafka.brokers);
    quorum("kafka.controllers", controllers, "a quorum", found);
    if spec.kafka.roles == Roles::Combined && controllers > brokers {
        found.add(
            "kafka.controllers",
            format!("{controllers} of the brokers cannot be controllers, there are {brokers}; allowed: 1 to {brokers}"),
        );
    }
}

fn version(spec: &ClusterSpec, found: &mut Findings<'_>) {
    let version = spec.kafka.version.as_str();
    if let Some(known) = vulnerability(version).filter(|_| !spec.kafka.danger_vulnerable_version) {
        found.add(
            "kafka.version",
            format!(
                "{version} has {known}; use {} or newer, or say `kafka.danger_vulnerable_version = true` \
                 (`--danger-vulnerable-version`)",
                known.fixed_in
            ),
        );
    }
    let versions: Vec<&str> = Artifact::kafka_versions().collect();
    if !versions.contains(&version) {
        let known = versions.join(", ");
        found.add("kafka.version", format!("{version} is not known here; known: {known}"));
    }
    if spec.metadata == Metadata::Zookeeper && versions::major(version).is_some_and(|major| major >= 4) {
        let message = format!(
            "{version} has no ZooKeeper: Kafka 4 keeps its metadata itself; use `metadata = \"kraft\"` \
             (`--metadata kraft`), or {}",
            Artifact::default_kafka().version()
        );
        found.add("kafka.version", message);
    }
}

fn replication(spec: &ClusterSpec, found: &mut Findings<'_>) {
    let (factor, min_isr, brokers) = (spec.replication.factor, spec.replication.min_isr, spec.kafka.brokers);
    if factor == 0 || factor > brokers {
        found.add(
            "replication.factor",
            format!("{factor} copies need {factor} brokers, there are {brokers}; allowed: 1 to {brokers}"),
        );
    }
    if min_isr == 0 || min_isr > factor {
        found.add(
            "replication.min_isr",
            format!("{min_isr} in-sync replicas can never be had of {factor} copies; allowed: 1 to {factor}"),
        );
    }
}

fn security(spec: &ClusterSpec, found: &mut Findings<'_>) {
    let security = &spec.security;
    found.range("security.scram_iterations", security.scram_iterations, 4096..=16384);
    found.range("security.ca_days", security.ca_days, 1..=7300);
    found.range("security.certificate_days", security.certificate_days, 1..=3650);
    if security.certificate_days > security.ca_days {
        found.add(
            "security.certificate_days",
            format!("{} days outlive the authority's {}", security.certificate_days, security.ca_days),
        );
    }
}

fn config(spec: &ClusterSpec, found: &mut Findings<'_>) {
    for (key, value) in &spec.kafka.config {
        let dotted = format!("kafka.config.{key}");
        if let Some(why) = owned::owner_of(key) {
            found.add(&dotted, format!("is owned by the tool: {why}"));
        } else if !is_config_key(key) {
            found.add(&dotted, "is not a setting's name: a-z, 0-9, . _ and -".to_owned());
        }
        if properties::names_a_secret(key) && !value.starts_with("${") {
            let why = "is a secret by its name, and a description and its plan are shown and kept as text: give a \
                       reference that starts with `${`";
            found.add(&dotted, why.to_owned());
        }
        if value.chars().any(char::is_control) {
            found.add(&dotted, "holds a control character".to_owned());
        }
    }
}

fn memory(spec: &ClusterSpec, found: &mut Findings<'_>) {
    let wanted = budget_mib(spec);
    if let Some(limit) = spec.memory.limit_mib
        && wanted > u64::from(limit)
    {
        let (kafka, registry) = (&spec.kafka, &spec.registry);
        let message = format!(
            "the nodes may come to use {wanted} MiB, more than the {limit} that are allowed: heaps of {} brokers \
             ({} MiB each), {} ZooKeeper nodes ({}) and the registry ({}), and what each JVM needs beside",
            kafka.brokers, kafka.heap_mib, kafka.zookeepers, kafka.zookeeper_heap_mib, registry.heap_mib
        );
        found.add("memory.limit_mib", message);
    }
}

fn is_config_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

fn users(spec: &ClusterSpec, found: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for user in &spec.users {
        if !seen.insert(user.name.as_str()) {
            found.add("users", format!("`{}` is there twice", user.name));
        }
    }
    for broker in spec.users.iter().filter(|user| user.role == Role::InterBroker) {
        let Some(twin) = twin(broker.name.as_str()) else { continue };
        if spec.users.iter().any(|user| user.name.as_str() == twin && user.role != Role::InterBroker) {
            let message = format!(
                "`{twin}` takes over from `{}` when its password is rotated and is a super user for that: \
                 it can have no other role than inter-broker; choose another name",
                broker.name
            );
            found.add("users", message);
        }
    }
    for (role, label) in
        [(Role::Admin, "admin"), (Role::InterBroker, "inter-broker"), (Role::Registry, "registry")]
    {
        let needed = role != Role::Registry || spec.registry.enabled;
        if needed && !spec.users.iter().any(|user| user.role == role) {
            found.add(
                "users",
                format!("no user has the role `{label}`, and the cluster cannot start without"),
            );
        }
    }
}

/// Names that Kafka refuses late, or that would give an application rights on somebody else's data.
fn topic_names(spec: &ClusterSpec, found: &mut Findings<'_>) {
    let mut metrics = BTreeMap::new();
    for topic in &spec.topics {
        let name = topic.name.as_str();
        if OWN_TOPICS.contains(&name) {
            found
                .add("topics", format!("`{name}` is a topic of the schema registry's own, made by the tool"));
        }
        if name.starts_with("__") {
            found.add("topics", format!("`{name}`: names that start with `__` are Kafka's own"));
        }
        let other = *metrics.entry(name.replace('.', "_")).or_insert(name);
        if other != name {
            let message = format!(
                "`{other}` and `{name}` differ only in `.` and `_`, which Kafka does not tell apart in metrics \
                 and refuses"
            );
            found.add("topics", message);
        }
    }
}

fn topics(spec: &ClusterSpec, found: &mut Findings<'_>) {
    topic_names(spec, found);
    let mut seen = BTreeSet::new();
    for topic in &spec.topics {
        if !seen.insert(topic.name.as_str()) {
            found.add("topics", format!("`{}` is there twice", topic.name));
        }
        if !(1..=1000).contains(&topic.partitions) {
            let message = format!("`{}`: {} partitions are outside 1 to 1000", topic.name, topic.partitions);
            found.add("topics", message);
        }
        for (key, value) in &topic.config {
            if key == "min.insync.replicas" {
                found.add("topics", format!("`{}`: use `replication.min_isr`", topic.name));
            } else if !is_config_key(key) || value.chars().any(char::is_control) {
                found.add("topics", format!("`{}`: `{key}` is not a setting", topic.name));
            }
        }
        let Some(record) = &topic.record else { continue };
        if !EventType::ALL.iter().any(|event| event.record() == record) {
            let known: Vec<_> = EventType::ALL.iter().map(|event| event.record()).collect();
            let known = known.join(", ");
            let message = format!("`{}`: no schema for record `{record}`; known: {known}", topic.name);
            found.add("topics", message);
        }
    }
}

/// The line on which a dotted key is set, or of its table, if the text has it.
fn line_of(text: &str, dotted: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut rest = dotted;
    let mut table = root.get_ref();
    loop {
        if let Some((key, _)) = table.iter().find(|(key, _)| key.get_ref().as_ref() == rest) {
            return Some(line_at(text, key.span().start));
        }
        let (head, tail) = rest.split_once('.')?;
        let (_, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == head)?;
        let DeValue::Table(inner) = value.get_ref() else { return None };
        (table, rest) = (inner, tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        ClusterSpec::parse(text, "cluster.toml").unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_legal_and_survives_its_own_text() {
        let text = ClusterSpec::default().to_toml();
        assert_eq!(ClusterSpec::parse(&text, "x").unwrap(), ClusterSpec::default());
        assert_eq!(ClusterSpec::parse("", "x").unwrap(), ClusterSpec::default());
    }

    #[test]
    fn an_unknown_key_names_line_and_alternatives() {
        let text = refused("name = \"caracal\"\n[kafka]\nbroker = 3\n");
        assert!(text.contains("line 3") && text.contains("`broker`") && text.contains("`brokers`"), "{text}");
    }

    #[test]
    fn impossible_replication_names_line_and_limit() {
        let text = refused("[kafka]\nbrokers = 2\n\n[replication]\nfactor = 3\n");
        assert!(text.contains("line 5") && text.contains("there are 2"), "{text}");
        let text = refused("[replication]\nfactor = 2\nmin_isr = 3\n");
        assert!(text.contains("line 3") && text.contains("allowed: 1 to 2"), "{text}");
    }

    #[test]
    fn every_finding_is_reported_at_once() {
        let text = refused("[kafka]\nbrokers = 0\nzookeepers = 2\n[security]\nscram_iterations = 210000\n");
        for part in ["kafka.brokers", "kafka.zookeepers", "security.scram_iterations", "4096 to 16384"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn owned_keys_are_refused_with_the_reason() {
        for key in ["listeners", "ssl.client.auth", "listener.name.external.ssl.client.auth", "super.users"] {
            let text = refused(&format!("[kafka.config]\n\"{key}\" = \"x\"\n"));
            assert!(text.contains("line 2") && text.contains("owned by the tool"), "{text}");
        }
        assert!(ClusterSpec::parse("[kafka.config]\n\"num.io.threads\" = \"4\"\n", "x").is_ok());
    }

    #[test]
    fn topics_of_others_and_names_that_collide_are_refused() {
        let declared = |names: &[&str]| -> String {
            names.iter().map(|name| format!("[[topics]]\nname = \"{name}\"\npartitions = 1\n")).collect()
        };
        for own in ["kafkasql-journal", "kafkasql-snapshots", "registry-events", "_schemas"] {
            let text = refused(&declared(&[own]));
            assert!(text.contains(own) && text.contains("schema registry's own"), "{text}");
        }
        let text = refused(&declared(&["__consumer_offsets"]));
        assert!(text.contains("are Kafka's own"), "{text}");
        let text = refused(&declared(&["a.b", "c", "a_b"]));
        assert!(text.contains("`a.b` and `a_b` differ only"), "{text}");
        assert!(ClusterSpec::parse(&declared(&["a.b", "a-b", "_a"]), "x").is_ok());
    }

    #[test]
    fn the_twin_of_the_inter_broker_user_can_have_no_other_role() {
        let with = |role: &str| -> String {
            let users =
                [("root", "admin"), ("link-a", "inter-broker"), ("schemas", "registry"), ("link-b", role)];
            users.map(|(name, role)| format!("[[users]]\nname = \"{name}\"\nrole = \"{role}\"\n")).concat()
        };
        for role in ["consumer", "producer", "registry", "admin"] {
            let text = refused(&with(role));
            assert!(text.contains("`link-b` takes over from `link-a`"), "{text}");
        }
        assert!(ClusterSpec::parse(&with("inter-broker"), "x").is_ok());
    }

    #[test]
    fn a_secret_in_the_brokers_settings_is_refused_without_its_value() {
        let keys = ["password.encoder.secret", "delegation.token.secret.key", "confluent.telemetry.api.key"];
        for key in keys {
            let text = refused(&format!("[kafka.config]\n\"{key}\" = \"hunter2\"\n"));
            assert!(text.contains("line 2") && text.contains("is a secret by its name"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
            let reference = format!("[kafka.config]\n\"{key}\" = \"${{directory:/x:y}}\"\n");
            assert!(ClusterSpec::parse(&reference, "x").is_ok());
        }
        let lifetime = "[kafka.config]\n\"delegation.token.max.lifetime.ms\" = \"1000\"\n";
        assert!(ClusterSpec::parse(lifetime, "x").is_ok(), "a lifetime is no secret");
    }

    #[test]
    fn zookeeper_with_kafka_4_is_refused_with_both_ways_out() {
        let text = refused("[kafka]\nversion = \"4.3.1\"\n");
        assert!(text.contains("line 2") && text.contains("--metadata kraft"), "{text}");
        assert!(text.contains("3.9.2"), "{text}");
        assert!(ClusterSpec::parse("metadata = \"kraft\"\n[kafka]\nversion = \"4.3.1\"\n", "x").is_ok());
    }

    #[test]
    fn a_vulnerable_version_is_refused_with_its_number_unless_danger_is_said() {
        let text = refused("[kafka]\nversion = \"3.9.1\"\n");
        assert!(text.contains("CVE-2026-35554") && text.contains("3.9.2 or newer"), "{text}");
        assert!(text.contains("danger_vulnerable_version"), "{text}");
        let said = "[kafka]\nversion = \"3.9.1\"\ndanger_vulnerable_version = true\n";
        assert_eq!(ClusterSpec::parse(said, "x").unwrap().kafka.version, "3.9.1");
    }

    #[test]
    fn controllers_are_odd_and_no_more_than_combined_brokers() {
        let text = refused("metadata = \"kraft\"\n[kafka]\ncontrollers = 2\n");
        assert!(text.contains("line 3") && text.contains("2 is even"), "{text}");
        let text = refused(
            "metadata = \"kraft\"\n[kafka]\nbrokers = 1\nroles = \"combined\"\n\
             [replication]\nfactor = 1\nmin_isr = 1\n",
        );
        assert!(text.contains("kafka.controllers") && text.contains("allowed: 1 to 1"), "{text}");
    }

    #[test]
    fn heaps_beyond_the_memory_that_is_allowed_are_refused_with_the_sum() {
        let text = refused("[kafka]\nheap_mib = 4096\n\n[memory]\nlimit_mib = 4000\n");
        assert!(
            text.contains("line 5") && text.contains("13896 MiB") && text.contains("4096 MiB each"),
            "{text}"
        );
        assert!(ClusterSpec::parse("[memory]\nlimit_mib = 4000\n", "x").is_ok());
    }

    #[test]
    fn a_cluster_without_an_inter_broker_user_is_refused() {
        let text = refused("[[users]]\nname = \"admin\"\nrole = \"admin\"\n");
        assert!(text.contains("inter-broker") && text.contains("registry"), "{text}");
    }
}
