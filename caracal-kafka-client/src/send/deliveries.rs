//! What librdkafka says became of a record, and how sure that is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rdkafka::Message as _;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::{ClientContext, Statistics};
use tokio::sync::Notify;

use super::client::Wakes;
use super::slots::{Outcome, Slots};
use crate::context::Context;
use crate::error;
use crate::producer::CloseReport;

/// Receives the outcomes of one client from librdkafka's thread.
#[derive(Clone)]
pub(super) struct Deliveries {
    pub(super) context: Context,
    pub(super) shared: Arc<Shared>,
    /// Which of the outbox's clients this is.
    pub(super) client: u32,
    pub(super) wakes: Arc<Wakes>,
}

/// What all clients of an outbox share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) topic: Arc<str>,
    pub(super) slots: Slots,
    pub(super) room: Notify,
    /// How many wait for room.
    pub(super) waiting: AtomicUsize,
    pub(super) taken: AtomicU64,
    written: AtomicU64,
    not_written: AtomicU64,
    unknown: AtomicU64,
}

impl Shared {
    pub(super) fn of(topic: &str) -> Self {
        Self { topic: topic.into(), ..Self::default() }
    }

    pub(super) fn report(&self) -> CloseReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let (written, not_written) = (read(&self.written), read(&self.not_written));
        // Whatever has no outcome by now never gets one.
        let unknown = read(&self.taken).saturating_sub(written + not_written);
        CloseReport { written, not_written, unknown }
    }

    pub(super) fn open(&self) -> u64 {
        self.report().unknown.saturating_sub(self.unknown.load(Ordering::Acquire))
    }
}

impl Deliveries {
    pub(super) fn failed(&self, error: &KafkaError) -> Outcome {
        let mut why = error::code(error);
        // These say what librdkafka did, not what made it do so.
        let code = error.rdkafka_error_code();
        let consequence = matches!(
            code,
            Some(Code::PurgeQueue | Code::PurgeInflight | Code::MessageTimedOut | Code::Fatal)
        );
        if let Some(symptom) = self.context.symptom().filter(|_| consequence) {
            why = format!("{why}; last word: {}", symptom.reason);
        }
        if code.is_some_and(never_written) {
            Outcome::NotWritten(why.into())
        } else {
            Outcome::Unknown(why.into())
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.context.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: usize) {
        let outcome = match result {
            Ok(message) => Outcome::Written { partition: message.partition(), offset: message.offset() },
            Err((error, _)) => self.failed(error),
        };
        let counter = match &outcome {
            Outcome::Written { .. } => &self.shared.written,
            Outcome::NotWritten(_) => &self.shared.not_written,
            Outcome::Unknown(_) => &self.shared.unknown,
        };
        if result.is_ok() {
            self.context.forget();
        }
        // Otherwise it was given up before, and is counted as unknown since.
        let count = || _ = counter.fetch_add(1, Ordering::Release);
        let wake = |waker| self.wakes.wake(waker);
        if let Ok(unasked) = self.shared.slots.settle(self.client, slot, outcome, count, wake) {
            complain(&self.shared.topic, unasked);
        }
        let waiting = self.shared.waiting.load(Ordering::Relaxed) > 0;
        let late = self.wakes.outcome(waiting);
        if waiting && !late {
            self.shared.room.notify_waiters();
        }
    }
}

/// Says what nobody will ask for.
pub(super) fn complain(topic: &str, outcome: Option<Outcome>) {
    match outcome {
        None | Some(Outcome::Written { .. }) => {}
        Some(Outcome::NotWritten(why)) => {
            tracing::error!("a record for `{topic}` was not written: {why}, and nobody waited for it");
        }
        Some(Outcome::Unknown(why)) => {
            tracing::error!(
                "it is not known whether a record for `{topic}` was written: {why}, and nobody waited for it"
            );
        }
    }
}

/// Whether a record that ended so is surely not in Kafka. What is not listed counts as unknown:
/// a wrong "not written" makes a duplicate, a wrong "unknown" costs a look.
///
/// `PurgeQueue`, `UnknownTopic` and `UnknownPartition` are not listed: librdkafka puts a batch whose
/// answer was lost back into the queue, and may give it up there with any of them. One gap remains:
/// a broker that appended a batch, lost its answer, and refuses the repetition (the right was taken
/// away in between, for example) is believed, for librdkafka reports nothing of the first attempt.
const fn never_written(code: Code) -> bool {
    matches!(
        code,
        // Never left this machine.
        Code::QueueFull
            | Code::InvalidArgument
            // Refused by the broker as a whole, before anything was appended.
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidTimestamp
            | Code::InvalidRecord
            | Code::InvalidRequiredAcks
            | Code::NotEnoughReplicas
            | Code::PolicyViolation
            | Code::UnsupportedForMessageFormat
            | Code::UnsupportedCompressionType
    )
}
