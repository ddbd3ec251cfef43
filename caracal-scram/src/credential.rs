//! What a broker keeps of a password: enough to check a log-in, not enough to log in (RFC 5802 section 2.2).

use std::fmt;
use std::num::NonZeroU32;

use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use crate::derive::same;
use crate::error::ScramError;
use crate::mechanism::{Iterations, Mechanism};
use crate::{prepare, random};

/// A user's credential for one mechanism, as a broker stores it.
///
/// Whoever holds it can pose as the server and guess passwords at leisure, so it is a secret: the keys are neither
/// shown by `Debug` nor written anywhere but by [`to_kafka_record`](Self::to_kafka_record).
#[derive(Clone)]
pub struct ScramCredential {
    pub(crate) mechanism: Mechanism,
    pub(crate) salt: Vec<u8>,
    pub(crate) stored_key: SecretSlice<u8>,
    pub(crate) server_key: SecretSlice<u8>,
    pub(crate) rounds: NonZeroU32,
}

impl ScramCredential {
    /// Derives a credential with 32 random bytes of salt.
    ///
    /// ```
    /// use caracal_scram::{Iterations, Mechanism, ScramCredential};
    /// use secrecy::SecretString;
    ///
    /// let password = SecretString::from("correct horse battery staple");
    /// let credential = ScramCredential::derive(Mechanism::ScramSha512, &password, Iterations::MIN)?;
    /// assert_eq!((credential.salt().len(), credential.iterations()), (32, 4096));
    /// assert!(credential.verifies(&password)?);
    /// assert!(!credential.verifies(&"another one".into())?);
    /// # Ok::<(), caracal_scram::ScramError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A password that is empty or not the same to every client ([`ScramError::PasswordEmpty`],
    /// [`PasswordProhibited`](ScramError::PasswordProhibited), [`PasswordNotNormal`](ScramError::PasswordNotNormal)),
    /// or [`ScramError::RandomUnavailable`].
    pub fn derive(
        mechanism: Mechanism,
        password: &SecretString,
        iterations: Iterations,
    ) -> Result<Self, ScramError> {
        Self::derive_with_salt(mechanism, password, &random::bytes::<32>()?, iterations)
    }

    /// Derives a credential with the given salt: for test vectors, and for writing a known credential again.
    ///
    /// # Errors
    ///
    /// As [`derive`](Self::derive), and [`ScramError::SaltEmpty`].
    pub fn derive_with_salt(
        mechanism: Mechanism,
        password: &SecretString,
        salt: &[u8],
        iterations: Iterations,
    ) -> Result<Self, ScramError> {
        Self::derive_rounds(mechanism, password, salt, iterations.rounds())
    }

    /// The salted password alone (`Hi` of RFC 5802), which Kafka's `AlterUserScramCredentials` request and
    /// `kafka-storage format --add-scram` take in place of the password.
    ///
    /// It is as good as the password for logging in, and must be sent over TLS only.
    ///
    /// ```
    /// use caracal_scram::{Iterations, Mechanism, ScramCredential};
    /// use secrecy::ExposeSecret as _;
    ///
    /// let mechanism = Mechanism::ScramSha256;
    /// let salted =
    ///     ScramCredential::expose_salted_password(mechanism, &"pencil".into(), b"salt", Iterations::MIN)?;
    /// assert_eq!(salted.expose_secret().len(), 32);
    /// # Ok::<(), caracal_scram::ScramError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`derive_with_salt`](Self::derive_with_salt).
    pub fn expose_salted_password(
        mechanism: Mechanism,
        password: &SecretString,
        salt: &[u8],
        iterations: Iterations,
    ) -> Result<SecretSlice<u8>, ScramError> {
        salted(mechanism, password, salt, iterations.rounds())
    }

    /// Whether `password` is the one behind this credential: derives it again and compares in constant time.
    ///
    /// # Errors
    ///
    /// As [`derive`](Self::derive): a password for which no credential could have been made here. Kafka's own
    /// tools make one for it nonetheless, see the crate's documentation.
    pub fn verifies(&self, password: &SecretString) -> Result<bool, ScramError> {
        let again = Self::derive_rounds(self.mechanism, password, &self.salt, self.rounds)?;
        // Both are compared whatever the first says.
        Ok(same(&again.stored_key, &self.stored_key) & same(&again.server_key, &self.server_key))
    }

    /// The mechanism that the credential serves.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The salt; the server tells it to anybody who starts a log-in.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The key that a client's proof is checked with.
    #[must_use]
    pub fn stored_key(&self) -> &SecretSlice<u8> {
        &self.stored_key
    }

    /// The key that the server signs with.
    #[must_use]
    pub fn server_key(&self) -> &SecretSlice<u8> {
        &self.server_key
    }

    /// Rounds of PBKDF2. A record of Kafka's may hold more than [`Iterations::MAX`], so this is a plain number.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.rounds.get()
    }

    fn derive_rounds(
        mechanism: Mechanism,
        password: &SecretString,
        salt: &[u8],
        rounds: NonZeroU32,
    ) -> Result<Self, ScramError> {
        let suite = mechanism.suite();
        let salted = salted(mechanism, password, salt, rounds)?;
        let stored_key = suite.stored_key(suite.client_key(&salted).expose_secret());
        let server_key = suite.server_key(&salted);
        Ok(Self { mechanism, salt: salt.to_vec(), stored_key, server_key, rounds })
    }
}

impl fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramCredential")
            .field("mechanism", &self.mechanism)
            .field("iterations", &self.rounds)
            .field("salt_len", &self.salt.len())
            .field("stored_key", &"[secret]")
            .field("server_key", &"[secret]")
            .finish()
    }
}

/// The checks that every derivation makes, then the derivation.
pub(crate) fn salted(
    mechanism: Mechanism,
    password: &SecretString,
    salt: &[u8],
    rounds: NonZeroU32,
) -> Result<SecretSlice<u8>, ScramError> {
    let password = prepare::password(password)?;
    if salt.is_empty() {
        return Err(ScramError::SaltEmpty);
    }
    Ok(mechanism.suite().salted_password(password, salt, rounds))
}
