//! caracal-pki
