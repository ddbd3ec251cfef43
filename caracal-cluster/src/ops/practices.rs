//! The guide's security best practices, each looked at on one cluster. Reads only, and shows no secret.
//!
//! | practice | good when |
//! |---|---|
//! | `permissions` | everything secret is the owner's alone: folders 0700, files 0600 |
//! | `ignored-by-git` | the state directory lies in no work tree, or is ignored there and nothing of it is tracked |
//! | `no-default-password` | no password is one of the guide's, a well-known one or the user's name |
//! | `certificate-age` | no certificate is older than a year, and none has expired |
//! | `separate-credentials` | no two users share a password or a key, no two clusters a password or an authority |
//! | `audit-log` | every broker writes what its authoriser refuses |
//!
//! ```no_run
//! use caracal_cluster::dir::StateRoot;
//! use caracal_cluster::lifecycle::commands::Selection;
//! use caracal_cluster::ops::{Operated, practices};
//!
//! # fn look() -> Result<(), Box<dyn std::error::Error>> {
//! let operated = Operated::open(&Selection::named(StateRoot::from_environment()?, None))?;
//! for found in practices::check(operated.cluster(), time::OffsetDateTime::now_utc()) {
//!     assert!(found.good, "{}: {} (next: {})", found.practice, found.seen, found.remedy);
//! }
//! # Ok(())
//! # }
//! ```

pub(in crate::ops) mod git;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use caracal_pki::inventory::{self, Status};
use ring::digest;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use crate::credentials::Credentials;
use crate::dir::{ClusterDir, StateRoot};
use crate::lifecycle::chain;
use crate::lifecycle::cluster::Cluster;
use crate::plan::{Ca, ClusterPlan, NodeRole};

/// Findings that are named one by one; of more, their number.
const MOST: usize = 5;

/// How old a certificate may be; the guide renews yearly.
const YEAR: Duration = Duration::days(365);

/// Passwords that everybody knows, beside the user's name and the guide's `<user>-secret`.
const WELL_KNOWN: [&str; 8] =
    ["changeit", "changeme", "password", "secret", "kafka", "confluent", "letmein", "admin"];

/// One practice, looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// Which practice.
    pub practice: &'static str,
    /// Whether it is followed.
    pub good: bool,
    /// What was seen.
    pub seen: String,
    /// What to do; empty when there is nothing.
    pub remedy: String,
}

impl Finding {
    fn of(practice: &'static str, good: &str, bad: Vec<String>, remedy: &str) -> Self {
        if bad.is_empty() {
            return Self { practice, good: true, seen: good.to_owned(), remedy: String::new() };
        }
        let more = match bad.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let seen = bad.into_iter().take(MOST).collect::<Vec<_>>().join("; ") + &more;
        Self { practice, good: false, seen, remedy: remedy.to_owned() }
    }
}

/// Looks at every practice, in the order of the table above.
pub fn check(cluster: &Cluster, now: OffsetDateTime) -> Vec<Finding> {
    let dir = &cluster.dir;
    let mut found = vec![permissions(dir), ignored_by_git(dir)];
    found.extend(beyond_files(cluster, now));
    found
}

/// The practices that are more than who may read which file.
pub(in crate::ops) fn beyond_files(cluster: &Cluster, now: OffsetDateTime) -> Vec<Finding> {
    let (dir, plan) = (&cluster.dir, &cluster.plan);
    vec![
        no_default_password(dir, plan, now),
        certificate_age(dir, plan, now),
        separate_credentials(dir, plan, now),
        audit_log(plan),
    ]
}

