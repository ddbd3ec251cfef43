//! The only source of randomness: the operating system's, for salts and nonces that are not passed in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::error::ScramError;

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], ScramError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| ScramError::RandomUnavailable)?;
    Ok(bytes)
}

/// A nonce of 192 random bits; base 64 has no comma, and 24 bytes need no padding.
pub(crate) fn nonce() -> Result<String, ScramError> {
    Ok(BASE64.encode(bytes::<24>()?))
}
