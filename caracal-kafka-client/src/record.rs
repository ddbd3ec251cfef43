//! What a consumer hands out: records, decoded and raw, and where they stand.

use std::fmt;

use crate::events::TimestampMillis;

/// Place of a record.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// Topic, with the profile's namespace.
    pub topic: String,
    /// Partition, from 0.
    pub partition: i32,
    /// Offset in the partition, from 0.
    pub offset: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.offset)
    }
}

impl AsRef<Self> for Position {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// One header of a record; a name may occur more than once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordHeader {
    /// Name.
    pub name: String,
    /// Value; Kafka knows headers without one.
    pub value: Option<Vec<u8>>,
}

/// A decoded record.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Received<E> {
    /// The event.
    pub event: E,
    /// The record's key, as bytes; Caracal's own events carry the agent's id in UTF-8.
    pub key: Option<Vec<u8>>,
    /// Headers, in the record's order.
    pub headers: Vec<RecordHeader>,
    /// Where it stands.
    pub position: Position,
    /// When it was written, by the producer's or the broker's clock as the topic has it.
    pub timestamp: Option<TimestampMillis>,
    /// Id of the schema that it was written with.
    pub schema_id: u32,
}

impl<E> AsRef<Position> for Received<E> {
    fn as_ref(&self) -> &Position {
        &self.position
    }
}

/// A record as it lies in Kafka.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct RawRecord {
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value, unchanged; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers, in the record's order.
    pub headers: Vec<RecordHeader>,
    /// Where it stands.
    pub position: Position,
    /// When it was written, by the producer's or the broker's clock as the topic has it.
    pub timestamp: Option<TimestampMillis>,
}

impl AsRef<Position> for RawRecord {
    fn as_ref(&self) -> &Position {
        &self.position
    }
}

/// Sizes only: a payload has no place in a log.
impl fmt::Debug for RawRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRecord")
            .field("position", &self.position)
            .field("key_bytes", &self.key.as_ref().map(Vec::len))
            .field("value_bytes", &self.value.as_ref().map(Vec::len))
            .field("headers", &self.headers.len())
            .field("timestamp", &self.timestamp)
            .finish()
    }
}
