//! Certificate authorities: our own, or one whose certificate and key somebody brings along.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyUsagePurpose,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::FromDer as _;

use crate::key::SigningPair;
use crate::{DistinguishedName, Issued, KeyAlgorithm, LeafRequest, PkiError, PrivateKeyPem, Usage, Validity};
use crate::{csr, key, leaf, name, pem, x509};

/// A CA that can sign. `Debug` shows its subject and validity, never its key.
///
/// The key is in memory for as long as the value lives; let it go when all is signed. What this crate holds
/// of it is zeroed on drop, ring's own working copy is not.
pub struct CertificateAuthority {
    certificate_pem: String,
    /// Its own certificate first, then those above it.
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyPem,
    issuer: Issuer<'static, SigningPair>,
    subject: String,
    validity: Validity,
}

impl CertificateAuthority {
    /// Makes a new self-signed CA that may sign leaves but no further CAs.
    ///
    /// ```
    /// use caracal_pki::{CertificateAuthority, DistinguishedName, KeyAlgorithm, Validity, inventory};
    ///
    /// # let now = time::macros::datetime!(2026-11-22 12:00 UTC);
    /// let name = DistinguishedName::common_name("caracal data CA").with_organization("Caracal");
    /// let ca = CertificateAuthority::create(name, KeyAlgorithm::EcdsaP256, Validity::days_from(now, 365))?;
    /// assert_eq!(ca.subject(), "CN=caracal data CA,O=Caracal");
    /// assert!(inventory::inspect_pem(ca.certificate_pem())?[0].is_ca);
    /// # Ok::<(), caracal_pki::PkiError>(())
    /// ```
    ///
    /// # Errors
    /// [`PkiError::InvalidName`], [`PkiError::InvalidValidity`], [`PkiError::KeyGeneration`].
    pub fn create(
        subject: DistinguishedName,
        algorithm: KeyAlgorithm,
        validity: Validity,
    ) -> Result<Self, PkiError> {
        let validity = validity.checked()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject.to_rcgen()?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        leaf::set_issued(&mut params, validity)?;
        let (key, pair) = PrivateKeyPem::generate(algorithm)?;
        let certificate = params
            .self_signed(&pair)
            .map_err(|error| PkiError::Signing { subject: subject.to_string(), source: error.into() })?;
        Self::assemble(vec![certificate.into()], key, pair)
    }

    /// Takes a CA that exists: its certificate, followed by those above it if it is an intermediate, and
    /// its key. An expired one is accepted, since [`inventory`](crate::inventory) reports that and renewal
    /// needs it; what it issues must end within its validity all the same.
    ///
    /// ```
    /// use caracal_pki::{CertificateAuthority, PkiError, PrivateKeyPem};
    /// # use caracal_pki::{DistinguishedName, KeyAlgorithm, Validity};
    ///
    /// # let validity = Validity::days_from(time::macros::datetime!(2026-11-22 12:00 UTC), 365);
    /// # let make = |name| {
    /// #     let name = DistinguishedName::common_name(name);
    /// #     CertificateAuthority::create(name, KeyAlgorithm::EcdsaP256, validity)
    /// # };
    /// # let (own, other) = (make("own CA")?, make("other CA")?);
    /// # let (certificate_text, key_text) = (own.certificate_pem(), own.key_pem().expose_pem());
    /// let key = PrivateKeyPem::parse(key_text)?;
    /// let ca = CertificateAuthority::from_pem(certificate_text, &key)?;
    /// assert_eq!(ca.subject(), "CN=own CA");
    ///
    /// let refused = CertificateAuthority::from_pem(certificate_text, other.key_pem());
    /// assert!(matches!(refused, Err(PkiError::KeyMismatch { .. })));
    /// # Ok::<(), PkiError>(())
    /// ```
    ///
    /// # Errors
    /// [`PkiError::NotACa`] when the certificate is not that of a CA, may not sign certificates, or has a
    /// subject that cannot be repeated octet for octet as issuer; [`PkiError::KeyMismatch`];
    /// [`PkiError::MalformedPem`].
    pub fn from_pem(certificate_pem: &str, key_pem: &PrivateKeyPem) -> Result<Self, PkiError> {
        let chain = pem::certificates(certificate_pem.as_bytes())?;
        let pair = key_pem.to_pair()?;
        check_authority(&chain, &pair)?;
        let authority = Self::assemble(chain, key_pem.clone(), pair)?;
        authority.check_issuer_name()?;
        Ok(authority)
    }

    /// The CA's certificate as PEM text, followed by those above it if they were given.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// What peers must trust: the topmost certificate known, the CA's own unless it is an intermediate.
    #[must_use]
    pub fn trust_anchor_pem(&self) -> String {
        self.chain.last().map(|der| pem::encode_certificate(der)).unwrap_or_default()
    }

