//! A Grafana dashboard and a scrape configuration for Prometheus, made from the plan.
//!
//! ```
//! use caracal_cluster::ops::grafana;
//!
//! let dashboard = grafana::dashboard();
//! assert_eq!(dashboard["title"], "Caracal Kafka");
//! assert!(grafana::metric_names().contains("kafka_server_brokertopicmetrics_messagesin_total"));
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::metrics::endpoint;
use crate::plan::ClusterPlan;

/// The file of the dashboard.
pub const DASHBOARD_FILE: &str = "caracal-kafka.dashboard.json";

/// The file of the scrape configuration.
pub const SCRAPE_FILE: &str = "prometheus.yml";

/// One panel: what it shows, in which of Grafana's units, from which queries, each with its legend.
struct Panel {
    title: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
}

const fn panel(
    title: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, unit, queries }
}

/// Every query is limited to the chosen cluster; `$W` stands for the span of a rate.
#[rustfmt::skip]
const ROWS: &[(&str, &[Panel])] = &[
    ("Is it well", &[
        panel("Active controllers (must be 1)", "none", &[("sum(kafka_controller_kafkacontroller_activecontrollercount{$C})", "controllers")]),
        panel("Offline partitions", "none", &[("max(kafka_controller_kafkacontroller_offlinepartitionscount{$C})", "offline")]),
        panel("Under-replicated, under min ISR", "none", &[
            ("sum(kafka_server_replicamanager_underreplicatedpartitions{$C})", "under-replicated"),
            ("sum(kafka_server_replicamanager_underminisrpartitioncount{$C})", "under min ISR"),
        ]),
        panel("ISR shrinks and expansions", "ops", &[
            ("sum by (node) (rate(kafka_server_replicamanager_isrshrinks_total{$C}[$W]))", "shrinks {{node}}"),
            ("sum by (node) (rate(kafka_server_replicamanager_isrexpands_total{$C}[$W]))", "expansions {{node}}"),
        ]),
    ]),
    ("Traffic", &[
        panel("Messages in, by topic", "ops", &[("sum by (topic) (rate(kafka_server_brokertopicmetrics_messagesin_total{$C,topic!=\"\"}[$W]))", "{{topic}}")]),
        panel("Messages in, by broker", "ops", &[("sum by (node) (rate(kafka_server_brokertopicmetrics_messagesin_total{$C,topic=\"\"}[$W]))", "{{node}}")]),
        panel("Bytes in and out", "Bps", &[
            ("sum(rate(kafka_server_brokertopicmetrics_bytesin_total{$C,topic=\"\"}[$W]))", "in"),
            ("sum(rate(kafka_server_brokertopicmetrics_bytesout_total{$C,topic=\"\"}[$W]))", "out"),
            ("sum(rate(kafka_server_brokertopicmetrics_replicationbytesin_total{$C}[$W]))", "replication"),
        ]),
        panel("Failed and refused", "ops", &[
            ("sum(rate(kafka_server_brokertopicmetrics_failedproducerequests_total{$C,topic=\"\"}[$W]))", "failed produce"),
            ("sum(rate(kafka_server_brokertopicmetrics_failedfetchrequests_total{$C,topic=\"\"}[$W]))", "failed fetch"),
            ("sum(rate(kafka_server_brokertopicmetrics_bytesrejected_total{$C,topic=\"\"}[$W]))", "bytes rejected"),
        ]),
        panel("Size of topics", "bytes", &[("sum by (topic) (kafka_log_log_size{$C})", "{{topic}}")]),
    ]),
    ("Requests", &[
        panel("Produce, 99 %", "ms", &[("kafka_network_requestmetrics_totaltimems{$C,request=\"Produce\",quantile=\"0.99\"}", "{{node}}")]),
        panel("Consumer's fetch, 99 %", "ms", &[("kafka_network_requestmetrics_totaltimems{$C,request=\"FetchConsumer\",quantile=\"0.99\"}", "{{node}}")]),
        panel("Where a produce request spends its time", "ms", &[
            ("avg(kafka_network_requestmetrics_requestqueuetimems_mean{$C,request=\"Produce\"})", "waits for a handler"),
            ("avg(kafka_network_requestmetrics_localtimems_mean{$C,request=\"Produce\"})", "leader's disk"),
            ("avg(kafka_network_requestmetrics_remotetimems_mean{$C,request=\"Produce\"})", "followers"),
            ("avg(kafka_network_requestmetrics_responsequeuetimems_mean{$C,request=\"Produce\"})", "waits for the network"),
            ("avg(kafka_network_requestmetrics_responsesendtimems_mean{$C,request=\"Produce\"})", "sending"),
        ]),
        panel("Requests", "reqps", &[("sum by (request) (rate(kafka_network_requestmetrics_requests_total{$C}[$W]))", "{{request}}")]),
        panel("Idle handlers and network threads", "percentunit", &[
            ("kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent{$C}", "handlers {{node}}"),
            ("kafka_network_socketserver_networkprocessoravgidlepercent{$C}", "network {{node}}"),
        ]),
        panel("Requests waiting", "none", &[("kafka_network_requestchannel_requestqueuesize{$C}", "{{node}}")]),
    ]),
    ("ZooKeeper", &[
        panel("Mean latency", "ms", &[("zookeeper_avgrequestlatency{$C}", "{{node}}")]),
        panel("Requests waiting", "none", &[("zookeeper_outstandingrequests{$C}", "{{node}}")]),
        panel("Connections", "none", &[("zookeeper_numaliveconnections{$C}", "{{node}}")]),
        panel("Lost sessions of brokers", "none", &[("sum by (node) (increase(kafka_server_sessionexpirelistener_zookeeperexpires_total{$C}[$W]))", "{{node}}")]),
    ]),
    ("JVMs", &[
        panel("Heap in use", "bytes", &[("sum by (node) (jvm_memory_used_bytes{$C,area=\"heap\"})", "{{node}}")]),
        panel("Garbage collection", "percentunit", &[("sum by (node) (rate(jvm_gc_collection_seconds_sum{$C}[$W]))", "{{node}}")]),
        panel("Processor", "percentunit", &[("rate(process_cpu_seconds_total{$C}[$W])", "{{node}}")]),
        panel("Open files", "none", &[("process_open_fds{$C}", "{{node}}")]),
    ]),
];

