//! What a node tells Prometheus: the agent in its JVM, and which beans become which metrics.
//!
//! The names are those of the agent's own examples for Kafka and ZooKeeper, which existing dashboards expect
//! (`kafka_server_brokertopicmetrics_messagesin_total`). Only beans that somebody looks at are asked for: a
//! broker has some for each partition, and every scrape would walk all of them.

use super::Context;
use super::listeners::METRICS;
use super::model::{FilePlan, NodeRole};
use crate::names::NodeName;

/// The agent of a node with its arguments, where metrics are wanted.
pub(super) fn agent(context: &Context<'_>, node: &NodeName) -> Option<String> {
    context.spec.metrics.enabled.then(|| {
        let at = context.listener(node, METRICS).own();
        let rules = context.node_path(node, "config/metrics.yaml");
        format!("{}={at}:{rules}", context.inputs.metrics_agent)
    })
}

/// The agent's rules, where metrics are wanted.
pub(super) fn file(context: &Context<'_>, role: NodeRole) -> Option<FilePlan> {
    let rules = match role {
        NodeRole::Broker | NodeRole::Controller => BROKER,
        NodeRole::Zookeeper => ZOOKEEPER,
        NodeRole::SchemaRegistry => return None,
    };
    let text = format!("# Generated from the cluster's plan; changes made here are overwritten.\n{rules}");
    context.spec.metrics.enabled.then(|| FilePlan { path: "config/metrics.yaml".to_owned(), text })
}

const BROKER: &str = r#"lowercaseOutputName: true
includeObjectNames:
  - kafka.server:type=BrokerTopicMetrics,*
  - kafka.server:type=ReplicaManager,*
  - kafka.server:type=KafkaRequestHandlerPool,*
  - kafka.server:type=SessionExpireListener,*
  - kafka.server:type=KafkaServer,name=BrokerState
  - kafka.controller:type=KafkaController,*
  - kafka.controller:type=ControllerStats,*
  - kafka.network:type=RequestMetrics,name=RequestsPerSec,*
  - kafka.network:type=RequestMetrics,name=ErrorsPerSec,*
  - kafka.network:type=RequestMetrics,request=Produce,*
  - kafka.network:type=RequestMetrics,request=FetchConsumer,*
  - kafka.network:type=RequestMetrics,request=FetchFollower,*
  - kafka.network:type=RequestMetrics,name=TotalTimeMs,request=Metadata
  - kafka.network:type=RequestMetrics,name=TotalTimeMs,request=OffsetCommit
  - kafka.network:type=RequestChannel,name=RequestQueueSize
  - kafka.network:type=SocketServer,name=NetworkProcessorAvgIdlePercent
  - kafka.log:type=Log,name=Size,*
