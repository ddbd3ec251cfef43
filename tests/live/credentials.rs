//! The files of credentials: private, whole, and readable by what they are made for.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use caracal_kafka_contract::profile::ConnectionProfile;

use crate::cluster::{self, TestCluster};
use crate::operate::operate;
use crate::program::Program;
use crate::{Test, product, tools};

pub(crate) const TESTS: &[Test] = &[
    ("credentials::step_1_alone_makes_private_files_and_starts_nothing", step_1_alone),
    ("credentials::an_authority_outside_signs_requests_by_openssl", signed_outside),
    ("credentials::every_file_is_private_although_the_umask_takes_nothing", every_file_is_private),
    ("credentials::every_user_has_every_client_file", every_user_has_every_file),
    ("credentials::the_profile_loads_and_its_files_are_there", the_profile_loads),
    ("credentials::the_environment_file_names_files_and_no_secret", the_environment_file),
];

/// What a client folder holds, by what reads it.
const CLIENT_FILES: &[&str] = &[
    ".env.kafka",
    "ca.pem",
    "client.key",
    "client.pem",
    "client.properties",
    "consumer.properties",
    "kcat.conf",
    "keystore.p12",
    "password",
    "producer.properties",
    "profile.toml",
    "store-password",
    "truststore.p12",
];

const CLIENTS: &[&str] = &["admin", "consumer", "producer", "schema-registry"];

/// A team's authority whose key never comes here, played by the openssl command.
fn signed_outside() -> Result<()> {
    let cluster = TestCluster::new()?;
    let folder = cluster.home().join("to-sign");
    let to = folder.to_str().context("a path that is no text")?;
    let run = |words: &[&str]| operate(&cluster, &[&["credentials"], words].concat());
    run(&[])?.succeeded()?;
    run(&["--request", to, "--dry-run"])?.succeeded()?.saying(&["would be written"])?;
    ensure!(!folder.exists(), "a dry run wrote");
    run(&["--request", to])?.succeeded()?.saying(&["the keys stayed here", "--accept"])?;
    let data = folder.join("data-ca");
    let (anchor, key) = (data.join("ca.pem"), cluster.home().join("outside.key"));
    let openssl = |words: &[&str]| -> Result<()> {
        Program::needed("openssl")?.args(words).run()?.succeeded().map(drop)
    };
    let path = |path: &Path| path.display().to_string();
    let subject = ["-subj", "/CN=Outside", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    let make =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
    openssl(&[&make[..], &subject, &["-keyout", &path(&key), "-out", &path(&anchor)]].concat())?;
    let requests: Vec<_> = tools::walk(&data)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|is| is == "csr"))
        .collect();
    ensure!(requests.len() > 7, "{requests:?}");
    for request in &requests {
        ensure!(!tools::read(request)?.contains("PRIVATE"), "{} holds a key", request.display());
        let (csr, signed) = (path(request), path(&request.with_extension("pem")));
        let sign =
            ["x509", "-req", "-in", &csr, "-CA", &path(&anchor), "-CAkey", &path(&key), "-CAcreateserial"];
        openssl(&[&sign[..], &["-days", "20", "-copy_extensions", "copy", "-out", &signed]].concat())?;
    }
    let (ours, others) = (data.join("client.producer.pem"), data.join("client.consumer.pem"));
    let right = tools::read(&ours)?;
    tools::spoil(&ours, tools::read(&others)?.as_bytes())?;
    let refused = run(&["--accept", to])?.ended_with(13)?;
    refused.saying(&["client.producer.pem", "nothing was changed"])?;
    tools::spoil(&ours, right.as_bytes())?;
    run(&["--accept", to, "--dry-run"])?.succeeded()?.saying(&["would be taken"])?;
    run(&["--accept", to])?.succeeded()?.saying(&["were taken", "cluster up"])?;
    run(&[])?.succeeded()?;
    run(&["--dry-run"])?.succeeded()?.saying(&["`credentials` would change nothing"])?;
    let (pki, client) = (cluster.dir()?.pki(), cluster.dir()?.client(&"producer".parse()?));
    ensure!(!pki.join("data-ca.key").exists(), "a key of the old authority is still used");
    ensure!(
        tools::read(&client.join("client.pem"))?.trim()
            == tools::read(&pki.join("client.producer.pem"))?.trim()
    );
    openssl(&["verify", "-CAfile", &path(&client.join("ca.pem")), &path(&client.join("client.pem"))])?;
    operate(&cluster, &["certs", "check"])?.succeeded()?;
    cluster.take_down()
}

