//! For measurements: many events written, and everything read and thrown away by nothing but librdkafka.

use std::time::Instant;

use crate::arguments::Options;
use crate::avro::Encoder;
use crate::backup::everything;
use crate::failure::Failure;
use crate::link::Link;
use crate::progress::{millis, rate};
use crate::reader::{Flow, read};
use crate::registry::Registry;
use crate::writer::{Outgoing, Writer};
use caracal_kafka_client::events::{Event as _, MeteringEvent};

/// Values that are written again and again: making each anew would measure that.
const DIFFERENT: u64 = 997;

pub(crate) fn fill(options: &mut Options) -> Result<(), Failure> {
    let begun = Instant::now();
    let (profile, topic) = (options.path("--profile")?, options.needed("--topic")?);
    let count: u64 =
        options.parsed("--count")?.ok_or_else(|| Failure::usage("`--count` is missing".to_owned()))?;
    options.finish()?;
    let link = Link::open(&profile)?;
    let registry = Registry::of(&link.profile)?;
    let registry = registry.ok_or_else(|| Failure::usage("the profile names no registry".to_owned()))?;
    let id = registry.register(&format!("{topic}-value"), MeteringEvent::SCHEMA)?;
    let encoder = Encoder::new(id, MeteringEvent::SCHEMA)?;
    let mut values = Vec::new();
    for seed in 0..DIFFERENT.min(count) {
        let event = MeteringEvent::sample(seed);
        let json = serde_json::to_value(&event).map_err(|error| Failure::cluster(error.to_string()))?;
        values.push((event.agent_id.into_bytes(), encoder.encode(&json).map_err(Failure::cluster)?));
    }
    let mut writer = Writer::open(&link, &topic)?;
    for (_, (key, value)) in (0..count).zip(values.iter().cycle()) {
        let (key, value) = (Some(key.as_slice()), Some(value.as_slice()));
        writer.send(Outgoing { partition: None, timestamp: None, key, value, headers: &[] })?;
    }
    let written = writer.finish()?;
    crate::print(&format!("{}\n", serde_json::json!({ "records": written, "millis": millis(begun) })))
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
