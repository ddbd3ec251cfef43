//! A node's log: opened privately, its end read, its likely meaning.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// How much of a log's end is read at most, in bytes.
const TAIL_BYTES: u64 = 128 * 1024;

/// What a node's log most likely says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hint {
    /// The likely cause.
    pub cause: &'static str,
    /// What to do next.
    pub next_step: &'static str,
    /// The line that led to it.
    pub line: String,
}

/// Begins the line that [`super::start`] writes into a log, before anything of the node's own.
const START_LINE: &str = "==== started by caracal at ";

/// Known texts, the most telling first: the first line of a Java trace often is "Exception in thread main".
const SIGNS: &[(&[&str], &str, &str)] = &[
    (
        &["Address already in use", "BindException"],
        "another process has one of its ports",
        "stop that process, or give the cluster other ports",
    ),
    (
        &["UnsupportedClassVersionError"],
        "this Java is too old for the node",
        "install Java 21 or newer, or set CARACAL_JAVA to one",
    ),
    (
        &["No space left on device", "Disk quota exceeded"],
        "the disk is full",
        "free some space, then start the cluster again",
    ),
    (
        &["OutOfMemoryError", "insufficient memory for the Java Runtime", "Could not reserve enough space"],
        "it has not got enough memory",
        "give it a larger heap, or stop other programs and start the cluster again",
    ),
    (
        &["InconsistentClusterIdException"],
        "its data belongs to another cluster",
        "restore the ZooKeeper data that belongs to it, or remove the data of both",
    ),
    (
        &["InconsistentBrokerIdException", "Configured broker.id"],
        "its data belongs to another broker",
        "give each broker its own data directory back, or remove the data",
    ),
    (
        &["Failed to acquire lock on file .lock", "another process with the same"],
        "another process uses its data directory",
        "stop that process: it is an earlier run of this node",
    ),
    (
        &["NoAuthException", "KeeperErrorCode = NoAuth"],
        "ZooKeeper refused it: the data there belongs to another certificate subject",
        "use the certificates that the data was made with, or remove the data",
    ),
    (
        &["NodeExistsException", "KeeperErrorCode = NodeExists"],
        "ZooKeeper still has the session of its former run",
        "wait for some seconds (the session's time-out), then start it again",
    ),
    (
        &[
            "keystore password was incorrect",
            "Failed to load SSL keystore",
            "Invalid PEM keystore",
            "UnrecoverableKeyException",
        ],
        "its key store cannot be read",
        "make the credentials again: one of the files was changed or cut off",
    ),
    (
        &["CertificateExpiredException", "NotAfter:"],
        "a certificate has expired",
        "rotate the certificates, and look at this machine's clock",
    ),
    (
        &["Timed out waiting for connection", "ZooKeeperClientTimeoutException"],
        "ZooKeeper did not answer",
        "look at the logs of the ZooKeeper nodes",
    ),
    (
        &[
            "ConfigException",
            "Unrecognized VM option",
            "Could not create the Java Virtual Machine",
            "Could not find or load main class",
        ],
        "its configuration is not accepted",
        "look at the line itself",
    ),
    (
        &["Permission denied", "AccessDeniedException"],
        "it may not read or write one of its files",
        "look at the owner and mode of the file: were they changed, or was the cluster made by another user?",
    ),
    // From here on: also what a healthy node says of a client that fails.
    (
        &["PKIX path", "unable to find valid certification path", "certificate_unknown", "unknown_ca"],
        "a certificate was not made by the CA that is trusted",
        "make the credentials again: some files are of another run than the others",
    ),
    (
        &["No subject alternative", "No name matching"],
        "a certificate does not name the host that was connected to",
        "make the credentials again: host names or addresses have changed since",
    ),
    (
        &["SaslAuthenticationException", "Authentication failed", "invalid credentials"],
        "a log-in with user and password was refused",
        "the user in the cluster and the one in the configuration differ: write the users again",
    ),
    (
        &["ClusterAuthorizationException", "TopicAuthorizationException", "GroupAuthorizationException"],
        "its user may not do what it needs",
        "write the access rights again",
    ),
];

/// The likely meaning of the text of a log, if it holds one of the known signs.
///
/// Earlier runs of the node, which the same log holds, do not count.
///
/// ```
/// use caracal_cluster::runtime::process::diagnose_log;
///
/// let hint = diagnose_log("INFO starting\njava.net.BindException: Address already in use\n").expect("known");
/// assert_eq!(hint.cause, "another process has one of its ports");
/// assert!(diagnose_log("INFO started").is_none());
/// ```
pub fn diagnose_log(text: &str) -> Option<Hint> {
    let text = text.rfind(START_LINE).map_or(text, |at| &text[at..]);
    SIGNS.iter().find_map(|(signs, cause, next_step)| {
        // The last such line: the trouble that ended the node, not one it got over.
        let line = text.lines().rev().find(|line| signs.iter().any(|sign| line.contains(sign)))?;
        let line = line.trim().chars().take(300).collect();
        Some(Hint { cause, next_step, line })
    })
}

