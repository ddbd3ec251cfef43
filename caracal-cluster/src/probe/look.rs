//! Looking at a listener that nobody has described: what speaks there, and what it shows in TLS.
//!
//! A look trusts nobody and sends nothing secret: it takes whatever certificate is shown, says so, and judges it
//! afterwards. Nothing of ours may ever be sent over such a connection but requests that need no log-in.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use crate::wire::connection::api_versions_frame;
use crate::wire::{Deadline, Endpoint, TlsAlert, WireError, WireErrorKind, transport};

/// What a port says to a plain request.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Spoken {
    /// Kafka's protocol without TLS.
    Kafka,
    /// HTTP; the first line of its answer.
    Http(String),
    /// ZooKeeper without TLS.
    ZooKeeper,
    /// It answers with TLS, or hangs up on what is none, as TLS listeners do.
    NotPlain,
    /// It says nothing at all.
    Silent,
    /// Something else, by its first bytes in hexadecimal.
    Other(String),
}

/// What a TLS handshake showed in which nothing was checked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Shown {
    /// The chain as presented, leaf first, DER; empty when the handshake did not get so far.
    pub chain: Vec<Vec<u8>>,
    /// Whether it asked for our certificate.
    pub asks_for_certificate: bool,
    /// How it went on without one.
    pub outcome: Outcome,
}

/// How a handshake without a client certificate ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing was answered, or what was is no TLS.
    #[default]
    None,
    /// It completed, and Kafka's protocol is spoken inside.
    Kafka,
    /// It completed; what is spoken inside is not Kafka's protocol, or nothing that we know.
    Completed,
    /// It was refused with an alert.
    Alert(TlsAlert),
    /// It was hung up on.
    Closed,
}

/// What speaks at a port, without TLS.
///
/// # Errors
/// [`WireError`] when nobody can be connected to.
pub async fn greet(endpoint: &Endpoint, deadline: Deadline) -> Result<Spoken, WireError> {
    let frame = api_versions_frame().map_err(|source| WireError {
        source: Some(source),
        ..endpoint.error("look", WireErrorKind::Protocol("unsendable ApiVersions request".to_owned()))
    })?;
    let heard = say(endpoint, &frame, deadline).await?;
    match recognised(heard.as_deref()) {
        // Some hang up on what they do not understand: each gets the greeting of its own.
        Spoken::NotPlain | Spoken::Silent => {}
        spoken => return Ok(spoken),
    }
    for greeting in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"ruok"] {
        match recognised(say(endpoint, greeting, deadline).await?.as_deref()) {
            Spoken::NotPlain | Spoken::Silent => {}
            spoken => return Ok(spoken),
        }
    }
    Ok(recognised(heard.as_deref()))
}

/// Shakes hands in one version of TLS without a certificate, trusting whatever is shown.
///
/// # Errors
/// [`WireError`] when nobody can be connected to.
pub async fn handshake(
    endpoint: &Endpoint,
    version: &'static SupportedProtocolVersion,
    deadline: Deadline,
) -> Result<Shown, WireError> {
    let record = Arc::new(Record::default());
    let name = ServerName::try_from(endpoint.server_name.clone()).map_err(|error| WireError {
        source: Some(Box::new(error)),
        ..endpoint
            .error("look", WireErrorKind::Protocol(format!("`{}` is no host name", endpoint.server_name)))
    })?;
    let config = danger_trusting_anybody(&record, version).map_err(|error| WireError {
        source: Some(Box::new(error)),
        ..endpoint.error("look", WireErrorKind::Protocol("no TLS configuration".to_owned()))
    })?;
    let stream = transport::dial(endpoint, deadline).await?;
    let talk = async {
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        kafka_inside(&mut stream).await
    };
    let outcome = match deadline.run(talk).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => match WireErrorKind::from_io(&error) {
            WireErrorKind::TlsAlert(alert) => Outcome::Alert(alert),
            WireErrorKind::Closed => Outcome::Closed,
            _ => Outcome::None,
        },
        Err(_) if record.chain().is_empty() => Outcome::None,
        Err(_) => Outcome::Completed,
    };
    let asks_for_certificate = record.asked.load(Ordering::Relaxed);
    Ok(Shown { chain: record.chain(), asks_for_certificate, outcome })
}

/// Whether Kafka's protocol is spoken on a stream; in TLS 1.3 the answer also says whether we are let in.
async fn kafka_inside<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<Outcome> {
    let frame = api_versions_frame().map_err(io::Error::other)?;
    let sent = async {
        stream.write_all(&frame).await?;
        stream.flush().await
    }
    .await;
    let mut heard = [0; 8];
    let mut length = 0;
    while length < heard.len() {
        match stream.read(&mut heard[length..]).await {
            Ok(0) => break,
            Ok(more) => length += more,
            // An alert, or a hang-up: that of the reading says why.
            Err(error) if length == 0 => return Err(error),
            Err(_) => break,
        }
    }
    sent.or_else(|error| if length > 0 { Ok(()) } else { Err(error) })?;
    match recognised(Some(&heard[..length])) {
        Spoken::Kafka => Ok(Outcome::Kafka),
        Spoken::NotPlain if length == 0 => Ok(Outcome::Closed),
        _ => Ok(Outcome::Completed),
    }
}

