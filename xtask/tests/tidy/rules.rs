//! Rules over the Rust files.

use crate::source::Source;
use crate::{Finding, report};

const MOST_FUNCTION_LINES: usize = 80;
const MOST_FILE_LINES: usize = 800;

/// What would make the planner depend on more than its arguments.
const IMPURE: [&str; 18] = [
    "reqwest",
    "rustix",
    "std::env::var",
    "std::env::vars",
    "std::env::current_dir",
    "std::env::args",
    "std::fs",
    "std::io",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "sysinfo",
    "tempfile",
    "tokio",
];

const STARTS_PROCESSES: [&str; 3] = ["std::process::Command", "tokio::process::Command", "xshell"];

/// Who may start a process, each with the reason.
const STARTERS: [(&str, &str); 6] = [
    ("caracal-cluster/src/runtime/", "nodes"),
    ("caracal-cluster/src/distribution/", "Maven, Python and `java -version`"),
    ("caracal-cluster/src/ops/schemas/git.rs", "git, for the base that schemas are compared with"),
    ("caracal-cluster/src/ops/transfer.rs", "the client library's program that moves records"),
    ("caracal-cluster/src/probe/client.rs", "the probe that uses the real client library"),
    ("xtask/src/", "cargo and the scripts to compare with"),
];

const WRITES_FILES: [&str; 10] = [
    "std::fs::File::create",
    "std::fs::File::create_new",
    "std::fs::File::options",
    "std::fs::OpenOptions",
    "std::fs::copy",
    "std::fs::rename",
    "std::fs::write",
    "tempfile",
    "tokio::fs",
    "std::os::unix::fs::OpenOptionsExt",
];

/// Who may open a file for writing, each with the reason; one that does not any more is a finding too.
const WRITERS: [(&str, &str); 8] = [
    ("caracal-cluster/src/credentials.rs", "sets aside what it replaces, by renaming"),
    ("caracal-cluster/src/dir.rs", "the cluster's directory"),
    ("caracal-pki/src/store.rs", "private files"),
    (
        "caracal-kafka-client/src/bin/caracal-kafka-transfer/file.rs",
        "a back-up, too large to be written at once",
    ),
    ("caracal-cluster/src/distribution/", "the cache of distributions: public, verified by digest"),
    ("caracal-cluster/src/ports.rs", "leases in the cache, shared by all clusters of a user"),
    ("caracal-cluster/src/testing/home.rs", "locks by which tests hold their cluster"),
    ("caracal-cluster/src/runtime/process", "a node's console log and the record of its process"),
];

fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || path.contains("/benches/")
        || path.contains("/examples/")
}

fn names(path: &str, forbidden: &[&str]) -> bool {
    forbidden
        .iter()
        .any(|bad| path.strip_prefix(bad).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
}

fn planner(sources: &[Source]) -> Vec<Finding> {
    let ours = ["crate::dir", "crate::wire", "crate::runtime", "crate::distribution", "crate::ports::lease"];
    sources
        .iter()
        .filter(|source| source.path.starts_with("caracal-cluster/src/plan/"))
        .flat_map(|source| source.paths.iter().map(move |found| (source, found)))
        .filter(|(_, (path, _))| names(path, &IMPURE) || names(path, &ours) || path.ends_with("::now_utc"))
        .map(|(source, (path, line))| {
            Finding::new(
                format!("{}:{line}", source.path),
                format!("the planner names `{path}`: pass what it gives in by PlanInputs"),
            )
        })
        .collect()
}

fn confined(sources: &[Source], what: &[&str], allowed: &[(&str, &str)], advice: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = vec![false; allowed.len()];
    for source in sources.iter().filter(|source| !is_test(&source.path)) {
        for (path, line) in source.paths.iter().filter(|(path, _)| names(path, what)) {
            match allowed.iter().position(|(place, _)| source.path.starts_with(place)) {
                Some(at) => used[at] = true,
                None => findings
                    .push(Finding::new(format!("{}:{line}", source.path), format!("`{path}`: {advice}"))),
            }
        }
    }
    for ((place, reason), _) in allowed.iter().zip(&used).filter(|(_, used)| !**used) {
        let exists = sources.iter().any(|source| source.path.starts_with(place));
        if exists {
            findings.push(Finding::new(
                *place,
                format!("the exception ({reason}) is not needed any more: remove it"),
            ));
        }
    }
    findings
}

fn sizes(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        if source.lines > MOST_FILE_LINES {
            let what = format!(
                "{} lines, at most {MOST_FILE_LINES}: split it by what changes together",
                source.lines
            );
            findings.push(Finding::new(&source.path, what));
        }
        for function in source.functions.iter().filter(|function| function.lines > MOST_FUNCTION_LINES) {
            findings.push(Finding::new(
                format!("{}:{}", source.path, function.line),
                format!(
                    "`{}` has {} lines, at most {MOST_FUNCTION_LINES}: name its steps",
                    function.name, function.lines
                ),
            ));
        }
    }
    findings
}

