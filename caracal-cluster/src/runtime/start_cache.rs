//! Start-up caches: what a JVM learned about its classes in an earlier run, so that the next one loads and
//! compiles less.
//!
//! From Java 25 on it is an AOT cache (JEP 483, 514, 515), before that an archive of classes (JEP 350). One
//! is good for one Java, one class path and one set of flags, so its name is a digest of these; whoever has
//! another of them simply does not find it. A JVM that cannot use its cache says so in its output and starts
//! as if there were none: [`rejection`] finds that line.
//!
//! What is kept here holds classes and how they were used. It is written by nodes of a cluster that was made
//! for it ([`crate::lifecycle::start_caches`]), so nothing of a cluster with data in it gets into one.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::distribution::{Java, Sha256, Shelf, StartCache, claim};
use crate::plan::NodePlan;
use crate::plan::jvm::GC_LOG;

/// Part of every name: another way of making them finds no old one.
const FORMAT: u32 = 1;

/// Letters of a digest that a name holds.
const KEY_LETTERS: usize = 24;

/// The first Java with caches that hold more than classes.
const AOT_SINCE: u16 = 25;

/// Keeps what methods were like in the recording run (JEP 515) out of a cache. A JVM with it hands them to its
/// optimising compiler while it starts: on two cores that cost brokers 2 of 14 s of processor time.
///
/// Nor are adapters kept: Java 25 finds some of its own under other names again, and says so at every start.
const RECORDING: [&str; 3] =
    ["-XX:+UnlockDiagnosticVMOptions", "-XX:-AOTRecordTraining", "-XX:-AOTAdapterCaching"];

/// What a node does with start-up caches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Starts with one where there is one.
    #[default]
    Use,
    /// Starts without.
    Off,
    /// The first node of each kind writes one into this folder when it ends.
    Record(PathBuf),
}

/// The caches of one Java.
#[derive(Clone, Debug)]
pub(crate) struct StartCaches {
    shelf: Shelf,
    java: String,
    aot: bool,
    mode: Mode,
}

/// The name of one node's cache.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(String);

impl Key {
    /// The file's name.
    pub(crate) fn file(&self) -> &str {
        &self.0
    }
}

impl StartCaches {
    /// The caches on a shelf that `java` can use.
    pub(crate) fn new(shelf: Shelf, java: &Java, mode: Mode) -> Self {
        // The file that every Java has at its home names it to the last patch; without it, its version does.
        let release = fs::read_to_string(java.home.join("release")).unwrap_or_default();
        let java_name = format!("{}\n{}\n{release}", java.home.display(), java.version);
        Self { shelf, java: java_name, aot: java.version.major() >= AOT_SINCE, mode }
    }

    /// Whether this run writes caches.
    pub(crate) fn is_recording(&self) -> bool {
        matches!(self.mode, Mode::Record(_))
    }

    /// The name of a node's cache; none for a node that can have none.
    pub(crate) fn key(&self, node: &NodePlan) -> Option<Key> {
        let file = node.files.iter().find(|file| file.path == "config/node.args")?;
        let arguments = relevant(&file.text)?;
        let mut told = format!("{FORMAT}\n{}\n{}\n", self.java, part_played(node));
        for line in arguments {
            told.push_str(line);
            told.push('\n');
            if let Some(jar) = jar_of(line) {
                told.push_str(&stamp(Path::new(jar)));
            }
        }
        let name = Sha256::of(told.as_bytes()).to_string();
        let kind = node.role.label();
        Some(Key(format!("{kind}-{}.{}", &name[..KEY_LETTERS], if self.aot { "aot" } else { "jsa" })))
    }

    /// The cache that a node starts with; none when there is none, or none is wanted.
    pub(crate) fn used_by(&self, node: &NodePlan) -> Option<StartCache> {
        let found = self.shelf.look(self.key(node)?.file())?;
        (self.mode == Mode::Use).then_some(found)
    }

