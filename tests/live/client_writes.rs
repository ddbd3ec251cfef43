//! The client library's writing sides on a real cluster: records' extras, one account for a connection, transactions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use caracal_kafka_client::events::{
    AgentLifecycleEvent, Event as _, MeteringEvent, PolicyChangeEvent, PolicyDecision,
};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{
    ConsumerOptions, Delivery, EnqueueError, Failure, Group, Kafka, Processed, ProducerOptions, Received,
    RecordOptions, Service, Shutdown, TransactionError, TransactionOptions,
};

use crate::Test;
use crate::cluster;
use crate::program::Program;
use crate::tools::block;

pub(crate) const TESTS: &[Test] = &[
    ("client_writes::extras_batches_and_one_account_of_two_event_types", extras_batches_and_one_account),
    ("client_writes::two_instances_of_one_transactional_id_write_each_result_once", each_result_once),
];

const PATIENCE: Duration = Duration::from_secs(120);

async fn connect(user: &str) -> Result<Kafka> {
    let file = cluster::shared()?.dir()?.client(&user.parse()?).join("profile.toml");
    Ok(Kafka::connect(ConnectionProfile::load(file)?, Service::named("live-suite")).await?)
}

fn run_name() -> Result<String> {
    Ok(format!("live{}", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis()))
}

fn extras_batches_and_one_account() -> Result<()> {
    cluster::shared()?;
    let run = run_name()?;
    let at = block(async {
        let kafka = connect("producer").await?;
        let metering = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
        let decisions = kafka.producer::<PolicyDecision>(ProducerOptions::default()).await?;
        let options = RecordOptions::default().with_header("origin", run.as_str()).with_partition(2);
        let sent = metering.enqueue_with(&MeteringEvent::sample(1), &options).await?.await;
        let Delivery::Written(at) = sent else { anyhow::bail!("{sent:?}") };
        ensure!(at.partition == 2, "{at} is not in partition 2");
        let nowhere = metering.enqueue_with(&MeteringEvent::sample(1), &options.with_partition(99)).await;
        let nowhere = match nowhere {
            Ok(handle) => format!("{:?}", handle.await),
            Err(error) => error.to_string(),
        };
        ensure!(nowhere.contains("artition"), "a partition that is not there: {nowhere}");
        let events: Vec<MeteringEvent> = (0..500).map(MeteringEvent::sample).collect();
        let batch = metering.send_all(&events).await;
        ensure!(batch.all_written() && batch.written == 500, "{batch:?}");
        drop(decisions.enqueue(&PolicyDecision::sample(1)).await?);
        drop(metering.enqueue(&MeteringEvent::sample(2)).await?);
        let report = kafka.close(Duration::from_secs(20)).await;
        // The one that went nowhere is counted too when librdkafka took it.
        ensure!(report.written == 503 && report.not_written + report.unknown <= 1, "{report:?}");
        let late = metering.enqueue(&MeteringEvent::sample(3)).await;
        ensure!(matches!(late, Err(EnqueueError::Refused { .. })), "{late:?}");
        Ok(at)
    })?;
    let conf = cluster::shared()?.dir()?.client(&"consumer".parse()?).join("kcat.conf");
    let (partition, offset) = (at.partition.to_string(), at.offset.to_string());
    let kcat = Program::needed("kcat")?.args(["-F".as_ref(), conf.as_os_str()]);
    let read =
        ["-C", "-q", "-t", MeteringEvent::TOPIC, "-p", &partition, "-o", &offset, "-c", "1", "-f", "%h"];
    let found = kcat.args(read).within(PATIENCE).run()?.succeeded()?.text();
    ensure!(found.contains(&format!("origin={run}")), "kcat reads the headers {found}");
    Ok(())
}

const CHANGES: u64 = 300;

fn change(run: &str, number: u64) -> PolicyChangeEvent {
    PolicyChangeEvent { agent_id: format!("{run}-{number}"), ..PolicyChangeEvent::sample(number) }
}

