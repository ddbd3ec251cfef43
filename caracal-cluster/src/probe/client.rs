//! The round trips of the real client library, by `caracal-kafka-probe`.
//!
//! The library is built on librdkafka and OpenSSL, which this crate must not depend on: the contributor's
//! commands would compile them each time. So the probe is a program of its own, found or built when it is
//! needed, and read as JSON. What it prints is its contract: `format` 1.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use caracal_kafka_contract::events::EventType;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::matrix::Notice;

/// Names the environment variable for a ready-made `caracal-kafka-probe`.
pub const PROBE_VARIABLE: &str = "CARACAL_KAFKA_PROBE";

const PACKAGE: &str = "caracal-kafka-client";
const BINARY: &str = "caracal-kafka-probe";
const FORMAT: u32 = 1;
/// OpenSSL and librdkafka take minutes on two cores.
const BUILD: Duration = Duration::from_secs(30 * 60);
/// A build that takes longer than this is more than a look at what is there.
const QUICK: Duration = Duration::from_secs(3);
/// What the program may take on top of its own deadline.
const GRACE: Duration = Duration::from_secs(10);

/// What became of the round trips.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum RoundTrips {
    /// The program gave no report.
    Failed {
        /// Why.
        why: String,
    },
    /// They were not tried.
    NotRun {
        /// Why.
        why: String,
    },
    /// They were tried; the report says how each went.
    Ran(ClientReport),
}

/// The probe's report.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ClientReport {
    /// Its format: 1.
    pub format: u32,
    /// The version of librdkafka.
    pub client: String,
    /// One a type of event.
    pub round_trips: Vec<ClientRoundTrip>,
    /// Whether each succeeded.
    pub ok: bool,
}

/// One event there and back.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ClientRoundTrip {
    /// The type of event.
    pub event: String,
    /// Its topic.
    pub topic: String,
    /// The partition it was written to.
    pub partition: Option<i32>,
    /// The offset it was written at.
    pub offset: Option<i64>,
    /// The schema's id in the registry.
    pub schema_id: Option<u32>,
    /// Whether it came back as it was written.
    pub ok: bool,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// Why not.
    pub error: Option<String>,
}

impl ClientRoundTrip {
    /// In one line.
    pub(super) fn seen(&self) -> String {
        match (&self.error, self.partition, self.offset, self.schema_id) {
            (Some(error), ..) => error.clone(),
            (None, Some(partition), Some(offset), Some(schema)) => {
                format!("partition {partition} offset {offset}, schema {schema}")
            }
            _ => "came back".to_owned(),
        }
    }
}

/// What is to be run.
#[derive(Clone)]
pub(super) struct ClientRun {
    /// The client files of whoever writes.
    pub(super) producer: Option<PathBuf>,
    /// The client files of whoever reads.
    pub(super) consumer: Option<PathBuf>,
    pub(super) group_prefix: String,
    pub(super) deadline: Duration,
    pub(super) notice: Option<Notice>,
}

/// A program of the client library's package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientProgram {
    /// Its name.
    pub(crate) binary: &'static str,
    /// The environment variable that names a ready-made one.
    pub(crate) variable: &'static str,
}

/// Why there is no program to run.
#[derive(Debug)]
pub(crate) enum Missing {
    /// It could not be built.
    Failed(String),
    /// There is nothing to build it from, and nobody named one.
    Nowhere(String),
}

impl ClientProgram {
    /// Finds it, or builds it in the workspace that runs us.
    pub(crate) async fn find_or_build(self, notice: Option<&Notice>) -> Result<PathBuf, Missing> {
        match Surroundings::of_this_process(self.variable).find() {
            Found::Program(path) => Ok(path),
            Found::Workspace { cargo, manifest } => {
                build(self.binary, &cargo, &manifest, notice).await.map_err(Missing::Failed)
            }
            Found::Nothing => Err(Missing::Nowhere(format!(
                "this is not run by cargo inside the workspace, and {} does not name a {}",
                self.variable, self.binary
            ))),
        }
    }
}

/// Finds or builds the probe and runs it.
pub(super) async fn round_trips(run: &ClientRun) -> RoundTrips {
    let (Some(producer), Some(consumer)) = (&run.producer, &run.consumer) else {
        return RoundTrips::NotRun { why: "the plan has no producer or no consumer".to_owned() };
    };
    let program = ClientProgram { binary: BINARY, variable: PROBE_VARIABLE };
    let probe = match program.find_or_build(run.notice.as_ref()).await {
        Ok(path) => path,
        Err(Missing::Failed(why)) => return RoundTrips::Failed { why },
        Err(Missing::Nowhere(why)) => return RoundTrips::NotRun { why },
    };
    match run_probe(&probe, producer, consumer, run).await {
        Ok(report) => RoundTrips::Ran(report),
        Err(why) => RoundTrips::Failed { why },
    }
}

