//! Offsets of partitions: their first, their end, the first one of a moment (KIP-79).

use std::collections::BTreeMap;

use futures::future::try_join_all;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::groups::PartitionKey;
use super::{Admin, AdminError};
use crate::wire::{Connection, Deadline, WireError, records};

/// The highest version of `ListOffsets` that the answer of a 3.x broker is read in.
const LIST_OFFSETS: i16 = 7;

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum OffsetAt {
    /// The first that is still there.
    Earliest,
    /// The one that the next record will get.
    Latest,
    /// The first record of this time or later, in milliseconds since 1970; -1 where there is none.
    Time(i64),
}

impl OffsetAt {
    fn timestamp(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            // Negative times would mean one of the others.
            Self::Time(millis) => millis.max(0),
        }
    }
}

impl Admin {
    /// An offset of each of these partitions, asked of its leader. A partition without a leader, or one that is
    /// gone, is left out.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn offsets(
        &mut self,
        partitions: &[PartitionKey],
        at: OffsetAt,
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
        let this = &*self;
        let asked = by_leader.into_iter().map(|(leader, keys)| async move {
            let mut connection = this.connect(leader, deadline).await?;
            Ok::<_, AdminError>(offsets_of(&mut connection, &keys, at, deadline).await?)
        });
        Ok(try_join_all(asked).await?.into_iter().flatten().collect())
    }
}

async fn offsets_of(
    connection: &mut Connection,
    keys: &[&PartitionKey],
    at: OffsetAt,
    deadline: Deadline,
) -> Result<Vec<(PartitionKey, i64)>, WireError> {
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for (topic, partition) in keys {
        let asked =
            ListOffsetsPartition::default().with_partition_index(*partition).with_timestamp(at.timestamp());
        topics.entry(topic).or_default().push(asked);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        ListOffsetsTopic::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partitions(partitions)
    });
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect());
    let response = connection.call_as("list offsets of partitions", &request, LIST_OFFSETS, deadline).await?;
    let found = response.topics.into_iter().flat_map(|topic| {
        let name = topic.name.to_string();
        let good = topic.partitions.into_iter().filter(|partition| partition.error_code == 0);
        good.map(move |partition| ((name.clone(), partition.partition_index), partition.offset))
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_never_means_an_end() {
        assert_eq!(OffsetAt::Earliest.timestamp(), -2);
        assert_eq!(OffsetAt::Latest.timestamp(), -1);
        assert_eq!([OffsetAt::Time(-2).timestamp(), OffsetAt::Time(7).timestamp()], [0, 7]);
    }
}
