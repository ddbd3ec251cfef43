//! From an event to the brokers' acknowledgement.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_kafka_client::events::{Event as _, MeteringEvent};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{
    Delivery, DeliveryHandle, EventEncoder, Kafka, Position, Producer, ProducerOptions, Service,
};
use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryFuture, DeliveryResult, FutureProducer, FutureRecord, Producer as _,
    ProducerContext,
};
use schema_registry_converter::async_impl::avro::AvroEncoder;
use schema_registry_converter::schema_registry_common::SubjectNameStrategy;
use serde_json::Value;

use crate::figures::{Clock, Figures};
use crate::{Arguments, peers};

/// Outcomes that are waited for at once; as many as librdkafka's queue has by default.
const UNDER_WAY: usize = 100_000;

const TYPED: &str = "typed";
const BASE: &str = "base_producer_ready_bytes";
const GLUED: &str = "converter_and_future_producer";
const CONTENDERS: [&str; 3] = [TYPED, BASE, GLUED];

const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Produced {
    pub(crate) figures: Value,
    /// Where the records begin, one position a partition.
    pub(crate) starts: Vec<Position>,
}

/// Counts what librdkafka says.
#[derive(Clone, Default)]
struct Acks {
    good: Arc<AtomicUsize>,
    bad: Arc<AtomicUsize>,
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.good } else { &self.bad };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) async fn run(profile: &ConnectionProfile, arguments: &Arguments) -> Result<Produced> {
    let Arguments { rounds, events, .. } = *arguments;
    let kafka = Kafka::connect(profile.clone(), Service::named("bench")).await?;
    let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
    let pool = peers::pool();
    let encoder = EventEncoder::<MeteringEvent>::new(out.schema_id())?;
    let mut ready = Vec::with_capacity(pool.len());
    for event in &pool {
        let mut value = Vec::new();
        encoder.encode(event, &mut value)?;
        ready.push((event.agent_id.clone(), value));
    }
    let acks = Acks::default();
    let bare = BaseProducer::from_config_and_context(&peers::producing(profile)?, acks.clone())?;
    let glued: FutureProducer = peers::producing(profile)?.create()?;
    let converter = AvroEncoder::new(peers::registry(profile)?);
    // Connections, leaders and ids are known before the clock runs; also where the records begin.
    let starts = warm_up(&out, &pool).await?;
    by_base(&bare, &acks, &ready, 10_000)?;
    by_glue(&glued, &converter, &pool, 10_000).await?;
    if !CONTENDERS.iter().any(|contender| arguments.wants("produce", contender)) {
        // What is read by whoever was asked for.
        by_base(&bare, &acks, &ready, events)?;
    }
    let mut figures = Figures::of(events);
    for round in 0..rounds {
        // Whoever goes first meets a quieter machine: by turns.
        for turn in 0..CONTENDERS.len() {
            let contender = CONTENDERS[(round + turn) % CONTENDERS.len()];
            if !arguments.wants("produce", contender) {
                continue;
            }
            let clock = Clock::start();
            match contender {
                TYPED => by_type(&out, &pool, events).await?,
                BASE => by_base(&bare, &acks, &ready, events)?,
                _ => by_glue(&glued, &converter, &pool, events).await?,
            }
            figures.push(contender, clock.stop());
        }
    }
    let report = kafka.close(PATIENCE).await;
    ensure!(report.all_written(), "{report:?}");
    Ok(Produced { figures: figures.document(&[(TYPED, BASE, 0.90), (TYPED, GLUED, 1.5)]), starts })
}

/// The first record that each partition gets.
async fn warm_up(out: &Producer<MeteringEvent>, pool: &[MeteringEvent]) -> Result<Vec<Position>> {
    let mut starts: Vec<Position> = Vec::new();
    for number in 0..10_000 {
        let delivery = out.enqueue(&peers::build(pool, number)).await?;
        // One by one only until every partition has one.
        if number < 500 {
            let Delivery::Written(at) = delivery.await else { anyhow::bail!("not written") };
            match starts.iter_mut().find(|known| known.partition == at.partition) {
                Some(known) => known.offset = known.offset.min(at.offset),
                None => starts.push(at),
            }
        } else {
            drop(delivery);
        }
    }
    ensure!(out.flush(PATIENCE).await, "the first records took too long");
    Ok(starts)
}

async fn by_type(out: &Producer<MeteringEvent>, pool: &[MeteringEvent], events: usize) -> Result<()> {
    let mut under_way: VecDeque<DeliveryHandle> = VecDeque::with_capacity(UNDER_WAY);
    for number in 0..events {
        if under_way.len() == UNDER_WAY
            && let Some(oldest) = under_way.pop_front()
        {
            written(oldest.await)?;
        }
        under_way.push_back(out.enqueue(&peers::build(pool, number)).await?);
    }
    for handle in under_way {
        written(handle.await)?;
    }
    Ok(())
}

fn written(delivery: Delivery) -> Result<()> {
    ensure!(matches!(delivery, Delivery::Written(_)), "{delivery:?}");
    Ok(())
}

fn by_base(bare: &BaseProducer<Acks>, acks: &Acks, ready: &[(String, Vec<u8>)], events: usize) -> Result<()> {
    let before = acks.good.load(Ordering::Relaxed);
    for number in 0..events {
        let (key, value) = &ready[number % ready.len()];
        let mut record = BaseRecord::to(MeteringEvent::TOPIC).key(key).payload(value);
        while let Err((error, back)) = bare.send(record) {
            ensure!(error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull), "{error}");
            bare.poll(Duration::from_millis(1));
            record = back;
        }
        // As rdkafka's documentation has it.
        if number % 1000 == 0 {
            bare.poll(Duration::ZERO);
        }
    }
    bare.flush(PATIENCE)?;
    let good = acks.good.load(Ordering::Relaxed) - before;
    ensure!(good == events && acks.bad.load(Ordering::Relaxed) == 0, "{good} of {events} written");
    Ok(())
}

async fn by_glue(
    glued: &FutureProducer,
    converter: &AvroEncoder,
    pool: &[MeteringEvent],
    events: usize,
) -> Result<()> {
    let strategy = SubjectNameStrategy::TopicNameStrategy(MeteringEvent::TOPIC.to_owned(), false);
    let mut under_way: VecDeque<DeliveryFuture> = VecDeque::with_capacity(UNDER_WAY);
    for number in 0..events {
        if under_way.len() == UNDER_WAY
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.await?.map_err(|(error, _)| error).context("not written")?;
        }
        let event = peers::build(pool, number);
        let value = converter.encode_struct(&event, &strategy).await?;
        let mut record = FutureRecord::to(MeteringEvent::TOPIC).key(&event.agent_id).payload(&value);
        loop {
            match glued.send_result(record) {
                Ok(future) => {
                    under_way.push_back(future);
                    break;
                }
                Err((error, back)) => {
                    ensure!(error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull), "{error}");
                    record = back;
                    if let Some(oldest) = under_way.pop_front() {
                        oldest.await?.map_err(|(error, _)| error).context("not written")?;
                    }
                }
            }
        }
    }
    for future in under_way {
        future.await?.map_err(|(error, _)| error).context("not written")?;
    }
    Ok(())
}
