//! The plan as a value: everything that a runtime or an export needs, with nothing left to decide.
//!
//! A plan is pure data: serialisable (`format`), ordered, comparable. It holds no secret, only where one
//! will lie ([`FilePlan`] texts carry references that Kafka itself resolves).

use std::net::{Ipv4Addr, SocketAddr};

use caracal_pki::{KeyAlgorithm, SubjectAltName, Usage};
use serde::{Deserialize, Serialize};

use super::containers;
use crate::names::{ClusterName, ListenerName, NodeName, TopicName, UserName};
use crate::spec::{ImageLayout, Metadata, Subnet};

/// The version of the plan's own shape; a reader refuses a newer one by name.
pub const PLAN_FORMAT: u32 = 1;

/// A whole cluster, decided.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterPlan {
    /// Shape of this document: [`PLAN_FORMAT`].
    pub format: u32,
    /// The cluster's name.
    pub cluster: ClusterName,
    /// How it keeps its metadata.
    #[serde(default, skip_serializing_if = "Metadata::is_zookeeper")]
    pub metadata: Metadata,
    /// The network of its containers; none when nodes are processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkPlan>,
    /// Kafka's version, as in its jars.
    pub kafka_version: String,
    /// Which schema registry.
    pub registry: RegistryFlavor,
    /// The registry's version.
    pub registry_version: String,
    /// How keys and certificates are made.
    pub pki: PkiPlan,
    /// Every node, in the order of starting.
    pub nodes: Vec<NodePlan>,
    /// Every SCRAM user.
    pub users: Vec<UserPlan>,
    /// Every access rule; what is not listed is denied.
    pub acls: Vec<AclRule>,
    /// Rules that somebody added to the running cluster, as text: they are no drift, but nobody's to make either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_rules: Vec<String>,
    /// Every topic, the registry's own included.
    pub topics: Vec<TopicPlan>,
    /// Every subject in the schema registry.
    pub subjects: Vec<SubjectPlan>,
    /// What a client outside the cluster is told.
    pub endpoints: Endpoints,
}

/// The network of a cluster's containers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPlan {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub subnet: Subnet,
    /// The engine's address in it.
    pub gateway: Ipv4Addr,
}

/// The container of a node.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerPlan {
    /// The image that carries its jars.
    pub image: String,
    /// Where in it the jars lie; none for an image of the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<ImageLayout>,
    /// Its address in the network.
    pub address: Ipv4Addr,
    /// Where its directory is mounted.
    pub mount: String,
    /// The volume that its data lies in.
    pub volume: String,
    /// How much memory it may use at all, in MiB.
    pub memory_mib: u32,
}

/// Where clients find the cluster.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    /// `host:port` of each broker's `EXTERNAL` listener, as advertised.
    pub bootstrap: Vec<String>,
    /// Base address of the registry's Confluent-compatible interface, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_url: Option<String>,
}

/// One certificate authority's or certificate's rules.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PkiPlan {
    /// Key type of CAs, servers and clients.
    pub algorithm: KeyAlgorithm,
    /// Days that a CA is valid.
    pub ca_days: u32,
    /// Days that a leaf is valid.
    pub leaf_days: u32,
    /// Every leaf certificate, in the order of issue.
    pub certificates: Vec<CertificatePlan>,
}

/// Which of the two authorities signs: an application's certificate opens nothing of the control plane.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ca {
    /// Signs Kafka's listeners and applications.
    Data,
    /// Signs the metadata quorum and its clients.
    Control,
}

impl Ca {
    /// Both, in the order in which they are made.
    pub const ALL: [Self; 2] = [Self::Data, Self::Control];

    /// The stem of its files.
    pub fn stem(self) -> &'static str {
        match self {
            Self::Data => "data-ca",
            Self::Control => "control-ca",
        }
    }
}

/// One leaf certificate.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CertificatePlan {
    /// Stem of its files, unique in the cluster: `caracal-kafka-1.listener`, `client.producer`.
    pub id: String,
    /// Who signs it.
    pub ca: Ca,
    /// Common name.
    pub common_name: String,
    /// Organisational unit.
    pub organizational_unit: String,
    /// Names and addresses that it may be presented for.
    pub sans: Vec<SubjectAltName>,
    /// Extended key usages.
    pub usage: Usage,
}

/// What a node is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeRole {
    /// A member of the ZooKeeper ensemble.
    Zookeeper,
    /// A controller of a KRaft cluster that is no broker.
    Controller,
    /// A Kafka broker; in a KRaft cluster with combined roles a controller too.
    Broker,
    /// The schema registry.
    SchemaRegistry,
}

