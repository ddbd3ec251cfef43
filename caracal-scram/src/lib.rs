#![doc = include_str!("../README.md")]
//!
//! # Where this sits
//!
//! The cluster writes [`ScramCredential`]s to where its brokers look for them, and its connections to a broker
//! log in with [`ScramClient`]; both do the I/O themselves.
//!
//! **Architecture invariant**: nothing here opens a file or a socket, reads a clock, or knows Kafka's protocol.
//! Everything is a function from bytes to bytes, so every step is tested against published vectors.

mod cache;
mod client;
mod credential;
mod derive;
mod error;
mod mechanism;
mod message;
mod prepare;
mod random;
mod record;
mod server;

// The public interface.
pub use crate::cache::SaltedPasswordCache;
pub use crate::client::{ScramClient, ServerFinalExpected};
pub use crate::credential::ScramCredential;
pub use crate::error::ScramError;
pub use crate::mechanism::{Iterations, Mechanism};
pub use crate::server::{ScramServer, ServerExchange};
