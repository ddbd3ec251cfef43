//! What a changed file means for nodes that run: one after the other, or all of a role at once.
//!
//! A rolling restart keeps the role serving, but only works while nodes of the old and of the new
//! configuration can talk to each other. With another password, authority or port they cannot: the first
//! restarted node would wait for the others, and the others are restarted only when it serves.

use std::collections::BTreeMap;

use crate::credentials::{CONTAINER, LISTENERS};
use crate::plan::NodeRole;

/// Files that concern nobody but the node itself. Every other one counts as shared: stopping a role that
/// could have rolled costs seconds, rolling one that could not never ends.
const OWN_FILES: [&str; 5] = [
    CONTAINER,
    "config/log4j.properties",
    "config/metrics.yaml",
    "config/node.args",
    "config/server.properties",
];

/// How the running nodes of a role come to run with changed files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Restart {
    /// One after the other.
    Rolling,
    /// All are stopped, then all are started.
    Whole,
}

impl Restart {
    /// What one changed file asks for.
    fn for_file(path: &str) -> Self {
        if OWN_FILES.contains(&path) { Self::Rolling } else { Self::Whole }
    }

    /// What the changed files of a role's nodes ask for together; none when nothing changed.
    pub(super) fn for_files<'a>(paths: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        paths.into_iter().map(Self::for_file).max()
    }
}

/// Who has to be stopped before a role is stopped as a whole: those that cannot end in an orderly way
/// without it.
pub(super) fn dependents(role: NodeRole) -> &'static [NodeRole] {
    match role {
        NodeRole::Zookeeper | NodeRole::Controller => &[NodeRole::SchemaRegistry, NodeRole::Broker],
        NodeRole::Broker => &[NodeRole::SchemaRegistry],
        NodeRole::SchemaRegistry => &[],
    }
}

/// Files whose digests differ, also those that only one side knows.
pub(super) fn changed(
    planned: &BTreeMap<String, String>,
    launched: &BTreeMap<String, String>,
) -> Vec<String> {
    let differs = |path: &&String| planned.get(*path) != launched.get(*path);
    let gone = launched.keys().filter(|path| !planned.contains_key(*path));
    planned.keys().chain(gone).filter(differs).cloned().collect()
}

/// The changed files as a person reads them.
pub(super) fn shown(paths: &[String]) -> String {
    let name = |path: &String| match path.as_str() {
        LISTENERS => "set of ports".to_owned(),
        CONTAINER => "image or container".to_owned(),
        path => path.to_owned(),
    };
    paths.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rolls_and_what_is_stopped_as_a_whole() {
        for (paths, restart) in [
            (&[][..], None),
            // Of the node alone.
            (&["config/node.args"][..], Some(Restart::Rolling)),
            (&["config/log4j.properties"], Some(Restart::Rolling)),
            (&["config/server.properties"], Some(Restart::Rolling)),
            (&["config/node.args", "config/server.properties"], Some(Restart::Rolling)),
            // Shared with the others.
            (&["secrets/passwords/inter-broker"], Some(Restart::Whole)),
            (&["secrets/listener.keystore.pem"], Some(Restart::Whole)),
            (&["secrets/listener.truststore.pem"], Some(Restart::Whole)),
            (&["secrets/zookeeper.truststore.pem"], Some(Restart::Whole)),
            (&["secrets/control.truststore.pem"], Some(Restart::Whole)),
            (&["config/zoo.cfg"], Some(Restart::Whole)),
            (&["data/myid"], Some(Restart::Whole)),
            (&[LISTENERS], Some(Restart::Whole)),
            (&["config/a-file-nobody-has-thought-of"], Some(Restart::Whole)),
            // One that is shared decides, wherever it stands.
            (&["config/server.properties", LISTENERS], Some(Restart::Whole)),
            (&["secrets/listener.keystore.pem", "config/node.args"], Some(Restart::Whole)),
        ] {
            assert_eq!(Restart::for_files(paths.iter().copied()), restart, "{paths:?}");
        }
    }

    #[test]
    fn every_file_of_the_plan_has_the_restart_that_it_needs() {
        let plan = crate::plan::tests::metered_plan();
        for node in &plan.nodes {
            for file in &node.files {
                let shared = ["config/zoo.cfg", "data/myid"].contains(&file.path.as_str());
                let expected = if shared { Restart::Whole } else { Restart::Rolling };
                assert_eq!(Restart::for_file(&file.path), expected, "{} of {}", file.path, node.name);
            }
            for secret in &node.secrets {
                assert_eq!(Restart::for_file(&secret.path), Restart::Whole, "{}", secret.path);
            }
        }
    }

    #[test]
    fn whoever_depends_on_a_role_is_stopped_before_it() {
        use NodeRole::{Broker, Controller, SchemaRegistry, Zookeeper};
        assert_eq!(dependents(Zookeeper), [SchemaRegistry, Broker]);
        assert_eq!(dependents(Controller), [SchemaRegistry, Broker]);
        assert_eq!(dependents(Broker), [SchemaRegistry]);
        assert!(dependents(SchemaRegistry).is_empty());
    }

    #[test]
    fn every_changed_new_and_gone_file_is_named() {
        let files = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(path, digest)| ((*path).to_owned(), (*digest).to_owned())).collect()
        };
        let planned = files(&[("a", "1"), ("b", "2"), (LISTENERS, "3")]);
        let launched = files(&[("a", "1"), ("c", "4"), (LISTENERS, "5")]);
        assert_eq!(changed(&planned, &launched), ["b", LISTENERS, "c"]);
        assert_eq!(shown(&changed(&planned, &launched)), "b, set of ports, c");
        assert!(changed(&planned, &planned).is_empty());
        // Nothing is known of what it was started with: everything counts as changed.
        assert_eq!(changed(&planned, &BTreeMap::new()).len(), 3);
    }
}
