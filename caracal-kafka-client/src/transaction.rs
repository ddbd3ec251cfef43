//! Consume, process, produce: each record's results and its offset are committed together or not at all.
//!
//! A batch is read, processed, and written with its offsets in one transaction. Whatever goes wrong before
//! the commit is known to have succeeded leads to the same end: the transaction is over, the consumer
//! stands where the group has committed, and the batch is done again.
//!
//! librdkafka has no KIP-890: a request to end a transaction whose answer is lost may reach the broker late
//! and end the *next* one. So a client whose commit or abort was not answered is never used again. A new one
//! under the same id raises the epoch, which makes the late request invalid, and the group's committed
//! offsets then say whether the transaction had been committed.

mod client;

#[cfg(all(test, unix))]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::config;
use crate::connect::Kafka;
use crate::consumer::{Consumer, ConsumerOptions, Group};
use crate::dead_letter::{self, Failure, Story};
use crate::error::{self, ConnectError, ReceiveError, TransactionError};
use crate::events::{Event, TOPIC_DEAD_LETTERS, TimestampMillis};
use crate::flow::{Random, RetryPolicy};
use crate::producer::ProducerOptions;
use crate::record::{Position, RawRecord, Received};
use crate::registry::Encoder;
use crate::seek::off;
use crate::send::Message;
use crate::shutdown::Shutdown;
use client::{Client, Ended};

/// How a record is looked for while a batch is filled, so that a shutdown is heard.
const TICK: Duration = Duration::from_millis(100);

/// How long the question where the group stands may take.
const BROKER: Duration = Duration::from_secs(30);

/// What a service may choose of its transactions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TransactionOptions {
    /// The transactional id: one for each instance that runs at the same time, and the same after a restart.
    /// Of two instances with the same id the older one is fenced. The profile's namespace is put before it.
    pub id: String,
    /// Most records in a transaction. Default 1,000.
    pub batch: usize,
    /// A transaction is committed after this long, however few records it has. Default 100 ms.
    pub interval: Duration,
    /// The coordinator aborts a transaction that lasts longer, and commits are waited for as long. Default 1 minute.
    pub timeout: Duration,
    /// How a record is tried again before it is a dead letter, which is part of the transaction.
    pub retry: RetryPolicy,
    /// The reading side.
    pub consumer: ConsumerOptions,
    /// The writing side.
    pub producer: ProducerOptions,
}

impl TransactionOptions {
    /// Defaults, with this transactional id.
    pub fn named(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            batch: 1000,
            interval: Duration::from_millis(100),
            timeout: Duration::from_secs(60),
            retry: RetryPolicy::default(),
            consumer: ConsumerOptions::default(),
            producer: ProducerOptions::default(),
        }
    }
}

/// What became of a record in [`Transactions::run`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Processed<O> {
    /// It is processed, and these are its results, in this order.
    Into(Vec<O>),
    /// It failed, and another attempt may help; after the last one it is a dead letter.
    Retry(Failure),
    /// It failed, and no attempt will help.
    DeadLetter(Failure),
}

impl<O, F: std::error::Error> From<Result<Vec<O>, F>> for Processed<O> {
    fn from(result: Result<Vec<O>, F>) -> Self {
        match result {
            Ok(results) => Self::Into(results),
            Err(error) => Self::Retry(Failure::of(&error)),
        }
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct TransactionReport {
    /// Transactions that were committed.
    pub committed: u64,
    /// Transactions that were not, and whose records were processed again.
    pub aborted: u64,
    /// Records whose results are committed.
    pub records: u64,
    /// Events that were written and committed.
    pub produced: u64,
    /// Dead letters that were written and committed.
    pub dead_lettered: u64,
    /// Clients that were given up because the end of a transaction was not answered, or they had failed.
    pub retired: u64,
}

/// Reads events of type `I` and writes events of type `O`, exactly once. See [`Kafka::transactions`].
pub struct Transactions<I: Event, O: Event> {
    consumer: Consumer<I>,
    clients: Clients,
    encoder: Encoder,
    /// Of the results, and of the dead letters.
    topics: [String; 2],
    options: TransactionOptions,
    report: TransactionReport,
    random: Random,
    results: std::marker::PhantomData<fn(O)>,
}

/// Makes a client; the configuration with the password in it is not kept.
type Clients = Box<dyn Fn() -> Result<Client, ConnectError> + Send + Sync>;

impl<I: Event, O: Event> std::fmt::Debug for Transactions<I, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactions").field("id", &self.options.id).finish_non_exhaustive()
    }
}

