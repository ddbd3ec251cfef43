//! What stands below the tick list and in place of it: next commands, plans, failures.

use std::fmt::Write as _;

use super::args::Target;
use super::output::{Output, Paint, Tone, columns, shortened, wrap, wrap_indented};
use crate::lifecycle::commands::{
    Change, DownReport, FileChange, OutsideReport, PlanReport, PlannedStep, Standing, UpReport,
};
use crate::lifecycle::engine::Outcome;
use crate::plan::check::Severity;

/// How this program was called, for commands to paste.
pub(super) fn program() -> String {
    let name = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = name.as_ref().and_then(|path| path.file_stem()?.to_str()).unwrap_or("xtask");
    if name == "xtask" { "cargo xtask".to_owned() } else { name.to_owned() }
}

/// A command of this program about the same cluster.
pub(super) fn command(target: &Target, words: &str) -> String {
    let mut text = format!("{} {words}", program());
    if let Some(name) = &target.name {
        let _ = write!(text, " --name {name}");
    }
    if let Some(dir) = &target.state_dir {
        let _ = write!(text, " --state-dir '{}'", dir.display());
    }
    text
}

/// The end of a successful `up` or `start`.
pub(super) fn up(report: &UpReport, target: &Target, paint: Paint) -> String {
    let changed = report.steps.iter().filter(|step| matches!(step.outcome, Outcome::Changed(_))).count();
    let seconds = seconds(report.millis);
    let done = if changed == 0 {
        format!("cluster {} is up; nothing had to be changed ({seconds})", report.cluster)
    } else {
        format!("cluster {} is up and proved ({seconds})", report.cluster)
    };
    let target = &Target { name: target.name.clone().or_else(|| named(report)), ..target.clone() };
    let clients = clients(report);
    let folder = |user: &str| format!("{}/{user}", clients.display());
    let mut text = format!("\n{}\n", paint.paint(Tone::Bold, &done));
    field(&mut text, "brokers", &report.endpoints.bootstrap.join(","));
    if let Some(url) = &report.endpoints.registry_url {
        field(&mut text, "registry", url);
    }
    field(&mut text, "clients", &clients.display().to_string());
    let _ = writeln!(text, "            one folder each: {}", users(report));
    next(
        &mut text,
        paint,
        &[
            ("prove what is allowed and what is refused", command(target, "verify")),
            ("look at the nodes", command(target, "cluster ps")),
            (
                "read events with Kafka's own client (any Kafka's bin folder on PATH)",
                format!(
                    "kafka-console-consumer.sh --bootstrap-server {} --consumer.config '{}' --topic {} --from-beginning",
                    report.endpoints.bootstrap.first().map_or("", String::as_str),
                    folder("consumer") + "/consumer.properties",
                    TOPIC
                ),
            ),
            (
                "or with kcat",
                format!("kcat -F '{}/kcat.conf' -C -t {TOPIC} -o beginning", folder("consumer")),
            ),
            (
                "give a service its settings",
                format!("set -a; source '{}/.env.kafka'; set +a", folder("producer")),
            ),
            ("stop it, keep the data", command(target, "cluster down")),
        ],
    );
    text.truncate(text.trim_end().len());
    text
}

/// The default topology's busiest topic, for a first look.
const TOPIC: &str = "caracal.metering.events";

/// The name for commands to paste, unless it is the default's.
fn named(report: &UpReport) -> Option<crate::names::ClusterName> {
    (report.cluster.as_str() != crate::spec::DEFAULT_CLUSTER).then(|| report.cluster.clone())
}

