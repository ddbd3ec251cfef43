//! The single checks.

use futures::future::join_all;
use time::OffsetDateTime;

use super::{Check, Options, Partitions, State};
use crate::admin::quorum::{self, Controller, Part};
use crate::admin::{AdminError, TopicState, log_dirs};
use crate::lifecycle::chain;
use crate::ops::{Operated, OpsError};
use crate::plan::{ClusterPlan, NodePlan, NodeRole};
use crate::registry::Registry;
use crate::runtime::NodeState;
use crate::runtime::process::Death;
use crate::wire::records::{self, ClusterMetadata};
use crate::wire::{Connection, Deadline, Endpoint, WireError};
use crate::zookeeper::admin_words::{self, ServerMode};

/// Below this share of free bytes, or this number, a disk is full for Kafka.
const LEAST_FREE: (u64, u64) = (20, 1 << 30);

/// Names shown in one line; `--json` has all of them.
const MOST: usize = 4;

/// Everything found so far.
#[derive(Default)]
pub(super) struct Found {
    pub(super) checks: Vec<Check>,
    pub(super) leader: Option<String>,
    pub(super) controller: Option<i32>,
    pub(super) partitions: Option<Partitions>,
}

fn check(check: &'static str, target: impl Into<String>, state: State, seen: impl Into<String>) -> Check {
    Check { check, target: target.into(), state, seen: seen.into() }
}

impl Found {
    /// Whether every process runs.
    pub(super) fn processes(&mut self, operated: &Operated) {
        let runtime = operated.cluster().runtime();
        for node in &operated.cluster().plan.nodes {
            let (state, seen) = match runtime.observe(node) {
                NodeState::Running { .. } if runtime.is_paused(node) => {
                    (State::Failed, "paused; `cluster resume` lets it go on".to_owned())
                }
                NodeState::Running { pid, .. } => (State::Ok, format!("running (pid {pid})")),
                NodeState::Died { .. } => (State::Failed, died(runtime.cause_of_death(node))),
                NodeState::Stopped => (State::Failed, "not running; `cluster start` starts it".to_owned()),
            };
            self.checks.push(check("process", node.name.as_str(), state, seen));
        }
    }

    /// Whether the ensemble has a leader and a quorum.
    pub(super) fn ensemble(&mut self, members: Vec<(String, Result<ServerMode, String>)>) {
        if members.is_empty() {
            return;
        }
        let needed = members.len() / 2 + 1;
        let mut serving = 0;
        for (node, seen) in &members {
            let (state, text) = match seen {
                Ok(ServerMode::NotServing) => (State::Failed, "imok, but it belongs to no quorum".to_owned()),
                Ok(mode) => {
                    serving += 1;
                    if matches!(mode, ServerMode::Leader | ServerMode::Standalone) {
                        self.leader = Some(node.clone());
                    }
                    (State::Ok, format!("imok, {}", part(*mode)))
                }
                Err(why) => (State::Failed, why.clone()),
            };
            self.checks.push(check("zookeeper", node, state, text));
        }
        let leader = self.leader.as_deref();
        let state = if serving >= needed && leader.is_some() { State::Ok } else { State::Failed };
        let seen = format!(
            "{serving} of {} serve, {needed} are needed; led by {}",
            members.len(),
            leader.unwrap_or("nobody")
        );
        self.checks.push(check("quorum", "ensemble", state, seen));
    }

    /// Whether KRaft's controllers have a leader and a quorum.
    pub(super) fn controllers(&mut self, controllers: Vec<Controller>) {
        if controllers.is_empty() {
            return;
        }
        let (all, needed) = (controllers.len(), controllers.len() / 2 + 1);
        let serving = controllers.iter().filter(|seen| seen.part.serves()).count();
        for seen in &controllers {
            if matches!(seen.part, Part::Leads) {
                self.leader = Some(seen.node.clone());
                self.controller = Some(seen.id);
            }
            let state = if seen.part.serves() { State::Ok } else { State::Failed };
            let text = match &seen.part {
                Part::Silent(error) => chain(error),
                part => part.to_string(),
            };
            self.checks.push(check("voter", &seen.node, state, text));
        }
        let leader = self.leader.as_deref();
        let state = if serving >= needed && leader.is_some() { State::Ok } else { State::Failed };
        let leader = leader.unwrap_or("nobody");
        let seen = format!("{serving} of {all} serve, {needed} are needed; led by {leader}");
        self.checks.push(check("quorum", "controllers", state, seen));
    }

