//! Why ZooKeeper did not do what was asked.

use std::fmt;

use crate::wire::{Endpoint, WireError};

/// A failed ZooKeeper call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZkError {
    /// The connection failed, or the server's bytes make no sense.
    #[error(transparent)]
    Connection(Box<WireError>),
    /// No server was given to connect to.
    #[error("the plan has no ZooKeeper server to connect to")]
    NoServers,
    /// The server refused the operation.
    #[error("cannot {doing} `{path}` at {endpoint}: {code}{}", code.advice())]
    Refused {
        /// The server.
        endpoint: Box<Endpoint>,
        /// The operation, as in `cannot {doing} {path}`.
        doing: &'static str,
        /// The znode.
        path: String,
        /// The server's code.
        code: ZkCode,
    },
    /// A user's record in ZooKeeper is not what Kafka writes.
    #[error(
        "the record of user `{user}` in ZooKeeper ({path}) is not readable: {reason} (it was changed by hand, or by a newer Kafka; look at it before it is overwritten)"
    )]
    Record {
        /// The user.
        user: String,
        /// Its znode.
        path: String,
        /// What is wrong, without any part of the record.
        reason: String,
    },
    /// A four-letter word is not allowed on this server.
    #[error(
        "{endpoint} does not answer `{word}` (likely cause: it is not in 4lw.commands.whitelist; next: add it there)"
    )]
    WordNotAllowed {
        /// The server.
        endpoint: Box<Endpoint>,
        /// The word.
        word: &'static str,
    },
}

/// ZooKeeper's error codes (`KeeperException.Code`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ZkCode {
    /// -115: authentication failed.
    AuthFailed,
    /// -8: an argument is invalid.
    BadArguments,
    /// -103: the version given is not the znode's.
    BadVersion,
    /// -4: the server lost its quorum or the connection.
    ConnectionLoss,
    /// -114: an ACL is empty or malformed.
    InvalidAcl,
    /// -102: the session's identity lacks the permission.
    NoAuth,
    /// -110: the znode exists.
    NodeExists,
    /// -101: the znode does not exist.
    NoNode,
    /// -111: the znode has children.
    NotEmpty,
    /// -112: the session is over.
    SessionExpired,
    /// Any other code.
    Other(i32),
}

impl ZkError {
    /// The server's code, when it was the server that refused.
    pub fn code(&self) -> Option<ZkCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

impl From<WireError> for ZkError {
    fn from(error: WireError) -> Self {
        Self::Connection(Box::new(error))
    }
}

impl ZkCode {
    /// The code of a number on the wire; none for 0.
    pub fn from_wire(code: i32) -> Option<Self> {
        Some(match code {
            0 => return None,
            -4 => Self::ConnectionLoss,
            -8 => Self::BadArguments,
            -101 => Self::NoNode,
            -102 => Self::NoAuth,
            -103 => Self::BadVersion,
            -110 => Self::NodeExists,
            -111 => Self::NotEmpty,
            -112 => Self::SessionExpired,
            -114 => Self::InvalidAcl,
            -115 => Self::AuthFailed,
            other => Self::Other(other),
        })
    }

    fn advice(self) -> &'static str {
        match self {
            Self::NoAuth => {
                " (likely cause: the znode was made under another certificate subject; next: compare the \
                 subject of this certificate with the znode's ACL)"
            }
            Self::ConnectionLoss | Self::SessionExpired => {
                " (likely cause: the ensemble lost its quorum; next: check that most of its nodes run)"
            }
            Self::BadVersion => " (likely cause: somebody else wrote at the same time; next: try again)",
            _ => "",
        }
    }
}

impl fmt::Display for ZkCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AuthFailed => "authentication failed",
            Self::BadArguments => "an argument is invalid",
            Self::BadVersion => "its version changed",
            Self::ConnectionLoss => "the server lost its connection to the ensemble",
            Self::InvalidAcl => "the ACL is invalid",
            Self::NoAuth => "no permission",
            Self::NodeExists => "it exists",
            Self::NoNode => "it does not exist",
            Self::NotEmpty => "it has children",
            Self::SessionExpired => "the session is over",
            Self::Other(code) => return write!(f, "ZooKeeper error {code}"),
        })
    }
}
