//! Four-letter words over TLS: `srvr` says whether a server leads or follows.
//!
//! With a TLS-only client port the words go there too, and the server closes the connection after its
//! answer. Only `srvr` is allowed by default (`4lw.commands.whitelist`).

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::ZkError;
use crate::wire::{Deadline, Endpoint, TlsConfig, WireErrorKind, transport};

/// The longest answer that is read, in bytes; `stat` lists every connection.
const MAX_ANSWER: usize = 256 * 1024;

/// What a server does in its ensemble.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ServerMode {
    /// Leads the ensemble.
    Leader,
    /// Follows the leader.
    Follower,
    /// Follows without a vote.
    Observer,
    /// Is alone.
    Standalone,
    /// Runs, but belongs to no quorum at the moment.
    NotServing,
}

/// What `srvr` says.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Its part in the ensemble.
    pub mode: ServerMode,
    /// ZooKeeper's version, without the build's details.
    pub version: Option<String>,
    /// Number of znodes.
    pub znodes: Option<u64>,
}

/// Asks a server for its mode (`srvr`).
///
/// # Errors
/// [`ZkError`]; [`ZkError::WordNotAllowed`].
pub async fn status(
    endpoint: &Endpoint,
    tls: &TlsConfig,
    deadline: Deadline,
) -> Result<ServerStatus, ZkError> {
    let answer = ask(endpoint, tls, "srvr", deadline).await?;
    parse_status(&answer).ok_or_else(|| {
        let kind = WireErrorKind::Protocol("the answer to `srvr` names no mode".to_owned());
        endpoint.error("ask for the mode", kind).into()
    })
}

/// Asks whether a server runs without errors (`ruok`).
///
/// # Errors
/// [`ZkError`]; [`ZkError::WordNotAllowed`].
pub async fn is_ok(endpoint: &Endpoint, tls: &TlsConfig, deadline: Deadline) -> Result<bool, ZkError> {
    Ok(ask(endpoint, tls, "ruok", deadline).await?.trim() == "imok")
}

/// Sends a four-letter word and reads the whole answer.
///
/// # Errors
/// [`ZkError`]; [`ZkError::WordNotAllowed`].
pub async fn ask(
    endpoint: &Endpoint,
    tls: &TlsConfig,
    word: &'static str,
    deadline: Deadline,
) -> Result<String, ZkError> {
    const DOING: &str = "ask ZooKeeper";
    let mut stream = transport::dial_tls(endpoint, tls, deadline).await?;
    let talk = async {
        stream.write_all(word.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = BytesMut::new();
        while answer.len() < MAX_ANSWER {
            match stream.read_buf(&mut answer).await {
                Ok(0) => break,
                Ok(_) => {}
                // The server may hang up without a close_notify once it has said everything.
                Err(error)
                    if !answer.is_empty() && WireErrorKind::from_io(&error) == WireErrorKind::Closed =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = deadline
        .run(talk)
        .await
        .map_err(|over| endpoint.error(DOING, WireErrorKind::timeout("answer", over)))?
        .map_err(|error| endpoint.io_error(DOING, error))?;
    if answer.is_empty() {
        return Err(endpoint.error(DOING, WireErrorKind::Closed).into());
    }
    if answer.contains("not in the whitelist") {
        return Err(ZkError::WordNotAllowed { endpoint: Box::new(endpoint.clone()), word });
    }
    Ok(answer)
}

fn parse_status(answer: &str) -> Option<ServerStatus> {
    if answer.contains("not currently serving requests") {
        return Some(ServerStatus { mode: ServerMode::NotServing, version: None, znodes: None });
    }
    let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mode = match field("Mode:")? {
        "leader" => ServerMode::Leader,
        "follower" => ServerMode::Follower,
        "observer" => ServerMode::Observer,
        "standalone" => ServerMode::Standalone,
        _ => return None,
    };
    let version = field("Zookeeper version:").and_then(|text| text.split(['-', ',']).next());
    Some(ServerStatus {
        mode,
        version: version.map(str::to_owned),
        znodes: field("Node count:").and_then(|text| text.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SRVR: &str = "Zookeeper version: 3.8.4-9316c2a7a97e1666d8f4593f34dd6fc36ecc436c, built on 2024-02-12 22:16 UTC\nLatency min/avg/max: 0/0.0/0\nReceived: 2\nSent: 1\nConnections: 1\nOutstanding: 0\nZxid: 0x100000000\nMode: follower\nNode count: 5\n";

    #[test]
    fn a_status_is_read() {
        let status = parse_status(SRVR).unwrap();
        assert_eq!(status.mode, ServerMode::Follower);
        assert_eq!(status.version.as_deref(), Some("3.8.4"));
        assert_eq!(status.znodes, Some(5));
    }

    #[test]
    fn a_server_without_quorum_says_so() {
        let status = parse_status("This ZooKeeper instance is not currently serving requests\n").unwrap();
        assert_eq!(status.mode, ServerMode::NotServing);
        assert_eq!(parse_status("Mode: dancing"), None);
        assert_eq!(parse_status(""), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _ = parse_status(&text);
        }
    }
}
