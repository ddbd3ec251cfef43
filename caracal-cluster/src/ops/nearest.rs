//! The nearest of the names that are there, for somebody who mistyped one.
//!
//! ```
//! use caracal_cluster::ops::nearest;
//!
//! assert_eq!(nearest::of("kafka-9", ["kafka-1", "zookeeper-1"]), Some("kafka-1"));
//! assert_eq!(nearest::of("payments", ["kafka-1", "zookeeper-1"]), None);
//! ```

/// Names shown when none is near.
const MOST: usize = 12;

/// The nearest name, if any is near enough to have been meant: at most a third of its letters differ, or
/// the one is a part of the other.
pub fn of<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &str| {
        let apart = distance(name, candidate);
        let part = name.len() >= 3 && (candidate.contains(name) || name.contains(candidate));
        let limit = name.chars().count().max(candidate.chars().count()).div_ceil(3);
        (part || apart <= limit).then_some((!part, apart))
    };
    let ranked = known.into_iter().filter_map(|candidate| Some((near(candidate)?, candidate)));
    ranked.min().map(|(_, candidate)| candidate)
}

/// What to say after "there is no X `name`".
pub(crate) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    if let Some(nearest) = of(name, known.iter().copied()) {
        return format!("; did you mean `{nearest}`?");
    }
    known.sort_unstable();
    match known.len() {
        0 => "; there is none at all".to_owned(),
        1..=MOST => format!("; there is: {}", known.join(", ")),
        more => format!("; there are {more}: {}, ...", known[..MOST].join(", ")),
    }
}

/// Levenshtein's distance, in characters.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, candidate) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *candidate);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn near_names_are_offered_and_far_ones_listed() {
        let known = ["caracal.metering.events", "caracal.dlq", "caracal.policy.changes"];
        assert_eq!(hint("caracal.meterin.event", known), "; did you mean `caracal.metering.events`?");
        assert_eq!(hint("dlq", known), "; did you mean `caracal.dlq`?");
        assert_eq!(
            hint("zzz", known),
            "; there is: caracal.dlq, caracal.metering.events, caracal.policy.changes"
        );
        assert_eq!(hint("x", []), "; there is none at all");
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    proptest! {
        #[test]
        fn a_distance_is_one(a in "\\PC{0,12}", b in "\\PC{0,12}") {
            prop_assert_eq!(distance(&a, &a), 0);
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert!(distance(&a, &b) <= a.chars().count().max(b.chars().count()));
        }
    }
}
