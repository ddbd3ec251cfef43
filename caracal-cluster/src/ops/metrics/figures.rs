//! The figures: which there are, where each is taken from, and how those of several nodes make one.

use std::collections::BTreeMap;

use super::text::Sample;
use crate::plan::NodeRole;

/// How the figures of several nodes make one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Together {
    /// They add up.
    Sum,
    /// The largest counts: a latency, or what every broker tells of the whole cluster.
    Largest,
    /// The smallest counts: idleness.
    Smallest,
}

/// What a figure counts in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Bytes in a second.
    BytesPerSecond,
    /// Things.
    Count,
    /// Milliseconds.
    Millis,
    /// Things in a second.
    PerSecond,
    /// A part of one.
    Share,
    /// Seconds.
    Seconds,
}

/// One figure.
#[derive(Debug)]
#[non_exhaustive]
pub struct Figure {
    /// Its key in `--json`.
    pub key: &'static str,
    /// As people call it.
    pub title: &'static str,
    /// What it counts in.
    pub unit: Unit,
    /// The metric that it is taken from.
    pub metric: &'static str,
    /// Labels that the metric must have; a metric with a `topic` counts only where it is asked for.
    pub labels: &'static [(&'static str, &'static str)],
    /// Whose figure it is; none: everybody's.
    pub role: Option<NodeRole>,
    /// How those of several nodes make one.
    pub together: Together,
}

const fn figure(
    key: &'static str,
    title: &'static str,
    unit: Unit,
    metric: &'static str,
    together: Together,
) -> Figure {
    Figure { key, title, unit, metric, labels: &[], role: Some(NodeRole::Broker), together }
}

const fn latency(
    key: &'static str,
    title: &'static str,
    labels: &'static [(&'static str, &'static str)],
) -> Figure {
    let figure = figure(key, title, Millis, "kafka_network_requestmetrics_totaltimems", Largest);
    Figure { labels, ..figure }
}

const fn of(role: Option<NodeRole>, figure: Figure) -> Figure {
    Figure { role, ..figure }
}

const fn with(labels: &'static [(&'static str, &'static str)], figure: Figure) -> Figure {
    Figure { labels, ..figure }
}

const HEAP: &[(&str, &str)] = &[("area", "heap")];
const ZOOKEEPER: Option<NodeRole> = Some(NodeRole::Zookeeper);
const REGISTRY: Option<NodeRole> = Some(NodeRole::SchemaRegistry);

use Together::{Largest, Smallest, Sum};
use Unit::{Bytes, BytesPerSecond, Count, Millis, PerSecond, Seconds, Share};

