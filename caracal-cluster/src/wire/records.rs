//! Records, offsets and leaders: the few data requests that a proof needs.
//!
//! One record is written and acknowledged by every in-sync replica; records are read back by offset. Group
//! requests are here because a refusal of them is part of the matrix; nobody joins a group.

use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponse;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FindCoordinatorRequest, GroupId, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest, ProducerId, TopicName,
    TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::connection::Connection;
use super::deadline::Deadline;
use super::error::{ApiError, WireError, WireErrorKind};

// Above these versions topics are named by id, and groups come in batches.
const PRODUCE: i16 = 12;
const FETCH: i16 = 12;
const METADATA: i16 = 12;
const FIND_COORDINATOR: i16 = 3;
const OFFSET_FETCH: i16 = 7;
const OFFSET_COMMIT: i16 = 9;

/// Key types of `FindCoordinator`.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// The most that one fetch brings, in bytes.
const FETCH_BYTES: i32 = 1024 * 1024;

/// What a broker knows of its cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ClusterMetadata {
    /// The cluster's own id.
    pub cluster_id: Option<String>,
    /// The controller's broker id.
    pub controller: Option<i32>,
    /// Every live broker's id with what it advertises; for comparison, never for dialling.
    pub brokers: Vec<BrokerAddress>,
    /// The topics asked for.
    pub topics: Vec<TopicMetadata>,
}

/// A live broker, as it advertises itself on the listener that was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BrokerAddress {
    /// Its id.
    pub id: i32,
    /// The host that clients are told.
    pub host: String,
    /// The port that clients are told.
    pub port: i32,
}

/// A topic's layout.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TopicMetadata {
    /// Its name.
    pub name: String,
    /// Why nothing else is known of it.
    pub error: Option<ApiError>,
    /// Kafka's own topic.
    pub internal: bool,
    /// Its partitions, by id.
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition's layout.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PartitionMetadata {
    /// Its number.
    pub id: i32,
    /// The broker that leads it; none while it is offline.
    pub leader: Option<i32>,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// The brokers whose copy is complete.
    pub in_sync: Vec<i32>,
}

impl PartitionMetadata {
    /// A partition's layout; for tests of whatever judges it.
    pub fn new(id: i32, leader: Option<i32>, replicas: &[i32], in_sync: &[i32]) -> Self {
        Self { id, leader, replicas: replicas.to_vec(), in_sync: in_sync.to_vec() }
    }
}

/// A record that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct FetchedRecord {
    /// Its offset.
    pub offset: i64,
    /// Its time, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
}

/// Which end of a partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogEnd {
    /// The first offset that is still there.
    Earliest,
    /// The offset that the next record will get.
    Latest,
}

/// Asks for the cluster's layout: of the named topics, or of all that the principal may see.
///
/// # Errors
/// [`WireError`]; a topic's own error is a value in its entry.
pub async fn metadata(
    connection: &mut Connection,
    topics: Option<&[&str]>,
    deadline: Deadline,
) -> Result<ClusterMetadata, WireError> {
    let asked = topics.map(|names| {
        names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect()
    });
    let request = MetadataRequest::default().with_topics(asked).with_allow_auto_topic_creation(false);
    let response = connection.call_as("read metadata", &request, METADATA, deadline).await?;
    Ok(cluster_metadata(response))
}

/// The leader of a partition.
///
/// # Errors
/// [`WireError`] when the topic is not there, not to be seen, or without a leader.
pub async fn leader(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    deadline: Deadline,
) -> Result<i32, WireError> {
    const DOING: &str = "find a partition's leader";
    let found = metadata(connection, Some(&[topic]), deadline).await?;
    let topic_found = found.topics.into_iter().next();
    if let Some(error) = topic_found.as_ref().and_then(|found| found.error.clone()) {
        return Err(connection.error(DOING, error.into()));
    }
    topic_found
        .and_then(|found| found.partitions.into_iter().find(|entry| entry.id == partition))
        .and_then(|entry| entry.leader)
        .ok_or_else(|| {
            let text = format!("partition {partition} of topic {topic} has no leader");
            connection.error(DOING, WireErrorKind::Protocol(text))
        })
}

