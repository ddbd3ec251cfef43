//! [`Consumer::run`]: the loop between librdkafka and [`Machine`]. It decides nothing about records.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use rdkafka::consumer::{CommitMode, Consumer as _, MessageStream, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, Timestamp, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::codec;
use crate::consumer::{Consumer, passes};
use crate::context::{Context, Part, Rebalance};
use crate::dead_letter::{self, Failure, Story};
use crate::error::{self, ConnectError, ReceiveError, RunError};
use crate::events::{Event, TOPIC_DEAD_LETTERS, TimestampMillis};
use crate::fetch::raw;
use crate::flow::{Action, Limits, Machine, Random, Verdict};
use crate::handler::{Handled, Handler, RunReport};
use crate::producer::{Delivery, DeliveryHandle, ProducerOptions};
use crate::record::{RawRecord, Received};
use crate::send::{Message, Outbox};
use crate::shutdown::Shutdown;
use crate::trace;
use crate::watchdog::Watchdog;

/// Without anything else to do, the loop looks after itself this often.
const TICK: Duration = Duration::from_millis(200);

/// Records that are taken without a look at anything else; a rebalance that comes among them is seen to behind them.
const BATCH: usize = 32;

/// How long the question for the dead letters' topic may take.
const TOPIC: Duration = Duration::from_secs(10);

/// How long a commit may take that a rebalance or the end waits for.
const COMMIT: Duration = Duration::from_secs(10);

/// What the loop keeps with a record.
struct Job<E> {
    raw: RawRecord,
    log_append_time: bool,
    received: Option<Arc<Received<E>>>,
    /// The latest failure, and when the first and the latest one were.
    failure: Option<(Failure, i64, i64)>,
}

/// What comes back from another task.
enum Report {
    Handled(usize, Handled),
    Letter(usize, Result<(), String>),
}

struct Leaving {
    partitions: TopicPartitionList,
    /// They are somebody else's already, so there is nothing to commit.
    lost: bool,
    until: Instant,
}

impl<E: Event> Consumer<E> {
    /// Handles records until `shutdown`: several at once, those of one key in order. A failed record is
    /// tried again by [`ConsumerOptions::retry`](crate::ConsumerOptions), then written to
    /// `caracal.dlq` with key and value unchanged and headers that Spring's tools read; one that cannot
    /// be decoded goes there at once. An offset is committed when everything below it is handled or
    /// its dead letter is acknowledged; while the dead letters' topic is down nothing is given up.
    /// Polling never stops, so a slow handler costs no membership. In the end handlers may finish
    /// ([`ConsumerOptions::drain`](crate::ConsumerOptions)), what is handled is committed, and the
    /// group is left.
    ///
    /// # Errors
    /// [`RunError`]: the dead letters' topic cannot be used, librdkafka can go on no longer, or cannot
    /// go back to a record that [`handle`](Self::handle) left unhandled.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use caracal_kafka_client::events::MeteringEvent;
    /// use caracal_kafka_client::{ConsumerOptions, Group, Kafka, Received, Shutdown};
    ///
    /// # async fn book(event: &MeteringEvent) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn run(kafka: Kafka) -> Result<(), Box<dyn std::error::Error>> {
    /// let options = ConsumerOptions { concurrency: 16, ..ConsumerOptions::default() };
    /// let events = kafka.consumer::<MeteringEvent>(Group::named("caracal-ledger"), options).await?;
    /// let handler = |received: Arc<Received<MeteringEvent>>| async move { book(&received.event).await };
    /// let report = events.run(handler, Shutdown::on_signal()?).await?;
    /// println!("{} handled, {} dead letters", report.handled, report.dead_lettered);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run(mut self, handler: impl Handler<E>, shutdown: Shutdown) -> Result<RunReport, RunError> {
        let client = self
            .client
            .clone()
            .ok_or(ConnectError::Configuration { key: None, why: "the consumer is closed".into() })?;
        let topic = self.kafka.profile().qualified(TOPIC_DEAD_LETTERS);
        let letters = self.kafka.outbox(&topic, ProducerOptions::default())?;
        self.kafka.topic_is_there(&topic, letters.metadata(TOPIC).await)?;
        self.go_back().await?;
        let rebalances = client.context().report_rebalances();
        let mut run = Run::new(&mut self, client, handler, letters, rebalances);
        let ended = run.until(shutdown).await;
        let report = run.finish().await;
        drop(run);
        let drain = self.options.drain;
        self.close(drain).await;
        ended.map(|()| report)
    }
}

