//! A second look at brokers that did not let the client in, over a TLS that says what it minds. librdkafka has the
//! same words for another authority, another name and an expired certificate.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error as TlsError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// For all brokers together: whoever waits has waited for librdkafka already.
const PATIENCE: Duration = Duration::from_secs(4);

/// More brokers than these say nothing new.
const BROKERS: usize = 3;

/// ApiVersions, version 0, without a client id: every broker answers it before a log-in (KIP-35), and the refusal of
/// a client's certificate comes no earlier than the first answer (TLS 1.3, RFC 8446 section 4.4.2).
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];

const NAME: &str = "use a name or address that the broker's certificate has, or have that issued with the one that was dialled";

/// What is wrong, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    pub(crate) cause: String,
    pub(crate) next: String,
}

fn found(cause: impl Into<String>, next: impl Into<String>) -> Option<Found> {
    Some(Found { cause: cause.into(), next: next.into() })
}

/// What the first broker that minds something minds; `None` where TLS is not the matter.
pub(crate) async fn look(bootstrap: &[String], tls: &Arc<ClientConfig>) -> Option<Found> {
    let looks = bootstrap.iter().take(BROKERS).map(|address| at(address, tls));
    let found = tokio::time::timeout(PATIENCE, futures::future::join_all(looks)).await.ok()?;
    found.into_iter().flatten().next()
}

async fn at(address: &str, tls: &Arc<ClientConfig>) -> Option<Found> {
    let host = address.rsplit_once(':')?.0.trim_matches(['[', ']']).to_owned();
    let stream = TcpStream::connect(address).await.ok()?;
    // An address in an odd spelling, for example, that a resolver takes all the same.
    let Ok(name) = ServerName::try_from(host.clone()) else {
        return found(
            format!("no certificate is for `{host}`, which is neither a host name nor an address"),
            NAME,
        );
    };
    let talk = async {
        let mut stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        stream.write_all(&API_VERSIONS).await?;
        stream.flush().await?;
        stream.read_exact(&mut [0; 4]).await.map(drop)
    };
    let error = talk.await.err()?;
    judge(error.get_ref()?.downcast_ref()?, &host)
}

fn judge(error: &TlsError, host: &str) -> Option<Found> {
    use CertificateError as Bad;
    match error {
        TlsError::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => found(
            "the broker's certificate has expired",
            "have the cluster's certificates renewed, and check this machine's clock",
        ),
        TlsError::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => found(
            "the broker's certificate is not valid yet",
            "check this machine's clock, then when the certificate was issued to begin",
        ),
        TlsError::InvalidCertificate(Bad::NotValidForNameContext { presented, .. }) => found(
            format!("the broker's certificate is not for `{host}` but for {}", presented.join(", ")),
            NAME,
        ),
        TlsError::InvalidCertificate(Bad::NotValidForName) => {
            found(format!("the broker's certificate is not for `{host}`"), NAME)
        }
        // A signature that does not fit: an authority of the same name, of a cluster that was made anew.
        TlsError::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => found(
            "the broker's certificate does not come from an authority that this client trusts",
            "take the CA's certificate of this very cluster (`kafka.tls.ca_file`), which changes when the cluster is \
             made anew",
        ),
        TlsError::InvalidCertificate(_) => {
            found("the broker's certificate cannot be used", "have the cluster's certificates issued again")
        }
        TlsError::AlertReceived(alert) => refused(*alert),
        TlsError::InvalidMessage(_) => found(
            "the port does not speak TLS",
            "check `kafka.bootstrap`: it must name the SASL_SSL listener",
        ),
        _ => None,
    }
}

/// What a broker says about this client's certificate (RFC 8446, section 6.2).
fn refused(alert: AlertDescription) -> Option<Found> {
    use AlertDescription as Alert;
    let again = "let the cluster write its client files again";
    match alert {
        Alert::CertificateExpired => {
            found("the broker says that this client's certificate has expired", again)
        }
        Alert::CertificateRevoked => {
            found("the broker says that this client's certificate was revoked", again)
        }
        Alert::BadCertificate
        | Alert::CertificateRequired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::UnsupportedCertificate => found(
            "the broker refused this client's certificate",
            format!("{again}: the certificate must come from a CA that the broker trusts"),
        ),
        Alert::ProtocolVersion | Alert::HandshakeFailure => found(
            "broker and client have no version or cipher of TLS in common",
            "have the listener offer TLS 1.2 or 1.3 with the usual ciphers",
        ),
        _ => None,
    }
}
