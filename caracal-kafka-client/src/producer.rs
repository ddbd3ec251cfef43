//! A producer of one event type. Each record ends in exactly one [`Delivery`].

use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::config;
use crate::connect::Kafka;
use crate::error::{ConnectError, EnqueueError, NotWritten, UnknownOutcome};
use crate::events::{Event, TimestampMillis};
use crate::record::{Position, RecordHeader};
use crate::registry::{Encoder, SubjectStrategy, Terms, WriterSchema};
use crate::send::slots::Outcome;
use crate::send::{Message, Outbox, Refusal};
use crate::trace;

/// How long the question for a topic may take.
const TOPIC: Duration = Duration::from_secs(10);

/// A buffer that one large record left behind is not kept.
const BUFFER: usize = 1 << 20;

thread_local! {
    /// Where this thread encodes: librdkafka copies what it takes, so one does for all producers.
    static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a service may choose. Safety is not among it: a producer is idempotent and waits for all
/// replicas, always.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// How long a record waits for others to share its batch. Default 5 ms.
    pub linger: Duration,
    /// After this long without an acknowledgement a record's outcome is [`Delivery::Unknown`].
    /// Default 2 minutes.
    pub delivery_timeout: Duration,
    /// Compression of batches. Default snappy.
    pub compression: Compression,
    /// Register the event's schema when the subject does not have it. Default `false`: schemas are
    /// changed by a release, not by whichever service starts first.
    pub register_schema: bool,
    /// The subject at which the event's schema is. Default [`SubjectStrategy::Topic`].
    pub subject: SubjectStrategy,
    /// Which schema to write by. Default [`WriterSchema::Own`].
    pub writer_schema: WriterSchema,
    /// Have the registry compare and keep schemas in their normal form, so that another order of attributes is
    /// no other schema. Default `false`, as the registry's.
    pub normalize_schemas: bool,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(5),
            delivery_timeout: Duration::from_secs(120),
            compression: Compression::Snappy,
            register_schema: false,
            subject: SubjectStrategy::default(),
            writer_schema: WriterSchema::default(),
            normalize_schemas: false,
        }
    }
}

/// Compression of batches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Compression {
    /// None.
    None,
    /// Snappy: little work, and what Caracal's topics are set to.
    #[default]
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard: smaller, more work.
    Zstd,
}

/// What became of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "a record that was not written is lost unless somebody looks"]
pub enum Delivery {
    /// All in-sync replicas have it, there.
    Written(Position),
    /// It is not in Kafka: safe to send again.
    NotWritten(NotWritten),
    /// Nobody knows: it may be in Kafka, and sending it again may make a duplicate.
    Unknown(UnknownOutcome),
}

/// Resolves to a record's [`Delivery`]. Dropping it does not take the record back; a failure that
/// nobody waits for is logged.
#[derive(Debug)]
#[must_use = "a record that was not written is lost unless somebody looks"]
pub struct DeliveryHandle {
    outbox: Arc<Outbox>,
    /// `None`: it was asked for.
    slot: Option<usize>,
}

impl DeliveryHandle {
    pub(crate) fn new(outbox: &Arc<Outbox>, slot: usize) -> Self {
        Self { outbox: Arc::clone(outbox), slot: Some(slot) }
    }
}

impl Future for DeliveryHandle {
    type Output = Delivery;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Delivery> {
        let topic = || self.outbox.topic().to_string();
        let Some(slot) = self.slot else {
            let why = "its outcome was asked for before".into();
            return Poll::Ready(Delivery::Unknown(UnknownOutcome { topic: topic(), why }));
        };
        let Poll::Ready(outcome) = self.outbox.poll(slot, cx.waker()) else { return Poll::Pending };
        let delivery = match outcome {
            Outcome::Written { partition, offset } => {
                Delivery::Written(Position { topic: topic(), partition, offset })
            }
            Outcome::NotWritten(why) => Delivery::NotWritten(NotWritten { topic: topic(), why: why.into() }),
            Outcome::Unknown(why) => Delivery::Unknown(UnknownOutcome { topic: topic(), why: why.into() }),
        };
        self.slot = None;
        Poll::Ready(delivery)
    }
}

