//! The schema registry: Apicurio with its journal in Kafka, over mutual TLS and SCRAM-SHA-512.

use caracal_kafka_contract::events::EventType;

use super::jvm::{Jvm, Main, Tuning, argument_file, file_uri};
use super::model::{Ca, NodePlan, NodeRole, Role, SecretContent, SecretFilePlan, SubjectPlan, TopicPlan};
use super::{Context, FilePlan, advertised, containers, memory, pki, registry_topic};
use crate::names::NodeName;
use crate::properties::Properties;
use crate::spec::ClusterSpec;

/// Where the registry speaks Confluent's interface.
pub const REGISTRY_API_PATH: &str = "/apis/ccompat/v7";

/// Prefix of the registry's consumer groups. Apicurio takes a new random group at every start, so its
/// right is on the prefix; it must not lie below the applications' own.
pub(crate) const GROUP_PREFIX: &str = "schema-registry-";

const JOURNAL: &str = "kafkasql-journal";
const SNAPSHOTS: &str = "kafkasql-snapshots";
const EVENTS: &str = "registry-events";

/// Topics that no description may declare: whoever writes to the journal writes the registry's data.
pub(crate) const OWN_TOPICS: [&str; 3] = [JOURNAL, SNAPSHOTS, EVENTS];

/// The registry's topics, made by us so that its user needs no right to create.
pub(super) fn topics(spec: &ClusterSpec) -> Vec<TopicPlan> {
    if !spec.registry.enabled {
        return Vec::new();
    }
    // The journal *is* the registry's data: the cluster's 30 days of retention would delete schemas.
    let forever = [("cleanup.policy", "delete"), ("retention.bytes", "-1"), ("retention.ms", "-1")];
    OWN_TOPICS.iter().map(|name| registry_topic(spec, name, &forever)).collect()
}

/// A subject for every topic that carries an event type.
pub(super) fn subjects(spec: &ClusterSpec) -> Vec<SubjectPlan> {
    spec.topics
        .iter()
        .filter(|_| spec.registry.enabled)
        .filter_map(|topic| {
            let record = topic.record.as_ref()?;
            let event = EventType::ALL.into_iter().find(|event| event.record() == record)?;
            Some(SubjectPlan {
                subject: format!("{}-value", topic.name),
                topic: topic.name.clone(),
                record: record.clone(),
                schema: event.schema().to_owned(),
                compatibility: spec.registry.compatibility.as_registry().to_owned(),
            })
        })
        .collect()
}

pub(super) fn url(context: &Context<'_>, name: &NodeName) -> String {
    let http = context.listener(name, "HTTP");
    format!("http://{}{REGISTRY_API_PATH}", advertised(http))
}

pub(super) fn node(context: &Context<'_>, name: &NodeName) -> NodePlan {
    let path = |rest: &str| context.node_path(name, rest);
    let jvm = Jvm {
        heap_mib: context.spec.registry.heap_mib,
        tuning: Tuning::Start,
        agent: None,
        temporary: path("run/tmp"),
        gc_log: path("logs/gc.log"),
        system_properties: vec![(
            "smallrye.config.locations",
            file_uri(&path("secrets/application.properties")),
        )],
        main: Main::Jar { path: format!("{}/quarkus-run.jar", context.inputs.registry_home) },
    };
    let secret = |path: &str, content| SecretFilePlan { path: path.to_owned(), content };
    NodePlan {
        name: name.clone(),
        role: NodeRole::SchemaRegistry,
        id: 1,
        listeners: context.listeners_of(name).to_vec(),
        files: vec![FilePlan { path: "config/node.args".to_owned(), text: argument_file(name, &jvm) }],
        secrets: vec![
            secret("secrets/registry.keystore.pem", SecretContent::KeystorePem(pki::registry_id(name))),
            secret("secrets/registry.truststore.pem", SecretContent::TruststorePem(vec![Ca::Data])),
            // Apicurio resolves `${...}` itself, so Kafka's own references cannot pass through it: the
            // password stands in this file, which is private to its owner.
            secret(
                "secrets/application.properties",
                SecretContent::Properties(application_properties(context, name)),
            ),
        ],
        stop_seconds: 20,
        memory: memory::of(context.spec, NodeRole::SchemaRegistry),
        container: containers::of(context, name, NodeRole::SchemaRegistry),
    }
}

fn application_properties(context: &Context<'_>, name: &NodeName) -> String {
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
    let login = format!(
        "org.apache.kafka.common.security.scram.ScramLoginModule required \
         username=\"{user}\" password=\"@{{password:{user}}}\";"
    );
    p.section("Kafka client: mutual TLS, SCRAM-SHA-512")
        .set("apicurio.kafka.common.security.protocol", "SASL_SSL")
        .set("apicurio.kafka.common.sasl.mechanism", "SCRAM-SHA-512")
        .set("apicurio.kafka.common.sasl.jaas.config", login)
        .set("apicurio.kafka.common.ssl.endpoint.identification.algorithm", "https")
        .set("apicurio.kafka.common.ssl.enabled.protocols", "TLSv1.3,TLSv1.2")
        .set("apicurio.kafka.common.ssl.keystore.type", "PEM")
        .set(
            "apicurio.kafka.common.ssl.keystore.location",
            context.node_path(name, "secrets/registry.keystore.pem"),
        )
        .set("apicurio.kafka.common.ssl.truststore.type", "PEM")
        .set(
            "apicurio.kafka.common.ssl.truststore.location",
            context.node_path(name, "secrets/registry.truststore.pem"),
        );
}
