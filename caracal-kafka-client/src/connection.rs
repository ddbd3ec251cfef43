//! [`Connection`]: what [`Kafka::connect`](crate::Kafka::connect) needs, wherever it comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use crate::error::ConnectError;
use crate::profile::{
    ConnectionProfile, KafkaEndpoint, Mechanism, RegistryEndpoint, RegistryLogin, SaslLogin, TlsFiles,
};

/// What a path reads where there is no file.
const IN_MEMORY: &str = "(in memory)";

/// How often files are read again.
const RENEWAL: Duration = Duration::from_secs(30);

/// Where a certificate, a key or a password comes from. `Debug` shows a file's path and never a text.
///
/// ```
/// use caracal_kafka_client::Source;
///
/// let shown = format!("{:?} {:?}", Source::file("/run/secrets/key.pem"), Source::text("hunter2"));
/// assert_eq!(shown, "File(\"/run/secrets/key.pem\") Text([redacted])");
/// ```
#[derive(Clone)]
pub struct Source(Kind);

#[derive(Clone)]
pub(crate) enum Kind {
    File(PathBuf),
    Text(SecretString),
}

impl Source {
    /// A file, read when a connection is made. One with a secret must be its owner's alone.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Kind::File(path.into()))
    }

    /// A text that the program has already, for example from a vault: PEM, or a password. It never touches a disk.
    pub fn text(text: impl Into<String>) -> Self {
        Self(Kind::Text(SecretString::from(text.into())))
    }

    pub(crate) const fn kind(&self) -> &Kind {
        &self.0
    }

    /// What errors call it.
    pub(crate) fn place(&self) -> PathBuf {
        match &self.0 {
            Kind::File(path) => path.clone(),
            Kind::Text(_) => IN_MEMORY.into(),
        }
    }

    fn below(&self, base: &Path) -> Self {
        match &self.0 {
            Kind::File(path) => Self(Kind::File(base.join(path))),
            Kind::Text(_) => self.clone(),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::File(path) => f.debug_tuple("File").field(path).finish(),
            Kind::Text(_) => f.write_str("Text([redacted])"),
        }
    }
}

/// Certificates and key of one side.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) ca: Source,
    pub(crate) certificate: Source,
    pub(crate) key: Source,
}

impl Tls {
    fn files(files: &TlsFiles) -> Self {
        let file = |path: &PathBuf| Source::file(path.clone());
        Self {
            ca: file(&files.ca_file),
            certificate: file(&files.certificate_file),
            key: file(&files.key_file),
        }
    }

    fn below(&self, base: &Path) -> Self {
        Self { ca: self.ca.below(base), certificate: self.certificate.below(base), key: self.key.below(base) }
    }

    /// As a profile shows it.
    fn shown(&self) -> TlsFiles {
        TlsFiles {
            ca_file: self.ca.place(),
            certificate_file: self.certificate.place(),
            key_file: self.key.place(),
        }
    }
}

/// How one principal reaches one cluster: from a profile, or [built](Self::to) by the program.
///
/// ```
/// use caracal_kafka_client::profile::{ConnectionProfile, ProfileError};
/// use caracal_kafka_client::{Connection, Source};
///
/// # fn vault(_: &str) -> String { "text".into() }
/// # fn connections() -> Result<(), Box<dyn std::error::Error>> {
/// // The profile that the cluster wrote, its `.env.kafka`, or the variables of this process:
/// let from_file = Connection::from(ConnectionProfile::load("clients/producer/profile.toml")?);
/// let from_variables = Connection::from(ConnectionProfile::from_env_file(".env.kafka")?);
/// let from_environment = Connection::from(ConnectionProfile::discover()?);
/// // By the program itself, certificates and password in files or in memory:
/// let from_code = Connection::to(["kafka-1.internal:9093", "kafka-2.internal:9093"])
///     .trusting(Source::file("/etc/caracal/ca.pem"))
///     .presenting(Source::text(vault("certificate")), Source::text(vault("key")))
///     .log_in("producer", Source::text(vault("password")))
///     .registry("https://registry.internal:8081")
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Connection {
    pub(crate) profile: ConnectionProfile,
    pub(crate) tls: Tls,
    pub(crate) password: Source,
    pub(crate) registry_tls: Option<Tls>,
    pub(crate) registry_password: Option<Source>,
    pub(crate) statistics: Option<Duration>,
    pub(crate) renewal: Option<Duration>,
}

