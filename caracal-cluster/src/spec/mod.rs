//! What a person asks for: `cluster.toml`, strict, with the guide's topology as its default.
//!
//! A spec is checked when it is read: unknown keys, impossible sizes and contradictions are refused with
//! the key, the line and what is allowed. What comes out cannot be illegal, so the planner cannot fail.
//!
//! ```
//! use caracal_cluster::spec::ClusterSpec;
//!
//! let spec = ClusterSpec::default();
//! assert_eq!(spec.name.as_str(), "caracal");
//! assert_eq!((spec.kafka.brokers, spec.replication.factor, spec.replication.min_isr), (3, 3, 2));
//!
//! let error = ClusterSpec::parse("[replication]\nfactor = 5\n", "cluster.toml").unwrap_err();
//! assert!(error.to_string().contains("line 2"), "{error}");
//! ```

mod check;
mod docker;
mod error;
mod layers;
mod owned;
mod versions;

use std::collections::BTreeMap;

use caracal_pki::KeyAlgorithm;
use serde::{Deserialize, Serialize};

pub use self::docker::{DockerSpec, ImageLayout, ImageSet, RuntimeKind, Subnet};
pub use self::error::{Finding, SpecError};
pub use self::layers::Overrides;
pub use self::owned::owned_keys;
pub use self::versions::{Vulnerability, vulnerability};
use crate::distribution::Artifact;
use crate::names::{ClusterName, TopicName, UserName};
use crate::plan::{RegistryFlavor, Role};

/// The name of the one cluster that uses the guide's names and ports.
pub const DEFAULT_CLUSTER: &str = "caracal";

/// A cluster as asked for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSpec {
    /// The cluster's name; only `caracal` uses the guide's ports.
    pub name: ClusterName,
    /// How much of a cluster: the defaults of everything that is not said.
    pub profile: Profile,
    /// How the cluster keeps its metadata.
    pub metadata: Metadata,
    /// Brokers and who keeps their metadata.
    pub kafka: KafkaSpec,
    /// Replication of every topic.
    pub replication: ReplicationSpec,
    /// Certificates and passwords.
    pub security: SecuritySpec,
    /// The schema registry.
    pub registry: RegistrySpec,
    /// Containers, where nodes run in them.
    #[serde(skip_serializing_if = "DockerSpec::is_default")]
    pub docker: DockerSpec,
    /// Metrics of the nodes.
    pub metrics: MetricsSpec,
    /// How much memory all nodes together may come to use.
    pub memory: MemorySpec,
    /// Which ports are used.
    pub ports: PortsSpec,
    /// SCRAM users.
    pub users: Vec<UserSpec>,
    /// Topics.
    pub topics: Vec<TopicSpec>,
}

/// How the cluster keeps its metadata.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Metadata {
    /// An ensemble of ZooKeeper nodes, as in the guide.
    #[default]
    Zookeeper,
    /// Kafka's own quorum of controllers.
    Kraft,
}

impl Metadata {
    /// The mode, as `--metadata` takes it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Zookeeper => "zookeeper",
            Self::Kraft => "kraft",
        }
    }

    /// Whether it is the guide's.
    pub fn is_zookeeper(&self) -> bool {
        *self == Self::Zookeeper
    }
}

/// How much of a cluster: the defaults of everything that a description does not say.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The guide's: 3 brokers, 3 nodes for their metadata, a schema registry.
    #[default]
    Full,
    /// One secured node that is broker and controller, one copy of everything, no registry unless asked for.
    Minimal,
}

/// Which processes the controllers of a KRaft cluster are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Roles {
    /// Nodes of their own, as ZooKeeper's are.
    #[default]
    Separate,
    /// The first brokers.
    Combined,
}

/// Brokers and who keeps their metadata.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaSpec {
    /// Kafka's version; the distribution must have a lock for it.
    pub version: String,
    /// Number of brokers, 1 to 9.
    pub brokers: u16,
    /// Number of ZooKeeper nodes: odd, 1 to 7. Counts only with `metadata = "zookeeper"`.
    pub zookeepers: u16,
    /// Number of KRaft controllers: odd, 1 to 7. Counts only with `metadata = "kraft"`.
    pub controllers: u16,
    /// Whether the controllers are nodes of their own or the first brokers. Counts only with KRaft.
    pub roles: Roles,
    /// Heap of one broker in MiB.
    pub heap_mib: u32,
    /// Heap of one ZooKeeper node in MiB.
    pub zookeeper_heap_mib: u32,
    /// Heap of one separate controller in MiB.
    pub controller_heap_mib: u32,
    /// Takes a version with a known vulnerability, which is refused otherwise.
    pub danger_vulnerable_version: bool,
    /// Broker settings on top of the guide's; keys that the tool owns are refused.
    pub config: BTreeMap<String, String>,
}

