//! What the services run that are no nodes: texts only, made from the plan.
//!
//! With ZooKeeper users, access rules and topics are znodes, written as Kafka itself writes them, by the command line that ZooKeeper's
//! jar has: one JVM for all of them, its commands by standard input. Kafka's own tools would need one JVM a topic and a
//! password, and could not make the users at all before a broker runs. Only what is not there is created, so a second
//! run changes nothing that was changed since.
//!
//! With KRaft users and access rules are in the controllers' data before anything runs; see `kraft` for the topics.

mod kraft;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::SETUP_MOUNT;
use crate::admin::AclBinding;
use crate::admin::acls::{ANY_HOST, OPERATION_NAMES, PATTERN_NAMES, RESOURCE_NAMES, named};
use crate::names::UserName;
use crate::plan::jvm::CONSOLE;
use crate::plan::{AclRule, ClusterPlan, FilePlan, NodeRole, PatternKind};
use crate::spec::Metadata;
use crate::zookeeper::users::user_path;

/// Below the cluster's directory: what is mounted into each kind of service.
pub const VOLUMES_FOLDER: &str = "setup/volumes";
/// The same for those that write into ZooKeeper.
pub const ZOOKEEPER_FOLDER: &str = "setup/zookeeper";
/// The same for what makes topics in a cluster with KRaft; no secrets.
pub const KAFKA_FOLDER: &str = "setup/kafka";
/// The same for the registry and whoever writes into it; no secrets.
pub const REGISTRY_FOLDER: &str = "setup/registry";
/// The metrics agent, which no image has; mounted into nodes that serve metrics.
pub const AGENT_FOLDER: &str = "setup/agent";
/// Folders whose files are as many as there are topics or schemas: what is left of an earlier plan must go.
pub(super) const LISTS: [&str; 2] = ["setup/kafka/topics", "setup/registry/write"];

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
pub(super) const TOPICS_SCRIPT: &str = "topics.sh";
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
# Called with the owner, then controllers that may begin empty although others have data.
set -eu
owner=$1
shift

is_new() {
    [ -e "$1/.unfinished" ] || [ -z "$(ls -A "$1")" ]
}

same() {
    [ "$(grep "^$1=" "$2/meta.properties")" = "$(grep -s "^$1=" "$3/meta.properties")" ]
}

lost= kept=
for to in /to/*; do
    node=${to##*/}
    if [ ! -e "/from/$node/meta.properties" ]; then
        continue
    elif ! is_new "$to" && { ! same cluster.id "/from/$node" "$to" || ! same node.id "/from/$node" "$to"; }; then
        echo "the volume of $node has data of another cluster or of nobody: move it away, or delete it by" \
            "docker compose down -v" >&2
        exit 1
    elif grep -qsxF "$node" "${0%/*}/controllers"; then
        if [ -e "$to/__cluster_metadata-0" ]; then
            kept="$kept $node"
        elif is_new "$to"; then
            case " $* " in
                *" $node "*) ;;
                *) lost="$lost $node" ;;
            esac
        fi
    fi
done
# Without its log it could help one to the lead that lacks what was committed.
if [ -n "$lost" ] && [ -n "$kept" ]; then
    echo "no data any more:$lost; still there:$kept. Restore the volume. Or, only while most controllers run:" \
        "docker compose run --rm volumes $owner$lost" >&2
    exit 1
fi

for to in /to/*; do
    if is_new "$to"; then
        : > "$to/.unfinished"
        cp -R "/from/${to##*/}/." "$to"
        chown -R "$owner" "$to"
        rm "$to/.unfinished"
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
    let mut files = vec![file(VOLUMES_FOLDER, PREPARE, PREPARE_TEXT.to_owned())];
    files.extend(match plan.metadata {
        Metadata::Zookeeper => zookeeper(plan),
        Metadata::Kraft => kraft::files(plan),
    });
    files.extend(plan.nodes_of(NodeRole::SchemaRegistry).flat_map(|node| registry(plan, node.name.as_str())));
    files
}

fn file(folder: &str, name: &str, text: String) -> FilePlan {
    FilePlan { path: format!("{folder}/{name}"), text }
}

