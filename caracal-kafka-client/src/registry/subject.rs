//! At which subject a schema is registered, and which of its versions is written.

/// Name of the subject that a producer's schema is registered at, as Confluent's strategies have it.
///
/// | | subject of `caracal.events.MeteringEvent` |
/// |---|---|
/// | `Topic` | `caracal.metering.events-value` |
/// | `Record` | `caracal.events.MeteringEvent` |
/// | `TopicRecord` | `caracal.metering.events-caracal.events.MeteringEvent` |
///
/// The profile's namespace is put before each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum SubjectStrategy {
    /// `<topic>-value`: one record type a topic, which evolves with it. The default, and what the cluster
    /// registers.
    #[default]
    Topic,
    /// The record's full name: the type evolves as one across all topics.
    Record,
    /// `<topic>-<record's full name>`: several record types in a topic, each evolving there.
    TopicRecord,
}

impl SubjectStrategy {
    /// The subject of a record type in a topic, without the profile's namespace.
    ///
    /// ```
    /// use caracal_kafka_client::SubjectStrategy;
    ///
    /// assert_eq!(SubjectStrategy::Topic.subject("t", "ns.R"), "t-value");
    /// assert_eq!(SubjectStrategy::Record.subject("t", "ns.R"), "ns.R");
    /// assert_eq!(SubjectStrategy::TopicRecord.subject("t", "ns.R"), "t-ns.R");
    /// ```
    pub fn subject(self, topic: &str, record: &str) -> String {
        match self {
            Self::Topic => format!("{topic}-value"),
            Self::Record => record.to_owned(),
            Self::TopicRecord => format!("{topic}-{record}"),
        }
    }
}

/// Which schema a producer writes by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum WriterSchema {
    /// The one that the service was built with; its id is looked up by content.
    #[default]
    Own,
    /// The newest version of the subject, by the time that the producer is made. It must hold everything that
    /// the service's own schema does; fields that it has beyond that take their defaults.
    Latest,
    /// The schema of this id, under the same condition.
    Id(u32),
}
