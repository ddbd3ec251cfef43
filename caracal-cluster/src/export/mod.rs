//! Exports: what was tried here, written down for those that run it elsewhere.
//!
//! An export reads the same plan as a runtime and mints its own authorities and passwords: nothing of a
//! cluster that runs here goes into it.

pub mod compose;
