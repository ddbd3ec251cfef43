//! From a spec to a plan: pure, synchronous, deterministic.
//!
//! [`plan()`] reads no clock, no file and no network: paths, ports and identity are passed in as
//! [`PlanInputs`]. Equal inputs give equal plans, so a plan is reviewed as a diff of its golden files.
//!
//! **Architecture invariant:** nothing in this folder does I/O.

mod additions;
mod broker;
pub mod check;
pub mod containers;
pub(crate) mod jvm;
mod kraft;
mod listeners;
pub(crate) mod memory;
mod metrics;
mod model;
mod pki;
mod registry;
mod users;
mod zookeeper;

use std::collections::BTreeMap;

pub use self::additions::{ADDITIONS_FORMAT, AddedUser, Additions, NamePattern, Scope};
pub use self::containers::Placement;
pub use self::jvm::{CLUSTER_ID_PROPERTY, NODE_PROPERTY};
pub use self::kraft::CONTROLLER as CONTROLLER_LISTENER;
pub use self::listeners::{METRICS, PortKey, guide_ports, port_keys};
pub use self::model::*;
pub use self::pki::BOOTSTRAP_CERTIFICATE;
pub(crate) use self::registry::{GROUP_PREFIX as REGISTRY_GROUP_PREFIX, OWN_TOPICS};
pub use self::users::APPLICATION_PREFIX;
pub(crate) use self::users::{CLUSTER, added_rules, twin};
use crate::names::{NodeName, TopicName};
use crate::spec::{ClusterSpec, Metadata, Roles};

/// Everything that a plan depends on besides the spec.
#[derive(Clone, Debug)]
pub struct PlanInputs {
    /// The cluster's directory as its nodes see it: an absolute path.
    pub directory: String,
    /// Kafka's jars as the nodes see them, in the order of the lock.
    pub kafka_jars: Vec<String>,
    /// The metrics agent's jar as the nodes see it; only looked at where metrics are wanted.
    pub metrics_agent: String,
    /// The registry's home as its node sees it.
    pub registry_home: String,
    /// The registry's version.
    pub registry_version: String,
    /// A port for every listener of [`port_keys`].
    pub ports: BTreeMap<PortKey, u16>,
    /// Where nodes run; paths and the port table are as there.
    pub placement: Placement,
    /// What was added to the running cluster beside its description.
    pub additions: Additions,
}

/// What keeps a spec from becoming a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No port was passed in for a listener.
    #[error("no port was given for listener {listener} of {node}")]
    MissingPort {
        /// The node.
        node: String,
        /// The listener.
        listener: String,
    },
    /// A path that Java's class path or Kafka's configuration cannot carry.
    #[error(
        "the path `{path}` holds {character:?}, which a Java class path or a Kafka setting cannot carry; \
             choose another directory by CARACAL_STATE_DIR or CARACAL_CACHE_DIR"
    )]
    UnusablePath {
        /// The path.
        path: String,
        /// The first character that is in the way.
        character: char,
    },
    /// A registry that only images have.
    #[error(
        "the schema registry `{flavor}` runs in containers only, because its jars are in no public registry of \
             packages; use `--runtime docker`, `cargo xtask export compose`, or `--registry apicurio`, which runs \
             anywhere"
    )]
    RegistryNeedsContainers {
        /// The registry's flavour.
        flavor: &'static str,
    },
    /// A path that is no text.
    #[error(
        "the path `{path}` is not UTF-8, so no configuration can name it; \
             choose another directory by CARACAL_STATE_DIR or CARACAL_CACHE_DIR"
    )]
    PathNotUtf8 {
        /// The path, with a mark where it is no text.
        path: String,
    },
}

