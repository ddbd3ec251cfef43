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

/// One header of a record; a name may occur more than once. `Debug` does not show the value.
#[derive(Clone, Eq, PartialEq)]
pub struct RecordHeader {
    /// Name.
    pub name: String,
    /// Value; Kafka knows headers without one.
    pub value: Option<Vec<u8>>,
}

/// The value's size only: it may be as private as a payload.
impl fmt::Debug for RecordHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordHeader")
            .field("name", &self.name)
            .field("value_bytes", &self.value.as_ref().map(Vec::len))
            .finish()
    }
}

/// A decoded record. `Debug` shows where it stands, not what it says.
#[derive(Clone, PartialEq)]
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

/// Place and sizes only: a payload has no place in a log.
impl<E> fmt::Debug for Received<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("position", &self.position)
            .field("schema_id", &self.schema_id)
            .field("key_bytes", &self.key.as_ref().map(Vec::len))
            .field("headers", &self.headers.len())
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "hunter2-must-not-appear";

    #[test]
    fn no_debug_text_shows_a_payload() {
        let bytes = || Some(MARK.as_bytes().to_vec());
        let header = RecordHeader { name: "trace".into(), value: bytes() };
        let position = Position { topic: "t".into(), partition: 3, offset: 258 };
        let received = Received {
            event: MARK.to_owned(),
            key: bytes(),
            headers: vec![header.clone()],
            position: position.clone(),
            timestamp: None,
            schema_id: 7,
        };
        let raw = RawRecord {
            key: bytes(),
            value: bytes(),
            headers: vec![header.clone()],
            position,
            timestamp: None,
        };
        let shown = format!("{header:?} {received:?} {raw:?}");
        // As text and as the numbers of its bytes.
        let numbers = format!("{:?}", &MARK.as_bytes()[..4]);
        let numbers = numbers.trim_matches(['[', ']']);
        assert!(!shown.contains(MARK) && !shown.contains(numbers), "{shown}");
        assert!(shown.contains("trace") && shown.contains("258"), "{shown}");
    }
}
