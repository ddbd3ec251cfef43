use std::pin::pin;

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::config;
use crate::events::{Event as _, MeteringEvent};
use crate::producer::{Delivery, DeliveryHandle, Producer, ProducerOptions, RecordOptions};
use crate::registry::Encoder;

fn outbox(topic: &str, bootstrap: &str, queue: &str) -> Arc<Outbox> {
    let (bootstrap, queue) = (bootstrap.to_owned(), queue.to_owned());
    let config = move || {
        let mut config = ClientConfig::new();
        config::producer(&mut config, &ProducerOptions::default());
        config.set("bootstrap.servers", &bootstrap).set("queue.buffering.max.messages", &queue);
        config
    };
    Outbox::new(topic, config, || Context::new("x".to_owned().into()), Arc::default()).expect("a client")
}

fn producer(bootstrap: &str, queue: &str) -> Producer<MeteringEvent> {
    let encoder = Encoder::new::<MeteringEvent>(7).expect("a schema");
    Producer::through(outbox(MeteringEvent::TOPIC, bootstrap, queue), encoder)
}

fn outcome(code: Code) -> Outcome {
    let context = Context::new("x".to_owned().into());
    let deliveries =
        Deliveries { context, shared: Arc::new(Shared::of("t")), client: 0, wakes: Arc::default() };
    deliveries.failed(&KafkaError::MessageProduction(code))
}

#[test]
fn only_what_is_sure_counts_as_not_written() {
    for code in [Code::MessageSizeTooLarge, Code::TopicAuthorizationFailed, Code::NotEnoughReplicas] {
        assert!(matches!(outcome(code), Outcome::NotWritten(_)), "{code:?}");
    }
    for code in [
        // These may end a batch that was sent before and put back into the queue.
        Code::PurgeQueue,
        Code::UnknownTopic,
        Code::UnknownPartition,
        Code::PurgeInflight,
        Code::MessageTimedOut,
        Code::RequestTimedOut,
        Code::BrokerTransportFailure,
        Code::NotEnoughReplicasAfterAppend,
        Code::OutOfOrderSequenceNumber,
        Code::Fatal,
    ] {
        assert!(matches!(outcome(code), Outcome::Unknown(_)), "{code:?}");
    }
}