/// Decides everything about a cluster.
///
/// # Errors
/// [`PlanError`] when an input is missing or cannot be written into a configuration.
pub fn plan(spec: &ClusterSpec, inputs: &PlanInputs) -> Result<ClusterPlan, PlanError> {
    if spec.metrics.enabled && inputs.metrics_agent.contains('=') {
        // The JVM takes an agent's path to end at the first one.
        return Err(PlanError::UnusablePath { path: inputs.metrics_agent.clone(), character: '=' });
    }
    for path in
        inputs.kafka_jars.iter().chain([&inputs.directory, &inputs.metrics_agent, &inputs.registry_home])
    {
        if let Some(character) = path.chars().find(|c| ":;,{}\"'`$\\".contains(*c) || c.is_control()) {
            return Err(PlanError::UnusablePath { path: path.clone(), character });
        }
    }
    registry::refuse_elsewhere(spec, inputs)?;
    let names = NodeNames::of(spec);
    let listeners = listeners::plan(spec, &names, inputs)?;
    let users = users::users(spec, &inputs.additions);
    let context = Context { spec, inputs, names: &names, listeners: &listeners, users: &users };
    let mut nodes = Vec::new();
    match spec.metadata {
        Metadata::Zookeeper => {
            nodes.extend((1..=spec.metadata_nodes()).map(|id| zookeeper::node(&context, id)));
        }
        Metadata::Kraft => nodes.extend((1..=spec.metadata_nodes()).map(|at| kraft::node(&context, at))),
    }
    nodes.extend((1..=spec.kafka.brokers).map(|id| broker::node(&context, id)));
    nodes.extend(names.registry.iter().map(|name| registry::node(&context, name)));
    Ok(ClusterPlan {
        format: PLAN_FORMAT,
        cluster: spec.name.clone(),
        metadata: spec.metadata,
        network: containers::network(&context),
        kafka_version: spec.kafka.version.clone(),
        registry: spec.registry.flavor,
        registry_version: inputs.registry_version.clone(),
        pki: pki::plan(&context),
        nodes,
        acls: users::acls(spec, &inputs.additions),
        own_rules: inputs.additions.rules.clone(),
        topics: topics(spec),
        subjects: registry::subjects(spec),
        endpoints: Endpoints {
            bootstrap: context.brokers("EXTERNAL").map(advertised).collect(),
            registry_url: names.registry.as_ref().map(|name| registry::url(&context, name)),
        },
        users,
    })
}

/// Names of all nodes.
#[derive(Clone, Debug)]
struct NodeNames {
    zookeepers: Vec<NodeName>,
    controllers: Vec<NodeName>,
    brokers: Vec<NodeName>,
    /// How many of the brokers, the first ones, are controllers too.
    combined: usize,
    registry: Option<NodeName>,
}

impl NodeNames {
    fn of(spec: &ClusterSpec) -> Self {
        let name = |rest: String| -> NodeName {
            format!("{}-{rest}", spec.name)
                .parse()
                .unwrap_or_else(|error| unreachable!("a cluster's name leaves room for its nodes: {error}"))
        };
        let metadata_nodes = |mode: Metadata, kind: &str| -> Vec<NodeName> {
            let nodes = 1..=spec.metadata_nodes();
            nodes.filter(|_| spec.metadata == mode).map(|id| name(format!("{kind}-{id}"))).collect()
        };
        let combined = spec.metadata == Metadata::Kraft && spec.kafka.roles == Roles::Combined;
        Self {
            zookeepers: metadata_nodes(Metadata::Zookeeper, "zookeeper"),
            controllers: metadata_nodes(Metadata::Kraft, "controller"),
            brokers: (1..=spec.kafka.brokers).map(|id| name(format!("kafka-{id}"))).collect(),
            combined: if combined { spec.kafka.controllers.into() } else { 0 },
            registry: spec.registry.enabled.then(|| name("schema-registry".to_owned())),
        }
    }
}

/// What the parts of the planner share.
struct Context<'a> {
    spec: &'a ClusterSpec,
    inputs: &'a PlanInputs,
    names: &'a NodeNames,
    listeners: &'a BTreeMap<NodeName, Vec<ListenerPlan>>,
    users: &'a [UserPlan],
}

