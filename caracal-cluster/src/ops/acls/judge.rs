//! What a broker's authoriser decides, and why: the rules of Kafka's `AclAuthorizer`, as a pure function.
//!
//! In its order: a super user may everything; a rule that denies counts before every rule that allows; a rule counts
//! when it names the resource whole, by the start of its name, or with `*`; Read, Write, Delete and Alter also allow
//! Describe, and AlterConfigs allows DescribeConfigs; what no rule allows is denied. Two requests have a second
//! way, which the broker tries by itself: a topic may be created by Create on the cluster, and an idempotent producer
//! needs only Write on any topic (KIP-679).

use super::words::{Operation, Resource, Rule};
use crate::admin::AclBinding;
use crate::admin::acls::{ALLOW, ANY_HOST, DENY, pattern_code, resource_code};
use crate::plan::{CLUSTER, PatternKind, ResourceKind};

/// Everybody, as a rule names them.
const ANYBODY: &str = "User:*";

/// What is asked: may this principal do that, to one resource, from there?
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Question {
    /// Who, with its type: `User:ledger`.
    pub principal: String,
    /// The client's address.
    pub host: String,
    /// What.
    pub operation: Operation,
    /// On which one.
    pub resource: Resource,
}

/// What decides.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Policy<'a> {
    /// Every rule of the cluster.
    pub rules: &'a [AclBinding],
    /// Who may everything, with type.
    pub super_users: &'a [String],
    /// Whether a resource without any rule is everybody's (`allow.everyone.if.no.acl.found`).
    pub open_without_rules: bool,
}

/// Why it is so.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// A super user may everything.
    SuperUser,
    /// A rule allows it.
    AllowedBy(AclBinding),
    /// A rule on something else allows it, which the broker takes for it.
    AllowedInstead(AclBinding),
    /// The resource has no rule, and such resources are everybody's.
    OpenWithoutRules,
    /// A rule denies it, whatever others allow.
    DeniedBy(AclBinding),
    /// No rule allows it.
    NothingAllows,
}

impl Reason {
    /// Whether it is allowed.
    pub fn allowed(&self) -> bool {
        !matches!(self, Self::DeniedBy(_) | Self::NothingAllows)
    }

    /// The rule that decided.
    pub fn rule(&self) -> Option<&AclBinding> {
        match self {
            Self::AllowedBy(rule) | Self::AllowedInstead(rule) | Self::DeniedBy(rule) => Some(rule),
            Self::SuperUser | Self::OpenWithoutRules | Self::NothingAllows => None,
        }
    }
}

impl Policy<'_> {
    /// The decision on a request, its second way included.
    pub fn judge(&self, question: &Question) -> Reason {
        let first = self.authorise(question);
        if first.allowed() {
            return first;
        }
        match (question.operation, question.resource.kind) {
            (Operation::CREATE, ResourceKind::Topic) => {
                let cluster = Resource::literal(ResourceKind::Cluster, CLUSTER);
                match self.authorise(&Question { resource: cluster, ..question.clone() }) {
                    Reason::AllowedBy(rule) => Reason::AllowedInstead(rule),
                    _ => first,
                }
            }
            (Operation::IDEMPOTENT_WRITE, ResourceKind::Cluster) => {
                self.writes_anything(question).map_or(first, |rule| Reason::AllowedInstead(rule.clone()))
            }
            _ => first,
        }
    }

    fn authorise(&self, question: &Question) -> Reason {
        if self.super_users.contains(&question.principal) {
            return Reason::SuperUser;
        }
        let covering: Vec<&AclBinding> =
            self.rules.iter().filter(|rule| covers(rule, &question.resource)).collect();
        if covering.is_empty() && self.open_without_rules {
            return Reason::OpenWithoutRules;
        }
        let first = |permission: i8, operations: &[Operation]| {
            covering.iter().find(|rule| {
                rule.permission == permission
                    && concerns(rule, question)
                    && operations.iter().any(|operation| names(rule, *operation))
            })
        };
        if let Some(rule) = first(DENY, &[question.operation]) {
            return Reason::DeniedBy((*rule).clone());
        }
        // The operation itself before those that imply it: the plainest reason is the one to be told.
        match first(ALLOW, implying(question.operation)) {
            Some(rule) => Reason::AllowedBy((*rule).clone()),
            None => Reason::NothingAllows,
        }
    }

    /// A rule that lets a principal write some topic, if no denial takes all of it back.
    fn writes_anything(&self, question: &Question) -> Option<&AclBinding> {
        let topics = |permission: i8| {
            self.rules.iter().filter(move |rule| {
                rule.permission == permission
                    && rule.resource_type == resource_code(ResourceKind::Topic)
                    && concerns(rule, question)
                    && names(rule, Operation::WRITE)
            })
        };
        let taken_back = |allowed: &AclBinding| {
            topics(DENY).any(|denied| {
                let whole = denied.pattern_type == pattern_code(PatternKind::Literal);
                match whole {
                    true => {
                        denied.resource_name == "*"
                            || (allowed.pattern_type == denied.pattern_type
                                && allowed.resource_name == denied.resource_name)
                    }
                    false => allowed.resource_name.starts_with(&denied.resource_name),
                }
            })
        };
        topics(ALLOW).find(|allowed| !taken_back(allowed))
    }
}