/// A batch that was read and not committed.
struct Batch<I> {
    records: Vec<Read<I>>,
    /// The group as it was before the first record was read: should it change, the broker refuses the
    /// offsets, for some of the records may be another member's by then.
    group: Arc<ConsumerGroupMetadata>,
}

/// A record, and what it says or why it says nothing.
struct Read<I> {
    raw: RawRecord,
    event: Result<Arc<Received<I>>, Failure>,
}

impl Kafka {
    /// Reads events of type `I` as a member of `group` and writes events of type `O`, each transaction with the
    /// offsets of what it was made from: after any crash and any rebalance, whoever reads committed records
    /// only, as this crate's consumers do, sees each result once.
    ///
    /// # Errors
    /// [`ConnectError`]: a topic does not exist or may not be seen, a schema is not registered.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use caracal_kafka_client::events::{MeteringEvent, PolicyDecision};
    /// use caracal_kafka_client::{Group, Kafka, Received, Shutdown, TransactionOptions};
    ///
    /// # async fn judge(event: &MeteringEvent) -> Result<Vec<PolicyDecision>, std::io::Error> { Ok(vec![]) }
    /// # async fn run(kafka: Kafka) -> Result<(), Box<dyn std::error::Error>> {
    /// let group = Group::named("caracal-limits");
    /// let limits = kafka
    ///     .transactions::<MeteringEvent, PolicyDecision>(group, TransactionOptions::named("caracal-limits-0"))
    ///     .await?;
    /// let process = |received: Arc<Received<MeteringEvent>>| async move { judge(&received.event).await };
    /// let report = limits.run(process, Shutdown::on_signal()?).await?;
    /// println!("{} records in {} transactions", report.records, report.committed);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transactions<I: Event, O: Event>(
        &self,
        group: Group,
        options: TransactionOptions,
    ) -> Result<Transactions<I, O>, ConnectError> {
        let encoder = self.encoder::<O>(&options.producer).await?;
        let consumer = self.consumer::<I>(group, options.consumer.clone()).await?;
        let topics = [O::TOPIC, TOPIC_DEAD_LETTERS].map(|topic| self.profile().qualified(topic));
        let (kafka, chosen) = (self.clone(), options.clone());
        let clients = move || {
            let mut config = kafka.config();
            config::producer(&mut config, &chosen.producer);
            let id = kafka.profile().qualified(&chosen.id);
            Client::new(config, kafka.context(), &id, chosen.timeout)
        };
        let (report, random) = (TransactionReport::default(), Random::new());
        let (clients, results): (Clients, _) = (Box::new(clients), std::marker::PhantomData);
        Ok(Transactions { consumer, clients, encoder, topics, options, report, random, results })
    }
}

impl<I: Event, O: Event> Transactions<I, O> {
    /// Processes records until `shutdown`, one after the other, and commits what is done before it ends. A
    /// record that cannot be decoded, or whose attempts are used up, is written to the dead letters within
    /// the transaction.
    ///
    /// `process` may see a record again whose transaction was not committed, so what it does beside its results
    /// must be idempotent.
    ///
    /// # Errors
    /// [`TransactionError`]: another instance has the transactional id, or Kafka reports a fault that
    /// neither another attempt nor another client cures. Nothing that was not committed is visible.
    pub async fn run<P, F>(
        mut self,
        process: P,
        mut shutdown: Shutdown,
    ) -> Result<TransactionReport, TransactionError>
    where
        P: Fn(Arc<Received<I>>) -> F + Send + Sync,
        F: Future<Output: Into<Processed<O>>> + Send,
    {
        let ended = self.until(&process, &mut shutdown).await;
        let drain = self.options.consumer.drain;
        let report = self.report;
        self.consumer.close(drain).await;
        ended.map(|()| report)
    }

