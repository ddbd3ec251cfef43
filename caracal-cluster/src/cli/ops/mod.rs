//! The commands that operate a cluster which was made before: arguments, rendering, exit codes.
//!
//! One file a group: what can be typed, what is called, how its report reads. What a command does is in
//! [`crate::ops`].

mod acls;
mod certs;
mod completions;
mod dashboard;
mod doctor;
mod export;
mod facts;
mod groups;
mod health;
mod lag;
mod metrics;
mod nodes;
mod schemas;
mod shown;
mod topics;
mod transfer;
mod users;
mod words;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

pub use self::acls::{AclsCommand, AddRuleArgs, ExplainArgs, ListRulesArgs, RemoveRuleArgs};
pub use self::certs::{CertsArgs, CertsCommand, RenewArgs, ShowArgs};
pub use self::completions::CompletionsArgs;
pub use self::dashboard::DashboardArgs;
pub use self::doctor::{ConnectArgs, DoctorArgs, DoctorCommand};
pub use self::export::{ComposeArgs, ExportCommand, ExportReport, GrafanaArgs};
pub use self::facts::FactArgs;
pub use self::groups::{DeleteGroupsArgs, DescribeGroupsArgs, GroupsCommand, ResetGroupArgs, ResetWhere};
pub use self::health::HealthArgs;
pub use self::lag::LagArgs;
pub use self::metrics::MetricsArgs;
pub use self::nodes::{BlowArgs, HealArgs, LogsArgs, NodesCommand, RestartArgs, Tail};
pub use self::schemas::{
    CheckSchemasArgs, CompatibilityCommand, GetLevelArgs, RegisterSchemaArgs, SchemasCommand, SetLevelArgs,
    ShowSchemaArgs,
};
pub use self::topics::{
    AlterTopicArgs, ApplyTopicsArgs, CreateTopicArgs, DeleteTopicsArgs, DescribeTopicsArgs, ListTopicsArgs,
    TopicsCommand,
};
pub use self::transfer::{BackupArgs, ConsumeArgs, ProduceArgs, RecordFormat, RestoreArgs};
pub use self::users::{
    AddArgs, PasswordArgs, RemoveArgs, RoleChoice, SecretArgs, UsersCommand, VerifyUsersArgs,
};
use super::args::{Reporting, Target};
use super::output::{Output, Tone, wrap_indented};
use super::{exit, json, signal, summary};
use crate::lifecycle::chain;
use crate::lifecycle::commands::Selection;
use crate::ops::{Operated, OpsError};

