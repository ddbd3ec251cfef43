//! The contributor's command line: `cargo xtask ...`.
//!
//! It holds no logic that a library could own: clusters belong to `caracal-cluster`. What is here runs
//! cargo and compares us with scripts.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

mod bench;
mod checks;
mod prerequisites;
mod shell;
mod tally;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Caracal's secured Kafka: clusters, tests, benchmarks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Xtask,
}

#[derive(Debug, Subcommand)]
enum Xtask {
    /// Run every check and every test, the live suite on a real cluster included
    Test(checks::TestArguments),
    /// Run what CI runs: `test`, then every feature alone, then whether the golden files are committed
    Ci,
    /// Check the repository's own rules
    Tidy,
    /// Compare the golden files with what is rendered now, or write them anew
    Golden(checks::GoldenArguments),
    /// Measure us against scripts doing the same; prints one JSON document
    Bench(bench::BenchArguments),
    /// One stage of a start, for the script that `bench up` compares with
    #[command(hide = true)]
    BenchStep(bench::step::StepArguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Xtask::Test(arguments) => checks::test(&arguments),
        Xtask::Ci => checks::ci(),
        Xtask::Tidy => checks::tidy(),
        Xtask::Golden(arguments) => checks::golden(&arguments),
        Xtask::Bench(arguments) => bench::run(&arguments),
        Xtask::BenchStep(arguments) => bench::step::run(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