/// The end of `credentials`.
pub(super) fn credentials(report: &UpReport, target: &Target, paint: Paint) -> String {
    let done = format!("credentials of cluster {} are there ({})", report.cluster, seconds(report.millis));
    let target = &Target { name: target.name.clone().or_else(|| named(report)), ..target.clone() };
    let mut text = format!("\n{}\n", paint.paint(Tone::Bold, &done));
    field(&mut text, "authorities", &format!("{}/pki", report.directory.display()));
    field(&mut text, "clients", &clients(report).display().to_string());
    let _ = writeln!(text, "            one folder each: {}", users(report));
    next(&mut text, paint, &[("start the cluster with them", command(target, "cluster up"))]);
    text.truncate(text.trim_end().len());
    text
}

/// What was asked of an outside authority, or taken from it.
pub(super) fn outside(report: &OutsideReport, target: &Target) -> String {
    let (count, folder) = (report.certificates.len(), report.folder.display());
    let again = |flag: &str| command(target, &format!("credentials {flag} '{folder}'"));
    match (report.taken, report.dry_run) {
        (false, true) => format!("{count} requests would be written to {folder}"),
        (false, false) => format!(
            "{count} requests are in {folder}; the keys stayed here\n  have each signed (`<name>.csr` becomes `<name>.pem`), put \
             the authority beside them (`ca.pem`), then:\n    {}",
            again("--accept")
        ),
        (true, true) => {
            format!("{count} certificates in {folder} fit and would be taken; nothing was changed")
        }
        (true, false) => {
            format!(
                "{count} certificates of an outside authority were taken\n  {}",
                command(target, "cluster up")
            )
        }
    }
}

fn clients(report: &UpReport) -> std::path::PathBuf {
    report.directory.join("clients")
}

fn users(report: &UpReport) -> String {
    report.clients.iter().map(|client| client.user.as_str()).collect::<Vec<_>>().join(", ")
}

fn field(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<10}{value}");
}

fn next(text: &mut String, paint: Paint, commands: &[(&str, String)]) {
    let _ = writeln!(text, "\nNext:");
    for (what, command) in commands {
        let _ = writeln!(text, "  {}\n    {command}", paint.paint(Tone::Dim, &format!("# {what}")));
    }
}

fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

/// The end of `down` or `stop`.
pub(super) fn down(report: &DownReport, kept: bool, target: &Target) -> String {
    let ended = report.nodes.iter().filter(|node| node.outcome != "not running").count();
    let nodes = match ended {
        0 => "nothing was running".to_owned(),
        1 => "1 node stopped".to_owned(),
        ended => format!("{ended} nodes stopped"),
    };
    let head = format!("cluster {}: {nodes} ({})", report.cluster, seconds(report.millis));
    if report.deleted {
        return format!("{head}; everything of it was deleted");
    }
    let again = command(target, "cluster start");
    if kept {
        return format!("{head}; everything is kept, ports included\n  {again}");
    }
    let delete = command(target, "cluster down -v");
    format!(
        "{head}; data, certificates and passwords are kept in {}\n  bring it back:      {again}\n  \
         delete everything:  {delete}",
        report.directory.display()
    )
}

/// What `down` or `stop` would do, and to the data of how many topics.
pub(super) fn would_stop(report: &DownReport, topics: usize) -> String {
    let mut lines: Vec<String> =
        report.nodes.iter().map(|node| format!("{}  {}", node.node, node.outcome)).collect();
    let place = report.directory.display();
    lines.push(if report.deleted {
        format!("{}, certificates, passwords and logs in {place} would be deleted", data_of(topics))
    } else {
        format!("data, certificates and passwords would be kept in {place}")
    });
    lines.push(format!("cluster {}: nothing was changed", report.cluster));
    lines.join("\n")
}

/// What is lost with so many topics.
pub(super) fn data_of(topics: usize) -> String {
    match topics {
        0 => "everything".to_owned(),
        1 => "1 topic's data".to_owned(),
        topics => format!("{topics} topics' data"),
    }
}

