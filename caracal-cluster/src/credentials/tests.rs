//! Credentials against what people and crashes do to files.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use caracal_kafka_contract::profile::ConnectionProfile;
use caracal_pki::{CertificateAuthority, DistinguishedName, KeyAlgorithm, Validity, store};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::*;
use crate::dir::StateRoot;
use crate::plan::{self, NodeRole};
use crate::spec::ClusterSpec;

struct Fixture {
    _temp: TempDir,
    dir: ClusterDir,
    plan: ClusterPlan,
    now: OffsetDateTime,
}

impl Fixture {
    fn new_in(state: &str) -> Self {
        let temp = TempDir::new().unwrap();
        let spec = ClusterSpec::default();
        let dir = StateRoot::at(&temp.path().join(state)).unwrap().cluster(&spec.name);
        dir.create().unwrap();
        let plan = plan::plan(&spec, &plan::tests::golden_inputs(&spec)).unwrap();
        Self { _temp: temp, dir, plan, now: OffsetDateTime::now_utc() }
    }

    fn credentials(&self) -> Credentials<'_> {
        Credentials::new(&self.dir, &self.plan, self.now)
    }

    fn made() -> Self {
        Self::made_in("state")
    }

    fn made_in(state: &str) -> Self {
        let fixture = Self::new_in(state);
        fixture.credentials().apply().unwrap();
        fixture
    }

    fn drift(&self) -> Vec<String> {
        self.credentials().observe().unwrap().drifted
    }

    fn pki(&self, file: &str) -> PathBuf {
        self.dir.pki().join(file)
    }
}

fn files_below(path: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        found.push(entry.path());
        if entry.path().is_dir() {
            files_below(&entry.path(), found);
        }
    }
}

#[test]
fn what_was_made_is_found_clean_and_stays_as_it_is() {
    let fixture = Fixture::made();
    assert!(fixture.credentials().observe().unwrap().is_clean());
    let before = std::fs::read(fixture.pki("caracal-kafka-1.listener.pem")).unwrap();
    assert!(fixture.credentials().apply().unwrap().is_clean());
    assert_eq!(before, std::fs::read(fixture.pki("caracal-kafka-1.listener.pem")).unwrap());
}