/// What can be done with a cluster that was made before.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum OperateCommand {
    /// Say whether the cluster is healthy, in one verdict
    ///
    /// Looks at processes, the ZooKeeper ensemble (`ruok`, quorum, leader), brokers (log-in, registration, log
    /// directories), controller, partitions (offline, under min.insync.replicas, under-replicated), registry,
    /// certificates and disk. Exits with 10 when anything failed. Changes nothing; with --writes the registry's
    /// compatibility level is written once more as it is.
    ///
    /// Examples:
    ///     cargo xtask health
    ///     cargo xtask health --wait 2m && ./run-my-tests
    ///     cargo xtask health --watch
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Health(HealthArgs),
    /// Print what a shell has to read to complete commands, nodes, users, topics and groups
    ///
    /// The script defines the word `xtask` for `cargo xtask` (bash, zsh, fish) and completes it. Names of nodes, users
    /// and clusters come from files, those of topics and groups from the brokers, within a second. Changes nothing.
    ///
    /// Examples:
    ///     source <(cargo xtask completions bash)
    ///     cargo xtask completions fish | source
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Completions(CompletionsArgs),
    /// Show the cluster live, as a page in a browser
    ///
    /// Serves on 127.0.0.1 until Ctrl-C and prints the address, which holds a random word: whoever has it may look,
    /// nobody else. The page shows nodes with state, controller and listeners, partitions in trouble, topics with rate and
    /// size, groups with lag, certificates' days left and the last `verify`. It loads nothing from anywhere else.
    /// Changes nothing.
    ///
    /// Example:
    ///     cargo xtask dashboard
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Dashboard(DashboardArgs),
    /// Say what is wrong with this machine, or with a connection, and what to do
    ///
    /// Looks at Java, Maven, Docker, memory (control groups included), disk, ports, clock, permissions of the cluster's
    /// files, git's view of them, and OpenSSL; where the cluster exists, also at the guide's best practices (no default
    /// password, certificates renewed yearly, separate credentials, audit log). Each ok, warn or fail, with the next step.
    /// Changes nothing. Exits with 3 when something failed. `doctor connect` looks at one address.
    ///
    /// Examples:
    ///     cargo xtask doctor
    ///     cargo xtask doctor connect localhost:9093 --user consumer
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Doctor(DoctorArgs),
    /// Show how far consumer groups are behind
    ///
    /// Without a name all groups, with one its partitions. Changes nothing. Exits with 11 when --fail-over is
    /// given and a group's lag is above it.
    ///
    /// Examples:
    ///     cargo xtask lag
    ///     cargo xtask lag caracal-ledger --fail-over 1000
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Lag(LagArgs),
    /// Show which versions of which requests every broker speaks
    ///
    /// Logs in to each broker as the administrator. Changes nothing. Exits with 10 when a broker cannot be asked.
    ///
    /// Example:
    ///     cargo xtask api-versions
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    ApiVersions(FactArgs),
    /// Write records, one a line
    ///
    /// Reads standard input or a file. A value is JSON and becomes Avro where the registry has a schema for the topic
    /// (subject TOPIC-value), else it is written as it stands. A line of JSON (--format json) is an object with
    /// key, value, headers, partition, timestamp, as `consume --json` prints it. Changes the topic: records are added
    /// to it, acknowledged by every copy in sync. At a line that cannot be used it stops and says which; what stood
    /// before it is written. The client library's program does it, and is built when it is not there yet.
    ///
    /// Examples:
    ///     echo '{"note": 1}' | cargo xtask produce scratch --key k --header source=me
    ///     cargo xtask produce caracal.metering.events events.jsonl --dry-run
    ///     printf 'k|v\n' | cargo xtask produce scratch -K '|' --partition 2
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Produce(ProduceArgs),
    /// Print records: what is there, or as they come
    ///
    /// Ends at what was there when it began, unless --follow is given. Values of a known schema are shown as JSON. With
    /// --json each line is a record: {topic, partition, offset, timestamp, key, key_encoding, value, value_encoding,
    /// schema_id, headers}. Joins no group, commits nothing and changes nothing. The client library's program does it,
    /// and is built when it is not there yet.
    ///
    /// Examples:
    ///     cargo xtask consume caracal.metering.events --from -10
    ///     cargo xtask consume caracal.metering.events --from 10m --follow --json
    ///     cargo xtask consume caracal.dlq --partition 0 --from 42 --count 1 --format raw > letter
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Consume(ConsumeArgs),
    /// Look at consumer groups, put them elsewhere, delete them
    #[command(subcommand, after_help = exit::HELP)]
    Groups(GroupsCommand),
    /// Look at schemas, register and check them
    #[command(subcommand, after_help = exit::HELP)]
    Schemas(SchemasCommand),
    /// Look at topics, make, change and delete them
    #[command(subcommand, after_help = exit::HELP)]
    Topics(TopicsCommand),
    /// Show what the nodes count: records, bytes, requests, latencies, partitions, heap
    ///
    /// Reads each node's Prometheus endpoint, which is bound to loopback and is there when the cluster's description
    /// says `[metrics] enabled = true`. Figures of each node and of all together; --json has all of them by name.
    /// Rates are the nodes' own means of the last minute, with --watch those since the look before. Changes
    /// nothing. Exits with 10 when a node does not answer.
    ///
    /// Examples:
    ///     cargo xtask metrics
    ///     cargo xtask metrics --node kafka-1 --watch
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Metrics(MetricsArgs),
    /// Write files for programs of others
    #[command(subcommand, after_help = exit::HELP)]
    Export(ExportCommand),
    /// Look at users, add, remove and prove them
    #[command(subcommand, after_help = exit::HELP)]
    Users(UsersCommand),
    /// Look at access rules, change and explain them
    #[command(subcommand, after_help = exit::HELP)]
    Acls(AclsCommand),
    /// Look at certificates, renew them
    #[command(subcommand, after_help = exit::HELP)]
    Certs(CertsCommand),
}

/// What every operation takes.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct Common {
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// One operation being carried out.
#[derive(Clone, Debug)]
struct Call {
    /// Its words, for `command` in documents and for commands to paste.
    words: &'static str,
    target: Target,
    output: Output,
}

/// An operation that did not do what it should.
#[derive(Debug)]
enum Failure {
    Ops(Box<OpsError>),
    /// It was refused, or interrupted, with its code.
    Said {
        message: String,
        code: u8,
    },
}

impl<E: Into<OpsError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Ops(Box::new(error.into()))
    }
}

impl Call {
    fn new(words: &'static str, common: &Common) -> Self {
        Self { words, target: common.target.clone(), output: Output::new(common.reporting) }
    }

    fn selection(&self) -> Result<Selection, Failure> {
        Ok(self.target.selection(None)?)
    }

    fn operated(&self) -> Result<Operated, Failure> {
        Ok(Operated::open(&self.selection()?)?)
    }

    /// A command about the same cluster, to paste.
    fn command(&self, words: &str) -> String {
        summary::command(&self.target, words)
    }

