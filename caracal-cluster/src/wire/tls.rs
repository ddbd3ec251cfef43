//! What we present and whom we trust in TLS, parsed once.
//!
//! rustls with the ring provider, named explicitly; TLS 1.2 and 1.3. Session resumption is off, because a
//! resumed session would skip the very certificates that a probe wants to see refused.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};

/// A certificate with its key, and the authority that is trusted, as PEM.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The certificates that are trusted.
    pub ca_pem: String,
    /// Our own certificate, leaf first.
    pub chain_pem: String,
    /// Our private key (PKCS#8).
    pub key_pem: SecretString,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("key_pem", &"[private key]").finish_non_exhaustive()
    }
}

/// Ready-made TLS settings, cheap to clone and shared by every connection of one identity.
#[derive(Clone)]
pub struct TlsConfig {
    client: Arc<ClientConfig>,
    with_certificate: bool,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").field("with_certificate", &self.with_certificate).finish_non_exhaustive()
    }
}

/// Why PEM texts do not make a TLS configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// A text is not PEM.
    #[error("{what} cannot be read as PEM")]
    Pem {
        /// Which text.
        what: &'static str,
        /// What the parser says.
        #[source]
        source: pem::Error,
    },
    /// A text holds no certificate.
    #[error("{what} holds no certificate")]
    Empty {
        /// Which text.
        what: &'static str,
    },
    /// rustls refuses the certificates or the key.
    #[error("{what} cannot be used (does the key belong to the certificate?)")]
    Refused {
        /// Which part.
        what: &'static str,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
}

impl TlsConfig {
    /// Trusts `identity.ca_pem` and presents the identity's certificate.
    ///
    /// # Errors
    /// When a text is not PEM, is empty, or key and certificate do not belong together.
    pub fn mutual(identity: &TlsIdentity) -> Result<Self, TlsConfigError> {
        let chain = certificates("the certificate chain", &identity.chain_pem)?;
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.expose_secret().as_bytes())
            .map_err(|source| TlsConfigError::Pem { what: "the private key", source })?;
        let client = trusting(&identity.ca_pem)?
            .with_client_auth_cert(chain, key)
            .map_err(|source| TlsConfigError::Refused { what: "the certificate with its key", source })?;
        Ok(Self::from_client(client, true))
    }

    /// Trusts `ca_pem` and presents nothing.
    ///
    /// # Errors
    /// When the text is not PEM or holds no certificate.
    pub fn without_certificate(ca_pem: &str) -> Result<Self, TlsConfigError> {
        Ok(Self::from_client(trusting(ca_pem)?.with_no_client_auth(), false))
    }

    /// Whether a client certificate is presented.
    pub fn presents_certificate(&self) -> bool {
        self.with_certificate
    }

    /// Trusts no server; for tests that must not get so far.
    #[cfg(test)]
    pub(crate) fn trusting_nobody() -> Self {
        let builder = with_roots(RootCertStore::empty()).expect("TLS 1.2 and 1.3 are compiled in");
        Self::from_client(builder.with_no_client_auth(), false)
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    fn from_client(mut client: ClientConfig, with_certificate: bool) -> Self {
        client.resumption = rustls::client::Resumption::disabled();
        Self { client: Arc::new(client), with_certificate }
    }
}

/// A client's settings that lack only the client's own certificate.
type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn trusting(ca_pem: &str) -> Result<Builder, TlsConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the trusted authority", ca_pem)? {
        roots
            .add(certificate)
            .map_err(|source| TlsConfigError::Refused { what: "the trusted authority", source })?;
    }
    with_roots(roots)
}

fn with_roots(roots: RootCertStore) -> Result<Builder, TlsConfigError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|source| TlsConfigError::Refused { what: "TLS 1.2 and 1.3", source })?;
    Ok(builder.with_root_certificates(roots))
}

fn certificates(what: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let found = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsConfigError::Pem { what, source })?;
    if found.is_empty() { Err(TlsConfigError::Empty { what }) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_pem_is_named() {
        let error = TlsConfig::without_certificate("nothing here").unwrap_err();
        assert_eq!(error.to_string(), "the trusted authority holds no certificate");
        let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            TlsConfig::without_certificate(broken),
            Err(TlsConfigError::Pem { what: "the trusted authority", .. })
        ));
    }

    #[test]
    fn a_debug_print_shows_no_key() {
        let identity = TlsIdentity {
            ca_pem: String::new(),
            chain_pem: String::new(),
            key_pem: "-----BEGIN SECRET".to_owned().into(),
        };
        assert!(!format!("{identity:?}").contains("BEGIN"));
    }
}
