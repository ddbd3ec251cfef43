//! Names that cannot be illegal: parsed once, at the edge, and then carried as types.
//!
//! Everything that ends up in a path, a certificate, a Kafka resource or a process argument is one of
//! these, so no later code has to ask whether a name is harmless.
//!
//! ```
//! use caracal_cluster::names::{ClusterName, TopicName};
//!
//! assert!("caracal".parse::<ClusterName>().is_ok());
//! assert!("../etc".parse::<ClusterName>().is_err());
//! assert!("caracal.metering.events".parse::<TopicName>().is_ok());
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that breaks the rules of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{value}` is not allowed: {rule}")]
#[non_exhaustive]
pub struct NameError {
    /// Which kind of name.
    pub kind: &'static str,
    /// What was given.
    pub value: String,
    /// What is allowed.
    pub rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(value: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(value) {
                    Ok(Self(value.to_owned()))
                } else {
                    Err(NameError { kind: $kind, value: value.to_owned(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(value: String) -> Result<Self, NameError> {
                value.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type!(
    /// The name of a cluster: a DNS label, because it prefixes host names and certificate subjects.
    ClusterName, "cluster name", "1 to 32 of a-z, 0-9 and -, starting with a letter, not ending with -",
    |s| dns_label(s, 32)
);
name_type!(
    /// The name of a node (`caracal-kafka-1`): a DNS label.
    NodeName, "node name", "1 to 63 of a-z, 0-9 and -, starting with a letter, not ending with -",
    |s| dns_label(s, 63)
);
name_type!(
    /// A user: the SCRAM name and, behind `User:`, the Kafka principal.
    UserName, "user name", "1 to 64 of a-z, 0-9, . _ and -, starting with a letter",
    |s| s.len() <= 64
        && s.starts_with(|c: char| c.is_ascii_lowercase())
        && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
);
name_type!(
    /// A topic, by Kafka's own rule.
    TopicName, "topic name", "1 to 249 of a-z, A-Z, 0-9, . _ and -, and neither . nor ..",
    |s| (1..=249).contains(&s.len())
        && s != "."
        && s != ".."
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
);
name_type!(
    /// A listener: upper case, as Kafka prints it. `listener.name.<name>.` takes it in lower case.
    ListenerName, "listener name", "1 to 32 of A-Z, 0-9 and _, starting with a letter",
    |s| (1..=32).contains(&s.len())
        && s.starts_with(|c: char| c.is_ascii_uppercase())
        && s.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
);

fn dns_label(s: &str, max: usize) -> bool {
    (1..=max).contains(&s.len())
        && s.starts_with(|c: char| c.is_ascii_lowercase())
        && !s.ends_with('-')
        && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl ListenerName {
    /// The prefix under which Kafka reads this listener's own settings (`listener.name.external.`).
    ///
    /// `ssl.client.auth` counts **only** there on a `SASL_SSL` listener; without the prefix Kafka logs a
    /// warning and lets anybody shake hands without a certificate.
    pub fn config_prefix(&self) -> String {
        format!("listener.name.{}.", self.0.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for bad in ["", ".", "..", "a/b", "A", "-a", "a-", "1a", "a b", "a\nb"] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad:?}");
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(33).parse::<ClusterName>().is_err());
        assert!("caracal-kafka-1".parse::<NodeName>().is_ok());
    }

    #[test]
    fn topics_follow_kafkas_rule() {
        assert!("caracal.dlq".parse::<TopicName>().is_ok());
        for bad in ["", ".", "..", "a b", "ä"] {
            assert!(bad.parse::<TopicName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_listeners_prefix_is_lower_case() {
        let name: ListenerName = "EXTERNAL".parse().unwrap();
        assert_eq!(name.config_prefix(), "listener.name.external.");
    }
}
