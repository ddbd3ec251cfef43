//! A consumer of one event type. Nothing is committed unless the caller says that it was handled.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use crate::codec::{self, Codec};
use crate::config;
use crate::connect::Kafka;
use crate::context::Context;
use crate::error::{self, CommitError, ConnectError, HandleError, ReceiveError};
use crate::events::{Event, TimestampMillis};
use crate::flow::RetryPolicy;
use crate::record::{Position, RawRecord, Received, RecordHeader};

/// How long a question to a broker may take while a consumer is made.
const BROKER: Duration = Duration::from_secs(10);

/// How long a commit may take, librdkafka's own repetitions included.
const COMMIT: Duration = Duration::from_secs(30);

/// A client that somebody else still uses is looked at again after this long.
const SHARED: Duration = Duration::from_millis(10);

/// A consumer group: its members share the partitions, and what one committed the next does not
/// see again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    name: String,
}

impl Group {
    /// A group by its name; the profile's namespace is put before it.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

/// What a service may choose. Isolation and commits are not among it: a consumer reads committed
/// records only and never commits by itself.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// Where to begin. Default [`ConsumeFrom::CommittedOrEarliest`].
    pub from: ConsumeFrom,
    /// A member that does not ask for a record for so long is taken for stuck and loses its
    /// partitions (`max.poll.interval.ms`). Default 5 minutes, at least 45 seconds.
    pub max_handling_time: Duration,
    /// Handlers of [`Consumer::run`] at work at once; records of one key are never among them twice.
    /// Default 8.
    pub concurrency: usize,
    /// Records of a partition, from the first one that is not settled to the newest one taken, for
    /// [`Consumer::run`]. Beyond it the partition is paused; a restart sees at most so many again.
    /// Default 1,000.
    pub window: usize,
    /// How [`Consumer::run`] tries a failed record again before it is a dead letter.
    pub retry: RetryPolicy,
    /// How long [`Consumer::run`] lets handlers end when it is to stop or loses their partition.
    /// Default 10 s.
    pub drain: Duration,
    /// How often [`Consumer::run`] commits. Default 1 s.
    pub commit_interval: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            from: ConsumeFrom::default(),
            max_handling_time: Duration::from_secs(300),
            concurrency: 8,
            window: 1000,
            retry: RetryPolicy::default(),
            drain: Duration::from_secs(10),
            commit_interval: Duration::from_secs(1),
        }
    }
}

/// Where a consumer begins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum ConsumeFrom {
    /// Where the group stands; a new group at the oldest record, so that nothing is missed.
    #[default]
    CommittedOrEarliest,
    /// Where the group stands; a new group at what is written from now on.
    CommittedOrLatest,
    /// At these positions, in these partitions alone; at least one. The consumer takes no part in the group's
    /// sharing; it commits for the group all the same.
    Exactly(Vec<Position>),
}

/// Reads events of one type from their topic. Ends by [`close`](Self::close).
///
/// ```no_run
/// use caracal_kafka_client::events::MeteringEvent;
/// use caracal_kafka_client::{ConsumerOptions, Group, Kafka};
///
/// # async fn book(event: &MeteringEvent) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn run(kafka: Kafka) -> Result<(), Box<dyn std::error::Error>> {
/// let mut events =
///     kafka.consumer::<MeteringEvent>(Group::named("caracal-ledger"), ConsumerOptions::default()).await?;
/// loop {
///     // Committed when the handler ends well, handed out again when it does not.
///     events.handle(async |received| book(&received.event).await).await?;
/// }
/// # }
/// ```
pub struct Consumer<E: Event> {
    /// `None` only while it is being closed or dropped.
    pub(crate) client: Option<Arc<StreamConsumer<Context>>>,
    pub(crate) codec: Codec,
    pub(crate) kafka: Kafka,
    pub(crate) options: ConsumerOptions,
    pub(crate) topic: String,
    pub(crate) group: String,
    /// Taken from Kafka, not decoded: a cancelled or failed decoding starts again with it. One that
    /// cannot be decoded stays until it is committed, for which the lock is.
    raw: Mutex<Option<RawRecord>>,
    /// Decoded and handed to a handler that has not succeeded yet.
    unhandled: Option<Received<E>>,
    /// Handled, but the commit failed or was cancelled.
    uncommitted: Option<Position>,
    event: PhantomData<fn() -> E>,
}

