//! Why a connection or a call failed: a kind that a program can match, a text that a person can act on.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use kafka_protocol::ResponseError;

use super::deadline::Elapsed;
use super::transport::Endpoint;

/// A failure of a connection to one node.
#[derive(Debug)]
#[non_exhaustive]
pub struct WireError {
    /// Whom we talked to, and where.
    pub endpoint: Box<Endpoint>,
    /// As whom (`User:name`); none before a log-in, or where there is none.
    pub principal: Option<Box<str>>,
    /// What was being done, as in `cannot {doing}`.
    pub doing: &'static str,
    /// Why it failed.
    pub kind: WireErrorKind,
    /// The error below, where there is one.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// Why a connection or call failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WireErrorKind {
    /// The broker answered with an error that is no refusal of rights.
    #[error("{0}")]
    Api(Box<ApiError>),
    /// The broker refused user name and password.
    #[error("user name or password refused: {message}")]
    AuthenticationFailed {
        /// The broker's words; it does not tell a wrong name from a wrong password.
        message: String,
    },
    /// The peer closed the connection without a word.
    #[error("the peer closed the connection")]
    Closed,
    /// An earlier call on this connection failed half-way, so it cannot be used any more.
    #[error("an earlier call on this connection failed half-way")]
    Unusable,
    /// An error of the operating system that is none of the others.
    #[error("{0}")]
    Io(io::ErrorKind),
    /// The principal lacks the right.
    #[error("not authorized: {0}")]
    NotAuthorized(Box<ApiError>),
    /// The peer does not speak TLS.
    #[error("the peer answered something that is not TLS")]
    NotTls,
    /// The peer's bytes break the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// The listener does not offer this SASL mechanism.
    #[error("SASL mechanism {mechanism} is not enabled here; enabled: {}", listed(enabled))]
    SaslMechanismNotEnabled {
        /// What was asked for.
        mechanism: &'static str,
        /// What the listener offers.
        enabled: Vec<String>,
    },
    /// We refused the server's certificate.
    #[error("the server's certificate was refused: {0}")]
    ServerCertificate(CertificateProblem),
    /// The server could not prove that it knows the user's credential.
    #[error("the server did not prove that it holds the user's credential")]
    ServerNotGenuine,
    /// Something did not happen in time.
    #[error("no {awaited} after {:.1} s", waited.as_secs_f64())]
    Timeout {
        /// What was awaited.
        awaited: &'static str,
        /// How long.
        waited: Duration,
    },
    /// The peer refused our handshake with a TLS alert.
    #[error("TLS alert from the peer: {0}")]
    TlsAlert(TlsAlert),
    /// No version of the request is spoken by both sides.
    #[error("no common version of {request}: {versions}")]
    UnsupportedVersion {
        /// The request's name.
        request: String,
        /// Both sides' versions, as text.
        versions: String,
    },
}

/// A TLS alert that the peer sent (RFC 8446 section 6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TlsAlert {
    /// 49: the certificate is genuine but has no access.
    AccessDenied,
    /// 42: our certificate is corrupt, or missing (TLS 1.2).
    BadCertificate,
    /// 45: our certificate is no longer, or not yet, valid.
    CertificateExpired,
    /// 116: no certificate was presented (TLS 1.3).
    CertificateRequired,
    /// 46: our certificate is not trusted for another reason; what a JVM says for a foreign authority.
    CertificateUnknown,
    /// 44: our certificate was revoked.
    CertificateRevoked,
    /// 51: a signature does not fit; what a server says of an authority that has the right name but another
    /// key, such as one that was made anew.
    DecryptError,
    /// 40: no common parameters; what a JVM says in TLS 1.2 when our certificate is missing.
    HandshakeFailure,
    /// 80: something unrelated broke inside the peer.
    InternalError,
    /// 70: the protocol version is recognised but not allowed.
    ProtocolVersion,
    /// 48: our certificate's authority is not trusted.
    UnknownCa,
    /// 43: our certificate is of a kind that the peer does not take.
    UnsupportedCertificate,
    /// Any other alert, by its number.
    Other(u8),
}

