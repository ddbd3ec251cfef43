//! A producer of one event type. Each record ends in exactly one [`Delivery`].

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::Message as _;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use tokio::sync::{Notify, oneshot};

use crate::config;
use crate::connect::Kafka;
use crate::context::Context;
use crate::error::{self, ConnectError, EnqueueError, NotWritten, UnknownOutcome};
use crate::events::Event;
use crate::record::{Position, RecordHeader};
use crate::registry::{Encoder, SubjectStrategy, Terms, WriterSchema};

/// How long the question for a topic may take.
const TOPIC: Duration = Duration::from_secs(10);

/// How long the outcomes of records that are given up may take; they come from this machine alone.
const GIVE_UP: Duration = Duration::from_secs(30);

/// A full queue is looked at again after this long, should a notification be missed.
const ROOM: Duration = Duration::from_millis(50);

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
    outcome: oneshot::Receiver<Delivery>,
    topic: Arc<str>,
}

impl Future for DeliveryHandle {
    type Output = Delivery;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Delivery> {
        Pin::new(&mut self.outcome).poll(cx).map(|outcome| {
            outcome.unwrap_or_else(|_| {
                let why = "the producer was dropped before the broker answered: close it instead".into();
                Delivery::Unknown(UnknownOutcome { topic: self.topic.to_string(), why })
            })
        })
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
    /// Whether each record was written.
    pub const fn all_written(&self) -> bool {
        self.not_written == 0 && self.unknown == 0
    }
}

/// Writes events of one type to their topic. Ends by [`close`](Self::close).
pub struct Producer<E: Event> {
    /// `None` only while it is being closed or dropped.
    client: Option<ThreadedProducer<Deliveries>>,
    deliveries: Deliveries,
    encoder: Encoder,
    event: PhantomData<fn(E)>,
}

impl<E: Event> std::fmt::Debug for Producer<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("topic", &self.deliveries.shared.topic)
            .field("schema_id", &self.encoder.id)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl<E: Event> Producer<E> {
    pub(crate) async fn new(kafka: &Kafka, options: ProducerOptions) -> Result<Self, ConnectError> {
        let topic = kafka.profile().qualified(E::TOPIC);
        let encoder = kafka.encoder::<E>(&options).await?;
        let mut config = kafka.config();
        config::producer(&mut config, &options);
        let deliveries = Deliveries::new(kafka.context(), &topic);
        let client = ThreadedProducer::from_config_and_context(&config, deliveries.clone())
            .map_err(|error| ConnectError::configuration(&error, |text| deliveries.context.scrub(text)))?;
        let producer = Self { client: Some(client), deliveries, encoder, event: PhantomData };
        let asked = {
            let client = producer.client.clone();
            let topic = topic.clone();
            tokio::task::spawn_blocking(move || {
                client.map(|client| client.client().fetch_metadata(Some(&topic), TOPIC))
            })
        };
        let metadata = asked.await.ok().flatten().unwrap_or(Err(KafkaError::Canceled));
        kafka.topic_is_there(&topic, metadata)?;
        Ok(producer)
    }

    /// Takes one record: waits for room in the queue, then returns. The handle waits for the broker.
    ///
    /// Cancelling it is safe: the record is then either taken as a whole or not at all.
    ///
    /// # Errors
    /// [`EnqueueError`]: nothing was written, and nothing will be.
    pub async fn enqueue(&self, event: &E) -> Result<DeliveryHandle, EnqueueError> {
        let shared = &self.deliveries.shared;
        let mut value = Vec::with_capacity(256);
        self.encoder
            .encode(event, &mut value)
            .map_err(|why| EnqueueError::Encode { record: E::RECORD, why })?;
        let (tell, outcome) = oneshot::channel();
        let mut record = BaseRecord::with_opaque_to(&shared.topic, Box::new(tell))
            .key(event.key().as_bytes())
            .payload(value.as_slice());
        loop {
            // Registered before the attempt, so that room made meanwhile is not missed.
            let room = shared.room.notified();
            let Some(client) = &self.client else {
                return Err(self.refused("the producer is closed".into()));
            };
            // Counted first: the outcome may be known before `send` returns.
            shared.taken.fetch_add(1, Ordering::Relaxed);
            match client.send(record) {
                Ok(()) => return Ok(DeliveryHandle { outcome, topic: Arc::clone(&shared.topic) }),
                Err((error, back)) => {
                    shared.taken.fetch_sub(1, Ordering::Relaxed);
                    if error.rdkafka_error_code() != Some(Code::QueueFull) {
                        return Err(self.not_taken(client, &error));
                    }
                    record = back;
                }
            }
            let _ = tokio::time::timeout(ROOM, room).await;
        }
    }

    /// Records that were taken and have no outcome yet.
    pub fn waiting(&self) -> u64 {
        self.deliveries.shared.open()
    }

    /// Id of the schema that this producer writes.
    pub const fn schema_id(&self) -> u32 {
        self.encoder.id
    }

    /// Waits until each record has its outcome, for as long as `deadline`; what has none by then is
    /// given up and ends as [`Delivery::Unknown`], also in the queue: a batch whose answer was lost waits
    /// there for its repetition. Giving up takes a moment of its own, with very many records seconds.
    pub async fn close(mut self, deadline: Duration) -> CloseReport {
        if let Some(client) = self.client.take() {
            let (tell, told) = oneshot::channel();
            // Not a thread of the runtime's: nothing can cancel librdkafka.
            std::thread::spawn(move || {
                let _ = client.flush(deadline);
                give_up(client);
                let _ = tell.send(());
            });
            let _ = told.await;
        }
        self.deliveries.shared.report()
    }

    fn refused(&self, why: String) -> EnqueueError {
        EnqueueError::Refused { topic: self.deliveries.shared.topic.to_string(), why }
    }

    fn not_taken(&self, client: &ThreadedProducer<Deliveries>, error: &KafkaError) -> EnqueueError {
        match client.client().fatal_error() {
            Some((code, text)) => EnqueueError::Fatal {
                topic: self.deliveries.shared.topic.to_string(),
                why: format!("{}: {}", error::sentence(code), self.deliveries.context.scrub(&text)),
            },
            None => self.refused(error::code(error)),
        }
    }
}

impl<E: Event> Drop for Producer<E> {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        let waiting = self.waiting();
        if waiting > 0 {
            tracing::error!(
                topic = %self.deliveries.shared.topic,
                records = waiting,
                "a producer was dropped with records in its queue, which are given up: close it instead"
            );
        }
        // It takes a while, which an executor's thread does not have.
        std::thread::spawn(move || give_up(client));
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

