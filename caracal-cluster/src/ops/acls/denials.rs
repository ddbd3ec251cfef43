//! Refusals that happened, read from the authoriser's own log.
//!
//! ```text
//! Principal = User:consumer is Denied Operation = Delete from host = 127.0.0.1 on resource =
//! Topic:LITERAL:caracal.dlq for request = DeleteTopics with resourceRefCount = 1        (one line)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::judge::Question;
use super::words::Resource;
use crate::ops::logs::Entry;
use crate::plan::ResourceKind;

/// How often, when and where one thing was refused.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Denials {
    /// How often, on all brokers together.
    pub count: usize,
    /// The last time.
    #[serde(serialize_with = "as_rfc3339")]
    pub last: Option<OffsetDateTime>,
    /// Brokers that refused it.
    pub nodes: BTreeSet<String>,
    /// Requests that it was refused in.
    pub requests: BTreeSet<String>,
}

fn as_rfc3339<S: Serializer>(at: &Option<OffsetDateTime>, serializer: S) -> Result<S::Ok, S::Error> {
    at.and_then(|at| at.format(&Rfc3339).ok()).serialize(serializer)
}

/// Every refusal of a log, each thing that was refused once, the latest first.
pub(super) fn of(entries: &[Entry]) -> Vec<(Question, Denials)> {
    let mut found: BTreeMap<Question, Denials> = BTreeMap::new();
    for entry in entries {
        let Some((question, request)) = parsed(&entry.message) else { continue };
        let denials = found.entry(question).or_insert_with(|| Denials {
            count: 0,
            last: None,
            nodes: BTreeSet::new(),
            requests: BTreeSet::new(),
        });
        denials.count += 1;
        denials.last = denials.last.max(entry.time);
        denials.nodes.insert(entry.node.clone());
        denials.requests.insert(request);
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, denials)| std::cmp::Reverse(denials.last));
    found
}

/// What was refused, and in which request; none for lines that say something else.
fn parsed(message: &str) -> Option<(Question, String)> {
    let rest = message.strip_prefix("Principal = ")?;
    let (principal, rest) = rest.split_once(" is Denied ")?;
    let (operation, rest) = rest.strip_prefix("Operation = ")?.split_once(" from host = ")?;
    let (host, rest) = rest.split_once(" on resource = ")?;
    let (resource, rest) = rest.split_once(" for request = ")?;
    let request = rest.split(' ').next()?.to_owned();
    let question = Question {
        principal: principal.to_owned(),
        host: host.to_owned(),
        operation: operation.parse().ok()?,
        resource: named(resource)?,
    };
    Some((question, request))
}

/// `Topic:LITERAL:name`; the name may hold colons. What was asked of any resource of a kind is none of them.
fn named(text: &str) -> Option<Resource> {
    let (kind, rest) = text.split_once(':')?;
    let (pattern, name) = rest.split_once(':')?;
    if pattern != "LITERAL" {
        return None;
    }
    let kind = match kind {
        "Topic" => ResourceKind::Topic,
        "Group" => ResourceKind::Group,
        "Cluster" => ResourceKind::Cluster,
        "TransactionalId" => ResourceKind::TransactionalId,
        _ => return None,
    };
    Some(Resource::literal(kind, name))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn entry(node: &str, minute: u8, message: &str) -> Entry {
        let time = datetime!(2026-11-25 11:00:00 UTC).replace_minute(minute).unwrap();
        Entry {
            node: node.to_owned(),
            time: Some(time),
            level: None,
            logger: None,
            message: message.to_owned(),
        }
    }

    #[test]
    fn refusals_are_counted_by_what_was_refused_and_anything_else_is_passed_over() {
        let denied = |operation: &str, resource: &str| {
            format!(
                "Principal = User:x is Denied Operation = {operation} from host = 127.0.0.1 on resource = {resource} \
                 for request = Fetch with resourceRefCount = 1"
            )
        };
        let entries = [
            entry("k1", 1, &denied("Read", "Topic:LITERAL:a:b")),
            entry("k2", 7, &denied("Read", "Topic:LITERAL:a:b")),
            entry("k1", 9, &denied("DescribeConfigs", "Cluster:LITERAL:kafka-cluster")),
            entry("k1", 9, &denied("Write", "Topic:UNKNOWN:NONE")),
            entry("k1", 9, "started"),
            entry("k1", 9, &denied("Read", "Topic:LITERAL:a").replace("Denied", "Allowed")),
        ];
        let found = of(&entries);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].0.resource.to_string(), "cluster");
        let (question, denials) = &found[1];
        assert_eq!((question.resource.to_string().as_str(), denials.count), ("topic:a:b", 2));
        assert_eq!(denials.nodes.len(), 2);
        assert_eq!(denials.last, Some(datetime!(2026-11-25 11:07:00 UTC)));
        assert!(denials.requests.contains("Fetch"));
    }
}
