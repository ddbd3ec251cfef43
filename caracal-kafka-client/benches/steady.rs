//! Events at a steady rate until standard input ends, then a count of what became of them.
//!
//! `cargo xtask bench restarts` runs it while brokers restart or die. It prints two documents, one a line: the
//! first when it sends, the second at the end. Every event carries a number; what was acknowledged is read back,
//! so that "written" is not believed but seen.
//!
//! With `--exactly-once-profile` transactions make a result of every event meanwhile, and the results are judged. With
//! `--close-within MILLIS` it ends as a service does: on SIGTERM it stops where it is and closes within that time,
//! whatever is under way.
#![expect(clippy::print_stdout, reason = "the documents are what the program is for")]

#[path = "steady/checker.rs"]
mod checker;
#[path = "steady/exactly_once.rs"]
mod exactly_once;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use caracal_kafka_client::events::{MeteringEvent, TimestampMillis};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{
    CloseReport, ConsumeFrom, ConsumerOptions, Delivery, Group, Kafka, Producer, ProducerOptions, Service,
    Shutdown,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use checker::History;
use exactly_once::ExactlyOnce;

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
    exactly_once: Option<PathBuf>,
    close_within: Option<Duration>,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut words = std::env::args().skip(1);
        let (mut producer, mut consumer, mut rate) = (None, None, 2_000);
        let (mut exactly_once, mut close_within) = (None, None);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--producer-profile" => producer = Some(value()?.into()),
                "--consumer-profile" => consumer = Some(value()?.into()),
                "--rate" => rate = value()?.parse().context("--rate takes a number of events a second")?,
                "--exactly-once-profile" => exactly_once = Some(value()?.into()),
                "--close-within" => {
                    let millis = value()?.parse().context("--close-within takes milliseconds")?;
                    close_within = Some(Duration::from_millis(millis));
                }
                // Cargo's own.
                "--bench" => {}
                other => anyhow::bail!("{other} is not known here"),
            }
        }
        Ok(Self {
            producer: producer.context("--producer-profile is missing")?,
            consumer: consumer.context("--consumer-profile is missing")?,
            rate,
            exactly_once,
            close_within,
        })
    }
}

/// What is known of the events of this run.
#[derive(Default)]
struct Account {
    /// Numbers that were acknowledged.
    written: Vec<i64>,
    not_written: Vec<i64>,
    unknown: Vec<i64>,
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
                self.not_written.push(number);
                *self.reasons.entry(format!("{why:?}")).or_default() += 1;
            }
            Delivery::Unknown(why) => {
                self.unknown.push(number);
                *self.reasons.entry(format!("{why:?}")).or_default() += 1;
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let start = TimestampMillis::now();
    let run = format!("steady-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
    let kafka =
        Kafka::connect(ConnectionProfile::load(&arguments.producer)?, Service::named("steady")).await?;
    let transactions = match &arguments.exactly_once {
        Some(profile) => Some(ExactlyOnce::start(profile, &run).await?),
        None => None,
    };
    let end = end_of_input_or_signal()?;
    let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
    println!("{}", json!({ "format": 1, "sending": true, "events_per_second": arguments.rate }));
    let began = Instant::now();
    let mut sending = Sending { run: &run, account: Arc::default(), waiting: JoinSet::new(), taken: 0 };
    sending.until(end, &out, arguments.rate).await?;
    let sent_for = began.elapsed();
    if arguments.close_within.is_none() {
        sending.all_told().await?;
    }
    let closing = Instant::now();
    // With whatever is under way, where a time is given.
    let closed = kafka.close(arguments.close_within.unwrap_or(PATIENCE)).await;
    let closed_for = closing.elapsed();
    sending.all_told().await?;
    let (account, taken) = sending.end()?;
    let seen = read_back(&arguments.consumer, &run, start).await?;
    let mut document = document(&account, &seen);
    let judged = match transactions {
        Some(transactions) => {
            let (acknowledged, unknown) = (set(&account.written), set(&account.unknown));
            transactions.end(History { acknowledged, unknown, ..History::default() }).await?
        }
        None => Value::Null,
    };
    let counted = (closed.written, closed.not_written, closed.unknown);
    let told = [&account.written, &account.not_written, &account.unknown].map(|numbers| numbers.len() as u64);
    if let Value::Object(fields) = &mut document {
        fields.insert("seconds".into(), json!(sent_for.as_secs_f64()));
        fields.insert("close_seconds".into(), json!(closed_for.as_secs_f64()));
        fields.insert("taken".into(), json!(taken));
        fields.insert("accounted_for_at_close".into(), json!(accounted(closed)));
        fields.insert("counts_agree".into(), json!([counted.0, counted.1, counted.2] == told));
        fields.insert("exactly_once".into(), judged);
    }
    println!("{document}");
    Ok(())
}

fn set(numbers: &[i64]) -> BTreeSet<i64> {
    numbers.iter().copied().collect()
}

fn document(account: &Account, seen: &HashMap<i64, u32>) -> Value {
    let lost = account.written.iter().filter(|number| !seen.contains_key(number)).count();
    let denied = account.not_written.iter().filter(|number| seen.contains_key(number)).count();
    let twice = seen.values().filter(|count| **count > 1).count();
    let gaps: BTreeMap<String, u128> =
        account.partitions.iter().map(|(id, (_, gap))| (id.to_string(), gap.as_millis())).collect();
    json!({
        "format": 1,
        "written": account.written.len(),
        "not_written": account.not_written.len(),
        "unknown": account.unknown.len(),
        "reasons": account.reasons,
        "read_back": seen.len(),
        "lost": lost,
        "not_written_but_there": denied,
        "duplicated": twice,
        "longest_gap_ms": account.partitions.values().map(|(_, gap)| gap.as_millis()).max(),
        "longest_gap_ms_by_partition": gaps,
    })
}

fn accounted(closed: CloseReport) -> u64 {
    closed.written + closed.not_written + closed.unknown
}

/// The end of standard input, SIGTERM or Ctrl-C, whichever is first.
fn end_of_input_or_signal() -> Result<Shutdown> {
    let (input, trigger) = Shutdown::by_hand();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        trigger.shut_down();
    });
    let signal = Shutdown::on_signal()?;
    Ok(Shutdown::when(async move {
        let mut tick = interval(TICK);
        while !input.is_due() && !signal.is_due() {
            tick.tick().await;
        }
    }))
}

