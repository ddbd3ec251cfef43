//! The search for secrets: in arguments and environments of processes, logs, output, and files that others may read.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use caracal_cluster::distribution::Cache;

use crate::cluster::{self, TestCluster};
use crate::trouble;
use crate::{Test, product, tools};

pub(crate) const TESTS: &[Test] = &[
    ("secrets::the_search_finds_what_is_planted", the_search_finds_what_is_planted),
    ("secrets::none_are_to_be_seen_after_up", none_after_up),
    ("secrets::none_are_to_be_seen_while_a_failing_up_runs_and_after_it", none_around_a_failed_up),
];

/// Files above this are data of somebody else.
const LARGEST: u64 = 32 << 20;

/// One secret, in a form in which it could be seen.
#[derive(Clone)]
struct Needle {
    what: String,
    bytes: Vec<u8>,
}

/// The secrets of a cluster, each in the forms in which it could be seen.
pub(crate) struct Needles {
    needles: Vec<Needle>,
    /// Which of them start with these two bytes: one pass over a text looks for all.
    starts: Vec<Vec<usize>>,
}

impl Needles {
    /// Reads every password and private key of a cluster.
    pub(crate) fn of(cluster: &TestCluster) -> Result<Self> {
        let dir = cluster.dir()?;
        let mut needles = Vec::new();
        for path in tools::walk(&dir.path()) {
            let what = path.strip_prefix(dir.path()).unwrap_or(&path).display().to_string();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let below_passwords = path.parent() == Some(&dir.passwords());
            if below_passwords || matches!(name, "password" | "store-password") {
                needles.extend(password(&what, tools::read(&path)?.trim()));
            } else if path.extension().is_some_and(|extension| extension == "key") {
                needles.extend(private_key(&what, &tools::read(&path)?)?);
            }
        }
        ensure!(needles.len() > 20, "only {} secrets were found to search for", needles.len());
        Ok(Self::new(needles))
    }

    fn new(needles: Vec<Needle>) -> Self {
        let mut starts = vec![Vec::new(); 1 << 16];
        for (at, needle) in needles.iter().enumerate() {
            starts[start(needle.bytes[0], needle.bytes[1])].push(at);
        }
        Self { needles, starts }
    }

    /// What is seen in some bytes, by the secrets' names.
    fn seen_in(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = BTreeSet::new();
        for at in 1..bytes.len() {
            for &which in &self.starts[start(bytes[at - 1], bytes[at])] {
                if bytes[at - 1..].starts_with(&self.needles[which].bytes) {
                    found.insert(self.needles[which].what.clone());
                }
            }
        }
        found.into_iter().collect()
    }

    fn finding(&self, place: &str, bytes: &[u8]) -> Option<String> {
        let seen = self.seen_in(bytes);
        (!seen.is_empty()).then(|| format!("{place} shows {}", seen.join(", ")))
    }

    /// Arguments and environment of every process of this machine.
    pub(crate) fn in_processes(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            for part in ["cmdline", "environ"] {
                let path = entry.path().join(part);
                // Gone meanwhile, or another user's: then it is not for us, and not for others either.
                let Ok(bytes) = std::fs::read(&path) else { continue };
                findings.extend(self.finding(&path.display().to_string(), &bytes));
            }
        }
        findings
    }

    /// What commands printed.
    pub(crate) fn in_output(&self) -> Vec<String> {
        product::said()
            .iter()
            .filter_map(|(shown, bytes)| self.finding(&format!("output of `{shown}`"), bytes))
            .collect()
    }

    /// Files of the cluster that are not made to hold a secret, whoever may read them: logs, plan, configuration, data.
    pub(crate) fn in_state(&self, cluster: &TestCluster) -> Result<Vec<String>> {
        let root = cluster.dir()?.path();
        let holds = |path: &Path| {
            let below = path.strip_prefix(&root).unwrap_or(path);
            let parts: Vec<_> = below.iter().filter_map(|part| part.to_str()).collect();
            matches!(parts.as_slice(), ["pki" | "passwords" | "clients", ..] | ["nodes", _, "secrets", ..])
        };
        let files = tools::walk(&cluster.state());
        Ok(self.in_files(files.into_iter().filter(|path| !holds(path))))
    }

    /// Files that somebody else may read, below a folder, and not older than a time.
    fn in_open_files(&self, root: &Path, since: SystemTime) -> Vec<String> {
        let open = |path: &PathBuf| {
            std::fs::symlink_metadata(path).is_ok_and(|entry| {
                entry.is_file()
                    && entry.permissions().mode() & 0o077 != 0
                    && entry.modified().is_ok_and(|changed| changed >= since)
            })
        };
        self.in_files(reachable(root).into_iter().filter(open))
    }

    fn in_files(&self, paths: impl Iterator<Item = PathBuf>) -> Vec<String> {
        paths
            .filter_map(|path| {
                let entry = std::fs::symlink_metadata(&path).ok()?;
                // Kafka's indices are gigabytes of zeros, set aside for numbers.
                let index = path.extension().is_some_and(|kind| kind == "index" || kind == "timeindex");
                if !entry.is_file() || entry.len() > LARGEST || index {
                    return None;
                }
                self.finding(&path.display().to_string(), &std::fs::read(&path).ok()?)
            })
            .collect()
    }

    /// Everywhere.
    pub(crate) fn everywhere(&self, cluster: &TestCluster) -> Result<Vec<String>> {
        let mut findings = self.in_processes();
        findings.extend(self.in_output());
        findings.extend(self.in_state(cluster)?);
        findings.extend(self.in_open_files(&cluster.state(), SystemTime::UNIX_EPOCH));
        let born = std::fs::metadata(cluster.home())?.created().unwrap_or(SystemTime::UNIX_EPOCH);
        findings.extend(self.in_open_files(Cache::discover()?.root(), born));
        findings.extend(self.in_open_files(&std::env::temp_dir(), born));
        Ok(findings)
    }
}

