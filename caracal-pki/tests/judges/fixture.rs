//! What several judges need: CAs, leaves, a scratch directory, commands with their output.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use caracal_pki::{
    CertificateAuthority, DistinguishedName, Issued, KeyAlgorithm, LeafRequest, Usage, Validity, store,
};
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use time::OffsetDateTime;

pub(crate) const ALIAS: &str = "caracal-kafka-1";

pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

pub(crate) fn password() -> SecretString {
    SecretString::from("pa$$ word-\"7\"")
}

pub(crate) fn ca_of(algorithm: KeyAlgorithm) -> CertificateAuthority {
    let name = DistinguishedName::common_name("Caracal test CA").with_organization("Caracal");
    CertificateAuthority::create(name, algorithm, Validity::days_from(now(), 30)).unwrap()
}

pub(crate) fn ca() -> CertificateAuthority {
    ca_of(KeyAlgorithm::EcdsaP256)
}

pub(crate) fn request(usage: Usage) -> LeafRequest {
    LeafRequest {
        subject: DistinguishedName::common_name(ALIAS)
            .with_organizational_unit("Kafka")
            .with_organization("Caracal"),
        sans: [
            "caracal-kafka-1",
            "localhost",
            "*.brokers.example",
            "node_1.example",
            "3rd.example",
            "127.0.0.1",
            "::1",
        ]
        .map(|text| text.parse().unwrap())
        .to_vec(),
        usage,
        algorithm: KeyAlgorithm::EcdsaP256,
        validity: Validity::days_from(now(), 10),
    }
}

pub(crate) fn leaf(ca: &CertificateAuthority, usage: Usage) -> Issued {
    ca.issue(&request(usage)).unwrap()
}

/// A private directory that goes with the value.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        store::write_private(&path, content.as_ref()).unwrap();
        path
    }

    pub(crate) fn write_password(&self) -> PathBuf {
        self.write("password", password().expose_secret())
    }

    pub(crate) fn dir(&self) -> &Path {
        self.0.path()
    }
}

/// A judge's command, silent on the terminal, deaf on stdin.
#[expect(
    clippy::disallowed_methods,
    reason = "the judges are programs; this is the one place that starts them"
)]
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    command
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!("this test needs {:?}, which cannot be started: {error}; install it", command.get_program())
    })
}

/// Both outputs as one text; panics with them unless the command succeeded.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = output(command);
    let text = text(&output);
    assert!(output.status.success(), "{command:?} failed: {text}");
    text
}

/// Both outputs as one text; panics with them unless the command failed.
pub(crate) fn fail(command: &mut Command) -> String {
    let output = output(command);
    let text = text(&output);
    assert!(!output.status.success(), "{command:?} should have failed: {text}");
    text
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
