//! Groups in detail: members, what they were given, and offsets put for them.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use kafka_protocol::messages::describe_groups_response::DescribedGroup as WireGroup;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, DescribeGroupsRequest, GroupId, ListGroupsRequest, OffsetCommitRequest,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Message, StrBytes};

use super::groups::PartitionKey;
use super::{Admin, AdminError, Outcome, outcome};
use crate::wire::{ApiError, Connection, Deadline, WireError, records};

/// The highest versions in which groups are named, and topics too.
const LIST: i16 = 4;
const DESCRIBE: i16 = 5;
const COMMIT: i16 = 9;

/// The only kind of group whose members' assignments can be read.
const CONSUMER: &str = "consumer";

/// A member of a group.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Member {
    /// Its id, given by the coordinator.
    pub id: String,
    /// Its own id, where it is a static member (KIP-345).
    pub instance: Option<String>,
    /// The `client.id` of its client.
    pub client: String,
    /// Where it connects from.
    pub host: String,
    /// The partitions that it was given.
    pub assigned: Vec<PartitionKey>,
}

/// A group as its coordinator describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DescribedGroup {
    /// Its name.
    pub name: String,
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Dead`.
    pub state: String,
    /// `consumer`, or what else uses the group protocol (`connect`); empty for one that only has offsets.
    pub kind: String,
    /// The assignor that its members agreed upon.
    pub assignor: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// Its members.
    pub members: Vec<Member>,
}

impl Admin {
    /// Every group of the cluster in detail, by name. Each broker is asked for those that it coordinates.
    ///
    /// # Errors
    /// [`AdminError`] when any live broker cannot be asked: a list with holes would look whole.
    pub async fn described_groups(&mut self, deadline: Deadline) -> Result<Vec<DescribedGroup>, AdminError> {
        let controller = self.controller(deadline).await?;
        let live = records::metadata(controller, Some(&[]), deadline).await?.brokers;
        let this = &*self;
        let asked = live.iter().map(|broker| async move {
            let mut connection = this.connect(broker.id, deadline).await?;
            Ok::<_, AdminError>(groups_of(&mut connection, broker.id, deadline).await?)
        });
        let mut groups: Vec<DescribedGroup> = try_join_all(asked).await?.into_iter().flatten().collect();
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }

    /// The broker that coordinates a group, whether there is such a group or not.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn coordinator_of(&mut self, group: &str, deadline: Deadline) -> Result<i32, AdminError> {
        let controller = self.controller(deadline).await?;
        Ok(records::find_coordinator(controller, group, deadline).await?)
    }

    /// Commits offsets for a group that has no members; it comes into being by that if it is not there.
    ///
    /// # Errors
    /// [`AdminError`]; a partition's own refusal is an item's error.
    pub async fn commit_offsets(
        &self,
        coordinator: i32,
        group: &str,
        offsets: &BTreeMap<PartitionKey, i64>,
        deadline: Deadline,
    ) -> Result<Vec<Outcome<PartitionKey>>, AdminError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for ((topic, partition), offset) in offsets {
            let asked = OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(*offset);
            topics.entry(topic).or_default().push(asked);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetCommitRequestTopic::default().with_name(TopicName(text(topic))).with_partitions(partitions)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.collect());
        let mut connection = self.connect(coordinator, deadline).await?;
        let response = connection.call_as("commit offsets", &request, COMMIT, deadline).await?;
        let outcomes = response.topics.into_iter().flat_map(|topic| {
            let name = topic.name.to_string();
            topic.partitions.into_iter().map(move |partition| {
                let key = (name.clone(), partition.partition_index);
                let subject = format!("{}-{}", key.0, key.1);
                outcome(key, partition.error_code, None, subject)
            })
        });
        Ok(outcomes.collect())
    }
}

async fn groups_of(
    connection: &mut Connection,
    broker: i32,
    deadline: Deadline,
) -> Result<Vec<DescribedGroup>, WireError> {
    const DOING: &str = "list groups";
    let listed = connection.call_as(DOING, &ListGroupsRequest::default(), LIST, deadline).await?;
    ApiError::check(listed.error_code, None, "groups")
        .map_err(|error| connection.error(DOING, error.into()))?;
    let names: Vec<GroupId> = listed.groups.into_iter().map(|group| group.group_id).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let request = DescribeGroupsRequest::default().with_groups(names);
    let response = connection.call_as("describe groups", &request, DESCRIBE, deadline).await?;
    let mut groups = Vec::new();
    for group in response.groups {
        let name = group.group_id.to_string();
        ApiError::check(group.error_code, None, format!("group {name}"))
            .map_err(|error| connection.error("describe groups", error.into()))?;
        groups.push(described(group, broker));
    }
    Ok(groups)
}

fn described(group: WireGroup, coordinator: i32) -> DescribedGroup {
    let readable = group.protocol_type.as_str() == CONSUMER;
    let members = group.members.into_iter().map(|member| Member {
        id: member.member_id.to_string(),
        instance: member.group_instance_id.map(|id| id.to_string()),
        client: member.client_id.to_string(),
        host: member.client_host.trim_start_matches('/').to_owned(),
        assigned: if readable { assigned(member.member_assignment) } else { Vec::new() },
    });
    DescribedGroup {
        name: group.group_id.to_string(),
        state: group.group_state.to_string(),
        kind: group.protocol_type.to_string(),
        assignor: group.protocol_data.to_string(),
        coordinator,
        members: members.collect(),
    }
}

/// A member's partitions; none for one that has not been given any yet, or in a form that we do not know.
fn assigned(mut bytes: bytes::Bytes) -> Vec<PartitionKey> {
    use bytes::Buf as _;
    if bytes.len() < 2 {
        return Vec::new();
    }
    let version = bytes.get_i16().min(ConsumerProtocolAssignment::VERSIONS.max);
    let Ok(assignment) = ConsumerProtocolAssignment::decode(&mut bytes, version) else { return Vec::new() };
    let topics = assignment.assigned_partitions.into_iter();
    let mut found: Vec<PartitionKey> = topics
        .flat_map(|entry| {
            let name = entry.topic.to_string();
            entry.partitions.into_iter().map(move |partition| (name.clone(), partition))
        })
        .collect();
    found.sort();
    found
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_nonsense_is_none() {
        // Version 1, two topics; the user data is null.
        let mut bytes = vec![0, 1, 0, 0, 0, 2];
        for (name, partitions) in [("b", &[0_i32][..]), ("a", &[2, 1])] {
            bytes.extend([0, 1]);
            bytes.extend(name.bytes());
            bytes.extend(i32::try_from(partitions.len()).unwrap().to_be_bytes());
            bytes.extend(partitions.iter().flat_map(|partition| partition.to_be_bytes()));
        }
        bytes.extend((-1_i32).to_be_bytes());
        let key = |topic: &str, partition| (topic.to_owned(), partition);
        assert_eq!(assigned(bytes.into()), [key("a", 1), key("a", 2), key("b", 0)]);
        assert_eq!(assigned(bytes::Bytes::from_static(&[0])), []);
        assert_eq!(assigned(bytes::Bytes::from_static(&[0, 1, 9, 9, 9, 9, 9])), []);
    }
}
