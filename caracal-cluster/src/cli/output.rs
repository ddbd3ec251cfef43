//! Everything that is printed goes through here: tolerant to a closed pipe, coloured only where wanted.

use std::io::{self, IsTerminal as _, Write as _};

use super::args::{ColorChoice, Reporting};

/// A colour with a meaning; the text must be understood without it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tone {
    Good,
    Warn,
    Bad,
    Dim,
    Bold,
}

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Bold => "1",
        };
        if self.0 && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Where and how a command prints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// Whether one JSON document is wanted.
    pub(super) json: bool,
    /// Colours of standard output.
    pub(super) paint: Paint,
    /// Whether standard output is a terminal.
    pub(super) terminal: bool,
    /// Columns of the terminal; none when text goes elsewhere.
    pub(super) width: Option<usize>,
}

impl Output {
    pub(super) fn new(reporting: Reporting) -> Self {
        let terminal = io::stdout().is_terminal();
        let size =
            rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|size| terminal && size.ws_col > 0);
        Self {
            json: reporting.json,
            paint: Paint(colored(reporting.color, terminal, std::env::var_os("NO_COLOR"))),
            terminal,
            width: size.map(|size| usize::from(size.ws_col)),
        }
    }

    /// Prints a text and a line's end. A reader that has gone away (`| head`) is no error.
    #[expect(clippy::unused_self, reason = "printing belongs to the output, and may come to depend on it")]
    pub(super) fn line(self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// The same on standard error.
    #[expect(clippy::unused_self, reason = "as `line`")]
    pub(super) fn error_line(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Asks on standard error and reads one line.
    pub(super) fn ask(self, question: &str) -> String {
        let mut err = io::stderr().lock();
        let _ = write!(err, "{question}").and_then(|()| err.flush());
        let mut answer = String::new();
        let _ = io::stdin().read_line(&mut answer);
        answer.trim().to_owned()
    }

    /// Whether somebody is there to be asked.
    #[expect(clippy::unused_self, reason = "as `line`")]
    pub(super) fn can_ask(self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }
}

/// Whether to colour: what is asked for, else a terminal without `NO_COLOR` (any value but an empty one).
fn colored(choice: ColorChoice, terminal: bool, no_color: Option<std::ffi::OsString>) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            terminal
                && no_color.is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// Breaks a text into lines of at most `width` columns, at spaces; longer words stay whole.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && columns(&line) + 1 + columns(word) > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// The same for a text whose lines are indented: what is broken off goes below, two columns further in.
pub(super) fn wrap_indented(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let mut lines = Vec::new();
    for line in text.lines() {
        let indent = columns(line) - columns(line.trim_start());
        let room = width.saturating_sub(indent + 2).max(20);
        if columns(line) <= width {
            lines.push(line.to_owned());
            continue;
        }
        for (at, part) in wrap(line, room).into_iter().enumerate() {
            lines.push(format!("{}{part}", " ".repeat(indent + if at == 0 { 0 } else { 2 })));
        }
    }
    lines.join("\n")
}

/// A text of at most `most` columns; a longer one ends in an ellipsis.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end_matches([' ', ',']))
}

/// Columns that a text takes; every character here takes one.
pub(super) fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_follows_choice_terminal_and_variable() {
        assert!(colored(ColorChoice::Always, false, Some("1".into())));
        assert!(!colored(ColorChoice::Never, true, None));
        assert!(!colored(ColorChoice::Auto, false, None));
        assert!(!colored(ColorChoice::Auto, true, Some("1".into())));
        assert_eq!(Paint(false).paint(Tone::Bad, "x"), "x");
        assert_eq!(Paint(true).paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }

    #[test]
    fn text_wraps_at_spaces_and_keeps_long_words() {
        assert_eq!(wrap("a bb ccc dddddddd", 6), ["a bb", "ccc", "dddddddd"]);
        assert_eq!(wrap("one\ntwo", 20), ["one", "two"]);
        let text = "head\n  - one two three four five six";
        assert_eq!(wrap_indented(text, Some(24)), "head\n  - one two three four\n    five six");
        assert_eq!(wrap_indented(text, None), text);
        assert_eq!([shortened("ab, cd", 6), shortened("ab, cd", 5)], ["ab, cd", "ab…"]);
    }
}
