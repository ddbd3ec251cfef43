//! Nothing but a home for the live suite in `live/`: a real cluster, judged by the JDK, OpenSSL and other clients.
//!
//! It runs by `cargo test -p caracal-tests --features live`; without the feature there is no test here.
