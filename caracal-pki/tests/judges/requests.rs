//! Certificate requests to an outside CA (here another value of ours, or rcgen by hand) and the check of
//! what comes back.

use caracal_pki::{
    CertificateAuthority, CertificateRequest, KeyAlgorithm, LeafRequest, PkiError, Usage, inventory,
};
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

use crate::fixture::{ca, leaf, now, request};

/// Signs the request as an outside CA would that changes it.
fn sign(
    ca: &CertificateAuthority,
    csr_pem: &str,
    change: impl FnOnce(&mut rcgen::CertificateParams),
) -> String {
    let key = KeyPair::from_pem(ca.key_pem().expose_pem()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(ca.certificate_pem(), key).unwrap();
    let mut csr = CertificateSigningRequestParams::from_pem(csr_pem).unwrap();
    csr.params.not_before = now();
    csr.params.not_after = now() + time::Duration::days(1);
    change(&mut csr.params);
    csr.signed_by(&issuer).unwrap().pem()
}

#[test]
fn a_request_comes_back_as_certificate() {
    let outside = ca();
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
        let made =
            CertificateRequest::generate(&LeafRequest { algorithm, ..request(Usage::ServerAndClient) })
                .unwrap();
        // Weeks may lie between: only the two texts are kept.
        let kept = CertificateRequest::from_pem(made.csr_pem(), made.key_pem()).unwrap();
        assert_eq!(kept.subject(), "CN=caracal-kafka-1,OU=Kafka,O=Caracal");
        assert_eq!(kept.sans(), request(Usage::Server).sans);
        assert_eq!(kept.usage(), Some(Usage::ServerAndClient));

        let validity = request(Usage::Server).validity;
        let chain = outside.sign_request(kept.csr_pem(), Usage::ServerAndClient, validity).unwrap();
        let issued = kept.accept(&chain, outside.certificate_pem()).unwrap();
        assert!(inventory::key_matches(issued.chain_pem(), kept.key_pem()).unwrap());
        // Order and extra certificates do not matter; the root does not become part of the chain.
        let shuffled = format!("{}{}{chain}", ca().certificate_pem(), outside.certificate_pem());
        assert_eq!(
            kept.accept(&shuffled, outside.certificate_pem()).unwrap().chain_pem(),
            issued.chain_pem()
        );
    }
}

#[test]
fn an_absent_usage_extension_restricts_nothing() {
    let outside = ca();
    let made = CertificateRequest::generate(&request(Usage::Server)).unwrap();
    let chain = sign(&outside, made.csr_pem(), |params| {
        params.key_usages.clear();
        params.extended_key_usages.clear();
    });
    made.accept(&chain, outside.certificate_pem()).unwrap();
}

#[test]
fn chains_that_are_not_what_was_asked_for_are_refused() {
    type Change = fn(&mut rcgen::CertificateParams);
    let outside = ca();
    let made = CertificateRequest::generate(&request(Usage::ServerAndClient)).unwrap();
    let changes: [(Change, &str); 6] = [
        (
            |params| drop(params.subject_alt_names.remove(0)),
            "lacks the subject alternative names caracal-kafka-1;",
        ),
        (|params| params.subject_alt_names.clear(), "3rd.example, 127.0.0.1, ::1"),
        (
            |params| params.distinguished_name.push(rcgen::DnType::CommonName, "other"),
            "subject is 'CN=other,OU=Kafka",
        ),
        (|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth], "lacks clientAuth"),
        (|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment], "lacks digitalSignature"),
        (|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained), "is a CA's"),
    ];
    for (change, part) in changes {
        let chain = sign(&outside, made.csr_pem(), change);
        let error = made.accept(&chain, outside.certificate_pem()).unwrap_err();
        assert!(matches!(error, PkiError::RefusedChain { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{part} is not in {error}");
    }

    let chain = sign(&outside, made.csr_pem(), |_| {});
    made.accept(&chain, outside.certificate_pem()).unwrap();
    // Another CA of the same name: only the signature tells.
    let error = made.accept(&chain, ca().certificate_pem()).unwrap_err().to_string();
    assert!(error.contains("no certificate of a CA that signed"), "{error}");
    let error = made.accept(&chain, leaf(&outside, Usage::Server).chain_pem()).unwrap_err().to_string();
    assert!(error.contains("no certificate of a CA that signed"), "{error}");
    let other = CertificateRequest::generate(&request(Usage::ServerAndClient)).unwrap();
    let error = other.accept(&chain, outside.certificate_pem()).unwrap_err().to_string();
    assert!(error.contains("another request"), "{error}");
    let error = CertificateRequest::from_pem(made.csr_pem(), other.key_pem()).unwrap_err().to_string();
    assert!(error.contains("not the one that it was made for"), "{error}");
}
