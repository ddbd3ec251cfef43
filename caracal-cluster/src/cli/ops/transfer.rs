//! `produce`, `consume`, `topics backup`, `topics restore`: records in bulk, by the client library's own program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use time::OffsetDateTime;

use super::super::{exit, signal};
use super::{Call, Common, Failure, ended, words};
use crate::cli::complete;
use crate::names::TopicName;
use crate::ops::transfer::{self, Backup, Transfer};
use crate::probe::matrix::Notice;

/// How lines stand for records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
#[non_exhaustive]
pub enum RecordFormat {
    /// A line a record: the value, after the key where there is one.
    #[default]
    Text,
    /// A line of JSON a record, as `consume --json` prints it.
    Json,
    /// Bytes.
    Raw,
}

impl RecordFormat {
    fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Raw => "raw",
        }
    }
}

/// Arguments of `produce`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct ProduceArgs {
    /// Which topic
    #[arg(value_name = "TOPIC", add = complete::topics())]
    pub topic: String,
    /// Where the records stand [default: standard input]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// text: a value a line; json: lines as `consume --json` prints them; raw: everything is one value
    #[arg(long, value_enum, default_value_t)]
    pub format: RecordFormat,
    /// With text: what stands between key and value
    #[arg(short = 'K', long, value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// The key of every record that brings none
    #[arg(short, long, value_name = "TEXT")]
    pub key: Option<String>,
    /// A header of every record; may be given more than once
    #[arg(short = 'H', long, value_name = "NAME=VALUE")]
    pub header: Vec<String>,
    /// The partition of every record that brings none [default: by key]
    #[arg(short, long, value_name = "N")]
    pub partition: Option<u32>,
    /// The time of every record that brings none [default: now]
    #[arg(long, value_name = "WHEN", value_parser = words::since)]
    pub timestamp: Option<OffsetDateTime>,
    /// auto: Avro where the registry has a schema for the topic, else text
    #[arg(long, value_name = "ENCODING", value_parser = ["auto", "avro", "text"], default_value = "auto")]
    pub encoding: String,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// As which user
    #[arg(long, value_name = "USER", default_value = "admin")]
    pub user: String,
    /// Read and encode everything, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `consume`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct ConsumeArgs {
    /// Which topic
    #[arg(value_name = "TOPIC", add = complete::topics())]
    pub topic: String,
    /// Where to begin: beginning, end, an offset, -N (the last N), or a time or span before now (10m)
    #[arg(short = 'o', long, value_name = "WHERE", value_parser = place, default_value = "beginning", allow_hyphen_values = true)]
    pub from: String,
    /// The first offset that is not read any more
    #[arg(long, value_name = "OFFSET", conflicts_with = "follow")]
    pub until: Option<u64>,
    /// Go on with what is written, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// Only this partition; may be given more than once
    #[arg(short, long, value_name = "N")]
    pub partition: Vec<u32>,
    /// text: key, tab, value; json: as --json; raw: the values' bytes, nothing between them
    #[arg(long, value_enum, default_value_t)]
    pub format: RecordFormat,
    /// auto: Avro by the registry's schemas, then text, then base64
    #[arg(long, value_name = "ENCODING", value_parser = ["auto", "text", "base64"], default_value = "auto")]
    pub encoding: String,
    /// Also what belongs to a transaction that was not committed
    #[arg(long)]
    pub uncommitted: bool,
    /// As which user
    #[arg(long, value_name = "USER", default_value = "admin")]
    pub user: String,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `topics backup`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct BackupArgs {
    /// Which topics
    #[arg(value_name = "TOPIC", required = true, add = complete::topics())]
    pub topics: Vec<String>,
    /// Where to: a folder for each topic is made in it
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Only say what would be backed up, and whether it could be
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `topics restore`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct RestoreArgs {
    /// A topic's back-up, or a folder with several
    #[arg(value_name = "DIR")]
    pub from: PathBuf,
    /// Into a topic of another name
    #[arg(long = "as", value_name = "TOPIC")]
    pub into: Option<TopicName>,
    /// Copies of each partition [default: as the topic had]
    #[arg(short, long, value_name = "N")]
    pub replication_factor: Option<u16>,
    /// Do not read back and compare what was restored
    #[arg(long)]
    pub no_verify: bool,
    /// Only say what would be restored, and whether it could be
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// A place to begin, in the words of the program.
fn place(text: &str) -> Result<String, String> {
    if text == "beginning" || text == "end" || text.parse::<i64>().is_ok() {
        return Ok(text.to_owned());
    }
    let time = words::since(text).map_err(|_| {
        format!(
            "`{text}` is no place to begin: write beginning, end, an offset, -N (the last N), a span such as 10m, or a \
             time such as 2026-11-25T11:03:00Z"
        )
    })?;
    Ok(format!("time:{}", millis(time)))
}

fn millis(time: OffsetDateTime) -> i128 {
    time.unix_timestamp_nanos() / 1_000_000
}

/// Options of the program, growing.
#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn value(&mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) {
        // In one word, so that a value may begin with a hyphen.
        let mut word = OsString::from(format!("{name}="));
        word.push(value);
        self.0.push(word);
    }

    fn some<T: ToString>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.value(name, value.to_string());
        }
    }

    fn switch(&mut self, name: &str, given: bool) {
        if given {
            self.0.push(name.into());
        }
    }
}

