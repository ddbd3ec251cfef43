//! Confluent's own registry, with its log in the topic `_schemas`.
//!
//! Its settings are those of its documentation for version 7.9, one by one (the test below has the table). Everything
//! below `kafkastore.` is handed on to its clients of Kafka, so what those know may stand there too.
//!
//! What its user needs: on the topic Describe (is it there), `DescribeConfigs` (is it compacted), Read and Write; on the
//! group Read, because instances choose the one that writes by joining it. Its reader commits nothing, but is in a group
//! by name all the same; by default that name holds host and port, so it is said.

use super::super::jvm::{Jvm, Main, Tuning, argument_file, file_uri, log4j};
use super::super::model::{Role, TopicPlan};
use super::super::{Context, FilePlan, advertised, registry_topic};
use super::{Files, KEYSTORE, TRUSTSTORE, login};
use crate::names::NodeName;
use crate::properties::Properties;
use crate::spec::ClusterSpec;

/// The topic that is its storage.
pub(super) const TOPIC: &str = "_schemas";

/// The group in which its instances choose who writes.
pub(super) const GROUP: &str = "schema-registry";

const SETTINGS: &str = "secrets/schema-registry.properties";
const MAIN: &str = "io.confluent.kafka.schemaregistry.rest.SchemaRegistryMain";

/// The folders of its class path below its home, in the order of its own start script. One that is not there is skipped by
/// the JVM.
const LIBRARIES: [&str; 6] = [
    "confluent-security/schema-registry",
    "schema-registry-plugins",
    "confluent-common",
    "confluent-telemetry",
    "rest-utils",
    "schema-registry",
];

pub(super) fn topics(spec: &ClusterSpec) -> Vec<TopicPlan> {
    // It refuses to start on more than one partition, or on a topic that is not compacted.
    vec![registry_topic(spec, TOPIC, &[("cleanup.policy", "compact")])]
}

pub(super) fn files(context: &Context<'_>, name: &NodeName) -> Files {
    let path = |rest: &str| context.node_path(name, rest);
    let home = &context.inputs.registry_home;
    let class_path = LIBRARIES.map(|library| format!("{home}/{library}/*"));
    let jvm = Jvm {
        heap_mib: context.spec.registry.heap_mib,
        tuning: Tuning::Start,
        agent: None,
        temporary: path("run/tmp"),
        gc_log: path("logs/gc.log"),
        system_properties: vec![("log4j.configuration", file_uri(&path("config/log4j.properties")))],
        main: Main::Class { class_path: &class_path, name: MAIN, arguments: vec![path(SETTINGS)] },
    };
    let file = |path: &str, text: String| FilePlan { path: path.to_owned(), text };
    let quiet = [
        // Its clients of Kafka warn of each setting that only the registry itself knows, at every start.
        ("org.apache.kafka", "ERROR"),
        // Two lines for each request.
        ("io.confluent.rest-utils.requests", "WARN"),
        ("io.confluent.kafka.schemaregistry.rest.RequestHeaderHandler", "WARN"),
    ];
    let log = log4j(&path("logs/server.log"), context.is_contained(), &quiet);
    Files {
        files: vec![
            file("config/node.args", argument_file(name, &jvm)),
            file("config/log4j.properties", log),
        ],
        settings_path: SETTINGS,
        settings: settings(context, name).render(&format!("Schema registry {name}")),
    }
}

fn settings(context: &Context<'_>, name: &NodeName) -> Properties {
    let http = context.listener(name, "HTTP").own();
    let user = &context.user_of(Role::Registry).name;
    let bootstrap: Vec<String> =
        context.brokers("INTERNAL").map(|broker| format!("SASL_SSL://{}", advertised(broker))).collect();
    let mut p = Properties::new();
    p.section("Interface, published on loopback only")
        .set("listeners", format!("http://{http}"))
        // What instances would call each other.
        .set("host.name", name)
        .set("inter.instance.protocol", "http")
        .set("debug", false);
    p.section("Storage: a compacted topic, made beforehand")
        .set("kafkastore.bootstrap.servers", bootstrap.join(","))
        .set("kafkastore.topic", TOPIC)
        .set("kafkastore.topic.replication.factor", context.spec.replication.factor)
        .set("kafkastore.group.id", GROUP)
        // How long a write may take; the default of half a second is short for three copies on a busy machine.
        .set("kafkastore.timeout.ms", 10_000);
    p.section("Who writes: the one that its group chooses")
        .set("schema.registry.group.id", GROUP)
        .set("leader.eligibility", true);
    p.section("Kafka client: mutual TLS, SCRAM-SHA-512")
        .set("kafkastore.security.protocol", "SASL_SSL")
        .set("kafkastore.sasl.mechanism", "SCRAM-SHA-512")
        .set("kafkastore.sasl.jaas.config", login(user.as_str()))
        .set("kafkastore.ssl.endpoint.identification.algorithm", "https")
        .set("kafkastore.ssl.enabled.protocols", "TLSv1.3,TLSv1.2")
        .set("kafkastore.ssl.keystore.type", "PEM")
        .set("kafkastore.ssl.keystore.location", context.node_path(name, KEYSTORE))
        .set("kafkastore.ssl.truststore.type", "PEM")
        .set("kafkastore.ssl.truststore.location", context.node_path(name, TRUSTSTORE));
    p.section("Rules").set(
        "schema.compatibility.level",
        context.spec.registry.compatibility.as_registry().to_ascii_lowercase(),
    );
    p
}

#[cfg(test)]
mod tests;