    /// The CA's private key.
    #[must_use]
    pub const fn key_pem(&self) -> &PrivateKeyPem {
        &self.key
    }

    /// The CA's subject as RFC 2253 text.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The period within which the CA can issue.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// Generates a key and issues a certificate for it. If the CA's validity begins later than the one asked
    /// for, so does the certificate's: a CA may have been made a moment ago by other tools, which make no
    /// allowance for clocks that differ.
    ///
    /// # Errors
    /// [`PkiError::OutsideCaValidity`], [`PkiError::NoSubjectAltName`], [`PkiError::InvalidName`],
    /// [`PkiError::InvalidSan`], [`PkiError::InvalidValidity`], [`PkiError::KeyGeneration`],
    /// [`PkiError::Signing`].
    pub fn issue(&self, request: &LeafRequest) -> Result<Issued, PkiError> {
        let subject = request.subject.to_string();
        let validity = self.within(&subject, request.validity)?;
        // Checked before a key is generated: an RSA key takes seconds.
        request.params(false)?;
        let (key, pair) = PrivateKeyPem::generate(request.algorithm)?;
        let mut params = request.params(key::is_rsa(&pair))?;
        leaf::set_issued(&mut params, validity)?;
        let certificate = params
            .signed_by(&pair, &self.issuer)
            .map_err(|error| PkiError::Signing { subject, source: error.into() })?;
        Issued::new(self.chain_for(certificate.into()), key)
    }

    /// Signs a certificate request and returns the chain as PEM text, leaf first.
    ///
    /// Subject, public key and alternative names are the request's; usage and validity are the caller's,
    /// whatever the request asks for. Look at the names with [`CertificateRequest`](crate::CertificateRequest)
    /// or `openssl req -text` before signing.
    ///
    /// ```
    /// use caracal_pki::{CertificateAuthority, Usage, Validity, inventory};
    /// # use caracal_pki::{CertificateRequest, DistinguishedName, KeyAlgorithm, LeafRequest};
    ///
    /// # let now = time::macros::datetime!(2026-11-22 12:00 UTC);
    /// # let name = DistinguishedName::common_name("caracal data CA");
    /// # let ca = CertificateAuthority::create(name, KeyAlgorithm::EcdsaP256, Validity::days_from(now, 365))?;
    /// # let request = CertificateRequest::generate(&LeafRequest {
    /// #     subject: DistinguishedName::common_name("a service"),
    /// #     sans: Vec::new(),
    /// #     usage: Usage::Client,
    /// #     algorithm: KeyAlgorithm::EcdsaP256,
    /// #     validity: Validity::days_from(now, 90),
    /// # })?;
    /// # let csr_text = request.csr_pem();
    /// let chain = ca.sign_request(csr_text, Usage::Client, Validity::days_from(now, 90))?;
    /// let leaf = &inventory::inspect_pem(&chain)?[0];
    /// assert_eq!(leaf.subject, "CN=a service");
    /// assert_eq!(leaf.usages, ["digitalSignature", "clientAuth"]);
    /// # Ok::<(), caracal_pki::PkiError>(())
    /// ```
    ///
    /// # Errors
    /// [`PkiError::RefusedRequest`] when its signature is wrong, when it asks to be a CA or has extensions,
    /// names or a form of key that would be lost; [`PkiError::NoSubjectAltName`], [`PkiError::OutsideCaValidity`],
    /// [`PkiError::InvalidValidity`], [`PkiError::MalformedPem`].
    pub fn sign_request(&self, csr_pem: &str, usage: Usage, validity: Validity) -> Result<String, PkiError> {
        let der = pem::certificate_request(csr_pem.as_bytes())?;
        let asked = csr::Asked::parse(&der)?;
        let validity = self.within(&asked.subject, validity)?;
        if asked.sans.is_empty() && usage.is_server() {
            return Err(PkiError::NoSubjectAltName { subject: asked.subject });
        }
        let mut request = CertificateSigningRequestParams::from_der(&der)
            .map_err(|error| csr::refused_because("it cannot be read as PKCS#10 request", error.into()))?;
        // The key as the request writes it. rcgen's reader guesses the curve from the signature, and is wrong
        // where hash and curve differ in length: 'openssl req' signs with SHA-256 also for P-384.
        let key = SubjectPublicKeyInfo::from_der(&asked.spki).map_err(|error| {
            csr::refused_because("its public key is of a kind not supported", error.into())
        })?;
        leaf::set_leaf_extensions(&mut request.params, usage, asked.is_rsa);
        leaf::set_issued(&mut request.params, validity)?;
        let certificate = request
            .params
            .signed_by(&key, &self.issuer)
            .map_err(|error| PkiError::Signing { subject: asked.subject.clone(), source: error.into() })?;
        let issued = x509::parse(certificate.der())?;
        if issued.subject().as_raw() != asked.raw_subject {
            return Err(csr::refused(
                "its subject uses an attribute twice or several in one part, which would be lost",
            ));
        }
        if issued.public_key().raw != asked.spki {
            return Err(csr::refused("its public key is written in a form that would be lost"));
        }
        Ok(self.chain_for(certificate.into()).iter().map(|der| pem::encode_certificate(der)).collect())
    }

