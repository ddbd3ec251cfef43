//! Consumer groups: which there are, what they have read, and what is left.

use std::collections::BTreeMap;

use kafka_protocol::messages::{GroupId, ListGroupsRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;

use super::{Admin, AdminError, OffsetAt};
use crate::wire::{ApiError, Deadline, records};

/// The highest version of `OffsetFetch` that asks for one group.
const OFFSET_FETCH: i16 = 7;

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

impl ListedGroup {
    pub(crate) fn new(name: &str, state: &str, coordinator: i32) -> Self {
        Self { name: name.to_owned(), state: state.to_owned(), coordinator }
    }
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
        self.offsets(partitions, OffsetAt::Latest, deadline).await
    }
}
