//! One authenticated connection to one broker, dialled where the plan says.
//!
//! `wire` is the lowest layer that talks: TCP, TLS with the name to verify kept apart from the address to
//! dial ([`Endpoint`]), SCRAM, and then requests one at a time ([`Connection::call`]). It never follows an
//! address out of a broker's metadata, so nothing that a broker says can send a password elsewhere.
//! [`crate::admin`] and [`crate::probe`] stand on it; [`crate::zookeeper`] shares its TLS and its errors.
//!
//! Everything here has a [`Deadline`], and every failure is a [`WireError`] whose [`WireErrorKind`] says
//! *why*, so that a test of refusals can tell a wrong password from a wrong port.
//!
//! Frames are bounded by [`frame::MAX_FRAME`] and read in small pieces. The message decoder behind
//! [`Connection::call`] trusts array lengths inside a frame; it only ever reads what a peer sent after its
//! certificate was verified.

pub mod connection;
pub mod deadline;
pub mod error;
pub mod frame;
pub mod records;
pub mod requests;
pub mod sasl;
pub mod tls;
pub mod transport;

#[cfg(test)]
mod tls_tests;

pub use connection::Connection;
pub use deadline::Deadline;
pub use error::{ApiError, CertificateProblem, TlsAlert, WireError, WireErrorKind};
pub use requests::WireRequest;
pub use sasl::{Login, SharedSaltedPasswords};
pub use tls::{TlsConfig, TlsConfigError, TlsIdentity};
pub use transport::Endpoint;