/// Files below a folder that is everybody's; cargo's own folders hold what is compiled, not what a cluster wrote.
fn reachable(root: &Path) -> Vec<PathBuf> {
    let mut folders = vec![(root.to_owned(), 0)];
    let mut files = Vec::new();
    while let Some((folder, depth)) = folders.pop() {
        if depth > 8 || folder.join("CACHEDIR.TAG").exists() || folder.join(".git").exists() {
            continue;
        }
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push((entry.path(), depth + 1)),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}

fn start(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

fn password(what: &str, text: &str) -> Vec<Needle> {
    let needle = |bytes: Vec<u8>| Needle { what: what.to_owned(), bytes };
    vec![needle(text.as_bytes().to_vec()), needle(STANDARD.encode(text).into_bytes())]
}

/// The lines of a key's PEM text that hold its secret part, which in PKCS#8 stands before the public one.
fn private_key(what: &str, pem: &str) -> Result<Vec<Needle>> {
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    ensure!(lines.len() >= 2, "{what} is no private key in PEM");
    Ok(lines[..2]
        .iter()
        .map(|line| Needle { what: what.to_owned(), bytes: line.as_bytes().to_vec() })
        .collect())
}

fn the_search_finds_what_is_planted() -> Result<()> {
    let shared = cluster::shared()?;
    let canary = format!("canary-{}-of-the-live-suite", std::process::id());
    let needles = Needles::new(password("canary", &canary));
    ensure!(needles.everywhere(shared)?.is_empty(), "the canary was seen before it was planted");
    // In an environment, as an argument (of a shell that waits for its input), and in an open file of the temporary folder.
    let waiting = crate::program::Program::at("/bin/sh").args(["-c", "read line", &canary]);
    let in_environment = crate::program::Program::at("/bin/cat").env("CANARY", &canary);
    let (mut first, mut second) = (held(waiting)?, held(in_environment)?);
    let seen = tools::await_until("both canaries in the process table", Duration::from_secs(20), || {
        let seen = needles.in_processes();
        let both = seen.iter().any(|line| line.contains("cmdline"))
            && seen.iter().any(|line| line.contains("environ"));
        if both { Ok(Some(())) } else { Err(format!("{seen:?}")) }
    });
    for running in [&mut first, &mut second] {
        running.signal(rustix::process::Signal::KILL)?;
        ensure!(running.ends_within(Duration::from_secs(10)), "a canary does not die");
    }
    seen?;
    let file = shared.home().join("canary");
    caracal_pki::store::write_private(&file, canary.as_bytes())?;
    let born = std::fs::metadata(shared.home())?.created().unwrap_or(SystemTime::UNIX_EPOCH);
    let private = needles.in_open_files(shared.home(), born);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
    let open = needles.in_open_files(shared.home(), born);
    let log = shared.dir()?.nodes().join("canary.log");
    caracal_pki::store::write_private(&log, STANDARD.encode(&canary).as_bytes())?;
    let logged = needles.in_state(shared)?;
    std::fs::remove_file(&file)?;
    std::fs::remove_file(&log)?;
    ensure!(private.is_empty(), "a private file counts as open: {private:?}");
    ensure!(open.len() == 1, "an open file was not found: {open:?}");
    ensure!(logged.len() == 1, "a log with the canary in base64 was not found: {logged:?}");
    Ok(())
}

/// A program that waits for the end of its input, which does not come before it is killed.
fn held(program: crate::program::Program) -> Result<crate::program::Running> {
    program.holding_input().start()
}

fn none_after_up() -> Result<()> {
    let shared = cluster::shared()?;
    let findings = Needles::of(shared)?.everywhere(shared)?;
    ensure!(findings.is_empty(), "secrets can be seen:\n  {}", findings.join("\n  "));
    Ok(())
}

fn none_around_a_failed_up() -> Result<()> {
    let failing = trouble::failing()?;
    let needles = Needles::of(failing)?;
    let mut up = failing.command(&product::up(failing.name()))?.start()?;
    let mut findings = Vec::new();
    let mut looks = 0;
    while !up.ends_within(Duration::from_millis(50)) {
        findings.extend(needles.in_processes());
        looks += 1;
    }
    let ended = up.finish(product::PATIENCE)?.failed().context("a broker without a legal configuration")?;
    product::remember(&ended);
    findings.extend(needles.everywhere(failing)?);
    ensure!(looks > 0, "`up` ended before anybody could look");
    findings.sort();
    findings.dedup();
    ensure!(findings.is_empty(), "secrets can be seen:\n  {}", findings.join("\n  "));
    Ok(())
}
