//! What can go wrong, one type an activity. No text in here repeats a configuration value, a key or
//! a payload; librdkafka's own errors do, so they are taken apart here and never passed on.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::events::Event;
use crate::profile::ProfileError;
use crate::record::{Position, RawRecord};

/// Why there is no connection, producer or consumer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A file that the profile names cannot be read.
    #[error("cannot read the {what} {path}: let the cluster write its client files again", path = path.display())]
    #[non_exhaustive]
    File {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("the {what} {path} is of no use: {why}", path = path.display())]
    #[non_exhaustive]
    Content {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A secret's file is open to others.
    #[error("the {what} {path} has mode {mode:04o} and others can use it: chmod 600 it, and think of it as known to them", path = path.display())]
    #[non_exhaustive]
    Permissions {
        /// What it holds.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A certificate has expired, or is not valid yet.
    #[error("the {what} {path} {why}: have it issued again, and check this machine's clock", path = path.display())]
    #[non_exhaustive]
    Validity {
        /// Whose certificate.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Since when, or until when.
        why: String,
    },
    /// The private key is not the certificate's.
    #[error("the private key {key} does not belong to the certificate {certificate}: let the cluster write both again", key = key.display(), certificate = certificate.display())]
    #[non_exhaustive]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A connection that the program put together lacks something.
    #[error("the connection lacks {what}: call `{step}` before `build`")]
    #[non_exhaustive]
    Incomplete {
        /// What is lacking.
        what: &'static str,
        /// The builder's method that says it.
        step: &'static str,
    },
    /// There is no profile, or it cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// librdkafka refuses the configuration. Its own text is left out, for it repeats the value.
    #[error("librdkafka refuses the client's configuration{at}: {why}", at = key.as_ref().map(|key| format!(" at `{key}`")).unwrap_or_default())]
    #[non_exhaustive]
    Configuration {
        /// The key, where it is known.
        key: Option<String>,
        /// What is wrong.
        why: String,
    },
    /// No broker let the client in.
    #[error(
        "no broker of {bootstrap} let `{principal}` in within {waited:.1?}: {cause}; {next} (last word: {symptom})"
    )]
    #[non_exhaustive]
    Broker {
        /// Where it was tried.
        bootstrap: String,
        /// Who tried.
        principal: String,
        /// How long.
        waited: Duration,
        /// Likely cause.
        cause: Box<str>,
        /// What to do.
        next: Box<str>,
        /// librdkafka's own words.
        symptom: String,
    },
    /// The topic cannot be used.
    #[error("topic `{topic}` cannot be used by `{principal}`: {why}")]
    #[non_exhaustive]
    Topic {
        /// The topic.
        topic: String,
        /// Who asked.
        principal: String,
        /// Why, and what to do.
        why: String,
    },
    /// The consumer group cannot be used.
    #[error("group `{group}` cannot be used by `{principal}`: {why}")]
    #[non_exhaustive]
    Group {
        /// The group, with the profile's namespace.
        group: String,
        /// Who asked.
        principal: String,
        /// Why, and what to do.
        why: String,
    },
    /// The profile names no registry.
    #[error(
        "the profile names no schema registry, and `{record}` cannot be read or written without one: add `[registry] url` to it"
    )]
    #[non_exhaustive]
    NoRegistry {
        /// The record type.
        record: &'static str,
    },
    /// The registry does not answer as it should.
    #[error("the schema registry at {url} cannot be used: {why}")]
    #[non_exhaustive]
    Registry {
        /// Its address.
        url: String,
        /// Why, and what to do.
        why: String,
    },
    /// The registry has no schema, or another one, for what is to be written.
    #[error("subject `{subject}` at {url}: {why}")]
    #[non_exhaustive]
    Schema {
        /// The subject.
        subject: String,
        /// The registry's address.
        url: String,
        /// Why, and what to do.
        why: String,
    },
}

impl ConnectError {
    pub(crate) fn configuration(error: &KafkaError, scrub: impl Fn(&str) -> String) -> Self {
        match error {
            // Both the description and the value repeat what was set.
            KafkaError::ClientConfig(_, _, key, _) => {
                Self::Configuration { key: Some(key.clone()), why: "its value is not accepted".into() }
            }
            KafkaError::ClientCreation(why) => Self::Configuration { key: None, why: scrub(why) },
            other => Self::Configuration { key: None, why: code(other) },
        }
    }
}

