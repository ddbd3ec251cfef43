//! The cluster's state: who is there, who leads, and whether every partition is healthy.

use super::{Admin, AdminError};
use crate::wire::Deadline;
use crate::wire::records::{self, ClusterMetadata};

/// The state of a cluster at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ClusterState {
    /// The cluster's own id.
    pub cluster_id: Option<String>,
    /// The controller's broker id. On KRaft any broker, since the controllers hide behind them.
    pub controller: Option<i32>,
    /// The ids of the live brokers, sorted.
    pub brokers: Vec<i32>,
    /// Number of topics, Kafka's own included.
    pub topics: usize,
    /// Number of partitions.
    pub partitions: usize,
    /// Partitions that lack a complete copy somewhere, `topic-partition`.
    pub under_replicated: Vec<String>,
    /// Partitions without a leader, `topic-partition`.
    pub offline: Vec<String>,
}

impl ClusterState {
    /// Whether every partition has a leader and all its copies.
    pub fn is_healthy(&self) -> bool {
        self.controller.is_some() && self.under_replicated.is_empty() && self.offline.is_empty()
    }
}

impl Admin {
    /// Asks for the cluster's state, with every topic that the principal may see.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cluster(&mut self, deadline: Deadline) -> Result<ClusterState, AdminError> {
        let connection = self.controller(deadline).await?;
        Ok(state(records::metadata(connection, None, deadline).await?))
    }
}

fn state(metadata: ClusterMetadata) -> ClusterState {
    let mut state = ClusterState {
        cluster_id: metadata.cluster_id,
        controller: metadata.controller,
        brokers: metadata.brokers.iter().map(|broker| broker.id).collect(),
        topics: metadata.topics.len(),
        partitions: 0,
        under_replicated: Vec::new(),
        offline: Vec::new(),
    };
    for topic in metadata.topics {
        for partition in topic.partitions {
            let name = format!("{}-{}", topic.name, partition.id);
            state.partitions += 1;
            if partition.in_sync.len() < partition.replicas.len() {
                state.under_replicated.push(name.clone());
            }
            if partition.leader.is_none() {
                state.offline.push(name);
            }
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::records::{PartitionMetadata, TopicMetadata};

    #[test]
    fn sick_partitions_are_named() {
        let topic = TopicMetadata {
            name: "t".to_owned(),
            error: None,
            internal: false,
            partitions: vec![
                PartitionMetadata::new(0, Some(1), &[1, 2], &[1, 2]),
                PartitionMetadata::new(1, Some(2), &[1, 2], &[2]),
                PartitionMetadata::new(2, None, &[1, 2], &[]),
            ],
        };
        let metadata = ClusterMetadata {
            cluster_id: Some("x".to_owned()),
            controller: Some(1),
            brokers: Vec::new(),
            topics: vec![topic],
        };
        let state = state(metadata);
        assert_eq!(state.partitions, 3);
        assert_eq!(state.under_replicated, ["t-1", "t-2"]);
        assert_eq!(state.offline, ["t-2"]);
        assert!(!state.is_healthy());
    }
}
