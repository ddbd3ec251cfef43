//! What the native runtime runs: a Java, Kafka's jars, the schema registry.
//!
//! Nothing here knows of clusters. [`find_or_fetch`] finds a fitting Java or fetches one;
//! [`Cache::install`] lets Maven resolve a pinned project, checks every file against the committed
//! [`Lock`] and puts it into the user's cache in one rename. What lies in the cache is complete, and
//! [`Installed::verify`] says whether it still is what was locked.
//!
//! The names of the files are known without any I/O, which is what the plan needs:
//!
//! ```
//! use caracal_cluster::distribution::Artifact;
//!
//! let kafka = Artifact::kafka("3.9.2").expect("the default version");
//! assert!(kafka.lock().file("kafka_2.13-3.9.2.jar").is_some());
//! ```

mod artifacts;
mod cache;
mod java;
mod jre;
mod lock;
mod maven;
mod start_caches;
mod unpack;

pub use artifacts::{Artifact, kafka_lock, registry_lock};
pub use cache::{Cache, InstallError, Installed, Tools};
pub(crate) use cache::{is_executable, on_path};
pub use java::{
    FoundJava, Java, JavaError, JavaPolicy, JavaSource, JavaVersion, find_java, find_or_fetch,
    find_or_fetched,
};
pub use lock::{Fault, Lock, LockError, LockedFile, Sha256, VerifyError, lock_from_directory};
pub use maven::{MavenCause, MavenError};
pub(crate) use start_caches::{Making, Shelf, claim};
pub use start_caches::{ShelfError, StartCache};
pub use unpack::UnpackError;

/// How far an installation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// What is being done, for a person: `fetching kafka 3.9.2`.
    pub what: &'a str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do; 0 when that is not known.
    pub total: u64,
    /// What `done` and `total` count.
    pub unit: Unit,
}

/// What a [`Progress`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Files.
    Files,
    /// Bytes.
    Bytes,
}

/// Is told how far an installation is, often and from one task.
pub type OnProgress<'a> = dyn Fn(Progress<'_>) + Send + Sync + 'a;

/// The last lines of a tool's output, for an error message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail(std::collections::VecDeque<String>);

impl Tail {
    const LINES: usize = 40;
    const WIDTH: usize = 4000;
    const SHOWN_WIDTH: usize = 360;

    /// Appends a line without its colours; an endless one is cut.
    pub(crate) fn push(&mut self, line: &str) {
        let line = without_colour(line);
        if line.trim().is_empty() {
            return;
        }
        if self.0.len() == Self::LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.chars().take(Self::WIDTH).collect());
    }

    /// Everything that is kept, as one text.
    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The last `lines` lines, each indented, for the end of a message.
    pub(crate) fn quote(&self, lines: usize) -> String {
        let skip = self.0.len().saturating_sub(lines);
        self.0.iter().skip(skip).map(|line| format!("\n    {}", shortened(line, Self::SHOWN_WIDTH))).collect()
    }
}

/// A line with its middle left out when it is longer than `width`: causes stand at the end of long lines.
fn shortened(line: &str, width: usize) -> String {
    let chars: Vec<_> = line.chars().collect();
    if chars.len() <= width {
        return line.to_owned();
    }
    let (head, tail) = (&chars[..width / 3], &chars[chars.len() - width * 2 / 3..]);
    format!("{} [...] {}", head.iter().collect::<String>(), tail.iter().collect::<String>())
}

fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // `ESC [ 1 ; 31 m`: everything up to the letter that ends the sequence.
            let _ = chars.find(char::is_ascii_alphabetic);
        } else if !c.is_control() || c == '\t' {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_bounded_and_without_colour() {
        let mut tail = Tail::default();
        for n in 0..100 {
            tail.push(&format!("\u{1b}[1;31mline\u{1b}[m {n}\r"));
        }
        tail.push("");
        assert_eq!(tail.quote(2), "\n    line 98\n    line 99");
        assert_eq!(tail.text().lines().count(), Tail::LINES);
        tail.push(&format!("begin {} end", "x".repeat(2000)));
        let quoted = tail.quote(1);
        assert!(quoted.starts_with("\n    begin xx") && quoted.ends_with("xx end"), "{quoted}");
        assert!(quoted.len() < 400 && tail.text().len() > 2000, "{quoted}");
    }
}
