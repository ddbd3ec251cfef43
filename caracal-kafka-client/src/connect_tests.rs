//! Connections that cannot work, to servers that speak as a wrong broker would: real TLS, librdkafka's own symptoms.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use caracal_pki::{
    CertificateAuthority, DistinguishedName, Issued, KeyAlgorithm, LeafRequest, SubjectAltName, Usage,
    Validity,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use time::{Duration as Span, OffsetDateTime};

use super::*;
use crate::{ConnectionBuilder, Source};

fn days(from: i64, to: i64) -> Validity {
    let now = OffsetDateTime::now_utc();
    Validity { not_before: now + Span::days(from), not_after: now + Span::days(to) }
}

fn authority(name: &str) -> CertificateAuthority {
    let name = DistinguishedName::common_name(name);
    CertificateAuthority::create(name, KeyAlgorithm::EcdsaP256, days(-20, 20)).expect("an authority")
}

fn leaf(authority: &CertificateAuthority, host: &str, validity: Validity) -> Issued {
    let request = LeafRequest {
        subject: DistinguishedName::common_name(host),
        sans: vec![SubjectAltName::Dns(host.to_owned())],
        usage: Usage::ServerAndClient,
        algorithm: KeyAlgorithm::EcdsaP256,
        validity,
    };
    authority.issue(&request).expect("a leaf")
}

/// A broker's listener that shakes hands with clients of `trusts`, then says nothing more; its port.
fn broker(own: &Issued, trusts: &CertificateAuthority) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusts.certificate_pem().as_bytes()).expect("PEM"))
        .expect("a root");
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let key = PrivateKeyDer::from_pem_slice(own.key_pem().expose_pem().as_bytes()).expect("a key");
    let chain = CertificateDer::pem_slice_iter(own.chain_pem().as_bytes()).collect::<Result<_, _>>();
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(chain.expect("PEM"), key)
        .expect("a pair");
    let tls = Arc::new(tls);
    serve(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&tls)).expect("a configuration");
        let _ = StreamOwned::new(connection, stream).read(&mut [0; 64]);
    })
}

fn serve(talk: impl Fn(std::net::TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(talk));
    port
}

fn client(port: u16, trusts: &CertificateAuthority, own: &Issued) -> ConnectionBuilder {
    Connection::to([format!("localhost:{port}")])
        .trusting(Source::text(trusts.certificate_pem()))
        .presenting(Source::text(own.chain_pem()), Source::text(own.key_pem().expose_pem()))
        .log_in("producer", Source::text("hunter2"))
}

async fn refusal(builder: ConnectionBuilder) -> String {
    let connection = builder.build().expect("complete");
    let within = Duration::from_secs(5);
    let error = Kafka::connect_within(connection, Service::named("test"), within).await.expect_err("refused");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("PRIVATE"), "{shown}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_broker_is_named() {
    let (ours, others) = (authority("ours"), authority("others"));
    let right = leaf(&ours, "localhost", days(-1, 10));
    let at = |own: &Issued, trusts: &CertificateAuthority| client(broker(own, trusts), &ours, &right);
    let expired = at(&leaf(&ours, "localhost", days(-9, -1)), &ours);
    let early = at(&leaf(&ours, "localhost", days(1, 9)), &ours);
    let renamed = at(&leaf(&ours, "elsewhere", days(-1, 9)), &ours);
    let stranger = at(&leaf(&others, "localhost", days(-1, 9)), &ours);
    let unwelcome = at(&right, &others);
    let http = serve(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    // As Kafka's plain listener does with what it takes for a request of 369 MB.
    let plain = serve(|mut stream| drop(stream.read(&mut [0; 64])));
    let cases = [
        (expired, "the broker's certificate has expired"),
        (early, "the broker's certificate is not valid yet"),
        (renamed, "the broker's certificate is not for `localhost` but for"),
        (stranger, "does not come from an authority that this client trusts"),
        (unwelcome, "the broker refused this client's certificate"),
        (client(http, &ours, &right), "the port does not speak TLS"),
        (client(plain, &ours, &right), "the port does not speak TLS"),
        (client(1, &ours, &right), "nothing listens there"),
    ];
    let refusals = cases.map(|(builder, cause)| async move { (refusal(builder).await, cause) });
    for (refused, cause) in futures::future::join_all(refusals).await {
        assert!(refused.contains(cause), "instead of `{cause}`: {refused}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_ones_own_files_is_told_before_anything_is_dialled() {
    let ours = authority("ours");
    let right = leaf(&ours, "localhost", days(-1, 10));
    let with = |own: &Issued| client(1, &ours, own);
    let text = |issued: &Issued| Source::text(issued.chain_pem());
    let key = |issued: &Issued| Source::text(issued.key_pem().expose_pem());
    let gone = CertificateAuthority::create(
        DistinguishedName::common_name("gone"),
        KeyAlgorithm::EcdsaP256,
        days(-9, -1),
    );
    let gone = gone.expect("an authority");
    let cases = [
        (with(&leaf(&ours, "p", days(-9, -1))), "client certificate (in memory) has expired at"),
        (with(&leaf(&ours, "p", days(1, 9))), "client certificate (in memory) is not valid before"),
        (with(&right).trusting(Source::text(gone.certificate_pem())), "CA file (in memory) has expired at"),
        (with(&right).trusting(Source::file("/none/ca.pem")), "cannot read the CA file /none/ca.pem"),
        (with(&right).trusting(Source::text("nothing")), "holds no PEM certificate"),
        (with(&right).presenting(text(&leaf(&ours, "p", days(-1, 9))), key(&right)), "does not belong to"),
        (with(&right).presenting(text(&right), Source::text("x")), "no unencrypted PEM private key"),
        (with(&right).log_in("producer", Source::text("")), "is empty"),
    ];
    for (builder, cause) in cases {
        let refused = refusal(builder).await;
        assert!(refused.contains(cause), "instead of `{cause}`: {refused}");
    }
    // One authority that has expired beside one that has not is what a change of authorities looks like.
    let both = format!("{}{}", gone.certificate_pem(), ours.certificate_pem());
    let refused = refusal(with(&right).trusting(Source::text(both))).await;
    assert!(refused.contains("nothing listens there"), "{refused}");
}