    /// What makes a JVM write a cache when it ends.
    fn recording(&self, path: PathBuf) -> Vec<OsString> {
        if !self.aot {
            return vec![option("-XX:ArchiveClassesAtExit=", path)];
        }
        let mut arguments: Vec<OsString> = RECORDING.iter().map(Into::into).collect();
        arguments.push(option("-XX:AOTCacheOutput=", path));
        arguments
    }

    /// What a node's JVM is told about caches, before its other arguments.
    ///
    /// # Errors
    /// When the folder of a recording run cannot be written to.
    pub(crate) fn arguments(&self, node: &NodePlan) -> io::Result<Vec<OsString>> {
        let Some(key) = self.key(node) else { return Ok(Vec::new()) };
        Ok(match &self.mode {
            Mode::Off => Vec::new(),
            Mode::Use => match self.used_by(node) {
                None => Vec::new(),
                Some(found) if self.aot => vec![option("-XX:AOTCache=", found.path)],
                Some(found) => vec![option("-XX:SharedArchiveFile=", found.path)],
            },
            Mode::Record(work) if claim(work, key.file())? => self.recording(work.join(key.file())),
            Mode::Record(_) => Vec::new(),
        })
    }
}

fn option(name: &str, path: PathBuf) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

/// What a node is to its cluster: a broker that is a controller too, or has ZooKeeper, runs other classes.
fn part_played(node: &NodePlan) -> &str {
    let settings = node.files.iter().find(|file| file.path == "config/server.properties");
    let roles = settings.and_then(|file| file.text.lines().find(|line| line.starts_with("process.roles=")));
    roles.unwrap_or_default()
}

/// The arguments that decide whether a cache fits: the JVM's own, the class path, what is run. None for a
/// node with an agent: the JVM throws a cache away then.
fn relevant(text: &str) -> Option<Vec<&str>> {
    let mut kept = Vec::new();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    while let Some(line) = lines.next() {
        let bare = line.trim_start_matches('"');
        if bare.starts_with("-javaagent:") {
            return None;
        }
        // A heap of another size takes the same cache, and so does a log elsewhere.
        if ["-D", "-Xms", "-Xmx", GC_LOG].iter().any(|start| bare.starts_with(start)) {
            continue;
        }
        kept.push(line);
        if line == "-cp" {
            // Jars, one a line as long as lines go on, and then the class. What follows names the cluster's files.
            for jar in lines.by_ref() {
                kept.push(jar);
                if !jar.ends_with('\\') {
                    break;
                }
            }
            kept.extend(lines.next());
            return Some(kept);
        }
        if line == "-jar" {
            kept.extend(lines.next());
            return Some(kept);
        }
    }
    None
}

fn jar_of(line: &str) -> Option<&str> {
    let path = line.trim_start_matches('"').trim_end_matches('\\').trim_end_matches([':', '"']);
    path.ends_with(".jar").then_some(path)
}

/// Size and time of a jar: by these a JVM knows it again. A jar that is not there yet has no cache either.
fn stamp(jar: &Path) -> String {
    let Ok(meta) = fs::metadata(jar) else { return String::new() };
    let modified = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{} {}\n", meta.len(), modified.map_or(0, |since| since.as_secs()))
}