fn permissions(dir: &ClusterDir) -> Finding {
    let mut bad = Vec::new();
    // What a node writes by itself (data, logs) lies in folders that are closed to others.
    let secret = |path: &Path| {
        let text = path.strip_prefix(dir.path()).unwrap_or(path);
        let mut parts = text.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
        match parts.next().as_deref() {
            Some("pki" | "passwords" | "clients") => true,
            Some("nodes") => parts.nth(1).is_none_or(|part| part == "secrets" || part == "config"),
            _ => path.is_dir(),
        }
    };
    let user = rustix::process::geteuid().as_raw();
    for path in root_of(dir).into_iter().chain(walk(&dir.path())) {
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        let wanted = if found.is_dir() { 0o700 } else { 0o600 };
        let open = found.mode() & 0o777 & !wanted != 0 && !found.is_symlink();
        if (found.is_dir() || secret(&path)) && (open || found.uid() != user) {
            bad.push(format!(
                "{} (mode {:03o}, owner {})",
                path.display(),
                found.mode() & 0o777,
                found.uid()
            ));
        }
    }
    let remedy = "close them (chmod 700 for folders, 600 for files); if somebody can have read them, renew with \
                  `certs renew --all` and `users set-password`";
    Finding::of("permissions", "everything secret is its owner's alone", bad, remedy)
}

fn ignored_by_git(dir: &ClusterDir) -> Finding {
    let root = root_of(dir).unwrap_or_else(|| dir.path());
    let (good, bad) = match git::standing(&root) {
        git::Standing::Outside => ("the state directory lies in no git work tree", Vec::new()),
        git::Standing::Ignored => ("git ignores the state directory", Vec::new()),
        git::Standing::Seen => ("", vec![format!("git does not ignore {}", root.display())]),
        git::Standing::Tracked => ("", vec![format!("files of {} are in git's index", root.display())]),
    };
    let remedy = "add the state directory to .gitignore; what was committed is known to everybody who has the \
                  repository: `git rm -r --cached` it, then renew all of it";
    Finding::of("ignored-by-git", good, bad, remedy)
}

fn no_default_password(dir: &ClusterDir, plan: &ClusterPlan, now: OffsetDateTime) -> Finding {
    let credentials = Credentials::new(dir, plan, now);
    let mut bad = Vec::new();
    for user in &plan.users {
        match credentials.password(&user.name) {
            Ok(Some(password)) if is_default(user.name.as_str(), password.expose_secret()) => {
                bad.push(format!("the password of `{}` is a well-known one", user.name));
            }
            Ok(_) => {}
            Err(error) => bad.push(chain(&error)),
        }
    }
    let remedy = "`users set-password USER` gives a generated one";
    Finding::of("no-default-password", "no password is a well-known one", bad, remedy)
}

fn is_default(user: &str, password: &str) -> bool {
    let password = password.to_lowercase();
    let stem = password.trim_end_matches(|c: char| c.is_ascii_digit() || c == '!');
    let guides = |text: &str| text == user || text == format!("{user}-secret");
    WELL_KNOWN.contains(&stem)
        || guides(&password)
        || guides(stem)
        // Repeated to reach the least length.
        || WELL_KNOWN.iter().any(|known| password.replace(known, "").is_empty())
}

fn certificate_age(dir: &ClusterDir, plan: &ClusterPlan, now: OffsetDateTime) -> Finding {
    let bad = match Credentials::new(dir, plan, now).certificates() {
        Ok(found) => found
            .into_iter()
            .filter_map(|(id, info)| match info.status(now) {
                Status::Expired => Some(format!("{id} has expired")),
                // An authority is made for years: replacing it is more than renewing.
                _ if !info.is_ca && now - info.not_before > YEAR => {
                    Some(format!("{id} is {} days old", (now - info.not_before).whole_days()))
                }
                _ => None,
            })
            .collect(),
        Err(error) => vec![chain(&error)],
    };
    let remedy = "`certs renew --all` renews all of them while the cluster works, `certs renew NAME` one";
    Finding::of("certificate-age", "no certificate is older than a year", bad, remedy)
}