/// Writes one record and returns its offset once every in-sync replica has it.
///
/// The connection must be to the partition's leader.
///
/// # Errors
/// [`WireError`]; [`WireErrorKind::NotAuthorized`] without the right to write.
pub async fn produce(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    key: Option<Bytes>,
    value: Option<Bytes>,
    deadline: Deadline,
) -> Result<i64, WireError> {
    const DOING: &str = "write a record";
    let records = encode_one(key, value).map_err(|source| WireError {
        source: Some(source),
        ..connection.error(DOING, WireErrorKind::Protocol("the record cannot be encoded".to_owned()))
    })?;
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(millis(deadline)).with_topic_data(vec![
            TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]),
        ]);
    let response = connection.call_as(DOING, &request, PRODUCE, deadline).await?;
    let result = response.responses.into_iter().flat_map(|entry| entry.partition_responses).next();
    let result = result.ok_or_else(|| missing(connection, DOING))?;
    let message = result.error_message.as_ref().map(|text| text.as_str());
    checked(connection, DOING, result.error_code, message, partition_of(topic, partition))?;
    Ok(result.base_offset)
}

/// Reads records of a partition from an offset on, waiting up to `max_wait` for the first.
///
/// The connection must be to the partition's leader. Control records are left out.
///
/// # Errors
/// [`WireError`]; [`WireErrorKind::NotAuthorized`] without the right to read.
pub async fn fetch(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    offset: i64,
    max_wait: Duration,
    deadline: Deadline,
) -> Result<Vec<FetchedRecord>, WireError> {
    const DOING: &str = "read records";
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(FETCH_BYTES);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(max_wait.min(deadline.remaining()).as_millis().try_into().unwrap_or(i32::MAX))
        .with_min_bytes(1)
        .with_max_bytes(FETCH_BYTES)
        .with_session_epoch(-1)
        .with_topics(vec![FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![asked])]);
    let response = connection.call_as(DOING, &request, FETCH, deadline).await?;
    checked(connection, DOING, response.error_code, None, format!("topic {topic}"))?;
    let found = response.responses.into_iter().flat_map(|entry| entry.partitions).next();
    let found = found.ok_or_else(|| missing(connection, DOING))?;
    checked(connection, DOING, found.error_code, None, partition_of(topic, partition))?;
    decode_records(found.records.unwrap_or_default(), offset).map_err(|source| WireError {
        source: Some(source),
        ..connection.error(DOING, WireErrorKind::Protocol("unreadable records".to_owned()))
    })
}

/// The first or the next offset of a partition.
///
/// # Errors
/// [`WireError`].
pub async fn offset_at(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    end: LogEnd,
    deadline: Deadline,
) -> Result<i64, WireError> {
    const DOING: &str = "list offsets";
    let timestamp = match end {
        LogEnd::Earliest => -2,
        LogEnd::Latest => -1,
    };
    let asked = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]),
    ]);
    let response = connection.call_as(DOING, &request, 9, deadline).await?;
    let found = response.topics.into_iter().flat_map(|entry| entry.partitions).next();
    let found = found.ok_or_else(|| missing(connection, DOING))?;
    checked(connection, DOING, found.error_code, None, partition_of(topic, partition))?;
    Ok(found.offset)
}

/// The broker that coordinates a group.
///
/// # Errors
/// [`WireError`]; [`WireErrorKind::NotAuthorized`] without the right to see the group.
pub async fn find_coordinator(
    connection: &mut Connection,
    group: &str,
    deadline: Deadline,
) -> Result<i32, WireError> {
    coordinator(connection, GROUP, group, format!("group {group}"), deadline).await
}

/// The broker that coordinates the transactions of an id.
///
/// # Errors
/// [`WireError`]; [`WireErrorKind::NotAuthorized`] without the right to see the id.
pub async fn find_transaction_coordinator(
    connection: &mut Connection,
    transactional_id: &str,
    deadline: Deadline,
) -> Result<i32, WireError> {
    let subject = format!("transactional id {transactional_id}");
    coordinator(connection, TRANSACTION, transactional_id, subject, deadline).await
}

