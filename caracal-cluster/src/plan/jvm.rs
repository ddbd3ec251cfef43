//! A node's Java argument file (`java @node.args`) and log configuration.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::names::NodeName;
use crate::properties::escape_value;

/// System property that marks a node's process with its cluster's identity.
pub const CLUSTER_ID_PROPERTY: &str = "caracal.cluster.id";

/// System property that marks a node's process with its name.
pub const NODE_PROPERTY: &str = "caracal.node";

/// Login modules that can be made to fetch code, by name (CVE-2023-25194, CVE-2025-27818): never wanted.
const DISALLOWED_LOGIN_MODULES: &str =
    "com.sun.security.auth.module.JndiLoginModule,com.sun.security.auth.module.LdapLoginModule";

/// Rounds of the derivation by which a JVM's PKCS#12 key store protects a key that is put into it.
///
/// Kafka reads its PEM files into such stores, one for every network thread of every listener, each with a password
/// of its own making, and none of them is ever written. At the JVM's 10,000 rounds, twice for each store, that cost a
/// broker about 0.5 s of processor time at every start. A key that lies open in the same memory gains nothing by it.
const IN_MEMORY_STORE_ROUNDS: &str = "keystore.pkcs12.keyPbeIterationCount";

/// Begins the argument that has a JVM write down its collections.
pub(crate) const GC_LOG: &str = "-Xlog:gc:";

/// What differs between the nodes' JVMs.
pub(super) struct Jvm<'a> {
    pub heap_mib: u32,
    pub tuning: Tuning,
    /// An agent with its arguments, as `-javaagent:` takes it.
    pub agent: Option<String>,
    /// Folder for what a JVM and its libraries unpack. The system's own is shared with other users, and a
    /// node that is killed would leave its part there for good.
    pub temporary: String,
    /// File that says when the JVM stopped to collect garbage, and for how long.
    pub gc_log: String,
    pub system_properties: Vec<(&'a str, String)>,
    pub main: Main<'a>,
}

/// What a JVM is good at.
///
/// Measured on two cores: with the first compiler alone a ZooKeeper node is up after 1.9 s of processor
/// time instead of 3.3 s. A broker keeps the second one, because its peak matters to whoever measures
/// against it; but what is compiled by it must have run twenty times as often as a JVM asks for by default.
/// A start makes thousands of methods warm that are never used again, and compiling these cost each broker
/// 3 of 9 s. Under load the hot ones get there within a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tuning {
    /// Starts with little work and stays small.
    Start,
    /// Serves much.
    Throughput,
}

impl Tuning {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Start => &["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
            Self::Throughput => &[
                "-XX:+UseG1GC",
                "-XX:MaxGCPauseMillis=20",
                "-XX:Tier4InvocationThreshold=100000",
                "-XX:Tier4MinInvocationThreshold=12000",
                "-XX:Tier4CompileThreshold=300000",
                "-XX:Tier4BackEdgeThreshold=800000",
            ],
        }
    }
}

/// What a JVM runs.
pub(super) enum Main<'a> {
    Class { class_path: &'a [String], name: &'a str, arguments: Vec<String> },
    Jar { path: String },
}

