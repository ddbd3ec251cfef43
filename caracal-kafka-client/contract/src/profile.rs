//! The connection profile: the file by which a cluster tells a service how to reach it.
//!
//! The cluster writes it ([`ConnectionProfile::to_toml`]), the client reads it
//! ([`ConnectionProfile::discover`], [`ConnectionProfile::load`]). Paths in it are relative to the
//! file. Secrets stand in files of their own: the profile holds their paths only, and nothing in
//! this crate ever opens them. Each field can be overridden by one environment variable, see
//! [`VARIABLES`].
//!
//! ```
//! use std::path::Path;
//! use caracal_kafka_contract::profile::ConnectionProfile;
//!
//! let text = r#"
//! version = 1
//! generation = 3
//! cluster = "caracal"
//! principal = "producer"
//! [kafka]
//! bootstrap = ["localhost:9093"]
//! [kafka.tls]
//! ca_file = "ca.pem"
//! certificate_file = "client.pem"
//! key_file = "client.key"
//! [kafka.sasl]
//! mechanism = "SCRAM-SHA-512"
//! username = "producer"
//! password_file = "password"
//! "#;
//! let profile = ConnectionProfile::from_toml(text, Path::new("/etc/caracal"))?;
//! assert_eq!(profile.password_file(), Path::new("/etc/caracal/password"));
//! assert!(profile.unknown_keys().is_empty());
//! # Ok::<(), caracal_kafka_contract::profile::ProfileError>(())
//! ```

mod environment;
mod read;
mod variables_file;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use environment::{VARIABLES, Variable};

/// The version of the profile's format that this crate reads and writes.
pub const PROFILE_VERSION: u32 = 1;

/// How one principal reaches one cluster.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ConnectionProfile {
    /// Version of the format; a reader refuses a newer one.
    pub version: u32,
    /// Grows with each rotation of credentials or certificates, and is written last.
    pub generation: u64,
    /// The cluster's name.
    pub cluster: String,
    /// The principal without Kafka's `User:`, for example `producer`.
    pub principal: String,
    /// Prefix of topics, groups, transactional ids and subjects, so that several users share a
    /// cluster without meeting. `None` is no prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The brokers, and how to be let in.
    pub kafka: KafkaEndpoint,
    /// The schema registry, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryEndpoint>,
    /// What relative paths are relative to: the directory of the profile's file.
    #[serde(skip)]
    pub base_dir: PathBuf,
    #[serde(skip)]
    unknown_keys: Vec<String>,
}

/// The brokers, and how to be let in.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct KafkaEndpoint {
    /// `host:port` of one or more brokers.
    pub bootstrap: Vec<String>,
    /// Files of the TLS side.
    pub tls: TlsFiles,
    /// The log-in over it.
    pub sasl: SaslLogin,
}

/// PEM files of the TLS side, absolute or relative to the profile.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct TlsFiles {
    /// Certificates of the CAs that the brokers' certificates are checked against.
    pub ca_file: PathBuf,
    /// The client's certificate, followed by intermediates if there are any.
    pub certificate_file: PathBuf,
    /// Its private key (PKCS#8), readable by its owner alone.
    pub key_file: PathBuf,
}

/// The log-in by SCRAM (RFC 5802).
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct SaslLogin {
    /// Which SCRAM.
    pub mechanism: Mechanism,
    /// User name.
    pub username: String,
    /// File that holds the password, readable by its owner alone. One newline at its end does not
    /// count.
    pub password_file: PathBuf,
}

/// The schema registry.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RegistryEndpoint {
    /// Where Confluent's REST API begins, for example `http://127.0.0.1:8081/apis/ccompat/v7`.
    pub url: String,
    /// The log-in by basic authentication (RFC 7617), where the registry asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<RegistryLogin>,
    /// Files of the TLS side, where they are not those of the brokers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
}

impl RegistryEndpoint {
    /// A registry that asks for no password and, over https, trusts what the brokers trust.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), login: None, tls: None }
    }
}

/// The registry's log-in by basic authentication (RFC 7617).
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RegistryLogin {
    /// User name, without a colon.
    pub username: String,
    /// File that holds the password, readable by its owner alone. One newline at its end does not
    /// count.
    pub password_file: PathBuf,
}

/// SASL mechanism, by its registered name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub enum Mechanism {
    /// SCRAM with SHA-512, the default of a Caracal cluster.
    #[default]
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// SCRAM with SHA-256 (RFC 7677).
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
}