impl<E: Event> std::fmt::Debug for Consumer<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("topic", &self.topic)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl<E: Event> Consumer<E> {
    pub(crate) async fn new(
        kafka: &Kafka,
        group: Group,
        options: ConsumerOptions,
    ) -> Result<Self, ConnectError> {
        let topic = kafka.profile().qualified(E::TOPIC);
        let group = kafka.profile().qualified(&group.name);
        let codec = Codec::new::<E>(kafka.registry::<E>()?, &topic)?;
        let mut config = kafka.config();
        config::consumer(&mut config, &group, &options);
        let context = kafka.context();
        let refused = |error: &KafkaError| ConnectError::configuration(error, |text| context.scrub(text));
        let client: StreamConsumer<Context> =
            config.create_with_context(context.clone()).map_err(|error| refused(&error))?;
        let consumer = Self {
            client: Some(Arc::new(client)),
            codec,
            kafka: kafka.clone(),
            options,
            topic,
            group,
            raw: Mutex::default(),
            unhandled: None,
            uncommitted: None,
            event: PhantomData,
        };
        // Behind `consumer`, so that it is never the last to go: that one blocks.
        let Some(client) = consumer.client.clone() else {
            return Err(refused(&KafkaError::Canceled));
        };
        let asked = {
            let (client, topic) = (Arc::clone(&client), consumer.topic.clone());
            tokio::task::spawn_blocking(move || client.fetch_metadata(Some(&topic), BROKER))
        };
        let partitions =
            kafka.topic_is_there(&consumer.topic, asked.await.unwrap_or(Err(KafkaError::Canceled)))?;
        consumer.group_is_ours(&client).await.map_err(|why| ConnectError::Group {
            group: consumer.group.clone(),
            principal: kafka.profile().principal.clone(),
            why,
        })?;
        match &consumer.options.from {
            ConsumeFrom::Exactly(positions) => {
                let list = kafka.positions(&consumer.topic, partitions, positions)?;
                client.assign(&list).map_err(|error| refused(&error))?;
            }
            _ => client.subscribe(&[&consumer.topic]).map_err(|error| refused(&error))?,
        }
        Ok(consumer)
    }

