//! Batches, seeks, long handlers and the watchdog, against librdkafka's own mock brokers.

use std::sync::atomic::AtomicU32;
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::tests::{LIMIT, Mock, cluster_of, consumer, consumer_of, event, stands, within};
use super::*;
use crate::context::Part;
use crate::events::MeteringEvent;
use crate::seek::Seek;
use crate::share::ShareChange;

async fn offset(consumer: &mut Consumer<MeteringEvent>) -> i64 {
    within(consumer.recv()).await.expect("a record").position.offset
}

fn write(mock: &Mock, value: &[u8]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", mock.bootstrap_servers()).create().expect("a producer");
    producer
        .send(BaseRecord::<[u8], [u8]>::to(MeteringEvent::TOPIC).payload(value).partition(0))
        .map_err(|(error, _)| error)
        .expect("taken");
    producer.flush(LIMIT).expect("written");
}

fn all(consumer: &Consumer<MeteringEvent>) -> (Arc<StreamConsumer<Context>>, TopicPartitionList) {
    let client = consumer.client.clone().expect("open");
    let list = client.assignment().expect("assigned");
    (client, list)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_wherever_it_is_sent() {
    let mock = cluster_of(&(0..8).map(event).collect::<Vec<_>>());
    let mut consumer = consumer_of(&mock);
    let three: Vec<_> = within(consumer.stream().take(3).try_collect()).await.expect("three");
    assert_eq!(three.iter().map(|received| received.position.offset).collect::<Vec<_>>(), [0, 1, 2]);
    let to = Position { offset: 6, ..three[0].position.clone() };
    consumer.seek(&Seek::To(to)).await.expect("there");
    assert_eq!([offset(&mut consumer).await, offset(&mut consumer).await], [6, 7]);
    consumer.seek(&Seek::Beginning).await.expect("there");
    assert_eq!([offset(&mut consumer).await, offset(&mut consumer).await], [0, 1]);
    consumer.seek(&Seek::End).await.expect("there");
    write(&mock, &event(8));
    assert_eq!(offset(&mut consumer).await, 8);
    let elsewhere = Position { topic: "t".into(), partition: 0, offset: 0 };
    let refused = consumer.seek(&Seek::To(elsewhere)).await.expect_err("not its topic");
    assert!(refused.to_string().contains("no partition of this consumer"), "{refused}");
    assert_eq!(stands(&mock), Offset::Invalid, "a seek commits nothing");
}

/// Somebody else may have gone on meanwhile, so what was fetched before is out of date.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_goes_with_its_partition() {
    let mock = cluster_of(&(0..8).map(event).collect::<Vec<_>>());
    let mut consumer = consumer_of(&mock);
    assert_eq!([offset(&mut consumer).await, offset(&mut consumer).await], [0, 1]);
    assert!(!consumer.fetched.is_empty(), "a batch was fetched");
    let (client, mut list) = all(&consumer);
    client.context().take_part(&*client, &list, Part::Revoke);
    list.set_all_offsets(Offset::Offset(5)).expect("an offset");
    client.context().take_part(&*client, &list, Part::Assign);
    // What is fetched is looked at when it is time to poll; a batch that is used up is such a time.
    consumer.fetched.keep_up(&client, &consumer.codec);
    assert_eq!(offset(&mut consumer).await, 5);
}

/// It works for longer than the poll interval, and the group keeps the member all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_may_take_longer_than_the_poll_interval() {
    let mock = cluster_of(&[event(0), event(1)]);
    let short =
        [("max.poll.interval.ms", "6000"), ("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")];
    let mut consumer = consumer(&mock, &short);
    consumer.options.max_handling_time = Duration::from_secs(6);
    let lost = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&lost);
    let (client, _) = all(&consumer);
    client.context().tell_of_shares(ShareHook::new(move |change| {
        if !matches!(change, ShareChange::Assigned(_)) {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }));
    let began = Instant::now();
    let handled: Result<(), HandleError<()>> = within(consumer.handle(async |received| {
        assert_eq!(received.position.offset, 0);
        tokio::time::sleep(Duration::from_secs(9)).await;
        Ok(())
    }))
    .await;
    handled.expect("committed");
    assert!(began.elapsed() > Duration::from_secs(9));
    assert!(!client.assignment_lost());
    assert_eq!(lost.load(std::sync::atomic::Ordering::Relaxed), 0, "nothing was given away");
    assert_eq!(stands(&mock), Offset::Offset(1));
    assert_eq!(offset(&mut consumer).await, 1, "it is not paused any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_told_only_where_there_is_something_to_say() {
    let mock = cluster_of(&[event(0)]);
    let mut consumer = consumer_of(&mock);
    assert_eq!(offset(&mut consumer).await, 0);
    consumer.watchdog = Watchdog::new(Some(Duration::from_millis(300)), true);
    let idle = tokio::time::timeout(Duration::from_secs(2), consumer.recv()).await;
    assert!(idle.is_err(), "there is nothing more, and that is no fault: {idle:?}");
    let (client, list) = all(&consumer);
    client.pause(&list).expect("paused behind its back");
    write(&mock, &event(1));
    let silent = within(consumer.recv()).await.expect_err("there is one more");
    assert!(matches!(silent, ReceiveError::Silent { .. }), "{silent:?}");
    assert!(silent.to_string().contains("[0] have more"), "{silent}");
    client.resume(&list).expect("resumed");
    // Its patience was for the silence alone: how long a fetch takes is the machine's affair.
    consumer.watchdog = Watchdog::new(None, true);
    assert_eq!(offset(&mut consumer).await, 1, "it may be used further");
}
