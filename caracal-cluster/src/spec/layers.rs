//! What a description does not say: the defaults of its profile and mode, below its own keys, below flags.

use toml::{Table, Value};

use super::docker::{ImageSet, RuntimeKind, Subnet};
use super::error::SpecError;
use super::{ClusterSpec, Metadata, PortMode, Profile, Roles, default_users};
use crate::distribution::Artifact;
use crate::plan::{RegistryFlavor, Role};

/// Keys that flags give instead of the description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it, and name what they override")]
pub struct Overrides {
    /// `metadata`.
    pub metadata: Option<Metadata>,
    /// `profile`.
    pub profile: Option<Profile>,
    /// `registry.flavor`; a cluster that would have no registry gets this one.
    pub registry: Option<RegistryFlavor>,
    /// `kafka.version`.
    pub kafka_version: Option<String>,
    /// Sets `kafka.danger_vulnerable_version`.
    pub danger_vulnerable_version: bool,
    /// Where the nodes of a cluster that is made now are to run; one that was made keeps its runtime.
    pub runtime: Option<RuntimeKind>,
    /// `docker.images`.
    pub images: Option<ImageSet>,
    /// `docker.subnet`.
    pub subnet: Option<Subnet>,
    /// `ports.mode`.
    pub ports: Option<PortMode>,
}

impl Overrides {
    /// Puts what flags say over what is written.
    fn apply(&self, table: &mut Table) {
        let text = |value: &'static str| Value::String(value.to_owned());
        if let Some(metadata) = self.metadata {
            table.insert("metadata".to_owned(), text(metadata.label()));
        }
        if let Some(profile) = self.profile {
            table.insert("profile".to_owned(), text(profile.label()));
        }
        let ports = self.ports.map(|mode| match mode {
            PortMode::Guide => text("guide"),
            PortMode::Leased => text("leased"),
        });
        let nested = [
            ("kafka", "version", self.kafka_version.clone().map(Value::String)),
            (
                "kafka",
                "danger_vulnerable_version",
                self.danger_vulnerable_version.then_some(Value::Boolean(true)),
            ),
            ("registry", "flavor", self.registry.map(|flavor| text(flavor.label()))),
            ("registry", "enabled", self.registry.map(|_| Value::Boolean(true))),
            ("docker", "images", self.images.clone().map(|images| Value::String(images.into()))),
            ("docker", "subnet", self.subnet.map(|subnet| Value::String(subnet.to_string()))),
            ("ports", "mode", ports),
        ];
        for (outer, key, value) in nested {
            let Some(value) = value else { continue };
            let below = table.entry(outer).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(below) = below {
                below.insert(key.to_owned(), value);
            }
        }
    }
}

/// Reads a text and completes it; its rules are not checked yet.
pub(super) fn read(text: &str, origin: &str, overrides: &Overrides) -> Result<ClusterSpec, SpecError> {
    let syntax = |error: toml::de::Error| SpecError::syntax(origin, text, &error);
    // Strictly, by itself: only so an unknown key or a wrong type is told with its line.
    toml::from_str::<ClusterSpec>(text).map_err(syntax)?;
    let mut written: Table = toml::from_str(text).map_err(syntax)?;
    overrides.apply(&mut written);
    let said: ClusterSpec = written.clone().try_into().map_err(syntax)?;
    let mut below = defaults(said.profile, written.contains_key("metadata").then_some(said.metadata));
    below.registry.enabled = match nested(&written, "registry", "enabled") {
        Some(_) => said.registry.enabled,
        None => below.registry.enabled,
    };
    below.users = default_users();
    below.users.retain(|user| user.role != Role::Registry || below.registry.enabled);
    let mut whole = Table::try_from(&below).unwrap_or_default();
    lay_over(&mut whole, written);
    whole.try_into().map_err(syntax)
}

