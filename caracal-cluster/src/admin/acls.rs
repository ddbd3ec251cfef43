//! Access rules: what the cluster holds against what the plan lists.

use std::collections::BTreeSet;
use std::fmt;

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};
use kafka_protocol::protocol::StrBytes;

use super::{Admin, AdminError, Outcome, outcome};
use crate::plan::{AclRule, Operation, PatternKind, ResourceKind};
use crate::wire::{ApiError, Connection, Deadline, WireError};

/// `ANY` of `ResourceType`, `PatternType`, `AclOperation` and `AclPermissionType`.
const ANY: i8 = 1;
/// `DENY` of `AclPermissionType`.
pub(crate) const DENY: i8 = 2;
/// `ALLOW` of `AclPermissionType`.
pub(crate) const ALLOW: i8 = 3;
/// Every host.
pub(crate) const ANY_HOST: &str = "*";

/// A rule as the cluster holds it, whether or not the plan could say it (`AclBinding` in Kafka).
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct AclBinding {
    /// `ResourceType` by number.
    pub resource_type: i8,
    /// The resource's name or prefix.
    pub resource_name: String,
    /// `PatternType` by number.
    pub pattern_type: i8,
    /// The principal, with its type.
    pub principal: String,
    /// The host; `*` is any.
    pub host: String,
    /// `AclOperation` by number.
    pub operation: i8,
    /// `AclPermissionType` by number.
    pub permission: i8,
}

/// How the cluster's rules differ from the plan's.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AclDrift {
    /// Planned, but not there.
    pub missing: Vec<AclRule>,
    /// There, but not planned; among them those that the plan could not even say.
    pub unplanned: Vec<AclBinding>,
}

impl AclDrift {
    /// Compares the plan's rules with the cluster's.
    pub fn between(planned: &[AclRule], found: &[AclBinding]) -> Self {
        let wanted: BTreeSet<AclBinding> = planned.iter().map(AclBinding::from).collect();
        let there: BTreeSet<&AclBinding> = found.iter().collect();
        Self {
            missing: planned
                .iter()
                .filter(|rule| !there.contains(&AclBinding::from(*rule)))
                .cloned()
                .collect(),
            unplanned: there.into_iter().filter(|binding| !wanted.contains(*binding)).cloned().collect(),
        }
    }

    /// The same without rules that somebody is known to have added, as [`AclBinding`] writes them.
    #[must_use]
    pub fn without(mut self, own: &[String]) -> Self {
        self.unplanned.retain(|binding| !own.contains(&binding.to_string()));
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unplanned.is_empty()
    }
}

impl Admin {
    /// Every rule of the cluster, sorted.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn acls(&mut self, deadline: Deadline) -> Result<Vec<AclBinding>, AdminError> {
        let controller = self.controller(deadline).await?;
        Ok(known_to(controller, deadline).await?)
    }

    /// Creates rules; one that is there already counts as created.
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed.
    pub async fn create_acls(
        &mut self,
        rules: &[AclRule],
        deadline: Deadline,
    ) -> Result<Vec<Outcome<AclRule>>, AdminError> {
        let creations = rules.iter().map(|rule| creation(&AclBinding::from(rule))).collect();
        let request = CreateAclsRequest::default().with_creations(creations);
        let response = self.call("create access rules", &request, |_| false, deadline).await?;
        let results = rules.iter().zip(response.results).map(|(rule, result)| {
            let message = result.error_message.as_ref().map(|text| text.as_str());
            outcome(rule.clone(), result.error_code, message, AclBinding::from(rule).to_string())
        });
        Ok(results.collect())
    }

    /// Creates rules of any kind, denials and hosts included; one that is there already counts as created.
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed.
    pub async fn create_bindings(
        &mut self,
        bindings: &[AclBinding],
        deadline: Deadline,
    ) -> Result<Vec<Outcome<AclBinding>>, AdminError> {
        let request = CreateAclsRequest::default().with_creations(bindings.iter().map(creation).collect());
        let response = self.call("create access rules", &request, |_| false, deadline).await?;
        let results = bindings.iter().zip(response.results).map(|(binding, result)| {
            let message = result.error_message.as_ref().map(|text| text.as_str());
            outcome(binding.clone(), result.error_code, message, binding.to_string())
        });
        Ok(results.collect())
    }

    /// Deletes exactly these rules; one that is gone already counts as deleted.
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed.
    pub async fn delete_acls(
        &mut self,
        bindings: &[AclBinding],
        deadline: Deadline,
    ) -> Result<Vec<Outcome<AclBinding>>, AdminError> {
        let request = DeleteAclsRequest::default().with_filters(bindings.iter().map(exactly).collect());
        let response = self.call("delete access rules", &request, |_| false, deadline).await?;
        let results = bindings.iter().zip(response.filter_results).map(|(binding, result)| {
            let failed = result.matching_acls.iter().find(|matched| matched.error_code != 0);
            let (code, message) = failed.map_or((result.error_code, &result.error_message), |matched| {
                (matched.error_code, &matched.error_message)
            });
            let message = message.as_ref().map(|text| text.as_str());
            outcome(binding.clone(), code, message, binding.to_string())
        });
        Ok(results.collect())
    }
}

