//! Lets Maven resolve a pinned project into a directory, and says in plain words why it could not.
//!
//! Maven and not an HTTP client of our own: it follows the mirrors, proxies and credentials that the
//! user has set up for it, and shares its local repository.

use std::{
    collections::BTreeSet, env, ffi::OsString, fmt, io, path::Path, path::PathBuf, process::Stdio,
    time::Duration,
};

use tokio::{
    fs,
    io::{AsyncBufReadExt, AsyncRead, BufReader, Lines},
    process::Command,
    time::timeout,
};

use super::{OnProgress, Progress, Tail, Unit, artifacts::Artifact};

/// The goal that copies a project's dependencies, pinned: a newer plug-in may copy other files.
const GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// Longest time for one resolution; the largest artifact has 158 MB.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Where systems keep a trust store for their Java: Debian and Ubuntu, Fedora.
const SYSTEM_TRUST_STORES: [&str; 2] = ["/etc/ssl/certs/java/cacerts", "/etc/pki/java/cacerts"];

/// Why Maven brought nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MavenError {
    /// There is no `mvn`.
    #[error(
        "Maven (`mvn`) is not on PATH, and {what} has not been fetched yet. Install it \
         (Debian, Ubuntu: `apt-get install maven`; Fedora: `dnf install maven`; macOS: `brew install maven`), \
         then run the same command again"
    )]
    Missing {
        /// The artifact.
        what: String,
    },
    /// `mvn` could not be started.
    #[error("{} could not be started", program.display())]
    Start {
        /// Path of `mvn`.
        program: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// Maven ran, and failed.
    #[error("Maven could not fetch {what}: {cause}. Its last lines:{tail}")]
    Failed {
        /// The artifact.
        what: String,
        /// The likely cause and the next step.
        cause: MavenCause,
        /// The end of Maven's output.
        tail: String,
    },
    /// It ran longer than it may.
    #[error("Maven has been fetching {what} for {} minutes and was stopped. Its last lines:{tail}", DEADLINE.as_secs() / 60)]
    TimedOut {
        /// The artifact.
        what: String,
        /// The end of Maven's output.
        tail: String,
    },
}

/// What most likely made Maven fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MavenCause {
    /// Maven itself found no Java.
    NoJava,
    /// The disk is full.
    DiskFull,
    /// Somewhere may not be written to.
    NotWritable,
    /// The server's certificate is not trusted by Maven's Java.
    Certificate,
    /// The repository wants other credentials.
    Refused,
    /// The user's settings say "offline".
    Offline,
    /// The repository cannot be reached.
    Network,
    /// The repository does not have the artifact.
    NotFound,
    /// None of these.
    Unknown,
}

impl fmt::Display for MavenCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoJava => "it found no Java for itself; install one or set JAVA_HOME",
            Self::DiskFull => "the disk is full; free some space (about 500 MB are needed)",
            Self::NotWritable => "it may not write to its local repository or to the cache; look at their owner",
            Self::Certificate => {
                "its Java does not trust the repository's certificate; behind a proxy that replaces certificates, \
                 give Maven the proxy's CA (MAVEN_OPTS=-Djavax.net.ssl.trustStore=...)"
            }
            Self::Refused => "the repository refused the credentials; look at Maven's settings.xml",
            Self::Offline => "Maven is set to work offline; run once without that",
            Self::Network => {
                "the network or the repository cannot be reached; look at the connection, and at the proxy and \
                 mirror in Maven's settings.xml"
            }
            Self::NotFound => "the repository does not have it; is a mirror in Maven's settings.xml incomplete?",
            Self::Unknown => "the cause is not one that is known here",
        })
    }
}

/// Resolves `artifact` into the directory `into`, which must exist; writes its project file beside it.
///
/// Dropping the future ends Maven.
pub(super) async fn fetch(
    artifact: &Artifact,
    mvn: &Path,
    java_home: Option<&Path>,
    into: &Path,
    progress: &OnProgress<'_>,
) -> Result<(), FetchError> {
    let what = format!("{} {}", artifact.name(), artifact.version());
    let pom = into.with_extension("pom.xml");
    fs::write(&pom, artifact.pom()).await?;
    let mut output = OsString::from("-DoutputDirectory=");
    output.push(into);
    let mut command = Command::new(mvn);
    command
        .args(["-B", "-Dstyle.color=never", "-DincludeScope=runtime"])
        .arg(output)
        .arg("-f")
        .arg(&pom)
        .arg(GOAL);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // A project's own `.mvn` folder or working directory must have no say in this.
    command.current_dir(into);
    if let Some(home) = java_home {
        command.env("JAVA_HOME", home);
        if let Some(options) = system_trust(env::var_os("MAVEN_OPTS"), &SYSTEM_TRUST_STORES) {
            command.env("MAVEN_OPTS", options);
        }
    }
    let start = |source| MavenError::Start { program: mvn.to_owned(), source };
    let mut child = command.spawn().map_err(start)?;
    let shown = format!("fetching {what}{}", megabytes(artifact.download().total_bytes()));
    let mut seen = Seen { artifact, what: shown, files: BTreeSet::new(), progress };
    let mut tail = Tail::default();
    let stdout = child.stdout.take().map(lines);
    let stderr = child.stderr.take().map(lines);
    seen.report();
    let watch = async {
        read_both(stdout, stderr, |line| {
            seen.line(line);
            if !is_chatter(line) {
                tail.push(line);
            }
        })
        .await?;
        child.wait().await
    };
    match timeout(DEADLINE, watch).await {
        Ok(Ok(status)) if status.success() => {
            // What lay in the local repository already was not announced.
            seen.all();
            Ok(())
        }
        Ok(Ok(_)) => {
            let cause = cause_of(&tail.text());
            Err(MavenError::Failed { what, cause, tail: tail.quote(12) }.into())
        }
        Ok(Err(source)) => Err(start(source).into()),
        Err(_) => Err(MavenError::TimedOut { what, tail: tail.quote(12) }.into()),
    }
}