impl Drop for DeliveryHandle {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.outbox.forget(slot);
        }
    }
}

/// What goes with one record beside its event. `Debug` shows no header's value.
///
/// ```
/// use caracal_kafka_client::RecordOptions;
///
/// let options = RecordOptions::default().with_header("traceparent", "00-4bf9-00f0-01").with_partition(3);
/// assert_eq!(options.headers[0].name, "traceparent");
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RecordOptions {
    /// Headers, in this order; a name may occur more than once.
    pub headers: Vec<RecordHeader>,
    /// Partition, instead of the one that the key says. Order by key is then the caller's matter.
    pub partition: Option<i32>,
    /// When it happened, instead of now.
    pub timestamp: Option<TimestampMillis>,
}

impl RecordOptions {
    /// With one header more.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(RecordHeader { name: name.into(), value: Some(value.into()) });
        self
    }

    /// To this partition.
    #[must_use]
    pub const fn with_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// At this time.
    #[must_use]
    pub const fn with_timestamp(mut self, timestamp: TimestampMillis) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

/// Every record that a producer ever took, by its outcome.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[must_use = "it says whether records were lost"]
#[non_exhaustive]
pub struct CloseReport {
    /// See [`Delivery::Written`].
    pub written: u64,
    /// See [`Delivery::NotWritten`].
    pub not_written: u64,
    /// See [`Delivery::Unknown`].
    pub unknown: u64,
}

impl CloseReport {
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            written: self.written + other.written,
            not_written: self.not_written + other.not_written,
            unknown: self.unknown + other.unknown,
        }
    }

    /// Whether each record was written.
    pub const fn all_written(&self) -> bool {
        self.not_written == 0 && self.unknown == 0
    }
}

/// What became of a batch, see [`Producer::send_all`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use = "it says whether records were lost"]
#[non_exhaustive]
pub struct BatchReport {
    /// How many were written.
    pub written: u64,
    /// Those that were not, or of which nobody knows: the event's number in the batch, and its outcome.
    pub failed: Vec<(usize, Delivery)>,
    /// Why the batch ends early: events from this number on were not taken.
    pub refused: Option<(usize, EnqueueError)>,
}

impl BatchReport {
    /// Whether each event was written.
    pub const fn all_written(&self) -> bool {
        self.failed.is_empty() && self.refused.is_none()
    }
}

/// Writes events of one type to their topic. Ends by [`close`](Self::close). It may be shared by any number
/// of tasks; each of them waits for its own records only.
///
/// Should librdkafka's client fail for good, a new one takes its place: what the old one had under way ends as
/// [`Delivery::Unknown`], and later records go through the new one.
pub struct Producer<E: Event> {
    outbox: Arc<Outbox>,
    encoder: Encoder,
    event: PhantomData<fn(E)>,
}