fn notice(call: &Call) -> Notice {
    let output = call.output;
    // To standard error: standard output is the records'.
    Arc::new(move |text: &str| output.error_line(text))
}

/// Runs the program. Ctrl-C and a polite end, by which following ends, end it too.
async fn ran(call: &Call, operated: &crate::ops::Operated, transfer: &Transfer) -> Result<u8, Failure> {
    let notice = notice(call);
    tokio::select! {
        biased;
        () = signal::cancelled() => Ok(exit::INTERRUPTED),
        code = transfer::run(operated, transfer, Some(&notice)) => code.map_err(Failure::from),
    }
}

pub(super) async fn produce(args: ProduceArgs) -> ExitCode {
    let call = Call::new("produce", &args.common);
    let mut arguments = Arguments::default();
    arguments.value("--format", args.format.word());
    arguments.value("--encoding", &args.encoding);
    arguments.some("--key-separator", args.key_separator);
    arguments.some("--key", args.key);
    args.header.iter().for_each(|header| arguments.value("--header", header));
    arguments.some("--partition", args.partition);
    arguments.some("--timestamp", args.timestamp.map(millis));
    arguments.some("--count", args.count);
    arguments.switch("--json", call.output.json);
    arguments.switch("--dry-run", args.dry_run);
    let transfer = Transfer {
        command: "produce",
        topic: args.topic,
        user: args.user,
        arguments: arguments.0,
        input: args.file,
    };
    ended(&call, async { ran(&call, &call.operated()?, &transfer).await }).await
}

pub(super) async fn consume(args: ConsumeArgs) -> ExitCode {
    let call = Call::new("consume", &args.common);
    let format = if call.output.json { RecordFormat::Json } else { args.format };
    let mut arguments = Arguments::default();
    arguments.value("--format", format.word());
    arguments.value("--encoding", &args.encoding);
    arguments.value("--from", &args.from);
    arguments.some("--until", args.until);
    arguments.some("--count", args.count);
    args.partition.iter().for_each(|partition| arguments.value("--partition", partition.to_string()));
    arguments.switch("--follow", args.follow);
    arguments.switch("--uncommitted", args.uncommitted);
    let transfer = Transfer {
        command: "consume",
        topic: args.topic,
        user: args.user,
        arguments: arguments.0,
        input: None,
    };
    ended(&call, async { ran(&call, &call.operated()?, &transfer).await }).await
}

pub(super) async fn backup(args: BackupArgs) -> ExitCode {
    let call = Call::new("topics backup", &args.common);
    ended(&call, backed_up(&call, &args)).await
}

async fn backed_up(call: &Call, args: &BackupArgs) -> Result<u8, Failure> {
    let operated = call.operated()?;
    let facts = transfer::facts(&operated, &args.topics).await?;
    if args.dry_run {
        return would_back_up(call, &operated, &absolute(&args.to)?, facts.keys()).await;
    }
    for (topic, facts) in facts {
        let mut arguments = Arguments::default();
        arguments.value("--to", absolute(&args.to)?.join(&topic));
        let facts = serde_json::to_string(&facts).map_err(|error| Failure::Said {
            message: format!("the topic's settings cannot be written as JSON: {error}"),
            code: exit::FAULT,
        })?;
        arguments.value("--facts", facts);
        arguments.switch("--json", call.output.json);
        let code = as_admin(call, &operated, "backup", topic, arguments).await?;
        if code != exit::OK {
            return Ok(code);
        }
    }
    Ok(exit::OK)
}