    async fn until<P, F>(&mut self, process: &P, shutdown: &mut Shutdown) -> Result<(), TransactionError>
    where
        P: Fn(Arc<Received<I>>) -> F,
        F: Future<Output: Into<Processed<O>>>,
    {
        let mut client = self.client().await?;
        while !shutdown.is_due() {
            let Some(batch) = self.read(shutdown).await? else { continue };
            let ended = match self.write(&client, &batch, process, shutdown).await {
                Ok(counts) => match client.commit().await {
                    Ended::Done => {
                        self.count(counts, batch.records.len());
                        continue;
                    }
                    other => other,
                },
                Err(ended) => ended,
            };
            self.report.aborted += 1;
            let usable = match ended {
                Ended::Done => true,
                Ended::Abort(why) => {
                    tracing::warn!(id = %self.options.id, "a transaction is aborted: {why}");
                    matches!(client.abort().await, Ended::Done)
                }
                Ended::Fenced(why) => return Err(self.fenced(why)),
                Ended::Unusable(why) => {
                    tracing::error!(id = %self.options.id, "the transactional client is given up: {why}");
                    false
                }
                Ended::Hopeless(why) => return Err(self.failed(why)),
            };
            if !usable {
                client.retire();
                self.report.retired += 1;
                client = self.client().await?;
            }
            // Behind the client's start, which settles what the one before it left open.
            self.rewind(&batch).await?;
        }
        Ok(())
    }

    fn count(&mut self, (produced, dead_lettered): (u64, u64), records: usize) {
        self.report.committed += 1;
        self.report.records += records as u64;
        self.report.produced += produced;
        self.report.dead_lettered += dead_lettered;
    }

    fn fenced(&self, why: String) -> TransactionError {
        TransactionError::Fenced { id: self.options.id.clone(), why }
    }

    fn failed(&self, why: String) -> TransactionError {
        TransactionError::Kafka { id: self.options.id.clone(), why }
    }

    /// A client whose start has ended whatever an older one under the id had open.
    async fn client(&self) -> Result<Client, TransactionError> {
        let client = (self.clients)()?;
        match client.start().await {
            Ended::Done => Ok(client),
            Ended::Fenced(why) => Err(self.fenced(why)),
            Ended::Abort(why) | Ended::Unusable(why) | Ended::Hopeless(why) => Err(self.failed(why)),
        }
    }

    /// Records of one transaction; none when there was none for a while, or it is time to end.
    async fn read(&mut self, shutdown: &Shutdown) -> Result<Option<Batch<I>>, TransactionError> {
        let Some(group) = self.consumer.client.as_ref().and_then(|client| client.group_metadata()) else {
            return Err(self.failed("the consumer is in no group".into()));
        };
        let mut records = Vec::new();
        let mut until = None;
        while records.len() < self.options.batch.max(1) && !shutdown.is_due() {
            let tick = Instant::now() + TICK;
            let wake = until.map_or(tick, |until: Instant| until.min(tick));
            match tokio::time::timeout_at(wake, self.consumer.next_pair()).await {
                Ok(Ok((raw, event))) => {
                    let event = event.map(Arc::new).map_err(|why| {
                        Failure::new("caracal.Undecodable", format!("it is no `{}`: {why}", I::RECORD))
                    });
                    records.push(Read { raw, event });
                }
                Ok(Err(error @ ReceiveError::Kafka { fatal: true, .. })) => return Err(error.into()),
                // It passes: the registry's or the group's fault, not the record's.
                Ok(Err(error)) => {
                    tracing::warn!("{error}");
                    tokio::time::sleep_until(wake).await;
                }
                Err(_) if until.is_some_and(|until| until <= Instant::now()) => break,
                Err(_) if records.is_empty() => return Ok(None),
                Err(_) => {}
            }
            if !records.is_empty() && until.is_none() {
                until = Some(Instant::now() + self.options.interval);
            }
        }
        Ok((!records.is_empty()).then(|| Batch { records, group: Arc::new(group) }))
    }

