//! The contributor's command line: `cargo xtask cluster up`, and so on.

use std::process::ExitCode;

use caracal_cluster::cli;
use clap::Parser;

/// Works on this repository and on its secured Kafka clusters
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: cli::Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    cli::run(Cli::parse().command).await
}
