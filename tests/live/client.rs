//! The client library against a real cluster: retries, dead letters and commits as its users see them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use caracal_kafka_client::events::{Event as _, MeteringEvent, TOPIC_DEAD_LETTERS};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{
    ConsumeFrom, Consumer, ConsumerOptions, Delivery, Failure, Group, HandleError, Handled, Kafka, Position,
    ProducerOptions, RawRecord, ReceiveError, Received, RetryPolicy, RunReport, Service, Shutdown,
};

use crate::Test;
use crate::cluster;
use crate::program::Program;
use crate::tools::block;

pub(crate) const TESTS: &[Test] = &[
    (
        "client::failures_are_retried_then_dead_letters_and_only_then_committed",
        failures_are_retried_then_dead_letters,
    ),
    ("client::nothing_is_passed_over_by_hand", nothing_is_passed_over_by_hand),
    ("client::a_user_without_write_learns_that_nothing_was_written", without_write),
    ("client::a_close_without_patience_accounts_for_everything", a_close_without_patience),
];

const AGENTS: u64 = 10;
const EVENTS_EACH: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(90);

/// What the handler saw, attempts included: quantities by agent, in the order of the calls.
type Seen = Arc<Mutex<BTreeMap<String, Vec<i64>>>>;

fn conf(user: &str) -> Result<std::path::PathBuf> {
    Ok(cluster::shared()?.dir()?.client(&user.parse()?).join("kcat.conf"))
}

async fn connect(user: &str) -> Result<Kafka> {
    let profile = cluster::shared()?.dir()?.client(&user.parse()?).join("profile.toml");
    Ok(Kafka::connect(ConnectionProfile::load(profile)?, Service::named("live-suite")).await?)
}

fn event(run: &str, agent: u64, quantity: u64) -> MeteringEvent {
    MeteringEvent {
        agent_id: format!("{run}-{agent}"),
        quantity: i64::try_from(quantity).unwrap_or_default(),
        ..MeteringEvent::sample(agent * 100 + quantity)
    }
}

/// Bytes that no serialiser wrote, under the key of one of the agents.
fn poison(key: &str) -> Result<()> {
    let kcat = Program::needed("kcat")?.args(["-F".as_ref(), conf("producer")?.as_os_str()]);
    kcat.args(["-P", "-t", MeteringEvent::TOPIC, "-k", key]).input("poison").run()?.succeeded()?;
    Ok(())
}

/// Key, value and headers of the dead letters of a run.
fn letters(run: &str) -> Result<Vec<String>> {
    let format = "%k|%S|%s|%h\\n";
    let read = ["-C", "-t", TOPIC_DEAD_LETTERS, "-o", "beginning", "-e", "-q", "-f", format, "-m", "30"];
    let kcat = Program::needed("kcat")?.args(["-F".as_ref(), conf("consumer")?.as_os_str()]).args(read);
    let text = kcat.within(PATIENCE).run()?.succeeded()?.text();
    // A line of a letter may hold what is no text; the key comes first.
    Ok(text.split('\n').filter(|line| line.starts_with(run)).map(str::to_owned).collect())
}

/// Agent 3 fails twice with its first event, agent 7 always with its third one.
fn judge(run: &str, received: &Received<MeteringEvent>, seen: &Seen) -> Handled {
    let event = &received.event;
    if !event.agent_id.starts_with(run) {
        return Handled::Done;
    }
    let Ok(mut seen) = seen.lock() else { return Handled::Done };
    let calls = seen.entry(event.agent_id.clone()).or_default();
    calls.push(event.quantity);
    let attempts = calls.iter().filter(|quantity| **quantity == event.quantity).count();
    let agent = event.agent_id.rsplit('-').next().unwrap_or_default();
    match (agent, event.quantity) {
        ("3", 0) if attempts < 3 => Handled::Retry(Failure::new("Busy", "not yet")),
        ("7", 2) => Handled::Retry(Failure::new("Never", "it will not do")),
        _ => Handled::Done,
    }
}

