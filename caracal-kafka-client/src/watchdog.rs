//! A consumer that is alive and gets nothing although there is something: a fetch that hangs, a broker that cannot be
//! reached, a group that never lets it in. Nothing of that is an error to librdkafka, which goes on trying.
//!
//! After a time without a record the brokers are asked where the partitions end. One that stands behind its end is
//! fetched anew from where it stands; if then neither a record nor the partition's end comes for as long again, the
//! consumer says that it is silent. The end may lie behind the position for good, for transactions leave marks that
//! are no records; so what counts is whether a fetch from the position comes to an end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer as _, RebalanceProtocol, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::context::Context;
use crate::error;

/// How long one question to a broker may take.
const BROKER: Duration = Duration::from_secs(10);

/// What the brokers and librdkafka know.
#[derive(Debug)]
struct View {
    /// Whether the group has let this member in, or there is no group.
    joined: bool,
    /// Where each partition stands and where it ends; no position when nothing was ever read of it here.
    partitions: Result<BTreeMap<i32, (Option<i64>, i64)>, String>,
}

/// What is to be done.
#[derive(Debug, Eq, PartialEq)]
enum Finding {
    Fine,
    /// Fetch these partitions anew from here.
    Nudge(Vec<(i32, i64)>),
    Silent(String),
}

/// Watches one consumer.
#[derive(Debug)]
pub(crate) struct Watchdog {
    limit: Option<Duration>,
    /// Whether what the group committed says where a partition begins.
    by_group: bool,
    heard: Instant,
    look_at: Instant,
    asked: Option<oneshot::Receiver<View>>,
    /// What was suspected at the last look: partitions with their positions, or anything else.
    suspects: BTreeMap<i32, i64>,
    suspected: bool,
    /// Partitions whose end was reached from this position.
    ended: BTreeMap<i32, i64>,
    /// Why the consumer is silent, until it is asked for.
    verdict: Option<String>,
}

impl Watchdog {
    pub(crate) fn new(limit: Option<Duration>, by_group: bool) -> Self {
        let now = Instant::now();
        Self {
            limit,
            by_group,
            heard: now,
            look_at: limit.map_or(now, |limit| now + limit),
            asked: None,
            suspects: BTreeMap::new(),
            suspected: false,
            ended: BTreeMap::new(),
            verdict: None,
        }
    }

    /// A record came.
    pub(crate) fn heard(&mut self) {
        let Some(limit) = self.limit else { return };
        self.heard = Instant::now();
        self.look_at = self.heard + limit;
        self.suspects.clear();
        self.suspected = false;
    }

    /// The end of these partitions was reached.
    pub(crate) fn ended(&mut self, partitions: &[i32]) {
        for partition in partitions {
            if let Some(position) = self.suspects.remove(partition) {
                self.ended.insert(*partition, position);
            }
        }
    }

    /// How long nothing came, and why that is wrong; once.
    pub(crate) fn verdict(&mut self) -> Option<(Duration, String)> {
        Some((self.heard.elapsed(), self.verdict.take()?))
    }

    /// Waits until it is time to look, and looks; the partitions in `except` are silent on purpose. Cancelling it
    /// loses nothing, and it ends when there may be a [`verdict`](Self::verdict).
    pub(crate) async fn look(
        &mut self,
        client: &Arc<StreamConsumer<Context>>,
        except: impl Fn() -> BTreeSet<i32>,
    ) {
        let Some(limit) = self.limit else { return std::future::pending().await };
        let asked = match &mut self.asked {
            Some(asked) => asked,
            None => {
                tokio::time::sleep_until(self.look_at).await;
                let (tell, told) = oneshot::channel();
                let (client, except, by_group) = (Arc::clone(client), except(), self.by_group);
                // A thread of its own: librdkafka's calls cannot be cancelled.
                std::thread::spawn(move || {
                    let _ = tell.send(view(&client, &except, by_group));
                });
                self.asked.insert(told)
            }
        };
        let view = asked.await;
        self.asked = None;
        self.look_at = Instant::now() + limit;
        let Ok(view) = view else { return };
        match self.judge(view) {
            Finding::Fine => {}
            Finding::Nudge(partitions) => {
                tracing::warn!(?partitions, "nothing came for {limit:?} though there is more: fetched anew");
                nudge(client, &partitions);
            }
            Finding::Silent(why) => self.verdict = Some(why),
        }
    }

    fn judge(&mut self, view: View) -> Finding {
        let before = std::mem::replace(&mut self.suspected, true);
        let again = |why: String| if before { Finding::Silent(why) } else { Finding::Fine };
        let partitions = match view.partitions {
            Err(why) => return again(format!("no broker says where the partitions end: {why}")),
            Ok(_) if !view.joined => return again("the group has never let this member in".into()),
            Ok(partitions) => partitions,
        };
        let behind = partitions.into_iter().filter_map(|(partition, (position, end))| {
            // One that was sought has none until a record comes.
            let position = position.or_else(|| self.suspects.get(&partition).copied())?;
            let known = self.ended.get(&partition) == Some(&position);
            (position < end && !known).then_some((partition, position))
        });
        let behind: BTreeMap<i32, i64> = behind.collect();
        let hangs: Vec<_> =
            behind.iter().filter(|(of, at)| self.suspects.get(of) == Some(at)).map(|(of, _)| *of).collect();
        self.suspected = !behind.is_empty();
        self.suspects.clone_from(&behind);
        if behind.is_empty() {
            Finding::Fine
        } else if hangs.is_empty() {
            Finding::Nudge(behind.into_iter().collect())
        } else {
            Finding::Silent(format!(
                "the partitions {hangs:?} have more, and fetching them anew brought nothing"
            ))
        }
    }
}