    /// Asks where the group stands. Only the answer matters: without the right to the group it would
    /// come with the first commit, which is late, and librdkafka would try again until a time-out.
    async fn group_is_ours(&self, client: &Arc<StreamConsumer<Context>>) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, 0);
        let (tell, mut told) = oneshot::channel();
        let asking = Arc::clone(client);
        std::thread::spawn(move || {
            let _ = tell.send(asking.committed_offsets(list, BROKER));
        });
        loop {
            tokio::select! {
                answer = &mut told => {
                    let list = answer
                        .unwrap_or(Err(KafkaError::Canceled))
                        .map_err(|error| last_word(client, error::code(&error)))?;
                    return list.elements().iter().try_for_each(|element| {
                        element.error().map_err(|error| error::code(&error))
                    });
                }
                // Nothing is assigned yet, so there are complaints here and no records.
                complaint = client.recv() => match complaint {
                    Err(error) if !passes(&error) => return Err(error::code(&error)),
                    _ => {}
                },
            }
        }
    }

    /// The next record, as soon as there is one. Commit it when it is handled, or use
    /// [`handle`](Self::handle), which does.
    ///
    /// Cancelling it is safe: no record is lost.
    ///
    /// # Errors
    /// [`ReceiveError`]: a record that cannot be decoded (handed over raw, and again by every call
    /// until it is committed), a registry that does not answer, a fault that Kafka reports. All but a
    /// fatal one leave the consumer usable.
    pub async fn recv(&mut self) -> Result<Received<E>, ReceiveError> {
        // Whoever commits by hand may be further by the time that this were tried again.
        self.uncommitted = None;
        self.take().await
    }

    async fn take(&mut self) -> Result<Received<E>, ReceiveError> {
        if let Some(received) = self.unhandled.take()
            && self.owns(&received.position)
        {
            return Ok(received);
        }
        self.fill().await?;
        self.decode().await
    }

    /// Waits for a record, has it handled, and commits it when the handler ends well. When it does
    /// not, nothing is committed and the next call hands out the same record. When only the commit
    /// fails, the next call begins with the commit and leaves the handler alone.
    ///
    /// A record that cannot be decoded stops it until somebody [commits](Self::commit) that record,
    /// which gives it up; [`run`](Self::run) writes it to the dead letters instead.
    ///
    /// # Errors
    /// [`HandleError`], which says which of the three failed.
    pub async fn handle<H>(
        &mut self,
        handler: impl AsyncFnOnce(&Received<E>) -> Result<(), H>,
    ) -> Result<(), HandleError<H>> {
        if let Some(position) = self.uncommitted.clone()
            && self.owns(&position)
        {
            self.commit(&position).await?;
        }
        self.uncommitted = None;
        let received = self.take().await?;
        // Kept here while the handler runs, so that a cancelled one loses nothing.
        let received = self.unhandled.insert(received);
        if let Err(source) = handler(received).await {
            return Err(HandleError::Handler { position: received.position.clone(), source });
        }
        let position = received.position.clone();
        self.unhandled = None;
        self.uncommitted = Some(position.clone());
        self.commit(&position).await?;
        self.uncommitted = None;
        Ok(())
    }

    /// Writes down that this record and all before it in its partition are handled.
    ///
    /// # Errors
    /// [`CommitError`]: the partition belongs to another member by now, or the broker refused.
    pub async fn commit(&self, handled: &impl AsRef<Position>) -> Result<(), CommitError> {
        let position = handled.as_ref();
        let failed = |why: String| CommitError { position: position.clone(), group: self.group.clone(), why };
        let Some(client) = self.client.clone() else { return Err(failed("the consumer is closed".into())) };
        // A broker takes a commit for any partition, and would set back the group that moved on.
        if !self.owns(position) {
            return Err(failed(
                "the partition is not this consumer's (any more); whoever has it will see the record".into(),
            ));
        }
        let mut list = TopicPartitionList::new();
        // Kafka's committed offset is the next one to read.
        list.add_partition_offset(
            &position.topic,
            position.partition,
            Offset::Offset(position.offset.saturating_add(1)),
        )
        .map_err(|error| failed(error::code(&error)))?;
        let (tell, told) = oneshot::channel();
        let committing = Arc::clone(&client);
        std::thread::spawn(move || {
            let _ = tell.send(committing.commit(&list, CommitMode::Sync));
        });
        match tokio::time::timeout(COMMIT, told).await {
            Ok(Ok(Ok(()))) => {
                client.client().context().forget();
                self.let_go(position);
                Ok(())
            }
            Ok(Ok(Err(error))) => Err(failed(error::code(&error))),
            Ok(Err(_)) => Err(failed("the consumer ended meanwhile".into())),
            Err(_) => {
                let why = format!("no answer within {} s, so it may have been", COMMIT.as_secs());
                Err(failed(last_word(&client, why)))
            }
        }
    }

    /// Leaves the group, so that its partitions go to other members at once. What was not committed
    /// is handed out again there. Returns whether that was done within `deadline`; the rest goes on
    /// in the background.
    pub async fn close(mut self, deadline: Duration) -> bool {
        let Some(client) = self.client.take() else { return true };
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let started = Instant::now();
            let mut client = client;
            loop {
                match Arc::try_unwrap(client) {
                    Ok(last) => {
                        drop(last);
                        let _ = tell.send(());
                        return;
                    }
                    // A commit under way has it too, and the group is left behind that.
                    Err(shared) if started.elapsed() < deadline => client = shared,
                    Err(_) => return,
                }
                #[expect(clippy::disallowed_methods, reason = "a thread of its own, until the deadline")]
                std::thread::sleep(SHARED);
            }
        });
        matches!(tokio::time::timeout(deadline, told).await, Ok(Ok(())))
    }

    /// The next record with what it says, or why it says nothing. It is taken either way: the caller
    /// keeps it, and commits or goes back.
    pub(crate) async fn next_pair(
        &mut self,
    ) -> Result<(RawRecord, Result<Received<E>, String>), ReceiveError> {
        self.fill().await?;
        let raw = self.raw.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = raw else { return self.nothing() };
        let (id, outcome) = self.codec.decode::<E>(record).await?;
        let Some(record) = raw.take() else { return self.nothing() };
        let event = outcome.map(|event| codec::received(event, id, record.clone()));
        Ok((record, event))
    }

    /// Has librdkafka go on at this position, if the partition is still ours.
    pub(crate) async fn go_to(&mut self, position: &Position) -> Result<(), ReceiveError> {
        self.kept().take_if(|raw| raw.position.partition == position.partition);
        if !self.owns(position) {
            return Ok(());
        }
        let Some(client) = self.client.clone() else { return Ok(()) };
        let (tell, told) = oneshot::channel();
        let Position { topic, partition, offset } = position.clone();
        // A thread of its own: librdkafka's call cannot be cancelled.
        std::thread::spawn(move || {
            let _ = tell.send(client.seek(&topic, partition, Offset::Offset(offset), BROKER));
        });
        told.await.unwrap_or(Err(KafkaError::Canceled)).map_err(|error| ReceiveError::Kafka {
            topic: self.topic.clone(),
            group: self.group.clone(),
            fatal: false,
            why: format!("cannot go back to {position}: {}", error::code(&error)),
        })
    }

    /// A record that is committed, or stands before one that is, is not handed out again.
    fn let_go(&self, committed: &Position) {
        let mut raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        raw.take_if(|raw| {
            (&raw.position.topic, raw.position.partition) == (&committed.topic, committed.partition)
                && raw.position.offset <= committed.offset
        });
    }

    /// Has librdkafka hand out again what is kept here, for one that asks there.
    pub(crate) async fn go_back(&mut self) -> Result<(), ReceiveError> {
        let raw = self.kept().take().map(|raw| raw.position);
        let unhandled = self.unhandled.take().map(|received| received.position);
        let Some(position) = unhandled.or(raw).filter(|position| self.owns(position)) else { return Ok(()) };
        self.go_to(&position).await
    }

    fn kept(&mut self) -> &mut Option<RawRecord> {
        // Replaced as a whole, so a panic elsewhere leaves nothing half done.
        self.raw.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the partition is this consumer's now. A member that did not poll in time has lost it
    /// before librdkafka, which tells by polling, takes it out of the assignment.
    fn owns(&self, position: &Position) -> bool {
        self.client.as_ref().is_some_and(|client| {
            !client.assignment_lost()
                && client
                    .assignment()
                    .is_ok_and(|list| list.find_partition(&position.topic, position.partition).is_some())
        })
    }

    /// Sees to it that there is a raw record.
    async fn fill(&mut self) -> Result<(), ReceiveError> {
        if let Some(raw) = self.kept().take()
            && self.owns(&raw.position)
        {
            *self.kept() = Some(raw);
            return Ok(());
        }
        let fault = |fatal: bool, why: String| ReceiveError::Kafka {
            topic: self.topic.clone(),
            group: self.group.clone(),
            fatal,
            why,
        };
        let Some(client) = self.client.clone() else {
            return Err(fault(true, "the consumer is closed".into()));
        };
        loop {
            match client.recv().await {
                Ok(message) => {
                    self.raw = Mutex::new(Some(raw(&message)));
                    return Ok(());
                }
                Err(error) if passes(&error) => {}
                Err(error) => {
                    let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
                    return Err(fault(fatal, error::code(&error)));
                }
            }
        }
    }

    /// Decodes the raw record, which stays where it is until its fate is known.
    async fn decode(&mut self) -> Result<Received<E>, ReceiveError> {
        let raw = self.raw.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = raw else { return self.nothing() };
        let (id, outcome) = self.codec.decode::<E>(record).await?;
        match outcome {
            Ok(event) => match raw.take() {
                Some(record) => Ok(codec::received(event, id, record)),
                None => self.nothing(),
            },
            // Kept: going on behind it would give it up with the next commit, and nobody decided that.
            Err(why) => {
                Err(ReceiveError::Undecodable { record: Box::new(record.clone()), expected: E::RECORD, why })
            }
        }
    }

    fn nothing<T>(&self) -> Result<T, ReceiveError> {
        let why = "no record was there to decode".into();
        Err(ReceiveError::Kafka { topic: self.topic.clone(), group: self.group.clone(), fatal: false, why })
    }
}