/// Tells of each topic what its back-up would hold and where it would lie; one that could not be made is refused.
async fn would_back_up(
    call: &Call,
    operated: &crate::ops::Operated,
    to: &Path,
    topics: impl Iterator<Item = &String>,
) -> Result<u8, Failure> {
    let topics = transfer::would_back_up(operated, to, topics).await?;
    let cluster = operated.cluster().plan.cluster.to_string();
    let report = WouldBackUpAll { cluster, dry_run: true, topics };
    call.report(&report, || {
        let line = |topic: &transfer::WouldBackUp| {
            format!("{}: {} records would go to {}", topic.topic, topic.records, topic.folder.display())
        };
        report.topics.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

/// What a back-up would do.
#[derive(Debug, serde::Serialize)]
struct WouldBackUpAll {
    cluster: String,
    dry_run: bool,
    topics: Vec<transfer::WouldBackUp>,
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::Said { message: format!("{}: {error}", path.display()), code: exit::USAGE })
}

async fn as_admin(
    call: &Call,
    operated: &crate::ops::Operated,
    command: &'static str,
    topic: String,
    arguments: Arguments,
) -> Result<u8, Failure> {
    let admin = operated.access().user(crate::plan::Role::Admin)?.name.to_string();
    let transfer = Transfer { command, topic, user: admin, arguments: arguments.0, input: None };
    ran(call, operated, &transfer).await
}

pub(super) async fn restore(args: RestoreArgs) -> ExitCode {
    let call = Call::new("topics restore", &args.common);
    ended(&call, restored(&call, &args)).await
}

async fn restored(call: &Call, args: &RestoreArgs) -> Result<u8, Failure> {
    let backups = transfer::backups(&args.from)?;
    if let (Some(name), true) = (&args.into, backups.len() > 1) {
        let message = format!(
            "{} holds {} back-ups, and --as names one topic: {name}",
            args.from.display(),
            backups.len()
        );
        return Err(Failure::Said { message, code: exit::USAGE });
    }
    let operated = call.operated()?;
    for backup in &backups {
        let code = one(call, args, &operated, backup).await?;
        if code != exit::OK {
            return Ok(code);
        }
    }
    Ok(exit::OK)
}

async fn one(
    call: &Call,
    args: &RestoreArgs,
    operated: &crate::ops::Operated,
    backup: &Backup,
) -> Result<u8, Failure> {
    let selection = call.selection()?;
    let (name, factor) = (args.into.as_ref(), args.replication_factor);
    let whole = transfer::check(backup, Some(&notice(call))).await?;
    if whole != exit::OK {
        return Ok(whole);
    }
    let to = transfer::destination(&selection, backup, name, factor, args.dry_run).await?;
    if args.dry_run {
        let report = WouldRestore {
            cluster: operated.cluster().plan.cluster.to_string(),
            dry_run: true,
            topic: to.topic,
            folder: backup.folder.clone(),
            records: backup.records,
            made: to.made,
        };
        return call.report(&report, || {
            let made = if report.made { ", which would be made" } else { ", which is there and empty" };
            format!("{} records would be restored into {}{made}", report.records, report.topic)
        });
    }
    let mut arguments = Arguments::default();
    arguments.value("--from", absolute(&backup.folder)?);
    arguments.switch("--checked", true);
    arguments.switch("--no-verify", args.no_verify);
    arguments.switch("--json", call.output.json);
    as_admin(call, operated, "restore", to.topic, arguments).await
}

/// What a restore would do.
#[derive(Debug, serde::Serialize)]
struct WouldRestore {
    cluster: String,
    dry_run: bool,
    topic: String,
    folder: PathBuf,
    records: u64,
    made: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_passed_on_in_the_programs_words() {
        for same in ["beginning", "end", "7", "-3"] {
            assert_eq!(place(same).unwrap(), same);
        }
        assert_eq!(place("2026-11-25T11:03:00Z").unwrap(), "time:1795604580000");
        let ago: i128 = place("1m").unwrap().strip_prefix("time:").unwrap().parse().unwrap();
        let now = millis(OffsetDateTime::now_utc());
        assert!((now - ago).unsigned_abs().abs_diff(60_000) < 5000);
        assert!(place("soon").unwrap_err().contains("the last N"));
        let mut arguments = Arguments::default();
        arguments.value("--key", "-x");
        arguments.some("--count", Some(5));
        arguments.some::<u64>("--until", None);
        arguments.switch("--follow", true);
        assert_eq!(arguments.0, ["--key=-x", "--count=5", "--follow"]);
    }
}
