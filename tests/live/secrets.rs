//! The search for secrets: in arguments and environments of processes, logs, output, and files that others may read.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use caracal_cluster::dir::ClusterDir;
use caracal_cluster::distribution::Cache;

use crate::cluster::{self, TestCluster};
use crate::program::{Ended, Running};
use crate::trouble;
use crate::{Test, product, tools};

pub(crate) const TESTS: &[Test] = &[
    ("secrets::the_search_finds_what_is_planted", the_search_finds_what_is_planted),
    ("secrets::none_are_to_be_seen_after_up", none_after_up),
    ("secrets::none_are_to_be_seen_while_a_failing_up_runs_and_after_it", none_around_a_failed_up),
];

/// The last group: what every command of every other one printed is there by then.
pub(crate) const LAST: &[Test] = &[
    ("secrets::none_are_to_be_seen_while_verify_runs_or_in_any_document", none_around_verify),
    ("secrets::none_were_printed_by_any_command_of_this_run", none_in_all_output),
];

/// Every secret that a cluster of this run had at some time: passwords change, and clusters go.
static KNOWN: Mutex<BTreeMap<Vec<u8>, String>> = Mutex::new(BTreeMap::new());

/// Files above this are data of somebody else.
const LARGEST: u64 = 32 << 20;

/// What is shorter is no whole secret, and may stand anywhere.
const SHORTEST: usize = 16;

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
            needles.extend(secret(&dir, &path)?.into_iter().flatten());
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

/// Remembers the secrets that a cluster has now, for the search at the end of the run.
///
/// What a test has spoiled is left out here; [`Needles::of`] is strict.
pub(crate) fn learn(cluster: &TestCluster) {
    let Ok(dir) = cluster.dir() else { return };
    let Ok(mut known) = KNOWN.lock() else { return };
    for path in tools::walk(&dir.path()) {
        let Ok(Some(needles)) = secret(&dir, &path) else { continue };
        let whole = needles.into_iter().filter(|needle| needle.bytes.len() >= SHORTEST);
        known.extend(whole.map(|needle| (needle.bytes, format!("{} {}", cluster.name(), needle.what))));
    }
}

/// Every secret of this run.
fn known() -> Result<Needles> {
    let known = KNOWN.lock().map_err(|_| anyhow!("a test died while it learned secrets"))?;
    let needles = known.iter().map(|(bytes, what)| Needle { what: what.clone(), bytes: bytes.clone() });
    Ok(Needles::new(needles.collect()))
}

/// The secret in a file of a cluster; none when the file is not made to hold one.
fn secret(dir: &ClusterDir, path: &Path) -> Result<Option<Vec<Needle>>> {
    let what = path.strip_prefix(dir.path()).unwrap_or(path).display().to_string();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let below_passwords = path.parent() == Some(&dir.passwords());
    if below_passwords || matches!(name, "password" | "store-password") {
        return Ok(Some(password(&what, tools::read(path)?.trim())));
    }
    if path.extension().is_some_and(|extension| extension == "key") {
        return Ok(Some(private_key(&what, &tools::read(path)?)?));
    }
    Ok(None)
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
fn held(program: crate::program::Program) -> Result<Running> {
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
    let up = failing.command(&product::up(failing.name()))?.start()?;
    let (ended, mut findings) = watched(&needles, up)?;
    ended.failed().context("a broker without a legal configuration")?;
    findings.extend(needles.everywhere(failing)?);
    findings.sort();
    findings.dedup();
    ensure!(findings.is_empty(), "secrets can be seen:\n  {}", findings.join("\n  "));
    Ok(())
}

/// Looks at every process while a command runs; gives what it said and what was seen.
fn watched(needles: &Needles, mut command: Running) -> Result<(Ended, Vec<String>)> {
    let mut findings = Vec::new();
    let mut looks = 0;
    while !command.ends_within(Duration::from_millis(50)) {
        findings.extend(needles.in_processes());
        looks += 1;
    }
    let ended = command.finish(product::PATIENCE)?;
    product::remember(&ended);
    ensure!(looks > 0, "`{}` ended before anybody could look", ended.shown);
    Ok((ended, findings))
}

fn none_around_verify() -> Result<()> {
    let shared = cluster::shared()?;
    let needles = Needles::of(shared)?;
    let verify = shared.command(&product::verify(shared.name()))?.start()?;
    let (ended, mut findings) = watched(&needles, verify)?;
    product::document(&ended.succeeded()?)?;
    let name = shared.name();
    for words in [product::ps(name), product::list(), product::plan(name), product::up_as_json(name)] {
        product::document(&shared.run(shared.command(&words)?)?.succeeded()?)?;
    }
    findings.extend(needles.everywhere(shared)?);
    findings.sort();
    findings.dedup();
    ensure!(findings.is_empty(), "secrets can be seen:\n  {}", findings.join("\n  "));
    Ok(())
}

fn none_in_all_output() -> Result<()> {
    let shared = cluster::shared()?;
    let known = known()?;
    // The search knows what the shared cluster has now, so it would see it.
    let path = shared.dir()?.password(&"consumer".parse()?);
    ensure!(
        !known.seen_in(tools::read(&path)?.as_bytes()).is_empty(),
        "the consumer's password is not known"
    );
    let findings = known.in_output();
    ensure!(findings.is_empty(), "secrets were printed:\n  {}", findings.join("\n  "));
    Ok(())
}
