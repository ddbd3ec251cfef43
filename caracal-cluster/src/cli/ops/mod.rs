//! The commands that operate a cluster which was made before: arguments, rendering, exit codes.
//!
//! One file a group: what can be typed, what is called, how its report reads. What a command does is in
//! [`crate::ops`].

mod completions;
mod dashboard;
mod doctor;
mod export;
mod facts;
mod health;
mod lag;
mod metrics;
mod nodes;
mod shown;
mod words;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

pub use self::completions::CompletionsArgs;
pub use self::dashboard::DashboardArgs;
pub use self::doctor::{ConnectArgs, DoctorArgs, DoctorCommand};
pub use self::export::{ExportCommand, ExportReport, GrafanaArgs};
pub use self::facts::{CertsArgs, CertsCommand, FactArgs, UsersCommand};
pub use self::health::HealthArgs;
pub use self::lag::LagArgs;
pub use self::metrics::MetricsArgs;
pub use self::nodes::{BlowArgs, LogsArgs, NodesCommand, RestartArgs, Tail};
use super::args::{Reporting, Target};
use super::output::{Output, Tone, wrap_indented};
use super::{exit, json, summary};
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
    /// files, git's view of them, and OpenSSL: each ok, warn or fail, with the next step. The cluster need not exist.
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
    /// Look at users
    #[command(subcommand, after_help = exit::HELP)]
    Users(UsersCommand),
    /// Look at certificates
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
        OperateCommand::Metrics(args) => metrics::run(&args).await,
        OperateCommand::Export(command) => export::run(&command).await,
        OperateCommand::Users(command) => facts::users(&command).await,
        OperateCommand::Certs(command) => facts::certs(&command).await,
    }
}

/// Carries out an operation on nodes; prints everything, errors included.
pub(super) async fn nodes(command: NodesCommand) -> ExitCode {
    nodes::run(command).await
}

async fn ended(call: &Call, outcome: impl Future<Output = Result<u8, Failure>>) -> ExitCode {
    ExitCode::from(outcome.await.unwrap_or_else(|failure| call.fail(&failure)))
}
