//! Distinguished names: what a certificate says who it is, and the text that a JVM makes of it.

use std::fmt;

use rcgen::DnType;
use serde::{Deserialize, Serialize};
use x509_parser::der_parser::asn1_rs::{Any, Tag, ToDer as _};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::PkiError;

/// Subject of a certificate.
///
/// `Display` is the text of RFC 2253 as Java's `X500Principal.getName()` prints it, hence what Kafka and
/// ZooKeeper take as principal.
///
/// ```
/// use caracal_pki::DistinguishedName;
///
/// let name = DistinguishedName::common_name("caracal-kafka-1").with_organization("Caracal, Inc.");
/// assert_eq!(name.to_string(), r"CN=caracal-kafka-1,O=Caracal\, Inc.");
/// ```
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct DistinguishedName {
    /// CN, 1 to 64 characters.
    pub common_name: String,
    /// O, 1 to 64 characters if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// OU, 1 to 64 characters if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organizational_unit: Option<String>,
}

impl DistinguishedName {
    /// A name of a common name alone.
    #[must_use]
    pub fn common_name(common_name: impl Into<String>) -> Self {
        Self { common_name: common_name.into(), organization: None, organizational_unit: None }
    }

    /// The same name with an organization.
    #[must_use]
    pub fn with_organization(self, organization: impl Into<String>) -> Self {
        Self { organization: Some(organization.into()), ..self }
    }

    /// The same name with an organizational unit.
    #[must_use]
    pub fn with_organizational_unit(self, unit: impl Into<String>) -> Self {
        Self { organizational_unit: Some(unit.into()), ..self }
    }

    /// The name for rcgen, most significant part first; that order makes RFC 2253 texts start with CN.
    pub(crate) fn to_rcgen(&self) -> Result<rcgen::DistinguishedName, PkiError> {
        let mut name = rcgen::DistinguishedName::new();
        if let Some(organization) = &self.organization {
            name.push(DnType::OrganizationName, checked("organization", organization)?);
        }
        if let Some(unit) = &self.organizational_unit {
            name.push(DnType::OrganizationalUnitName, checked("organizational unit", unit)?);
        }
        name.push(DnType::CommonName, checked("common name", &self.common_name)?);
        Ok(name)
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CN={}", escaped(&self.common_name))?;
        if let Some(unit) = &self.organizational_unit {
            write!(f, ",OU={}", escaped(unit))?;
        }
        if let Some(organization) = &self.organization {
            write!(f, ",O={}", escaped(organization))?;
        }
        Ok(())
    }
}

/// Whether every attribute is of a kind that can be written again. rcgen panics at a part without attributes
/// and at an object identifier outside the three roots there are, which is how 2.40 and above come out of
/// the reader.
pub(crate) fn is_writable(name: &X509Name<'_>) -> bool {
    let no_part_is_empty = name.iter().all(|part| part.iter().next().is_some());
    no_part_is_empty
        && name.iter_attributes().all(|attribute| {
            let mut arcs = attribute.attr_type().iter().into_iter().flatten();
            matches!((arcs.next(), arcs.next()), (Some(0..=1), Some(0..40)) | (Some(2), Some(_)))
        })
}

/// The RFC 2253 text of any certificate's name, as Java prints it.
pub(crate) fn rfc2253(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> =
        name.iter_rdn().map(|rdn| rdn.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let keyword = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        _ => return format!("{oid}=#{}", hexadecimal_der(attribute.attr_value())),
    };
    match text_of(attribute.attr_value()) {
        Some(text) => format!("{keyword}={}", escaped(&text)),
        None => format!("{keyword}=#{}", hexadecimal_der(attribute.attr_value())),
    }
}

/// The value as text, for those string types that Java prints as text.
fn text_of(value: &Any<'_>) -> Option<String> {
    let octets = value.data;
    match value.tag() {
        Tag::PrintableString | Tag::Utf8String | Tag::Ia5String => {
            std::str::from_utf8(octets).ok().map(str::to_owned)
        }
        Tag::T61String => Some(octets.iter().copied().map(char::from).collect()),
        Tag::BmpString if octets.len().is_multiple_of(2) => {
            let units = octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<String, _>>().ok()
        }
        _ => None,
    }
}

fn hexadecimal_der(value: &Any<'_>) -> String {
    crate::x509::hexadecimal(&value.to_der_vec().unwrap_or_default())
}

/// RFC 2253, 2.4, in the way of the JDK: `=` and `#` are escaped wherever they are, spaces at the ends.
fn escaped(value: &str) -> String {
    let body = value.trim_start_matches(' ');
    let leading = value.len() - body.len();
    let inner = body.trim_end_matches(' ');
    let trailing = body.len() - inner.len();
    let mut text = "\\ ".repeat(leading);
    for character in inner.chars() {
        if character == '\0' {
            text.push_str("\\00");
            continue;
        }
        if matches!(character, ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push_str(&"\\ ".repeat(trailing));
    text
}

fn checked<'a>(field: &'static str, value: &'a str) -> Result<&'a str, PkiError> {
    let reason = if value.is_empty() {
        "is empty"
    } else if value.chars().count() > 64 {
        "is longer than the 64 characters that X.509 allows"
    } else if value.chars().any(char::is_control) {
        "has control characters"
    } else {
        return Ok(value);
    };
    Err(PkiError::InvalidName { field, value: value.escape_debug().to_string(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_order_and_escapes() {
        let name = DistinguishedName::common_name(" a=b, \"c\" ")
            .with_organization("O#1")
            .with_organizational_unit("x+y");
        assert_eq!(name.to_string(), r#"CN=\ a\=b\, \"c\"\ ,OU=x\+y,O=O\#1"#);
    }

    #[test]
    fn refusals_name_the_field() {
        let cases = [
            (DistinguishedName::common_name(""), "common name"),
            (DistinguishedName::common_name("x".repeat(65)), "64 characters"),
            (DistinguishedName::common_name("a").with_organization("a\nb"), "control characters"),
        ];
        for (name, part) in cases {
            let error = name.to_rcgen().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
