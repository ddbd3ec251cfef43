//! Raw probes of one listener: no certificate, no TLS, old TLS, and what it presents.
//!
//! A refusal proves something only when the same attempt, made right, is accepted. So every outcome here is a
//! value that says *how* it was refused, a node that cannot be reached is an error and never a refusal, and
//! the probe for old TLS brings its own control.

use std::io;

use ring::rand::SecureRandom;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::wire::connection::api_versions_frame;
use crate::wire::{Deadline, Endpoint, TlsAlert, TlsConfig, WireError, WireErrorKind, transport};

/// The protocol that a listener speaks inside TLS; decides what a probe says first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spoken {
    /// Kafka: an `ApiVersions` request, which is answered before any log-in.
    Kafka,
    /// ZooKeeper: the word `srvr`, which is answered without a session.
    ZooKeeper,
}

/// What became of a TLS handshake and a first request after it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HandshakeOutcome {
    /// The listener answered the request: we are in.
    Accepted,
    /// It refused with an alert, be it in the handshake or, in TLS 1.3, after it.
    Alert(TlsAlert),
    /// It closed the connection without an alert.
    Closed,
}

/// What became of a request without TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PlaintextOutcome {
    /// The listener answered it: there is no TLS.
    Answered,
    /// It sent a TLS alert.
    Alert(TlsAlert),
    /// It closed the connection.
    Closed,
    /// It neither answered nor closed before the deadline.
    Silent,
}

/// What became of a `ClientHello`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HelloAnswer {
    /// The listener goes on with the handshake.
    ServerHello {
        /// The version chosen; 0x0303 is TLS 1.2.
        version: u16,
        /// The cipher suite chosen.
        suite: u16,
    },
    /// It refused with an alert.
    Alert {
        /// Whether the alert ends the connection.
        fatal: bool,
        /// Which one.
        alert: TlsAlert,
    },
    /// It closed the connection without a word.
    Closed,
    /// It said something that is not TLS.
    NotTls,
}

/// What became of TLS 1.1, and of TLS 1.2 in the same words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LegacyTlsOutcome {
    /// The answer to TLS 1.1.
    pub old: HelloAnswer,
    /// The answer to the same hello as TLS 1.2 with today's suites; must be a `ServerHello`, or the refusal
    /// of the old one proves nothing.
    pub control: HelloAnswer,
}

/// What a listener presented in a completed handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ServedCertificate {
    /// The chain as presented, leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// The protocol agreed on (`TLSv1_3`).
    pub protocol: String,
    /// The cipher suite agreed on (`TLS13_AES_256_GCM_SHA384`).
    pub suite: String,
}

impl HandshakeOutcome {
    /// Whether the listener refused because of our certificate, and said so. `handshake_failure` counts: it
    /// is what a JVM says in TLS 1.2 when the certificate is missing.
    pub fn is_refused_for_certificate(self) -> bool {
        matches!(self, Self::Alert(alert) if alert.is_about_our_certificate() || alert == TlsAlert::HandshakeFailure)
    }
}

impl PlaintextOutcome {
    /// Whether the listener turned the request away.
    pub fn is_refused(self) -> bool {
        matches!(self, Self::Alert(_) | Self::Closed)
    }
}

impl LegacyTlsOutcome {
    /// Whether TLS 1.1 was refused with a fatal alert while TLS 1.2 was not.
    pub fn is_refused(self) -> bool {
        matches!(self.old, HelloAnswer::Alert { fatal: true, .. })
            && matches!(self.control, HelloAnswer::ServerHello { version: TLS_1_2, .. })
    }
}

/// Tries to get in with no client certificate.
///
/// # Errors
/// [`WireError`] when the listener cannot be reached, when *its* certificate is refused by us, or when
/// nothing happens in time: none of these is a refusal.
pub async fn handshake_without_certificate(
    endpoint: &Endpoint,
    without_certificate: &TlsConfig,
    spoken: Spoken,
    deadline: Deadline,
) -> Result<HandshakeOutcome, WireError> {
    if without_certificate.presents_certificate() {
        let text = "this probe must be given no certificate".to_owned();
        return Err(endpoint.error("probe", WireErrorKind::Protocol(text)));
    }
    handshake(endpoint, without_certificate, spoken, deadline).await
}

