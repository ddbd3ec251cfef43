//! One verdict on a cluster: processes, ensemble, brokers, partitions, registry, certificates, disk.
//!
//! Nothing is changed unless asked for (`writes`), and no JVM is started. A node that does not answer costs
//! [`Options::patience`]; everything else is asked at the same time.

mod checks;

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Operated, OpsError, millis_since};
use crate::names::ClusterName;
use crate::spec::Metadata;

/// What is looked at, and how patiently.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Options {
    /// How long one node may take to answer.
    pub patience: Duration,
    /// Days that every certificate must have left; fewer are a warning, none is a failure.
    pub certificate_days: i64,
    /// Also write to the registry (its compatibility level, as planned), which proves that it takes writes.
    pub writes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { patience: Duration::from_secs(5), certificate_days: 30, writes: false }
    }
}

/// How one check went.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, but somebody should look at it.
    Warning,
    /// It could not be looked at, because something else failed.
    NotRun,
    /// It is not as it should be.
    Failed,
}

impl State {
    /// The state in a word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::NotRun => "not run",
            Self::Failed => "FAILED",
        }
    }
}

/// One check.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Check {
    /// `process`, `zookeeper`, `voter` (a KRaft controller), `quorum`, `broker`, `log-dirs`, `controller`, `offline`, `under-min-isr`,
    /// `under-replicated`, `registry`, `certificates`, `disk`.
    pub check: &'static str,
    /// What it is about: a node, or the cluster.
    pub target: String,
    /// How it went.
    pub state: State,
    /// What was seen.
    pub seen: String,
}

/// Partitions in trouble, as `topic-partition`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Partitions {
    /// How many there are.
    pub total: usize,
    /// Without a leader: neither read nor written.
    pub offline: Vec<String>,
    /// With fewer in-sync copies than a write needs: read, but not written with acks=all.
    pub under_min_isr: Vec<String>,
    /// With a copy that is not in sync.
    pub under_replicated: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct HealthReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The verdict: no check failed or could not be run.
    pub healthy: bool,
    /// The node that leads the ensemble or KRaft's controllers.
    pub leader: Option<String>,
    /// The broker that is the controller; with KRaft the number of the leading controller.
    pub controller: Option<i32>,
    /// Partitions; none when no broker could be asked.
    pub partitions: Option<Partitions>,
    /// Every check.
    pub checks: Vec<Check>,
    /// How long it took.
    pub millis: u64,
}

impl HealthReport {
    /// The checks that keep it from being healthy.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.state >= State::NotRun)
    }
}

/// Looks at a cluster.
///
/// # Errors
/// Only when our own credentials cannot be read; whatever the cluster does is a check.
pub async fn look(operated: &Operated, options: &Options) -> Result<HealthReport, OpsError> {
    let begun = Instant::now();
    let mut found = checks::Found::default();
    found.processes(operated);
    let (ensemble, controllers, brokers, partitions, registry) = tokio::join!(
        checks::ensemble(operated, options),
        checks::controllers(operated, options),
        checks::brokers(operated, options),
        checks::partitions(operated, options),
        checks::registry(operated, options),
    );
    found.ensemble(ensemble?);
    found.controllers(controllers?);
    found.brokers(brokers?, operated.cluster().plan.metadata == Metadata::Kraft);
    found.partitions(partitions?);
    found.checks.extend(registry);
    found.checks.push(checks::certificates(operated, options.certificate_days)?);
    found.checks.push(checks::disk(operated));
    Ok(HealthReport {
        cluster: operated.cluster().plan.cluster.clone(),
        healthy: found.checks.iter().all(|check| check.state < State::NotRun),
        leader: found.leader,
        controller: found.controller,
        partitions: found.partitions,
        checks: found.checks,
        millis: millis_since(begun),
    })
}
