//! The consumer against librdkafka's own mock brokers: real groups and commits, without TLS.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::config::tests::{credentials, profile};
use crate::events::MeteringEvent;
use crate::registry::{Encoder, Registry, own};

const ID: u32 = 7;
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) type Mock = MockCluster<'static, DefaultProducerContext>;

pub(crate) fn event(seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = Encoder::new::<MeteringEvent>(ID).expect("a schema");
    encoder.encode(&MeteringEvent::sample(seed), &mut bytes).expect("fits");
    bytes
}

/// A cluster whose topic holds these values in its one partition.
pub(crate) fn cluster_of(values: &[Vec<u8>]) -> Mock {
    let mock = MockCluster::new(1).expect("a mock cluster");
    mock.create_topic(MeteringEvent::TOPIC, 1, 1).expect("a topic");
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", mock.bootstrap_servers()).create().expect("a producer");
    for value in values {
        producer
            .send(BaseRecord::<[u8], [u8]>::to(MeteringEvent::TOPIC).payload(value).partition(0))
            .map_err(|(error, _)| error)
            .expect("taken");
    }
    producer.flush(LIMIT).expect("written");
    mock
}

fn client(mock: &Mock, more: &[(&str, &str)]) -> StreamConsumer<Context> {
    let mut config = ClientConfig::new();
    config::consumer(&mut config, "g", &ConsumerOptions::default());
    config.set("bootstrap.servers", mock.bootstrap_servers());
    for (key, value) in more {
        config.set(*key, *value);
    }
    config.create_with_context(Context::new("x".to_owned().into())).expect("a client")
}

pub(crate) fn consumer(mock: &Mock, more: &[(&str, &str)]) -> Consumer<MeteringEvent> {
    let topic = MeteringEvent::TOPIC.to_owned();
    let mut with_registry = profile("/p");
    with_registry.registry = Some(crate::profile::RegistryEndpoint::new("http://127.0.0.1:1"));
    let registry = Registry::new(&with_registry, &credentials()).expect("an address").expect("one");
    let mut codec = Codec::new::<MeteringEvent>(registry, &topic).expect("a schema");
    codec.decoder.learn(ID, &own::<MeteringEvent>().expect("a schema")).expect("its own");
    let client = client(mock, more);
    client.subscribe(&[&topic]).expect("subscribed");
    Consumer {
        client: Some(Arc::new(client)),
        codec,
        kafka: Kafka::unproved(profile("/p"), credentials()),
        options: ConsumerOptions::default(),
        topic,
        group: "g".into(),
        fetched: Fetched::new(),
        watchdog: Watchdog::new(None, true),
        raw: Mutex::default(),
        unhandled: None,
        uncommitted: None,
        event: PhantomData,
    }
}

pub(crate) fn consumer_of(mock: &Mock) -> Consumer<MeteringEvent> {
    consumer(mock, &[])
}

/// Where the group stands, as the broker knows it.
pub(crate) fn stands(mock: &Mock) -> Offset {
    let mut list = TopicPartitionList::new();
    list.add_partition(MeteringEvent::TOPIC, 0);
    let found = client(mock, &[]).committed_offsets(list, LIMIT).expect("an answer");
    found.elements()[0].offset()
}

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("in time")
}

async fn handled(consumer: &mut Consumer<MeteringEvent>) -> Result<i64, HandleError<&'static str>> {
    let mut at = -1;
    within(consumer.handle(async |received| {
        at = received.position.offset;
        Ok(())
    }))
    .await
    .map(|()| at)
}

