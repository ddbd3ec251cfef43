//! The tick list of `up`: one line a step, as the engine tells of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{Output, Paint, Tone, columns, wrap};
use crate::lifecycle::engine::{Event, Outcome, Reporter, Step};

/// Reasons shown of one drift; `plan` shows all.
const MOST_REASONS: usize = 8;

/// Columns of a step's title and time.
const TITLE: usize = 40;

/// Turns events into lines.
#[derive(Clone, Debug)]
pub(super) struct TickList {
    paint: Paint,
    width: Option<usize>,
    told: BTreeSet<String>,
}

impl TickList {
    pub(super) fn new(paint: Paint, width: Option<usize>) -> Self {
        Self { paint, width, told: BTreeSet::new() }
    }

    /// The lines that an event adds to the list.
    pub(super) fn lines(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::Started(_) => Vec::new(),
            Event::Drift(step, reasons) => self.drift(*step, reasons),
            // Off a terminal each thing that takes long is told once; on one a bar shows it.
            Event::Progress { what, .. } if self.width.is_none() && self.told.insert(what.clone()) => {
                vec![format!("  … {what}")]
            }
            Event::Progress { .. } => Vec::new(),
            Event::Finished(step, Outcome::Unchanged(text) | Outcome::Changed(text), took) => {
                self.tick(Tone::Good, "✓", *step, *took, text)
            }
            Event::Failed(step, took) => self.tick(Tone::Bad, "✗", *step, *took, ""),
            Event::Note(text) => self.note(text),
        }
    }

    fn tick(&self, tone: Tone, mark: &str, step: Step, took: Duration, text: &str) -> Vec<String> {
        let time = format!("{:.1} s", took.as_secs_f64());
        let room = TITLE.saturating_sub(columns(&time));
        let title = step.title();
        // A title too long for its column pushes its time to the right; the list stays readable.
        let gap = " ".repeat(room.saturating_sub(columns(title)).max(2));
        let head = columns(mark) + 1 + columns(title) + columns(&gap) + columns(&time);
        let first =
            format!("{} {title}{gap}{}", self.paint.paint(tone, mark), self.paint.paint(Tone::Dim, &time));
        let mut rest = wrap(text, self.width.map_or(usize::MAX, |width| width.saturating_sub(4)));
        if text.is_empty() {
            return vec![first];
        }
        if rest.len() == 1 && self.width.is_none_or(|width| head + 2 + columns(&rest[0]) <= width) {
            return vec![format!("{first}  {}", rest.remove(0))];
        }
        [first].into_iter().chain(rest.into_iter().map(|line| format!("    {line}"))).collect()
    }

    fn drift(&self, step: Step, reasons: &[String]) -> Vec<String> {
        let head = format!("{} {} differs from the plan:", self.paint.paint(Tone::Warn, "~"), step.title());
        let shown = reasons.iter().take(MOST_REASONS).flat_map(|reason| self.indented("    - ", reason));
        let more = reasons.len().saturating_sub(MOST_REASONS);
        let more = (more > 0).then(|| format!("    - and {more} more"));
        [head].into_iter().chain(shown).chain(more).collect()
    }

    fn note(&mut self, text: &str) -> Vec<String> {
        if !self.told.insert(text.to_owned()) {
            return Vec::new();
        }
        let mut lines = self.indented("  ! ", text);
        lines[0] = format!("  {} {}", self.paint.paint(Tone::Warn, "!"), &lines[0][4..]);
        lines
    }

    fn indented(&self, mark: &str, text: &str) -> Vec<String> {
        let width = self.width.map_or(usize::MAX, |width| width.saturating_sub(columns(mark)));
        let lines = wrap(text, width);
        let indent = " ".repeat(columns(mark));
        let lines = lines.iter().enumerate();
        lines.map(|(at, line)| format!("{}{line}", if at == 0 { mark } else { &indent })).collect()
    }
}

/// The tick list as it grows on a terminal or in a file.
pub(super) struct Live {
    list: TickList,
    output: Output,
    bar: Option<ProgressBar>,
    title: &'static str,
}