/// Why an event was not encoded or decoded. No text repeats a value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The schemas do not fit.
    #[error("the schema of `{record}` cannot be used: {why}")]
    #[non_exhaustive]
    Schema {
        /// The record type.
        record: &'static str,
        /// Why.
        why: String,
    },
    /// The value does not fit its schema.
    #[error("this is no `{record}`: {why}")]
    #[non_exhaustive]
    Event {
        /// The record type.
        record: &'static str,
        /// What does not fit.
        why: String,
    },
}

impl CodecError {
    pub(crate) fn schema<E: Event>(why: String) -> Self {
        Self::Schema { record: E::RECORD, why }
    }

    pub(crate) fn event<E: Event>(why: String) -> Self {
        Self::Event { record: E::RECORD, why }
    }
}

/// Why a record was not taken. Nothing was written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The event does not fit its schema.
    #[error("the event cannot be encoded as `{record}`: {why}")]
    #[non_exhaustive]
    Encode {
        /// The record type.
        record: &'static str,
        /// What does not fit.
        why: String,
    },
    /// The queue is full; only those who do not wait for room hear of it.
    #[error(
        "a record for `{topic}` was not taken: the queue is full; wait for outcomes, or use `enqueue`, which does"
    )]
    #[non_exhaustive]
    Full {
        /// The topic.
        topic: String,
    },
    /// librdkafka does not take the record.
    #[error("a record for `{topic}` was not taken: {why}")]
    #[non_exhaustive]
    Refused {
        /// The topic.
        topic: String,
        /// Why.
        why: String,
    },
    /// librdkafka's client has failed for good, and no other could be made in its place.
    #[error("the producer for `{topic}` can go on no longer and has to be made anew: {why}")]
    #[non_exhaustive]
    Fatal {
        /// The topic.
        topic: String,
        /// Why.
        why: String,
    },
}

/// The record is not in Kafka; sending it again makes no duplicate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a record for `{topic}` was not written: {why}")]
#[non_exhaustive]
pub struct NotWritten {
    /// The topic.
    pub topic: String,
    /// Why, and what to do.
    pub why: String,
}

/// Nobody knows whether the record is in Kafka; sending it again may make a duplicate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is not known whether a record for `{topic}` was written: {why}")]
#[non_exhaustive]
pub struct UnknownOutcome {
    /// The topic.
    pub topic: String,
    /// What happened.
    pub why: String,
}

/// Why no record was handed out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// A record that cannot be decoded. It is handed over as it is, by every call until it is
    /// committed, which gives it up.
    #[error("the record at {position} is no `{expected}`: {why}", position = record.position)]
    #[non_exhaustive]
    Undecodable {
        /// The record, unchanged.
        record: Box<RawRecord>,
        /// What it should have been.
        expected: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The registry did not give the schema of a record. The next call tries the same record again.
    #[error("the schema {schema_id} of the record at {position} could not be fetched from {url}: {why}")]
    #[non_exhaustive]
    Registry {
        /// Where the record stands.
        position: Position,
        /// The schema's id.
        schema_id: u32,
        /// The registry's address.
        url: String,
        /// Why.
        why: String,
    },
    /// Nothing came although there is something to read, or nobody can tell; see
    /// [`ConsumerOptions::watchdog`](crate::ConsumerOptions::watchdog). The consumer may be used further, but making
    /// it anew is what helps most often.
    #[error(
        "nothing came from `{topic}` to group `{group}` for {waited:.0?}, and {why}: look at the brokers, and make the consumer anew"
    )]
    #[non_exhaustive]
    Silent {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// How long.
        waited: Duration,
        /// Why that is wrong.
        why: String,
    },
    /// Kafka reports a fault. Unless it is fatal, the consumer goes on by itself: call again.
    #[error("consuming `{topic}` as group `{group}`: {why}")]
    #[non_exhaustive]
    Kafka {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// Whether this consumer is of no further use.
        fatal: bool,
        /// What happened, and what to do.
        why: String,
    },
}

