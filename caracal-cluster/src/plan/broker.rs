//! A broker: the guide's settings, every `ssl.*` and `sasl.*` key under its listener's prefix.

use super::jvm::{Jvm, Main, Tuning, argument_file, audit_log4j, file_uri, log4j};
use super::model::{Ca, FilePlan, ListenerPlan, NodePlan, NodeRole, Role, SecretContent, SecretFilePlan};
use super::{Context, advertised, containers, kraft, memory, metrics, pki, users};
use crate::names::NodeName;
use crate::properties::Properties;
use crate::spec::{Metadata, Profile};

/// Reads a file of a folder as a value: how a password reaches Kafka without standing in its configuration.
const DIRECTORY_PROVIDER: &str = "org.apache.kafka.common.config.provider.DirectoryConfigProvider";
const SCRAM_MODULE: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";

/// A single node for tests is wanted at once and serves little.
fn tuning(profile: Profile) -> Tuning {
    match profile {
        Profile::Minimal => Tuning::Start,
        Profile::Full => Tuning::Throughput,
    }
}

pub(super) fn node(context: &Context<'_>, id: u16) -> NodePlan {
    let name = &context.names.brokers[usize::from(id) - 1];
    let jvm = jvm(context, name, context.spec.kafka.heap_mib, tuning(context.spec.profile));
    let inter_broker = context.user_of(Role::InterBroker);
    let secret = |path: &str, content| SecretFilePlan { path: path.to_owned(), content };
    let control = match context.spec.metadata {
        Metadata::Zookeeper => vec![
            secret(
                "secrets/zookeeper.keystore.pem",
                SecretContent::KeystorePem(pki::zookeeper_client_id(name)),
            ),
            secret("secrets/zookeeper.truststore.pem", SecretContent::TruststorePem(vec![Ca::Control])),
        ],
        Metadata::Kraft => kraft::secrets(name),
    };
    let mut secrets = vec![
        secret("secrets/listener.keystore.pem", SecretContent::KeystorePem(pki::listener_id(name))),
        secret("secrets/listener.truststore.pem", SecretContent::TruststorePem(vec![Ca::Data])),
    ];
    secrets.extend(control);
    secrets
        .push(secret("secrets/passwords/inter-broker", SecretContent::Password(inter_broker.name.clone())));
    NodePlan {
        name: name.clone(),
        role: NodeRole::Broker,
        id: id.into(),
        listeners: context.listeners_of(name).to_vec(),
        files: files(context, name, NodeRole::Broker, server_properties(context, id), &jvm),
        secrets,
        stop_seconds: 60,
        memory: memory::of(context.spec, NodeRole::Broker),
        container: containers::of(context, name, NodeRole::Broker),
    }
}

/// The JVM of a process of Kafka's.
pub(super) fn jvm<'a>(context: &'a Context<'_>, name: &NodeName, heap_mib: u32, tuning: Tuning) -> Jvm<'a> {
    let path = |rest: &str| context.node_path(name, rest);
    Jvm {
        heap_mib,
        tuning,
        agent: metrics::agent(context, name),
        temporary: path("run/tmp"),
        gc_log: path("logs/gc.log"),
        system_properties: system_properties(context, name),
        main: Main::Class {
            class_path: &context.inputs.kafka_jars,
            name: "kafka.Kafka",
            arguments: vec![path("config/server.properties")],
        },
    }
}

/// The files of a process of Kafka's. What is forwarded to a controller is refused there, and not at the broker that
/// was asked: each has an audit log.
pub(super) fn files(
    context: &Context<'_>,
    name: &NodeName,
    role: NodeRole,
    settings: String,
    jvm: &Jvm<'_>,
) -> Vec<FilePlan> {
    let path = |rest: &str| context.node_path(name, rest);
    let file = |path: &str, text: String| FilePlan { path: path.to_owned(), text };
    let logs = log4j(&path("logs/server.log"), context.is_contained(), QUIET)
        + &audit_log4j(&path("logs/audit.log"));
    let mut files = vec![
        file("config/server.properties", settings),
        file("config/node.args", argument_file(name, jvm)),
        file("config/log4j.properties", logs),
    ];
    files.extend(metrics::file(context, role));
    files
}

/// The system properties of a process of Kafka's.
fn system_properties<'a>(context: &Context<'_>, name: &NodeName) -> Vec<(&'a str, String)> {
    let path = |rest: &str| context.node_path(name, rest);
    vec![
        ("kafka.logs.dir", path("logs")),
        ("log4j.configuration", file_uri(&path("config/log4j.properties"))),
        // Only the provider that the configuration names may resolve values (CVE-2024-31141).
        ("org.apache.kafka.automatic.config.providers", DIRECTORY_PROVIDER.to_owned()),
    ]
}

