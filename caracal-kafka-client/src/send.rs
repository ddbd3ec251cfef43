//! The way out: one topic, one librdkafka client at a time, and an outcome for each record.
//!
//! A client that reports a fatal error takes nothing more. It is replaced by a new one; what it had under
//! way ends as unknown, for the broker may have written it. Callers see a record's outcome and never
//! which client it went through.

mod client;
mod deliveries;
pub(crate) mod slots;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig};
use tokio::sync::oneshot;

use crate::context::Context;
use crate::error::{self, ConnectError, EnqueueError};
use crate::producer::CloseReport;
use crate::record::RecordHeader;
use client::Client;
use deliveries::{Deliveries, Shared, complain};
use slots::Outcome;

/// How long the outcomes of records that are given up may take; they come from this machine alone.
const GIVE_UP: Duration = Duration::from_secs(30);

/// A full queue is looked at again after this long, should a notification be missed.
const ROOM: Duration = Duration::from_millis(50);

/// A client that fails sooner than this after it was made is not replaced at once.
const PAUSE: Duration = Duration::from_secs(1);

/// A record's parts, borrowed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Message<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [RecordHeader],
    pub(crate) partition: Option<i32>,
    /// Milliseconds since 1970.
    pub(crate) timestamp: Option<i64>,
}

/// Why a record was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the queue is full")]
    Full,
    #[error("the client was replaced a moment ago, and has failed again")]
    Resting,
    /// Nothing will change that.
    #[error(transparent)]
    Never(EnqueueError),
}

/// The outbox of one topic.
pub(crate) struct Outbox {
    shared: Arc<Shared>,
    /// `None`: closed.
    live: RwLock<Option<Live>>,
    /// Makes a client's configuration, with the password in it: not kept.
    config: Box<dyn Fn() -> ClientConfig + Send + Sync>,
    context: Box<dyn Fn() -> Context + Send + Sync>,
    /// Where the counts go in the end.
    ledger: Arc<Mutex<CloseReport>>,
}

struct Live {
    client: Client,
    number: u32,
    since: Instant,
    /// Ends what it has under way and takes nothing more: another one is about to take its place.
    leaving: bool,
    /// Which replacement of the connection's credentials it was made after.
    generation: u64,
}

impl Live {
    fn new(client: Client, number: u32) -> Self {
        Self { client, number, since: Instant::now(), leaving: false, generation: 0 }
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("topic", &self.shared.topic).finish_non_exhaustive()
    }
}

impl Outbox {
    pub(crate) fn new(
        topic: &str,
        config: impl Fn() -> ClientConfig + Send + Sync + 'static,
        context: impl Fn() -> Context + Send + Sync + 'static,
        ledger: Arc<Mutex<CloseReport>>,
    ) -> Result<Arc<Self>, ConnectError> {
        let outbox = Self {
            shared: Arc::new(Shared::of(topic)),
            live: RwLock::new(None),
            config: Box::new(config),
            context: Box::new(context),
            ledger,
        };
        let client = outbox.client(0)?;
        *outbox.write() = Some(Live::new(client, 0));
        Ok(Arc::new(outbox))
    }

    /// Its client was made after so many replacements of the connection's credentials.
    pub(crate) fn is_of(&self, generation: u64) {
        if let Some(live) = self.write().as_mut() {
            live.generation = generation;
        }
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.shared.topic
    }

    fn client(&self, number: u32) -> Result<Client, ConnectError> {
        let context = (self.context)();
        let shared = Arc::clone(&self.shared);
        let (known, wakes) = (context.clone(), Arc::default());
        let deliveries = Deliveries { context: known, shared, client: number, wakes };
        Client::new(&(self.config)(), deliveries)
            .map_err(|error| ConnectError::configuration(&error, |text| context.scrub(text)))
    }

