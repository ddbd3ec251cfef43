//! What differs when nodes run in containers: their addresses, and paths inside an image.
//!
//! Everything else of a plan is the same. A node has a fixed address in the cluster's network, by which others
//! reach it; its listeners are published on loopback for whoever is outside. Its one directory is mounted, and
//! its data lies in a volume on the same disk.

use std::net::{Ipv4Addr, SocketAddr};

use super::model::{ContainerPlan, NetworkPlan, NodeRole, RegistryFlavor};
use super::{CLUSTER_ID_PROPERTY, Context, NodeNames, memory};
use crate::names::NodeName;
use crate::spec::{ClusterSpec, ImageSet, Metadata, Subnet};

/// The cluster's directory as nodes in containers see it: of each only its own part is there.
pub const CONTAINER_DIRECTORY: &str = "/caracal";

/// The folder with the metrics agent in a container.
pub const AGENT_FOLDER: &str = "/caracal/agent";

/// The home of Apicurio in its image.
pub const REGISTRY_HOME: &str = "/deployments";

/// The vendor's version for Kafka 3.9, and of its schema registry, whose client works with every Kafka of this tool. Its
/// line 8 logs by another library, which our log configuration does not reach.
pub const VENDORS_LINE: &str = "7.9.11";

/// What `cargo xtask image build` calls its images.
pub const LOCAL_IMAGES: &str = "caracal-local";

/// What a node's container runs: the image's own start script would look for settings in the environment.
pub const ENTRY_POINT: &str = "java";

/// Its environment.
pub const ENVIRONMENT: [&str; 1] = ["LC_ALL=C.UTF-8"];

/// What a container may take of the engine's log disk: 5 x 20 MiB, as a node's own log.
pub const LOG_LIMITS: [(&str, &str); 2] = [("max-file", "5"), ("max-size", "20m")];

/// The argument of [`ENTRY_POINT`].
pub fn argument(container: &ContainerPlan) -> String {
    format!("@{}/config/node.args", container.mount)
}

/// Where nodes run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "every part of the planner must say what it makes of a new place"
)]
pub enum Placement {
    /// As processes of this machine.
    #[default]
    Processes,
    /// In containers, with fixed addresses of this network.
    Containers(Subnet),
}

/// The network of a cluster in containers.
pub(super) fn network(context: &Context<'_>) -> Option<NetworkPlan> {
    match context.inputs.placement {
        Placement::Processes => None,
        Placement::Containers(subnet) => Some(NetworkPlan {
            name: format!("{}-kafka", context.spec.name),
            subnet,
            gateway: subnet.gateway(),
        }),
    }
}

/// What a node's container is made of.
pub(super) fn of(context: &Context<'_>, name: &NodeName, role: NodeRole) -> Option<ContainerPlan> {
    let Placement::Containers(subnet) = context.inputs.placement else { return None };
    let budget = memory::of(context.spec, role);
    Some(ContainerPlan {
        image: image(context.spec, role, &context.inputs.registry_version),
        layout: (role != NodeRole::SchemaRegistry).then(|| context.spec.docker.layout()),
        address: address(subnet, context.names, name),
        mount: context.node_path(name, "").trim_end_matches('/').to_owned(),
        volume: format!("{name}-data"),
        // The page cache counts too, but is given back; a heap that runs away ends here.
        memory_mib: 2 * u32::try_from(budget.total_mib()).unwrap_or(u32::MAX / 2),
    })
}

/// The address of a node: each kind of node has a range of its own, so that one more moves none of the others.
pub(super) fn address(subnet: Subnet, names: &NodeNames, name: &NodeName) -> Ipv4Addr {
    let place = |nodes: &[NodeName]| nodes.iter().position(|node| node == name);
    let ranges =
        [(10, place(&names.zookeepers)), (20, place(&names.brokers)), (30, place(&names.controllers))];
    let found = ranges.into_iter().find_map(|(from, at)| Some(from + u32::try_from(at? + 1).unwrap_or(0)));
    subnet.address(found.unwrap_or(41))
}

/// The port on which a listener listens in its container, where every node has all ports to itself.
pub(super) fn port(listener: &str) -> u16 {
    match listener {
        "CLIENT" => 2181,
        "QUORUM" => 2888,
        "ELECTION" => 3888,
        "INTERNAL" => 9092,
        "EXTERNAL" => 9093,
        "CONTROLLER" => 9094,
        "HTTP" => 8081,
        "MANAGEMENT" => 8082,
        _ => 7071,
    }
}

/// Whether the address that a listener tells others is one outside the network.
pub(super) fn is_for_outside(listener: &str) -> bool {
    matches!(listener, "EXTERNAL" | "HTTP" | "MANAGEMENT" | "METRICS")
}

/// Where a listener binds in its container. What peers check by address is bound to it alone; everything else is
/// on loopback there too, for whoever looks from inside.
pub(super) fn binds(listener: &str, address: SocketAddr) -> SocketAddr {
    match listener {
        "QUORUM" | "ELECTION" | "CONTROLLER" => address,
        _ => SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())),
    }
}

