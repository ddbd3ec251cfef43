//! One transactional client, from its start to its retirement.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use rdkafka::{ClientConfig, ClientContext};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::config;
use crate::context::Context;
use crate::error::{self, ConnectError};
use crate::seek::off;
use crate::send::{Message, headers};

/// A full queue is looked at again after this long.
const ROOM: Duration = Duration::from_millis(5);

/// How a step of a transaction ended.
#[derive(Debug)]
pub(super) enum Ended {
    Done,
    /// The transaction has to be aborted; the client is sound.
    Abort(String),
    /// Another client has the id.
    Fenced(String),
    /// Nobody knows how it ended, or the client has failed: never to be used again.
    Unusable(String),
    /// No other attempt will help.
    Hopeless(String),
}

/// A failed delivery fails the commit, so only words for people are kept here.
#[derive(Clone)]
struct Watch(Context);

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn stats(&self, statistics: rdkafka::Statistics) {
        self.0.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Watch {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result
            && !matches!(error.rdkafka_error_code(), Some(Code::PurgeQueue | Code::PurgeInflight))
        {
            tracing::warn!("a record of a transaction was not written: {}", error::code(error));
        }
    }
}

pub(super) struct Client {
    producer: ThreadedProducer<Watch>,
    timeout: Duration,
}

impl Client {
    /// From a producer's configuration.
    pub(super) fn new(
        mut config: ClientConfig,
        context: Context,
        id: &str,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        config::transactional(&mut config, id, timeout);
        let producer = ThreadedProducer::from_config_and_context(&config, Watch(context.clone()))
            .map_err(|error| ConnectError::configuration(&error, |text| context.scrub(text)))?;
        Ok(Self { producer, timeout })
    }

    /// Fences older clients of the id, and ends what they left open.
    pub(super) async fn start(&self) -> Ended {
        let until = Instant::now() + self.timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let producer = self.producer.clone();
            match off(move || producer.init_transactions(left)).await {
                Ok(()) => return Ended::Done,
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < until => {}
                Err(error) => {
                    return match self.sorted(&error) {
                        Ended::Fenced(why) => Ended::Fenced(why),
                        Ended::Abort(why) | Ended::Unusable(why) | Ended::Hopeless(why) => {
                            Ended::Hopeless(why)
                        }
                        Ended::Done => Ended::Done,
                    };
                }
            }
        }
    }

    pub(super) async fn begin(&self) -> Result<(), Ended> {
        self.producer.begin_transaction().map_err(|error| self.sorted(&error))
    }

    /// Takes one record, waiting for room.
    pub(super) async fn send(&self, topic: &str, message: &Message<'_>) -> Result<(), Ended> {
        let until = Instant::now() + self.timeout;
        let mut record = BaseRecord::<[u8], [u8], ()>::to(topic);
        (record.key, record.payload) = (message.key, message.value);
        record.headers = headers(message.headers);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) => {
                    if error.rdkafka_error_code() != Some(Code::QueueFull) {
                        return Err(self.sorted(&error));
                    }
                    if Instant::now() > until {
                        return Err(Ended::Abort("the queue stayed full".into()));
                    }
                    record = back;
                }
            }
            tokio::time::sleep(ROOM).await;
        }
    }

    pub(super) async fn offsets(
        &self,
        topic: &str,
        ends: BTreeMap<i32, i64>,
        group: &Arc<ConsumerGroupMetadata>,
    ) -> Result<(), Ended> {
        let mut list = TopicPartitionList::new();
        for (partition, end) in ends {
            let added = list.add_partition_offset(topic, partition, Offset::Offset(end));
            added.map_err(|error| Ended::Hopeless(error::code(&error)))?;
        }
        let (producer, group, timeout) = (self.producer.clone(), Arc::clone(group), self.timeout);
        let sent = off(move || producer.send_offsets_to_transaction(&list, &group, timeout)).await;
        sent.map_err(|error| self.sorted(&error))
    }

    pub(super) async fn commit(&self) -> Ended {
        let (producer, timeout) = (self.producer.clone(), self.timeout);
        match off(move || producer.commit_transaction(timeout)).await {
            Ok(()) => Ended::Done,
            Err(error) => self.sorted(&error),
        }
    }

    pub(super) async fn abort(&self) -> Ended {
        let (producer, timeout) = (self.producer.clone(), self.timeout);
        match off(move || producer.abort_transaction(timeout)).await {
            Ok(()) => Ended::Done,
            Err(error) => self.sorted(&error),
        }
    }

    /// Without a word to the broker: the next client of the id ends what is open.
    pub(super) fn retire(self) {
        // It takes a while, which an executor's thread does not have.
        std::thread::spawn(move || {
            self.producer.purge(PurgeConfig::default().queue().inflight());
            drop(self.producer);
        });
    }

    fn sorted(&self, error: &KafkaError) -> Ended {
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        let why = error::code(error);
        let fenced = |code: Code| {
            matches!(
                code,
                Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::FencedInstanceId
            )
        };
        let code = error.rdkafka_error_code();
        if fatal.or(code).is_some_and(fenced) {
            return Ended::Fenced(why);
        }
        if fatal.is_some() {
            return Ended::Unusable(why);
        }
        match error {
            KafkaError::Transaction(error) if error.txn_requires_abort() => Ended::Abort(why),
            KafkaError::MessageProduction(_) => Ended::Abort(why),
            // A time-out above all: the broker may still do what it was asked for.
            _ => Ended::Unusable(why),
        }
    }
}
