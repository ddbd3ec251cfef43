//! What can never be right about a topic, whatever the brokers would say; pure.

use std::collections::BTreeMap;

use super::Owner;
use crate::admin::TopicState;
use crate::ops::nearest;
use crate::plan::{ClusterPlan, NodeRole, TopicPlan};
use crate::properties;

/// Partitions of one topic; more are a mistake on clusters of this size.
const MOST_PARTITIONS: u32 = 1000;

/// The setting that says how many copies a write needs.
pub(super) const MIN_ISR: &str = "min.insync.replicas";

/// What the cluster is like.
#[derive(Clone, Debug)]
pub(super) struct Ground<'a> {
    plan: &'a ClusterPlan,
    brokers: usize,
    /// `min.insync.replicas` of a topic that does not set it.
    min_isr: usize,
}

impl<'a> Ground<'a> {
    /// The cluster as its plan has it.
    pub(super) fn of(plan: &'a ClusterPlan) -> Self {
        let broker = plan.nodes_of(NodeRole::Broker).next();
        let file =
            broker.and_then(|node| node.files.iter().find(|file| file.path.ends_with("server.properties")));
        let entries = file.map(|file| properties::parse(&file.text)).unwrap_or_default();
        let value =
            entries.iter().rev().find(|(key, _)| key == MIN_ISR).and_then(|(_, value)| value.parse().ok());
        Self { plan, brokers: plan.nodes_of(NodeRole::Broker).count(), min_isr: value.unwrap_or(1) }
    }

    /// Why a topic of this name is not to be touched.
    pub(super) fn protection(&self, name: &str, internal: bool) -> Option<String> {
        match Owner::of(name, internal, self.plan) {
            Owner::Kafka => Some(format!(
                "`{name}` is Kafka's own (offsets, transactions): brokers make and change it, and nobody else"
            )),
            Owner::Registry => Some(format!(
                "`{name}` is the schema registry's own: every schema lies in it; use `schemas` instead"
            )),
            Owner::Planned | Owner::Other => None,
        }
    }

    /// Everything that can never be right about a topic as it is wanted.
    pub(super) fn findings(&self, topic: &TopicPlan) -> Vec<String> {
        let name = topic.name.as_str();
        let mut found: Vec<String> = self.protection(name, false).into_iter().collect();
        if !(1..=MOST_PARTITIONS).contains(&topic.partitions) {
            found.push(format!(
                "`{name}`: {} partitions are outside 1 to {MOST_PARTITIONS}",
                topic.partitions
            ));
        }
        let (copies, brokers) = (usize::from(topic.replication_factor), self.brokers);
        if copies == 0 || copies > brokers {
            found.push(format!(
                "`{name}`: a replication factor of {copies} needs {copies} brokers, there are {brokers}; allowed: 1 to {brokers}"
            ));
        }
        found.extend(self.min_isr_of(name, &topic.config, copies));
        found
    }

    /// Why settings, given these, would leave a topic of so many copies without writes.
    pub(super) fn min_isr_of(
        &self,
        name: &str,
        config: &[(String, String)],
        copies: usize,
    ) -> Option<String> {
        let set = config.iter().rev().find(|(key, _)| key == MIN_ISR).map(|(_, value)| value.as_str());
        let (least, whose) = match set {
            Some(text) => match text.parse::<usize>() {
                Ok(least) => (least, "its"),
                Err(_) => return Some(format!("`{name}`: {MIN_ISR} is `{text}`, and must be a number")),
            },
            None => (self.min_isr, "the brokers'"),
        };
        if least == 0 {
            return Some(format!("`{name}`: {MIN_ISR} is 0, and a write needs at least one copy"));
        }
        (least > copies && copies > 0).then(|| {
            format!(
                "`{name}`: {whose} {MIN_ISR} of {least} can never be had of {copies} {}, so no write with acks=all \
                 would succeed; allowed: 1 to {copies}",
                if copies == 1 { "copy" } else { "copies" }
            )
        })
    }
}

/// Why the name of a new topic collides with one that is there.
pub(super) fn collision(name: &str, found: &[TopicState]) -> Option<String> {
    let same = |other: &&TopicState| other.name != name && metric_name(&other.name) == metric_name(name);
    found.iter().find(same).map(|other| {
        format!(
            "`{name}` and `{}` differ only in `.` and `_`, which Kafka does not tell apart in metrics and refuses",
            other.name
        )
    })
}

fn metric_name(name: &str) -> String {
    name.replace('.', "_")
}

/// Why a setting is none, by the settings that a topic of this cluster has.
pub(super) fn unknown_setting<'k>(
    keys: impl IntoIterator<Item = &'k str>,
    found: &[TopicState],
) -> Option<String> {
    let known = &found.first()?.config;
    let odd = keys.into_iter().find(|key| !known.is_empty() && !known.contains_key(*key))?;
    let hint = nearest::of(odd, known.keys().map(String::as_str));
    let hint = hint.map_or_else(
        || "; `topics describe` shows those that there are".to_owned(),
        |near| format!("; did you mean `{near}`?"),
    );
    Some(format!("topics have no setting `{odd}`{hint}"))
}

