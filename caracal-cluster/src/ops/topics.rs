//! Topics: what there is, and changes that are refused here when they could never be right.
//!
//! A topic whose `min.insync.replicas` can never be had, fewer partitions, another number of copies, a topic of
//! Kafka's own or the registry's: each is refused with its reason before a broker is asked to do it.

mod apply;
mod change;
mod rules;

use std::time::{Duration, Instant};

use futures::future::try_join;
use serde::Serialize;

pub use self::apply::{ApplyReport, Declaration, Declared, Standing, apply};
pub use self::change::{
    Alteration, Change, ChangeReport, ChangedTopic, Creation, DeleteReport, DeletedTopic, alter, create,
    delete, doomed,
};
use super::{Operated, OpsError, millis_since, soon};
use crate::admin::{OffsetAt, TopicState};
use crate::names::ClusterName;
use crate::plan::{ClusterPlan, OWN_TOPICS, TopicOwner};

/// How long a change gets to be seen by the brokers.
const SETTLING: Duration = Duration::from_secs(20);

/// How long between two looks at it.
const INTERVAL: Duration = Duration::from_millis(50);

/// Whose a topic is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// Kafka's own.
    Kafka,
    /// The schema registry's own.
    Registry,
    /// Declared in the cluster's description.
    Planned,
    /// Made by somebody.
    Other,
}

impl Owner {
    /// Whose a topic of this name is.
    pub(crate) fn of(name: &str, internal: bool, plan: &ClusterPlan) -> Self {
        if internal || name.starts_with("__") {
            return Self::Kafka;
        }
        let planned = plan.topics.iter().find(|topic| topic.name.as_str() == name);
        match planned.map(|topic| topic.owner) {
            Some(TopicOwner::Registry) => Self::Registry,
            None if OWN_TOPICS.contains(&name) => Self::Registry,
            Some(TopicOwner::Application) => Self::Planned,
            None => Self::Other,
        }
    }

    /// Whether nobody but its owner may change it.
    pub fn is_protected(self) -> bool {
        matches!(self, Self::Kafka | Self::Registry)
    }

    /// As a table shows it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Registry => "registry",
            Self::Planned => "planned",
            Self::Other => "",
        }
    }
}

/// One topic in a list.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Topic {
    /// Its name.
    pub topic: String,
    /// Whose it is.
    pub owner: Owner,
    /// Its number of partitions.
    pub partitions: usize,
    /// Copies of each partition, the fewest where they differ.
    pub replication_factor: usize,
    /// In-sync copies that a write needs.
    pub min_in_sync: usize,
    /// `delete`, `compact` or both.
    pub cleanup_policy: Option<String>,
    /// How long records are kept, in milliseconds; -1 for ever.
    pub retention_ms: Option<i64>,
    /// Partitions of which a copy is behind.
    pub under_replicated: usize,
    /// Partitions that take no writes: fewer copies in sync than a write needs.
    pub under_min_isr: usize,
    /// Partitions without a leader.
    pub offline: usize,
}

impl Topic {
    fn of(state: &TopicState, plan: &ClusterPlan) -> Self {
        let least = state.min_in_sync();
        let counted = |odd: &dyn Fn(&crate::wire::records::PartitionMetadata) -> bool| {
            state.partitions.iter().filter(|partition| odd(partition)).count()
        };
        let setting = |key: &str| state.config.get(key).map(|entry| entry.value.clone());
        Self {
            topic: state.name.clone(),
            owner: Owner::of(&state.name, state.internal, plan),
            partitions: state.partitions.len(),
            replication_factor: copies(state),
            min_in_sync: least,
            cleanup_policy: setting("cleanup.policy"),
            retention_ms: setting("retention.ms").and_then(|value| value.parse().ok()),
            under_replicated: counted(&|partition| partition.in_sync.len() < partition.replicas.len()),
            under_min_isr: counted(&|partition| partition.in_sync.len() < least),
            offline: counted(&|partition| partition.leader.is_none()),
        }
    }
}

/// Copies of each partition, the fewest where they differ.
fn copies(state: &TopicState) -> usize {
    state.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0)
}

/// Every topic.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TopicsReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The topics, by name.
    pub topics: Vec<Topic>,
    /// How long it took.
    pub millis: u64,
}

/// Lists the topics; with `all` also Kafka's and the registry's own. Changes nothing.
///
/// # Errors
/// When no broker can be asked.
pub async fn list(operated: &Operated, all: bool) -> Result<TopicsReport, OpsError> {
    let begun = Instant::now();
    let plan = &operated.cluster().plan;
    let found = operated.admin()?.topics(None, soon()).await?;
    let topics = found.iter().map(|state| Topic::of(state, plan));
    let topics = topics.filter(|topic| all || !topic.owner.is_protected()).collect();
    Ok(TopicsReport { cluster: plan.cluster.clone(), topics, millis: millis_since(begun) })
}

/// One partition.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Partition {
    /// Its number.
    pub partition: i32,
    /// The broker that leads it; none while it is offline.
    pub leader: Option<i32>,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those whose copy is complete.
    pub in_sync: Vec<i32>,
    /// The first offset that is still there; none while nobody leads it.
    pub start: Option<i64>,
    /// The offset that the next record will get.
    pub end: Option<i64>,
}

