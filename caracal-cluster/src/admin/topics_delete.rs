//! The deletion of topics and groups: of what was made for a while, such as by a proof.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteTopicsRequest, DeleteTopicsResponse, GroupId, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{Admin, AdminError, Outcome, outcome};
use crate::wire::{Deadline, records};

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

    /// Deletes a consumer group with its offsets; it must have no members.
    ///
    /// # Errors
    /// [`AdminError`]; the inner result is the group's own.
    pub async fn delete_group(
        &mut self,
        group: &str,
        deadline: Deadline,
    ) -> Result<Outcome<String>, AdminError> {
        let controller = self.controller(deadline).await?;
        let coordinator = records::find_coordinator(controller, group, deadline).await?;
        let mut connection = self.connect(coordinator, deadline).await?;
        let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
        let response = connection.call_as("delete a group", &request, i16::MAX, deadline).await?;
        let code = response.results.first().map_or(0, |result| result.error_code);
        Ok(outcome(group.to_owned(), code, None, format!("group {group}")))
    }
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}