/// The spec of a profile in a mode, or in the profile's own.
fn defaults(profile: Profile, metadata: Option<Metadata>) -> ClusterSpec {
    let mut spec = ClusterSpec { profile, ..ClusterSpec::default() };
    if profile == Profile::Minimal {
        spec.metadata = Metadata::Kraft;
        spec.kafka.brokers = 1;
        spec.kafka.zookeepers = 1;
        spec.kafka.controllers = 1;
        spec.kafka.roles = Roles::Combined;
        spec.replication.factor = 1;
        spec.replication.min_isr = 1;
        spec.registry.enabled = false;
    }
    spec.metadata = metadata.unwrap_or(spec.metadata);
    if spec.metadata == Metadata::Kraft {
        Artifact::newest_kafka().version().clone_into(&mut spec.kafka.version);
    }
    spec
}

fn nested<'a>(table: &'a Table, outer: &str, inner: &str) -> Option<&'a Value> {
    table.get(outer)?.as_table()?.get(inner)
}

/// Tables are laid over each other key by key, everything else replaces what is below.
fn lay_over(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

impl Profile {
    /// The profile, as `--profile` takes it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Minimal => "minimal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, overrides: &Overrides) -> ClusterSpec {
        ClusterSpec::parse_with(text, "the test", overrides).unwrap()
    }

    #[test]
    fn kraft_takes_the_newest_version_unless_one_is_said() {
        let spec = parse("metadata = \"kraft\"", &Overrides::default());
        assert_eq!((spec.kafka.version.as_str(), spec.kafka.controllers), ("4.3.1", 3));
        let spec = parse("metadata = \"kraft\"\n[kafka]\nversion = \"3.9.2\"", &Overrides::default());
        assert_eq!(spec.kafka.version, "3.9.2");
    }

    #[test]
    fn a_minimal_cluster_is_one_node_and_its_own_keys_win() {
        let spec = parse("profile = \"minimal\"", &Overrides::default());
        assert_eq!(spec.metadata, Metadata::Kraft);
        assert_eq!((spec.kafka.brokers, spec.metadata_nodes(), spec.replication.factor), (1, 0, 1));
        assert!(!spec.registry.enabled && spec.users.iter().all(|user| user.role != Role::Registry));
        let spec = parse("profile = \"minimal\"\n[registry]\nenabled = true", &Overrides::default());
        assert!(spec.users.iter().any(|user| user.role == Role::Registry));
        let spec = parse("profile = \"minimal\"\nmetadata = \"zookeeper\"", &Overrides::default());
        assert_eq!((spec.kafka.version.as_str(), spec.metadata_nodes()), ("3.9.2", 1));
    }

    #[test]
    fn flags_win_over_the_text_and_everything_survives_its_own_text() {
        let overrides = Overrides {
            metadata: Some(Metadata::Kraft),
            profile: Some(Profile::Minimal),
            registry: Some(RegistryFlavor::Confluent),
            kafka_version: Some("3.9.2".to_owned()),
            danger_vulnerable_version: true,
            images: Some(ImageSet::LocalApache),
            subnet: Some(Subnet::small(7)),
            ports: Some(PortMode::Leased),
            ..Overrides::default()
        };
        let spec = parse("name = \"a\"\nmetadata = \"zookeeper\"", &overrides);
        assert_eq!((spec.metadata, spec.profile), (Metadata::Kraft, Profile::Minimal));
        // Who says which registry wants one, also in a minimal cluster.
        assert_eq!((spec.registry.enabled, spec.registry.flavor), (true, RegistryFlavor::Confluent));
        assert!(spec.users.iter().any(|user| user.role == Role::Registry));
        assert!(spec.kafka.version == "3.9.2" && spec.kafka.danger_vulnerable_version);
        assert_eq!((spec.docker.subnet, spec.ports.mode), (Some(Subnet::small(7)), Some(PortMode::Leased)));
        assert_eq!(parse(&spec.to_toml(), &Overrides::default()), spec);
    }
}
