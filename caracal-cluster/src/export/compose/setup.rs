//! What the services run that are no nodes: texts only, made from the plan.
//!
//! Users, access rules and topics are znodes, written as Kafka itself writes them, by the command line that ZooKeeper's
//! jar has: one JVM for all of them, its commands by standard input. Kafka's own tools would need one JVM a topic and a
//! password, and could not make the users at all before a broker runs. Only what is not there is created, so a second
//! run changes nothing that was changed since.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::SETUP_MOUNT;
use crate::names::UserName;
use crate::plan::jvm::CONSOLE;
use crate::plan::{AclRule, ClusterPlan, FilePlan, NodeRole, Operation, PatternKind, ResourceKind};
use crate::zookeeper::users::user_path;

/// Below the cluster's directory: what is mounted into each kind of service.
pub const VOLUMES_FOLDER: &str = "setup/volumes";
/// The same for those that write into ZooKeeper.
pub const ZOOKEEPER_FOLDER: &str = "setup/zookeeper";
/// The same for the registry and whoever writes into it; no secrets.
pub const REGISTRY_FOLDER: &str = "setup/registry";

/// Commands that make users and access rules; it holds keys derived from passwords.
pub const USERS: &str = "users.zk";
/// Commands that make topics.
pub const TOPICS: &str = "topics.zk";
/// The certificate that ZooKeeper's command line presents.
pub const KEYSTORE: &str = "secrets/control.keystore.pem";
/// What it trusts.
pub const TRUSTSTORE: &str = "secrets/control.truststore.pem";

/// Scripts.
pub(super) const PREPARE: &str = "prepare.sh";
pub(super) const APPLY: &str = "apply.sh";
pub(super) const REGISTER: &str = "register.sh";
pub(super) const HTTP: &str = "http.sh";
/// The request by which the registry is asked whether it answers.
pub(super) const ASK: &str = "ask.http";
/// Says that a service shall stay when its work is done.
pub(super) const STAY: &str = "stay";
/// Is there when it is done.
pub(super) const DONE: &str = "/tmp/done";

const PREPARE_TEXT: &str = r#"#!/bin/sh
# Gives each node's volume to the owner of its files, with what the node must find in it. One that has data keeps it.
set -eu
for to in /to/*; do
    if [ -z "$(ls -A "$to")" ]; then
        cp -R "/from/${to##*/}/." "$to"
        chown -R "$1" "$to"
    fi
done
echo "the volumes are there"
"#;

const APPLY_TEXT: &str = r#"#!/bin/sh
# Carries out commands for ZooKeeper from a file and looks whether every node is there.
set -u
rm -f /tmp/done
folder=$(dirname "$0")
java "@$folder/java.args" < "$folder/$1" > /tmp/said 2>&1
failed=0
for path in $(sed -n 's/^create \([^ ]*\) .*/\1/p' "$folder/$1"); do
    if ! grep -qxF -e "Created $path" -e "Node already exists: $path" /tmp/said; then
        echo "not there: $path" >&2
        failed=1
    fi
done
if [ "$failed" -ne 0 ]; then
    cat /tmp/said >&2
    exit 1
fi
echo "everything of $1 is there"
touch /tmp/done
if [ "${2:-}" = stay ]; then
    exec sleep infinity
fi
"#;

const HTTP_TEXT: &str = r#"#!/bin/bash
# Sends the request of a file to HOST PORT; succeeds when the answer's status is one of success.
exec 3<> "/dev/tcp/$1/$2" || exit 1
cat "$3" >&3
IFS=' ' read -r -t 20 _ status _ <&3
case ${status:-none} in
    2*) exit 0 ;;
    *)
        echo "${3##*/}: answered with status ${status:-none}" >&2
        exit 1
        ;;
esac
"#;

const REGISTER_TEXT: &str = r#"#!/bin/bash
# Writes the compatibility level and the schemas into the registry at HOST PORT, then stays. An answer to a write proves
# the registry and its brokers: it comes back when it went through Kafka.
set -u
rm -f /tmp/done
folder=$(dirname "$0")
for request in "$folder"/write/*.http; do
    for ((left = 60; ; left--)); do
        if bash "$folder/http.sh" "$1" "$2" "$request"; then
            break
        fi
        if ((left == 0)); then
            echo "given up: ${request##*/}" >&2
            exit 1
        fi
        sleep 1
    done
    echo "answered: ${request##*/}"
