//! Subject alternative names: the host names and addresses that a certificate vouches for.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rcgen::SanType;
use serde::{Deserialize, Serialize};

use crate::PkiError;

/// One subject alternative name (RFC 5280, 4.2.1.6). DNS names sort before addresses.
///
/// ```
/// use caracal_pki::SubjectAltName;
///
/// let name: SubjectAltName = "Kafka-1.example".parse()?;
/// assert_eq!(name, SubjectAltName::Dns("kafka-1.example".into()));
/// assert!(matches!("172.29.0.11".parse()?, SubjectAltName::Ip(_)));
/// # Ok::<(), caracal_pki::PkiError>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub enum SubjectAltName {
    /// A DNS name, in lower case; the leftmost label may be `*`.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

impl SubjectAltName {
    /// Checks the names and drops repetitions; the order of first mention stays.
    pub(crate) fn checked(names: &[Self]) -> Result<Vec<Self>, PkiError> {
        let mut seen = BTreeSet::new();
        let mut unique = Vec::with_capacity(names.len());
        for name in names {
            let name = match name {
                Self::Dns(text) => Self::Dns(checked_dns(text)?),
                Self::Ip(address) => Self::Ip(*address),
            };
            if seen.insert(name.clone()) {
                unique.push(name);
            }
        }
        Ok(unique)
    }

    pub(crate) fn to_rcgen(&self) -> Result<SanType, PkiError> {
        match self {
            Self::Dns(text) => {
                let name = text.as_str().try_into().map_err(|_| refuse(text, "is not ASCII"))?;
                Ok(SanType::DnsName(name))
            }
            Self::Ip(address) => Ok(SanType::IpAddress(*address)),
        }
    }
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl From<IpAddr> for SubjectAltName {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<SubjectAltName> for String {
    fn from(name: SubjectAltName) -> Self {
        name.to_string()
    }
}

impl FromStr for SubjectAltName {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Ip(address)),
            Err(_) => checked_dns(text).map(Self::Dns),
        }
    }
}

impl TryFrom<String> for SubjectAltName {
    type Error = PkiError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Letters, digits, hyphens and (container names have them) underscores; lengths of RFC 1035.
fn checked_dns(text: &str) -> Result<String, PkiError> {
    if text.is_empty() {
        return Err(refuse(text, "is empty"));
    }
    if text.len() > 253 {
        return Err(refuse(text, "is longer than 253 octets"));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(refuse(text, "is an IP address, not a DNS name"));
    }
    let labels = text.strip_prefix("*.").unwrap_or(text);
    for label in labels.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err(refuse(text, "has an empty label or one longer than 63 octets"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(refuse(text, "has a label that starts or ends with a hyphen"));
        }
        if !label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_') {
            return Err(refuse(
                text,
                "has characters other than letters, digits, hyphen, underscore and dot; \
                 write international names in their xn-- form, leave out port and scheme",
            ));
        }
    }
    // Verifiers tell names from addresses by the last label: 10.0.0.256 would match nothing.
    let last = labels.rsplit('.').next().unwrap_or(labels);
    if last.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(refuse(text, "ends in a number, so it is neither a DNS name nor a valid IP address"));
    }
    Ok(text.to_ascii_lowercase())
}

fn refuse(value: &str, reason: &'static str) -> PkiError {
    PkiError::InvalidSan { value: value.escape_debug().to_string(), reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repetitions_go_and_order_stays() {
        let names = ["b.example", "127.0.0.1", "a.example", "B.example", "127.0.0.1"]
            .map(|text| text.parse().unwrap());
        let texts: Vec<_> =
            SubjectAltName::checked(&names).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["b.example", "127.0.0.1", "a.example"]);
    }

    #[test]
    fn refusals_say_why() {
        for (text, part) in [
            ("", "empty"),
            ("a..b", "empty label"),
            ("kafka-1:9093", "leave out port"),
            ("-a", "hyphen"),
            ("10.0.0.256", "ends in a number"),
            ("b\u{fc}cher.example", "xn--"),
            ("a.example.", "empty label"),
        ] {
            let error = text.parse::<SubjectAltName>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_stable(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<SubjectAltName>() {
                prop_assert_eq!(name.to_string().parse::<SubjectAltName>().unwrap(), name);
            }
        }

        #[test]
        fn addresses_are_addresses(address in any::<IpAddr>()) {
            prop_assert_eq!(address.to_string().parse::<SubjectAltName>().unwrap(), SubjectAltName::Ip(address));
        }
    }
}
