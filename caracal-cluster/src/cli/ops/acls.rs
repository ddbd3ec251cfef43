//! `acls list`, `add`, `remove`, `explain`.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use time::OffsetDateTime;

use super::super::exit;
use super::super::output::{Output, Tone};
use super::shown::{Grid, count, seconds};
use super::{Call, Common, Failure, ended, words};
use crate::admin::AclBinding;
use crate::admin::acls::{ALLOW, ANY_HOST, DENY};
use crate::ops::acls::{
    self, Asked, ChangeOptions, ChangeReport, ExplainReport, Explained, Filter, Operation, Resource, Rule,
    RuleOrigin, RulesReport, ShownRule,
};

/// What can be done with access rules.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum AclsCommand {
    /// Show access rules: who may do what on which resources, and whose rule it is
    ///
    /// What no rule allows is denied; super users need none. With a whole name as --resource also the rules that
    /// cover it by a prefix or by `*`. Changes nothing.
    ///
    /// Examples:
    ///     cargo xtask acls list
    ///     cargo xtask acls list --principal consumer --resource topic:caracal.dlq
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    List(ListRulesArgs),
    /// Add access rules to the running cluster
    ///
    /// Resources are topic:NAME, group:NAME, transactional-id:NAME and cluster; NAME may be PREFIX* or *. Changes the
    /// cluster; `up` and `verify` take the rules for your own from then on.
    ///
    /// Examples:
    ///     cargo xtask acls add --principal ledger --operation read --resource topic:orders
    ///     cargo xtask acls add --principal ledger --operation write --resource 'topic:*' --deny
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Add(AddRuleArgs),
    /// Remove access rules that were added
    ///
    /// Those that fit and no others: --resource means the rule's own words, not what it covers. Rules of the cluster's
    /// description and of roles are refused, because `up` would make them again. Changes the cluster.
    ///
    /// Example:
    ///     cargo xtask acls remove --principal ledger --operation read --resource topic:orders
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Remove(RemoveRuleArgs),
    /// Say why somebody may do something or may not, and which command would allow it
    ///
    /// Judges by the rules that the cluster has now, as its brokers do. Where --principal, --operation or --resource is
    /// left out, it explains the refusals that happened and fit, from the brokers' audit logs. Changes nothing. With
    /// --exit-code it exits with 12 when something is denied.
    ///
    /// Examples:
    ///     cargo xtask acls explain --principal consumer --operation write --resource topic:caracal.dlq
    ///     cargo xtask acls explain --since 10m
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Explain(ExplainArgs),
}

