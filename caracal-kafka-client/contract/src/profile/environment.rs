//! The environment variables: one table, from which reading, documents and tests follow.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::read::{self, Draft};
use super::{ConnectionProfile, PROFILE_VERSION, ProfileError};

/// One environment variable that [`ConnectionProfile::discover`] looks at.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The field that it overrides, as dotted path; `None` for those that say which file to read.
    pub key: Option<&'static str>,
    /// What it says.
    pub meaning: &'static str,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    Integer,
    List,
    File,
}

const fn names(name: &'static str, meaning: &'static str) -> Variable {
    Variable { name, key: None, meaning, kind: Kind::Text }
}

const fn field(name: &'static str, key: &'static str, kind: Kind, meaning: &'static str) -> Variable {
    Variable { name, key: Some(key), meaning, kind }
}

const PROFILE: &str = "CARACAL_KAFKA_PROFILE";
const STATE_DIR: &str = "CARACAL_STATE_DIR";
const CLUSTER: &str = "CARACAL_KAFKA_CLUSTER";
const USER: &str = "CARACAL_KAFKA_USER";

/// Every variable, those that say which file to read first, then one for each field of the
/// profile in its order. A path in a variable is relative to the current directory. A list is
/// separated by commas. An empty variable counts as not set.
pub const VARIABLES: &[Variable] = &[
    names(PROFILE, "path of the profile to read"),
    names(STATE_DIR, "where local clusters keep their state, default `.caracal`"),
    names(USER, "user of the local cluster whose profile to read, when no path is given"),
    field("CARACAL_KAFKA_PROFILE_VERSION", "version", Kind::Integer, "version of the profile's format"),
    field("CARACAL_KAFKA_GENERATION", "generation", Kind::Integer, "generation of the credentials"),
    field(CLUSTER, "cluster", Kind::Text, "name of the cluster, default `caracal` for finding the file"),
    field("CARACAL_KAFKA_PRINCIPAL", "principal", Kind::Text, "principal, without `User:`"),
    field(
        "CARACAL_KAFKA_NAMESPACE",
        "namespace",
        Kind::Text,
        "prefix of topics, groups, transactional ids and subjects",
    ),
    field("CARACAL_KAFKA_BOOTSTRAP", "kafka.bootstrap", Kind::List, "`host:port` of one or more brokers"),
    field(
        "CARACAL_KAFKA_TLS_CA_FILE",
        "kafka.tls.ca_file",
        Kind::File,
        "file with the CAs' certificates, PEM",
    ),
    field(
        "CARACAL_KAFKA_TLS_CERTIFICATE_FILE",
        "kafka.tls.certificate_file",
        Kind::File,
        "file with the client's certificate, PEM",
    ),
    field(
        "CARACAL_KAFKA_TLS_KEY_FILE",
        "kafka.tls.key_file",
        Kind::File,
        "file with the client's private key, PEM, mode 0600",
    ),
    field(
        "CARACAL_KAFKA_SASL_MECHANISM",
        "kafka.sasl.mechanism",
        Kind::Text,
        "`SCRAM-SHA-512` or `SCRAM-SHA-256`",
    ),
    field("CARACAL_KAFKA_SASL_USERNAME", "kafka.sasl.username", Kind::Text, "user name"),
    field(
        "CARACAL_KAFKA_SASL_PASSWORD_FILE",
        "kafka.sasl.password_file",
        Kind::File,
        "file with the password, mode 0600",
    ),
    field(
        "CARACAL_KAFKA_REGISTRY_URL",
        "registry.url",
        Kind::Text,
        "where the schema registry's REST API begins",
    ),
    field(
        "CARACAL_KAFKA_REGISTRY_USERNAME",
        "registry.login.username",
        Kind::Text,
        "user name at the registry (basic authentication)",
    ),
    field(
        "CARACAL_KAFKA_REGISTRY_PASSWORD_FILE",
        "registry.login.password_file",
        Kind::File,
        "file with the password for the registry, mode 0600",
    ),
    field(
        "CARACAL_KAFKA_REGISTRY_TLS_CA_FILE",
        "registry.tls.ca_file",
        Kind::File,
        "file with the CAs' certificates for the registry, where it has others than the brokers, PEM",
    ),
    field(
        "CARACAL_KAFKA_REGISTRY_TLS_CERTIFICATE_FILE",
        "registry.tls.certificate_file",
        Kind::File,
        "file with the client's certificate for the registry, PEM",
    ),
    field(
        "CARACAL_KAFKA_REGISTRY_TLS_KEY_FILE",
        "registry.tls.key_file",
        Kind::File,
        "file with the private key for the registry, PEM, mode 0600",
    ),
];

