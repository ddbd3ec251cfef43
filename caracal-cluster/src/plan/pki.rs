//! Which certificates there are, with names derived from the listener table.

use std::collections::BTreeSet;
use std::net::IpAddr;

use caracal_pki::{SubjectAltName, Usage};

use super::model::{Ca, CertificatePlan, ListenerPlan, PkiPlan, Role};
use super::{Context, containers, kraft, listeners};
use crate::names::NodeName;
use crate::spec::Metadata;

/// The common name of everybody who may write the brokers' znodes.
///
/// ZooKeeper gives a znode to its creator's certificate subject, so brokers and whoever writes the first
/// users must share one, each with a key of its own. It never changes: a broker with another subject would
/// be locked out of its own cluster.
pub(super) const METADATA_CLIENT: &str = "caracal-metadata-client";

/// The certificate with which the first users are written.
pub const BOOTSTRAP_CERTIFICATE: &str = "control.bootstrap";

pub(super) fn quorum_id(node: &NodeName) -> String {
    format!("{node}.quorum")
}

pub(super) fn listener_id(node: &NodeName) -> String {
    format!("{node}.listener")
}

pub(super) fn zookeeper_client_id(node: &NodeName) -> String {
    format!("{node}.zookeeper-client")
}

/// What a node of a KRaft cluster presents to controllers, and a controller to everybody.
pub(super) fn control_id(node: &NodeName) -> String {
    format!("{node}.control")
}

/// How a certificate of the control authority becomes a principal: `User:CN=<name>` for the kinds of names
/// that this plan gives, its whole subject, which is nobody's, for any other.
pub(super) fn mapping_rules() -> String {
    "RULE:^CN=([a-z0-9-]+),OU=(broker|controller|metadata),O=Caracal$/CN=$1/,DEFAULT".to_owned()
}

pub(super) fn registry_id(node: &NodeName) -> String {
    format!("{node}.registry")
}

pub(super) fn client_id(user: &str) -> String {
    format!("client.{user}")
}

pub(super) fn plan(context: &Context<'_>) -> PkiPlan {
    let mut certificates = Vec::new();
    for node in &context.names.zookeepers {
        let mut quorum = server(context, quorum_id(node), Ca::Control, "zookeeper", node);
        // Who proves the quorum's ports from outside the network comes from its gateway, and a member checks the
        // address of whoever connects.
        let gateway = containers::network(context).map(|network| IpAddr::V4(network.gateway));
        quorum.sans.extend(gateway.map(SubjectAltName::Ip));
        certificates.push(quorum);
    }
    for node in &context.names.controllers {
        certificates.push(server(context, control_id(node), Ca::Control, "controller", node));
    }
    for node in &context.names.brokers {
        certificates.push(server(context, listener_id(node), Ca::Data, "broker", node));
        certificates.push(match context.spec.metadata {
            Metadata::Zookeeper => metadata_client(zookeeper_client_id(node)),
            Metadata::Kraft if kraft::is_combined(context, node) => {
                server(context, control_id(node), Ca::Control, "broker", node)
            }
            Metadata::Kraft => controllers_client(node),
        });
    }
    if let Some(node) = &context.names.registry {
        certificates.push(server(context, registry_id(node), Ca::Data, "schema-registry", node));
    }
    certificates.push(metadata_client(BOOTSTRAP_CERTIFICATE.to_owned()));
    for user in context.users.iter().filter(|user| user.role != Role::InterBroker) {
        certificates.push(CertificatePlan {
            id: client_id(user.name.as_str()),
            ca: Ca::Data,
            common_name: user.name.to_string(),
            organizational_unit: "client".to_owned(),
            sans: Vec::new(),
            usage: Usage::Client,
        });
    }
    let security = context.spec.security;
    PkiPlan {
        algorithm: security.key_algorithm,
        ca_days: security.ca_days,
        leaf_days: security.certificate_days,
        certificates,
    }
}

fn server(context: &Context<'_>, id: String, ca: Ca, unit: &str, node: &NodeName) -> CertificatePlan {
    CertificatePlan {
        id,
        ca,
        common_name: node.to_string(),
        organizational_unit: unit.to_owned(),
        sans: subject_alt_names(node, context.listeners_of(node)),
        // Brokers, quorum members and the registry are clients of their own kind, too.
        usage: Usage::ServerAndClient,
    }
}

fn metadata_client(id: String) -> CertificatePlan {
    CertificatePlan {
        id,
        ca: Ca::Control,
        common_name: METADATA_CLIENT.to_owned(),
        organizational_unit: "metadata".to_owned(),
        sans: Vec::new(),
        usage: Usage::Client,
    }
}

/// A broker that is no controller, at the controllers.
fn controllers_client(node: &NodeName) -> CertificatePlan {
    CertificatePlan {
        id: control_id(node),
        ca: Ca::Control,
        common_name: node.to_string(),
        organizational_unit: "broker".to_owned(),
        sans: Vec::new(),
        usage: Usage::Client,
    }
}

/// Every name and address under which a node's listeners are reached, each once, names first.
fn subject_alt_names(node: &NodeName, listeners: &[ListenerPlan]) -> Vec<SubjectAltName> {
    let mut names = BTreeSet::from([node.to_string(), listeners::HOST.to_owned()]);
    names.extend(listeners.iter().map(|listener| listener.advertised_host.clone()));
    let inside = listeners.iter().filter_map(|listener| Some(listener.inside?.ip()));
    let addresses: BTreeSet<_> = listeners
        .iter()
        .flat_map(|listener| [listener.bind.ip(), listener.dial.ip()])
        .chain(inside)
        .collect();
    names.into_iter().map(SubjectAltName::Dns).chain(addresses.into_iter().map(SubjectAltName::Ip)).collect()
}
