//! For measurements: many events written, and what nothing but librdkafka needs to write or to read as many.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _};

use crate::arguments::Options;
use crate::avro::Encoder;
use crate::backup::everything;
use crate::failure::Failure;
use crate::link::Link;
use crate::progress::{millis, rate};
use crate::reader::{Flow, read};
use crate::registry::Registry;
use crate::writer::{Outgoing, SILENCE, Writer};
use caracal_kafka_client::events::{Event as _, MeteringEvent};

/// Values that are written again and again: making each anew would measure that.
const DIFFERENT: u64 = 997;

pub(crate) fn fill(options: &mut Options) -> Result<(), Failure> {
    let begun = Instant::now();
    let wanted = Wanted::of(options)?;
    let values = values(&wanted)?;
    let mut writer = Writer::open(&wanted.link, &wanted.topic)?;
    for (_, (key, value)) in (0..wanted.count).zip(values.iter().cycle()) {
        let (key, value) = (Some(key.as_slice()), Some(value.as_slice()));
        writer.send(Outgoing { partition: None, timestamp: None, key, value, headers: &[] })?;
    }
    let written = writer.finish()?;
    crate::print(&format!("{}\n", serde_json::json!({ "records": written, "millis": millis(begun) })))
}

/// Writes the same bytes by a producer that has nothing of ours: rdkafka's own context, no file, no check of single
/// deliveries. It is how fast this cluster takes records at all.
pub(crate) fn pour(options: &mut Options) -> Result<(), Failure> {
    let begun = Instant::now();
    let wanted = Wanted::of(options)?;
    let values = values(&wanted)?;
    let producer = wanted.link.producer_with(DefaultProducerContext)?;
    for (_, (key, value)) in (0..wanted.count).zip(values.iter().cycle()) {
        let mut record = BaseRecord::to(&wanted.topic).key(key.as_slice()).payload(value.as_slice());
        while let Err((error, back)) = producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(Failure::kafka(&format!("write to `{}`", wanted.topic), &error));
            }
            record = back;
            producer.poll(Duration::from_millis(50));
        }
    }
    let flushed = producer.flush(SILENCE);
    flushed.map_err(|error| Failure::kafka(&format!("write to `{}` to the end", wanted.topic), &error))?;
    crate::print(&format!("{}\n", serde_json::json!({ "records": wanted.count, "millis": millis(begun) })))
}

/// What is to be written where.
struct Wanted {
    link: Link,
    topic: String,
    count: u64,
}

impl Wanted {
    fn of(options: &mut Options) -> Result<Self, Failure> {
        let (profile, topic) = (options.path("--profile")?, options.needed("--topic")?);
        let count: u64 =
            options.parsed("--count")?.ok_or_else(|| Failure::usage("`--count` is missing".to_owned()))?;
        options.finish()?;
        Ok(Self { link: Link::open(&profile)?, topic, count })
    }
}

/// A key and a value.
type Pair = (Vec<u8>, Vec<u8>);

/// Events as bytes, with their keys.
fn values(wanted: &Wanted) -> Result<Vec<Pair>, Failure> {
    let registry = Registry::of(&wanted.link.profile)?;
    let registry = registry.ok_or_else(|| Failure::usage("the profile names no registry".to_owned()))?;
    let id = registry.register(&format!("{}-value", wanted.topic), MeteringEvent::SCHEMA)?;
    let encoder = Encoder::new(id, MeteringEvent::SCHEMA)?;
    let mut values = Vec::new();
    for seed in 0..DIFFERENT.min(wanted.count) {
        let event = MeteringEvent::sample(seed);
        let json = serde_json::to_value(&event).map_err(|error| Failure::cluster(error.to_string()))?;
        values.push((event.agent_id.into_bytes(), encoder.encode(&json).map_err(Failure::cluster)?));
    }
    Ok(values)
}

pub(crate) fn drain(options: &mut Options) -> Result<(), Failure> {
    let (profile, topic, _) =
        (options.path("--profile")?, options.needed("--topic")?, options.switch("--json"));
    options.finish()?;
    let begun = Instant::now();
    let consumer = Link::open(&profile)?.consumer(false)?;
    let spans = everything(&consumer, &topic)?;
    let (mut records, mut bytes) = (0, 0);
    read(&consumer, &topic, &spans, false, |message| {
        records += 1;
        bytes += message.payload_len() + message.key_len();
        Ok(Flow::Go)
    })?;
    let rate = rate(records, begun.elapsed());
    let report = serde_json::json!({
        "records": records, "bytes": bytes, "records_per_second": rate, "millis": millis(begun),
    });
    crate::print(&format!("{report}\n"))
}
