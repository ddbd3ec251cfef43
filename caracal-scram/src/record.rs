//! Kafka's text for a credential, which it keeps in ZooKeeper under `/config/users/<user>` (KIP-84):
//! `salt=S,stored_key=K,server_key=K,iterations=N`, bytes in base 64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use zeroize::Zeroizing;

use crate::credential::ScramCredential;
use crate::error::ScramError;
use crate::mechanism::{Mechanism, rounds_found};

impl ScramCredential {
    /// The credential as Kafka's `ScramCredentialUtils` writes it, character by character.
    ///
    /// ```
    /// use caracal_scram::{Iterations, Mechanism, ScramCredential};
    /// use secrecy::ExposeSecret as _;
    ///
    /// let mechanism = Mechanism::ScramSha256;
    /// let credential = ScramCredential::derive_with_salt(mechanism, &"pencil".into(), b"salt", Iterations::MIN)?;
    /// let record = credential.to_kafka_record();
    /// assert!(record.expose_secret().starts_with("salt=c2FsdA==,stored_key="));
    /// let read = ScramCredential::from_kafka_record(mechanism, record.expose_secret())?;
    /// assert!(read.verifies(&"pencil".into())?);
    /// # Ok::<(), caracal_scram::ScramError>(())
    /// ```
    #[must_use]
    pub fn to_kafka_record(&self) -> SecretString {
        let stored_key = Zeroizing::new(BASE64.encode(self.stored_key.expose_secret()));
        let server_key = Zeroizing::new(BASE64.encode(self.server_key.expose_secret()));
        let salt = BASE64.encode(&self.salt);
        let (stored_key, server_key, iterations) = (&*stored_key, &*server_key, self.rounds);
        format!("salt={salt},stored_key={stored_key},server_key={server_key},iterations={iterations}").into()
    }

    /// Reads a credential that Kafka or [`to_kafka_record`](Self::to_kafka_record) wrote for `mechanism`.
    ///
    /// The fields may come in any order, as for Kafka. Beyond what Kafka checks, a field given twice, base 64
    /// without its padding, an empty salt, keys of another mechanism's length, and iterations below 4096 (which
    /// a broker refuses at log-in) or above a million are errors.
    ///
    /// # Errors
    ///
    /// [`ScramError::Record`], which names the field but never quotes the record.
    pub fn from_kafka_record(mechanism: Mechanism, record: &str) -> Result<Self, ScramError> {
        parse(mechanism, record).map_err(|problem| ScramError::Record { mechanism, problem })
    }
}

fn parse(mechanism: Mechanism, record: &str) -> Result<ScramCredential, &'static str> {
    let (mut salt, mut stored_key, mut server_key, mut iterations) = (None, None, None, None);
    for field in record.split(',') {
        let (name, value) = field.split_once('=').ok_or("a field has no `=`")?;
        let slot = match name {
            "salt" => &mut salt,
            "stored_key" => &mut stored_key,
            "server_key" => &mut server_key,
            "iterations" => &mut iterations,
            _ => return Err("a field is none of salt, stored_key, server_key, iterations"),
        };
        if slot.replace(value).is_some() {
            return Err("a field is given twice");
        }
    }

    let salt = BASE64.decode(salt.ok_or("salt is missing")?).map_err(|_| "salt is not base 64")?;
    if salt.is_empty() {
        return Err("salt is empty");
    }
    let stored_key = key(mechanism, stored_key.ok_or("stored_key is missing")?)
        .ok_or("stored_key is not a key of this mechanism in base 64")?;
    let server_key = key(mechanism, server_key.ok_or("server_key is missing")?)
        .ok_or("server_key is not a key of this mechanism in base 64")?;
    let rounds = digits(iterations.ok_or("iterations is missing")?)
        .and_then(rounds_found)
        .ok_or("iterations is not a number from 4096 to 1000000")?;
    Ok(ScramCredential { mechanism, salt, stored_key, server_key, rounds })
}

fn key(mechanism: Mechanism, base64: &str) -> Option<SecretSlice<u8>> {
    let key = Zeroizing::new(BASE64.decode(base64).ok()?);
    (key.len() == mechanism.key_len()).then(|| key.to_vec().into())
}

/// A decimal number without the sign that Rust's own parser would let through.
pub(crate) fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