struct Run<'a, E: Event, H> {
    consumer: &'a mut Consumer<E>,
    client: Arc<StreamConsumer<Context>>,
    handler: Arc<H>,
    letters: Arc<Outbox>,
    machine: Machine<Job<E>>,
    rebalances: mpsc::UnboundedReceiver<Rebalance>,
    reports: (mpsc::UnboundedSender<Report>, mpsc::UnboundedReceiver<Report>),
    leaving: Option<Leaving>,
    watchdog: Watchdog,
    commit_at: Instant,
    report: RunReport,
}

impl<'a, E: Event, H: Handler<E>> Run<'a, E, H> {
    fn new(
        consumer: &'a mut Consumer<E>,
        client: Arc<StreamConsumer<Context>>,
        handler: H,
        letters: Arc<Outbox>,
        rebalances: mpsc::UnboundedReceiver<Rebalance>,
    ) -> Self {
        let options = &consumer.options;
        let limits = Limits { concurrency: options.concurrency, window: options.window };
        let mut machine = Machine::new(limits, options.retry.clone(), Random::new());
        // Those that came before somebody asked for reports, and those chosen by hand.
        for partition in client.assignment().map(|list| partitions(&list)).unwrap_or_default() {
            machine.assign(partition);
        }
        let watchdog = Watchdog::new(options.watchdog, options.from.is_by_group());
        let commit_at = Instant::now() + options.commit_interval;
        Self {
            consumer,
            client,
            handler: Arc::new(handler),
            letters,
            machine,
            rebalances,
            reports: mpsc::unbounded_channel(),
            leaving: None,
            watchdog,
            commit_at,
            report: RunReport::default(),
        }
    }

