//! How far consumer groups are behind.

use std::time::Instant;

use serde::Serialize;

use super::{Operated, OpsError, millis_since, soon};
use crate::names::ClusterName;

/// One partition that a group reads.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PartitionLag {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The offset that the group would read next.
    pub committed: i64,
    /// The offset that the next record will get; none while the partition has no leader.
    pub end: Option<i64>,
    /// What is between them.
    pub lag: Option<i64>,
}

/// One group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct GroupLag {
    /// Its name.
    pub group: String,
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Dead`.
    pub state: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// The sum over its partitions, as far as known.
    pub lag: i64,
    /// Every partition for which it has committed an offset.
    pub partitions: Vec<PartitionLag>,
}

/// What was found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct LagReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The groups, by name.
    pub groups: Vec<GroupLag>,
    /// How long it took.
    pub millis: u64,
}

impl LagReport {
    /// The groups whose lag is above a limit, or not wholly known.
    pub fn over(&self, limit: i64) -> impl Iterator<Item = &GroupLag> {
        let unknown = |group: &GroupLag| group.partitions.iter().any(|partition| partition.lag.is_none());
        self.groups.iter().filter(move |group| group.lag > limit || unknown(group))
    }
}

/// Looks at all groups, or at one. Changes nothing.
///
/// # Errors
/// [`OpsError::NoSuch`] for a group that does not exist; when a broker cannot be asked.
pub async fn look(operated: &Operated, group: Option<&str>) -> Result<LagReport, OpsError> {
    let begun = Instant::now();
    let deadline = soon();
    let mut admin = operated.admin()?;
    let mut listed = admin.groups(deadline).await?;
    if let Some(wanted) = group {
        if !listed.iter().any(|listed| listed.name == wanted) {
            return Err(OpsError::no_such("group", wanted, listed.iter().map(|listed| listed.name.as_str())));
        }
        listed.retain(|listed| listed.name == wanted);
    }
    let mut committed = Vec::new();
    for group in listed {
        let offsets = admin.committed_offsets(&group, deadline).await?;
        committed.push((group, offsets));
    }
    let mut wanted: Vec<_> = committed.iter().flat_map(|(_, offsets)| offsets.keys().cloned()).collect();
    wanted.sort();
    wanted.dedup();
    let ends = admin.ends(&wanted, deadline).await?;
    let groups = committed.into_iter().map(|(group, offsets)| {
        let partitions: Vec<PartitionLag> = offsets
            .into_iter()
            .map(|(key, committed)| behind(&key, committed, ends.get(&key).copied()))
            .collect();
        let lag = partitions.iter().filter_map(|partition| partition.lag).sum();
        GroupLag { group: group.name, state: group.state, coordinator: group.coordinator, lag, partitions }
    });
    let cluster = operated.cluster().plan.cluster.clone();
    Ok(LagReport { cluster, groups: groups.collect(), millis: millis_since(begun) })
}

/// A group can be ahead of a partition that was deleted and made again: that is no negative lag.
fn behind(key: &(String, i32), committed: i64, end: Option<i64>) -> PartitionLag {
    let lag = end.map(|end| end.saturating_sub(committed).max(0));
    PartitionLag { topic: key.0.clone(), partition: key.1, committed, end, lag }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn report() -> LagReport {
        let key = |partition| ("t".to_owned(), partition);
        let group = |name: &str, partitions: Vec<PartitionLag>| GroupLag {
            group: name.to_owned(),
            state: "Empty".to_owned(),
            coordinator: 1,
            lag: partitions.iter().filter_map(|partition| partition.lag).sum(),
            partitions,
        };
        LagReport {
            cluster: "demo".parse().unwrap(),
            groups: vec![
                group("even", vec![behind(&key(0), 7, Some(7)), behind(&key(1), 9, Some(2))]),
                group("behind", vec![behind(&key(0), 3, Some(7))]),
                group("blind", vec![behind(&key(2), 3, None)]),
            ],
            millis: 3,
        }
    }

    #[test]
    fn a_limit_finds_who_is_behind_and_who_cannot_be_told() {
        let report = report();
        let over = |limit| report.over(limit).map(|group| group.group.as_str()).collect::<Vec<_>>();
        assert_eq!(over(3), ["behind", "blind"]);
        assert_eq!(over(4), ["blind"]);
        assert_eq!(report.groups[0].lag, 0);
    }
}
