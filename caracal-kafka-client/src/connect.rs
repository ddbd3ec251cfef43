//! [`Kafka`]: one profile, checked once, from which producers and consumers are made.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::Metadata;
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::config;
use crate::connection::Connection;
use crate::consumer::{Consumer, ConsumerOptions, Group};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::diagnose::diagnose;
use crate::error::{self, ConnectError};
use crate::events::Event;
use crate::look::{self, Found};
use crate::producer::{CloseReport, Producer, ProducerOptions};
use crate::profile::ConnectionProfile;
use crate::registry::Registry;
use crate::send::Outbox;
use crate::statistics::{self, Board, ClientStatistics};

/// How long [`Kafka::connect`] tries.
const CONNECT: Duration = Duration::from_secs(15);

/// After a complaint that waiting will not cure, other brokers have this long to prove better.
const GRACE: Duration = Duration::from_millis(1500);

/// Name of the service, as brokers see it in their logs and quotas (`client.id`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    name: String,
}

impl Service {
    /// A service by its name; the same for all its instances.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A proved way to a cluster. Cheap to clone; producers and consumers have connections of their own.
#[derive(Clone, Debug)]
pub struct Kafka {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    service: Service,
    /// Replaced as a whole when their files were.
    credentials: RwLock<Arc<Credentials>>,
    registry: Option<Arc<Registry>>,
    outboxes: Mutex<Outboxes>,
    clock: Clock,
    /// How often credentials were replaced.
    renewals: watch::Sender<u64>,
    board: Option<Arc<Board>>,
    /// Brokers of this process, in place of the connection's.
    #[cfg(feature = "in-memory")]
    memory: Option<Arc<crate::in_memory::Brokers>>,
}

/// The ways out that producers were given.
#[derive(Debug, Default)]
struct Outboxes {
    open: Vec<Weak<Outbox>>,
    /// Of those that are gone.
    gone: Arc<Mutex<CloseReport>>,
}

impl Shared {
    fn new(
        connection: Connection,
        service: Service,
        credentials: Credentials,
        registry: Option<Arc<Registry>>,
    ) -> Self {
        Self {
            board: connection.statistics.map(|interval| Arc::new(Board::new(interval))),
            connection,
            service,
            credentials: RwLock::new(Arc::new(credentials)),
            registry,
            outboxes: Mutex::default(),
            clock: Clock::default(),
            renewals: watch::Sender::new(0),
            #[cfg(feature = "in-memory")]
            memory: None,
        }
    }
}

impl Kafka {
    /// Reads certificates, key and password, logs in to a broker, and asks the registry whether it is one; at
    /// most 15 seconds. What is wrong is told here, with cause and next step, and not by the first record.
    ///
    /// # Errors
    /// [`ConnectError`]: a file is missing, open to others or wrong, a certificate has expired; no broker let
    /// the client in; the registry does not answer.
    ///
    /// ```no_run
    /// use caracal_kafka_client::{Kafka, Service, profile::ConnectionProfile};
    ///
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// let kafka = Kafka::connect(ConnectionProfile::discover()?, Service::named("ledger-writer")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(to: impl Into<Connection>, service: Service) -> Result<Self, ConnectError> {
        Self::connect_within(to, service, CONNECT).await
    }

