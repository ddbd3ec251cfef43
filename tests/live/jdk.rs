//! Kafka's own tools, started with the generated properties files: what a Java service would see.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use caracal_cluster::distribution::{Artifact, Cache, find_java};
use caracal_cluster::lifecycle::Cluster;
use caracal_cluster::plan::{AclRule, ListenerPlan, NodeRole, Operation, PatternKind, ResourceKind};

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::program::Program;
use crate::tools::block;

pub(crate) const TESTS: &[Test] = &[
    ("jdk::the_console_consumer_reads_the_event_of_up", the_consumer_reads_the_event),
    ("jdk::the_console_producer_writes_and_the_consumer_reads_it", the_producer_writes),
    ("jdk::the_console_producer_is_refused_as_consumer", producing_as_consumer_is_refused),
    ("jdk::the_console_consumer_is_refused_as_producer", consuming_as_producer_is_refused),
    ("jdk::kafka_topics_describes_what_was_planned", topics_are_as_planned),
    ("jdk::kafka_configs_describes_every_user", users_are_as_planned),
    ("jdk::kafka_broker_api_versions_asks_every_broker_on_both_listeners", every_broker_tells_its_versions),
    ("jdk::kafka_consumer_groups_describes_every_group", groups_are_described),
    ("jdk::kafka_acls_lists_what_was_planned_and_nothing_else", rules_are_as_planned),
];

/// The topic with the event that `up` writes.
pub(crate) const EVENTS: &str = "caracal.metering.events";

/// The key of that event.
pub(crate) const PROOF_KEY: &str = "caracal-proof";

/// A topic whose records no schema binds, so that a judge may write text into it: its writer is the consumer.
const LETTERS: &str = "caracal.dlq";

/// `kafka-topics`.
pub(crate) const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

/// `kafka-consumer-groups`.
pub(crate) const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const PRODUCER: &str = "kafka.tools.ConsoleProducer";