fn zookeeper(plan: &ClusterPlan) -> Vec<FilePlan> {
    vec![
        file(ZOOKEEPER_FOLDER, APPLY, APPLY_TEXT.to_owned()),
        file(ZOOKEEPER_FOLDER, "java.args", java_arguments(plan)),
        file(ZOOKEEPER_FOLDER, LOGGING, logging()),
        file(ZOOKEEPER_FOLDER, TOPICS, topics(plan)),
    ]
}

fn registry(plan: &ClusterPlan, host: &str) -> Vec<FilePlan> {
    let request = |method: &str, path: &str, body: Option<&Value>| {
        request(method, host, &[plan.registry.api_path(), path].concat(), body)
    };
    let mut files = vec![
        file(REGISTRY_FOLDER, HTTP, HTTP_TEXT.to_owned()),
        file(REGISTRY_FOLDER, REGISTER, REGISTER_TEXT.to_owned()),
        file(REGISTRY_FOLDER, ASK, request("GET", "/subjects", None)),
    ];
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

/// Arguments of a JVM that only carries out a few commands; which class it runs comes behind them.
fn short_jvm(heap_mib: u32) -> String {
    format!(
        "-Xmx{heap_mib}m\n-XX:+UseSerialGC\n-XX:TieredStopAtLevel=1\n-XX:-UsePerfData\n-Djava.io.tmpdir=/tmp\n\
         -Dlog4j.configuration=file://{SETUP_MOUNT}/{LOGGING}\n"
    )
}

/// The log configuration of such a JVM.
const LOGGING: &str = "log4j.properties";

fn logging() -> String {
    format!("log4j.rootLogger=WARN, console\n{CONSOLE}")
}

/// The class path of Kafka's and ZooKeeper's jars in a broker's image.
fn class_path(plan: &ClusterPlan) -> String {
    let broker = plan.nodes_of(NodeRole::Broker).next().and_then(|node| node.container.as_ref());
    let jars = broker.and_then(|container| container.layout).unwrap_or_default().jars();
    format!("-cp\n\"{jars}/*\"\n")
}

/// Arguments of ZooKeeper's own command line, with the certificate by which the first users are written.
fn java_arguments(plan: &ClusterPlan) -> String {
    let ensemble: Vec<String> = plan
        .nodes_of(NodeRole::Zookeeper)
        .filter_map(|node| Some(node.listener("CLIENT")?.among_nodes().to_string()))
        .collect();
    let store = |kind: &str, path: &str| {
        format!("-Dzookeeper.ssl.{kind}.location={SETUP_MOUNT}/{path}\n-Dzookeeper.ssl.{kind}.type=PEM\n")
    };
    [
        &short_jvm(64),
        "-Dzookeeper.client.secure=true\n",
        "-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty\n",
        &store("keyStore", KEYSTORE),
        &store("trustStore", TRUSTSTORE),
        "-Dzookeeper.ssl.hostnameVerification=true\n",
        "-Dzookeeper.ssl.protocol=TLSv1.3\n-Dzookeeper.ssl.enabledProtocols=TLSv1.3,TLSv1.2\n",
        &class_path(plan),
        &format!("org.apache.zookeeper.ZooKeeperMain\n-server\n{}\n", ensemble.join(",")),
        "-timeout\n20000\n-waitforconnection\n",
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
    let binding = AclBinding::from(rule);
    let kind = named(RESOURCE_NAMES, binding.resource_type, "resource type");
    match rule.pattern {
        PatternKind::Literal => format!("/kafka-acl/{kind}/{}", rule.name),
        PatternKind::Prefixed => {
            let pattern = named(PATTERN_NAMES, binding.pattern_type, "pattern type");
            format!("/kafka-acl-extended/{pattern}/{kind}/{}", rule.name)
        }
    }
}

fn acl(rule: &AclRule) -> Value {
    let binding = AclBinding::from(rule);
    json!({
        "principal": binding.principal,
        "permissionType": "Allow",
        "operation": named(OPERATION_NAMES, binding.operation, "operation"),
        "host": ANY_HOST,
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
