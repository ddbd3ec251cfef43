//! What a consumer has taken from librdkafka and not handed out yet.
//!
//! Records are taken in batches: one wait for the first, then whatever is there already. Each is decoded while it
//! still lies in librdkafka's memory, so that no bytes are copied that the event does not hold. What cannot be decoded
//! at once is kept as it is.
//!
//! A batch may outlast a rebalance. Rebalances happen only while somebody polls, and whoever polls here drops the
//! records of each partition that was taken away meanwhile, also when it came back: somebody else may have gone on
//! in between, and librdkafka reads them again from where the group stands.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use futures::{FutureExt as _, StreamExt as _};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use crate::codec::Codec;
use crate::consumer::passes;
use crate::context::Context;
use crate::events::{Event, TimestampMillis};
use crate::record::{Position, RawRecord, Received, RecordHeader};

/// Most records of a batch: enough to make the first one's wait cheap, little enough to be no second window.
const BATCH: usize = 256;

/// A batch that is handed out slowly does not keep the consumer from polling, by which the group knows it alive.
const POLL: Duration = Duration::from_secs(1);

/// One record.
pub(crate) enum Taken<E> {
    Event(Received<E>),
    Raw(RawRecord),
}

impl<E> Taken<E> {
    pub(crate) const fn position(&self) -> &Position {
        match self {
            Self::Event(received) => &received.position,
            Self::Raw(raw) => &raw.position,
        }
    }
}

/// A batch, and how the one behind it begins.
pub(crate) struct Fetched<E> {
    records: VecDeque<Taken<E>>,
    /// Behind the records.
    failed: Option<KafkaError>,
    /// Partitions whose end was reached, until somebody asks.
    ended: Vec<i32>,
    polled: Instant,
    /// Whether each record is to be kept with its bytes, for whoever may have to write them elsewhere.
    whole: bool,
}

impl<E: Event> Fetched<E> {
    pub(crate) fn new() -> Self {
        Self {
            records: VecDeque::new(),
            failed: None,
            ended: Vec::new(),
            polled: Instant::now(),
            whole: false,
        }
    }

    /// Keeps every record's bytes from now on.
    pub(crate) const fn keep_bytes(&mut self) {
        self.whole = true;
    }

    /// The next record that is here, if any; polls where it is time to.
    pub(crate) fn next(
        &mut self,
        client: &StreamConsumer<Context>,
        codec: &Codec,
    ) -> Result<Option<Taken<E>>, KafkaError> {
        if self.records.is_empty() && self.failed.is_none() {
            return Ok(None);
        }
        if self.polled.elapsed() > POLL && self.failed.is_none() {
            self.more(client, codec, 1);
        }
        if client.assignment_lost() {
            self.records.clear();
        }
        match self.records.pop_front() {
            Some(taken) => Ok(Some(taken)),
            None => self.failed.take().map_or(Ok(None), Err),
        }
    }

    /// Waits for a record, and takes what comes with it. Cancelling it loses nothing.
    pub(crate) async fn wait(&mut self, client: &StreamConsumer<Context>, codec: &Codec) {
        // librdkafka's stream knows nothing of the runtime's other tasks.
        tokio::task::consume_budget().await;
        let first = client.recv().await;
        self.push(client, codec, first);
        self.more(client, codec, BATCH);
    }

    /// Takes what is there, without waiting.
    fn more(&mut self, client: &StreamConsumer<Context>, codec: &Codec, most: usize) {
        let mut stream = client.stream();
        for _ in 0..most {
            if self.failed.is_some() {
                break;
            }
            let Some(Some(message)) = stream.next().now_or_never() else { break };
            self.push(client, codec, message);
        }
        self.polled = Instant::now();
        self.drop_what_went(client);
    }

    fn push(
        &mut self,
        client: &StreamConsumer<Context>,
        codec: &Codec,
        message: Result<BorrowedMessage<'_>, KafkaError>,
    ) {
        // What was taken away was so before this record came.
        self.drop_what_went(client);
        match message {
            Ok(message) => {
                let now = if self.whole { None } else { codec.decode_now::<E>(message.payload()) };
                self.records.push_back(match now {
                    Some((schema_id, event)) => Taken::Event(Received {
                        event,
                        key: message.key().map(<[u8]>::to_vec),
                        headers: headers(&message),
                        position: position(&message),
                        timestamp: message.timestamp().to_millis().map(TimestampMillis),
                        schema_id,
                    }),
                    None => Taken::Raw(raw(&message)),
                });
            }
            Err(KafkaError::PartitionEOF(partition)) => self.ended.push(partition),
            Err(error) if passes(&error) => {}
            Err(error) => self.failed = Some(error),
        }
    }

    fn drop_what_went(&mut self, client: &StreamConsumer<Context>) {
        let went = client.client().context().taken_away();
        if !went.is_empty() {
            self.records.retain(|record| !went.contains(&record.position().partition));
        }
    }

    /// Polls for the group's sake, while nothing can be handed out.
    pub(crate) fn keep_up(&mut self, client: &StreamConsumer<Context>, codec: &Codec) {
        self.more(client, codec, BATCH);
    }

    /// Whether nothing is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Partitions whose end was reached since the last call.
    pub(crate) fn ended(&mut self) -> Vec<i32> {
        std::mem::take(&mut self.ended)
    }

    /// Drops what is here of a partition.
    pub(crate) fn forget(&mut self, partition: i32) {
        self.records.retain(|record| record.position().partition != partition);
    }

    /// Drops everything, and says where each partition stood.
    pub(crate) fn give_back(&mut self) -> BTreeMap<i32, i64> {
        let mut begins = BTreeMap::new();
        for record in self.records.drain(..) {
            let at = record.position();
            begins.entry(at.partition).or_insert(at.offset);
        }
        begins
    }
}

pub(crate) fn raw(message: &BorrowedMessage<'_>) -> RawRecord {
    RawRecord {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers(message),
        position: position(message),
        timestamp: message.timestamp().to_millis().map(TimestampMillis),
    }
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<RecordHeader> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let header = |header: rdkafka::message::Header<'_, &[u8]>| RecordHeader {
        name: header.key.to_owned(),
        value: header.value.map(<[u8]>::to_vec),
    };
    headers.iter().map(header).collect()
}

fn position(message: &BorrowedMessage<'_>) -> Position {
    Position { topic: message.topic().to_owned(), partition: message.partition(), offset: message.offset() }
}