    /// Whether every broker lets the administrator in, is registered, and can use its disks.
    ///
    /// With KRaft the controller is one of the quorum's, and what brokers call it is any broker.
    pub(super) fn brokers(&mut self, brokers: Vec<Seen>, kraft: bool) {
        let registered: Vec<i32> =
            brokers.iter().filter_map(|seen| seen.outcome.as_ref().ok()).flat_map(Looked::brokers).collect();
        for seen in brokers {
            match seen.outcome {
                Err(error) => self.checks.push(check("broker", seen.node, State::Failed, chain(&error))),
                Ok(looked) => {
                    let known = registered.contains(&seen.id);
                    let (state, text) = if known {
                        (State::Ok, "logs the administrator in, is registered".to_owned())
                    } else {
                        let at = if kraft { "with the controllers" } else { "in ZooKeeper" };
                        let why = format!("answers, but no broker knows it: it is not registered {at}");
                        (State::Failed, why)
                    };
                    self.checks.push(check("broker", seen.node.clone(), state, text));
                    self.checks.push(looked.log_dirs(&seen.node));
                    if !kraft {
                        self.controller = self.controller.or(looked.metadata.controller);
                    }
                }
            }
        }
        if kraft {
            return;
        }
        let named = self.controller.filter(|id| registered.contains(id));
        let (state, seen) = match named {
            Some(id) => (State::Ok, format!("broker {id}")),
            None if registered.is_empty() => (State::NotRun, "no broker could be asked".to_owned()),
            None => (State::Failed, "there is none".to_owned()),
        };
        self.controller = named;
        self.checks.push(check("controller", "brokers", state, seen));
    }

    /// Whether every partition has a leader, enough copies, and all of them.
    pub(super) fn partitions(&mut self, topics: Result<Vec<TopicState>, AdminError>) {
        const CHECKS: [&str; 3] = ["offline", "under-min-isr", "under-replicated"];
        let topics = match topics {
            Ok(topics) => topics,
            Err(error) => {
                let why = chain(&error);
                let not_run = |name| check(name, "partitions", State::NotRun, why.clone());
                self.checks.extend(CHECKS.map(not_run));
                return;
            }
        };
        let found = in_trouble(&topics);
        let lists = [&found.offline, &found.under_min_isr, &found.under_replicated];
        for (name, list) in CHECKS.into_iter().zip(lists) {
            let state = if list.is_empty() { State::Ok } else { State::Failed };
            let seen = format!("{} of {}{}", list.len(), found.total, some_of(list));
            self.checks.push(check(name, "partitions", state, seen));
        }
        self.partitions = Some(found);
    }
}

fn died(death: Option<Death>) -> String {
    format!("{}; `cluster restart` starts it", death.unwrap_or(Death::Unknown))
}

fn part(mode: ServerMode) -> &'static str {
    match mode {
        ServerMode::Leader => "leads",
        ServerMode::Follower => "follows",
        ServerMode::Observer => "observes",
        ServerMode::Standalone => "is alone",
        ServerMode::NotServing => "serves nobody",
    }
}

fn some_of(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let shown = names.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    let more = if names.len() > MOST { ", ..." } else { "" };
    format!(": {shown}{more}")
}

pub(super) fn in_trouble(topics: &[TopicState]) -> Partitions {
    let mut found = Partitions::default();
    for topic in topics {
        let least = topic.min_in_sync();
        for partition in &topic.partitions {
            let name = format!("{}-{}", topic.name, partition.id);
            found.total += 1;
            if partition.leader.is_none() {
                found.offline.push(name.clone());
            }
            if partition.in_sync.len() < least {
                found.under_min_isr.push(name.clone());
            }
            if partition.in_sync.len() < partition.replicas.len() {
                found.under_replicated.push(name);
            }
        }
    }
    found
}

/// Every member of the ensemble, with what it says of itself.
pub(super) async fn ensemble(
    operated: &Operated,
    options: &Options,
) -> Result<Vec<(String, Result<ServerMode, String>)>, OpsError> {
    let plan = &operated.cluster().plan;
    if plan.nodes_of(NodeRole::Zookeeper).next().is_none() {
        return Ok(Vec::new());
    }
    let tls = operated.access().zookeeper_tls()?;
    let looks = plan.nodes_of(NodeRole::Zookeeper).map(|node| {
        let tls = &tls;
        async move {
            let name = node.name.to_string();
            let Some(endpoint) = node.listener("CLIENT").map(|listener| Endpoint::of(node, listener)) else {
                return (name, Err("has no client port".to_owned()));
            };
            let deadline = Deadline::after(options.patience);
            let (ok, status) = tokio::join!(
                admin_words::is_ok(&endpoint, tls, deadline),
                admin_words::status(&endpoint, tls, deadline)
            );
            let seen = match (ok, status) {
                (Ok(true), Ok(status)) => Ok(status.mode),
                (Ok(false), _) => Err("does not say `imok`".to_owned()),
                (Err(error), _) | (_, Err(error)) => Err(chain(&error)),
            };
            (name, seen)
        }
    });
    Ok(join_all(looks).await)
}

