//! Rules that hold for every plan, whatever the description says: each guards a promise of the guide.

use std::collections::BTreeSet;

use super::{Note, Severity, add};
use crate::plan::pki::METADATA_CLIENT;
use crate::plan::{CONTROLLER_LISTENER, ClusterPlan, METRICS, NodeRole, Role, twin};
use crate::properties;
use crate::spec::Metadata;

/// `super.users` is who the plan calls a super user, and the twin of an inter-broker user while nobody has
/// its name; one more would be somebody whom no access rule holds.
pub(super) fn super_users(plan: &ClusterPlan, notes: &mut Vec<Note>) {
    let mut wanted: BTreeSet<String> =
        plan.users.iter().filter(|user| user.super_user).map(|user| user.name.to_string()).collect();
    let brokers = plan.users.iter().filter(|user| user.role == Role::InterBroker);
    wanted
        .extend(brokers.filter_map(|user| twin(user.name.as_str())).filter(|twin| plan.user(twin).is_none()));
    // With KRaft every node is one by its certificate, and so is whoever looks at the quorum for us.
    let nodes = plan.kraft_nodes().map(|node| node.name.as_str()).chain([METADATA_CLIENT]);
    wanted.extend(nodes.filter(|_| plan.metadata == Metadata::Kraft).map(|name| format!("CN={name}")));
    for node in plan.nodes.iter().filter(|node| matches!(node.role, NodeRole::Broker | NodeRole::Controller))
    {
        let entries = node
            .files
            .iter()
            .filter(|file| file.path.ends_with("server.properties"))
            .flat_map(|file| properties::parse(&file.text));
        let named: BTreeSet<String> = entries
            .filter(|(key, _)| key == "super.users")
            .flat_map(|(_, value)| value.split(';').map(str::to_owned).collect::<Vec<_>>())
            .map(|name| name.strip_prefix("User:").map_or_else(|| name.clone(), str::to_owned))
            .collect();
        if named != wanted {
            let odd: Vec<&str> = named.symmetric_difference(&wanted).map(String::as_str).collect();
            let consequence = format!("does not fit the roles of the users: {}", odd.join(", "));
            add(notes, Severity::Error, format!("{}: super.users", node.name), consequence);
        }
    }
}

/// What a file must say for access to be denied by default and every connection to be mutual TLS.
const NEEDED: [(&str, &str, &str); 1] = [("server.properties", "allow.everyone.if.no.acl.found", "false")];

/// The same where ZooKeeper keeps the metadata.
const NEEDED_WITH_ZOOKEEPER: [(&str, &str, &str); 4] = [
    ("server.properties", "authorizer.class.name", "kafka.security.authorizer.AclAuthorizer"),
    ("server.properties", "zookeeper.set.acl", "true"),
    ("server.properties", "zookeeper.ssl.client.enable", "true"),
    ("zoo.cfg", "sslQuorum", "true"),
];