/// Handles until `enough`, or for the time that nothing shall come.
async fn handle(kafka: &Kafka, run: &str, seen: &Seen, enough: usize, most: Duration) -> Result<RunReport> {
    let retry = RetryPolicy::default().with_attempts(4).with_first_pause(Duration::from_millis(100));
    let options = ConsumerOptions { retry, ..ConsumerOptions::default() };
    let group = Group::named(format!("caracal-live-{run}"));
    let consumer = kafka.consumer::<MeteringEvent>(group, options).await?;
    let watched = Arc::clone(seen);
    let shutdown = Shutdown::when(async move {
        let until = tokio::time::Instant::now() + most;
        let count = || watched.lock().map_or(0, |seen| seen.values().map(Vec::len).sum());
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while count() < enough && tokio::time::Instant::now() < until {
            tick.tick().await;
        }
    });
    let (run, seen) = (run.to_owned(), Arc::clone(seen));
    let handler = move |received: Arc<Received<MeteringEvent>>| {
        let handled = judge(&run, &received, &seen);
        async move {
            // Away from the first poll, so that handlers overlap.
            tokio::task::yield_now().await;
            handled
        }
    };
    Ok(consumer.run(handler, shutdown).await?)
}

fn failures_are_retried_then_dead_letters() -> Result<()> {
    let run = run_name()?;
    cluster::shared()?;
    let (writer, reader) = block(async { tokio::try_join!(connect("producer"), connect("consumer")) })?;
    poison(&format!("{run}-5"))?;
    block(async {
        let out = writer.producer::<MeteringEvent>(ProducerOptions::default()).await?;
        for quantity in 0..EVENTS_EACH {
            for agent in 0..AGENTS {
                drop(out.enqueue(&event(&run, agent, quantity)).await?);
            }
        }
        let report = out.close(Duration::from_secs(20)).await;
        ensure!(report.written == AGENTS * EVENTS_EACH && report.all_written(), "{report:?}");
        Ok(())
    })?;
    // Two attempts more for agent 3, three more for agent 7.
    let calls = usize::try_from(AGENTS * EVENTS_EACH + 2 + 3)?;
    let seen = Seen::default();
    let report = block(handle(&reader, &run, &seen, calls, PATIENCE))?;
    let seen = seen.lock().ok().context("a handler panicked")?.clone();
    for agent in 0..AGENTS {
        let expected: &[i64] = match agent {
            3 => &[0, 0, 0, 1, 2, 3, 4],
            7 => &[0, 1, 2, 2, 2, 2, 3, 4],
            _ => &[0, 1, 2, 3, 4],
        };
        let found = seen.get(&format!("{run}-{agent}")).map(Vec::as_slice);
        ensure!(found == Some(expected), "agent {agent}: {found:?} instead of {expected:?}");
    }
    // Other tests write text into this topic too, which is dead-lettered alike; ours are counted below.
    ensure!(report.dead_lettered >= 2 && report.retried == 5 && report.abandoned == 0, "{report:?}");
    let letters = letters(&run)?;
    ensure!(letters.len() == 2, "{letters:?}");
    let of = |agent: &str| letters.iter().find(|line| line.starts_with(&format!("{run}-{agent}|")));
    let bytes = of("5").context("no dead letter of the poison")?;
    ensure!(bytes.contains("|6|poison|") && bytes.contains("caracal-attempts=1"), "{bytes}");
    let failed = of("7").context("no dead letter of the failing event")?;
    for header in
        ["caracal-attempts=4", "kafka_dlt-exception-fqcn=Never", "kafka_dlt-exception-message=it will not do"]
    {
        ensure!(failed.contains(header), "{header} is not in {failed}");
    }
    // Committed: a second member of the group sees none of them again.
    let again = Seen::default();
    let second = block(handle(&reader, &run, &again, 1, Duration::from_secs(12)))?;
    let again = again.lock().ok().context("a handler panicked")?.clone();
    ensure!(again.is_empty() && second.dead_lettered == 0, "seen again: {again:?}, {second:?}");
    Ok(())
}

fn run_name() -> Result<String> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(format!("live{}", since.as_millis()))
}

async fn written(kafka: &Kafka, event: &MeteringEvent) -> Result<Position> {
    let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
    let delivery = out.enqueue(event).await?.await;
    let report = out.close(Duration::from_secs(20)).await;
    let Delivery::Written(at) = delivery else { anyhow::bail!("{delivery:?}, {report:?}") };
    Ok(at)
}

/// Offset of the record that the next call hands to the handler, which ends so.
async fn next(consumer: &mut Consumer<MeteringEvent>, end: Result<(), String>) -> Result<i64> {
    let mut at = -1;
    let handling = consumer.handle(async |received| {
        at = received.position.offset;
        end.clone()
    });
    match (tokio::time::timeout(PATIENCE, handling).await?, end) {
        (Ok(()), Ok(())) | (Err(HandleError::Handler { .. }), Err(_)) => Ok(at),
        (other, _) => anyhow::bail!("offset {at}: {other:?}"),
    }
}