/// Maven's options with the system's trust store, unless they name one or there is none.
///
/// A Java that did not come from the system brings CAs of its own; a company's proxy is only in the system's.
fn system_trust(options: Option<OsString>, stores: &[&str]) -> Option<OsString> {
    let mut options = options.unwrap_or_default();
    let store = stores.iter().find(|store| Path::new(store).is_file())?;
    if options.to_string_lossy().contains("javax.net.ssl.trustStore") {
        return None;
    }
    options.push(format!(" -Djavax.net.ssl.trustStore={store}"));
    Some(options)
}

/// Maven's own failure, or that of writing its project file.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Maven(#[from] MavenError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Counts the locked files in Maven's output.
struct Seen<'a> {
    artifact: &'a Artifact,
    what: String,
    files: BTreeSet<String>,
    progress: &'a OnProgress<'a>,
}

impl Seen<'_> {
    fn line(&mut self, line: &str) {
        let Some(name) = file_of(line) else { return };
        if self.artifact.download().file(name).is_some() && self.files.insert(name.to_owned()) {
            self.report();
        }
    }

    fn all(&mut self) {
        let before = self.files.len();
        self.files.extend(self.artifact.download().files().iter().map(|file| file.name().to_owned()));
        if self.files.len() > before {
            self.report();
        }
    }

    fn report(&self) {
        let (done, total) = (self.files.len() as u64, self.artifact.download().files().len() as u64);
        // Maven tells of a file when it is there: a bar for one file would stand at nothing until the end. Without a
        // total the time that passes is shown, beside the size of what is fetched.
        let total = if done == 0 && total == 1 { 0 } else { total };
        (self.progress)(Progress { what: &self.what, done, total, unit: Unit::Files });
    }
}

/// How much is fetched, for a person who waits for it; nothing for what is small.
pub(super) fn megabytes(bytes: u64) -> String {
    match bytes / 1_000_000 {
        0 => String::new(),
        megabytes => format!(" ({megabytes} MB)"),
    }
}

/// The file that a line says was downloaded, or copied from the local repository.
fn file_of(line: &str) -> Option<&str> {
    if let Some((_, rest)) = line.split_once("Downloaded from ") {
        let url = rest.split_once(": ")?.1.split(' ').next()?;
        return url.rsplit('/').next();
    }
    let (_, rest) = line.split_once("Copying ")?;
    Some(rest.split_once(" to ")?.0)
}

/// Lines that would push the telling ones out of an error message.
fn is_chatter(line: &str) -> bool {
    const CHATTER: [&str; 8] = [
        "Downloading from",
        "Downloaded from",
        "-----",
        "Total time:",
        "Finished at:",
        "To see the full stack trace",
        "Re-run Maven using",
        "For more information about the errors",
    ];
    let text = line.trim_start_matches(['[', ']', 'E', 'R', 'O', 'I', 'N', 'F', ' ']);
    text.is_empty() || text.starts_with("Help 1") || CHATTER.iter().any(|part| line.contains(part))
}

