//! `topics list`, `describe`, `create`, `alter`, `delete`, `apply`.

mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::super::exit;
use super::transfer::{self, BackupArgs, RestoreArgs};
use super::{Call, Common, Failure, ended};
use crate::cli::complete;
use crate::names::TopicName;
use crate::ops::topics::{self, Alteration, Creation, Declaration, DeleteReport};

/// What can be done with topics.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum TopicsCommand {
    /// Show every topic: partitions, copies, minimum, trouble
    ///
    /// STATE counts partitions of which a copy is behind, that take no writes, or that nobody leads. Kafka's and
    /// the registry's own topics are shown with --all. Changes nothing.
    ///
    /// Example:
    ///     cargo xtask topics list
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    List(ListTopicsArgs),
    /// Show topics in detail: partitions, leaders, copies, offsets, settings
    ///
    /// Settings that the topic sets for itself are shown, with --all those that it inherits too. Changes nothing.
    ///
    /// Example:
    ///     cargo xtask topics describe caracal.metering.events
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Describe(DescribeTopicsArgs),
    /// Make a topic
    ///
    /// Changes: makes the topic and waits until every partition is led. A topic that could never take a write
    /// (min.insync.replicas above the replication factor, more copies than brokers) is refused before a broker is
    /// asked to make it.
    ///
    /// Examples:
    ///     cargo xtask topics create orders --partitions 6
    ///     cargo xtask topics create orders --partitions 6 --config retention.ms=86400000 --dry-run
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Create(CreateTopicArgs),
    /// Change a topic's settings, or give it more partitions
    ///
    /// Changes the settings that are named; others stay. More partitions cannot be taken back, and records with
    /// keys go elsewhere from then on. Fewer partitions and another replication factor are refused.
    ///
    /// Examples:
    ///     cargo xtask topics alter orders --config retention.ms=3600000 --unset cleanup.policy
    ///     cargo xtask topics alter orders --partitions 12 --dry-run
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Alter(AlterTopicArgs),
    /// Delete topics with all their records
    ///
    /// Changes: the topics and everything in them are deleted, which cannot be undone, so it asks, or takes
    /// --yes. Kafka's own topics and the registry's are refused. `topics backup` keeps the records first.
    ///
    /// Examples:
    ///     cargo xtask topics delete orders --dry-run
    ///     cargo xtask topics delete orders --yes
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Delete(DeleteTopicsArgs),
    /// Bring topics to what is declared; with --dry-run show what differs
    ///
    /// Compares the topics of FILE, or of the cluster's description, with those that are. Changes: missing ones
    /// are made, settings and more partitions applied; nothing is deleted. What cannot be changed in place (fewer
    /// partitions, another replication factor) is refused before anything is changed. With --dry-run nothing
    /// changes, and the exit code is 11 when anything differs.
    ///
    /// FILE holds, for each topic:
    ///     [[topics]]
    ///     name = "orders"
    ///     partitions = 6
    ///     replication_factor = 3                     # unset: the description's
    ///     config = { "retention.ms" = 86400000 }
    ///
    /// Examples:
    ///     cargo xtask topics apply topics.toml --dry-run
    ///     cargo xtask topics apply
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Apply(ApplyTopicsArgs),
    /// Back topics up into a folder: keys, values, headers, times, schemas
    ///
    /// Writes, for each topic, a folder with the records and a manifest with their SHA-256, the topic's sizes and
    /// settings, and every schema that records name. What was committed when it began is in it. The manifest is
    /// written last, so one that was cut short is told by its absence. Changes: files in that folder, nothing of the
    /// cluster; with --dry-run neither. The client library's program does it, and is built when it is not there yet,
    /// which takes minutes the first time.
    ///
    /// Example:
    ///     cargo xtask topics backup caracal.metering.events caracal.dlq --to backups/
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Backup(BackupArgs),
    /// Restore topics from a back-up
    ///
    /// Changes: makes the topic with its former sizes and settings and writes every record to its partition, in
    /// order, with its time; registers the schemas, and gives records the ids that this registry has for them. A
    /// topic that holds anything is refused. The back-up's SHA-256 is checked before, and what was restored is
    /// read back and compared.
    ///
    /// Examples:
    ///     cargo xtask topics restore backups/caracal.dlq --as caracal.dlq.copy
    ///     cargo xtask topics restore backups/ --dry-run
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Restore(RestoreArgs),
}

/// Arguments of `topics list`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct ListTopicsArgs {
    /// Kafka's and the registry's own topics too
    #[arg(short, long)]
    pub all: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `topics describe`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct DescribeTopicsArgs {
    /// Which topics
    #[arg(value_name = "TOPIC", required = true, add = complete::topics())]
    pub topics: Vec<String>,
    /// Inherited settings too
    #[arg(short, long)]
    pub all: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `topics create`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct CreateTopicArgs {
    /// Its name
    #[arg(value_name = "TOPIC")]
    pub topic: TopicName,
    /// Number of partitions
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub partitions: u32,
    /// Copies of each partition [default: as in the cluster's description]
    #[arg(short, long, value_name = "N")]
    pub replication_factor: Option<u16>,
    /// A setting of its own; may be given more than once
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = setting)]
    pub config: Vec<(String, String)>,
    /// Only say whether it could be made
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `topics alter`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct AlterTopicArgs {
    /// Which topic
    #[arg(value_name = "TOPIC", add = complete::topics())]
    pub topic: String,
    /// How many partitions it is to have; never fewer than it has
    #[arg(short, long, value_name = "N")]
    pub partitions: Option<u32>,
    /// Refused unless it is what the topic has: it cannot be changed in place
    #[arg(short, long, value_name = "N")]
    pub replication_factor: Option<u16>,
    /// A setting to set; may be given more than once
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = setting)]
    pub config: Vec<(String, String)>,
    /// A setting whose default shall count again; may be given more than once
    #[arg(short, long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `topics delete`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct DeleteTopicsArgs {
    /// Which topics
    #[arg(value_name = "TOPIC", required = true, add = complete::topics())]
    pub topics: Vec<String>,
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

