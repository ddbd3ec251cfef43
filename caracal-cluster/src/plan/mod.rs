//! From a spec to a plan: pure, synchronous, deterministic.

mod model;

pub use model::*;
