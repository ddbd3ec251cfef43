//! The contributor's command line: `cargo xtask ...`.
//!
//! It holds no logic that a library could own: clusters belong to `caracal-cluster`, whose command tree is
//! taken whole. What is here runs cargo and compares us with scripts.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

mod bench;
mod checks;
mod image;
mod prerequisites;
mod shell;
mod tally;

use std::process::ExitCode;

use caracal_cluster::cli;
use clap::{Parser, Subcommand};

/// Works on this repository and on its secured Kafka clusters
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Xtask,
}

#[derive(Debug, Subcommand)]
enum Xtask {
    #[command(flatten)]
    Cluster(Box<cli::Command>),
    /// Run every check and every test, the live suite on a real cluster included
    Test(checks::TestArguments),
    /// Run what CI runs: `test`, then every feature alone, then whether the golden files are committed
    Ci,
    /// Check the repository's own rules
    Tidy,
    /// Compare the golden files with what is rendered now, or write them anew
    Golden(checks::GoldenArguments),
    /// Make images of containers from what is on this machine
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Measure us against scripts doing the same; prints one JSON document
    Bench(bench::BenchArguments),
    /// One stage of a start, for the script that `bench up` compares with
    #[command(hide = true)]
    BenchStep(bench::step::StepArguments),
    /// One process that uses the fixture, for `bench fixture`
    #[command(hide = true)]
    BenchPlayer(bench::fixture::PlayerArguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    // A shell that completes asks by a variable; everybody else goes on.
    cli::complete::answer(<Arguments as clap::CommandFactory>::command);
    let done = match Arguments::parse().command {
        Xtask::Cluster(command) => return cli::run(*command).await,
        Xtask::Test(arguments) => checks::test(&arguments),
        Xtask::Ci => checks::ci(),
        Xtask::Tidy => checks::tidy(),
        Xtask::Golden(arguments) => checks::golden(&arguments),
        Xtask::Image(command) => image::run(&command).await,
        Xtask::Bench(arguments) => bench::run(&arguments).await,
        Xtask::BenchStep(arguments) => bench::step::run(&arguments).await,
        Xtask::BenchPlayer(arguments) => bench::fixture::play(&arguments).await,
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
