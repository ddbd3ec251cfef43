//! Certificates from an outside CA: a key and a request of ours, its chain, and the check of what came back.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;
use x509_parser::prelude::FromDer as _;

use crate::error::Cause;
use crate::{Issued, LeafRequest, PkiError, PrivateKeyPem, SubjectAltName, Usage, key, name, pem, x509};

/// A certificate request (PKCS#10) with the private key that it is for.
///
/// Keep both texts, the key private, until the outside CA answers; [`CertificateRequest::from_pem`] puts
/// them together again and [`CertificateRequest::accept`] checks the answer.
///
/// ```
/// use caracal_pki::{
///     CertificateAuthority, CertificateRequest, DistinguishedName, KeyAlgorithm, LeafRequest, Usage, Validity,
/// };
///
/// # let now = time::macros::datetime!(2026-11-22 12:00 UTC);
/// # let name = DistinguishedName::common_name("outside CA");
/// # let outside = CertificateAuthority::create(name, KeyAlgorithm::EcdsaP256, Validity::days_from(now, 365))?;
/// let request = CertificateRequest::generate(&LeafRequest {
///     subject: DistinguishedName::common_name("caracal-kafka-1"),
///     sans: vec!["kafka-1.example".parse()?],
///     usage: Usage::ServerAndClient,
///     algorithm: KeyAlgorithm::EcdsaP256,
///     validity: Validity::days_from(now, 90),
/// })?;
/// let (to_send, to_keep) = (request.csr_pem(), request.key_pem());
///
/// // The outside CA signs; here a value of ours plays it.
/// let answer = outside.sign_request(to_send, Usage::ServerAndClient, Validity::days_from(now, 90))?;
///
/// // Days later, from the texts that were kept.
/// let request = CertificateRequest::from_pem(to_send, to_keep)?;
/// let issued = request.accept(&answer, outside.certificate_pem())?;
/// assert_eq!(issued.key_pem().expose_pem(), to_keep.expose_pem());
///
/// // A certificate that is somebody else's is refused.
/// assert!(request.accept(outside.certificate_pem(), outside.certificate_pem()).is_err());
/// # Ok::<(), caracal_pki::PkiError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    csr_pem: String,
    key: PrivateKeyPem,
    asked: Asked,
}

impl CertificateRequest {
    /// Generates a key and a request for it. The period is the outside CA's to decide: a request cannot
    /// name one, so [`LeafRequest::validity`] is not used.
    ///
    /// # Errors
    /// [`PkiError::NoSubjectAltName`], [`PkiError::InvalidName`], [`PkiError::InvalidSan`],
    /// [`PkiError::KeyGeneration`], [`PkiError::Signing`].
    pub fn generate(request: &LeafRequest) -> Result<Self, PkiError> {
        request.params(false)?;
        let (key, pair) = PrivateKeyPem::generate(request.algorithm)?;
        let csr = request.params(key::is_rsa(&pair))?.serialize_request(&pair).map_err(|error| {
            PkiError::Signing { subject: request.subject.to_string(), source: error.into() }
        })?;
        let csr_pem = pem::encode("CERTIFICATE REQUEST", csr.der()).to_string();
        Ok(Self { csr_pem, key, asked: Asked::parse(csr.der())? })
    }

    /// Puts a request and its key that were read from files together again.
    ///
    /// # Errors
    /// [`PkiError::RefusedRequest`] when the request is broken or the key is another one's,
    /// [`PkiError::MalformedPem`].
    pub fn from_pem(csr_pem: &str, key: &PrivateKeyPem) -> Result<Self, PkiError> {
        let der = pem::certificate_request(csr_pem.as_bytes())?;
        let asked = Asked::parse(&der)?;
        if !key::is_public_half(&key.to_pair()?, &asked.public_key) {
            return Err(refused("the private key given with it is not the one that it was made for"));
        }
        let csr_pem = pem::encode("CERTIFICATE REQUEST", &der).to_string();
        Ok(Self { csr_pem, key: key.clone(), asked })
    }