/// The rule that would allow what is asked.
pub fn wanting(question: &Question) -> Option<Rule> {
    Rule::new(question.operation, question.resource.clone()).ok()
}

fn implying(operation: Operation) -> &'static [Operation] {
    match operation {
        Operation::DESCRIBE => {
            &[Operation::DESCRIBE, Operation::READ, Operation::WRITE, Operation::DELETE, Operation::ALTER]
        }
        Operation::DESCRIBE_CONFIGS => &[Operation::DESCRIBE_CONFIGS, Operation::ALTER_CONFIGS],
        Operation::ALL => &[Operation::ALL],
        Operation::READ => &[Operation::READ],
        Operation::WRITE => &[Operation::WRITE],
        Operation::CREATE => &[Operation::CREATE],
        Operation::DELETE => &[Operation::DELETE],
        Operation::ALTER => &[Operation::ALTER],
        Operation::ALTER_CONFIGS => &[Operation::ALTER_CONFIGS],
        Operation::IDEMPOTENT_WRITE => &[Operation::IDEMPOTENT_WRITE],
        // Brokers' and tokens' operations: nothing implies them but All, which every rule's check knows.
        _ => &[],
    }
}

/// Whether a rule is about a resource.
pub(super) fn covers(rule: &AclBinding, resource: &Resource) -> bool {
    if rule.resource_type != resource_code(resource.kind) {
        return false;
    }
    if rule.pattern_type == pattern_code(PatternKind::Prefixed) {
        return resource.name.name.starts_with(&rule.resource_name);
    }
    rule.resource_name == "*" || rule.resource_name == resource.name.name
}

fn concerns(rule: &AclBinding, question: &Question) -> bool {
    (rule.principal == question.principal || rule.principal == ANYBODY)
        && (rule.host == ANY_HOST || rule.host == question.host)
}