impl Mechanism {
    /// Registered name, as Kafka's configuration wants it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ConnectionProfile {
    /// A profile of generation 1 without registry and namespace; set those fields where needed.
    pub fn new(cluster: impl Into<String>, principal: impl Into<String>, kafka: KafkaEndpoint) -> Self {
        Self {
            version: PROFILE_VERSION,
            generation: 1,
            cluster: cluster.into(),
            principal: principal.into(),
            namespace: None,
            kafka,
            registry: None,
            base_dir: PathBuf::new(),
            unknown_keys: Vec::new(),
        }
    }

    /// Reads the file at `path`, and nothing else: no environment variable changes what it says.
    ///
    /// # Errors
    /// The file cannot be read, or [`from_toml`](Self::from_toml) refuses it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ProfileError> {
        read::file(path.as_ref())?.build()
    }

    /// Reads a profile from its text; relative paths will be relative to `base_dir`.
    ///
    /// # Errors
    /// The text is not TOML, its version is not [`PROFILE_VERSION`], a key is missing or has a
    /// value that it cannot have. No error repeats a value.
    pub fn from_toml(text: &str, base_dir: impl Into<PathBuf>) -> Result<Self, ProfileError> {
        read::text(text, Path::new("profile.toml"), base_dir.into())?.build()
    }

    /// Finds the profile of this process and applies the environment's overrides ([`VARIABLES`]).
    ///
    /// The file is, in this order:
    /// 1. the one that `CARACAL_KAFKA_PROFILE` names;
    /// 2. `$CARACAL_STATE_DIR/clusters/$CARACAL_KAFKA_CLUSTER/clients/$CARACAL_KAFKA_USER/profile.toml`,
    ///    when `CARACAL_KAFKA_USER` is set; the state directory is `.caracal` and the cluster
    ///    `caracal` unless those variables say otherwise;
    /// 3. none: every field then comes from its own variable.
    ///
    /// # Errors
    /// As [`load`](Self::load); also when neither a file nor the variables say enough, and when a
    /// variable such as `CARACAL_KAFKA_SASL_PASSWORD` holds a secret itself instead of a file's path.
    pub fn discover() -> Result<Self, ProfileError> {
        Self::discover_with(|name| std::env::var_os(name), Path::new("."))
    }

    /// [`discover`](Self::discover) with another environment and current directory: for tests and
    /// for tools that act for another process.
    ///
    /// # Errors
    /// As [`discover`](Self::discover).
    pub fn discover_with(
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
        current_dir: &Path,
    ) -> Result<Self, ProfileError> {
        environment::discover(&variable, current_dir)
    }

    /// Reads a file of variables, one `NAME=VALUE` a line, such as the cluster's `.env.kafka`, and nothing else:
    /// the process's own environment changes nothing. Paths in it are relative to the file. What shells and
    /// `docker compose --env-file` allow is read: comments, `export`, single and double quotes.
    ///
    /// # Errors
    /// The file cannot be read, a line is no variable, or what it says is refused as by
    /// [`discover`](Self::discover). No error repeats a value.
    ///
    /// ```no_run
    /// use caracal_kafka_contract::profile::ConnectionProfile;
    ///
    /// let profile = ConnectionProfile::from_env_file("clients/producer/.env.kafka")?;
    /// println!("{}", profile.kafka.bootstrap.join(","));
    /// # Ok::<(), caracal_kafka_contract::profile::ProfileError>(())
    /// ```
    pub fn from_env_file(path: impl AsRef<Path>) -> Result<Self, ProfileError> {
        variables_file::read(path.as_ref())
    }

    /// [`from_env_file`](Self::from_env_file) of a text; relative paths will be relative to `base_dir`. A
    /// `CARACAL_KAFKA_PROFILE` in it is read from the disk.
    ///
    /// # Errors
    /// As [`from_env_file`](Self::from_env_file).
    pub fn from_env_text(text: &str, base_dir: impl AsRef<Path>) -> Result<Self, ProfileError> {
        variables_file::text(text, Path::new(".env.kafka"), base_dir.as_ref())
    }

    /// Itself, if each field has a value that a file may have: for one that a program put together.
    ///
    /// # Errors
    /// [`ProfileError::Invalid`], [`ProfileError::Version`], [`ProfileError::Unwritable`].
    pub fn checked(&self) -> Result<Self, ProfileError> {
        let origin = Path::new("made by this program");
        let mut checked = read::text(&self.to_toml()?, origin, self.base_dir.clone())?.build()?;
        checked.unknown_keys.clone_from(&self.unknown_keys);
        Ok(checked)
    }

    /// The file's text, complete, for the cluster that writes it.
    ///
    /// # Errors
    /// [`ProfileError::Unwritable`]: a path is not UTF-8, or the generation is above `i64::MAX`;
    /// TOML has neither.
    pub fn to_toml(&self) -> Result<String, ProfileError> {
        let body = toml::to_string(self).map_err(|_| ProfileError::Unwritable)?;
        Ok(format!(
            "# How to reach the cluster, written by it. Paths are relative to this file.\n\
             # It holds no secret: passwords and keys stand in the files that it names.\n{body}"
        ))
    }

    /// Keys that this version does not know, as dotted paths. They change nothing; worth a warning.
    pub fn unknown_keys(&self) -> &[String] {
        &self.unknown_keys
    }

    /// Path of the CAs' certificates.
    pub fn ca_file(&self) -> PathBuf {
        self.base_dir.join(&self.kafka.tls.ca_file)
    }

    /// Path of the client's certificate.
    pub fn certificate_file(&self) -> PathBuf {
        self.base_dir.join(&self.kafka.tls.certificate_file)
    }

    /// Path of the client's private key.
    pub fn key_file(&self) -> PathBuf {
        self.base_dir.join(&self.kafka.tls.key_file)
    }

    /// Path of the file that holds the password.
    pub fn password_file(&self) -> PathBuf {
        self.base_dir.join(&self.kafka.sasl.password_file)
    }

    /// A topic, group, transactional id or subject with this profile's namespace before it.
    ///
    /// ```
    /// # use caracal_kafka_contract::profile::*;
    /// # let kafka = KafkaEndpoint {
    /// #     bootstrap: vec![], tls: TlsFiles { ca_file: "".into(), certificate_file: "".into(), key_file: "".into() },
    /// #     sasl: SaslLogin { mechanism: Mechanism::ScramSha512, username: "".into(), password_file: "".into() },
    /// # };
    /// let mut profile = ConnectionProfile::new("caracal", "producer", kafka);
    /// assert_eq!(profile.qualified("caracal.dlq"), "caracal.dlq");
    /// profile.namespace = Some("t1-".into());
    /// assert_eq!(profile.qualified("caracal.dlq"), "t1-caracal.dlq");
    /// ```
    pub fn qualified(&self, name: &str) -> String {
        format!("{}{name}", self.namespace.as_deref().unwrap_or_default())
    }
}

