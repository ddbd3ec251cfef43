//! Carries out a parsed command: calls the procedure, renders what it tells.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::args::{
    ClusterCommand, Command, CredentialsArgs, DownArgs, ListArgs, LookArgs, PlanArgs, Reporting, StartArgs,
    StartCachesChoice, StopArgs, Target, UpArgs, VerifyArgs,
};
use super::cache::{self, CacheCommand, CleanCacheArgs, MakeCacheArgs};
use super::output::{Output, Tone, wrap_indented};
use super::prune::{self, PruneArgs, PruneReport};
use super::ticks::Live;
use super::verify::{self, Detail};
use super::{exit, json, ops, place, signal, summary, tables};
use crate::lifecycle::commands::{self, CommandError, DownReport, Selection};
use crate::lifecycle::down::StopReport;
use crate::lifecycle::engine::{EngineError, Step};
use crate::lifecycle::{Cluster, chain};
use crate::probe::matrix::{Cell, Notice, VerifyOptions, VerifyReport};
use crate::testing::{FixtureError, SecureCluster};

/// A command that did not do what it should.
#[derive(Debug)]
enum Failure {
    /// The procedure failed.
    Command(CommandError),
    /// It was refused before it began.
    Refused { message: String, code: u8 },
}

impl<E: Into<CommandError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Command(error.into())
    }
}

/// Carries out a command; prints everything, errors included; gives its exit code (see [`exit`]).
pub async fn run(command: Command) -> ExitCode {
    let (name, target, reporting) = about(&command);
    let output = Output::new(reporting);
    let outcome = match command {
        Command::Cluster(ClusterCommand::Up(args)) => up(args, output).await,
        Command::Cluster(ClusterCommand::Down(args)) => down(args, output).await,
        Command::Cluster(ClusterCommand::Start(args)) => start(args, output).await,
        Command::Cluster(ClusterCommand::Stop(args)) => stop(args, output).await,
        Command::Cluster(ClusterCommand::Ps(args)) => ps(args, output),
        Command::Cluster(ClusterCommand::List(args)) => list(args, output),
        Command::Cluster(ClusterCommand::Plan(args)) => plan(args, output).await,
        Command::Cluster(ClusterCommand::Prune(args)) => prune(args, output).await,
        Command::Credentials(args) => credentials(args, output).await,
        Command::Cache(CacheCommand::Make(args)) => make_caches(args, output).await,
        Command::Cache(CacheCommand::List(_)) => list_caches(output),
        Command::Cache(CacheCommand::Clean(args)) => clean_caches(args, output),
        Command::Verify(args) => prove(args, output).await,
        Command::Operate(command) => return ops::operate(command).await,
        Command::Cluster(ClusterCommand::Nodes(command)) => return ops::nodes(command).await,
    };
    let code = outcome.unwrap_or_else(|failure| fail(name, &target, &failure, output));
    ExitCode::from(code)
}

/// Name, cluster and rendering of a command.
fn about(command: &Command) -> (&'static str, Target, Reporting) {
    match command {
        Command::Cluster(ClusterCommand::Up(args)) => {
            ("up", args.target.described(args.spec.as_deref()), args.reporting)
        }
        Command::Cluster(ClusterCommand::Down(args)) => ("down", args.target.clone(), args.reporting),
        Command::Cluster(ClusterCommand::Start(args)) => ("start", args.target.clone(), args.reporting),
        Command::Cluster(ClusterCommand::Stop(args)) => ("stop", args.target.clone(), args.reporting),
        Command::Cluster(ClusterCommand::Ps(args)) => ("ps", args.target.clone(), args.reporting),
        Command::Cluster(ClusterCommand::List(args)) => ("list", Target::default(), args.reporting),
        Command::Cluster(ClusterCommand::Prune(args)) => ("prune", Target::default(), args.reporting),
        Command::Cluster(ClusterCommand::Plan(args)) => {
            ("plan", args.target.described(args.spec.as_deref()), args.reporting)
        }
        Command::Credentials(args) => {
            ("credentials", args.target.described(args.spec.as_deref()), args.reporting)
        }
        Command::Cache(CacheCommand::Make(args)) => ("cache make", args.target.clone(), args.reporting),
        Command::Cache(CacheCommand::List(args)) => ("cache list", Target::default(), args.reporting),
        Command::Cache(CacheCommand::Clean(args)) => ("cache clean", Target::default(), args.reporting),
        Command::Verify(args) => ("verify", args.target.clone(), args.reporting),
        // These print by themselves.
        Command::Operate(_) | Command::Cluster(ClusterCommand::Nodes(_)) => {
            ("operate", Target::default(), Reporting::default())
        }
    }
}

