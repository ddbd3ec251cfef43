//! Apicurio, with its journal in Kafka.

use super::super::jvm::{Jvm, Main, Tuning, argument_file, file_uri};
use super::super::model::{Role, TopicPlan};
use super::super::{Context, FilePlan, advertised, registry_topic};
use super::{Files, KEYSTORE, TRUSTSTORE, login};
use crate::names::NodeName;
use crate::properties::Properties;
use crate::spec::ClusterSpec;

/// Prefix of its consumer groups. It takes a new random group at every start, so its right is on the prefix; it must
/// not lie below the applications' own.
pub(super) const GROUP_PREFIX: &str = "schema-registry-";

pub(super) const JOURNAL: &str = "kafkasql-journal";
pub(super) const SNAPSHOTS: &str = "kafkasql-snapshots";
pub(super) const EVENTS: &str = "registry-events";

const SETTINGS: &str = "secrets/application.properties";

pub(super) fn topics(spec: &ClusterSpec) -> Vec<TopicPlan> {
    // The journal *is* the registry's data: the cluster's 30 days of retention would delete schemas.
    let forever = [("cleanup.policy", "delete"), ("retention.bytes", "-1"), ("retention.ms", "-1")];
    [JOURNAL, SNAPSHOTS, EVENTS].iter().map(|name| registry_topic(spec, name, &forever)).collect()
}

pub(super) fn files(context: &Context<'_>, name: &NodeName) -> Files {
    let path = |rest: &str| context.node_path(name, rest);
    let jvm = Jvm {
        heap_mib: context.spec.registry.heap_mib,
        tuning: Tuning::Start,
        agent: None,
        temporary: path("run/tmp"),
        gc_log: path("logs/gc.log"),
        system_properties: vec![("smallrye.config.locations", file_uri(&path(SETTINGS)))],
        main: Main::Jar { path: format!("{}/quarkus-run.jar", context.inputs.registry_home) },
    };
    Files {
        files: vec![FilePlan { path: "config/node.args".to_owned(), text: argument_file(name, &jvm) }],
        settings_path: SETTINGS,
        // It resolves `${...}` itself, so Kafka's own references cannot pass through it.
        settings: settings(context, name),
    }
}

fn settings(context: &Context<'_>, name: &NodeName) -> String {
    let http = context.listener(name, "HTTP");
    let management = context.listener(name, "MANAGEMENT");
    let user = &context.user_of(Role::Registry).name;
    let bootstrap: Vec<String> = context.brokers("INTERNAL").map(advertised).collect();
    let mut p = Properties::new();
    p.section("Interfaces, on loopback only")
        .set("quarkus.http.host", http.own().ip())
        .set("quarkus.http.port", http.own().port())
        .set("quarkus.management.host", management.own().ip())
        .set("quarkus.management.port", management.own().port())
        .set("quarkus.http.access-log.enabled", false);
    p.section("Storage: a journal in Kafka")
        .set("apicurio.storage.kind", "kafkasql")
        .set("apicurio.kafkasql.bootstrap.servers", bootstrap.join(","))
        .set("apicurio.kafkasql.topic", JOURNAL)
        .set("apicurio.kafkasql.snapshots.topic", SNAPSHOTS)
        .set("apicurio.events.kafka.topic", EVENTS)
        .set("apicurio.kafkasql.topic.auto-create", false)
        .set("apicurio.kafkasql.consumer.group-prefix", GROUP_PREFIX)
        // How long an empty poll lasts; the default of 5 s is waited out several times during a start.
        .set("apicurio.kafkasql.consumer.poll.timeout", 100);
    kafka_client(&mut p, context, name, user.as_str());
    p.section("Rules")
        .set("apicurio.rules.global.compatibility", context.spec.registry.compatibility.as_registry());
    p.render(&format!("Schema registry {name}"))
}

/// Apicurio turns the check of the broker's name off unless the endpoint algorithm is set.
fn kafka_client(p: &mut Properties, context: &Context<'_>, name: &NodeName, user: &str) {
    p.section("Kafka client: mutual TLS, SCRAM-SHA-512")
        .set("apicurio.kafka.common.security.protocol", "SASL_SSL")
        .set("apicurio.kafka.common.sasl.mechanism", "SCRAM-SHA-512")
        .set("apicurio.kafka.common.sasl.jaas.config", login(user))
        .set("apicurio.kafka.common.ssl.endpoint.identification.algorithm", "https")
        .set("apicurio.kafka.common.ssl.enabled.protocols", "TLSv1.3,TLSv1.2")
        .set("apicurio.kafka.common.ssl.keystore.type", "PEM")
        .set("apicurio.kafka.common.ssl.keystore.location", context.node_path(name, KEYSTORE))
        .set("apicurio.kafka.common.ssl.truststore.type", "PEM")
        .set("apicurio.kafka.common.ssl.truststore.location", context.node_path(name, TRUSTSTORE));
}
