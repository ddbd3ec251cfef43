//! Making, changing and deleting topics by hand.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::rules::{self, Ground};
use super::{INTERVAL, Owner, SETTLING, copies, existing, keys_of};
use crate::admin::{Admin, Intent, OffsetAt, TopicState};
use crate::lifecycle::commands::Selection;
use crate::names::{ClusterName, TopicName};
use crate::ops::{Operated, OpsError, millis_since, soon, taken};
use crate::plan::{TopicOwner, TopicPlan};
use crate::wait::{Probe, wait_for};
use crate::wire::ApiError;

/// A topic that is to be made.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers spell out what they ask for")]
pub struct Creation {
    /// Its name.
    pub name: TopicName,
    /// Its number of partitions.
    pub partitions: u32,
    /// Copies of each partition; the description's number when unset.
    pub replication_factor: Option<u16>,
    /// Settings of its own.
    pub config: Vec<(String, String)>,
    /// Whether it is only judged.
    pub dry_run: bool,
}

/// What is to be different about a topic.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers spell out what they ask for")]
pub struct Alteration {
    /// The topic.
    pub name: String,
    /// More partitions.
    pub partitions: Option<u32>,
    /// Its number of copies, which cannot change.
    pub replication_factor: Option<u16>,
    /// Settings to set.
    pub set: Vec<(String, String)>,
    /// Settings whose default shall count again.
    pub unset: Vec<String>,
    /// Whether it is only judged.
    pub dry_run: bool,
}

/// One difference.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// `partitions`, `replication_factor`, or a setting's key.
    pub what: String,
    /// What it was; none where nothing was set.
    pub from: Option<String>,
    /// What it is to be; none where the default counts again.
    pub to: Option<String>,
}

impl Change {
    pub(super) fn new(what: &str, from: Option<String>, to: Option<String>) -> Self {
        Self { what: what.to_owned(), from, to }
    }
}

/// What became of a topic.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ChangedTopic {
    /// Its name.
    pub topic: String,
    /// `created`, `altered` or `unchanged`; in a dry run what it would be.
    pub outcome: &'static str,
    /// What is different.
    pub changes: Vec<Change>,
}

/// What was done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ChangeReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it was only judged.
    pub dry_run: bool,
    /// Each topic.
    pub topics: Vec<ChangedTopic>,
    /// How long it took.
    pub millis: u64,
}

/// Makes a topic, and waits until every partition of it has a leader.
///
/// # Errors
/// [`OpsError::Refused`] with every reason why it could never be right, before a broker is asked to make it;
/// [`OpsError::Item`] when the brokers refuse it.
pub async fn create(selection: &Selection, creation: &Creation) -> Result<ChangeReport, OpsError> {
    let begun = Instant::now();
    let (operated, _lock) = taken(selection, creation.dry_run, "topics create")?;
    let (plan, spec) = (&operated.cluster().plan, &operated.cluster().spec);
    let topic = TopicPlan {
        name: creation.name.clone(),
        partitions: creation.partitions,
        replication_factor: creation.replication_factor.unwrap_or(spec.replication.factor),
        config: creation.config.clone(),
        owner: TopicOwner::Application,
    };
    refuse(Ground::of(plan).findings(&topic))?;
    let mut admin = operated.admin()?;
    let found = admin.topics(None, soon()).await?;
    refuse(against(&topic, &found))?;
    if creation.dry_run {
        refused_item(admin.check_new_topics(std::slice::from_ref(&topic), soon()).await?)?;
    } else {
        make(&operated, &mut admin, std::slice::from_ref(&topic)).await?;
    }
    let changes = spelled(&topic);
    let topics = vec![ChangedTopic { topic: topic.name.to_string(), outcome: "created", changes }];
    let (cluster, dry_run) = (plan.cluster.clone(), creation.dry_run);
    Ok(ChangeReport { cluster, dry_run, topics, millis: millis_since(begun) })
}

/// A new topic, as changes of nothing.
pub(super) fn spelled(topic: &TopicPlan) -> Vec<Change> {
    let sizes = [
        Change::new("partitions", None, Some(topic.partitions.to_string())),
        Change::new("replication_factor", None, Some(topic.replication_factor.to_string())),
    ];
    let config = topic.config.iter().map(|(key, value)| Change::new(key, None, Some(value.clone())));
    sizes.into_iter().chain(config).collect()
}