/// Every image that a cluster needs, each once.
pub fn images(spec: &ClusterSpec, registry_version: &str) -> Vec<String> {
    let metadata = match spec.metadata {
        Metadata::Zookeeper => NodeRole::Zookeeper,
        Metadata::Kraft => NodeRole::Controller,
    };
    let registry = spec.registry.enabled.then_some(NodeRole::SchemaRegistry);
    let roles = [Some(metadata), Some(NodeRole::Broker), registry];
    let mut images: Vec<String> =
        roles.into_iter().flatten().map(|role| image(spec, role, registry_version)).collect();
    images.sort();
    images.dedup();
    images
}

/// The image of a node.
fn image(spec: &ClusterSpec, role: NodeRole, registry: &str) -> String {
    let kafka = &spec.kafka.version;
    if role == NodeRole::SchemaRegistry {
        return match (&spec.docker.registry_image, spec.registry.flavor, &spec.docker.images) {
            (Some(image), ..) => image.clone(),
            // Of this one no image can be built here, whatever the others are.
            (None, RegistryFlavor::Confluent, _) => format!("confluentinc/cp-schema-registry:{registry}"),
            (None, RegistryFlavor::Apicurio, ImageSet::Local | ImageSet::LocalApache) => {
                format!("{LOCAL_IMAGES}/apicurio-registry:{registry}")
            }
            (None, RegistryFlavor::Apicurio, _) => format!("apicurio/apicurio-registry:{registry}"),
        };
    }
    match &spec.docker.images {
        ImageSet::Confluent if role == NodeRole::Zookeeper => {
            format!("confluentinc/cp-zookeeper:{}", vendors(kafka))
        }
        ImageSet::Confluent => format!("confluentinc/cp-kafka:{}", vendors(kafka)),
        ImageSet::Apache => format!("apache/kafka:{kafka}"),
        ImageSet::Local => format!("{LOCAL_IMAGES}/kafka-confluent:{kafka}"),
        ImageSet::LocalApache => format!("{LOCAL_IMAGES}/kafka-apache:{kafka}"),
        ImageSet::Named(name) => name.clone(),
    }
}

/// The vendor's version of a version of Kafka: 7.9 is 3.9, 8.2 is 4.2.
fn vendors(kafka: &str) -> String {
    match kafka.split('.').collect::<Vec<_>>()[..] {
        ["3", "9", ..] => VENDORS_LINE.to_owned(),
        [major, minor, ..] => {
            let line =
                major.parse::<u32>().map_or_else(|_| major.to_owned(), |major| (major + 4).to_string());
            format!("{line}.{minor}.0")
        }
        _ => kafka.to_owned(),
    }
}

/// Labels by which what belongs to a cluster is known, whoever looks for it.
pub mod labels {
    /// The cluster's name.
    pub const CLUSTER: &str = "caracal.cluster";
    /// The cluster's id.
    pub const CLUSTER_ID: &str = super::CLUSTER_ID_PROPERTY;
    /// The node's name.
    pub const NODE: &str = super::super::NODE_PROPERTY;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::tests::{contained_plan, default_plan};
    use super::*;
    use crate::plan::check::{self, Severity};

    #[test]
    fn addresses_are_fixed_and_each_nodes_own() {
        let plan = contained_plan();
        let of =
            |name: &str| plan.node(name).and_then(|node| node.container.clone()).unwrap().address.to_string();
        assert_eq!(of("caracal-zookeeper-1"), "172.29.0.11");
        assert_eq!(of("caracal-kafka-3"), "172.29.0.23");
        assert_eq!(of("caracal-schema-registry"), "172.29.0.41");
        assert!(check::check(&plan).iter().all(|note| note.severity < Severity::Error));
    }

    #[test]
    fn what_is_told_outside_is_the_same_as_without_containers() {
        assert_eq!(contained_plan().endpoints, default_plan().endpoints);
    }

    #[test]
    fn settings_differ_from_those_of_processes_in_addresses_and_paths_only() {
        let settings = |plan: &crate::plan::ClusterPlan, node: &str, path: &str| {
            let node = plan.node(node).unwrap();
            let text = &node.files.iter().find(|file| file.path == path).unwrap().text;
            crate::properties::parse(text)
        };
        let (native, contained) = (default_plan(), contained_plan());
        for (node, path) in
            [("caracal-kafka-2", "config/server.properties"), ("caracal-zookeeper-2", "config/zoo.cfg")]
        {
            same_but_for_addresses(node, settings(&native, node, path), settings(&contained, node, path));
        }
    }

    /// That settings of a process and of a container differ in nothing but addresses and paths.
    pub(crate) fn same_but_for_addresses(
        node: &str,
        native: Vec<(String, String)>,
        contained: Vec<(String, String)>,
    ) {
        let keys = |list: &[(String, String)]| list.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&native), keys(&contained));
        for ((key, was), (_, is)) in native.iter().zip(&contained).filter(|(was, is)| was != is) {
            let addressed = [
                "listeners",
                "advertised.listeners",
                "zookeeper.connect",
                "secureClientPort",
                "secureClientPortAddress",
            ]
            .contains(&key.as_str())
                || key.starts_with("server.");
            let moved = was.replace("/state/clusters/caracal/", "/caracal/") == *is;
            assert!(addressed || moved, "{node} {key}: {was} became {is}");
        }
    }

    #[test]
    fn the_vendors_line_follows_kafkas() {
        assert_eq!((vendors("3.9.2").as_str(), vendors("4.1.0").as_str()), ("7.9.11", "8.1.0"));
    }
}