/// KRaft's controllers, each with its part in the quorum; none with ZooKeeper.
pub(super) async fn controllers(operated: &Operated, options: &Options) -> Result<Vec<Controller>, OpsError> {
    let access = operated.access();
    Ok(quorum::look(&access.controllers(), &access.controllers_tls()?, options.patience).await)
}

/// One broker that was asked.
pub(super) struct Seen {
    node: String,
    id: i32,
    outcome: Result<Looked, WireError>,
}

/// What a broker said.
pub(super) struct Looked {
    metadata: ClusterMetadata,
    dirs: Vec<log_dirs::LogDir>,
}

impl Looked {
    fn brokers(&self) -> impl Iterator<Item = i32> {
        self.metadata.brokers.iter().map(|broker| broker.id)
    }

    fn log_dirs(&self, node: &str) -> Check {
        let failed: Vec<String> =
            self.dirs.iter().filter_map(|dir| Some(dir.error.as_ref()?.to_string())).collect();
        if self.dirs.is_empty() {
            return check("log-dirs", node, State::Failed, "it has none");
        }
        if failed.is_empty() {
            let mebibytes = self.dirs.iter().map(log_dirs::LogDir::bytes).sum::<i64>() >> 20;
            return check(
                "log-dirs",
                node,
                State::Ok,
                format!("{} in use, {mebibytes} MiB", self.dirs.len()),
            );
        }
        check("log-dirs", node, State::Failed, failed.join("; "))
    }
}

/// Every broker, asked as the administrator.
pub(super) async fn brokers(operated: &Operated, options: &Options) -> Result<Vec<Seen>, OpsError> {
    let access = operated.access();
    let user = access.user(crate::plan::Role::Admin)?;
    let (tls, login) = (access.user_tls(user)?, access.login(user)?);
    let looks = access.brokers("EXTERNAL").into_iter().map(|broker| {
        let (tls, login) = (&tls, &login);
        async move {
            let deadline = Deadline::after(options.patience);
            let ask = async {
                let mut connection = Connection::open(&broker.endpoint, tls, login, deadline).await?;
                let metadata = records::metadata(&mut connection, Some(&[]), deadline).await?;
                let dirs = log_dirs::log_dirs(&mut connection, deadline).await?;
                Ok(Looked { metadata, dirs })
            };
            let outcome = ask.await;
            Seen { node: broker.endpoint.node, id: broker.id, outcome }
        }
    });
    Ok(join_all(looks).await)
}

/// Every topic, as the controller tells.
pub(super) async fn partitions(
    operated: &Operated,
    options: &Options,
) -> Result<Result<Vec<TopicState>, AdminError>, OpsError> {
    Ok(operated.admin()?.topics(None, Deadline::after(options.patience * 2)).await)
}

/// Whether the registry answers, and was proved to have replayed its journal since it was started.
pub(super) async fn registry(operated: &Operated, options: &Options) -> Option<Check> {
    let plan = &operated.cluster().plan;
    let node = plan.nodes_of(NodeRole::SchemaRegistry).next()?;
    let name = node.name.as_str();
    let asked = async {
        let registry = Registry::new(plan.endpoints.registry_url.as_deref().unwrap_or_default())?;
        let level = registry.compatibility().await?;
        let subjects = registry.subjects().await?.len();
        if options.writes {
            registry.set_compatibility(&level).await?;
        }
        Ok::<_, crate::registry::RegistryError>((level, subjects))
    };
    let answer = match tokio::time::timeout(options.patience, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Some(check("registry", name, State::Failed, chain(&error))),
        Err(_) => {
            let why = format!("no answer within {} s", options.patience.as_secs());
            return Some(check("registry", name, State::Failed, why));
        }
    };
    Some(judge_registry(operated, plan, node, &answer, options.writes))
}

fn judge_registry(
    operated: &Operated,
    plan: &ClusterPlan,
    node: &NodePlan,
    (level, subjects): &(String, usize),
    written: bool,
) -> Check {
    let name = node.name.as_str();
    let mut seen = format!("{subjects} subjects, {level}");
    if *subjects < plan.subjects.len() {
        let planned = plan.subjects.len();
        seen = format!("{seen}; {planned} are planned: it has not replayed its journal, or lost it");
        return check("registry", name, State::Failed, seen);
    }
    if written {
        seen.push_str(", takes writes");
        return check("registry", name, State::Ok, seen);
    }
    if operated.cluster().registry_was_proved(node) {
        seen.push_str(", has replayed its journal");
        return check("registry", name, State::Ok, seen);
    }
    seen.push_str("; not proved to have replayed its journal since it was started (--writes proves it)");
    check("registry", name, State::Warning, seen)
}

