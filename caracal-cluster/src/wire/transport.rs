//! TCP and TLS to one listener, with errors that say why.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::deadline::Deadline;
use super::error::{WireError, WireErrorKind};
use super::frame;
use super::tls::TlsConfig;
use crate::plan::{ListenerPlan, NodePlan};

/// One listener of one node: where to dial, and which name its certificate must carry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// The node's name, for messages.
    pub node: String,
    /// The listener's name, for messages.
    pub listener: String,
    /// Where to dial.
    pub dial: SocketAddr,
    /// The name (or address) that the certificate must be for; never one out of metadata.
    pub server_name: String,
}

impl Endpoint {
    /// The endpoint that a plan describes.
    pub fn of(node: &NodePlan, listener: &ListenerPlan) -> Self {
        Self {
            node: node.name.to_string(),
            listener: listener.name.to_string(),
            dial: listener.dial,
            server_name: listener.advertised_host.clone(),
        }
    }

    /// An error at this endpoint.
    pub(crate) fn error(&self, doing: &'static str, kind: WireErrorKind) -> WireError {
        WireError { endpoint: Box::new(self.clone()), principal: None, doing, kind, source: None }
    }

    /// An I/O error at this endpoint, translated.
    pub(crate) fn io_error(&self, doing: &'static str, error: io::Error) -> WireError {
        let kind = WireErrorKind::from_io(&error);
        WireError { source: Some(Box::new(error)), ..self.error(doing, kind) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} listener {} ({})", self.node, self.listener, self.dial)
    }
}

/// Opens a TCP connection.
pub(crate) async fn dial(endpoint: &Endpoint, deadline: Deadline) -> Result<TcpStream, WireError> {
    let stream = deadline
        .run(TcpStream::connect(endpoint.dial))
        .await
        .map_err(|over| endpoint.error("connect", WireErrorKind::timeout("TCP connection", over)))?
        .map_err(|error| endpoint.io_error("connect", error))?;
    // A request is small and waits for its answer: Nagle's algorithm would only delay it.
    stream.set_nodelay(true).map_err(|error| endpoint.io_error("connect", error))?;
    Ok(stream)
}

/// Opens a TLS connection whose certificate is for the endpoint's name.
///
/// In TLS 1.3 this succeeds before the server has judged our certificate; its refusal comes with the first
/// read, where [`exchange`] translates it.
pub(crate) async fn dial_tls(
    endpoint: &Endpoint,
    tls: &TlsConfig,
    deadline: Deadline,
) -> Result<TlsStream<TcpStream>, WireError> {
    const DOING: &str = "shake hands";
    let name = ServerName::try_from(endpoint.server_name.clone()).map_err(|error| WireError {
        source: Some(Box::new(error)),
        ..endpoint
            .error(DOING, WireErrorKind::Protocol(format!("`{}` is no host name", endpoint.server_name)))
    })?;
    let stream = dial(endpoint, deadline).await?;
    deadline
        .run(TlsConnector::from(tls.client()).connect(name, stream))
        .await
        .map_err(|over| endpoint.error(DOING, WireErrorKind::timeout("end of the TLS handshake", over)))?
        .map_err(|error| endpoint.io_error(DOING, error))
}

/// Sends one frame and reads one.
///
/// When the sending fails the peer may already have said why, so the reading is tried all the same and an
/// alert found there counts.
pub(crate) async fn exchange(stream: &mut TlsStream<TcpStream>, message: &[u8]) -> io::Result<Bytes> {
    let framed = frame::framed(message)?;
    let sent = async {
        stream.write_all(&framed).await?;
        stream.flush().await
    }
    .await;
    let Err(unsent) = sent else {
        return frame::read_frame(stream, frame::MAX_FRAME).await;
    };
    let mut byte = [0; 1];
    match stream.read(&mut byte).await {
        Err(why) if matches!(WireErrorKind::from_io(&why), WireErrorKind::TlsAlert(_)) => Err(why),
        _ => Err(unsent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_closed_port_is_told_from_a_silent_one() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut endpoint = Endpoint {
            node: "n".to_owned(),
            listener: "L".to_owned(),
            dial: socket.local_addr().unwrap(),
            server_name: "localhost".to_owned(),
        };
        assert!(dial(&endpoint, Deadline::after(Duration::from_secs(5))).await.is_ok());
        drop(socket);
        let error = dial(&endpoint, Deadline::after(Duration::from_secs(5))).await.unwrap_err();
        assert_eq!(error.kind, WireErrorKind::Refused);
        endpoint.server_name = "not a name".to_owned();
        assert!(endpoint.to_string().contains("n listener L"));
    }
}
