//! The typed client beside what a service would glue together itself: librdkafka by `rdkafka`, and the
//! registry by `schema_registry_converter`. `cargo xtask bench client` starts a cluster and runs it.
//!
//! Each contender runs in turn within each round, on the same connection settings, so that whatever else
//! the machine does meets all of them; the ratio of a round is what counts, and the median of the ratios
//! is what is reported. One JSON document goes to the standard output.
#![expect(clippy::print_stdout, reason = "the document is what the program is for")]

mod codec;
mod consume;
mod figures;
mod peers;
mod produce;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use caracal_kafka_client::profile::ConnectionProfile;
use serde_json::json;

/// What was asked for on the command line.
struct Arguments {
    producer: PathBuf,
    consumer: PathBuf,
    rounds: usize,
    events: usize,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut words = std::env::args().skip(1);
        let (mut producer, mut consumer, mut rounds, mut events) = (None, None, 5, 100_000);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--producer-profile" => producer = Some(value()?.into()),
                "--consumer-profile" => consumer = Some(value()?.into()),
                "--rounds" => rounds = value()?.parse().context("--rounds takes a number")?,
                "--events" => events = value()?.parse().context("--events takes a number")?,
                // Cargo's own.
                "--bench" => {}
                other => anyhow::bail!("{other} is not known here"),
            }
        }
        Ok(Self {
            producer: producer.context("--producer-profile is missing")?,
            consumer: consumer.context("--consumer-profile is missing")?,
            rounds,
            events,
        })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    // For the peers, which choose none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let producer = ConnectionProfile::load(&arguments.producer)?;
    let consumer = ConnectionProfile::load(&arguments.consumer)?;
    let codec = codec::run(&producer, arguments.rounds, arguments.events).await?;
    let produced = produce::run(&producer, arguments.rounds, arguments.events).await?;
    let consumed = consume::run(&consumer, &produced.starts, arguments.rounds, arguments.events).await?;
    let document = json!({
        "format": 1,
        "client": caracal_kafka_client::librdkafka_version(),
        "rounds": arguments.rounds,
        "events_each": arguments.events,
        "codec": codec,
        "produce": produced.figures,
        "consume": consumed,
    });
    println!("{document:#}");
    Ok(())
}