/// The same with KRaft.
const NEEDED_WITH_KRAFT: [(&str, &str, &str); 3] = [
    ("server.properties", "authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("server.properties", "controller.listener.names", CONTROLLER_LISTENER),
    ("server.properties", "listener.name.controller.ssl.endpoint.identification.algorithm", "https"),
];

pub(super) fn settings(plan: &ClusterPlan, notes: &mut Vec<Note>) {
    let of_the_mode = match plan.metadata {
        Metadata::Zookeeper => &NEEDED_WITH_ZOOKEEPER[..],
        Metadata::Kraft => &NEEDED_WITH_KRAFT,
    };
    // Kafka has no SCRAM between controllers: there a certificate is the whole log-in.
    let controllers = format!("{CONTROLLER_LISTENER}:SSL");
    let is_protected =
        |part: &str| part.ends_with(":SASL_SSL") || (plan.metadata == Metadata::Kraft && part == controllers);
    for node in &plan.nodes {
        let mut wrong = |key: &str, consequence: &str| {
            add(notes, Severity::Error, format!("{}: {key}", node.name), consequence);
        };
        for file in &node.files {
            let entries = properties::parse(&file.text);
            for (_, key, wanted) in
                NEEDED.iter().chain(of_the_mode).filter(|(name, ..)| file.path.ends_with(name))
            {
                if !entries.iter().any(|(known, value)| known == key && value == wanted) {
                    wrong(key, &format!("is not `{wanted}`, which access and encryption depend on"));
                }
            }
            for (key, value) in &entries {
                if key == "listener.security.protocol.map" && !value.split(',').all(is_protected) {
                    wrong(key, "has a listener that is not SASL_SSL");
                }
                if key.starts_with("clientPort") && file.path.ends_with("zoo.cfg") {
                    wrong(key, "opens a port without TLS");
                }
            }
        }
        for listener in node.listeners.iter().filter(|listener| listener.ca.is_none()) {
            if node.role != NodeRole::SchemaRegistry && listener.name.as_str() != METRICS {
                let consequence = "has no authority: only the registry's HTTP and metrics may do without";
                wrong(listener.name.as_str(), consequence);
            }
        }
    }
}

/// A topic that stands twice would be made by one entry and judged by the other.
pub(super) fn topics(plan: &ClusterPlan, notes: &mut Vec<Note>) {
    let mut seen = BTreeSet::new();
    for topic in &plan.topics {
        if !seen.insert(topic.name.as_str()) {
            add(notes, Severity::Error, format!("topic {}", topic.name), "stands twice in the plan");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::check::{Severity, check};
    use crate::plan::tests::{default_plan, golden_inputs};
    use crate::plan::{ClusterPlan, NodeRole, plan};
    use crate::spec::ClusterSpec;

    fn errors(plan: &ClusterPlan) -> Vec<String> {
        check(plan).into_iter().filter(|n| n.severity == Severity::Error).map(|n| n.key).collect()
    }

    fn replace(plan: &mut ClusterPlan, role: NodeRole, file: &str, from: &str, to: &str) {
        let node = plan.nodes.iter_mut().find(|node| node.role == role).unwrap();
        let file = node.files.iter_mut().find(|known| known.path.ends_with(file)).unwrap();
        assert!(file.text.contains(from), "{from}");
        file.text = file.text.replace(from, to);
    }

    #[test]
    fn one_super_user_too_many_or_too_few_is_an_error() {
        for to in ["User:broker-a;User:consumer", "User:broker-a"] {
            let mut plan = default_plan();
            replace(&mut plan, NodeRole::Broker, "server.properties", "User:broker-a;User:broker-b", to);
            assert_eq!(errors(&plan), ["caracal-kafka-1: super.users"]);
        }
        let mut plan = default_plan();
        let consumer = plan.users.iter_mut().find(|user| user.name.as_str() == "consumer").unwrap();
        consumer.name = "broker-b".parse().unwrap();
        assert_eq!(errors(&plan).len(), 3, "the twin's name is a consumer's: every broker is wrong");
    }

    #[test]
    fn a_setting_that_opens_a_door_is_an_error() {
        let (broker, zookeeper) = (NodeRole::Broker, NodeRole::Zookeeper);
        let doors = [
            (
                broker,
                "server.properties",
                "authorizer.class.name=",
                "authorizer.class=",
                "authorizer.class.name",
            ),
            (broker, "server.properties", "found=false", "found=true", "allow.everyone.if.no.acl.found"),
            (broker, "server.properties", "set.acl=true", "set.acl=false", "zookeeper.set.acl"),
            (
                broker,
                "server.properties",
                "client.enable=true",
                "client.enable=false",
                "zookeeper.ssl.client.enable",
            ),
            (
                broker,
                "server.properties",
                "EXTERNAL:SASL_SSL",
                "EXTERNAL:SSL",
                "listener.security.protocol.map",
            ),
            (zookeeper, "zoo.cfg", "sslQuorum=true", "sslQuorum=false", "sslQuorum"),
            (zookeeper, "zoo.cfg", "tickTime=2000", "clientPort=2180", "clientPort"),
        ];
        for (role, file, from, to, key) in doors {
            let mut plan = default_plan();
            replace(&mut plan, role, file, from, to);
            let found = errors(&plan);
            assert!(found.len() == 1 && found[0].ends_with(&format!(": {key}")), "{key}: {found:?}");
        }
        let mut plan = default_plan();
        plan.nodes[0].listeners[0].ca = None;
        assert!(!errors(&plan).is_empty());
    }

    #[test]
    fn a_kraft_plan_keeps_its_own_promises() {
        use NodeRole::{Broker, Controller};
        let spec = ClusterSpec::parse("metadata = \"kraft\"", "x").unwrap();
        let plan = || plan(&spec, &golden_inputs(&spec)).unwrap();
        assert_eq!(errors(&plan()), Vec::<String>::new());
        for (role, from, to, key) in [
            (Controller, "CONTROLLER:SSL", "CONTROLLER:PLAINTEXT", "listener.security.protocol.map"),
            (Broker, "EXTERNAL:SASL_SSL", "EXTERNAL:SSL", "listener.security.protocol.map"),
            (Controller, "StandardAuthorizer", "NoAuthorizer", "authorizer.class.name"),
            (Broker, ";User:CN=caracal-metadata-client", ";User:CN=anybody", "super.users"),
            (Controller, ";User:CN=caracal-kafka-1", "", "super.users"),
        ] {
            let mut plan = plan();
            replace(&mut plan, role, "server.properties", from, to);
            let found = errors(&plan);
            assert!(found.len() == 1 && found[0].ends_with(&format!(": {key}")), "{key}: {found:?}");
        }
    }

    #[test]
    fn a_doubled_topic_is_an_error() {
        let mut plan = default_plan();
        let topic = plan.topics[0].clone();
        plan.topics.push(topic.clone());
        assert_eq!(errors(&plan), [format!("topic {}", topic.name)]);
    }
}
