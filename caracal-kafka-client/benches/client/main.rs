//! The typed client beside what a service would glue together itself: librdkafka by `rdkafka`, and the
//! registry by `schema_registry_converter`. `cargo xtask bench client` starts a cluster and runs it.
//!
//! Each contender runs in turn within each round, on the same connection settings, so that whatever else
//! the machine does meets all of them; the ratio of a round is what counts, and the median of the ratios
//! is what is reported. One JSON document goes to the standard output.
//!
//! `--only produce`, or `--only produce/typed`, leaves the rest out: for a profiler.
#![expect(clippy::print_stdout, reason = "the document is what the program is for")]

mod codec;
mod consume;
mod figures;
mod peers;
mod produce;
mod transact;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use caracal_kafka_client::profile::ConnectionProfile;
use serde_json::json;

/// What was asked for on the command line.
struct Arguments {
    producer: PathBuf,
    consumer: PathBuf,
    /// Of a user that may read and write.
    admin: PathBuf,
    rounds: usize,
    events: usize,
    only: Option<String>,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut words = std::env::args().skip(1);
        let mut admin = None;
        let (mut producer, mut consumer, mut rounds, mut events, mut only) = (None, None, 5, 100_000, None);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--producer-profile" => producer = Some(value()?.into()),
                "--consumer-profile" => consumer = Some(value()?.into()),
                "--admin-profile" => admin = Some(value()?.into()),
                "--rounds" => rounds = value()?.parse().context("--rounds takes a number")?,
                "--events" => events = value()?.parse().context("--events takes a number")?,
                "--only" => only = Some(value()?),
                // Cargo's own.
                "--bench" => {}
                other => anyhow::bail!("{other} is not known here"),
            }
        }
        Ok(Self {
            producer: producer.context("--producer-profile is missing")?,
            consumer: consumer.context("--consumer-profile is missing")?,
            admin: admin.context("--admin-profile is missing")?,
            rounds,
            events,
            only,
        })
    }

    /// Whether this contender of this part takes part.
    fn wants(&self, part: &str, contender: &str) -> bool {
        self.only.as_deref().is_none_or(|only| match only.split_once('/') {
            Some((one, name)) => one == part && name == contender,
            None => only == part,
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
    let codec = codec::run(&producer, &arguments).await?;
    let produced = produce::run(&producer, &arguments).await?;
    let consumed = consume::run(&consumer, &produced.starts, &arguments).await?;
    let admin = ConnectionProfile::load(&arguments.admin)?;
    let transacted = transact::run(&admin, &produced.starts, &arguments).await?;
    let document = json!({
        "format": 1,
        "client": caracal_kafka_client::librdkafka_version(),
        "rounds": arguments.rounds,
        "events_each": arguments.events,
        "codec": codec,
        "produce": produced.figures,
        "consume": consumed,
        "transactions": transacted,
    });
    println!("{document:#}");
    Ok(())
}
