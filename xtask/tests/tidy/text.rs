//! Rules over every text of the tree.

use std::path::Path;

use crate::{Finding, report, root};

/// Texts that must not stand in the tree, in two halves so that this file holds none of them, with the
/// reason.
const FORBIDDEN: [(&str, &str, &str); 16] = [
    ("/wo", "rk/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("/tmp", "/wt", "a path of one machine"),
    ("/tmp", "/target", "a path of one machine"),
    ("/tmp", "/m/", "a path of one machine"),
    ("crates", ".io", "registries are chosen by the tools' own settings"),
    ("static.rust", "-lang", "registries are chosen by the tools' own settings"),
    ("rustup", ".rs", "registries are chosen by the tools' own settings"),
    ("repo1", ".maven", "registries are chosen by the tools' own settings"),
    ("repo.maven", ".apache", "registries are chosen by the tools' own settings"),
    ("maven.conf", "luent", "registries are chosen by the tools' own settings"),
    ("packages.conf", "luent", "registries are chosen by the tools' own settings"),
    ("pypi", ".org", "registries are chosen by the tools' own settings"),
    ("pythonh", "osted", "registries are chosen by the tools' own settings"),
    ("deb.deb", "ian", "registries are chosen by the tools' own settings"),
    ("registry-1.doc", "ker", "registries are chosen by the tools' own settings"),
];

/// Every file of the tree below its root, `/` separated: what version control would hold.
pub(crate) fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
    const SKIPPED: [&str; 4] = [".git", ".caracal", "target", "kafka-certs"];
    for entry in std::fs::read_dir(folder).expect("the workspace is readable").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(root, &path, found);
        } else if let Ok(below) = path.strip_prefix(root) {
            found.push(below.display().to_string());
        }
    }
}

fn forbidden(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for (head, tail, reason) in FORBIDDEN {
            if line.contains(&[head, tail].concat()) {
                findings.push(Finding::new(
                    format!("{path}:{}", at + 1),
                    format!("holds `{head}{tail}`: {reason}"),
                ));
            }
        }
    }
    findings
}

fn without_lints(path: &str, manifest: &str) -> Option<Finding> {
    let table: toml::Table = manifest.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
    let inherits = table.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    (table.contains_key("package") && inherits != Some(true))
        .then(|| Finding::new(path, "add `[lints]` with `workspace = true`"))
}

/// Files and live tests that a document names in backticks and that are not there.
fn dangling(path: &str, text: &str, files: &[String], tests: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        // Every second part stands between backticks.
        for name in line.split('`').skip(1).step_by(2) {
            let is_file = name.contains('/') && name.ends_with(".rs") && !name.contains(['<', '*', ' ']);
            let is_there = |file: &String| file == name || file.ends_with(&format!("/{name}"));
            let is_test = LIVE_MODULES.iter().any(|module| name.starts_with(&format!("{module}::")));
            let missing = (is_file && !files.iter().any(is_there))
                || (is_test && !tests.contains(&format!("\"{name}\"")));
            if missing {
                findings.push(Finding::new(
                    format!("{path}:{}", at + 1),
                    format!("names `{name}`, which is not there"),
                ));
            }
        }
    }
    findings
}

const LIVE_MODULES: [&str; 11] = [
    "clients",
    "converge",
    "credentials",
    "jdk",
    "openssl",
    "operate",
    "scram",
    "secrets",
    "sidebyside",
    "trouble",
    "verify",
];

#[test]
fn documents_name_files_and_tests_that_are_there() {
    let root = root();
    let files = files(&root);
    let read = |path: &String| std::fs::read_to_string(root.join(path)).expect("a text");
    let tests: String = files.iter().filter(|path| path.starts_with("tests/live/")).map(read).collect();
    let documents: Vec<&String> =
        files.iter().filter(|path| path.ends_with(".md") && !path.contains('/')).collect();
    assert!(documents.len() >= 5, "{documents:?}");
    let findings: Vec<Finding> =
        documents.into_iter().flat_map(|path| dangling(path, &read(path), &files, &tests)).collect();
    report("documents name what is there", &findings);
}

#[test]
fn no_machine_and_no_registry_is_named() {
    let root = root();
    let mut findings = Vec::new();
    for path in files(&root).into_iter().filter(|path| !path.ends_with("Cargo.lock")) {
        // What is not text holds no path that somebody wrote.
        if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
            findings.extend(forbidden(&path, &text));
        }
    }
    report("the tree names no machine and no registry", &findings);
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    let root = root();
    let manifests: Vec<String> =
        files(&root).into_iter().filter(|path| path.ends_with("Cargo.toml")).collect();
    assert!(manifests.len() >= 8, "{manifests:?}");
    let findings: Vec<Finding> = manifests
        .iter()
        .filter_map(|path| {
            without_lints(path, &std::fs::read_to_string(root.join(path)).expect("a manifest"))
        })
        .collect();
    report("every crate has `[lints] workspace = true`", &findings);
}

#[test]
fn what_must_not_stand_in_a_text_is_found() {
    for (head, tail, _) in FORBIDDEN {
        let text = format!("fine\nsee https://x{head}{tail}y\n");
        let findings = forbidden("a.md", &text);
        assert!(findings.iter().any(|finding| finding.place == "a.md:2"), "{head}{tail}");
    }
    assert!(forbidden("a.md", "the network, the root, tmp").is_empty());
    let files = ["a/b/c.rs".to_owned()];
    let tests = "(\"jdk::reads\", reads)";
    assert_eq!(dangling("a.md", "`b/d.rs`, `jdk::writes`\n", &files, tests).len(), 2);
    assert!(dangling("a.md", "`b/c.rs`, `jdk::reads`, `x y/z.rs`", &files, tests).is_empty());
    assert!(without_lints("x", "[package]\nname = \"x\"\n").is_some());
    assert!(without_lints("x", "[package]\nname = \"x\"\n[lints]\nworkspace = true\n").is_none());
    assert!(without_lints("x", "[workspace]\n").is_none());
}