done
touch /tmp/done
exec sleep infinity
"#;

/// Everything but [`USERS`], with paths below the cluster's directory.
pub fn files(plan: &ClusterPlan) -> Vec<FilePlan> {
    let file = |folder: &str, name: &str, text: String| FilePlan { path: format!("{folder}/{name}"), text };
    let mut files = vec![
        file(VOLUMES_FOLDER, PREPARE, PREPARE_TEXT.to_owned()),
        file(ZOOKEEPER_FOLDER, APPLY, APPLY_TEXT.to_owned()),
        file(ZOOKEEPER_FOLDER, "java.args", java_arguments(plan)),
        file(ZOOKEEPER_FOLDER, "log4j.properties", format!("log4j.rootLogger=WARN, console\n{CONSOLE}")),
        file(ZOOKEEPER_FOLDER, TOPICS, topics(plan)),
    ];
    let Some(registry) = plan.nodes_of(NodeRole::SchemaRegistry).next() else { return files };
    let host = registry.name.as_str();
    let request = |method: &str, path: &str, body: Option<&Value>| {
        request(method, host, &[plan.registry.api_path(), path].concat(), body)
    };
    files.push(file(REGISTRY_FOLDER, HTTP, HTTP_TEXT.to_owned()));
    files.push(file(REGISTRY_FOLDER, REGISTER, REGISTER_TEXT.to_owned()));
    files.push(file(REGISTRY_FOLDER, ASK, request("GET", "/subjects", None)));
    if let Some(level) = plan.subjects.first().map(|subject| &subject.compatibility) {
        let text = request("PUT", "/config", Some(&json!({ "compatibility": level })));
        files.push(file(REGISTRY_FOLDER, "write/00-compatibility.http", text));
    }
    for (at, subject) in (1..).zip(&plan.subjects) {
        let path = format!("/subjects/{}/versions", subject.subject);
        let text = request("POST", &path, Some(&json!({ "schema": subject.schema })));
        files.push(file(REGISTRY_FOLDER, &format!("write/{at:02}-{}.http", subject.subject), text));
    }
    files
}

/// A request as it goes over the line.
fn request(method: &str, host: &str, path: &str, body: Option<&Value>) -> String {
    let body = body.map_or_else(String::new, |body| body.to_string() + "\n");
    let about = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Type: application/vnd.schemaregistry.v1+json\r\nContent-Length: {}\r\n", body.len())
    };
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{about}\r\n{body}")
}

/// Arguments of ZooKeeper's own command line, with the certificate by which the first users are written.
fn java_arguments(plan: &ClusterPlan) -> String {
    let broker = plan.nodes_of(NodeRole::Broker).next().and_then(|node| node.container.as_ref());
    let jars = broker.and_then(|container| container.layout).unwrap_or_default().jars();
    let ensemble: Vec<String> = plan
        .nodes_of(NodeRole::Zookeeper)
        .filter_map(|node| Some(node.listener("CLIENT")?.among_nodes().to_string()))
        .collect();
    let store = |kind: &str, path: &str| {
        format!("-Dzookeeper.ssl.{kind}.location={SETUP_MOUNT}/{path}\n-Dzookeeper.ssl.{kind}.type=PEM\n")
    };
    [
        "-Xmx64m\n-XX:+UseSerialGC\n-XX:TieredStopAtLevel=1\n-XX:-UsePerfData\n-Djava.io.tmpdir=/tmp\n",
        &format!("-Dlog4j.configuration=file://{SETUP_MOUNT}/log4j.properties\n"),
        "-Dzookeeper.client.secure=true\n",
        "-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty\n",
        &store("keyStore", KEYSTORE),
        &store("trustStore", TRUSTSTORE),
        "-Dzookeeper.ssl.hostnameVerification=true\n",
        "-Dzookeeper.ssl.protocol=TLSv1.3\n-Dzookeeper.ssl.enabledProtocols=TLSv1.3,TLSv1.2\n",
        &format!("-cp\n\"{jars}/*\"\norg.apache.zookeeper.ZooKeeperMain\n"),
        &format!("-server\n{}\n-timeout\n20000\n-waitforconnection\n", ensemble.join(",")),
    ]
    .concat()
}