rules:
  # The rate of the last minute, beside the counter that Prometheus itself would take it from.
  - pattern: kafka.server<type=BrokerTopicMetrics, name=(.+)PerSec, topic=(.+)><>OneMinuteRate
    name: kafka_server_brokertopicmetrics_$1_rate1m
    type: GAUGE
    labels:
      topic: "$2"
  - pattern: kafka.server<type=BrokerTopicMetrics, name=(.+)PerSec><>OneMinuteRate
    name: kafka_server_brokertopicmetrics_$1_rate1m
    type: GAUGE
  # Counters.
  - pattern: kafka.(\w+)<type=(.+), name=(.+)PerSec\w*, (.+)=(.+), (.+)=(.+)><>Count
    name: kafka_$1_$2_$3_total
    type: COUNTER
    labels:
      "$4": "$5"
      "$6": "$7"
  - pattern: kafka.(\w+)<type=(.+), name=(.+)PerSec\w*, (.+)=(.+)><>Count
    name: kafka_$1_$2_$3_total
    type: COUNTER
    labels:
      "$4": "$5"
  - pattern: kafka.(\w+)<type=(.+), name=(.+)PerSec\w*><>Count
    name: kafka_$1_$2_$3_total
    type: COUNTER
  # How long requests take, in milliseconds.
  - pattern: kafka.network<type=RequestMetrics, name=(\w+)TimeMs, request=(\w+)><>Count
    name: kafka_network_requestmetrics_$1timems_count
    type: UNTYPED
    labels:
      request: "$2"
  - pattern: kafka.network<type=RequestMetrics, name=(\w+)TimeMs, request=(\w+)><>(50|99|999)thPercentile
    name: kafka_network_requestmetrics_$1timems
    type: GAUGE
    labels:
      request: "$2"
      quantile: "0.$3"
  - pattern: kafka.network<type=RequestMetrics, name=(\w+)TimeMs, request=(\w+)><>Mean
    name: kafka_network_requestmetrics_$1timems_mean
    type: GAUGE
    labels:
      request: "$2"
  # The part of their time that the request handlers have nothing to do.
  - pattern: kafka.server<type=KafkaRequestHandlerPool, name=RequestHandlerAvgIdlePercent><>OneMinuteRate
    name: kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent
    type: GAUGE
  # Gauges.
  - pattern: kafka.(\w+)<type=(.+), name=(.+), (.+)=(.+), (.+)=(.+)><>Value
    name: kafka_$1_$2_$3
    type: GAUGE
    labels:
      "$4": "$5"
      "$6": "$7"
  - pattern: kafka.(\w+)<type=(.+), name=(.+), (.+)=(.+)><>Value
    name: kafka_$1_$2_$3
    type: GAUGE
    labels:
      "$4": "$5"
  - pattern: kafka.(\w+)<type=(.+), name=(.+)><>Value
    name: kafka_$1_$2_$3
    type: GAUGE
"#;

const ZOOKEEPER: &str = r#"lowercaseOutputName: true
includeObjectNames:
  - org.apache.ZooKeeperService:*
rules:
  - pattern: org.apache.ZooKeeperService<name0=ReplicatedServer_id(\d+)><>QuorumSize
    name: zookeeper_quorumsize
    type: GAUGE
  - pattern: org.apache.ZooKeeperService<name0=ReplicatedServer_id(\d+), name1=replica.(\d+), name2=(\w+)><>(Packets\w+)
    name: zookeeper_$4
    type: COUNTER
    labels:
      memberType: "$3"
  - pattern: org.apache.ZooKeeperService<name0=ReplicatedServer_id(\d+), name1=replica.(\d+), name2=(\w+)><>(AvgRequestLatency|MaxRequestLatency|MinRequestLatency|NumAliveConnections|OutstandingRequests)
    name: zookeeper_$4
    type: GAUGE
    labels:
      memberType: "$3"
  - pattern: org.apache.ZooKeeperService<name0=ReplicatedServer_id(\d+), name1=replica.(\d+), name2=(\w+), name3=InMemoryDataTree><>(NodeCount|WatchCount)
    name: zookeeper_inmemorydatatree_$4
    type: GAUGE
    labels:
      memberType: "$3"
"#;

#[cfg(test)]
mod tests {
    use super::super::tests::{default_plan, metered_plan};
    use super::*;
    use crate::plan::{Protection, check};

    #[test]
    fn metrics_are_on_loopback_and_only_where_they_are_wanted() {
        let text = |plan: &crate::plan::ClusterPlan| format!("{:?}", plan.nodes);
        assert!(!text(&default_plan()).contains("javaagent"));
        let plan = metered_plan();
        for node in &plan.nodes {
            let metered = node.role != NodeRole::SchemaRegistry;
            let listener = node.listener(METRICS);
            assert_eq!(listener.is_some(), metered, "{}", node.name);
            let Some(listener) = listener else { continue };
            assert!(listener.bind.ip().is_loopback() && listener.protection == Protection::Http);
            let arguments = node.files.iter().find(|file| file.path == "config/node.args").unwrap();
            let agent = format!(
                "\"-javaagent:/cache/metrics/agent.jar={}:/state/clusters/caracal/nodes/{}/config/metrics.yaml\"",
                listener.bind, node.name
            );
            assert!(arguments.text.contains(&agent), "{}", arguments.text);
            assert!(node.files.iter().any(|file| file.path == "config/metrics.yaml"));
        }
        assert!(check::check(&plan).iter().all(|note| note.severity != check::Severity::Error));
    }
}
