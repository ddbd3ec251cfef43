//! Two clusters on one machine: neither knows of the other.

use anyhow::{Result, ensure};

use crate::cluster::{self, TestCluster};
use crate::converge::nothing_to_do;
use crate::{Test, verify};

pub(crate) const TESTS: &[Test] = &[("sidebyside::two_clusters_pass_verify_at_once", two_clusters)];

fn two_clusters() -> Result<()> {
    let one = cluster::shared()?;
    let other = TestCluster::new()?;
    other.up()?.succeeded()?;
    let ports = |cluster: &TestCluster| -> Result<Vec<u16>> {
        let plan = cluster.resolved()?.plan;
        Ok(plan.nodes.iter().flat_map(|node| &node.listeners).map(|listener| listener.bind.port()).collect())
    };
    let (ours, others) = (ports(one)?, ports(&other)?);
    ensure!(!ours.iter().any(|port| others.contains(port)), "they share ports: {ours:?} and {others:?}");
    verify::passes(one)?;
    verify::passes(&other)?;
    nothing_to_do(one)?;
    nothing_to_do(&other)?;
    other.down(true)?.succeeded()?;
    let left = other.leftovers()?;
    ensure!(left.is_empty(), "after `down -v` there is left:\n  {}", left.join("\n  "));
    other.take_down()?;
    // The one that stays has noticed nothing.
    nothing_to_do(one)
}