/// Tries to get in with whatever certificate `tls` presents (of a foreign authority, expired, or right).
///
/// In TLS 1.3 a client's handshake is over before the server has judged its certificate. So a request
/// follows, and only its answer counts as being let in.
///
/// # Errors
/// As [`handshake_without_certificate`].
pub async fn handshake(
    endpoint: &Endpoint,
    tls: &TlsConfig,
    spoken: Spoken,
    deadline: Deadline,
) -> Result<HandshakeOutcome, WireError> {
    let greeting = greeting(endpoint, spoken)?;
    let mut stream = match transport::dial_tls(endpoint, tls, deadline).await {
        Ok(stream) => stream,
        Err(error) => return refusal(error),
    };
    let talk = async {
        // The alert may already be there when the request cannot be sent any more: read in any case.
        let sent = stream.write_all(&greeting).await;
        let mut byte = [0; 1];
        match stream.read(&mut byte).await {
            Ok(0) => Ok(HandshakeOutcome::Closed),
            Ok(_) => sent.map(|()| HandshakeOutcome::Accepted),
            Err(error) => Err(error),
        }
    };
    match deadline.run(talk).await {
        Err(over) => Err(endpoint.error("probe", WireErrorKind::timeout("answer or alert", over))),
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(error)) => refusal(endpoint.io_error("probe", error)),
    }
}

/// Says something without TLS.
///
/// # Errors
/// [`WireError`] when the listener cannot be reached.
pub async fn plaintext(
    endpoint: &Endpoint,
    spoken: Spoken,
    deadline: Deadline,
) -> Result<PlaintextOutcome, WireError> {
    let greeting = greeting(endpoint, spoken)?;
    let mut stream = transport::dial(endpoint, deadline).await?;
    let talk = async {
        let sent = stream.write_all(&greeting).await;
        let mut answer = [0; 7];
        let mut length = 0;
        while length < answer.len() {
            match stream.read(&mut answer[length..]).await? {
                0 => break,
                more => length += more,
            }
        }
        sent.map(|()| plaintext_answer(&answer[..length]))
    };
    match deadline.run(talk).await {
        Err(_) => Ok(PlaintextOutcome::Silent),
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(error)) if WireErrorKind::from_io(&error) == WireErrorKind::Closed => {
            Ok(PlaintextOutcome::Closed)
        }
        Ok(Err(error)) => Err(endpoint.io_error("probe", error)),
    }
}

/// Says hello in TLS 1.1, and once more in TLS 1.2 as the control.
///
/// # Errors
/// [`WireError`] when the listener cannot be reached or nothing happens in time.
pub async fn legacy_tls(endpoint: &Endpoint, deadline: Deadline) -> Result<LegacyTlsOutcome, WireError> {
    let old = say_hello(endpoint, TLS_1_1, OLD_SUITES, deadline).await?;
    let suites = [OLD_SUITES, TODAYS_SUITES].concat();
    let control = say_hello(endpoint, TLS_1_2, &suites, deadline).await?;
    Ok(LegacyTlsOutcome { old, control })
}

/// Says hello in one version of TLS up to 1.2, by its number (0x0301 is TLS 1.0).
///
/// # Errors
/// As [`legacy_tls`].
pub async fn hello(endpoint: &Endpoint, version: u16, deadline: Deadline) -> Result<HelloAnswer, WireError> {
    let suites = [OLD_SUITES, TODAYS_SUITES].concat();
    say_hello(endpoint, version, if version < TLS_1_2 { OLD_SUITES } else { &suites }, deadline).await
}

/// What the listener presents to a client with this configuration, which verifies it.
///
/// # Errors
/// [`WireError`]; [`WireErrorKind::ServerCertificate`] says what is wrong with a certificate that was refused.
pub async fn served_certificate(
    endpoint: &Endpoint,
    tls: &TlsConfig,
    deadline: Deadline,
) -> Result<ServedCertificate, WireError> {
    let stream = transport::dial_tls(endpoint, tls, deadline).await?;
    let (_, session) = stream.get_ref();
    let missing =
        || endpoint.error("probe", WireErrorKind::Protocol("no certificate was presented".to_owned()));
    let chain = session.peer_certificates().ok_or_else(missing)?;
    Ok(ServedCertificate {
        chain: chain.iter().map(|certificate| certificate.to_vec()).collect(),
        protocol: session.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default(),
        suite: session
            .negotiated_cipher_suite()
            .map(|suite| format!("{:?}", suite.suite()))
            .unwrap_or_default(),
    })
}