    /// Prints a report: as one document, or as text.
    fn report<T: Serialize>(&self, report: &T, text: impl FnOnce() -> String) -> Result<u8, Failure> {
        if !self.output.json {
            self.output.line(&text());
            return Ok(exit::OK);
        }
        match json::document(self.words, report) {
            Ok(document) => {
                self.output.line(&document);
                Ok(exit::OK)
            }
            Err(error) => {
                let message = format!("the report cannot be written as JSON: {error}");
                Err(Failure::Said { message, code: exit::FAULT })
            }
        }
    }

    /// Looks and prints once, or again and again until Ctrl-C, with `every` between the looks; the exit code is the
    /// last look's.
    async fn watched<R: Serialize>(
        &self,
        every: Option<Duration>,
        mut look: impl AsyncFnMut() -> Result<R, Failure>,
        text: impl Fn(&R) -> String,
        code: impl Fn(&R) -> u8,
    ) -> Result<u8, Failure> {
        let cancelled = signal::cancelled();
        tokio::pin!(cancelled);
        loop {
            let report = look().await?;
            if every.is_some() && self.output.terminal && !self.output.json {
                // Home, and away with what was there.
                self.output.line("\u{1b}[H\u{1b}[2J");
            }
            self.report(&report, || text(&report))?;
            let Some(every) = every else { return Ok(code(&report)) };
            tokio::select! {
                biased;
                () = &mut cancelled => return Ok(code(&report)),
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Asks for a word before something is lost; without a terminal it is refused with the command that does it.
    fn confirm(&self, question: &str, word: &str, called: &str, again: &str) -> Result<(), Failure> {
        if !self.output.can_ask() {
            let message =
                format!("{question} There is no terminal to ask at: add --yes\n  {}", self.command(again));
            return Err(Failure::Said { message, code: exit::USAGE });
        }
        if self.output.ask(&format!("{question}\nType {called} (`{word}`) to go on: ")) == word {
            return Ok(());
        }
        Err(Failure::Said { message: "that was not it; nothing was changed".to_owned(), code: exit::USAGE })
    }

    /// Says something that is no part of a document.
    fn say(&self, text: &str) {
        if !self.output.json {
            self.output.line(text);
        }
    }

    /// Prints a failure and gives its code.
    fn fail(&self, failure: &Failure) -> u8 {
        let (document, text, code) = match failure {
            Failure::Said { message, code } => {
                (json::failure(self.words, message, &[], *code), message.clone(), *code)
            }
            Failure::Ops(error) => {
                let code = exit::of_operation(error);
                (json::error(self.words, &**error, code), chain(&**error) + &self.next_step(error), code)
            }
        };
        if self.output.json {
            self.output.line(&document);
        } else {
            let text = wrap_indented(&format!("error: {text}"), self.output.width);
            let rest = text.strip_prefix("error:").unwrap_or(&text);
            self.output.error_line(&format!("{}{rest}", self.output.paint.paint(Tone::Bad, "error:")));
        }
        code
    }

    /// What to do next, where the error itself does not say.
    fn next_step(&self, error: &OpsError) -> String {
        match error {
            OpsError::Admin(_) | OpsError::ZooKeeper(_) | OpsError::Wire(_) | OpsError::Registry(_) => {
                format!("\n  look:  {}", self.command("health"))
            }
            _ => String::new(),
        }
    }
}

/// Carries out an operation on a cluster; prints everything, errors included.
pub(super) async fn operate(command: OperateCommand) -> ExitCode {
    match command {
        OperateCommand::Health(args) => health::run(&args).await,
        OperateCommand::Completions(args) => completions::run(&args).await,
        OperateCommand::Dashboard(args) => dashboard::run(&args).await,
        OperateCommand::Doctor(args) => doctor::run(&args).await,
        OperateCommand::Lag(args) => lag::run(&args).await,
        OperateCommand::ApiVersions(args) => facts::api_versions(&args).await,
        OperateCommand::Produce(args) => transfer::produce(args).await,
        OperateCommand::Consume(args) => transfer::consume(args).await,
        OperateCommand::Groups(command) => groups::run(command).await,
        OperateCommand::Schemas(command) => schemas::run(command).await,
        OperateCommand::Topics(command) => topics::run(command).await,
        OperateCommand::Users(command) => users::run(command).await,
        OperateCommand::Acls(command) => acls::run(command).await,
        OperateCommand::Certs(command) => certs::run(command).await,
        OperateCommand::Metrics(args) => metrics::run(&args).await,
        OperateCommand::Export(command) => export::run(&command).await,
    }
}

/// Carries out an operation on nodes; prints everything, errors included.
pub(super) async fn nodes(command: NodesCommand) -> ExitCode {
    nodes::run(command).await
}

async fn ended(call: &Call, outcome: impl Future<Output = Result<u8, Failure>>) -> ExitCode {
    ExitCode::from(outcome.await.unwrap_or_else(|failure| call.fail(&failure)))
}

#[cfg(test)]
mod keys_tests;