/// Why a topic cannot get this number of partitions.
pub(super) fn fewer_partitions(name: &str, there: usize, wanted: u32) -> Option<String> {
    (usize::try_from(wanted).unwrap_or(usize::MAX) < there).then(|| {
        format!(
            "`{name}` has {there} partitions and cannot have {wanted}: Kafka takes no partition away, because its \
             records and the offsets of their readers would go with it; make a new topic (`topics backup`, then \
             `topics restore --as`)"
        )
    })
}

/// Why a topic cannot get this number of copies.
pub(super) fn other_copies(name: &str, there: usize, wanted: u16) -> Option<String> {
    (usize::from(wanted) != there).then(|| {
        format!(
            "`{name}` has a replication factor of {there} and cannot get {wanted} in place: that moves data between \
             brokers, which this tool does not do; make a new topic (`topics backup`, then `topics restore --as`)"
        )
    })
}

/// The settings that a topic itself has set, with changes carried out.
pub(super) fn settings_after(
    state: &TopicState,
    changes: &BTreeMap<String, Option<String>>,
) -> Vec<(String, String)> {
    let kept = state.config.iter().filter(|(_, entry)| entry.set_on_topic);
    let mut after: BTreeMap<String, String> =
        kept.map(|(key, entry)| (key.clone(), entry.value.clone())).collect();
    for (key, value) in changes {
        match value {
            Some(value) => after.insert(key.clone(), value.clone()),
            None => after.remove(key),
        };
    }
    after.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TopicOwner;
    use crate::plan::tests::default_plan;
    use crate::wire::records::PartitionMetadata;

    fn topic(name: &str, partitions: u32, copies: u16, min_isr: Option<&str>) -> TopicPlan {
        TopicPlan {
            name: name.parse().unwrap(),
            partitions,
            replication_factor: copies,
            config: min_isr.map(|value| (MIN_ISR.to_owned(), value.to_owned())).into_iter().collect(),
            owner: TopicOwner::Application,
        }
    }

    fn said(topic: &TopicPlan) -> String {
        Ground::of(&default_plan()).findings(topic).join("\n")
    }

    #[test]
    fn what_can_never_be_written_is_refused_and_the_same_with_enough_copies_is_not() {
        assert_eq!(said(&topic("t", 1, 3, Some("3"))), "");
        assert_eq!(said(&topic("t", 1, 3, None)), "");
        assert_eq!(said(&topic("t", 1, 1, Some("1"))), "");
        for (wanted, part) in [
            (topic("t", 1, 3, Some("4")), "its min.insync.replicas of 4 can never be had of 3 copies"),
            (topic("t", 1, 1, None), "the brokers' min.insync.replicas of 2 can never be had of 1 copy"),
            (topic("t", 1, 4, None), "needs 4 brokers, there are 3"),
            (topic("t", 1, 0, None), "allowed: 1 to 3"),
            (topic("t", 0, 3, None), "0 partitions are outside 1 to 1000"),
            (topic("t", 1001, 3, None), "outside 1 to 1000"),
            (topic("t", 1, 3, Some("0")), "at least one copy"),
            (topic("t", 1, 3, Some("two")), "must be a number"),
            (topic("__mine", 1, 3, None), "Kafka's own"),
            (topic("kafkasql-journal", 1, 3, None), "the schema registry's own"),
        ] {
            let said = said(&wanted);
            assert!(said.contains(part), "{part} is not in {said}");
        }
    }

    #[test]
    fn names_settings_and_sizes_have_their_reasons() {
        let state = TopicState::for_tests("a.b", "2", vec![PartitionMetadata::new(0, Some(1), &[1], &[1])]);
        let found = [state];
        assert!(collision("a_b", &found).unwrap().contains("differ only"));
        assert_eq!(collision("a.b", &found), None);
        let unknown = unknown_setting(["min.insync.replica"], &found).unwrap();
        assert!(unknown.contains("did you mean `min.insync.replicas`?"), "{unknown}");
        assert_eq!(unknown_setting([MIN_ISR], &found), None);
        assert!(fewer_partitions("t", 3, 2).is_some() && fewer_partitions("t", 3, 3).is_none());
        assert!(other_copies("t", 3, 2).is_some() && other_copies("t", 3, 3).is_none());
        let changes = BTreeMap::from([(MIN_ISR.to_owned(), None), ("x".to_owned(), Some("1".to_owned()))]);
        assert_eq!(settings_after(&found[0], &changes), [("x".to_owned(), "1".to_owned())]);
    }
}