/// Why there is no profile. No variant repeats a value of the file or of the environment, for
/// somebody may have put a secret there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("cannot read the connection profile {path}: is the cluster up, and is the path right?", path = path.display())]
    #[non_exhaustive]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The text is not TOML.
    #[error("the connection profile {path} is not TOML: line {line}: {what}", path = path.display())]
    #[non_exhaustive]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser expected.
        what: String,
    },
    /// A file of variables has a line that is none.
    #[error("line {line} of {path} is no variable: {what}", path = path.display())]
    #[non_exhaustive]
    VariablesFile {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What it should be.
        what: &'static str,
    },
    /// The format is not the one that this version reads.
    #[error(
        "the connection profile {path} has format version {found}, this client reads version {PROFILE_VERSION}: \
         {next}", path = path.display(),
        next = if *found > i64::from(PROFILE_VERSION) {
            "update caracal-kafka-client in the service, or write the profile with an older cluster tool"
        } else {
            "let the cluster write its profiles again"
        }
    )]
    #[non_exhaustive]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that it names.
        found: i64,
    },
    /// A field that must be there is not.
    #[error(
        "{origin} lacks `{key}` ({meaning}): let the cluster write its profiles again, or set {variable}"
    )]
    #[non_exhaustive]
    Missing {
        /// What was read.
        origin: String,
        /// The field, as dotted path.
        key: &'static str,
        /// What it says.
        meaning: &'static str,
        /// The variable that could give it.
        variable: &'static str,
    },
    /// A field has a value that it cannot have.
    #[error("`{key}` in {origin} must be {expected}")]
    #[non_exhaustive]
    Invalid {
        /// The file or the variable.
        origin: String,
        /// The field, as dotted path.
        key: &'static str,
        /// What it could be.
        expected: &'static str,
    },
    /// A variable holds a secret.
    #[error(
        "the environment variable {variable} holds a secret, which other processes could read there: \
         write it to a file with mode 0600 and set {instead} to its path"
    )]
    #[non_exhaustive]
    SecretInEnvironment {
        /// The variable.
        variable: &'static str,
        /// The variable to use.
        instead: &'static str,
    },
    /// Nothing says which profile.
    #[error(
        "no connection profile: set CARACAL_KAFKA_PROFILE to the path of a profile.toml, or \
         CARACAL_KAFKA_USER to a user of the local cluster (for example producer)"
    )]
    NotNamed,
    /// The profile cannot be written as TOML.
    #[error("cannot write the connection profile: a path is not UTF-8, or the generation is above {max}", max = i64::MAX)]
    Unwritable,
}
