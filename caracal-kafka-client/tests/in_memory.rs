//! A cluster in this process: the suite of promises over it, and what it can break that no real cluster breaks on demand.

#[path = "../../tests/support/behaviour.rs"]
mod behaviour;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use caracal_kafka_client::events::{Event as _, MeteringEvent, TOPIC_DEAD_LETTERS};
use caracal_kafka_client::{
    ConsumerOptions, Delivery, Failure, Fault, Group, Handled, InMemory, Kafka, ProducerOptions, RetryPolicy,
    RunReport, Shutdown, ShutdownTrigger,
};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(90);

async fn poisoned() -> Result<InMemory> {
    let (memory, (key, bytes)) = (Kafka::in_memory().await?, behaviour::POISON);
    let written = memory.write_raw(MeteringEvent::TOPIC, Some(key.as_bytes()), Some(bytes), &[]).await?;
    ensure!(matches!(written, Delivery::Written(_)), "{written:?}");
    Ok(memory)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_once_in_order_of_its_key() -> Result<()> {
    behaviour::each_event_once_in_order_of_its_key(&Kafka::in_memory().await?.kafka()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_becomes_a_dead_letter() -> Result<()> {
    behaviour::what_fails_becomes_a_dead_letter(&poisoned().await?.kafka()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_stays_until_it_is_given_up() -> Result<()> {
    behaviour::poison_stays_until_it_is_given_up(&poisoned().await?.kafka()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_result_once() -> Result<()> {
    behaviour::each_result_once(&Kafka::in_memory().await?.kafka()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_counts_everything() -> Result<()> {
    behaviour::a_close_counts_everything(&Kafka::in_memory().await?.kafka()).await
}

async fn send(kafka: &Kafka, seed: u64, timeout: Duration) -> Result<Delivery> {
    let options = ProducerOptions { delivery_timeout: timeout, ..ProducerOptions::default() };
    let out = kafka.producer::<MeteringEvent>(options).await?;
    let delivery = out.enqueue(&MeteringEvent::sample(seed)).await?.await;
    let report = out.close(Duration::from_secs(1)).await;
    ensure!(report.written + report.not_written + report.unknown == 1, "{report:?}");
    Ok(delivery)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_write_is_unknown_and_may_be_there() -> Result<()> {
    let memory = Kafka::in_memory().await?;
    let kafka = memory.kafka();
    let options = ProducerOptions { delivery_timeout: Duration::from_secs(3), ..ProducerOptions::default() };
    let out = kafka.producer::<MeteringEvent>(options).await?;
    // One key: the way to its partition's leader is open before answers are late, or the second is never sent.
    let event = |seed| MeteringEvent { agent_id: "agent".into(), ..MeteringEvent::sample(seed) };
    let before = out.enqueue(&event(1)).await?.await;
    ensure!(matches!(before, Delivery::Written(_)), "{before:?}");
    memory.inject(Fault::LateAnswers(Duration::from_secs(600)))?;
    let delivery = out.enqueue(&event(2)).await?.await;
    ensure!(matches!(delivery, Delivery::Unknown(_)), "{delivery:?}");
    memory.inject(Fault::LateAnswers(Duration::ZERO))?;
    let mut events =
        kafka.consumer::<MeteringEvent>(Group::named("judge"), ConsumerOptions::default()).await?;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.push(tokio::time::timeout(PATIENCE, events.recv()).await??.event);
    }
    ensure!(seen.contains(&event(2)), "{seen:?}");
    events.close(Duration::from_secs(5)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_write_is_not_written_and_the_next_one_is() -> Result<()> {
    let memory = Kafka::in_memory().await?;
    memory.inject(Fault::WritesRefused(1))?;
    let refused = send(&memory.kafka(), 1, PATIENCE).await?;
    ensure!(matches!(&refused, Delivery::NotWritten(why) if why.why.contains("ACL")), "{refused:?}");
    let written = send(&memory.kafka(), 2, PATIENCE).await?;
    ensure!(matches!(written, Delivery::Written(_)), "{written:?}");
    Ok(())
}

/// A run whose handler fails so often for each event; how often it was called is counted.
async fn running(
    kafka: &Kafka,
    retry: RetryPolicy,
    failures: u64,
) -> Result<(JoinHandle<Result<RunReport>>, Arc<AtomicU64>, ShutdownTrigger)> {
    let options =
        ConsumerOptions { retry, commit_interval: Duration::from_millis(100), ..ConsumerOptions::default() };
    let consumer = kafka.consumer::<MeteringEvent>(Group::named("g"), options).await?;
    let calls = Arc::new(AtomicU64::new(0));
    let (counted, (shutdown, trigger)) = (Arc::clone(&calls), Shutdown::by_hand());
    let handler = move |_| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        let failed = call < failures;
        async move { if failed { Handled::Retry(Failure::new("Busy", "not yet")) } else { Handled::Done } }
    };
    let run = async move { Ok(consumer.run(handler, shutdown).await?) };
    Ok((tokio::spawn(run), calls, trigger))
}

async fn called(calls: &AtomicU64, times: u64) -> Result<()> {
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while calls.load(Ordering::SeqCst) < times {
        tick.tick().await;
        ensure!(tokio::time::Instant::now() < until, "{} of {times} calls", calls.load(Ordering::SeqCst));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_stands_still_holds_retries_until_it_is_advanced() -> Result<()> {
    let memory = Kafka::in_memory().await?;
    memory.pause_clock();
    let hour = Duration::from_secs(3600);
    let retry = RetryPolicy::default().with_attempts(3).with_first_pause(hour);
    let (run, calls, trigger) = running(&memory.kafka(), retry, 1).await?;
    ensure!(matches!(send(&memory.kafka(), 1, PATIENCE).await?, Delivery::Written(_)), "not written");
    called(&calls, 1).await?;
    ensure!(
        tokio::time::timeout(Duration::from_secs(1), called(&calls, 2)).await.is_err(),
        "the clock goes on"
    );
    memory.advance(hour * 3);
    called(&calls, 2).await?;
    trigger.shut_down();
    let report = run.await??;
    ensure!(report.handled == 1 && report.retried == 1, "{report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_given_up_while_the_dead_letters_topic_is_down() -> Result<()> {
    let memory = Kafka::in_memory().await?;
    let retry = || RetryPolicy::default().with_attempts(1).with_first_pause(Duration::from_millis(50));
    let (run, calls, trigger) = running(&memory.kafka(), retry(), u64::MAX).await?;
    memory.inject(Fault::TopicDown(TOPIC_DEAD_LETTERS.into()))?;
    ensure!(matches!(send(&memory.kafka(), 1, PATIENCE).await?, Delivery::Written(_)), "not written");
    called(&calls, 1).await?;
    trigger.shut_down();
    let report = run.await??;
    ensure!(report.dead_lettered == 0 && report.handled == 0, "{report:?}");
    // Not committed: the next member sees it, and its letter is written once the topic is back.
    let (run, calls, trigger) = running(&memory.kafka(), retry(), u64::MAX).await?;
    called(&calls, 1).await?;
    memory.bring_back(TOPIC_DEAD_LETTERS)?;
    let options = ConsumerOptions::default();
    let mut letters = memory.kafka().consumer::<behaviour::Letter>(Group::named("judge"), options).await?;
    tokio::time::timeout(PATIENCE, letters.recv()).await??;
    letters.close(Duration::from_secs(5)).await;
    trigger.shut_down();
    ensure!(run.await??.dead_lettered == 1, "no letter was counted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expelled_member_comes_back_and_loses_nothing() -> Result<()> {
    let memory = Kafka::in_memory().await?;
    let (run, calls, trigger) = running(&memory.kafka(), RetryPolicy::default(), 0).await?;
    for seed in 0..10 {
        ensure!(matches!(send(&memory.kafka(), seed, PATIENCE).await?, Delivery::Written(_)), "not written");
    }
    called(&calls, 10).await?;
    memory.inject(Fault::MemberExpelled)?;
    for seed in 10..20 {
        ensure!(matches!(send(&memory.kafka(), seed, PATIENCE).await?, Delivery::Written(_)), "not written");
    }
    called(&calls, 20).await?;
    trigger.shut_down();
    let report = run.await??;
    ensure!(report.handled >= 20 && report.dead_lettered == 0, "{report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_clients_lose_and_repeat_nothing() -> Result<()> {
    const EVENTS: u64 = 600;
    let memory = Kafka::in_memory().await?;
    let kafka = memory.kafka();
    let consumer = kafka.consumer::<MeteringEvent>(Group::named("g"), ConsumerOptions::default()).await?;
    let (shutdown, trigger) = Shutdown::by_hand();
    let seen = Arc::new(std::sync::Mutex::new(std::collections::BTreeMap::<String, Vec<i64>>::new()));
    let noted = Arc::clone(&seen);
    let handler = move |received: Arc<caracal_kafka_client::Received<MeteringEvent>>| {
        let noted = Arc::clone(&noted);
        async move {
            tokio::task::yield_now().await;
            let mut noted = noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            noted.entry(received.event.agent_id.clone()).or_default().push(received.event.quantity);
            Handled::Done
        }
    };
    let run = tokio::spawn(consumer.run(handler, shutdown));
    let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let mut handles = Vec::new();
    for number in 0..EVENTS {
        tick.tick().await;
        let event = MeteringEvent {
            agent_id: format!("agent-{}", number % 5),
            quantity: i64::try_from(number)?,
            ..MeteringEvent::sample(number)
        };
        handles.push(out.enqueue(&event).await?);
        if number % 200 == 100 {
            ensure!(memory.replace_clients().await?, "a producer did not end what it had under way");
        }
    }
    for handle in handles {
        let delivery = handle.await;
        ensure!(matches!(delivery, Delivery::Written(_)), "{delivery:?}");
    }
    let until = tokio::time::Instant::now() + PATIENCE;
    let count = || seen.lock().map_or(0, |seen| seen.values().map(Vec::len).sum::<usize>()) as u64;
    while count() < EVENTS {
        tick.tick().await;
        ensure!(tokio::time::Instant::now() < until, "{} of {EVENTS}", count());
    }
    trigger.shut_down();
    let report = run.await??;
    ensure!(report.handled == EVENTS && report.abandoned == 0, "{report:?}");
    let seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    for (agent, found) in seen {
        ensure!(found.windows(2).all(|pair| pair[0] < pair[1]), "{agent}: twice or out of order: {found:?}");
    }
    let report = out.close(Duration::from_secs(5)).await;
    ensure!(report.written == EVENTS && report.all_written(), "{report:?}");
    Ok(())
}
