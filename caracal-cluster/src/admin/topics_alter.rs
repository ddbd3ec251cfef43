//! Changes of topics that keep their data: settings, and more partitions.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{CreatePartitionsRequest, IncrementalAlterConfigsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::{Admin, AdminError};
use crate::wire::{ApiError, Deadline};

/// `ConfigResource.Type.TOPIC`.
const TOPIC: i8 = 2;

/// `AlterConfigOp.OpType.SET`.
const SET: i8 = 0;

/// `AlterConfigOp.OpType.DELETE`: the broker's default counts again.
const DELETE: i8 = 1;

/// Whether a change is made, or only judged by the broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Intent {
    /// It is made.
    Make,
    /// The broker says whether it would make it.
    Check,
}

impl Admin {
    /// Sets values of a topic's configuration; others stay (KIP-339).
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed; the inner result is the topic's own.
    pub async fn alter_topic_config(
        &mut self,
        topic: &str,
        config: &[(String, String)],
        deadline: Deadline,
    ) -> Result<Result<(), ApiError>, AdminError> {
        let config: Vec<(String, Option<String>)> =
            config.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        self.change_topic_config(topic, &config, Intent::Make, deadline).await
    }

    /// Sets or, without a value, unsets values of a topic's configuration; others stay (KIP-339).
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed; the inner result is the topic's own.
    pub async fn change_topic_config(
        &mut self,
        topic: &str,
        config: &[(String, Option<String>)],
        intent: Intent,
        deadline: Deadline,
    ) -> Result<Result<(), ApiError>, AdminError> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let configs = config.iter().map(|(key, value)| {
            AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(if value.is_some() { SET } else { DELETE })
                .with_value(value.as_deref().map(text))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configs(configs.collect());
        let request = IncrementalAlterConfigsRequest::default()
            .with_resources(vec![resource])
            .with_validate_only(intent == Intent::Check);
        let response = self.call("change a topic's settings", &request, |_| false, deadline).await?;
        let subject = format!("topic {topic}");
        let result = response.responses.into_iter().next();
        Ok(result.map_or(Ok(()), |result| {
            let message = result.error_message.as_ref().map(|text| text.as_str());
            ApiError::check(result.error_code, message, subject)
        }))
    }

    /// Gives a topic more partitions (KIP-195). Records with keys land elsewhere from then on.
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed; the inner result is the topic's own.
    pub async fn create_partitions(
        &mut self,
        topic: &str,
        count: u32,
        deadline: Deadline,
    ) -> Result<Result<(), ApiError>, AdminError> {
        self.more_partitions(topic, count, Intent::Make, deadline).await
    }

    /// As [`create_partitions`](Self::create_partitions), or only judged.
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed; the inner result is the topic's own.
    pub async fn more_partitions(
        &mut self,
        topic: &str,
        count: u32,
        intent: Intent,
        deadline: Deadline,
    ) -> Result<Result<(), ApiError>, AdminError> {
        let name = TopicName(StrBytes::from_string(topic.to_owned()));
        let entry = CreatePartitionsTopic::default()
            .with_name(name)
            .with_count(i32::try_from(count).unwrap_or(i32::MAX))
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![entry])
            .with_validate_only(intent == Intent::Check)
            .with_timeout_ms(deadline.remaining().as_millis().try_into().unwrap_or(i32::MAX));
        let moved = |answer: &kafka_protocol::messages::CreatePartitionsResponse| {
            answer.results.iter().any(|result| {
                ApiError::from_code(result.error_code, None, "")
                    .is_some_and(|error| error.is_not_controller())
            })
        };
        let response = self.call("add partitions", &request, moved, deadline).await?;
        let subject = format!("topic {topic}");
        let result = response.results.into_iter().next();
        Ok(result.map_or(Ok(()), |result| {
            let message = result.error_message.as_ref().map(|text| text.as_str());
            ApiError::check(result.error_code, message, subject)
        }))
    }
}
