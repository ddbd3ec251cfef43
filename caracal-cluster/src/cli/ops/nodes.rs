//! `cluster logs`, `restart`, `kill`, `pause`, `resume`, `cut`, `heal`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use time::OffsetDateTime;
use time::macros::format_description;

use super::super::output::{Paint, Tone};
use super::super::{complete, exit, json, signal};
use super::shown::{count, seconds};
use super::{Call, Common, Failure, ended, words};
use crate::names::ClusterName;
use crate::ops::logs::{self, Entry, Level, Pattern, Query};
use crate::ops::nodes::{self, StrikeReport};
use crate::ops::restart::{self, RestartReport, RestartedNode};
use crate::plan::NodePlan;
use crate::runtime::process::Blow;

/// What can be done with the nodes of a cluster.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum NodesCommand {
    /// Show the logs of all nodes as one, or of some; follow them
    ///
    /// Merges the logs by time (UTC). Names of nodes may leave the cluster's prefix out. With --follow it goes
    /// on until Ctrl-C, also through a restart of a node. Changes nothing; the cluster need not run.
    ///
    /// With --json each line is a document of its own: {format, command, node, time, level, logger, message}.
    ///
    /// Examples:
    ///     cargo xtask cluster logs -f                              all nodes, as they write
    ///     cargo xtask cluster logs kafka-1 --since 10m --level warn
    ///     cargo xtask cluster logs --grep 'leader|controller' --tail all
    ///     cargo xtask cluster logs --audit                         what the authoriser refused
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Logs(LogsArgs),
    /// Restart one node, several, or all; one after the other, guarded
    ///
    /// Changes no data and no setting: nodes are stopped and started with the files of the plan. A broker goes
    /// only while every partition keeps its min.insync.replicas without it, and the next one only when this one
    /// is in sync everywhere again; a ZooKeeper node only while the others are a quorum. What leads goes last.
    /// A node that does not run is started. With --all-at-once they go together, which interrupts service.
    ///
    /// Examples:
    ///     cargo xtask cluster restart                    all nodes, rolling
    ///     cargo xtask cluster restart kafka-1 kafka-2
    ///     cargo xtask cluster restart --dry-run          says in which order, and whether it could begin
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Restart(RestartArgs),
    /// Kill nodes without warning, to see how a service takes it
    ///
    /// Sends SIGKILL. Data stays; `cluster restart NODE` or `cluster up` starts it again. Changes nothing else.
    ///
    /// Example:
    ///     cargo xtask cluster kill kafka-2
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Kill(BlowArgs),
    /// Pause nodes: they hang with their connections open
    ///
    /// Sends SIGSTOP: what a long garbage collection or a machine that hangs looks like. Changes nothing else;
    /// `cluster resume` lets it go on.
    ///
    /// Example:
    ///     cargo xtask cluster pause kafka-3
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Pause(BlowArgs),
    /// Let paused nodes go on
    ///
    /// Sends SIGCONT. Changes nothing else.
    ///
    /// Example:
    ///     cargo xtask cluster resume kafka-3
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Resume(BlowArgs),
    /// Cut nodes off from all others and from clients, as a network that fails does
    ///
    /// Takes the node's container out of the cluster's network; it goes on running. Only for clusters in
    /// containers. Changes nothing else; `cluster heal` brings it back at the same address.
    ///
    /// Example:
    ///     cargo xtask cluster cut kafka-2
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Cut(BlowArgs),
    /// Let nodes that were cut off back into the network
    ///
    /// All of them where none is named. Changes nothing else.
    ///
    /// Example:
    ///     cargo xtask cluster heal
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Heal(HealArgs),
}

/// Arguments of `cluster logs`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct LogsArgs {
    /// Which nodes [default: all]
    #[arg(value_name = "NODE", add = complete::nodes())]
    pub nodes: Vec<String>,
    /// Go on with what is added, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Only from then on: a span before now (10m), or a time (2026-11-25T11:03:00Z)
    #[arg(long, value_name = "WHEN", value_parser = words::since)]
    pub since: Option<OffsetDateTime>,
    /// Only the last so many lines of all nodes together, or `all`
    #[arg(short = 'n', long, value_name = "N", value_parser = tail, default_value = "200")]
    pub tail: Tail,
    /// Only what matches this regular expression, upper and lower case alike
    #[arg(long, value_name = "PATTERN")]
    pub grep: Option<Pattern>,
    /// Only this level and graver: trace, debug, info, warn, error, fatal
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<Level>,
    /// The brokers' audit logs instead: every request that the authoriser refused
    #[arg(long)]
    pub audit: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// How many lines of the end are shown; none means all.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a number with a name")]
pub struct Tail(pub Option<usize>);

fn tail(text: &str) -> Result<Tail, String> {
    if text == "all" {
        return Ok(Tail(None));
    }
    text.parse().map(|tail| Tail(Some(tail))).map_err(|_| format!("`{text}` is neither a number nor `all`"))
}

