//! Java properties as an ordered value with one renderer, so that a file cannot say a key twice.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A properties file in the making: titled sections of keys in the order in which they were put.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    sections: Vec<Section>,
}

#[derive(Clone, Debug)]
struct Section {
    title: String,
    entries: Vec<(String, String)>,
}

impl Properties {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a section; what follows stands below its title.
    pub fn section(&mut self, title: &str) -> &mut Self {
        self.sections.push(Section { title: title.to_owned(), entries: Vec::new() });
        self
    }

    /// Sets a key, replacing the value where an earlier section already set it.
    pub fn set(&mut self, key: impl Into<String>, value: impl ToString) -> &mut Self {
        let (key, value) = (key.into(), value.to_string());
        for section in &mut self.sections {
            if let Some(entry) = section.entries.iter_mut().find(|(known, _)| *known == key) {
                entry.1 = value;
                return self;
            }
        }
        if self.sections.is_empty() {
            self.section("General");
        }
        if let Some(section) = self.sections.last_mut() {
            section.entries.push((key, value));
        }
        self
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Every key and value in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sections
            .iter()
            .flat_map(|section| section.entries.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    /// The text, under a header that says what it is for.
    pub fn render(&self, purpose: &str) -> String {
        let mut text =
            format!("# {purpose}\n# Generated from the cluster's plan; changes made here are overwritten.\n");
        for section in self.sections.iter().filter(|section| !section.entries.is_empty()) {
            text.push_str("\n# ");
            text.push_str(&section.title);
            text.push('\n');
            for (key, value) in &section.entries {
                text.push_str(&escape(key, true));
                text.push('=');
                text.push_str(&escape(value, false));
                text.push('\n');
            }
        }
        text
    }
}

/// Reads rendered properties back: key and value of each line, comments left out.
pub fn parse(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with(['#', '!']) && !line.trim().is_empty())
        .filter_map(split_line)
        .collect()
}

fn split_line(line: &str) -> Option<(String, String)> {
    let mut escaped = false;
    let at = line.char_indices().find_map(|(at, c)| {
        let hit = c == '=' && !escaped;
        escaped = c == '\\' && !escaped;
        hit.then_some(at)
    })?;
    Some((unescape(&line[..at]), unescape(&line[at + 1..])))
}

fn unescape(text: &str) -> String {
    // Java counts in UTF-16: a character beyond the first plane is two escapes.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let push = |c: char, units: &mut Vec<u16>| units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => push('\n', &mut units),
                Some('r') => push('\r', &mut units),
                Some('t') => push('\t', &mut units),
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).unwrap_or(0xfffd));
                }
                Some(other) => push(other, &mut units),
                None => {}
            },
            other => push(other, &mut units),
        }
    }
    String::from_utf16_lossy(&units)
}

/// A value as it stands in a properties file.
///
/// In ASCII alone: Kafka, ZooKeeper and log4j read these files as Latin-1.
pub(crate) fn escape_value(value: &str) -> String {
    escape(value, false)
}

fn escape(text: &str, key: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' ' if at == 0 || key => out.push_str("\\ "),
            '=' | ':' | '#' | '!' if key => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out
}

/// Whether a key's value is a secret by its name; settings about secrets (lifetimes, ciphers) are none.
pub fn names_a_secret(key: &str) -> bool {
    const PARTS: [&str; 7] = ["password", "secret", "token", "jaas", "credential", "api.key", "master.key"];
    const ABOUT: [&str; 4] = [".ms", ".iterations", ".algorithm", ".length"];
    let key = key.to_ascii_lowercase().replace(['_', '-'], ".");
    PARTS.iter().any(|part| key.contains(part)) && !ABOUT.iter().any(|end| key.ends_with(end))
}

/// Keys that stand twice in a rendered file; Java would silently take the last.
pub fn doubled_keys(text: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    parse(text).into_iter().map(|(key, _)| key).filter(|key| !seen.insert(key.clone())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_set_twice_stands_once_with_the_last_value() {
        let mut p = Properties::new();
        p.section("A").set("a", 1).section("B").set("b", 2).set("a", 3);
        assert_eq!(parse(&p.render("test")), [("a".into(), "3".into()), ("b".into(), "2".into())]);
        assert_eq!(doubled_keys("a=1\nb=2\na=3\n"), ["a"]);
    }

    #[test]
    fn what_is_not_ascii_is_escaped_as_java_reads_it() {
        let mut p = Properties::new();
        p.set("log.dirs", "/a b#ü/\u{1f43e}");
        let text = p.render("test");
        assert!(text.ends_with("log.dirs=/a b#\\u00fc/\\ud83d\\udc3e\n"), "{text}");
        assert_eq!(parse(&text), [("log.dirs".into(), "/a b#ü/\u{1f43e}".into())]);
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_ascii_and_read_back(key in "[a-zü .=:#]{1,12}", value in ".{0,40}|[ -~\n\t\\\\]{0,40}") {
            let mut p = Properties::new();
            p.set(key.clone(), value.clone());
            prop_assert!(p.render("test").is_ascii());
            prop_assert_eq!(parse(&p.render("test")), vec![(key, value)]);
        }

        #[test]
        fn reading_never_panics(text in ".{0,200}") {
            let _ = parse(&text);
        }
    }
}