    /// [`connect`](Self::connect) with another deadline. When no broker lets the client in, the search for the cause
    /// may take four seconds more.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_within(
        to: impl Into<Connection>,
        service: Service,
        deadline: Duration,
    ) -> Result<Self, ConnectError> {
        let connection = to.into();
        for key in connection.profile.unknown_keys() {
            tracing::warn!(key, "the connection profile has a key that this version does not know");
        }
        let credentials = Credentials::read(&connection)?;
        let registry = Registry::new(&connection.profile, &credentials)?;
        let kafka = Self::of(connection, service, credentials, registry);
        let credentials = kafka.credentials();
        let registry_answers = async {
            match &kafka.shared.registry {
                Some(registry) => registry.ping().await,
                None => Ok(()),
            }
        };
        tokio::try_join!(kafka.log_in(&credentials, deadline), registry_answers)?;
        renewal::watch(&kafka);
        Ok(kafka)
    }

    fn of(
        connection: Connection,
        service: Service,
        credentials: Credentials,
        registry: Option<Arc<Registry>>,
    ) -> Self {
        Self { shared: Arc::new(Shared::new(connection, service, credentials, registry)) }
    }

    #[cfg(feature = "in-memory")]
    pub(crate) fn of_memory(
        connection: Connection,
        service: Service,
        brokers: Arc<crate::in_memory::Brokers>,
        registry: Arc<Registry>,
    ) -> Result<Self, ConnectError> {
        let mut shared = Shared::new(connection, service, Credentials::none()?, Some(registry));
        shared.memory = Some(brokers);
        Ok(Self { shared: Arc::new(shared) })
    }

    /// By which failed records wait.
    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Tells of each replacement of credentials from now on.
    pub(crate) fn renewals(&self) -> watch::Receiver<u64> {
        self.shared.renewals.subscribe()
    }

    fn credentials(&self) -> Arc<Credentials> {
        // Replaced as a whole, so a panic elsewhere leaves nothing half done.
        Arc::clone(&self.shared.credentials.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes every producer that was made from this connection, all of them within the deadline, and counts
    /// every record that any of them ever took: those of producers that were closed or dropped before too.
    /// Later records are refused.
    ///
    /// ```no_run
    /// # async fn stop(kafka: caracal_kafka_client::Kafka) {
    /// let report = kafka.close(std::time::Duration::from_secs(20)).await;
    /// if !report.all_written() {
    ///     eprintln!("{} not written, of {} nobody knows", report.not_written, report.unknown);
    /// }
    /// # }
    /// ```
    pub async fn close(&self, deadline: Duration) -> CloseReport {
        let open: Vec<Arc<Outbox>> = self.outboxes().open.iter().filter_map(Weak::upgrade).collect();
        let reports = futures::future::join_all(open.iter().map(|outbox| outbox.close(deadline))).await;
        let gone = *lock(&self.outboxes().gone);
        reports.into_iter().fold(gone, CloseReport::plus)
    }

    /// Has [`close`](Self::close) know of an outbox.
    pub(crate) fn remember(&self, outbox: &Arc<Outbox>) {
        let mut outboxes = self.outboxes();
        outboxes.open.retain(|outbox| outbox.strong_count() > 0);
        outboxes.open.push(Arc::downgrade(outbox));
    }

    /// Where an outbox writes down what it took when it is gone.
    pub(crate) fn ledger(&self) -> Arc<Mutex<CloseReport>> {
        Arc::clone(&self.outboxes().gone)
    }

    fn outboxes(&self) -> MutexGuard<'_, Outboxes> {
        lock(&self.shared.outboxes)
    }

    /// The profile that this connection is by.
    pub fn profile(&self) -> &ConnectionProfile {
        &self.shared.connection.profile
    }

    /// A producer of one event type, to its topic.
    ///
    /// # Errors
    /// [`ConnectError`]: the topic does not exist or may not be seen, its schema is not registered,
    /// the profile names no registry.
    pub async fn producer<E: Event>(&self, options: ProducerOptions) -> Result<Producer<E>, ConnectError> {
        Producer::new(self, options).await
    }

    /// A consumer of one event type, from its topic.
    ///
    /// # Errors
    /// [`ConnectError`]: the topic does not exist or may not be seen, the profile names no registry.
    pub async fn consumer<E: Event>(
        &self,
        group: Group,
        options: ConsumerOptions,
    ) -> Result<Consumer<E>, ConnectError> {
        Consumer::new(self, group, options).await
    }

    pub(crate) fn registry<E: Event>(&self) -> Result<Arc<Registry>, ConnectError> {
        self.shared.registry.clone().ok_or(ConnectError::NoRegistry { record: E::RECORD })
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = self.base();
        if let Some(board) = &self.shared.board {
            config.set("statistics.interval.ms", board.interval().as_millis().to_string());
        }
        config
    }

    fn base(&self) -> ClientConfig {
        #[cfg(feature = "in-memory")]
        if let Some(brokers) = &self.shared.memory {
            return brokers.config(self.shared.service.name());
        }
        config::base(self.profile(), &self.credentials(), self.shared.service.name())
    }

    pub(crate) fn context(&self) -> Context {
        Context::new(self.credentials().password.clone()).reporting_to(self.shared.board.clone())
    }

    /// What each producer and consumer of this connection reported last; empty unless the connection was made
    /// [`with_statistics`](Connection::with_statistics), and until the first interval is over.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use caracal_kafka_client::profile::ConnectionProfile;
    /// use caracal_kafka_client::{Connection, Kafka, Service};
    ///
    /// # async fn watch() -> Result<(), Box<dyn std::error::Error>> {
    /// let connection =
    ///     Connection::from(ConnectionProfile::discover()?).with_statistics(Duration::from_secs(5));
    /// let kafka = Kafka::connect(connection, Service::named("ledger-writer")).await?;
    /// for client in kafka.statistics() {
    ///     let lag: u64 = client.partitions.iter().filter_map(|partition| partition.lag).sum();
    ///     println!("{}: {} records behind", client.name, lag);
    /// }
    /// // For the service's own /metrics:
    /// println!("{}", kafka.prometheus());
    /// # Ok(())
    /// # }
    /// ```
    pub fn statistics(&self) -> Vec<ClientStatistics> {
        self.shared.board.as_ref().map(|board| board.all()).unwrap_or_default()
    }

    /// [`statistics`](Self::statistics) in Prometheus' text format (`text/plain; version=0.0.4`), each metric's name with
    /// `caracal_kafka_client_` before it.
    pub fn prometheus(&self) -> String {
        statistics::prometheus(&self.statistics())
    }

    /// Judges what a client learnt about `topic`.
    pub(crate) fn topic_is_there(
        &self,
        topic: &str,
        metadata: Result<Metadata, rdkafka::error::KafkaError>,
    ) -> Result<i32, ConnectError> {
        let failed = |why: String| ConnectError::Topic {
            topic: topic.to_owned(),
            principal: self.profile().principal.clone(),
            why,
        };
        let metadata = metadata.map_err(|error| failed(error::code(&error)))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Err(failed("no broker knows it".into()));
        };
        if let Some(code) = found.error() {
            return Err(failed(error::sentence(code.into())));
        }
        i32::try_from(found.partitions().len()).map_err(|_| failed("it has too many partitions".into()))
    }

    /// One that nobody has proved.
    #[cfg(all(test, unix))]
    pub(crate) fn unproved(profile: ConnectionProfile, credentials: Credentials) -> Self {
        let service = Service::named("test");
        Self::of(profile.into(), service, credentials, None)
    }

    /// One log-in, on a client of its own that is dropped behind it.
    async fn log_in(&self, credentials: &Credentials, deadline: Duration) -> Result<(), ConnectError> {
        let context = Context::new(credentials.password.clone());
        let client: BaseConsumer<Context> =
            config::base(self.profile(), credentials, self.shared.service.name())
                .create_with_context(context.clone())
                .map_err(|error| ConnectError::configuration(&error, |text| context.scrub(text)))?;
        let (tell, told) = oneshot::channel();
        let started = Instant::now();
        // A thread of its own, not of the runtime's: librdkafka's calls cannot be cancelled, and a
        // runtime waits for its own threads when it ends.
        let client = Arc::new(client);
        let (asking, watching) = (Arc::clone(&client), context.clone());
        std::thread::spawn(move || {
            let _ = tell.send(asking.fetch_metadata(None, deadline).map(drop));
        });
        let watched = std::thread::spawn(move || watch(&client, &watching, told, started, deadline));
        let result = tokio::task::spawn_blocking(move || watched.join()).await;
        let Err(found) = outcome(result) else { return Ok(()) };
        let waited = started.elapsed();
        let symptom = context.symptom();
        let diagnosis = symptom.as_ref().map_or_else(|| diagnose(""), |symptom| symptom.diagnosis);
        let profile = self.profile();
        // A broker that looked at a password has no quarrel with the certificates.
        let looked = match diagnosis.beyond_tls {
            true => None,
            false => look::look(&profile.kafka.bootstrap, &credentials.kafka_tls).await,
        };
        let Found { cause, next } = looked
            .unwrap_or_else(|| Found { cause: diagnosis.cause.to_owned(), next: diagnosis.next.to_owned() });
        Err(ConnectError::Broker {
            bootstrap: profile.kafka.bootstrap.join(", "),
            principal: profile.principal.clone(),
            waited,
            cause: cause.into(),
            next: next.into(),
            symptom: symptom.map_or(found, |symptom| symptom.reason),
        })
    }
}