/// Replication of every topic.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicationSpec {
    /// Copies of each partition, at most the number of brokers.
    pub factor: u16,
    /// In-sync replicas that must have a write, at most the factor.
    pub min_isr: u16,
}

/// Certificates and passwords.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecuritySpec {
    /// Key type of every certificate: `ecdsa-p256`, `rsa-2048`, `rsa-3072`, `rsa-4096`.
    pub key_algorithm: KeyAlgorithm,
    /// Days that a certificate authority is valid.
    pub ca_days: u32,
    /// Days that a certificate is valid.
    pub certificate_days: u32,
    /// SCRAM iterations, 4096 to 16384 (Kafka's own bounds).
    pub scram_iterations: u32,
}

/// The schema registry.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrySpec {
    /// Whether there is one.
    pub enabled: bool,
    /// Which one.
    pub flavor: RegistryFlavor,
    /// Compatibility level of every subject: `backward`, `forward`, `full`, `none` or one of their
    /// `-transitive` forms.
    pub compatibility: Compatibility,
    /// Heap in MiB.
    pub heap_mib: u32,
}

/// Confluent's compatibility levels.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the levels are the registry's own words")]
pub enum Compatibility {
    #[default]
    Backward,
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
    None,
}

impl Compatibility {
    /// The level as the registry's interface writes it.
    pub fn as_registry(self) -> &'static str {
        match self {
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
            Self::None => "NONE",
        }
    }
}

/// Metrics of the nodes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSpec {
    /// Whether brokers and ZooKeeper nodes serve Prometheus metrics, each on a loopback port of its own. Off unless
    /// set: the agent makes each of their JVMs start later.
    pub enabled: bool,
}

/// How much memory all nodes together may come to use: the sum of the heaps and of what each JVM needs beside it.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySpec {
    /// The most that this description may ask for, in MiB; unset: what the machine has.
    pub limit_mib: Option<u32>,
    /// Start also when this machine cannot give as much at the moment; the kernel may then end a node.
    pub overcommit: bool,
}

/// Which ports are used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortsSpec {
    /// `guide`: 9093, 9095, 9097, 8081 ...; `leased`: free ones; unset: the guide's for `caracal`, leased
    /// for every other cluster.
    pub mode: Option<PortMode>,
}

/// Where ports come from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PortMode {
    /// The guide's port table.
    Guide,
    /// Free ports, kept by a lock file until the cluster is removed.
    Leased,
}

/// One SCRAM user.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UserSpec {
    /// Its name.
    pub name: UserName,
    /// What it may do: `admin`, `inter-broker`, `producer`, `consumer`, `registry`.
    pub role: Role,
}

/// One topic.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSpec {
    /// Its name.
    pub name: TopicName,
    /// Number of partitions, 1 to 1000.
    pub partitions: u32,
    /// Topic settings on top of the cluster's.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Full name of the record that it carries, one of the event types; unset: no schema.
    #[serde(default)]
    pub record: Option<String>,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            name: fixed(DEFAULT_CLUSTER),
            profile: Profile::Full,
            metadata: Metadata::Zookeeper,
            kafka: KafkaSpec::default(),
            replication: ReplicationSpec::default(),
            security: SecuritySpec::default(),
            registry: RegistrySpec::default(),
            docker: DockerSpec::default(),
            metrics: MetricsSpec::default(),
            memory: MemorySpec::default(),
            ports: PortsSpec::default(),
            users: default_users(),
            topics: default_topics(),
        }
    }
}

impl Default for KafkaSpec {
    fn default() -> Self {
        Self {
            version: Artifact::default_kafka().version().to_owned(),
            brokers: 3,
            zookeepers: 3,
            controllers: 3,
            roles: Roles::Separate,
            heap_mib: 512,
            zookeeper_heap_mib: 128,
            controller_heap_mib: 192,
            danger_vulnerable_version: false,
            config: BTreeMap::new(),
        }
    }
}

impl Default for ReplicationSpec {
    fn default() -> Self {
        Self { factor: 3, min_isr: 2 }
    }
}

impl Default for SecuritySpec {
    fn default() -> Self {
        Self {
            key_algorithm: KeyAlgorithm::EcdsaP256,
            ca_days: 3650,
            certificate_days: 365,
            scram_iterations: 16384,
        }
    }
}

