//! What certificates there are, for whom, and for how many days more. Reads, never writes; knows no clock.
//!
//! ```
//! use caracal_pki::{CertificateAuthority, DistinguishedName, KeyAlgorithm, Validity, inventory};
//!
//! # let now = time::macros::datetime!(2026-11-22 12:00 UTC);
//! let name = DistinguishedName::common_name("caracal data CA");
//! let ca = CertificateAuthority::create(name, KeyAlgorithm::EcdsaP256, Validity::days_from(now, 365))?;
//! let info = &inventory::inspect_pem(ca.certificate_pem())?[0];
//! assert_eq!(info.days_left(now), 365);
//! assert_eq!(info.status(now), inventory::Status::Valid);
//! # Ok::<(), caracal_pki::PkiError>(())
//! ```

use serde::{Serialize, Serializer};
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;

use crate::error::rfc3339;
use crate::{KeyAlgorithm, PkiError, PrivateKeyPem, SubjectAltName, key, name, pem, x509};

/// What one certificate says.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CertificateInfo {
    /// Subject as RFC 2253 text, as a JVM prints it.
    pub subject: String,
    /// Issuer as RFC 2253 text.
    pub issuer: String,
    /// Serial number in lower-case hexadecimal.
    pub serial_hex: String,
    /// First second of validity.
    #[serde(serialize_with = "as_rfc3339")]
    pub not_before: OffsetDateTime,
    /// Last second of validity.
    #[serde(serialize_with = "as_rfc3339")]
    pub not_after: OffsetDateTime,
    /// DNS names and addresses, in the certificate's order.
    pub sans: Vec<SubjectAltName>,
    /// Whether it is a CA's.
    pub is_ca: bool,
    /// Key usages, then extended key usages, by their names in RFC 5280; others as object identifier.
    pub usages: Vec<String>,
    /// The kind of its key; none when it is none of those that this crate generates.
    pub key_algorithm: Option<KeyAlgorithm>,
    /// SHA-256 over the DER form, lower-case hexadecimal.
    pub fingerprint_sha256: String,
}

impl CertificateInfo {
    /// Whole days until the end of validity, rounded down: 0 on the last day, negative once expired.
    #[must_use]
    pub fn days_left(&self, now: OffsetDateTime) -> i64 {
        let day = Duration::DAY.whole_seconds();
        let left = self.not_after.unix_timestamp().saturating_sub(now.unix_timestamp());
        left.div_euclid(day)
    }

    /// Whether the certificate is valid at `now`.
    #[must_use]
    pub fn status(&self, now: OffsetDateTime) -> Status {
        if now < self.not_before {
            Status::NotYetValid
        } else if now.unix_timestamp() > self.not_after.unix_timestamp() {
            Status::Expired
        } else {
            Status::Valid
        }
    }
}

/// Where a moment lies in relation to a certificate's validity.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Within, both ends included.
    Valid,
    /// Before; a clock that is behind looks like this too.
    NotYetValid,
    /// After.
    Expired,
}

/// Reads every certificate of a PEM text, in order.
///
/// # Errors
/// [`PkiError::MalformedPem`] when there is none or one cannot be read.
pub fn inspect_pem(pem: &str) -> Result<Vec<CertificateInfo>, PkiError> {
    pem::certificates(pem.as_bytes())?.iter().map(|der| Ok(describe(&x509::parse(der)?, der))).collect()
}

/// Reads one certificate in DER form, as a TLS peer presents it.
///
/// # Errors
/// [`PkiError::MalformedPem`] when it cannot be read.
pub fn inspect_der(der: &[u8]) -> Result<CertificateInfo, PkiError> {
    Ok(describe(&x509::parse(der)?, der))
}

/// Whether `key` is the key of the first certificate of the PEM text.
///
/// # Errors
/// [`PkiError::MalformedPem`] when there is no certificate.
pub fn key_matches(chain_pem: &str, key: &PrivateKeyPem) -> Result<bool, PkiError> {
    let chain = pem::certificates(chain_pem.as_bytes())?;
    let leaf = x509::parse(chain.first().map(AsRef::as_ref).unwrap_or_default())?;
    Ok(key::is_public_half(&key.to_pair()?, &leaf.public_key().subject_public_key.data))
}

