//! A consumer of one event type. Nothing is committed unless the caller says that it was handled.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use crate::codec::{self, Codec};
use crate::config;
use crate::connect::Kafka;
use crate::context::Context;
use crate::error::{self, CommitError, ConnectError, HandleError, ReceiveError};
use crate::events::{Event, TimestampMillis};
use crate::fetch::{Fetched, Taken};
use crate::flow::RetryPolicy;
use crate::keep;
use crate::record::{Position, RawRecord, Received};
use crate::seek;
use crate::share::ShareHook;
use crate::watchdog::Watchdog;

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

    /// The name, without a namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a service may choose. Isolation and commits are not among it: a consumer reads committed
/// records only and never commits by itself.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// Where to begin. Default [`ConsumeFrom::CommittedOrEarliest`].
    pub from: ConsumeFrom,
    /// A member that does not poll for so long is taken for stuck and loses its partitions
    /// (`max.poll.interval.ms`). Handlers of [`Consumer::handle`] and [`Consumer::run`] may take longer: what the member
    /// has is paused and polled for meanwhile. Whoever calls [`Consumer::recv`] has to call it often enough.
    /// Default 5 minutes, at least 45 seconds.
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
    /// After so long without a record the brokers are asked whether there is one; if fetching anew brings nothing for
    /// as long again, [`ReceiveError::Silent`] says so. Default 1 minute; `None` asks nobody.
    pub watchdog: Option<Duration>,
    /// Is told when partitions come and go. Default none.
    pub on_share_change: ShareHook,
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
            watchdog: Some(Duration::from_secs(60)),
            on_share_change: ShareHook::default(),
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
    /// At the oldest record of every partition. The consumer takes no part in the group's sharing; it commits for the
    /// group all the same.
    Beginning,
    /// At the first record of every partition that is not older, or at what is written from now on where there is
    /// none. As `Beginning` otherwise.
    Time(TimestampMillis),
    /// At these positions, in these partitions alone; at least one. The consumer takes no part in the group's
    /// sharing; it commits for the group all the same.
    Exactly(Vec<Position>),
}

impl ConsumeFrom {
    /// Whether the group says where to begin.
    pub(crate) const fn is_by_group(&self) -> bool {
        matches!(self, Self::CommittedOrEarliest | Self::CommittedOrLatest)
    }
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
    pub(crate) fetched: Fetched<E>,
    watchdog: Watchdog,
    /// The next record, not decoded: a cancelled or failed decoding starts again with it. One that
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
        context.tell_of_shares(options.on_share_change.clone());
        let refused = |error: &KafkaError| ConnectError::configuration(error, |text| context.scrub(text));
        let client: StreamConsumer<Context> =
            config.create_with_context(context.clone()).map_err(|error| refused(&error))?;
        let watchdog = Watchdog::new(options.watchdog, options.from.is_by_group());
        let consumer = Self {
            client: Some(Arc::new(client)),
            codec,
            kafka: kafka.clone(),
            options,
            topic,
            group,
            fetched: Fetched::new(),
            watchdog,
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
            ConsumeFrom::Beginning | ConsumeFrom::Time(_) => {
                let mut list = TopicPartitionList::new();
                for partition in 0..partitions {
                    list.add_partition_offset(&consumer.topic, partition, Offset::Beginning)
                        .map_err(|error| refused(&error))?;
                }
                if let ConsumeFrom::Time(time) = consumer.options.from {
                    list = seek::at_time(&client, &list, time.0).await.map_err(|error| refused(&error))?;
                }
                client.assign(&list).map_err(|error| refused(&error))?;
            }
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
        match self.next_taken().await? {
            Taken::Event(received) => Ok(received),
            Taken::Raw(raw) => {
                *self.kept() = Some(raw);
                self.decode().await
            }
        }
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
        let position = received.position.clone();
        let received = self.unhandled.insert(received);
        let handling = handler(received);
        let ended = match &self.client {
            Some(client) => {
                let interval = self.options.max_handling_time;
                keep::while_it_works(handling, client, &self.codec, &mut self.fetched, interval).await
            }
            None => handling.await,
        };
        if let Err(source) = ended {
            return Err(HandleError::Handler { position, source });
        }
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
        self.fetched.keep_bytes();
        match self.next_taken().await? {
            Taken::Raw(raw) => *self.kept() = Some(raw),
            Taken::Event(_) => return self.nothing(),
        }
        let raw = self.raw.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = raw else { return self.nothing() };
        let (id, outcome) = self.codec.decode::<E>(record).await?;
        let Some(record) = raw.take() else { return self.nothing() };
        let event = outcome.map(|event| codec::received(event, id, &record));
        Ok((record, event))
    }

