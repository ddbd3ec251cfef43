//! Looks at a plan (not at the spec) and says what is wrong with it or risky about it.
//!
//! A plan that the planner made has no [`Severity::Error`]; the rules are there so that a change of the
//! planner which would break a promise fails a test, and so that a legal but risky spec says so.

mod promises;

use std::collections::BTreeMap;

use caracal_pki::SubjectAltName;
use serde::Serialize;

use super::model::{ClusterPlan, NodePlan, NodeRole, Protection, SecretContent};
use crate::properties;
use crate::spec::{Metadata, vulnerability};

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Legal, but something will be lost when something fails.
    Warning,
    /// Breaks a promise of this tool: the plan is not carried out.
    Error,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Note {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a setting, a node, a topic.
    pub key: String,
    /// What follows from it.
    pub consequence: String,
}

/// Applies every rule.
pub fn check(plan: &ClusterPlan) -> Vec<Note> {
    let mut notes = Vec::new();
    for node in &plan.nodes {
        listener_prefixes(node, &mut notes);
        doubled_keys(node, &mut notes);
        secrets_in_text(node, &mut notes);
        certificate_names(plan, node, &mut notes);
        exposure(node, &mut notes);
    }
    ports(plan, &mut notes);
    promises::topics(plan, &mut notes);
    promises::settings(plan, &mut notes);
    promises::super_users(plan, &mut notes);
    durability(plan, &mut notes);
    ensemble(plan, &mut notes);
    lifetimes(plan, &mut notes);
    notes.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.key.cmp(&b.key)));
    notes
}

fn add(notes: &mut Vec<Note>, severity: Severity, key: impl Into<String>, consequence: impl Into<String>) {
    notes.push(Note { severity, key: key.into(), consequence: consequence.into() });
}

/// Kafka reads `ssl.*` and `sasl.*` of a `SASL_SSL` listener under its prefix; a bare `ssl.client.auth` is
/// ignored with a warning in the log.
fn listener_prefixes(node: &NodePlan, notes: &mut Vec<Note>) {
    if !matches!(node.role, NodeRole::Broker | NodeRole::Controller) {
        return;
    }
    for file in node.files.iter().filter(|file| file.path.ends_with("server.properties")) {
        let entries = properties::parse(&file.text);
        for (key, _) in &entries {
            let bare = key.starts_with("ssl.") || key.starts_with("sasl.");
            if bare && key != "sasl.mechanism.inter.broker.protocol" {
                add(
                    notes,
                    Severity::Error,
                    format!("{}: {key}", node.name),
                    "has no listener prefix, so Kafka may ignore it",
                );
            }
        }
        for listener in node.kafka_listeners() {
            let key = format!("{}ssl.client.auth", listener.name.config_prefix());
            if !entries.iter().any(|(known, value)| *known == key && value == "required") {
                let consequence = "is not `required`: anybody can shake hands without a certificate";
                add(notes, Severity::Error, format!("{}: {key}", node.name), consequence);
            }
        }
    }
}

fn doubled_keys(node: &NodePlan, notes: &mut Vec<Note>) {
    for file in
        node.files.iter().filter(|file| file.path.ends_with(".properties") || file.path.ends_with(".cfg"))
    {
        for key in properties::doubled_keys(&file.text) {
            add(
                notes,
                Severity::Error,
                format!("{}: {key}", node.name),
                "stands twice; Java silently takes the last",
            );
        }
    }
}

/// Public texts carry references, never a password.
fn secrets_in_text(node: &NodePlan, notes: &mut Vec<Note>) {
    for file in &node.files {
        let leaking = file.text.lines().any(|line| {
            line.split("password=\"").skip(1).any(|rest| !rest.starts_with("${") && !rest.starts_with("@{"))
        });
        // A line for JAAS is no secret as a whole; its passwords were looked at above.
        let leaking = leaking
            || file.path.ends_with(".properties")
                && properties::parse(&file.text).iter().any(|(key, value)| {
                    let reference = value.starts_with("${") || key.ends_with("sasl.jaas.config");
                    properties::names_a_secret(key) && !reference
                });
        if leaking || file.text.contains("PRIVATE KEY") {
            add(
                notes,
                Severity::Error,
                format!("{}: {}", node.name, file.path),
                "holds a secret instead of a reference",
            );
        }
    }
}

fn certificate_names(plan: &ClusterPlan, node: &NodePlan, notes: &mut Vec<Note>) {
    for listener in node.listeners.iter().filter(|listener| listener.ca.is_some()) {
        let covered = node
            .secrets
            .iter()
            .filter_map(|secret| match &secret.content {
                SecretContent::KeystorePem(id) => plan.pki.certificates.iter().find(|cert| cert.id == *id),
                _ => None,
            })
            .filter(|cert| Some(cert.ca) == listener.ca)
            .any(|cert| {
                let name = SubjectAltName::Dns(listener.advertised_host.clone());
                cert.sans.contains(&name) && cert.sans.contains(&SubjectAltName::Ip(listener.dial.ip()))
            });
        if !covered {
            let key = format!("{}: {}", node.name, listener.name);
            let consequence =
                "no certificate carries the advertised name and the address: every client will refuse it";
            add(notes, Severity::Error, key, consequence);
        }
    }
}

fn exposure(node: &NodePlan, notes: &mut Vec<Note>) {
    for listener in &node.listeners {
        let key = format!("{}: {}", node.name, listener.name);
        if listener.protection != Protection::Http {
            continue;
        }
        if !listener.bind.ip().is_loopback() {
            add(notes, Severity::Error, key, "plain HTTP is bound beyond loopback");
        } else if listener.name.as_str() == "HTTP" {
            let consequence =
                "plain HTTP on loopback, as in the guide: every local user can read and register schemas";
            add(notes, Severity::Note, key, consequence);
        }
    }
}

