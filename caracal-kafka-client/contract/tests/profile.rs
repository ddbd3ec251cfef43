//! The connection profile: written, read, refused, overridden.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use caracal_kafka_contract::profile::{
    ConnectionProfile, KafkaEndpoint, Mechanism, ProfileError, RegistryEndpoint, SaslLogin, TlsFiles,
    VARIABLES,
};
use proptest::prelude::*;

const MARK: &str = "hunter2-must-not-appear";

fn profile() -> ConnectionProfile {
    let mut profile = ConnectionProfile::new(
        "caracal",
        "producer",
        KafkaEndpoint {
            bootstrap: vec!["localhost:9093".into(), "[::1]:9095".into()],
            tls: TlsFiles {
                ca_file: "ca.pem".into(),
                certificate_file: "client.pem".into(),
                key_file: "/elsewhere/client.key".into(),
            },
            sasl: SaslLogin {
                mechanism: Mechanism::ScramSha512,
                username: "producer".into(),
                password_file: "password".into(),
            },
        },
    );
    profile.generation = 4;
    profile.namespace = Some("t1-".into());
    profile.registry = Some(RegistryEndpoint::new("http://127.0.0.1:8081/apis/ccompat/v7"));
    profile
}

fn text() -> String {
    profile().to_toml().expect("TOML")
}

fn read(text: &str) -> Result<ConnectionProfile, ProfileError> {
    ConnectionProfile::from_toml(text, "/base")
}

fn refusal(text: &str) -> String {
    let error = read(text).expect_err("must be refused");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(MARK), "an error repeats a value: {shown}");
    error.to_string()
}

#[test]
fn what_is_written_is_read() {
    let mut written = profile();
    written.base_dir = "/base".into();
    let found = read(&text()).expect("read");
    assert_eq!(found, written);
    assert_eq!(found.ca_file(), Path::new("/base/ca.pem"));
    assert_eq!(found.key_file(), Path::new("/elsewhere/client.key"));
    assert_eq!(found.qualified("caracal.dlq"), "t1-caracal.dlq");
}

#[test]
fn a_file_makes_paths_relative_to_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("profile.toml");
    #[expect(clippy::disallowed_methods, reason = "a test's own file in a private folder")]
    std::fs::write(&path, text()).expect("written");
    let found = ConnectionProfile::load(&path).expect("read");
    assert_eq!(found.password_file(), folder.path().join("password"));
    let missing = ConnectionProfile::load(folder.path().join("none.toml")).expect_err("absent");
    assert!(missing.to_string().contains("none.toml"), "{missing}");
}

#[test]
fn unknown_keys_are_noted() {
    let more = format!("surprise = 1\n{}\n[kafka.sasl.more]\nx = 1\n[later]\ny = 2\n", text());
    let found = read(&more).expect("read");
    assert_eq!(found.unknown_keys(), ["kafka.sasl.more", "later", "surprise"]);
}

#[test]
fn another_version_is_refused_before_anything_else() {
    let newer = refusal("version = 2\nkafka = 5\n");
    assert!(newer.contains("version 2") && newer.contains("update caracal-kafka-client"), "{newer}");
    let older = refusal(&text().replace("version = 1", "version = 0"));
    assert!(older.contains("write its profiles again"), "{older}");
    assert!(refusal(&text().replace("version = 1\n", "")).contains("`version`"));
    let wrong = text().replace("version = 1", &format!("version = \"{MARK}\""));
    assert!(refusal(&wrong).contains("`version`"));
}

#[test]
fn faults_are_named_without_their_values() {
    let cases = [
        ("cluster = \"caracal\"\n", "", "`cluster`"),
        ("generation = 4", "generation = -1", "`generation`"),
        ("namespace = \"t1-\"", "namespace = \"hunter2-must-not-appear/\"", "`namespace`"),
        ("SCRAM-SHA-512", MARK, "SCRAM-SHA-256"),
        ("\"localhost:9093\"", "\"hunter2-must-not-appear\"", "host:port"),
        ("\"localhost:9093\"", "\"localhost:0\"", "host:port"),
        ("\"[::1]:9095\"", "\"::1\"", "host:port"),
        ("http://127", "http://user:hunter2-must-not-appear@127", "`registry.url`"),
        ("\"ca.pem\"", "\"\"", "`kafka.tls.ca_file`"),
        ("\"password\"", "12", "`kafka.sasl.password_file`"),
        ("username = \"producer\"", "username = hunter2-must-not-appear", "line"),
    ];
    for (from, to, expected) in cases {
        let changed = text().replace(from, to);
        assert_ne!(changed, text(), "{from} is not in the file");
        let refused = refusal(&changed);
        assert!(refused.contains(expected), "{from} -> {to}: {refused}");
    }
}

fn discover(variables: &[(&str, &str)], here: &Path) -> Result<ConnectionProfile, ProfileError> {
    let map: BTreeMap<&str, OsString> =
        variables.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
    ConnectionProfile::discover_with(|name| map.get(name).cloned(), here)
}