/// What is wrong with a server's certificate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// Its validity is over.
    #[error("it has expired")]
    Expired,
    /// It is for other names.
    #[error("it is for {}, not for {expected}", listed(presented))]
    NameMismatch {
        /// The name that we wanted.
        expected: String,
        /// The names in it.
        presented: Vec<String>,
    },
    /// Its validity has not begun.
    #[error("it is not valid yet")]
    NotYetValid,
    /// It was not signed by the authority that we trust.
    #[error("its issuer is not the authority that we trust")]
    UnknownIssuer,
    /// Its extended key usage does not allow a server.
    #[error("it is not for servers (extended key usage)")]
    WrongUsage,
    /// Something else, in rustls' words.
    #[error("{0}")]
    Other(String),
}

/// An error code of Kafka's protocol for one item of a response.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{subject}: {name} ({code}){}", message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
#[non_exhaustive]
pub struct ApiError {
    /// What it is about: `topic caracal.dlq`, `group x`.
    pub subject: String,
    /// The code, as in Kafka's protocol guide.
    pub code: i16,
    /// The code's name (`TopicAuthorizationFailed`).
    pub name: String,
    /// The broker's own words, where it had any.
    pub message: Option<String>,
    /// Whether trying again may help.
    pub retriable: bool,
}

impl ApiError {
    /// The error of a code; none for 0.
    pub fn from_code(code: i16, message: Option<&str>, subject: impl Into<String>) -> Option<Self> {
        let error = ResponseError::try_from_code(code)?;
        let message = message.filter(|text| !text.is_empty()).map(str::to_owned);
        Some(Self {
            subject: subject.into(),
            code,
            name: format!("{error:?}"),
            message,
            retriable: error.is_retriable(),
        })
    }

    /// `Ok` for code 0, else the error.
    ///
    /// # Errors
    /// The code as an [`ApiError`].
    pub fn check(code: i16, message: Option<&str>, subject: impl Into<String>) -> Result<(), Self> {
        Self::from_code(code, message, subject).map_or(Ok(()), Err)
    }

    /// Whether it says that the principal lacks a right.
    pub fn is_not_authorized(&self) -> bool {
        use ResponseError as E;
        matches!(
            ResponseError::try_from_code(self.code),
            Some(
                E::TopicAuthorizationFailed
                    | E::GroupAuthorizationFailed
                    | E::ClusterAuthorizationFailed
                    | E::TransactionalIdAuthorizationFailed
                    | E::DelegationTokenAuthorizationFailed
            )
        )
    }

    /// Whether another broker is the controller now.
    pub fn is_not_controller(&self) -> bool {
        self.code == ResponseError::NotController.code()
    }
}

impl From<ApiError> for WireErrorKind {
    fn from(error: ApiError) -> Self {
        if error.is_not_authorized() {
            Self::NotAuthorized(Box::new(error))
        } else {
            Self::Api(Box::new(error))
        }
    }
}

impl TlsAlert {
    /// The alert of a number on the wire.
    pub fn from_code(code: u8) -> Self {
        match code {
            40 => Self::HandshakeFailure,
            42 => Self::BadCertificate,
            43 => Self::UnsupportedCertificate,
            44 => Self::CertificateRevoked,
            45 => Self::CertificateExpired,
            46 => Self::CertificateUnknown,
            48 => Self::UnknownCa,
            49 => Self::AccessDenied,
            51 => Self::DecryptError,
            70 => Self::ProtocolVersion,
            80 => Self::InternalError,
            116 => Self::CertificateRequired,
            other => Self::Other(other),
        }
    }

    /// Whether the peer is dissatisfied with our certificate, or with its absence.
    pub fn is_about_our_certificate(self) -> bool {
        matches!(
            self,
            Self::AccessDenied
                | Self::BadCertificate
                | Self::CertificateExpired
                | Self::CertificateRequired
                | Self::CertificateRevoked
                | Self::CertificateUnknown
                | Self::DecryptError
                | Self::UnknownCa
                | Self::UnsupportedCertificate
        )
    }
}

