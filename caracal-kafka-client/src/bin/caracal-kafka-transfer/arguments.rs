//! The command line. By hand: services that depend on the library should not compile a parser.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use crate::failure::Failure;

/// Options that stand alone.
const SWITCHES: [&str; 7] =
    ["--checked", "--dry-run", "--follow", "--json", "--no-verify", "--quiet", "--uncommitted"];

/// What was given; each command takes out what it knows, and what is left is unknown.
#[derive(Debug, Default)]
pub(crate) struct Options {
    values: BTreeMap<String, Vec<String>>,
    switches: Vec<String>,
}

impl Options {
    pub(crate) fn parse(words: Vec<String>) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if SWITCHES.contains(&word.as_str()) {
                options.switches.push(word);
                continue;
            }
            if !word.starts_with("--") {
                return Err(Failure::usage(format!("`{word}` is no option")));
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let value = value.or_else(|| words.next());
            let value = value.ok_or_else(|| Failure::usage(format!("`{name}` needs a value")))?;
            options.values.entry(name).or_default().push(value);
        }
        Ok(options)
    }

    /// A switch.
    pub(crate) fn switch(&mut self, name: &str) -> bool {
        let before = self.switches.len();
        self.switches.retain(|given| given != name);
        self.switches.len() < before
    }

    /// Every value of an option.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        self.values.remove(name).unwrap_or_default()
    }

    /// The only value of an option, if given.
    pub(crate) fn one(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let mut values = self.all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(Failure::usage(format!("`{name}` is given more than once"))),
        }
    }

    /// The value of an option that must be there.
    pub(crate) fn needed(&mut self, name: &str) -> Result<String, Failure> {
        self.one(name)?.ok_or_else(|| Failure::usage(format!("`{name}` is missing")))
    }

    /// A path that must be there.
    pub(crate) fn path(&mut self, name: &str) -> Result<PathBuf, Failure> {
        self.needed(name).map(PathBuf::from)
    }

    /// A value of another type, if given.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Failure::usage(format!("`{name}` cannot be `{text}`")))
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        let left = self.values.keys().chain(&self.switches).next();
        left.map_or(Ok(()), |name| Err(Failure::usage(format!("unknown option `{name}`"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Failure> {
        Options::parse(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn values_switches_and_faults() {
        let mut options = parse("--topic t --partition 1 --partition=2 --json --count 7").unwrap();
        assert_eq!(options.needed("--topic").unwrap(), "t");
        assert_eq!(options.all("--partition"), ["1", "2"]);
        assert!(options.switch("--json") && !options.switch("--follow"));
        assert!(options.finish().unwrap_err().text.contains("`--count`"));
        assert_eq!(options.parsed::<u64>("--count").unwrap(), Some(7));
        assert!(options.finish().is_ok());
        assert!(parse("t").unwrap_err().text.contains("`t`"));
        assert!(parse("--topic").unwrap_err().text.contains("needs a value"));
        assert!(
            parse("--count x").unwrap().parsed::<u64>("--count").unwrap_err().text.contains("cannot be `x`")
        );
        assert!(parse("--to a --to b").unwrap().one("--to").unwrap_err().text.contains("more than once"));
        assert!(parse("").unwrap().needed("--to").unwrap_err().text.contains("missing"));
    }
}
