//! A certificate chain together with the private key of its leaf.

use rustls::pki_types::CertificateDer;

use crate::{PkiError, PrivateKeyPem, key, name, pem, x509};

/// A leaf certificate with the chain up to, not including, a self-signed root, and its private key.
#[derive(Clone, Debug)]
pub struct Issued {
    chain_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyPem,
    serial_hex: String,
}

impl Issued {
    /// Puts a chain and a key that were read from files together again.
    ///
    /// ```
    /// # use caracal_pki::*;
    /// # let now = time::OffsetDateTime::now_utc();
    /// # let ca = CertificateAuthority::create(
    /// #     DistinguishedName::common_name("ca"), KeyAlgorithm::EcdsaP256, Validity::days_from(now, 2))?;
    /// # let issued = ca.issue(&LeafRequest {
    /// #     subject: DistinguishedName::common_name("a"), sans: vec![], usage: Usage::Client,
    /// #     algorithm: KeyAlgorithm::EcdsaP256, validity: Validity::days_from(now, 1) })?;
    /// let again = Issued::from_pem(issued.chain_pem(), issued.key_pem())?;
    /// assert_eq!(again.serial_hex(), issued.serial_hex());
    /// # Ok::<(), PkiError>(())
    /// ```
    ///
    /// # Errors
    /// [`PkiError::MalformedPem`] when there is no certificate, [`PkiError::KeyMismatch`] when the key is
    /// not that of the first one.
    pub fn from_pem(chain_pem: &str, key: &PrivateKeyPem) -> Result<Self, PkiError> {
        Self::new(pem::certificates(chain_pem.as_bytes())?, key.clone())
    }

    /// From certificates, leaf first, at least one.
    pub(crate) fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyPem) -> Result<Self, PkiError> {
        let leaf = x509::parse(chain.first().map(AsRef::as_ref).unwrap_or_default())?;
        let serial_hex = x509::serial_hex(&leaf);
        if !key::is_public_half(&key.to_pair()?, &leaf.public_key().subject_public_key.data) {
            return Err(PkiError::KeyMismatch { subject: name::rfc2253(leaf.subject()), serial_hex });
        }
        let chain_pem = chain.iter().map(|der| pem::encode_certificate(der)).collect();
        Ok(Self { chain_pem, chain, key, serial_hex })
    }

    /// The chain as PEM text: the leaf first, then intermediate CAs, without a self-signed root.
    #[must_use]
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The leaf's private key.
    #[must_use]
    pub const fn key_pem(&self) -> &PrivateKeyPem {
        &self.key
    }

    /// The leaf's serial number in lower-case hexadecimal.
    #[must_use]
    pub fn serial_hex(&self) -> &str {
        &self.serial_hex
    }

    /// The chain in DER, leaf first.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}
