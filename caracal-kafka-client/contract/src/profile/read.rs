//! From text to [`ConnectionProfile`]: a flat list of dotted keys first, so that an environment
//! variable replaces a key the same way whether the file has it or not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::environment::{Kind, VARIABLES};
use super::{
    ConnectionProfile, KafkaEndpoint, Mechanism, PROFILE_VERSION, ProfileError, RegistryEndpoint,
    RegistryLogin, SaslLogin, TlsFiles,
};

/// Longest namespace: Kafka's limit for a topic is 249, and the longest name of ours has to fit
/// behind it with room for suffixes.
const NAMESPACE_MAX: usize = 100;

/// A profile as it was found: values not yet checked.
pub(super) struct Draft {
    /// What errors call the place that this came from.
    pub(super) origin: String,
    pub(super) base_dir: PathBuf,
    pub(super) values: BTreeMap<String, (Value, String)>,
    pub(super) unknown_keys: Vec<String>,
}

pub(super) fn file(path: &Path) -> Result<Draft, ProfileError> {
    let read = |source| ProfileError::Read { path: path.to_owned(), source };
    let content = std::fs::read_to_string(path).map_err(read)?;
    // Absolute from the start: the process may change its directory later.
    let absolute = std::path::absolute(path).map_err(read)?;
    let base_dir = absolute.parent().map(Path::to_owned).unwrap_or_default();
    text(&content, path, base_dir)
}

pub(super) fn text(content: &str, path: &Path, base_dir: PathBuf) -> Result<Draft, ProfileError> {
    let table: Table = toml::from_str(content).map_err(|error: toml::de::Error| {
        // Not the error's own text: it quotes the line, which may hold what should not be printed.
        let before = error.span().map_or("", |span| content.get(..span.start).unwrap_or_default());
        ProfileError::Syntax {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            what: error.message().to_owned(),
        }
    })?;
    let origin = format!("the connection profile {}", path.display());
    // The version comes first: of a newer format nothing else can be judged.
    match table.get("version") {
        Some(Value::Integer(found)) if *found != i64::from(PROFILE_VERSION) => {
            return Err(ProfileError::Version { path: path.to_owned(), found: *found });
        }
        _ => {}
    }
    let mut draft = Draft { origin, base_dir, values: BTreeMap::new(), unknown_keys: Vec::new() };
    draft.flatten("", table);
    Ok(draft)
}

impl Draft {
    fn flatten(&mut self, prefix: &str, table: Table) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            if VARIABLES.iter().any(|known| known.key == Some(key.as_str())) {
                self.values.insert(key, (value, self.origin.clone()));
                continue;
            }
            let leads_on = VARIABLES
                .iter()
                .filter_map(|known| known.key)
                .any(|known| known.strip_prefix(&key).is_some_and(|rest| rest.starts_with('.')));
            match value {
                Value::Table(inner) if leads_on => self.flatten(&key, inner),
                _ => self.unknown_keys.push(key),
            }
        }
    }

    pub(super) fn build(mut self) -> Result<ConnectionProfile, ProfileError> {
        self.version()?;
        let generation = match self.values.get("generation") {
            Some(_) => self.require_integer("generation", 0, "an integer, 0 or more")?,
            None => 1,
        };
        let registry = self.registry()?;
        let namespace = self.optional("namespace", namespace, NAMESPACE)?.filter(|text| !text.is_empty());
        let file = |draft: &mut Self, key| draft.required(key, path, "the path of a file");
        let tls = TlsFiles {
            ca_file: file(&mut self, "kafka.tls.ca_file")?,
            certificate_file: file(&mut self, "kafka.tls.certificate_file")?,
            key_file: file(&mut self, "kafka.tls.key_file")?,
        };
        let sasl = SaslLogin {
            mechanism: self.required("kafka.sasl.mechanism", mechanism, "SCRAM-SHA-512 or SCRAM-SHA-256")?,
            username: self.required("kafka.sasl.username", name, NAME)?,
            password_file: file(&mut self, "kafka.sasl.password_file")?,
        };
        Ok(ConnectionProfile {
            version: PROFILE_VERSION,
            generation: generation.unsigned_abs(),
            cluster: self.required("cluster", name, NAME)?,
            principal: self.required("principal", name, NAME)?,
            namespace,
            kafka: KafkaEndpoint {
                bootstrap: self.required("kafka.bootstrap", addresses, ADDRESSES)?,
                tls,
                sasl,
            },
            registry,
            base_dir: self.base_dir,
            unknown_keys: self.unknown_keys,
        })
    }

    /// Log-in and files are there as a whole or not at all.
    fn registry(&mut self) -> Result<Option<RegistryEndpoint>, ProfileError> {
        let Some(url) = self.optional("registry.url", url, REGISTRY)? else { return Ok(None) };
        let mut registry = RegistryEndpoint::new(url);
        let file = |draft: &mut Self, key| draft.required(key, path, "the path of a file");
        if self.has(&["registry.login.username", "registry.login.password_file"]) {
            registry.login = Some(RegistryLogin {
                username: self.required("registry.login.username", basic_name, BASIC_NAME)?,
                password_file: file(self, "registry.login.password_file")?,
            });
        }
        if self.has(&["registry.tls.ca_file", "registry.tls.certificate_file", "registry.tls.key_file"]) {
            registry.tls = Some(TlsFiles {
                ca_file: file(self, "registry.tls.ca_file")?,
                certificate_file: file(self, "registry.tls.certificate_file")?,
                key_file: file(self, "registry.tls.key_file")?,
            });
        }
        Ok(Some(registry))
    }

    fn has(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.values.contains_key(*key))
    }

    /// A file's version is judged before; this is for the one that a variable names.
    fn version(&mut self) -> Result<(), ProfileError> {
        const EXPECTED: &str = "1, the only version that there is";
        let key = "version";
        let origin = self.values.get(key).map_or_else(|| self.origin.clone(), |(_, origin)| origin.clone());
        match self.require_integer(key, i64::from(PROFILE_VERSION), EXPECTED)? {
            found if found == i64::from(PROFILE_VERSION) => Ok(()),
            _ => Err(ProfileError::Invalid { origin, key, expected: EXPECTED }),
        }
    }

    fn required<T>(
        &mut self,
        key: &'static str,
        parse: fn(Value) -> Option<T>,
        expected: &'static str,
    ) -> Result<T, ProfileError> {
        let found = self.optional(key, parse, expected)?;
        found.ok_or_else(|| {
            let field = VARIABLES.iter().find(|known| known.key == Some(key));
            ProfileError::Missing {
                origin: self.origin.clone(),
                key,
                meaning: field.map_or("", |field| field.meaning),
                variable: field.map_or("", |field| field.name),
            }
        })
    }

    fn optional<T>(
        &mut self,
        key: &'static str,
        parse: fn(Value) -> Option<T>,
        expected: &'static str,
    ) -> Result<Option<T>, ProfileError> {
        let Some((value, origin)) = self.values.remove(key) else { return Ok(None) };
        parse(value).map(Some).ok_or(ProfileError::Invalid { origin, key, expected })
    }

    fn require_integer(
        &mut self,
        key: &'static str,
        least: i64,
        expected: &'static str,
    ) -> Result<i64, ProfileError> {
        let origin = self.values.get(key).map_or_else(|| self.origin.clone(), |(_, origin)| origin.clone());
        let value = self.required(key, |value| value.as_integer(), expected)?;
        if value < least { Err(ProfileError::Invalid { origin, key, expected }) } else { Ok(value) }
    }
}