/// Why a topic cannot be made beside those that are there.
pub(super) fn against(topic: &TopicPlan, found: &[TopicState]) -> Vec<String> {
    let name = topic.name.as_str();
    let there = found
        .iter()
        .any(|state| state.name == name)
        .then(|| format!("`{name}` exists already: `topics alter` changes its settings and adds partitions"));
    let collides = rules::collision(name, found);
    let odd = rules::unknown_setting(topic.config.iter().map(|(key, _)| key.as_str()), found);
    there.into_iter().chain(collides).chain(odd).collect()
}

/// Makes topics and waits until they are led.
pub(super) async fn make(
    operated: &Operated,
    admin: &mut Admin,
    topics: &[TopicPlan],
) -> Result<(), OpsError> {
    refused_item(admin.create_topics(topics, soon()).await?)?;
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    settled(operated, "new topics to be led", &names, |found| {
        let led = |state: &TopicState, topic: &TopicPlan| {
            usize::try_from(topic.partitions) == Ok(state.partitions.len())
                && state.partitions.iter().all(|partition| partition.leader.is_some())
        };
        let missing = topics.iter().filter(|topic| {
            let state = found.iter().find(|state| state.name == topic.name.as_str());
            state.is_none_or(|state| !led(state, topic))
        });
        missing.map(|topic| topic.name.to_string()).collect()
    })
    .await
}

