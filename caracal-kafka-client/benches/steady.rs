//! Events at a steady rate until standard input ends, then a count of what became of them.
//!
//! `cargo xtask bench restarts` runs it while brokers restart or die. It prints two documents, one a line: the
//! first when it sends, the second at the end. Every event carries a number; what was acknowledged is read back,
//! so that "written" is not believed but seen.
#![expect(clippy::print_stdout, reason = "the documents are what the program is for")]

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use caracal_kafka_client::events::MeteringEvent;
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{
    CloseReport, ConsumerOptions, Delivery, Group, Kafka, Producer, ProducerOptions, Service,
};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often events are made; each time so many as the rate wants by then.
const TICK: Duration = Duration::from_millis(5);

/// How long the last acknowledgements, and the end of the topic, are waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A topic from which nothing came for so long has been read.
const SILENCE: Duration = Duration::from_secs(10);

struct Arguments {
    producer: PathBuf,
    consumer: PathBuf,
    rate: u64,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut words = std::env::args().skip(1);
        let (mut producer, mut consumer, mut rate) = (None, None, 2_000);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--producer-profile" => producer = Some(value()?.into()),
                "--consumer-profile" => consumer = Some(value()?.into()),
                "--rate" => rate = value()?.parse().context("--rate takes a number of events a second")?,
                // Cargo's own.
                "--bench" => {}
                other => anyhow::bail!("{other} is not known here"),
            }
        }
        Ok(Self {
            producer: producer.context("--producer-profile is missing")?,
            consumer: consumer.context("--consumer-profile is missing")?,
            rate,
        })
    }
}

/// What is known of the events of this run.
#[derive(Default)]
struct Account {
    /// Numbers that were acknowledged.
    written: Vec<i64>,
    not_written: u64,
    unknown: u64,
    /// Of each partition: its last acknowledgement, and the longest time without one.
    partitions: BTreeMap<i32, (Instant, Duration)>,
    reasons: BTreeMap<String, u64>,
}

impl Account {
    fn add(&mut self, number: i64, delivery: Delivery) {
        match delivery {
            Delivery::Written(at) => {
                self.written.push(number);
                let now = Instant::now();
                let (last, gap) = self.partitions.entry(at.partition).or_insert((now, Duration::ZERO));
                *gap = (*gap).max(now.duration_since(*last));
                *last = now;
            }
            Delivery::NotWritten(why) => {
                self.not_written += 1;
                *self.reasons.entry(format!("{why:?}")).or_default() += 1;
            }
            Delivery::Unknown(why) => {
                self.unknown += 1;
                *self.reasons.entry(format!("{why:?}")).or_default() += 1;
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let run = format!("steady-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
    let kafka =
        Kafka::connect(ConnectionProfile::load(&arguments.producer)?, Service::named("steady")).await?;
    let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
    println!("{}", json!({ "format": 1, "sending": true, "events_per_second": arguments.rate }));
    let began = Instant::now();
    let (account, taken) = send(&out, &run, arguments.rate).await?;
    let sent_for = began.elapsed();
    let closed = kafka.close(PATIENCE).await;
    let seen = read_back(&arguments.consumer, &run, account.written.len()).await?;
    let lost = account.written.iter().filter(|number| !seen.contains_key(number)).count();
    let twice = seen.values().filter(|count| **count > 1).count();
    let gaps: BTreeMap<String, u128> =
        account.partitions.iter().map(|(id, (_, gap))| (id.to_string(), gap.as_millis())).collect();
    let document = json!({
        "format": 1,
        "seconds": sent_for.as_secs_f64(),
        "taken": taken,
        "written": account.written.len(),
        "not_written": account.not_written,
        "unknown": account.unknown,
        "reasons": account.reasons,
        "accounted_for_at_close": accounted(closed),
        "read_back": seen.len(),
        "lost": lost,
        "duplicated": twice,
        "longest_gap_ms": account.partitions.values().map(|(_, gap)| gap.as_millis()).max(),
        "longest_gap_ms_by_partition": gaps,
    });
    println!("{document}");
    Ok(())
}

fn accounted(closed: CloseReport) -> u64 {
    closed.written + closed.not_written + closed.unknown
}

/// Sends until standard input ends, and waits for every outcome.
async fn send(out: &Producer<MeteringEvent>, run: &str, rate: u64) -> Result<(Account, i64)> {
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.store(true, Ordering::Relaxed);
    });
    let account = Arc::new(Mutex::new(Account::default()));
    let mut waiting = tokio::task::JoinSet::new();
    let began = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0_i64;
    while !ended.load(Ordering::Relaxed) {
        ticks.tick().await;
        let due = i64::try_from(u128::from(rate) * began.elapsed().as_millis() / 1000)?;
        while number < due {
            let handle = out.enqueue(&event(run, number)).await?;
            let (account, this) = (Arc::clone(&account), number);
            waiting.spawn(async move {
                let delivery = handle.await;
                if let Ok(mut account) = account.lock() {
                    account.add(this, delivery);
                }
            });
            number += 1;
        }
        while waiting.try_join_next().is_some() {}
    }
    timeout(PATIENCE, waiting.join_all()).await.context("the last acknowledgements did not come")?;
    let account = Arc::into_inner(account).context("an outcome is still waited for")?;
    Ok((account.into_inner().map_err(|_| anyhow::anyhow!("an outcome was not counted"))?, number))
}

fn event(run: &str, number: i64) -> MeteringEvent {
    let sample = MeteringEvent::sample(u64::try_from(number).unwrap_or(0));
    MeteringEvent { quantity: number, correlation_id: Some(run.to_owned()), ..sample }
}

/// How often each number of this run stands in the topic.
async fn read_back(profile: &std::path::Path, run: &str, expected: usize) -> Result<HashMap<i64, u32>> {
    let kafka = Kafka::connect(ConnectionProfile::load(profile)?, Service::named("steady")).await?;
    let group = Group::named(format!("caracal-{run}"));
    let mut events = kafka.consumer::<MeteringEvent>(group, ConsumerOptions::default()).await?;
    let mut seen: HashMap<i64, u32> = HashMap::with_capacity(expected);
    let mut patience = PATIENCE;
    while let Ok(received) = timeout(patience, events.recv()).await {
        let received = received?;
        if received.event.correlation_id.as_deref() == Some(run) {
            *seen.entry(received.event.quantity).or_default() += 1;
        }
        patience = SILENCE;
    }
    events.close(PATIENCE).await;
    Ok(seen)
}
