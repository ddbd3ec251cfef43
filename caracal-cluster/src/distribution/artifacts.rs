//! The distributions this crate knows, each with its pinned Maven project and its locks.

use crate::plan::RegistryFlavor;
use crate::plan::containers::VENDORS_LINE;
use std::sync::OnceLock;

use super::lock::Lock;

/// A pinned distribution.
#[derive(Debug)]
pub struct Artifact {
    name: &'static str,
    version: &'static str,
    pom: &'static str,
    download: LockText,
    content: Content,
}

/// How what Maven fetches becomes what runs.
#[derive(Debug)]
pub(super) enum Content {
    /// The downloaded files are the distribution.
    AsDownloaded,
    /// The one downloaded file is a `tar.gz` with the distribution in it.
    Unpacked(LockText),
}

static KAFKA_3_9_2: Artifact = Artifact {
    name: "kafka",
    version: "3.9.2",
    pom: include_str!("../../locks/kafka-3.9.2.pom.xml"),
    download: LockText::new(include_str!("../../locks/kafka-3.9.2.lock")),
    content: Content::AsDownloaded,
};

static KAFKA_4_3_1: Artifact = Artifact {
    name: "kafka",
    version: "4.3.1",
    pom: include_str!("../../locks/kafka-4.3.1.pom.xml"),
    download: LockText::new(include_str!("../../locks/kafka-4.3.1.lock")),
    content: Content::AsDownloaded,
};

/// Below the security floor: for whoever has such a cluster and wants to try its upgrade.
static KAFKA_3_9_1: Artifact = Artifact {
    name: "kafka",
    version: "3.9.1",
    pom: include_str!("../../locks/kafka-3.9.1.pom.xml"),
    download: LockText::new(include_str!("../../locks/kafka-3.9.1.lock")),
    content: Content::AsDownloaded,
};

static APICURIO_3_3_3: Artifact = Artifact {
    name: "apicurio",
    version: "3.3.3",
    pom: include_str!("../../locks/apicurio-3.3.3.pom.xml"),
    download: LockText::new(include_str!("../../locks/apicurio-3.3.3.archive.lock")),
    content: Content::Unpacked(LockText::new(include_str!("../../locks/apicurio-3.3.3.lock"))),
};

static JMX_PROMETHEUS_1_0_1: Artifact = Artifact {
    name: "jmx-prometheus",
    version: "1.0.1",
    pom: include_str!("../../locks/jmx-prometheus-1.0.1.pom.xml"),
    download: LockText::new(include_str!("../../locks/jmx-prometheus-1.0.1.lock")),
    content: Content::AsDownloaded,
};

/// Every version of Kafka there is a lock for, the default first.
static KAFKAS: [&Artifact; 3] = [&KAFKA_3_9_2, &KAFKA_4_3_1, &KAFKA_3_9_1];

impl RegistryFlavor {
    /// The version that is run: of the pinned distribution, or of the vendor's image.
    pub fn version(self) -> &'static str {
        match self {
            Self::Apicurio => Artifact::registry().version(),
            Self::Confluent => VENDORS_LINE,
        }
    }
}

impl Artifact {
    /// Kafka (and the ZooKeeper that belongs to it) of exactly this version, if there is a lock for it.
    pub fn kafka(version: &str) -> Option<&'static Self> {
        KAFKAS.into_iter().find(|kafka| kafka.version == version)
    }

    /// The versions of Kafka there is a lock for, the default first.
    pub fn kafka_versions() -> impl Iterator<Item = &'static str> {
        KAFKAS.into_iter().map(|kafka| kafka.version)
    }

    /// The default version of Kafka, the last line with ZooKeeper.
    pub fn default_kafka() -> &'static Self {
        &KAFKA_3_9_2
    }

    /// The newest version of Kafka, the default without ZooKeeper.
    pub fn newest_kafka() -> &'static Self {
        &KAFKA_4_3_1
    }

    /// The Apicurio schema registry.
    pub fn registry() -> &'static Self {
        &APICURIO_3_3_3
    }

    /// The agent that serves a node's metrics; fetched only for clusters that ask for it.
    pub fn metrics_agent() -> &'static Self {
        &JMX_PROMETHEUS_1_0_1
    }

    /// Short name: `kafka`, `apicurio`, `jmx-prometheus`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Version in its maker's counting.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// The oldest Java that runs it.
    pub fn java_minimum(&self) -> u16 {
        if self.name == "apicurio" { 21 } else { 17 }
    }

    /// The files as they lie in the cache.
    pub fn lock(&self) -> &Lock {
        match &self.content {
            Content::AsDownloaded => self.download.read(),
            Content::Unpacked(lock) => lock.read(),
        }
    }

    /// Name of its directory in the cache, which nothing else has: `kafka-3.9.2-0123456789ab`.
    pub fn directory_name(&self) -> String {
        format!("{}-{}-{}", self.name, self.version, self.lock().short_digest())
    }

    /// The Maven project that resolves to what is downloaded.
    pub(super) fn pom(&self) -> &'static str {
        self.pom
    }

    /// What Maven must have brought.
    pub(super) fn download(&self) -> &Lock {
        self.download.read()
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    #[cfg(test)]
    pub(super) fn for_test(lock: &'static str) -> Self {
        let (download, content) = (LockText::new(lock), Content::AsDownloaded);
        Self { name: "probe", version: "1", pom: "<project/>", download, content }
    }
}

/// The jars of the default Kafka.
pub fn kafka_lock() -> &'static Lock {
    Artifact::default_kafka().lock()
}

/// The files of the schema registry.
pub fn registry_lock() -> &'static Lock {
    Artifact::registry().lock()
}

/// A committed lock, read when first needed.
#[derive(Debug)]
pub(super) struct LockText {
    text: &'static str,
    lock: OnceLock<Lock>,
}

impl LockText {
    const fn new(text: &'static str) -> Self {
        Self { text, lock: OnceLock::new() }
    }

    fn read(&self) -> &Lock {
        let read = || Lock::parse(self.text).expect("a test of this module reads every committed lock");
        self.lock.get_or_init(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_committed_lock_is_read_and_holds_what_is_started() {
        assert_eq!(kafka_lock().files().len(), 105);
        for jar in [
            "kafka_2.13-3.9.2.jar",
            "kafka-tools-3.9.2.jar",
            "zookeeper-3.8.4.jar",
            "slf4j-reload4j-1.7.36.jar",
        ] {
            assert!(kafka_lock().file(jar).is_some(), "{jar}");
        }
        assert!(registry_lock().file("quarkus-run.jar").is_some());
        assert_eq!(Artifact::metrics_agent().lock().files().len(), 1, "the agent is one jar");
        let archive = Artifact::registry().download().files();
        assert_eq!(archive.len(), 1);
        assert!(archive[0].name().ends_with(".tar.gz"));
    }

    #[test]
    fn versions_are_found_exactly() {
        assert_eq!(Artifact::kafka("3.9.2").unwrap().version(), "3.9.2");
        assert!(Artifact::kafka("3.9").is_none());
        assert_eq!(Artifact::kafka_versions().next(), Some("3.9.2"));
        assert!(Artifact::newest_kafka().lock().file("kafka_2.13-4.3.1.jar").is_some());
        for artifact in KAFKAS.into_iter().chain([Artifact::registry(), Artifact::metrics_agent()]) {
            assert!(artifact.pom().contains(&format!("<version>{}</version>", artifact.version())));
        }
    }
}
