//! The report of `verify` as text and as JSON.

use std::fmt::Write as _;

use crate::probe::client::RoundTrips;
use crate::probe::matrix::{Cell, CellOutcome, Group, VerifyReport};

/// How many failures of a group a summary shows: a node that is down fails hundreds of cells.
const MOST: usize = 20;

/// How much of a report is shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a flag of the command line: shown wholly or not")]
pub enum Detail {
    /// A line a group, and every cell that did not pass.
    #[default]
    Summary,
    /// Every cell.
    All,
}

/// The report as a person reads it, legible without colour; ends with a newline.
pub fn text(report: &VerifyReport, detail: Detail) -> String {
    let mut text =
        format!("{}: Kafka {}, registry {}\n\n", report.cluster, report.kafka_version, report.registry);
    for group in Group::ALL {
        let cells: Vec<&Cell> = report.cells.iter().filter(|cell| cell.group == group).collect();
        if cells.is_empty() {
            continue;
        }
        let count = |outcome| cells.iter().filter(|cell| cell.outcome == outcome).count();
        let _ = writeln!(
            text,
            "{:<16} {:>4} passed {:>4} failed {:>4} not run",
            group.label(),
            count(CellOutcome::Passed),
            count(CellOutcome::Failed),
            count(CellOutcome::NotRun)
        );
        match detail {
            Detail::All => cells.iter().for_each(|cell| text.push_str(&indented(&line(cell)))),
            Detail::Summary => {
                let failed = || cells.iter().filter(|cell| cell.outcome == CellOutcome::Failed);
                failed().take(MOST).for_each(|cell| text.push_str(&indented(&line(cell))));
                if let more @ 1.. = failed().count().saturating_sub(MOST) {
                    text.push_str(&indented(&format!(
                        "{:<7}  {more} more cells",
                        CellOutcome::Failed.label()
                    )));
                }
                not_run(&cells).iter().for_each(|line| text.push_str(&indented(line)));
            }
        }
    }
    text.push('\n');
    text.push_str(&verdict(report));
    text.push('\n');
    text
}

fn indented(line: &str) -> String {
    format!("  {line}\n")
}

/// What was not run, one line a reason.
fn not_run(cells: &[&Cell]) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&Cell>)> = Vec::new();
    for cell in cells.iter().filter(|cell| cell.outcome == CellOutcome::NotRun) {
        match reasons.iter_mut().find(|(reason, _)| *reason == cell.seen) {
            Some((_, cells)) => cells.push(cell),
            None => reasons.push((&cell.seen, vec![cell])),
        }
    }
    let line = |(reason, cells): (&str, Vec<&Cell>)| match cells[..] {
        [cell] => line(cell),
        _ => format!("{:<7}  {} cells: {reason}", CellOutcome::NotRun.label(), cells.len()),
    };
    reasons.into_iter().map(line).collect()
}

/// One cell as a line: what became of it, what was done, what was seen, and what should have been.
pub fn line(cell: &Cell) -> String {
    let mut text = format!("{:<7}  {}", cell.outcome.label(), cell.what);
    if !cell.what.contains(&cell.target) {
        let _ = write!(text, " ({})", cell.target);
    }
    let seen = cell.seen.replace('\n', "\n           ");
    match cell.outcome {
        CellOutcome::Passed => {
            let _ =
                write!(text, ": {}", if cell.control.is_some() { format!("refused: {seen}") } else { seen });
        }
        CellOutcome::NotRun => {
            let _ = write!(text, ": {seen}");
        }
        CellOutcome::Failed => {
            let _ = write!(text, "\n           expected {}\n           saw      {seen}", cell.expected);
        }
    }
    text
}

/// The last line: whether the cluster is proved, and what is missing to it.
pub fn verdict(report: &VerifyReport) -> String {
    let [passed, failed, not_run] =
        [CellOutcome::Passed, CellOutcome::Failed, CellOutcome::NotRun].map(|outcome| report.count(outcome));
    let counts =
        format!("{passed} passed, {failed} failed, {not_run} not run in {:.1} s", seconds(report.millis));
    let client = match &report.round_trips {
        RoundTrips::NotRun { why } => format!("; client library not run: {why}"),
        RoundTrips::Failed { .. } => "; client library failed".to_owned(),
        RoundTrips::Ran(client) => format!("; client library: {}", client.client),
    };
    let word = match (report.ok, &report.round_trips) {
        (true, RoundTrips::Ran(_)) => "proved",
        (true, _) => "proved but for the client library",
        (false, _) => "NOT proved",
    };
    format!("{word}: {counts}{client}")
}

/// The report as JSON, one document; ends with a newline.
///
/// # Errors
/// Never for a report of [`crate::probe::matrix::verify`], which holds nothing that JSON cannot say.
pub fn json(report: &VerifyReport) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(report).map(|text| text + "\n")
}

fn seconds(millis: u64) -> f64 {
    std::time::Duration::from_millis(millis).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::matrix::tests::{cell, report};

    #[test]
    fn a_summary_shows_what_did_not_pass_and_counts_the_rest() {
        let mut failed = cell(CellOutcome::Failed, Some("transport/c"));
        failed.seen = "certificate accepted, request answered".to_owned();
        let mut not_run = cell(CellOutcome::NotRun, None);
        not_run.seen = "it follows".to_owned();
        let cells = vec![cell(CellOutcome::Passed, Some("transport/c")), failed, not_run.clone(), not_run];
        let wanted = "\
caracal: Kafka 3.9.2, registry apicurio 3.3.3

transport           1 passed    1 failed    2 not run
  failed   handshake without certificate (caracal-kafka-1 EXTERNAL)
           expected refused: TLS alert about the certificate
           saw      certificate accepted, request answered
  not run  2 cells: it follows

NOT proved: 1 passed, 1 failed, 2 not run in 0.1 s; client library not run: left out on request
";
        let round_trips = RoundTrips::NotRun { why: "left out on request".to_owned() };
        assert_eq!(text(&report(cells, round_trips, false), Detail::Summary), wanted);
    }

    #[test]
    fn everything_is_shown_on_request_and_a_proof_without_the_client_says_so() {
        let cells = vec![cell(CellOutcome::Passed, Some("transport/c")), cell(CellOutcome::Passed, None)];
        let round_trips = RoundTrips::NotRun { why: "left out on request".to_owned() };
        let text = text(&report(cells, round_trips, true), Detail::All);
        let refused = "  passed   handshake without certificate (caracal-kafka-1 EXTERNAL): refused: TLS alert certificate_required\n";
        assert!(text.contains(refused), "{text}");
        assert!(text.contains("EXTERNAL): TLS alert certificate_required\n"), "{text}");
        assert!(text.contains("\nproved but for the client library: 2 passed"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