    fn assemble(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyPem,
        pair: SigningPair,
    ) -> Result<Self, PkiError> {
        let own = chain.first().map(AsRef::as_ref).unwrap_or_default();
        let parsed = x509::parse(own)?;
        let subject = name::rfc2253(parsed.subject());
        let validity = Validity {
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
        };
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(own), pair).map_err(|_| PkiError::NotACa {
            subject: subject.clone(),
            reason: "its subject or extensions are of a kind that cannot be repeated; sign by certificate request",
        })?;
        let certificate_pem = chain.iter().map(|der| pem::encode_certificate(der)).collect();
        Ok(Self { certificate_pem, chain, key, issuer, subject, validity })
    }

    /// A name that comes out different as issuer breaks every chain: rcgen keeps one value an attribute.
    fn check_issuer_name(&self) -> Result<(), PkiError> {
        let (_, pair) = PrivateKeyPem::generate(KeyAlgorithm::EcdsaP256)?;
        let trial = CertificateParams::default()
            .signed_by(&pair, &self.issuer)
            .map_err(|error| PkiError::Signing { subject: self.subject.clone(), source: error.into() })?;
        let own = self.chain.first().map(AsRef::as_ref).unwrap_or_default();
        if x509::parse(trial.der())?.issuer().as_raw() == x509::parse(own)?.subject().as_raw() {
            return Ok(());
        }
        Err(PkiError::NotACa {
            subject: self.subject.clone(),
            reason: "its subject uses an attribute twice or several in one part; let it sign certificate requests",
        })
    }

    fn within(&self, subject: &str, validity: Validity) -> Result<Validity, PkiError> {
        let validity = validity.checked()?;
        let not_before = validity.not_before.max(self.validity.not_before);
        if not_before < validity.not_after && validity.not_after <= self.validity.not_after {
            return Ok(Validity { not_before, ..validity });
        }
        Err(PkiError::OutsideCaValidity {
            subject: subject.to_owned(),
            not_before: validity.not_before,
            not_after: validity.not_after,
            ca: self.subject.clone(),
            ca_not_before: self.validity.not_before,
            ca_not_after: self.validity.not_after,
        })
    }

    /// The leaf, and those CAs of ours that a peer does not trust by itself.
    fn chain_for(&self, leaf: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        let intermediates = self.chain.iter().filter(|der| {
            !X509::from_der(der).is_ok_and(|(_, certificate)| x509::is_self_issued(&certificate))
        });
        std::iter::once(leaf).chain(intermediates.cloned()).collect()
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("subject", &self.subject)
            .field("validity", &self.validity)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

type X509<'a> = x509_parser::certificate::X509Certificate<'a>;

/// The first certificate must be a CA's, have this key, and be signed by the next, and so on.
fn check_authority(chain: &[CertificateDer<'static>], pair: &SigningPair) -> Result<(), PkiError> {
    let parsed = chain.iter().map(|der| x509::parse(der)).collect::<Result<Vec<_>, _>>()?;
    for certificate in &parsed {
        let refuse = |reason| PkiError::NotACa { subject: name::rfc2253(certificate.subject()), reason };
        if !x509::is_ca(certificate) {
            return Err(refuse(
                "its basic constraints do not say CA; give the CA's certificate, not a leaf's",
            ));
        }
        if !x509::may_sign_certificates(certificate) {
            return Err(refuse("its key usage lacks keyCertSign"));
        }
        if !name::is_writable(certificate.subject()) {
            return Err(refuse(
                "its subject has an attribute of a kind that cannot be repeated; let it sign certificate requests",
            ));
        }
    }
    if let Some(own) = parsed.first()
        && !key::is_public_half(pair, &own.public_key().subject_public_key.data)
    {
        return Err(PkiError::KeyMismatch {
            subject: name::rfc2253(own.subject()),
            serial_hex: x509::serial_hex(own),
        });
    }
    for pair in parsed.windows(2) {
        if !x509::is_issued_by(&pair[0], &pair[1]) {
            return Err(PkiError::NotACa {
                subject: name::rfc2253(pair[0].subject()),
                reason: "the certificate that follows it did not sign it; give the CA first, then those above it",
            });
        }
    }
    Ok(())
}