fn ports(plan: &ClusterPlan, notes: &mut Vec<Note>) {
    let mut seen = BTreeMap::new();
    for node in &plan.nodes {
        for listener in &node.listeners {
            let what = format!("{} {}", node.name, listener.name);
            if let Some(other) = seen.insert(listener.bind, what.clone()) {
                add(
                    notes,
                    Severity::Error,
                    listener.bind.to_string(),
                    format!("is used by {other} and by {what}"),
                );
            }
        }
    }
}

fn durability(plan: &ClusterPlan, notes: &mut Vec<Note>) {
    for topic in &plan.topics {
        let min_isr = topic.config.iter().find(|(key, _)| key == "min.insync.replicas");
        let min_isr: u16 = min_isr.and_then(|(_, value)| value.parse().ok()).unwrap_or(1);
        if topic.replication_factor == 1 {
            add(
                notes,
                Severity::Warning,
                format!("topic {}", topic.name),
                "has one copy: a lost disk loses it",
            );
        } else if min_isr == topic.replication_factor {
            let consequence =
                "min.insync.replicas equals the copies: one broker down stops every acks=all write";
            add(notes, Severity::Warning, format!("topic {}", topic.name), consequence);
        } else if min_isr == 1 {
            let consequence = "min.insync.replicas is 1: a write acknowledged by one broker can be lost";
            add(notes, Severity::Warning, format!("topic {}", topic.name), consequence);
        }
    }
}

fn ensemble(plan: &ClusterPlan, notes: &mut Vec<Note>) {
    if plan.nodes_of(NodeRole::Zookeeper).count() == 1 {
        let consequence = "one ZooKeeper node: its loss stops every change of leadership";
        add(notes, Severity::Warning, "kafka.zookeepers", consequence);
    }
    if plan.metadata == Metadata::Kraft && plan.controllers().count() == 1 {
        let consequence = "one controller: its loss stops every change of leadership";
        add(notes, Severity::Warning, "kafka.controllers", consequence);
    }
    if let Some(known) = vulnerability(&plan.kafka_version) {
        add(
            notes,
            Severity::Warning,
            "kafka.version",
            format!("{} has {known}: mended in {}", plan.kafka_version, known.fixed_in),
        );
    }
    if let Some(user) = plan.users.iter().find(|user| user.iterations < 16384) {
        let consequence =
            "below 16384, the most that Kafka takes; generated passwords do not depend on it, typed ones do";
        add(notes, Severity::Note, format!("scram iterations of {}", user.name), consequence);
    }
}

fn lifetimes(plan: &ClusterPlan, notes: &mut Vec<Note>) {
    if plan.pki.leaf_days > 398 {
        let consequence = "certificates live longer than 398 days, the limit of public authorities; the guide renews yearly";
        add(notes, Severity::Note, "security.certificate_days", consequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::default_plan;

    fn errors(plan: &ClusterPlan) -> Vec<String> {
        check(plan).into_iter().filter(|n| n.severity == Severity::Error).map(|n| n.key).collect()
    }

    #[test]
    fn the_default_plan_breaks_no_promise() {
        assert_eq!(errors(&default_plan()), Vec::<String>::new());
    }

    fn replace_in_broker(plan: &mut ClusterPlan, from: &str, to: &str) {
        let node = plan.nodes.iter_mut().find(|node| node.role == NodeRole::Broker).unwrap();
        let file = node.files.iter_mut().find(|file| file.path.ends_with("server.properties")).unwrap();
        assert!(file.text.contains(from), "{from}");
        file.text = file.text.replace(from, to);
    }

    #[test]
    fn an_unprefixed_client_auth_is_an_error() {
        let mut plan = default_plan();
        replace_in_broker(&mut plan, "listener.name.external.ssl.client.auth", "ssl.client.auth");
        assert_eq!(errors(&plan).len(), 2, "the bare key, and the listener without one");
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error() {
        let mut plan = default_plan();
        replace_in_broker(&mut plan, "broker.id=1\n", "broker.id=1\nbroker.id=2\n");
        assert_eq!(errors(&plan).len(), 1);
    }

    #[test]
    fn a_password_in_a_text_is_an_error() {
        let mut plan = default_plan();
        replace_in_broker(&mut plan, "password=\"${directory", "password=\"hunter2 ${directory");
        assert_eq!(errors(&plan).len(), 1);
    }

    #[test]
    fn a_key_that_names_a_secret_carries_a_reference_only() {
        let mut plan = default_plan();
        replace_in_broker(
            &mut plan,
            "broker.id=1\n",
            "broker.id=1\npassword.encoder.secret=${directory:/x:y}\n",
        );
        assert_eq!(errors(&plan), Vec::<String>::new());
        replace_in_broker(&mut plan, "encoder.secret=${directory:/x:y}", "encoder.secret=hunter2");
        let notes = check(&plan);
        assert_eq!(errors(&plan).len(), 1);
        assert!(!format!("{notes:?}").contains("hunter2"), "a finding never shows the value");
    }

    #[test]
    fn a_certificate_without_the_advertised_name_is_an_error() {
        let mut plan = default_plan();
        for cert in &mut plan.pki.certificates {
            cert.sans.retain(|san| *san != SubjectAltName::Dns("localhost".to_owned()));
        }
        assert!(errors(&plan).iter().any(|key| key.contains("EXTERNAL")));
    }

    #[test]
    fn two_listeners_on_one_port_are_an_error() {
        let mut plan = default_plan();
        let taken = plan.nodes[0].listeners[0].bind;
        plan.nodes[1].listeners[0].bind = taken;
        assert_eq!(errors(&plan), [taken.to_string()]);
    }
}
