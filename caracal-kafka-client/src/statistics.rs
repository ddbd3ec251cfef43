//! librdkafka's statistics as typed values and as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::Statistics;

/// A client that has not reported for so many intervals has ended.
const MISSED: u32 = 3;

/// What one of librdkafka's clients reported last: one for each producer, consumer and transactional id.
///
/// Counters grow for as long as the client lives; a client that took the place of a failed one begins at zero.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ClientStatistics {
    /// librdkafka's name of the client, for example `ledger-writer#producer-2`.
    pub name: String,
    /// `producer` or `consumer`.
    pub kind: String,
    /// Records that wait to be sent or acknowledged.
    pub queued_messages: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Records that were sent.
    pub sent_messages: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Records that were received.
    pub received_messages: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Brokers, by node id.
    pub brokers: Vec<BrokerStatistics>,
    /// Partitions that the client has to do with.
    pub partitions: Vec<PartitionStatistics>,
    /// Rebalances so far; `None` for a producer.
    pub rebalances: Option<u64>,
}

/// One broker, as one client sees it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BrokerStatistics {
    /// Node id.
    pub id: i32,
    /// Whether the client is connected and let in.
    pub up: bool,
    /// Times that the connection ended.
    pub disconnects: u64,
    /// Requests that got no answer in time.
    pub timeouts: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Median of the time until an answer, over the last interval.
    pub round_trip_p50: Duration,
    /// Its 99th percentile.
    pub round_trip_p99: Duration,
    /// 99th percentile of the time that the broker held answers back because of a quota.
    pub throttled_p99: Duration,
}

/// One partition, as one client sees it. An offset or a lag that is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PartitionStatistics {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Records that wait in the producer.
    pub queued_messages: u64,
    /// Records that were fetched and not handed out yet.
    pub fetched_messages: u64,
    /// Records behind the committed position.
    pub lag: Option<u64>,
    /// The committed offset.
    pub committed: Option<u64>,
    /// One behind the newest record.
    pub end: Option<u64>,
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

fn known(value: i64) -> Option<u64> {
    u64::try_from(value).ok()
}

fn micros(value: Option<i64>) -> Duration {
    Duration::from_micros(count(value.unwrap_or_default()))
}

impl From<Statistics> for ClientStatistics {
    fn from(told: Statistics) -> Self {
        let consumer = told.client_type == "consumer";
        // librdkafka has entries for addresses that it was given and for its own use, with ids below zero.
        let brokers =
            told.brokers.values().filter(|broker| broker.nodeid >= 0).map(|broker| BrokerStatistics {
                id: broker.nodeid,
                up: broker.state == "UP",
                disconnects: count(broker.disconnects.unwrap_or_default()),
                timeouts: broker.req_timeouts,
                retries: broker.txretries,
                round_trip_p50: micros(broker.rtt.as_ref().map(|window| window.p50)),
                round_trip_p99: micros(broker.rtt.as_ref().map(|window| window.p99)),
                // The one window that is in milliseconds.
                throttled_p99: micros(broker.throttle.as_ref().map(|window| window.p99.saturating_mul(1000))),
            });
        let mut brokers: Vec<_> = brokers.collect();
        brokers.sort_by_key(|broker| broker.id);
        let mut partitions = Vec::new();
        for topic in told.topics.values() {
            let of_topic = topic.partitions.values().filter(|partition| partition.partition >= 0);
            partitions.extend(of_topic.map(|partition| PartitionStatistics {
                topic: topic.topic.clone(),
                partition: partition.partition,
                queued_messages: count(partition.msgq_cnt) + count(partition.xmit_msgq_cnt),
                fetched_messages: count(partition.fetchq_cnt),
                lag: known(partition.consumer_lag).filter(|_| consumer),
                committed: known(partition.committed_offset).filter(|_| consumer),
                end: known(partition.hi_offset).filter(|_| consumer),
            }));
        }
        partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Self {
            name: told.name,
            kind: told.client_type,
            queued_messages: told.msg_cnt,
            queued_bytes: told.msg_size,
            sent_messages: count(told.txmsgs),
            sent_bytes: count(told.txmsg_bytes),
            received_messages: count(told.rxmsgs),
            received_bytes: count(told.rxmsg_bytes),
            brokers,
            partitions,
            rebalances: told.cgrp.map(|group| count(group.rebalance_cnt)),
        }
    }
}

