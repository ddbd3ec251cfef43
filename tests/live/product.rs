//! The words in which the suite speaks to the product: its command line, as a user types it.
//!
//! The only place that knows commands, flags and the shape of their output.

use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::program::{Ended, Program};
use crate::tools;

/// How long one command may take. Generous: the machine may be busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(400);

/// Everything that commands of the product printed, for the search for secrets.
static SAID: Mutex<Vec<(String, Vec<u8>)>> = Mutex::new(Vec::new());

/// The contributor's command line, built once.
static XTASK: LazyLock<Result<PathBuf, String>> =
    LazyLock::new(|| build().map_err(|error| format!("the product could not be built: {error:#}")));

fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    tools::tell("building xtask");
    let built = Program::at(cargo)
        .args(["build", "--quiet", "--package", "xtask", "--message-format", "json-render-diagnostics"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")])
        .within(Duration::from_secs(1800))
        .run()?
        .succeeded()?;
    let text = String::from_utf8_lossy(&built.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs = messages.filter_map(|message| {
        let ours = message["target"]["name"] == "xtask";
        message["executable"].as_str().filter(|_| ours).map(PathBuf::from)
    });
    programs.next().context("cargo built xtask but named no program")
}

/// Path of the product's program.
pub(crate) fn xtask() -> Result<PathBuf> {
    XTASK.clone().map_err(|error| anyhow!(error))
}

/// `cluster up`.
pub(crate) fn up(name: &str) -> Vec<String> {
    words(&["cluster", "up", name])
}

/// `cluster down`; with `-v` the data goes too.
pub(crate) fn down(name: &str, volumes: bool) -> Vec<String> {
    let volumes = volumes.then_some("-v");
    ["cluster", "down", name].into_iter().chain(volumes).map(str::to_owned).collect()
}

/// `verify`.
pub(crate) fn verify(name: &str) -> Vec<String> {
    words(&["verify", "--json", "--name", name])
}

/// The steps that an `up` changed, by their titles; the proof always runs and changes nothing.
pub(crate) fn changed_steps(up: &Ended) -> Vec<String> {
    let text = String::from_utf8_lossy(&up.stdout);
    text.lines().filter(|line| line.contains(" Changed(")).map(|line| line.trim().to_owned()).collect()
}

/// How many steps an `up` reported as right already.
pub(crate) fn unchanged_steps(up: &Ended) -> usize {
    String::from_utf8_lossy(&up.stdout).lines().filter(|line| line.contains(" Unchanged(")).count()
}

/// Keeps what a command printed.
pub(crate) fn remember(ended: &Ended) {
    if let Ok(mut said) = SAID.lock() {
        said.push((ended.shown.clone(), [&ended.stdout[..], &ended.stderr].concat()));
    }
}

/// Everything that commands printed so far, each with its command line.
pub(crate) fn said() -> Vec<(String, Vec<u8>)> {
    SAID.lock().map(|said| said.clone()).unwrap_or_default()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