/// Why a position was not committed. The record will be handed out again.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{position} was not committed for group `{group}`: {why}")]
#[non_exhaustive]
pub struct CommitError {
    /// The position.
    pub position: Position,
    /// The group.
    pub group: String,
    /// Why.
    pub why: String,
}

/// Why handling a record did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError<H> {
    /// There was no record to handle.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The handler failed; nothing was committed and the next call hands out the same record.
    #[error("the handler failed at {position}")]
    #[non_exhaustive]
    Handler {
        /// The record's position.
        position: Position,
        /// What the handler said.
        #[source]
        source: H,
    },
    /// The record was handled, but that could not be written down. The next call tries that again
    /// first; the record is handed out again when this consumer ends before, or loses the partition.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Why a run of handlers ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The dead letters' topic cannot be used, so that a failed record would have no place to go.
    #[error("the dead letters cannot be written")]
    DeadLetters(#[from] ConnectError),
    /// Kafka reports a fault that this consumer cannot survive.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
}

/// Why a replay of dead letters ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A topic cannot be used, or no client could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A letter did not go back. It is the first of the next replay.
    #[error("the dead letter at {at} was not replayed: {why}")]
    #[non_exhaustive]
    Letter {
        /// Where it stands.
        at: Position,
        /// Why.
        why: String,
    },
    /// Kafka reports a fault.
    #[error("replaying `{topic}`: {why}")]
    #[non_exhaustive]
    Kafka {
        /// The topic of dead letters.
        topic: String,
        /// What happened.
        why: String,
    },
}

/// Why transactions ended before they were told to. Nothing that was not committed is visible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// Another instance has the transactional id, and goes on where this one was.
    #[error(
        "another instance has the transactional id `{id}`: {why}; give each one that runs at the same time its own"
    )]
    #[non_exhaustive]
    Fenced {
        /// The id, without the profile's namespace.
        id: String,
        /// librdkafka's words.
        why: String,
    },
    /// Kafka reports a fault that neither another attempt nor another client cures.
    #[error("the transactions of `{id}` cannot go on: {why}")]
    #[non_exhaustive]
    Kafka {
        /// The id, without the profile's namespace.
        id: String,
        /// What happened.
        why: String,
    },
    /// No client could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Kafka reports a fault on the reading side.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
}

/// librdkafka's words for an error, without any of its free texts.
pub(crate) fn code(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => sentence(code),
        None => match error {
            KafkaError::Canceled => "the client was closed".into(),
            KafkaError::Nul(_) => "a name holds a zero byte".into(),
            _ => "librdkafka refused the call".into(),
        },
    }
}

/// An error code with the next step, where there is one that usually helps.
pub(crate) fn sentence(code: RDKafkaErrorCode) -> String {
    use RDKafkaErrorCode as Code;
    let next = match code {
        Code::TopicAuthorizationFailed => {
            "give the principal the ACL that this needs (Write or Read on the topic)"
        }
        Code::GroupAuthorizationFailed => {
            "give the principal Read on the group, or take a group name with the prefix that it may use"
        }
        Code::ClusterAuthorizationFailed => "give the principal IdempotentWrite on the cluster",
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            "create the topic; the client never does"
        }
        Code::PurgeQueue => {
            "given up in the queue, unsent or waiting to be sent again, because the producer was closed or had failed"
        }
        Code::PurgeInflight => {
            "given up while the broker had not answered, because the producer was closed or had failed"
        }
        Code::MessageSizeTooLarge => "make the event smaller, or raise `max.message.bytes` of the topic",
        Code::NotEnoughReplicas => "bring back the brokers that are down: too few replicas are in sync",
        Code::AutoOffsetReset | Code::OffsetOutOfRange => "the position is not there (any more)",
        Code::Authentication | Code::SaslAuthenticationFailed => "check user name, password and mechanism",
        Code::TransactionalIdAuthorizationFailed => {
            "give the principal Write and Describe on the transactional id, or take an id with the prefix that it may use"
        }
        Code::PollExceeded => "the handler takes longer than `max.poll.interval.ms`",
        _ => "",
    };
    let what = code.to_string();
    if next.is_empty() { what } else { format!("{what}: {next}") }
}
