//! Transactions over the steady events: each becomes one result that says what it was made from and by which attempt.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use caracal_kafka_client::events::{MeteringEvent, PolicyDecision};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{
    ConsumerOptions, Failure, Group, Kafka, Processed, Received, Service, Shutdown, ShutdownTrigger,
    TransactionOptions, TransactionReport,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::checker::{History, Output, Place, anomalies};
use crate::{PATIENCE, SILENCE};

/// A transaction of the coordinator's lasts no longer, so that a broker's death costs no minute.
const TRANSACTION: Duration = Duration::from_secs(30);

/// Anomalies that are shown; there is one document.
const SHOWN: usize = 20;

type Attempts = Arc<Mutex<HashMap<Place, (i64, u32)>>>;

/// The transactions, at work.
pub(crate) struct ExactlyOnce {
    kafka: Kafka,
    run: String,
    attempts: Attempts,
    trigger: ShutdownTrigger,
    working: JoinHandle<Result<TransactionReport>>,
}

impl ExactlyOnce {
    /// Starts them, with rights to both topics.
    pub(crate) async fn start(profile: &Path, run: &str) -> Result<Self> {
        let kafka = Kafka::connect(ConnectionProfile::load(profile)?, Service::named("steady-eos")).await?;
        let mut options = TransactionOptions::named(format!("caracal-{run}"));
        options.timeout = TRANSACTION;
        let group = Group::named(format!("caracal-{run}-eos"));
        let transactions = kafka.transactions::<MeteringEvent, PolicyDecision>(group, options).await?;
        let attempts = Attempts::default();
        let (noted, ours) = (Arc::clone(&attempts), run.to_owned());
        let process = move |received: Arc<Received<MeteringEvent>>| {
            std::future::ready(result(&received, &ours, &noted))
        };
        let (shutdown, trigger) = Shutdown::by_hand();
        let working = tokio::spawn(async move { Ok(transactions.run(process, shutdown).await?) });
        Ok(Self { kafka, run: run.to_owned(), attempts, trigger, working })
    }

    /// Waits until all that was acknowledged is processed, ends, reads the results back and judges them.
    pub(crate) async fn end(self, mut history: History) -> Result<Value> {
        let all = async {
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            loop {
                tick.tick().await;
                let done = self.attempts.lock().map(|attempts| {
                    let seen: std::collections::HashSet<i64> =
                        attempts.values().map(|(number, _)| *number).collect();
                    history.acknowledged.iter().all(|number| seen.contains(number))
                });
                if done.unwrap_or(true) || self.working.is_finished() {
                    break;
                }
            }
        };
        // What is missing then is found below.
        let _ = timeout(PATIENCE, all).await;
        self.trigger.shut_down();
        let report = timeout(PATIENCE, self.working).await.context("the transactions did not end")???;
        history.outputs = read_back(&self.kafka, &self.run).await?;
        history.attempts = self
            .attempts
            .lock()
            .map_err(|_| anyhow::anyhow!("an attempt was not counted"))?
            .iter()
            .map(|(place, (_, attempt))| (*place, *attempt))
            .collect();
        let found = anomalies(&history);
        let again = history.attempts.values().filter(|attempts| **attempts > 1).count();
        Ok(json!({
            "committed": report.committed,
            "aborted": report.aborted,
            "retired_clients": report.retired,
            "results": history.outputs.len(),
            "processed_again": again,
            "anomalies": found.len(),
            "first_anomalies": found.iter().take(SHOWN).map(|one| format!("{one:?}")).collect::<Vec<_>>(),
        }))
    }
}

fn result(received: &Received<MeteringEvent>, run: &str, attempts: &Attempts) -> Processed<PolicyDecision> {
    let event = &received.event;
    if event.correlation_id.as_deref() != Some(run) {
        return Processed::Into(Vec::new());
    }
    let place = (received.position.partition, received.position.offset);
    let Ok(mut attempts) = attempts.lock() else {
        return Processed::DeadLetter(Failure::new("steady", "an attempt was not counted"));
    };
    let (_, attempt) = attempts.entry(place).or_insert((event.quantity, 0));
    *attempt += 1;
    let decision = PolicyDecision {
        agent_id: event.agent_id.clone(),
        action: format!("{} {attempt}", event.quantity),
        resource: format!("{} {}", place.0, place.1),
        correlation_id: event.correlation_id.clone(),
        ..PolicyDecision::sample(0)
    };
    Processed::Into(vec![decision])
}

/// The results of this run that are committed.
async fn read_back(kafka: &Kafka, run: &str) -> Result<Vec<Output>> {
    let group = Group::named(format!("caracal-{run}-judge"));
    let mut decisions = kafka.consumer::<PolicyDecision>(group, ConsumerOptions::default()).await?;
    let mut outputs = Vec::new();
    let mut patience = PATIENCE;
    while let Ok(received) = timeout(patience, decisions.recv()).await {
        let event = received?.event;
        if event.correlation_id.as_deref() == Some(run) {
            let (number, attempt) = event.action.split_once(' ').context("no result of ours")?;
            let (partition, offset) = event.resource.split_once(' ').context("no result of ours")?;
            outputs.push(Output {
                key: event.agent_id,
                source: (partition.parse()?, offset.parse()?),
                number: number.parse()?,
                attempt: attempt.parse()?,
            });
        }
        patience = SILENCE;
    }
    decisions.close(PATIENCE).await;
    Ok(outputs)
}