fn separate_credentials(dir: &ClusterDir, plan: &ClusterPlan, now: OffsetDateTime) -> Finding {
    let credentials = Credentials::new(dir, plan, now);
    let mut owners: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    let mut own = |what: &[u8], kind: &str, owner: String| {
        let digest = digest::digest(&digest::SHA256, &[kind.as_bytes(), b"\0", what].concat());
        owners.entry(digest.as_ref().to_vec()).or_default().push(owner);
    };
    for user in &plan.users {
        if let Ok(Some(password)) = credentials.password(&user.name) {
            own(password.expose_secret().as_bytes(), "password", format!("the password of `{}`", user.name));
        }
    }
    for certificate in &plan.pki.certificates {
        if let Ok(Some(key)) = dir.read_text(&dir.pki().join(format!("{}.key", certificate.id))) {
            own(key.trim().as_bytes(), "key", format!("the key of {}", certificate.id));
        }
    }
    for other in others(dir) {
        let name = other.cluster();
        for file in walk(&other.passwords()).into_iter().filter(|path| path.is_file()) {
            let user = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if let Ok(Some(text)) = other.read_text(&file) {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                own(text.as_bytes(), "password", format!("the password of `{user}` of cluster {name}"));
            }
        }
    }
    for (whose, one) in others(dir)
        .iter()
        .map(|one| (format!(" of cluster {}", one.cluster()), one))
        .chain([(String::new(), dir)])
    {
        for ca in Ca::ALL {
            if let Ok(Some(text)) = one.read_text(&one.pki().join(format!("{}.pem", ca.stem())))
                && let Ok(found) = inventory::inspect_pem(&text)
                && let Some(info) = found.first()
            {
                own(
                    info.fingerprint_sha256.as_bytes(),
                    "authority",
                    format!("the {} authority{whose}", ca.stem()),
                );
            }
        }
    }
    // What two other clusters share is theirs to be told.
    let ours = |owner: &String| !owner.contains(" of cluster ");
    let bad = owners
        .into_values()
        .filter(|owners| owners.len() > 1 && owners.iter().any(ours))
        .map(|owners| format!("{} are the same", owners.join(" and ")));
    let remedy = "give each user and each cluster its own: `users set-password USER`, `certs renew NAME`";
    let good = "every user and every cluster has its own passwords, keys and authorities";
    Finding::of("separate-credentials", good, bad.collect(), remedy)
}

fn audit_log(plan: &ClusterPlan) -> Finding {
    let on =
        |text: &str| text.lines().any(|line| line.starts_with("log4j.logger.kafka.authorizer.logger=INFO"));
    let silent = plan.nodes_of(NodeRole::Broker).filter(|node| {
        !node.files.iter().any(|file| file.path.ends_with("log4j.properties") && on(&file.text))
    });
    let bad = silent.map(|node| format!("{} writes no audit log", node.name)).collect();
    Finding::of(
        "audit-log",
        "every broker writes what it refuses",
        bad,
        "run `cluster up`, which turns it on",
    )
}

/// The folder that holds all clusters.
fn root_of(dir: &ClusterDir) -> Option<PathBuf> {
    Some(dir.path().parent()?.parent()?.to_owned())
}

/// The other clusters of the same folder.
fn others(dir: &ClusterDir) -> Vec<ClusterDir> {
    let Some(root) = root_of(dir).and_then(|root| StateRoot::at(&root).ok()) else { return Vec::new() };
    let names = root.clusters().into_iter().filter(|name| name != dir.cluster());
    names.map(|name| root.cluster(&name)).collect()
}

/// Everything below a folder, itself included; links are not followed, and what nodes write is not looked into.
fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut at = 0;
    while let Some(path) = found.get(at).cloned() {
        at += 1;
        let own = path.file_name().is_some_and(|name| name == "data" || name == "logs" || name == "run");
        let is_dir = std::fs::symlink_metadata(&path).is_ok_and(|entry| entry.is_dir());
        if is_dir
            && !own
            && let Ok(entries) = std::fs::read_dir(&path)
        {
            found.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    found
}

#[cfg(test)]
mod tests;
