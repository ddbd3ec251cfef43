use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::plan::tests::default_plan;

struct Fixture {
    _scratch: tempfile::TempDir,
    root: StateRoot,
    dir: ClusterDir,
    plan: ClusterPlan,
    now: OffsetDateTime,
}

fn made() -> Fixture {
    let scratch = tempfile::tempdir().unwrap();
    let root = StateRoot::at(&scratch.path().join("state")).unwrap();
    let dir = root.cluster(&"caracal".parse().unwrap());
    dir.create().unwrap();
    let (plan, now) = (default_plan(), OffsetDateTime::now_utc());
    Credentials::new(&dir, &plan, now).apply().unwrap();
    Fixture { _scratch: scratch, root, dir, plan, now }
}

impl Fixture {
    fn password(&self, user: &str, text: &str) {
        self.dir.write(&self.dir.password(&user.parse().unwrap()), text.as_bytes()).unwrap();
    }
}

#[test]
fn a_fresh_cluster_follows_every_practice() {
    let made = made();
    let found = [
        permissions(&made.dir),
        ignored_by_git(&made.dir),
        no_default_password(&made.dir, &made.plan, made.now),
        certificate_age(&made.dir, &made.plan, made.now),
        separate_credentials(&made.dir, &made.plan, made.now),
        audit_log(&made.plan),
    ];
    for finding in found {
        assert!(finding.good && finding.remedy.is_empty(), "{finding:?}");
    }
}

#[test]
fn what_others_may_read_is_named() {
    let made = made();
    let key = made.dir.pki().join("client.producer.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let found = permissions(&made.dir);
    assert!(!found.good && found.seen.contains("client.producer.key (mode 640"), "{found:?}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(permissions(&made.dir).good);
    std::fs::set_permissions(made.dir.passwords(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(permissions(&made.dir).seen.contains("passwords (mode 755"));
}

#[test]
fn default_passwords_are_found_and_not_shown() {
    for (user, password) in [
        ("producer", "producer-secret"),
        ("schema-registry", "schema-registry-secret"),
        ("admin", "password1234"),
        ("consumer", "changeit2026!"),
        ("consumer", "kafkakafkakafka"),
    ] {
        assert!(is_default(user, password), "{password}");
    }
    for password in ["k3vb9d-mm2x8-qq71z", "kafka-of-the-sea-77", "producer-secret"] {
        assert!(!is_default("consumer", password), "{password}");
    }
    let made = made();
    made.password("producer", "producer-secret");
    let found = no_default_password(&made.dir, &made.plan, made.now);
    assert!(!found.good && found.seen.contains("`producer`"), "{found:?}");
    assert!(!format!("{found:?}").contains("producer-secret"));
}

#[test]
fn a_year_old_certificate_is_named_and_an_authority_is_not() {
    let made = made();
    let later = made.now + Duration::days(366);
    let found = certificate_age(&made.dir, &made.plan, later);
    assert!(!found.good && found.seen.contains("has expired") && found.seen.contains("more"), "{found:?}");
    assert!(!found.seen.contains("data-ca"), "{found:?}");
    assert!(certificate_age(&made.dir, &made.plan, made.now + Duration::days(300)).good);
}

#[test]
fn shared_passwords_and_authorities_are_named_within_and_across_clusters() {
    let made = made();
    made.password("producer", "the-same-for-both-42");
    made.password("consumer", "the-same-for-both-42");
    let found = separate_credentials(&made.dir, &made.plan, made.now);
    assert!(!found.good && found.seen.contains("`producer` and the password of `consumer`"), "{found:?}");
    assert!(!format!("{found:?}").contains("the-same-for-both"));
    made.password("consumer", "another-one-for-it-42");
    assert!(separate_credentials(&made.dir, &made.plan, made.now).good);
    let other = made.root.cluster(&"staging".parse().unwrap());
    other.create().unwrap();
    for stem in ["data-ca.pem", "data-ca.key"] {
        let text = made.dir.read_text(&made.dir.pki().join(stem)).unwrap().unwrap();
        other.write(&other.pki().join(stem), text.as_bytes()).unwrap();
    }
    let found = separate_credentials(&made.dir, &made.plan, made.now);
    assert!(!found.good && found.seen.contains("data-ca authority of cluster staging"), "{found:?}");
    other.write(&other.password(&"admin".parse().unwrap()), b"the-same-for-both-42\n").unwrap();
    let found = separate_credentials(&made.dir, &made.plan, made.now);
    assert!(found.seen.contains("of `producer` and the password of `admin` of cluster staging"), "{found:?}");
}

#[test]
fn a_broker_without_audit_log_is_named() {
    let mut made = made();
    let broker = made.plan.nodes.iter_mut().find(|node| node.role == NodeRole::Broker).unwrap();
    let file = broker.files.iter_mut().find(|file| file.path.ends_with("log4j.properties")).unwrap();
    file.text = file.text.replace("authorizer.logger=INFO", "authorizer.logger=OFF");
    let found = audit_log(&made.plan);
    assert!(!found.good && found.seen.contains("caracal-kafka-1"), "{found:?}");
}