    /// Has librdkafka go on at this position, if the partition is still ours.
    pub(crate) async fn go_to(&mut self, position: &Position) -> Result<(), ReceiveError> {
        self.kept().take_if(|raw| raw.position.partition == position.partition);
        self.fetched.forget(position.partition);
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
        let mut begins = self.fetched.give_back();
        let raw = self.kept().take().map(|raw| raw.position);
        let unhandled = self.unhandled.take().map(|received| received.position);
        // They came before whatever is fetched.
        begins.extend(raw.into_iter().chain(unhandled).map(|at| (at.partition, at.offset)));
        for (partition, offset) in begins {
            let position = Position { topic: self.topic.clone(), partition, offset };
            self.go_to(&position).await?;
        }
        Ok(())
    }

    /// Forgets what is kept of a partition, for one that goes elsewhere in it.
    pub(crate) fn drop_kept(&mut self, partition: i32) {
        self.fetched.forget(partition);
        self.kept().take_if(|raw| raw.position.partition == partition);
        self.unhandled.take_if(|received| received.position.partition == partition);
        self.uncommitted.take_if(|position| position.partition == partition);
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

    /// The next record: the one that was not decoded yet, else the next one of the batch, else the next batch's.
    async fn next_taken(&mut self) -> Result<Taken<E>, ReceiveError> {
        if let Some(raw) = self.kept().take()
            && self.owns(&raw.position)
        {
            return Ok(Taken::Raw(raw));
        }
        loop {
            let Some(client) = &self.client else {
                return Err(self.fault(true, "the consumer is closed".into()));
            };
            match self.fetched.next(client, &self.codec) {
                Ok(Some(taken)) => return Ok(taken),
                Ok(None) => {
                    tokio::select! {
                        biased;
                        () = self.fetched.wait(client, &self.codec) => {}
                        () = self.watchdog.look(client, BTreeSet::new) => {}
                    }
                    self.watchdog.ended(&self.fetched.ended());
                    if !self.fetched.is_empty() {
                        self.watchdog.heard();
                    }
                    if let Some((waited, why)) = self.watchdog.verdict() {
                        return Err(self.silent(waited, why));
                    }
                }
                Err(error) => {
                    let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
                    return Err(self.fault(fatal, error::code(&error)));
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
                Some(record) => Ok(codec::received(event, id, &record)),
                None => self.nothing(),
            },
            // Kept: going on behind it would give it up with the next commit, and nobody decided that.
            Err(why) => {
                Err(ReceiveError::Undecodable { record: Box::new(record.clone()), expected: E::RECORD, why })
            }
        }
    }

    pub(crate) fn silent(&self, waited: Duration, why: String) -> ReceiveError {
        ReceiveError::Silent { topic: self.topic.clone(), group: self.group.clone(), waited, why }
    }

    fn nothing<T>(&self) -> Result<T, ReceiveError> {
        Err(self.fault(false, "no record was there to decode".into()))
    }

    pub(crate) fn fault(&self, fatal: bool, why: String) -> ReceiveError {
        ReceiveError::Kafka { topic: self.topic.clone(), group: self.group.clone(), fatal, why }
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

#[cfg(all(test, unix))]
#[path = "consumer_tests.rs"]
pub(crate) mod tests;

#[cfg(all(test, unix))]
#[path = "consumer_more_tests.rs"]
mod more_tests;
