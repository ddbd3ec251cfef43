//! Prometheus' text format, as far as it is needed: samples with names, labels and values.

/// One sample.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the format has no more than this")]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels in their order.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// A label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads every sample of a text (exposition format 0.0.4); comments and timestamps are passed over.
///
/// # Errors
/// The number of the first line that is none, with what is wrong.
pub fn parse(text: &str) -> Result<Vec<Sample>, String> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| sample(line).ok_or_else(|| format!("line {number} is no sample")))
        .collect()
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    if name.is_empty() || !name.chars().all(legal) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // Rust reads `NaN`, `+Inf` and `1.5E7` as Prometheus writes them.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((found, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        found.push((name.trim().to_owned(), value));
        rest = after;
    }
}

/// A value up to its closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn samples_are_read_with_labels_escapes_and_odd_numbers() {
        let text = "# HELP a b\na 1.5E7\nb{x=\"1\",y=\"q\\\"\\\\\\n\",} +Inf 1700000000\nc{} NaN\n\n";
        let samples = parse(text).unwrap();
        assert_eq!(samples.len(), 3);
        assert_eq!((samples[0].name.as_str(), samples[0].value), ("a", 1.5e7));
        assert_eq!(samples[1].label("y"), Some("q\"\\\n"));
        assert!(samples[1].value.is_infinite() && samples[2].value.is_nan());
        assert_eq!(samples[1].label("z"), None);
    }

    #[test]
    fn what_is_no_sample_is_named_by_its_line() {
        for wrong in ["<html>", "a", "a{x=\"1} 2", "a{x=1} 2", "a b", "9-a 1", "{x=\"1\"} 1"] {
            assert_eq!(parse(&format!("ok 1\n{wrong}\n")), Err("line 2 is no sample".to_owned()), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_node_says_is_read_or_refused(text in "[ -~\n]{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_label_survives(value in "[ -~]{0,20}", number in -1e9..1e9f64) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let samples = parse(&format!("m{{l=\"{escaped}\"}} {number}")).unwrap();
            prop_assert_eq!(samples[0].label("l"), Some(value.as_str()));
            prop_assert_eq!(samples[0].value, number);
        }
    }
}