    /// The request as PEM text, to be sent to the outside CA.
    #[must_use]
    pub fn csr_pem(&self) -> &str {
        &self.csr_pem
    }

    /// The private key; it never leaves.
    #[must_use]
    pub const fn key_pem(&self) -> &PrivateKeyPem {
        &self.key
    }

    /// The requested subject as RFC 2253 text.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.asked.subject
    }

    /// The requested alternative names.
    #[must_use]
    pub fn sans(&self) -> &[SubjectAltName] {
        &self.asked.sans
    }

    /// The requested usage; none when the request names no extended key usage.
    #[must_use]
    pub const fn usage(&self) -> Option<Usage> {
        self.asked.usage()
    }

    /// Takes the chain that the outside CA returned, in any order, and the certificates of the CAs that
    /// peers trust. The leaf must have our key, subject, names (more are let through) and usages, must not
    /// be a CA, and a chain of valid signatures must lead from it to one of the trusted CAs.
    ///
    /// Validity is not looked at: no clock here. [`inventory`](crate::inventory) tells.
    ///
    /// # Errors
    /// [`PkiError::RefusedChain`] with what differs, [`PkiError::MalformedPem`].
    pub fn accept(&self, chain_pem: &str, ca_pem: &str) -> Result<Issued, PkiError> {
        let received = pem::certificates(chain_pem.as_bytes())?;
        let anchors = pem::certificates(ca_pem.as_bytes())?;
        let parsed = received.iter().map(|der| x509::parse(der)).collect::<Result<Vec<_>, _>>()?;
        let anchors = anchors.iter().map(|der| x509::parse(der)).collect::<Result<Vec<_>, _>>()?;
        let leaf = parsed
            .iter()
            .position(|certificate| certificate.public_key().subject_public_key.data == self.asked.public_key)
            .ok_or_else(|| {
                refused_chain("no certificate in it has the key of the request; was another request signed?")
            })?;
        self.check_leaf(&parsed[leaf])?;
        let chain = path(&parsed, leaf, &anchors)?;
        let chain: Vec<CertificateDer<'static>> =
            chain.into_iter().map(|index| received[index].clone()).collect();
        Issued::new(chain, self.key.clone())
    }

    fn check_leaf(&self, leaf: &X509Certificate<'_>) -> Result<(), PkiError> {
        if x509::is_ca(leaf) {
            return Err(refused_chain(
                "the certificate for our key is a CA's; ask for an end entity certificate",
            ));
        }
        if leaf.subject().as_raw() != self.asked.raw_subject {
            let (got, asked) = (name::rfc2253(leaf.subject()), &self.asked.subject);
            if got != *asked {
                return Err(refused_chain(format!(
                    "its subject is '{got}' where '{asked}' was asked for; peers know the node by that name"
                )));
            }
        }
        let names = x509::alternative_names(leaf);
        let missing: Vec<String> =
            self.asked.sans.iter().filter(|san| !names.contains(san)).map(ToString::to_string).collect();
        if !missing.is_empty() {
            return Err(refused_chain(format!(
                "it lacks the subject alternative names {}; ask the CA to copy them from the request",
                missing.join(", ")
            )));
        }
        self.check_usages(leaf)
    }

    fn check_usages(&self, leaf: &X509Certificate<'_>) -> Result<(), PkiError> {
        let unreadable = |_| refused_chain("its key usage extensions cannot be read");
        // An absent extension restricts nothing (RFC 5280, 4.2.1.3 and 4.2.1.12).
        if let Some(usage) = leaf.key_usage().map_err(unreadable)?
            && !usage.value.digital_signature()
        {
            return Err(refused_chain(
                "its key usage lacks digitalSignature, which every TLS handshake needs",
            ));
        }
        if let Some(usage) = leaf.extended_key_usage().map_err(unreadable)? {
            let usage = usage.value;
            let mut lacking = Vec::new();
            if self.asked.server && !usage.server_auth && !usage.any {
                lacking.push("serverAuth");
            }
            if self.asked.client && !usage.client_auth && !usage.any {
                lacking.push("clientAuth");
            }
            if !lacking.is_empty() {
                return Err(refused_chain(format!(
                    "its extended key usage lacks {}; ask the CA for a profile that has it",
                    lacking.join(" and ")
                )));
            }
        }
        Ok(())
    }
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) subject: String,
    pub(crate) raw_subject: Vec<u8>,
    pub(crate) sans: Vec<SubjectAltName>,
    /// SubjectPublicKeyInfo as the request has it, DER.
    pub(crate) spki: Vec<u8>,
    pub(crate) is_rsa: bool,
    public_key: Vec<u8>,
    server: bool,
    client: bool,
}