impl fmt::Display for TlsAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccessDenied => "access_denied",
            Self::BadCertificate => "bad_certificate",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateRequired => "certificate_required",
            Self::CertificateUnknown => "certificate_unknown",
            Self::CertificateRevoked => "certificate_revoked",
            Self::DecryptError => "decrypt_error",
            Self::HandshakeFailure => "handshake_failure",
            Self::InternalError => "internal_error",
            Self::ProtocolVersion => "protocol_version",
            Self::UnknownCa => "unknown_ca",
            Self::UnsupportedCertificate => "unsupported_certificate",
            Self::Other(code) => return write!(f, "number {code}"),
        })
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} at {}", self.doing, self.endpoint)?;
        if let Some(principal) = &self.principal {
            write!(f, " as {principal}")?;
        }
        write!(f, ": {}", self.kind)?;
        match self.kind.advice() {
            Some((cause, next)) => write!(f, " (likely cause: {cause}; next: {next})"),
            None => Ok(()),
        }
    }
}

impl Error for WireError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl WireErrorKind {
    /// The likely cause and what to do next, for the kinds where one can tell.
    pub fn advice(&self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::AuthenticationFailed { .. } => (
                "a changed password, or a user that was never written",
                "compare the password file with the user's credential by running `up` again",
            ),
            Self::Closed => (
                "the node is starting or stopping, or this port speaks plain text",
                "read the end of the node's log",
            ),
            Self::NotAuthorized(_) => {
                ("no access rule allows it", "compare the user's rules with the plan's list")
            }
            Self::NotTls => ("the port is a plain-text listener", "check the listener's security protocol"),
            Self::Refused => ("the node is not running, or on another port", "check whether it runs: `ps`"),
            Self::SaslMechanismNotEnabled { .. } => {
                ("the listener's sasl.enabled.mechanisms leaves it out", "use one of the enabled mechanisms")
            }
            Self::ServerCertificate(problem) => problem.advice(),
            Self::ServerNotGenuine => (
                "somebody else answers at this address, or the stored credential is damaged",
                "do not send anything there before you know who listens",
            ),
            Self::Timeout { .. } => {
                ("the node is overloaded or hangs", "look at the node's log and try again")
            }
            Self::TlsAlert(alert) if alert.is_about_our_certificate() => (
                "the listener wants a client certificate of the authority that it trusts",
                "check which certificate was presented, who signed it and until when it is valid",
            ),
            Self::TlsAlert(TlsAlert::HandshakeFailure) => (
                "no client certificate was presented, which a JVM says so in TLS 1.2, or no suite is in common",
                "check that a certificate is presented, then compare the cipher suites",
            ),
            Self::TlsAlert(_) => {
                ("both sides have no TLS version or suite in common", "compare ssl.enabled.protocols")
            }
            Self::Api(error) if error.retriable => {
                ("the cluster is still moving leaders or controllers", "try again")
            }
            _ => return None,
        })
    }

    /// Whether the listener itself refused us: by certificate, by password, by mechanism or by rights.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::AuthenticationFailed { .. }
                | Self::NotAuthorized(_)
                | Self::SaslMechanismNotEnabled { .. }
                | Self::TlsAlert(_)
        )
    }

    /// Whether the node seems not to be there (yet), so that another one may be asked instead.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Closed | Self::Io(_) | Self::Refused | Self::Timeout { .. })
    }

    /// Reads an I/O error's true meaning out of it.
    pub(crate) fn from_io(error: &io::Error) -> Self {
        if let Some(inner) = error.get_ref() {
            if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
                return Self::from_tls(tls);
            }
            if let Some(frame) = inner.downcast_ref::<super::frame::FrameTooLarge>() {
                return Self::Protocol(frame.to_string());
            }
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Closed,
            other => Self::Io(other),
        }
    }

    fn from_tls(error: &rustls::Error) -> Self {
        use rustls::{Error as E, InvalidMessage as M};
        match error {
            E::AlertReceived(alert) => Self::TlsAlert(TlsAlert::from_code(u8::from(*alert))),
            E::InvalidCertificate(problem) => Self::ServerCertificate(CertificateProblem::from_tls(problem)),
            E::InvalidMessage(
                M::InvalidContentType
                | M::UnknownProtocolVersion
                | M::MessageTooLarge
                | M::InvalidEmptyPayload,
            ) => Self::NotTls,
            other => Self::Protocol(other.to_string()),
        }
    }

    pub(crate) fn timeout(awaited: &'static str, elapsed: Elapsed) -> Self {
        Self::Timeout { awaited, waited: elapsed.waited }
    }
}