/// Arguments of `acls list`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct ListRulesArgs {
    /// Only rules for this user
    #[arg(long, value_name = "USER", value_parser = acls::principal)]
    pub principal: Option<String>,
    /// Only rules with this operation
    #[arg(long, value_name = "OPERATION")]
    pub operation: Option<Operation>,
    /// Only rules about this resource
    #[arg(long, value_name = "RESOURCE")]
    pub resource: Option<Resource>,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `acls add`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct AddRuleArgs {
    /// For whom: a user's name, or User:* for everybody
    #[arg(long, value_name = "USER", value_parser = acls::principal)]
    pub principal: String,
    /// What; may be given several times
    #[arg(long = "operation", value_name = "OPERATION", required = true)]
    pub operations: Vec<Operation>,
    /// On what; may be given several times
    #[arg(long = "resource", value_name = "RESOURCE", required = true)]
    pub resources: Vec<Resource>,
    /// Only from this address [default: from anywhere]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<std::net::IpAddr>,
    /// Deny it, whatever other rules allow
    #[arg(long)]
    pub deny: bool,
    /// Only say what would be added; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `acls remove`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct RemoveRuleArgs {
    /// Whose rules
    #[arg(long, value_name = "USER", value_parser = acls::principal)]
    pub principal: String,
    /// Rules with this operation [default: with any]
    #[arg(long, value_name = "OPERATION")]
    pub operation: Option<Operation>,
    /// Rules about this resource [default: about any]
    #[arg(long, value_name = "RESOURCE")]
    pub resource: Option<Resource>,
    /// Rules from this address [default: those from anywhere]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<std::net::IpAddr>,
    /// Rules that deny, not those that allow
    #[arg(long)]
    pub deny: bool,
    /// Only say what would be removed; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `acls explain`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct ExplainArgs {
    /// Who
    #[arg(long, value_name = "USER", value_parser = acls::principal)]
    pub principal: Option<String>,
    /// What
    #[arg(long, value_name = "OPERATION")]
    pub operation: Option<Operation>,
    /// On which one: a whole name
    #[arg(long, value_name = "RESOURCE")]
    pub resource: Option<Resource>,
    /// From which address [default: where it was refused from, else 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<std::net::IpAddr>,
    /// Only refusals from then on: a span before now, or a time
    #[arg(long, value_name = "WHEN", value_parser = words::since)]
    pub since: Option<OffsetDateTime>,
    /// Exit with 12 when something is denied
    #[arg(long)]
    pub exit_code: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

pub(super) async fn run(command: AclsCommand) -> ExitCode {
    match command {
        AclsCommand::List(args) => {
            let call = Call::new("acls list", &args.common);
            let filter =
                Filter { principal: args.principal, operation: args.operation, resource: args.resource };
            let listed = async {
                let report = acls::list(&call.operated()?, &filter).await?;
                call.report(&report, || list_text(&report, call.output))
            };
            ended(&call, listed).await
        }
        AclsCommand::Add(args) => {
            let call = Call::new("acls add", &args.common);
            ended(&call, add(&call, &args)).await
        }
        AclsCommand::Remove(args) => {
            let call = Call::new("acls remove", &args.common);
            let (permission, host) = (permission(args.deny), host(args.host));
            let filter = Filter {
                principal: Some(args.principal),
                operation: args.operation,
                resource: args.resource,
            };
            let removed = async {
                let selection = call.selection()?;
                let report = acls::remove(&selection, &filter, (permission, &host), args.dry_run).await?;
                call.report(&report, || change_text(&report, "removed"))
            };
            ended(&call, removed).await
        }
        AclsCommand::Explain(args) => {
            let call = Call::new("acls explain", &args.common);
            ended(&call, explain(&call, args)).await
        }
    }
}

fn permission(deny: bool) -> i8 {
    if deny { DENY } else { ALLOW }
}

fn host(address: Option<std::net::IpAddr>) -> String {
    address.map_or_else(|| ANY_HOST.to_owned(), |address| address.to_string())
}

async fn add(call: &Call, args: &AddRuleArgs) -> Result<u8, Failure> {
    let mut rules = Vec::new();
    for resource in &args.resources {
        for operation in &args.operations {
            let rule = Rule::new(*operation, resource.clone());
            let rule =
                rule.map_err(|error| Failure::Said { message: error.to_string(), code: exit::USAGE })?;
            let (permission, host) = (permission(args.deny), host(args.host));
            rules.push(AclBinding { permission, host, ..rule.binding(&args.principal) });
        }
    }
    let options = ChangeOptions { rules, dry_run: args.dry_run };
    let report = acls::add(&call.selection()?, &options).await?;
    call.report(&report, || change_text(&report, "added"))
}

async fn explain(call: &Call, args: ExplainArgs) -> Result<u8, Failure> {
    let asked = Asked {
        principal: args.principal,
        operation: args.operation,
        resource: args.resource,
        host: args.host.map(|host| host.to_string()),
        since: args.since,
    };
    let report = acls::explain(&call.operated()?, &asked).await?;
    call.report(&report, || explain_text(&report, call))?;
    let denied = report.answers.iter().any(|answer| !answer.allowed);
    Ok(if args.exit_code && denied { exit::AUTHENTICATION } else { exit::OK })
}

fn list_text(report: &RulesReport, output: Output) -> String {
    let rows = report.rules.iter().map(|rule| {
        let origin = match rule.origin {
            RuleOrigin::Planned => "",
            RuleOrigin::Added => "added",
            RuleOrigin::Foreign => "not from here",
        };
        vec![
            rule.permission.to_owned(),
            rule.principal.clone(),
            rule.operation.clone(),
            rule.resource.clone(),
            rule.host.clone(),
            origin.to_owned(),
        ]
    });
    let head = &["RULE", "PRINCIPAL", "OPERATION", "RESOURCE", "HOST", "ORIGIN"];
    let table = Grid { head, rows: rows.collect(), numbers: &[], spare: &[4, 5] }.text(output);
    let supers = report.super_users.join(", ");
    format!("{table}\n\n{}; super users, whom no rule holds: {supers}", count(report.rules.len(), "rule"))
}

fn sentence(rule: &ShownRule) -> String {
    let host = if rule.host == ANY_HOST { String::new() } else { format!(" from {}", rule.host) };
    format!("\n  - {} {} {} {}{host}", rule.permission, rule.principal, rule.operation, rule.resource)
}

fn change_text(report: &ChangeReport, done: &str) -> String {
    let verb = if report.dry_run { ["would be ", done].concat() } else { done.to_owned() };
    let mut text = format!("{} {verb} ({})", count(report.rules.len(), "rule"), seconds(report.millis));
    text.extend(report.rules.iter().map(sentence));
    if !report.unchanged.is_empty() {
        text.push_str("\nthere already:");
        text.extend(report.unchanged.iter().map(sentence));
    }
    for note in &report.notes {
        text.push_str(&["\nnote: ", note].concat());
    }
    text
}

fn explain_text(report: &ExplainReport, call: &Call) -> String {
    if report.answers.is_empty() {
        return "no refusal that fits is in the audit logs".to_owned();
    }
    let answers: Vec<String> = report.answers.iter().map(|answer| answer_text(answer, call)).collect();
    answers.join("\n\n")
}

fn answer_text(answer: &Explained, call: &Call) -> String {
    let (tone, verdict) = if answer.allowed { (Tone::Good, "allowed") } else { (Tone::Bad, "denied") };
    let verdict = call.output.paint.paint(tone, verdict);
    let Explained { principal, operation, resource, host, because, .. } = answer;
    let mut text = format!("{verdict}: {principal} {operation} {resource} from {host}\n  because: {because}");
    if let Some(denials) = &answer.denials {
        let requests = denials.requests.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let nodes = denials.nodes.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let times = count(denials.count, "time");
        let _ = write!(text, "\n  refused: {times} in {requests}, by {nodes}");
        if answer.allowed {
            text.push_str("; a rule of now allows it");
        }
    }
    for command in &answer.commands {
        let _ = write!(text, "\n  allow:   {}", call.command(command));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::super::args::Reporting;
    use super::*;
    use crate::ops::acls::Denials;

    #[test]
    fn a_denial_reads_as_sentence_reason_and_command() {
        let call =
            Call::new("acls explain", &Common { reporting: Reporting::default(), ..Common::default() });
        let answer = Explained {
            principal: "User:x".to_owned(),
            host: "127.0.0.1".to_owned(),
            operation: "Read".to_owned(),
            resource: "topic:a".to_owned(),
            allowed: false,
            reason: "no-rule-allows",
            rule: None,
            because: "no rule lets User:x Read topic:a".to_owned(),
            commands: vec!["acls add --principal User:x --operation Read --resource 'topic:a'".to_owned()],
            denials: Some(Denials {
                count: 2,
                last: None,
                nodes: ["k1".to_owned()].into(),
                requests: ["Fetch".to_owned()].into(),
            }),
        };
        let text = answer_text(&answer, &call);
        for part in [
            "denied: User:x Read topic:a from 127.0.0.1",
            "because: no rule lets",
            "refused: 2 times in Fetch, by k1",
            " acls add --principal User:x --operation Read --resource 'topic:a'",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let allowed = Explained { allowed: true, commands: Vec::new(), ..answer };
        assert!(answer_text(&allowed, &call).contains("a rule of now allows it"));
    }
}