/// No broker is there, so nothing but the giving up can end them before the two minutes.
#[tokio::test]
async fn every_handle_of_a_given_up_record_resolves() {
    const RECORDS: u64 = 20_000;
    let outbox = outbox("t", "127.0.0.1:1", "100000");
    let message = Message { key: Some(b"k"), value: Some(b"v"), ..Message::default() };
    let handles: Vec<_> =
        (0..RECORDS).map(|_| DeliveryHandle::new(&outbox, outbox.send(&message).expect("taken"))).collect();
    let report = outbox.close(Duration::from_secs(1)).await;
    assert_eq!((report.unknown, outbox.open()), (RECORDS, 0), "all have their outcome");
    for handle in handles {
        let Delivery::Unknown(why) = handle.await else { panic!("nobody can know") };
        assert!(why.why.contains("given up"), "{why}");
    }
    assert_eq!(outbox.shared.slots.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_refuses_is_not_written() {
    let mock = MockCluster::new(1).expect("a mock cluster");
    mock.create_topic(MeteringEvent::TOPIC, 1, 1).expect("a topic");
    let producer = producer(&mock.bootstrap_servers(), "1000");
    let first = producer.enqueue(&MeteringEvent::sample(0)).await.expect("taken").await;
    assert!(matches!(first, Delivery::Written(_)), "{first:?}");
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    mock.request_errors(RDKafkaApiKey::Produce, &[refused]);
    let second = producer.enqueue(&MeteringEvent::sample(1)).await.expect("taken").await;
    let Delivery::NotWritten(why) = second else { panic!("{second:?}") };
    assert!(why.why.contains("ACL"), "{why}");
    let report = producer.close(Duration::from_secs(20)).await;
    assert_eq!((report.written, report.not_written, report.unknown), (1, 1, 0));
}

/// A client that is told that it may not be idempotent has failed for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_failed_for_good_is_replaced_and_nothing_is_lost() {
    let mock = MockCluster::new(1).expect("a mock cluster");
    mock.create_topic(MeteringEvent::TOPIC, 1, 1).expect("a topic");
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    mock.request_errors(RDKafkaApiKey::InitProducerId, &[refused]);
    let producer = producer(&mock.bootstrap_servers(), "1000");
    let mut outcomes = [0_u64; 2];
    let until = Instant::now() + Duration::from_secs(20);
    let mut seed = 0;
    // Until the new client writes; each record in the meantime has an outcome.
    while outcomes[1] < 5 && Instant::now() < until {
        let event = MeteringEvent::sample(seed);
        seed += 1;
        match producer.enqueue(&event).await.expect("taken by one or the other").await {
            Delivery::Written(_) => outcomes[1] += 1,
            Delivery::Unknown(_) | Delivery::NotWritten(_) => outcomes[0] += 1,
        }
    }
    assert!(outcomes[0] > 0, "the first client did not fail: {outcomes:?}");
    assert_eq!(outcomes[1], 5, "the second client does not write: {outcomes:?}");
    let report = producer.close(Duration::from_secs(20)).await;
    assert_eq!((report.written, report.written + report.not_written + report.unknown), (5, seed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_without_patience_accounts_for_a_full_queue() {
    const QUEUE: u64 = 500;
    let producer = producer("127.0.0.1:1", "500");
    let mut handles = Vec::new();
    for seed in 0..QUEUE {
        handles.push(producer.enqueue(&MeteringEvent::sample(seed)).await.expect("taken"));
    }
    let one_more = MeteringEvent::sample(QUEUE);
    let full = producer.enqueue(&one_more);
    assert!(tokio::time::timeout(Duration::from_millis(200), full).await.is_err(), "it waits for room");
    assert!(matches!(producer.try_enqueue(&one_more), Err(EnqueueError::Full { .. })));
    let report = producer.close(Duration::ZERO).await;
    assert_eq!((report.written, report.not_written, report.unknown), (0, 0, QUEUE));
    for handle in handles {
        assert!(matches!(handle.await, Delivery::Unknown(_)), "nobody can know");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_partition_and_time_are_the_callers() {
    use rdkafka::Message as _;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::message::Headers as _;
    let mock = MockCluster::new(1).expect("a mock cluster");
    mock.create_topic(MeteringEvent::TOPIC, 4, 1).expect("a topic");
    let producer = producer(&mock.bootstrap_servers(), "1000");
    let time = crate::events::TimestampMillis(1_700_000_000_000);
    let options = RecordOptions::default().with_header("a", "1").with_header("a", "2").with_partition(2);
    let options = options.with_timestamp(time);
    let sent = producer.enqueue_with(&MeteringEvent::sample(1), &options).await.expect("taken").await;
    let Delivery::Written(at) = sent else { panic!("{sent:?}") };
    assert_eq!((at.partition, at.offset), (2, 0));
    let events: Vec<MeteringEvent> = (0..100).map(MeteringEvent::sample).collect();
    let report = producer.send_all(&events).await;
    assert!(report.all_written() && report.written == 100, "{report:?}");
    assert!(producer.flush(Duration::from_secs(10)).await);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", mock.bootstrap_servers()).set("group.id", "g");
    let read = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create().expect("a client");
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(MeteringEvent::TOPIC, 2, rdkafka::Offset::Beginning).expect("an offset");
        consumer.assign(&list).expect("assigned");
        let message = consumer.poll(Duration::from_secs(20)).expect("in time").expect("a record");
        let headers = message.headers().expect("headers");
        let values: Vec<Vec<u8>> =
            headers.iter().map(|header| header.value.unwrap_or_default().to_vec()).collect();
        (values, message.timestamp().to_millis())
    });
    let (values, found) = read.await.expect("read");
    assert_eq!((values, found), (vec![b"1".to_vec(), b"2".to_vec()], Some(time.0)));
    assert!(producer.close(Duration::from_secs(10)).await.all_written());
}

#[tokio::test]
async fn a_handle_can_be_polled_before_and_after() {
    let outbox = outbox("t", "127.0.0.1:1", "1000");
    let message = Message { key: Some(b"k"), value: Some(b"v"), ..Message::default() };
    let mut handle = pin!(DeliveryHandle::new(&outbox, outbox.send(&message).expect("taken")));
    assert!(futures::poll!(handle.as_mut()).is_pending());
    let _ = outbox.close(Duration::ZERO).await;
    assert!(matches!(handle.as_mut().await, Delivery::Unknown(_)));
    assert!(matches!(handle.await, Delivery::Unknown(why) if why.why.contains("before")));
    assert!(outbox.send(&message).is_err_and(|refusal| matches!(refusal, Refusal::Never(_))));
}

#[test]
fn every_record_is_counted() {
    let shared = Arc::new(Shared::of("t"));
    shared.taken.store(3, Ordering::Release);
    let deliveries = Deliveries {
        context: Context::new("x".to_owned().into()),
        shared: Arc::clone(&shared),
        client: 0,
        wakes: Arc::default(),
    };
    let error = KafkaError::MessageProduction(Code::MessageSizeTooLarge);
    let slot = shared.slots.open(0);
    assert_eq!(
        shared.slots.settle(0, slot, deliveries.failed(&error), || (), std::task::Waker::wake),
        Ok(None)
    );
    let report = shared.report();
    assert_eq!((report.written, report.not_written, report.unknown), (0, 0, 3));
    assert_eq!(shared.open(), 3, "none is settled by librdkafka yet");
    assert!(!report.all_written());
}
