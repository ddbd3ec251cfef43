//! The listener table: who listens where, under which name, protected how.
//!
//! Certificates' names, Kafka's `listeners`, what clients are told and what we dial all come from here.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::containers::{self, Placement};
use super::model::{Ca, ListenerPlan, Protection};
use super::{NodeNames, PlanError, PlanInputs, kraft};
use crate::names::{ListenerName, NodeName};
use crate::spec::ClusterSpec;

/// A listener's place in the port table: node and listener name.
pub type PortKey = (NodeName, String);

/// The host that every listener of a local cluster advertises and that its certificate carries.
pub(super) const HOST: &str = "localhost";

/// The listener on which a node serves its metrics, where metrics are wanted.
pub const METRICS: &str = "METRICS";

type Listeners = &'static [(&'static str, Protection, Option<Ca>)];

const ZOOKEEPER: Listeners = &[
    ("CLIENT", Protection::MutualTls, Some(Ca::Control)),
    ("QUORUM", Protection::MutualTls, Some(Ca::Control)),
    ("ELECTION", Protection::MutualTls, Some(Ca::Control)),
];
const CONTROLLER: Listeners = &[(kraft::CONTROLLER, Protection::MutualTls, Some(Ca::Control))];
const BROKER: Listeners = &[
    ("INTERNAL", Protection::MutualTlsScram, Some(Ca::Data)),
    ("EXTERNAL", Protection::MutualTlsScram, Some(Ca::Data)),
];
const COMBINED: Listeners = &[BROKER[0], BROKER[1], CONTROLLER[0]];

/// Every listener that needs a port, in the order of the nodes.
pub fn port_keys(spec: &ClusterSpec) -> Vec<PortKey> {
    table(spec, &NodeNames::of(spec))
        .into_iter()
        .flat_map(|row| row.listeners.into_iter().map(move |(name, ..)| (row.node.clone(), name.to_owned())))
        .collect()
}

/// The guide's ports: 9093, 9095, 9097 and 8081 as published there; what it does not publish lies beside
/// them on loopback.
pub fn guide_ports(spec: &ClusterSpec) -> BTreeMap<PortKey, u16> {
    let names = NodeNames::of(spec);
    let mut ports = BTreeMap::new();
    for (at, node) in (0_u16..).zip(&names.zookeepers) {
        ports.insert((node.clone(), "CLIENT".to_owned()), 2181 + at);
        ports.insert((node.clone(), "QUORUM".to_owned()), 2888 + at);
        ports.insert((node.clone(), "ELECTION".to_owned()), 3888 + at);
        if spec.metrics.enabled {
            ports.insert((node.clone(), METRICS.to_owned()), 7001 + at);
        }
    }
    let combined = names.brokers.iter().take(names.combined);
    for (at, node) in (0_u16..).zip(names.controllers.iter().chain(combined)) {
        ports.insert((node.clone(), kraft::CONTROLLER.to_owned()), 9191 + at);
    }
    for (at, node) in (0_u16..).zip(&names.controllers).filter(|_| spec.metrics.enabled) {
        ports.insert((node.clone(), METRICS.to_owned()), 7001 + at);
    }
    for (at, node) in (0_u16..).zip(&names.brokers) {
        ports.insert((node.clone(), "INTERNAL".to_owned()), 9092 + 2 * at);
        ports.insert((node.clone(), "EXTERNAL".to_owned()), 9093 + 2 * at);
        if spec.metrics.enabled {
            ports.insert((node.clone(), METRICS.to_owned()), 7071 + at);
        }
    }
    if let Some(registry) = names.registry {
        for (at, (listener, ..)) in (0_u16..).zip(spec.registry.flavor.listeners()) {
            ports.insert((registry.clone(), (*listener).to_owned()), 8081 + at);
        }
    }
    ports
}

pub(super) fn plan(
    spec: &ClusterSpec,
    names: &NodeNames,
    inputs: &PlanInputs,
) -> Result<BTreeMap<NodeName, Vec<ListenerPlan>>, PlanError> {
    let mut planned = BTreeMap::new();
    for Row { node, listeners } in table(spec, names) {
        let mut list = Vec::new();
        for (name, protection, ca) in listeners {
            let port = *inputs.ports.get(&(node.clone(), name.to_owned())).ok_or_else(|| {
                PlanError::MissingPort { node: node.to_string(), listener: name.to_owned() }
            })?;
            let planned = listener(name, port, protection, ca);
            list.push(match inputs.placement {
                Placement::Processes => planned,
                Placement::Containers(subnet) => {
                    contained(planned, &node, containers::address(subnet, names, &node))
                }
            });
        }
        planned.insert(node, list);
    }
    Ok(planned)
}

/// A node with its listeners.
struct Row {
    node: NodeName,
    listeners: Vec<(&'static str, Protection, Option<Ca>)>,
}

fn table(spec: &ClusterSpec, names: &NodeNames) -> Vec<Row> {
    let row = |node: &NodeName, own: Listeners, agent: bool| {
        let mut listeners = own.to_vec();
        if agent && spec.metrics.enabled {
            listeners.push((METRICS, Protection::Http, None));
        }
        Row { node: node.clone(), listeners }
    };
    let mut rows: Vec<Row> = Vec::new();
    rows.extend(names.zookeepers.iter().map(|node| row(node, ZOOKEEPER, true)));
    rows.extend(names.controllers.iter().map(|node| row(node, CONTROLLER, true)));
    let brokers = names.brokers.iter().enumerate();
    rows.extend(
        brokers.map(|(at, node)| row(node, if at < names.combined { COMBINED } else { BROKER }, true)),
    );
    // The registry serves its metrics by itself, beside its health, or none.
    rows.extend(names.registry.iter().map(|node| row(node, spec.registry.flavor.listeners(), false)));
    rows
}

fn listener(name: &str, port: u16, protection: Protection, ca: Option<Ca>) -> ListenerPlan {
    let name: ListenerName = name.parse().unwrap_or_else(|error| unreachable!("built-in: {error}"));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    ListenerPlan {
        name,
        bind: address,
        dial: address,
        advertised_host: HOST.to_owned(),
        advertised_port: port,
        protection,
        ca,
        inside: None,
    }
}

/// The same in a container: published where it would have been bound, and at home on a port of its own.
fn contained(listener: ListenerPlan, node: &NodeName, address: Ipv4Addr) -> ListenerPlan {
    let name = listener.name.as_str();
    let port = containers::port(name);
    let inside = Some(SocketAddr::from((address, port)));
    if containers::is_for_outside(name) {
        return ListenerPlan { inside, ..listener };
    }
    ListenerPlan { inside, advertised_host: node.to_string(), advertised_port: port, ..listener }
}
