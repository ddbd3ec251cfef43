//! Users and what each may do; what no rule allows is denied.

use caracal_kafka_contract::events::TOPIC_DEAD_LETTERS;

use super::additions::{AddedUser, Additions, NamePattern, Scope};
use super::model::{AclRule, Operation, PatternKind, ResourceKind, Role, UserPlan};
use super::{pki, registry};
use crate::names::UserName;
use crate::spec::ClusterSpec;

/// The prefix of every consumer group and transactional id of Caracal's own services.
pub const APPLICATION_PREFIX: &str = "caracal-";

/// Kafka's name of the cluster as a resource.
pub(crate) const CLUSTER: &str = "kafka-cluster";

/// Described users, then added ones.
pub(super) fn users(spec: &ClusterSpec, additions: &Additions) -> Vec<UserPlan> {
    let user = |name: &UserName, role: Role, added: bool| UserPlan {
        name: name.clone(),
        role,
        super_user: !added && matches!(role, Role::Admin | Role::InterBroker),
        iterations: spec.security.scram_iterations,
        certificate: (role != Role::InterBroker).then(|| pki::client_id(name.as_str())),
        added,
    };
    let described = spec.users.iter().map(|described| user(&described.name, described.role, false));
    let added = additions.users_beside(spec).map(|added| user(&added.name, added.role, true));
    described.chain(added).collect()
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
pub(super) fn acls(spec: &ClusterSpec, additions: &Additions) -> Vec<AclRule> {
    let described =
        spec.users.iter().flat_map(|user| role_rules(spec, &user.name, user.role, &Scope::default()));
    let added = additions.users_beside(spec).flat_map(|user| added_rules(spec, user));
    let mut rules: Vec<AclRule> = described.chain(added).collect();
    rules.sort();
    rules.dedup();
    rules
}

/// The rules of an added user: its role's and its own.
pub(crate) fn added_rules(spec: &ClusterSpec, user: &AddedUser) -> Vec<AclRule> {
    // Added to a running cluster, whose `super.users` cannot change: a rule for everything instead.
    let of_role = match user.role {
        Role::Admin => on_everything(&user.name, &[Operation::All]),
        role => role_rules(spec, &user.name, role, &user.scope),
    };
    of_role.into_iter().chain(user.rules.iter().cloned()).collect()
}

fn role_rules(spec: &ClusterSpec, user: &UserName, role: Role, scope: &Scope) -> Vec<AclRule> {
    match role {
        // Super users need no rule; what is custom is said rule by rule.
        Role::Admin | Role::InterBroker | Role::Custom => Vec::new(),
        Role::Producer => {
            let ids =
                or_default(&scope.transactional_ids, || vec![NamePattern::prefixed(APPLICATION_PREFIX)]);
            producer(spec, user, scope, &ids)
        }
        Role::TransactionalProducer => transactional_producer(spec, user, scope),
        Role::Consumer => consumer(spec, user, scope),
        Role::ConsumerGroup => {
            let own = || vec![NamePattern::literal(format!("{APPLICATION_PREFIX}{user}"))];
            reading(spec, user, scope, &or_default(&scope.groups, own))
        }
        Role::Registry => registry_user(spec, user),
        Role::ReadOnlyAdmin => on_everything(user, &[Operation::Describe, Operation::DescribeConfigs]),
    }
}

/// Writes the event topics, idempotently and in transactions of the application prefix. Not the dead
/// letters: those are the consumer's.
fn producer(spec: &ClusterSpec, user: &UserName, scope: &Scope, ids: &[NamePattern]) -> Vec<AclRule> {
    let events = || {
        let topics = spec.topics.iter().map(|topic| topic.name.as_str());
        topics.filter(|name| *name != TOPIC_DEAD_LETTERS).map(NamePattern::literal).collect()
    };
    let mut rules = each(
        user,
        ResourceKind::Topic,
        &or_default(&scope.topics, events),
        &[Operation::Write, Operation::Describe],
    );
    rules.push(literal(user, ResourceKind::Cluster, CLUSTER, Operation::IdempotentWrite));
    rules.extend(each(user, ResourceKind::TransactionalId, ids, &[Operation::Write, Operation::Describe]));
    rules
}

/// As a producer, in transactions of its own name; with groups, it may commit their offsets in them.
fn transactional_producer(spec: &ClusterSpec, user: &UserName, scope: &Scope) -> Vec<AclRule> {
    let own = || vec![NamePattern::prefixed(format!("{APPLICATION_PREFIX}{user}"))];
    let mut rules = producer(spec, user, scope, &or_default(&scope.transactional_ids, own));
    rules.extend(each(user, ResourceKind::Group, &scope.groups, &[Operation::Read, Operation::Describe]));
    rules
}

/// Reads every topic in groups of the application prefix, and writes dead letters.
fn consumer(spec: &ClusterSpec, user: &UserName, scope: &Scope) -> Vec<AclRule> {
    let groups = or_default(&scope.groups, || vec![NamePattern::prefixed(APPLICATION_PREFIX)]);
    let mut rules = reading(spec, user, scope, &groups);
    if spec.topics.iter().any(|topic| topic.name.as_str() == TOPIC_DEAD_LETTERS) {
        rules.push(literal(user, ResourceKind::Topic, TOPIC_DEAD_LETTERS, Operation::Write));
        rules.push(literal(user, ResourceKind::Cluster, CLUSTER, Operation::IdempotentWrite));
    }
    rules
}

/// Reads topics, every described one by default, in these groups.
fn reading(spec: &ClusterSpec, user: &UserName, scope: &Scope, groups: &[NamePattern]) -> Vec<AclRule> {
    let all = || spec.topics.iter().map(|topic| NamePattern::literal(topic.name.as_str())).collect();
    const READ: [Operation; 2] = [Operation::Read, Operation::Describe];
    let mut rules = each(user, ResourceKind::Topic, &or_default(&scope.topics, all), &READ);
    rules.extend(each(user, ResourceKind::Group, groups, &READ));
    rules
}

/// The registry on its own topics and its own groups, and nothing of Caracal's.
fn registry_user(spec: &ClusterSpec, user: &UserName) -> Vec<AclRule> {
    let topics = registry::topics(spec);
    let topics: Vec<NamePattern> =
        topics.iter().map(|topic| NamePattern::literal(topic.name.as_str())).collect();
    const ON_TOPICS: [Operation; 4] =
        [Operation::Read, Operation::Write, Operation::Describe, Operation::DescribeConfigs];
    let mut rules = each(user, ResourceKind::Topic, &topics, &ON_TOPICS);
    let groups = [spec.registry.flavor.group()];
    rules.extend(each(user, ResourceKind::Group, &groups, &[Operation::Read, Operation::Describe]));
    rules
}

/// The same on the cluster and on every topic, group and transactional id, where Kafka knows it there.
fn on_everything(user: &UserName, operations: &[Operation]) -> Vec<AclRule> {
    const KINDS: [ResourceKind; 4] =
        [ResourceKind::Cluster, ResourceKind::Topic, ResourceKind::Group, ResourceKind::TransactionalId];
    let configured = [ResourceKind::Cluster, ResourceKind::Topic];
    let known = |kind: ResourceKind, operation: Operation| {
        operation != Operation::DescribeConfigs || configured.contains(&kind)
    };
    KINDS
        .into_iter()
        .flat_map(|kind| {
            let name = if kind == ResourceKind::Cluster { CLUSTER } else { "*" };
            let operations = operations.iter().filter(move |operation| known(kind, **operation));
            operations.map(move |operation| literal(user, kind, name, *operation))
        })
        .collect()
}

fn each(
    user: &UserName,
    resource: ResourceKind,
    names: &[NamePattern],
    operations: &[Operation],
) -> Vec<AclRule> {
    let rule = |pattern: &NamePattern, operation: Operation| AclRule {
        user: user.clone(),
        resource,
        pattern: pattern.kind,
        name: pattern.name.clone(),
        operation,
    };
    names.iter().flat_map(|name| operations.iter().map(move |operation| rule(name, *operation))).collect()
}

fn or_default(given: &[NamePattern], default: impl FnOnce() -> Vec<NamePattern>) -> Vec<NamePattern> {
    if given.is_empty() { default() } else { given.to_vec() }
}

fn literal(user: &UserName, resource: ResourceKind, name: &str, operation: Operation) -> AclRule {
    AclRule { user: user.clone(), resource, pattern: PatternKind::Literal, name: name.to_owned(), operation }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(role: Role, scope: &Scope) -> Vec<String> {
        let (spec, user) = (ClusterSpec::default(), "ledger".parse().unwrap());
        let added = AddedUser { name: user, role, scope: scope.clone(), rules: Vec::new() };
        let rules = added_rules(&spec, &added);
        rules
            .iter()
            .map(|rule| {
                let star = if rule.pattern == PatternKind::Prefixed { "*" } else { "" };
                format!("{:?} {:?}:{}{star}", rule.operation, rule.resource, rule.name)
            })
            .collect()
    }

    #[test]
    fn a_consumer_group_reads_in_its_own_group_and_writes_nothing() {
        let by_default = rules(Role::ConsumerGroup, &Scope::default());
        assert!(by_default.contains(&"Read Group:caracal-ledger".to_owned()), "{by_default:?}");
        assert!(by_default.contains(&"Read Topic:caracal.metering.events".to_owned()));
        assert!(!by_default.iter().any(|rule| rule.starts_with("Write")));
        let scope = Scope {
            topics: vec![NamePattern::prefixed("orders.")],
            groups: vec![NamePattern::literal("g")],
            ..Scope::default()
        };
        let narrow = rules(Role::ConsumerGroup, &scope);
        assert_eq!(
            narrow,
            ["Read Topic:orders.*", "Describe Topic:orders.*", "Read Group:g", "Describe Group:g"]
        );
    }

    #[test]
    fn a_transactional_producer_has_ids_of_its_own_name() {
        let rules = rules(Role::TransactionalProducer, &Scope::default());
        assert!(rules.contains(&"Write TransactionalId:caracal-ledger*".to_owned()), "{rules:?}");
        assert!(rules.contains(&"IdempotentWrite Cluster:kafka-cluster".to_owned()));
        assert!(!rules.iter().any(|rule| rule.contains("caracal.dlq") || rule.starts_with("Read")));
    }

    #[test]
    fn an_added_admin_has_rules_because_super_users_cannot_change() {
        let all = rules(Role::Admin, &Scope::default());
        assert_eq!(all, ["All Cluster:kafka-cluster", "All Topic:*", "All Group:*", "All TransactionalId:*"]);
        let looking = rules(Role::ReadOnlyAdmin, &Scope::default());
        assert!(looking.iter().all(|rule| rule.starts_with("Describe")), "{looking:?}");
        assert!(looking.contains(&"DescribeConfigs Topic:*".to_owned()));
        assert!(!looking.contains(&"DescribeConfigs Group:*".to_owned()), "Kafka knows it on no group");
    }
}