impl<E: Event> Drop for Consumer<E> {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        // librdkafka leaves the group here, without a deadline: not on an executor's thread.
        std::thread::spawn(move || drop(client));
    }
}

impl Kafka {
    /// The positions as an assignment, each checked to be of this topic.
    fn positions(
        &self,
        topic: &str,
        partitions: i32,
        positions: &[Position],
    ) -> Result<TopicPartitionList, ConnectError> {
        let mut list = TopicPartitionList::new();
        if positions.is_empty() {
            return Err(ConnectError::Topic {
                topic: topic.to_owned(),
                principal: self.profile().principal.clone(),
                why: "`ConsumeFrom::Exactly` names no position, so no record would ever come".into(),
            });
        }
        for position in positions {
            let fits = position.topic == topic
                && (0..partitions).contains(&position.partition)
                && position.offset >= 0;
            if !fits {
                return Err(ConnectError::Topic {
                    topic: topic.to_owned(),
                    principal: self.profile().principal.clone(),
                    why: format!("it has {partitions} partitions, and {position} is no place in them"),
                });
            }
            list.add_partition_offset(topic, position.partition, Offset::Offset(position.offset))
                .map_err(|error| ConnectError::configuration(&error, str::to_owned))?;
        }
        Ok(list)
    }
}

