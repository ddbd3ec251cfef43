//! Dead letters, back to where they came from.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::config;
use crate::connect::Kafka;
use crate::consumer::{ConsumerOptions, Group, passes};
use crate::context::Context;
use crate::dead_letter::{self, DeadLetter};
use crate::error::{self, ConnectError, ReplayError};
use crate::events::TOPIC_DEAD_LETTERS;
use crate::fetch::raw;
use crate::producer::{Delivery, DeliveryHandle, ProducerOptions};
use crate::record::{RawRecord, RecordHeader};
use crate::seek::off;
use crate::send::{Message, Outbox};

/// How long a question to a broker, or the next letter, may take.
const BROKER: Duration = Duration::from_secs(30);

/// What to do with a dead letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ReplayVerdict {
    /// Write it to the topic that it came from, with its key, value and own headers.
    Replay,
    /// Leave it where it is, and pass over it from now on.
    Pass,
    /// End here; the next replay of the group begins with it.
    Stop,
}

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReplayReport {
    /// Letters that were written to their topics, and acknowledged.
    pub replayed: u64,
    /// Letters that were passed over.
    pub passed: u64,
}

impl Kafka {
    /// Reads the dead letters that `group` has not seen, to the newest one that is there now, and does with
    /// each what `decide` says. The group's place is committed behind what was acknowledged, so a replay that
    /// was interrupted goes on where it was; a letter that was being written then may come twice.
    ///
    /// A replayed record has a header `caracal-replayed-from` with the letter's place, and goes to the partition
    /// that its key says. The letter stays in the topic of dead letters.
    ///
    /// # Errors
    /// [`ReplayError`]: a topic cannot be used, or a letter was not written; its place, for the next
    /// replay begins there.
    ///
    /// ```no_run
    /// use caracal_kafka_client::{Group, Kafka, ReplayError, ReplayVerdict};
    ///
    /// # async fn replay(kafka: Kafka) -> Result<(), ReplayError> {
    /// let group = Group::named("caracal-dlq-replay");
    /// let report = kafka
    ///     .replay_dead_letters(group, |letter| match letter.failure_kind() {
    ///         Some("caracal.Undecodable") => ReplayVerdict::Pass,
    ///         _ => ReplayVerdict::Replay,
    ///     })
    ///     .await?;
    /// println!("{} went back", report.replayed);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn replay_dead_letters(
        &self,
        group: Group,
        mut decide: impl FnMut(&DeadLetter<'_>) -> ReplayVerdict + Send,
    ) -> Result<ReplayReport, ReplayError> {
        let mut replay = Replay::new(self, group).await?;
        let ended = replay.run(&mut decide).await;
        let committed = replay.commit().await;
        // Leaving may take a while, which an executor's thread does not have.
        let report = replay.report;
        let client = replay.client;
        std::thread::spawn(move || drop(client));
        ended.and(committed).map(|()| report)
    }
}

struct Replay {
    kafka: Kafka,
    topic: String,
    group: String,
    client: Arc<StreamConsumer<Context>>,
    /// The end of each partition as it was at first, where that is not reached yet.
    ends: HashMap<i32, i64>,
    /// Behind the last letter of each partition that is dealt with.
    done: HashMap<i32, i64>,
    ways: HashMap<String, Arc<Outbox>>,
    report: ReplayReport,
}

