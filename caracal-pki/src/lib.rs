#![doc = include_str!("../README.md")]
//!
//! # Where this crate sits
//!
//! At the bottom of the workspace: the planner names subjects and alternative names, this crate makes
//! keys, certificates and stores out of them, and [`store`] writes them.
//!
//! **Architecture invariant:** the crate knows neither Kafka nor tokio, reads no clock (every validity is
//! passed in) and touches the file system in [`store`] only.

mod algorithm;
mod ca;
mod csr;
mod error;
pub mod inventory;
mod issued;
mod key;
mod leaf;
mod name;
mod pem;
mod san;
pub mod store;
pub mod stores;
mod x509;

// Public interface.
pub use algorithm::KeyAlgorithm;
pub use ca::CertificateAuthority;
pub use csr::CertificateRequest;
pub use error::PkiError;
pub use issued::Issued;
pub use key::PrivateKeyPem;
pub use leaf::{LeafRequest, Usage, Validity};
pub use name::DistinguishedName;
pub use san::SubjectAltName;