/// One setting.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Setting {
    /// Its key.
    pub key: String,
    /// The value in force.
    pub value: String,
    /// Set on the topic itself, not inherited from the broker.
    pub set_on_topic: bool,
}

/// One topic in detail.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DescribedTopic {
    /// What a list says of it.
    #[serde(flatten)]
    pub topic: Topic,
    /// Its partitions.
    pub partition: Vec<Partition>,
    /// Offsets in it, which is the number of records unless it is compacted or has transactions.
    pub records: i64,
    /// Every setting in force.
    pub config: Vec<Setting>,
}

/// Topics in detail.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DescribeReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The topics, by name.
    pub topics: Vec<DescribedTopic>,
    /// How long it took.
    pub millis: u64,
}

/// Describes topics. Changes nothing.
///
/// # Errors
/// [`OpsError::NoSuch`] with the nearest name; when a broker cannot be asked.
pub async fn describe(operated: &Operated, names: &[String]) -> Result<DescribeReport, OpsError> {
    let begun = Instant::now();
    let plan = &operated.cluster().plan;
    let found = existing(operated, names).await?;
    let keys = keys_of(&found);
    let (mut one, mut other) = (operated.admin()?, operated.admin()?);
    let (starts, ends) = try_join(
        one.offsets(&keys, OffsetAt::Earliest, soon()),
        other.offsets(&keys, OffsetAt::Latest, soon()),
    )
    .await?;
    let topics = found.iter().map(|state| {
        let partitions: Vec<Partition> = state
            .partitions
            .iter()
            .map(|partition| {
                let key = (state.name.clone(), partition.id);
                Partition {
                    partition: partition.id,
                    leader: partition.leader,
                    replicas: partition.replicas.clone(),
                    in_sync: partition.in_sync.clone(),
                    start: starts.get(&key).copied(),
                    end: ends.get(&key).copied(),
                }
            })
            .collect();
        let config = state.config.iter().map(|(key, entry)| Setting {
            key: key.clone(),
            value: entry.value.clone(),
            set_on_topic: entry.set_on_topic,
        });
        DescribedTopic {
            topic: Topic::of(state, plan),
            records: partitions.iter().filter_map(|found| Some(found.end? - found.start?)).sum(),
            partition: partitions,
            config: config.collect(),
        }
    });
    let topics = topics.collect();
    Ok(DescribeReport { cluster: plan.cluster.clone(), topics, millis: millis_since(begun) })
}

fn keys_of(topics: &[TopicState]) -> Vec<(String, i32)> {
    let keys = |topic: &TopicState| {
        let name = topic.name.clone();
        topic.partitions.iter().map(|found| (name.clone(), found.id)).collect::<Vec<_>>()
    };
    topics.iter().flat_map(keys).collect()
}

/// Refuses a topic that is not there, with the nearest name that is.
pub(crate) async fn expect(operated: &Operated, name: &str) -> Result<(), OpsError> {
    existing(operated, &[name.to_owned()]).await.map(drop)
}

/// The topics of these names, each once.
async fn existing(operated: &Operated, names: &[String]) -> Result<Vec<TopicState>, OpsError> {
    let mut admin = operated.admin()?;
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut found = admin.topics(Some(&wanted), soon()).await?;
    found.dedup_by(|one, other| one.name == other.name);
    if let Some(missing) = names.iter().find(|name| !found.iter().any(|topic| topic.name == **name)) {
        let all = admin.topics(None, soon()).await?;
        return Err(OpsError::no_such("topic", missing, all.iter().map(|topic| topic.name.as_str())));
    }
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::tests::default_plan;
    use crate::wire::records::PartitionMetadata;

    pub(crate) fn report() -> TopicsReport {
        let plan = default_plan();
        let state = TopicState::for_tests(
            "caracal.dlq",
            "2",
            vec![
                PartitionMetadata::new(0, Some(1), &[1, 2, 3], &[1, 2, 3]),
                PartitionMetadata::new(1, Some(1), &[1, 2, 3], &[1, 2]),
                PartitionMetadata::new(2, None, &[1, 2, 3], &[]),
            ],
        );
        TopicsReport { cluster: plan.cluster.clone(), topics: vec![Topic::of(&state, &plan)], millis: 9 }
    }

    #[test]
    fn trouble_is_counted() {
        let topic = &report().topics[0];
        assert_eq!((topic.partitions, topic.replication_factor, topic.min_in_sync), (3, 3, 2));
        assert_eq!((topic.under_replicated, topic.under_min_isr, topic.offline), (2, 1, 1));
    }

    #[test]
    fn owners_are_told_apart() {
        let plan = default_plan();
        let of = |name: &str| Owner::of(name, false, &plan);
        assert_eq!(of("__consumer_offsets"), Owner::Kafka);
        assert_eq!(Owner::of("odd", true, &plan), Owner::Kafka);
        assert_eq!(of("kafkasql-journal"), Owner::Registry);
        assert_eq!(of("caracal.dlq"), Owner::Planned);
        assert_eq!(of("mine"), Owner::Other);
        assert!(of("kafkasql-journal").is_protected() && !of("mine").is_protected());
    }
}