/// Loggers that would drown the rest at INFO.
const QUIET: &[(&str, &str)] = &[("kafka.request.logger", "WARN"), ("kafka.network.RequestChannel$", "WARN")];

fn server_properties(context: &Context<'_>, id: u16) -> String {
    let name = &context.names.brokers[usize::from(id) - 1];
    let mut p = Properties::new();
    identity(&mut p, context, name, id);
    let kafka: Vec<&ListenerPlan> = context.kafka_listeners(name).collect();
    listeners(&mut p, context, &kafka);
    let passwords = context.node_path(name, "secrets/passwords");
    p.section("Passwords are read from files")
        .set("config.providers", "directory")
        .set("config.providers.directory.class", DIRECTORY_PROVIDER)
        .set("config.providers.directory.param.allowed.paths", &passwords);
    for listener in kafka.into_iter().filter(|listener| listener.name.as_str() != kraft::CONTROLLER) {
        listener_security(&mut p, context, id, listener, &passwords);
    }
    p.set("sasl.mechanism.inter.broker.protocol", "SCRAM-SHA-512");
    authorization(&mut p, context);
    match context.spec.metadata {
        Metadata::Zookeeper => zookeeper(&mut p, context, id),
        Metadata::Kraft => kraft::quorum(&mut p, context, name),
    }
    replication(&mut p, context);
    retention_and_performance(&mut p, context.spec.profile);
    p.section("Data")
        .set("log.dirs", context.node_path(name, "data"))
        .set("auto.create.topics.enable", false)
        .set("delete.topic.enable", true)
        .set("group.initial.rebalance.delay.ms", 0);
    if context.spec.metadata == Metadata::Zookeeper {
        // The last brokers of a cluster that stops as a whole have nobody to hand their leaderships to;
        // with the default of 5 s each of the three attempts would be waited out.
        p.set("controlled.shutdown.retry.backoff.ms", 1000);
    }
    from_description(&mut p, context);
    p.render(&format!("Kafka broker {name}"))
}

pub(super) fn from_description(p: &mut Properties, context: &Context<'_>) {
    if !context.spec.kafka.config.is_empty() {
        p.section("From the cluster description");
        for (key, value) in &context.spec.kafka.config {
            p.set(key, value);
        }
    }
}

/// The number of a broker is the same in both modes.
fn identity(p: &mut Properties, context: &Context<'_>, name: &NodeName, id: u16) {
    p.section("Identity");
    match context.spec.metadata {
        Metadata::Zookeeper => p.set("broker.id", id).set("broker.id.generation.enable", false),
        Metadata::Kraft => {
            let roles = if kraft::is_combined(context, name) { "broker,controller" } else { "broker" };
            p.set("node.id", id).set("process.roles", roles)
        }
    };
}

fn listeners(p: &mut Properties, context: &Context<'_>, listeners: &[&ListenerPlan]) {
    let join = |part: &dyn Fn(&ListenerPlan) -> String| -> String {
        listeners.iter().map(|listener| part(listener)).collect::<Vec<_>>().join(",")
    };
    p.section("Listeners");
    match context.spec.metadata {
        Metadata::Zookeeper => {
            p.set("listeners", join(&|l| format!("{}://{}:{}", l.name, l.own().ip(), l.own().port())))
                .set("advertised.listeners", join(&|l| format!("{}://{}", l.name, advertised(l))))
                .set("listener.security.protocol.map", join(&|l| format!("{}:SASL_SSL", l.name)));
        }
        Metadata::Kraft => {
            kraft::listeners(p, listeners);
            p.set("advertised.listeners", join(&|l| format!("{}://{}", l.name, advertised(l))));
        }
    }
    p.set("inter.broker.listener.name", "INTERNAL");
    debug_assert!(!context.names.brokers.is_empty(), "a plan has brokers");
}

