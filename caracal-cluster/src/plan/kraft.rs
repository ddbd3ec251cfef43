//! KRaft: controllers, and what differs in a broker when Kafka keeps its metadata itself.
//!
//! SCRAM is not to be had between controllers, so their listener is mutual TLS alone, below the control
//! authority. A node is known there by its certificate: the subject `CN=<node>,OU=<broker or controller>,
//! O=Caracal` becomes the principal `User:CN=<node>`, which no SCRAM user can be, because a user's name has no
//! `=`.

use super::broker;
use super::jvm::Tuning;
use super::model::{Ca, ListenerPlan, NodePlan, NodeRole, SecretContent, SecretFilePlan};
use super::{Context, advertised, containers, memory, pki, users};
use crate::names::NodeName;
use crate::properties::Properties;

/// The name of the controllers' listener.
pub const CONTROLLER: &str = "CONTROLLER";

/// Controllers of their own are numbered from here: no broker ever has such a number, so a cluster can move
/// from ZooKeeper to KRaft with its brokers' numbers kept.
const FIRST_CONTROLLER_ID: u32 = 101;

/// The number of a separate controller, counted from 1.
fn controller_id(at: u16) -> u32 {
    FIRST_CONTROLLER_ID + u32::from(at) - 1
}

pub(super) fn node(context: &Context<'_>, at: u16) -> NodePlan {
    let name = &context.names.controllers[usize::from(at) - 1];
    let jvm = broker::jvm(context, name, context.spec.kafka.controller_heap_mib, Tuning::Start);
    let settings = server_properties(context, name, controller_id(at));
    NodePlan {
        name: name.clone(),
        role: NodeRole::Controller,
        id: controller_id(at),
        listeners: context.listeners_of(name).to_vec(),
        files: broker::files(context, name, NodeRole::Controller, settings, &jvm),
        secrets: secrets(name),
        stop_seconds: 20,
        memory: memory::of(context.spec, NodeRole::Controller),
        container: containers::of(context, name, NodeRole::Controller),
    }
}

/// What a node of the control plane presents and trusts there.
pub(super) fn secrets(name: &NodeName) -> Vec<SecretFilePlan> {
    let secret = |path: &str, content| SecretFilePlan { path: path.to_owned(), content };
    vec![
        secret("secrets/control.keystore.pem", SecretContent::KeystorePem(pki::control_id(name))),
        secret("secrets/control.truststore.pem", SecretContent::TruststorePem(vec![Ca::Control])),
    ]
}

fn server_properties(context: &Context<'_>, name: &NodeName, id: u32) -> String {
    let mut p = Properties::new();
    p.section("Identity").set("node.id", id).set("process.roles", "controller");
    p.section("Listeners");
    listeners(&mut p, &context.kafka_listeners(name).collect::<Vec<_>>());
    quorum(&mut p, context, name);
    broker::authorization(&mut p, context);
    // Whatever a topic is made without, it gets from the controller that makes it.
    broker::replication(&mut p, context);
    p.section("Data")
        .set("log.dirs", context.node_path(name, "data"))
        .set("auto.create.topics.enable", false)
        .set("delete.topic.enable", true);
    broker::from_description(&mut p, context);
    p.render(&format!("Kafka controller {name}"))
}

/// `listeners` and the protocol of every listener, the controllers' among them: who has none dials it.
pub(super) fn listeners(p: &mut Properties, listeners: &[&ListenerPlan]) {
    let bound: Vec<String> =
        listeners.iter().map(|l| format!("{}://{}:{}", l.name, l.own().ip(), l.own().port())).collect();
    let mut protocols: Vec<String> = listeners
        .iter()
        .filter(|listener| listener.name.as_str() != CONTROLLER)
        .map(|listener| format!("{}:SASL_SSL", listener.name))
        .collect();
    protocols.push(format!("{CONTROLLER}:SSL"));
    p.set("listeners", bound.join(","))
        .set("listener.security.protocol.map", protocols.join(","))
        .set("controller.listener.names", CONTROLLER);
}

/// Who the controllers are, and how they are reached and known.
pub(super) fn quorum(p: &mut Properties, context: &Context<'_>, name: &NodeName) {
    let voters: Vec<String> = voters(context)
        .map(|(id, node)| format!("{id}@{}", advertised(context.listener(node, CONTROLLER))))
        .collect();
    p.section("Controllers: a quorum over mutual TLS").set("controller.quorum.voters", voters.join(","));
    let mut set = |key: &str, value: String| {
        p.set(format!("listener.name.controller.{key}"), value);
    };
    set("ssl.client.auth", "required".to_owned());
    set("ssl.keystore.type", "PEM".to_owned());
    set("ssl.keystore.location", context.node_path(name, "secrets/control.keystore.pem"));
    set("ssl.truststore.type", "PEM".to_owned());
    set("ssl.truststore.location", context.node_path(name, "secrets/control.truststore.pem"));
    set("ssl.protocol", "TLSv1.3".to_owned());
    set("ssl.enabled.protocols", "TLSv1.3,TLSv1.2".to_owned());
    set("ssl.endpoint.identification.algorithm", "https".to_owned());
    set("ssl.principal.mapping.rules", pki::mapping_rules());
}

/// Every controller with its number, in order.
fn voters<'a>(context: &'a Context<'_>) -> impl Iterator<Item = (u32, &'a NodeName)> {
    let separate = (1..).map(controller_id).zip(&context.names.controllers);
    let combined = (1..).zip(&context.names.brokers).filter(|(_, node)| is_combined(context, node));
    separate.chain(combined)
}

/// Whether a broker is a controller too.
pub(super) fn is_combined(context: &Context<'_>, node: &NodeName) -> bool {
    context.listeners_of(node).iter().any(|listener| listener.name.as_str() == CONTROLLER)
}

/// Who else is in `super.users`: every node by its certificate, and whoever looks at the quorum for us.
pub(super) fn super_users(context: &Context<'_>) -> String {
    let nodes = context.names.controllers.iter().chain(&context.names.brokers).map(NodeName::as_str);
    let nodes = nodes.chain([pki::METADATA_CLIENT]).map(|name| format!("User:CN={name}"));
    std::iter::once(users::super_users(context.users)).chain(nodes).collect::<Vec<_>>().join(";")
}