impl Connection {
    /// A connection to the cluster that these brokers (`host:port`) belong to, each step named by the
    /// builder.
    pub fn to<A: Into<String>>(bootstrap: impl IntoIterator<Item = A>) -> ConnectionBuilder {
        ConnectionBuilder {
            bootstrap: bootstrap.into_iter().map(Into::into).collect(),
            cluster: "caracal".into(),
            namespace: None,
            ca: None,
            certificate: None,
            login: None,
            mechanism: Mechanism::default(),
            registry: None,
            registry_login: None,
            registry_tls: None,
        }
    }

    /// Has every producer and consumer report statistics so often, see [`Kafka::statistics`](crate::Kafka::statistics). Every
    /// five seconds costs a few kilobytes of work for each; the least is a hundred milliseconds.
    #[must_use]
    pub fn with_statistics(mut self, interval: Duration) -> Self {
        self.statistics = Some(interval.max(Duration::from_millis(100)));
        self
    }

    /// Has files read again so often, for certificates or passwords that were replaced meanwhile: every 30 seconds unless said
    /// otherwise, never with `None`. What is in memory stays as it is.
    #[must_use]
    pub const fn with_renewal(mut self, interval: Option<Duration>) -> Self {
        self.renewal = interval;
        self
    }

    /// How often to look, if there is anything to look at.
    pub(crate) fn renewal(&self) -> Option<Duration> {
        let sources = [&self.tls.ca, &self.tls.certificate, &self.tls.key, &self.password];
        let any_file = sources.iter().any(|source| matches!(source.kind(), Kind::File(_)));
        self.renewal.filter(|interval| any_file && !interval.is_zero())
    }

    /// What is known about the cluster and the principal; paths of what is in memory read `(in memory)`.
    pub const fn profile(&self) -> &ConnectionProfile {
        &self.profile
    }
}

impl From<ConnectionProfile> for Connection {
    fn from(profile: ConnectionProfile) -> Self {
        let base = &profile.base_dir;
        let registry = profile.registry.as_ref();
        Self {
            tls: Tls::files(&profile.kafka.tls).below(base),
            password: Source::file(profile.password_file()),
            registry_tls: registry.and_then(|it| it.tls.as_ref()).map(|files| Tls::files(files).below(base)),
            registry_password: registry
                .and_then(|it| it.login.as_ref())
                .map(|login| Source::file(base.join(&login.password_file))),
            statistics: None,
            renewal: Some(RENEWAL),
            profile,
        }
    }
}

/// Puts a [`Connection`] together. The decisions, in order: what the client [trusts](Self::trusting), what it
/// [presents](Self::presenting), as whom it [logs in](Self::log_in); then, where there is one, the registry. There is no
/// way to leave TLS, the check of the brokers' names, or the log-in out.
#[derive(Clone, Debug)]
#[must_use = "it connects to nothing until it is built and given to `Kafka::connect`"]
pub struct ConnectionBuilder {
    bootstrap: Vec<String>,
    cluster: String,
    namespace: Option<String>,
    ca: Option<Source>,
    certificate: Option<(Source, Source)>,
    login: Option<(String, Source)>,
    mechanism: Mechanism,
    registry: Option<String>,
    registry_login: Option<(String, Source)>,
    registry_tls: Option<Tls>,
}

impl ConnectionBuilder {
    /// PEM certificates of the authorities that the brokers' certificates are checked against. Needed.
    pub fn trusting(mut self, ca: Source) -> Self {
        self.ca = Some(ca);
        self
    }

    /// PEM certificate of this client, followed by intermediates if there are any, and its key. Needed.
    pub fn presenting(mut self, certificate: Source, key: Source) -> Self {
        self.certificate = Some((certificate, key));
        self
    }

    /// User name and password, by SCRAM-SHA-512 unless [`mechanism`](Self::mechanism) says otherwise. Needed.
    pub fn log_in(mut self, user: impl Into<String>, password: Source) -> Self {
        self.login = Some((user.into(), password));
        self
    }

    /// Another SCRAM.
    pub const fn mechanism(mut self, mechanism: Mechanism) -> Self {
        self.mechanism = mechanism;
        self
    }

    /// Where the schema registry's REST API begins. Over https it is reached with the brokers' certificates unless
    /// [`registry_tls`](Self::registry_tls) names others.
    pub fn registry(mut self, url: impl Into<String>) -> Self {
        self.registry = Some(url.into());
        self
    }

    /// The registry's log-in by basic authentication.
    pub fn registry_log_in(mut self, user: impl Into<String>, password: Source) -> Self {
        self.registry_login = Some((user.into(), password));
        self
    }

    /// What is trusted and presented at the registry, where that differs.
    pub fn registry_tls(mut self, ca: Source, certificate: Source, key: Source) -> Self {
        self.registry_tls = Some(Tls { ca, certificate, key });
        self
    }