async fn undecodable(consumer: &mut Consumer<MeteringEvent>) -> Result<Box<RawRecord>> {
    match tokio::time::timeout(PATIENCE, consumer.handle(async |_| Ok::<(), String>(()))).await? {
        Err(HandleError::Receive(ReceiveError::Undecodable { record, .. })) => Ok(record),
        other => anyhow::bail!("{other:?}"),
    }
}

/// An event, bytes that no serialiser wrote, an event: by `handle`, in one partition.
fn nothing_is_passed_over_by_hand() -> Result<()> {
    let run = run_name()?;
    cluster::shared()?;
    let (writer, reader) = block(async { tokio::try_join!(connect("producer"), connect("consumer")) })?;
    let first = block(written(&writer, &event(&run, 0, 0)))?;
    let partition = first.partition.to_string();
    let kcat = Program::needed("kcat")?.args(["-F".as_ref(), conf("producer")?.as_os_str()]);
    kcat.args(["-P", "-t", MeteringEvent::TOPIC, "-p", &partition]).input("poison").run()?.succeeded()?;
    let last = block(written(&writer, &event(&run, 0, 1)))?;
    ensure!(last.partition == first.partition && last.offset == first.offset + 2, "{first} and {last}");
    block(async {
        let group = Group::named(format!("caracal-live-{run}"));
        let from = ConsumeFrom::Exactly(vec![first.clone()]);
        let options = ConsumerOptions { from, ..ConsumerOptions::default() };
        let mut consumer = reader.consumer::<MeteringEvent>(group, options).await?;
        for _ in 0..2 {
            let failed = next(&mut consumer, Err("not yet".into())).await?;
            ensure!(failed == first.offset, "{failed} after {first}");
        }
        let handled = next(&mut consumer, Ok(())).await?;
        ensure!(handled == first.offset, "{handled} instead of {first}");
        for _ in 0..2 {
            let record = undecodable(&mut consumer).await?;
            ensure!(record.position.offset == first.offset + 1, "{record:?}");
            ensure!(record.value.as_deref() == Some(b"poison"), "{record:?}");
        }
        let record = undecodable(&mut consumer).await?;
        consumer.commit(&*record).await?;
        let handled = next(&mut consumer, Ok(())).await?;
        ensure!(handled == last.offset, "{handled} instead of {last}");
        ensure!(consumer.close(Duration::from_secs(20)).await, "the group was not left in time");
        Ok(())
    })
}

fn without_write() -> Result<()> {
    cluster::shared()?;
    let run = run_name()?;
    block(async {
        let reader = connect("consumer").await?;
        let out = reader.producer::<MeteringEvent>(ProducerOptions::default()).await?;
        let delivery = out.enqueue(&event(&run, 0, 0)).await?.await;
        let report = out.close(Duration::from_secs(20)).await;
        let Delivery::NotWritten(why) = delivery else { anyhow::bail!("{delivery:?}, {report:?}") };
        ensure!(why.to_string().contains("ACL") && report.not_written == 1, "{why}, {report:?}");
        Ok(())
    })
}

fn a_close_without_patience() -> Result<()> {
    const EVENTS: u64 = 5000;
    cluster::shared()?;
    let run = run_name()?;
    block(async {
        let writer = connect("producer").await?;
        let linger = Duration::from_secs(1);
        let out = writer
            .producer::<MeteringEvent>(ProducerOptions { linger, ..ProducerOptions::default() })
            .await?;
        let mut handles = Vec::new();
        for quantity in 0..EVENTS {
            handles.push(out.enqueue(&event(&run, 0, quantity)).await?);
        }
        let report = out.close(Duration::ZERO).await;
        let (mut written, mut not_written, mut unknown) = (0, 0, 0);
        for handle in handles {
            match tokio::time::timeout(PATIENCE, handle).await? {
                Delivery::Written(_) => written += 1,
                Delivery::NotWritten(_) => not_written += 1,
                Delivery::Unknown(_) => unknown += 1,
            }
        }
        let counted = (report.written, report.not_written, report.unknown);
        ensure!(
            counted == (written, not_written, unknown),
            "{report:?}: {written}, {not_written}, {unknown}"
        );
        ensure!(written + not_written + unknown == EVENTS && unknown > 0, "{report:?}");
        Ok(())
    })
}