/// What the environment says about where the probe may come from.
struct Surroundings {
    probe: Option<OsString>,
    cargo: Option<OsString>,
    manifest_dir: Option<OsString>,
}

#[derive(Debug, PartialEq)]
enum Found {
    Nothing,
    Program(PathBuf),
    Workspace { cargo: PathBuf, manifest: PathBuf },
}

impl Surroundings {
    fn of_this_process(variable: &str) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self { probe: set(variable), cargo: set("CARGO"), manifest_dir: set("CARGO_MANIFEST_DIR") }
    }

    /// `cargo run`, and so `cargo xtask`, tells where the package lies; the workspace is above it.
    fn find(&self) -> Found {
        if let Some(probe) = &self.probe {
            return Found::Program(PathBuf::from(probe));
        }
        let (Some(cargo), Some(package)) = (&self.cargo, &self.manifest_dir) else { return Found::Nothing };
        let root =
            Path::new(package).ancestors().find(|folder| folder.join(PACKAGE).join("Cargo.toml").is_file());
        root.map_or(Found::Nothing, |root| Found::Workspace {
            cargo: PathBuf::from(cargo),
            manifest: root.join("Cargo.toml"),
        })
    }
}

async fn build(
    binary: &str,
    cargo: &Path,
    manifest: &Path,
    notice: Option<&Notice>,
) -> Result<PathBuf, String> {
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            PACKAGE,
            "--bin",
            binary,
            "--message-format",
            "json-render-diagnostics",
        ])
        .arg("--manifest-path")
        .arg(manifest);
    // What the cargo above told its program about that program's own package is not meant for this build.
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        });
        if told {
            command.env_remove(name);
        }
    }
    let building = finish(command, BUILD);
    tokio::pin!(building);
    let finished = match tokio::time::timeout(QUICK, &mut building).await {
        Ok(finished) => finished,
        Err(_) => {
            if let Some(notice) = notice {
                notice("compiling the client library, about 3 minutes the first time");
            }
            building.await
        }
    };
    let finished = finished.map_err(|why| format!("`cargo build --package {PACKAGE}` {why}"))?;
    if !finished.status.success() {
        return Err(format!("`cargo build --package {PACKAGE}` failed: {}", tail(&finished.errors)));
    }
    executable(&finished.output, binary)
        .ok_or_else(|| format!("`cargo build --package {PACKAGE}` did not say where it put {binary}"))
}

/// Where cargo says that it put the program: one JSON message a line.
fn executable(messages: &str, binary: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(
        |message| {
            let ours = message["reason"] == "compiler-artifact" && message["target"]["name"] == binary;
            ours.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
        },
    )
}

async fn run_probe(
    probe: &Path,
    producer: &Path,
    consumer: &Path,
    run: &ClientRun,
) -> Result<ClientReport, String> {
    let mut command = Command::new(probe);
    command
        .arg("round-trip")
        .arg("--producer-profile")
        .arg(producer.join("profile.toml"))
        .arg("--consumer-profile")
        .arg(consumer.join("profile.toml"))
        .args(["--group-prefix", &run.group_prefix, "--json", "--timeout-secs"])
        .arg(run.deadline.as_secs().clamp(1, 3600).to_string());
    let finished = finish(command, run.deadline + GRACE).await;
    let finished = finished.map_err(|why| format!("{} {why}", probe.display()))?;
    report(&finished).map_err(|why| format!("{} {why}", probe.display()))
}

/// Its report counts as long as it tells of every type of event, each once, and says the same as its exit code:
/// 0 all well, 1 not.
fn report(finished: &Finished) -> Result<ClientReport, String> {
    let status = finished.status;
    let report: ClientReport = serde_json::from_str(&finished.output)
        .map_err(|error| format!("gave no report ({error}; {status}): {}", tail(&finished.errors)))?;
    if report.format != FORMAT {
        return Err(format!(
            "reports in format {}, this version reads {FORMAT}: build both from one tree",
            report.format
        ));
    }
    let told: BTreeSet<(&str, &str)> =
        report.round_trips.iter().map(|trip| (trip.event.as_str(), trip.topic.as_str())).collect();
    let all: BTreeSet<(&str, &str)> =
        EventType::ALL.iter().map(|event| (event.name(), event.topic())).collect();
    if told != all || report.round_trips.len() != all.len() {
        let names = |set: &BTreeSet<(&str, &str)>| {
            set.iter().map(|(event, topic)| format!("{event} on {topic}")).collect::<Vec<_>>().join(", ")
        };
        return Err(format!(
            "reports of {} events ({}), not of each once: {}",
            report.round_trips.len(),
            names(&told),
            names(&all)
        ));
    }
    let went = report.round_trips.iter().all(|trip| trip.ok);
    if report.ok != went || report.ok != status.success() {
        return Err(format!(
            "contradicts itself: its report says ok = {}, it ended with {status}",
            report.ok
        ));
    }
    Ok(report)
}

