//! `groups list`, `describe`, `reset`, `delete`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use time::OffsetDateTime;

use super::super::exit;
use super::super::output::{Output, Tone};
use super::facts::FactArgs;
use super::shown::{Grid, count, seconds};
use super::{Call, Common, Failure, ended, words};
use crate::cli::complete;
use crate::ops::groups::{
    self, DeletedGroups, GroupDetail, GroupsDetail, GroupsReport, Reset, ResetReport, ResetTo, Scope,
};

/// What can be done with consumer groups.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum GroupsCommand {
    /// Show every consumer group: state, members, coordinator
    ///
    /// `cargo xtask lag` shows how far they are behind. Changes nothing.
    ///
    /// Example:
    ///     cargo xtask groups list
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    List(FactArgs),
    /// Show groups in detail: members, who reads what, lag
    ///
    /// Without a name all groups. Changes nothing.
    ///
    /// Example:
    ///     cargo xtask groups describe caracal-ledger
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Describe(DescribeGroupsArgs),
    /// Put a group's offsets elsewhere, to read again or to pass over
    ///
    /// Changes the offsets that the group goes on from; records stay. Refused while the group has members: they
    /// would commit over it. An offset outside of what is there is moved to the nearest that is. What was
    /// committed before is shown, so a reset can be taken back partition by partition.
    ///
    /// Examples:
    ///     cargo xtask groups reset caracal-ledger --to-earliest --dry-run
    ///     cargo xtask groups reset caracal-ledger --to-time 2026-11-25T11:03:00Z
    ///     cargo xtask groups reset caracal-ledger --by 2h --topic caracal.metering.events:0,3
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Reset(ResetGroupArgs),
    /// Delete groups with their offsets
    ///
    /// Changes: the groups' offsets are deleted; records stay. A group of the same name begins anew where its
    /// consumers say. Asks, or takes --yes. Refused while a group has members.
    ///
    /// Example:
    ///     cargo xtask groups delete caracal-old --yes
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Delete(DeleteGroupsArgs),
}

