//! What a node of a KRaft cluster must find in its data directory before its first start.
//!
//! Kafka's own tool for this, `kafka-storage format`, is a JVM a node, takes the users' passwords as arguments and
//! prints the keys that it derives. Here the same two files are written without any of that: `meta.properties`
//! says who the node is, `bootstrap.checkpoint` is a snapshot of metadata records: the levels of Kafka's
//! features, the SCRAM credential of every user, so that brokers can log in to each other from the first
//! instant on, and every access rule, which Kafka's tool cannot write. A test holds the snapshot without rules, byte
//! for byte, to what Kafka's tool wrote; that Kafka reads the rules is for the live suite to say.
//!
//! ```
//! use caracal_cluster::kraft;
//!
//! assert_eq!(kraft::cluster_id("00000000000000000000000000000011").as_deref(), Some("AAAAAAAAAAAAAAAAAAAAEQ"));
//! assert!(kraft::features("4.3.1").is_some_and(|levels| levels[0] == ("metadata.version", 30)));
//! ```

mod checkpoint;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

pub use self::checkpoint::{EncodeError, checkpoint};

/// The name of the file that says who a node is.
pub const META: &str = "meta.properties";

/// The name of the snapshot of first records.
pub const CHECKPOINT: &str = "bootstrap.checkpoint";

/// The folder in which a node that was started once keeps the log of metadata.
pub const METADATA_LOG: &str = "__cluster_metadata-0";

/// The level of each feature at which a version of Kafka formats a new cluster, in the order in which its own
/// tool writes them; none for a version without KRaft or one that is not known here.
pub fn features(version: &str) -> Option<&'static [(&'static str, i16)]> {
    match version {
        "3.9.1" | "3.9.2" => Some(&[("metadata.version", 21)]),
        "4.3.1" => Some(&[
            ("metadata.version", 30),
            ("eligible.leader.replicas.version", 1),
            ("group.version", 1),
            ("share.version", 1),
            ("streams.version", 1),
            ("transaction.version", 2),
        ]),
        _ => None,
    }
}

/// The cluster's id in Kafka's spelling, from ours in hexadecimal; none for what is no id.
pub fn cluster_id(ours: &str) -> Option<String> {
    let id = Uuid::parse_str(ours).ok()?;
    Some(URL_SAFE_NO_PAD.encode(id.as_bytes()))
}

/// A new id of a data directory, as Kafka would draw it.
pub fn directory_id() -> String {
    loop {
        let id = URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes());
        // Kafka draws again when the text would look like an option of a command.
        if !id.starts_with('-') {
            return id;
        }
    }
}

/// The text of `meta.properties`.
pub fn meta_properties(cluster_id: &str, node_id: u32, directory_id: &str) -> String {
    format!("cluster.id={cluster_id}\ndirectory.id={directory_id}\nnode.id={node_id}\nversion=1\n")
}

/// The value of a key of `meta.properties`; a later line wins, as in Java.
pub fn meta_value<'a>(meta: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs =
        meta.lines().rev().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    pairs.find(|(known, _)| known.trim() == key).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::Artifact;

    #[test]
    fn every_version_that_can_be_had_can_be_formatted() {
        for version in Artifact::kafka_versions() {
            let levels = features(version).unwrap_or_else(|| panic!("{version} has no levels"));
            assert_eq!(levels[0].0, "metadata.version", "{version}");
        }
        assert_eq!(features("2.8.0"), None);
    }

    #[test]
    fn ids_are_spelled_as_kafka_does() {
        assert_eq!(cluster_id("not an id"), None);
        for _ in 0..100 {
            let id = directory_id();
            assert!(id.len() == 22 && !id.starts_with('-') && !id.contains('='), "{id}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_kafkas_own_spelling_too() {
        let text = meta_properties("c", 101, "d");
        assert_eq!((meta_value(&text, "cluster.id"), meta_value(&text, "node.id")), (Some("c"), Some("101")));
        let kafkas = "#\n#Wed Nov 25 11:07:24 UTC 2026\ncluster.id=AAAA\nversion=1\n";
        assert_eq!((meta_value(kafkas, "cluster.id"), meta_value(kafkas, "node.id")), (Some("AAAA"), None));
    }
}
