//! rustls-webpki as judge: which chains it accepts, for which usage and name, and which it must not.

use std::time::Duration;

use caracal_pki::{
    CertificateAuthority, DistinguishedName, Issued, KeyAlgorithm, LeafRequest, Usage, Validity,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use crate::fixture::{ca, ca_of, leaf, now, request};

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

fn verify(chain_pem: &str, anchor_pem: &str, usage: KeyUsage, at: OffsetDateTime) -> Result<(), Error> {
    let chain = certificates(chain_pem);
    let anchors = certificates(anchor_pem);
    let anchors = [anchor_from_trusted_cert(&anchors[0]).unwrap()];
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.unix_timestamp().try_into().unwrap()));
    EndEntityCert::try_from(&chain[0])?
        .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &chain[1..], at, usage, None, None)
        .map(drop)
}

fn accepted(ca: &CertificateAuthority, issued: &Issued, usage: KeyUsage) -> Result<(), Error> {
    verify(issued.chain_pem(), ca.certificate_pem(), usage, now())
}

#[test]
fn each_usage_is_accepted_for_itself_alone() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
        let ca = ca_of(algorithm);
        for usage in [Usage::Server, Usage::Client, Usage::ServerAndClient] {
            let issued = leaf(&ca, usage);
            let server = accepted(&ca, &issued, KeyUsage::server_auth());
            let client = accepted(&ca, &issued, KeyUsage::client_auth());
            assert_eq!(server.is_ok(), usage.is_server(), "{algorithm} {usage}: {server:?}");
            assert_eq!(client.is_ok(), usage.is_client(), "{algorithm} {usage}: {client:?}");
            for refused in [server, client].into_iter().filter_map(Result::err) {
                assert!(matches!(refused, Error::RequiredEkuNotFoundContext(_)), "{refused:?}");
            }
        }
    }
}

#[test]
fn rsa_leaves_are_accepted() {
    let ca = ca();
    let issued = ca
        .issue(&LeafRequest { algorithm: KeyAlgorithm::Rsa2048, ..request(Usage::ServerAndClient) })
        .unwrap();
    accepted(&ca, &issued, KeyUsage::server_auth()).unwrap();
}

#[test]
fn only_the_listed_names_are_accepted() {
    let chain = certificates(leaf(&ca(), Usage::Server).chain_pem());
    let certificate = EndEntityCert::try_from(&chain[0]).unwrap();
    let vouches = |name: &str| {
        certificate.verify_is_valid_for_subject_name(&ServerName::try_from(name.to_owned()).unwrap())
    };
    for name in ["caracal-kafka-1", "CARACAL-KAFKA-1", "localhost", "a.brokers.example", "127.0.0.1", "::1"] {
        vouches(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for name in ["caracal-kafka-2", "brokers.example", "a.b.brokers.example", "127.0.0.2", "::2"] {
        let error = vouches(name).unwrap_err();
        assert!(matches!(error, Error::CertNotValidForName(_)), "{name}: {error:?}");
    }
}

#[test]
fn only_the_period_is_accepted() {
    let ca = ca();
    let validity = request(Usage::Server).validity;
    let issued = leaf(&ca, Usage::Server);
    let at = |at| verify(issued.chain_pem(), ca.certificate_pem(), KeyUsage::server_auth(), at);
    at(validity.not_before + time::Duration::seconds(2)).unwrap();
    at(validity.not_after - time::Duration::seconds(2)).unwrap();
    let early = at(validity.not_before - time::Duration::seconds(2)).unwrap_err();
    assert!(matches!(early, Error::CertNotValidYet { .. }), "{early:?}");
    let late = at(validity.not_after + time::Duration::seconds(4)).unwrap_err();
    assert!(matches!(late, Error::CertExpired { .. }), "{late:?}");
}

#[test]
fn a_foreign_ca_of_the_same_name_is_refused() {
    let issued = leaf(&ca(), Usage::Server);
    let error = accepted(&ca(), &issued, KeyUsage::server_auth()).unwrap_err();
    assert!(matches!(error, Error::UnknownIssuer | Error::InvalidSignatureForPublicKey), "{error:?}");
}

#[test]
fn a_ca_is_no_leaf_and_a_leaf_no_ca() {
    let ca = ca();
    let error =
        verify(ca.certificate_pem(), ca.certificate_pem(), KeyUsage::server_auth(), now()).unwrap_err();
    assert!(matches!(error, Error::CaUsedAsEndEntity), "{error:?}");

    let leaf = leaf(&ca, Usage::Server);
    let error = CertificateAuthority::from_pem(leaf.chain_pem(), leaf.key_pem()).unwrap_err().to_string();
    assert!(error.contains("basic constraints") && error.contains("CN=caracal-kafka-1"), "{error}");
}

#[test]
fn what_cannot_be_verified_is_not_issued() {
    let ca = ca();
    let validity = Validity::days_from(now(), 31);
    let error = ca.issue(&LeafRequest { validity, ..request(Usage::Server) }).unwrap_err().to_string();
    assert!(error.contains("shorter period") && error.contains("Caracal test CA"), "{error}");

    let error = ca.issue(&LeafRequest { sans: vec![], ..request(Usage::Server) }).unwrap_err().to_string();
    assert!(error.contains("no subject alternative name"), "{error}");
    ca.issue(&LeafRequest { sans: vec![], ..request(Usage::Client) }).unwrap();

    // The end counts; the begin moves up to the CA's, which may have been made a moment ago.
    let early = Validity { not_before: now() - time::Duration::days(9), ..request(Usage::Server).validity };
    let issued = ca.issue(&LeafRequest { validity: early, ..request(Usage::Server) }).unwrap();
    let begins = |pem| caracal_pki::inventory::inspect_pem(pem).unwrap()[0].not_before;
    assert_eq!(begins(issued.chain_pem()), begins(ca.certificate_pem()));
    let day = time::Duration::DAY;
    let past = Validity { not_before: now() - 9 * day, not_after: now() - day };
    let error = ca.issue(&LeafRequest { validity: past, ..request(Usage::Server) }).unwrap_err().to_string();
    assert!(error.contains("Caracal test CA"), "{error}");

    let subject = DistinguishedName::common_name("");
    let error = ca.issue(&LeafRequest { subject, ..request(Usage::Server) }).unwrap_err().to_string();
    assert!(error.contains("common name"), "{error}");
}

#[test]
fn a_ca_survives_its_files() {
    let ca = ca();
    let again = CertificateAuthority::from_pem(ca.certificate_pem(), ca.key_pem()).unwrap();
    let issued = leaf(&again, Usage::ServerAndClient);
    accepted(&ca, &issued, KeyUsage::client_auth()).unwrap();

    let error =
        CertificateAuthority::from_pem(ca.certificate_pem(), issued.key_pem()).unwrap_err().to_string();
    assert!(error.contains("does not belong"), "{error}");
}

#[test]
fn serial_numbers_differ_and_are_positive() {
    let ca = ca();
    let serials: std::collections::BTreeSet<_> =
        (0..20).map(|_| leaf(&ca, Usage::Client).serial_hex().to_owned()).collect();
    assert_eq!(serials.len(), 20);
    assert!(serials.iter().all(|serial| serial.len() == 40 && serial < &"8".repeat(40)), "{serials:?}");
}