/// Arguments of `groups describe`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct DescribeGroupsArgs {
    /// Which groups [default: all]
    #[arg(value_name = "GROUP", add = complete::groups())]
    pub groups: Vec<String>,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `groups reset`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct ResetGroupArgs {
    /// Which group
    #[arg(value_name = "GROUP", add = complete::groups())]
    pub group: String,
    /// Where to.
    #[command(flatten)]
    pub to: ResetWhere,
    /// A topic, or some of its partitions: `orders`, `orders:0,3`; may be given more than once
    /// [default: whatever the group has committed offsets of]
    #[arg(short, long, value_name = "TOPIC[:PARTITION,...]", value_parser = scope)]
    pub topic: Vec<Scope>,
    /// Make the group when it is not there
    #[arg(long)]
    pub create: bool,
    /// Only say what would be committed
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Where a group is put: exactly one of these.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
#[non_exhaustive]
pub struct ResetWhere {
    /// To the first record that is still there
    #[arg(long)]
    pub to_earliest: bool,
    /// To the end: what is there is passed over
    #[arg(long)]
    pub to_latest: bool,
    /// To this offset in every partition
    #[arg(long, value_name = "OFFSET")]
    pub to_offset: Option<u32>,
    /// To the first record of this time or later, such as 2026-11-25T11:03:00Z
    #[arg(long, value_name = "TIME", value_parser = words::since)]
    pub to_time: Option<OffsetDateTime>,
    /// To the first record of so long ago, such as 2h
    #[arg(long, value_name = "SPAN", value_parser = words::span)]
    pub by: Option<Duration>,
}

impl ResetWhere {
    fn place(&self) -> ResetTo {
        match (self.to_offset, self.to_time, self.by) {
            (Some(offset), ..) => ResetTo::Offset(offset.into()),
            (_, Some(time), _) => ResetTo::Time(time),
            (.., Some(span)) => ResetTo::Ago(span),
            _ if self.to_latest => ResetTo::Latest,
            _ => ResetTo::Earliest,
        }
    }
}

/// Arguments of `groups delete`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct DeleteGroupsArgs {
    /// Which groups
    #[arg(value_name = "GROUP", required = true, add = complete::groups())]
    pub groups: Vec<String>,
    /// Do not ask before deleting
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// Only say what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

fn scope(text: &str) -> Result<Scope, String> {
    let wrong = || format!("`{text}` is no topic with partitions: write orders, or orders:0,3");
    let (topic, ids) = match text.split_once(':') {
        None => (text, ""),
        Some((topic, ids)) if !ids.is_empty() => (topic, ids),
        Some(_) => return Err(wrong()),
    };
    let ids = ids.split(',').filter(|id| !id.is_empty());
    let partitions: Vec<i32> =
        ids.map(|id| id.trim().parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    if topic.is_empty() || partitions.iter().any(|id| *id < 0) {
        return Err(wrong());
    }
    Ok(Scope { topic: topic.to_owned(), partitions })
}

pub(super) async fn run(command: GroupsCommand) -> ExitCode {
    match command {
        GroupsCommand::List(args) => {
            let call = Call::new("groups list", &args.common);
            let listed = async {
                let report = groups::list(&call.operated()?).await?;
                call.report(&report, || list_text(&report, call.output))
            };
            ended(&call, listed).await
        }
        GroupsCommand::Describe(args) => {
            let call = Call::new("groups describe", &args.common);
            let described = async {
                let report = groups::describe(&call.operated()?, &args.groups).await?;
                call.report(&report, || detail_text(&report, call.output))
            };
            ended(&call, described).await
        }
        GroupsCommand::Reset(args) => {
            let call = Call::new("groups reset", &args.common);
            let reset = Reset {
                to: args.to.place(),
                group: args.group,
                scopes: args.topic,
                create: args.create,
                dry_run: args.dry_run,
            };
            let done = async {
                let report = groups::reset(&call.selection()?, &reset).await?;
                call.report(&report, || reset_text(&report, call.output))
            };
            ended(&call, done).await
        }
        GroupsCommand::Delete(args) => {
            let call = Call::new("groups delete", &args.common);
            ended(&call, deleted(&call, &args)).await
        }
    }
}

async fn deleted(call: &Call, args: &DeleteGroupsArgs) -> Result<u8, Failure> {
    if args.dry_run || !args.yes {
        let doomed = groups::doomed(&call.operated()?, &args.groups).await?;
        if args.dry_run {
            return call.report(&doomed, || deleted_text(&doomed));
        }
        let names = args.groups.join(" ");
        let (word, called) = match args.groups.as_slice() {
            [one] => (one.as_str(), "the group's name"),
            _ => ("delete", "the word"),
        };
        call.confirm(
            &format!("This deletes the offsets of {names}; it cannot be undone."),
            word,
            called,
            &format!("groups delete {names} --yes"),
        )?;
    }
    let report = groups::delete(&call.selection()?, &args.groups).await?;
    call.report(&report, || deleted_text(&report))
}

fn list_text(report: &GroupsReport, output: Output) -> String {
    if report.groups.is_empty() {
        return format!("cluster {} has no consumer group", report.cluster);
    }
    let rows = report.groups.iter().map(|group| {
        vec![
            group.group.clone(),
            group.state.clone(),
            group.members.to_string(),
            group.assignor.clone(),
            group.coordinator.to_string(),
        ]
    });
    let head = &["GROUP", "STATE", "MEMBERS", "ASSIGNOR", "COORDINATOR"];
    let table = Grid { head, rows: rows.collect(), numbers: &[2, 4], spare: &[4, 3] }.text(output);
    format!("{table}\n\n{} ({})", count(report.groups.len(), "group"), seconds(report.millis))
}

fn detail_text(report: &GroupsDetail, output: Output) -> String {
    if report.groups.is_empty() {
        return format!("cluster {} has no consumer group", report.cluster);
    }
    let groups: Vec<String> = report.groups.iter().map(|group| one(group, output)).collect();
    format!("{}\n\n({})", groups.join("\n\n"), seconds(report.millis))
}

fn one(detail: &GroupDetail, output: Output) -> String {
    let group = &detail.group;
    let assignor =
        if group.assignor.is_empty() { String::new() } else { format!(", assignor {}", group.assignor) };
    let head = format!(
        "{}: {}, {}, {} records behind, coordinator {}{assignor}",
        group.group,
        group.state,
        count(group.members, "member"),
        detail.lag,
        group.coordinator
    );
    let mut text = output.paint.paint(Tone::Bold, &head);
    if !detail.member.is_empty() {
        let rows = detail.member.iter().map(|member| {
            let name = member.instance.as_ref().unwrap_or(&member.member);
            vec![member.client.clone(), member.host.clone(), member.partitions.to_string(), name.clone()]
        });
        let head = &["CLIENT", "HOST", "PARTITIONS", "MEMBER"];
        let grid = Grid { head, rows: rows.collect(), numbers: &[2], spare: &[3] };
        text.push_str(&["\n\n", &grid.text(output)].concat());
    }
    if !detail.partitions.is_empty() {
        let number = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let client = |id: &String| {
            let member = detail.member.iter().find(|member| member.member == *id);
            member.map(|member| member.client.clone()).unwrap_or_default()
        };
        let rows = detail.partitions.iter().map(|partition| {
            vec![
                partition.topic.clone(),
                partition.partition.to_string(),
                number(partition.committed),
                number(partition.end),
                number(partition.lag),
                partition.member.as_ref().map_or_else(|| "-".to_owned(), client),
            ]
        });
        let head = &["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "READ BY"];
        let grid = Grid { head, rows: rows.collect(), numbers: &[1, 2, 3, 4], spare: &[3, 2] };
        text.push_str(&["\n\n", &grid.text(output)].concat());
    }
    text
}

fn reset_text(report: &ResetReport, output: Output) -> String {
    let rows = report.partitions.iter().map(|partition| {
        let note = if partition.moved_inside { "moved to what is there" } else { "" };
        vec![
            partition.topic.clone(),
            partition.partition.to_string(),
            partition.from.map_or_else(|| "-".to_owned(), |from| from.to_string()),
            partition.to.to_string(),
            note.to_owned(),
        ]
    });
    let head = &["TOPIC", "PARTITION", "FROM", "TO", ""];
    let table = Grid { head, rows: rows.collect(), numbers: &[1, 2, 3], spare: &[] }.text(output);
    let said = if report.dry_run { "would be reset" } else { "reset" };
    let partitions = count(report.partitions.len(), "partition");
    format!("{table}\n\ngroup {}: {partitions} {said} ({})", report.group, seconds(report.millis))
}

fn deleted_text(report: &DeletedGroups) -> String {
    let said = if report.dry_run { "would be deleted" } else { "deleted" };
    let lines = report
        .groups
        .iter()
        .map(|group| format!("{}: {said}, with {}", group.group, count(group.offsets.len(), "offset")));
    let lines: Vec<String> = lines.chain([format!("({})", seconds(report.millis))]).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::super::output::Paint;
    use super::*;

    #[test]
    fn a_scope_names_a_topic_and_maybe_partitions() {
        let made = |topic: &str, partitions: &[i32]| Scope {
            topic: topic.to_owned(),
            partitions: partitions.to_vec(),
        };
        assert_eq!(scope("orders"), Ok(made("orders", &[])));
        assert_eq!(scope("orders:0,3"), Ok(made("orders", &[0, 3])));
        for wrong in ["", ":1", "orders:", "orders:a", "orders:-1"] {
            assert!(scope(wrong).unwrap_err().contains("orders:0,3"), "{wrong}");
        }
    }

    #[test]
    fn details_read_as_tables_with_members_and_readers() {
        let output = Output { json: false, paint: Paint(false), terminal: false, width: None };
        let report = groups::tests::details();
        let text = detail_text(&report, output);
        for part in ["caracal-ledger: Stable, 2 members, 4 records behind", "ledger", "READ BY", "PARTITIONS"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let document: serde_json::Value =
            serde_json::from_str(&crate::cli::json::document("groups describe", &report).unwrap()).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            keys(&document["groups"][0]),
            ["assignor", "coordinator", "group", "kind", "lag", "member", "members", "partitions", "state"]
        );
        assert_eq!(
            keys(&document["groups"][0]["partitions"][0]),
            ["committed", "end", "lag", "member", "partition", "topic"]
        );
    }
}