/// Every figure, in the order of reading.
#[rustfmt::skip]
pub const FIGURES: &[Figure] = &[
    figure("messages_in_per_second", "messages in", PerSecond, "kafka_server_brokertopicmetrics_messagesin_rate1m", Sum),
    figure("messages_in_total", "messages in, since start", Count, "kafka_server_brokertopicmetrics_messagesin_total", Sum),
    figure("bytes_in_per_second", "bytes in", BytesPerSecond, "kafka_server_brokertopicmetrics_bytesin_rate1m", Sum),
    figure("bytes_in_total", "bytes in, since start", Bytes, "kafka_server_brokertopicmetrics_bytesin_total", Sum),
    figure("bytes_out_per_second", "bytes out", BytesPerSecond, "kafka_server_brokertopicmetrics_bytesout_rate1m", Sum),
    figure("bytes_out_total", "bytes out, since start", Bytes, "kafka_server_brokertopicmetrics_bytesout_total", Sum),
    figure("replication_bytes_in_per_second", "replication bytes in", BytesPerSecond, "kafka_server_brokertopicmetrics_replicationbytesin_rate1m", Sum),
    figure("replication_bytes_in_total", "replication bytes in, since start", Bytes, "kafka_server_brokertopicmetrics_replicationbytesin_total", Sum),
    figure("produce_requests_per_second", "produce requests", PerSecond, "kafka_server_brokertopicmetrics_totalproducerequests_rate1m", Sum),
    figure("produce_requests_total", "produce requests, since start", Count, "kafka_server_brokertopicmetrics_totalproducerequests_total", Sum),
    figure("fetch_requests_per_second", "fetch requests", PerSecond, "kafka_server_brokertopicmetrics_totalfetchrequests_rate1m", Sum),
    figure("fetch_requests_total", "fetch requests, since start", Count, "kafka_server_brokertopicmetrics_totalfetchrequests_total", Sum),
    figure("failed_produce_requests_total", "failed produce requests", Count, "kafka_server_brokertopicmetrics_failedproducerequests_total", Sum),
    figure("failed_fetch_requests_total", "failed fetch requests", Count, "kafka_server_brokertopicmetrics_failedfetchrequests_total", Sum),
    figure("bytes_rejected_total", "bytes rejected", Bytes, "kafka_server_brokertopicmetrics_bytesrejected_total", Sum),
    latency("produce_millis_p50", "produce, median", &[("request", "Produce"), ("quantile", "0.50")]),
    latency("produce_millis_p99", "produce, 99 %", &[("request", "Produce"), ("quantile", "0.99")]),
    latency("fetch_millis_p50", "consumer's fetch, median", &[("request", "FetchConsumer"), ("quantile", "0.50")]),
    latency("fetch_millis_p99", "consumer's fetch, 99 %", &[("request", "FetchConsumer"), ("quantile", "0.99")]),
    latency("metadata_millis_p99", "metadata, 99 %", &[("request", "Metadata"), ("quantile", "0.99")]),
    figure("request_queue", "requests waiting", Count, "kafka_network_requestchannel_requestqueuesize", Sum),
    figure("request_handlers_idle", "request handlers idle", Share, "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent", Smallest),
    figure("network_processors_idle", "network processors idle", Share, "kafka_network_socketserver_networkprocessoravgidlepercent", Smallest),
    figure("active_controllers", "active controllers", Count, "kafka_controller_kafkacontroller_activecontrollercount", Sum),
    figure("offline_partitions", "offline partitions", Count, "kafka_controller_kafkacontroller_offlinepartitionscount", Largest),
    figure("under_replicated_partitions", "under-replicated partitions", Count, "kafka_server_replicamanager_underreplicatedpartitions", Sum),
    figure("under_min_isr_partitions", "partitions under min ISR", Count, "kafka_server_replicamanager_underminisrpartitioncount", Sum),
    figure("partitions", "copies of partitions", Count, "kafka_server_replicamanager_partitioncount", Sum),
    figure("leaders", "partitions led", Count, "kafka_server_replicamanager_leadercount", Sum),
    figure("isr_shrinks_total", "ISR shrinks", Count, "kafka_server_replicamanager_isrshrinks_total", Sum),
    of(ZOOKEEPER, figure("zookeeper_latency_millis", "mean latency", Millis, "zookeeper_avgrequestlatency", Largest)),
    of(ZOOKEEPER, figure("zookeeper_outstanding_requests", "requests waiting", Count, "zookeeper_outstandingrequests", Sum)),
    of(ZOOKEEPER, figure("zookeeper_connections", "connections", Count, "zookeeper_numaliveconnections", Sum)),
    of(ZOOKEEPER, figure("zookeeper_znodes", "znodes", Count, "zookeeper_inmemorydatatree_nodecount", Largest)),
    of(REGISTRY, figure("registry_requests_total", "requests, since start", Count, "rest_requests_seconds_count", Sum)),
    of(None, with(HEAP, figure("heap_used_bytes", "heap in use", Bytes, "jvm_memory_used_bytes", Sum))),
    of(None, with(HEAP, figure("heap_max_bytes", "heap, at most", Bytes, "jvm_memory_max_bytes", Sum))),
    figure("gc_seconds_total", "garbage collection", Seconds, "jvm_gc_collection_seconds_sum", Sum),
    of(ZOOKEEPER, figure("gc_seconds_total", "garbage collection", Seconds, "jvm_gc_collection_seconds_sum", Sum)),
    of(REGISTRY, figure("gc_seconds_total", "garbage collection", Seconds, "jvm_gc_pause_seconds_sum", Sum)),
];

/// The figures of one node.
pub(super) fn of_node(role: NodeRole) -> impl Iterator<Item = &'static Figure> {
    FIGURES.iter().filter(move |figure| figure.role.is_none_or(|whose| whose == role))
}