impl Context<'_> {
    fn listeners_of(&self, node: &NodeName) -> &[ListenerPlan] {
        self.listeners.get(node).map_or(&[], Vec::as_slice)
    }

    fn kafka_listeners(&self, node: &NodeName) -> impl Iterator<Item = &ListenerPlan> {
        self.listeners_of(node).iter().filter(|listener| {
            listener.protection == Protection::MutualTlsScram || listener.name.as_str() == kraft::CONTROLLER
        })
    }

    fn listener(&self, node: &NodeName, name: &str) -> &ListenerPlan {
        self.listeners_of(node)
            .iter()
            .find(|listener| listener.name.as_str() == name)
            .unwrap_or_else(|| unreachable!("the listener table gives {node} a listener {name}"))
    }

    fn brokers<'b>(&'b self, listener: &'b str) -> impl Iterator<Item = &'b ListenerPlan> {
        self.names.brokers.iter().map(move |node| self.listener(node, listener))
    }

    fn node_path(&self, node: &NodeName, rest: &str) -> String {
        format!("{}/nodes/{node}/{rest}", self.inputs.directory)
    }

    fn is_contained(&self) -> bool {
        self.inputs.placement != Placement::Processes
    }

    fn user_of(&self, role: Role) -> &UserPlan {
        self.users
            .iter()
            .find(|user| user.role == role)
            .unwrap_or_else(|| unreachable!("the spec's check demands a user of every node's role"))
    }
}

fn advertised(listener: &ListenerPlan) -> String {
    format!("{}:{}", listener.advertised_host, listener.advertised_port)
}

fn topics(spec: &ClusterSpec) -> Vec<TopicPlan> {
    let mut topics = registry::topics(spec);
    topics.extend(spec.topics.iter().map(|topic| {
        let mut config: BTreeMap<String, String> = BTreeMap::from([
            ("min.insync.replicas".to_owned(), spec.replication.min_isr.to_string()),
            ("retention.ms".to_owned(), (30_u64 * 24 * 3600 * 1000).to_string()),
            ("compression.type".to_owned(), "snappy".to_owned()),
        ]);
        config.extend(topic.config.clone());
        TopicPlan {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication_factor: spec.replication.factor,
            config: config.into_iter().collect(),
            owner: TopicOwner::Application,
        }
    }));
    topics
}