/// One of Kafka's tools, on the class path of the distribution that runs the nodes.
pub(crate) fn tool(class: &str) -> Result<Program> {
    static PATHS: OnceLock<Result<(PathBuf, String), String>> = OnceLock::new();
    let find = || -> Result<(PathBuf, String)> {
        let java = block(find_java(21))?.program();
        let kafka =
            Cache::discover()?.installed(Artifact::default_kafka()).context("Kafka is not in the cache")?;
        let jars: Vec<String> =
            kafka.kafka_class_path().iter().map(|jar| jar.display().to_string()).collect();
        Ok((java, jars.join(":")))
    };
    let paths = PATHS.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    let (java, jars) = paths.as_ref().map_err(|error| anyhow!("{error}"))?;
    // Kafka's own tools tell refusals in their log only.
    let log =
        concat!("-Dlog4j.configuration=file:", env!("CARGO_MANIFEST_DIR"), "/live/tools-log4j.properties");
    let options = [log, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
    // The name of the character set in which it reads its arguments.
    let program = Program::at(java).env("LC_ALL", "C.UTF-8");
    Ok(program.args(options).args(["-cp", jars, class]).within(Duration::from_secs(180)))
}

fn bootstrap(cluster: &Cluster) -> [String; 2] {
    ["--bootstrap-server".to_owned(), cluster.plan.endpoints.bootstrap.join(",")]
}

fn file(cluster: &TestCluster, user: &str, name: &str) -> Result<String> {
    let path = cluster.dir()?.client(&user.parse()?).join(name);
    ensure!(path.is_file(), "{} is not there", path.display());
    Ok(path.display().to_string())
}

/// An administration tool as `admin`.
pub(crate) fn as_admin(cluster: &TestCluster, class: &str) -> Result<Program> {
    as_user(cluster, "admin", class)
}

/// An administration tool as somebody.
pub(crate) fn as_user(cluster: &TestCluster, user: &str, class: &str) -> Result<Program> {
    let resolved = cluster.resolved()?;
    let config = file(cluster, user, "client.properties")?;
    Ok(tool(class)?.args(bootstrap(&resolved)).args(["--command-config", &config]))
}

fn consumer(user: &str, config: &str, topic: &str, records: &str) -> Result<Program> {
    let shared = cluster::shared()?;
    let program = tool(CONSUMER)?
        .args(bootstrap(&shared.resolved()?))
        .args(["--topic", topic, "--consumer.config", &file(shared, user, config)?])
        .args(["--from-beginning", "--max-messages", records, "--timeout-ms", "60000"])
        .args(["--property", "print.key=true", "--property", "print.partition=true"]);
    Ok(program)
}

fn producer(user: &str, topic: &str) -> Result<Program> {
    let shared = cluster::shared()?;
    let program = tool(PRODUCER)?
        .args(bootstrap(&shared.resolved()?))
        .args(["--topic", topic, "--producer.config", &file(shared, user, "producer.properties")?, "--sync"])
        .args(["--property", "parse.key=true", "--property", "key.separator=|"])
        .args(["--producer-property", "max.block.ms=30000"]);
    Ok(program)
}

fn the_consumer_reads_the_event() -> Result<()> {
    let seen = consumer("consumer", "consumer.properties", EVENTS, "1")?.run()?.succeeded()?;
    let text = seen.text();
    ensure!(text.contains(PROOF_KEY), "no event with key {PROOF_KEY} was read, but:\n{text}");
    Ok(())
}

fn the_producer_writes() -> Result<()> {
    let line = format!("judge-{}|written by Kafka's own producer", std::process::id());
    let (key, value) = line.split_once('|').unwrap_or_default();
    // Text without a schema goes where no reader expects Avro.
    let written = producer("consumer", LETTERS)?.input(format!("{line}\n")).run()?.succeeded()?;
    ensure!(!written.text().contains("ERROR"), "the producer complained:\n{}", written.text());
    let seen = consumer("consumer", "consumer.properties", LETTERS, "1")?.run()?.succeeded()?.text();
    ensure!(seen.contains(key) && seen.contains(value), "what was written was not read, but:\n{seen}");
    // And the producer's own user on its own topic, with an empty value, which every reader takes as none.
    let shared = cluster::shared()?;
    let null = producer("producer", EVENTS)?
        .args(["--property", "null.marker=NOTHING"])
        .input(format!("judge-{}|NOTHING\n", shared.name()))
        .run()?
        .succeeded()?;
    ensure!(!null.text().contains("ERROR"), "the producer complained:\n{}", null.text());
    Ok(())
}

fn producing_as_consumer_is_refused() -> Result<()> {
    let seen = producer("consumer", EVENTS)?.input("refused|refused\n").run()?;
    let text = seen.text();
    ensure!(
        text.contains("TopicAuthorizationException") || text.contains("TOPIC_AUTHORIZATION_FAILED"),
        "writing {EVENTS} as consumer was not refused for want of a right:\n{text}"
    );
    Ok(())
}

fn consuming_as_producer_is_refused() -> Result<()> {
    let seen =
        consumer("producer", "client.properties", EVENTS, "1")?.args(["--group", "caracal-judge"]).run()?;
    let text = seen.text();
    ensure!(!text.contains(PROOF_KEY), "the producer has read an event:\n{text}");
    ensure!(
        text.contains("GroupAuthorizationException") || text.contains("TopicAuthorizationException"),
        "reading {EVENTS} as producer was not refused for want of a right:\n{text}"
    );
    Ok(())
}

fn topics_are_as_planned() -> Result<()> {
    let shared = cluster::shared()?;
    let seen = as_admin(shared, TOPICS)?.args(["--describe"]).run()?.succeeded()?;
    let text = seen.text();
    for topic in &shared.resolved()?.plan.topics {
        let wanted = [
            format!("Topic: {}", topic.name),
            format!("PartitionCount: {}", topic.partitions),
            format!("ReplicationFactor: {}", topic.replication_factor),
        ];
        let line = text.lines().find(|line| {
            line.starts_with(&wanted[0]) && line.split_whitespace().nth(1) == Some(topic.name.as_str())
        });
        let line = line.with_context(|| format!("{} is not described:\n{text}", topic.name))?;
        for part in &wanted {
            ensure!(line.contains(part), "{} is not `{part}`: {line}", topic.name);
        }
        for (key, value) in &topic.config {
            ensure!(line.contains(&format!("{key}={value}")), "{} is not {key}={value}: {line}", topic.name);
        }
    }
    Ok(())
}

fn users_are_as_planned() -> Result<()> {
    let shared = cluster::shared()?;
    let seen = as_admin(shared, "kafka.admin.ConfigCommand")?
        .args(["--describe", "--entity-type", "users"])
        .run()?
        .succeeded()?;
    let text = seen.text();
    let users = shared.resolved()?.plan.users;
    ensure!(users.len() == 5, "the plan has {} users", users.len());
    for user in &users {
        let start = format!("'{}'", user.name);
        let wanted = format!("SCRAM-SHA-512=iterations={}", user.iterations);
        let line = text.lines().find(|line| line.contains(&start));
        let line = line.with_context(|| format!("{} is not described:\n{text}", user.name))?;
        ensure!(line.contains(&wanted), "{} is not {wanted}: {line}", user.name);
        ensure!(!line.contains("SHA-256"), "{} has a credential for SHA-256: {line}", user.name);
    }
    Ok(())
}

fn rules_are_as_planned() -> Result<()> {
    let shared = cluster::shared()?;
    let seen = as_admin(shared, "kafka.admin.AclCommand")?.args(["--list"]).run()?.succeeded()?;
    let found = listed_rules(&seen.text());
    let planned: BTreeSet<String> = shared.resolved()?.plan.acls.iter().map(spelled).collect();
    ensure!(!planned.is_empty(), "the plan has no rules");
    let missing: Vec<_> = planned.difference(&found).collect();
    let unplanned: Vec<_> = found.difference(&planned).collect();
    ensure!(missing.is_empty() && unplanned.is_empty(), "missing: {missing:#?}\nunplanned: {unplanned:#?}");
    Ok(())
}

/// The guide's own check, with a client's file, on the listener for applications and on the one for brokers.
fn every_broker_tells_its_versions() -> Result<()> {
    let shared = cluster::shared()?;
    let config = file(shared, "producer", "client.properties")?;
    let plan = shared.resolved()?.plan;
    for name in ["EXTERNAL", "INTERNAL"] {
        let brokers = plan.nodes_of(NodeRole::Broker).map(|node| node.listener(name));
        let listeners: Vec<&ListenerPlan> = brokers.collect::<Option<_>>().context("a broker lacks one")?;
        let told: Vec<String> = listeners
            .iter()
            .map(|listener| format!("{}:{}", listener.advertised_host, listener.advertised_port))
            .collect();
        let seen = tool("kafka.admin.BrokerApiVersionsCommand")?
            .args(["--bootstrap-server", &told[0], "--command-config", &config])
            .run()?
            .succeeded()?;
        for broker in &told {
            let asked = format!("{broker} (id: ");
            let answer = seen.text().split(&asked).nth(1).is_some_and(|rest| {
                rest.lines().take(3).any(|line| line.contains("Produce(0):") && line.contains("usable"))
            });
            ensure!(answer, "{broker} told no versions on {name}:\n{}", seen.text());
        }
    }
    Ok(())
}

fn groups_are_described() -> Result<()> {
    const GROUP: &str = "caracal-described-by-the-live-suite";
    let shared = cluster::shared()?;
    let commit = ["--reset-offsets", "--to-earliest", "--execute", "--topic", EVENTS, "--group", GROUP];
    as_admin(shared, GROUPS)?.args(commit).run()?.succeeded()?;
    let seen = as_admin(shared, GROUPS)?.args(["--describe", "--all-groups"]).run();
    as_admin(shared, GROUPS)?.args(["--delete", "--group", GROUP]).run()?.succeeded()?;
    let text = seen?.succeeded()?.text();
    let topic = shared.resolved()?.plan.topics.into_iter().find(|topic| topic.name.as_str() == EVENTS);
    let partitions = topic.context("the plan lacks the topic")?.partitions;
    let is_row = |line: &&str| line.starts_with(GROUP) && line.split_whitespace().nth(1) == Some(EVENTS);
    let rows = text.lines().filter(is_row).count();
    ensure!(rows == usize::try_from(partitions)?, "{rows} rows for {partitions} partitions:\n{text}");
    Ok(())
}

/// Every rule of `kafka-acls --list`, one line each.
fn listed_rules(text: &str) -> BTreeSet<String> {
    let mut resource = String::new();
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("ResourcePattern(") {
            resource = rest.split(')').next().unwrap_or_default().to_owned();
        } else if let Some((_, rest)) = line.split_once("(principal=") {
            let rule = rest.split(')').next().unwrap_or_default();
            found.insert(format!("{resource}: principal={rule}"));
        }
    }
    found
}

/// A planned rule in the words of `kafka-acls`.
fn spelled(rule: &AclRule) -> String {
    let kind = match rule.resource {
        ResourceKind::Cluster => "CLUSTER",
        ResourceKind::Topic => "TOPIC",
        ResourceKind::Group => "GROUP",
        ResourceKind::TransactionalId => "TRANSACTIONAL_ID",
    };
    let pattern = match rule.pattern {
        PatternKind::Literal => "LITERAL",
        PatternKind::Prefixed => "PREFIXED",
    };
    let operation = match rule.operation {
        Operation::All => "ALL",
        Operation::Read => "READ",
        Operation::Write => "WRITE",
        Operation::Create => "CREATE",
        Operation::Delete => "DELETE",
        Operation::Alter => "ALTER",
        Operation::Describe => "DESCRIBE",
        Operation::DescribeConfigs => "DESCRIBE_CONFIGS",
        Operation::AlterConfigs => "ALTER_CONFIGS",
        Operation::IdempotentWrite => "IDEMPOTENT_WRITE",
    };
    format!(
        "resourceType={kind}, name={}, patternType={pattern}: principal=User:{}, host=*, operation={operation}, \
         permissionType=ALLOW",
        rule.name, rule.user
    )
}