/// As Kafka's `ZkData.defaultAcls` has it: the creator's, and readable for everybody who gets in.
const READABLE: &str = "auth::cdrwa,world:anyone:r";
/// Credentials are nobody else's.
const PRIVATE: &str = "auth::cdrwa";

fn create(path: &str, data: &str, acl: &str) -> String {
    // A word ends at a space, and quotes make one of several.
    let data = if data.is_empty() { "\"\"".to_owned() } else { format!("'{data}'") };
    format!("create {path} {data} {acl}\n")
}

/// [`USERS`]: each user with its credential as Kafka keeps it, and every access rule.
pub fn users(plan: &ClusterPlan, credentials: &BTreeMap<UserName, String>) -> String {
    let mut text = create("/config", "", READABLE) + &create("/config/users", "", PRIVATE);
    for (user, credential) in credentials {
        let data = json!({ "version": 1, "config": { "SCRAM-SHA-512": credential } });
        text.push_str(&create(&user_path(user.as_str()), &data.to_string(), PRIVATE));
    }
    let mut resources: BTreeMap<String, Vec<&AclRule>> = BTreeMap::new();
    for rule in &plan.acls {
        resources.entry(resource(rule)).or_default().push(rule);
    }
    let mut above = BTreeSet::new();
    for path in resources.keys() {
        let parts: Vec<usize> = path.match_indices('/').map(|(at, _)| at).skip(1).collect();
        above.extend(parts.into_iter().map(|end| path.get(..end).unwrap_or_default()));
    }
    above.into_iter().for_each(|path| text.push_str(&create(path, "", READABLE)));
    for (path, rules) in &resources {
        let acls: Vec<Value> = rules.iter().map(|rule| acl(rule)).collect();
        let data = json!({ "version": 1, "acls": acls });
        text.push_str(&create(path, &data.to_string(), READABLE));
    }
    text
}

/// Where the authoriser keeps the rules of a resource.
fn resource(rule: &AclRule) -> String {
    let kind = match rule.resource {
        ResourceKind::Cluster => "Cluster",
        ResourceKind::Topic => "Topic",
        ResourceKind::Group => "Group",
        ResourceKind::TransactionalId => "TransactionalId",
    };
    match rule.pattern {
        PatternKind::Literal => format!("/kafka-acl/{kind}/{}", rule.name),
        PatternKind::Prefixed => format!("/kafka-acl-extended/prefixed/{kind}/{}", rule.name),
    }
}

fn acl(rule: &AclRule) -> Value {
    let operation = match rule.operation {
        Operation::All => "All",
        Operation::Read => "Read",
        Operation::Write => "Write",
        Operation::Create => "Create",
        Operation::Delete => "Delete",
        Operation::Alter => "Alter",
        Operation::Describe => "Describe",
        Operation::DescribeConfigs => "DescribeConfigs",
        Operation::AlterConfigs => "AlterConfigs",
        Operation::IdempotentWrite => "IdempotentWrite",
    };
    json!({
        "principal": format!("User:{}", rule.user),
        "permissionType": "Allow",
        "operation": operation,
        "host": "*",
    })
}

/// [`TOPICS`]: each topic's settings, then its partitions, which the controller hears of. Replicas go round the brokers,
/// each topic beginning at another one.
fn topics(plan: &ClusterPlan) -> String {
    let brokers: Vec<u32> = plan.nodes_of(NodeRole::Broker).map(|node| node.id).collect();
    let mut text = String::new();
    for (at, topic) in plan.topics.iter().enumerate() {
        let config: BTreeMap<_, _> = topic.config.iter().map(|(key, value)| (key, value)).collect();
        let settings = json!({ "version": 1, "config": config });
        text.push_str(&create(&format!("/config/topics/{}", topic.name), &settings.to_string(), READABLE));
        let replicas = |partition: usize| -> Vec<u32> {
            let first = at + partition;
            let copies = usize::from(topic.replication_factor);
            brokers.iter().cycle().skip(first % brokers.len().max(1)).take(copies).copied().collect()
        };
        let partitions: BTreeMap<String, Vec<u32>> =
            (0..topic.partitions as usize).map(|number| (number.to_string(), replicas(number))).collect();
        let data = json!({
            "version": 2,
            "partitions": partitions,
            "adding_replicas": {},
            "removing_replicas": {},
        });
        text.push_str(&create(&format!("/brokers/topics/{}", topic.name), &data.to_string(), READABLE));
    }
    text
}