async fn up(args: UpArgs, output: Output) -> Result<u8, Failure> {
    let mut selection = args.target.selection(args.spec)?;
    selection.overrides = args.place.over(args.kind.overrides());
    let (runtime, why) = place::choose(&selection, args.place.runtime).await?;
    selection.overrides.runtime = runtime;
    if args.dry_run {
        return would(&selection, "up", &[], output).await;
    }
    say(output, &format!("runtime {why}"));
    selection.uses_start_caches = args.start_caches != StartCachesChoice::Off;
    let report = commands::up(&selection, &Live::reporter(output), signal::cancelled()).await?;
    let code = finish(output, "up", &report, || summary::up(&report, &args.target, output.paint))?;
    selection.name = Some(report.cluster);
    learn(&selection, args.start_caches, output).await;
    Ok(code)
}

/// Has the missing start-up caches made, for the next start; that they cannot be made spoils nothing of this one.
async fn learn(selection: &Selection, choice: StartCachesChoice, output: Output) {
    if choice != StartCachesChoice::Auto {
        return;
    }
    let named = Selection::named(selection.root.clone(), selection.name.clone());
    match commands::make_start_caches_in_background(&named).await {
        Ok(None) => {}
        Ok(Some(log)) => say(
            output,
            &format!(
                "\nStart-up caches for such nodes are made in the background, once: the next start is faster.\n  {}",
                log.display()
            ),
        ),
        Err(error) => say(output, &format!("\nno start-up caches are made: {}", chain(&error))),
    }
}

/// What a command would do that goes through steps: the plan, or some steps of it.
async fn would(selection: &Selection, command: &str, steps: &[Step], output: Output) -> Result<u8, Failure> {
    let plan = commands::plan(selection).await?;
    let plan = if steps.is_empty() { plan } else { plan.only(steps) };
    finish(output, "plan", &plan, || summary::plan(&plan, command, false, output))
}

async fn start(args: StartArgs, output: Output) -> Result<u8, Failure> {
    let mut selection = args.target.selection(None)?;
    selection.uses_start_caches = args.start_caches != StartCachesChoice::Off;
    if args.dry_run {
        Cluster::expect_made(&selection.root, selection.name.as_ref())?;
        return would(&selection, "start", &[], output).await;
    }
    let report = commands::start(&selection, &Live::reporter(output), signal::cancelled()).await?;
    let code = finish(output, "start", &report, || summary::up(&report, &args.target, output.paint))?;
    learn(&selection, args.start_caches, output).await;
    Ok(code)
}

async fn credentials(args: CredentialsArgs, output: Output) -> Result<u8, Failure> {
    let mut selection = args.target.selection(args.spec)?;
    selection.overrides = args.kind.overrides();
    if let Some(folder) = args.request.as_ref().or(args.accept.as_ref()) {
        let report = if args.request.is_some() {
            commands::request(&selection, folder, args.dry_run)?
        } else {
            commands::accept(&selection, folder, args.dry_run)?
        };
        return finish(output, "credentials", &report, || summary::outside(&report, &args.target));
    }
    if args.dry_run {
        return would(&selection, "credentials", &commands::CREDENTIALS, output).await;
    }
    let report = commands::credentials(&selection, &Live::reporter(output), signal::cancelled()).await?;
    finish(output, "credentials", &report, || summary::credentials(&report, &args.target, output.paint))
}

async fn make_caches(args: MakeCacheArgs, output: Output) -> Result<u8, Failure> {
    let mut selection = args.target.selection(None)?;
    selection.overrides = args.kind.overrides();
    if args.dry_run {
        let report = commands::missing_start_caches(&selection).await?;
        return finish(output, "cache make", &report, || cache::made(&report, output.paint));
    }
    let reporter = Live::reporter(output);
    let report =
        commands::make_start_caches(&selection, args.background, &reporter, signal::cancelled()).await?;
    finish(output, "cache make", &report, || cache::made(&report, output.paint))
}

fn list_caches(output: Output) -> Result<u8, Failure> {
    let report = commands::start_caches()?;
    finish(output, "cache list", &report, || cache::listed(&report))
}

fn clean_caches(args: CleanCacheArgs, output: Output) -> Result<u8, Failure> {
    let report = commands::clean_start_caches(args.dry_run)?;
    finish(output, "cache clean", &report, || cache::cleaned(&report))
}