/// A variable's text as the kind of value that its field has.
pub(super) fn from_text(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Text | Kind::File => Value::String(text.to_owned()),
        // What is no integer stays text, and is refused where the field is read.
        Kind::Integer => text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Integer),
        Kind::List => {
            Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect())
        }
    }
}

const NAME: &str = "a text of 1 to 249 characters without control characters";

fn name(value: Value) -> Option<String> {
    let Value::String(text) = value else { return None };
    let fits = !text.is_empty() && text.len() <= 249 && !text.chars().any(char::is_control);
    fits.then_some(text)
}

const BASIC_NAME: &str = "a text of 1 to 249 characters without colon and control characters";

/// Basic authentication separates name and password by a colon.
fn basic_name(value: Value) -> Option<String> {
    name(value).filter(|text| !text.contains(':'))
}

const NAMESPACE: &str = "at most 100 of the characters a-z A-Z 0-9 . _ -";

fn namespace(value: Value) -> Option<String> {
    let Value::String(text) = value else { return None };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (text.len() <= NAMESPACE_MAX && text.chars().all(legal)).then_some(text)
}

fn path(value: Value) -> Option<PathBuf> {
    let Value::String(text) = value else { return None };
    (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
}

fn mechanism(value: Value) -> Option<Mechanism> {
    match value.as_str()? {
        "SCRAM-SHA-512" => Some(Mechanism::ScramSha512),
        "SCRAM-SHA-256" => Some(Mechanism::ScramSha256),
        _ => None,
    }
}

const REGISTRY: &str = "an http:// or https:// URL without user, password, query and fragment";

fn url(value: Value) -> Option<String> {
    let Value::String(text) = value else { return None };
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    let host = rest.split('/').next()?;
    // A password in a URL would be printed with it.
    let plain = !host.is_empty()
        && !text.contains(['@', '?', '#', '\\'])
        && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    plain.then_some(text)
}

const ADDRESSES: &str = "a list of one or more `host:port`";

fn addresses(value: Value) -> Option<Vec<String>> {
    let Value::Array(items) = value else { return None };
    let list = items.into_iter().map(address).collect::<Option<Vec<_>>>()?;
    (!list.is_empty()).then_some(list)
}

fn address(value: Value) -> Option<String> {
    let Value::String(text) = value else { return None };
    let (host, port) = text.rsplit_once(':')?;
    // An IPv6 address needs its brackets, else the last group would be taken for the port.
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let host_is_right = bracketed || (!host.is_empty() && host.chars().all(legal));
    let port_is_right = port.parse::<u16>().is_ok_and(|port| port != 0);
    (host_is_right && port_is_right).then_some(text)
}
