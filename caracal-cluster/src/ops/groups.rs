//! Consumer groups: who is in them, what they were given, where they are; and putting them elsewhere.

mod reset;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::Serialize;

pub use self::reset::{Reset, ResetPartition, ResetReport, ResetTo, Scope, reset};
use super::{Operated, OpsError, millis_since, soon, taken};
use crate::admin::groups::{ListedGroup, PartitionKey};
use crate::admin::groups_describe::{DescribedGroup, Member};
use crate::lifecycle::commands::Selection;
use crate::names::ClusterName;

/// One group in a list.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// Its name.
    pub group: String,
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Dead`.
    pub state: String,
    /// `consumer`, or what else uses the group protocol; empty for one that only has offsets.
    pub kind: String,
    /// The assignor that its members agreed upon; empty without members.
    pub assignor: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// How many members it has.
    pub members: usize,
}

impl Group {
    fn of(found: &DescribedGroup) -> Self {
        Self {
            group: found.name.clone(),
            state: found.state.clone(),
            kind: found.kind.clone(),
            assignor: found.assignor.clone(),
            coordinator: found.coordinator,
            members: found.members.len(),
        }
    }
}

/// Every group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GroupsReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The groups, by name.
    pub groups: Vec<Group>,
    /// How long it took.
    pub millis: u64,
}

/// Lists the groups. Changes nothing.
///
/// # Errors
/// When a broker cannot be asked.
pub async fn list(operated: &Operated) -> Result<GroupsReport, OpsError> {
    let begun = Instant::now();
    let found = operated.admin()?.described_groups(soon()).await?;
    let cluster = operated.cluster().plan.cluster.clone();
    Ok(GroupsReport { cluster, groups: found.iter().map(Group::of).collect(), millis: millis_since(begun) })
}

/// A member of a group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GroupMember {
    /// Its id, given by the coordinator.
    pub member: String,
    /// Its own id, where it is a static member.
    pub instance: Option<String>,
    /// The `client.id` of its client.
    pub client: String,
    /// Where it connects from.
    pub host: String,
    /// How many partitions it was given.
    pub partitions: usize,
}

impl From<&Member> for GroupMember {
    fn from(member: &Member) -> Self {
        Self {
            member: member.id.clone(),
            instance: member.instance.clone(),
            client: member.client.clone(),
            host: member.host.clone(),
            partitions: member.assigned.len(),
        }
    }
}

/// One partition that a group reads or has read.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GroupPartition {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The offset that the group would read next; none while it has committed nothing.
    pub committed: Option<i64>,
    /// The offset that the next record will get; none while the partition has no leader.
    pub end: Option<i64>,
    /// What is between them.
    pub lag: Option<i64>,
    /// The id of the member that was given it.
    pub member: Option<String>,
}

/// One group in detail.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GroupDetail {
    /// What a list says of it.
    #[serde(flatten)]
    pub group: Group,
    /// The sum over its partitions, as far as known.
    pub lag: i64,
    /// Its members.
    pub member: Vec<GroupMember>,
    /// Every partition that it has committed an offset of, or that a member was given.
    pub partitions: Vec<GroupPartition>,
}

/// Groups in detail.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GroupsDetail {
    /// The cluster.
    pub cluster: ClusterName,
    /// The groups, by name.
    pub groups: Vec<GroupDetail>,
    /// How long it took.
    pub millis: u64,
}

/// Describes groups: members, assignment, lag. All when no name is given. Changes nothing.
///
/// # Errors
/// [`OpsError::NoSuch`] with the nearest name; when a broker cannot be asked.
pub async fn describe(operated: &Operated, names: &[String]) -> Result<GroupsDetail, OpsError> {
    let begun = Instant::now();
    let mut admin = operated.admin()?;
    let found = chosen(admin.described_groups(soon()).await?, names)?;
    let mut committed = Vec::new();
    for group in &found {
        committed.push(admin.committed_offsets(&listed(group), soon()).await?);
    }
    let keys: BTreeSet<PartitionKey> = found
        .iter()
        .zip(&committed)
        .flat_map(|(group, offsets)| {
            let given = group.members.iter().flat_map(|member| member.assigned.iter().cloned());
            offsets.keys().cloned().chain(given).collect::<Vec<_>>()
        })
        .collect();
    let keys: Vec<PartitionKey> = keys.into_iter().collect();
    let ends = admin.ends(&keys, soon()).await?;
    let groups = found.iter().zip(&committed).map(|(group, offsets)| detail(group, offsets, &ends));
    let groups = groups.collect();
    let cluster = operated.cluster().plan.cluster.clone();
    Ok(GroupsDetail { cluster, groups, millis: millis_since(begun) })
}

fn detail(
    group: &DescribedGroup,
    offsets: &BTreeMap<PartitionKey, i64>,
    ends: &BTreeMap<PartitionKey, i64>,
) -> GroupDetail {
    let owner: BTreeMap<&PartitionKey, &Member> = group
        .members
        .iter()
        .flat_map(|member| member.assigned.iter().map(move |key| (key, member)))
        .collect();
    let keys: BTreeSet<&PartitionKey> = offsets.keys().chain(owner.keys().copied()).collect();
    let partitions: Vec<GroupPartition> = keys
        .into_iter()
        .map(|key| {
            let (committed, end) = (offsets.get(key).copied(), ends.get(key).copied());
            GroupPartition {
                topic: key.0.clone(),
                partition: key.1,
                committed,
                end,
                // A group can be ahead of a partition that was deleted and made again: that is no negative lag.
                lag: committed.zip(end).map(|(committed, end)| end.saturating_sub(committed).max(0)),
                member: owner.get(key).map(|member| member.id.clone()),
            }
        })
        .collect();
    GroupDetail {
        group: Group::of(group),
        lag: partitions.iter().filter_map(|partition| partition.lag).sum(),
        member: group.members.iter().map(GroupMember::from).collect(),
        partitions,
    }
}

fn listed(group: &DescribedGroup) -> ListedGroup {
    ListedGroup::new(&group.name, &group.state, group.coordinator)
}

/// The groups of these names; all when none is given.
fn chosen(found: Vec<DescribedGroup>, names: &[String]) -> Result<Vec<DescribedGroup>, OpsError> {
    let missing = names.iter().find(|name| !found.iter().any(|group| group.name == **name));
    if let Some(missing) = missing {
        return Err(OpsError::no_such("group", missing, found.iter().map(|group| group.name.as_str())));
    }
    let wanted = |group: &DescribedGroup| names.is_empty() || names.contains(&group.name);
    Ok(found.into_iter().filter(wanted).collect())
}

/// Why a group that somebody reads with is not to be touched.
fn occupied(group: &DescribedGroup) -> Option<String> {
    if group.members.is_empty() {
        return None;
    }
    let mut who: Vec<String> =
        group.members.iter().map(|member| format!("{} at {}", member.client, member.host)).collect();
    who.sort();
    who.dedup();
    Some(format!(
        "group `{}` is being read with ({}, {} {}): stop its members first, they would commit over it",
        group.name,
        who.join(", "),
        group.members.len(),
        if group.members.len() == 1 { "member" } else { "members" },
    ))
}

/// A group that goes, or went.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DeletedGroup {
    /// Its name.
    pub group: String,
    /// The offsets that are lost: topic, partition, committed.
    pub offsets: Vec<LostOffset>,
}

/// An offset that goes with its group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LostOffset {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// What was committed.
    pub committed: i64,
}

/// What was deleted.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DeletedGroups {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it was only said.
    pub dry_run: bool,
    /// Each group.
    pub groups: Vec<DeletedGroup>,
    /// How long it took.
    pub millis: u64,
}

/// What a deletion would take; deletes nothing.
///
/// # Errors
/// [`OpsError::NoSuch`] with the nearest name; [`OpsError::Refused`] while one has members.
pub async fn doomed(operated: &Operated, names: &[String]) -> Result<DeletedGroups, OpsError> {
    let begun = Instant::now();
    let mut admin = operated.admin()?;
    let found = chosen(admin.described_groups(soon()).await?, names)?;
    let busy: Vec<String> = found.iter().filter_map(occupied).collect();
    if !busy.is_empty() {
        return Err(OpsError::refused(busy.join("\n")));
    }
    let mut groups = Vec::new();
    for group in &found {
        let offsets = admin.committed_offsets(&listed(group), soon()).await?.into_iter();
        let offsets =
            offsets.map(|((topic, partition), committed)| LostOffset { topic, partition, committed });
        groups.push(DeletedGroup { group: group.name.clone(), offsets: offsets.collect() });
    }
    let cluster = operated.cluster().plan.cluster.clone();
    Ok(DeletedGroups { cluster, dry_run: true, groups, millis: millis_since(begun) })
}

/// Deletes groups with their offsets.
///
/// # Errors
/// As [`doomed`]; [`OpsError::Items`] for what brokers refuse.
pub async fn delete(selection: &Selection, names: &[String]) -> Result<DeletedGroups, OpsError> {
    let begun = Instant::now();
    let (operated, _lock) = taken(selection, false, "groups delete")?;
    let report = doomed(&operated, names).await?;
    let wanted = |name: &str| report.groups.iter().any(|group| group.group == name);
    let outcomes = operated.admin()?.delete_groups(wanted, soon()).await?;
    let refused: Vec<String> = outcomes
        .into_iter()
        .filter_map(|outcome| outcome.result.err().map(|error| error.to_string()))
        .collect();
    if !refused.is_empty() {
        return Err(OpsError::Items { what: "groups that were not deleted".to_owned(), items: refused });
    }
    Ok(DeletedGroups { dry_run: false, millis: millis_since(begun), ..report })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn group(members: &[(&str, &[i32])]) -> DescribedGroup {
        let members = members.iter().map(|(id, partitions)| Member {
            id: (*id).to_owned(),
            instance: None,
            client: "ledger".to_owned(),
            host: "127.0.0.1".to_owned(),
            assigned: partitions.iter().map(|partition| ("t".to_owned(), *partition)).collect(),
        });
        DescribedGroup {
            name: "caracal-ledger".to_owned(),
            state: "Stable".to_owned(),
            kind: "consumer".to_owned(),
            assignor: "range".to_owned(),
            coordinator: 2,
            members: members.collect(),
        }
    }

    pub(crate) fn details() -> GroupsDetail {
        let key = |partition| ("t".to_owned(), partition);
        let offsets = BTreeMap::from([(key(0), 3), (key(2), 9)]);
        let ends = BTreeMap::from([(key(0), 7), (key(1), 5)]);
        let groups = vec![detail(&group(&[("one", &[0]), ("two", &[1])]), &offsets, &ends)];
        GroupsDetail { cluster: "demo".parse().unwrap(), groups, millis: 4 }
    }

    #[test]
    fn partitions_that_are_only_given_or_only_committed_are_seen() {
        let detail = details().groups.remove(0);
        let seen: Vec<_> = detail
            .partitions
            .iter()
            .map(|found| (found.partition, found.committed, found.end, found.lag, found.member.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [
                (0, Some(3), Some(7), Some(4), Some("one")),
                (1, None, Some(5), None, Some("two")),
                (2, Some(9), None, None, None),
            ]
        );
        assert_eq!((detail.lag, detail.group.members), (4, 2));
    }

    #[test]
    fn only_a_group_without_members_may_be_touched() {
        assert_eq!(occupied(&group(&[])), None);
        let why = occupied(&group(&[("one", &[]), ("two", &[])])).unwrap();
        assert!(why.contains("ledger at 127.0.0.1, 2 members"), "{why}");
        let names = ["caracal-ledgr".to_owned()];
        let error = chosen(vec![group(&[])], &names).unwrap_err().to_string();
        assert!(error.contains("did you mean `caracal-ledger`?"), "{error}");
    }
}
