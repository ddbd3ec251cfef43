//! A ZooKeeper node: TLS only, for clients and quorum, with both sides' names verified.

use super::jvm::{Jvm, Main, Tuning, argument_file, file_uri, log4j};
use super::model::{Ca, FilePlan, NodePlan, NodeRole, SecretContent, SecretFilePlan};
use super::{Context, containers, memory, metrics, pki};
use crate::properties::Properties;

pub(super) fn node(context: &Context<'_>, id: u16) -> NodePlan {
    let name = &context.names.zookeepers[usize::from(id) - 1];
    let path = |rest: &str| context.node_path(name, rest);
    let jvm = Jvm {
        heap_mib: context.spec.kafka.zookeeper_heap_mib,
        tuning: Tuning::Start,
        agent: metrics::agent(context, name),
        temporary: path("run/tmp"),
        gc_log: path("logs/gc.log"),
        system_properties: vec![("log4j.configuration", file_uri(&path("config/log4j.properties")))],
        main: Main::Class {
            class_path: &context.inputs.kafka_jars,
            name: "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            arguments: vec![path("config/zoo.cfg")],
        },
    };
    let file = |path: &str, text: String| FilePlan { path: path.to_owned(), text };
    let secret = |path: &str, content| SecretFilePlan { path: path.to_owned(), content };
    NodePlan {
        name: name.clone(),
        role: NodeRole::Zookeeper,
        id: id.into(),
        listeners: context.listeners_of(name).to_vec(),
        files: [
            file("config/zoo.cfg", zoo_cfg(context, id)),
            file("config/node.args", argument_file(name, &jvm)),
            file("config/log4j.properties", log4j(&path("logs/server.log"), context.is_contained(), &[])),
            file("data/myid", format!("{id}\n")),
        ]
        .into_iter()
        .chain(metrics::file(context, NodeRole::Zookeeper))
        .collect(),
        secrets: vec![
            secret("secrets/control.keystore.pem", SecretContent::KeystorePem(pki::quorum_id(name))),
            secret("secrets/control.truststore.pem", SecretContent::TruststorePem(vec![Ca::Control])),
        ],
        stop_seconds: 20,
        memory: memory::of(context.spec, NodeRole::Zookeeper),
        container: containers::of(context, name, NodeRole::Zookeeper),
    }
}

fn zoo_cfg(context: &Context<'_>, id: u16) -> String {
    let name = &context.names.zookeepers[usize::from(id) - 1];
    let client = context.listener(name, "CLIENT").own();
    let keystore = context.node_path(name, "secrets/control.keystore.pem");
    let truststore = context.node_path(name, "secrets/control.truststore.pem");
    let mut p = Properties::new();
    p.section("Ensemble").set("tickTime", 2000).set("initLimit", 10).set("syncLimit", 5);
    for (at, member) in context.names.zookeepers.iter().enumerate() {
        let quorum = context.listener(member, "QUORUM").among_nodes();
        let election = context.listener(member, "ELECTION").among_nodes();
        p.set(format!("server.{}", at + 1), format!("{}:{}:{}", quorum.ip(), quorum.port(), election.port()));
    }
    if context.names.zookeepers.len() == 1 {
        // An ensemble of one is still an ensemble: it can grow without a change of mode.
        p.set("standaloneEnabled", false);
    }
    p.section("Data")
        .set("dataDir", context.node_path(name, "data"))
        .set("autopurge.snapRetainCount", 3)
        .set("autopurge.purgeInterval", 24);
    p.section("Clients: mutual TLS, no plain port")
        .set("secureClientPort", client.port())
        .set("secureClientPortAddress", client.ip())
        .set("serverCnxnFactory", "org.apache.zookeeper.server.NettyServerCnxnFactory")
        .set("ssl.clientAuth", "need");
    tls(&mut p, "ssl.", &keystore, &truststore);
    p.section("Quorum: mutual TLS").set("sslQuorum", true).set("ssl.quorum.clientAuth", "need");
    tls(&mut p, "ssl.quorum.", &keystore, &truststore);
    p.section("Surface")
        .set("admin.enableServer", false)
        .set("4lw.commands.whitelist", "ruok,srvr,mntr")
        .set("maxClientCnxns", 60);
    p.render(&format!("ZooKeeper {name}"))
}

fn tls(p: &mut Properties, prefix: &str, keystore: &str, truststore: &str) {
    p.set(format!("{prefix}keyStore.location"), keystore)
        .set(format!("{prefix}keyStore.type"), "PEM")
        .set(format!("{prefix}trustStore.location"), truststore)
        .set(format!("{prefix}trustStore.type"), "PEM")
        .set(format!("{prefix}hostnameVerification"), true)
        .set(format!("{prefix}protocol"), "TLSv1.3")
        .set(format!("{prefix}enabledProtocols"), "TLSv1.3,TLSv1.2");
}
