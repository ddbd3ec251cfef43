//! A cluster in this process, for tests of services: [`Kafka::in_memory`].
//!
//! The brokers are librdkafka's own mock brokers, so that producers, consumers, groups, commits and transactions are the
//! very code that runs in production; the registry answers without HTTP and refuses what Caracal's would refuse. What a mock
//! does not have: TLS, log-ins, rights, and an isolation of uncommitted records.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::connect::{Kafka, Service};
use crate::connection::{Connection, Source};
use crate::credentials::Credentials;
use crate::error::{ConnectError, EnqueueError};
use crate::events::{
    AgentLifecycleEvent, Event, MeteringEvent, PolicyChangeEvent, PolicyDecision, TOPIC_DEAD_LETTERS,
};
use crate::producer::{Delivery, DeliveryHandle, ProducerOptions};
use crate::record::RecordHeader;
use crate::registry::{Memory, Registry, Terms};
use crate::send::Message;

const BROKERS: i32 = 3;

/// Partitions of each topic of [`Kafka::in_memory`].
const PARTITIONS: i32 = 3;

/// Often enough for a test to wait for.
const STATISTICS: Duration = Duration::from_millis(500);

type Mock = MockCluster<'static, DefaultProducerContext>;
type Order = Box<dyn FnOnce(&Mock) + Send>;

/// The brokers, which live as long as somebody has this. They belong to one thread.
#[derive(Debug)]
pub(crate) struct Brokers {
    orders: Mutex<Sender<Order>>,
    bootstrap: String,
}

impl Brokers {
    fn start() -> Result<Arc<Self>, ConnectError> {
        let (orders, ordered) = channel::<Order>();
        let (tell, told) = channel();
        std::thread::spawn(move || match MockCluster::new(BROKERS) {
            Ok(mock) => {
                let _ = tell.send(Some(mock.bootstrap_servers()));
                ordered.iter().for_each(|order| order(&mock));
            }
            Err(_) => drop(tell.send(None)),
        });
        let bootstrap = told.recv().ok().flatten().ok_or_else(|| failed("no brokers could be made"))?;
        Ok(Arc::new(Self { orders: Mutex::new(orders), bootstrap }))
    }

    fn order(&self, act: impl FnOnce(&Mock) -> KafkaResult<()> + Send + 'static) -> Result<(), ConnectError> {
        let (tell, told) = channel();
        let order: Order = Box::new(move |mock| {
            let _ = tell.send(act(mock).is_ok());
        });
        let sent = self.orders.lock().unwrap_or_else(PoisonError::into_inner).send(order);
        let done = sent.is_ok() && told.recv().unwrap_or(false);
        if done { Ok(()) } else { Err(failed("the brokers in memory refused")) }
    }

    /// All that a client needs.
    pub(crate) fn config(&self, client_id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", client_id).set("bootstrap.servers", &self.bootstrap);
        config
    }
}

fn failed(why: &str) -> ConnectError {
    ConnectError::Configuration { key: None, why: why.to_owned() }
}

/// What goes wrong on demand, see [`InMemory::inject`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// Each answer comes so much later, until it is injected with zero: records are written, and nobody learns it.
    LateAnswers(Duration),
    /// The next so many requests to write are refused for want of the right to.
    WritesRefused(usize),
    /// A topic, without the profile's namespace, has no leaders: nothing can be written to it or read from it.
    TopicDown(String),
    /// The group takes its member for dead at its next sign of life: its partitions are lost, and it joins again.
    MemberExpelled,
}

/// A cluster in this process, see [`Kafka::in_memory`]. It ends with the last one who has it or a connection to it.
#[derive(Clone, Debug)]
pub struct InMemory {
    kafka: Kafka,
    brokers: Arc<Brokers>,
    registry: Arc<Memory>,
}

impl Kafka {
    /// A cluster in this process: no Docker, no JVM, ready in milliseconds. It has the topics of
    /// [`events`](crate::events) and the dead letters' with three partitions each, and the events' schemas. Producers,
    /// consumers and transactions made from [`InMemory::kafka`] are the ones that production has.
    ///
    /// # Errors
    /// [`ConnectError`]: its sockets on loopback cannot be opened.
    ///
    /// ```
    /// use std::time::Duration;
    /// use caracal_kafka_client::events::MeteringEvent;
    /// use caracal_kafka_client::{ConsumerOptions, Group, Kafka, ProducerOptions};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let memory = Kafka::in_memory().await?;
    /// let kafka = memory.kafka();
    /// let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
    /// assert!(out.send_all(&[MeteringEvent::sample(1)]).await.all_written());
    ///
    /// let options = ConsumerOptions::default();
    /// let mut events = kafka.consumer::<MeteringEvent>(Group::named("caracal-test"), options).await?;
    /// let received = tokio::time::timeout(Duration::from_secs(60), events.recv()).await??;
    /// assert_eq!(received.event, MeteringEvent::sample(1));
    /// events.close(Duration::from_secs(5)).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn in_memory() -> Result<InMemory, ConnectError> {
        let brokers = Brokers::start()?;
        let registry = Arc::new(Memory::default());
        let none = || Source::text("none");
        let connection = Connection::to(brokers.bootstrap.split(','))
            .cluster("in-memory")
            .trusting(none())
            .presenting(none(), none())
            .log_in("in-memory", none())
            .build()?
            .with_statistics(STATISTICS);
        let way = Registry::in_memory(Arc::clone(&registry));
        let kafka = Self::of_memory(connection, Service::named("in-memory"), Arc::clone(&brokers), way)?;
        let memory = InMemory { kafka, brokers, registry };
        memory.set_up::<MeteringEvent>().await?;
        memory.set_up::<PolicyDecision>().await?;
        memory.set_up::<AgentLifecycleEvent>().await?;
        memory.set_up::<PolicyChangeEvent>().await?;
        memory.create_topic(TOPIC_DEAD_LETTERS, PARTITIONS)?;
        Ok(memory)
    }
}

