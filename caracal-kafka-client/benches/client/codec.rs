//! Encoding and decoding alone.

use std::hint::black_box;

use anyhow::{Context as _, Result};
use apache_avro::reader::datum::GenericDatumReader;
use caracal_kafka_client::events::{Event as _, MeteringEvent};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{EventDecoder, EventEncoder};
use schema_registry_converter::async_impl::avro::{AvroDecoder, AvroEncoder};
use schema_registry_converter::schema_registry_common::SubjectNameStrategy;
use serde_json::{Value, json};

use crate::figures::{Clock, Figures};
use crate::{Arguments, peers};

pub(crate) async fn run(profile: &ConnectionProfile, arguments: &Arguments) -> Result<Value> {
    let Arguments { rounds, events, .. } = *arguments;
    let rounds = if arguments.wants("codec", "") { rounds } else { 0 };
    let pool = peers::pool();
    let strategy = SubjectNameStrategy::TopicNameStrategy(MeteringEvent::TOPIC.to_owned(), false);
    let encoder = AvroEncoder::new(peers::registry(profile)?);
    let decoder = AvroDecoder::new(peers::registry(profile)?);
    // Each asks the registry once, before the clock runs.
    let framed = encoder.encode_struct(&pool[0], &strategy).await?;
    let id = u32::from_be_bytes(framed[1..5].try_into()?);
    decoder.decode(Some(&framed)).await?;
    let ours = EventEncoder::<MeteringEvent>::new(id)?;
    let reads = EventDecoder::<MeteringEvent>::of_own_schema(id)?;
    let schema = apache_avro::Schema::parse_str(MeteringEvent::SCHEMA)?;
    let direct = GenericDatumReader::builder(&schema).build()?;
    let values = pool.iter().map(|event| {
        let mut value = Vec::new();
        ours.encode(event, &mut value).map(|()| value)
    });
    let values: Vec<Vec<u8>> = values.collect::<Result<_, _>>()?;
    anyhow::ensure!(values[0] == framed, "the two encoders do not agree");

    let (mut encoding, mut decoding) = (Figures::of(events), Figures::of(events));
    for _ in 0..rounds {
        let clock = Clock::start();
        let mut buffer = Vec::with_capacity(1024);
        for number in 0..events {
            ours.encode(&pool[number % pool.len()], &mut buffer)?;
            black_box(&buffer);
        }
        encoding.push("typed", clock.stop());

        let clock = Clock::start();
        for number in 0..events {
            black_box(encoder.encode_struct(&pool[number % pool.len()], &strategy).await?);
        }
        encoding.push("converter", clock.stop());

        let clock = Clock::start();
        for number in 0..events {
            black_box(reads.decode(&values[number % values.len()])?);
        }
        decoding.push("typed", clock.stop());

        let clock = Clock::start();
        for number in 0..events {
            let mut datum = &values[number % values.len()][5..];
            black_box(value_to_event(&direct.read_value(&mut datum)?)?);
        }
        decoding.push("avro_value", clock.stop());

        let clock = Clock::start();
        for number in 0..events {
            let mut datum = &values[number % values.len()][5..];
            black_box(direct.read_deser::<MeteringEvent>(&mut datum)?);
        }
        decoding.push("avro_direct", clock.stop());

        let clock = Clock::start();
        for number in 0..events {
            let decoded = decoder.decode(Some(&values[number % values.len()])).await?;
            black_box(value_to_event(&decoded.value)?);
        }
        decoding.push("converter", clock.stop());
    }
    Ok(json!({
        "bytes_each": values.iter().map(Vec::len).sum::<usize>() / values.len(),
        "encode": encoding.document(&[("typed", "converter", 2.0)]),
        "decode": decoding.document(&[("typed", "avro_value", 3.0)]),
    }))
}

/// Without a reader's schema, which favours the tree: apache-avro 0.22 resolves no decimal whose bytes are fewer
/// than its precision asks for, and Java writes no more than needed.
///
/// The library's tree of values knows a decimal as its own type, which no service's type is read from;
/// so the price is taken as the bytes that it is.
pub(crate) fn value_to_event(value: &apache_avro::types::Value) -> Result<MeteringEvent> {
    use apache_avro::types::Value as V;
    let V::Record(fields) = value else { anyhow::bail!("it is no record") };
    let plain = fields.iter().map(|(name, field)| {
        let field = match field {
            V::Union(at, inner) => match &**inner {
                V::Decimal(decimal) => {
                    let bytes: Vec<u8> = decimal.try_into().context("a decimal")?;
                    V::Union(*at, Box::new(V::Bytes(bytes)))
                }
                _ => field.clone(),
            },
            _ => field.clone(),
        };
        Ok((name.clone(), field))
    });
    Ok(apache_avro::from_value(&V::Record(plain.collect::<Result<_>>()?))?)
}
