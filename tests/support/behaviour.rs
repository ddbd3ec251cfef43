//! What the client promises, as one suite for every cluster: the client's own tests run it over memory, the live suite
//! over real brokers. Each promise is kept in topics that nobody else uses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_kafka_client::events::{
    AgentLifecycleEvent, Event, MeteringEvent, SchemaReference, TOPIC_DEAD_LETTERS,
};
use caracal_kafka_client::{
    Consumer, ConsumerOptions, Delivery, Failure, Group, HandleError, Handled, Kafka, Processed,
    ProducerOptions, ReceiveError, Received, RetryPolicy, RunReport, Shutdown, TransactionOptions,
};
use serde::{Deserialize, Serialize};

/// How long one promise may take to be kept on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

const AGENTS: u64 = 5;

/// A metering event where it is a dead letter.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Letter(MeteringEvent);

impl Event for Letter {
    const TOPIC: &'static str = TOPIC_DEAD_LETTERS;
    const RECORD: &'static str = MeteringEvent::RECORD;
    const SCHEMA: &'static str = MeteringEvent::SCHEMA;
    const REFERENCES: &'static [SchemaReference] = MeteringEvent::REFERENCES;

    fn key(&self) -> &str {
        self.0.key()
    }
}

/// Key and value of the record that no serialiser wrote; the cluster's owner writes it to the topic of metering
/// events before the promises about poison.
pub(crate) const POISON: (&str, &[u8]) = ("agent-9", b"poison");

fn event(agent: u64, quantity: u64) -> MeteringEvent {
    MeteringEvent {
        agent_id: format!("agent-{agent}"),
        quantity: i64::try_from(quantity).unwrap_or_default(),
        ..MeteringEvent::sample(agent * 1000 + quantity)
    }
}

async fn write(kafka: &Kafka, each: u64) -> Result<()> {
    let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
    let events: Vec<_> =
        (0..each).flat_map(|number| (0..AGENTS).map(move |agent| event(agent, number))).collect();
    let report = out.send_all(&events).await;
    ensure!(report.all_written() && report.written == each * AGENTS, "{report:?}");
    let closed = out.close(Duration::from_secs(20)).await;
    ensure!(closed.written == each * AGENTS && closed.all_written(), "{closed:?}");
    Ok(())
}

async fn consumer<E: Event>(kafka: &Kafka, group: &str) -> Result<Consumer<E>> {
    let retry = RetryPolicy::default().with_attempts(3).with_first_pause(Duration::from_millis(50));
    let options = ConsumerOptions { retry, ..ConsumerOptions::default() };
    Ok(kafka.consumer::<E>(Group::named(group), options).await?)
}

/// What each agent's handler calls were, in their order; a handler that fails for one agent always.
type Calls = Arc<Mutex<BTreeMap<String, Vec<i64>>>>;

async fn run(kafka: &Kafka, group: &str, fails: &str, calls: &Calls, enough: usize) -> Result<RunReport> {
    let consumer = consumer::<MeteringEvent>(kafka, group).await?;
    let (watched, noted, fails) = (Arc::clone(calls), Arc::clone(calls), fails.to_owned());
    let count = move || -> usize {
        watched.lock().unwrap_or_else(PoisonError::into_inner).values().map(Vec::len).sum()
    };
    let shutdown = Shutdown::when(async move {
        let until = tokio::time::Instant::now() + PATIENCE;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while count() < enough && tokio::time::Instant::now() < until {
            tick.tick().await;
        }
        // A dead letter is acknowledged behind the last call.
        tick.reset_after(Duration::from_secs(2));
        tick.tick().await;
    });
    let handler = move |received: Arc<Received<MeteringEvent>>| {
        let (calls, failed) = (Arc::clone(&noted), received.event.agent_id == fails);
        async move {
            // Away from the first poll, so that handlers overlap.
            tokio::task::yield_now().await;
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.entry(received.event.agent_id.clone()).or_default().push(received.event.quantity);
            if failed { Handled::Retry(Failure::new("Never", "it will not do")) } else { Handled::Done }
        }
    };
    Ok(consumer.run(handler, shutdown).await?)
}

/// Each event reaches a handler once, those of a key in order, and what is handled is committed.
pub(crate) async fn each_event_once_in_order_of_its_key(kafka: &Kafka) -> Result<()> {
    write(kafka, 30).await?;
    let calls = Calls::default();
    let enough = usize::try_from(30 * AGENTS)?;
    let report = run(kafka, "caracal-behaviour-order", "nobody", &calls, enough).await?;
    ensure!(
        report.handled == 30 * AGENTS && report.abandoned == 0 && report.dead_lettered == 0,
        "{report:?}"
    );
    let seen = calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for agent in 0..AGENTS {
        let found = seen.get(&format!("agent-{agent}")).context("an agent is missing")?;
        ensure!(found.iter().copied().eq(0..30), "agent {agent}: {found:?}");
    }
    let mut again = consumer::<MeteringEvent>(kafka, "caracal-behaviour-order").await?;
    let more = tokio::time::timeout(Duration::from_secs(8), again.recv()).await;
    ensure!(more.is_err(), "seen again: {more:?}");
    again.close(Duration::from_secs(10)).await;
    Ok(())
}

