//! Going elsewhere in a topic, and reading it as a stream.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, Stream};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::consumer::Consumer;
use crate::context::Context;
use crate::error::{self, ReceiveError};
use crate::events::{Event, TimestampMillis};
use crate::record::{Position, Received};

/// How long a seek may take, the wait for an assignment included.
const SEEK: Duration = Duration::from_secs(30);

/// A partition that is not being fetched yet is asked again after this long.
const AGAIN: Duration = Duration::from_millis(100);

/// Where a consumer is sent by [`Consumer::seek`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Seek {
    /// To the oldest record of each of its partitions.
    Beginning,
    /// Behind the newest record of each of its partitions.
    End,
    /// To the first record of each of its partitions that is not older; behind the newest where there is none.
    Time(TimestampMillis),
    /// To this record; the other partitions stay where they are.
    To(Position),
}

impl<E: Event> Consumer<E> {
    /// Goes on elsewhere, in the partitions that this consumer has by then; a member of a group waits for its
    /// share first. What was handed out and not committed stays so: a seek commits nothing, and a later
    /// commit moves the group wherever the record stands.
    ///
    /// # Errors
    /// [`ReceiveError::Kafka`]: no share of the group within 30 seconds, a position that is not this
    /// consumer's, a broker that does not answer.
    ///
    /// ```no_run
    /// use std::time::{Duration, SystemTime};
    /// use caracal_kafka_client::events::MeteringEvent;
    /// use caracal_kafka_client::{Consumer, ReceiveError, Seek};
    ///
    /// # async fn replay(events: &mut Consumer<MeteringEvent>) -> Result<(), ReceiveError> {
    /// let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    /// events.seek(&Seek::Time(hour_ago.into())).await?;
    /// let first = events.recv().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn seek(&mut self, to: &Seek) -> Result<(), ReceiveError> {
        let until = Instant::now() + SEEK;
        let client = loop {
            let Some(client) = self.client.clone() else {
                return Err(self.fault(true, "the consumer is closed".into()));
            };
            if client.assignment().is_ok_and(|list| list.count() > 0) {
                break client;
            }
            if Instant::now() > until {
                return Err(self.fault(false, "the group gave it no partitions in time".into()));
            }
            self.poll_a_while(&client).await;
        };
        let assigned = client.assignment().map_err(|error| self.fault(false, error::code(&error)))?;
        let aims = match to {
            Seek::To(position) if assigned.find_partition(&position.topic, position.partition).is_none() => {
                return Err(self.fault(false, format!("{position} is in no partition of this consumer")));
            }
            Seek::To(position) => {
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(
                    &position.topic,
                    position.partition,
                    Offset::Offset(position.offset),
                )
                .map_err(|error| self.fault(false, error::code(&error)))?;
                list
            }
            Seek::Beginning => all(&assigned, Offset::Beginning),
            Seek::End => {
                at_end(&client, assigned).await.map_err(|error| self.fault(false, error::code(&error)))?
            }
            Seek::Time(time) => at_time(&client, &assigned, time.0)
                .await
                .map_err(|error| self.fault(false, error::code(&error)))?,
        };
        for element in aims.elements() {
            self.drop_kept(element.partition());
        }
        while let Err(error) = seek(&client, aims.clone()).await {
            // Not fetched yet: the assignment is a moment old.
            if error.rdkafka_error_code() != Some(Code::State) || Instant::now() > until {
                return Err(self.fault(false, error::code(&error)));
            }
            self.poll_a_while(&client).await;
            for element in aims.elements() {
                self.drop_kept(element.partition());
            }
        }
        Ok(())
    }

    /// Polls, and keeps what comes; a complaint that passes is no reason to stop waiting.
    async fn poll_a_while(&mut self, client: &StreamConsumer<Context>) {
        let _ = tokio::time::timeout(AGAIN, self.fetched.wait(client, &self.codec)).await;
    }

    /// The records as a stream, which ends with the first fatal error and at no other time. Nothing is
    /// committed: see [`commit`](Self::commit) and [`handle`](Self::handle).
    ///
    /// ```no_run
    /// use caracal_kafka_client::Consumer;
    /// use caracal_kafka_client::events::MeteringEvent;
    /// use futures::{StreamExt as _, TryStreamExt as _};
    ///
    /// # async fn total(events: &mut Consumer<MeteringEvent>) -> Result<(), caracal_kafka_client::ReceiveError> {
    /// let hundred: Vec<_> = events.stream().take(100).try_collect().await?;
    /// println!("{} tokens", hundred.iter().map(|received| received.event.quantity).sum::<i64>());
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream(&mut self) -> impl Stream<Item = Result<Received<E>, ReceiveError>> + Send + '_ {
        stream::unfold(Some(self), |state| async move {
            let consumer = state?;
            let received = consumer.recv().await;
            let fatal = matches!(received, Err(ReceiveError::Kafka { fatal: true, .. }));
            Some((received, (!fatal).then_some(consumer)))
        })
        .boxed()
    }
}

fn all(assigned: &TopicPartitionList, to: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for element in assigned.elements() {
        // Only an offset below zero is refused.
        let _ = list.add_partition_offset(element.topic(), element.partition(), to);
    }
    list
}

/// The positions behind the newest records, as numbers. librdkafka would look the end up at a time of its own choosing,
/// and what is written until then would be passed over.
async fn at_end(
    client: &Arc<StreamConsumer<Context>>,
    partitions: TopicPartitionList,
) -> Result<TopicPartitionList, KafkaError> {
    let client = Arc::clone(client);
    off(move || {
        let mut list = TopicPartitionList::new();
        for element in partitions.elements() {
            let end = end(&client, element.topic(), element.partition())?;
            list.add_partition_offset(element.topic(), element.partition(), end)?;
        }
        Ok(list)
    })
    .await
}

/// The positions at a time; at the end where nothing is as new.
pub(crate) async fn at_time(
    client: &Arc<StreamConsumer<Context>>,
    partitions: &TopicPartitionList,
    millis: i64,
) -> Result<TopicPartitionList, KafkaError> {
    let (client, asked) = (Arc::clone(client), all(partitions, Offset::Offset(millis.max(0))));
    off(move || {
        let found = client.offsets_for_times(asked, SEEK)?;
        let mut list = TopicPartitionList::new();
        for element in found.elements() {
            element.error()?;
            let offset = match element.offset() {
                found @ Offset::Offset(_) => found,
                _ => end(&client, element.topic(), element.partition())?,
            };
            list.add_partition_offset(element.topic(), element.partition(), offset)?;
        }
        Ok(list)
    })
    .await
}

/// Asks a broker where a partition ends.
fn end(client: &StreamConsumer<Context>, topic: &str, partition: i32) -> Result<Offset, KafkaError> {
    let (_, end) = client.fetch_watermarks(topic, partition, SEEK)?;
    Ok(Offset::Offset(end))
}

async fn seek(client: &Arc<StreamConsumer<Context>>, aims: TopicPartitionList) -> Result<(), KafkaError> {
    let client = Arc::clone(client);
    let list = off(move || client.seek_partitions(aims, SEEK)).await?;
    list.elements().iter().try_for_each(|element| element.error())
}

/// Has a thread of its own do what cannot be cancelled: a runtime waits for its own when it ends.
pub(crate) async fn off<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = tell.send(call());
    });
    told.await.unwrap_or(Err(KafkaError::Canceled))
}