/// What is sent and not told about yet.
struct Sending<'a> {
    run: &'a str,
    account: Arc<Mutex<Account>>,
    waiting: JoinSet<()>,
    taken: i64,
}

impl Sending<'_> {
    async fn until(&mut self, end: Shutdown, out: &Producer<MeteringEvent>, rate: u64) -> Result<()> {
        let began = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !end.is_due() {
            ticks.tick().await;
            let due = i64::try_from(u128::from(rate) * began.elapsed().as_millis() / 1000)?;
            while self.taken < due && !end.is_due() {
                let handle = out.enqueue(&event(self.run, self.taken)).await?;
                let (account, this) = (Arc::clone(&self.account), self.taken);
                self.waiting.spawn(async move {
                    let delivery = handle.await;
                    if let Ok(mut account) = account.lock() {
                        account.add(this, delivery);
                    }
                });
                self.taken += 1;
            }
            while self.waiting.try_join_next().is_some() {}
        }
        Ok(())
    }

    /// Waits for every outcome.
    async fn all_told(&mut self) -> Result<()> {
        let all = async { while self.waiting.join_next().await.is_some() {} };
        timeout(PATIENCE, all).await.context("the last acknowledgements did not come")
    }

    fn end(self) -> Result<(Account, i64)> {
        let account = Arc::into_inner(self.account).context("an outcome is still waited for")?;
        let account = account.into_inner().map_err(|_| anyhow::anyhow!("an outcome was not counted"))?;
        Ok((account, self.taken))
    }
}

fn event(run: &str, number: i64) -> MeteringEvent {
    let sample = MeteringEvent::sample(u64::try_from(number).unwrap_or(0));
    MeteringEvent { quantity: number, correlation_id: Some(run.to_owned()), ..sample }
}

/// How often each number of this run stands in the topic.
async fn read_back(
    profile: &std::path::Path,
    run: &str,
    start: TimestampMillis,
) -> Result<HashMap<i64, u32>> {
    let kafka = Kafka::connect(ConnectionProfile::load(profile)?, Service::named("steady")).await?;
    let group = Group::named(format!("caracal-{run}"));
    let options = ConsumerOptions { from: ConsumeFrom::Time(start), ..ConsumerOptions::default() };
    let mut events = kafka.consumer::<MeteringEvent>(group, options).await?;
    let mut seen: HashMap<i64, u32> = HashMap::new();
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