/// The argument file, one argument a line, quoted as the `java` launcher reads it.
pub(super) fn argument_file(node: &NodeName, jvm: &Jvm<'_>) -> String {
    let mut lines = vec![
        format!("# Java arguments of {node}"),
        "# Generated from the cluster's plan; changes made here are overwritten.".to_owned(),
        format!("-Xms{}m", jvm.heap_mib.min(128)),
        format!("-Xmx{}m", jvm.heap_mib),
    ];
    lines.extend(jvm.tuning.flags().iter().map(|flag| (*flag).to_owned()));
    // Without the last one a JVM keeps its counters in a file of the system's temporary folder, always.
    lines.extend(
        ["-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true", "-XX:-UsePerfData"].map(str::to_owned),
    );
    lines.push(quote(&format!("-Djava.io.tmpdir={}", jvm.temporary)));
    lines.push(gc_log(&jvm.gc_log));
    // The logs of all nodes can be merged only when their times mean the same.
    lines.push("-Duser.timezone=UTC".to_owned());
    lines.push(format!("-Dorg.apache.kafka.disallowed.login.modules={DISALLOWED_LOGIN_MODULES}"));
    lines.push(format!("-D{IN_MEMORY_STORE_ROUNDS}=1"));
    lines.extend(jvm.agent.iter().map(|agent| quote(&format!("-javaagent:{agent}"))));
    lines.extend(jvm.system_properties.iter().map(|(key, value)| quote(&format!("-D{key}={value}"))));
    match &jvm.main {
        Main::Class { class_path, name, arguments } => {
            lines.push("-cp".to_owned());
            lines.push(class_path_argument(class_path));
            lines.push((*name).to_owned());
            lines.extend(arguments.iter().map(|argument| quote(argument)));
        }
        Main::Jar { path } => {
            lines.push("-jar".to_owned());
            lines.push(quote(path));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// One line for each collection, in a rotated file of 3 x 10 MiB. The JVM ends a path at a colon unless it is quoted.
fn gc_log(path: &str) -> String {
    quote(&format!("{GC_LOG}file=\"{path}\":time,uptime:filecount=3,filesize=10m"))
}

/// A quoted argument; inside quotes the launcher reads a backslash as an escape.
pub(crate) fn quote(argument: &str) -> String {
    format!("\"{}\"", argument.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The class path with one jar a line, so that a changed jar is one changed line in a diff.
fn class_path_argument(jars: &[String]) -> String {
    format!("\"{}\"", jars.join(":\\\n"))
}

/// What stands for itself in the path of a URI (RFC 3986, section 2.3), and the slash between its parts.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An absolute path as a URI, for what Java parses as one: a `#`, a space or a `%` would end or spoil it.
pub(super) fn file_uri(path: &str) -> String {
    format!("file://{}", utf8_percent_encode(path, ENCODED))
}

/// What a container's engine shows as its log (`docker logs`).
pub(crate) const CONSOLE: &str = "log4j.appender.console=org.apache.log4j.ConsoleAppender\n\
                       log4j.appender.console.layout=org.apache.log4j.PatternLayout\n\
                       log4j.appender.console.layout.ConversionPattern=[%d{ISO8601}] %p %m (%c)%n\n";

/// Log configuration of a node that logs by reload4j: one rotated file, 5 x 20 MiB; `printed` too where somebody
/// shows what a process prints.
pub(super) fn log4j(log: &str, printed: bool, quiet: &[(&str, &str)]) -> String {
    let appenders = if printed { "file, console" } else { "file" };
    let mut text = format!(
        "# Generated from the cluster's plan; changes made here are overwritten.\nlog4j.rootLogger=INFO, {appenders}\n"
    );
    text.push_str(&rolling_file("file", log, 5));
    if printed {
        text.push_str(CONSOLE);
    }
    for (logger, level) in quiet {
        text.push_str(&["log4j.logger.", logger, "=", level, "\n"].concat());
    }
    text
}

/// Log configuration of the authoriser: a file of its own, 10 x 20 MiB, which `server.log` does not repeat.
///
/// At `INFO` every refusal is written, with principal, operation, resource and address; at `DEBUG` also every
/// request that was allowed, which on a busy broker is thousands a second.
pub(super) fn audit_log4j(log: &str) -> String {
    let file = rolling_file("audit", log, 10);
    format!(
        "log4j.logger.kafka.authorizer.logger=INFO, audit\n\
         log4j.additivity.kafka.authorizer.logger=false\n\
         {file}"
    )
}

/// An appender that starts a new file at 20 MiB and keeps so many old ones.
fn rolling_file(appender: &str, log: &str, kept: u8) -> String {
    let log = escape_value(log);
    format!(
        "log4j.appender.{appender}=org.apache.log4j.RollingFileAppender\n\
         log4j.appender.{appender}.File={log}\n\
         log4j.appender.{appender}.MaxFileSize=20MB\n\
         log4j.appender.{appender}.MaxBackupIndex={kept}\n\
         log4j.appender.{appender}.layout=org.apache.log4j.PatternLayout\n\
         log4j.appender.{appender}.layout.ConversionPattern=[%d{{ISO8601}}] %p %m (%c)%n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_as_a_uri_is_percent_encoded_utf_8() {
        assert_eq!(file_uri("/state/clusters/my-1_a.b~"), "file:///state/clusters/my-1_a.b~");
        assert_eq!(file_uri("/a b#ü/?%[]"), "file:///a%20b%23%C3%BC/%3F%25%5B%5D");
    }

    #[test]
    fn the_logs_path_is_written_as_log4j_reads_it() {
        assert!(log4j("/a b#ü/server.log", false, &[]).contains("File=/a b#\\u00fc/server.log\n"));
    }
}