/// Every rule that one broker knows, sorted: it learns of a change a moment after the controller.
///
/// # Errors
/// [`WireError`].
pub(crate) async fn known_to(
    connection: &mut Connection,
    deadline: Deadline,
) -> Result<Vec<AclBinding>, WireError> {
    const DOING: &str = "list access rules";
    let response = connection.call_as(DOING, &every_rule(), i16::MAX, deadline).await?;
    let message = response.error_message.as_ref().map(|text| text.as_str());
    ApiError::check(response.error_code, message, "access rules")
        .map_err(|error| connection.error(DOING, error.into()))?;
    let mut bindings = Vec::new();
    for resource in response.resources {
        bindings.extend(resource.acls.iter().map(|acl| AclBinding {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.to_string(),
            pattern_type: resource.pattern_type,
            principal: acl.principal.to_string(),
            host: acl.host.to_string(),
            operation: acl.operation,
            permission: acl.permission_type,
        }));
    }
    bindings.sort();
    Ok(bindings)
}

impl From<&AclRule> for AclBinding {
    fn from(rule: &AclRule) -> Self {
        Self {
            resource_type: resource_code(rule.resource),
            resource_name: rule.name.clone(),
            pattern_type: pattern_code(rule.pattern),
            principal: format!("User:{}", rule.user),
            host: ANY_HOST.to_owned(),
            operation: operation_code(rule.operation),
            permission: ALLOW,
        }
    }
}

impl AclBinding {
    /// The plan's way to say it; none when the plan has none (another host, a denial, another principal).
    pub fn to_rule(&self) -> Option<AclRule> {
        if self.host != ANY_HOST || self.permission != ALLOW {
            return None;
        }
        Some(AclRule {
            user: self.principal.strip_prefix("User:")?.parse().ok()?,
            resource: RESOURCES.into_iter().find(|kind| resource_code(*kind) == self.resource_type)?,
            pattern: PATTERNS.into_iter().find(|kind| pattern_code(*kind) == self.pattern_type)?,
            name: self.resource_name.clone(),
            operation: OPERATIONS.into_iter().find(|kind| operation_code(*kind) == self.operation)?,
        })
    }
}

impl fmt::Display for AclBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permission = match self.permission {
            DENY => "deny".to_owned(),
            ALLOW => "allow".to_owned(),
            other => format!("permission {other}"),
        };
        let operation = named(OPERATION_NAMES, self.operation, "operation");
        let resource = named(RESOURCE_NAMES, self.resource_type, "resource type");
        let pattern = named(PATTERN_NAMES, self.pattern_type, "pattern type");
        write!(
            f,
            "{permission} {} {operation} on {resource} {pattern} `{}`",
            self.principal, self.resource_name
        )?;
        if self.host == ANY_HOST { Ok(()) } else { write!(f, " from {}", self.host) }
    }
}

const RESOURCES: [ResourceKind; 4] =
    [ResourceKind::Cluster, ResourceKind::Topic, ResourceKind::Group, ResourceKind::TransactionalId];
const PATTERNS: [PatternKind; 2] = [PatternKind::Literal, PatternKind::Prefixed];
const OPERATIONS: [Operation; 10] = [
    Operation::All,
    Operation::Read,
    Operation::Write,
    Operation::Create,
    Operation::Delete,
    Operation::Alter,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
    Operation::IdempotentWrite,
];

// Kafka's names by Kafka's numbers, for what the plan cannot say too.
pub(crate) const RESOURCE_NAMES: &[&str] =
    &["Unknown", "Any", "Topic", "Group", "Cluster", "TransactionalId", "DelegationToken", "User"];
pub(crate) const PATTERN_NAMES: &[&str] = &["unknown", "any", "match", "literal", "prefixed"];
pub(crate) const OPERATION_NAMES: &[&str] = &[
    "Unknown",
    "Any",
    "All",
    "Read",
    "Write",
    "Create",
    "Delete",
    "Alter",
    "Describe",
    "ClusterAction",
    "DescribeConfigs",
    "AlterConfigs",
    "IdempotentWrite",
    "CreateTokens",
    "DescribeTokens",
    "TwoPhaseCommit",
];

