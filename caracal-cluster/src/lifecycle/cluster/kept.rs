//! What the data of a cluster says of its topics, so that a description which can never be carried out is refused
//! before it replaces the one that was.
//!
//! Told by the folders that brokers keep, `<topic>-<partition>`: they say it whether brokers run or not.

use std::collections::BTreeMap;

use crate::dir::ClusterDir;
use crate::plan::{ClusterPlan, NodeRole, TopicPlan};

/// One topic on the brokers' disks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Kept {
    partitions: u32,
    copies: u16,
}

/// Topics that the new plan wants with fewer partitions or another number of copies than the last one carried out, and
/// that lie on the disks as the last one had them; each with what to do. Kafka takes no partition away, and `up` moves
/// no copy.
pub(super) fn impossible_topics(
    dir: &ClusterDir,
    last: Option<&ClusterPlan>,
    plan: &ClusterPlan,
) -> Vec<String> {
    let Some(last) = last else { return Vec::new() };
    let kept = kept(dir, last);
    let before = |topic: &TopicPlan| last.topics.iter().find(|known| known.name == topic.name);
    plan.topics
        .iter()
        .filter_map(|topic| why_not(topic, before(topic)?, kept.get(topic.name.as_str()).copied()?))
        .collect()
}

fn why_not(topic: &TopicPlan, before: &TopicPlan, kept: Kept) -> Option<String> {
    let (what, was, wanted) = if topic.partitions < before.partitions && topic.partitions < kept.partitions {
        ("partitions, which Kafka never takes away", kept.partitions, topic.partitions)
    } else if topic.replication_factor != before.replication_factor
        && kept.copies == before.replication_factor
    {
        let (was, wanted) = (before.replication_factor, topic.replication_factor);
        ("copies of each partition, which cannot be changed without moving data", was.into(), wanted.into())
    } else {
        return None;
    };
    Some(format!(
        "topic `{}` has {was} {what}; {wanted} are described: keep the number, delete the topic first \
         (`topics delete`, after `topics backup`), or delete everything (`cluster down -v`)",
        topic.name
    ))
}

/// Every topic that has a folder on some broker.
fn kept(dir: &ClusterDir, plan: &ClusterPlan) -> BTreeMap<String, Kept> {
    let mut copies: BTreeMap<(String, u32), u16> = BTreeMap::new();
    for broker in plan.nodes_of(NodeRole::Broker) {
        let Ok(entries) = std::fs::read_dir(dir.node_data(&broker.name)) else { continue };
        for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            // A topic that is being deleted, or a copy that is being moved, has another ending.
            let Some((topic, number)) = name.rsplit_once('-') else { continue };
            if let Ok(number) = number.parse() {
                *copies.entry((topic.to_owned(), number)).or_default() += 1;
            }
        }
    }
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    for ((topic, number), copies) in copies {
        let kept = kept.entry(topic).or_default();
        kept.partitions = kept.partitions.max(number + 1);
        kept.copies = kept.copies.max(copies);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::StateRoot;
    use crate::plan::tests::default_plan;

    const TOPIC: &str = "caracal.agent.lifecycle";

    fn wanting(change: impl FnOnce(&mut TopicPlan)) -> ClusterPlan {
        let mut plan = default_plan();
        change(plan.topics.iter_mut().find(|topic| topic.name.as_str() == TOPIC).unwrap());
        plan
    }

    #[test]
    fn what_kept_data_cannot_become_is_told_and_what_it_can_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let last = default_plan();
        let dir = StateRoot::at(&scratch.path().join("state")).unwrap().cluster(&last.cluster);
        let fewer = wanting(|topic| topic.partitions = 2);
        let other = wanting(|topic| topic.replication_factor = 2);
        assert!(impossible_topics(&dir, Some(&last), &fewer).is_empty(), "no data, nothing in the way");
        for broker in last.nodes_of(NodeRole::Broker) {
            for name in
                ["caracal.agent.lifecycle-0", "caracal.agent.lifecycle-1", "caracal.agent.lifecycle-2"]
            {
                caracal_pki::store::create_private_dir(&dir.node_data(&broker.name).join(name)).unwrap();
            }
        }
        let told = impossible_topics(&dir, Some(&last), &fewer);
        assert!(
            told.len() == 1 && told[0].contains("has 3 partitions") && told[0].contains("2 are"),
            "{told:?}"
        );
        let told = impossible_topics(&dir, Some(&last), &other);
        assert!(told.len() == 1 && told[0].contains("has 3 copies"), "{told:?}");
        assert!(impossible_topics(&dir, Some(&last), &wanting(|topic| topic.partitions = 9)).is_empty());
        assert!(impossible_topics(&dir, Some(&last), &last).is_empty());
        assert!(impossible_topics(&dir, None, &fewer).is_empty());
        // Deleted by hand: nothing is in the way any more.
        for broker in last.nodes_of(NodeRole::Broker) {
            std::fs::remove_dir_all(dir.node_data(&broker.name)).unwrap();
        }
        assert!(impossible_topics(&dir, Some(&last), &fewer).is_empty());
    }
}