impl Replay {
    async fn new(kafka: &Kafka, group: Group) -> Result<Self, ReplayError> {
        let topic = kafka.profile().qualified(TOPIC_DEAD_LETTERS);
        let group = kafka.profile().qualified(group.name());
        let mut config = kafka.config();
        config::consumer(&mut config, &group, &ConsumerOptions::default());
        config.set("enable.partition.eof", "true");
        let context = kafka.context();
        let client: StreamConsumer<Context> = config
            .create_with_context(context.clone())
            .map_err(|error| ConnectError::configuration(&error, |text| context.scrub(text)))?;
        let client = Arc::new(client);
        let fault = |why: String| ReplayError::Kafka { topic: topic.clone(), why };
        let (asking, name) = (Arc::clone(&client), topic.clone());
        let metadata = off(move || asking.fetch_metadata(Some(&name), BROKER)).await;
        let partitions = kafka.topic_is_there(&topic, metadata)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&topic, 0, partitions.saturating_sub(1));
        let asking = Arc::clone(&client);
        let committed = off(move || asking.committed_offsets(list, BROKER)).await;
        let committed = committed.map_err(|error| fault(error::code(&error)))?;
        let (mut begins, mut ends) = (TopicPartitionList::new(), HashMap::new());
        for partition in 0..partitions {
            let (asking, name) = (Arc::clone(&client), topic.clone());
            let marks = off(move || asking.fetch_watermarks(&name, partition, BROKER)).await;
            let (low, high) = marks.map_err(|error| fault(error::code(&error)))?;
            let found = committed.find_partition(&topic, partition).map(|found| found.offset());
            let begin = if let Some(Offset::Offset(at)) = found { at.max(low) } else { low };
            if begin < high {
                ends.insert(partition, high);
                begins
                    .add_partition_offset(&topic, partition, Offset::Offset(begin))
                    .map_err(|error| fault(error::code(&error)))?;
            }
        }
        client.assign(&begins).map_err(|error| fault(error::code(&error)))?;
        let (done, ways, report) = (HashMap::new(), HashMap::new(), ReplayReport::default());
        Ok(Self { kafka: kafka.clone(), topic, group, client, ends, done, ways, report })
    }

    async fn run(
        &mut self,
        decide: &mut (impl FnMut(&DeadLetter<'_>) -> ReplayVerdict + Send),
    ) -> Result<(), ReplayError> {
        while let Some(letter) = self.next().await? {
            let at = letter.position.clone();
            let told = DeadLetter::of(&letter);
            match decide(&told) {
                ReplayVerdict::Stop => return Ok(()),
                ReplayVerdict::Pass => self.report.passed += 1,
                ReplayVerdict::Replay => {
                    let Some(topic) = told.topic().map(str::to_owned) else {
                        let why = "it does not say which topic it came from; pass over it".into();
                        return Err(ReplayError::Letter { at, why });
                    };
                    self.write(&topic, &letter).await?;
                    self.report.replayed += 1;
                }
            }
            self.done.insert(at.partition, at.offset + 1);
            if self.ends.get(&at.partition).is_some_and(|end| at.offset + 1 >= *end) {
                self.ends.remove(&at.partition);
            }
        }
        Ok(())
    }

    /// The next letter that was there at first.
    async fn next(&mut self) -> Result<Option<RawRecord>, ReplayError> {
        let fault = |why: String| ReplayError::Kafka { topic: self.topic.clone(), why };
        while !self.ends.is_empty() {
            match tokio::time::timeout(BROKER, self.client.recv()).await {
                Ok(Ok(message)) => {
                    if self.ends.get(&message.partition()).is_some_and(|end| message.offset() < *end) {
                        return Ok(Some(raw(&message)));
                    }
                    // Newer than the replay.
                    self.ends.remove(&message.partition());
                }
                // Markers of transactions may stand behind the last letter.
                Ok(Err(KafkaError::PartitionEOF(partition))) => drop(self.ends.remove(&partition)),
                Ok(Err(error)) if passes(&error) => {}
                Ok(Err(error)) => return Err(fault(error::code(&error))),
                Err(_) => return Err(fault(format!("no letter came within {} s", BROKER.as_secs()))),
            }
        }
        Ok(None)
    }

    async fn write(&mut self, topic: &str, letter: &RawRecord) -> Result<(), ReplayError> {
        let at = letter.position.clone();
        if !self.ways.contains_key(topic) {
            let way = self.kafka.outbox(topic, ProducerOptions::default())?;
            self.kafka.topic_is_there(topic, way.metadata(BROKER).await)?;
            self.ways.insert(topic.to_owned(), way);
        }
        let Some(way) = self.ways.get(topic) else { return Ok(()) };
        let mut headers = dead_letter::own_headers(letter);
        headers.push(RecordHeader { name: REPLAYED.into(), value: Some(at.to_string().into_bytes()) });
        let (key, value) = (letter.key.as_deref(), letter.value.as_deref());
        let message = Message { key, value, headers: &headers, ..Message::default() };
        let failed = |why: String| ReplayError::Letter { at: at.clone(), why };
        let slot = way.send_when_there_is_room(&message).await.map_err(|error| failed(error.to_string()))?;
        match DeliveryHandle::new(way, slot).await {
            Delivery::Written(_) => Ok(()),
            Delivery::NotWritten(why) => Err(failed(why.to_string())),
            Delivery::Unknown(why) => Err(failed(why.to_string())),
        }
    }

    async fn commit(&mut self) -> Result<(), ReplayError> {
        for way in self.ways.values() {
            let _ = way.close(BROKER).await;
        }
        if self.done.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (partition, next) in &self.done {
            // Only an offset below zero is refused.
            let _ = list.add_partition_offset(&self.topic, *partition, Offset::Offset(*next));
        }
        let client = Arc::clone(&self.client);
        let committed = off(move || client.commit(&list, CommitMode::Sync)).await;
        committed.map_err(|error| ReplayError::Kafka {
            topic: self.topic.clone(),
            why: format!(
                "what was replayed could not be written down for group `{}`, so it would be replayed again: {}",
                self.group,
                error::code(&error)
            ),
        })
    }
}

/// Where a record that came back was a dead letter.
const REPLAYED: &str = "caracal-replayed-from";
