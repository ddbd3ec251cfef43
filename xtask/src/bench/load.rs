//! A steady load of typed events: a program of the client crate, so that xtask compiles no librdkafka.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::names::ClusterName;
use serde_json::Value;

use super::clusters;
use crate::shell;

/// The load's program, built.
pub(super) fn built() -> Result<PathBuf> {
    let mut build = shell::cargo()?;
    build.args(["bench", "--quiet", "--package", "caracal-kafka-client", "--bench", "steady", "--no-run"]);
    let output = build.args(["--message-format", "json"]).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the load's program was not built; cargo's output is above");
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let mut messages = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let program =
        messages.find(|message| message["target"]["name"] == "steady" && message["executable"].is_string());
    let program = program.as_ref().and_then(|message| message["executable"].as_str());
    Ok(program.context("cargo names no program of the load")?.into())
}

/// A command of ours about this cluster.
pub(super) fn ours(name: &ClusterName, words: &[&str]) -> Result<Command> {
    let mut command = shell::program(std::env::current_exe()?)?;
    command.args(words).args(["--name", name.as_str()]);
    Ok(command)
}

/// The program that sends; killed when it is dropped before its end.
pub(super) struct Load {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Load {
    /// Starts it and waits until it sends.
    pub(super) fn start(
        name: &ClusterName,
        program: &Path,
        rate: u32,
        more: &[impl AsRef<std::ffi::OsStr>],
    ) -> Result<Self> {
        // Not by cargo, which would be killed in its place.
        let mut command = shell::program(program)?;
        command.arg("--producer-profile").arg(clusters::profile(name, "producer")?);
        command.arg("--consumer-profile").arg(clusters::profile(name, "consumer")?);
        command.args(["--rate", &rate.to_string()]).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().context("the load's program cannot be started")?;
        let output = child.stdout.take().context("its output is closed")?;
        let mut load = Self { child, output: BufReader::new(output) };
        ensure!(load.document()?["sending"] == true, "the load's program does not send");
        Ok(load)
    }

    /// Lets it end, and reads what it counted.
    pub(super) fn end(mut self) -> Result<Value> {
        drop(self.child.stdin.take());
        self.end_of_itself()
    }

    fn end_of_itself(mut self) -> Result<Value> {
        let document = self.document()?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "the load's program failed ({ended}); its output is above");
        Ok(document)
    }

    /// Tells it to end as services are told, and reads what it counted.
    pub(super) fn told_to_end(self) -> Result<Value> {
        let mut kill = shell::program("kill")?;
        shell::quiet({
            kill.args(["-TERM", &self.child.id().to_string()]);
            kill
        })?;
        self.end_of_itself()
    }

    fn document(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("the load's program")?;
        ensure!(!line.is_empty(), "the load's program ended early; its output is above");
        serde_json::from_str(&line).context("the load's program printed no document")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether everything that was acknowledged is there, once, and every event that was taken has an outcome.
pub(super) fn kept(load: &Value) -> bool {
    let number = |key: &str| load[key].as_u64();
    let taken = number("taken");
    taken.is_some_and(|taken| taken > 0)
        && number("lost") == Some(0)
        && number("duplicated") == Some(0)
        && number("accounted_for_at_close") == taken
}