/// The last `lines` lines of a node's log, of its latest run only; at most the last 128 KiB are read.
///
/// # Errors
/// Those of opening and reading; a log that is not there is one.
pub fn log_tail(path: &Path, lines: usize) -> io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let skipped = size.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let latest = text.lines().rev().take_while(|line| !line.starts_with(START_LINE));
    let mut kept: Vec<_> = latest.take(lines).collect();
    if skipped > 0 && kept.len() == text.lines().count() {
        // The first line that was read is the end of a longer one.
        kept.pop();
    }
    kept.reverse();
    Ok(kept.iter().map(|line| format!("{line}\n")).collect())
}

/// Writes the line that divides this run of a node from earlier ones.
pub(super) fn begin(log: &mut File) -> io::Result<()> {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let now = now.format(&Rfc3339).map_err(io::Error::other)?;
    log.write_all(format!("{START_LINE}{now}\n").as_bytes())
}

/// Opens a log for appending: private, and no link to somewhere else.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let no_links = rustix::fs::OFlags::NOFOLLOW.bits();
    let no_links = i32::try_from(no_links).map_err(io::Error::other)?;
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(no_links).open(path)?;
    // One that was there with other rights is made private too.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_tail_is_the_end_and_bounded() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("log");
        let mut log = open(&path).unwrap();
        for n in 0..100_000 {
            writeln!(log, "line {n}").unwrap();
        }
        assert_eq!(log_tail(&path, 2).unwrap(), "line 99998\nline 99999\n");
        let all = log_tail(&path, usize::MAX).unwrap();
        assert!(all.len() as u64 <= TAIL_BYTES && all.starts_with("line "), "{}", all.len());
        assert_eq!(log_tail(&path, 0).unwrap(), "");
        log.write_all(b"\xff\xfe half").unwrap();
        assert_eq!(log_tail(&path, 1).unwrap(), "\u{fffd}\u{fffd} half\n");
        assert!(log_tail(&dir.path().join("none"), 1).is_err());
    }

    #[test]
    fn a_log_is_private_appended_to_and_no_link() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("log");
        open(&path).unwrap().write_all(b"a").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        open(&path).unwrap().write_all(b"b").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ab");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(open(&link).is_err());
    }

    #[test]
    fn only_the_latest_run_counts() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("log");
        let mut log = open(&path).unwrap();
        begin(&mut log).unwrap();
        log.write_all(b"java.net.BindException: Address already in use\n").unwrap();
        assert!(diagnose_log(&std::fs::read_to_string(&path).unwrap()).is_some());
        begin(&mut log).unwrap();
        assert_eq!(log_tail(&path, 9).unwrap(), "");
        log.write_all(b"INFO started\n").unwrap();
        assert_eq!(log_tail(&path, 9).unwrap(), "INFO started\n");
        assert_eq!(diagnose_log(&std::fs::read_to_string(&path).unwrap()), None);
    }

    #[test]
    fn a_client_that_fails_is_not_taken_for_the_cause() {
        let text = "INFO Failed authentication with /127.0.0.1 (Authentication failed)\n\
                    ERROR org.apache.kafka.common.config.ConfigException: Invalid value\n";
        assert_eq!(diagnose_log(text).unwrap().cause, "its configuration is not accepted");
    }

    #[test]
    fn each_known_text_has_its_own_cause() {
        for (line, cause) in [
            ("Exception: java.lang.OutOfMemoryError: Java heap space", "memory"),
            (
                "kafka.common.InconsistentClusterIdException: The Cluster ID a doesn't match stored b",
                "another cluster",
            ),
            ("Failed to load SSL keystore /x/y.p12 of type PKCS12", "key store"),
            ("java.io.IOException: keystore password was incorrect", "key store"),
            (
                "SaslAuthenticationException: Authentication failed during authentication due to invalid credentials",
                "log-in",
            ),
            ("KeeperErrorCode = NoAuth for /brokers/ids", "certificate subject"),
            ("java.io.IOException: No space left on device", "disk is full"),
            (
                "java.lang.UnsupportedClassVersionError: x has been compiled by a more recent version",
                "too old",
            ),
            ("java.security.cert.CertificateExpiredException: NotAfter: Sun", "expired"),
        ] {
            let text = format!("INFO before\nERROR {line}\n\tat java.base/x\n");
            let hint = diagnose_log(&text).unwrap_or_else(|| panic!("{line}"));
            assert!(hint.cause.contains(cause), "{hint:?}");
            assert_eq!(hint.line, format!("ERROR {line}"));
        }
    }
}
