//! Users of the running cluster: added, proved, given passwords, removed; judged by kcat and by Kafka's own tools.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::jdk::{EVENTS, as_admin};
use crate::product;
use crate::program::{Ended, Program};
use crate::tools;

pub(crate) const TESTS: &[Test] = &[
    ("users::an_added_user_reads_its_topic_alone_and_survives_up", added_user),
    ("users::a_password_changes_everywhere_at_once_and_the_old_one_is_refused", planned_password),
    ("users::the_registry_is_restarted_with_its_new_password", registry_password),
    ("users::nobody_is_removed_without_whom_the_cluster_ends", refusals),
    ("users::a_user_that_kafkas_tool_made_is_listed_verified_and_removed", foreign_user),
];

/// Kafka's tool that writes credentials.
const TOOL: &str = "kafka.admin.ConfigCommand";

/// A command about a cluster.
pub(crate) fn command(cluster: &TestCluster, words: &[&str]) -> Result<Program> {
    let words: Vec<String> =
        words.iter().chain(&["--name", cluster.name()]).map(|word| (*word).to_owned()).collect();
    cluster.command(&words)
}

/// The same, run to its end.
pub(crate) fn operate(cluster: &TestCluster, words: &[&str]) -> Result<Ended> {
    cluster.run(command(cluster, words)?)
}

/// The document of a command that succeeds.
pub(crate) fn document(cluster: &TestCluster, words: &[&str]) -> Result<Value> {
    product::document(&operate(cluster, &[words, &["--json"]].concat())?.succeeded()?)
}

/// That `up` would change nothing.
pub(crate) fn nothing_differs(cluster: &TestCluster) -> Result<()> {
    let plan = cluster.run(cluster.command(&product::plan(cluster.name()))?)?;
    plan.succeeded().map(drop).context("something differs from the plan")
}

fn kcat(config: &Path) -> Result<Program> {
    Ok(Program::needed("kcat")?.args(["-F".as_ref(), config.as_os_str()]).within(Duration::from_secs(60)))
}

fn config(cluster: &TestCluster, user: &str) -> Result<PathBuf> {
    Ok(cluster.dir()?.client(&user.parse()?).join("kcat.conf"))
}

fn added_user() -> Result<()> {
    const USER: &str = "live-ledger";
    let cluster = cluster::shared()?;
    let add = ["users", "add", USER, "--role", "consumer-group", "--topic", EVENTS, "--group", "live-ledger"];
    operate(cluster, &[&add[..], &["--dry-run"]].concat())?
        .succeeded()?
        .saying(&["would be added", EVENTS])?;
    ensure!(!config(cluster, USER)?.exists(), "a dry run made files");
    let added = document(cluster, &add)?;
    ensure!(
        added["role"] == "consumer-group" && added["rules"].as_array().is_some_and(|r| r.len() == 4),
        "{added}"
    );
    let log_ins = added["log_ins"].as_array().context("no log-ins")?;
    ensure!(log_ins.len() == 6 && log_ins.iter().all(|login| login["outcome"] == "accepted"), "{added}");
    operate(cluster, &add)?.ended_with(product::USAGE)?.saying(&["set-password live-ledger"])?;
    // What it may do, by a client that is not ours: its topic and no other, and no writing.
    let config = config(cluster, USER)?;
    let seen = kcat(&config)?.args(["-L", "-m", "30"]).run()?.succeeded()?.text();
    ensure!(seen.contains(EVENTS) && !seen.contains("caracal.dlq"), "it sees:\n{seen}");
    let read = ["-C", "-t", EVENTS, "-o", "beginning", "-c", "1", "-e", "-q", "-f", "%k", "-m", "30"];
    kcat(&config)?.args(read).run()?.succeeded()?;
    let write = ["-P", "-t", EVENTS, "-m", "20"];
    let written = kcat(&config)?.args(write).input("x").run()?.failed()?.text();
    ensure!(written.contains("authoriz"), "not refused for its rights:\n{written}");
    // It belongs to the cluster from now on.
    nothing_differs(cluster)?;
    let up = cluster.run(cluster.command(&product::up_as_json(cluster.name()))?)?.succeeded()?;
    for (step, outcome) in product::steps(&up)? {
        ensure!(outcome != "changed" || step.contains("round"), "{step} was {outcome} by a second up");
    }
    let users = document(cluster, &["users", "list"])?;
    let listed = users["users"].as_array().context("no users")?.iter().find(|user| user["user"] == USER);
    ensure!(listed.is_some_and(|user| user["origin"] == "added"), "{users}");
    operate(cluster, &["users", "verify", USER])?.succeeded()?.saying(&["logs in on all 6 listeners"])?;
    let removed = document(cluster, &["users", "remove", USER])?;
    ensure!(removed["rules"].as_array().is_some_and(|rules| rules.len() == 4), "{removed}");
    ensure!(removed["credentials"][0] == "SCRAM-SHA-512", "{removed}");
    ensure!(!config.exists(), "its files are still there");
    operate(cluster, &["users", "verify", USER])?.ended_with(product::USAGE)?.saying(&["no user"])?;
    nothing_differs(cluster)
}