/// A topic of the registry's own.
fn registry_topic(spec: &ClusterSpec, name: &str, config: &[(&str, &str)]) -> TopicPlan {
    let name: TopicName = name.parse().unwrap_or_else(|error| unreachable!("built-in: {error}"));
    let mut config: BTreeMap<String, String> =
        config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    config.insert("min.insync.replicas".to_owned(), spec.replication.min_isr.to_string());
    TopicPlan {
        name,
        partitions: 1,
        replication_factor: spec.replication.factor,
        config: config.into_iter().collect(),
        owner: TopicOwner::Registry,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The inputs of the golden files: fixed paths, the guide's ports.
    pub(crate) fn golden_inputs(spec: &ClusterSpec) -> PlanInputs {
        PlanInputs {
            placement: Placement::Processes,
            directory: "/state/clusters/caracal".to_owned(),
            kafka_jars: vec!["/cache/kafka/a.jar".to_owned(), "/cache/kafka/b.jar".to_owned()],
            metrics_agent: "/cache/metrics/agent.jar".to_owned(),
            registry_home: "/cache/registry".to_owned(),
            registry_version: "3.3.3".to_owned(),
            ports: guide_ports(spec),
            additions: Additions::default(),
        }
    }

    pub(crate) fn default_plan() -> ClusterPlan {
        let spec = ClusterSpec::default();
        plan(&spec, &golden_inputs(&spec)).unwrap()
    }

    /// The same in containers.
    pub(crate) fn contained_plan() -> ClusterPlan {
        contained(&ClusterSpec::default())
    }

    /// A cluster in containers.
    pub(crate) fn contained(spec: &ClusterSpec) -> ClusterPlan {
        let inputs = PlanInputs {
            directory: containers::CONTAINER_DIRECTORY.to_owned(),
            placement: Placement::Containers(crate::spec::Subnet::GUIDE),
            registry_home: spec.registry.flavor.image_home().to_owned(),
            registry_version: spec.registry.flavor.version().to_owned(),
            ..golden_inputs(spec)
        };
        plan(spec, &inputs).unwrap()
    }

    /// The default with Confluent's registry, which is in containers only.
    pub(crate) fn confluent_plan() -> ClusterPlan {
        let text = "[registry]\nflavor = \"confluent\"";
        contained(&ClusterSpec::parse(text, "the test").unwrap())
    }

    /// The same with metrics.
    pub(crate) fn metered_plan() -> ClusterPlan {
        let spec =
            ClusterSpec { metrics: crate::spec::MetricsSpec { enabled: true }, ..ClusterSpec::default() };
        plan(&spec, &golden_inputs(&spec)).unwrap()
    }

    #[test]
    fn equal_inputs_give_equal_plans() {
        assert_eq!(default_plan(), default_plan());
    }

    #[test]
    fn a_plan_survives_json() {
        let plan = default_plan();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<ClusterPlan>(&text).unwrap(), plan);
    }

    #[test]
    fn a_path_that_a_class_path_cannot_carry_is_refused() {
        let spec = ClusterSpec::default();
        let mut inputs = golden_inputs(&spec);
        inputs.directory = "/tmp/a:b".to_owned();
        assert!(matches!(plan(&spec, &inputs), Err(PlanError::UnusablePath { character: ':', .. })));
    }

    #[test]
    fn a_path_with_a_space_a_hash_and_an_umlaut_is_carried_by_every_file() {
        let spec = ClusterSpec::default();
        let mut inputs = golden_inputs(&spec);
        inputs.directory = "/tmp/a b#ü%".to_owned();
        let plan = plan(&spec, &inputs).unwrap();
        for node in &plan.nodes {
            for file in &node.files {
                let at = format!("{}: {}", node.name, file.path);
                if file.path.ends_with("node.args") {
                    assert!(
                        file.text.contains("=file:///tmp/a%20b%23%C3%BC%25/nodes/"),
                        "{at}\n{}",
                        file.text
                    );
                    assert!(file.text.contains("\"-Djava.io.tmpdir=/tmp/a b#ü%/nodes/"), "{at}");
                } else {
                    assert!(file.text.is_ascii(), "{at} is read as Latin-1");
                }
            }
        }
        assert!(check::check(&plan).iter().all(|note| note.severity != check::Severity::Error));
    }

    #[test]
    fn a_missing_port_names_node_and_listener() {
        let spec = ClusterSpec::default();
        let mut inputs = golden_inputs(&spec);
        inputs.ports.retain(|(node, _), _| node.as_str() != "caracal-kafka-2");
        let error = plan(&spec, &inputs).unwrap_err().to_string();
        assert!(error.contains("INTERNAL of caracal-kafka-2"), "{error}");
    }

    #[test]
    fn an_applications_certificate_is_never_signed_by_the_control_authority() {
        for certificate in default_plan().pki.certificates {
            let application = certificate.id.starts_with("client.");
            assert!(!(application && certificate.ca == Ca::Control), "{}", certificate.id);
        }
    }

    #[test]
    fn all_writers_of_metadata_share_one_subject() {
        let plan = default_plan();
        let subjects: std::collections::BTreeSet<_> = plan
            .pki
            .certificates
            .iter()
            .filter(|c| c.ca == Ca::Control && c.usage == caracal_pki::Usage::Client)
            .map(|c| (c.common_name.clone(), c.organizational_unit.clone()))
            .collect();
        assert_eq!(subjects.len(), 1);
    }
}