fn view(client: &StreamConsumer<Context>, except: &BTreeSet<i32>, by_group: bool) -> View {
    let joined = |count: usize| count > 0 || !matches!(client.rebalance_protocol(), RebalanceProtocol::None);
    match partitions(client, except, by_group) {
        Ok((count, partitions)) => View { joined: joined(count), partitions: Ok(partitions) },
        Err(error) => View { joined: true, partitions: Err(error::code(&error)) },
    }
}

type Places = BTreeMap<i32, (Option<i64>, i64)>;

fn partitions(
    client: &StreamConsumer<Context>,
    except: &BTreeSet<i32>,
    by_group: bool,
) -> Result<(usize, Places), KafkaError> {
    let assigned = client.assignment()?;
    let positions = client.position()?;
    // Of those that nothing was read of.
    let committed = if by_group && assigned.count() > 0 {
        client.committed_offsets(assigned.clone(), BROKER)?
    } else {
        TopicPartitionList::new()
    };
    let mut places = Places::new();
    for element in assigned.elements() {
        if except.contains(&element.partition()) {
            continue;
        }
        let (_, end) = client.fetch_watermarks(element.topic(), element.partition(), BROKER)?;
        let at = |list: &TopicPartitionList| {
            let found = list.find_partition(element.topic(), element.partition())?.offset();
            if let Offset::Offset(at) = found { Some(at) } else { None }
        };
        let position = at(&positions).or_else(|| at(&committed));
        places.insert(element.partition(), (position, end));
    }
    Ok((assigned.count(), places))
}

/// Has librdkafka fetch from where it stands. It only asks for that, so no record is handed out in between.
fn nudge(client: &StreamConsumer<Context>, partitions: &[(i32, i64)]) {
    let (Ok(assigned), Ok(positions)) = (client.assignment(), client.position()) else { return };
    for element in assigned.elements() {
        let Some((_, at)) = partitions.iter().find(|(of, _)| *of == element.partition()) else { continue };
        let now = positions.find_partition(element.topic(), element.partition());
        // A record came since the brokers were asked.
        if now.is_some_and(|now| matches!(now.offset(), Offset::Offset(now) if now != *at)) {
            continue;
        }
        let sought = client.seek(element.topic(), element.partition(), Offset::Offset(*at), Duration::ZERO);
        if let Err(error) = sought {
            tracing::warn!(partition = element.partition(), "not fetched anew: {}", error::code(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dog() -> Watchdog {
        Watchdog::new(Some(Duration::from_secs(60)), true)
    }

    fn at(places: &[(i32, Option<i64>, i64)]) -> View {
        let partitions = places.iter().map(|(of, position, end)| (*of, (*position, *end))).collect();
        View { joined: true, partitions: Ok(partitions) }
    }

    #[tokio::test]
    async fn nothing_to_read_is_no_silence() {
        let mut dog = dog();
        for _ in 0..5 {
            assert_eq!(dog.judge(at(&[(0, Some(7), 7), (1, None, 3)])), Finding::Fine);
            assert_eq!(dog.judge(at(&[])), Finding::Fine, "others have the partitions");
        }
    }

    #[tokio::test]
    async fn what_hangs_is_fetched_anew_and_then_told() {
        let mut dog = dog();
        assert_eq!(dog.judge(at(&[(0, Some(5), 7), (1, Some(9), 9)])), Finding::Nudge(vec![(0, 5)]));
        // One that was sought has no position of its own.
        assert!(matches!(dog.judge(at(&[(0, None, 8)])), Finding::Silent(why) if why.contains("[0]")));
    }

    #[tokio::test]
    async fn a_record_or_another_position_clears_it() {
        let mut dog = dog();
        assert_eq!(dog.judge(at(&[(0, Some(5), 7)])), Finding::Nudge(vec![(0, 5)]));
        dog.heard();
        assert_eq!(dog.judge(at(&[(0, Some(5), 7)])), Finding::Nudge(vec![(0, 5)]));
        assert_eq!(dog.judge(at(&[(0, Some(6), 7)])), Finding::Nudge(vec![(0, 6)]));
    }

    /// Marks of transactions stand between the last record and the end.
    #[tokio::test]
    async fn marks_at_the_end_are_no_records() {
        let mut dog = dog();
        assert_eq!(dog.judge(at(&[(0, Some(5), 6)])), Finding::Nudge(vec![(0, 5)]));
        dog.ended(&[0]);
        for _ in 0..3 {
            assert_eq!(dog.judge(at(&[(0, Some(5), 6)])), Finding::Fine);
        }
    }

    #[tokio::test]
    async fn brokers_out_of_reach_and_a_group_that_lets_nobody_in() {
        let mut dog = dog();
        let unreachable = || View { joined: true, partitions: Err("no".into()) };
        assert_eq!(dog.judge(unreachable()), Finding::Fine, "once is nothing");
        assert!(matches!(dog.judge(unreachable()), Finding::Silent(_)));
        let outside = || View { joined: false, partitions: Ok(BTreeMap::new()) };
        dog.heard();
        assert_eq!(dog.judge(outside()), Finding::Fine);
        assert!(matches!(dog.judge(outside()), Finding::Silent(_)));
    }
}
