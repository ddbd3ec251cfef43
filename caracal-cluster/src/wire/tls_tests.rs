//! Connections and TLS probes against a server in this process that demands client certificates.

use std::sync::Arc;
use std::time::Duration;

use caracal_pki::{
    CertificateAuthority, DistinguishedName, Issued, KeyAlgorithm, LeafRequest, Usage, Validity,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::probe::tls::{self as probe, HandshakeOutcome, HelloAnswer, PlaintextOutcome, Spoken};

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn authority() -> CertificateAuthority {
    let validity = Validity::days_from(OffsetDateTime::now_utc(), 2);
    CertificateAuthority::create(DistinguishedName::common_name("test CA"), KeyAlgorithm::EcdsaP256, validity)
        .unwrap()
}

fn leaf(ca: &CertificateAuthority, name: &str) -> Issued {
    ca.issue(&LeafRequest {
        subject: DistinguishedName::common_name(name),
        sans: vec![name.parse().unwrap()],
        usage: Usage::ServerAndClient,
        algorithm: KeyAlgorithm::EcdsaP256,
        validity: Validity::days_from(OffsetDateTime::now_utc(), 1),
    })
    .unwrap()
}

fn client(trusted: &CertificateAuthority, own: &Issued) -> TlsConfig {
    TlsConfig::mutual(&TlsIdentity {
        ca_pem: trusted.certificate_pem().to_owned(),
        chain_pem: own.chain_pem().to_owned(),
        key_pem: own.key_pem().expose_pem().to_owned().into(),
    })
    .unwrap()
}

/// Serves connections that end after one answer, `answer` being sent as it stands.
async fn serve(
    ca: &CertificateAuthority,
    version: &'static SupportedProtocolVersion,
    answer: &'static [u8],
) -> Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build();
    let own = leaf(ca, "localhost");
    let chain = CertificateDer::pem_slice_iter(own.chain_pem().as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(own.key_pem().expose_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier.unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 512];
                if stream.read(&mut request).await.is_ok() {
                    let _ = stream.write_all(answer).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    Endpoint { node: "node".to_owned(), listener: "L".to_owned(), dial, server_name: "localhost".to_owned() }
}

#[tokio::test]
async fn a_missing_certificate_is_refused_and_a_right_one_is_not() {
    let ca = authority();
    let right = client(&ca, &leaf(&ca, "app"));
    let none = TlsConfig::without_certificate(ca.certificate_pem()).unwrap();
    // In TLS 1.3 the refusal comes after the client's handshake, in TLS 1.2 within it.
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let endpoint = serve(&ca, version, b"x").await;
        let outcome = probe::handshake(&endpoint, &right, Spoken::Kafka, deadline()).await.unwrap();
        assert_eq!(outcome, HandshakeOutcome::Accepted);
        let outcome =
            probe::handshake_without_certificate(&endpoint, &none, Spoken::Kafka, deadline()).await.unwrap();
        assert!(outcome.is_refused_for_certificate(), "{version:?}: {outcome:?}");
        let error = Connection::open_unauthenticated(&endpoint, &none, deadline()).await.unwrap_err();
        assert!(matches!(error.kind, WireErrorKind::TlsAlert(_)), "{error}");
        assert!(
            probe::handshake_without_certificate(&endpoint, &right, Spoken::Kafka, deadline()).await.is_err()
        );
    }
}

#[tokio::test]
async fn a_foreign_authority_is_refused_by_both_sides() {
    let (ca, foreign) = (authority(), authority());
    let endpoint = serve(&ca, &rustls::version::TLS13, b"x").await;
    let stranger = client(&ca, &leaf(&foreign, "app"));
    let outcome = probe::handshake(&endpoint, &stranger, Spoken::Kafka, deadline()).await.unwrap();
    assert!(outcome.is_refused_for_certificate(), "{outcome:?}");
    let suspicious = client(&foreign, &leaf(&ca, "app"));
    let error = probe::handshake(&endpoint, &suspicious, Spoken::Kafka, deadline()).await.unwrap_err();
    assert_eq!(error.kind, WireErrorKind::ServerCertificate(CertificateProblem::UnknownIssuer));
}

#[tokio::test]
async fn the_name_is_verified_and_both_names_are_told() {
    let ca = authority();
    let right = client(&ca, &leaf(&ca, "app"));
    let endpoint = serve(&ca, &rustls::version::TLS13, b"x").await;
    let served = probe::served_certificate(&endpoint, &right, deadline()).await.unwrap();
    assert_eq!(served.protocol, "TLSv1_3");
    assert!(!served.chain.is_empty());
    let elsewhere = Endpoint { server_name: "kafka-9".to_owned(), ..endpoint };
    let error = probe::served_certificate(&elsewhere, &right, deadline()).await.unwrap_err();
    let problem = CertificateProblem::NameMismatch {
        expected: "kafka-9".to_owned(),
        presented: vec!["localhost".to_owned()],
    };
    assert_eq!(error.kind, WireErrorKind::ServerCertificate(problem));
}

#[tokio::test]
async fn plain_text_and_old_tls_get_no_answer() {
    let ca = authority();
    let endpoint = serve(&ca, &rustls::version::TLS12, b"x").await;
    let outcome = probe::plaintext(&endpoint, Spoken::Kafka, deadline()).await.unwrap();
    assert!(outcome.is_refused(), "{outcome:?}");
    let outcome = probe::legacy_tls(&endpoint, deadline()).await.unwrap();
    assert!(outcome.is_refused(), "{outcome:?}");
    assert_eq!(outcome.old, HelloAnswer::Alert { fatal: true, alert: TlsAlert::ProtocolVersion });

    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = Endpoint { dial: plain.local_addr().unwrap(), ..endpoint };
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let mut request = [0; 512];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"\0\0\0\x10 an answer").await;
        }
    });
    let outcome = probe::plaintext(&open, Spoken::Kafka, deadline()).await.unwrap();
    assert_eq!(outcome, PlaintextOutcome::Answered);
    let error = Connection::open_unauthenticated(&open, &client(&ca, &leaf(&ca, "app")), deadline()).await;
    assert_eq!(error.unwrap_err().kind, WireErrorKind::NotTls);
}

#[tokio::test]
async fn an_answer_to_another_request_is_not_taken() {
    let ca = authority();
    let endpoint = serve(&ca, &rustls::version::TLS13, b"\0\0\0\x04\0\0\0\x07").await;
    let right = client(&ca, &leaf(&ca, "app"));
    let error = Connection::open_unauthenticated(&endpoint, &right, deadline()).await.unwrap_err();
    let expected = "the answer to request 7 came for request 0".to_owned();
    assert_eq!(error.kind, WireErrorKind::Protocol(expected));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_a_time_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ca = authority();
    let endpoint = Endpoint {
        node: "node".to_owned(),
        listener: "L".to_owned(),
        dial: silent.local_addr().unwrap(),
        server_name: "localhost".to_owned(),
    };
    let short = Deadline::after(Duration::from_millis(100));
    let right = client(&ca, &leaf(&ca, "app"));
    let error = Connection::open_unauthenticated(&endpoint, &right, short).await.unwrap_err();
    assert!(
        matches!(error.kind, WireErrorKind::Timeout { awaited: "end of the TLS handshake", .. }),
        "{error}"
    );
}
