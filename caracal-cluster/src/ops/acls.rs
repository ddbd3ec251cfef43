//! Access rules of a running cluster: listed, added, removed, explained.

mod change;
mod denials;
mod explain;
pub mod judge;
pub(super) mod spread;
mod words;

use serde::Serialize;

pub use self::change::{ChangeOptions, ChangeReport, add, remove};
pub use self::denials::Denials;
pub use self::explain::{Asked, ExplainReport, Explained, explain};
pub use self::words::{Operation, Resource, Rule, WordError};
use super::{Operated, OpsError, soon};
use crate::admin::AclBinding;
use crate::admin::acls::{DENY, OPERATION_NAMES, named};
use crate::names::ClusterName;
use crate::plan::ClusterPlan;

/// Whose a rule is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleOrigin {
    /// It follows from the description, or from the role of an added user.
    Planned,
    /// It was added by `acls add`.
    Added,
    /// Only the cluster knows it.
    Foreign,
}

/// One rule, in words.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ShownRule {
    /// `allow` or `deny`.
    pub permission: &'static str,
    /// Who, with its type.
    pub principal: String,
    /// What.
    pub operation: String,
    /// On what, as it is typed: `topic:orders.*`.
    pub resource: String,
    /// From where; `*` is anywhere.
    pub host: String,
    /// Whose it is.
    pub origin: RuleOrigin,
}

impl ShownRule {
    fn of(binding: &AclBinding, plan: &ClusterPlan) -> Self {
        Self {
            permission: if binding.permission == DENY { "deny" } else { "allow" },
            principal: binding.principal.clone(),
            operation: named(OPERATION_NAMES, binding.operation, "operation"),
            resource: words::resource_of(binding),
            host: binding.host.clone(),
            origin: origin(binding, plan),
        }
    }

    /// The words that `acls add` and `acls remove` take for it.
    pub fn arguments(&self) -> String {
        // What a shell would take for file names stands in quotes.
        let principal = match self.principal.contains('*') {
            true => format!("'{}'", self.principal),
            false => self.principal.clone(),
        };
        let mut words =
            format!("--principal {principal} --operation {} --resource '{}'", self.operation, self.resource);
        if self.host != "*" {
            words.push_str(&[" --host ", &self.host].concat());
        }
        if self.permission == "deny" {
            words.push_str(" --deny");
        }
        words
    }
}

fn origin(binding: &AclBinding, plan: &ClusterPlan) -> RuleOrigin {
    if plan.acls.iter().any(|rule| AclBinding::from(rule) == *binding) {
        RuleOrigin::Planned
    } else if plan.own_rules.contains(&binding.to_string()) {
        RuleOrigin::Added
    } else {
        RuleOrigin::Foreign
    }
}

/// Which rules are meant; what is unset is any.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Filter {
    /// Who, with its type.
    pub principal: Option<String>,
    /// What.
    pub operation: Option<Operation>,
    /// On what: rules that say just this, or, for a whole name, also those that cover it.
    pub resource: Option<Resource>,
}

impl Filter {
    fn wants(&self, rule: &AclBinding, covering: bool) -> bool {
        let about = |resource: &Resource| {
            words::resource_of(rule) == resource.to_string() || (covering && judge::covers(rule, resource))
        };
        self.principal.as_ref().is_none_or(|principal| *principal == rule.principal)
            && self.operation.is_none_or(|operation| operation.0 == rule.operation)
            && self.resource.as_ref().is_none_or(about)
    }
}

/// Rules of the cluster.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RulesReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Who may everything without a rule.
    pub super_users: Vec<String>,
    /// The rules, sorted.
    pub rules: Vec<ShownRule>,
}

/// Lists rules.
///
/// # Errors
/// When no broker can be asked.
pub async fn list(operated: &Operated, filter: &Filter) -> Result<RulesReport, OpsError> {
    let plan = &operated.cluster().plan;
    let found = operated.admin()?.acls(soon()).await?;
    let rules = found.iter().filter(|rule| filter.wants(rule, true));
    Ok(RulesReport {
        cluster: plan.cluster.clone(),
        super_users: explain::super_users(plan),
        rules: rules.map(|rule| ShownRule::of(rule, plan)).collect(),
    })
}

/// A principal as people type it: `ledger` is `User:ledger`.
///
/// # Errors
/// When it is empty.
pub fn principal(text: &str) -> Result<String, WordError> {
    let name = text.strip_prefix("User:").unwrap_or(text);
    if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(WordError(format!(
            "`{text}` is no principal: write a user's name, or User:* for everybody"
        )));
    }
    Ok(format!("User:{name}"))
}

#[cfg(test)]
mod tests;