const TLS_1_1: u16 = 0x0302;
const TLS_1_2: u16 = 0x0303;
/// ECDHE and RSA key exchange with AES-CBC: what TLS 1.1 has, for either kind of server key.
const OLD_SUITES: &[u16] = &[0xC009, 0xC00A, 0xC013, 0xC014, 0x002F];
/// ECDHE with AES-GCM.
const TODAYS_SUITES: &[u16] = &[0xC02B, 0xC02C, 0xC02F, 0xC030];
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
/// The longest record (RFC 5246 section 6.2.3).
const MAX_RECORD: usize = 16 * 1024 + 2048;

fn refusal(error: WireError) -> Result<HandshakeOutcome, WireError> {
    match error.kind {
        WireErrorKind::TlsAlert(alert) => Ok(HandshakeOutcome::Alert(alert)),
        WireErrorKind::Closed => Ok(HandshakeOutcome::Closed),
        _ => Err(error),
    }
}

fn greeting(endpoint: &Endpoint, spoken: Spoken) -> Result<Vec<u8>, WireError> {
    match spoken {
        // Five bytes: a TLS record's header is five long, and a TLS port waits in silence for the fifth.
        Spoken::ZooKeeper => Ok(b"srvr\n".to_vec()),
        Spoken::Kafka => api_versions_frame().map(|frame| frame.to_vec()).map_err(|source| WireError {
            source: Some(source),
            ..endpoint.error("probe", WireErrorKind::Protocol("unsendable ApiVersions request".to_owned()))
        }),
    }
}

fn plaintext_answer(answer: &[u8]) -> PlaintextOutcome {
    match *answer {
        [] => PlaintextOutcome::Closed,
        [ALERT, 3, _, _, _, _, alert] => PlaintextOutcome::Alert(TlsAlert::from_code(alert)),
        _ => PlaintextOutcome::Answered,
    }
}

async fn say_hello(
    endpoint: &Endpoint,
    version: u16,
    suites: &[u16],
    deadline: Deadline,
) -> Result<HelloAnswer, WireError> {
    const DOING: &str = "probe old TLS";
    let mut random = [0; 32];
    ring::rand::SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| endpoint.error(DOING, WireErrorKind::Protocol("no random bytes".to_owned())))?;
    let hello = client_hello(version, suites, &endpoint.server_name, &random);
    let mut stream = transport::dial(endpoint, deadline).await?;
    let talk = async {
        stream.write_all(&hello).await?;
        read_hello_answer(&mut stream).await
    };
    let answer = deadline
        .run(talk)
        .await
        .map_err(|over| endpoint.error(DOING, WireErrorKind::timeout("ServerHello or alert", over)))?;
    match answer {
        Ok(answer) => Ok(answer),
        Err(error) if WireErrorKind::from_io(&error) == WireErrorKind::Closed => Ok(HelloAnswer::Closed),
        Err(error) => Err(endpoint.io_error(DOING, error)),
    }
}

async fn read_hello_answer<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<HelloAnswer> {
    let mut header = [0; 5];
    reader.read_exact(&mut header).await?;
    let [kind, major, _, high, low] = header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if major != 3 || length > MAX_RECORD || !matches!(kind, ALERT | HANDSHAKE) {
        return Ok(HelloAnswer::NotTls);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    Ok(hello_answer(kind, &body))
}

/// Reads the first record of a server's answer (RFC 5246 sections 7.2 and 7.4.1.3).
fn hello_answer(kind: u8, body: &[u8]) -> HelloAnswer {
    if kind == ALERT {
        return match *body {
            [level, alert] => HelloAnswer::Alert { fatal: level == 2, alert: TlsAlert::from_code(alert) },
            _ => HelloAnswer::NotTls,
        };
    }
    let suite = |session_length: u8| {
        let at = 39 + usize::from(session_length);
        Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]))
    };
    match (body.first(), body.get(4..6), body.get(38).and_then(|length| suite(*length))) {
        (Some(&SERVER_HELLO), Some(&[major, minor]), Some(suite)) => {
            HelloAnswer::ServerHello { version: u16::from_be_bytes([major, minor]), suite }
        }
        _ => HelloAnswer::NotTls,
    }
}