fn names(rule: &AclBinding, operation: Operation) -> bool {
    rule.operation == operation.0 || rule.operation == Operation::ALL.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(permission: i8, principal: &str, text: &str) -> AclBinding {
        let rule: Rule = text.parse().unwrap();
        AclBinding { permission, ..rule.binding(principal) }
    }

    fn question(operation: &str, resource: &str) -> Question {
        Question {
            principal: "User:x".to_owned(),
            host: "127.0.0.1".to_owned(),
            operation: operation.parse().unwrap(),
            resource: resource.parse().unwrap(),
        }
    }

    fn judged(rules: &[AclBinding], operation: &str, resource: &str) -> Reason {
        let super_users = ["User:root".to_owned()];
        let policy = Policy { rules, super_users: &super_users, open_without_rules: false };
        policy.judge(&question(operation, resource))
    }

    /// Cases that the live suite also does to a real broker: one table of the authoriser's behaviour.
    #[test]
    fn every_way_to_be_allowed_and_denied() {
        let allow = |text: &str| rule(ALLOW, "User:x", text);
        for (rules, operation, resource, allowed) in [
            (vec![], "Read", "topic:a", false),
            (vec![allow("Read topic:a")], "Read", "topic:a", true),
            (vec![allow("Read topic:a")], "Read", "topic:ab", false),
            (vec![allow("Read topic:a*")], "Read", "topic:ab", true),
            (vec![allow("Read topic:*")], "Read", "topic:anything", true),
            (vec![allow("Read topic:*")], "Read", "group:g", false),
            (vec![allow("All topic:a")], "AlterConfigs", "topic:a", true),
            (vec![rule(ALLOW, "User:y", "Read topic:a")], "Read", "topic:a", false),
            (vec![rule(ALLOW, "User:*", "Read topic:a")], "Read", "topic:a", true),
            (vec![allow("Read topic:a"), rule(DENY, "User:x", "Read topic:a*")], "Read", "topic:a", false),
            (vec![allow("Read topic:a"), rule(DENY, "User:*", "All topic:*")], "Read", "topic:a", false),
            (vec![allow("All topic:a"), rule(DENY, "User:x", "Write topic:a")], "Read", "topic:a", true),
            (vec![allow("Write topic:a")], "Describe", "topic:a", true),
            (vec![allow("Delete topic:a")], "Describe", "topic:a", true),
            (vec![allow("Create topic:a")], "Describe", "topic:a", false),
            (vec![allow("Describe topic:a")], "Read", "topic:a", false),
            (vec![allow("AlterConfigs topic:a")], "DescribeConfigs", "topic:a", true),
            (vec![allow("Alter topic:a")], "DescribeConfigs", "topic:a", false),
            (vec![allow("Create cluster")], "Create", "topic:new", true),
            (vec![allow("Create topic:n*")], "Create", "cluster", false),
            (vec![allow("Write topic:a")], "IdempotentWrite", "cluster", true),
            (
                vec![allow("Write topic:a"), rule(DENY, "User:x", "Write topic:*")],
                "IdempotentWrite",
                "cluster",
                false,
            ),
        ] {
            let reason = judged(&rules, operation, resource);
            assert_eq!(reason.allowed(), allowed, "{operation} {resource} with {rules:?}: {reason:?}");
        }
    }

    #[test]
    fn a_denial_is_told_before_what_would_allow_and_hosts_count() {
        let mut denied = rule(DENY, "User:x", "Read topic:a");
        denied.host = "10.0.0.9".to_owned();
        let rules = [rule(ALLOW, "User:x", "Read topic:a"), denied.clone()];
        assert!(judged(&rules, "Read", "topic:a").allowed(), "the denial is for another host");
        let policy = Policy { rules: &rules, super_users: &[], open_without_rules: false };
        let there = Question { host: "10.0.0.9".to_owned(), ..question("Read", "topic:a") };
        assert_eq!(policy.judge(&there), Reason::DeniedBy(denied));
        let root = Question { principal: "User:root".to_owned(), ..there };
        let roots = ["User:root".to_owned()];
        assert_eq!(Policy { super_users: &roots, ..policy }.judge(&root), Reason::SuperUser);
    }

    #[test]
    fn a_resource_without_rules_is_everybodys_only_where_that_is_set() {
        let rules = [rule(ALLOW, "User:y", "Read topic:a")];
        let policy = Policy { rules: &rules, super_users: &[], open_without_rules: true };
        assert_eq!(policy.judge(&question("Read", "topic:b")), Reason::OpenWithoutRules);
        assert_eq!(policy.judge(&question("Read", "topic:a")), Reason::NothingAllows);
    }

    proptest! {
        /// Whatever the rules: a missing right is had by adding what is wanted, and no denial is got round by it.
        #[test]
        fn what_is_wanted_is_enough_and_a_denial_stays(
            picked in proptest::collection::vec((0..6_usize, any::<bool>(), 0..4_usize), 0..6),
            operation in 0..5_usize,
        ) {
            const OPERATIONS: [&str; 6] = ["Read", "Write", "Describe", "Delete", "AlterConfigs", "All"];
            const RESOURCES: [&str; 4] = ["topic:a", "topic:a*", "topic:*", "topic:b"];
            let mut rules: Vec<AclBinding> = picked
                .into_iter()
                .map(|(operation, allow, resource)| {
                    let text = format!("{} {}", OPERATIONS[operation], RESOURCES[resource]);
                    rule(if allow { ALLOW } else { DENY }, "User:x", &text)
                })
                .collect();
            let asked = question(OPERATIONS[operation], "topic:a");
            let before = judged(&rules, OPERATIONS[operation], "topic:a");
            rules.push(wanting(&asked).unwrap().binding("User:x"));
            let after = judged(&rules, OPERATIONS[operation], "topic:a");
            let was_denied = matches!(before, Reason::DeniedBy(_));
            prop_assert_eq!(after.allowed(), !was_denied);
        }
    }
}
