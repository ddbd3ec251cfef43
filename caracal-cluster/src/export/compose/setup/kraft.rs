//! Topics of an exported cluster with KRaft, made by Kafka's own tool.
//!
//! There is no ZooKeeper to write them into, and the first records of metadata are no place for them: a partition has a
//! leader only among brokers that are known. So the administrator makes them through the brokers. The tool is one JVM a
//! topic, so it is asked first which topics are there. What it is called with lies in files that hold no secret; the
//! password is in the properties that are mounted beside them.

use super::{KAFKA_FOLDER, LOGGING, TOPICS_SCRIPT, VOLUMES_FOLDER, class_path, file, logging, short_jvm};
use crate::export::compose::CERTIFICATES_MOUNT;
use crate::plan::jvm::quote;
use crate::plan::{ClusterPlan, FilePlan, NodeRole, TopicPlan};

const TOPICS_TEXT: &str = r#"#!/bin/sh
# Makes the topics that are not there, two at a time; one that is there stays as it is.
set -u
rm -f /tmp/done
folder=$(dirname "$0")

# Calls Kafka's tool until it succeeds: FILE with its arguments, FILE for what it prints.
tool() {
    left=20
    until java "@$folder/java.args" "@$folder/$1" > "$2" 2> "$2.errors" < /dev/null; do
        left=$((left - 1))
        if [ "$left" -eq 0 ]; then
            echo "given up: $1" >&2
            cat "$2" "$2.errors" >&2
            return 1
        fi
        sleep 1
    done
}

# Makes every second topic of those that are missing.
lane() {
    sed -n "$1" /tmp/missing | while read -r topic; do
        tool "topics/$topic.args" "/tmp/made.$topic" || exit 1
        echo "made: $topic"
    done
}

tool list.args /tmp/there || exit 1
while read -r topic; do
    grep -qxF -e "$topic" /tmp/there || echo "$topic"
done < "$folder/topics.txt" > /tmp/missing
lane 'p;n' &
odd=$!
lane 'n;p' &
even=$!
wait "$odd" && wait "$even" || exit 1
echo "every topic is there"
touch /tmp/done
if [ "${1:-}" = stay ]; then
    exec sleep infinity
fi
"#;

/// What the services of an export with KRaft read.
pub(super) fn files(plan: &ClusterPlan) -> Vec<FilePlan> {
    let controllers = plan.controllers().map(|(node, _)| format!("{}\n", node.name)).collect();
    let names = plan.topics.iter().map(|topic| format!("{}\n", topic.name)).collect();
    let mut files = vec![
        file(VOLUMES_FOLDER, "controllers", controllers),
        file(KAFKA_FOLDER, TOPICS_SCRIPT, TOPICS_TEXT.to_owned()),
        file(KAFKA_FOLDER, "java.args", short_jvm(96) + &class_path(plan)),
        file(KAFKA_FOLDER, LOGGING, logging()),
        file(KAFKA_FOLDER, "topics.txt", names),
        file(KAFKA_FOLDER, "list.args", arguments(plan, &["--list".to_owned()])),
    ];
    files.extend(plan.topics.iter().map(|topic| {
        file(KAFKA_FOLDER, &format!("topics/{}.args", topic.name), arguments(plan, &creation(topic)))
    }));
    files
}

fn creation(topic: &TopicPlan) -> Vec<String> {
    let mut words = vec![
        "--create".to_owned(),
        "--if-not-exists".to_owned(),
        "--topic".to_owned(),
        topic.name.to_string(),
        "--partitions".to_owned(),
        topic.partitions.to_string(),
        "--replication-factor".to_owned(),
        topic.replication_factor.to_string(),
    ];
    words.extend(
        topic.config.iter().flat_map(|(key, value)| ["--config".to_owned(), format!("{key}={value}")]),
    );
    words
}

/// The tool's class and its arguments, one a line.
fn arguments(plan: &ClusterPlan, words: &[String]) -> String {
    let brokers = plan.nodes_of(NodeRole::Broker).filter_map(|node| node.listener("INTERNAL"));
    let brokers: Vec<String> =
        brokers.map(|broker| format!("{}:{}", broker.advertised_host, broker.advertised_port)).collect();
    let own = [
        "org.apache.kafka.tools.TopicCommand".to_owned(),
        "--bootstrap-server".to_owned(),
        brokers.join(","),
        "--command-config".to_owned(),
        format!("{CERTIFICATES_MOUNT}/client.properties"),
    ];
    let lines: Vec<String> = own.iter().chain(words).map(|word| quote(word) + "\n").collect();
    lines.concat()
}
