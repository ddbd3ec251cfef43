//! Why somebody may do something, or may not, and which command would change that.

use std::time::Instant;

use serde::Serialize;
use time::OffsetDateTime;

use super::denials::{self, Denials};
use super::judge::{Policy, Question, Reason, wanting};
use super::{Operation, Resource, ShownRule};
use crate::admin::AclBinding;
use crate::names::ClusterName;
use crate::ops::logs::{self, Entry, Query};
use crate::ops::{Operated, OpsError, millis_since, soon};
use crate::plan::{ClusterPlan, NodePlan, NodeRole, PatternKind};
use crate::properties;

/// What is asked; what is unset is taken from the refusals that happened.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Asked {
    /// Who, with its type.
    pub principal: Option<String>,
    /// What.
    pub operation: Option<Operation>,
    /// On which one.
    pub resource: Option<Resource>,
    /// From where; unset means from this machine.
    pub host: Option<String>,
    /// Only refusals from then on.
    pub since: Option<OffsetDateTime>,
}

/// One question with its answer.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Explained {
    /// Who.
    pub principal: String,
    /// From where.
    pub host: String,
    /// What.
    pub operation: String,
    /// On what.
    pub resource: String,
    /// Whether it is allowed now.
    pub allowed: bool,
    /// `super-user`, `allowed-by-rule`, `allowed-by-another-right`, `open-without-rules`, `denied-by-rule`,
    /// `no-rule-allows`.
    pub reason: &'static str,
    /// The rule that decided.
    pub rule: Option<ShownRule>,
    /// The reason in words.
    pub because: String,
    /// Commands that would allow it, in their order, without the cluster's name.
    pub commands: Vec<String>,
    /// Refusals of just this that happened.
    pub denials: Option<Denials>,
}

/// Answers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ExplainReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Each question with its answer.
    pub answers: Vec<Explained>,
    /// How long it took.
    pub millis: u64,
}

/// Explains one request, or, where something is left unsaid, every refusal that happened and fits.
///
/// # Errors
/// [`OpsError::Refused`] for a resource that is not one name; else when the rules or the audit logs cannot be read.
pub async fn explain(operated: &Operated, asked: &Asked) -> Result<ExplainReport, OpsError> {
    let begun = Instant::now();
    let plan = &operated.cluster().plan;
    if let Some(resource) = &asked.resource
        && (resource.name.kind == PatternKind::Prefixed || resource.name.name == "*")
    {
        return Err(OpsError::refused(format!(
            "`{resource}` is many resources, and a request is about one: ask about a whole name"
        )));
    }
    let happened = denials::of(&refusals(operated, asked)?);
    let questions = questions(asked, happened);
    let rules = operated.admin()?.acls(soon()).await?;
    let super_users = super_users(plan);
    let policy = Policy { rules: &rules, super_users: &super_users, open_without_rules: open(plan) };
    let answers = questions.into_iter().map(|(question, denials)| answer(policy, plan, &question, denials));
    Ok(ExplainReport {
        cluster: plan.cluster.clone(),
        answers: answers.collect(),
        millis: millis_since(begun),
    })
}

fn refusals(operated: &Operated, asked: &Asked) -> Result<Vec<Entry>, OpsError> {
    let cluster = operated.cluster();
    let brokers: Vec<&NodePlan> = cluster.plan.nodes_of(NodeRole::Broker).collect();
    let query = Query { audit: true, since: asked.since, ..Query::default() };
    logs::read(&cluster.dir, &brokers, &query)
        .map_err(|source| OpsError::File { path: "an audit log".to_owned(), source })
}

/// What was asked, with its refusals; or the refusals that fit what was asked.
fn questions(asked: &Asked, happened: Vec<(Question, Denials)>) -> Vec<(Question, Option<Denials>)> {
    let fits = |question: &Question| {
        asked.principal.as_ref().is_none_or(|principal| *principal == question.principal)
            && asked.operation.is_none_or(|operation| operation == question.operation)
            && asked.resource.as_ref().is_none_or(|resource| *resource == question.resource)
            && asked.host.as_ref().is_none_or(|host| *host == question.host)
    };
    let mut fitting = happened.into_iter().filter(|(question, _)| fits(question));
    match (&asked.principal, asked.operation, &asked.resource) {
        (Some(principal), Some(operation), Some(resource)) => {
            let denials = fitting.next();
            // From where it was refused, if that is known: rules may name hosts.
            let seen = denials.as_ref().map(|(question, _)| question.host.clone());
            let host = asked.host.clone().or(seen).unwrap_or_else(|| "127.0.0.1".to_owned());
            let (principal, resource) = (principal.clone(), resource.clone());
            vec![(Question { principal, host, operation, resource }, denials.map(|(_, denials)| denials))]
        }
        _ => fitting.map(|(question, denials)| (question, Some(denials))).collect(),
    }
}

