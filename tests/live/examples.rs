//! The client's examples as the services that they are: started on the shared cluster in names of their own, ended by
//! SIGTERM, and judged by what they leave behind.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, ensure};
use caracal_kafka_client::events::{Event, MeteringEvent, PolicyDecision, TOPIC_DEAD_LETTERS};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{Kafka, ProducerOptions, Service};
use rustix::process::Signal;
use serde_json::Value;

use crate::Test;
use crate::cluster;
use crate::operate::operate;
use crate::product;
use crate::program::{Ended, Program, Running};
use crate::tools::{self, block};

pub(crate) const TESTS: &[Test] = &[
    ("examples::a_ledger_books_each_event_once", ledger),
    ("examples::windows_count_each_event_once", aggregator),
    ("examples::an_audit_file_is_sealed_and_a_broken_seal_is_found", audit),
    ("examples::a_replay_reads_again_and_commits_nothing", replay),
];

/// How long one stage may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The folder of the examples' programs, built once.
static BUILT: LazyLock<Result<PathBuf, String>> =
    LazyLock::new(|| build().map_err(|error| format!("the examples could not be built: {error:#}")));

fn build() -> Result<PathBuf> {
    tools::tell("building the examples");
    let programs = product::built(&["--package", "caracal-kafka-client", "--examples"])?;
    let (_, first) = programs.first().context("cargo built the examples but named no program")?;
    first.parent().map(std::path::Path::to_owned).context("a program without a folder")
}

/// Topics and subjects that nobody else uses.
pub(crate) struct Space {
    prefix: String,
    topics: Vec<String>,
}

impl Space {
    pub(crate) fn new(topics: &[&str]) -> Result<Self> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let prefix = format!("ex{}.", since.as_millis());
        let topics: Vec<String> = topics.iter().map(|topic| format!("{prefix}{topic}")).collect();
        for topic in &topics {
            operate(cluster::shared()?, &["topics", "create", topic, "-p", "3"])?.succeeded()?;
        }
        Ok(Self { prefix, topics })
    }

    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn profile(&self) -> Result<PathBuf> {
        Ok(cluster::shared()?.dir()?.client(&"admin".parse()?).join("profile.toml"))
    }

    pub(crate) async fn kafka(&self) -> Result<Kafka> {
        let mut profile = ConnectionProfile::load(self.profile()?)?;
        profile.namespace = Some(self.prefix.clone());
        Ok(Kafka::connect(profile, Service::named("live-suite")).await?)
    }

    /// Writes events, and their schema where it is not registered.
    pub(crate) fn write<E: Event>(&self, events: &[E]) -> Result<()> {
        block(async {
            let kafka = self.kafka().await?;
            let options = ProducerOptions { register_schema: true, ..ProducerOptions::default() };
            let out = kafka.producer::<E>(options).await?;
            let report = out.send_all(events).await;
            ensure!(report.all_written(), "{report:?}");
            Ok(())
        })
    }

    fn start(&self, example: &str, argument: &str) -> Result<Running> {
        let folder = BUILT.clone().map_err(|error| anyhow!(error))?;
        Program::at(folder.join(example))
            .args(argument.split(' '))
            .env("CARACAL_KAFKA_PROFILE", self.profile()?)
            .env("CARACAL_KAFKA_NAMESPACE", &self.prefix)
            .start()
    }

    fn file(&self, name: &str) -> Result<PathBuf> {
        Ok(cluster::shared()?.home().join(format!("{}{name}", self.prefix)))
    }

    pub(crate) fn gone(self) -> Result<()> {
        let words: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        operate(cluster::shared()?, &[&["topics", "delete", "--yes"], &words[..]].concat())?.succeeded()?;
        Ok(())
    }
}

/// Tells a service to end as its operator would, and waits until it has.
fn end(running: Running) -> Result<Ended> {
    running.signal(Signal::TERM)?;
    running.finish(PATIENCE)?.succeeded()
}

fn lines(path: &PathBuf) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn until(what: &str, mut enough: impl FnMut() -> usize, wanted: usize) -> Result<()> {
    tools::await_until(what, PATIENCE, || match enough() {
        seen if seen >= wanted => Ok(Some(())),
        seen => Err(format!("{seen} of {wanted}")),
    })
}

fn events(count: u64) -> Vec<MeteringEvent> {
    (0..count).map(MeteringEvent::sample).collect()
}

