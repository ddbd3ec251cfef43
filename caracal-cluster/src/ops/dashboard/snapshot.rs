//! Everything that the page shows, at one moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::admin::log_dirs;
use crate::lifecycle::chain;
use crate::lifecycle::commands::{Selection, ps};
use crate::names::ClusterName;
use crate::ops::health::{self, Check, Partitions, State};
use crate::ops::{Operated, OpsError, facts, lag, millis_since};
use crate::plan::NodeRole;
use crate::probe::matrix::{CellOutcome, VerifyReport};
use crate::wire::{Connection, Deadline};

/// How long one node may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The state of a cluster at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Shape of this document: 1.
    pub format: u32,
    /// The cluster.
    pub cluster: ClusterName,
    /// When, by this machine's clock (RFC 3339).
    pub time: String,
    /// Whether no check failed or could not be run.
    pub healthy: bool,
    /// Every node, in the order of starting.
    pub nodes: Vec<Node>,
    /// Partitions in trouble; none when no broker could be asked.
    pub partitions: Option<Partitions>,
    /// Every topic but Kafka's own.
    pub topics: Vec<Topic>,
    /// Every consumer group.
    pub groups: Vec<Group>,
    /// The certificates that end first.
    pub certificates: Vec<Certificate>,
    /// Checks of `health` that are not ok.
    pub troubles: Vec<Check>,
    /// How the last `verify` went.
    pub verify: Option<LastVerify>,
    /// What could not be looked at, and why.
    pub errors: Vec<String>,
    /// How long looking took.
    pub millis: u64,
}

/// One node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Node {
    /// Its name without the cluster's.
    pub name: String,
    /// What it is.
    pub role: Option<NodeRole>,
    /// `running`, `died`, `stopped`.
    pub state: &'static str,
    /// What is wrong with it, as `health` says.
    pub trouble: Option<String>,
    /// `controller` or `leader`, where it is one.
    pub part: Option<&'static str>,
    /// Resident memory in bytes.
    pub rss_bytes: Option<u64>,
    /// Seconds since it was started.
    pub uptime_seconds: Option<u64>,
    /// Its listeners.
    pub listeners: Vec<(String, SocketAddr)>,
    /// Days until the first of its certificates ends.
    pub certificate_days_left: Option<i64>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Topic {
    /// Its name.
    pub topic: String,
    /// Number of partitions.
    pub partitions: usize,
    /// Records written so far: the sum of the partitions' ends.
    pub records: i64,
    /// Records a second since the snapshot before; none in the first.
    pub per_second: Option<f64>,
    /// Bytes on the disks of all brokers, copies included.
    pub bytes: i64,
}

/// One consumer group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// Its name.
    pub group: String,
    /// Its state.
    pub state: String,
    /// How many records it is behind.
    pub lag: i64,
}

/// One certificate.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Certificate {
    /// The stem of its files.
    pub id: String,
    /// Days until it ends.
    pub days_left: i64,
}

/// How the last `verify` went, as it is kept in the cluster's directory.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the command that verifies builds it")]
pub struct LastVerify {
    /// When it ended (RFC 3339).
    pub time: String,
    /// Whether all was as it should be.
    pub ok: bool,
    /// Attempts that went as they should.
    pub passed: usize,
    /// Attempts that did not.
    pub failed: usize,
    /// Attempts that were not made.
    pub not_run: usize,
}

impl LastVerify {
    /// What a report comes to, at this moment.
    pub(crate) fn of(report: &VerifyReport) -> Self {
        let count = |outcome| report.count(outcome);
        Self {
            time: now(),
            ok: report.ok,
            passed: count(CellOutcome::Passed),
            failed: count(CellOutcome::Failed),
            not_run: count(CellOutcome::NotRun),
        }
    }
}

/// Looks again and again, and so knows rates.
#[derive(Debug)]
pub struct Looker {
    operated: Operated,
    selection: Selection,
    before: Option<(Instant, BTreeMap<String, i64>)>,
}

/// Topics with their partitions, ends and sizes.
type Topics = Vec<Topic>;

impl Looker {
    /// Of one cluster, which must have been made.
    ///
    /// # Errors
    /// When there is no such cluster.
    pub fn new(selection: &Selection) -> Result<Self, OpsError> {
        Ok(Self { operated: Operated::open(selection)?, selection: selection.clone(), before: None })
    }

    /// The cluster.
    pub fn operated(&self) -> &Operated {
        &self.operated
    }

    /// Looks once; what cannot be looked at is said in it.
    pub async fn look(&mut self) -> Snapshot {
        let begun = Instant::now();
        let options = health::Options { patience: PATIENCE, ..health::Options::default() };
        let (health, topics, groups) = tokio::join!(
            health::look(&self.operated, &options),
            topics(&self.operated),
            groups(&self.operated)
        );
        let mut errors = Vec::new();
        let mut take =
            |what: &str, error: &dyn std::error::Error| errors.push(format!("{what}: {}", chain(error)));
        let health = health.map_err(|error| take("health", &error)).ok();
        let mut topics = topics.map_err(|error| take("topics", &error)).unwrap_or_default();
        let groups = groups.map_err(|error| take("groups", &error)).unwrap_or_default();
        let nodes = ps(&self.selection).map_err(|error| take("nodes", &error)).ok();
        let certificates =
            facts::certificates(&self.operated).map_err(|error| take("certificates", &error)).ok();
        self.rates(&mut topics);
        let checks = health.as_ref().map(|health| health.checks.as_slice()).unwrap_or_default();
        let bad = checks.iter().filter(|check| check.state != State::Ok).cloned().collect();
        Snapshot {
            format: 1,
            cluster: self.operated.cluster().plan.cluster.clone(),
            time: now(),
            healthy: health.as_ref().is_some_and(|health| health.healthy),
            nodes: nodes.map(|ps| self.nodes(ps.nodes, health.as_ref())).unwrap_or_default(),
            partitions: health.as_ref().and_then(|health| health.partitions.clone()),
            topics,
            groups,
            certificates: certificates
                .into_iter()
                .flat_map(|report| report.certificates)
                .take(5)
                .map(|found| Certificate { id: found.id, days_left: found.days_left })
                .collect(),
            troubles: bad,
            verify: self.last_verify(),
            errors,
            millis: millis_since(begun),
        }
    }

