//! Who may depend on what, by `cargo tree`.

use std::collections::BTreeSet;
use std::process::Command;

use crate::{Finding, report, root};

/// A crate and what must not be below it, with the reason.
const BANS: [(&str, &[&str], &str); 6] = [
    (
        "caracal-pki",
        &["tokio", "kafka-protocol", "rdkafka", "caracal-cluster"],
        "certificates know neither Kafka nor an executor",
    ),
    (
        "caracal-scram",
        &["tokio", "kafka-protocol", "rdkafka", "rustls", "caracal-cluster"],
        "SCRAM does no I/O",
    ),
    ("caracal-kafka-contract", &["tokio", "rdkafka", "rustls", "apache-avro"], "the contract is data alone"),
    ("caracal-cluster", FOREIGN_C, "`cargo xtask` must not wait for a C build of OpenSSL"),
    ("xtask", FOREIGN_C, "`cargo xtask` must not wait for a C build of OpenSSL"),
    ("caracal-kafka-client", &["caracal-cluster", "xtask"], "a service must not carry the cluster"),
];

const FOREIGN_C: &[&str] = &[
    "rdkafka",
    "rdkafka-sys",
    "openssl",
    "openssl-sys",
    "openssl-src",
    "native-tls",
    "aws-lc-rs",
    "aws-lc-sys",
];

/// Not anywhere: a second crypto provider makes rustls panic at run time and costs a second C build.
const NOWHERE: [&str; 5] = ["aws-lc-rs", "aws-lc-sys", "native-tls", "rustls-openssl", "zookeeper-client"];

#[expect(clippy::disallowed_methods, reason = "these rules are about what cargo says")]
fn tree(arguments: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").expect("cargo runs this test");
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p}"])
        .args(arguments)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn no_crate_knows_what_it_must_not() {
    let mut findings = Vec::new();
    for (name, banned, reason) in BANS {
        let found = tree(&["-p", name, "-e", "normal,build", "--all-features"]);
        assert!(found.contains(name), "cargo tree knows no {name}");
        findings.extend(banned.iter().filter(|bad| found.contains(**bad)).map(|bad| {
            Finding::new(name, format!("depends on {bad}: {reason} (`cargo tree -p {name} -i {bad}`)"))
        }));
    }
    report("dependencies point in one direction", &findings);
}

#[test]
fn there_is_one_crypto_provider() {
    let found = tree(&["--workspace", "-e", "normal,build,dev", "--all-features"]);
    assert!(found.contains("ring") && found.contains("rustls"), "the tree is not the whole one: {found:?}");
    let findings: Vec<Finding> = NOWHERE
        .iter()
        .filter(|bad| found.contains(**bad))
        .map(|bad| {
            Finding::new(
                "workspace",
                format!("{bad} is in the tree: choose `ring` by features (`cargo tree -i {bad}`)"),
            )
        })
        .collect();
    report("rustls has one provider, ring", &findings);
}

#[test]
fn the_tree_is_read_as_names() {
    let found = tree(&["-p", "caracal-pki", "-e", "normal"]);
    assert!(found.contains("rcgen") && found.contains("caracal-pki"), "{found:?}");
    assert!(!found.contains("proptest"), "a dev dependency is not a normal one");
}