impl<E: Event> std::fmt::Debug for Producer<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("topic", self.outbox.topic())
            .field("schema_id", &self.encoder.id)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl<E: Event> Producer<E> {
    pub(crate) async fn new(kafka: &Kafka, options: ProducerOptions) -> Result<Self, ConnectError> {
        let topic = kafka.profile().qualified(E::TOPIC);
        let encoder = kafka.encoder::<E>(&options).await?;
        let outbox = kafka.outbox(&topic, options)?;
        kafka.topic_is_there(&topic, outbox.metadata(TOPIC).await)?;
        Ok(Self { outbox, encoder, event: PhantomData })
    }

    /// One whose way out is somebody else's.
    #[cfg(test)]
    pub(crate) fn through(outbox: Arc<Outbox>, encoder: Encoder) -> Self {
        Self { outbox, encoder, event: PhantomData }
    }

    /// Takes one record: waits for room in the queue, then returns. The handle waits for the broker.
    ///
    /// Cancelling it is safe: the record is then either taken as a whole or not at all.
    ///
    /// # Errors
    /// [`EnqueueError`]: nothing was written, and nothing will be.
    pub async fn enqueue(&self, event: &E) -> Result<DeliveryHandle, EnqueueError> {
        self.enqueue_with(event, &RecordOptions::default()).await
    }

    /// [`enqueue`](Self::enqueue) with headers, a partition or a time of one's own.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    ///
    /// ```no_run
    /// use caracal_kafka_client::events::MeteringEvent;
    /// use caracal_kafka_client::{EnqueueError, Producer, RecordOptions};
    ///
    /// # async fn send(out: &Producer<MeteringEvent>, event: &MeteringEvent) -> Result<(), EnqueueError> {
    /// let options = RecordOptions::default().with_header("origin", "gateway").with_partition(0);
    /// let delivery = out.enqueue_with(event, &options).await?.await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn enqueue_with(
        &self,
        event: &E,
        options: &RecordOptions,
    ) -> Result<DeliveryHandle, EnqueueError> {
        let attempt = trace::send(self.outbox.topic()).in_scope(|| self.attempt(event, options));
        match attempt {
            Ok(slot) => return Ok(DeliveryHandle::new(&self.outbox, slot)),
            Err(Refusal::Never(error)) => return Err(error),
            Err(Refusal::Full | Refusal::Resting) => {}
        }
        // Only here, where there is a wait anyway, does a record have a buffer of its own.
        let mut value = Vec::new();
        self.encode(event, &mut value)?;
        let message = Self::message(event, &value, options);
        let slot = self.outbox.send_when_there_is_room(&message).await?;
        Ok(DeliveryHandle::new(&self.outbox, slot))
    }

    /// Takes one record if there is room for it now, and never waits: for callers that are not asynchronous.
    ///
    /// # Errors
    /// [`EnqueueError`]: nothing was written, and nothing will be. [`EnqueueError::Full`] passes.
    pub fn try_enqueue(&self, event: &E) -> Result<DeliveryHandle, EnqueueError> {
        self.try_enqueue_with(event, &RecordOptions::default())
    }

    /// [`try_enqueue`](Self::try_enqueue) with headers, a partition or a time of one's own.
    ///
    /// # Errors
    /// As [`try_enqueue`](Self::try_enqueue).
    pub fn try_enqueue_with(
        &self,
        event: &E,
        options: &RecordOptions,
    ) -> Result<DeliveryHandle, EnqueueError> {
        match self.attempt(event, options) {
            Ok(slot) => Ok(DeliveryHandle::new(&self.outbox, slot)),
            Err(Refusal::Never(error)) => Err(error),
            Err(Refusal::Full | Refusal::Resting) => {
                Err(EnqueueError::Full { topic: self.outbox.topic().to_string() })
            }
        }
    }

    /// Sends a batch and waits for all of it; the queue's room bounds what is under way. Order is kept among
    /// the events of one key.
    ///
    /// Cancelling it leaves what was taken under way.
    ///
    /// ```no_run
    /// use caracal_kafka_client::Producer;
    /// use caracal_kafka_client::events::MeteringEvent;
    ///
    /// # async fn send(out: &Producer<MeteringEvent>, events: Vec<MeteringEvent>) {
    /// let report = out.send_all(&events).await;
    /// for (number, delivery) in &report.failed {
    ///     eprintln!("event {number}: {delivery:?}");
    /// }
    /// # }
    /// ```
    pub async fn send_all<'e>(&self, events: impl IntoIterator<Item = &'e E>) -> BatchReport {
        let mut report = BatchReport::default();
        let mut handles = Vec::new();
        for (number, event) in events.into_iter().enumerate() {
            match self.enqueue(event).await {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    report.refused = Some((number, error));
                    break;
                }
            }
        }
        for (number, handle) in handles.into_iter().enumerate() {
            match handle.await {
                Delivery::Written(_) => report.written += 1,
                other => report.failed.push((number, other)),
            }
        }
        report
    }

    /// Waits until each record that was taken so far has its outcome; whether that was so by the deadline.
    pub async fn flush(&self, deadline: Duration) -> bool {
        self.outbox.flush(deadline).await
    }

    /// Records that were taken and have no outcome yet.
    pub fn waiting(&self) -> u64 {
        self.outbox.open()
    }

    /// Id of the schema that this producer writes.
    pub const fn schema_id(&self) -> u32 {
        self.encoder.id
    }

    /// Waits until each record has its outcome, for as long as `deadline`; what has none by then is
    /// given up and ends as [`Delivery::Unknown`], also in the queue: a batch whose answer was lost waits
    /// there for its repetition. Giving up takes a moment of its own, with very many records seconds.
    pub async fn close(self, deadline: Duration) -> CloseReport {
        self.outbox.close(deadline).await
    }

    fn encode(&self, event: &E, into: &mut Vec<u8>) -> Result<(), EnqueueError> {
        self.encoder.encode(event, into).map_err(|why| EnqueueError::Encode { record: E::RECORD, why })
    }

    fn message<'a>(event: &'a E, value: &'a [u8], options: &'a RecordOptions) -> Message<'a> {
        Message {
            key: Some(event.key().as_bytes()),
            value: Some(value),
            headers: &options.headers,
            partition: options.partition,
            timestamp: options.timestamp.map(|time| time.0),
        }
    }

    /// Encodes into this thread's buffer and hands that over.
    fn attempt(&self, event: &E, options: &RecordOptions) -> Result<usize, Refusal> {
        let send = |buffer: &mut Vec<u8>| {
            self.encode(event, buffer).map_err(Refusal::Never)?;
            self.outbox.send(&Self::message(event, buffer, options))
        };
        ENCODED.with(|buffer| match buffer.try_borrow_mut() {
            Ok(mut buffer) => {
                let sent = send(&mut buffer);
                if buffer.capacity() > BUFFER {
                    *buffer = Vec::new();
                }
                sent
            }
            // An event whose encoding sends another one.
            Err(_) => send(&mut Vec::new()),
        })
    }
}

