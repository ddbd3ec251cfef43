//! Every reading command in a terminal of 60 columns, and into a pipe that nobody reads.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::operate::operate;
use crate::program::{Ended, Program};

pub(crate) const TESTS: &[Test] = &[
    ("terminal::a_width_of_60_columns_is_kept_by_every_reading_command", narrow),
    ("terminal::nodes_users_clusters_topics_and_groups_are_completed", completions),
    ("terminal::completions_answer_when_the_cluster_is_down", completions_of_what_is_down),
    ("terminal::a_reader_that_has_gone_away_is_no_fault_of_any_command", closed_pipe),
];

/// Commands that only read, each with the exit code that is right for a sound cluster.
const READING: &[(&[&str], i32)] = &[
    (&["health"], 0),
    (&["health", "--all"], 0),
    (&["lag"], 0),
    (&["users", "list"], 0),
    (&["api-versions"], 0),
    (&["certs", "check"], 0),
    (&["cluster", "ps"], 0),
    (&["cluster", "plan"], 0),
    (&["doctor"], 0),
    // Refused with a text of several lines.
    (&["metrics"], 2),
];

/// Runs a command below a shell's script, in which `"$@"` is the command.
fn below(cluster: &TestCluster, script: &str, words: &[&str]) -> Result<Ended> {
    let words: Vec<String> =
        words.iter().chain(&["--name", cluster.name()]).map(|word| (*word).to_owned()).collect();
    let shell = Program::needed("bash")?.args(["-c", script, "bash"]);
    cluster.run(cluster.command_below(shell, &words)?)
}

fn narrow() -> Result<()> {
    const WIDTH: usize = 60;
    let cluster = cluster::shared()?;
    Program::needed("script")?.args(["--version"]).run()?.succeeded()?;
    let script = r#"printf -v line '%q ' "$@"; exec script -qec "stty cols 60; $line" /dev/null"#;
    let mut wrong = Vec::new();
    for (words, code) in READING {
        let text = below(cluster, script, words)?.ended_with(*code)?.text();
        ensure!(text.lines().count() > 1, "{words:?} says next to nothing:\n{text}");
        for line in text.lines().map(plain) {
            // A word that is longer than a line (a path) stays whole, so that it can be copied.
            let longest = line.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
            if line.chars().count() > WIDTH && longest < WIDTH / 2 {
                wrong.push(format!("{words:?}: {line}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("wider than {WIDTH}:\n{}", wrong.join("\n")) }
}

/// A line without its colours.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut chars = line.trim_end().chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            let _ = chars.find(char::is_ascii_alphabetic);
        } else if !c.is_control() {
            plain.push(c);
        }
    }
    plain
}

fn closed_pipe() -> Result<()> {
    let cluster = cluster::shared()?;
    for (words, code) in READING {
        for json in [&[][..], &["--json"]] {
            let words = [*words, json].concat();
            // `true` reads nothing and is gone before the command prints.
            let ended =
                below(cluster, r#""$@" | true; exit "${PIPESTATUS[0]}""#, &words)?.ended_with(*code)?;
            let text = ended.text().to_lowercase();
            ensure!(!text.contains("panic") && !text.contains("broken pipe"), "{words:?}:\n{text}");
        }
    }
    Ok(())
}

/// What a shell would offer after a line, the last word of which is being typed.
fn offered(cluster: &TestCluster, words: &[&str]) -> Result<String> {
    Ok(asked(cluster, words)?.text())
}

fn asked(cluster: &TestCluster, words: &[&str]) -> Result<Ended> {
    let words: Vec<String> =
        [&["--", "xtask"], words].concat().iter().map(|word| (*word).to_owned()).collect();
    let at = (words.len() - 2).to_string();
    // As the script for bash asks.
    let command = cluster.command(&words)?.env("CARACAL_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", at);
    let command = command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "true");
    command.env("_CLAP_IFS", "\n").run()?.succeeded()
}

/// Demands that each of these words is offered, on a line of its own.
fn has(text: &str, wanted: &[&str]) -> Result<()> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for word in wanted {
        ensure!(lines.contains(word), "`{word}` is not offered:\n{text}");
    }
    Ok(())
}

fn completions() -> Result<()> {
    let cluster = cluster::shared()?;
    let name = cluster.name();
    has(&offered(cluster, &["cluster", ""])?, &["up", "logs", "ps"])?;
    has(&offered(cluster, &["cluster", "logs", "--name", name, ""])?, &["kafka-1", "schema-registry"])?;
    has(&offered(cluster, &["metrics", "--name", name, "--node", "zoo"])?, &["zookeeper-1"])?;
    has(
        &offered(cluster, &["doctor", "connect", "x:1", "--name", name, "--user", ""])?,
        &["admin", "consumer"],
    )?;
    has(&offered(cluster, &["users", "remove", "--name", name, "con"])?, &["consumer"])?;
    has(&offered(cluster, &["health", "--name", ""])?, &[name])?;
    let topics = offered(cluster, &["topics", "describe", "--name", name, "caracal."])?;
    has(&topics, &["caracal.dlq", "caracal.metering.events"])?;
    ensure!(!topics.contains("__consumer_offsets"), "Kafka's own topics are offered:\n{topics}");
    let group = ["groups", "reset", "live-tab", "--topic", "caracal.dlq", "--create", "--to-earliest"];
    operate(cluster, &group)?.succeeded()?;
    let groups = offered(cluster, &["groups", "describe", "--name", name, "live-"]);
    let lag = offered(cluster, &["lag", "--name", name, "live-t"]);
    operate(cluster, &["groups", "delete", "live-tab", "--yes"])?.succeeded()?;
    has(&groups?, &["live-tab"])?;
    has(&lag?, &["live-tab"])?;
    // The script itself, judged by the shell that reads it.
    let words: Vec<String> = ["completions", "bash"].map(str::to_owned).to_vec();
    let script = cluster.run(cluster.command(&words)?)?.succeeded()?;
    let sound = Program::needed("bash")?.args(["-n"]).input(script.stdout).run()?;
    sound.succeeded()?;
    Ok(())
}

/// Files and the plan answer for what is down, and nothing waits for brokers that are not there.
fn completions_of_what_is_down() -> Result<()> {
    const LONGEST: Duration = Duration::from_secs(10);
    let cluster = cluster::unstarted()?;
    let name = cluster.name();
    for (words, wanted) in [
        (&["cluster", "restart", "--name", name, ""][..], &["kafka-1", "zookeeper-3"][..]),
        (&["users", "verify", "--name", name, ""], &["admin", "producer"]),
        (&["topics", "describe", "--name", name, ""], &["caracal.dlq"]),
        (&["cluster", "ps", "--name", ""], &[name]),
        (&["groups", "describe", "--name", name, ""], &[]),
        (&["groups", "describe", "--name", "no-such-cluster", ""], &[]),
    ] {
        let ended = asked(cluster, words)?;
        ensure!(ended.took < LONGEST, "{words:?} took {:?}", ended.took);
        let text = ended.text();
        has(&text, wanted)?;
        ensure!(!text.contains("error") && !text.contains("panic"), "{words:?}:\n{text}");
    }
    Ok(())
}
