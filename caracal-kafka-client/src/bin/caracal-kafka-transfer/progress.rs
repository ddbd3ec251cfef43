//! How far it is, on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often a line is renewed in a terminal, and how often one is added elsewhere.
const RENEWED: Duration = Duration::from_millis(200);
const ADDED: Duration = Duration::from_secs(10);

pub(crate) struct Progress {
    what: &'static str,
    whole: u64,
    quiet: bool,
    terminal: bool,
    begun: Instant,
    shown: Instant,
}

impl Progress {
    pub(crate) fn new(what: &'static str, whole: u64, quiet: bool) -> Self {
        let now = Instant::now();
        Self { what, whole, quiet, terminal: std::io::stderr().is_terminal(), begun: now, shown: now }
    }

    /// Looked at seldom: asking for the time of each record would cost more than reading it.
    pub(crate) fn at(&mut self, done: u64) {
        let every = if self.terminal { RENEWED } else { ADDED };
        if self.quiet || !done.is_multiple_of(512) || self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        self.show(done);
    }

    fn show(&self, done: u64) {
        let rate = rate(done, self.begun.elapsed());
        let part = done.saturating_mul(100).checked_div(self.whole).unwrap_or(100).min(100);
        let line = format!("{}: {done} of {} records ({part} %), {rate} a second", self.what, self.whole);
        let (begin, end) = if self.terminal { ("\r\u{1b}[K", "") } else { ("", "\n") };
        let _ = write!(std::io::stderr(), "{begin}{line}{end}");
    }

    /// Takes the line away.
    pub(crate) fn end(&self) {
        if self.terminal && !self.quiet {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
    }
}

/// Records a second.
pub(crate) fn rate(records: u64, took: Duration) -> u64 {
    let millis = took.as_millis().max(1);
    u64::try_from(u128::from(records) * 1000 / millis).unwrap_or(u64::MAX)
}

/// Milliseconds since a moment.
pub(crate) fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_never_divides_by_nothing() {
        assert_eq!(rate(500, Duration::from_secs(2)), 250);
        assert_eq!(rate(5, Duration::ZERO), 5000);
    }
}