impl NodeRole {
    /// The role as people call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Zookeeper => "zookeeper",
            Self::Controller => "controller",
            Self::Broker => "broker",
            Self::SchemaRegistry => "schema-registry",
        }
    }
}

/// One node.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodePlan {
    /// Its name, also a host name.
    pub name: NodeName,
    /// What it is.
    pub role: NodeRole,
    /// `myid` of ZooKeeper, `broker.id` or `node.id` of Kafka.
    pub id: u32,
    /// Every port on which it listens.
    pub listeners: Vec<ListenerPlan>,
    /// Every file of its configuration, whole.
    pub files: Vec<FilePlan>,
    /// Secrets that it needs beside its configuration.
    pub secrets: Vec<SecretFilePlan>,
    /// Seconds that it gets to stop before it is killed.
    pub stop_seconds: u32,
    /// How much memory it may come to use; a plan of an earlier version does not say.
    #[serde(default)]
    pub memory: MemoryPlan,
    /// Its container; none when it is a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerPlan>,
}

/// How much memory a node may come to use, in MiB.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryPlan {
    /// Its JVM's heap at most.
    pub heap_mib: u32,
    /// What its JVM needs beside the heap.
    pub beside_mib: u32,
}

/// How a listener is protected.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Mutual TLS and SCRAM (Kafka's `SASL_SSL`).
    MutualTlsScram,
    /// Mutual TLS alone (ZooKeeper, KRaft's controllers).
    MutualTls,
    /// Plain HTTP, bound to loopback (the guide's schema registry).
    Http,
}

/// One port of a node.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerPlan {
    /// `INTERNAL`, `EXTERNAL`, `CONTROLLER`, `CLIENT`, `QUORUM`, `ELECTION`, `HTTP`, `MANAGEMENT`, `METRICS`.
    pub name: ListenerName,
    /// Where it binds on this machine; a container's listener is published there.
    pub bind: SocketAddr,
    /// Where we reach it from here.
    pub dial: SocketAddr,
    /// Host that it tells clients, which is also the name that its certificate must carry.
    pub advertised_host: String,
    /// Port that it tells clients.
    pub advertised_port: u16,
    /// How it is protected.
    pub protection: Protection,
    /// Which authority signs what it presents and accepts; none for plain HTTP.
    pub ca: Option<Ca>,
    /// Its address in the network of containers; none when the node is a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<SocketAddr>,
}

impl ListenerPlan {
    /// Where its own process binds it.
    pub fn own(&self) -> SocketAddr {
        self.inside.map_or(self.bind, |inside| containers::binds(self.name.as_str(), inside))
    }

    /// Where other nodes reach it.
    pub fn among_nodes(&self) -> SocketAddr {
        self.inside.unwrap_or(self.dial)
    }
}

/// One rendered file, relative to the node's directory.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FilePlan {
    /// Path below the node's directory, `/` separated.
    pub path: String,
    /// Its whole text, without any secret.
    pub text: String,
}

/// One secret file of a node, relative to its directory.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFilePlan {
    /// Path below the node's directory.
    pub path: String,
    /// What it holds.
    pub content: SecretContent,
}

/// What a secret file holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretContent {
    /// Private key and chain of the certificate with this id, in one PEM file.
    KeystorePem(String),
    /// Certificates that are trusted, as PEM.
    TruststorePem(Vec<Ca>),
    /// A user's password, the whole file being the password.
    Password(UserName),
    /// Properties text in which `@{password:USER}` stands for a password.
    Properties(String),
}

/// What a user may do, as a named set of rules.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Between brokers; everything, from the first start.
    InterBroker,
    /// Writes Caracal's topics, idempotently and in transactions.
    Producer,
    /// Reads Caracal's topics in groups of its prefix; writes dead letters.
    Consumer,
    /// The schema registry on its own topics.
    Registry,
    /// Writes topics in transactions of its own, which no other user can fence.
    TransactionalProducer,
    /// Reads topics in one consumer group.
    ConsumerGroup,
    /// Sees everything and its settings; reads no record and changes nothing.
    ReadOnlyAdmin,
    /// What its own rules say.
    Custom,
}

impl Role {
    /// The role as people type it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::InterBroker => "inter-broker",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Registry => "registry",
            Self::TransactionalProducer => "transactional-producer",
            Self::ConsumerGroup => "consumer-group",
            Self::ReadOnlyAdmin => "read-only-admin",
            Self::Custom => "custom",
        }
    }
}

