//! How much memory a cluster may come to use: each JVM's heap, and what it needs beside it.

use super::model::{ClusterPlan, MemoryPlan, NodeRole};
use crate::spec::{ClusterSpec, Metadata};

/// What a JVM needs beside its heap, in MiB: code, threads, buffers of its network library, and the agent.
/// Measured on running nodes, and rounded up.
const fn beside_heap(role: NodeRole, metrics: bool) -> u32 {
    let (own, agent) = match role {
        NodeRole::Broker | NodeRole::Controller => (150, 40),
        NodeRole::Zookeeper => (80, 20),
        NodeRole::SchemaRegistry => (150, 0),
    };
    if metrics { own + agent } else { own }
}

pub(super) fn of(spec: &ClusterSpec, role: NodeRole) -> MemoryPlan {
    let heap_mib = match role {
        NodeRole::Broker => spec.kafka.heap_mib,
        NodeRole::Controller => spec.kafka.controller_heap_mib,
        NodeRole::Zookeeper => spec.kafka.zookeeper_heap_mib,
        NodeRole::SchemaRegistry => spec.registry.heap_mib,
    };
    MemoryPlan { heap_mib, beside_mib: beside_heap(role, spec.metrics.enabled) }
}

/// What the nodes of a description may come to use together, in MiB.
pub(crate) fn budget_mib(spec: &ClusterSpec) -> u64 {
    let each = |role: NodeRole, count: u16| of(spec, role).total_mib() * u64::from(count);
    each(NodeRole::Broker, spec.kafka.brokers)
        + match spec.metadata {
            Metadata::Zookeeper => each(NodeRole::Zookeeper, spec.metadata_nodes()),
            Metadata::Kraft => each(NodeRole::Controller, spec.metadata_nodes()),
        }
        + each(NodeRole::SchemaRegistry, u16::from(spec.registry.enabled))
}

impl MemoryPlan {
    /// Both together, in MiB.
    pub fn total_mib(self) -> u64 {
        u64::from(self.heap_mib) + u64::from(self.beside_mib)
    }
}

impl ClusterPlan {
    /// What all nodes may come to use together, in MiB.
    pub fn memory_mib(&self) -> u64 {
        self.nodes.iter().map(|node| node.memory.total_mib()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{default_plan, metered_plan};
    use super::*;

    #[test]
    fn the_budget_is_the_sum_of_the_nodes() {
        let plan = default_plan();
        assert_eq!(plan.memory_mib(), 3 * (512 + 150) + 3 * (128 + 80) + 384 + 150);
        assert_eq!(plan.memory_mib(), budget_mib(&ClusterSpec::default()));
        assert_eq!(metered_plan().memory_mib() - plan.memory_mib(), 3 * 40 + 3 * 20);
    }
}