    async fn encoder<E: Event>(&self, options: &ProducerOptions) -> Result<Encoder, ConnectError> {
        let subject = self.profile().qualified(&options.subject.subject(E::TOPIC, E::RECORD));
        let terms = Terms {
            choice: options.writer_schema,
            register: options.register_schema,
            normalize: options.normalize_schemas,
        };
        self.registry::<E>()?.encoder::<E>(&subject, terms).await
    }
}

/// Gives up what has no outcome yet, with an outcome for each: blocks until they are served.
fn give_up(client: ThreadedProducer<Deliveries>) {
    settle(&client, GIVE_UP);
    drop(client);
}

/// rdkafka's own drop does the same but serves outcomes for half a second only, and a handle whose
/// outcome is not served waits for ever.
fn settle(client: &ThreadedProducer<Deliveries>, deadline: Duration) {
    client.purge(PurgeConfig::default().queue().inflight());
    if client.flush(deadline).is_err() {
        let records = client.in_flight_count();
        tracing::error!(records, "records that were given up have no outcome after {deadline:?}");
    }
}

/// Writes dead letters: bytes as they are, under the same guarantees as events.
pub(crate) struct Letters {
    /// `None` only while it is being dropped.
    client: Option<ThreadedProducer<Deliveries>>,
    deliveries: Deliveries,
}

impl Letters {
    /// # Errors
    /// The dead letters' topic does not exist, or may not be seen.
    pub(crate) async fn new(kafka: &Kafka, topic: &str) -> Result<Self, ConnectError> {
        let mut config = kafka.config();
        config::producer(&mut config, &ProducerOptions::default());
        let deliveries = Deliveries::new(kafka.context(), topic);
        let client = ThreadedProducer::from_config_and_context(&config, deliveries.clone())
            .map_err(|error| ConnectError::configuration(&error, |text| deliveries.context.scrub(text)))?;
        let letters = Self { client: Some(client.clone()), deliveries };
        let name = topic.to_owned();
        let asked = tokio::task::spawn_blocking(move || client.client().fetch_metadata(Some(&name), TOPIC));
        kafka.topic_is_there(topic, asked.await.unwrap_or(Err(KafkaError::Canceled)))?;
        Ok(letters)
    }

