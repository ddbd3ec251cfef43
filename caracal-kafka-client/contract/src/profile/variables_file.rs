//! A file of variables, as `docker compose --env-file` and the cluster's `.env.kafka` have it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::environment::{SECRETS, discover};
use super::{ConnectionProfile, ProfileError, VARIABLES};

/// Names that begin so are ours; one that no version knows is worth a warning.
const OURS: &str = "CARACAL_KAFKA_";

pub(super) fn read(path: &Path) -> Result<ConnectionProfile, ProfileError> {
    let failed = |source| ProfileError::Read { path: path.to_owned(), source };
    let content = std::fs::read_to_string(path).map_err(failed)?;
    let absolute = std::path::absolute(path).map_err(failed)?;
    text(&content, path, absolute.parent().unwrap_or_else(|| Path::new("/")))
}

pub(super) fn text(content: &str, path: &Path, base_dir: &Path) -> Result<ConnectionProfile, ProfileError> {
    let variables = parse(content).map_err(|(line, what)| ProfileError::VariablesFile {
        path: path.to_owned(),
        line,
        what,
    })?;
    let mut profile = discover(&|name| variables.get(name).map(OsString::from), base_dir)?;
    let known = |name: &str| {
        VARIABLES.iter().any(|known| known.name == name) || SECRETS.iter().any(|(secret, _)| *secret == name)
    };
    let unknown = variables.keys().filter(|name| name.starts_with(OURS) && !known(name));
    profile.unknown_keys.extend(unknown.cloned());
    Ok(profile)
}

/// Names and values; the last one of a name counts. Or the line, and what is wrong with it.
fn parse(text: &str) -> Result<BTreeMap<String, String>, (usize, &'static str)> {
    let mut variables = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            return Err((number, "it must read NAME=VALUE"));
        };
        let name = name.trim();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err((number, "a name has letters, digits and `_` only"));
        }
        variables.insert(name.to_owned(), self::value(value.trim()).map_err(|what| (number, what))?);
    }
    Ok(variables)
}

fn value(text: &str) -> Result<String, &'static str> {
    let (quote, rest) = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => (quote, &text[1..]),
        // A comment begins behind a space; a `#` within a value belongs to it.
        _ => return Ok(text.split(" #").next().unwrap_or_default().trim_end().to_owned()),
    };
    let mut out = String::new();
    let mut characters = rest.chars();
    while let Some(c) = characters.next() {
        if c == quote {
            let behind = characters.as_str().trim();
            let fits = behind.is_empty() || behind.starts_with('#');
            return if fits { Ok(out) } else { Err("there is text behind the closing quote") };
        }
        match c {
            '\\' if quote == '"' => match characters.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => out.push(escaped),
                Some(other) => out.extend(['\\', other]),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err("a quote is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_shells_and_compose_read_them() {
        let text = "# a comment\n\nA=1\nexport B=\"two words\" # why\nC='$x \\n'\nD=a#b # c\nE=\nA=\"\\\"2\\\" \\t\"\n";
        let found = parse(text).expect("all of it");
        let value = |name: &str| found.get(name).map(String::as_str);
        assert_eq!(value("A"), Some("\"2\" \\t"));
        assert_eq!(value("B"), Some("two words"));
        assert_eq!(value("C"), Some("$x \\n"));
        assert_eq!(value("D"), Some("a#b"));
        assert_eq!(value("E"), Some(""));
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        for (text, line) in [
            ("A=1\nhunter2", 2),
            ("A B=1", 1),
            ("\n\nA=\"hunter2", 3),
            ("A='x' hunter2", 1),
            ("A=\"x\\", 1),
            ("=1", 1),
        ] {
            let (found, what) = parse(text).expect_err(text);
            assert_eq!(found, line, "{text}");
            assert!(!what.contains("hunter2"));
        }
    }
}