/// Arguments of `topics apply`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct ApplyTopicsArgs {
    /// Where topics are declared [default: the cluster's description]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Unset what a declared topic sets for itself although it is not declared
    #[arg(long)]
    pub exact: bool,
    /// Only say what differs; exit with 11 when anything does
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() && !value.chars().any(char::is_control) => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err(format!("`{text}` is no setting: write KEY=VALUE, such as retention.ms=86400000")),
    }
}

pub(super) async fn run(command: TopicsCommand) -> ExitCode {
    match command {
        TopicsCommand::List(args) => {
            let call = Call::new("topics list", &args.common);
            let listed = async {
                let report = topics::list(&call.operated()?, args.all).await?;
                call.report(&report, || text::list(&report, call.output))
            };
            ended(&call, listed).await
        }
        TopicsCommand::Describe(args) => {
            let call = Call::new("topics describe", &args.common);
            let described = async {
                let report = topics::describe(&call.operated()?, &args.topics).await?;
                call.report(&report, || text::described(&report, args.all, call.output))
            };
            ended(&call, described).await
        }
        TopicsCommand::Create(args) => create(args).await,
        TopicsCommand::Alter(args) => alter(args).await,
        TopicsCommand::Delete(args) => {
            let call = Call::new("topics delete", &args.common);
            ended(&call, deleted(&call, &args)).await
        }
        TopicsCommand::Apply(args) => {
            let call = Call::new("topics apply", &args.common);
            ended(&call, applied(&call, &args)).await
        }
        TopicsCommand::Backup(args) => transfer::backup(args).await,
        TopicsCommand::Restore(args) => transfer::restore(args).await,
    }
}

async fn create(args: CreateTopicArgs) -> ExitCode {
    let call = Call::new("topics create", &args.common);
    let creation = Creation {
        name: args.topic,
        partitions: args.partitions,
        replication_factor: args.replication_factor,
        config: args.config,
        dry_run: args.dry_run,
    };
    let created = async {
        let report = topics::create(&call.selection()?, &creation).await?;
        call.report(&report, || text::changed(&report, call.output))
    };
    ended(&call, created).await
}

async fn alter(args: AlterTopicArgs) -> ExitCode {
    let call = Call::new("topics alter", &args.common);
    let asked = args.partitions.is_some()
        || args.replication_factor.is_some()
        || !args.config.is_empty()
        || !args.unset.is_empty();
    let alteration = Alteration {
        name: args.topic,
        partitions: args.partitions,
        replication_factor: args.replication_factor,
        set: args.config,
        unset: args.unset,
        dry_run: args.dry_run,
    };
    let altered = async {
        if !asked {
            let message = "nothing is to be changed: give --config, --unset or --partitions".to_owned();
            return Err(Failure::Said { message, code: exit::USAGE });
        }
        let report = topics::alter(&call.selection()?, &alteration).await?;
        call.report(&report, || text::changed(&report, call.output))
    };
    ended(&call, altered).await
}

async fn deleted(call: &Call, args: &DeleteTopicsArgs) -> Result<u8, Failure> {
    if args.dry_run || !args.yes {
        let doomed = topics::doomed(&call.operated()?, &args.topics).await?;
        if args.dry_run {
            return call.report(&doomed, || text::deleted(&doomed, call.output));
        }
        confirm(call, &doomed)?;
    }
    let report = topics::delete(&call.selection()?, &args.topics).await?;
    call.report(&report, || text::deleted(&report, call.output))
}

fn confirm(call: &Call, doomed: &DeleteReport) -> Result<(), Failure> {
    let records: i64 = doomed.topics.iter().map(|topic| topic.records).sum();
    let names: Vec<&str> = doomed.topics.iter().map(|topic| topic.topic.as_str()).collect();
    let (word, called) = match names.as_slice() {
        [one] => (*one, "the topic's name"),
        _ => ("delete", "the word"),
    };
    call.confirm(
        &format!("This deletes {} with {records} records; it cannot be undone.", names.join(", ")),
        word,
        called,
        &format!("topics delete {} --yes", names.join(" ")),
    )
}

async fn applied(call: &Call, args: &ApplyTopicsArgs) -> Result<u8, Failure> {
    let declaration = Declaration { file: args.file.clone(), exact: args.exact, dry_run: args.dry_run };
    let report = topics::apply(&call.selection()?, &declaration).await?;
    call.report(&report, || text::applied(&report, call.output))?;
    Ok(if report.dry_run && report.differs { exit::DRIFT } else { exit::OK })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_key_and_a_value() {
        assert_eq!(setting("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(setting("a="), Ok(("a".to_owned(), String::new())));
        for wrong in ["a", "=b", "a=b\nc"] {
            assert!(setting(wrong).unwrap_err().contains("KEY=VALUE"), "{wrong}");
        }
    }
}