    fn rates(&mut self, topics: &mut Topics) {
        let now = Instant::now();
        if let Some((then, before)) = &self.before {
            let seconds = now.duration_since(*then).as_secs_f64().max(0.001);
            for topic in topics.iter_mut() {
                // A topic that was deleted and made again has fewer: that is no negative rate.
                topic.per_second = before
                    .get(&topic.topic)
                    .and_then(|old| i32::try_from((topic.records - old).max(0)).ok())
                    .map(|grown| f64::from(grown) / seconds);
            }
        }
        if !topics.is_empty() {
            let ends = topics.iter().map(|topic| (topic.topic.clone(), topic.records)).collect();
            self.before = Some((now, ends));
        }
    }

    fn nodes(
        &self,
        nodes: Vec<crate::lifecycle::commands::NodeStatus>,
        health: Option<&health::HealthReport>,
    ) -> Vec<Node> {
        let plan = &self.operated.cluster().plan;
        let prefix = format!("{}-", plan.cluster);
        let controller = health.and_then(|health| health.controller);
        let node = |status: crate::lifecycle::commands::NodeStatus| {
            let name = status.node.as_str();
            let id = plan
                .node(name)
                .filter(|node| node.role == NodeRole::Broker)
                .and_then(|node| node.id.try_into().ok());
            let leads = health.is_some_and(|health| health.leader.as_deref() == Some(name));
            let part =
                if id.is_some() && id == controller { Some("controller") } else { leads.then_some("leader") };
            let failed = |check: &&Check| check.target == name && check.state >= State::NotRun;
            let trouble =
                health.and_then(|health| health.checks.iter().find(failed)).map(|check| check.seen.clone());
            Node {
                name: name.strip_prefix(&prefix).unwrap_or(name).to_owned(),
                role: status.role,
                state: status.state,
                trouble: status.death.or(trouble),
                part,
                rss_bytes: status.rss_bytes,
                uptime_seconds: status.uptime_seconds,
                listeners: status.addresses.into_iter().map(|at| (at.listener, at.address)).collect(),
                certificate_days_left: status.certificate_days_left,
            }
        };
        nodes.into_iter().map(node).collect()
    }

    fn last_verify(&self) -> Option<LastVerify> {
        let dir = &self.operated.cluster().dir;
        serde_json::from_str(&dir.read_text(&dir.last_verify()).ok()??).ok()
    }
}

fn now() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}

async fn topics(operated: &Operated) -> Result<Topics, OpsError> {
    let mut admin = operated.admin()?;
    let deadline = Deadline::after(PATIENCE);
    let states = admin.topics(None, deadline).await?;
    let ours: Vec<_> = states.into_iter().filter(|topic| !topic.internal).collect();
    let wanted: Vec<(String, i32)> = ours
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.clone(), partition.id)))
        .collect();
    let (ends, sizes) = tokio::join!(admin.ends(&wanted, deadline), sizes(operated, deadline));
    let (ends, sizes) = (ends?, sizes?);
    let topic = |topic: crate::admin::TopicState| {
        let of_topic = |(name, _): &&(String, i32)| *name == topic.name;
        Topic {
            partitions: topic.partitions.len(),
            records: ends.iter().filter(|(key, _)| of_topic(key)).map(|(_, end)| *end).sum(),
            per_second: None,
            bytes: sizes.get(&topic.name).copied().unwrap_or(0),
            topic: topic.name.clone(),
        }
    };
    Ok(ours.into_iter().map(topic).collect())
}

/// Bytes of each topic on the disks of all brokers that answer.
async fn sizes(operated: &Operated, deadline: Deadline) -> Result<BTreeMap<String, i64>, OpsError> {
    let access = operated.access();
    let (tls, login) = access.administrator()?;
    let asked = access.brokers("EXTERNAL").into_iter().map(|broker| {
        let (tls, login) = (&tls, &login);
        async move {
            let mut connection = Connection::open(&broker.endpoint, tls, login, deadline).await.ok()?;
            log_dirs::log_dirs(&mut connection, deadline).await.ok()
        }
    });
    let mut sizes = BTreeMap::new();
    for dir in join_all(asked).await.into_iter().flatten().flatten() {
        for ((topic, _), bytes) in dir.partitions {
            *sizes.entry(topic).or_insert(0) += bytes;
        }
    }
    Ok(sizes)
}

async fn groups(operated: &Operated) -> Result<Vec<Group>, OpsError> {
    let report = lag::look(operated, None).await?;
    let group = |group: lag::GroupLag| Group { group: group.group, state: group.state, lag: group.lag };
    Ok(report.groups.into_iter().map(group).collect())
}