fn ledger() -> Result<()> {
    let space = Space::new(&[MeteringEvent::TOPIC, TOPIC_DEAD_LETTERS])?;
    // The meter's first five events: whatever it writes of them again has been booked.
    space.write(&events(5))?;
    let path = space.file("ledger")?;
    let argument = path.to_str().context("a path that is no text")?;
    let booked = || lines(&path).len();
    let writer = space.start("ledger_writer", argument)?;
    let meter = space.start("meter", "live-agent")?;
    until("booked events", booked, 15)?;
    // Ended and started again while events come.
    end(writer)?;
    let writer = space.start("ledger_writer", argument)?;
    let more = booked() + 10;
    until("events booked after the restart", booked, more)?;
    let said = end(meter)?.text();
    let written: usize =
        said.split(" written").next().and_then(|word| word.parse().ok()).context(said.clone())?;
    ensure!(said.contains(" 0 not written, 0 unknown"), "{said}");
    // Its first five have the ids of the test's own.
    until("all events", booked, written.max(5))?;
    end(writer)?;
    let lines = lines(&path);
    let ids: BTreeSet<&str> = lines.iter().filter_map(|line| line.split('\t').next()).collect();
    ensure!(
        lines.len() == written && ids.len() == written,
        "{} lines, {} ids of {written}",
        lines.len(),
        ids.len()
    );
    space.gone()
}

fn aggregator() -> Result<()> {
    let space = Space::new(&[MeteringEvent::TOPIC])?;
    let path = space.file("totals.json")?;
    let argument = path.to_str().context("a path that is no text")?;
    let total = || -> Option<(u64, i64)> {
        let totals: Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        let agents = totals["windows"].as_object()?.values().filter_map(Value::as_object);
        let all: Vec<&Value> = agents.flat_map(|agents| agents.values()).collect();
        let events = all.iter().filter_map(|total| total["events"].as_u64()).sum();
        Some((events, all.iter().filter_map(|total| total["quantity"].as_i64()).sum()))
    };
    let counted = || total().map_or(0, |(events, _)| usize::try_from(events).unwrap_or_default());
    space.write(&events(40))?;
    let first = space.start("metrics_aggregator", argument)?;
    until("counted events", counted, 40)?;
    end(first)?;
    // Its totals as they were before the last commit: the group stands further than they say, or they than it.
    let second = space.start("metrics_aggregator", argument)?;
    space.write(&events(60)[40..])?;
    until("counted events after the restart", counted, 60)?;
    end(second)?.saying(&["windows"])?;
    let quantity: i64 = events(60).iter().map(|event| event.quantity).sum();
    ensure!(total() == Some((60, quantity)), "{:?} instead of 60 events and {quantity}", total());
    space.gone()
}

fn audit() -> Result<()> {
    let space = Space::new(&[PolicyDecision::TOPIC])?;
    let path = space.file("audit")?;
    let argument = path.to_str().context("a path that is no text")?;
    let decisions: Vec<PolicyDecision> = (0..20).map(PolicyDecision::sample).collect();
    space.write(&decisions)?;
    let first = space.start("audit_logger", argument)?;
    until("logged decisions", || lines(&path).len(), 20)?;
    end(first)?.saying(&["20 decisions logged"])?;
    let second = space.start("audit_logger", argument)?;
    space.write(&[PolicyDecision::sample(20)])?;
    until("the decision after the restart", || lines(&path).len(), 21)?;
    end(second)?.saying(&["1 decisions logged"])?;
    let ids: BTreeSet<String> = lines(&path)
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line.split('\t').next()?).ok())
        .filter_map(|entry| Some(entry["decision"]["event_id"].as_str()?.to_owned()))
        .collect();
    ensure!(ids.len() == 21, "{} of 21 decisions", ids.len());
    // Somebody changes one word in the middle.
    let text = tools::read(&path)?;
    let changed = text.replacen("\"offset\":1,", "\"offset\":0,", 1);
    ensure!(changed != text, "no line has an offset 1:\n{text}");
    tools::spoil(&path, changed.as_bytes())?;
    let refused = space.start("audit_logger", argument)?.finish(PATIENCE)?.failed()?;
    refused.saying(&["breaks its seal"])?;
    std::fs::remove_file(&path)?;
    space.gone()
}

fn replay() -> Result<()> {
    let space = Space::new(&[MeteringEvent::TOPIC])?;
    space.write(&events(30))?;
    let replayed = |from: &str| -> Result<Vec<String>> {
        let text = space.start("replay", from)?.finish(PATIENCE)?.succeeded()?;
        Ok(String::from_utf8_lossy(&text.stdout).lines().map(str::to_owned).collect())
    };
    let all = replayed("0@0 1@0 2@0")?;
    let again = replayed("0@0 1@0 2@0")?;
    let sorted = |lines: &[String]| lines.iter().cloned().collect::<BTreeSet<_>>();
    ensure!(all.len() == 30 && sorted(&all) == sorted(&again), "{} and {} events", all.len(), again.len());
    let first =
        all.iter().filter(|line| line.split('\t').next().is_some_and(|at| at.ends_with("/0@0"))).count();
    let later = replayed("0@1 1@0 2@0")?;
    ensure!(first == 1 && later.len() == 29, "{first} at the beginning, {} from behind it", later.len());
    space.start("replay", "7@0")?.finish(PATIENCE)?.failed()?.saying(&["no place in them"])?;
    space.gone()
}