pub(crate) fn named(names: &[&str], code: i8, what: &str) -> String {
    let name = usize::try_from(code).ok().and_then(|index| names.get(index));
    name.map_or_else(|| format!("{what} {code}"), |name| (*name).to_owned())
}

/// `org.apache.kafka.common.resource.ResourceType`.
pub(crate) fn resource_code(kind: ResourceKind) -> i8 {
    match kind {
        ResourceKind::Topic => 2,
        ResourceKind::Group => 3,
        ResourceKind::Cluster => 4,
        ResourceKind::TransactionalId => 5,
    }
}

/// `org.apache.kafka.common.resource.PatternType`.
pub(crate) fn pattern_code(kind: PatternKind) -> i8 {
    match kind {
        PatternKind::Literal => 3,
        PatternKind::Prefixed => 4,
    }
}

/// `org.apache.kafka.common.acl.AclOperation`.
fn operation_code(operation: Operation) -> i8 {
    match operation {
        Operation::All => 2,
        Operation::Read => 3,
        Operation::Write => 4,
        Operation::Create => 5,
        Operation::Delete => 6,
        Operation::Alter => 7,
        Operation::Describe => 8,
        Operation::DescribeConfigs => 10,
        Operation::AlterConfigs => 11,
        Operation::IdempotentWrite => 12,
    }
}

fn creation(binding: &AclBinding) -> AclCreation {
    AclCreation::default()
        .with_resource_type(binding.resource_type)
        .with_resource_name(text(&binding.resource_name))
        .with_resource_pattern_type(binding.pattern_type)
        .with_principal(text(&binding.principal))
        .with_host(text(&binding.host))
        .with_operation(binding.operation)
        .with_permission_type(binding.permission)
}

/// A filter that every binding passes. The defaults of its names are empty, which would match none.
fn every_rule() -> DescribeAclsRequest {
    DescribeAclsRequest::default()
        .with_resource_type_filter(ANY)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(ANY)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(ANY)
        .with_permission_type(ANY)
}

/// A filter that this binding alone passes.
fn exactly(binding: &AclBinding) -> DeleteAclsFilter {
    DeleteAclsFilter::default()
        .with_resource_type_filter(binding.resource_type)
        .with_resource_name_filter(Some(text(&binding.resource_name)))
        .with_pattern_type_filter(binding.pattern_type)
        .with_principal_filter(Some(text(&binding.principal)))
        .with_host_filter(Some(text(&binding.host)))
        .with_operation(binding.operation)
        .with_permission_type(binding.permission)
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(operation: Operation) -> AclRule {
        AclRule {
            user: "producer".parse().unwrap(),
            resource: ResourceKind::Topic,
            pattern: PatternKind::Prefixed,
            name: "caracal.".to_owned(),
            operation,
        }
    }

    #[test]
    fn every_rule_survives_the_way_to_kafka_and_back() {
        for resource in RESOURCES {
            for pattern in PATTERNS {
                for operation in OPERATIONS {
                    let rule = AclRule { resource, pattern, ..rule(operation) };
                    assert_eq!(AclBinding::from(&rule).to_rule(), Some(rule));
                }
            }
        }
    }

    #[test]
    fn a_rule_that_the_plan_cannot_say_is_kept_as_text() {
        let foreign = AclBinding {
            host: "10.0.0.1".to_owned(),
            permission: 2,
            operation: 2,
            ..AclBinding::from(&rule(Operation::Read))
        };
        assert_eq!(foreign.to_rule(), None);
        assert_eq!(foreign.to_string(), "deny User:producer All on Topic prefixed `caracal.` from 10.0.0.1");
        let odd = AclBinding { operation: 99, ..foreign };
        assert!(odd.to_string().contains("operation 99"));
    }

    #[test]
    fn the_filter_for_every_rule_names_nothing() {
        let filter = every_rule();
        assert!(filter.resource_name_filter.is_none());
        assert!(filter.principal_filter.is_none());
        assert!(filter.host_filter.is_none());
    }

    #[test]
    fn drift_names_both_directions() {
        let planned = [rule(Operation::Read), rule(Operation::Write)];
        let mut unplanned = AclBinding::from(&rule(Operation::Delete));
        unplanned.host = "h".to_owned();
        let found = [AclBinding::from(&planned[0]), unplanned.clone()];
        let drift = AclDrift::between(&planned, &found);
        assert_eq!(drift.missing, [rule(Operation::Write)]);
        assert_eq!(drift.unplanned, [unplanned]);
        assert!(AclDrift::between(&planned, &planned.each_ref().map(AclBinding::from)).is_empty());
    }
}