fn undecodable(result: Result<i64, HandleError<&'static str>>) -> Box<RawRecord> {
    match result {
        Err(HandleError::Receive(ReceiveError::Undecodable { record, .. })) => record,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecodable_record_stays_until_it_is_committed() {
    let mock = cluster_of(&[event(0), b"garbage".to_vec(), event(2)]);
    let mut consumer = consumer(&mock, &[]);
    assert_eq!(handled(&mut consumer).await.expect("the first"), 0);
    for _ in 0..3 {
        let record = undecodable(handled(&mut consumer).await);
        assert_eq!((record.position.offset, record.value.as_deref()), (1, Some(&b"garbage"[..])));
        assert_eq!(stands(&mock), Offset::Offset(1));
    }
    let record = undecodable(handled(&mut consumer).await);
    consumer.commit(&*record).await.expect("given up");
    assert_eq!(stands(&mock), Offset::Offset(2));
    assert_eq!(handled(&mut consumer).await.expect("the third"), 2);
    assert_eq!(stands(&mock), Offset::Offset(3));
    assert!(consumer.close(LIMIT).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_handler_gets_the_same_record_again() {
    let mock = cluster_of(&[event(0), event(1)]);
    let mut consumer = consumer(&mock, &[]);
    for _ in 0..3 {
        let failed = within(consumer.handle(async |received| Err(received.position.offset))).await;
        assert!(matches!(failed, Err(HandleError::Handler { source: 0, .. })), "{failed:?}");
        assert_eq!(stands(&mock), Offset::Invalid, "nothing is committed");
    }
    assert_eq!(handled(&mut consumer).await.expect("in the end"), 0);
    assert_eq!(stands(&mock), Offset::Offset(1));
}

/// What is kept here is taken from librdkafka already, and `run` looks there only.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_begins_with_what_was_kept() {
    let mock = cluster_of(&[event(0), b"garbage".to_vec(), event(2)]);
    let mut consumer = consumer(&mock, &[]);
    let failed = within(consumer.handle(async |_| Err("no"))).await;
    assert!(matches!(failed, Err(HandleError::Handler { .. })), "{failed:?}");
    consumer.go_back().await.expect("sought");
    assert!(consumer.unhandled.is_none());
    assert_eq!(handled(&mut consumer).await.expect("again"), 0);
    assert_eq!(undecodable(handled(&mut consumer).await).position.offset, 1);
    consumer.go_back().await.expect("sought");
    assert!(consumer.kept().is_none());
    assert_eq!(undecodable(handled(&mut consumer).await).position.offset, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_commit_is_tried_again_without_the_handler() {
    let mock = cluster_of(&[event(0), event(1)]);
    let mut consumer = consumer(&mock, &[]);
    mock.request_errors(
        RDKafkaApiKey::OffsetCommit,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 2],
    );
    let calls = AtomicU32::new(0);
    for _ in 0..2 {
        let result: Result<(), HandleError<()>> = within(consumer.handle(async |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }))
        .await;
        assert!(matches!(result, Err(HandleError::Commit(_))), "{result:?}");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1, "it had succeeded");
    assert_eq!(handled(&mut consumer).await.expect("committed, then the next"), 1);
    assert_eq!(stands(&mock), Offset::Offset(2));
}

/// A handler that fails for longer than the poll interval: the member is out of the group, and only a
/// poll brings it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_too_slow_comes_back() {
    let mock = cluster_of(&[event(0), event(1)]);
    // The mock waits 3 s for members before it shares.
    let short =
        [("max.poll.interval.ms", "6000"), ("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")];
    let mut consumer = consumer(&mock, &short);
    let failed = within(consumer.handle(async |_| Err("no"))).await;
    assert!(matches!(failed, Err(HandleError::Handler { .. })), "{failed:?}");
    let since = Instant::now();
    while !consumer.client.as_ref().is_some_and(|client| client.assignment_lost()) {
        assert!(since.elapsed() < LIMIT, "librdkafka never noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut at = Vec::new();
    while at.len() < 2 {
        assert!(since.elapsed() < LIMIT, "it never came back: {at:?}");
        // The first call may tell that the interval was exceeded.
        match handled(&mut consumer).await {
            Ok(offset) => at.push(offset),
            Err(HandleError::Receive(ReceiveError::Kafka { fatal: false, .. })) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(at, [0, 1], "from where the group stands");
    assert_eq!(stands(&mock), Offset::Offset(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_did_not_leave_the_group_says_so() {
    let mock = cluster_of(&[]);
    let consumer = consumer(&mock, &[]);
    let commit_under_way = consumer.client.clone();
    assert!(!consumer.close(Duration::from_millis(300)).await, "somebody has the client still");
    drop(commit_under_way);
}

#[test]
fn exact_positions_must_be_there() {
    let kafka = Kafka::unproved(profile("/p"), credentials());
    let refused = kafka.positions("t", 1, &[]).expect_err("it would wait for ever");
    assert!(refused.to_string().contains("names no position"), "{refused}");
    let at = |partition| Position { topic: "t".into(), partition, offset: 0 };
    assert!(kafka.positions("t", 1, &[at(1)]).is_err(), "there is one partition only");
    assert_eq!(kafka.positions("t", 1, &[at(0)]).expect("it is there").count(), 1);
}