/// The offset that a group committed; none when it committed nothing.
///
/// The connection must be to the group's coordinator.
///
/// # Errors
/// [`WireError`]; [`WireErrorKind::NotAuthorized`] without the right to see the group or the topic.
pub async fn committed_offset(
    connection: &mut Connection,
    group: &str,
    topic: &str,
    partition: i32,
    deadline: Deadline,
) -> Result<Option<i64>, WireError> {
    const DOING: &str = "read a committed offset";
    let asked = OffsetFetchRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partition_indexes(vec![partition]);
    let request =
        OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![asked]));
    let response = connection.call_as(DOING, &request, OFFSET_FETCH, deadline).await?;
    checked(connection, DOING, response.error_code, None, format!("group {group}"))?;
    let found = response.topics.into_iter().flat_map(|entry| entry.partitions).next();
    let found = found.ok_or_else(|| missing(connection, DOING))?;
    checked(connection, DOING, found.error_code, None, partition_of(topic, partition))?;
    Ok((found.committed_offset >= 0).then_some(found.committed_offset))
}

/// Commits an offset for a group that has no members.
///
/// The connection must be to the group's coordinator.
///
/// # Errors
/// [`WireError`]; [`WireErrorKind::NotAuthorized`] without the right to read the group or the topic.
pub async fn commit_offset(
    connection: &mut Connection,
    group: &str,
    topic: &str,
    partition: i32,
    offset: i64,
    deadline: Deadline,
) -> Result<(), WireError> {
    const DOING: &str = "commit an offset";
    let asked =
        OffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(offset);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]),
        ]);
    let response = connection.call_as(DOING, &request, OFFSET_COMMIT, deadline).await?;
    let found = response.topics.into_iter().flat_map(|entry| entry.partitions).next();
    let found = found.ok_or_else(|| missing(connection, DOING))?;
    checked(connection, DOING, found.error_code, None, format!("group {group} on topic {topic}"))
}

/// Asks for a producer id: idempotent without a transactional id, transactional with one.
///
/// With an id the connection must be to [its coordinator](find_transaction_coordinator). Soon after a start
/// the answer may be a retriable [`WireErrorKind::Api`].
///
/// # Errors
/// [`WireError`]; [`WireErrorKind::NotAuthorized`] without the right to produce so.
pub async fn init_producer_id(
    connection: &mut Connection,
    transactional_id: Option<&str>,
    deadline: Deadline,
) -> Result<i64, WireError> {
    const DOING: &str = "get a producer id";
    let request = InitProducerIdRequest::default()
        .with_transactional_id(transactional_id.map(|id| TransactionalId(text(id))))
        .with_transaction_timeout_ms(10_000)
        .with_producer_id(ProducerId(NO_PRODUCER_ID))
        .with_producer_epoch(NO_PRODUCER_EPOCH);
    let response = connection.call_as(DOING, &request, 4, deadline).await?;
    let subject = transactional_id
        .map_or_else(|| "idempotent producer".to_owned(), |id| format!("transactional id {id}"));
    checked(connection, DOING, response.error_code, None, subject)?;
    Ok(response.producer_id.0)
}

async fn coordinator(
    connection: &mut Connection,
    key_type: i8,
    key: &str,
    subject: String,
    deadline: Deadline,
) -> Result<i32, WireError> {
    const DOING: &str = "find a coordinator";
    let request = FindCoordinatorRequest::default().with_key(text(key)).with_key_type(key_type);
    let response = connection.call_as(DOING, &request, FIND_COORDINATOR, deadline).await?;
    let message = response.error_message.as_ref().map(|text| text.as_str());
    checked(connection, DOING, response.error_code, message, subject)?;
    Ok(response.node_id.0)
}

