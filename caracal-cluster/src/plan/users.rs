//! Users and what each may do; what no rule allows is denied.

use super::model::{AclRule, Operation, PatternKind, ResourceKind, Role, UserPlan};
use super::{pki, registry};
use crate::names::UserName;
use crate::spec::ClusterSpec;

/// The prefix of every consumer group and transactional id of Caracal's own services.
pub const APPLICATION_PREFIX: &str = "caracal-";

pub(super) fn users(spec: &ClusterSpec) -> Vec<UserPlan> {
    spec.users
        .iter()
        .map(|user| UserPlan {
            name: user.name.clone(),
            role: user.role,
            super_user: matches!(user.role, Role::Admin | Role::InterBroker),
            iterations: spec.security.scram_iterations,
            certificate: (user.role != Role::InterBroker).then(|| pki::client_id(user.name.as_str())),
        })
        .collect()
}

/// The value of `super.users`.
///
/// The inter-broker user must be in it from the first start, before any rule can exist. Its twin
/// (`broker-a` and `broker-b`) is named beside it, although it has no credential yet: `super.users` cannot
/// change while a broker runs, so this is what lets a password be rotated without an outage.
pub(super) fn super_users(users: &[UserPlan]) -> String {
    let mut names: Vec<String> = Vec::new();
    for user in users.iter().filter(|user| user.super_user) {
        names.push(user.name.to_string());
        if user.role == Role::InterBroker {
            // Somebody else's name is not raised to a super user's by its spelling.
            names.extend(
                twin(user.name.as_str())
                    .filter(|twin| !users.iter().any(|other| other.name.as_str() == twin)),
            );
        }
    }
    names.dedup();
    names.iter().map(|name| format!("User:{name}")).collect::<Vec<_>>().join(";")
}

/// The name that takes over from an inter-broker user when its password is rotated.
pub(crate) fn twin(name: &str) -> Option<String> {
    let stem = name.strip_suffix("-a")?;
    Some(format!("{stem}-b"))
}

/// Every rule, in the order of users and topics.
pub(super) fn acls(spec: &ClusterSpec) -> Vec<AclRule> {
    let mut rules: Vec<AclRule> = spec
        .users
        .iter()
        .flat_map(|user| match user.role {
            // Super users need no rule.
            Role::Admin | Role::InterBroker => Vec::new(),
            Role::Producer => producer(spec, &user.name),
            Role::Consumer => consumer(spec, &user.name),
            Role::Registry => registry_user(spec, &user.name),
        })
        .collect();
    rules.sort();
    rules.dedup();
    rules
}

/// Writes the event topics, idempotently and in transactions of the application prefix. Not the dead
/// letters: those are the consumer's.
fn producer(spec: &ClusterSpec, user: &UserName) -> Vec<AclRule> {
    let mut rules: Vec<AclRule> = spec
        .topics
        .iter()
        .filter(|topic| topic.name.as_str() != caracal_kafka_contract::events::TOPIC_DEAD_LETTERS)
        .flat_map(|topic| {
            [Operation::Write, Operation::Describe]
                .map(|op| literal(user, ResourceKind::Topic, topic.name.as_str(), op))
        })
        .collect();
    rules.push(literal(user, ResourceKind::Cluster, "kafka-cluster", Operation::IdempotentWrite));
    for operation in [Operation::Write, Operation::Describe] {
        rules.push(prefixed(user, ResourceKind::TransactionalId, APPLICATION_PREFIX, operation));
    }
    rules
}

/// Reads every topic in groups of the application prefix, and writes dead letters.
fn consumer(spec: &ClusterSpec, user: &UserName) -> Vec<AclRule> {
    let mut rules: Vec<AclRule> = spec
        .topics
        .iter()
        .flat_map(|topic| {
            [Operation::Read, Operation::Describe]
                .map(|op| literal(user, ResourceKind::Topic, topic.name.as_str(), op))
        })
        .collect();
    for operation in [Operation::Read, Operation::Describe] {
        rules.push(prefixed(user, ResourceKind::Group, APPLICATION_PREFIX, operation));
    }
    if spec
        .topics
        .iter()
        .any(|topic| topic.name.as_str() == caracal_kafka_contract::events::TOPIC_DEAD_LETTERS)
    {
        let letters = caracal_kafka_contract::events::TOPIC_DEAD_LETTERS;
        rules.push(literal(user, ResourceKind::Topic, letters, Operation::Write));
        rules.push(literal(user, ResourceKind::Cluster, "kafka-cluster", Operation::IdempotentWrite));
    }
    rules
}

/// The registry on its own topics and its own groups, and nothing of Caracal's.
fn registry_user(spec: &ClusterSpec, user: &UserName) -> Vec<AclRule> {
    let mut rules: Vec<AclRule> = registry::topics(spec)
        .iter()
        .flat_map(|topic| {
            [Operation::Read, Operation::Write, Operation::Describe, Operation::DescribeConfigs]
                .map(|op| literal(user, ResourceKind::Topic, topic.name.as_str(), op))
        })
        .collect();
    for operation in [Operation::Read, Operation::Describe] {
        rules.push(prefixed(user, ResourceKind::Group, registry::GROUP_PREFIX, operation));
    }
    rules
}

fn literal(user: &UserName, resource: ResourceKind, name: &str, operation: Operation) -> AclRule {
    AclRule { user: user.clone(), resource, pattern: PatternKind::Literal, name: name.to_owned(), operation }
}

fn prefixed(user: &UserName, resource: ResourceKind, name: &str, operation: Operation) -> AclRule {
    AclRule { user: user.clone(), resource, pattern: PatternKind::Prefixed, name: name.to_owned(), operation }
}
