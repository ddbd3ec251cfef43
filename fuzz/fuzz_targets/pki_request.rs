//! Certificate requests to our CA, and chains from an outside one. The input is DER, put into PEM here, so that
//! the readers behind the base 64 are reached.

#![no_main]

use std::sync::LazyLock;

use caracal_pki::{
    CertificateAuthority, CertificateRequest, DistinguishedName, KeyAlgorithm, LeafRequest, Usage, Validity,
};
use libfuzzer_sys::fuzz_target;
use time::macros::datetime;

struct Parties {
    ca: CertificateAuthority,
    request: CertificateRequest,
    validity: Validity,
}

static PARTIES: LazyLock<Parties> = LazyLock::new(|| {
    let validity = Validity::days_from(datetime!(2026-01-01 00:00 UTC), 30);
    let name = DistinguishedName::common_name("fuzzed CA");
    let request = LeafRequest {
        subject: DistinguishedName::common_name("fuzzed"),
        sans: vec!["localhost".parse().expect("a name")],
        usage: Usage::Server,
        algorithm: KeyAlgorithm::EcdsaP256,
        validity,
    };
    Parties {
        ca: CertificateAuthority::create(name, KeyAlgorithm::EcdsaP256, validity).expect("a CA"),
        request: CertificateRequest::generate(&request).expect("a request"),
        validity,
    }
});

fuzz_target!(|der: &[u8]| {
    let Parties { ca, request, validity } = &*PARTIES;
    let csr = pem("CERTIFICATE REQUEST", der);
    let _ = ca.sign_request(&csr, Usage::ServerAndClient, *validity);
    let _ = CertificateRequest::from_pem(&csr, request.key_pem());
    let certificate = pem("CERTIFICATE", der);
    // The CA's key is in no input, so whatever is accepted was forged.
    assert!(request.accept(&certificate, ca.certificate_pem()).is_err());
    let _ = CertificateAuthority::from_pem(&certificate, ca.key_pem());
});

fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for part in der.chunks(3) {
        let word =
            part.iter().fold(0_u32, |word, octet| word << 8 | u32::from(*octet)) << (8 * (3 - part.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= part.len() { char::from(digit) } else { '=' });
        }
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}