    /// Processes a batch into an open transaction. Returns how many events and dead letters it has.
    async fn write<P, F>(
        &mut self,
        client: &Client,
        batch: &Batch<I>,
        process: &P,
        shutdown: &Shutdown,
    ) -> Result<(u64, u64), Ended>
    where
        P: Fn(Arc<Received<I>>) -> F,
        F: Future<Output: Into<Processed<O>>>,
    {
        client.begin().await?;
        let (mut produced, mut dead_lettered) = (0, 0);
        let mut buffer = Vec::new();
        for record in &batch.records {
            let done = match &record.event {
                Ok(received) => self.process(received, process, shutdown).await?,
                Err(why) => {
                    let now = TimestampMillis::now().0;
                    Done::Dead { why: why.clone(), attempts: 1, first: now, last: now }
                }
            };
            match done {
                Done::Results(results) => {
                    for event in &results {
                        self.encoder.encode(event, &mut buffer).map_err(|why| {
                            Ended::Hopeless(format!("a result is no `{}`: {why}", O::RECORD))
                        })?;
                        let (key, value) = (Some(event.key().as_bytes()), Some(buffer.as_slice()));
                        client.send(&self.topics[0], &Message { key, value, ..Message::default() }).await?;
                        produced += 1;
                    }
                }
                Done::Dead { why, attempts, first, last } => {
                    let group = &self.consumer.group;
                    let story = Story { group, failure: &why, attempts, first, last, log_append_time: false };
                    let headers = dead_letter::headers(&record.raw, &story);
                    let (key, value) = (record.raw.key.as_deref(), record.raw.value.as_deref());
                    let letter = Message { key, value, headers: &headers, ..Message::default() };
                    client.send(&self.topics[1], &letter).await?;
                    dead_lettered += 1;
                }
            }
        }
        let ends = ends(batch.records.iter().map(|record| &record.raw.position));
        client.offsets(&self.consumer.topic, ends, &batch.group).await?;
        Ok((produced, dead_lettered))
    }

    /// One record, with its attempts.
    async fn process<P, F>(
        &mut self,
        received: &Arc<Received<I>>,
        process: &P,
        shutdown: &Shutdown,
    ) -> Result<Done<O>, Ended>
    where
        P: Fn(Arc<Received<I>>) -> F,
        F: Future<Output: Into<Processed<O>>>,
    {
        let mut failed = 0;
        let mut first = None;
        loop {
            let (why, again) = match process(Arc::clone(received)).await.into() {
                Processed::Into(results) => return Ok(Done::Results(results)),
                Processed::Retry(why) => (why, true),
                Processed::DeadLetter(why) => (why, false),
            };
            failed += 1;
            let now = TimestampMillis::now().0;
            let first = *first.get_or_insert(now);
            tracing::warn!(at = %received.position, kind = why.kind(), "a record was not processed: {}", why.message());
            let pause = self.options.retry.pause(failed, &mut self.random).filter(|_| again);
            let Some(pause) = pause else {
                return Ok(Done::Dead { why, attempts: failed, first, last: now });
            };
            if shutdown.is_due() {
                return Err(Ended::Abort(
                    "it is time to end, and a record is still to be tried again".into(),
                ));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Stands the consumer where the group has committed, for the partitions of a batch that are still ours.
    async fn rewind(&mut self, batch: &Batch<I>) -> Result<(), TransactionError> {
        let mut list = TopicPartitionList::new();
        let mut begins = BTreeMap::new();
        for position in batch.records.iter().map(|record| &record.raw.position) {
            begins.entry(position.partition).or_insert(position.offset);
        }
        for partition in begins.keys() {
            list.add_partition(&self.consumer.topic, *partition);
        }
        let Some(consumer) = self.consumer.client.clone() else { return Ok(()) };
        let asking = Arc::clone(&consumer);
        let committed = off(move || asking.committed_offsets(list, BROKER)).await;
        let committed = committed.map_err(|error| self.failed(error::code(&error)))?;
        let mut aims = Vec::new();
        for (partition, begin) in begins {
            let at = committed.find_partition(&self.consumer.topic, partition).map(|found| found.offset());
            let offset = if let Some(Offset::Offset(at)) = at { at } else { begin };
            aims.push(Position { topic: self.consumer.topic.clone(), partition, offset });
        }
        for aim in aims {
            self.consumer.go_to(&aim).await?;
        }
        Ok(())
    }
}

/// What became of one record.
enum Done<O> {
    Results(Vec<O>),
    Dead { why: Failure, attempts: u32, first: i64, last: i64 },
}

/// Behind the last record of each partition: what is committed.
fn ends<'a>(positions: impl Iterator<Item = &'a Position>) -> BTreeMap<i32, i64> {
    let mut ends = BTreeMap::new();
    for position in positions {
        ends.insert(position.partition, position.offset.saturating_add(1));
    }
    ends
}