/// A handler that fails is called again, then its record is a dead letter; poison is one at once. Both unchanged, with
/// the headers that Spring's tools read.
pub(crate) async fn what_fails_becomes_a_dead_letter(kafka: &Kafka) -> Result<()> {
    write(kafka, 1).await?;
    let calls = Calls::default();
    // Three attempts for one agent, one for each other.
    let enough = usize::try_from(AGENTS + 2)?;
    let report = run(kafka, "caracal-behaviour-letters", "agent-3", &calls, enough).await?;
    ensure!(report.dead_lettered == 2 && report.retried == 2, "{report:?}");
    let mut letters = consumer::<Letter>(kafka, "caracal-behaviour-judge").await?;
    let (mut failed, mut poisoned) = (None, None);
    while failed.is_none() || poisoned.is_none() {
        match tokio::time::timeout(PATIENCE, letters.recv()).await? {
            Ok(received) => failed = Some(received),
            Err(ReceiveError::Undecodable { record, .. }) => {
                letters.commit(&*record).await?;
                poisoned = Some(record);
            }
            Err(error) => return Err(error.into()),
        }
    }
    letters.close(Duration::from_secs(10)).await;
    let (failed, poisoned) = (failed.context("no letter")?, poisoned.context("no poison")?);
    ensure!(failed.event == Letter(event(3, 0)), "{:?}", failed.event);
    let found = (poisoned.key.as_deref(), poisoned.value.as_deref());
    ensure!(found == (Some(POISON.0.as_bytes()), Some(POISON.1)), "{poisoned:?}");
    let header = |name: &str| {
        failed.headers.iter().find(|header| header.name == name).and_then(|header| header.value.clone())
    };
    ensure!(header("caracal-attempts").as_deref() == Some(b"3"), "{:?}", failed.headers);
    ensure!(header("kafka_dlt-exception-fqcn").as_deref() == Some(b"Never"), "{:?}", failed.headers);
    ensure!(
        header("kafka_dlt-original-partition").is_some_and(|value| value.len() == 4),
        "{:?}",
        failed.headers
    );
    Ok(())
}

/// By hand, poison is handed out again until somebody gives it up.
pub(crate) async fn poison_stays_until_it_is_given_up(kafka: &Kafka) -> Result<()> {
    let mut events = consumer::<MeteringEvent>(kafka, "caracal-behaviour-hand").await?;
    let mut first = None;
    for _ in 0..2 {
        match tokio::time::timeout(PATIENCE, events.handle(async |_| Ok::<(), String>(()))).await? {
            Err(HandleError::Receive(ReceiveError::Undecodable { record, .. })) => {
                ensure!(first.get_or_insert(record.position.clone()) == &record.position, "another record");
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
    events.commit(&first.context("no poison")?).await?;
    write(kafka, 1).await?;
    let received = tokio::time::timeout(PATIENCE, events.recv()).await??;
    ensure!(received.event.agent_id.starts_with("agent-"), "{received:?}");
    events.close(Duration::from_secs(10)).await;
    Ok(())
}

/// Read, process and write: each result once, behind a retry too.
pub(crate) async fn each_result_once(kafka: &Kafka) -> Result<()> {
    write(kafka, 4).await?;
    let expected = 4 * AGENTS;
    let (shutdown, trigger) = Shutdown::by_hand();
    let options = TransactionOptions::named("caracal-behaviour");
    let group = Group::named("caracal-behaviour-transactions");
    let transactions = kafka.transactions::<MeteringEvent, AgentLifecycleEvent>(group, options).await?;
    let tried = Arc::new(Mutex::new(0));
    let process = move |received: Arc<Received<MeteringEvent>>| {
        let mut tried = tried.lock().unwrap_or_else(PoisonError::into_inner);
        *tried += 1;
        let processed = if *tried == 3 {
            Processed::Retry(Failure::new("Busy", "not yet"))
        } else {
            let MeteringEvent { agent_id, quantity, .. } = &received.event;
            let seed = u64::try_from(*quantity).unwrap_or_default();
            Processed::Into(vec![AgentLifecycleEvent {
                agent_id: format!("{agent_id}/{quantity}"),
                ..AgentLifecycleEvent::sample(seed)
            }])
        };
        async move { processed }
    };
    let running = tokio::spawn(transactions.run(process, shutdown));
    let mut results = consumer::<AgentLifecycleEvent>(kafka, "caracal-behaviour-results").await?;
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        let complete = found.len() as u64 == expected;
        let patience = if complete { Duration::from_secs(3) } else { PATIENCE };
        match tokio::time::timeout(patience, results.recv()).await {
            Ok(received) => *found.entry(received?.event.agent_id).or_default() += 1,
            Err(_) => break,
        }
    }
    trigger.shut_down();
    running.await??;
    results.close(Duration::from_secs(10)).await;
    ensure!(found.len() as u64 == expected, "{} of {expected} results", found.len());
    ensure!(found.values().all(|times| *times == 1), "{found:?}");
    Ok(())
}

/// What `enqueue` took is counted when the connection closes, whoever waited for it.
pub(crate) async fn a_close_counts_everything(kafka: &Kafka) -> Result<()> {
    let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
    let waited = out.enqueue(&event(0, 0)).await?.await;
    ensure!(matches!(waited, Delivery::Written(_)), "{waited:?}");
    for number in 1..50 {
        drop(out.enqueue(&event(0, number)).await?);
    }
    let report = out.close(Duration::from_secs(20)).await;
    ensure!(report.written == 50 && report.all_written(), "{report:?}");
    Ok(())
}
