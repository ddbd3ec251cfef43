//! The client library's reading side on a real cluster: seeks, replays of a topic, dead letters that return, and
//! handlers that take longer than the group waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use caracal_kafka_client::events::{Event as _, PolicyChangeEvent, TimestampMillis};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{
    ConsumeFrom, Consumer, ConsumerOptions, Failure, Group, Handled, Kafka, ProducerOptions, Received,
    ReplayVerdict, RetryPolicy, Seek, Service, ShareChange, ShareHook, Shutdown,
};

use crate::Test;
use crate::cluster;
use crate::tools::block;

pub(crate) const TESTS: &[Test] = &[
    ("client_reads::a_consumer_goes_back_by_offset_time_and_to_the_beginning", a_consumer_goes_back),
    ("client_reads::dead_letters_go_back_once", dead_letters_go_back_once),
    ("client_reads::a_handler_slower_than_the_poll_interval_keeps_its_partitions", slow_handlers),
];

const PATIENCE: Duration = Duration::from_secs(90);

async fn connect() -> Result<Kafka> {
    // It writes and reads, which no other user may.
    let file = cluster::shared()?.dir()?.client(&"admin".parse()?).join("profile.toml");
    Ok(Kafka::connect(ConnectionProfile::load(file)?, Service::named("live-suite")).await?)
}

fn run_name() -> Result<String> {
    Ok(format!("live{}", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis()))
}

fn change(run: &str, number: u64) -> PolicyChangeEvent {
    // One key, so that all stand in one partition in this order.
    PolicyChangeEvent { agent_id: run.to_owned(), ..PolicyChangeEvent::sample(number) }
}

async fn write(kafka: &Kafka, run: &str, numbers: std::ops::Range<u64>) -> Result<()> {
    let out = kafka.producer::<PolicyChangeEvent>(ProducerOptions::default()).await?;
    let events: Vec<_> = numbers.map(|number| change(run, number)).collect();
    let report = out.send_all(&events).await;
    ensure!(report.all_written(), "{report:?}");
    Ok(())
}

/// The next record of the run.
async fn next(consumer: &mut Consumer<PolicyChangeEvent>, run: &str) -> Result<Received<PolicyChangeEvent>> {
    loop {
        let received = tokio::time::timeout(PATIENCE, consumer.recv()).await.context("no record came")??;
        if received.event.agent_id == run {
            return Ok(received);
        }
    }
}

/// Demands that the next record of the run is the one of this number.
async fn expect(
    consumer: &mut Consumer<PolicyChangeEvent>,
    run: &str,
    number: u64,
    after: &str,
) -> Result<Received<PolicyChangeEvent>> {
    let found = next(consumer, run).await.with_context(|| format!("{after}: number {number} was awaited"))?;
    ensure!(found.event == change(run, number), "{after}: {found:?} instead of number {number}");
    Ok(found)
}

fn a_consumer_goes_back() -> Result<()> {
    let run = run_name()?;
    cluster::shared()?;
    block(async {
        let kafka = connect().await?;
        write(&kafka, &run, 0..5).await?;
        let between = TimestampMillis::now();
        tokio::time::sleep(Duration::from_millis(50)).await;
        write(&kafka, &run, 5..10).await?;
        let group = || Group::named(format!("caracal-live-{run}"));
        let mut consumer = kafka.consumer::<PolicyChangeEvent>(group(), ConsumerOptions::default()).await?;
        let first = expect(&mut consumer, &run, 0, "begun").await?;
        expect(&mut consumer, &run, 1, "begun").await?;
        consumer.seek(&Seek::To(first.position.clone())).await?;
        expect(&mut consumer, &run, 0, "sent back to the first").await?;
        consumer.seek(&Seek::Time(between)).await?;
        expect(&mut consumer, &run, 5, "sent to a time").await?;
        consumer.seek(&Seek::Beginning).await?;
        expect(&mut consumer, &run, 0, "sent to the beginning").await?;
        consumer.seek(&Seek::End).await?;
        write(&kafka, &run, 10..11).await?;
        expect(&mut consumer, &run, 10, "sent to the end, then written").await?;
        ensure!(consumer.close(Duration::from_secs(20)).await, "the group was not left in time");
        // A replay takes no part in the group.
        for (from, number) in [(ConsumeFrom::Beginning, 0), (ConsumeFrom::Time(between), 5)] {
            let options = ConsumerOptions { from, ..ConsumerOptions::default() };
            let mut replay = kafka.consumer::<PolicyChangeEvent>(group(), options).await?;
            expect(&mut replay, &run, number, "a replay").await?;
            ensure!(replay.close(Duration::from_secs(20)).await, "the replay was not closed in time");
        }
        Ok(())
    })
}

