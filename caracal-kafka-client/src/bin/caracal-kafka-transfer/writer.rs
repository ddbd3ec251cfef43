//! Writes records and waits until every one of them is acknowledged.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::failure::Failure;
use crate::link::{Link, PATIENCE, Watch, produced};

/// No acknowledgement for so long, with a full queue, is trouble.
pub(crate) const SILENCE: Duration = Duration::from_secs(90);

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'r> {
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<&'r [u8]>,
    pub(crate) value: Option<&'r [u8]>,
    pub(crate) headers: &'r [(&'r str, Option<&'r [u8]>)],
}

pub(crate) struct Writer {
    producer: BaseProducer<Watch>,
    topic: String,
    pub(crate) partitions: Vec<i32>,
    pub(crate) sent: u64,
    /// Nothing is handed to librdkafka.
    pub(crate) dry_run: bool,
}

impl Writer {
    pub(crate) fn open(link: &Link, topic: &str) -> Result<Self, Failure> {
        let producer = link.producer()?;
        let partitions = produced(&producer, topic)?;
        Ok(Self { producer, topic: topic.to_owned(), partitions, sent: 0, dry_run: false })
    }

    /// How many records the topic holds.
    pub(crate) fn held(&self) -> Result<u64, Failure> {
        let client = self.producer.client();
        let mut held = 0;
        for partition in &self.partitions {
            let (low, high) = client
                .fetch_watermarks(&self.topic, *partition, PATIENCE)
                .map_err(|error| Failure::kafka(&format!("read the offsets of `{}`", self.topic), &error))?;
            held += u64::try_from(high - low).unwrap_or(0);
        }
        Ok(held)
    }

    /// Hands a record to librdkafka, waiting for room.
    pub(crate) fn send(&mut self, record: Outgoing<'_>) -> Result<(), Failure> {
        if self.dry_run {
            self.sent += 1;
            return Ok(());
        }
        let mut next: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.topic);
        (next.partition, next.timestamp) = (record.partition, record.timestamp);
        (next.key, next.payload) = (record.key, record.value);
        if !record.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (key, value) in record.headers {
                headers = headers.insert(Header { key, value: *value });
            }
            next.headers = Some(headers);
        }
        let mut waiting: Option<(Instant, u64)> = None;
        loop {
            let refused = match self.producer.send(next) {
                Ok(()) => break,
                Err((error, record)) => {
                    next = record;
                    error
                }
            };
            if !matches!(refused, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(Failure::kafka(&format!("write to `{}`", self.topic), &refused));
            }
            self.producer.poll(Duration::from_millis(50));
            self.producer.context().undelivered()?;
            let delivered = self.producer.context().delivered();
            let (since, before) = *waiting.get_or_insert((Instant::now(), delivered));
            if delivered > before {
                waiting = None;
            } else if since.elapsed() > SILENCE {
                return Err(Failure::cluster(format!(
                    "`{}`: no record was acknowledged for {} s; `cargo xtask health` shows the brokers",
                    self.topic,
                    SILENCE.as_secs()
                )));
            }
        }
        self.sent += 1;
        if self.sent.is_multiple_of(1024) {
            self.producer.poll(Duration::ZERO);
            self.producer.context().undelivered()?;
        }
        Ok(())
    }

    /// Waits for what is out; every record is written, or it is said how many are not.
    pub(crate) fn finish(self) -> Result<u64, Failure> {
        let flushed = self.producer.flush(SILENCE);
        self.producer.context().undelivered()?;
        flushed.map_err(|error| Failure::kafka(&format!("write to `{}` to the end", self.topic), &error))?;
        let delivered = self.producer.context().delivered();
        if self.dry_run {
            return Ok(self.sent);
        }
        if delivered != self.sent {
            return Err(Failure::cluster(format!("{delivered} of {} records were acknowledged", self.sent)));
        }
        Ok(delivered)
    }
}