/// One listener's TLS and SASL.
///
/// Kafka ignores a plain `ssl.client.auth=required` on a `SASL_SSL` listener: it logs a warning and lets
/// anybody shake hands without a certificate. Only the prefixed key makes TLS mutual.
fn listener_security(
    p: &mut Properties,
    context: &Context<'_>,
    id: u16,
    listener: &ListenerPlan,
    passwords: &str,
) {
    let name = &context.names.brokers[usize::from(id) - 1];
    let prefix = listener.name.config_prefix();
    p.section(&format!("Listener {}: mutual TLS, SCRAM-SHA-512", listener.name));
    let mut set = |key: &str, value: String| {
        p.set(format!("{prefix}{key}"), value);
    };
    set("ssl.client.auth", "required".to_owned());
    set("ssl.keystore.type", "PEM".to_owned());
    set("ssl.keystore.location", context.node_path(name, "secrets/listener.keystore.pem"));
    set("ssl.truststore.type", "PEM".to_owned());
    set("ssl.truststore.location", context.node_path(name, "secrets/listener.truststore.pem"));
    set("ssl.protocol", "TLSv1.3".to_owned());
    set("ssl.enabled.protocols", "TLSv1.3,TLSv1.2".to_owned());
    set("ssl.endpoint.identification.algorithm", "https".to_owned());
    set("sasl.enabled.mechanisms", "SCRAM-SHA-512".to_owned());
    let login = if listener.name.as_str() == "INTERNAL" {
        let user = &context.user_of(Role::InterBroker).name;
        format!(
            "{SCRAM_MODULE} required username=\"{user}\" password=\"${{directory:{passwords}:inter-broker}}\";"
        )
    } else {
        format!("{SCRAM_MODULE} required;")
    };
    set("scram-sha-512.sasl.jaas.config", login);
}

pub(super) fn authorization(p: &mut Properties, context: &Context<'_>) {
    let (class, super_users) = match context.spec.metadata {
        Metadata::Zookeeper => ("kafka.security.authorizer.AclAuthorizer", users::super_users(context.users)),
        Metadata::Kraft => {
            ("org.apache.kafka.metadata.authorizer.StandardAuthorizer", kraft::super_users(context))
        }
    };
    p.section("Authorization: what no rule allows is denied")
        .set("authorizer.class.name", class)
        .set("allow.everyone.if.no.acl.found", false)
        .set("super.users", super_users);
}

fn zookeeper(p: &mut Properties, context: &Context<'_>, id: u16) {
    let name = &context.names.brokers[usize::from(id) - 1];
    let connect: Vec<String> = context
        .names
        .zookeepers
        .iter()
        .map(|node| context.listener(node, "CLIENT"))
        .map(|listener| listener.among_nodes().to_string())
        .collect();
    p.section("ZooKeeper: mutual TLS, znodes owned by the brokers")
        .set("zookeeper.connect", connect.join(","))
        .set("zookeeper.connection.timeout.ms", 30000)
        .set("zookeeper.session.timeout.ms", 18000)
        .set("zookeeper.set.acl", true)
        .set("zookeeper.clientCnxnSocket", "org.apache.zookeeper.ClientCnxnSocketNetty")
        .set("zookeeper.ssl.client.enable", true)
        .set("zookeeper.ssl.keystore.type", "PEM")
        .set("zookeeper.ssl.keystore.location", context.node_path(name, "secrets/zookeeper.keystore.pem"))
        .set("zookeeper.ssl.truststore.type", "PEM")
        .set("zookeeper.ssl.truststore.location", context.node_path(name, "secrets/zookeeper.truststore.pem"))
        .set("zookeeper.ssl.protocol", "TLSv1.3")
        .set("zookeeper.ssl.enabled.protocols", "TLSv1.3,TLSv1.2")
        .set("zookeeper.ssl.endpoint.identification.algorithm", "HTTPS");
}

pub(super) fn replication(p: &mut Properties, context: &Context<'_>) {
    let replication = context.spec.replication;
    p.section("Replication")
        .set("default.replication.factor", replication.factor)
        .set("min.insync.replicas", replication.min_isr)
        .set("offsets.topic.replication.factor", replication.factor)
        .set("transaction.state.log.replication.factor", replication.factor)
        .set("transaction.state.log.min.isr", replication.min_isr)
        .set("unclean.leader.election.enable", false);
}

fn retention_and_performance(p: &mut Properties, profile: Profile) {
    // Each network thread of each listener reads keys and certificates anew when the broker starts: some 50 ms.
    let threads = match profile {
        Profile::Full => 8,
        Profile::Minimal => 2,
    };
    p.section("Retention")
        .set("log.retention.hours", 720)
        .set("log.segment.bytes", 1_073_741_824)
        .set("compression.type", "snappy");
    p.section("Performance")
        .set("num.network.threads", threads)
        .set("num.io.threads", threads)
        .set("socket.send.buffer.bytes", 102_400)
        .set("socket.receive.buffer.bytes", 102_400)
        .set("socket.request.max.bytes", 104_857_600);
    if profile == Profile::Minimal {
        // One node has nobody to share them with, and makes all of them when the first group or transaction comes.
        p.set("offsets.topic.num.partitions", 5).set("transaction.state.log.num.partitions", 5);
    }
}