/// Handles the run's records: every second one is no good.
async fn handle(kafka: &Kafka, run: &str, count: usize) -> Result<(Vec<i64>, u64)> {
    let options = ConsumerOptions { retry: RetryPolicy::never(), ..ConsumerOptions::default() };
    let group = Group::named(format!("caracal-live-{run}"));
    let consumer = kafka.consumer::<PolicyChangeEvent>(group, options).await?;
    let (tell, told) = std::sync::mpsc::channel();
    let (shutdown, trigger) = Shutdown::by_hand();
    let (name, left) = (run.to_owned(), AtomicUsize::new(count));
    let handler = move |received: Arc<Received<PolicyChangeEvent>>| {
        let ours = received.event.agent_id == name;
        let returned = received.headers.iter().any(|header| header.name == "caracal-replayed-from");
        let bad = ours && !returned && received.position.offset % 2 == 0;
        if ours {
            let _ = tell.send(received.position.offset);
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                trigger.shut_down();
            }
        }
        let handled =
            if bad { Handled::DeadLetter(Failure::new("caracal.Live", name.clone())) } else { Handled::Done };
        std::future::ready(handled)
    };
    let run = consumer.run(handler, shutdown);
    let report = tokio::time::timeout(PATIENCE, run).await.context("too few came")??;
    Ok((told.try_iter().collect(), report.dead_lettered))
}

fn dead_letters_go_back_once() -> Result<()> {
    let run = run_name()?;
    cluster::shared()?;
    block(async {
        let kafka = connect().await?;
        write(&kafka, &run, 0..10).await?;
        let (_, dead) = handle(&kafka, &run, 10).await?;
        ensure!(dead >= 5, "{dead} dead letters");
        let group = || Group::named(format!("caracal-live-{run}-replay"));
        let ours =
            |kind: Option<&str>, message: Option<&str>| kind == Some("caracal.Live") && message == Some(&run);
        let mut places = Vec::new();
        let report = kafka
            .replay_dead_letters(group(), |letter| {
                if !ours(letter.failure_kind(), letter.failure_message()) {
                    return ReplayVerdict::Pass;
                }
                places.extend(letter.position());
                ReplayVerdict::Replay
            })
            .await?;
        ensure!(report.replayed == 5, "{report:?}");
        let topic = kafka.profile().qualified(PolicyChangeEvent::TOPIC);
        ensure!(places.iter().all(|place| place.topic == topic && place.offset % 2 == 0), "{places:?}");
        let again = kafka.replay_dead_letters(group(), |letter| {
            if ours(letter.failure_kind(), letter.failure_message()) {
                ReplayVerdict::Replay
            } else {
                ReplayVerdict::Pass
            }
        });
        let again = again.await?;
        ensure!(again.replayed == 0, "replayed twice: {again:?}");
        let (offsets, dead) = handle(&kafka, &run, 5).await?;
        ensure!(offsets.len() == 5 && dead == 0, "{offsets:?} came back, {dead} dead again");
        Ok(())
    })
}

/// Counts what a member loses.
fn losses() -> (ShareHook, Arc<AtomicUsize>) {
    let lost = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lost);
    let hook = ShareHook::new(move |change| {
        if matches!(change, ShareChange::Lost(_)) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (hook, lost)
}

/// The shortest interval that there is, and a handler that takes longer: by `handle` and by `run`, at the same time.
fn slow_handlers() -> Result<()> {
    const INTERVAL: Duration = Duration::from_secs(45);
    const WORK: Duration = Duration::from_secs(52);
    const LONG: Duration = Duration::from_secs(240);
    cluster::shared()?;
    let run = run_name()?;
    block(async {
        let kafka = connect().await?;
        write(&kafka, &run, 0..2).await?;
        let consumer = async |name: &str, on_share_change: ShareHook| {
            let options = ConsumerOptions {
                max_handling_time: INTERVAL,
                on_share_change,
                ..ConsumerOptions::default()
            };
            kafka
                .consumer::<PolicyChangeEvent>(Group::named(format!("caracal-live-{run}-{name}")), options)
                .await
        };
        let (hook, lost) = losses();
        let (mut by_hand, ours) = (consumer("hand", hook.clone()).await?, run.clone());
        let by_hand = async {
            let mut slow = 0;
            while slow < 2 {
                let handling = by_hand.handle(async |received| {
                    if received.event.agent_id == ours {
                        slow += 1;
                        // Only the first one is slow.
                        tokio::time::sleep(if slow == 1 { WORK } else { Duration::ZERO }).await;
                    }
                    Ok::<(), std::io::Error>(())
                });
                tokio::time::timeout(LONG, handling).await.context("no record came")??;
            }
            ensure!(by_hand.close(Duration::from_secs(20)).await, "the group was not left in time");
            anyhow::Ok(())
        };
        let (shutdown, trigger) = Shutdown::by_hand();
        let (trigger, ours) = (Arc::new(trigger), run.clone());
        let handler = move |received: Arc<Received<PolicyChangeEvent>>| {
            let (ours, trigger) = (received.event.agent_id == ours, Arc::clone(&trigger));
            async move {
                if ours && received.event == change(&received.event.agent_id, 0) {
                    tokio::time::sleep(WORK).await;
                } else if ours {
                    trigger.shut_down();
                }
                Handled::Done
            }
        };
        let by_run = consumer("run", hook).await?.run(handler, shutdown);
        let (_, report) = tokio::try_join!(by_hand, async {
            Ok(tokio::time::timeout(LONG, by_run).await.context("the run did not end")??)
        })?;
        ensure!(lost.load(Ordering::Relaxed) == 0, "partitions were lost {lost:?} times");
        ensure!(report.abandoned == 0 && report.handled >= 2, "{report:?}");
        Ok(())
    })
}
