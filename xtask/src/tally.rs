//! What test programs print, counted: libtest's own and those that print like it.

/// Passed and failed tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// The names of those that failed.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Counts what a run of one or more test programs printed.
    pub(crate) fn of(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output.lines() {
            if let Some(result) = line.trim_start().strip_prefix("test result: ") {
                tally.passed += number_before(result, " passed");
                tally.failed += number_before(result, " failed");
            } else if let Some(name) = failed_test(line) {
                tally.failures.push(name.to_owned());
            }
        }
        tally
    }

    /// Adds another count.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
    }
}

/// The name in `test NAME ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    let name = line.trim().strip_prefix("test ")?.strip_suffix("FAILED")?;
    Some(name.trim_end_matches([' ', '.']))
}

fn number_before(text: &str, word: &str) -> u64 {
    let Some((head, _)) = text.split_once(word) else { return 0 };
    let digits = head.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn results_of_many_programs_are_summed() {
        let output = "running 2 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test src/lib.rs - (line 3) ... ok\n\
            test result: ok. 12 passed; 0 failed; 0 ignored\n";
        let tally = Tally::of(output);
        assert_eq!((tally.passed, tally.failed), (13, 1));
        assert_eq!(tally.failures, ["a::c"]);
    }

    #[test]
    fn a_program_that_prints_no_result_counts_nothing() {
        assert_eq!(Tally::of("error: could not compile\n"), Tally::default());
    }
}