async fn stop(args: StopArgs, output: Output) -> Result<u8, Failure> {
    let selection = args.target.selection(None)?;
    if args.dry_run {
        let report = commands::would_stop(&selection, false)?;
        return finish(output, "stop", &report, || summary::would_stop(&report, 0));
    }
    let told = told(output);
    let report: DownReport = commands::stop(&selection, &told, signal::cancelled()).await?;
    finish(output, "stop", &report, || summary::down(&report, true, &args.target))
}

async fn down(args: DownArgs, output: Output) -> Result<u8, Failure> {
    let selection = args.target.selection(None)?;
    if args.dry_run {
        let report = commands::would_stop(&selection, args.volumes)?;
        let topics = commands::remains(&selection)?.topics();
        return finish(output, "down", &report, || summary::would_stop(&report, topics));
    }
    if args.volumes && !args.yes {
        confirm(&selection, &args.target, output)?;
    }
    let told = told(output);
    let report = commands::down(&selection, args.volumes, &told, signal::cancelled()).await?;
    finish(output, "down", &report, || summary::down(&report, false, &args.target))
}

/// Asks for the cluster's name before its data is deleted. Asked before anything is locked or caught, so
/// Ctrl-C simply ends the question.
fn confirm(selection: &Selection, target: &Target, output: Output) -> Result<(), Failure> {
    let remains = commands::remains(selection)?;
    let name = selection.wanted();
    if !output.can_ask() {
        let message = format!(
            "`down -v` deletes all data of cluster `{name}`, and there is no terminal to ask at: add --yes\n  {}",
            summary::command(target, "cluster down -v --yes")
        );
        return Err(Failure::Refused { message, code: exit::USAGE });
    }
    let topics = summary::data_of(remains.topics());
    let question = format!(
        "This deletes {topics}, certificates, passwords and logs in {}.\nType the cluster's name (`{name}`) to go on: ",
        remains.dir().path().display()
    );
    if output.ask(&question) == name.as_str() {
        return Ok(());
    }
    Err(Failure::Refused {
        message: "that was not its name; nothing was deleted".to_owned(),
        code: exit::USAGE,
    })
}

fn ps(args: LookArgs, output: Output) -> Result<u8, Failure> {
    let report = commands::ps(&args.target.selection(None)?)?;
    finish(output, "ps", &report, || tables::ps(&report, output.width, output.paint))
}

async fn prune(args: PruneArgs, output: Output) -> Result<u8, Failure> {
    let swept = if args.dry_run { SecureCluster::would_prune().await } else { SecureCluster::prune().await };
    let refused = |error: FixtureError| Failure::Refused { message: chain(&error), code: exit::MACHINE };
    let report = PruneReport { dry_run: args.dry_run, clusters: swept.map_err(refused)? };
    finish(output, "prune", &report, || prune::pruned(&report))
}

fn list(args: ListArgs, output: Output) -> Result<u8, Failure> {
    let root = Target { state_dir: args.state_dir, ..Target::default() }.root()?;
    let report = commands::list(&root);
    finish(output, "list", &report, || tables::list(&report, output.width, output.paint))
}

async fn plan(args: PlanArgs, output: Output) -> Result<u8, Failure> {
    let mut selection = args.target.selection(args.spec)?;
    selection.overrides = args.place.over(args.kind.overrides());
    selection.overrides.runtime = place::choose(&selection, args.place.runtime).await?.0;
    let report = commands::plan(&selection).await?;
    finish(output, "plan", &report, || summary::plan(&report, "up", args.files, output))?;
    Ok(if args.exit_code && report.differs { exit::DRIFT } else { exit::OK })
}

async fn prove(args: VerifyArgs, output: Output) -> Result<u8, Failure> {
    let bar = Live::counter(output, "attempts");
    let notices = bar.clone();
    let notice: Notice = Arc::new(move |text: &str| match &notices {
        Some(bar) => bar.suspend(|| output.line(text)),
        None => say(output, text),
    });
    let mut options = VerifyOptions { skip_client: args.skip_client, ..VerifyOptions::default() };
    options.notice = Some(notice);
    let told = |_: &Cell| bar.iter().for_each(|bar| bar.inc(1));
    let selection = args.target.selection(None)?;
    let report = tokio::select! {
        biased;
        () = signal::cancelled() => {
            let message = "interrupted; what it made for itself (a topic `verify-...`, groups with `verify-...` in their names) is \
                           deleted by the first `verify` that ends more than an hour from now"
                .to_owned();
            Err(Failure::Refused { message, code: exit::INTERRUPTED })
        }
        report = commands::verify(&selection, &options, &told) => report.map_err(Failure::from),
    };
    bar.iter().for_each(|bar| bar.finish_and_clear());
    let report = report?;
    let detail = if args.all { Detail::All } else { Detail::Summary };
    finish(output, "verify", &Unversioned(&report), || verify::text(&report, detail).trim_end().to_owned())?;
    Ok(if report.ok { exit::OK } else { exit::UNHEALTHY })
}

