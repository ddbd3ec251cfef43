//! `bench credentials`: step 1 of the guide, by us and by openssl and keytool.

use std::time::Instant;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::figures::{Times, within};
use super::{clusters, step};
use crate::shell;

const BOUND: f64 = 1.0 / 20.0;
const CLUSTER: &str = "bench-credentials";
const SCRIPT: &str = "xtask/bench/credentials.sh";

/// How often it is run.
#[derive(Debug, Args)]
pub(crate) struct CredentialsArguments {
    /// Pairs of runs, in turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
}

/// Measures in turns: in this process, as a process of its own, the script.
pub(super) async fn run(arguments: &CredentialsArguments) -> Result<Value> {
    let name = clusters::name(CLUSTER)?;
    clusters::remove(&name).await?;
    let (mut work, mut process, mut script) = (Times::default(), Times::default(), Times::default());
    for _ in 0..arguments.pairs {
        let (cluster, lock) = clusters::hold(&name)?;
        let started = Instant::now();
        step::credentials(&cluster)?;
        work.push(started.elapsed());
        drop(lock);
        clusters::remove(&name).await?;

        let mut ours = shell::program(std::env::current_exe()?)?;
        ours.args(["bench-step", "credentials", "--name", CLUSTER]);
        let started = Instant::now();
        shell::quiet(ours)?;
        process.push(started.elapsed());
        clusters::remove(&name).await?;

        let mut theirs = shell::program("bash")?;
        theirs.arg(SCRIPT);
        let started = Instant::now();
        shell::quiet(theirs)?;
        script.push(started.elapsed());
    }
    let ratio = work.median_ratio(&script);
    let process_ratio = process.median_ratio(&script);
    let mut openssl = shell::program("openssl")?;
    openssl.arg("version");
    Ok(json!({
        "bench": "credentials",
        "compared": {
            "ours": "2 authorities, every certificate of the default plan (7 of nodes that serve, 4 of clients, \
                     4 of writers of metadata), each with PEM; PKCS12 key stores and trust stores of 12 of them (24 in all), \
                     passwords, the files of 7 nodes and 4 clients, SCRAM-SHA-512 at 16384 iterations for 5 users",
            "script": "2 authorities, 7 server and 5 client certificates (ECDSA P-256), each with PEM and with a PKCS12 \
                       key store and trust store (24 in all); no SCRAM at all, which favours the script",
        },
        "commands": { "ours": "cargo xtask bench-step credentials", "script": SCRIPT },
        "versions": { "tools": clusters::versions().await?, "openssl": shell::quiet(openssl)?.trim() },
        "seconds": { "ours_work": work, "ours_process": process, "script": script },
        "median_seconds": {
            "ours_work": work.median(), "ours_process": process.median(), "script": script.median(),
        },
        "ratio": ratio,
        "ratio_of_whole_process": process_ratio,
        "bound": BOUND,
        "ok": within(ratio, BOUND) && within(process_ratio, BOUND),
    }))
}
