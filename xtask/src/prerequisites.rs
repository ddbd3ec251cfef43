//! What the tests need of a machine, looked at before anything is built.

use crate::shell::which;

/// A program (or one of several, by `|`), what needs it, and the Debian package that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prerequisite {
    program: &'static str,
    needed_for: &'static str,
    package: &'static str,
}

const fn needs(program: &'static str, needed_for: &'static str, package: &'static str) -> Prerequisite {
    Prerequisite { program, needed_for, package }
}

/// What the build of every test run needs: each compiles the whole workspace.
pub(crate) const BUILD: &[Prerequisite] = &[
    needs("cc", "ring and librdkafka are partly C", "gcc libc6-dev"),
    needs("c++", "librdkafka is partly C++", "g++"),
    needs("make", "librdkafka's build", "make"),
    needs("perl", "librdkafka's OpenSSL is built from its sources", "perl"),
];

/// What the unit tests need besides.
pub(crate) const UNIT: &[Prerequisite] = &[
    needs("openssl", "a judge of certificates", "openssl"),
    needs("java", "a judge of certificates and passwords", "default-jdk-headless"),
    needs("javac", "a judge of certificates and passwords", "default-jdk-headless"),
    needs("keytool", "a judge of key stores", "default-jdk-headless"),
    needs("mvn", "Kafka's own classes as a judge of passwords", "maven"),
];

/// What the live suite needs besides.
pub(crate) const LIVE: &[Prerequisite] = &[
    needs("java", "the nodes and the JDK as a judge", "default-jdk-headless"),
    needs("keytool", "the JDK as a judge", "default-jdk-headless"),
    needs("mvn", "Kafka, ZooKeeper and the registry are fetched by it", "maven"),
    needs(
        "chromium|chromium-browser|google-chrome|google-chrome-stable",
        "the dashboard as a browser shows it",
        "chromium",
    ),
    needs("curl", "the registry as the guide's readers ask it", "curl"),
    needs("kcat", "a client that is neither Java nor Rust", "kcat"),
    needs("openssl", "a judge of every listener", "openssl"),
    needs(
        "python3",
        "a client in Python; and a Java, where none is 21 or newer",
        "python3 python3-pip python3-venv",
    ),
    needs("script", "a terminal of 60 columns", "bsdutils"),
    needs("unshare", "a machine without network", "util-linux"),
];

/// What the tests in containers need besides.
pub(crate) const DOCKER: &[Prerequisite] =
    &[needs("docker", "an engine for containers, and its program as a judge", "docker.io iptables")];

/// Says what is missing and how to get it; none when nothing is.
pub(crate) fn missing(wanted: &[Prerequisite], has: impl Fn(&str) -> bool) -> Option<String> {
    let lacks = |one: &&Prerequisite| !one.program.split('|').any(&has);
    let missing: Vec<&Prerequisite> = wanted.iter().filter(lacks).collect();
    if missing.is_empty() {
        return None;
    }
    let lines: Vec<String> = missing
        .iter()
        .map(|one| format!("  - {}: {}", one.program.replace('|', " or "), one.needed_for))
        .collect();
    let mut packages: Vec<&str> = missing.iter().map(|one| one.package).collect();
    packages.sort_unstable();
    packages.dedup();
    Some(format!(
        "programs that the tests need are not on the PATH:\n{}\non Debian or Ubuntu: apt-get install {}",
        lines.join("\n"),
        packages.join(" ")
    ))
}

/// Fails when this machine lacks something for the build or for these tests.
///
/// # Errors
/// What is missing and how to get it.
pub(crate) fn check(wanted: &[Prerequisite]) -> anyhow::Result<()> {
    match missing(&[BUILD, wanted].concat(), |program| which(program).is_some()) {
        None => Ok(()),
        Some(text) => Err(anyhow::anyhow!(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let text = missing(UNIT, |program| program != "javac" && program != "keytool").unwrap();
        assert!(text.contains("- javac: ") && text.contains("- keytool: "), "{text}");
        assert!(text.ends_with("apt-get install default-jdk-headless"), "{text}");
        assert_eq!(missing(LIVE, |_| true), None);
        assert_eq!(missing(LIVE, |program| program != "chromium"), None, "another browser will do");
        // librdkafka is built for either suite.
        let text = missing(&[BUILD, LIVE].concat(), |program| program != "perl").unwrap();
        assert!(text.ends_with("apt-get install perl"), "{text}");
    }
}
