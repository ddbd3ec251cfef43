//! As much of YAML as a compose document needs: maps, lists of texts, comments. Every text is quoted, as JSON quotes it,
//! so none is taken for a number or a truth value.

/// A document in the making.
pub(super) struct Yaml {
    text: String,
    depth: usize,
}

impl Yaml {
    /// A document with a comment above it.
    pub(super) fn new(comment: &str) -> Self {
        let text = comment.lines().map(|line| ["# ", line, "\n"].concat()).collect();
        Self { text, depth: 0 }
    }

    pub(super) fn text(self) -> String {
        self.text
    }

    /// A map below a key.
    pub(super) fn below(&mut self, key: &str, content: impl FnOnce(&mut Self)) {
        if self.depth < 2 && !self.text.ends_with(":\n") {
            self.text.push('\n');
        }
        self.line(&format!("{key}:"));
        self.depth += 1;
        content(self);
        self.depth -= 1;
    }

    /// A key with a text, in which compose finds no variable.
    pub(super) fn entry(&mut self, key: &str, value: &str) {
        self.line(&format!("{key}: {}", literal(value)));
    }

    /// A key with a text that may name variables.
    pub(super) fn interpolated(&mut self, key: &str, value: &str) {
        self.line(&format!("{key}: {}", quoted(value)));
    }

    /// A key with a number or a truth value.
    pub(super) fn plain(&mut self, key: &str, value: &str) {
        self.line(&format!("{key}: {value}"));
    }

    pub(super) fn list<T: AsRef<str>>(&mut self, key: &str, values: &[T]) {
        let values: Vec<String> = values.iter().map(|value| literal(value.as_ref())).collect();
        self.line(&format!("{key}: [{}]", values.join(", ")));
    }

    /// A list of one text that may name variables.
    pub(super) fn interpolated_list(&mut self, key: &str, value: &str) {
        self.line(&format!("{key}: [{}]", quoted(value)));
    }

    /// A map as an item of a list: its first key.
    pub(super) fn item(&mut self, key: &str, value: &str) {
        self.line(&format!("- {key}: {}", literal(value)));
    }

    /// A further key of an item.
    pub(super) fn continued(&mut self, key: &str, value: &str) {
        self.line(&format!("  {key}: {}", literal(value)));
    }

    pub(super) fn bind(&mut self, source: &str, target: &str, read_only: bool) {
        self.mount("bind", source, target);
        if read_only {
            self.line("  read_only: true");
        }
    }

    pub(super) fn volume(&mut self, source: &str, target: &str) {
        self.mount("volume", source, target);
    }

    fn mount(&mut self, kind: &str, source: &str, target: &str) {
        self.item("type", kind);
        self.continued("source", source);
        self.continued("target", target);
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(&"  ".repeat(self.depth));
        self.text.push_str(line);
        self.text.push('\n');
    }
}

fn literal(text: &str) -> String {
    quoted(&text.replace('$', "$$"))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
