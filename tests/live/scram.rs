//! The log-in of `caracal-scram` at real brokers, and Kafka's own credentials in its hands.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use caracal_cluster::lifecycle::Cluster;
use caracal_cluster::plan::Role;
use caracal_cluster::wire::{Connection, Deadline, Login, WireErrorKind};
use caracal_cluster::zookeeper::users::user_path;
use caracal_cluster::zookeeper::{ZkError, ZooKeeper};
use caracal_scram::{Iterations, Mechanism, ScramCredential};
use secrecy::{ExposeSecret as _, SecretString};

use crate::Test;
use crate::cluster::{self, access};
use crate::jdk::as_admin;
use crate::tools::{await_until, block};

pub(crate) const TESTS: &[Test] = &[
    ("scram::every_user_logs_in_to_every_broker_on_every_listener", every_user_logs_in),
    ("scram::a_wrong_password_is_refused_on_every_broker", a_wrong_password_is_refused),
    ("scram::sha_256_is_refused", sha_256_is_refused),
    ("scram::a_credential_that_kafka_wrote_lets_us_in", kafkas_credential_lets_us_in),
    ("scram::kafkas_records_are_ours_character_by_character", kafkas_records_are_ours),
];

/// Kafka's tool that writes credentials.
const TOOL: &str = "kafka.admin.ConfigCommand";
const LOOK: Duration = Duration::from_secs(30);

fn every_user_logs_in() -> Result<()> {
    let resolved = cluster::shared()?.resolved()?;
    let access = access(&resolved);
    let mut logins = 0;
    for user in &resolved.plan.users {
        let (tls, login) = (access.user_tls(user)?, access.login(user)?);
        for listener in ["EXTERNAL", "INTERNAL"] {
            for broker in access.brokers(listener) {
                let opened = block(Connection::open(&broker.endpoint, &tls, &login, Deadline::after(LOOK)))?;
                let principal = opened.principal().unwrap_or_default();
                ensure!(principal == format!("User:{}", user.name), "{} came in as {principal}", user.name);
                logins += 1;
            }
        }
    }
    ensure!(logins == 5 * 2 * 3, "{logins} log-ins were made, not 30");
    Ok(())
}

/// Opens with the consumer's certificate as somebody, at every broker; returns each refusal's kind, none when let in.
fn outcomes(resolved: &Cluster, login: &Login) -> Result<Vec<Option<WireErrorKind>>> {
    let access = access(resolved);
    let tls = access.user_tls(access.user(Role::Consumer)?)?;
    let brokers = access.brokers("EXTERNAL");
    let open = |broker: &caracal_cluster::admin::BrokerEndpoint| {
        block(Connection::open(&broker.endpoint, &tls, login, Deadline::after(LOOK)))
            .err()
            .map(|error| error.kind)
    };
    Ok(brokers.iter().map(open).collect())
}

fn all_refused(resolved: &Cluster, login: &Login) -> Result<()> {
    for outcome in outcomes(resolved, login)? {
        match outcome {
            None => bail!("{} was let in", login.principal()),
            Some(kind) if kind.is_refusal() => {}
            Some(kind) => bail!("not refused but failed: {kind}"),
        }
    }
    Ok(())
}

fn a_wrong_password_is_refused() -> Result<()> {
    let resolved = cluster::shared()?.resolved()?;
    for user in &resolved.plan.users {
        all_refused(&resolved, &Login::new(user.name.as_str(), SecretString::from("not the password")))?;
    }
    all_refused(&resolved, &Login::new("nobody", SecretString::from("not the password")))
}

fn sha_256_is_refused() -> Result<()> {
    let resolved = cluster::shared()?.resolved()?;
    let access = access(&resolved);
    let user = access.user(Role::Consumer)?;
    let password = access.credentials().expect_password(&user.name)?;
    all_refused(&resolved, &Login::new(user.name.as_str(), password).with_mechanism(Mechanism::ScramSha256))
}