/// What every client of a connection reported last.
#[derive(Debug)]
pub(crate) struct Board {
    interval: Duration,
    clients: Mutex<BTreeMap<String, (Instant, ClientStatistics)>>,
}

impl Board {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, clients: Mutex::default() }
    }

    pub(crate) const fn interval(&self) -> Duration {
        self.interval
    }

    pub(crate) fn note(&self, told: Statistics) {
        let statistics = ClientStatistics::from(told);
        self.lock().insert(statistics.name.clone(), (Instant::now(), statistics));
    }

    pub(crate) fn all(&self) -> Vec<ClientStatistics> {
        let mut clients = self.lock();
        let ended = self.interval.saturating_mul(MISSED);
        clients.retain(|_, (at, _)| at.elapsed() <= ended);
        clients.values().map(|(_, statistics)| statistics.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, ClientStatistics)>> {
        // Entries are replaced as a whole, so a panic elsewhere leaves nothing half done.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prometheus' text format (0.0.4): each metric with its help and type, then its samples.
pub(crate) fn prometheus(clients: &[ClientStatistics]) -> String {
    let mut text = Text(String::new());
    text.clients(clients);
    text.brokers(clients);
    text.partitions(clients);
    text.0
}

struct Text(String);

type Labels<'a> = &'a [(&'static str, &'a str)];

impl Text {
    fn metric<'c, T>(
        &mut self,
        [name, kind, help]: [&str; 3],
        items: impl IntoIterator<Item = (Vec<(&'static str, String)>, T)> + 'c,
    ) where
        T: std::fmt::Display,
    {
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            return;
        }
        let _ = writeln!(self.0, "# HELP caracal_kafka_client_{name} {help}");
        let _ = writeln!(self.0, "# TYPE caracal_kafka_client_{name} {kind}");
        for (labels, value) in items {
            let labels: Vec<(&'static str, &str)> =
                labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            self.sample(name, &labels, &value);
        }
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: &dyn std::fmt::Display) {
        let shown: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(self.0, "caracal_kafka_client_{name}{{{}}} {value}", shown.join(","));
    }

    fn clients(&mut self, clients: &[ClientStatistics]) {
        type Read = fn(&ClientStatistics) -> Option<u64>;
        let metrics: [([&str; 3], Read); 7] = [
            (["queued_messages", "gauge", "Records that wait to be sent or acknowledged."], |c| {
                Some(c.queued_messages)
            }),
            (["queued_bytes", "gauge", "Bytes that wait to be sent or acknowledged."], |c| {
                Some(c.queued_bytes)
            }),
            (["sent_messages_total", "counter", "Records sent."], |c| Some(c.sent_messages)),
            (["sent_bytes_total", "counter", "Bytes of records sent."], |c| Some(c.sent_bytes)),
            (["received_messages_total", "counter", "Records received."], |c| Some(c.received_messages)),
            (["received_bytes_total", "counter", "Bytes of records received."], |c| Some(c.received_bytes)),
            (["rebalances_total", "counter", "Rebalances of the group."], |c| c.rebalances),
        ];
        for (metric, read) in metrics {
            self.metric(metric, clients.iter().filter_map(|client| Some((of(client), read(client)?))));
        }
    }

    fn brokers(&mut self, clients: &[ClientStatistics]) {
        type Read = fn(&BrokerStatistics) -> f64;
        let metrics: [([&str; 3], Read); 7] = [
            (["broker_up", "gauge", "Whether the client is connected to the broker."], |b| {
                f64::from(u8::from(b.up))
            }),
            (["broker_disconnects_total", "counter", "Connections that ended."], |b| number(b.disconnects)),
            (["broker_timeouts_total", "counter", "Requests without an answer in time."], |b| {
                number(b.timeouts)
            }),
            (["broker_retries_total", "counter", "Requests that were sent again."], |b| number(b.retries)),
            (["broker_round_trip_p50_seconds", "gauge", "Median time until an answer."], |b| {
                b.round_trip_p50.as_secs_f64()
            }),
            (
                ["broker_round_trip_p99_seconds", "gauge", "99th percentile of the time until an answer."],
                |b| b.round_trip_p99.as_secs_f64(),
            ),
            (
                [
                    "broker_throttled_p99_seconds",
                    "gauge",
                    "99th percentile of the time held back by a quota.",
                ],
                |b| b.throttled_p99.as_secs_f64(),
            ),
        ];
        for (metric, read) in metrics {
            let samples = clients.iter().flat_map(|client| {
                client.brokers.iter().map(move |broker| {
                    let mut labels = of(client);
                    labels.push(("broker", broker.id.to_string()));
                    (labels, read(broker))
                })
            });
            self.metric(metric, samples);
        }
    }

    fn partitions(&mut self, clients: &[ClientStatistics]) {
        type Read = fn(&PartitionStatistics) -> Option<u64>;
        let metrics: [([&str; 3], Read); 5] = [
            (["partition_queued_messages", "gauge", "Records that wait for a partition."], |p| {
                Some(p.queued_messages)
            }),
            (["partition_fetched_messages", "gauge", "Records fetched and not handed out."], |p| {
                Some(p.fetched_messages)
            }),
            (["partition_lag", "gauge", "Records behind the committed position."], |p| p.lag),
            (["partition_committed_offset", "gauge", "The committed offset."], |p| p.committed),
            (["partition_end_offset", "gauge", "One behind the newest record."], |p| p.end),
        ];
        for (metric, read) in metrics {
            let samples = clients.iter().flat_map(|client| {
                client.partitions.iter().filter_map(move |partition| {
                    let mut labels = of(client);
                    labels.push(("topic", partition.topic.clone()));
                    labels.push(("partition", partition.partition.to_string()));
                    Some((labels, read(partition)?))
                })
            });
            self.metric(metric, samples);
        }
    }
}

fn of(client: &ClientStatistics) -> Vec<(&'static str, String)> {
    vec![("client", client.name.clone()), ("kind", client.kind.clone())]
}

/// Prometheus has no other numbers.
#[expect(
    clippy::cast_precision_loss,
    reason = "a counter above 2^53 loses its last digits, as in Prometheus"
)]
fn number(value: u64) -> f64 {
    value as f64
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> ClientStatistics {
        ClientStatistics {
            name: "a\"b#consumer-1".into(),
            kind: "consumer".into(),
            received_messages: 7,
            rebalances: Some(2),
            brokers: vec![BrokerStatistics {
                id: 1,
                up: true,
                round_trip_p99: Duration::from_micros(1500),
                ..BrokerStatistics::default()
            }],
            partitions: vec![PartitionStatistics {
                topic: "t".into(),
                partition: 3,
                lag: Some(5),
                ..PartitionStatistics::default()
            }],
            ..ClientStatistics::default()
        }
    }

    #[test]
    fn prometheus_reads_each_metric_once_with_help_and_type() {
        let text =
            prometheus(&[client(), ClientStatistics { name: "p".into(), ..ClientStatistics::default() }]);
        for line in [
            "# TYPE caracal_kafka_client_received_messages_total counter",
            "caracal_kafka_client_received_messages_total{client=\"a\\\"b#consumer-1\",kind=\"consumer\"} 7",
            "caracal_kafka_client_broker_up{client=\"a\\\"b#consumer-1\",kind=\"consumer\",broker=\"1\"} 1",
            "caracal_kafka_client_broker_round_trip_p99_seconds{client=\"a\\\"b#consumer-1\",kind=\"consumer\",broker=\"1\"} 0.0015",
            "caracal_kafka_client_partition_lag{client=\"a\\\"b#consumer-1\",kind=\"consumer\",topic=\"t\",partition=\"3\"} 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        let helps: Vec<&str> = text.lines().filter(|line| line.starts_with("# HELP")).collect();
        let names: std::collections::BTreeSet<_> =
            helps.iter().filter_map(|line| line.split(' ').nth(2)).collect();
        assert_eq!(names.len(), helps.len(), "{text}");
        assert!(!text.contains("committed_offset"), "what is not known is left out");
        assert_eq!(prometheus(&[]), "");
    }

    #[test]
    fn a_client_that_has_ended_is_forgotten() {
        let board = Board::new(Duration::from_secs(5));
        let told = Statistics { name: "x".into(), ..Statistics::default() };
        board.note(told);
        assert_eq!(board.all().len(), 1);
        if let Some((at, _)) = board.lock().get_mut("x") {
            *at = Instant::now().checked_sub(Duration::from_secs(16)).expect("a machine that runs for long");
        }
        assert!(board.all().is_empty());
    }
}
