//! Questions to parsed certificates that several modules ask.

use rcgen::SerialNumber;
use ring::rand::{SecureRandom as _, SystemRandom};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_EC_P256;
use x509_parser::public_key::PublicKey;

use crate::{KeyAlgorithm, PkiError, SubjectAltName};

/// Parses one certificate, the whole of it.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(malformed("octets follow the certificate inside its PEM section", None)),
        Err(error) => Err(malformed("the section does not hold an X.509 certificate", Some(error.into()))),
    }
}

/// The names of the subject alternative name extension, without kinds that this crate does not write.
pub(crate) fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<SubjectAltName> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(alternative_name).collect()
}

/// The name as ours, unless it is of another kind (URI, e-mail address...).
pub(crate) fn alternative_name(name: &GeneralName<'_>) -> Option<SubjectAltName> {
    match name {
        GeneralName::DNSName(text) => Some(SubjectAltName::Dns(text.to_ascii_lowercase())),
        GeneralName::IPAddress(octets) => {
            if let Ok(v4) = <[u8; 4]>::try_from(*octets) {
                Some(SubjectAltName::Ip(v4.into()))
            } else {
                <[u8; 16]>::try_from(*octets).ok().map(|v6| SubjectAltName::Ip(v6.into()))
            }
        }
        _ => None,
    }
}

/// The kind of the certificate's key; none for one that is not among ours.
pub(crate) fn key_algorithm(certificate: &X509Certificate<'_>) -> Option<KeyAlgorithm> {
    let info = certificate.public_key();
    match info.parsed().ok()? {
        PublicKey::EC(_) => {
            let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
            (curve == OID_EC_P256).then_some(KeyAlgorithm::EcdsaP256)
        }
        PublicKey::RSA(key) => match key.key_size() {
            2048 => Some(KeyAlgorithm::Rsa2048),
            3072 => Some(KeyAlgorithm::Rsa3072),
            4096 => Some(KeyAlgorithm::Rsa4096),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the certificate says that it is a CA's.
pub(crate) fn is_ca(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.basic_constraints(), Ok(Some(extension)) if extension.value.ca)
}

/// Whether the certificate may sign others. Without a key usage extension it may (RFC 5280, 4.2.1.3).
pub(crate) fn may_sign_certificates(certificate: &X509Certificate<'_>) -> bool {
    match certificate.key_usage() {
        Ok(Some(extension)) => extension.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Whether issuer and subject are the same name.
pub(crate) fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == certificate.subject().as_raw()
}

/// Whether `issuer` is a CA certificate that signed `certificate`.
pub(crate) fn is_issued_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && is_ca(issuer)
        && may_sign_certificates(issuer)
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

/// The serial number in lower-case hexadecimal, without the octet that only makes it positive.
pub(crate) fn serial_hex(certificate: &X509Certificate<'_>) -> String {
    match certificate.raw_serial() {
        [0, rest @ ..] if !rest.is_empty() => hexadecimal(rest),
        serial => hexadecimal(serial),
    }
}

/// A new serial number: 20 octets, positive, never shorter (RFC 5280, 4.1.2.2), 158 of its bits random.
pub(crate) fn random_serial() -> Result<SerialNumber, PkiError> {
    let mut octets = [0_u8; 20];
    SystemRandom::new().fill(&mut octets).map_err(|_| PkiError::NoRandomness)?;
    octets[0] = (octets[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&octets))
}

/// Lower-case hexadecimal.
pub(crate) fn hexadecimal(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        text.push(char::from(DIGITS[usize::from(octet >> 4)]));
        text.push(char::from(DIGITS[usize::from(octet & 15)]));
    }
    text
}

fn malformed(reason: &'static str, source: Option<crate::error::Cause>) -> PkiError {
    PkiError::MalformedPem { what: "a certificate", reason, source }
}