    /// Prefix of topics, groups, transactional ids and subjects.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The cluster's name, for logs; `caracal` unless said.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// The connection. Nothing is read or dialled yet; [`Kafka::connect`](crate::Kafka::connect) does.
    ///
    /// # Errors
    /// [`ConnectError::Incomplete`]: something that is needed was not said. [`ConnectError::Profile`]: an address or a
    /// name is none. No error repeats a value.
    ///
    /// ```
    /// use caracal_kafka_client::{ConnectError, Connection, Source};
    ///
    /// let builder = Connection::to(["localhost:9093"])
    ///     .trusting(Source::file("ca.pem"))
    ///     .presenting(Source::file("client.pem"), Source::file("client.key"));
    /// let refused = builder.clone().build().expect_err("nobody logs in");
    /// assert!(matches!(refused, ConnectError::Incomplete { .. }));
    /// let connection = builder.log_in("producer", Source::text("password")).build()?;
    /// assert_eq!(connection.profile().principal, "producer");
    /// # Ok::<(), ConnectError>(())
    /// ```
    pub fn build(self) -> Result<Connection, ConnectError> {
        let needed = |what, step| ConnectError::Incomplete { what, step };
        let ca = self.ca.ok_or(needed("the authorities that it trusts", "trusting"))?;
        let (certificate, key) =
            self.certificate.ok_or(needed("the certificate that it presents", "presenting"))?;
        let (user, password) = self.login.ok_or(needed("user name and password", "log_in"))?;
        let tls = Tls { ca, certificate, key };
        if self.registry.is_none() && (self.registry_login.is_some() || self.registry_tls.is_some()) {
            return Err(needed(
                "the address of the registry whose log-in or certificates it has",
                "registry",
            ));
        }
        let kafka = KafkaEndpoint {
            bootstrap: self.bootstrap,
            tls: tls.shown(),
            sasl: SaslLogin {
                mechanism: self.mechanism,
                username: user.clone(),
                password_file: password.place(),
            },
        };
        let mut profile = ConnectionProfile::new(self.cluster, user, kafka);
        profile.namespace = self.namespace;
        let (registry_user, registry_password) = self.registry_login.unzip();
        profile.registry = self.registry.map(|url| {
            let mut endpoint = RegistryEndpoint::new(url);
            endpoint.login = registry_user
                .zip(registry_password.as_ref())
                .map(|(username, password)| RegistryLogin { username, password_file: password.place() });
            endpoint.tls = self.registry_tls.as_ref().map(Tls::shown);
            endpoint
        });
        Ok(Connection {
            profile: profile.checked()?,
            tls,
            password,
            registry_tls: self.registry_tls,
            registry_password,
            statistics: None,
            renewal: Some(RENEWAL),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "hunter2-must-not-appear";

    fn builder() -> ConnectionBuilder {
        Connection::to(["a:1", "b:2"])
            .trusting(Source::file("ca.pem"))
            .presenting(Source::text(MARK), Source::text(MARK))
            .log_in("producer", Source::text(MARK))
    }

    #[test]
    fn no_text_shows_what_is_in_memory() {
        let connection = builder()
            .registry("https://r")
            .registry_log_in("u", Source::text(MARK))
            .registry_tls(Source::text(MARK), Source::text(MARK), Source::text(MARK));
        let shown = format!("{connection:?} {:?}", connection.clone().build());
        assert!(!shown.contains(MARK) && shown.contains("[redacted]"), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refusal = |builder: ConnectionBuilder| builder.build().expect_err("refused").to_string();
        assert!(refusal(Connection::to(["a:1"])).contains("trusting"));
        assert!(refusal(builder().registry_log_in("u", Source::text(MARK))).contains("registry"));
        let namespace = refusal(builder().namespace(format!("{MARK}/")));
        assert!(namespace.contains("`namespace`") && !namespace.contains(MARK), "{namespace}");
        let none = refusal(ConnectionBuilder { bootstrap: Vec::new(), ..builder() });
        assert!(none.contains("`kafka.bootstrap`"), "{none}");
    }

    #[test]
    fn a_profile_keeps_its_paths() {
        let mut profile = builder().registry("http://r").build().expect("complete").profile;
        profile.base_dir = "/p".into();
        profile.kafka.tls.ca_file = "ca.pem".into();
        profile.kafka.sasl.password_file = "/q/password".into();
        let connection = Connection::from(profile);
        assert_eq!(connection.tls.ca.place(), Path::new("/p/ca.pem"));
        assert_eq!(connection.password.place(), Path::new("/q/password"));
        assert!(connection.registry_tls.is_none() && connection.registry_password.is_none());
    }
}
