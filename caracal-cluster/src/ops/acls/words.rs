//! Resources, operations and rules as people type them.
//!
//! ```
//! use caracal_cluster::ops::acls::{Operation, Resource, Rule};
//!
//! assert_eq!("topic:orders.*".parse::<Resource>().unwrap().to_string(), "topic:orders.*");
//! assert_eq!("read".parse::<Operation>().unwrap().to_string(), "Read");
//! assert!("Write topic:orders".parse::<Rule>().is_ok());
//! assert!("Write group:ledger".parse::<Rule>().is_err(), "Kafka knows no Write on a group");
//! ```

use std::fmt;
use std::str::FromStr;

use crate::admin::AclBinding;
use crate::admin::acls::{ALLOW, ANY_HOST, OPERATION_NAMES, named, pattern_code, resource_code};
use crate::plan::{AclRule, CLUSTER, NamePattern, PatternKind, ResourceKind};

/// Something that was typed and means nothing here.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct WordError(pub(super) String);

/// An operation by Kafka's number (`AclOperation`).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Operation(pub(crate) i8);

impl Operation {
    pub(crate) const ALL: Self = Self(2);
    pub(crate) const READ: Self = Self(3);
    pub(crate) const WRITE: Self = Self(4);
    pub(crate) const CREATE: Self = Self(5);
    pub(crate) const DELETE: Self = Self(6);
    pub(crate) const ALTER: Self = Self(7);
    pub(crate) const DESCRIBE: Self = Self(8);
    pub(crate) const DESCRIBE_CONFIGS: Self = Self(10);
    pub(crate) const ALTER_CONFIGS: Self = Self(11);
    pub(crate) const IDEMPOTENT_WRITE: Self = Self(12);

    /// Operations that Kafka asks for on a kind of resource (`AclEntry.supportedOperations`), `All` aside.
    pub fn known_on(kind: ResourceKind) -> &'static [Self] {
        const CLUSTER_ACTION: Operation = Operation(9);
        match kind {
            ResourceKind::Topic => &[
                Self::READ,
                Self::WRITE,
                Self::CREATE,
                Self::DELETE,
                Self::ALTER,
                Self::DESCRIBE,
                Self::DESCRIBE_CONFIGS,
                Self::ALTER_CONFIGS,
            ],
            ResourceKind::Group => {
                &[Self::READ, Self::DELETE, Self::DESCRIBE, Self::DESCRIBE_CONFIGS, Self::ALTER_CONFIGS]
            }
            ResourceKind::Cluster => &[
                Self::CREATE,
                Self::ALTER,
                Self::DESCRIBE,
                CLUSTER_ACTION,
                Self::DESCRIBE_CONFIGS,
                Self::ALTER_CONFIGS,
                Self::IDEMPOTENT_WRITE,
            ],
            ResourceKind::TransactionalId => &[Self::WRITE, Self::DESCRIBE],
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&named(OPERATION_NAMES, self.0, "operation"))
    }
}

impl FromStr for Operation {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        // `describe-configs` and `DESCRIBE_CONFIGS` mean the same as `DescribeConfigs`.
        let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
        let known = OPERATION_NAMES.iter().zip(0_i8..).skip(2);
        let found = known.clone().find(|(name, _)| plain(name) == plain(text));
        found.map(|(_, code)| Self(code)).ok_or_else(|| {
            let names = known.map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            WordError(format!("`{text}` is no operation; there is: {names}"))
        })
    }
}

/// Resources that a rule or a question is about: `topic:NAME`, `group:PREFIX*`, `transactional-id:*`, `cluster`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Resource {
    /// Which kind.
    pub kind: ResourceKind,
    /// Which of them.
    pub name: NamePattern,
}

impl Resource {
    /// A resource by its whole name.
    pub fn literal(kind: ResourceKind, name: impl Into<String>) -> Self {
        Self { kind, name: NamePattern::literal(name) }
    }

    /// The word for its kind.
    pub fn kind_word(&self) -> &'static str {
        kind_word(self.kind)
    }
}

pub(super) fn kind_word(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Cluster => "cluster",
        ResourceKind::Topic => "topic",
        ResourceKind::Group => "group",
        ResourceKind::TransactionalId => "transactional-id",
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ResourceKind::Cluster => f.write_str("cluster"),
            _ => write!(f, "{}:{}", self.kind_word(), self.name),
        }
    }
}

impl FromStr for Resource {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let wrong = || {
            WordError(format!(
                "`{text}` is no resource: write topic:NAME, group:NAME, transactional-id:NAME or cluster; \
                 NAME may be PREFIX* or *"
            ))
        };
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let kind = match kind.to_lowercase().replace('_', "-").as_str() {
            "cluster" if name.is_empty() || name == CLUSTER => {
                return Ok(Self::literal(ResourceKind::Cluster, CLUSTER));
            }
            "topic" => ResourceKind::Topic,
            "group" => ResourceKind::Group,
            "transactional-id" | "transactionalid" => ResourceKind::TransactionalId,
            _ => return Err(wrong()),
        };
        let name = NamePattern::parse(name).map_err(|why| WordError(format!("{}: {why}", wrong().0)))?;
        Ok(Self { kind, name })
    }
}

