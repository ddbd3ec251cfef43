//! The repository's own rules, as tests: each collects every finding, then fails with all of them.
//!
//! They are run by a plain `cargo test`, by `cargo xtask tidy` and, with everything else, by
//! `cargo xtask test`. What each rule is for stands in ARCHITECTURE.md ("Invariants") and CONTRIBUTING.md.

mod dependencies;
mod licences;
mod rules;
mod source;
mod text;

use std::path::{Path, PathBuf};

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `path:line`, or the crate.
    pub(crate) place: String,
    /// What is wrong and what to do.
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Fails with every finding.
pub(crate) fn report(rule: &str, findings: &[Finding]) {
    let lines: Vec<String> =
        findings.iter().map(|finding| format!("{}: {}", finding.place, finding.what)).collect();
    assert!(
        findings.is_empty(),
        "{} findings against the rule: {rule}\n{}\n",
        findings.len(),
        lines.join("\n")
    );
}
