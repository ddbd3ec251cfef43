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
use rdkafka::consumer::{BaseConsumer, Consumer as _, StreamConsumer};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use schema_registry_converter::async_impl::avro::AvroDecoder;
use serde_json::Value;

use crate::figures::{Clock, Figures, Run};
use crate::{Arguments, peers};

const PATIENCE: Duration = Duration::from_secs(60);

const GROUP: &str = "caracal-bench";

const TYPED: &str = "typed";
/// Hands out bytes and decodes nothing.
const BASE: &str = "base_consumer";
const GLUED: &str = "converter_and_stream_consumer";
const HANDLERS: &str = "handlers";
const CONTENDERS: [&str; 4] = [TYPED, BASE, GLUED, HANDLERS];

/// Records that each contender reads before its clock runs. Not more: librdkafka fetches ahead meanwhile, and a clock
/// that starts late measures a queue in memory.
const WARM: usize = 1;

pub(crate) async fn run(
    profile: &ConnectionProfile,
    starts: &[Position],
    arguments: &Arguments,
) -> Result<Value> {
    let Arguments { rounds, events, .. } = *arguments;
    let kafka = Kafka::connect(profile.clone(), Service::named("bench")).await?;
    let mut figures = Figures::of(events);
    for round in 0..rounds {
        for turn in 0..CONTENDERS.len() {
            let contender = CONTENDERS[(round + turn) % CONTENDERS.len()];
            if !arguments.wants("consume", contender) {
                continue;
            }
            let run = match contender {
                TYPED => {
                    let mut consumer = typed(&kafka, starts).await?;
                    read(&mut consumer, WARM).await?;
                    let clock = Clock::start();
                    read(&mut consumer, events).await?;
                    let run = clock.stop();
                    consumer.close(PATIENCE).await;
                    run
                }
                BASE => {
                    let (profile, starts) = (profile.clone(), starts.to_vec());
                    tokio::task::spawn_blocking(move || by_base(&profile, &starts, events)).await??
                }
                GLUED => by_glue(profile, starts, events).await?,
                _ => by_handlers(typed(&kafka, starts).await?, events).await?,
            };
            figures.push(contender, run);
        }
    }
    Ok(figures.document(&[(TYPED, BASE, 0.90), (TYPED, GLUED, 1.5), (HANDLERS, TYPED, 0.97)]))
}

async fn typed(kafka: &Kafka, starts: &[Position]) -> Result<Consumer<MeteringEvent>> {
    let from = ConsumeFrom::Exactly(starts.to_vec());
    // A window as wide as librdkafka's own queue, so that neither contender is paused.
    let options = ConsumerOptions { from, window: 100_000, ..ConsumerOptions::default() };
    Ok(kafka.consumer::<MeteringEvent>(Group::named(GROUP), options).await?)
}

async fn read(consumer: &mut Consumer<MeteringEvent>, events: usize) -> Result<()> {
    let all = async {
        for _ in 0..events {
            black_box(consumer.recv().await?);
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, all).await?
}

/// The settings that the typed client has, and where to begin.
fn bare(
    profile: &ConnectionProfile,
    starts: &[Position],
) -> Result<(rdkafka::ClientConfig, TopicPartitionList)> {
    let mut config = peers::config(profile)?;
    config
        .set("group.id", GROUP)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("check.crcs", "true");
    let mut list = TopicPartitionList::new();
    for start in starts {
        list.add_partition_offset(&start.topic, start.partition, Offset::Offset(start.offset))?;
    }
    Ok((config, list))
}

fn by_base(profile: &ConnectionProfile, starts: &[Position], events: usize) -> Result<Run> {
    let (config, list) = bare(profile, starts)?;
    let consumer: BaseConsumer = config.create()?;
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

/// What a service would glue together.
async fn by_glue(profile: &ConnectionProfile, starts: &[Position], events: usize) -> Result<Run> {
    let (config, list) = bare(profile, starts)?;
    let decoder = AvroDecoder::new(peers::registry(profile)?);
    let consumer: StreamConsumer = config.create()?;
    consumer.assign(&list)?;
    let mut clock = Clock::start();
    let all = async {
        for number in 0..WARM + events {
            if number == WARM {
                clock = Clock::start();
            }
            let message = consumer.recv().await?;
            let decoded = decoder.decode(message.payload()).await?;
            black_box(crate::codec::value_to_event(&decoded.value)?);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE * 2, all).await??;
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
