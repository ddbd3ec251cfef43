//! The schema registry: its flavours, its topics, its place among the nodes.
//!
//! What differs between flavours is said here and in their own modules: jars and their home in an image, the
//! configuration, the topics that hold the data, the group, and where the interface begins. Everything else of a cluster
//! asks the plan.

mod apicurio;
mod confluent;

use caracal_kafka_contract::events::EventType;

use super::additions::NamePattern;
use super::model::{
    Ca, NodePlan, NodeRole, Protection, RegistryFlavor, SecretContent, SecretFilePlan, SubjectPlan, TopicPlan,
};
use super::{Context, FilePlan, Placement, PlanError, PlanInputs, advertised, containers, memory, pki};
use crate::names::NodeName;
use crate::spec::ClusterSpec;

/// Prefix of every group that a registry of any flavour may be in.
pub(crate) const GROUP_PREFIX: &str = apicurio::GROUP_PREFIX;

/// Topics that no description may declare: whoever writes to a registry's journal writes its data.
pub(crate) const OWN_TOPICS: [&str; 4] =
    [apicurio::JOURNAL, apicurio::SNAPSHOTS, apicurio::EVENTS, confluent::TOPIC];

/// Key store and trust store of the registry's client of Kafka.
const KEYSTORE: &str = "secrets/registry.keystore.pem";
const TRUSTSTORE: &str = "secrets/registry.truststore.pem";

impl RegistryFlavor {
    /// The flavour's name, as `--registry` takes it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Apicurio => "apicurio",
            Self::Confluent => "confluent",
        }
    }

    /// Where its interface begins, below its address; nothing where it is at the root.
    pub fn api_path(self) -> &'static str {
        match self {
            Self::Apicurio => "/apis/ccompat/v7",
            Self::Confluent => "",
        }
    }

    /// Where its jars lie in an image.
    pub fn image_home(self) -> &'static str {
        match self {
            Self::Apicurio => containers::REGISTRY_HOME,
            Self::Confluent => "/usr/share/java",
        }
    }

    /// Whether it may be launched before its topics are there, and waits for them. The other one would try to make them,
    /// which it has no right to, and end.
    pub fn waits_for_its_topics(self) -> bool {
        self == Self::Apicurio
    }

    /// Its listeners: the interface, and health and metrics where they are apart from it.
    pub(super) fn listeners(self) -> &'static [(&'static str, Protection, Option<Ca>)] {
        const LISTENERS: [(&str, Protection, Option<Ca>); 2] =
            [("HTTP", Protection::Http, None), ("MANAGEMENT", Protection::Http, None)];
        match self {
            Self::Apicurio => &LISTENERS,
            Self::Confluent => LISTENERS.split_at(1).0,
        }
    }

    /// The groups that it is in.
    pub(super) fn group(self) -> NamePattern {
        match self {
            Self::Apicurio => NamePattern::prefixed(apicurio::GROUP_PREFIX),
            Self::Confluent => NamePattern::literal(confluent::GROUP),
        }
    }
}

/// Refuses a place where the flavour cannot run.
pub(super) fn refuse_elsewhere(spec: &ClusterSpec, inputs: &PlanInputs) -> Result<(), PlanError> {
    let contained = inputs.placement != Placement::Processes;
    match spec.registry.flavor {
        RegistryFlavor::Confluent if spec.registry.enabled && !contained => {
            Err(PlanError::RegistryNeedsContainers { flavor: spec.registry.flavor.label() })
        }
        _ => Ok(()),
    }
}

/// The registry's topics, made by us so that its user needs no right to create.
pub(super) fn topics(spec: &ClusterSpec) -> Vec<TopicPlan> {
    match (spec.registry.enabled, spec.registry.flavor) {
        (false, _) => Vec::new(),
        (true, RegistryFlavor::Apicurio) => apicurio::topics(spec),
        (true, RegistryFlavor::Confluent) => confluent::topics(spec),
    }
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
    format!("http://{}{}", advertised(http), context.spec.registry.flavor.api_path())
}

pub(super) fn node(context: &Context<'_>, name: &NodeName) -> NodePlan {
    let own = match context.spec.registry.flavor {
        RegistryFlavor::Apicurio => apicurio::files(context, name),
        RegistryFlavor::Confluent => confluent::files(context, name),
    };
    let secret = |path: &str, content| SecretFilePlan { path: path.to_owned(), content };
    NodePlan {
        name: name.clone(),
        role: NodeRole::SchemaRegistry,
        id: 1,
        listeners: context.listeners_of(name).to_vec(),
        files: own.files,
        secrets: vec![
            secret(KEYSTORE, SecretContent::KeystorePem(pki::registry_id(name))),
            secret(TRUSTSTORE, SecretContent::TruststorePem(vec![Ca::Data])),
            // The password stands in this file, which is private to its owner.
            secret(own.settings_path, SecretContent::Properties(own.settings)),
        ],
        stop_seconds: 20,
        memory: memory::of(context.spec, NodeRole::SchemaRegistry),
        container: containers::of(context, name, NodeRole::SchemaRegistry),
    }
}

/// What a flavour has the registry's node read.
struct Files {
    files: Vec<FilePlan>,
    settings_path: &'static str,
    /// With `@{password:USER}` for the password.
    settings: String,
}

/// The log-in of the registry's user, its password as a reference that is filled in when the file is written.
fn login(user: &str) -> String {
    format!(
        "org.apache.kafka.common.security.scram.ScramLoginModule required \
         username=\"{user}\" password=\"@{{password:{user}}}\";"
    )
}
