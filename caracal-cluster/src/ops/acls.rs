//! Access rules of a running cluster.

mod words;

pub use self::words::{Operation, Resource, Rule, WordError};
