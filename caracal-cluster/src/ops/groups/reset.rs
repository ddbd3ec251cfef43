//! Putting a group's offsets elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use time::OffsetDateTime;

use super::{listed, occupied};
use crate::admin::groups::PartitionKey;
use crate::admin::{Admin, OffsetAt, TopicState};
use crate::lifecycle::commands::Selection;
use crate::names::ClusterName;
use crate::ops::{OpsError, millis_since, soon, taken};

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ResetTo {
    /// The first record that is still there.
    Earliest,
    /// The end: nothing of what is there.
    Latest,
    /// This offset, in every partition.
    Offset(i64),
    /// The first record of this moment or later; the end where there is none.
    Time(OffsetDateTime),
    /// The same, so long before now.
    Ago(Duration),
}

/// Which partitions: a topic, and of it these or all.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "callers spell out what they ask for")]
pub struct Scope {
    /// The topic.
    pub topic: String,
    /// Its partitions; all when empty.
    pub partitions: Vec<i32>,
}

/// A reset.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers spell out what they ask for")]
pub struct Reset {
    /// The group.
    pub group: String,
    /// Which topics; those that the group has committed offsets of when empty.
    pub scopes: Vec<Scope>,
    /// Where to.
    pub to: ResetTo,
    /// Whether a group that is not there is made.
    pub create: bool,
    /// Whether it is only said.
    pub dry_run: bool,
}

/// One partition.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ResetPartition {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// What was committed.
    pub from: Option<i64>,
    /// What is committed then.
    pub to: i64,
    /// Whether the offset asked for was outside of what is there, and the nearest one was taken.
    pub moved_inside: bool,
}

/// What was done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ResetReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The group.
    pub group: String,
    /// Whether it was only said.
    pub dry_run: bool,
    /// Each partition.
    pub partitions: Vec<ResetPartition>,
    /// How long it took.
    pub millis: u64,
}

/// Puts a group's offsets elsewhere.
///
/// # Errors
/// [`OpsError::NoSuch`] for a group or topic that is not there, with the nearest name; [`OpsError::Refused`] while
/// the group has members, or when nothing is left to be reset.
pub async fn reset(selection: &Selection, reset: &Reset) -> Result<ResetReport, OpsError> {
    let begun = Instant::now();
    let (operated, _lock) = taken(selection, reset.dry_run, "groups reset")?;
    let mut admin = operated.admin()?;
    let (coordinator, committed) = now(&mut admin, reset).await?;
    let keys = partitions(&mut admin, reset, &committed).await?;
    let partitions = targets(&mut admin, &keys, &committed, reset.to).await?;
    if !reset.dry_run {
        let offsets =
            partitions.iter().map(|found| ((found.topic.clone(), found.partition), found.to)).collect();
        let outcomes = admin.commit_offsets(coordinator, &reset.group, &offsets, soon()).await?;
        let refused: Vec<String> = outcomes
            .into_iter()
            .filter_map(|outcome| outcome.result.err().map(|error| error.to_string()))
            .collect();
        if !refused.is_empty() {
            let what = format!("offsets of group {} that were not set", reset.group);
            return Err(OpsError::Items { what, items: refused });
        }
    }
    Ok(ResetReport {
        cluster: operated.cluster().plan.cluster.clone(),
        group: reset.group.clone(),
        dry_run: reset.dry_run,
        partitions,
        millis: millis_since(begun),
    })
}

/// The group's coordinator and what it has committed.
async fn now(admin: &mut Admin, reset: &Reset) -> Result<(i32, BTreeMap<PartitionKey, i64>), OpsError> {
    let groups = admin.described_groups(soon()).await?;
    match groups.iter().find(|group| group.name == reset.group) {
        Some(group) => {
            if let Some(busy) = occupied(group) {
                return Err(OpsError::refused(busy));
            }
            Ok((group.coordinator, admin.committed_offsets(&listed(group), soon()).await?))
        }
        None if reset.create => Ok((admin.coordinator_of(&reset.group, soon()).await?, BTreeMap::new())),
        None => Err(OpsError::no_such("group", &reset.group, groups.iter().map(|group| group.name.as_str()))),
    }
}