    /// Hands a letter over; `Err` when librdkafka does not take it.
    pub(crate) fn send(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> Result<DeliveryHandle, String> {
        let shared = &self.deliveries.shared;
        let (tell, outcome) = oneshot::channel();
        let mut list = OwnedHeaders::new_with_capacity(headers.len());
        for header in headers {
            list = list.insert(Header { key: &header.name, value: header.value.as_deref() });
        }
        let mut record =
            BaseRecord::<[u8], [u8], _>::with_opaque_to(&shared.topic, Box::new(tell)).headers(list);
        // A tombstone stays one, and a record without key stays without.
        (record.key, record.payload) = (key, value);
        let Some(client) = &self.client else { return Err("the producer is closed".into()) };
        shared.taken.fetch_add(1, Ordering::Relaxed);
        match client.send(record) {
            Ok(()) => Ok(DeliveryHandle { outcome, topic: Arc::clone(&shared.topic) }),
            Err((error, _)) => {
                shared.taken.fetch_sub(1, Ordering::Relaxed);
                Err(error::code(&error))
            }
        }
    }

    /// Whether the client's guarantees are gone, so that it takes nothing more.
    pub(crate) fn is_dead(&self) -> bool {
        self.client.as_ref().is_none_or(|client| client.client().fatal_error().is_some())
    }
}

impl Drop for Letters {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        // It takes a while, which an executor's thread does not have.
        std::thread::spawn(move || give_up(client));
    }
}

/// Receives the outcomes from librdkafka's thread.
#[derive(Clone)]
struct Deliveries {
    context: Context,
    shared: Arc<Shared>,
}

struct Shared {
    topic: Arc<str>,
    room: Notify,
    taken: AtomicU64,
    written: AtomicU64,
    not_written: AtomicU64,
    unknown: AtomicU64,
}

impl Shared {
    fn report(&self) -> CloseReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let (written, not_written) = (read(&self.written), read(&self.not_written));
        // Whatever has no outcome by now never gets one.
        let unknown = read(&self.taken).saturating_sub(written + not_written);
        CloseReport { written, not_written, unknown }
    }

    fn open(&self) -> u64 {
        self.report().unknown.saturating_sub(self.unknown.load(Ordering::Acquire))
    }
}

impl Deliveries {
    fn new(context: Context, topic: &str) -> Self {
        let zero = || AtomicU64::new(0);
        let (taken, written, not_written, unknown) = (zero(), zero(), zero(), zero());
        let shared =
            Shared { topic: topic.into(), room: Notify::new(), taken, written, not_written, unknown };
        Self { context, shared: Arc::new(shared) }
    }