#[test]
fn discovery_follows_the_documented_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = folder.path().join(".caracal/clusters/caracal/clients/producer");
    std::fs::create_dir_all(&client).expect("folders");
    #[expect(clippy::disallowed_methods, reason = "a test's own file in a private folder")]
    std::fs::write(client.join("profile.toml"), text()).expect("written");

    let by_user = discover(&[("CARACAL_KAFKA_USER", "producer")], folder.path()).expect("by user");
    assert_eq!(by_user.base_dir, client);
    let path = client.join("profile.toml");
    let path = path.to_str().expect("UTF-8");
    let by_path = discover(&[("CARACAL_KAFKA_PROFILE", path)], Path::new("/")).expect("by path");
    assert_eq!(by_path, by_user);
    let nothing = discover(&[("CARACAL_KAFKA_USER", "")], folder.path());
    assert!(matches!(nothing, Err(ProfileError::NotNamed)), "{nothing:?}");
}

#[test]
fn every_field_has_one_variable_that_wins() {
    let all = [
        ("CARACAL_KAFKA_PROFILE_VERSION", "1"),
        ("CARACAL_KAFKA_GENERATION", "9"),
        ("CARACAL_KAFKA_CLUSTER", "other"),
        ("CARACAL_KAFKA_PRINCIPAL", "p"),
        ("CARACAL_KAFKA_NAMESPACE", "n-"),
        ("CARACAL_KAFKA_BOOTSTRAP", "a:1, b:2"),
        ("CARACAL_KAFKA_TLS_CA_FILE", "x/ca"),
        ("CARACAL_KAFKA_TLS_CERTIFICATE_FILE", "/x/cert"),
        ("CARACAL_KAFKA_TLS_KEY_FILE", "x/key"),
        ("CARACAL_KAFKA_SASL_MECHANISM", "SCRAM-SHA-256"),
        ("CARACAL_KAFKA_SASL_USERNAME", "u"),
        ("CARACAL_KAFKA_SASL_PASSWORD_FILE", "x/pw"),
        ("CARACAL_KAFKA_REGISTRY_URL", "https://r"),
        ("CARACAL_KAFKA_REGISTRY_USERNAME", "ru"),
        ("CARACAL_KAFKA_REGISTRY_PASSWORD_FILE", "x/rpw"),
        ("CARACAL_KAFKA_REGISTRY_TLS_CA_FILE", "x/rca"),
        ("CARACAL_KAFKA_REGISTRY_TLS_CERTIFICATE_FILE", "x/rcert"),
        ("CARACAL_KAFKA_REGISTRY_TLS_KEY_FILE", "/x/rkey"),
    ];
    let fields = VARIABLES.iter().filter(|variable| variable.key.is_some());
    assert!(fields.map(|variable| variable.name).eq(all.map(|(name, _)| name)), "one is not tried");
    let found = discover(&all, Path::new("/here")).expect("from variables alone");
    assert_eq!((found.generation, found.cluster.as_str(), found.principal.as_str()), (9, "other", "p"));
    assert_eq!(found.kafka.bootstrap, ["a:1", "b:2"]);
    assert_eq!(found.qualified(""), "n-");
    assert_eq!(found.ca_file(), Path::new("/here/x/ca"));
    assert_eq!(found.certificate_file(), Path::new("/x/cert"));
    assert_eq!(found.password_file(), Path::new("/here/x/pw"));
    assert_eq!(found.kafka.sasl.mechanism, Mechanism::ScramSha256);
    let registry = found.registry.expect("a registry");
    let (login, tls) = (registry.login.expect("a log-in"), registry.tls.expect("files"));
    assert_eq!((registry.url.as_str(), login.username.as_str()), ("https://r", "ru"));
    assert_eq!(login.password_file, Path::new("/here/x/rpw"));
    assert_eq!((tls.ca_file, tls.key_file), ("/here/x/rca".into(), "/x/rkey".into()));

    // A wrong value is laid at the variable's door, a missing one names its variable.
    let wrong = discover(&[("CARACAL_KAFKA_BOOTSTRAP", MARK)], Path::new("/")).expect_err("no port");
    assert!(!wrong.to_string().contains(MARK), "{wrong}");
    let missing =
        discover(&[("CARACAL_KAFKA_BOOTSTRAP", "a:1")], Path::new("/")).expect_err("more is needed");
    assert!(missing.to_string().contains("CARACAL_KAFKA_"), "{missing}");
}