impl Default for RegistrySpec {
    fn default() -> Self {
        Self {
            enabled: true,
            flavor: RegistryFlavor::Apicurio,
            compatibility: Compatibility::Backward,
            heap_mib: 384,
        }
    }
}

impl ClusterSpec {
    /// Reads a spec; `origin` names the file in messages.
    ///
    /// # Errors
    /// [`SpecError`] with every finding, each with its key, line and what is allowed.
    pub fn parse(text: &str, origin: &str) -> Result<Self, SpecError> {
        Self::parse_with(text, origin, &Overrides::default())
    }

    /// Reads a spec in which some keys are given by flags instead.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with(text: &str, origin: &str, overrides: &Overrides) -> Result<Self, SpecError> {
        let spec = layers::read(text, origin, overrides)?;
        check::check(&spec, text, origin)?;
        Ok(spec)
    }

    /// Reads a stored spec without its rules, to look at what was made from it; never to plan from.
    pub(crate) fn parse_unchecked(text: &str) -> Option<Self> {
        toml::from_str(text).ok()
    }

    /// How many nodes of their own keep the metadata: ZooKeeper's, or separate controllers.
    pub fn metadata_nodes(&self) -> u16 {
        match (self.metadata, self.kafka.roles) {
            (Metadata::Zookeeper, _) => self.kafka.zookeepers,
            (Metadata::Kraft, Roles::Separate) => self.kafka.controllers,
            (Metadata::Kraft, Roles::Combined) => 0,
        }
    }

    /// The spec as TOML, every default spelt out, but for those that count only with KRaft in the guide's topology.
    pub fn to_toml(&self) -> String {
        match toml::to_string_pretty(self) {
            Ok(text) if self.metadata.is_zookeeper() && self.profile == Profile::Full => guides(&text),
            Ok(text) => text,
            Err(error) => format!("# not representable: {error}\n"),
        }
    }

    /// Whether this cluster uses the guide's port table.
    pub fn port_mode(&self) -> PortMode {
        self.ports.mode.unwrap_or(if self.name.as_str() == DEFAULT_CLUSTER {
            PortMode::Guide
        } else {
            PortMode::Leased
        })
    }
}

/// The text of a spec with ZooKeeper without the defaults of what it does not use.
fn guides(text: &str) -> String {
    let unused = KafkaSpec::default();
    let kafka = [
        format!("controllers = {}", unused.controllers),
        "roles = \"separate\"".to_owned(),
        format!("controller_heap_mib = {}", unused.controller_heap_mib),
        "danger_vulnerable_version = false".to_owned(),
    ];
    let mut section = "";
    let mut kept = String::new();
    for whole in text.split_inclusive('\n') {
        let line = whole.trim_end();
        if line.starts_with('[') {
            section = line;
        }
        let unused = match section {
            "" => line == "profile = \"full\"",
            "[kafka]" => kafka.iter().any(|unused| unused == line),
            "[registry]" => line == "enabled = true",
            _ => false,
        };
        if !unused {
            kept.push_str(whole);
        }
    }
    kept
}

fn default_users() -> Vec<UserSpec> {
    [
        ("admin", Role::Admin),
        ("broker-a", Role::InterBroker),
        ("producer", Role::Producer),
        ("consumer", Role::Consumer),
        ("schema-registry", Role::Registry),
    ]
    .into_iter()
    .map(|(name, role)| UserSpec { name: fixed(name), role })
    .collect()
}

fn default_topics() -> Vec<TopicSpec> {
    use caracal_kafka_contract::events::{EventType, TOPIC_DEAD_LETTERS};
    let partitions = |event: EventType| match event {
        EventType::Metering => 10,
        EventType::PolicyDecision => 5,
        _ => 3,
    };
    let mut topics: Vec<TopicSpec> = EventType::ALL
        .into_iter()
        .map(|event| TopicSpec {
            name: fixed(event.topic()),
            partitions: partitions(event),
            config: BTreeMap::new(),
            record: Some(event.record().to_owned()),
        })
        .collect();
    topics.push(TopicSpec {
        name: fixed(TOPIC_DEAD_LETTERS),
        partitions: 3,
        config: BTreeMap::new(),
        record: None,
    });
    topics
}

/// A name that this crate itself spells; a wrong one is caught by the first test that runs.
fn fixed<T>(text: &str) -> T
where
    T: std::str::FromStr<Err = crate::names::NameError>,
{
    text.parse().unwrap_or_else(|error| unreachable!("a built-in name is legal: {error}"))
}