    /// What the brokers know of the topic.
    pub(crate) async fn metadata(&self, within: Duration) -> Result<Metadata, KafkaError> {
        let Some(client) = self.read().as_ref().map(|live| Arc::clone(live.client.producer())) else {
            return Err(KafkaError::Canceled);
        };
        let topic = Arc::clone(&self.shared.topic);
        let asked = tokio::task::spawn_blocking(move || client.client().fetch_metadata(Some(&topic), within));
        asked.await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// Hands a record over, or says why not; never waits. The number is the record's slot.
    pub(crate) fn send(&self, message: &Message<'_>) -> Result<usize, Refusal> {
        let failed = {
            let live = self.read();
            let Some(live) = &*live else {
                return Err(Refusal::Never(self.refused("the producer is closed".into())));
            };
            if live.leaving {
                return Err(Refusal::Full);
            }
            let slot = self.shared.slots.open(live.number);
            let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&self.shared.topic, slot);
            // A tombstone stays one, and a record without key stays without.
            (record.key, record.payload) = (message.key, message.value);
            (record.partition, record.timestamp) = (message.partition, message.timestamp);
            record.headers = headers(message.headers);
            // Counted first: the outcome may be known before `send` returns.
            self.shared.taken.fetch_add(1, Ordering::Relaxed);
            match live.client.producer().send(record) {
                Ok(()) => return Ok(slot),
                Err((error, _)) => {
                    self.shared.taken.fetch_sub(1, Ordering::Relaxed);
                    self.shared.slots.take_back(slot);
                    if error.rdkafka_error_code() == Some(Code::QueueFull) {
                        return Err(Refusal::Full);
                    }
                    match live.client.producer().client().fatal_error() {
                        Some((code, text)) => {
                            let text = (self.context)().scrub(&text);
                            (live.number, format!("{}: {text}", error::sentence(code)))
                        }
                        None => return Err(Refusal::Never(self.refused(error::code(&error)))),
                    }
                }
            }
        };
        let (number, why) = failed;
        self.replace(number, &why)?;
        self.send(message)
    }

    /// As [`send`](Self::send), and waits for room, or for a client that can be used.
    pub(crate) async fn send_when_there_is_room(&self, message: &Message<'_>) -> Result<usize, EnqueueError> {
        let mut waits = None;
        loop {
            // Registered before the attempt, so that room made meanwhile is not missed.
            let room = self.shared.room.notified();
            let pause = match self.send(message) {
                Ok(slot) => return Ok(slot),
                Err(Refusal::Never(error)) => return Err(error),
                // Once more: whoever made room before this was counted told nobody.
                Err(_) if waits.is_none() => {
                    waits = Some(Waits::new(&self.shared));
                    continue;
                }
                Err(Refusal::Full) => ROOM,
                Err(Refusal::Resting) => PAUSE,
            };
            let _ = tokio::time::timeout(pause, room).await;
        }
    }

    /// A new client in place of the one that failed.
    fn replace(&self, failed: u32, why: &str) -> Result<(), Refusal> {
        let mut live = self.write();
        let Some(old) = live.as_mut().filter(|live| live.number == failed) else { return Ok(()) };
        if failed > 0 && old.since.elapsed() < PAUSE {
            return Err(Refusal::Resting);
        }
        let number = failed.wrapping_add(1);
        let client = self.client(number).map_err(|error| {
            let topic = self.shared.topic.to_string();
            Refusal::Never(EnqueueError::Fatal { topic, why: format!("{why}, and then: {error}") })
        })?;
        tracing::error!(topic = %self.shared.topic, "the client failed and is replaced: {why}");
        let next = Live { generation: old.generation, ..Live::new(client, number) };
        let old = std::mem::replace(old, next);
        drop(live);
        let shared = Arc::clone(&self.shared);
        // It takes a while, which whoever sends does not have.
        std::thread::spawn(move || give_up(old, &shared));
        Ok(())
    }

    /// Has a new client take over, by what the configuration says now. The old one ends what it has under way first,
    /// and until then nothing is taken, so that order holds and nothing is written twice. Whether that was so within
    /// `patience`; if not, the old one goes on.
    pub(crate) async fn renew(
        self: &Arc<Self>,
        generation: u64,
        patience: Duration,
    ) -> Result<bool, ConnectError> {
        let this = Arc::clone(self);
        // A task of its own: whoever waits may be cancelled, and the old client would take nothing for ever.
        let renewing = tokio::spawn(async move { this.renew_now(generation, patience).await });
        renewing.await.unwrap_or(Ok(false))
    }