#[test]
fn another_version_in_the_environment_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("profile.toml");
    #[expect(clippy::disallowed_methods, reason = "a test's own file in a private folder")]
    std::fs::write(&path, text()).expect("written");
    let path = path.to_str().expect("UTF-8");
    let with = |version| {
        discover(
            &[("CARACAL_KAFKA_PROFILE", path), ("CARACAL_KAFKA_PROFILE_VERSION", version)],
            folder.path(),
        )
    };
    for version in ["0", "2", "-1", "1.0", MARK] {
        let refused = with(version).expect_err("no such version").to_string();
        assert!(refused.contains("CARACAL_KAFKA_PROFILE_VERSION") && !refused.contains(MARK), "{refused}");
    }
    assert_eq!(with("1").map(|found| found.version).expect("the version that there is"), 1);
}

/// Half a log-in would leave a registry open or a service out, so it is named instead.
#[test]
fn half_a_registry_is_refused() {
    for (key, lacking) in [
        ("login.username", "registry.login.password_file"),
        ("login.password_file", "registry.login.username"),
        ("tls.ca_file", "registry.tls.certificate_file"),
    ] {
        let (table, key) = key.split_once('.').expect("a table");
        let half = format!("{}\n[registry.{table}]\n{key} = \"x\"\n", text());
        let refused = read(&half).expect_err("half of it").to_string();
        assert!(refused.contains(lacking), "{refused}");
    }
    let colon = format!("{}\n[registry.login]\nusername = \"a:b\"\npassword_file = \"p\"\n", text());
    assert!(read(&colon).is_err_and(|error| error.to_string().contains("colon")));
}

#[test]
fn a_secret_in_the_environment_is_refused() {
    let error = discover(&[("CARACAL_KAFKA_SASL_PASSWORD", MARK)], Path::new("/")).expect_err("refused");
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("CARACAL_KAFKA_SASL_PASSWORD_FILE") && !shown.contains(MARK), "{shown}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(content in "\\PC{0,200}") {
        let _ = read(&content);
    }

    #[test]
    fn any_profile_survives_its_file(cluster in "[a-z ]{1,20}", generation in 0..i64::MAX, ca in "[ -~]{1,30}") {
        let mut written = profile();
        written.cluster = cluster;
        written.generation = generation.unsigned_abs();
        written.kafka.tls.ca_file = ca.into();
        written.base_dir = "/base".into();
        prop_assert_eq!(read(&written.to_toml().expect("TOML")).expect("read"), written);
    }
}

#[test]
fn a_file_of_variables_is_a_profile_beside_its_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(".env.kafka");
    let write = |text: &str| {
        #[expect(clippy::disallowed_methods, reason = "a test's own file in a private folder")]
        std::fs::write(&path, text).expect("written");
        ConnectionProfile::from_env_file(&path)
    };
    let whole = "# Kafka as producer\nCARACAL_KAFKA_CLUSTER=caracal\nCARACAL_KAFKA_PRINCIPAL=producer\n\
         CARACAL_KAFKA_BOOTSTRAP=\"a:1,b:2\"\nCARACAL_KAFKA_TLS_CA_FILE=ca.pem\n\
         CARACAL_KAFKA_TLS_CERTIFICATE_FILE=\"client.pem\"\nCARACAL_KAFKA_TLS_KEY_FILE='/x/client.key'\n\
         CARACAL_KAFKA_SASL_MECHANISM=SCRAM-SHA-512\nCARACAL_KAFKA_SASL_USERNAME=producer\n\
         CARACAL_KAFKA_SASL_PASSWORD_FILE=password\nCARACAL_KAFKA_REGISTRY_URL=\"\"\nOTHER=1\n";
    let found = write(whole).expect("read");
    assert_eq!(found.kafka.bootstrap, ["a:1", "b:2"]);
    assert_eq!(found.ca_file(), folder.path().join("ca.pem"));
    assert_eq!(found.key_file(), Path::new("/x/client.key"));
    assert!(found.registry.is_none() && found.unknown_keys().is_empty(), "{found:?}");
    let odd = write(&format!("{whole}CARACAL_KAFKA_SURPRISE=1\n")).expect("read");
    assert_eq!(odd.unknown_keys(), ["CARACAL_KAFKA_SURPRISE"]);
    let secret = write(&format!("{whole}CARACAL_KAFKA_SASL_PASSWORD={MARK}\n")).expect_err("a secret");
    assert!(matches!(secret, ProfileError::SecretInEnvironment { .. }) && !secret.to_string().contains(MARK));
    let line = write(&format!("A=1\n{MARK}\n")).expect_err("no variable").to_string();
    assert!(line.contains("line 2") && !line.contains(MARK), "{line}");
    let absent = ConnectionProfile::from_env_file(folder.path().join("none")).expect_err("absent");
    assert!(matches!(absent, ProfileError::Read { .. }), "{absent:?}");
}

#[test]
fn what_a_program_put_together_is_held_to_the_same_rules() {
    let mut made = profile();
    assert_eq!(made.checked().expect("right"), made);
    made.kafka.bootstrap = vec![MARK.into()];
    let refused = made.checked().expect_err("no port").to_string();
    assert!(refused.contains("host:port") && !refused.contains(MARK), "{refused}");
}