fn answer(
    policy: Policy<'_>,
    plan: &ClusterPlan,
    question: &Question,
    denials: Option<Denials>,
) -> Explained {
    let reason = policy.judge(question);
    Explained {
        principal: question.principal.clone(),
        host: question.host.clone(),
        operation: question.operation.to_string(),
        resource: question.resource.to_string(),
        allowed: reason.allowed(),
        reason: word(&reason),
        rule: reason.rule().map(|rule| ShownRule::of(rule, plan)),
        because: because(&reason, question),
        commands: commands(policy, plan, question, reason),
        denials,
    }
}

fn word(reason: &Reason) -> &'static str {
    match reason {
        Reason::SuperUser => "super-user",
        Reason::AllowedBy(_) => "allowed-by-rule",
        Reason::AllowedInstead(_) => "allowed-by-another-right",
        Reason::OpenWithoutRules => "open-without-rules",
        Reason::DeniedBy(_) => "denied-by-rule",
        Reason::NothingAllows => "no-rule-allows",
    }
}

fn because(reason: &Reason, question: &Question) -> String {
    let Question { principal, operation, resource, .. } = question;
    match reason {
        Reason::SuperUser => format!("{principal} is a super user, whom no rule holds"),
        Reason::AllowedBy(rule) if implied(rule, *operation) => {
            format!("`{rule}`, which implies {operation}")
        }
        Reason::AllowedBy(rule) => format!("`{rule}`"),
        Reason::AllowedInstead(rule) => {
            format!("`{rule}`, which the broker takes for {operation} on {resource}")
        }
        Reason::OpenWithoutRules => {
            format!("{resource} has no rule, and such resources are everybody's here")
        }
        Reason::DeniedBy(rule) => format!("`{rule}`: a denial counts before every rule that allows"),
        Reason::NothingAllows => format!("no rule lets {principal} {operation} {resource}"),
    }
}

fn implied(rule: &AclBinding, operation: Operation) -> bool {
    rule.operation != operation.0 && rule.operation != Operation::ALL.0
}

/// What has to be done to allow it: every denial away, and a rule that allows, where there is none.
fn commands(policy: Policy<'_>, plan: &ClusterPlan, question: &Question, mut reason: Reason) -> Vec<String> {
    let mut commands = Vec::new();
    let mut rules = policy.rules.to_vec();
    while let Reason::DeniedBy(denial) = reason {
        commands.push(format!("acls remove {}", ShownRule::of(&denial, plan).arguments()));
        rules.retain(|rule| *rule != denial);
        reason = Policy { rules: &rules, ..policy }.judge(question);
    }
    if reason == Reason::NothingAllows
        && let Some(rule) = wanting(question)
    {
        let wanted = ShownRule::of(&rule.binding(&question.principal), plan);
        commands.push(format!("acls add {}", wanted.arguments()));
    }
    commands
}

/// Who may everything: what brokers are configured with.
pub(super) fn super_users(plan: &ClusterPlan) -> Vec<String> {
    setting(plan, "super.users").map_or_else(Vec::new, |value| value.split(';').map(str::to_owned).collect())
}

fn open(plan: &ClusterPlan) -> bool {
    setting(plan, "allow.everyone.if.no.acl.found").is_some_and(|value| value == "true")
}

fn setting(plan: &ClusterPlan, key: &str) -> Option<String> {
    let node = plan.nodes_of(NodeRole::Broker).next()?;
    let file = node.files.iter().find(|file| file.path.ends_with("server.properties"))?;
    properties::parse(&file.text).into_iter().find(|(known, _)| known == key).map(|(_, value)| value)
}