fn cause_of(output: &str) -> MavenCause {
    // The order matters: a disk that is full also makes "could not transfer artifact".
    const SIGNS: [(MavenCause, &[&str]); 8] = [
        (
            MavenCause::NoJava,
            &[
                "JAVA_HOME environment variable is not defined",
                "JAVA_HOME is not defined",
                "locate a Java Runtime",
                "java: not found",
                "java: command not found",
            ],
        ),
        (MavenCause::DiskFull, &["No space left on device", "Disk quota exceeded"]),
        (MavenCause::NotWritable, &["Permission denied", "AccessDeniedException", "Read-only file system"]),
        (MavenCause::Certificate, &["PKIX path", "unable to find valid certification path"]),
        (
            MavenCause::Refused,
            &[
                "status code: 401",
                "status code: 403",
                "status code: 407",
                "Not authorized",
                "authentication failed",
                "401 Unauthorized",
                "403 Forbidden",
            ],
        ),
        (MavenCause::Offline, &["in offline mode"]),
        (
            MavenCause::Network,
            &[
                "Unknown host",
                "UnknownHostException",
                "Name or service not known",
                "Temporary failure in name resolution",
                "nodename nor servname",
                "Connection refused",
                "onnect timed out",
                "Connection timed out",
                "Read timed out",
                "Network is unreachable",
                "No route to host",
                "Connection reset",
                "Connect to ",
            ],
        ),
        (MavenCause::NotFound, &["Could not find artifact", "was not found in"]),
    ];
    let has = |signs: &[&str]| signs.iter().any(|sign| output.contains(sign));
    SIGNS.into_iter().find(|(_, signs)| has(signs)).map_or(MavenCause::Unknown, |(cause, _)| cause)
}

fn lines<R: AsyncRead>(reader: R) -> Lines<BufReader<R>> {
    BufReader::new(reader).lines()
}

/// Reads the lines of both streams as they come, until both end.
async fn read_both<A: AsyncRead + Unpin, B: AsyncRead + Unpin>(
    mut a: Option<Lines<BufReader<A>>>,
    mut b: Option<Lines<BufReader<B>>>,
    mut each: impl FnMut(&str),
) -> io::Result<()> {
    while a.is_some() || b.is_some() {
        let line = tokio::select! {
            line = next(&mut a), if a.is_some() => line?,
            line = next(&mut b), if b.is_some() => line?,
        };
        if let Some(line) = line {
            each(&line);
        }
    }
    Ok(())
}

/// The next line; at the end, forgets the stream.
async fn next<R: AsyncRead + Unpin>(stream: &mut Option<Lines<BufReader<R>>>) -> io::Result<Option<String>> {
    let Some(lines) = stream else { return Ok(None) };
    match lines.next_line().await {
        Ok(Some(line)) => Ok(Some(line)),
        Ok(None) => {
            *stream = None;
            Ok(None)
        }
        // A tool that prints something other than UTF-8 must not end the watching.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(String::new())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_apart() {
        let unreachable = "[ERROR] Failed to execute goal: Could not transfer artifact a:b:pom:1 from/to central \
                           (https://repo.example): repo.example: Temporary failure in name resolution: Unknown host";
        for (output, cause) in [
            (unreachable, MavenCause::Network),
            ("Connect to repo.example:443 failed: Connection refused", MavenCause::Network),
            (
                "Cannot access central (x) in offline mode and the artifact a has not been downloaded",
                MavenCause::Offline,
            ),
            ("Could not transfer artifact a from/to central: No space left on device", MavenCause::DiskFull),
            ("PKIX path building failed: unable to find valid certification path", MavenCause::Certificate),
            ("The JAVA_HOME environment variable is not defined correctly", MavenCause::NoJava),
            ("Could not find artifact io.x:y:jar:1 in central", MavenCause::NotFound),
            ("status code: 403, reason phrase: Forbidden (403)", MavenCause::Refused),
            ("something else", MavenCause::Unknown),
        ] {
            assert_eq!(cause_of(output), cause, "{output}");
        }
    }

    #[test]
    fn the_trust_store_of_the_system_is_used_unless_another_is_named() {
        let here = tempfile::NamedTempFile::new().unwrap();
        let here = here.path().to_str().unwrap();
        let with = |options: &str| system_trust(Some(options.into()), &["/nowhere/cacerts", here]);
        assert_eq!(with("-Xmx1g").unwrap(), format!("-Xmx1g -Djavax.net.ssl.trustStore={here}").as_str());
        assert_eq!(with("-Djavax.net.ssl.trustStore=/mine"), None);
        assert_eq!(system_trust(None, &["/nowhere/cacerts"]), None);
    }

    #[test]
    fn the_file_of_a_line_is_found() {
        let downloaded =
            "[INFO] Downloaded from central: https://repo.example/a/b/1/b-1.jar (7.5 kB at 467 kB/s)";
        assert_eq!(file_of(downloaded), Some("b-1.jar"));
        assert_eq!(file_of("[INFO] Copying c-2.jar to /x/c-2.jar"), Some("c-2.jar"));
        assert_eq!(file_of("[INFO] Downloading from central: https://repo.example/a/b/1/b-1.jar"), None);
        assert_eq!(file_of("[INFO] BUILD SUCCESS"), None);
        for line in ["[ERROR] ", "[INFO] ------", "[ERROR] [Help 1] http://x", "[INFO] Downloaded from a: b"]
        {
            assert!(is_chatter(line), "{line}");
        }
        assert!(!is_chatter("[ERROR] Failed to execute goal: Unknown host"));
    }
}