impl Live {
    /// A reporter that shows events; silent when one JSON document is wanted.
    pub(super) fn reporter(output: Output) -> Reporter {
        if output.json {
            return Reporter::silent();
        }
        let live = Self { list: TickList::new(output.paint, output.width), output, bar: None, title: "" };
        let live = Arc::new(Mutex::new(live));
        Reporter::new(move |event| live.lock().unwrap_or_else(PoisonError::into_inner).tell(&event))
    }

    /// A bar that counts what is done, on a terminal.
    pub(super) fn counter(output: Output, what: &'static str) -> Option<ProgressBar> {
        if output.json || !output.terminal {
            return None;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        bar.set_style(style("{spinner} {pos} {wide_msg} {elapsed}"));
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(120));
        Some(bar)
    }

    fn tell(&mut self, event: &Event) {
        match event {
            Event::Started(step) => self.spin(step.title()),
            Event::Progress { what, done, total, .. } => self.progress(what, *done, *total),
            Event::Finished(..) | Event::Failed(..) => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
            }
            Event::Drift(..) | Event::Note(_) => {}
        }
        for line in self.list.lines(event) {
            match &self.bar {
                Some(bar) => bar.suspend(|| self.output.line(&line)),
                None => self.output.line(&line),
            }
        }
    }

    fn spin(&mut self, title: &'static str) {
        self.title = title;
        if !self.output.terminal {
            return;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        bar.set_style(style("{spinner} {wide_msg} {elapsed}"));
        bar.set_message(title);
        bar.enable_steady_tick(Duration::from_millis(120));
        self.bar = Some(bar);
    }

    fn progress(&mut self, what: &str, done: u64, total: u64) {
        let Some(bar) = &self.bar else { return };
        if total == 0 {
            bar.set_style(style("{spinner} {wide_msg} {elapsed}"));
            bar.set_message(format!("{}: {what}", self.title));
        } else {
            bar.set_style(style("{spinner} {bar:24} {percent:>3} % {wide_msg} {elapsed}"));
            bar.set_length(total);
            bar.set_position(done.min(total));
            bar.set_message(what.to_owned());
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(width: Option<usize>, paint: bool) -> String {
        let events = [
            Event::Started(Step::Distribution),
            Event::Progress {
                step: Step::Distribution,
                what: "fetching kafka".to_owned(),
                done: 1,
                total: 9,
            },
            Event::Progress {
                step: Step::Distribution,
                what: "fetching kafka".to_owned(),
                done: 2,
                total: 9,
            },
            Event::Finished(
                Step::Distribution,
                Outcome::Changed("Java 25".to_owned()),
                Duration::from_millis(6020),
            ),
            Event::Note("little memory".to_owned()),
            Event::Note("little memory".to_owned()),
            Event::Drift(Step::Brokers, (0..10).map(|n| format!("reason {n}")).collect()),
            Event::Finished(
                Step::Brokers,
                Outcome::Changed("3 brokers know each other".to_owned()),
                Duration::from_millis(5240),
            ),
            Event::Failed(Step::Acls, Duration::from_millis(40)),
        ];
        let mut list = TickList::new(Paint(paint), width);
        events.iter().flat_map(|event| list.lines(event)).map(|line| line + "\n").collect()
    }

    #[test]
    fn off_a_terminal_the_list_is_plain_lines() {
        assert_eq!(
            rendered(None, false),
            "  … fetching kafka\n\
             ✓ Java, Kafka and registry at hand   6.0 s  Java 25\n  \
             ! little memory\n\
             ~ brokers differs from the plan:\n    \
             - reason 0\n    - reason 1\n    - reason 2\n    - reason 3\n    - reason 4\n    - reason 5\n    \
             - reason 6\n    - reason 7\n    - and 2 more\n\
             ✓ brokers                            5.2 s  3 brokers know each other\n\
             ✗ access rules                       0.0 s\n"
        );
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_and_bars_replace_lines_of_progress() {
        let text = rendered(Some(40), false);
        assert!(text.lines().all(|line| columns(line) <= 42), "{text}");
        assert!(text.contains("    3 brokers know each other\n"), "{text}");
        assert!(!text.contains("fetching"), "{text}");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let mut plain = String::new();
        let mut escape = false;
        for c in rendered(None, true).chars() {
            match c {
                '\u{1b}' => escape = true,
                'm' if escape => escape = false,
                _ if escape => {}
                c => plain.push(c),
            }
        }
        assert_eq!(plain, rendered(None, false));
    }
}