/// A node's figures out of its samples; what it does not serve (yet) is left out.
pub(super) fn read(role: NodeRole, samples: &[Sample]) -> BTreeMap<&'static str, f64> {
    let value = |figure: &Figure| {
        let mut found = samples
            .iter()
            .filter(|sample| sample.name == figure.metric)
            // The broker's own figure stands beside one for each topic.
            .filter(|sample| sample.label("topic").is_none())
            .filter(|sample| figure.labels.iter().all(|(name, value)| sample.label(name) == Some(value)))
            // -1 is how a JVM says that there is no limit.
            .map(|sample| sample.value.max(0.0))
            .peekable();
        found.peek()?;
        Some((figure.key, found.sum()))
    };
    of_node(role).filter_map(value).collect()
}

/// Replaces every rate by the one since an earlier look; a counter that went back was started anew.
pub(super) fn rates(
    now: &mut BTreeMap<&'static str, f64>,
    before: &BTreeMap<&'static str, f64>,
    seconds: f64,
) {
    if seconds <= 0.0 {
        return;
    }
    for figure in FIGURES {
        let Some(stem) = figure.key.strip_suffix("_per_second") else { continue };
        let total = [stem, "_total"].concat();
        let (Some(new), Some(old)) = (now.get(total.as_str()), before.get(total.as_str())) else { continue };
        let grown = if new >= old { new - old } else { *new };
        now.insert(figure.key, grown / seconds);
    }
}

/// The figures of all nodes together.
pub(super) fn together<'a>(
    nodes: impl Iterator<Item = &'a BTreeMap<&'static str, f64>>,
) -> BTreeMap<&'static str, f64> {
    let mut total: BTreeMap<&'static str, f64> = BTreeMap::new();
    for (key, value) in nodes.flatten() {
        let how = FIGURES.iter().find(|figure| figure.key == *key).map_or(Sum, |f| f.together);
        total
            .entry(key)
            .and_modify(|sum| {
                *sum = match how {
                    Sum => *sum + value,
                    Largest => sum.max(*value),
                    Smallest => sum.min(*value),
                }
            })
            .or_insert(*value);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::super::text::parse;
    use super::*;

    const BROKER: &str = "\
kafka_server_brokertopicmetrics_messagesin_total 10
kafka_server_brokertopicmetrics_messagesin_total{topic=\"a\"} 7
kafka_server_brokertopicmetrics_messagesin_rate1m 0.5
kafka_network_requestmetrics_totaltimems{request=\"Produce\",quantile=\"0.99\"} 12
kafka_network_requestmetrics_totaltimems{request=\"Produce\",quantile=\"0.50\"} 3
kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent 0.9
jvm_memory_used_bytes{area=\"heap\"} 100
jvm_memory_used_bytes{area=\"nonheap\"} 50
jvm_memory_max_bytes{area=\"heap\"} -1
";

    #[test]
    fn figures_come_from_the_brokers_own_samples_and_add_up_as_they_should() {
        let one = read(NodeRole::Broker, &parse(BROKER).unwrap());
        assert_eq!((one["messages_in_total"], one["produce_millis_p99"]), (10.0, 12.0));
        assert_eq!((one["heap_used_bytes"], one["heap_max_bytes"]), (100.0, 0.0));
        assert!(!one.contains_key("bytes_in_total"), "what is not served is not zero");
        let mut two = one.clone();
        two.insert("produce_millis_p99", 20.0);
        two.insert("request_handlers_idle", 0.2);
        let total = together([&one, &two].into_iter());
        assert_eq!((total["messages_in_total"], total["produce_millis_p99"]), (20.0, 20.0));
        assert_eq!(total["request_handlers_idle"], 0.2);
    }

    #[test]
    fn a_rate_is_what_a_counter_grew_by_and_a_restart_is_no_negative_one() {
        let before = read(NodeRole::Broker, &parse(BROKER).unwrap());
        let mut now = before.clone();
        now.insert("messages_in_total", 30.0);
        rates(&mut now, &before, 4.0);
        assert_eq!(now["messages_in_per_second"], 5.0);
        now.insert("messages_in_total", 8.0);
        rates(&mut now, &before, 4.0);
        assert_eq!(now["messages_in_per_second"], 2.0);
    }

    #[test]
    fn every_rate_has_its_counter_and_every_key_one_meaning() {
        for figure in FIGURES {
            if let Some(stem) = figure.key.strip_suffix("_per_second") {
                let total = format!("{stem}_total");
                assert!(FIGURES.iter().any(|other| other.key == total), "{total}");
            }
            let same = |other: &&Figure| other.key == figure.key;
            assert!(FIGURES.iter().filter(same).all(|other| other.title == figure.title), "{}", figure.key);
        }
    }
}