/// Says something and gives the first bytes of the answer; none when there is none in time.
async fn say(endpoint: &Endpoint, words: &[u8], deadline: Deadline) -> Result<Option<Vec<u8>>, WireError> {
    /// An answer to a greeting takes milliseconds; three greetings must fit into any patience.
    const SOON: std::time::Duration = std::time::Duration::from_millis(1200);
    let mut stream = transport::dial(endpoint, deadline).await?;
    let talk = async {
        let _ = stream.write_all(words).await;
        let mut heard = vec![0; 64];
        let mut length = 0;
        while length < heard.len() {
            match stream.read(&mut heard[length..]).await {
                Ok(0) | Err(_) => break,
                Ok(more) => length += more,
            }
            // Kafka's answer and a status line are recognised by far less.
            if length >= 16 {
                break;
            }
        }
        heard.truncate(length);
        heard
    };
    Ok(deadline.at_most(SOON).run(talk).await.ok())
}

/// Who answers so.
fn recognised(heard: Option<&[u8]>) -> Spoken {
    let Some(heard) = heard else { return Spoken::Silent };
    match heard {
        // A TLS alert or handshake record, or a hang-up.
        [] | [21 | 22, 3, ..] => Spoken::NotPlain,
        // A frame's length and correlation id 0, in answer to `ApiVersions`.
        [0, 0, _, _, 0, 0, 0, 0, ..] => Spoken::Kafka,
        _ if heard.starts_with(b"HTTP/") => {
            let line = heard.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
            Spoken::Http(String::from_utf8_lossy(line).into_owned())
        }
        _ if heard.starts_with(b"imok") || heard.starts_with(b"ruok is not") => Spoken::ZooKeeper,
        _ => Spoken::Other(heard.iter().take(8).map(|byte| format!("{byte:02x}")).collect()),
    }
}

/// What a handshake showed.
#[derive(Default)]
struct Record {
    chain: Mutex<Vec<Vec<u8>>>,
    asked: AtomicBool,
}

impl Record {
    fn chain(&self) -> Vec<Vec<u8>> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").finish_non_exhaustive()
    }
}

/// A client that takes any certificate. Only for looking: see the module's words.
fn danger_trusting_anybody(
    record: &Arc<Record>,
    version: &'static SupportedProtocolVersion,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Looking { record: Arc::clone(record), provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(Asked(Arc::clone(record))));
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Keeps the chain that was shown, and takes it.
#[derive(Debug)]
struct Looking {
    record: Arc<Record>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Looking {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(leaf).chain(others).map(|certificate| certificate.to_vec()).collect();
        *self.record.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Has no certificate, and remembers that it was asked for one.
#[derive(Debug)]
struct Asked(Arc<Record>);

impl rustls::client::ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        // Else rustls would not ask us, and we would not learn that the server does.
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_is_recognised_by_the_first_bytes() {
        for (heard, spoken) in [
            (Some(&[0, 0, 1, 2, 0, 0, 0, 0, 0][..]), Spoken::Kafka),
            (Some(b"HTTP/1.1 400 Bad Request\r\nx"), Spoken::Http("HTTP/1.1 400 Bad Request".to_owned())),
            (Some(b"imok"), Spoken::ZooKeeper),
            (Some(&[21, 3, 3, 0, 2, 2, 80]), Spoken::NotPlain),
            (Some(&[]), Spoken::NotPlain),
            (None, Spoken::Silent),
            (Some(b"SSH-2.0"), Spoken::Other("5353482d322e30".to_owned())),
        ] {
            assert_eq!(recognised(heard), spoken);
        }
    }

    #[tokio::test]
    async fn a_port_that_says_nothing_is_told_from_one_that_speaks_http() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let talking = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = |listener: &tokio::net::TcpListener| Endpoint {
            node: "n".to_owned(),
            listener: "L".to_owned(),
            dial: listener.local_addr().unwrap(),
            server_name: "localhost".to_owned(),
        };
        let (quiet, http) = (at(&silent), at(&talking));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = talking.accept().await {
                let mut request = [0; 4];
                let _ = stream.read_exact(&mut request).await;
                // As many servers do with what is no request of theirs.
                if &request == b"GET " {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                }
            }
        });
        let deadline = || Deadline::after(std::time::Duration::from_secs(20));
        assert_eq!(greet(&quiet, deadline()).await.unwrap(), Spoken::Silent);
        assert_eq!(greet(&http, deadline()).await.unwrap(), Spoken::Http("HTTP/1.1 200 OK".to_owned()));
        drop(silent);
        assert_eq!(greet(&quiet, deadline()).await.unwrap_err().kind, WireErrorKind::Refused);
    }
}
