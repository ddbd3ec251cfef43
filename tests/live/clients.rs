//! Clients that are neither Rust nor Java, started with nothing but the generated files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cluster;
use crate::credentials::environment;
use crate::jdk::{EVENTS, PROOF_KEY};
use crate::program::Program;
use crate::{Test, tools};

pub(crate) const TESTS: &[Test] = &[
    ("clients::kafka_python_reads_the_event_of_up", python_reads_the_event),
    ("clients::kafka_python_is_refused_with_a_wrong_password", python_is_refused),
    ("clients::curl_lists_the_subjects_of_the_registry", curl_lists_subjects),
    ("clients::kcat_lists_the_topics_that_its_user_may_see", kcat_lists_topics),
    ("clients::kcat_reads_the_event_of_up", kcat_reads_the_event),
];

/// Pure Python, with what it needs for snappy; by name, in pinned versions.
const PACKAGES: [&str; 3] = ["cramjam==2.14.0", "kafka-python==3.0.12", "python-snappy==0.7.3"];

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/live/read_event.py");

/// Longer than the script's own patience: 60 s for a broker that answers, then 90 s for the event.
const READS: Duration = Duration::from_secs(240);

/// A Python with the packages, made once for this target folder.
fn python() -> Result<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGES.join("-").replace("==", "-"));
    let python = home.join("bin/python3");
    let ready = home.join("ready");
    if !ready.is_file() {
        tools::tell("installing kafka-python");
        Program::needed("python3")?.args(["-m", "venv", "--clear"]).args([&home]).run()?.succeeded()?;
        Program::at(&python)
            .args(["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"])
            .args(PACKAGES)
            .within(Duration::from_secs(300))
            .run()?
            .succeeded()?;
        // Last: a folder without it is made anew.
        caracal_pki::store::write_private(&ready, b"")?;
    }
    Ok(python)
}

/// The script with a user's `.env.kafka` as its environment.
fn script(user: &str) -> Result<Program> {
    let mut program = Program::at(python()?).args([SCRIPT, EVENTS, PROOF_KEY]);
    for (name, value) in environment(cluster::shared()?, user)? {
        program = program.env(&name, value);
    }
    Ok(program)
}

fn python_reads_the_event() -> Result<()> {
    script("consumer")?.within(READS).run()?.succeeded()?.saying(&["read an event of", PROOF_KEY])?;
    Ok(())
}

fn python_is_refused() -> Result<()> {
    let wrong = cluster::shared()?.home().join("wrong-password");
    caracal_pki::store::write_private(&wrong, b"not the password")?;
    let ended =
        script("consumer")?.env("CARACAL_KAFKA_SASL_PASSWORD_FILE", &wrong).within(READS).run()?.failed()?;
    ensure!(ended.text().contains("uthentication"), "not refused for its password:\n{}", ended.text());
    Ok(())
}

fn curl_lists_subjects() -> Result<()> {
    let plan = cluster::shared()?.resolved()?.plan;
    let registry = plan.endpoints.registry_url.as_deref().context("no registry is planned")?;
    let address = format!("{registry}/subjects");
    let seen = Program::needed("curl")?.args(["--silent", "--show-error", "--fail", &address]).run()?;
    let listed: BTreeSet<String> = serde_json::from_slice(&seen.succeeded()?.stdout)?;
    let planned: BTreeSet<String> = plan.subjects.iter().map(|subject| subject.subject.clone()).collect();
    ensure!(!planned.is_empty() && planned.is_subset(&listed), "planned {planned:?}, listed {listed:?}");
    Ok(())
}

pub(crate) fn kcat(user: &str) -> Result<Program> {
    let config = cluster::shared()?.dir()?.client(&user.parse()?).join("kcat.conf");
    Ok(Program::needed("kcat")?.args(["-F".as_ref(), config.as_os_str()]).within(Duration::from_secs(90)))
}

fn kcat_lists_topics() -> Result<()> {
    let seen = kcat("consumer")?.args(["-L", "-m", "30"]).run()?.succeeded()?.text();
    let plan = cluster::shared()?.resolved()?.plan;
    for topic in &plan.topics {
        let caracals = topic.name.as_str().starts_with("caracal.");
        let listed = seen.contains(&format!("topic \"{}\" with {} partitions", topic.name, topic.partitions));
        ensure!(
            listed == caracals,
            "{} listed: {listed}, wanted: {caracals}; kcat said:\n{seen}",
            topic.name
        );
    }
    for broker in &plan.endpoints.bootstrap {
        ensure!(seen.contains(broker), "{broker} is not among the brokers:\n{seen}");
    }
    Ok(())
}

fn kcat_reads_the_event() -> Result<()> {
    let read = ["-C", "-t", EVENTS, "-o", "beginning", "-e", "-q", "-f", "%k %S\\n", "-m", "30"];
    let seen = kcat("consumer")?.args(read).run()?.succeeded()?;
    let text = seen.text();
    let event = text.lines().find_map(|line| line.strip_prefix(PROOF_KEY)?.trim().parse::<u32>().ok());
    ensure!(
        event.is_some_and(|size| size > 5),
        "no event with key {PROOF_KEY} and a value was read, but:\n{text}"
    );
    Ok(())
}
