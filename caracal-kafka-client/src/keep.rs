//! Keeping the membership of a group while a handler works.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer as _, StreamConsumer};

use crate::codec::Codec;
use crate::context::Context;
use crate::events::Event;
use crate::fetch::Fetched;

/// Parts of the poll interval after which a handler that works on is polled for.
const PARTS: u32 = 3;

/// Partitions that are paused, until this is dropped: also when whoever waits is cancelled.
struct Paused<'c> {
    client: &'c StreamConsumer<Context>,
    list: TopicPartitionList,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if self.list.count() > 0
            && let Err(error) = self.client.resume(&self.list)
        {
            tracing::warn!("cannot resume: {}", crate::error::code(&error));
        }
    }
}

/// Waits for `work`, however long it lasts. Before the poll interval is over, what this member has is paused and polled
/// for, so that the group knows it alive and gives nothing of it away; little is fetched meanwhile.
pub(crate) async fn while_it_works<E: Event, T>(
    work: impl Future<Output = T>,
    client: &StreamConsumer<Context>,
    codec: &Codec,
    fetched: &mut Fetched<E>,
    interval: Duration,
) -> T {
    let mut work = pin!(work);
    let mut paused = Paused { client, list: TopicPartitionList::new() };
    loop {
        if let Ok(done) = tokio::time::timeout(interval / PARTS, &mut work).await {
            return done;
        }
        // Each time anew, for a rebalance brings partitions that are not paused.
        match client.assignment().and_then(|list| client.pause(&list).map(|()| list)) {
            Ok(list) => paused.list = list,
            Err(error) => tracing::warn!("cannot pause: {}", crate::error::code(&error)),
        }
        fetched.keep_up(client, codec);
    }
}
