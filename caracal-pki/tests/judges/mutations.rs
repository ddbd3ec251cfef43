//! Properties over input that was valid and then damaged: arbitrary octets hardly ever get past the first
//! length field, these reach the readers behind it.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use caracal_pki::{
    CertificateAuthority, CertificateRequest, Issued, PrivateKeyPem, Usage, Validity, inventory, stores,
};
use proptest::prelude::*;
use proptest::sample::Index;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use crate::fixture::{ca, leaf, now, request};

/// One of everything that this crate reads, all of it valid.
struct Samples {
    ca: CertificateAuthority,
    issued: Issued,
    request: CertificateRequest,
    /// Answer of the CA to the request.
    answer: String,
    validity: Validity,
}

static SAMPLES: LazyLock<Samples> = LazyLock::new(|| {
    let ca = ca();
    let request_made = CertificateRequest::generate(&request(Usage::ServerAndClient)).unwrap();
    let validity = Validity::days_from(now(), 5);
    let answer = ca.sign_request(request_made.csr_pem(), Usage::ServerAndClient, validity).unwrap();
    Samples { issued: leaf(&ca, Usage::Server), ca, request: request_made, answer, validity }
});

/// A change to some octets.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index),
    Double(Index, usize),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let damage = prop_oneof![
        4 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, 1 << bit)),
        1 => any::<Index>().prop_map(Damage::Cut),
        2 => (any::<Index>(), proptest::collection::vec(any::<u8>(), 1..4))
            .prop_map(|(at, octets)| Damage::Insert(at, octets)),
        2 => any::<Index>().prop_map(Damage::Remove),
        1 => (any::<Index>(), 1..64_usize).prop_map(|(at, length)| Damage::Double(at, length)),
    ];
    proptest::collection::vec(damage, 1..4)
}

fn damaged(original: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut octets = original.to_vec();
    for damage in damages {
        if octets.is_empty() {
            break;
        }
        match damage {
            Damage::Flip(at, mask) => {
                let at = at.index(octets.len());
                octets[at] ^= mask;
            }
            Damage::Cut(at) => octets.truncate(at.index(octets.len())),
            Damage::Insert(at, more) => {
                let at = at.index(octets.len());
                octets.splice(at..at, more.iter().copied());
            }
            Damage::Remove(at) => drop(octets.remove(at.index(octets.len()))),
            Damage::Double(at, length) => {
                let at = at.index(octets.len());
                let copy = octets[at..octets.len().min(at + length)].to_vec();
                octets.splice(at..at, copy);
            }
        }
    }
    octets
}

fn encode(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// The octets of the first section of a PEM text.
fn decode(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().skip(1).take_while(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).unwrap()
}

fn to_be_signed(certificate: &[u8]) -> Vec<u8> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    parsed.tbs_certificate.as_ref().to_vec()
}

fn info_of(csr: &[u8]) -> Vec<u8> {
    X509CertificationRequest::from_der(csr).unwrap().1.certification_request_info.raw.to_vec()
}

