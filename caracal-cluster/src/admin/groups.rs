//! Consumer groups: which there are, what they have read, and what is left.

use std::collections::BTreeMap;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    BrokerId, GroupId, ListGroupsRequest, ListOffsetsRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{Admin, AdminError};
use crate::wire::{ApiError, Connection, Deadline, WireError, records};

/// The highest version of `OffsetFetch` that asks for one group.
const OFFSET_FETCH: i16 = 7;

/// The highest version of `ListOffsets` that the answer of a 3.x broker is read in.
const LIST_OFFSETS: i16 = 7;

/// The offset that the next record will get.
const LATEST: i64 = -1;

/// A partition: topic and number.
pub type PartitionKey = (String, i32);

/// A group as its coordinator lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ListedGroup {
    /// Its name.
    pub name: String,
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Dead`.
    pub state: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
}

impl Admin {
    /// Every consumer group of the cluster, by name. Each broker is asked for those that it coordinates.
    ///
    /// # Errors
    /// [`AdminError`] when any live broker cannot be asked: a list with holes would look whole.
    pub async fn groups(&mut self, deadline: Deadline) -> Result<Vec<ListedGroup>, AdminError> {
        const DOING: &str = "list groups";
        let controller = self.controller(deadline).await?;
        let live: Vec<i32> = records::metadata(controller, Some(&[]), deadline)
            .await?
            .brokers
            .iter()
            .map(|broker| broker.id)
            .collect();
        let mut groups = Vec::new();
        for id in live {
            let mut connection = self.connect(id, deadline).await?;
            let request = ListGroupsRequest::default();
            let response = connection.call_as(DOING, &request, 4, deadline).await?;
            ApiError::check(response.error_code, None, "groups")
                .map_err(|error| connection.error(DOING, error.into()))?;
            groups.extend(response.groups.into_iter().map(|group| ListedGroup {
                name: group.group_id.to_string(),
                state: group.group_state.to_string(),
                coordinator: id,
            }));
        }
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }

    /// Every offset that a group has committed.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn committed_offsets(
        &mut self,
        group: &ListedGroup,
        deadline: Deadline,
    ) -> Result<BTreeMap<PartitionKey, i64>, AdminError> {
        const DOING: &str = "read committed offsets";
        let mut connection = self.connect(group.coordinator, deadline).await?;
        // No topics means all of them, since version 2.
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(StrBytes::from_string(group.name.clone())))
            .with_topics(None);
        let response = connection.call_as(DOING, &request, OFFSET_FETCH, deadline).await?;
        ApiError::check(response.error_code, None, format!("group {}", group.name))
            .map_err(|error| connection.error(DOING, error.into()))?;
        let mut offsets = BTreeMap::new();
        for topic in response.topics {
            for partition in topic.partitions.into_iter().filter(|found| found.committed_offset >= 0) {
                offsets
                    .insert((topic.name.to_string(), partition.partition_index), partition.committed_offset);
            }
        }
        Ok(offsets)
    }

    /// The end of each of these partitions, asked of its leader. A partition without a leader, or one that is
    /// gone, is left out.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn ends(
        &mut self,
        partitions: &[PartitionKey],
        deadline: Deadline,
    ) -> Result<BTreeMap<PartitionKey, i64>, AdminError> {
        let mut topics: Vec<&str> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
        topics.sort_unstable();
        topics.dedup();
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let controller = self.controller(deadline).await?;
        let metadata = records::metadata(controller, Some(&topics), deadline).await?;
        let mut by_leader: BTreeMap<i32, Vec<&PartitionKey>> = BTreeMap::new();
        for key in partitions {
            let topic = metadata.topics.iter().find(|topic| topic.name == key.0);
            let found = topic.and_then(|topic| topic.partitions.iter().find(|found| found.id == key.1));
            if let Some(leader) = found.and_then(|found| found.leader) {
                by_leader.entry(leader).or_default().push(key);
            }
        }
        let mut ends = BTreeMap::new();
        for (leader, keys) in by_leader {
            let mut connection = self.connect(leader, deadline).await?;
            ends.extend(ends_of(&mut connection, &keys, deadline).await?);
        }
        Ok(ends)
    }
}

async fn ends_of(
    connection: &mut Connection,
    keys: &[&PartitionKey],
    deadline: Deadline,
) -> Result<Vec<(PartitionKey, i64)>, WireError> {
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for (topic, partition) in keys {
        let asked = ListOffsetsPartition::default().with_partition_index(*partition).with_timestamp(LATEST);
        topics.entry(topic).or_default().push(asked);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        ListOffsetsTopic::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partitions(partitions)
    });
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect());
    let response = connection.call_as("list ends of partitions", &request, LIST_OFFSETS, deadline).await?;
    let found = response.topics.into_iter().flat_map(|topic| {
        let name = topic.name.to_string();
        let good = topic.partitions.into_iter().filter(|partition| partition.error_code == 0);
        good.map(move |partition| ((name.clone(), partition.partition_index), partition.offset))
    });
    Ok(found.collect())
}