fn refused_item<T>(outcomes: Vec<crate::admin::Outcome<T>>) -> Result<(), OpsError> {
    let refused: Vec<ApiError> = outcomes.into_iter().filter_map(|outcome| outcome.result.err()).collect();
    match refused.len() {
        0 => Ok(()),
        1 => Err(refused.into_iter().next().map_or_else(|| OpsError::refused("refused"), OpsError::from)),
        _ => Err(OpsError::Items {
            what: "the brokers refuse".to_owned(),
            items: refused.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// All findings as one refusal.
pub(super) fn refuse(findings: Vec<String>) -> Result<(), OpsError> {
    match findings.as_slice() {
        [] => Ok(()),
        [one] => Err(OpsError::refused(one.clone())),
        many => Err(OpsError::refused(format!("this can never be right:\n  - {}", many.join("\n  - ")))),
    }
}

/// Waits until what brokers show has nothing amiss any more.
pub(super) async fn settled(
    operated: &Operated,
    what: &str,
    names: &[&str],
    amiss: impl Fn(&[TopicState]) -> Vec<String>,
) -> Result<(), OpsError> {
    let amiss = &amiss;
    let look = || async {
        let found = match operated.admin() {
            Ok(mut admin) => admin.topics(Some(names), soon()).await,
            Err(error) => return Probe::Failed(error),
        };
        match found.map(|found| amiss(&found)) {
            Ok(left) if left.is_empty() => Probe::Ready(()),
            Ok(left) => Probe::NotYet(left.join(", ")),
            Err(error) => Probe::NotYet(crate::lifecycle::chain(&error)),
        }
    };
    wait_for(what, SETTLING, INTERVAL, look).await.map_err(|error| OpsError::waited(error, ""))
}

/// Changes a topic's settings and adds partitions.
///
/// # Errors
/// [`OpsError::NoSuch`] with the nearest name; [`OpsError::Refused`] with every reason, before anything is
/// changed: fewer partitions, other copies, a minimum that can never be had, a topic of Kafka's or the registry's.
pub async fn alter(selection: &Selection, alteration: &Alteration) -> Result<ChangeReport, OpsError> {
    let begun = Instant::now();
    let (operated, _lock) = taken(selection, alteration.dry_run, "topics alter")?;
    let plan = &operated.cluster().plan;
    let found = existing(&operated, std::slice::from_ref(&alteration.name)).await?;
    let state = found.first().ok_or_else(|| OpsError::no_such("topic", &alteration.name, []))?;
    let config = wanted_settings(alteration);
    refuse(findings(&Ground::of(plan), state, alteration, &config))?;
    let step = Step::between(state, &config, alteration.partitions);
    let intent = if alteration.dry_run { Intent::Check } else { Intent::Make };
    step.carry_out(&operated, intent).await?;
    let outcome = if step.changes.is_empty() { "unchanged" } else { "altered" };
    let topics = vec![ChangedTopic { topic: state.name.clone(), outcome, changes: step.changes }];
    let (cluster, dry_run) = (plan.cluster.clone(), alteration.dry_run);
    Ok(ChangeReport { cluster, dry_run, topics, millis: millis_since(begun) })
}

fn wanted_settings(alteration: &Alteration) -> BTreeMap<String, Option<String>> {
    let unset = alteration.unset.iter().map(|key| (key.clone(), None));
    unset.chain(alteration.set.iter().map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

fn findings(
    ground: &Ground<'_>,
    state: &TopicState,
    alteration: &Alteration,
    config: &BTreeMap<String, Option<String>>,
) -> Vec<String> {
    let (name, there) = (state.name.as_str(), copies(state));
    if let Some(protected) = ground.protection(name, state.internal) {
        return vec![protected];
    }
    let fewer = alteration
        .partitions
        .and_then(|wanted| rules::fewer_partitions(name, state.partitions.len(), wanted));
    let moved = alteration.replication_factor.and_then(|wanted| rules::other_copies(name, there, wanted));
    let odd = rules::unknown_setting(config.keys().map(String::as_str), std::slice::from_ref(state));
    let both = alteration.unset.iter().find(|key| alteration.set.iter().any(|(set, _)| set == *key));
    let both = both.map(|key| format!("`{key}` is to be set and unset at once"));
    let after = rules::settings_after(state, config);
    // Only a change is judged: a topic that is wrong already must still be mendable step by step.
    let never = config.contains_key(rules::MIN_ISR).then(|| ground.min_isr_of(name, &after, there)).flatten();
    fewer.into_iter().chain(moved).chain(odd).chain(both).chain(never).collect()
}

/// What is to be done to one topic that is there.
#[derive(Clone, Debug)]
pub(super) struct Step {
    name: String,
    config: Vec<(String, Option<String>)>,
    partitions: Option<u32>,
    pub(super) changes: Vec<Change>,
}

impl Step {
    /// From what is to what is wanted; settings that are not mentioned stay.
    pub(super) fn between(
        state: &TopicState,
        wanted: &BTreeMap<String, Option<String>>,
        partitions: Option<u32>,
    ) -> Self {
        let mut step =
            Self { name: state.name.clone(), config: Vec::new(), partitions: None, changes: Vec::new() };
        for (key, value) in wanted {
            let entry = state.config.get(key);
            let differs = match value {
                Some(value) => entry.is_none_or(|entry| entry.value != *value),
                None => entry.is_some_and(|entry| entry.set_on_topic),
            };
            if differs {
                let from = entry.map(|entry| entry.value.clone());
                step.changes.push(Change::new(key, from, value.clone()));
                step.config.push((key.clone(), value.clone()));
            }
        }
        if let Some(wanted) =
            partitions.filter(|wanted| usize::try_from(*wanted) != Ok(state.partitions.len()))
        {
            let from = Some(state.partitions.len().to_string());
            step.changes.push(Change::new("partitions", from, Some(wanted.to_string())));
            step.partitions = Some(wanted);
        }
        step
    }

    /// Makes it so, or lets the brokers judge it. Settings come first: they can be taken back.
    pub(super) async fn carry_out(&self, operated: &Operated, intent: Intent) -> Result<(), OpsError> {
        let mut admin = operated.admin()?;
        if !self.config.is_empty() {
            admin.change_topic_config(&self.name, &self.config, intent, soon()).await??;
        }
        if let Some(count) = self.partitions {
            admin.more_partitions(&self.name, count, intent, soon()).await??;
        }
        if intent == Intent::Check || self.changes.is_empty() {
            return Ok(());
        }
        settled(operated, "the change to be shown by the brokers", &[&self.name], |found| {
            let Some(state) = found.first() else { return vec![format!("{} is not shown", self.name)] };
            let few = self.partitions.is_some_and(|count| {
                usize::try_from(count) != Ok(state.partitions.len())
                    || state.partitions.iter().any(|partition| partition.leader.is_none())
            });
            let old = self.config.iter().filter(|(key, value)| {
                let entry = state.config.get(key).filter(|entry| entry.set_on_topic);
                entry.map(|entry| &entry.value) != value.as_ref()
            });
            let old = old.map(|(key, _)| format!("{key} is as before"));
            few.then(|| "partitions without a leader".to_owned()).into_iter().chain(old).collect()
        })
        .await
    }
}

/// A topic that goes, or went.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DeletedTopic {
    /// Its name.
    pub topic: String,
    /// Its number of partitions.
    pub partitions: usize,
    /// Offsets in it: what is lost.
    pub records: i64,
    /// Whether the cluster's description declares it, so that the next `up` makes it again, empty.
    pub planned: bool,
}

/// What was deleted.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DeleteReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it was only said.
    pub dry_run: bool,
    /// Each topic.
    pub topics: Vec<DeletedTopic>,
    /// How long it took.
    pub millis: u64,
}

/// What a deletion would take; deletes nothing.
///
/// # Errors
/// [`OpsError::NoSuch`] with the nearest name; [`OpsError::Refused`] for topics of Kafka's or the registry's.
pub async fn doomed(operated: &Operated, names: &[String]) -> Result<DeleteReport, OpsError> {
    let begun = Instant::now();
    let plan = &operated.cluster().plan;
    let found = existing(operated, names).await?;
    let ground = Ground::of(plan);
    refuse(found.iter().filter_map(|state| ground.protection(&state.name, state.internal)).collect())?;
    let keys = keys_of(&found);
    let mut admin = operated.admin()?;
    let starts = admin.offsets(&keys, OffsetAt::Earliest, soon()).await?;
    let ends = admin.offsets(&keys, OffsetAt::Latest, soon()).await?;
    let topics = found.iter().map(|state| {
        let of = |key: &&(String, i32)| key.0 == state.name;
        let held = |key: &(String, i32)| Some(ends.get(key)? - starts.get(key)?);
        DeletedTopic {
            topic: state.name.clone(),
            partitions: state.partitions.len(),
            records: keys.iter().filter(of).filter_map(held).sum(),
            planned: Owner::of(&state.name, state.internal, plan) == Owner::Planned,
        }
    });
    let topics = topics.collect();
    Ok(DeleteReport { cluster: plan.cluster.clone(), dry_run: true, topics, millis: millis_since(begun) })
}

/// Deletes topics with all their records, and waits until no broker shows them.
///
/// # Errors
/// As [`doomed`]; [`OpsError::Items`] for what brokers refuse.
pub async fn delete(selection: &Selection, names: &[String]) -> Result<DeleteReport, OpsError> {
    let begun = Instant::now();
    let (operated, _lock) = taken(selection, false, "topics delete")?;
    let report = doomed(&operated, names).await?;
    let names: Vec<&str> = report.topics.iter().map(|topic| topic.topic.as_str()).collect();
    refused_item(operated.admin()?.delete_topics(&names, soon()).await?)?;
    settled(&operated, "deleted topics to be gone", &names, |found| {
        found.iter().map(|state| format!("{} is still shown", state.name)).collect()
    })
    .await?;
    Ok(DeleteReport { dry_run: false, millis: millis_since(begun), ..report })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::default_plan;
    use crate::wire::records::PartitionMetadata;

    fn state() -> TopicState {
        let partition = |id| PartitionMetadata::new(id, Some(1), &[1, 2, 3], &[1, 2, 3]);
        TopicState::for_tests("t", "2", vec![partition(0), partition(1)])
    }

    #[test]
    fn only_what_differs_is_changed() {
        let set =
            |value: Option<&str>| BTreeMap::from([(rules::MIN_ISR.to_owned(), value.map(str::to_owned))]);
        assert!(Step::between(&state(), &set(Some("2")), Some(2)).changes.is_empty());
        let step = Step::between(&state(), &set(Some("1")), Some(5));
        assert_eq!(step.config, [(rules::MIN_ISR.to_owned(), Some("1".to_owned()))]);
        assert_eq!(step.partitions, Some(5));
        assert_eq!(step.changes.len(), 2);
        assert_eq!(Step::between(&state(), &set(None), None).changes[0].to, None);
        let inherited = BTreeMap::from([("retention.ms".to_owned(), None)]);
        assert!(Step::between(&state(), &inherited, None).changes.is_empty());
    }

    #[test]
    fn an_alteration_that_can_never_be_right_is_refused_with_every_reason() {
        let plan = default_plan();
        let alteration = Alteration {
            partitions: Some(1),
            replication_factor: Some(2),
            set: vec![(rules::MIN_ISR.to_owned(), "4".to_owned())],
            ..Alteration::default()
        };
        let config = wanted_settings(&alteration);
        let found = findings(&Ground::of(&plan), &state(), &alteration, &config);
        assert_eq!(found.len(), 3, "{found:?}");
        let said = refuse(found).unwrap_err().to_string();
        for part in ["takes no partition away", "moves data", "can never be had of 3 copies"] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        let sound =
            Alteration { set: vec![(rules::MIN_ISR.to_owned(), "3".to_owned())], ..Alteration::default() };
        assert!(findings(&Ground::of(&plan), &state(), &sound, &wanted_settings(&sound)).is_empty());
    }
}