fn step_1_alone() -> Result<()> {
    let cluster = TestCluster::new()?;
    let shell = Program::at("/bin/sh").args(["-c", r#"umask 000; exec "$@""#, "sh"]);
    let made = cluster.command_below(shell, &product::credentials(cluster.name()))?;
    cluster.run(made)?.succeeded()?;
    every_user_of(&cluster)?;
    let open = open_entries(&cluster.state());
    ensure!(open.is_empty(), "others can reach {} entries:\n  {}", open.len(), open.join("\n  "));
    let running = caracal_cluster::runtime::process::find_all(&cluster.id()?);
    ensure!(running.is_empty(), "it started {running:?}");
    cluster.down(true)?.succeeded()?;
    let left = cluster.leftovers()?;
    ensure!(left.is_empty(), "after `down -v` there is left:\n  {}", left.join("\n  "));
    cluster.take_down()
}

fn every_file_is_private() -> Result<()> {
    let open = open_entries(&cluster::shared()?.state());
    ensure!(open.is_empty(), "others can reach {} entries:\n  {}", open.len(), open.join("\n  "));
    Ok(())
}

/// Entries below a folder that are not 0700 (folders) or 0600 (files), or not ours.
///
/// What a JVM's libraries unpack into its temporary folder has modes that they choose themselves; that folder
/// is looked at, and lets nobody else in.
pub(crate) fn open_entries(root: &Path) -> Vec<String> {
    let us = rustix::process::geteuid().as_raw();
    let mut open = Vec::new();
    for path in tools::walk(root) {
        // A file that a running node has removed meanwhile is no finding.
        let Ok(entry) = std::fs::symlink_metadata(&path) else { continue };
        let mode = entry.permissions().mode() & 0o7777;
        let wanted = if entry.is_dir() { 0o700 } else { 0o600 };
        if path.ancestors().skip(1).any(|folder| folder.ends_with("run/tmp")) {
            continue;
        }
        if entry.is_symlink() {
            open.push(format!("{} is a link", path.display()));
        } else if mode != wanted {
            open.push(format!("{} has mode {mode:04o}, not {wanted:04o}", path.display()));
        } else if entry.uid() != us {
            open.push(format!("{} belongs to user {}", path.display(), entry.uid()));
        }
    }
    open
}

fn every_user_has_every_file() -> Result<()> {
    every_user_of(cluster::shared()?)
}

fn every_user_of(cluster: &TestCluster) -> Result<()> {
    let dir = cluster.dir()?;
    let mut missing = Vec::new();
    for user in CLIENTS {
        let folder = dir.client(&user.parse()?);
        for file in CLIENT_FILES {
            let path = folder.join(file);
            if std::fs::metadata(&path).map_or(true, |entry| entry.len() == 0) {
                missing.push(path.display().to_string());
            }
        }
    }
    ensure!(missing.is_empty(), "missing or empty: {}", missing.join(", "));
    // Nobody shares with anybody what proves who he is.
    for file in ["password", "client.pem", "client.key"] {
        let mut known = std::collections::BTreeSet::new();
        for user in CLIENTS {
            let text = tools::read(&dir.client(&user.parse()?).join(file))?;
            ensure!(known.insert(text), "{user} has the same {file} as another user");
        }
    }
    Ok(())
}

fn the_profile_loads() -> Result<()> {
    let shared = cluster::shared()?;
    let bootstrap = shared.resolved()?.plan.endpoints.bootstrap;
    for user in CLIENTS {
        let path = shared.dir()?.client(&user.parse()?).join("profile.toml");
        let profile = ConnectionProfile::load(&path).with_context(|| format!("{}", path.display()))?;
        ensure!(profile.unknown_keys().is_empty(), "{user}: unknown keys {:?}", profile.unknown_keys());
        ensure!(
            profile.kafka.bootstrap == bootstrap,
            "{user}: {:?} is not {bootstrap:?}",
            profile.kafka.bootstrap
        );
        ensure!(profile.kafka.sasl.username == *user, "{user}: logs in as {}", profile.kafka.sasl.username);
        for file in
            [profile.ca_file(), profile.certificate_file(), profile.key_file(), profile.password_file()]
        {
            ensure!(file.is_file(), "{user}: {} is not there", file.display());
        }
    }
    Ok(())
}

fn the_environment_file() -> Result<()> {
    let shared = cluster::shared()?;
    for user in CLIENTS {
        let folder = shared.dir()?.client(&user.parse()?);
        let password = tools::read(&folder.join("password"))?;
        let text = tools::read(&folder.join(".env.kafka"))?;
        ensure!(!text.contains(password.trim()), "{user}: .env.kafka holds the password");
        let variables = environment(shared, user)?;
        for (name, value) in &variables {
            if name.ends_with("_FILE") || name == "CARACAL_KAFKA_PROFILE" {
                ensure!(Path::new(value).is_file(), "{user}: {name}={value} is no file");
            }
        }
        if !variables.iter().any(|(name, _)| name == "CARACAL_KAFKA_BOOTSTRAP") {
            bail!("{user}: .env.kafka does not say where the brokers are");
        }
    }
    Ok(())
}

/// The variables of a user's `.env.kafka`, as a shell reads them.
pub(crate) fn environment(cluster: &TestCluster, user: &str) -> Result<Vec<(String, String)>> {
    let file = cluster.dir()?.client(&user.parse()?).join(".env.kafka");
    let script = r#"set -a; . "$1"; env -0"#;
    let read = Program::at("/usr/bin/env")
        .args(["-i", "/bin/sh", "-c", script, "sh"])
        .args([file.as_os_str()])
        .run()?
        .succeeded()?;
    let text = String::from_utf8(read.stdout)?;
    let pairs = text.split('\0').filter_map(|line| line.split_once('='));
    let ours = pairs.filter(|(name, _)| name.starts_with("CARACAL_"));
    Ok(ours.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