/// A symptom with librdkafka's own account of it, where there is one.
fn last_word(client: &StreamConsumer<Context>, why: String) -> String {
    match client.client().context().symptom() {
        Some(symptom) => format!("{why}; last word: {}", symptom.reason),
        None => why,
    }
}

/// What librdkafka reports on its way to trying again, and has logged already.
pub(crate) fn passes(error: &KafkaError) -> bool {
    matches!(error, KafkaError::PartitionEOF(_))
        || (!matches!(error, KafkaError::MessageConsumptionFatal(_))
            && matches!(
                error.rdkafka_error_code(),
                Some(
                    Code::AllBrokersDown
                        | Code::BrokerTransportFailure
                        | Code::Resolve
                        | Code::OperationTimedOut
                        | Code::RequestTimedOut
                )
            ))
}

pub(crate) fn raw(message: &BorrowedMessage<'_>) -> RawRecord {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| RecordHeader {
                name: header.key.to_owned(),
                value: header.value.map(<[u8]>::to_vec),
            })
            .collect()
    });
    RawRecord {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
        position: Position {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
        },
        timestamp: message.timestamp().to_millis().map(TimestampMillis),
    }
}

#[cfg(all(test, unix))]
#[path = "consumer_tests.rs"]
pub(crate) mod tests;
