//! Transactions on librdkafka's own mock brokers, which have a coordinator.

use std::sync::atomic::{AtomicU32, Ordering};

use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::consumer::tests::{cluster_of, consumer_of, event};
use crate::context::Context;
use crate::events::{MeteringEvent, PolicyDecision};
use crate::shutdown::ShutdownTrigger;

type Mock = MockCluster<'static, DefaultProducerContext>;

const LIMIT: Duration = Duration::from_secs(60);
const RECORDS: u64 = 50;

fn clients(mock: &Mock, timeout: Duration) -> Clients {
    let bootstrap = mock.bootstrap_servers();
    Box::new(move || {
        let mut config = ClientConfig::new();
        config::producer(&mut config, &ProducerOptions::default());
        config.set("bootstrap.servers", &bootstrap);
        Client::new(config, Context::new("x".to_owned().into()), "t", timeout)
    })
}

fn mock(poison: bool) -> Mock {
    let mut values: Vec<Vec<u8>> = (0..RECORDS).map(event).collect();
    if poison {
        values.push(b"garbage".to_vec());
    }
    let mock = cluster_of(&values);
    mock.create_topic(PolicyDecision::TOPIC, 1, 1).expect("a topic");
    mock.create_topic(TOPIC_DEAD_LETTERS, 1, 1).expect("a topic");
    mock
}

fn transactions(mock: &Mock, timeout: Duration) -> Transactions<MeteringEvent, PolicyDecision> {
    let mut options = TransactionOptions::named("t");
    options.batch = 10;
    options.timeout = timeout;
    options.retry = RetryPolicy::default().with_attempts(3).with_first_pause(Duration::from_millis(10));
    Transactions {
        consumer: consumer_of(mock),
        clients: clients(mock, timeout),
        encoder: Encoder::new::<PolicyDecision>(8).expect("a schema"),
        topics: [PolicyDecision::TOPIC.into(), TOPIC_DEAD_LETTERS.into()],
        options,
        report: TransactionReport::default(),
        random: Random::new(),
        results: std::marker::PhantomData,
    }
}

/// The agents of the committed results, in their order.
fn results(mock: &Mock, topic: &str) -> Vec<String> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", mock.bootstrap_servers())
        .set("group.id", "judge")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset");
    consumer.assign(&list).expect("assigned");
    let mut keys = Vec::new();
    loop {
        match consumer.poll(LIMIT).expect("in time") {
            Ok(message) => keys.push(String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned()),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => return keys,
            Err(error) => panic!("{error}"),
        }
    }
}

fn result(received: &Received<MeteringEvent>) -> PolicyDecision {
    PolicyDecision { agent_id: received.event.agent_id.clone(), ..PolicyDecision::sample(1) }
}

type Ready = std::future::Ready<Processed<PolicyDecision>>;

/// Ends the run with the batch that has the last record. The mock keeps no offsets of transactions, so
/// the group's place says nothing here.
fn until_the_last(trigger: ShutdownTrigger) -> impl Fn(Arc<Received<MeteringEvent>>) -> Ready + Send + Sync {
    move |received| {
        if u64::try_from(received.position.offset).is_ok_and(|offset| offset + 1 == RECORDS) {
            trigger.shut_down();
        }
        std::future::ready(Processed::Into(vec![result(&received)]))
    }
}

fn expected() -> Vec<String> {
    (0..RECORDS).map(|seed| MeteringEvent::sample(seed).agent_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn results_and_offsets_are_committed_together() {
    let mock = mock(true);
    let (shutdown, trigger) = Shutdown::by_hand();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let process = move |received: Arc<Received<MeteringEvent>>| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        let processed = match received.position.offset {
            // Once, and for ever.
            7 if call == 7 => Processed::Retry(Failure::new("Busy", "not yet")),
            13 => Processed::Retry(Failure::new("Never", "it will not do")),
            _ => Processed::Into(vec![result(&received)]),
        };
        std::future::ready(processed)
    };
    let stop = async move {
        // The poison behind the last event is in its batch, or in one of its own within a moment.
        tokio::time::sleep(Duration::from_secs(15)).await;
        trigger.shut_down();
    };
    let (report, ()) = tokio::join!(transactions(&mock, LIMIT).run(process, shutdown), stop);
    let report = report.expect("no fault");
    assert_eq!(
        (report.records, report.produced, report.dead_lettered),
        (RECORDS + 1, RECORDS - 1, 2),
        "{report:?}"
    );
    assert_eq!((report.aborted, report.retired), (0, 0), "{report:?}");
    let mut expected = expected();
    expected.remove(13);
    assert_eq!(results(&mock, PolicyDecision::TOPIC), expected);
    assert_eq!(results(&mock, TOPIC_DEAD_LETTERS).len(), 2);
    // Once more for the retry, twice more for the one that never succeeds.
    assert_eq!(u64::from(calls.load(Ordering::Relaxed)), RECORDS + 3);
}

/// The coordinator refuses offsets once: the transaction is aborted, and its batch done again.
#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_batch_is_done_again() {
    let mock = mock(false);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION;
    mock.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[refused]);
    let (shutdown, trigger) = Shutdown::by_hand();
    let running = transactions(&mock, LIMIT).run(until_the_last(trigger), shutdown);
    let report = tokio::time::timeout(LIMIT, running).await.expect("in time").expect("no fault");
    assert!(report.aborted >= 1, "{report:?}");
    assert_eq!((report.records, report.produced), (RECORDS, RECORDS), "{report:?}");
}

/// The mock's coordinator lets both in, so it is told what to say; the live suite has two instances.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_fenced_ends() {
    let mock = mock(false);
    let fenced = RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED;
    mock.request_errors(RDKafkaApiKey::EndTxn, &[fenced]);
    let (shutdown, trigger) = Shutdown::by_hand();
    let running = transactions(&mock, LIMIT).run(until_the_last(trigger), shutdown);
    let ended = tokio::time::timeout(LIMIT, running).await.expect("in time");
    assert!(matches!(ended, Err(TransactionError::Fenced { .. })), "{ended:?}");
}

/// What the coordinator was asked and did not answer may still happen: that client is never used again.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_retires_the_client() {
    let mock = mock(false);
    let silent = RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT;
    mock.request_errors(RDKafkaApiKey::EndTxn, &[silent; 12]);
    let (shutdown, trigger) = Shutdown::by_hand();
    let running = transactions(&mock, Duration::from_secs(2)).run(until_the_last(trigger), shutdown);
    let report = tokio::time::timeout(LIMIT, running).await.expect("in time").expect("no fault");
    assert!(report.retired >= 1 && report.aborted >= report.retired, "{report:?}");
    assert_eq!(report.records, RECORDS, "{report:?}");
}

#[test]
fn what_is_committed_is_behind_the_last_record_of_each_partition() {
    let at = |partition, offset| Position { topic: "t".into(), partition, offset };
    let read = [at(0, 5), at(1, 8), at(0, 6), at(0, 9)];
    assert_eq!(ends(read.iter()), BTreeMap::from([(0, 10), (1, 9)]));
}
