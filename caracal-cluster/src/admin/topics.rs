//! Topics: what is there, what differs from the plan, and the creation of what is missing. Nothing is deleted.

use std::collections::BTreeMap;
use std::fmt;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DescribeConfigsRequest, TopicName as WireTopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{Admin, AdminError, Outcome, outcome};
use crate::names::TopicName;
use crate::plan::TopicPlan;
use crate::wire::records::{self, PartitionMetadata};
use crate::wire::{ApiError, Deadline};

/// `TOPIC` of `ConfigResource.Type`.
const TOPIC: i8 = 2;
/// `DYNAMIC_TOPIC_CONFIG` of `ConfigEntry.ConfigSource`: set on the topic itself.
const SET_ON_TOPIC: i8 = 1;

/// A topic as the cluster has it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TopicState {
    /// Its name.
    pub name: String,
    /// Kafka's own.
    pub internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionMetadata>,
    /// Its configuration as it counts, by key.
    pub config: BTreeMap<String, ConfigValue>,
}

/// One value of a topic's configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ConfigValue {
    /// The value in force.
    pub value: String,
    /// Set on the topic itself, not inherited from the broker.
    pub set_on_topic: bool,
}

/// One way in which a topic differs from the plan.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TopicDrift {
    /// It does not exist.
    Absent,
    /// A value of its configuration differs.
    Config {
        /// The key.
        key: String,
        /// The plan's value.
        planned: String,
        /// The value in force.
        found: Option<String>,
    },
    /// It has another number of partitions.
    Partitions {
        /// The plan's number.
        planned: u32,
        /// The number there.
        found: usize,
    },
    /// A partition has another number of copies.
    ReplicationFactor {
        /// The plan's number.
        planned: u16,
        /// The number there.
        found: usize,
        /// The first partition that differs.
        partition: i32,
    },
}

impl fmt::Display for TopicDrift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("it does not exist"),
            Self::Config { key, planned, found } => {
                let found = found.as_deref().unwrap_or("nothing");
                write!(f, "{key} is {found}, planned is {planned}")
            }
            Self::Partitions { planned, found } => {
                write!(f, "it has {found} partitions, planned are {planned}")
            }
            Self::ReplicationFactor { planned, found, partition } => {
                write!(f, "partition {partition} has {found} copies, planned are {planned}")
            }
        }
    }
}

impl TopicState {
    /// How many in-sync copies a write needs; 1 where the broker does not say.
    pub fn min_in_sync(&self) -> usize {
        self.config.get("min.insync.replicas").and_then(|entry| entry.value.parse().ok()).unwrap_or(1)
    }

    /// A topic for tests of whatever judges it.
    #[cfg(test)]
    pub(crate) fn for_tests(name: &str, min_in_sync: &str, partitions: Vec<PartitionMetadata>) -> Self {
        let least = ConfigValue { value: min_in_sync.to_owned(), set_on_topic: true };
        let config = BTreeMap::from([("min.insync.replicas".to_owned(), least)]);
        Self { name: name.to_owned(), internal: false, partitions, config }
    }

    /// How a topic differs from its plan; nothing when it is as planned.
    pub fn drift(found: Option<&Self>, planned: &TopicPlan) -> Vec<TopicDrift> {
        let Some(found) = found else {
            return vec![TopicDrift::Absent];
        };
        let mut drift = Vec::new();
        if usize::try_from(planned.partitions) != Ok(found.partitions.len()) {
            drift.push(TopicDrift::Partitions { planned: planned.partitions, found: found.partitions.len() });
        }
        let copies = usize::from(planned.replication_factor);
        if let Some(odd) = found.partitions.iter().find(|partition| partition.replicas.len() != copies) {
            drift.push(TopicDrift::ReplicationFactor {
                planned: planned.replication_factor,
                found: odd.replicas.len(),
                partition: odd.id,
            });
        }
        for (key, value) in &planned.config {
            let there = found.config.get(key).map(|entry| &entry.value);
            if there != Some(value) {
                drift.push(TopicDrift::Config {
                    key: key.clone(),
                    planned: value.clone(),
                    found: there.cloned(),
                });
            }
        }
        drift
    }
}

impl Admin {
    /// The named topics, or all, with their configuration; those that do not exist are left out.
    ///
    /// # Errors
    /// [`AdminError`], also when one of the topics may not be seen.
    pub async fn topics(
        &mut self,
        names: Option<&[&str]>,
        deadline: Deadline,
    ) -> Result<Vec<TopicState>, AdminError> {
        let connection = self.controller(deadline).await?;
        let metadata = records::metadata(connection, names, deadline).await?;
        let mut states = Vec::new();
        for topic in metadata.topics {
            match topic.error {
                Some(error) if error.code == ResponseError::UnknownTopicOrPartition.code() => continue,
                Some(error) if !error.retriable => {
                    return Err(connection.error("describe topics", error.into()).into());
                }
                // A partition without a leader is a state to report, not an error.
                _ => states.push(TopicState {
                    name: topic.name,
                    internal: topic.internal,
                    partitions: topic.partitions,
                    config: BTreeMap::new(),
                }),
            }
        }
        let mut configs = self.topic_configs(&states, deadline).await?;
        for state in &mut states {
            state.config = configs.remove(&state.name).unwrap_or_default();
        }
        states.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(states)
    }