fn kafkas_credential_lets_us_in() -> Result<()> {
    let shared = cluster::shared()?;
    let resolved = shared.resolved()?;
    let entity = ["--entity-type", "users", "--entity-name", "judge"];
    // A password of nobody, so a command line may show it; with letters of two bytes, which both sides keep.
    let password = "\u{e9}cole und \u{fc}bung";
    let config = format!("SCRAM-SHA-512=[iterations=5000,password={password}]");
    as_admin(shared, TOOL)?.args(["--alter", "--add-config", &config]).args(entity).run()?.succeeded()?;
    let login = Login::new("judge", SecretString::from(password));
    let outcome = await_until("Kafka's new user at every broker", Duration::from_secs(60), || {
        let seen = outcomes(&resolved, &login).map_err(|error| format!("{error:#}"))?;
        let refusals: Vec<String> = seen.iter().flatten().map(ToString::to_string).collect();
        if refusals.is_empty() { Ok(Some(())) } else { Err(refusals.join("; ")) }
    });
    let wrong = all_refused(&resolved, &Login::new("judge", SecretString::from("not the password")));
    as_admin(shared, TOOL)?
        .args(["--alter", "--delete-config", "SCRAM-SHA-512"])
        .args(entity)
        .run()?
        .succeeded()?;
    outcome?;
    wrong
}

/// The text that stands in ZooKeeper for a user, as it is.
fn record_in_zookeeper(resolved: &Cluster, user: &str, mechanism: Mechanism) -> Result<String> {
    let access = access(resolved);
    let (servers, tls) = (access.zookeepers(), access.zookeeper_tls()?);
    let data = block(async {
        let deadline = Deadline::after(LOOK);
        let mut zookeeper = ZooKeeper::connect_any(&servers, &tls, Duration::from_secs(10), deadline).await?;
        let (data, _) = zookeeper.data(&user_path(user), deadline).await?;
        zookeeper.close(deadline).await?;
        Ok::<_, ZkError>(data)
    })?;
    let settings: serde_json::Value = serde_json::from_slice(&data)?;
    let record = settings["config"][mechanism.name()].as_str();
    Ok(record.with_context(|| format!("{user} has no {mechanism}"))?.to_owned())
}

fn kafkas_records_are_ours() -> Result<()> {
    let shared = cluster::shared()?;
    let resolved = shared.resolved()?;
    let entity = ["--entity-type", "users", "--entity-name", "scribe"];
    // A password of nobody, so a command line and an error may show it.
    let password = "\u{e9}cole und \u{fc}bung";
    let mechanisms = [(Mechanism::ScramSha256, 4096), (Mechanism::ScramSha512, 5000)];
    let compare = |mechanism: Mechanism, rounds: u32| -> Result<()> {
        let config = format!("{mechanism}=[iterations={rounds},password={password}]");
        as_admin(shared, TOOL)?.args(["--alter", "--add-config", &config]).args(entity).run()?.succeeded()?;
        let theirs = record_in_zookeeper(&resolved, "scribe", mechanism)?;
        // Only salt and count are taken from it; the keys come from the password.
        let read = ScramCredential::from_kafka_record(mechanism, &theirs)?;
        ensure!(read.iterations() == rounds, "Kafka wrote {} iterations, not {rounds}", read.iterations());
        let iterations = Iterations::new(rounds)?;
        let ours = ScramCredential::derive_with_salt(
            mechanism,
            &SecretString::from(password),
            read.salt(),
            iterations,
        )?
        .to_kafka_record();
        let ours = ours.expose_secret();
        ensure!(ours == theirs, "for {mechanism} Kafka wrote\n{theirs}\nand we\n{ours}");
        Ok(())
    };
    let outcomes = mechanisms.map(|(mechanism, rounds)| compare(mechanism, rounds));
    let names = mechanisms.map(|(mechanism, _)| mechanism.name()).join(",");
    let deleted = as_admin(shared, TOOL)?.args(["--alter", "--delete-config", &names]).args(entity).run()?;
    outcomes.into_iter().collect::<Result<()>>()?;
    deleted.succeeded()?;
    Ok(())
}