impl Kafka {
    /// Id of the schema that a producer with these options would write `E` by, without making one: for a
    /// service that wants to know at its start. Asked once and remembered, however many ask at the same time.
    ///
    /// # Errors
    /// [`ConnectError`]: the schema is not registered, or the profile names no registry.
    ///
    /// ```no_run
    /// use caracal_kafka_client::events::MeteringEvent;
    /// use caracal_kafka_client::{Kafka, ProducerOptions, SubjectStrategy};
    ///
    /// # async fn start(kafka: Kafka) -> Result<(), Box<dyn std::error::Error>> {
    /// let options = ProducerOptions { subject: SubjectStrategy::Record, ..ProducerOptions::default() };
    /// println!("schema {}", kafka.schema_id::<MeteringEvent>(&options).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn schema_id<E: Event>(&self, options: &ProducerOptions) -> Result<u32, ConnectError> {
        Ok(self.encoder::<E>(options).await?.id)
    }

    /// A way out to `topic`, closed with this connection at the latest.
    pub(crate) fn outbox(&self, topic: &str, options: ProducerOptions) -> Result<Arc<Outbox>, ConnectError> {
        let (kafka, other) = (self.clone(), self.clone());
        let configure = move || {
            let mut config = kafka.config();
            config::producer(&mut config, &options);
            config
        };
        // Before the client is made: should they be replaced in between, it is replaced once too often.
        let generation = *self.renewals().borrow();
        let outbox = Outbox::new(topic, configure, move || other.context(), self.ledger())?;
        outbox.is_of(generation);
        self.remember(&outbox);
        Ok(outbox)
    }

    pub(crate) async fn encoder<E: Event>(&self, options: &ProducerOptions) -> Result<Encoder, ConnectError> {
        let subject = self.profile().qualified(&options.subject.subject(E::TOPIC, E::RECORD));
        let terms = Terms {
            choice: options.writer_schema,
            register: options.register_schema,
            normalize: options.normalize_schemas,
        };
        self.registry::<E>()?.encoder::<E>(&subject, terms).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_show_no_header() {
        let options = RecordOptions::default().with_header("a", "hunter2").with_timestamp(TimestampMillis(5));
        let shown = format!("{options:?}");
        assert!(shown.contains("TimestampMillis(5)") && !shown.contains("hunter2"), "{shown}");
    }
}