/// Arguments of `cluster restart`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct RestartArgs {
    /// Which nodes [default: all]
    #[arg(value_name = "NODE", add = complete::nodes())]
    pub nodes: Vec<String>,
    /// All of them at the same time, whatever that interrupts
    #[arg(long)]
    pub all_at_once: bool,
    /// How long the cluster gets to allow each restart and to recover from it
    #[arg(long, value_name = "SPAN", value_parser = words::span, default_value = "3m")]
    pub deadline: Duration,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `cluster kill`, `pause` and `resume`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct BlowArgs {
    /// Which nodes
    #[arg(value_name = "NODE", required = true, add = complete::nodes())]
    pub nodes: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `cluster heal`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct HealArgs {
    /// Which nodes [default: all]
    #[arg(value_name = "NODE", add = complete::nodes())]
    pub nodes: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

pub(super) async fn run(command: NodesCommand) -> ExitCode {
    match command {
        NodesCommand::Logs(args) => {
            let call = Call::new("logs", &args.common);
            ended(&call, show_logs(&call, &args)).await
        }
        NodesCommand::Restart(args) => {
            let call = Call::new("restart", &args.common);
            ended(&call, restarted(&call, &args)).await
        }
        NodesCommand::Kill(args) => strike("kill", &args, Blow::Kill).await,
        NodesCommand::Pause(args) => strike("pause", &args, Blow::Pause).await,
        NodesCommand::Resume(args) => strike("resume", &args, Blow::Resume).await,
        NodesCommand::Cut(args) => cut("cut", &args.common, &args.nodes, args.dry_run).await,
        NodesCommand::Heal(args) => cut("heal", &args.common, &args.nodes, args.dry_run).await,
    }
}

async fn strike(words: &'static str, args: &BlowArgs, blow: Blow) -> ExitCode {
    let call = Call::new(words, &args.common);
    let outcome = async {
        let report = nodes::strike(&call.selection()?, &args.nodes, blow, args.dry_run)?;
        call.report(&report, || struck(&report, &call))
    };
    ended(&call, outcome).await
}

async fn cut(words: &'static str, common: &Common, names: &[String], dry_run: bool) -> ExitCode {
    let call = Call::new(words, common);
    let outcome = async {
        let report = nodes::set_cut(&call.selection()?, names, words == "cut", dry_run)?;
        call.report(&report, || struck(&report, &call))
    };
    ended(&call, outcome).await
}

fn struck(report: &StrikeReport, call: &Call) -> String {
    let mut lines: Vec<String> =
        report.nodes.iter().map(|node| format!("{}: {}", node.node, node.outcome)).collect();
    let undo = match call.words {
        "kill" => "cluster restart",
        "pause" => "cluster resume",
        "cut" => "cluster heal",
        _ => return lines.join("\n"),
    };
    let struck: Vec<&str> = report
        .nodes
        .iter()
        .filter(|node| node.outcome != "not running")
        .map(|node| node.node.as_str())
        .collect();
    if !struck.is_empty() {
        lines.push(format!("  undo:  {}", call.command(&format!("{undo} {}", struck.join(" ")))));
    }
    lines.join("\n")
}

async fn restarted(call: &Call, args: &RestartArgs) -> Result<u8, Failure> {
    let options = restart::Options {
        nodes: args.nodes.clone(),
        all_at_once: args.all_at_once,
        dry_run: args.dry_run,
        patience: args.deadline,
    };
    let told = |node: &RestartedNode| call.say(&restart_line(node, call.output.paint));
    let selection = call.selection()?;
    let report = tokio::select! {
        biased;
        () = signal::cancelled() => {
            let message = format!(
                "interrupted; a node that was just stopped may still be down\n  look:    {}\n  finish:  {}",
                call.command("cluster ps"),
                call.command("cluster up")
            );
            Err(Failure::Said { message, code: exit::INTERRUPTED })
        }
        report = restart::restart(&selection, &options, &told) => report.map_err(Failure::from),
    }?;
    call.report(&report, || restart_summary(&report))
}

fn restart_line(node: &RestartedNode, paint: Paint) -> String {
    let tone = if node.outcome.starts_with("would") { Tone::Dim } else { Tone::Good };
    let mut line = format!("{} {}  {}", paint.paint(tone, "✓"), node.node, node.outcome);
    if node.down_millis > 0 {
        line.push_str(&[", serving again after ", &seconds(node.down_millis)].concat());
    }
    if let Some(millis) = node.in_sync_millis {
        line.push_str(&[", in sync ", &seconds(millis), " later"].concat());
    }
    line
}

fn restart_summary(report: &RestartReport) -> String {
    let nodes = count(report.nodes.len(), "node");
    let how = if report.all_at_once { "at once" } else { "one after the other" };
    if report.dry_run {
        return format!("cluster {}: {nodes} would go {how}; nothing was changed", report.cluster);
    }
    format!("cluster {}: {nodes} restarted, {how} ({})", report.cluster, seconds(report.millis))
}

async fn show_logs(call: &Call, args: &LogsArgs) -> Result<u8, Failure> {
    let operated = call.operated()?;
    let nodes = operated.nodes(&args.nodes)?;
    let query = Query {
        since: args.since,
        tail: args.tail.0,
        grep: args.grep.clone(),
        level: args.level,
        audit: args.audit,
    };
    let dir = &operated.cluster().dir;
    let mut printer = Printer::new(call, &operated.cluster().plan.cluster, &nodes);
    let shown = async {
        for entry in logs::read(dir, &nodes, &query)? {
            printer.print(&entry)?;
        }
        printer.flush()?;
        if args.follow {
            let told = &mut |entry: &Entry| printer.print(entry).and_then(|()| printer.flush());
            logs::follow(dir, &nodes, &query, told, signal::cancelled()).await?;
        }
        io::Result::Ok(())
    };
    match shown.await {
        Ok(()) => Ok(exit::OK),
        // The reader (`| head`) has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit::OK),
        Err(error) => {
            let message = format!("the logs in {} cannot be read: {error}", dir.nodes().display());
            Err(Failure::Said { message, code: exit::MACHINE })
        }
    }
}

/// Colours of nodes, by their place in the plan.
const COLOURS: [&str; 6] = ["36", "32", "33", "35", "34", "96"];

/// Prints entries, each with its node.
struct Printer {
    out: io::BufWriter<io::Stdout>,
    json: bool,
    paint: Paint,
    prefix: String,
    names: Vec<String>,
    width: usize,
}

impl Printer {
    fn new(call: &Call, cluster: &ClusterName, nodes: &[&NodePlan]) -> Self {
        let names: Vec<String> = nodes.iter().map(|node| node.name.to_string()).collect();
        // The cluster's name, with which all names begin, says nothing.
        let prefix = format!("{cluster}-");
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0).saturating_sub(prefix.len());
        let out = io::BufWriter::new(io::stdout());
        Self { out, json: call.output.json, paint: call.output.paint, prefix, names, width }
    }

    fn print(&mut self, entry: &Entry) -> io::Result<()> {
        let line = if self.json {
            json::document("logs", entry).map_err(io::Error::other)?
        } else {
            self.text(entry)
        };
        writeln!(self.out, "{line}")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn text(&self, entry: &Entry) -> String {
        let shape = format_description!("[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");
        let time = entry.time.and_then(|at| at.format(shape).ok()).unwrap_or_else(|| " ".repeat(18));
        let name = entry.node.strip_prefix(&self.prefix).unwrap_or(&entry.node);
        let name = format!("{name:<width$}", width = self.width);
        let place = self.names.iter().position(|known| *known == entry.node).unwrap_or(0);
        let name = if self.paint.0 {
            format!("\u{1b}[{}m{name}\u{1b}[0m", COLOURS[place % COLOURS.len()])
        } else {
            name
        };
        let text = entry.to_string();
        let text = match entry.level {
            Some(Level::Warn) => self.paint.paint(Tone::Warn, &text),
            Some(Level::Error | Level::Fatal) => self.paint.paint(Tone::Bad, &text),
            _ => text,
        };
        format!("{} {name} | {text}", self.paint.paint(Tone::Dim, &time))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::args::{ColorChoice, Reporting};
    use super::*;
    use crate::plan::NodeRole;

    fn call(color: ColorChoice) -> Call {
        let reporting = Reporting { json: false, color };
        Call::new("logs", &Common { reporting, ..Common::default() })
    }

    #[test]
    fn a_line_has_time_node_level_and_text_and_colour_only_where_wanted() {
        let plan = crate::plan::tests::default_plan();
        let nodes: Vec<&NodePlan> = plan.nodes_of(NodeRole::Broker).collect();
        let entry = Entry {
            node: "caracal-kafka-2".to_owned(),
            time: Some(time::macros::datetime!(2026-11-25 11:03:31.5 UTC)),
            level: Some(Level::Warn),
            logger: Some("kafka.Server".to_owned()),
            message: "odd\n\tat x".to_owned(),
        };
        let plain = Printer::new(&call(ColorChoice::Never), &plan.cluster, &nodes).text(&entry);
        assert_eq!(plain, "11-25 11:03:31.500 kafka-2 | WARN  odd (kafka.Server)\n\tat x");
        let coloured = Printer::new(&call(ColorChoice::Always), &plan.cluster, &nodes).text(&entry);
        assert!(coloured.contains("\u{1b}[32mkafka-2\u{1b}[0m"), "{coloured}");
    }

    #[test]
    fn a_restart_says_how_long_service_and_copies_took() {
        let node = RestartedNode {
            node: "caracal-kafka-1".parse().unwrap(),
            role: NodeRole::Broker,
            outcome: "restarted",
            down_millis: 4200,
            in_sync_millis: Some(700),
        };
        let line = restart_line(&node, Paint(false));
        assert_eq!(line, "✓ caracal-kafka-1  restarted, serving again after 4.2 s, in sync 0.7 s later");
        let report = RestartReport {
            cluster: "caracal".parse().unwrap(),
            all_at_once: false,
            dry_run: true,
            nodes: vec![node],
            millis: 1,
        };
        assert_eq!(
            restart_summary(&report),
            "cluster caracal: 1 node would go one after the other; nothing was changed"
        );
    }
}
