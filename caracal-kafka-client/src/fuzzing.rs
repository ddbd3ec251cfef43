//! What the fuzz targets reach and nobody else: built by them alone, and no part of the interface.

use crate::dead_letter::{Failure, Story, headers};
use crate::events::TimestampMillis;
use crate::record::{Position, RawRecord, RecordHeader};

/// The headers of a record's dead letter.
pub fn dead_letter(
    headers_before: Vec<RecordHeader>,
    kind: &str,
    message: &str,
    time: i64,
    attempts: u32,
) -> Vec<RecordHeader> {
    let position = Position { topic: "t".into(), partition: 0, offset: time };
    let timestamp = Some(TimestampMillis(time));
    let record = RawRecord { key: None, value: None, headers: headers_before, position, timestamp };
    let failure = Failure::new(kind, message);
    let log_append_time = attempts.is_multiple_of(2);
    let story = Story { group: "g", failure: &failure, attempts, first: time, last: time, log_append_time };
    headers(&record, &story)
}
