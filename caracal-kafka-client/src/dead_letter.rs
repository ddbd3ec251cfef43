//! Dead letters: key and value as they were, and headers that say what happened. The names that begin
//! with `kafka_dlt-` are those of Spring for Apache Kafka, whose tools read them.

use crate::record::{Position, RawRecord, RecordHeader};

/// Longest text that a header takes; an exception's message has no bound of its own.
const TEXT: usize = 1024;

const SPRING: &str = "kafka_dlt-";
const ATTEMPTS: &str = "caracal-attempts";
const FIRST: &str = "caracal-first-failure";
const LAST: &str = "caracal-last-failure";
const GROUP: &str = "caracal-group";

/// Why a record could not be handled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    kind: String,
    message: String,
}

impl Failure {
    /// A failure of a kind (for example an error's type), with a message for people. Both are written
    /// to the dead letter's headers, so nothing secret belongs into them.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into() }
    }

    /// An error, with its causes.
    pub fn of<F: std::error::Error>(error: &F) -> Self {
        let mut message = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            next = cause.source();
        }
        Self::new(std::any::type_name::<F>(), message)
    }

    /// What it is, for programs.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What happened, for people.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A dead letter, by the headers that say what happened; those of another writer than this crate may lack some.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    record: &'a RawRecord,
}

impl<'a> DeadLetter<'a> {
    pub(crate) const fn of(record: &'a RawRecord) -> Self {
        Self { record }
    }

    /// The letter as it lies in Kafka, with all its headers.
    pub const fn record(&self) -> &'a RawRecord {
        self.record
    }

    /// The topic that it came from.
    pub fn topic(&self) -> Option<&'a str> {
        self.text("kafka_dlt-original-topic")
    }

    /// Where it stood there.
    pub fn position(&self) -> Option<Position> {
        Some(Position {
            topic: self.topic()?.to_owned(),
            partition: i32::from_be_bytes(self.value("kafka_dlt-original-partition")?.try_into().ok()?),
            offset: i64::from_be_bytes(self.value("kafka_dlt-original-offset")?.try_into().ok()?),
        })
    }

    /// The group that could not handle it.
    pub fn group(&self) -> Option<&'a str> {
        self.text(GROUP).or_else(|| self.text("kafka_dlt-original-consumer-group"))
    }

    /// How often it was tried.
    pub fn attempts(&self) -> Option<u32> {
        self.text(ATTEMPTS)?.parse().ok()
    }

    /// Why it died, for programs: see [`Failure::kind`].
    pub fn failure_kind(&self) -> Option<&'a str> {
        self.text("kafka_dlt-exception-fqcn")
    }

    /// Why it died, for people.
    pub fn failure_message(&self) -> Option<&'a str> {
        self.text("kafka_dlt-exception-message")
    }

    fn value(&self, name: &str) -> Option<&'a [u8]> {
        // The last one counts, as in Spring.
        self.record.headers.iter().rev().find(|header| header.name == name)?.value.as_deref()
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.value(name)?).ok()
    }
}

/// A record's headers without those of a death.
pub(crate) fn own_headers(record: &RawRecord) -> Vec<RecordHeader> {
    let ours = |name: &str| name.starts_with(SPRING) || [ATTEMPTS, FIRST, LAST, GROUP].contains(&name);
    record.headers.iter().filter(|header| !ours(&header.name)).cloned().collect()
}

/// What is known about a record that is given up.
#[derive(Debug)]
pub(crate) struct Story<'a> {
    pub(crate) group: &'a str,
    pub(crate) failure: &'a Failure,
    pub(crate) attempts: u32,
    /// Milliseconds since 1970.
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// Whether the broker set the record's time.
    pub(crate) log_append_time: bool,
}