/// What a command that goes through steps would do: `plan` shows it of `up`.
pub(super) fn plan(report: &PlanReport, command: &str, files: bool, output: Output) -> String {
    let paint = output.paint;
    let made = if report.existed { "has been made before" } else { "does not exist yet" };
    let head = format!("cluster {} {made}; nothing is changed by this", report.cluster);
    let mut text = paint.paint(Tone::Bold, &wrap_indented(&head, output.width));
    let _ = writeln!(text, "\n{}", paint.paint(Tone::Dim, &report.directory.display().to_string()));
    if !report.ports_known {
        let line = "its ports are leased by `up`; those shown may become others";
        let _ = writeln!(text, "{}", wrap_indented(line, output.width));
    }
    for note in &report.notes {
        let (tone, word) = match note.severity {
            Severity::Error => (Tone::Bad, "error"),
            Severity::Warning => (Tone::Warn, "warning"),
            Severity::Note => (Tone::Dim, "note"),
        };
        let line = format!("{}: {}", note.key, note.consequence);
        lines(&mut text, &format!("{word}: "), tone, &line, output);
    }
    text.push('\n');
    for step in &report.steps {
        planned_step(&mut text, step, output);
    }
    if !report.files.is_empty() {
        file_changes(&mut text, &report.files, paint);
    }
    if files {
        for file in &report.files {
            let head = format!("==> {}{} <==", prefix(file), file.path);
            let _ = write!(text, "\n{}\n{}", paint.paint(Tone::Bold, &head), file.text);
        }
    }
    let what = if report.differs { "something" } else { "nothing" };
    let verdict = format!("`{command}` would change {what}");
    let _ = write!(text, "\n{}", paint.paint(Tone::Bold, &verdict));
    text
}

/// Columns shown of one detail; `--json` has all of it.
const MOST_OF_A_DETAIL: usize = 160;

fn planned_step(text: &mut String, step: &PlannedStep, output: Output) {
    let (tone, word) = match step.standing {
        Standing::Satisfied => (Tone::Good, "done"),
        Standing::Differs => (Tone::Warn, "differs"),
        Standing::Absent => (Tone::Warn, "missing"),
        Standing::Waiting => (Tone::Dim, "waiting"),
        Standing::NotRun => (Tone::Dim, "not run"),
        Standing::Problem => (Tone::Bad, "problem"),
    };
    if let [only] = step.details.as_slice() {
        let line = format!("{}: {}", step.title, shortened(only, MOST_OF_A_DETAIL));
        return lines(text, &format!("{word:<8}"), tone, &line, output);
    }
    lines(text, &format!("{word:<8}"), tone, step.title, output);
    for detail in &step.details {
        lines(text, "          - ", Tone::Dim, detail, output);
    }
}

/// A text behind a mark, wrapped below itself.
fn lines(text: &mut String, mark: &str, tone: Tone, line: &str, output: Output) {
    let width = output.width.map_or(usize::MAX, |width| width.saturating_sub(columns(mark)));
    for (at, line) in wrap(line, width).iter().enumerate() {
        let mark = if at == 0 { output.paint.paint(tone, mark) } else { " ".repeat(columns(mark)) };
        let _ = writeln!(text, "{mark}{line}");
    }
}

fn file_changes(text: &mut String, files: &[FileChange], paint: Paint) {
    let new = files.iter().filter(|file| file.change == Change::New).count();
    let same = files.iter().filter(|file| file.change == Change::Same).count();
    let changed: Vec<_> = files.iter().filter(|file| file.change == Change::Changed).collect();
    let _ = writeln!(text, "\nrendered files: {same} as planned, {} to be changed, {new} new", changed.len());
    for diff in changed.iter().filter_map(|file| file.diff.as_ref()) {
        for line in diff.lines() {
            let line = match line.as_bytes().first() {
                Some(b'+') => paint.paint(Tone::Good, line),
                Some(b'-') => paint.paint(Tone::Bad, line),
                _ => line.to_owned(),
            };
            let _ = writeln!(text, "{line}");
        }
    }
}

fn prefix(file: &FileChange) -> String {
    file.node.as_ref().map_or_else(String::new, |node| format!("{node}/"))
}
