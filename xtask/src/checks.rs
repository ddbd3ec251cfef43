//! `test`, `ci`, `tidy`, `golden`: lists of cargo commands, run to their end, failures told together.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::prerequisites::{self, DOCKER, LIVE, UNIT};
use crate::shell::{self, Ended};
use crate::tally::Tally;

/// What `cargo xtask test` runs.
#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    /// Which tests
    #[arg(value_enum, default_value_t = Suite::All)]
    suite: Suite,
    /// Only tests whose name holds this text; the checks that are no tests are left out
    #[arg(long)]
    filter: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Suite {
    /// Format, lints, documentation, unit tests, golden files, the repository's rules
    Unit,
    /// The live suite on a real cluster
    Live,
    /// The live tests of clusters in containers; needs an engine and the images of `image build`
    Docker,
    /// `unit` and `live`
    All,
}

/// What `cargo xtask golden` does.
#[derive(Debug, Args)]
pub(crate) struct GoldenArguments {
    /// Write the golden files as they are rendered now
    #[arg(long)]
    bless: bool,
}

/// One command of a run.
struct Step {
    name: &'static str,
    command: Command,
    /// What follows makes no sense when it fails.
    decisive: bool,
    /// It runs tests, at least one.
    tests: bool,
}

impl Step {
    fn new(name: &'static str, command: Command) -> Self {
        Self { name, command, decisive: false, tests: false }
    }

    /// A step that runs tests: none that matched is none that passed.
    fn of_tests(name: &'static str, command: Command) -> Self {
        Self { tests: true, ..Self::new(name, command) }
    }

    fn decisive(self) -> Self {
        Self { decisive: true, ..self }
    }
}

/// The whole workspace in every step, so that all of them share what they have compiled.
const TESTS: [&str; 6] = ["test", "--workspace", "--locked", "--no-fail-fast", "--features", FEATURES];
const LIVE_TESTS: [&str; 7] =
    ["test", "--workspace", "--locked", "--features", ALL_FEATURES, "--test", "live"];

/// With the features of the live suite, so that nothing is built twice.
const EXAMPLE_TESTS: [&str; 7] =
    ["test", "--workspace", "--locked", "--features", ALL_FEATURES, "--test", "ledger"];

/// What has tests of its own and is off unless asked for.
const FEATURES: &str = "caracal-kafka-client/in-memory";
const ALL_FEATURES: &str = "caracal-kafka-client/in-memory,caracal-tests/live,ledger-service/live";

/// Runs every check and every test. Returns whether all passed.
///
/// # Errors
/// When a prerequisite is missing or a program cannot be started.
pub(crate) fn test(arguments: &TestArguments) -> Result<bool> {
    run(test_steps(arguments)?)
}

/// Runs what CI runs. Returns whether all passed.
///
/// # Errors
/// As [`test()`].
pub(crate) fn ci() -> Result<bool> {
    let mut steps = test_steps(&TestArguments { suite: Suite::All, filter: None })?;
    for features in ["", "native", "cli", "docker"] {
        let arguments =
            ["check", "-p", "caracal-cluster", "--locked", "--no-default-features", "--features", features];
        steps.push(Step::new("caracal-cluster with few features", cargo(&arguments)?));
    }
    // The other names of the same spans.
    let observed = ["test", "-p", "caracal-kafka-client", "--locked", "--test", "observed"];
    let features = ["--features", "in-memory,otel-names"];
    steps.push(Step::of_tests("OpenTelemetry's names", cargo(&[observed.as_slice(), &features].concat())?));
    let mut clean = shell::program("git")?;
    clean.args(["status", "--porcelain", "--", "caracal-cluster/tests/golden", "Cargo.lock"]);
    steps.push(Step::new("golden files and lock are committed", clean));
    run(steps)
}

/// Checks the repository's own rules. Returns whether they hold.
///
/// # Errors
/// When cargo cannot be started.
pub(crate) fn tidy() -> Result<bool> {
    run(vec![Step::of_tests("tidy", cargo(&["test", "--locked", "-p", "xtask", "--test", "tidy"])?)])
}

/// Compares the golden files, or writes them. Returns whether they fit.
///
/// # Errors
/// When cargo cannot be started.
pub(crate) fn golden(arguments: &GoldenArguments) -> Result<bool> {
    let mut command = cargo(&["test", "--locked", "-p", "caracal-cluster", "--test", "golden"])?;
    if arguments.bless {
        command.env("CARACAL_BLESS", "1");
    }
    run(vec![Step::of_tests("golden files", command)])
}

fn test_steps(arguments: &TestArguments) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    if arguments.suite == Suite::Docker {
        prerequisites::check(LIVE)?;
        prerequisites::check(DOCKER)?;
        let mut docker = cargo(&LIVE_TESTS)?;
        docker.env("CARACAL_LIVE_SUITE", "docker").arg("--").args(&arguments.filter);
        return Ok(vec![Step::of_tests("live tests in containers", docker)]);
    }
    if arguments.suite != Suite::Live {
        prerequisites::check(UNIT)?;
        steps.extend(unit_steps(arguments.filter.as_deref())?);
    }
    if arguments.suite != Suite::Unit {
        prerequisites::check(LIVE)?;
        // Here and not in the background, where it would take processors from the tests.
        let mut caches = cargo(&["xtask", "cache", "make"])?;
        caches.arg("--color=never");
        steps.push(Step::new("start-up caches", caches));
        let mut live = cargo(&LIVE_TESTS)?;
        live.env("CARACAL_START_CACHES", "use");
        live.arg("--").args(&arguments.filter);
        steps.push(Step::of_tests("live suite", live));
        if arguments.filter.is_none() {
            let mut example = cargo(&EXAMPLE_TESTS)?;
            example.env("CARACAL_START_CACHES", "use");
            steps.push(Step::of_tests("the example service's own test", example));
        }
    }
    Ok(steps)
}