/// One instance until it is told that the other one is there, or to its end.
async fn instance(kafka: Kafka, run: String, seen: Arc<AtomicU64>, shutdown: Shutdown) -> Result<String> {
    let mut options = TransactionOptions::named(format!("caracal-{run}"));
    options.batch = 20;
    let group = Group::named(format!("caracal-live-{run}"));
    let transactions = kafka.transactions::<PolicyChangeEvent, AgentLifecycleEvent>(group, options).await?;
    let tried = AtomicU64::new(0);
    let process = move |received: Arc<Received<PolicyChangeEvent>>| {
        let ours = received.event.agent_id.starts_with(&run);
        let result = AgentLifecycleEvent {
            agent_id: received.event.agent_id.clone(),
            ..AgentLifecycleEvent::sample(1)
        };
        let processed = if !ours {
            Processed::Into(Vec::new())
        } else if tried.fetch_add(1, Ordering::Relaxed) == 5 {
            Processed::Retry(Failure::new("Busy", "not yet"))
        } else {
            seen.fetch_add(1, Ordering::Relaxed);
            Processed::Into(vec![result])
        };
        async move {
            // Long enough that the other instance meets transactions under way.
            tokio::time::sleep(Duration::from_millis(5)).await;
            processed
        }
    };
    match transactions.run(process, shutdown).await {
        Ok(report) => Ok(format!("{report:?}")),
        Err(TransactionError::Fenced { .. }) => Ok("fenced".into()),
        Err(error) => Err(error.into()),
    }
}

/// How often each agent of the run is among the committed results.
async fn results(kafka: &Kafka, run: &str, expected: u64) -> Result<BTreeMap<String, u64>> {
    let group = Group::named(format!("caracal-live-{run}-judge"));
    let mut consumer = kafka.consumer::<AgentLifecycleEvent>(group, ConsumerOptions::default()).await?;
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let complete = found.len() as u64 == expected;
        // Whatever comes beyond what is expected comes within a moment.
        let patience = if complete { Duration::from_secs(5) } else { PATIENCE };
        match tokio::time::timeout(patience.min(PATIENCE), consumer.recv()).await {
            Ok(Ok(received)) if received.event.agent_id.starts_with(run) => {
                *found.entry(received.event.agent_id).or_default() += 1;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => anyhow::bail!("{error}"),
            Err(_) => break,
        }
        ensure!(tokio::time::Instant::now() < until, "only {} of {expected} results", found.len());
    }
    consumer.close(Duration::from_secs(20)).await;
    Ok(found)
}

fn each_result_once() -> Result<()> {
    cluster::shared()?;
    let run = run_name()?;
    block(async {
        let kafka = connect("admin").await?;
        let out = kafka.producer::<PolicyChangeEvent>(ProducerOptions::default()).await?;
        let changes: Vec<_> = (0..CHANGES).map(|number| change(&run, number)).collect();
        let batch = out.send_all(&changes).await;
        ensure!(batch.all_written(), "{batch:?}");
        let (seen_by_first, seen_by_second) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (never, _keep) = Shutdown::by_hand();
        let first =
            tokio::spawn(instance(connect("admin").await?, run.clone(), Arc::clone(&seen_by_first), never));
        let until = tokio::time::Instant::now() + PATIENCE;
        while seen_by_first.load(Ordering::Relaxed) < CHANGES / 4 {
            ensure!(
                tokio::time::Instant::now() < until && !first.is_finished(),
                "the first instance does nothing"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (shutdown, trigger) = Shutdown::by_hand();
        let second = connect("admin").await?;
        let second = tokio::spawn(instance(second, run.clone(), Arc::clone(&seen_by_second), shutdown));
        // An instance learns that it is fenced only when it commits, so there must be work until then.
        let mut sent = CHANGES;
        while !first.is_finished() {
            ensure!(tokio::time::Instant::now() < until, "the first instance goes on");
            ensure!(out.send_all([&change(&run, sent)]).await.all_written(), "change {sent} was not written");
            sent += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let first =
            tokio::time::timeout(PATIENCE, first).await.context("the first instance goes on")???;
        ensure!(first == "fenced", "the first instance ended so: {first}");
        let found = results(&kafka, &run, sent).await?;
        let twice: Vec<_> = found.iter().filter(|(_, times)| **times != 1).collect();
        ensure!(
            twice.is_empty() && found.len() as u64 == sent,
            "{} results of {sent} changes, not once: {twice:?}",
            found.len()
        );
        trigger.shut_down();
        tokio::time::timeout(PATIENCE, second).await.context("the second instance goes on")???;
        ensure!(seen_by_second.load(Ordering::Relaxed) > 0, "the second instance did nothing");
        Ok(())
    })
}