    async fn renew_now(&self, generation: u64, patience: Duration) -> Result<bool, ConnectError> {
        let old = {
            let mut live = self.write();
            let behind = |live: &&mut Live| !live.leaving && live.generation < generation;
            let Some(live) = live.as_mut().filter(behind) else { return Ok(true) };
            live.leaving = true;
            (Arc::clone(live.client.producer()), live.number)
        };
        let (client, number) = old;
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let _ = tell.send(client.flush(patience).is_ok());
        });
        let drained = told.await.unwrap_or(false);
        let next = if drained { self.client(number.wrapping_add(1)).map(Some) } else { Ok(None) };
        let mut live = self.write();
        // Closed, or failed and replaced meanwhile: by the new configuration too.
        let Some(now) = live.as_mut().filter(|live| live.number == number) else { return Ok(true) };
        now.leaving = false;
        let done = next.map(|next| {
            next.map(|client| {
                let next = Live { generation, ..Live::new(client, number.wrapping_add(1)) };
                std::mem::replace(now, next)
            })
        });
        drop(live);
        self.shared.room.notify_waiters();
        let Some(old) = done? else { return Ok(false) };
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || give_up(old, &shared));
        Ok(true)
    }

    /// Waits for outcomes until the deadline; what has none by then is given up. Blocks no executor.
    pub(crate) async fn close(&self, deadline: Duration) -> CloseReport {
        let live = self.write().take();
        if let Some(live) = live {
            let (tell, told) = oneshot::channel();
            let shared = Arc::clone(&self.shared);
            // Not a thread of the runtime's: nothing can cancel librdkafka.
            std::thread::spawn(move || {
                let _ = live.client.producer().flush(deadline);
                give_up(live, &shared);
                let _ = tell.send(());
            });
            let _ = told.await;
        }
        self.shared.report()
    }

    /// Waits until each record that was taken has its outcome. Whether that was so by the deadline.
    pub(crate) async fn flush(&self, deadline: Duration) -> bool {
        let Some(client) = self.read().as_ref().map(|live| Arc::clone(live.client.producer())) else {
            return true;
        };
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let _ = tell.send(client.flush(deadline).is_ok());
        });
        told.await.unwrap_or(false) && self.shared.open() == 0
    }

    /// Records that were taken and have no outcome yet.
    pub(crate) fn open(&self) -> u64 {
        self.shared.open()
    }

    pub(crate) fn poll(&self, slot: usize, waker: &std::task::Waker) -> std::task::Poll<Outcome> {
        self.shared.slots.poll(slot, waker)
    }

    pub(crate) fn forget(&self, slot: usize) {
        complain(&self.shared.topic, self.shared.slots.forget(slot));
    }

    pub(crate) fn refused(&self, why: String) -> EnqueueError {
        EnqueueError::Refused { topic: self.shared.topic.to_string(), why }
    }

    // The content is replaced as a whole, so a panic elsewhere leaves nothing half done.
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Option<Live>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Option<Live>> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let live = self.write().take();
        // Whatever has no outcome now ends as unknown.
        let report = self.shared.report();
        {
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            *ledger = ledger.plus(report);
        }
        let Some(live) = live else { return };
        let records = self.open();
        if records > 0 {
            tracing::error!(
                topic = %self.shared.topic,
                records,
                "a producer was dropped with records in its queue, which are given up: close it instead"
            );
        }
        let shared = Arc::clone(&self.shared);
        // It takes a while, which an executor's thread does not have.
        std::thread::spawn(move || give_up(live, &shared));
    }
}

/// Counts those who wait, so that a delivery wakes nobody where nobody waits.
struct Waits<'a>(&'a Shared);

impl<'a> Waits<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn headers(headers: &[RecordHeader]) -> Option<OwnedHeaders> {
    if headers.is_empty() {
        return None;
    }
    let mut list = OwnedHeaders::new_with_capacity(headers.len());
    for header in headers {
        list = list.insert(Header { key: &header.name, value: header.value.as_deref() });
    }
    Some(list)
}

/// Gives up what has no outcome yet, with an outcome for each: blocks until they are served.
///
/// rdkafka's own drop does the same but serves outcomes for half a second only, and a handle whose
/// outcome is not served would wait for ever.
fn give_up(live: Live, shared: &Shared) {
    let Live { client, number, .. } = live;
    client.producer().purge(PurgeConfig::default().queue().inflight());
    if client.producer().flush(GIVE_UP).is_err() {
        let records = client.producer().in_flight_count();
        tracing::error!(records, "records that were given up have no outcome after {GIVE_UP:?}");
    }
    shared
        .slots
        .abandon(number, &Outcome::Unknown("its client was given up before the broker answered".into()));
    drop(client);
}
