//! What the nodes count: records, bytes, requests, latencies, partitions, heap. Read from each node's Prometheus
//! endpoint on loopback; no JVM is started.
//!
//! [`FIGURES`] says which figures there are, from which metric each is taken and how those of several nodes make
//! one. The dashboard of [`crate::ops::grafana`] shows the same metrics.

mod figures;
mod text;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde::Serialize;

pub use self::figures::{FIGURES, Figure, Together, Unit};
use self::figures::{rates, read, together};
pub use self::text::{Sample, parse};
use super::{Operated, OpsError, millis_since};
use crate::lifecycle::chain;
use crate::names::{ClusterName, NodeName};
use crate::plan::{METRICS, NodePlan, NodeRole};

/// How long one node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The registry serves its metrics beside its health.
const REGISTRY_LISTENER: &str = "MANAGEMENT";

/// What one node counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeMetrics {
    /// The node.
    pub node: NodeName,
    /// What it is.
    pub role: NodeRole,
    /// Why it could not be asked.
    pub error: Option<String>,
    /// Its figures by name; [`FIGURES`] lists them. Empty when it could not be asked.
    pub figures: BTreeMap<&'static str, f64>,
}

/// What `metrics` found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricsReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// What figures that end in `_per_second` mean: `one-minute`, the nodes' own mean over the last minute, or
    /// `since-last-look`.
    pub rates: &'static str,
    /// Each node.
    pub nodes: Vec<NodeMetrics>,
    /// All of them together; each figure as [`Figure::together`] says.
    pub total: BTreeMap<&'static str, f64>,
    /// How long it took.
    pub millis: u64,
}

impl MetricsReport {
    /// Whether every node answered.
    pub fn is_whole(&self) -> bool {
        self.nodes.iter().all(|node| node.error.is_none())
    }
}

/// Looks at the nodes again and again, and so knows rates since the look before.
#[derive(Debug)]
pub struct Looker<'a> {
    operated: &'a Operated,
    nodes: Vec<&'a NodePlan>,
    client: reqwest::Client,
    before: Option<(Instant, Vec<NodeMetrics>)>,
}

impl<'a> Looker<'a> {
    /// Looks at these nodes, or at all that serve metrics when none is named.
    ///
    /// # Errors
    /// [`OpsError::Refused`] when the cluster serves no metrics, with what turns them on; [`OpsError::NoSuch`].
    pub fn new(operated: &'a Operated, names: &[String]) -> Result<Self, OpsError> {
        let plan = &operated.cluster().plan;
        let mut nodes = operated.nodes(names)?;
        nodes.retain(|node| !names.is_empty() || endpoint(node).is_some());
        if !plan.nodes.iter().any(|node| node.listener(METRICS).is_some()) {
            return Err(OpsError::refused(how_to_turn_on(operated)));
        }
        Ok(Self { operated, nodes, client: client()?, before: None })
    }

    /// Looks once.
    pub async fn look(&mut self) -> MetricsReport {
        let begun = Instant::now();
        let client = &self.client;
        let mut nodes = join_all(self.nodes.iter().map(|node| look_at(client, node))).await;
        let now = Instant::now();
        let unchanged = nodes.clone();
        if let Some((then, before)) = &self.before {
            for node in &mut nodes {
                let known = before.iter().find(|known| known.node == node.node);
                if let Some(known) = known {
                    rates(&mut node.figures, &known.figures, now.duration_since(*then).as_secs_f64());
                }
            }
        }
        let meaning = if self.before.is_some() { "since-last-look" } else { "one-minute" };
        self.before = Some((now, unchanged));
        let total = together(nodes.iter().map(|node| &node.figures));
        let cluster = self.operated.cluster().plan.cluster.clone();
        MetricsReport { cluster, rates: meaning, nodes, total, millis: millis_since(begun) }
    }
}

/// Where a node serves its metrics, if it does.
pub fn endpoint(node: &NodePlan) -> Option<SocketAddr> {
    let name = if node.role == NodeRole::SchemaRegistry { REGISTRY_LISTENER } else { METRICS };
    node.listener(name).map(|listener| listener.dial)
}

/// Everything that a node serves, as Prometheus would read it.
///
/// # Errors
/// A text that says what is wrong.
pub async fn scrape(at: SocketAddr) -> Result<Vec<Sample>, String> {
    let client = client().map_err(|error| chain(&error))?;
    fetch(&client, at).await
}

fn client() -> Result<reqwest::Client, OpsError> {
    // As in `registry.rs`: reqwest may have been built with a TLS that wants a provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
    made.map_err(|error| OpsError::refused(format!("no HTTP client can be made: {error}")))
}

async fn fetch(client: &reqwest::Client, at: SocketAddr) -> Result<Vec<Sample>, String> {
    let answer =
        async { client.get(format!("http://{at}/metrics")).send().await?.error_for_status()?.text().await };
    let text =
        answer.await.map_err(|error| format!("no metrics from {at}: {}", chain(&error.without_url())))?;
    parse(&text).map_err(|wrong| format!("the metrics at {at} cannot be read: {wrong}"))
}

async fn look_at(client: &reqwest::Client, node: &NodePlan) -> NodeMetrics {
    let answer = match endpoint(node) {
        Some(at) => fetch(client, at).await,
        None => Err("serves none".to_owned()),
    };
    let (figures, error) = match answer {
        Ok(samples) => (read(node.role, &samples), None),
        Err(why) => (BTreeMap::new(), Some(why)),
    };
    NodeMetrics { node: node.name.clone(), role: node.role, error, figures }
}

fn how_to_turn_on(operated: &Operated) -> String {
    let cluster = operated.cluster();
    format!(
        "cluster {} serves no metrics: its description has them off, because the agent that serves them makes \
         every JVM start later. To turn them on, copy {}, set in it\n    [metrics]\n    enabled = true\n  and run \
         `cargo xtask cluster up --spec <the copy>`: the brokers roll, nothing is lost",
        cluster.plan.cluster,
        cluster.dir.spec().display()
    )
}