/// The partitions that are meant.
async fn partitions(
    admin: &mut Admin,
    reset: &Reset,
    committed: &BTreeMap<PartitionKey, i64>,
) -> Result<Vec<PartitionKey>, OpsError> {
    if reset.scopes.is_empty() {
        if committed.is_empty() {
            let why =
                format!("group `{}` has committed nothing yet: say which topics by --topic", reset.group);
            return Err(OpsError::refused(why));
        }
        return Ok(committed.keys().cloned().collect());
    }
    let found = admin.topics(None, soon()).await?;
    let mut keys = Vec::new();
    for scope in &reset.scopes {
        keys.extend(of_scope(scope, &found)?);
    }
    keys.sort();
    keys.dedup();
    Ok(keys)
}

fn of_scope(scope: &Scope, found: &[TopicState]) -> Result<Vec<PartitionKey>, OpsError> {
    let names = found.iter().filter(|topic| !topic.internal).map(|topic| topic.name.as_str());
    let topic = found.iter().find(|topic| topic.name == scope.topic);
    let topic = topic.ok_or_else(|| OpsError::no_such("topic", &scope.topic, names))?;
    let there = |id: &i32| topic.partitions.iter().any(|partition| partition.id == *id);
    if let Some(odd) = scope.partitions.iter().find(|id| !there(id)) {
        return Err(OpsError::refused(format!(
            "topic `{}` has no partition {odd}: it has {}, counted from 0",
            scope.topic,
            topic.partitions.len()
        )));
    }
    let ids: Vec<i32> = if scope.partitions.is_empty() {
        topic.partitions.iter().map(|partition| partition.id).collect()
    } else {
        scope.partitions.clone()
    };
    Ok(ids.into_iter().map(|id| (scope.topic.clone(), id)).collect())
}

/// Where each partition goes.
async fn targets(
    admin: &mut Admin,
    keys: &[PartitionKey],
    committed: &BTreeMap<PartitionKey, i64>,
    to: ResetTo,
) -> Result<Vec<ResetPartition>, OpsError> {
    let starts = admin.offsets(keys, OffsetAt::Earliest, soon()).await?;
    let ends = admin.offsets(keys, OffsetAt::Latest, soon()).await?;
    let at = match to {
        ResetTo::Earliest | ResetTo::Latest | ResetTo::Offset(_) => None,
        ResetTo::Time(time) => Some(time),
        ResetTo::Ago(span) => Some(OffsetDateTime::now_utc() - span),
    };
    let timed = match at {
        Some(time) => {
            let millis = i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
            admin.offsets(keys, OffsetAt::Time(millis), soon()).await?
        }
        None => BTreeMap::new(),
    };
    let mut targets = Vec::new();
    for key in keys {
        let (Some(start), Some(end)) = (starts.get(key).copied(), ends.get(key).copied()) else {
            return Err(OpsError::refused(format!(
                "{}-{} is gone or has no leader, so nobody knows its offsets; nothing was changed",
                key.0, key.1
            )));
        };
        let wanted = match to {
            ResetTo::Earliest => start,
            ResetTo::Latest => end,
            ResetTo::Offset(offset) => offset,
            ResetTo::Time(_) | ResetTo::Ago(_) => {
                timed.get(key).copied().filter(|offset| *offset >= 0).unwrap_or(end)
            }
        };
        targets.push(ResetPartition {
            topic: key.0.clone(),
            partition: key.1,
            from: committed.get(key).copied(),
            to: wanted.clamp(start, end),
            moved_inside: !(start..=end).contains(&wanted),
        });
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::records::PartitionMetadata;

    #[test]
    fn a_scope_is_a_topic_or_some_of_its_partitions() {
        let partition = |id| PartitionMetadata::new(id, Some(1), &[1], &[1]);
        let found = [TopicState::for_tests("orders", "1", vec![partition(0), partition(1)])];
        let scope = |topic: &str, partitions: &[i32]| Scope {
            topic: topic.to_owned(),
            partitions: partitions.to_vec(),
        };
        let key = |partition| ("orders".to_owned(), partition);
        assert_eq!(of_scope(&scope("orders", &[]), &found).unwrap(), [key(0), key(1)]);
        assert_eq!(of_scope(&scope("orders", &[1]), &found).unwrap(), [key(1)]);
        let odd = of_scope(&scope("orders", &[2]), &found).unwrap_err().to_string();
        assert!(odd.contains("no partition 2: it has 2"), "{odd}");
        let near = of_scope(&scope("order", &[]), &found).unwrap_err().to_string();
        assert!(near.contains("did you mean `orders`?"), "{near}");
    }
}