fn planned_password() -> Result<()> {
    const USER: &str = "producer";
    let cluster = cluster::shared()?;
    let old = cluster.home().join("old-kcat.conf");
    let config = config(cluster, USER)?;
    caracal_pki::store::write_private(&old, tools::read(&config)?.as_bytes())?;
    // Given on standard input: never on a command line.
    let change = command(cluster, &["users", "set-password", USER, "--password-file", "-"])?;
    cluster
        .run(change.input("live-suite-Password-42\n"))?
        .succeeded()?
        .saying(&["all 6 listeners", "old one is refused"])?;
    kcat(&config)?.args(["-L", "-m", "30"]).run()?.succeeded()?;
    let refused = kcat(&old)?.args(["-L", "-m", "10"]).run()?.failed()?.text();
    ensure!(refused.to_lowercase().contains("authentication"), "not refused for its password:\n{refused}");
    nothing_differs(cluster)?;
    // A wrong one is found, with the reason and a code of its own.
    let wrong = command(cluster, &["users", "verify", USER, "--password-file", "-"])?;
    let wrong = cluster.run(wrong.input("something-else-42"))?;
    wrong.ended_with(12)?.saying(&["fails on 6 of 6", "invalid credentials"])?;
    let short = command(cluster, &["users", "set-password", USER, "--password-file", "-"])?;
    let short = cluster.run(short.input("tiny"))?.ended_with(product::USAGE)?;
    ensure!(!short.text().contains("tiny"), "a password was shown:\n{}", short.text());
    // The administrator changes its own, generated, into a file that is private.
    let out = cluster.home().join("admin-password");
    let out_text = out.display().to_string();
    operate(cluster, &["users", "set-password", "admin", "--out", &out_text])?.succeeded()?;
    ensure!(caracal_pki::store::read_private(&out)?.len() > 20, "no password was written");
    operate(cluster, &["users", "verify"])?.succeeded()?.saying(&["every user gets in everywhere"])?;
    nothing_differs(cluster)
}

fn registry_password() -> Result<()> {
    let cluster = cluster::shared()?;
    let node = format!("{}-schema-registry", cluster.name());
    let before = cluster.pid(&node)?;
    operate(cluster, &["users", "set-password", "schema-registry"])?.succeeded()?.saying(&["restarted:"])?;
    ensure!(cluster.pid(&node)? != before, "the registry runs on with the old password");
    operate(cluster, &["health", "--writes", "--wait", "2m"])?.succeeded()?;
    nothing_differs(cluster)
}

fn refusals() -> Result<()> {
    let cluster = cluster::shared()?;
    for (user, why) in [
        ("admin", "last administrator"),
        ("broker-a", "brokers log in to each other"),
        ("broker-b", "brokers log in to each other"),
        ("consumer", "description"),
        ("consumr", "no user `consumr`; did you mean `consumer`?"),
    ] {
        operate(cluster, &["users", "remove", user])?.ended_with(product::USAGE)?.saying(&[why])?;
    }
    for (words, why) in [
        (&["users", "add", "broker-b", "--role", "admin"][..], "takes over from `broker-a`"),
        (&["users", "add", "producer", "--role", "consumer"], "description"),
        (&["users", "add", "live-nothing"], "--role"),
        (&["users", "add", "live-x", "--allow", "Write group:g"], "never asks for Write on a group"),
        (&["users", "set-password", "broker-a"], "--all-at-once"),
        (&["users", "set-password", "nobody-at-all"], "no user `nobody-at-all`"),
    ] {
        operate(cluster, words)?.ended_with(product::USAGE)?.saying(&[why])?;
    }
    operate(cluster, &["users", "verify"])?.succeeded()?;
    nothing_differs(cluster)
}

fn foreign_user() -> Result<()> {
    const USER: &str = "live-foreign";
    let cluster = cluster::shared()?;
    let entity = ["--entity-type", "users", "--entity-name", USER];
    // A password of nobody, so a command line may show it.
    let added = "SCRAM-SHA-512=[iterations=5000,password=of-nobody-at-all]";
    as_admin(cluster, TOOL)?.args(["--alter", "--add-config", added]).args(entity).run()?.succeeded()?;
    let users = document(cluster, &["users", "list"])?;
    let found = users["users"].as_array().context("no users")?.iter().find(|user| user["user"] == USER);
    ensure!(found.is_some_and(|user| user["origin"] == "foreign" && user["role"].is_null()), "{users}");
    // `up` keeps it, and says that it does.
    let kept = "user live-foreign is not in the description";
    operate(cluster, &["cluster", "plan"])?.succeeded()?.saying(&[kept, "users remove live-foreign"])?;
    let blind = operate(cluster, &["users", "verify", USER])?;
    blind.ended_with(product::UNHEALTHY)?.saying(&["not tried", "--password-file"])?;
    let verify = command(cluster, &["users", "verify", USER, "--password-file", "-"])?;
    cluster.run(verify.input("of-nobody-at-all"))?.succeeded()?;
    operate(cluster, &["users", "set-password", USER])?.ended_with(product::USAGE)?.saying(&["--out"])?;
    let removed = document(cluster, &["users", "remove", USER])?;
    ensure!(removed["credentials"][0] == "SCRAM-SHA-512", "{removed}");
    let described = as_admin(cluster, TOOL)?.args(["--describe"]).args(entity).run()?.text();
    ensure!(!described.contains("SCRAM-SHA-512"), "Kafka's tool still sees it:\n{described}");
    Ok(())
}