#[test]
fn everything_is_private_from_its_owner_on() {
    let fixture = Fixture::made();
    let credentials = fixture.credentials();
    for node in &fixture.plan.nodes {
        NodeFiles::new(&credentials, node).write().unwrap();
    }
    for user in &fixture.plan.users {
        if let Some(files) = ClientFiles::new(&credentials, user) {
            files.write().unwrap();
        }
    }
    let mut found = Vec::new();
    files_below(&fixture.dir.path(), &mut found);
    assert!(found.len() > 100, "only {} files", found.len());
    for path in found {
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
}

#[test]
fn a_certificate_changed_by_hand_is_named_set_aside_and_issued_anew() {
    let fixture = Fixture::made();
    let (one, two) =
        (fixture.pki("caracal-kafka-1.listener.pem"), fixture.pki("caracal-kafka-2.listener.pem"));
    let other = std::fs::read(two).unwrap();
    store::write_private(&one, &other).unwrap();
    let drift = fixture.drift();
    assert_eq!(drift.len(), 1, "{drift:?}");
    assert!(drift[0].contains("caracal-kafka-1.listener was changed by hand"), "{drift:?}");
    fixture.credentials().apply().unwrap();
    assert!(fixture.credentials().observe().unwrap().is_clean());
    let mut aside = Vec::new();
    files_below(&fixture.pki("set-aside"), &mut aside);
    assert_eq!(aside.len(), 2, "certificate and key are kept: {aside:?}");
}

#[test]
fn a_key_changed_by_hand_is_named() {
    let fixture = Fixture::made();
    let other = std::fs::read(fixture.pki("client.consumer.key")).unwrap();
    store::write_private(&fixture.pki("client.producer.key"), &other).unwrap();
    assert!(fixture.drift()[0].contains("client.producer has a key that was changed by hand"));
}

#[test]
fn an_expired_certificate_is_named_and_renewed() {
    let mut fixture = Fixture::made();
    fixture.now += Duration::days(400);
    let drift = fixture.drift();
    assert_eq!(drift.len(), fixture.plan.pki.certificates.len());
    assert!(drift.iter().all(|line| line.ends_with("has expired")), "{drift:?}");
    fixture.credentials().apply().unwrap();
    assert!(fixture.credentials().observe().unwrap().is_clean());
}

#[test]
fn an_expired_authority_is_named_with_both_files_and_nothing_is_set_aside() {
    let mut fixture = Fixture::made();
    fixture.now += Duration::days(i64::from(fixture.plan.pki.ca_days) + 2);
    let error = fixture.credentials().apply().unwrap_err().to_string();
    for part in ["-ca.pem expired at", "-ca.key away"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(!fixture.pki("set-aside").exists());
    for file in ["data-ca.pem", "data-ca.key", "control-ca.pem", "control-ca.key"] {
        std::fs::remove_file(fixture.pki(file)).unwrap();
    }
    fixture.credentials().apply().unwrap();
    assert!(fixture.credentials().observe().unwrap().is_clean(), "the way out leads out");
}

#[test]
fn an_own_authority_is_taken_and_everything_below_it_issued_anew() {
    let fixture = Fixture::made();
    let subject = DistinguishedName::common_name("a team's own CA");
    let validity = Validity::days_from(fixture.now, 900);
    let own = CertificateAuthority::create(subject, KeyAlgorithm::EcdsaP256, validity).unwrap();
    store::write_private(&fixture.pki("data-ca.pem"), own.certificate_pem().as_bytes()).unwrap();
    store::write_private(&fixture.pki("data-ca.key"), own.key_pem().expose_pem().as_bytes()).unwrap();
    let drift = fixture.drift();
    assert!(drift.iter().all(|line| line.contains("authority that has been replaced")), "{drift:?}");
    fixture.credentials().apply().unwrap();
    let issuer = |id: &str| {
        let list = fixture.credentials().certificates().unwrap();
        list.into_iter().find(|(known, _)| known == id).unwrap().1.issuer
    };
    assert!(issuer("caracal-kafka-1.listener").contains("a team's own CA"));
    assert!(issuer("caracal-zookeeper-1.quorum").contains("control"), "the other authority is left alone");
}

#[test]
fn half_an_authority_is_refused_and_nothing_is_overwritten() {
    let fixture = Fixture::made();
    std::fs::remove_file(fixture.pki("data-ca.key")).unwrap();
    let before = std::fs::read(fixture.pki("data-ca.pem")).unwrap();
    let error = fixture.credentials().apply().unwrap_err().to_string();
    assert!(error.contains("data-ca.key is missing"), "{error}");
    assert_eq!(before, std::fs::read(fixture.pki("data-ca.pem")).unwrap());
}

#[test]
fn a_run_killed_between_any_two_files_converges() {
    let whole = Fixture::made();
    let mut files = Vec::new();
    files_below(&whole.dir.pki(), &mut files);
    let names: BTreeSet<String> =
        files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    for name in names.iter().filter(|name| !name.starts_with("data-ca") && !name.starts_with("control-ca")) {
        let fixture = Fixture::made();
        std::fs::remove_file(fixture.pki(name)).unwrap();
        assert!(!fixture.credentials().observe().unwrap().is_clean(), "{name}");
        fixture.credentials().apply().unwrap();
        assert!(fixture.credentials().observe().unwrap().is_clean(), "{name}");
    }
}

#[test]
fn passwords_are_long_different_and_never_changed() {
    let fixture = Fixture::made();
    let read = || -> Vec<String> {
        let users = fixture.plan.users.iter();
        users
            .map(|user| fixture.credentials().expect_password(&user.name).unwrap().expose_secret().to_owned())
            .collect()
    };
    let passwords = read();
    assert!(passwords.iter().all(|password| password.len() == 32));
    assert_eq!(passwords.iter().collect::<BTreeSet<_>>().len(), passwords.len());
    fixture.credentials().apply().unwrap();
    assert_eq!(passwords, read());
}

#[test]
fn a_password_reaches_the_registrys_file_and_no_other_text() {
    let fixture = Fixture::made();
    let credentials = fixture.credentials();
    let registry = fixture.plan.nodes_of(NodeRole::SchemaRegistry).next().unwrap();
    NodeFiles::new(&credentials, registry).write().unwrap();
    let path = fixture.dir.node(&registry.name).join("secrets/application.properties");
    let text = String::from_utf8(store::read_private(&path).unwrap().to_vec()).unwrap();
    let user = "schema-registry".parse().unwrap();
    assert!(text.contains(credentials.expect_password(&user).unwrap().expose_secret()));
    assert!(!text.contains("@{password"), "every reference is filled");
    assert!(NodeFiles::new(&credentials, registry).differing().unwrap().is_empty());
}

#[test]
fn client_files_are_made_again_only_for_a_reason() {
    let fixture = Fixture::made();
    let credentials = fixture.credentials();
    let user = fixture.plan.user("producer").unwrap();
    let files = ClientFiles::new(&credentials, user).unwrap();
    assert!(files.problem().unwrap().unwrap().ends_with("are missing"));
    files.write().unwrap();
    assert_eq!(files.problem().unwrap(), None);
    let folder = fixture.dir.client(&user.name);
    let profile = ConnectionProfile::load(folder.join("profile.toml")).unwrap();
    assert_eq!(profile.principal, "producer");
    for file in [profile.ca_file(), profile.certificate_file(), profile.key_file(), profile.password_file()] {
        assert!(file.exists(), "{}", file.display());
    }
    store::write_private(&fixture.dir.password(&user.name), b"another-password-of-thirty-two-xx").unwrap();
    assert!(files.problem().unwrap().unwrap().contains("another certificate, password or address"));
    files.write().unwrap();
    std::fs::remove_file(folder.join("kcat.conf")).unwrap();
    assert!(files.problem().unwrap().unwrap().contains("kcat.conf of producer is missing"));
}

#[test]
fn another_kind_of_key_in_the_plan_is_drift_of_every_certificate_and_of_no_authority() {
    let mut fixture = Fixture::made();
    // One certificate: generating RSA keys takes long.
    fixture.plan.pki.certificates.retain(|certificate| certificate.id == "client.producer");
    fixture.plan.pki.algorithm = KeyAlgorithm::Rsa2048;
    let drift = fixture.drift();
    assert_eq!(drift.len(), 1, "{drift:?}");
    assert!(drift[0].contains("is ecdsa-p256, planned is rsa-2048"), "{drift:?}");
    let authority = std::fs::read(fixture.pki("data-ca.pem")).unwrap();
    fixture.credentials().apply().unwrap();
    assert!(fixture.credentials().observe().unwrap().is_clean());
    assert_eq!(std::fs::read(fixture.pki("data-ca.pem")).unwrap(), authority);
}

#[test]
fn java_reads_latin_1_and_librdkafka_reads_the_value_as_it_stands() {
    let fixture = Fixture::made_in("a b#ü");
    let credentials = fixture.credentials();
    let user = fixture.plan.user("producer").unwrap();
    store::write_private(&fixture.dir.password(&user.name), b"!a=b#c:d%e'f/g-h").unwrap();
    ClientFiles::new(&credentials, user).unwrap().write().unwrap();
    let folder = fixture.dir.client(&user.name);
    let read =
        |file: &str| String::from_utf8(store::read_private(&folder.join(file)).unwrap().to_vec()).unwrap();
    for file in ["client.properties", "producer.properties", "consumer.properties"] {
        assert!(read(file).is_ascii(), "{file}");
        let entries = crate::properties::parse(&read(file));
        let found = entries.iter().find(|(key, _)| key == "ssl.keystore.location").unwrap();
        assert_eq!(Path::new(&found.1), folder.join("keystore.p12"));
    }
    let kcat = read("kcat.conf");
    let value = |key: &str| kcat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    assert_eq!(value("sasl.password"), "!a=b#c:d%e'f/g-h");
    assert_eq!(Path::new(value("ssl.key.location")), folder.join("client.key"));
}

#[test]
fn a_client_file_changed_by_hand_or_opened_to_others_is_named_and_made_again() {
    let fixture = Fixture::made();
    let credentials = fixture.credentials();
    let user = fixture.plan.user("producer").unwrap();
    let files = ClientFiles::new(&credentials, user).unwrap();
    files.write().unwrap();
    let folder = fixture.dir.client(&user.name);
    for file in ["client.properties", "password", "keystore.p12", "profile.toml"] {
        store::write_private(&folder.join(file), b"another text").unwrap();
        let problem = files.problem().unwrap().unwrap();
        assert!(problem.contains(&format!("{file} of producer was changed by hand")), "{problem}");
        files.write().unwrap();
        assert_eq!(files.problem().unwrap(), None);
    }
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(folder.join("client.key"), open).unwrap();
    let problem = files.problem().unwrap().unwrap();
    assert!(problem.contains("client.key of producer") && problem.contains("open to others"), "{problem}");
    files.write().unwrap();
    assert_eq!(files.problem().unwrap(), None, "the mode is mended although the text was right");
}

#[test]
fn a_typed_password_that_a_reader_could_not_carry_is_refused_by_file_and_rule_without_its_value() {
    let fixture = Fixture::made();
    let path = fixture.dir.password(&"producer".parse().unwrap());
    let bad = [
        ("hunter-hunter\"2", "double quote"),
        ("hunter-hunter\\2", "backslash"),
        ("hunter-${hunter}", "dollar"),
        ("hunter-hünter-2", "printable ASCII"),
        ("hunter hunter 2", "without spaces"),
        ("hunter-hunter-2\r\n", "line ends"),
        ("hunter-2", "too short"),
        ("", "too short"),
    ];
    for (text, rule) in bad {
        store::write_private(&path, text.as_bytes()).unwrap();
        let error = fixture.credentials().observe().unwrap_err().to_string();
        assert!(error.contains("passwords/producer") && error.contains(rule), "{error}");
        assert!(!error.contains("hunter"), "{error}");
        assert!(fixture.credentials().apply().is_err());
        assert_eq!(std::fs::read(&path).unwrap(), text.as_bytes(), "what was typed is not replaced");
    }
    store::write_private(&path, b"typed-by-hand_2026!{}#'%\n").unwrap();
    assert!(fixture.credentials().observe().unwrap().is_clean(), "what needs no quoting is taken");
}

#[test]
fn debug_output_shows_no_secret() {
    let fixture = Fixture::made();
    let credentials = fixture.credentials();
    let password = credentials.expect_password(&"producer".parse().unwrap()).unwrap();
    let issued = credentials.issued("client.producer").unwrap();
    let text = format!("{credentials:?} {password:?} {issued:?} {:?}", credentials.authority(Ca::Data));
    assert!(!text.contains(password.expose_secret()));
    assert!(!text.contains("PRIVATE KEY"));
}