/// The certificate that ends first.
pub(super) fn certificates(operated: &Operated, least: i64) -> Result<Check, OpsError> {
    let now = OffsetDateTime::now_utc();
    let certificates = operated.access().credentials().certificates()?;
    let first = certificates.iter().map(|(id, info)| (info.days_left(now), id)).min();
    let Some((days, id)) = first else {
        return Ok(check(
            "certificates",
            "cluster",
            State::Failed,
            "there are none; `credentials` makes them",
        ));
    };
    let (state, seen) = if days < 0 {
        (State::Failed, format!("{id} has expired; `certs renew` replaces it"))
    } else if days < least {
        (State::Warning, format!("{id} has {days} days left; `certs renew` replaces it"))
    } else {
        (State::Ok, format!("{} of them, the first ends in {days} days", certificates.len()))
    };
    Ok(check("certificates", "cluster", state, seen))
}

/// Whether the disk that holds the cluster has room.
pub(super) fn disk(operated: &Operated) -> Check {
    let path = operated.cluster().dir.path();
    let about = match rustix::fs::statvfs(&path) {
        Ok(about) => about,
        Err(error) => {
            let why = format!("{} cannot be looked at: {error}", path.display());
            return check("disk", "machine", State::NotRun, why);
        }
    };
    let (free, total) = (about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize);
    judge_disk(free, total)
}

fn judge_disk(free: u64, total: u64) -> Check {
    let percent = free.saturating_mul(100).checked_div(total).unwrap_or(0);
    let seen = format!("{:.1} GiB free of {:.1} ({percent} %)", gibibytes(free), gibibytes(total));
    let (share, bytes) = LEAST_FREE;
    let state = if free < bytes {
        State::Failed
    } else if free < total / share {
        State::Warning
    } else {
        State::Ok
    };
    check("disk", "machine", state, seen)
}

#[expect(clippy::cast_precision_loss, reason = "for a person, with one digit after the point")]
fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::records::PartitionMetadata;

    #[test]
    fn partitions_in_trouble_are_told_apart() {
        let topic = TopicState::for_tests(
            "t",
            "2",
            vec![
                PartitionMetadata::new(0, Some(1), &[1, 2, 3], &[1, 2, 3]),
                PartitionMetadata::new(1, Some(1), &[1, 2, 3], &[1, 2]),
                PartitionMetadata::new(2, Some(1), &[1, 2, 3], &[1]),
                PartitionMetadata::new(3, None, &[1, 2, 3], &[]),
            ],
        );
        let mut found = Found::default();
        found.partitions(Ok(vec![topic]));
        let seen: Vec<_> = found.checks.iter().map(|check| (check.check, check.seen.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("offline", "1 of 4: t-3"),
                ("under-min-isr", "2 of 4: t-2, t-3"),
                ("under-replicated", "3 of 4: t-1, t-2, t-3"),
            ]
        );
        assert!(found.checks.iter().all(|check| check.state == State::Failed));
    }

    #[test]
    fn an_ensemble_needs_a_leader_and_more_than_half() {
        let members = |modes: [Result<ServerMode, String>; 3]| {
            let mut found = Found::default();
            found
                .ensemble(modes.into_iter().enumerate().map(|(at, mode)| (format!("z{at}"), mode)).collect());
            found.checks.pop().unwrap()
        };
        let gone = || Err("gone".to_owned());
        let good = members([Ok(ServerMode::Leader), Ok(ServerMode::Follower), gone()]);
        assert_eq!((good.state, good.seen.as_str()), (State::Ok, "2 of 3 serve, 2 are needed; led by z0"));
        assert_eq!(members([Ok(ServerMode::Leader), gone(), gone()]).state, State::Failed);
        assert_eq!(
            members([Ok(ServerMode::Follower), Ok(ServerMode::Follower), gone()]).state,
            State::Failed
        );
    }

    #[test]
    fn a_full_disk_fails_and_a_fuller_one_warns() {
        assert_eq!(judge_disk(50 << 30, 100 << 30).state, State::Ok);
        assert_eq!(judge_disk(2 << 30, 100 << 30).state, State::Warning);
        assert_eq!(judge_disk(1 << 20, 100 << 30).state, State::Failed);
        assert_eq!(judge_disk(0, 0).state, State::Failed);
    }
}