/// The line in which a JVM says why it did not use its cache, if the output of its latest run holds one.
pub(crate) fn rejection(console: &str) -> Option<&str> {
    let told = |line: &&str| line.contains("[aot") || line.contains("[cds");
    let is_refusal = |line: &str| line.contains("[error") || line.contains("[cds");
    console.lines().filter(told).any(is_refusal).then(|| console.lines().find(told)).flatten().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::Cache;
    use crate::plan::tests::default_plan;
    use crate::plan::{ClusterPlan, NodeRole};

    fn caches(version: &str, mode: Mode) -> StartCaches {
        let home = PathBuf::from("/no/such/java");
        let shelf = Shelf::of(&Cache::at("/no/such/cache"));
        StartCaches::new(shelf, &Java::named(home, version.parse().unwrap()), mode)
    }

    fn first(plan: &ClusterPlan, role: NodeRole) -> NodePlan {
        plan.nodes_of(role).next().unwrap().clone()
    }

    fn changed(node: &NodePlan, from: &str, to: &str) -> NodePlan {
        let mut node = node.clone();
        for file in &mut node.files {
            file.text = file.text.replace(from, to);
        }
        node
    }

    #[test]
    fn nodes_of_one_kind_share_a_cache_and_no_others_do() {
        let (plan, caches) = (default_plan(), caches("25.0.3", Mode::Use));
        let names: std::collections::BTreeSet<Key> =
            plan.nodes.iter().filter_map(|node| caches.key(node)).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        let broker = first(&plan, NodeRole::Broker);
        let key = caches.key(&broker).unwrap();
        assert!(key.file().starts_with("broker-") && key.file().ends_with(".aot"), "{key:?}");
        for (from, to) in [("-Xmx512m", "-Xmx900m"), ("/state/clusters/caracal", "/state/clusters/other")] {
            assert_eq!(caches.key(&changed(&broker, from, to)), Some(key.clone()), "{from}");
        }
        for (from, to) in [
            ("-XX:+UseG1GC", "-XX:+UseParallelGC"),
            ("/cache/kafka/b.jar", "/cache/kafka/c.jar"),
            ("kafka.Kafka", "kafka.Other"),
            ("broker.id=1", "process.roles=broker"),
        ] {
            assert_ne!(caches.key(&changed(&broker, from, to)), Some(key.clone()), "{from}");
        }
    }

    #[test]
    fn another_java_finds_none_of_them_and_an_older_one_has_archives() {
        let broker = first(&default_plan(), NodeRole::Broker);
        let keys = ["25.0.3", "25.0.4", "21.0.1"].map(|java| caches(java, Mode::Use).key(&broker).unwrap());
        assert!(keys[0] != keys[1] && keys[2].file().ends_with(".jsa"), "{keys:?}");
    }

    #[test]
    fn an_agent_means_no_cache() {
        let broker = first(&default_plan(), NodeRole::Broker);
        let agent = changed(&broker, "-Djava.awt.headless=true", "-javaagent:/x.jar=1:/y");
        assert_eq!(caches("25.0.3", Mode::Use).key(&agent), None);
    }

    #[test]
    fn only_the_first_of_a_kind_records_and_only_files_that_are_there_are_used() {
        let work = tempfile::tempdir().unwrap();
        let plan = default_plan();
        let recording = caches("25.0.3", Mode::Record(work.path().to_owned()));
        let told: Vec<usize> =
            plan.nodes_of(NodeRole::Broker).map(|node| recording.arguments(node).unwrap().len()).collect();
        assert_eq!(told, [RECORDING.len() + 1, 0, 0]);
        let broker = first(&plan, NodeRole::Broker);
        let mut using = caches("25.0.3", Mode::Use);
        assert!(using.arguments(&broker).unwrap().is_empty());
        using.shelf = Shelf::of(&Cache::at(work.path()));
        fs::create_dir(using.shelf.home()).unwrap();
        let path = using.shelf.path(using.key(&broker).unwrap().file());
        caracal_pki::store::write_private(&path, b"").unwrap();
        assert_eq!(using.arguments(&broker).unwrap(), [option("-XX:AOTCache=", path)]);
        using.mode = Mode::Off;
        assert!(using.arguments(&broker).unwrap().is_empty());
    }

    #[test]
    fn a_refused_cache_is_told_from_what_else_a_jvm_says() {
        let refused = "[0.010s][warning][aot] The AOT cache has a bad magic number: 0xe300a317\n\
                       [0.010s][error  ][aot] Unable to map shared spaces\n";
        assert!(rejection(refused).unwrap().ends_with("bad magic number: 0xe300a317"));
        assert!(rejection("[warning][cds,dynamic] dynamic archive cannot be used\n").is_some());
        assert_eq!(rejection("[warning][aot,codecache] Saved blob's name differs\n[INFO] started\n"), None);
        assert_eq!(rejection("[2026-11-25 18:00:00,000] ERROR [error] all else\n"), None);
    }
}