struct Finished {
    status: ExitStatus,
    output: String,
    errors: String,
}

/// Runs a program to its end; it is killed when the deadline passes or nobody waits any more.
async fn finish(mut command: Command, deadline: Duration) -> Result<Finished, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    match tokio::time::timeout(deadline, child.wait_with_output()).await {
        Err(_) => Err(format!("was killed: it had not ended after {} s", deadline.as_secs())),
        Ok(Err(error)) => Err(format!("cannot be waited for: {error}")),
        Ok(Ok(output)) => Ok(Finished {
            status: output.status,
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
    }
}

/// The last lines of what a program complained about.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    match lines.len() {
        0 => "it said nothing".to_owned(),
        length => lines[length.saturating_sub(12)..].join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(probe: Option<&str>, cargo: Option<&str>, manifest_dir: Option<&Path>) -> Surroundings {
        Surroundings {
            probe: probe.map(OsString::from),
            cargo: cargo.map(OsString::from),
            manifest_dir: manifest_dir.map(|path| path.as_os_str().to_owned()),
        }
    }

    #[test]
    fn the_probe_is_named_built_or_missing() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let elsewhere = tempfile::tempdir().unwrap();
        assert_eq!(surroundings(Some("p"), Some("c"), Some(here)).find(), Found::Program("p".into()));
        let root = here.parent().unwrap();
        let workspace = Found::Workspace { cargo: "c".into(), manifest: root.join("Cargo.toml") };
        assert_eq!(surroundings(None, Some("c"), Some(here)).find(), workspace);
        assert_eq!(surroundings(None, Some("c"), Some(elsewhere.path())).find(), Found::Nothing);
        assert_eq!(surroundings(None, None, Some(here)).find(), Found::Nothing);
        assert_eq!(surroundings(None, Some("c"), None).find(), Found::Nothing);
    }

    #[test]
    fn cargo_says_where_it_put_the_program() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"other"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"caracal-kafka-probe"},"executable":"/t/p"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages, BINARY), Some(PathBuf::from("/t/p")));
        assert_eq!(executable("not JSON", BINARY), None);
    }

    fn trips(events: &[EventType]) -> String {
        let trip = |event: &EventType| {
            format!(
                r#"{{"event":"{}","topic":"{}","partition":3,"offset":7,"schema_id":1,"ok":true,"millis":12,"error":null}}"#,
                event.name(),
                event.topic()
            )
        };
        events.iter().map(trip).collect::<Vec<_>>().join(",")
    }

    async fn ended(output: &str, code: u8) -> Finished {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("cat >&2 <<'X'\ncomplaint\nX\nexit {code}"));
        let finished = finish(command, Duration::from_secs(20)).await.unwrap();
        Finished { output: output.to_owned(), ..finished }
    }

    #[tokio::test]
    async fn a_report_is_believed_only_with_its_exit_code() {
        let of = |events: &[EventType], ok: bool, format: u32| {
            let trips = trips(events);
            format!(r#"{{"format":{format},"client":"2.12","round_trips":[{trips}],"ok":{ok}}}"#)
        };
        let all = EventType::ALL;
        let text = |ok: bool, format: u32| of(&all, ok, format);
        let good = report(&ended(&text(true, 1), 0).await).unwrap();
        assert_eq!(good.round_trips[0].seen(), "partition 3 offset 7, schema 1");
        for (output, code, said) in [
            (text(true, 1), 1, "contradicts itself"),
            (text(false, 1), 1, "contradicts itself"),
            (text(true, 2), 0, "format 2"),
            (String::new(), 2, "complaint"),
            (of(&[], true, 1), 0, "reports of 0 events"),
            (of(&all[1..], true, 1), 0, "reports of 3 events"),
            (of(&[all[0], all[0], all[1], all[2]], true, 1), 0, "reports of 4 events"),
            (of(&[all[0], all[0], all[1], all[2], all[3]], true, 1), 0, "reports of 5 events"),
        ] {
            let why = report(&ended(&output, code).await).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let why = finish(command, Duration::from_millis(50)).await.err().unwrap();
        assert!(why.contains("was killed"), "{why}");
        let why = finish(Command::new("/nonexistent/probe"), Duration::from_secs(1)).await.err().unwrap();
        assert!(why.contains("cannot be started"), "{why}");
    }
}