impl InMemory {
    /// A connection to it.
    pub fn kafka(&self) -> Kafka {
        self.kafka.clone()
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// [`ConnectError`]: it is there already.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), ConnectError> {
        let topic = topic.to_owned();
        self.brokers.order(move |mock| mock.create_topic(&topic, partitions, BROKERS))
    }

    /// Makes the topic of an event type and registers its schema, for types of a service's own.
    ///
    /// # Errors
    /// [`ConnectError`]: the topic is there already, or the subject refuses the schema.
    pub async fn set_up<E: Event>(&self) -> Result<(), ConnectError> {
        self.create_topic(E::TOPIC, PARTITIONS)?;
        let registry = Registry::in_memory(Arc::clone(&self.registry));
        let terms = Terms { register: true, ..Terms::default() };
        registry.encoder::<E>(&format!("{}-value", E::TOPIC), terms).await.map(drop)
    }

    /// Writes bytes as they are: a record that no serialiser wrote, or another one's.
    ///
    /// # Errors
    /// [`EnqueueError`]: it was not taken.
    pub async fn write_raw(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> Result<Delivery, EnqueueError> {
        let refused =
            |error: ConnectError| EnqueueError::Refused { topic: topic.into(), why: error.to_string() };
        let outbox = self.kafka.outbox(topic, ProducerOptions::default()).map_err(refused)?;
        let message = Message { key, value, headers, ..Message::default() };
        let slot = outbox.send_when_there_is_room(&message).await?;
        Ok(DeliveryHandle::new(&outbox, slot).await)
    }

    /// Has something go wrong.
    ///
    /// # Errors
    /// [`ConnectError`]: there is no such topic.
    pub fn inject(&self, fault: Fault) -> Result<(), ConnectError> {
        use RDKafkaRespErr as Code;
        self.brokers.order(move |mock| match fault {
            Fault::LateAnswers(by) => slow(mock, by),
            Fault::WritesRefused(count) => {
                let refusal = Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
                mock.request_errors(RDKafkaApiKey::Produce, &vec![refusal; count]);
                Ok(())
            }
            Fault::TopicDown(topic) => leaders(mock, &topic, |_| None),
            Fault::MemberExpelled => {
                let expelled = [Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID];
                mock.request_errors(RDKafkaApiKey::Heartbeat, &expelled);
                Ok(())
            }
        })
    }

    /// Ends a [`Fault::TopicDown`].
    ///
    /// # Errors
    /// [`ConnectError`]: there is no such topic.
    pub fn bring_back(&self, topic: &str) -> Result<(), ConnectError> {
        let topic = topic.to_owned();
        self.brokers.order(move |mock| leaders(mock, &topic, |partition| Some(partition % BROKERS + 1)))
    }

    /// Has every producer go on with a new client, as when certificates are replaced under them.
    /// Whether every producer has one.
    ///
    /// # Errors
    /// [`ConnectError`]: a client could not be made.
    pub async fn replace_clients(&self) -> Result<bool, ConnectError> {
        self.kafka.replace_clients().await
    }

    /// Stops the clock by which failed records wait for their next attempt; it goes on by
    /// [`advance`](Self::advance) alone.
    pub fn pause_clock(&self) {
        self.kafka.clock().pause();
    }

    /// Lets so much time pass at once, for a clock that stands still.
    pub fn advance(&self, by: Duration) {
        self.kafka.clock().advance(by);
    }
}

/// Delays every answer.
fn slow(mock: &Mock, by: Duration) -> KafkaResult<()> {
    (1..=BROKERS).try_for_each(|broker| mock.broker_round_trip_time(broker, by))
}

fn leaders(mock: &Mock, topic: &str, leader: impl Fn(i32) -> Option<i32>) -> KafkaResult<()> {
    (0..PARTITIONS).try_for_each(|partition| mock.partition_leader(topic, partition, leader(partition)))
}

impl Credentials {
    /// Nobody is asked for any.
    pub(crate) fn none() -> Result<Self, ConnectError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error.to_string()))?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let (tls, empty) = (Arc::new(tls), || secrecy::SecretString::from(""));
        Ok(Self {
            pem: [empty(), empty(), empty()],
            password: "no password".into(),
            kafka_tls: Arc::clone(&tls),
            registry_tls: tls,
            registry_login: None,
        })
    }
}