/// A report that has a `format` of its own, which gives way to the document's.
struct Unversioned<'a>(&'a VerifyReport);

impl Serialize for Unversioned<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = serde_json::to_value(self.0).map_err(serde::ser::Error::custom)?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("format");
        }
        value.serialize(serializer)
    }
}

fn say(output: Output, text: &str) {
    if !output.json {
        output.line(text);
    }
}

/// Tells of each node as it stops.
fn told(output: Output) -> impl Fn(&StopReport) + Sync {
    move |report| {
        if output.json || report.outcome == "not running" {
            return;
        }
        let (tone, mark) = if report.error.is_some() { (Tone::Bad, "✗") } else { (Tone::Good, "✓") };
        let time = format!("{}.{} s", report.millis / 1000, report.millis % 1000 / 100);
        let detail = if report.outcome == "killed" { ": it did not end within its deadline" } else { "" };
        output.line(&format!(
            "{} {}  {}{detail}  {time}",
            output.paint.paint(tone, mark),
            report.node,
            report.outcome
        ));
    }
}

/// Prints a report: as one document, or as text.
fn finish<T: Serialize>(
    output: Output,
    command: &str,
    report: &T,
    text: impl FnOnce() -> String,
) -> Result<u8, Failure> {
    if !output.json {
        output.line(&text());
        return Ok(exit::OK);
    }
    match json::document(command, report) {
        Ok(document) => {
            output.line(&document);
            Ok(exit::OK)
        }
        Err(error) => {
            let message = format!("the report cannot be written as JSON: {error}");
            Err(Failure::Refused { message, code: exit::FAULT })
        }
    }
}

/// Prints a failure and gives its code.
fn fail(command: &str, target: &Target, failure: &Failure, output: Output) -> u8 {
    let (document, text, code) = match failure {
        Failure::Refused { message, code } => {
            (json::failure(command, message, &[], *code), message.clone(), *code)
        }
        Failure::Command(error) => {
            let code = exit::of(error);
            let text = [message(error), next_step(command, target, error)].concat();
            (json::error(command, error, code), text, code)
        }
    };
    if output.json {
        output.line(&document);
    } else {
        let text = wrap_indented(&format!("error: {text}"), output.width);
        let rest = text.strip_prefix("error:").unwrap_or(&text);
        output.error_line(&format!("{}{rest}", output.paint.paint(Tone::Bad, "error:")));
    }
    code
}

fn message(error: &CommandError) -> String {
    match error {
        CommandError::Engine(EngineError::Interrupted { step }) => {
            format!("interrupted during `{}`; nodes that were started keep running", step.title())
        }
        other => chain(other),
    }
}

/// What to do next, where the error itself does not say.
fn next_step(command: &str, target: &Target, error: &CommandError) -> String {
    let again = match command {
        "credentials" | "verify" | "cache make" | "cache clean" => summary::command(target, command),
        other => summary::command(target, &format!("cluster {other}")),
    };
    match error {
        CommandError::Engine(EngineError::Interrupted { .. }) => {
            format!("\n  finish:  {again}\n  undo:    {}", summary::command(target, "cluster down"))
        }
        CommandError::Engine(EngineError::Step { .. }) => format!(
            "\n\nnext: mend the cause, then run the same command again; it goes on where it stopped\n  \
             look:  {}\n  undo:  {}",
            summary::command(target, "cluster ps"),
            summary::command(target, "cluster down")
        ),
        CommandError::Interrupted | CommandError::Stop { .. } => format!("\n  again:  {again}"),
        CommandError::NotRunning { .. } => format!("\n  {}", summary::command(target, "cluster start")),
        // Each says by itself what to do.
        CommandError::Cluster(_)
        | CommandError::Verify(_)
        | CommandError::Node(_)
        | CommandError::StartCache(_) => String::new(),
    }
}
