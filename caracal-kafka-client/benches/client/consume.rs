//! From the brokers to an event.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use caracal_kafka_client::events::MeteringEvent;
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{
    ConsumeFrom, Consumer, ConsumerOptions, Group, Handled, Kafka, Position, Received, Service, Shutdown,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use serde_json::Value;

use crate::figures::{Clock, Figures, Run};
use crate::peers;

const PATIENCE: Duration = Duration::from_secs(60);

const GROUP: &str = "caracal-bench";

/// Records that each contender reads before its clock runs.
const WARM: usize = 2000;

pub(crate) async fn run(
    profile: &ConnectionProfile,
    starts: &[Position],
    rounds: usize,
    events: usize,
) -> Result<Value> {
    let kafka = Kafka::connect(profile.clone(), Service::named("bench")).await?;
    let mut figures = Figures::of(events);
    for round in 0..rounds {
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => {
                    let mut consumer = typed(&kafka, starts).await?;
                    read(&mut consumer, WARM).await?;
                    let clock = Clock::start();
                    read(&mut consumer, events).await?;
                    figures.push("typed", clock.stop());
                    consumer.close(PATIENCE).await;
                }
                1 => {
                    let (profile, starts) = (profile.clone(), starts.to_vec());
                    let clock = tokio::task::spawn_blocking(move || by_base(&profile, &starts, events));
                    figures.push("base_consumer", clock.await??);
                }
                _ => {
                    let consumer = typed(&kafka, starts).await?;
                    figures.push("handlers", by_handlers(consumer, events).await?);
                }
            }
        }
    }
    Ok(figures.document(&[("typed", "base_consumer", 0.90), ("handlers", "typed", 0.97)]))
}

async fn typed(kafka: &Kafka, starts: &[Position]) -> Result<Consumer<MeteringEvent>> {
    let from = ConsumeFrom::Exactly(starts.to_vec());
    // A window as wide as librdkafka's own queue, so that neither contender is paused.
    let options = ConsumerOptions { from, window: 100_000, ..ConsumerOptions::default() };
    Ok(kafka.consumer::<MeteringEvent>(Group::named(GROUP), options).await?)
}

async fn read(consumer: &mut Consumer<MeteringEvent>, events: usize) -> Result<()> {
    for _ in 0..events {
        black_box(tokio::time::timeout(PATIENCE, consumer.recv()).await??);
    }
    Ok(())
}

fn by_base(profile: &ConnectionProfile, starts: &[Position], events: usize) -> Result<Run> {
    let mut config = peers::config(profile)?;
    config
        .set("group.id", GROUP)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("check.crcs", "true");
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for start in starts {
        list.add_partition_offset(&start.topic, start.partition, Offset::Offset(start.offset))?;
    }
    consumer.assign(&list)?;
    let mut clock = Clock::start();
    for number in 0..WARM + events {
        if number == WARM {
            clock = Clock::start();
        }
        let message = consumer.poll(PATIENCE).context("no record came")??;
        black_box(message.payload().context("a record without value")?);
    }
    Ok(clock.stop())
}

/// Without the end, which commits and leaves the group.
async fn by_handlers(consumer: Consumer<MeteringEvent>, events: usize) -> Result<Run> {
    let count = Arc::new(AtomicUsize::new(0));
    let (shutdown, trigger) = Shutdown::by_hand();
    let (tell, told) = std::sync::mpsc::channel();
    let clock = OnceLock::new();
    let handler = move |received: Arc<Received<MeteringEvent>>| {
        black_box(&received.event);
        match count.fetch_add(1, Ordering::Relaxed) + 1 {
            WARM => drop(clock.set(Clock::start())),
            all if all == WARM + events => {
                let _ = tell.send(clock.get().map(Clock::stop));
                trigger.shut_down();
            }
            _ => {}
        }
        std::future::ready(Handled::Done)
    };
    tokio::time::timeout(PATIENCE * 2, consumer.run(handler, shutdown)).await??;
    told.recv().ok().flatten().context("the handler never came to the end")
}
