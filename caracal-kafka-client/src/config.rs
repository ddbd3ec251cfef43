//! librdkafka's configuration: what the profile says, and what no option can weaken.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use secrecy::ExposeSecret;

use crate::consumer::{ConsumeFrom, ConsumerOptions};
use crate::credentials::Credentials;
use crate::producer::{Compression, ProducerOptions};
use crate::profile::ConnectionProfile;

/// librdkafka's default for `session.timeout.ms`; a shorter `max.poll.interval.ms` is refused.
const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// What each client has. The result holds password and key, and rdkafka's `Debug` shows the latter: it is never
/// printed and does not outlive the client's creation.
pub(crate) fn base(profile: &ConnectionProfile, credentials: &Credentials, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("client.id", client_id)
        .set("bootstrap.servers", profile.kafka.bootstrap.join(","))
        .set("security.protocol", "sasl_ssl")
        .set("ssl.ca.pem", credentials.pem[0].expose_secret())
        .set("ssl.certificate.pem", credentials.pem[1].expose_secret())
        .set("ssl.key.pem", credentials.pem[2].expose_secret())
        // Both are librdkafka's defaults; written down so that a change of those changes nothing.
        .set("enable.ssl.certificate.verification", "true")
        .set("ssl.endpoint.identification.algorithm", "https")
        .set("sasl.mechanism", profile.kafka.sasl.mechanism.as_str())
        .set("sasl.username", &profile.kafka.sasl.username)
        .set("sasl.password", credentials.password.expose_secret())
        .set("socket.keepalive.enable", "true")
        .set_log_level(RDKafkaLogLevel::Info);
    config
}

pub(crate) fn producer(config: &mut ClientConfig, options: &ProducerOptions) {
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", compression(options.compression))
        .set("linger.ms", options.linger.as_millis().to_string())
        .set("message.timeout.ms", options.delivery_timeout.as_millis().max(1).to_string())
        // Java's default partitioner: the same key goes to the same partition whoever writes it.
        .set("partitioner", "murmur2_random");
}

/// On top of a producer's: the coordinator ends what lasts longer than `timeout`.
pub(crate) fn transactional(config: &mut ClientConfig, id: &str, timeout: Duration) {
    let millis = timeout.as_millis().max(1000).to_string();
    config
        .set("transactional.id", id)
        .set("transaction.timeout.ms", &millis)
        // librdkafka refuses a longer one: a record must not outlive its transaction.
        .set("message.timeout.ms", &millis);
}

pub(crate) fn consumer(config: &mut ClientConfig, group: &str, options: &ConsumerOptions) {
    let reset = match options.from {
        ConsumeFrom::CommittedOrLatest | ConsumeFrom::Time(_) => "latest",
        // An exact position that is gone is an error, not a silent jump.
        ConsumeFrom::Exactly(_) => "error",
        ConsumeFrom::CommittedOrEarliest | ConsumeFrom::Beginning => "earliest",
    };
    config
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", reset)
        .set("allow.auto.create.topics", "false")
        .set("check.crcs", "true")
        // The watchdog wants to know where a partition ends.
        .set("enable.partition.eof", "true")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("max.poll.interval.ms", options.max_handling_time.max(SESSION_TIMEOUT).as_millis().to_string());
}