/// The dead letter's headers: the record's own, without those of an earlier death, and ours.
pub(crate) fn headers(record: &RawRecord, story: &Story<'_>) -> Vec<RecordHeader> {
    let mut headers = own_headers(record);
    let mut add = |name: String, value: Vec<u8>| headers.push(RecordHeader { name, value: Some(value) });
    let spring = |name: &str| format!("{SPRING}{name}");
    let at = &record.position;
    add(spring("original-topic"), at.topic.clone().into_bytes());
    add(spring("original-partition"), at.partition.to_be_bytes().to_vec());
    add(spring("original-offset"), at.offset.to_be_bytes().to_vec());
    if let Some(timestamp) = record.timestamp {
        let kind = if story.log_append_time { "LogAppendTime" } else { "CreateTime" };
        add(spring("original-timestamp"), timestamp.0.to_be_bytes().to_vec());
        add(spring("original-timestamp-type"), kind.into());
    }
    add(spring("original-consumer-group"), story.group.into());
    add(spring("exception-fqcn"), bounded(&story.failure.kind));
    add(spring("exception-message"), bounded(&story.failure.message));
    add(ATTEMPTS.into(), story.attempts.to_string().into_bytes());
    add(FIRST.into(), story.first.to_string().into_bytes());
    add(LAST.into(), story.last.to_string().into_bytes());
    add(GROUP.into(), story.group.into());
    headers
}

fn bounded(text: &str) -> Vec<u8> {
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::TimestampMillis;

    fn record(headers: Vec<RecordHeader>) -> RawRecord {
        let position = Position { topic: "t".into(), partition: 3, offset: 258 };
        RawRecord { key: None, value: None, headers, position, timestamp: Some(TimestampMillis(5)) }
    }

    fn letter(of: &RawRecord, message: &str) -> Vec<RecordHeader> {
        let failure = Failure::new("io::Error", message);
        let story =
            Story { group: "g", failure: &failure, attempts: 5, first: 10, last: 20, log_append_time: false };
        headers(of, &story)
    }

    #[test]
    fn springs_headers_have_springs_bytes() {
        let own = RecordHeader { name: "traceparent".into(), value: Some(b"x".to_vec()) };
        let found = letter(&record(vec![own.clone()]), "no");
        let value = |name: &str| {
            let header = found.iter().find(|header| header.name == name);
            header.and_then(|header| header.value.clone()).unwrap_or_else(|| panic!("{name}"))
        };
        assert_eq!(found[0], own);
        assert_eq!(value("kafka_dlt-original-partition"), [0, 0, 0, 3]);
        assert_eq!(value("kafka_dlt-original-offset"), [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(value("kafka_dlt-original-timestamp"), [0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(value("kafka_dlt-original-timestamp-type"), b"CreateTime");
        assert_eq!(value("kafka_dlt-original-consumer-group"), b"g");
        assert_eq!(value("kafka_dlt-exception-fqcn"), b"io::Error");
        assert_eq!(value("caracal-attempts"), b"5");
        assert_eq!(value("caracal-first-failure"), b"10");
    }

    #[test]
    fn a_letter_tells_where_it_came_from() {
        let own = RecordHeader { name: "traceparent".into(), value: Some(b"x".to_vec()) };
        let mut letter_record = record(vec![own.clone()]);
        letter_record.headers = letter(&letter_record, "no");
        let told = DeadLetter::of(&letter_record);
        assert_eq!(told.position(), Some(Position { topic: "t".into(), partition: 3, offset: 258 }));
        assert_eq!(
            (told.group(), told.attempts(), told.failure_kind()),
            (Some("g"), Some(5), Some("io::Error"))
        );
        assert_eq!(told.failure_message(), Some("no"));
        assert_eq!(own_headers(&letter_record), [own]);
        letter_record.headers.truncate(2);
        letter_record.headers.push(RecordHeader { name: "caracal-attempts".into(), value: Some(vec![0xff]) });
        let told = DeadLetter::of(&letter_record);
        assert_eq!((told.position(), told.attempts()), (None, None), "what is damaged says nothing");
    }

    /// A record that dies again and again must not grow.
    #[test]
    fn headers_do_not_grow_and_texts_are_bounded() {
        let long = "\u{e9}".repeat(4000);
        let once = letter(&record(Vec::new()), &long);
        let again = letter(&record(once.clone()), &long);
        assert_eq!(once, again);
        assert!(once.iter().all(|header| header.value.as_ref().is_none_or(|value| value.len() <= TEXT)));
    }
}
