#![doc = include_str!("../README.md")]

pub mod events;
mod logical;
pub mod profile;
pub mod schema;
