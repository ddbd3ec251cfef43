//! Benchmarks: us against a script doing the same, in turns within one run, as one JSON document.
//!
//! Only the ratio counts: figures of two machines, or of one machine at two times, are not comparable.

mod client;
mod clusters;
mod containers;
mod credentials;
mod figures;
pub(crate) mod fixture;
mod hold;
mod load;
mod operations;
mod restarts;
mod soak;
mod start;
pub(crate) mod step;
mod up;

use anyhow::Result;
use clap::{Args, Subcommand};

/// What `cargo xtask bench` measures.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A cold start of the whole cluster against a script that starts the same nodes stage by stage
    Up(up::UpArguments),
    /// Certificates, stores and SCRAM users against openssl and keytool
    Credentials(credentials::CredentialsArguments),
    /// Commands that look against Kafka's JVM tools; back-up and restore against a bare consumer
    Operations(operations::OperationsArguments),
    /// The typed client against rdkafka and schema_registry_converter
    Client(client::ClientArguments),
    /// Brokers restarted one after the other, then killed, under a steady load of which nothing may be lost
    Restarts(restarts::RestartsArguments),
    /// The whole cluster under a steady load: pauses of its JVMs, memory
    Hold(hold::HoldArguments),
    /// Starts with and without caches, in KRaft mode, of the minimal node; where their seconds go
    Start(start::StartArguments),
    /// Processes that use the fixture of tests: joining, several clusters at once, what killed ones leave behind
    Fixture(fixture::FixtureArguments),
    /// Many cold starts in a row, then starts that are killed; nothing may be left behind
    Soak(soak::SoakArguments),
}

/// Runs one benchmark and prints its document. Returns whether it keeps its bound.
///
/// # Errors
/// When something could not be measured at all.
pub(crate) async fn run(arguments: &BenchArguments) -> Result<bool> {
    let document = match &arguments.what {
        What::Up(arguments) => up::run(arguments).await,
        What::Credentials(arguments) => credentials::run(arguments).await,
        What::Operations(arguments) => operations::run(arguments).await,
        What::Client(arguments) => client::run(arguments).await,
        What::Restarts(arguments) => restarts::run(arguments).await,
        What::Hold(arguments) => hold::run(arguments).await,
        What::Start(arguments) => start::run(arguments).await,
        What::Fixture(arguments) => fixture::run(arguments).await,
        What::Soak(arguments) => soak::run(arguments).await,
    }?;
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(document["ok"] == true)
}