const fn compression(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

// Modes of files are a matter of Unix.
#[cfg(all(test, unix))]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use rdkafka::error::{KafkaError, RDKafkaErrorCode};
    use rdkafka::types::RDKafkaConfRes;
    use secrecy::SecretString;

    use super::*;
    use crate::error::ConnectError;
    use crate::profile::{KafkaEndpoint, Mechanism, SaslLogin, TlsFiles};

    const MARK: &str = "hunter2-must-not-appear";

    pub(crate) fn credentials() -> Credentials {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let tls = Arc::new(tls);
        Credentials {
            pem: [CERTIFICATE, CERTIFICATE, KEY].map(SecretString::from),
            password: SecretString::from(MARK),
            kafka_tls: Arc::clone(&tls),
            registry_tls: tls,
            registry_login: None,
        }
    }

    pub(crate) fn profile(base: &str) -> ConnectionProfile {
        let kafka = KafkaEndpoint {
            bootstrap: vec!["a:1".into(), "b:2".into()],
            tls: TlsFiles {
                ca_file: "ca.pem".into(),
                certificate_file: "client.pem".into(),
                key_file: "client.key".into(),
            },
            sasl: SaslLogin {
                mechanism: Mechanism::ScramSha512,
                username: "producer".into(),
                password_file: "password".into(),
            },
        };
        let mut profile = ConnectionProfile::new("caracal", "producer", kafka);
        profile.base_dir = base.into();
        profile
    }

    fn holds(config: &ClientConfig, expected: &[(&str, &str)]) {
        for (key, value) in expected {
            assert_eq!(config.get(key), Some(*value), "{key}");
        }
    }

    #[test]
    fn every_client_is_secured() {
        let config = base(&profile("/p"), &credentials(), "svc");
        holds(
            &config,
            &[
                ("security.protocol", "sasl_ssl"),
                ("ssl.endpoint.identification.algorithm", "https"),
                ("enable.ssl.certificate.verification", "true"),
                ("ssl.ca.pem", CERTIFICATE),
                ("ssl.certificate.pem", CERTIFICATE),
                ("ssl.key.pem", KEY),
                ("sasl.mechanism", "SCRAM-SHA-512"),
                ("bootstrap.servers", "a:1,b:2"),
                ("client.id", "svc"),
            ],
        );
        let shown = format!("{:?}", credentials());
        assert!(!shown.contains(MARK) && !shown.contains("PRIVATE"), "{shown}");
    }

    #[test]
    fn no_option_weakens_a_producer() {
        let mut config = base(&profile("/p"), &credentials(), "svc");
        producer(&mut config, &ProducerOptions::default());
        holds(&config, &[("acks", "all"), ("enable.idempotence", "true"), ("compression.type", "snappy")]);
        assert!(config.create_native_config().is_ok(), "librdkafka takes it");
    }

    #[test]
    fn no_option_makes_a_consumer_commit_by_itself() {
        for (from, reset) in [
            (ConsumeFrom::CommittedOrEarliest, "earliest"),
            (ConsumeFrom::CommittedOrLatest, "latest"),
            (ConsumeFrom::Exactly(Vec::new()), "error"),
        ] {
            let mut config = base(&profile("/p"), &credentials(), "svc");
            let options =
                ConsumerOptions { from, max_handling_time: Duration::ZERO, ..ConsumerOptions::default() };
            consumer(&mut config, "g", &options);
            holds(
                &config,
                &[
                    ("enable.auto.commit", "false"),
                    ("enable.auto.offset.store", "false"),
                    ("isolation.level", "read_committed"),
                    ("allow.auto.create.topics", "false"),
                    ("auto.offset.reset", reset),
                    ("group.id", "g"),
                ],
            );
            assert!(config.create_native_config().is_ok(), "librdkafka takes it");
        }
    }

    /// Each of librdkafka's errors, with a secret wherever it has room for text.
    #[test]
    fn no_error_shows_a_value() {
        let text = || MARK.to_owned();
        let scrub = |text: &str| text.replace(MARK, "[redacted]");
        let refused = RDKafkaConfRes::RD_KAFKA_CONF_INVALID;
        let errors = [
            KafkaError::ClientConfig(refused, text(), "sasl.password".into(), text()),
            KafkaError::ClientConfig(refused, text(), "ssl.key.pem".into(), text()),
            KafkaError::ClientCreation(text()),
            KafkaError::AdminOpCreation(text()),
            KafkaError::PauseResume(text()),
            KafkaError::Seek(text()),
            KafkaError::Subscription(text()),
            KafkaError::Canceled,
            KafkaError::Global(RDKafkaErrorCode::SSL),
        ];
        for error in &errors {
            let shown = ConnectError::configuration(error, scrub);
            let shown = format!("{shown} {shown:?} {}", crate::error::code(error));
            assert!(!shown.contains(MARK), "{shown}");
        }
        let shown = ConnectError::configuration(&errors[0], scrub).to_string();
        assert!(shown.contains("sasl.password"), "the key is named: {shown}");
    }

    /// librdkafka itself: a value that it refuses.
    #[test]
    fn a_refused_value_is_not_shown() {
        let mut config = base(&profile("/p"), &credentials(), "svc");
        config.set("acks", MARK);
        let Err(error) = config.create_native_config() else { panic!("{MARK} is no number of acks") };
        assert!(error.to_string().contains(MARK), "librdkafka shows it; else the wrapper could go");
        assert!(!ConnectError::configuration(&error, str::to_owned).to_string().contains(MARK));
    }

    fn put(folder: &std::path::Path, name: &str, text: &str, mode: u32) {
        let path = folder.join(name);
        #[expect(clippy::disallowed_methods, reason = "a test's own file in a private folder")]
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode");
    }

    #[test]
    fn a_path_need_not_be_utf_8() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().expect("a folder");
        let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"p\xff"));
        std::fs::create_dir(&odd).expect("a folder");
        put_all(&odd);
        let mut profile = profile("/p");
        profile.base_dir = odd;
        Credentials::read(&profile.into()).expect("librdkafka never sees the path");
    }

    fn put_all(folder: &std::path::Path) {
        put(folder, "ca.pem", CERTIFICATE, 0o644);
        put(folder, "client.pem", CERTIFICATE, 0o644);
        put(folder, "client.key", KEY, 0o600);
        put(folder, "password", MARK, 0o600);
    }

    #[test]
    fn files_are_judged_before_librdkafka_sees_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let profile = profile(folder.path().to_str().expect("UTF-8"));
        let refusal = || {
            let error = Credentials::read(&profile.clone().into()).expect_err("refused");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(MARK) && !shown.contains("MC4CAQ"), "{shown}");
            shown
        };
        assert!(refusal().contains("CA file"), "absent");
        put(folder.path(), "ca.pem", "nothing", 0o644);
        assert!(refusal().contains("no PEM certificate"));
        put(folder.path(), "ca.pem", CERTIFICATE, 0o644);
        put(folder.path(), "client.pem", CERTIFICATE, 0o644);
        put(folder.path(), "client.key", OTHER_KEY, 0o640);
        assert!(refusal().contains("mode 0640"));
        put(folder.path(), "client.key", MARK, 0o600);
        assert!(refusal().contains("no unencrypted PEM private key"));
        put(folder.path(), "client.key", OTHER_KEY, 0o600);
        assert!(refusal().contains("does not belong to the certificate"));
        put(folder.path(), "client.key", KEY, 0o600);
        put(folder.path(), "password", MARK, 0o604);
        assert!(refusal().contains("mode 0604"));
        put(folder.path(), "password", "\n", 0o600);
        assert!(refusal().contains("empty"));
        put(folder.path(), "password", MARK, 0o600);
        let read = Credentials::read(&profile.into()).expect("all is well");
        assert_eq!(read.password.expose_secret(), MARK);
    }

    /// Made for these tests; it opens nothing.
    pub(crate) const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBOzCB7qADAgECAhRAjm6g4LO/ZKindIQUWmPnNO+pHTAFBgMrZXAwDDEKMAgG\n\
