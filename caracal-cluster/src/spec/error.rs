//! What is wrong with a spec, in the words of the person who wrote it.

use std::fmt;

/// A spec that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecError {
    /// The file, or what stands for it.
    pub origin: String,
    /// Every finding, in the order of the file.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Line in the file, counted from 1; none when the key is not in the file.
    pub line: Option<usize>,
    /// The key, dotted.
    pub key: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl std::error::Error for SpecError {}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cluster description in {} cannot be used", self.origin)?;
        for finding in &self.findings {
            match finding.line {
                Some(line) => write!(f, "\n  line {line}: ")?,
                None => write!(f, "\n  ")?,
            }
            if !finding.key.is_empty() {
                write!(f, "`{}`: ", finding.key)?;
            }
            f.write_str(&finding.message)?;
        }
        Ok(())
    }
}

impl SpecError {
    pub(super) fn syntax(origin: &str, text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map(|span| line_at(text, span.start));
        let message = error.message().trim().replace('\n', "; ");
        Self { origin: origin.to_owned(), findings: vec![Finding { line, key: String::new(), message }] }
    }
}

/// The line of a byte offset, counted from 1.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
