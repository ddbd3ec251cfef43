//! What the log of a node says, added to the failure of a step that names the node by its address.
//!
//! A time-out alone says that something did not answer; why it did not stands in the log of whoever was asked.

use super::ClusterWorld;
use super::error::{StepError, chain};
use crate::plan::{ClusterPlan, NodePlan};

/// More logs than this bury the failure itself.
const MOST: usize = 2;

/// The failure, with the end of the logs of those nodes that it names, where it does not have them already.
pub(super) fn explained(world: &ClusterWorld, error: StepError) -> StepError {
    let ours = matches!(
        error,
        StepError::Admin(_)
            | StepError::Wire(_)
            | StepError::ZooKeeper(_)
            | StepError::User(_)
            | StepError::Registry(_)
            | StepError::Proof { .. }
    );
    let named = if ours { nodes_named(&world.cluster().plan, &chain(&error)) } else { Vec::new() };
    if named.is_empty() {
        return error;
    }
    let explain = |node: &&NodePlan| {
        let runs = if world.runtime.observe(node).is_running() { "" } else { ", which does not run" };
        format!("{}{runs}: {}", node.name, world.runtime.explain(node))
    };
    let logs = named.iter().map(explain).collect::<Vec<_>>().join("\n  ");
    StepError::Explained { source: Box::new(error), logs }
}

/// The nodes at whose ports something failed.
fn nodes_named<'p>(plan: &'p ClusterPlan, text: &str) -> Vec<&'p NodePlan> {
    let at = |port: u16| {
        let address = format!(":{port}");
        text.match_indices(&address).any(|(start, found)| {
            !text[start + found.len()..].starts_with(|next: char| next.is_ascii_digit())
        })
    };
    let named = |node: &&NodePlan| node.listeners.iter().any(|listener| at(listener.bind.port()));
    plan.nodes.iter().filter(named).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::default_plan;

    #[test]
    fn a_node_is_named_by_the_port_of_any_of_its_listeners_and_by_no_longer_number() {
        let plan = default_plan();
        let named = |text: &str| -> Vec<String> {
            nodes_named(&plan, text).iter().map(|node| node.name.to_string()).collect()
        };
        assert_eq!(named("localhost:9095 did not answer"), ["caracal-kafka-2"]);
        assert_eq!(named("127.0.0.1:2183: refused"), ["caracal-zookeeper-3"]);
        assert!(named("localhost:90951 did not answer").is_empty());
        assert!(named("nobody answered").is_empty());
        assert_eq!(named("http://localhost:8081/apis is silent"), ["caracal-schema-registry"]);
    }
}
