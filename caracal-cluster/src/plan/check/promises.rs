//! Rules that hold for every plan, whatever the description says: each guards a promise of the guide.

use std::collections::BTreeSet;

use super::{Note, Severity, add};
use crate::plan::ClusterPlan;

/// A topic that stands twice would be made by one entry and judged by the other.
pub(super) fn topics(plan: &ClusterPlan, notes: &mut Vec<Note>) {
    let mut seen = BTreeSet::new();
    for topic in &plan.topics {
        if !seen.insert(topic.name.as_str()) {
            add(notes, Severity::Error, format!("topic {}", topic.name), "stands twice in the plan");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::ClusterPlan;
    use crate::plan::check::{Severity, check};
    use crate::plan::tests::default_plan;

    fn errors(plan: &ClusterPlan) -> Vec<String> {
        check(plan).into_iter().filter(|n| n.severity == Severity::Error).map(|n| n.key).collect()
    }

    #[test]
    fn a_doubled_topic_is_an_error() {
        let mut plan = default_plan();
        let topic = plan.topics[0].clone();
        plan.topics.push(topic.clone());
        assert_eq!(errors(&plan), [format!("topic {}", topic.name)]);
    }
}