fn unit_steps(filter: Option<&str>) -> Result<Vec<Step>> {
    let mut tests = cargo(&TESTS)?;
    if let Some(filter) = filter {
        tests.args(["--", filter]);
        return Ok(vec![Step::of_tests("unit tests, golden files, rules", tests)]);
    }
    let mut build = cargo(&TESTS)?;
    build.arg("--no-run");
    let documents = ["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"];
    let mut docs = cargo(&[&documents[..], &["--features", FEATURES]].concat())?;
    docs.env("RUSTDOCFLAGS", "-D warnings");
    let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--features", ALL_FEATURES];
    let mut clippy = cargo(&lints)?;
    clippy.args(["--", "-D", "warnings"]);
    let mut steps = vec![
        Step::new("format", cargo(&["fmt", "--all", "--", "--check"])?),
        Step::new("lints", clippy),
        Step::new("build", build).decisive(),
        Step::of_tests("unit tests, golden files, rules", tests),
        Step::new("documentation", docs),
    ];
    if shell::which("cargo-deny").is_some() {
        steps.push(Step::new("licences, bans, advisories", cargo(&["deny", "check"])?));
    } else {
        println!(
            "not run: `cargo deny check`, because cargo-deny is not installed (`cargo install cargo-deny --locked`); \
             the rules check its licences and bans, advisories are not checked"
        );
    }
    Ok(steps)
}

fn cargo(arguments: &[&str]) -> Result<Command> {
    let mut command = shell::cargo()?;
    command.args(arguments);
    Ok(command)
}

/// Runs every step, tells each one's time and all failures together.
fn run(steps: Vec<Step>) -> Result<bool> {
    let mut total = Tally::default();
    let mut lines = Vec::new();
    let mut pending = steps.into_iter();
    for step in pending.by_ref() {
        println!("\n── {} ──", step.name);
        let started = Instant::now();
        let ended = shell::shown(step.command)?;
        let tally = judge(step.name, step.tests, &ended);
        lines.push(line(step.name, started.elapsed(), &tally));
        let failed = tally.failed > 0;
        total.add(tally);
        if failed && step.decisive {
            lines.push(format!("       `{}` failed: nothing after it was run", step.name));
            break;
        }
    }
    lines.extend(pending.map(|step| format!("  not run      {}", step.name)));
    println!("\n{}", lines.join("\n"));
    for failure in &total.failures {
        println!("  FAILED: {failure}");
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(total.failed == 0)
}

/// What a step says: its tests, or, for one without tests, that it passed or failed.
fn judge(name: &str, tests: bool, ended: &Ended) -> Tally {
    let mut tally = Tally::of(&ended.stdout);
    let dirty = name.ends_with("are committed") && !ended.stdout.trim().is_empty();
    if (!ended.success || dirty) && tally.failed == 0 {
        tally.failed = 1;
        tally.failures.push(format!("{name} (see its output above)"));
    }
    if tests && tally.passed == 0 && tally.failed == 0 {
        tally.failed = 1;
        tally.failures.push(format!("{name}: no test matches, so nothing was tried"));
    }
    tally
}

fn line(name: &str, took: Duration, tally: &Tally) -> String {
    let tests = tally.passed > 0 || tally.failures.iter().any(|failure| !failure.contains("(see its output"));
    let counts =
        if tests { format!(": {} passed, {} failed", tally.passed, tally.failed) } else { String::new() };
    let mark = if tally.failed == 0 { "ok    " } else { "FAILED" };
    format!("  {mark} {:>7.1} s  {name}{counts}", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(tests: bool, success: bool, stdout: &str) -> (u64, u64, String) {
        let tally = judge("step", tests, &Ended { success, stdout: stdout.to_owned() });
        (tally.passed, tally.failed, tally.failures.join("; "))
    }

    #[test]
    fn a_filter_that_matches_no_test_is_a_failure() {
        let none = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 9 filtered out\n";
        let one = "test a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
        let none_matches = "step: no test matches, so nothing was tried";
        assert_eq!(judged(true, true, none), (0, 1, none_matches.to_owned()));
        assert_eq!(judged(true, true, &none.repeat(3)), (0, 1, none_matches.to_owned()));
        assert_eq!(judged(true, true, &[none, one].concat()), (1, 0, String::new()));
    }

    #[test]
    fn a_step_that_fails_without_a_failed_test_is_one_failure() {
        let failed = (0, 1, "step (see its output above)".to_owned());
        for tests in [false, true] {
            assert_eq!(judged(tests, false, "error: could not compile"), failed);
        }
        assert_eq!(judged(false, true, ""), (0, 0, String::new()));
    }
}