/// The dashboard, as Grafana imports it.
pub fn dashboard() -> Value {
    let mut panels = Vec::new();
    let mut y = 0;
    for (title, row) in ROWS {
        panels.push(json!({
            "id": panels.len() + 1, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": y, "w": 24, "h": 1 },
        }));
        y += 1;
        for (at, panel) in row.iter().enumerate() {
            let (x, line) = (at % 3 * 8, at / 3 * 7);
            panels.push(drawn(panel, panels.len() + 1, &json!({ "x": x, "y": y + line, "w": 8, "h": 7 })));
        }
        y += row.len().div_ceil(3) * 7;
    }
    json!({
        "title": "Caracal Kafka",
        "uid": "caracal-kafka",
        "tags": ["caracal", "kafka"],
        "schemaVersion": 39,
        "editable": true,
        "timezone": "utc",
        "refresh": "10s",
        "time": { "from": "now-30m", "to": "now" },
        "templating": { "list": [
            { "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus" },
            {
                "name": "cluster", "label": "Cluster", "type": "query", "refresh": 1,
                "datasource": datasource(),
                "query": "label_values(kafka_server_replicamanager_leadercount, cluster)",
            },
        ] },
        "panels": panels,
    })
}

/// Every metric that the dashboard asks for.
pub fn metric_names() -> BTreeSet<&'static str> {
    let queries = ROWS.iter().flat_map(|(_, row)| row.iter()).flat_map(|panel| panel.queries);
    // A metric is what stands before its labels.
    queries.flat_map(|(query, _)| query.split('{').map(last_word)).filter(|w| w.contains('_')).collect()
}

/// The scrape configuration for a cluster whose nodes serve metrics.
pub fn scrape_configuration(plan: &ClusterPlan) -> String {
    let mut text = format!(
        "# Prometheus' scrape configuration for cluster {}; made by `export grafana`. Every address is on\n\
         # loopback, so Prometheus must run on this machine.\n\
         global:\n  scrape_interval: 10s\nscrape_configs:\n  - job_name: caracal\n    static_configs:\n",
        plan.cluster
    );
    for node in &plan.nodes {
        let Some(at) = endpoint(node) else { continue };
        let _ = write!(
            text,
            "      - targets: [\"{at}\"]\n        labels:\n          cluster: \"{}\"\n          node: \"{}\"\n          role: \"{}\"\n",
            plan.cluster,
            node.name,
            node.role.label()
        );
    }
    text
}

fn last_word(text: &str) -> &str {
    let start = text.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    &text[start..]
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn drawn(panel: &Panel, id: usize, place: &Value) -> Value {
    let targets = panel.queries.iter().zip('A'..).map(|((query, legend), letter)| {
        let query = query.replace("$C", "cluster=\"$cluster\"").replace("$W", "$__rate_interval");
        json!({ "refId": letter, "datasource": datasource(), "expr": query, "legendFormat": legend })
    });
    json!({
        "id": id,
        "type": "timeseries",
        "title": panel.title,
        "datasource": datasource(),
        "gridPos": place,
        "fieldConfig": { "defaults": { "unit": panel.unit, "min": 0 }, "overrides": [] },
        "options": {
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        },
        "targets": targets.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::metered_plan;

    #[test]
    fn panels_do_not_overlap_and_every_query_is_of_one_cluster() {
        let dashboard = dashboard();
        let panels = dashboard["panels"].as_array().unwrap();
        let mut taken = BTreeSet::new();
        for panel in panels {
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(taken.insert((x, y)), "{} overlaps", panel["title"]);
                }
            }
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().unwrap();
                assert!(
                    query.contains("{cluster=\"$cluster\"") && !query.contains("$C") && !query.contains("$W")
                );
            }
        }
        assert!(metric_names().len() > 25, "{:?}", metric_names());
        assert!(metric_names().iter().all(|name| !name.contains("rate_interval")), "{:?}", metric_names());
    }

    #[test]
    fn every_node_is_scraped_where_it_serves_its_metrics() {
        let plan = metered_plan();
        let text = scrape_configuration(&plan);
        for node in &plan.nodes {
            assert!(text.contains(&format!("node: \"{}\"", node.name)), "{}", node.name);
        }
        assert!(text.contains("[\"127.0.0.1:7071\"]") && text.contains("[\"127.0.0.1:8082\"]"), "{text}");
    }
}