    fn failed(&self, error: &KafkaError) -> Delivery {
        let topic = self.shared.topic.to_string();
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
            Delivery::NotWritten(NotWritten { topic, why })
        } else {
            Delivery::Unknown(UnknownOutcome { topic, why })
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Delivery>>;

    fn delivery(&self, result: &DeliveryResult<'_>, tell: Self::DeliveryOpaque) {
        let delivery = match result {
            Ok(message) => Delivery::Written(Position {
                topic: message.topic().to_owned(),
                partition: message.partition(),
                offset: message.offset(),
            }),
            Err((error, _)) => self.failed(error),
        };
        let counter = match &delivery {
            Delivery::Written(_) => &self.shared.written,
            Delivery::NotWritten(_) => &self.shared.not_written,
            Delivery::Unknown(_) => &self.shared.unknown,
        };
        counter.fetch_add(1, Ordering::Release);
        self.shared.room.notify_waiters();
        if result.is_ok() {
            self.context.forget();
        }
        match tell.send(delivery) {
            Ok(()) | Err(Delivery::Written(_)) => {}
            Err(Delivery::NotWritten(why)) => tracing::error!("{why}, and nobody waited for it"),
            Err(Delivery::Unknown(why)) => tracing::error!("{why}, and nobody waited for it"),
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

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use secrecy::SecretString;

    use super::*;
    use crate::events::MeteringEvent;

    fn outcome(code: Code) -> Delivery {
        let context = Context::new(SecretString::from("x"));
        Deliveries::new(context, "t").failed(&KafkaError::MessageProduction(code))
    }

    #[test]
    fn only_what_is_sure_counts_as_not_written() {
        for code in [Code::MessageSizeTooLarge, Code::TopicAuthorizationFailed, Code::NotEnoughReplicas] {
            assert!(matches!(outcome(code), Delivery::NotWritten(_)), "{code:?}");
        }
        for code in [
            // These may end a batch that was sent before and put back into the queue.
            Code::PurgeQueue,
            Code::UnknownTopic,
            Code::UnknownPartition,
            Code::PurgeInflight,
            Code::MessageTimedOut,
            Code::RequestTimedOut,
            Code::BrokerTransportFailure,
            Code::NotEnoughReplicasAfterAppend,
            Code::OutOfOrderSequenceNumber,
            Code::Fatal,
        ] {
            assert!(matches!(outcome(code), Delivery::Unknown(_)), "{code:?}");
        }
    }

    /// No broker is there, so nothing but the giving up can end them before the two minutes.
    #[tokio::test]
    async fn every_handle_of_a_given_up_record_resolves() {
        const RECORDS: usize = 20_000;
        let mut config = rdkafka::ClientConfig::new();
        config::producer(&mut config, &ProducerOptions::default());
        config.set("bootstrap.servers", "127.0.0.1:1");
        let deliveries = Deliveries::new(Context::new(SecretString::from("x")), "t");
        let client: ThreadedProducer<Deliveries> =
            ThreadedProducer::from_config_and_context(&config, deliveries.clone()).expect("a client");
        let mut handles = Vec::with_capacity(RECORDS);
        for _ in 0..RECORDS {
            let (tell, outcome) = oneshot::channel();
            let record = BaseRecord::with_opaque_to("t", Box::new(tell)).key("k").payload("v");
            client.send(record).map_err(|(error, _)| error).expect("taken");
            deliveries.shared.taken.fetch_add(1, Ordering::Relaxed);
            handles.push(DeliveryHandle { outcome, topic: "t".into() });
        }
        settle(&client, Duration::from_secs(20));
        assert_eq!(deliveries.shared.open(), 0, "all have their outcome before the client is gone");
        drop(client);
        for handle in handles {
            let Delivery::Unknown(why) = handle.await else { panic!("nobody can know") };
            assert!(why.why.contains("given up"), "{why}");
        }
    }

    fn producer(bootstrap: &str, queue: &str) -> Producer<MeteringEvent> {
        let mut config = rdkafka::ClientConfig::new();
        config::producer(&mut config, &ProducerOptions::default());
        config.set("bootstrap.servers", bootstrap).set("queue.buffering.max.messages", queue);
        let deliveries = Deliveries::new(Context::new(SecretString::from("x")), MeteringEvent::TOPIC);
        let client = ThreadedProducer::from_config_and_context(&config, deliveries.clone());
        Producer {
            client: Some(client.expect("a client")),
            deliveries,
            encoder: Encoder::new::<MeteringEvent>(7).expect("a schema"),
            event: PhantomData,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_broker_refuses_is_not_written() {
        let mock = MockCluster::new(1).expect("a mock cluster");
        mock.create_topic(MeteringEvent::TOPIC, 1, 1).expect("a topic");
        let producer = producer(&mock.bootstrap_servers(), "1000");
        let first = producer.enqueue(&MeteringEvent::sample(0)).await.expect("taken").await;
        assert!(matches!(first, Delivery::Written(_)), "{first:?}");
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        mock.request_errors(RDKafkaApiKey::Produce, &[refused]);
        let second = producer.enqueue(&MeteringEvent::sample(1)).await.expect("taken").await;
        let Delivery::NotWritten(why) = second else { panic!("{second:?}") };
        assert!(why.why.contains("ACL"), "{why}");
        let report = producer.close(Duration::from_secs(20)).await;
        assert_eq!(report, CloseReport { written: 1, not_written: 1, unknown: 0 });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_close_without_patience_accounts_for_a_full_queue() {
        const QUEUE: u64 = 500;
        let producer = producer("127.0.0.1:1", "500");
        let mut handles = Vec::new();
        for seed in 0..QUEUE {
            handles.push(producer.enqueue(&MeteringEvent::sample(seed)).await.expect("taken"));
        }
        let one_more = MeteringEvent::sample(QUEUE);
        let full = producer.enqueue(&one_more);
        assert!(tokio::time::timeout(Duration::from_millis(200), full).await.is_err(), "it waits for room");
        let report = producer.close(Duration::ZERO).await;
        assert_eq!(report, CloseReport { written: 0, not_written: 0, unknown: QUEUE });
        for handle in handles {
            assert!(matches!(handle.await, Delivery::Unknown(_)), "nobody can know");
        }
    }

    #[tokio::test]
    async fn a_lost_producer_is_no_success() {
        let (tell, outcome) = oneshot::channel();
        drop(tell);
        let delivery = DeliveryHandle { outcome, topic: "t".into() }.await;
        assert!(matches!(delivery, Delivery::Unknown(_)), "{delivery:?}");
    }

    #[test]
    fn every_record_is_counted() {
        let deliveries = Deliveries::new(Context::new(SecretString::from("x")), "t");
        deliveries.shared.taken.store(10, Ordering::Release);
        deliveries.shared.written.store(6, Ordering::Release);
        deliveries.shared.not_written.store(1, Ordering::Release);
        deliveries.shared.unknown.store(1, Ordering::Release);
        let report = deliveries.shared.report();
        assert_eq!(report, CloseReport { written: 6, not_written: 1, unknown: 3 });
        assert_eq!(deliveries.shared.open(), 2);
        assert!(!report.all_written());
    }
}