/// A `ClientHello` in its record (RFC 5246 section 7.4.1.2), by hand because no maintained library speaks
/// TLS 1.1 any more.
fn client_hello(version: u16, suites: &[u16], server_name: &str, random: &[u8; 32]) -> Vec<u8> {
    let mut extensions = Vec::new();
    if server_name.parse::<std::net::IpAddr>().is_err() {
        let entry = [&[0][..], &sized16(server_name.as_bytes())].concat();
        extensions.extend(extension(0, &sized16(&entry)));
    }
    // Groups x25519, secp256r1, secp384r1; uncompressed points; no renegotiation.
    extensions.extend(extension(10, &sized16(&[0, 29, 0, 23, 0, 24])));
    extensions.extend(extension(11, &[1, 0]));
    extensions.extend(extension(0xff01, &[0]));
    // TLS 1.1 does not need signature schemes, but a server must not refuse the old hello for want of them.
    let schemes = [0x04, 0x03, 0x05, 0x03, 0x08, 0x04, 0x08, 0x05, 0x08, 0x06, 0x04, 0x01, 0x05, 0x01];
    extensions.extend(extension(13, &sized16(&schemes)));
    let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let mut body = version.to_be_bytes().to_vec();
    body.extend_from_slice(random);
    body.push(0); // no session to resume
    body.extend(sized16(&suites));
    body.extend_from_slice(&[1, 0]); // no compression
    body.extend(sized16(&extensions));
    let message = [&[1, 0][..], &sized16(&body)].concat();
    [&[HANDSHAKE, 3, 1][..], &sized16(&message)].concat()
}

fn extension(number: u16, body: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &sized16(body)].concat()
}

/// Bytes behind their length in two bytes; a hello is a few hundred bytes long.
fn sized16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a hello below 64 KiB: host names have at most 253 bytes");
    [&length.to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hello_has_consistent_lengths_and_names_the_version() {
        let hello = client_hello(TLS_1_1, OLD_SUITES, "localhost", &[7; 32]);
        assert_eq!(hello[..3], [22, 3, 1]);
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
        assert_eq!(hello[5], 1, "client_hello");
        assert_eq!(usize::from(u16::from_be_bytes([hello[7], hello[8]])), hello.len() - 9);
        assert_eq!(hello[9..11], [3, 2]);
        assert_eq!(hello[44..56], [0, 10, 0xC0, 0x09, 0xC0, 0x0A, 0xC0, 0x13, 0xC0, 0x14, 0x00, 0x2F]);
        let needle = b"localhost";
        assert!(hello.windows(needle.len()).any(|window| window == needle));
    }

    #[test]
    fn rustls_reads_our_control_hello_and_refuses_the_old_one() {
        // A judge that is not ours: its parser accepts the hello's form, and judges only what it says.
        for (version, suites) in [(TLS_1_2, TODAYS_SUITES), (TLS_1_1, OLD_SUITES)] {
            let hello = client_hello(version, suites, "localhost", &[7; 32]);
            let mut acceptor = rustls::server::Acceptor::default();
            acceptor.read_tls(&mut &hello[..]).unwrap();
            let accepted = acceptor.accept().unwrap().expect("a whole hello");
            assert_eq!(accepted.client_hello().server_name(), Some("localhost"));
            let offered: Vec<u16> =
                accepted.client_hello().cipher_suites().iter().map(|suite| u16::from(*suite)).collect();
            assert_eq!(offered, suites);
        }
    }

    #[tokio::test]
    async fn answers_are_told_apart() {
        let mut alert: &[u8] = &[21, 3, 3, 0, 2, 2, 70];
        let answer = read_hello_answer(&mut alert).await.unwrap();
        assert_eq!(answer, HelloAnswer::Alert { fatal: true, alert: TlsAlert::ProtocolVersion });
        let mut hello = vec![22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3];
        hello.extend_from_slice(&[9; 32]);
        hello.extend_from_slice(&[0, 0xC0, 0x2B, 0]);
        let answer = read_hello_answer(&mut &hello[..]).await.unwrap();
        assert_eq!(answer, HelloAnswer::ServerHello { version: TLS_1_2, suite: 0xC02B });
        assert_eq!(read_hello_answer(&mut &b"HTTP/1.1"[..]).await.unwrap(), HelloAnswer::NotTls);
        let outcome = LegacyTlsOutcome {
            old: HelloAnswer::Alert { fatal: true, alert: TlsAlert::ProtocolVersion },
            control: HelloAnswer::Closed,
        };
        assert!(!outcome.is_refused(), "without its control a refusal proves nothing");
    }

    #[test]
    fn plain_answers_are_told_from_alerts() {
        assert_eq!(plaintext_answer(&[]), PlaintextOutcome::Closed);
        assert_eq!(
            plaintext_answer(&[21, 3, 3, 0, 2, 2, 80]),
            PlaintextOutcome::Alert(TlsAlert::InternalError)
        );
        assert!(!plaintext_answer(b"imok").is_refused());
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = hello_answer(HANDSHAKE, &bytes);
            let _ = hello_answer(ALERT, &bytes);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read_hello_answer(&mut &bytes[..]));
        }
    }
}
