//! The deletion of topics and groups: of what was made for a while, such as by a proof.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteTopicsRequest, DeleteTopicsResponse, GroupId, ListGroupsRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{Admin, AdminError, Outcome, outcome};
use crate::wire::{ApiError, Deadline};

impl Admin {
    /// Deletes topics with all their data. One that does not exist is an item's error, as is every other
    /// refusal.
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed; [`crate::wire::WireErrorKind::UnsupportedVersion`]
    /// for a broker older than Kafka 2.8.
    pub async fn delete_topics(
        &mut self,
        topics: &[&str],
        deadline: Deadline,
    ) -> Result<Vec<Outcome<String>>, AdminError> {
        let named = |name: &&str| DeleteTopicState::default().with_name(Some(TopicName(text(name))));
        let request = DeleteTopicsRequest::default()
            .with_topics(topics.iter().map(named).collect())
            .with_timeout_ms(deadline.remaining().as_millis().try_into().unwrap_or(i32::MAX));
        let moved = |answer: &DeleteTopicsResponse| {
            answer.responses.iter().any(|topic| topic.error_code == ResponseError::NotController.code())
        };
        let response = self.call("delete topics", &request, moved, deadline).await?;
        let outcomes = response.responses.into_iter().map(|result| {
            let name = result.name.map(|name| name.to_string()).unwrap_or_default();
            let message = result.error_message.as_ref().map(|text| text.as_str());
            let subject = format!("topic {name}");
            outcome(name, result.error_code, message, subject)
        });
        Ok(outcomes.collect())
    }

    /// Deletes every consumer group whose name is chosen, with its offsets, on whichever broker keeps it. One
    /// that still has members is an item's error, as is every other refusal.
    ///
    /// # Errors
    /// [`AdminError`] when a broker cannot be asked: what it keeps is not known then.
    pub async fn delete_groups(
        &self,
        chosen: impl Fn(&str) -> bool,
        deadline: Deadline,
    ) -> Result<Vec<Outcome<String>>, AdminError> {
        let mut outcomes = Vec::new();
        // Each broker lists, and deletes, only the groups that it coordinates.
        for broker in &self.brokers {
            let mut connection = self.connect(broker.id, deadline).await?;
            let listed = ListGroupsRequest::default();
            let listed = connection.call_as("list groups", &listed, i16::MAX, deadline).await?;
            ApiError::check(listed.error_code, None, format!("groups of broker {}", broker.id))
                .map_err(|error| connection.error("list groups", error.into()))?;
            let doomed: Vec<GroupId> =
                listed.groups.into_iter().map(|group| group.group_id).filter(|group| chosen(group)).collect();
            if doomed.is_empty() {
                continue;
            }
            let request = DeleteGroupsRequest::default().with_groups_names(doomed);
            let response = connection.call_as("delete groups", &request, i16::MAX, deadline).await?;
            outcomes.extend(response.results.into_iter().map(|result| {
                let group = result.group_id.to_string();
                let subject = format!("group {group}");
                outcome(group, result.error_code, None, subject)
            }));
        }
        Ok(outcomes)
    }
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}
