//! What a description says about containers: which images, and where in them the jars lie.

use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where nodes run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RuntimeKind {
    /// As processes of this machine.
    Native,
    /// In containers.
    Docker,
}

impl RuntimeKind {
    /// The runtime, as `--runtime` takes it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Docker => "docker",
        }
    }
}

/// How a cluster runs in containers; counts only with `--runtime docker`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DockerSpec {
    /// Whose images: `confluent`, `apache`, `local`, `local-apache`, or the name of one image for brokers and
    /// whoever keeps their metadata.
    pub images: ImageSet,
    /// Where the jars lie in an image that is named; one of a set has its own place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<ImageLayout>,
    /// The registry's image, if it is not that of the set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_image: Option<String>,
    /// The network's addresses, `a.b.c.d/n`; unset: the guide's 172.29.0.0/16 for `caracal`, else a free one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Subnet>,
}

impl DockerSpec {
    /// Whether nothing was said.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Where the jars lie in the images.
    pub fn layout(&self) -> ImageLayout {
        match &self.images {
            ImageSet::Confluent | ImageSet::Local => ImageLayout::Confluent,
            ImageSet::Apache | ImageSet::LocalApache => ImageLayout::Apache,
            ImageSet::Named(_) => self.layout.unwrap_or_default(),
        }
    }
}

/// Whose images.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "String", into = "String")]
pub enum ImageSet {
    /// Those of the guide's vendor.
    #[default]
    Confluent,
    /// The Kafka project's own.
    Apache,
    /// What `cargo xtask image build` made, laid out as the vendor's.
    Local,
    /// What `cargo xtask image build` made, laid out as the Kafka project's.
    LocalApache,
    /// One image by its name.
    Named(String),
}

impl From<String> for ImageSet {
    fn from(text: String) -> Self {
        match text.as_str() {
            "confluent" => Self::Confluent,
            "apache" => Self::Apache,
            "local" => Self::Local,
            "local-apache" => Self::LocalApache,
            _ => Self::Named(text),
        }
    }
}

impl From<ImageSet> for String {
    fn from(images: ImageSet) -> Self {
        match images {
            ImageSet::Confluent => "confluent".to_owned(),
            ImageSet::Apache => "apache".to_owned(),
            ImageSet::Local => "local".to_owned(),
            ImageSet::LocalApache => "local-apache".to_owned(),
            ImageSet::Named(name) => name,
        }
    }
}

/// Where in an image the jars lie: an image is a mere carrier of them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageLayout {
    /// `/usr/share/java/kafka`.
    #[default]
    Confluent,
    /// `/opt/kafka/libs`.
    Apache,
}

impl ImageLayout {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Confluent, Self::Apache];

    /// The layout's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Confluent => "confluent",
            Self::Apache => "apache",
        }
    }

    /// The folder with Kafka's and ZooKeeper's jars.
    pub fn jars(self) -> &'static str {
        match self {
            Self::Confluent => "/usr/share/java/kafka",
            Self::Apache => "/opt/kafka/libs",
        }
    }
}

/// Addresses of a network: the first one is the engine's, the nodes have fixed ones.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    first: Ipv4Addr,
    length: u8,
}

impl Subnet {
    /// The guide's.
    pub const GUIDE: Self = Self { first: Ipv4Addr::new(172, 29, 0, 0), length: 16 };

    /// A small one, as clusters beside the guide's get it.
    ///
    /// ```
    /// use caracal_cluster::spec::Subnet;
    ///
    /// assert_eq!(Subnet::small(3).to_string(), "10.213.3.0/24");
    /// ```
    pub fn small(at: u8) -> Self {
        Self { first: Ipv4Addr::new(10, 213, at, 0), length: 24 }
    }

    /// The address at a place, counted from 0.
    pub fn address(self, place: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() | place)
    }

    /// The engine's own address in it.
    pub fn gateway(self) -> Ipv4Addr {
        self.address(1)
    }

    /// Whether two have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = self.length.min(other.length);
        let mask = mask(shorter);
        self.first.to_bits() & mask == other.first.to_bits() & mask
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no subnet: write it as 172.30.0.0/16");
        let (first, length) = text.split_once('/').ok_or_else(wrong)?;
        let first: Ipv4Addr = first.parse().map_err(|_| wrong())?;
        let length: u8 = length.parse().ok().filter(|length| *length <= 32).ok_or_else(wrong)?;
        if !(8..=26).contains(&length) {
            return Err(format!("`{text}` has not the right size for a cluster: /8 to /26"));
        }
        if first.to_bits() & !mask(length) != 0 {
            let begin = Ipv4Addr::from_bits(first.to_bits() & mask(length));
            return Err(format!("`{text}` does not begin where it says: write {begin}/{length}"));
        }
        Ok(Self { first, length })
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_taken_or_refused_with_what_would_be_right() {
        assert_eq!("172.29.0.0/16".parse(), Ok(Subnet::GUIDE));
        for (text, hint) in [
            ("172.29.0.0", "172.30.0.0/16"),
            ("172.29.0.0/x", "172.30.0.0/16"),
            ("172.29.0.0/28", "/8 to /26"),
            ("172.29.0.1/16", "write 172.29.0.0/16"),
        ] {
            assert!(text.parse::<Subnet>().unwrap_err().contains(hint), "{text}");
        }
    }

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        let subnet = |text: &str| text.parse::<Subnet>().unwrap();
        assert!(Subnet::GUIDE.overlaps(subnet("172.29.7.0/24")));
        assert!(subnet("172.16.0.0/12").overlaps(Subnet::GUIDE));
        assert!(!Subnet::GUIDE.overlaps(subnet("172.30.0.0/16")));
        assert_eq!(
            (Subnet::GUIDE.gateway(), Subnet::small(4).address(21)),
            ([172, 29, 0, 1].into(), [10, 213, 4, 21].into())
        );
    }

    #[test]
    fn image_sets_are_told_by_name_and_anything_else_is_an_image() {
        let read = |text: &str| toml::from_str::<DockerSpec>(text).unwrap();
        assert_eq!(read("images = \"local-apache\"").layout(), ImageLayout::Apache);
        let named = read("images = \"mine/kafka:1\"\nlayout = \"apache\"");
        assert_eq!(
            (named.images.clone(), named.layout()),
            (ImageSet::Named("mine/kafka:1".to_owned()), ImageLayout::Apache)
        );
        assert_eq!(toml::from_str::<DockerSpec>(&toml::to_string(&named).unwrap()).unwrap(), named);
    }
}