impl Asked {
    /// Reads a request, checks that it is signed with its own key and asks for nothing unusual.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, PkiError> {
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|error| refused_because("it is not a PKCS#10 request", error.into()))?;
        if !rest.is_empty() {
            return Err(refused("octets follow it inside its PEM section"));
        }
        if request.verify_signature().is_err() {
            return Err(refused(
                "its signature is not that of its own key, or of a kind that is not supported",
            ));
        }
        let info = &request.certification_request_info;
        if !name::is_writable(&info.subject) {
            return Err(refused("its subject has an attribute of a kind that cannot be written again"));
        }
        let mut asked = Self {
            subject: name::rfc2253(&info.subject),
            raw_subject: info.subject.as_raw().to_vec(),
            sans: Vec::new(),
            spki: info.subject_pki.raw.to_vec(),
            is_rsa: info.subject_pki.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION,
            public_key: info.subject_pki.subject_public_key.data.to_vec(),
            server: false,
            client: false,
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            match extension {
                ParsedExtension::SubjectAlternativeName(names) => {
                    for general in &names.general_names {
                        asked.sans.push(x509::alternative_name(general).ok_or_else(|| {
                            refused("it asks for an alternative name that is neither DNS name nor IP address")
                        })?);
                    }
                }
                ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                    return Err(refused("it asks to become a CA"));
                }
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    asked.server |= usage.server_auth;
                    asked.client |= usage.client_auth;
                }
                ParsedExtension::BasicConstraints(_) | ParsedExtension::KeyUsage(_) => {}
                _ => return Err(refused("it asks for an extension that is not supported")),
            }
        }
        asked.sans = SubjectAltName::checked(&asked.sans)?;
        Ok(asked)
    }

    /// The usages that the request names, if any.
    const fn usage(&self) -> Option<Usage> {
        match (self.server, self.client) {
            (true, true) => Some(Usage::ServerAndClient),
            (true, false) => Some(Usage::Server),
            (false, true) => Some(Usage::Client),
            (false, false) => None,
        }
    }
}

pub(crate) fn refused(reason: impl Into<String>) -> PkiError {
    PkiError::RefusedRequest { reason: reason.into(), source: None }
}

pub(crate) fn refused_because(reason: impl Into<String>, source: Cause) -> PkiError {
    PkiError::RefusedRequest { reason: reason.into(), source: Some(source) }
}

fn refused_chain(reason: impl Into<String>) -> PkiError {
    PkiError::RefusedChain { reason: reason.into() }
}

/// Indices from the leaf up to the last certificate below a trusted CA.
fn path(
    received: &[X509Certificate<'_>],
    leaf: usize,
    anchors: &[X509Certificate<'_>],
) -> Result<Vec<usize>, PkiError> {
    let mut path = vec![leaf];
    let mut current = leaf;
    loop {
        if anchors.iter().any(|anchor| x509::is_issued_by(&received[current], anchor)) {
            return Ok(path);
        }
        let next = (0..received.len())
            .find(|index| !path.contains(index) && x509::is_issued_by(&received[current], &received[*index]));
        match next {
            Some(index) => {
                path.push(index);
                current = index;
            }
            None => {
                return Err(refused_chain(format!(
                    "no certificate of a CA that signed '{}' ('{}' by name) is in the chain or among the trusted \
                     CAs; ask the CA for its intermediate certificates, or add its root",
                    name::rfc2253(received[current].subject()),
                    name::rfc2253(received[current].issuer())
                )));
            }
        }
    }
}