impl CertificateProblem {
    fn from_tls(error: &rustls::CertificateError) -> Self {
        use rustls::CertificateError as E;
        match error {
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            E::UnknownIssuer | E::BadSignature => Self::UnknownIssuer,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::WrongUsage,
            E::NotValidForNameContext { expected, presented } => Self::NameMismatch {
                expected: expected.to_str().into_owned(),
                presented: presented.iter().map(|name| bare_name(name)).collect(),
            },
            other => Self::Other(other.to_string()),
        }
    }

    fn advice(&self) -> (&'static str, &'static str) {
        match self {
            Self::Expired | Self::NotYetValid => {
                ("the certificate was not renewed, or a clock is wrong", "list the certificates' days left")
            }
            Self::NameMismatch { .. } => (
                "another node answers here, or the certificate was made before the address changed",
                "compare the certificate's names with the plan",
            ),
            Self::UnknownIssuer => (
                "another cluster answers at this address, or its authority was replaced",
                "check which cluster owns the port",
            ),
            Self::WrongUsage | Self::Other(_) => {
                ("the certificate was made for something else", "make the node's certificate again")
            }
        }
    }
}

/// rustls spells a name as `DnsName("localhost")` or `IpAddress(127.0.0.1)`.
fn bare_name(spelled: &str) -> String {
    let inner = spelled.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(spelled).trim_matches('"').to_owned()
}

fn listed(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(kind: WireErrorKind) -> WireError {
        let endpoint = Endpoint {
            node: "caracal-kafka-1".to_owned(),
            listener: "EXTERNAL".to_owned(),
            dial: "127.0.0.1:9093".parse().unwrap(),
            server_name: "localhost".to_owned(),
        };
        WireError {
            endpoint: Box::new(endpoint),
            principal: Some("User:producer".into()),
            doing: "log in",
            kind,
            source: None,
        }
    }

    #[test]
    fn a_message_names_place_person_cause_and_next_step() {
        let text = at(WireErrorKind::AuthenticationFailed { message: "no".to_owned() }).to_string();
        for part in
            ["caracal-kafka-1", "EXTERNAL", "127.0.0.1:9093", "User:producer", "likely cause", "next:"]
        {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }

    #[test]
    fn alerts_are_read_out_of_io_errors() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        let kind = WireErrorKind::from_io(&io::Error::new(io::ErrorKind::InvalidData, alert));
        assert_eq!(kind, WireErrorKind::TlsAlert(TlsAlert::CertificateRequired));
        assert!(kind.is_refusal());
    }

    #[test]
    fn a_certificate_for_another_name_names_both() {
        let problem = rustls::CertificateError::NotValidForNameContext {
            expected: "localhost".try_into().unwrap(),
            presented: vec!["DnsName(\"kafka-2\")".to_owned(), "IpAddress(127.0.0.1)".to_owned()],
        };
        let kind = WireErrorKind::from_io(&io::Error::other(rustls::Error::InvalidCertificate(problem)));
        assert_eq!(
            kind.to_string(),
            "the server's certificate was refused: it is for kafka-2, 127.0.0.1, not for localhost"
        );
    }

    #[test]
    fn rights_are_told_from_other_errors() {
        let denied = ApiError::from_code(29, None, "topic t").unwrap();
        assert!(matches!(WireErrorKind::from(denied), WireErrorKind::NotAuthorized(_)));
        let moved = ApiError::from_code(6, Some("not here"), "topic t").unwrap();
        assert!(moved.retriable);
        assert_eq!(moved.to_string(), "topic t: NotLeaderOrFollower (6): not here");
        assert!(matches!(WireErrorKind::from(moved), WireErrorKind::Api(_)));
        assert!(ApiError::from_code(0, None, "x").is_none());
    }
}