A1UEAwwBdDAgFw0yNjExMjIyMDUxMzFaGA8yMTI2MTAyOTIwNTEzMVowDDEKMAgG\n\
A1UEAwwBdDAqMAUGAytlcAMhAPlBmyN1GbIuQ/BdXw10erqyvr/pBa37xhpKU29w\n\
YMZmo2AwXjAdBgNVHQ4EFgQU6b2GcuGyGPFVHR1ukXYhqr8aAsQwHwYDVR0jBBgw\n\
FoAU6b2GcuGyGPFVHR1ukXYhqr8aAsQwDwYDVR0TAQH/BAUwAwEB/zALBgNVHQ8E\n\
BAMCAoQwBQYDK2VwA0EA3gdVJ6VeNW4Gk8voNGonJzBPl7vT9K/0GWNUgSCQpKoL\n\
lq/XqapasqlXBGAyTPTYedGi2kwjYOCESvlqga6HBQ==\n\
-----END CERTIFICATE-----\n\
";
    /// The key of [`CERTIFICATE`].
    pub(crate) const KEY: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MC4CAQAwBQYDK2VwBCIEIPt+b5NnNmKHNxq43uDpNqGXn6TDuENxz6ntx/JKj45O\n\
-----END PRIVATE KEY-----\n\
";
    /// Another key.
    const OTHER_KEY: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MC4CAQAwBQYDK2VwBCIEIBkNPu/33Xb4SBYESmQRZIybXSo19od2ij05eF4eoVTC\n\
-----END PRIVATE KEY-----\n\
";
}
