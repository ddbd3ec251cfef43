//! What can go wrong while certificates are made, read or checked. File trouble is
//! [`store::StoreError`](crate::store::StoreError).

use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Error below one of ours; its type belongs to a library and is no part of this crate's interface.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Failure to make, read or check a certificate, a key or a store. No text ever holds key material.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A configuration names a key algorithm that is not known.
    #[error("unknown key algorithm '{value}'; use one of ecdsa-p256, rsa-2048, rsa-3072, rsa-4096")]
    UnknownAlgorithm {
        /// What was given.
        value: String,
    },
    /// A part of a distinguished name cannot be written into a certificate.
    #[error("the {field} '{value}' of a certificate name {reason}")]
    InvalidName {
        /// Which part: common name, organization, organizational unit.
        field: &'static str,
        /// What was given, control characters escaped.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A subject alternative name is neither a DNS name nor an IP address.
    #[error("the subject alternative name '{value}' {reason}")]
    InvalidSan {
        /// What was given, control characters escaped.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A server certificate without a subject alternative name: no client could verify it.
    #[error(
        "the server certificate for '{subject}' has no subject alternative name, so every client would \
         refuse it; list the host names and addresses under which it is reached"
    )]
    NoSubjectAltName {
        /// The certificate's subject.
        subject: String,
    },
    /// A period of validity that is empty or cannot be written.
    #[error("a certificate cannot be valid from {} to {}: {reason}", rfc3339(.not_before), rfc3339(.not_after))]
    InvalidValidity {
        /// Begin that was asked for.
        not_before: OffsetDateTime,
        /// End that was asked for.
        not_after: OffsetDateTime,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A certificate would outlive its CA, or end before it begins.
    #[error(
        "the certificate for '{subject}' is to be valid from {} to {}, but its CA '{ca}' only from {} to {}; \
         ask for a shorter period or replace the CA first",
        rfc3339(.not_before), rfc3339(.not_after), rfc3339(.ca_not_before), rfc3339(.ca_not_after)
    )]
    OutsideCaValidity {
        /// Subject of the certificate.
        subject: String,
        /// Begin that was asked for.
        not_before: OffsetDateTime,
        /// End that was asked for.
        not_after: OffsetDateTime,
        /// Subject of the CA.
        ca: String,
        /// Begin of the CA's validity.
        ca_not_before: OffsetDateTime,
        /// End of the CA's validity.
        ca_not_after: OffsetDateTime,
    },
    /// PEM text that cannot be read, or does not hold what was looked for.
    #[error("cannot read {what} from PEM text: {reason}")]
    MalformedPem {
        /// What was looked for.
        what: &'static str,
        /// Why it is not there.
        reason: &'static str,
        /// What the reader said, if it failed.
        #[source]
        source: Option<Cause>,
    },
    /// A private key of a kind, or in a form, that cannot be used.
    #[error("cannot use the private key: {reason}")]
    UnusableKey {
        /// What is wrong and how to convert the key.
        reason: &'static str,
    },
    /// A key was to be generated and was not.
    #[error("cannot generate a key ({algorithm})")]
    KeyGeneration {
        /// Kind of the key.
        algorithm: crate::KeyAlgorithm,
        /// What the generator said.
        #[source]
        source: Cause,
    },
    /// A certificate that was to act as CA is none, or not one that can be used here.
    #[error("the certificate '{subject}' cannot act as CA: {reason}")]
    NotACa {
        /// Subject of the certificate.
        subject: String,
        /// What is missing.
        reason: &'static str,
    },
    /// A private key and a certificate do not belong together.
    #[error(
        "the private key does not belong to the certificate '{subject}' (serial {serial_hex}); \
         look for the key that was generated with it"
    )]
    KeyMismatch {
        /// Subject of the certificate.
        subject: String,
        /// Serial number of the certificate in hexadecimal.
        serial_hex: String,
    },
    /// A certificate request that this CA will not sign.
    #[error("the certificate request is refused: {reason}")]
    RefusedRequest {
        /// What is wrong with it.
        reason: String,
        /// What the reader said, if it failed.
        #[source]
        source: Option<Cause>,
    },
    /// The chain that an outside CA returned is not what was asked for.
    #[error("the certificate chain from the outside CA is refused: {reason}")]
    RefusedChain {
        /// What differs from the request, and what to ask the CA for.
        reason: String,
    },
    /// Signing failed.
    #[error("cannot sign the certificate for '{subject}'")]
    Signing {
        /// Subject of the certificate.
        subject: String,
        /// What the signer said.
        #[source]
        source: Cause,
    },
    /// The operating system gave no randomness for a serial number.
    #[error("the operating system gave no random octets for a serial number")]
    NoRandomness,
    /// A PKCS#12 store cannot be written with this input.
    #[error("cannot write the PKCS#12 store: {reason}")]
    Pkcs12 {
        /// What is wrong.
        reason: &'static str,
        /// What the writer said, if it failed.
        #[source]
        source: Option<Cause>,
    },
}

/// A point in time as certificates and people write it.
pub(crate) fn rfc3339(at: &OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}