/// Names that people would guess for the secret itself, and what is right instead.
pub(super) const SECRETS: [(&str, &str); 4] = [
    ("CARACAL_KAFKA_SASL_PASSWORD", "CARACAL_KAFKA_SASL_PASSWORD_FILE"),
    ("CARACAL_KAFKA_TLS_KEY", "CARACAL_KAFKA_TLS_KEY_FILE"),
    ("CARACAL_KAFKA_REGISTRY_PASSWORD", "CARACAL_KAFKA_REGISTRY_PASSWORD_FILE"),
    ("CARACAL_KAFKA_REGISTRY_TLS_KEY", "CARACAL_KAFKA_REGISTRY_TLS_KEY_FILE"),
];

type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

pub(super) fn discover(variable: Lookup<'_>, current_dir: &Path) -> Result<ConnectionProfile, ProfileError> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    for (secret, instead) in SECRETS {
        if variable(secret).is_some() {
            return Err(ProfileError::SecretInEnvironment { variable: secret, instead });
        }
    }
    let here = std::path::absolute(current_dir)
        .map_err(|source| ProfileError::Read { path: current_dir.into(), source })?;
    let mut draft = match profile_path(&variable) {
        Some(path) => read::file(&here.join(path))?,
        None => without_file(&variable, &here)?,
    };
    for known in VARIABLES {
        let (Some(key), Some(value)) = (known.key, variable(known.name)) else { continue };
        let origin = format!("the environment variable {}", known.name);
        let Some(text) = value.to_str() else {
            return Err(ProfileError::Invalid { origin, key, expected: "UTF-8" });
        };
        let mut value = read::from_text(known.kind, text);
        if matches!(known.kind, Kind::File) {
            // Not relative to the profile: whoever sets a variable does not think of its place.
            value = here.join(text).to_str().map_or(value, |path| toml::Value::String(path.to_owned()));
        }
        draft.values.insert(key.to_owned(), (value, origin));
    }
    draft.build()
}

fn profile_path(variable: Lookup<'_>) -> Option<PathBuf> {
    if let Some(path) = variable(PROFILE) {
        return Some(path.into());
    }
    let user = variable(USER)?;
    let state: PathBuf = variable(STATE_DIR).map_or_else(|| ".caracal".into(), Into::into);
    let cluster = variable(CLUSTER).unwrap_or_else(|| "caracal".into());
    Some(state.join("clusters").join(cluster).join("clients").join(user).join("profile.toml"))
}

/// A start from variables alone; the most telling of them has to be there.
fn without_file(variable: Lookup<'_>, here: &Path) -> Result<Draft, ProfileError> {
    if variable("CARACAL_KAFKA_BOOTSTRAP").is_none() {
        return Err(ProfileError::NotNamed);
    }
    let origin = "the environment (no profile is named)".to_owned();
    let version = toml::Value::Integer(i64::from(PROFILE_VERSION));
    let values = BTreeMap::from([("version".to_owned(), (version, origin.clone()))]);
    Ok(Draft { origin, base_dir: here.to_owned(), values, unknown_keys: Vec::new() })
}