/// What the watching thread found. One that ended in another way has proved nothing.
fn outcome<J>(result: Result<std::thread::Result<Result<(), String>>, J>) -> Result<(), String> {
    match result {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => Err("the log-in's thread ended by itself".into()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A list and a sum, whole after a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves the client's events until the answer is there, or until it is clear that none will come.
fn watch(
    client: &BaseConsumer<Context>,
    context: &Context,
    mut told: oneshot::Receiver<Result<(), rdkafka::error::KafkaError>>,
    started: Instant,
    deadline: Duration,
) -> Result<(), String> {
    let mut settled_since = None;
    loop {
        // Returns at once when there is an event.
        let _ = client.poll(Duration::from_millis(20));
        match told.try_recv() {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => return Err(error::code(&error)),
            Err(oneshot::error::TryRecvError::Closed) => return Err("the client ended by itself".into()),
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        if settled_since.is_none() && context.symptom().is_some_and(|symptom| symptom.diagnosis.settled) {
            settled_since = Some(Instant::now());
        }
        let hopeless = settled_since.is_some_and(|since| since.elapsed() > GRACE);
        if hopeless || started.elapsed() > deadline + GRACE {
            return Err("no answer".into());
        }
    }
}

/// Name and version of the Kafka library below, for example `librdkafka 2.12.1`.
///
/// ```
/// assert!(caracal_kafka_client::librdkafka_version().starts_with("librdkafka 2."));
/// ```
pub fn librdkafka_version() -> String {
    format!("librdkafka {}", rdkafka::util::get_rdkafka_version().1)
}

#[cfg(test)]
mod tests {
    use super::outcome;

    #[test]
    fn only_an_answer_proves_a_log_in() {
        let panicked = std::thread::spawn(|| panic!("on purpose")).join();
        assert_eq!(outcome(Ok::<_, ()>(Ok(Ok(())))), Ok(()));
        assert_eq!(outcome(Ok::<_, ()>(Ok(Err("no".into())))), Err("no".into()));
        assert!(outcome(Ok::<_, ()>(panicked)).is_err_and(|why| why.contains("by itself")));
        assert!(outcome(Err(())).is_err_and(|why| why.contains("by itself")));
    }
}

mod renewal;

#[cfg(test)]
#[path = "connect_tests.rs"]
mod broken;
