//! The service on a secured cluster: one call starts it, or joins the one that another test has started.

use std::error::Error;
use std::time::{Duration, Instant};

use caracal_cluster::testing::{SecureCluster, UniqueTopic};
use caracal_kafka_client::events::{Event as _, MeteringEvent, TOPIC_DEAD_LETTERS};
use caracal_kafka_client::{Kafka, ProducerOptions, Service, Shutdown};
use ledger_service::{Ledger, serve};

type Tested = Result<(), Box<dyn Error + Send + Sync>>;

/// How long records may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn write(topic: &UniqueTopic, events: &[MeteringEvent]) -> Tested {
    let kafka = Kafka::connect(topic.profile("producer")?, Service::named("meter")).await?;
    // A namespace has subjects of its own, and nobody has registered the schema there yet.
    let options = ProducerOptions { register_schema: true, ..ProducerOptions::default() };
    let report = kafka.producer::<MeteringEvent>(options).await?.send_all(events).await;
    assert!(report.all_written(), "{report:?}");
    let closed = kafka.close(PATIENCE).await;
    assert!(closed.all_written(), "{closed:?}");
    Ok(())
}

#[tokio::test]
async fn an_event_that_comes_twice_is_booked_once() -> Tested {
    let cluster = SecureCluster::shared().await?;
    let topic = cluster.unique_topic(MeteringEvent::TOPIC).await?;
    // A consumer has somewhere to put what it cannot handle, or it does not begin.
    topic.namespace().topic(TOPIC_DEAD_LETTERS, 1).await?;
    let kafka = Kafka::connect(topic.profile("consumer")?, Service::named("ledger")).await?;
    let ledger = Ledger::default();
    let (shutdown, trigger) = Shutdown::by_hand();
    let (kept, begun) = (ledger.clone(), Instant::now());
    let service = tokio::spawn(async move {
        let served = serve(&kafka, kept, shutdown).await;
        assert!(kafka.close(PATIENCE).await.all_written());
        served
    });
    let events: Vec<MeteringEvent> = (0..10).map(MeteringEvent::sample).collect();
    write(&topic, &events[..6]).await?;
    write(&topic, &events[3..]).await?;
    while ledger.len() < events.len() && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    trigger.shut_down();
    service.await??;
    let agent = &events[0].agent_id;
    let wanted: i64 =
        events.iter().filter(|event| event.agent_id == *agent).map(|event| event.quantity).sum();
    assert_eq!((ledger.len(), ledger.total(agent)), (events.len(), wanted));
    Ok(())
}

#[test]
fn two_tests_on_one_cluster_do_not_meet() -> Tested {
    let cluster = SecureCluster::builder().shared_blocking()?;
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(async {
        let (ours, others) = (cluster.namespace().await?, cluster.namespace().await?);
        let (topic, other) = (ours.topic("ledger", 1).await?, others.topic("ledger", 1).await?);
        assert_ne!(topic, other);
        ours.remove().await?;
        let left = cluster.admin()?.topics(None, deadline()).await?;
        assert!(left.iter().any(|found| found.name == other.as_str()), "{other} has gone too");
        Ok(())
    })
}

fn deadline() -> caracal_cluster::wire::Deadline {
    caracal_cluster::wire::Deadline::after(PATIENCE)
}