/// One SCRAM user.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UserPlan {
    /// Its name.
    pub name: UserName,
    /// What it may do.
    pub role: Role,
    /// Named in `super.users`.
    pub super_user: bool,
    /// Iterations of the derivation.
    pub iterations: u32,
    /// Certificate for its TLS, by id; none for a user that only nodes use.
    pub certificate: Option<String>,
    /// Whether it was added to the running cluster, beside the description.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub added: bool,
}

/// The kind of resource that a rule is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// The cluster itself (`kafka-cluster`).
    Cluster,
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
    /// A transactional id.
    TransactionalId,
}

/// Whether a rule's resource name is meant as a whole or as a prefix.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PatternKind {
    /// The whole name.
    Literal,
    /// Every name that starts so.
    Prefixed,
}

/// What a rule allows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Every operation.
    All,
    /// Read records or commit offsets.
    Read,
    /// Write records.
    Write,
    /// Create a resource.
    Create,
    /// Delete a resource.
    Delete,
    /// Alter a resource.
    Alter,
    /// See that it exists.
    Describe,
    /// See its configuration.
    DescribeConfigs,
    /// Change its configuration.
    AlterConfigs,
    /// Produce idempotently (implied by Write on a topic since Kafka 3.0).
    IdempotentWrite,
}

/// One access rule; all of them allow, because what is not allowed is denied.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AclRule {
    /// Who: the user of `User:<name>`.
    pub user: UserName,
    /// Which kind of resource.
    pub resource: ResourceKind,
    /// Whole name or prefix.
    pub pattern: PatternKind,
    /// The name or prefix.
    pub name: String,
    /// What it allows.
    pub operation: Operation,
}

/// One topic.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TopicPlan {
    /// Its name.
    pub name: TopicName,
    /// Number of partitions.
    pub partitions: u32,
    /// Copies of each partition.
    pub replication_factor: u16,
    /// Topic configuration, ordered by key.
    pub config: Vec<(String, String)>,
    /// Whose it is.
    pub owner: TopicOwner,
}

/// Whose topic it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopicOwner {
    /// Declared in the spec.
    Application,
    /// The schema registry's own.
    Registry,
}

/// One subject of the schema registry.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectPlan {
    /// Subject name, `<topic>-value`.
    pub subject: String,
    /// Its topic.
    pub topic: TopicName,
    /// Full name of the record.
    pub record: String,
    /// The Avro schema, as in its file.
    pub schema: String,
    /// Compatibility level.
    pub compatibility: String,
}

/// Which schema registry.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegistryFlavor {
    /// Apicurio, over its Confluent-compatible interface.
    Apicurio,
    /// Confluent's own, as in the guide; in containers only, because its jars are in no public registry of packages.
    Confluent,
}

impl ClusterPlan {
    /// The nodes of one role, in order.
    pub fn nodes_of(&self, role: NodeRole) -> impl Iterator<Item = &NodePlan> {
        self.nodes.iter().filter(move |node| node.role == role)
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<&NodePlan> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }

    /// Every node that has a log of KRaft's metadata: controllers and brokers; none with ZooKeeper.
    pub fn kraft_nodes(&self) -> impl Iterator<Item = &NodePlan> {
        let kraft = self.metadata == Metadata::Kraft;
        let keeps = |role| matches!(role, NodeRole::Controller | NodeRole::Broker);
        self.nodes.iter().filter(move |node| kraft && keeps(node.role))
    }

    /// Every controller of a KRaft cluster with its listener.
    pub fn controllers(&self) -> impl Iterator<Item = (&NodePlan, &ListenerPlan)> {
        self.nodes.iter().filter_map(|node| Some((node, node.listener(super::kraft::CONTROLLER)?)))
    }

    /// A user by its name.
    pub fn user(&self, name: &str) -> Option<&UserPlan> {
        self.users.iter().find(|user| user.name.as_str() == name)
    }

    /// The first user of a role.
    pub fn user_of(&self, role: Role) -> Option<&UserPlan> {
        self.users.iter().find(|user| user.role == role)
    }
}

impl NodePlan {
    /// The listeners on which a broker speaks Kafka's protocol.
    pub(crate) fn kafka_listeners(&self) -> impl Iterator<Item = &ListenerPlan> {
        self.listeners.iter().filter(|listener| listener.protection == Protection::MutualTlsScram)
    }

    /// A listener by its name.
    pub fn listener(&self, name: &str) -> Option<&ListenerPlan> {
        self.listeners.iter().find(|listener| listener.name.as_str() == name)
    }
}
