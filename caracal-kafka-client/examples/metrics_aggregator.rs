//! MetricsAggregator: what each agent used, in windows of one minute of the events' own time.
//!
//! `CARACAL_KAFKA_PROFILE=... cargo run --example metrics_aggregator -- TOTALS-FILE`; ends by Ctrl-C or SIGTERM.
//!
//! Totals and the offsets that they were made from are replaced together, by one rename, and only then committed. An event
//! that comes again stands below its offset and is left out, so each counts once.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program, and these are its words")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use caracal_kafka_client::events::MeteringEvent;
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{ConsumerOptions, Group, Kafka, Position, Received, Service, Shutdown};
use serde::{Deserialize, Serialize};

const WINDOW_MILLIS: i64 = 60_000;

/// How often totals are kept.
const KEEP: Duration = Duration::from_secs(1);

#[derive(Default, Deserialize, Serialize)]
struct Totals {
    /// By the window's begin (milliseconds since 1970), then by agent.
    windows: BTreeMap<i64, BTreeMap<String, Total>>,
    /// The next offset of each partition.
    next: BTreeMap<i32, i64>,
}

#[derive(Default, Deserialize, Serialize)]
struct Total {
    events: u64,
    quantity: i64,
}

impl Totals {
    fn open(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn add(&mut self, received: &Received<MeteringEvent>) {
        let next = self.next.entry(received.position.partition).or_default();
        if received.position.offset < *next {
            return;
        }
        *next = received.position.offset + 1;
        let event = &received.event;
        let begin = event.occurred_at.0.div_euclid(WINDOW_MILLIS) * WINDOW_MILLIS;
        let total = self.windows.entry(begin).or_default().entry(event.agent_id.clone()).or_default();
        total.events += 1;
        total.quantity += event.quantity;
    }

    /// Replaces the file as a whole: a crash leaves the old one or the new one.
    fn keep(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut file = File::options().write(true).create(true).truncate(true).open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(self).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(beside, path)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path: PathBuf = std::env::args_os().nth(1).ok_or("usage: metrics_aggregator TOTALS-FILE")?.into();
    let mut totals = Totals::open(&path)?;
    let kafka = Kafka::connect(ConnectionProfile::discover()?, Service::named("metrics-aggregator")).await?;
    let group = Group::named("caracal-metrics");
    let mut events = kafka.consumer::<MeteringEvent>(group, ConsumerOptions::default()).await?;
    let shutdown = Shutdown::on_signal()?;
    // What is counted and not yet committed, by partition.
    let mut counted: BTreeMap<i32, Position> = BTreeMap::new();
    let mut tick = tokio::time::interval(KEEP);
    while !shutdown.is_due() {
        tokio::select! {
            received = events.recv() => {
                let received = received?;
                totals.add(&received);
                counted.insert(received.position.partition, received.position);
                continue;
            }
            _ = tick.tick() => {}
        }
        keep(&totals, &path)?;
        for position in std::mem::take(&mut counted).into_values() {
            // A partition that went to another member by now has its offset in the totals all the same.
            if let Err(error) = events.commit(&position).await {
                eprintln!("{error}");
            }
        }
    }
    keep(&totals, &path)?;
    for position in counted.into_values() {
        events.commit(&position).await?;
    }
    events.close(Duration::from_secs(10)).await;
    println!("{} windows", totals.windows.len());
    Ok(())
}

fn keep(totals: &Totals, path: &Path) -> io::Result<()> {
    // A few kilobytes: less than what it would cost to hand them to another thread.
    totals.keep(path)
}