/// An operation on resources, as the rules of an added user are typed: `Read topic:orders`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// What.
    pub operation: Operation,
    /// On what.
    pub resource: Resource,
}

impl Rule {
    /// A rule, if Kafka ever asks for such an operation on such a resource.
    ///
    /// # Errors
    /// Names the operations that there are.
    pub fn new(operation: Operation, resource: Resource) -> Result<Self, WordError> {
        let known = Operation::known_on(resource.kind);
        if operation == Operation::ALL || known.contains(&operation) {
            return Ok(Self { operation, resource });
        }
        let names = known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let kind = resource.kind_word();
        Err(WordError(format!("Kafka never asks for {operation} on a {kind}; there is: All, {names}")))
    }

    /// The rule for a principal, as the cluster holds it.
    pub fn binding(&self, principal: &str) -> AclBinding {
        AclBinding {
            resource_type: resource_code(self.resource.kind),
            resource_name: self.resource.name.name.clone(),
            pattern_type: pattern_code(self.resource.name.kind),
            principal: principal.to_owned(),
            host: ANY_HOST.to_owned(),
            operation: self.operation.0,
            permission: ALLOW,
        }
    }

    /// The rule for a user, as the plan says it; none for an operation that it has no word for.
    pub fn for_user(&self, user: &crate::names::UserName) -> Option<AclRule> {
        self.binding(&format!("User:{user}")).to_rule()
    }
}

impl FromStr for Rule {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let wrong = || {
            WordError(format!("`{text}` is no rule: write OPERATION RESOURCE, such as 'Read topic:orders'"))
        };
        let (operation, resource) = text.trim().split_once(' ').ok_or_else(wrong)?;
        Self::new(operation.parse()?, resource.trim().parse()?)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.resource)
    }
}

/// What a rule of the cluster is about, as people type it; Kafka's own words for kinds that have no word here.
pub(super) fn resource_of(binding: &AclBinding) -> String {
    let kinds =
        [ResourceKind::Cluster, ResourceKind::Topic, ResourceKind::Group, ResourceKind::TransactionalId];
    let kind = kinds.into_iter().find(|kind| resource_code(*kind) == binding.resource_type);
    let pattern = [PatternKind::Literal, PatternKind::Prefixed]
        .into_iter()
        .find(|kind| pattern_code(*kind) == binding.pattern_type);
    match (kind, pattern) {
        (Some(kind), Some(pattern)) => {
            let name = NamePattern { kind: pattern, name: binding.resource_name.clone() };
            Resource { kind, name }.to_string()
        }
        _ => {
            let kind = named(crate::admin::acls::RESOURCE_NAMES, binding.resource_type, "resource type");
            format!("{kind}:{}", binding.resource_name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_every_spelling_and_wrong_ones_say_what_there_is() {
        for text in ["describe-configs", "DESCRIBE_CONFIGS", "DescribeConfigs", "describeconfigs"] {
            assert_eq!(text.parse(), Ok(Operation::DESCRIBE_CONFIGS), "{text}");
        }
        let wrong = "any".parse::<Operation>().unwrap_err().to_string();
        assert!(wrong.contains("All, Read, Write"), "{wrong}");
        for text in ["topic:a", "group:b*", "transactional-id:*", "cluster"] {
            assert_eq!(text.parse::<Resource>().unwrap().to_string(), text);
        }
        assert_eq!("cluster:kafka-cluster".parse::<Resource>(), "cluster".parse());
        for wrong in ["", "topic", "topic:", "queue:a", "cluster:other", "topic:a*b"] {
            assert!(wrong.parse::<Resource>().unwrap_err().to_string().contains("topic:NAME"), "{wrong}");
        }
    }

    #[test]
    fn a_rule_survives_its_way_to_kafka() {
        for text in
            ["Read topic:orders.*", "All group:g", "IdempotentWrite cluster", "Write transactional-id:*"]
        {
            let rule: Rule = text.parse().unwrap();
            assert_eq!(rule.to_string(), text);
            let binding = rule.binding("User:x");
            assert_eq!(resource_of(&binding), rule.resource.to_string());
            assert!(rule.for_user(&"x".parse().unwrap()).is_some());
        }
        let cluster: Rule = "ClusterAction cluster".parse().unwrap();
        assert_eq!(cluster.for_user(&"x".parse().unwrap()), None, "no role gives it");
        assert!("Read".parse::<Rule>().unwrap_err().to_string().contains("OPERATION RESOURCE"));
    }
}