/// The 32 octets of a P-256 key in PKCS#8 that are secret; what follows them is the public point, which
/// its certificate holds too.
fn scalar(key: &PrivateKeyPem) -> Vec<u8> {
    let der = decode(key.expose_pem());
    let at = der.windows(2).position(|pair| pair == [0x04, 0x20]).unwrap() + 2;
    der[at..at + 32].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_certificate_is_read_without_panic(damages in damages()) {
        let samples = &*SAMPLES;
        let certificate = damaged(&decode(samples.ca.certificate_pem()), &damages);
        let pem = encode("CERTIFICATE", &certificate);
        let _ = inventory::inspect_pem(&pem);
        let _ = inventory::key_matches(&pem, samples.ca.key_pem());
        if let Ok(authority) = CertificateAuthority::from_pem(&pem, samples.ca.key_pem()) {
            // Its names, extensions or signature may differ now; it must still be ours to sign with.
            prop_assert!(inventory::key_matches(authority.certificate_pem(), samples.ca.key_pem()).unwrap());
            let _ = authority.issue(&request(Usage::Client));
        }
        if let Ok(text) = stores::truststore_pem(&[&pem]) {
            prop_assert_eq!(decode(&text), certificate);
        }
    }

    #[test]
    fn a_damaged_request_is_never_signed(damages in damages()) {
        let samples = &*SAMPLES;
        let original = decode(samples.request.csr_pem());
        let csr = damaged(&original, &damages);
        let pem = encode("CERTIFICATE REQUEST", &csr);
        let signed = samples.ca.sign_request(&pem, Usage::Server, samples.validity).is_ok();
        let taken = CertificateRequest::from_pem(&pem, samples.request.key_pem()).is_ok();
        if signed || taken {
            prop_assert_eq!(info_of(&csr), info_of(&original));
        }
    }

    #[test]
    fn a_damaged_answer_is_never_accepted(damages in damages(), which in any::<bool>()) {
        let samples = &*SAMPLES;
        let original = decode(&samples.answer);
        let (leaf, anchor) = (original.clone(), decode(samples.ca.certificate_pem()));
        let (leaf, anchor) =
            if which { (damaged(&leaf, &damages), anchor) } else { (leaf, damaged(&anchor, &damages)) };
        let (leaf, anchor) = (encode("CERTIFICATE", &leaf), encode("CERTIFICATE", &anchor));
        if let Ok(issued) = samples.request.accept(&leaf, &anchor) {
            prop_assert_eq!(to_be_signed(&decode(issued.chain_pem())), to_be_signed(&original));
        }
    }

    #[test]
    fn a_damaged_key_is_read_without_panic(damages in damages()) {
        let samples = &*SAMPLES;
        let der = damaged(&decode(samples.issued.key_pem().expose_pem()), &damages);
        for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
            let Ok(key) = PrivateKeyPem::parse(&encode(label, &der)) else { continue };
            if Issued::from_pem(samples.issued.chain_pem(), &key).is_ok() {
                prop_assert_eq!(scalar(&key), scalar(samples.issued.key_pem()));
            }
        }
    }

    #[test]
    fn no_octet_of_a_key_gets_into_a_trust_store(
        order in proptest::collection::vec(0..4_usize, 1..6), lost in proptest::collection::vec(any::<Index>(), 0..6),
    ) {
        let samples = &*SAMPLES;
        let key = samples.issued.key_pem();
        let parts = [samples.ca.certificate_pem(), key.expose_pem(), samples.issued.chain_pem(), "a remark\n"];
        let text: String = order.into_iter().map(|part| parts[part]).collect();
        let mut lines: Vec<&str> = text.lines().collect();
        for lost in lost {
            if !lines.is_empty() {
                lines.remove(lost.index(lines.len()));
            }
        }
        let Ok(store) = stores::truststore_pem(&[&lines.join("\n")]) else { return Ok(()) };
        prop_assert!(!store.contains("KEY") && !store.contains("remark"));
        let whole = [decode(samples.ca.certificate_pem()), decode(samples.issued.chain_pem())];
        let secret = scalar(key);
        for section in store.split_inclusive("-----END CERTIFICATE-----\n") {
            let certificate = decode(section);
            prop_assert!(whole.contains(&certificate));
            prop_assert!(!certificate.windows(8).any(|octets| secret.windows(8).any(|key| key == octets)));
        }
    }
}

#[test]
fn a_trust_store_of_damaged_text_is_refused() {
    let samples = &*SAMPLES;
    let (certificate, key) = (samples.ca.certificate_pem(), samples.issued.key_pem().expose_pem());
    let cut = certificate.split_once("-----END").unwrap().0;
    let with_key_inside = format!("{}{}", body_of(certificate), body_of(key));
    for (text, part) in [
        (format!("{cut}{key}"), "cut off"),
        (format!("{cut}{key}{certificate}"), "cut off"),
        (cut.to_owned(), "cut off"),
        (
            format!("-----BEGIN CERTIFICATE-----\n{with_key_inside}-----END CERTIFICATE-----\n"),
            // Padding in the middle, or octets behind the certificate if its length needs none.
            "cannot read a certificate",
        ),
        (
            encode(
                "CERTIFICATE",
                &[decode(certificate), decode(samples.issued.key_pem().expose_pem())].concat(),
            ),
            "octets follow",
        ),
        (encode("CERTIFICATE", b"no certificate"), "does not hold"),
        (key.to_owned(), "BEGIN CERTIFICATE"),
        ("remark".to_owned(), "BEGIN CERTIFICATE"),
    ] {
        let error = stores::truststore_pem(&[certificate, &text]).unwrap_err().to_string();
        assert!(error.contains(part), "{part} is not in {error}");
    }
    let error = stores::truststore_pem(&[]).unwrap_err().to_string();
    assert!(error.contains("trusts nobody"), "{error}");
}

/// The lines between the markers of a PEM text.
fn body_of(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).map(|line| format!("{line}\n")).collect()
}