    async fn until(&mut self, mut shutdown: Shutdown) -> Result<(), RunError> {
        let client = Arc::clone(&self.client);
        let mut records = client.stream();
        loop {
            // librdkafka's stream knows nothing of the runtime's other tasks.
            tokio::task::consume_budget().await;
            self.act().await;
            let wake = self.wake_at();
            tokio::select! {
                biased;
                () = shutdown.due() => return Ok(()),
                Some(report) = self.reports.1.recv() => self.take_back(report),
                Some(rebalance) = self.rebalances.recv() => self.rebalance(rebalance),
                message = futures::StreamExt::next(&mut records) => match message {
                    Some(Ok(message)) => {
                        self.watchdog.heard();
                        self.take(&message);
                        self.take_more(&mut records)?;
                    }
                    Some(Err(error)) => self.complaint(&error)?,
                    None => return Ok(()),
                },
                () = self.watchdog.look(&client, || self.machine.paused()) => {
                    if let Some((waited, why)) = self.watchdog.verdict() {
                        return Err(self.consumer.silent(waited, why).into());
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            self.leave_when_idle().await;
            if self.commit_at <= Instant::now() {
                self.commit_at = Instant::now() + self.consumer.options.commit_interval;
                self.commit_in_passing();
            }
        }
    }

    /// Lets handlers end, commits, and gives rebalances back to librdkafka.
    async fn finish(&mut self) -> RunReport {
        self.machine.partitions().into_iter().for_each(|partition| self.machine.hold(partition));
        let until = Instant::now() + self.consumer.options.drain;
        let client = Arc::clone(&self.client);
        let mut records = client.stream();
        while self.machine.out() > 0 && Instant::now() < until {
            tokio::select! {
                Some(report) = self.reports.1.recv() => self.take_back(report),
                // Goes on polling, for the membership; what comes is seen again by the next member.
                _ = futures::StreamExt::next(&mut records) => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
        self.report.abandoned += self.machine.out() as u64;
        self.commit_now().await;
        self.client.context().carry_out_rebalances();
        while let Ok(rebalance) = self.rebalances.try_recv() {
            match rebalance {
                Rebalance::Assign(list) => self.take_part(&list, Part::Assign),
                Rebalance::Revoke { partitions, lost } => self.take_part(&partitions, Part::away(lost)),
            }
        }
        if let Some(leaving) = self.leaving.take() {
            self.take_part(&leaving.partitions, Part::away(leaving.lost));
        }
        self.report
    }

    fn take_part(&self, partitions: &TopicPartitionList, part: Part) {
        self.client.context().take_part(&*self.client, partitions, part);
    }

    fn now(&self) -> Duration {
        self.consumer.kafka.clock().now()
    }

    fn wake_at(&self) -> Instant {
        let due = self.machine.wake_at().map(|at| at.saturating_sub(self.now()));
        Instant::now() + due.map_or(TICK, |due| due.min(TICK))
    }

    /// What came with a record, without a look at anything else in between.
    fn take_more(&mut self, records: &mut MessageStream<'_, Context>) -> Result<(), RunError> {
        for _ in 0..BATCH {
            match futures::StreamExt::next(records).now_or_never() {
                Some(Some(Ok(message))) => self.take(&message),
                Some(Some(Err(error))) => return self.complaint(&error),
                Some(None) | None => break,
            }
        }
        Ok(())
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let log_append_time = matches!(message.timestamp(), Timestamp::LogAppendTime(_));
        let raw = raw(message);
        let (partition, offset) = (raw.position.partition, raw.position.offset);
        let mut key = DefaultHasher::new();
        raw.key.hash(&mut key);
        let job = Job { raw, log_append_time, received: None, failure: None };
        self.machine.take(partition, offset, key.finish(), job);
    }

    /// Does whatever can be done now.
    async fn act(&mut self) {
        while let Some(action) = self.machine.next(self.now()) {
            match action {
                Action::Handle(id) => self.handle(id).await,
                Action::DeadLetter(id) => self.write_letter(id),
            }
        }
        for (partition, pause) in self.machine.pauses() {
            let list = list(&self.consumer.topic, [(partition, Offset::Invalid)]);
            let done = if pause { self.client.pause(&list) } else { self.client.resume(&list) };
            if let Err(error) = done {
                tracing::warn!(partition, pause, "cannot pause or resume: {}", error::code(&error));
            }
        }
    }

    async fn handle(&mut self, id: usize) {
        let now = self.now();
        let Some(job) = self.machine.job(id) else { return };
        if job.received.is_none() {
            match self.consumer.codec.decode::<E>(&job.raw).await {
                Ok((schema_id, Ok(event))) => {
                    job.received = Some(Arc::new(codec::received(event, schema_id, &job.raw)));
                }
                Ok((_, Err(why))) => {
                    let why = Failure::new("caracal.Undecodable", format!("it is no `{}`: {why}", E::RECORD));
                    return self.take_back(Report::Handled(id, Handled::DeadLetter(why)));
                }
                Err(error) => {
                    // The registry's fault, not the record's.
                    tracing::warn!("{error}");
                    self.machine.finished(id, Verdict::Postpone, now);
                    return;
                }
            }
        }
        let Some(received) = self.machine.job(id).and_then(|job| job.received.clone()) else { return };
        let handler = Arc::clone(&self.handler);
        let span = trace::process(&self.consumer.group, &received.position, &received.headers);
        let handling = async move { handler.handle(received).await }.instrument(span);
        let mut handling = Box::pin(AssertUnwindSafe(handling).catch_unwind().map(|ended| {
            ended.unwrap_or_else(|_| Handled::Retry(Failure::new("panic", "the handler panicked")))
        }));
        // Most handlers that need no waiting end here, without a task of their own.
        if let Poll::Ready(handled) = futures::poll!(handling.as_mut()) {
            return self.take_back(Report::Handled(id, handled));
        }
        let tell = self.reports.0.clone();
        tokio::spawn(async move {
            let _ = tell.send(Report::Handled(id, handling.await));
        });
    }

    fn take_back(&mut self, report: Report) {
        let now = self.now();
        match report {
            Report::Handled(id, Handled::Done) => {
                if self.machine.finished(id, Verdict::Done, now).is_some() {
                    self.report.handled += 1;
                }
            }
            Report::Handled(id, Handled::Retry(why)) => {
                self.note(id, why);
                let last = self.machine.failed(id) + 1 >= self.consumer.options.retry.attempts();
                self.report.retried += u64::from(!last);
                self.machine.finished(id, Verdict::Retry, now);
            }
            Report::Handled(id, Handled::DeadLetter(why)) => {
                self.note(id, why);
                self.machine.finished(id, Verdict::DeadLetter, now);
            }
            Report::Letter(id, written) => {
                if let Err(why) = &written {
                    tracing::error!("a dead letter was not written, so its record stays: {why}");
                }
                if self.machine.dead_lettered(id, written.is_ok(), now).is_some() {
                    self.report.dead_lettered += 1;
                }
            }
        }
    }

    fn note(&mut self, id: usize, why: Failure) {
        let Some(job) = self.machine.job(id) else { return };
        tracing::warn!(at = %job.raw.position, kind = why.kind(), "a record was not handled: {}", why.message());
        let now = TimestampMillis::now().0;
        let first = job.failure.as_ref().map_or(now, |(_, first, _)| *first);
        job.failure = Some((why, first, now));
    }

    fn write_letter(&mut self, id: usize) {
        let attempts = self.machine.failed(id);
        let Some(job) = self.machine.job(id) else { return };
        let Some((failure, first, last)) = &job.failure else { return };
        let story = Story {
            group: &self.consumer.group,
            failure,
            attempts,
            first: *first,
            last: *last,
            log_append_time: job.log_append_time,
        };
        let headers = dead_letter::headers(&job.raw, &story);
        let (key, value) = (job.raw.key.as_deref(), job.raw.value.as_deref());
        let sent = self.letters.send(&Message { key, value, headers: &headers, ..Message::default() });
        let tell = self.reports.0.clone();
        match sent {
            // Tried again as after any other failure.
            Err(refusal) => {
                let _ = tell.send(Report::Letter(id, Err(refusal.to_string())));
            }
            Ok(slot) => {
                let delivery = DeliveryHandle::new(&self.letters, slot);
                tokio::spawn(async move {
                    let written = match delivery.await {
                        Delivery::Written(_) => Ok(()),
                        Delivery::NotWritten(why) => Err(why.to_string()),
                        // Perhaps twice is better than perhaps never.
                        Delivery::Unknown(why) => Err(why.to_string()),
                    };
                    let _ = tell.send(Report::Letter(id, written));
                });
            }
        }
    }

    fn rebalance(&mut self, rebalance: Rebalance) {
        match rebalance {
            Rebalance::Assign(list) => {
                partitions(&list).into_iter().for_each(|partition| self.machine.assign(partition));
                self.take_part(&list, Part::Assign);
            }
            Rebalance::Revoke { partitions: list, lost } => {
                partitions(&list).into_iter().for_each(|partition| self.machine.hold(partition));
                let drain = if lost { Duration::ZERO } else { self.consumer.options.drain };
                self.leaving = Some(Leaving { partitions: list, lost, until: Instant::now() + drain });
            }
        }
    }

    /// Lets partitions go whose handlers have ended, or whose time is over.
    async fn leave_when_idle(&mut self) {
        let Some(leaving) = self.leaving.take() else { return };
        let ours = partitions(&leaving.partitions);
        let busy = ours.iter().any(|partition| !self.machine.is_idle(*partition));
        if busy && Instant::now() < leaving.until {
            self.leaving = Some(leaving);
            return;
        }
        if !leaving.lost {
            self.commit_now().await;
        }
        for partition in ours {
            self.report.abandoned += self.machine.revoke(partition) as u64;
        }
        self.take_part(&leaving.partitions, Part::away(leaving.lost));
    }

    /// Commits without waiting. A failure is logged where librdkafka reports it, and the next commit
    /// of the partition makes up for it.
    fn commit_in_passing(&mut self) {
        let commits = self.machine.commits();
        if commits.is_empty() {
            return;
        }
        let offsets = commits.iter().map(|(partition, to)| (*partition, Offset::Offset(*to)));
        let told = self.client.commit(&list(&self.consumer.topic, offsets), CommitMode::Async).is_ok();
        for (partition, to) in commits {
            self.machine.committed(partition, to, told);
        }
    }

    /// Commits everything that is settled, also what was committed in passing, and waits for the answer.
    async fn commit_now(&mut self) {
        for partition in self.machine.partitions() {
            self.machine.committed(partition, 0, false);
        }
        let commits = self.machine.commits();
        if commits.is_empty() {
            return;
        }
        let offsets = commits.iter().map(|(partition, to)| (*partition, Offset::Offset(*to)));
        let list = list(&self.consumer.topic, offsets);
        let (client, (tell, told)) = (Arc::clone(&self.client), tokio::sync::oneshot::channel());
        // A thread of its own: librdkafka's call cannot be cancelled.
        std::thread::spawn(move || {
            let _ = tell.send(client.commit(&list, CommitMode::Sync));
        });
        let answer = tokio::time::timeout(COMMIT, told).await;
        let good = matches!(answer, Ok(Ok(Ok(()))));
        if !good {
            tracing::warn!(group = %self.consumer.group, "the last commit failed: records will be seen again");
        }
        for (partition, to) in commits {
            self.machine.committed(partition, to, good);
        }
    }

    fn complaint(&mut self, error: &KafkaError) -> Result<(), RunError> {
        if let KafkaError::PartitionEOF(partition) = error {
            self.watchdog.ended(&[*partition]);
        }
        if passes(error) {
            return Ok(());
        }
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let why = error::code(error);
        if fatal {
            let (topic, group) = (self.consumer.topic.clone(), self.consumer.group.clone());
            return Err(ReceiveError::Kafka { topic, group, fatal, why }.into());
        }
        tracing::warn!(topic = %self.consumer.topic, group = %self.consumer.group, "{why}");
        Ok(())
    }
}

fn partitions(list: &TopicPartitionList) -> HashSet<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}

fn list(topic: &str, offsets: impl IntoIterator<Item = (i32, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        // Only an offset below zero is refused, and there is none.
        let _ = list.add_partition_offset(topic, partition, offset);
    }
    list
}