fn attributes(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for attribute in &source.attributes {
            // Also behind `cfg_attr`.
            let says = |name: &str| attribute.name == name || attribute.text.contains(&format!("{name} ("));
            let place = format!("{}:{}", source.path, attribute.line);
            if attribute.name == "ignore" {
                findings.push(Finding::new(
                    place,
                    "an ignored test proves nothing: choose it by a feature or a command",
                ));
            } else if says("allow") && attribute.name != "cfg" {
                findings.push(Finding::new(
                    place,
                    "use `#[expect(.., reason = \"..\")]`, which reports when it is not needed",
                ));
            } else if attribute.name == "expect" && !attribute.text.contains("reason =") {
                findings.push(Finding::new(place, "say why by `reason = \"..\"`"));
            }
        }
        for (name, line) in
            source.macros.iter().filter(|(name, _)| matches!(name.as_str(), "todo" | "unimplemented"))
        {
            findings.push(Finding::new(
                format!("{}:{line}", source.path),
                format!("`{name}!`: finish it or leave it out"),
            ));
        }
    }
    findings
}

#[test]
fn the_planner_does_no_io() {
    report("caracal-cluster/src/plan/ is pure", &planner(Source::all()));
}

#[test]
fn processes_are_started_in_few_places() {
    let advice = "only runtime/, distribution/, ops/schemas/git.rs, ops/transfer.rs, probe/client.rs and xtask start processes";
    report(advice, &confined(Source::all(), &STARTS_PROCESSES, &STARTERS, advice));
}

#[test]
fn files_are_written_in_few_places() {
    let advice = "write private files by `caracal_pki::store` or `ClusterDir`";
    report(advice, &confined(Source::all(), &WRITES_FILES, &WRITERS, advice));
}

#[test]
fn functions_and_files_are_short() {
    report("functions to 80 lines, files to 800", &sizes(Source::all()));
}

#[test]
fn lints_are_expected_with_a_reason_and_nothing_is_left_undone() {
    report("expect with reason; nothing ignored, nothing to do", &attributes(Source::all()));
}

/// Each rule finds what it is for.
mod seeded {
    use super::*;

    fn source(path: &str, text: &str) -> Vec<Source> {
        vec![Source::parse(path, text)]
    }

    #[test]
    fn io_in_the_planner() {
        let path = "caracal-cluster/src/plan/mod.rs";
        for text in [
            "use std::fs;",
            "use std::{collections::BTreeMap, time::{Duration, SystemTime}};",
            "fn a() { tokio::spawn(b()); }",
            "fn a() { time::OffsetDateTime::now_utc(); }",
            "fn a() -> String { format!(\"{:?}\", std::env::var(\"A\")) }",
        ] {
            assert!(!planner(&source(path, text)).is_empty(), "{text}");
        }
        assert!(planner(&source(path, "use std::net::SocketAddr; fn a() { let io = 1; }")).is_empty());
        assert!(planner(&source("caracal-cluster/src/dir.rs", "use std::fs;")).is_empty());
    }

    #[test]
    fn a_process_or_a_file_in_the_wrong_place() {
        let command = "use std::process::Command; fn a() { Command::new(\"x\"); }";
        assert_eq!(
            confined(&source("caracal-pki/src/a.rs", command), &STARTS_PROCESSES, &STARTERS, "").len(),
            2
        );
        assert!(confined(&source("xtask/src/a.rs", command), &STARTS_PROCESSES, &STARTERS, "").is_empty());
        let write = "use std::fs::{self, File}; fn a() { fs::write(1, 2); File::create(3); File::open(4); }";
        assert_eq!(confined(&source("caracal-pki/src/a.rs", write), &WRITES_FILES, &WRITERS, "").len(), 2);
        assert!(confined(&source("caracal-pki/src/tests.rs", write), &WRITES_FILES, &WRITERS, "").is_empty());
        let stale = confined(&source("caracal-pki/src/store.rs", "fn a() {}"), &WRITES_FILES, &WRITERS, "");
        assert!(stale.iter().any(|finding| finding.what.contains("not needed any more")), "{stale:?}");
    }

    #[test]
    fn long_functions_and_files() {
        let long = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(79));
        assert_eq!(sizes(&source("a.rs", &long)).len(), 1);
        assert!(sizes(&source("a.rs", &long.replacen("    b();\n", "", 1))).is_empty());
        assert_eq!(sizes(&source("a.rs", &"// x\n".repeat(801))).len(), 1);
    }

    #[test]
    fn attributes_without_reason() {
        for text in [
            "#![allow(dead_code)]",
            "#[cfg_attr(test, allow(dead_code))] fn a() {}",
            "#[expect(dead_code)] fn a() {}",
            "#[test] #[ignore] fn a() {}",
            "#[ignore = \"slow\"] fn a() {}",
            "fn a() { todo!() }",
        ] {
            assert_eq!(attributes(&source("a.rs", text)).len(), 1, "{text}");
        }
        assert!(attributes(&source("a.rs", "#[expect(dead_code, reason = \"x\")] fn a() {}")).is_empty());
    }
}