fn cluster_metadata(response: MetadataResponse) -> ClusterMetadata {
    let partition =
        |entry: kafka_protocol::messages::metadata_response::MetadataResponsePartition| PartitionMetadata {
            id: entry.partition_index,
            leader: (entry.leader_id.0 >= 0).then_some(entry.leader_id.0),
            replicas: entry.replica_nodes.iter().map(|id| id.0).collect(),
            in_sync: entry.isr_nodes.iter().map(|id| id.0).collect(),
        };
    let topics = response.topics.into_iter().map(|entry| {
        let name = entry.name.map(|name| name.to_string()).unwrap_or_default();
        let mut partitions: Vec<_> = entry.partitions.into_iter().map(partition).collect();
        partitions.sort_by_key(|partition| partition.id);
        TopicMetadata {
            error: ApiError::from_code(entry.error_code, None, format!("topic {name}")),
            internal: entry.is_internal,
            name,
            partitions,
        }
    });
    let mut brokers: Vec<_> = response
        .brokers
        .into_iter()
        .map(|entry| BrokerAddress { id: entry.node_id.0, host: entry.host.to_string(), port: entry.port })
        .collect();
    brokers.sort_by_key(|broker| broker.id);
    ClusterMetadata {
        cluster_id: response.cluster_id.map(|id| id.to_string()),
        controller: (response.controller_id.0 >= 0).then_some(response.controller_id.0),
        brokers,
        topics: topics.collect(),
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn encode_one(key: Option<Bytes>, value: Option<Bytes>) -> Result<Bytes, Cause> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: NO_SEQUENCE,
        timestamp: i64::try_from(now.as_millis())?,
        key,
        value,
        headers: IndexMap::new(),
    };
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut batch, std::iter::once(&record), &options)?;
    Ok(batch.freeze())
}

fn decode_records(records: Bytes, from: i64) -> Result<Vec<FetchedRecord>, Cause> {
    let mut whole = whole_batches(records);
    let sets = RecordBatchDecoder::decode_all(&mut whole)?;
    let records = sets.into_iter().flat_map(|set| set.records);
    // A batch is sent whole even when the offset asked for lies in its middle.
    Ok(records
        .filter(|record| !record.control && record.offset >= from)
        .map(|record| FetchedRecord {
            offset: record.offset,
            timestamp_ms: record.timestamp,
            key: record.key,
            value: record.value,
        })
        .collect())
}

/// Cuts off a last batch that the fetch's size limit cut in two (base offset, then length, then the rest).
fn whole_batches(records: Bytes) -> Bytes {
    const HEAD: usize = 12;
    let mut end = 0;
    while let Some(mut rest) = records.get(end..).filter(|rest| rest.len() >= HEAD) {
        rest.advance(8);
        let length = usize::try_from(rest.get_i32()).unwrap_or(usize::MAX);
        if length > rest.len() {
            break;
        }
        end += HEAD + length;
    }
    records.slice(..end)
}

fn checked(
    connection: &Connection,
    doing: &'static str,
    code: i16,
    message: Option<&str>,
    subject: String,
) -> Result<(), WireError> {
    ApiError::check(code, message, subject).map_err(|error| connection.error(doing, error.into()))
}

fn missing(connection: &Connection, doing: &'static str) -> WireError {
    connection.error(doing, WireErrorKind::Protocol("the answer lacks the partition asked for".to_owned()))
}

fn partition_of(topic: &str, partition: i32) -> String {
    format!("topic {topic}, partition {partition}")
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn millis(deadline: Deadline) -> i32 {
    deadline.remaining().as_millis().try_into().unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_survives_its_batch() {
        let batch = encode_one(Some(Bytes::from_static(b"k")), Some(Bytes::from_static(b"v"))).unwrap();
        assert_eq!(batch[16], 2, "record batch format 2");
        let back = decode_records(batch, 0).unwrap();
        assert_eq!(back.len(), 1);
        assert_eq!(back[0].key.as_deref(), Some(&b"k"[..]));
        assert_eq!(back[0].value.as_deref(), Some(&b"v"[..]));
    }

    #[test]
    fn a_cut_batch_is_left_for_the_next_fetch() {
        let batch = encode_one(None, Some(Bytes::from_static(b"value"))).unwrap();
        let mut two = BytesMut::from(&batch[..]);
        two.extend_from_slice(&batch[..batch.len() - 3]);
        assert_eq!(whole_batches(two.freeze()), batch);
        assert!(decode_records(batch.slice(..20), 0).unwrap().is_empty());
    }

    #[test]
    fn records_before_the_offset_are_left_out() {
        let batch = encode_one(None, None).unwrap();
        assert!(decode_records(batch, 1).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn cutting_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = Bytes::from(bytes);
            prop_assert!(whole_batches(bytes.clone()).len() <= bytes.len());
        }
    }
}