    /// Creates topics. One that exists already is an item's error, as is every other refusal.
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed.
    pub async fn create_topics(
        &mut self,
        topics: &[TopicPlan],
        deadline: Deadline,
    ) -> Result<Vec<Outcome<TopicName>>, AdminError> {
        self.send_topics(topics, false, deadline).await
    }

    /// Asks the controller whether it would create topics; creates nothing (KIP-4).
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed.
    pub async fn check_new_topics(
        &mut self,
        topics: &[TopicPlan],
        deadline: Deadline,
    ) -> Result<Vec<Outcome<TopicName>>, AdminError> {
        self.send_topics(topics, true, deadline).await
    }

    async fn send_topics(
        &mut self,
        topics: &[TopicPlan],
        only_check: bool,
        deadline: Deadline,
    ) -> Result<Vec<Outcome<TopicName>>, AdminError> {
        let request = CreateTopicsRequest::default()
            .with_topics(topics.iter().map(creatable).collect())
            .with_validate_only(only_check)
            .with_timeout_ms(deadline.remaining().as_millis().try_into().unwrap_or(i32::MAX));
        let moved = |answer: &CreateTopicsResponse| {
            answer.topics.iter().any(|topic| topic.error_code == ResponseError::NotController.code())
        };
        let response = self.call("create topics", &request, moved, deadline).await?;
        // Answers come in the broker's order, not in ours.
        let outcomes = topics.iter().map(|topic| {
            let subject = format!("topic {}", topic.name);
            match response.topics.iter().find(|result| result.name.as_str() == topic.name.as_str()) {
                Some(result) => {
                    let message = result.error_message.as_ref().map(|text| text.as_str());
                    outcome(topic.name.clone(), result.error_code, message, subject)
                }
                None => outcome(topic.name.clone(), -1, Some("the broker did not mention it"), subject),
            }
        });
        Ok(outcomes.collect())
    }

    async fn topic_configs(
        &mut self,
        topics: &[TopicState],
        deadline: Deadline,
    ) -> Result<BTreeMap<String, BTreeMap<String, ConfigValue>>, AdminError> {
        const DOING: &str = "describe topics' configuration";
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let resource = |topic: &TopicState| {
            DescribeConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(text(&topic.name))
                .with_configuration_keys(None)
        };
        let request = DescribeConfigsRequest::default().with_resources(topics.iter().map(resource).collect());
        let response = self.call(DOING, &request, |_| false, deadline).await?;
        let mut configs = BTreeMap::new();
        for result in response.results {
            let name = result.resource_name.to_string();
            let message = result.error_message.as_ref().map(|text| text.as_str());
            if let Err(error) = ApiError::check(result.error_code, message, format!("topic {name}")) {
                return Err(self.controller(deadline).await?.error(DOING, error.into()).into());
            }
            let entries = result.configs.into_iter().filter_map(|entry| {
                let set_on_topic = entry.config_source == SET_ON_TOPIC;
                let value = entry.value?.to_string();
                Some((entry.name.to_string(), ConfigValue { value, set_on_topic }))
            });
            configs.insert(name, entries.collect());
        }
        Ok(configs)
    }
}

fn creatable(topic: &TopicPlan) -> CreatableTopic {
    let config = |(key, value): &(String, String)| {
        CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
    };
    CreatableTopic::default()
        .with_name(WireTopicName(text(topic.name.as_str())))
        .with_num_partitions(i32::try_from(topic.partitions).unwrap_or(i32::MAX))
        .with_replication_factor(i16::try_from(topic.replication_factor).unwrap_or(i16::MAX))
        .with_configs(topic.config.iter().map(config).collect())
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TopicOwner;

    fn planned() -> TopicPlan {
        TopicPlan {
            name: "caracal.dlq".parse().unwrap(),
            partitions: 2,
            replication_factor: 3,
            config: vec![("min.insync.replicas".to_owned(), "2".to_owned())],
            owner: TopicOwner::Application,
        }
    }

    fn found(partitions: i32, replicas: Vec<i32>, in_sync: &str) -> TopicState {
        let value = ConfigValue { value: in_sync.to_owned(), set_on_topic: true };
        TopicState {
            name: "caracal.dlq".to_owned(),
            internal: false,
            partitions: (0..partitions)
                .map(|id| PartitionMetadata::new(id, Some(1), &replicas, &replicas))
                .collect(),
            config: BTreeMap::from([("min.insync.replicas".to_owned(), value)]),
        }
    }

    #[test]
    fn a_topic_as_planned_has_no_drift() {
        assert_eq!(TopicState::drift(Some(&found(2, vec![1, 2, 3], "2")), &planned()), []);
        assert_eq!(TopicState::drift(None, &planned()), [TopicDrift::Absent]);
    }

    #[test]
    fn every_difference_is_named() {
        let drift = TopicState::drift(Some(&found(3, vec![1], "1")), &planned());
        let said: Vec<_> = drift.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "it has 3 partitions, planned are 2",
                "partition 0 has 1 copies, planned are 3",
                "min.insync.replicas is 1, planned is 2",
            ]
        );
    }
}
