//! The live suite: one real cluster, and judges that did not write it.
//!
//! `cargo test -p caracal-tests --features live [-- FILTER]`. Names, filters and the summary are libtest's.
//! The judges of the first group share one cluster, which the first of them starts; the others spoil and mend it, or
//! have clusters of their own. Tests run one after the other, and whatever they started is stopped and removed
//! in the end, after a failure and after Ctrl-C too. A missing prerequisite is a failure that says what to install.
//!
//! | variable | meaning |
//! |---|---|
//! | `CARACAL_LIVE_KILLS` | how often `up` is killed at a random moment; 2 unless set |
//! | `CARACAL_LIVE_SEED` | the seed of those moments; printed with each test, fixed unless set |
//! | `CARACAL_LIVE_PICTURES` | a folder for the pictures that the browser took of the dashboard |
//! | `CARACAL_LIVE_SUITE` | `docker`: the tests of clusters in containers instead of all others (`cargo xtask test docker`); `confluent`: the one of Confluent's registry, whose image `CARACAL_LIVE_REGISTRY_IMAGE` names |
//! | `CARACAL_LIVE_KEEP` | `1`: clusters of failed tests keep their files (never their processes) |

mod acls;
mod browser;
mod certs;
mod chromium;
mod client;
mod client_behaviour;
mod client_connects;
mod client_reads;
mod client_schemas;
mod client_writes;
mod clients;
mod cluster;
mod compose;
mod confluent;
mod converge;
mod credentials;
mod dashboard;
mod docker;
mod docker_ops;
mod doctor;
mod dry_runs;
mod examples;
mod fixture;
mod groups;
mod jdk;
mod jvm;
mod kraft;
mod memory;
mod metrics;
mod openssl;
mod operate;
mod product;
mod program;
mod restarts;
mod schemas;
mod scram;
mod secrets;
mod sidebyside;
mod start_caches;
mod terminal;
mod tools;
mod topics;
mod transfer;
mod trouble;
mod trouble_machine;
mod trouble_ops;
mod users;
mod verify;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// A test: its name and what it does.
type Test = (&'static str, fn() -> anyhow::Result<()>);

fn main() -> ExitCode {
    if let Some(code) = fixture::as_a_test() {
        return code;
    }
    let (words, filters) = without_filters(std::env::args().collect());
    let mut arguments = Arguments::from_iter(words);
    // One cluster serves many: a judge must not meet another one's sabotage.
    arguments.test_threads = Some(1);
    cluster::clean_up_on_signals();
    let groups: [&[Test]; 40] = [
        // Only look at the shared cluster.
        credentials::TESTS,
        openssl::TESTS,
        jdk::TESTS,
        clients::TESTS,
        client::TESTS,
        client_reads::TESTS,
        client_behaviour::TESTS,
        client_connects::TESTS,
        client_schemas::TESTS,
        client_writes::TESTS,
        examples::TESTS,
        scram::TESTS,
        secrets::TESTS,
        doctor::TESTS,
        dashboard::TESTS,
        browser::TESTS,
        terminal::TESTS,
        jvm::TESTS,
        // Never get beyond the first steps.
        trouble_machine::TESTS,
        trouble_ops::WITHOUT,
        memory::REFUSED,
        // Spoil the shared cluster, and leave it mended.
        verify::TESTS,
        operate::TESTS,
        topics::TESTS,
        groups::TESTS,
        schemas::TESTS,
        transfer::TESTS,
        dry_runs::TESTS,
        users::TESTS,
        acls::TESTS,
        certs::TESTS,
        memory::KILLED,
        trouble_ops::HALF,
        trouble::TESTS,
        restarts::TESTS,
        // Clusters of their own, each taken down before the next one.
        metrics::TESTS,
        converge::TESTS,
        kraft::TESTS,
        start_caches::TESTS,
        fixture::TESTS,
    ];
    // Containers need an engine, which the others do not: they are chosen by name.
    let tests: Vec<&Test> = if confluent::is_chosen() {
        confluent::TESTS.iter().collect()
    } else if docker::is_chosen() {
        docker::TESTS.iter().chain(compose::TESTS).collect()
    } else {
        groups.into_iter().flatten().chain(sidebyside::TESTS).chain(secrets::LAST).collect()
    };
    let chosen = |name: &str| {
        let fits = |filter: &String| if arguments.exact { name == filter } else { name.contains(filter) };
        filters.is_empty() || filters.iter().any(fits)
    };
    let trials = tests
        .into_iter()
        .filter(|(name, _)| chosen(name))
        .map(|&(name, test)| Trial::test(name, move || run(test)));
    let trials = trials.collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let left = cluster::take_all_down();
    for line in &left {
        tools::tell(line);
    }
    if left.is_empty() { conclusion.exit_code() } else { ExitCode::FAILURE }
}

/// Takes the filters out of a command line: libtest knows several, libtest-mimic one.
fn without_filters(words: Vec<String>) -> (Vec<String>, Vec<String>) {
    const WITH_VALUE: [&str; 6] =
        ["--color", "--format", "--logfile", "--report-time", "--skip", "--test-threads"];
    let mut filters = Vec::new();
    let mut rest: Vec<String> = Vec::new();
    for (at, word) in words.into_iter().enumerate() {
        let is_value = rest.last().is_some_and(|last| WITH_VALUE.contains(&last.as_str()));
        let is_filter = at > 0 && !word.starts_with('-') && !is_value;
        if is_filter {
            filters.push(word)
        } else {
            rest.push(word)
        };
    }
    (rest, filters)
}

fn run(test: fn() -> anyhow::Result<()>) -> Result<(), Failed> {
    test().map_err(|error| Failed::from(format!("{error:#}")))
}