fn describe(certificate: &X509Certificate<'_>, der: &[u8]) -> CertificateInfo {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    CertificateInfo {
        subject: name::rfc2253(certificate.subject()),
        issuer: name::rfc2253(certificate.issuer()),
        serial_hex: x509::serial_hex(certificate),
        not_before: certificate.validity().not_before.to_datetime(),
        not_after: certificate.validity().not_after.to_datetime(),
        sans: x509::alternative_names(certificate),
        is_ca: x509::is_ca(certificate),
        usages: usages(certificate),
        key_algorithm: x509::key_algorithm(certificate),
        fingerprint_sha256: x509::hexadecimal(digest.as_ref()),
    }
}

fn usages(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(Some(usage)) = certificate.key_usage() {
        let usage = usage.value;
        let known = [
            (usage.digital_signature(), "digitalSignature"),
            (usage.non_repudiation(), "nonRepudiation"),
            (usage.key_encipherment(), "keyEncipherment"),
            (usage.data_encipherment(), "dataEncipherment"),
            (usage.key_agreement(), "keyAgreement"),
            (usage.key_cert_sign(), "keyCertSign"),
            (usage.crl_sign(), "cRLSign"),
            (usage.encipher_only(), "encipherOnly"),
            (usage.decipher_only(), "decipherOnly"),
        ];
        found.extend(known.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()));
    }
    if let Ok(Some(usage)) = certificate.extended_key_usage() {
        let usage = usage.value;
        let known = [
            (usage.any, "anyExtendedKeyUsage"),
            (usage.server_auth, "serverAuth"),
            (usage.client_auth, "clientAuth"),
            (usage.code_signing, "codeSigning"),
            (usage.email_protection, "emailProtection"),
            (usage.time_stamping, "timeStamping"),
            (usage.ocsp_signing, "OCSPSigning"),
        ];
        found.extend(known.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()));
        found.extend(usage.other.iter().map(|oid| oid.to_id_string()));
    }
    found
}

fn as_rfc3339<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(at))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::{CertificateAuthority, DistinguishedName, Validity};

    fn info(validity: Validity) -> CertificateInfo {
        let name = DistinguishedName::common_name("inventory");
        let ca = CertificateAuthority::create(name, KeyAlgorithm::EcdsaP256, validity).unwrap();
        inspect_pem(ca.certificate_pem()).unwrap().remove(0)
    }

    #[test]
    fn days_are_rounded_down_and_go_below_zero() {
        let info = info(Validity {
            not_before: datetime!(2026-01-01 00:00 UTC),
            not_after: datetime!(2026-01-11 00:00 UTC),
        });
        for (now, days, status) in [
            (datetime!(2025-12-31 23:59:59 UTC), 10, Status::NotYetValid),
            (datetime!(2026-01-01 00:00 UTC), 10, Status::Valid),
            (datetime!(2026-01-01 00:00:01 UTC), 9, Status::Valid),
            (datetime!(2026-01-10 23:59:59.9 UTC), 0, Status::Valid),
            (datetime!(2026-01-11 00:00 UTC), 0, Status::Valid),
            (datetime!(2026-01-11 00:00:01 UTC), -1, Status::Expired),
            (datetime!(2026-01-12 00:00:01 UTC), -2, Status::Expired),
        ] {
            assert_eq!(info.days_left(now), days, "{now}");
            assert_eq!(info.status(now), status, "{now}");
        }
    }

    #[test]
    fn the_kind_of_a_key_is_told() {
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
            let validity = Validity::days_from(datetime!(2026-01-01 00:00 UTC), 10);
            let name = DistinguishedName::common_name("kind");
            let ca = CertificateAuthority::create(name, algorithm, validity).unwrap();
            assert_eq!(inspect_pem(ca.certificate_pem()).unwrap()[0].key_algorithm, Some(algorithm));
        }
    }

    #[test]
    fn a_ca_is_described_and_serialised() {
        let info = info(Validity::days_from(datetime!(2050-06-01 00:00 UTC), 10));
        assert!(info.is_ca);
        assert_eq!(info.usages, ["keyCertSign", "cRLSign"]);
        assert_eq!(info.serial_hex.len(), 40);
        let json = serde_json::to_value(&info).unwrap();
        assert_eq!(json["not_after"], "2050-06-11T00:00:00Z");
        assert_eq!(json["subject"], "CN=inventory");
        assert_eq!(json["sans"], serde_json::json!([]));
    }
}
