//! The words in which the suite speaks to the product: its command line, as a user types it.
//!
//! The only place that knows commands, flags and the shape of their output.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

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
    tools::tell("building xtask");
    let programs = built(&["--package", "xtask"])?;
    let ours = programs.into_iter().find(|(name, _)| name == "xtask");
    Ok(ours.context("cargo built xtask but named no program")?.1)
}

/// Has cargo build something of this workspace; each program that came of it, by name.
pub(crate) fn built(what: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Program::at(cargo)
        .args(["build", "--quiet", "--locked", "--message-format", "json-render-diagnostics"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")])
        .args(what)
        .within(Duration::from_secs(1800))
        .run()?
        .succeeded()?;
    let text = String::from_utf8_lossy(&built.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs = messages.filter_map(|message| {
        let name = message["target"]["name"].as_str()?.to_owned();
        Some((name, PathBuf::from(message["executable"].as_str()?)))
    });
    Ok(programs.collect())
}

/// Path of the product's program.
pub(crate) fn xtask() -> Result<PathBuf> {
    XTASK.clone().map_err(|error| anyhow!(error))
}

/// `cluster up`.
pub(crate) fn up(name: &str) -> Vec<String> {
    words(&["cluster", "up", "--name", name])
}

/// `cluster up` of a cluster of another kind than the guide's.
pub(crate) fn up_with(name: &str, flags: &[&str]) -> Vec<String> {
    words(&[&["cluster", "up", "--name", name], flags].concat())
}

/// `cluster kill` of one node.
pub(crate) fn kill(name: &str, node: &str) -> Vec<String> {
    words(&["cluster", "kill", "--name", name, node])
}

/// `cluster up` with one JSON document instead of the tick list.
pub(crate) fn up_as_json(name: &str) -> Vec<String> {
    words(&["cluster", "up", "--name", name, "--json"])
}

/// `cluster down`; with `-v` the data goes too.
pub(crate) fn down(name: &str, volumes: bool) -> Vec<String> {
    let volumes: &[&str] = if volumes { &["-v", "--yes"] } else { &[] };
    words(&[&["cluster", "down", "--name", name], volumes].concat())
}

/// `cluster down -v` without the word that spares the question.
pub(crate) fn down_asking(name: &str) -> Vec<String> {
    words(&["cluster", "down", "--name", name, "-v"])
}

/// `cluster stop`.
pub(crate) fn stop(name: &str) -> Vec<String> {
    words(&["cluster", "stop", "--name", name])
}

/// `cluster start`.
pub(crate) fn start(name: &str) -> Vec<String> {
    words(&["cluster", "start", "--name", name])
}

/// `cluster plan` as JSON, with every rendered file, and an exit code of its own when something differs.
pub(crate) fn plan(name: &str) -> Vec<String> {
    words(&["cluster", "plan", "--name", name, "--files", "--exit-code", "--json"])
}

/// `cluster list` as JSON.
pub(crate) fn list() -> Vec<String> {
    words(&["cluster", "list", "--json"])
}

/// `cluster ps` as JSON.
pub(crate) fn ps(name: &str) -> Vec<String> {
    words(&["cluster", "ps", "--name", name, "--json"])
}

/// `credentials`: step 1 of the guide alone.
pub(crate) fn credentials(name: &str) -> Vec<String> {
    words(&["credentials", "--name", name])
}

/// `verify` with everything.
pub(crate) fn verify(name: &str) -> Vec<String> {
    words(&["verify", "--json", "--name", name])
}

/// `verify` without the client library's round trips: the matrix alone.
pub(crate) fn verify_the_matrix(name: &str) -> Vec<String> {
    words(&["verify", "--skip-client", "--name", name])
}

/// The one JSON document on standard output.
///
/// # Errors
/// When there is something else.
pub(crate) fn document(ended: &Ended) -> Result<Value> {
    let document: Value = serde_json::from_slice(&ended.stdout)
        .with_context(|| format!("{} did not print one JSON document but:\n{}", ended.shown, ended.text()))?;
    ensure!(document["format"] == 1, "format is {}", document["format"]);
    Ok(document)
}

/// What became of each attempt of a `verify --json`, by its id: `passed`, `failed`, `not-run`.
///
/// # Errors
/// When the document is not that of a `verify`, or two attempts have one id.
pub(crate) fn attempts(verify: &Ended) -> Result<BTreeMap<String, String>> {
    let document = document(verify)?;
    let cells = document["cells"].as_array().with_context(|| format!("no cells in {document}"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attempts: BTreeMap<_, _> =
        cells.iter().map(|cell| (text(&cell["id"]), text(&cell["outcome"]))).collect();
    ensure!(attempts.len() == cells.len(), "two attempts have one id");
    ensure!(document["ok"] == true, "it exits with 0, but ok is {}", document["ok"]);
    Ok(attempts)
}

/// The steps of an `up --json`, each with how it ended (`unchanged`, `changed`).
///
/// # Errors
/// When the document is not that of an `up`.
pub(crate) fn steps(up: &Ended) -> Result<Vec<(String, String)>> {
    let document = document(up)?;
    let steps = document["steps"].as_array().with_context(|| format!("no steps in {document}"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(steps.iter().map(|step| (text(&step["step"]), text(&step["outcome"]))).collect())
}

/// Whether the tick list of an `up` says that a step, by its title, differed and was mended.
pub(crate) fn mended(up: &Ended, title: &str) -> bool {
    let text = up.text();
    text.contains(&format!("~ {title} differs from the plan:"))
        && text.contains(&format!("\u{2713} {title} "))
}

/// The exit code of arguments that cannot be used.
pub(crate) const USAGE: i32 = 2;

/// The exit code of `plan --exit-code` when something differs.
pub(crate) const DRIFT: i32 = 11;

/// The exit code of a proof that failed.
pub(crate) const UNHEALTHY: i32 = 10;

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

pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
