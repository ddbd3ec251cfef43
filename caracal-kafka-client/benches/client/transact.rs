//! From an event to a result that is committed with it, and to one that is merely acknowledged before its offset is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_kafka_client::events::{MeteringEvent, PolicyDecision};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{
    ConsumeFrom, Consumer, ConsumerOptions, Delivery, Group, Kafka, Position, Processed, Producer,
    ProducerOptions, Received, Service, Shutdown, TransactionOptions,
};
use serde_json::Value;
use tokio::time::Instant;

use crate::Arguments;
use crate::figures::{Clock, Figures, Run};

/// How often each of them commits.
const INTERVAL: Duration = Duration::from_millis(100);

/// Most records of a commit.
const BATCH: usize = 10_000;

const PATIENCE: Duration = Duration::from_secs(120);

const TRANSACTIONS: &str = "transactions";
const IDEMPOTENT: &str = "idempotent";
const CONTENDERS: [&str; 2] = [TRANSACTIONS, IDEMPOTENT];

/// Reads from `starts` on, as a user that may read and write.
pub(crate) async fn run(
    profile: &ConnectionProfile,
    starts: &[Position],
    arguments: &Arguments,
) -> Result<Value> {
    let Arguments { rounds, events, .. } = *arguments;
    let kafka = Kafka::connect(profile.clone(), Service::named("bench")).await?;
    let pool: Vec<PolicyDecision> = (0..4096).map(PolicyDecision::sample).collect();
    let pool = Arc::new(pool);
    let mut figures = Figures::of(events);
    for round in 0..rounds {
        for turn in 0..CONTENDERS.len() {
            let contender = CONTENDERS[(round + turn) % CONTENDERS.len()];
            if !arguments.wants("transactions", contender) {
                continue;
            }
            let run = match contender {
                TRANSACTIONS => by_transactions(&kafka, starts, &pool, events).await?,
                _ => by_acknowledgements(&kafka, starts, &pool, events).await?,
            };
            figures.push(contender, run);
        }
    }
    let report = kafka.close(PATIENCE).await;
    ensure!(report.all_written(), "{report:?}");
    Ok(figures.document(&[(TRANSACTIONS, IDEMPOTENT, 0.85)]))
}

fn reading(starts: &[Position]) -> ConsumerOptions {
    ConsumerOptions { from: ConsumeFrom::Exactly(starts.to_vec()), ..ConsumerOptions::default() }
}

/// What either makes of an event.
fn result(event: &MeteringEvent, pool: &[PolicyDecision], number: usize) -> PolicyDecision {
    PolicyDecision { agent_id: event.agent_id.clone(), ..pool[number % pool.len()].clone() }
}

/// Until the last record's transaction is committed.
async fn by_transactions(
    kafka: &Kafka,
    starts: &[Position],
    pool: &Arc<Vec<PolicyDecision>>,
    events: usize,
) -> Result<Run> {
    let mut options = TransactionOptions::named("caracal-bench");
    (options.batch, options.interval, options.consumer) = (BATCH, INTERVAL, reading(starts));
    let group = Group::named("caracal-bench-transactions");
    let transactions = kafka.transactions::<MeteringEvent, PolicyDecision>(group, options).await?;
    let (shutdown, trigger) = Shutdown::by_hand();
    let (count, pool) = (AtomicUsize::new(0), Arc::clone(pool));
    let process = move |received: Arc<Received<MeteringEvent>>| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        if number + 1 == events {
            trigger.shut_down();
        }
        std::future::ready(Processed::Into(vec![result(&received.event, &pool, number)]))
    };
    let clock = Clock::start();
    let report = tokio::time::timeout(PATIENCE, transactions.run(process, shutdown)).await??;
    let run = clock.stop();
    ensure!(report.records as usize >= events && report.aborted == 0, "{report:?}");
    // The last transaction may have had more.
    Ok(run.of(events, report.records as usize))
}

/// The same without transactions: a record is sent as it comes, and offsets are committed behind acknowledgements.
async fn by_acknowledgements(
    kafka: &Kafka,
    starts: &[Position],
    pool: &[PolicyDecision],
    events: usize,
) -> Result<Run> {
    let out = kafka.producer::<PolicyDecision>(ProducerOptions::default()).await?;
    let group = Group::named("caracal-bench-transactions");
    let mut consumer = kafka.consumer::<MeteringEvent>(group, reading(starts)).await?;
    let clock = Clock::start();
    let mut number = 0;
    let all = async {
        while number < events {
            number += batch(&mut consumer, &out, pool, events - number).await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, all).await??;
    consumer.close(PATIENCE).await;
    let run = clock.stop();
    ensure!(out.close(PATIENCE).await.all_written(), "not all was written");
    Ok(run)
}

async fn batch(
    consumer: &mut Consumer<MeteringEvent>,
    out: &Producer<PolicyDecision>,
    pool: &[PolicyDecision],
    most: usize,
) -> Result<usize> {
    let mut handles = Vec::new();
    let mut newest = BTreeMap::new();
    let mut until = None;
    while handles.len() < BATCH.min(most) {
        let wait = until.unwrap_or_else(|| Instant::now() + PATIENCE);
        let Ok(received) = tokio::time::timeout_at(wait, consumer.recv()).await else { break };
        let received = received?;
        until.get_or_insert_with(|| Instant::now() + INTERVAL);
        handles.push(out.enqueue(&result(&received.event, pool, handles.len())).await?);
        newest.insert(received.position.partition, received.position);
    }
    let count = handles.len();
    ensure!(count > 0, "no record came");
    for handle in handles {
        let delivery = handle.await;
        ensure!(matches!(delivery, Delivery::Written(_)), "{delivery:?}");
    }
    let consumer = &*consumer;
    let commits = newest.values().map(|position| consumer.commit(position));
    futures::future::try_join_all(commits).await.context("a commit")?;
    Ok(count)
}
