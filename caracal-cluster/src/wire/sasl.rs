//! The log-in: SCRAM inside Kafka's `SaslHandshake` and `SaslAuthenticate` requests (KIP-43, KIP-152).

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use caracal_scram::{Mechanism, SaltedPasswordCache, ScramClient, ScramError, ServerFinalExpected};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use secrecy::SecretString;

use super::connection::Connection;
use super::deadline::Deadline;
use super::error::{ApiError, WireError, WireErrorKind};

/// Salted passwords that several log-ins share: one user logging in to many listeners derives once.
pub type SharedSaltedPasswords = Arc<Mutex<SaltedPasswordCache>>;

/// Who logs in, and how.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: SecretString,
    /// The SASL mechanism.
    pub mechanism: Mechanism,
    /// Salted passwords from earlier log-ins.
    pub cache: SharedSaltedPasswords,
}

impl Login {
    /// A log-in by SCRAM-SHA-512 with a cache of its own.
    pub fn new(user: impl Into<String>, password: SecretString) -> Self {
        Self {
            user: user.into(),
            password,
            mechanism: Mechanism::ScramSha512,
            cache: SharedSaltedPasswords::default(),
        }
    }

    /// The same log-in by another mechanism.
    #[must_use]
    pub fn with_mechanism(mut self, mechanism: Mechanism) -> Self {
        self.mechanism = mechanism;
        self
    }

    /// The same log-in with a shared cache.
    #[must_use]
    pub fn with_cache(mut self, cache: SharedSaltedPasswords) -> Self {
        self.cache = cache;
        self
    }

    /// The principal that the broker will see.
    pub fn principal(&self) -> String {
        format!("User:{}", self.user)
    }
}

const DOING: &str = "log in";

/// Logs in on a connection on which nothing but `ApiVersions` was asked.
pub(super) async fn log_in(
    connection: &mut Connection,
    login: &Login,
    deadline: Deadline,
) -> Result<(), WireError> {
    offer_mechanism(connection, login.mechanism, deadline).await?;
    let client = ScramClient::new(login.mechanism, &login.user, &login.password)
        .map_err(|error| scram_error(connection, error))?;
    let server_first = authenticate(connection, client.first_message(), deadline).await?;
    let expected = derive(client, server_first, login.cache.clone())
        .await
        .map_err(|error| scram_error(connection, error))?;
    let server_final = authenticate(connection, expected.final_message().to_vec(), deadline).await?;
    expected.verify(&server_final).map_err(|error| scram_error(connection, error))
}

/// The mechanisms that a listener offers: it tells them to whoever asks for one that does not exist, and hangs up.
///
/// # Errors
/// [`WireError`] when it does not answer; [`WireErrorKind::Api`] where it wants no log-in (`IllegalSaslState`).
pub(crate) async fn mechanisms(
    connection: &mut Connection,
    deadline: Deadline,
) -> Result<Vec<String>, WireError> {
    const DOING: &str = "ask for the SASL mechanisms";
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("NONE-OF-YOURS"));
    let response = connection.call_as(DOING, &request, 1, deadline).await?;
    if response.error_code == ResponseError::UnsupportedSaslMechanism.code() {
        return Ok(response.mechanisms.iter().map(ToString::to_string).collect());
    }
    ApiError::check(response.error_code, None, "SASL handshake")
        .map_err(|error| connection.error(DOING, error.into()))?;
    Ok(Vec::new())
}

async fn offer_mechanism(
    connection: &mut Connection,
    mechanism: Mechanism,
    deadline: Deadline,
) -> Result<(), WireError> {
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism.name()));
    let response = connection.call_as(DOING, &request, 1, deadline).await?;
    if response.error_code == ResponseError::UnsupportedSaslMechanism.code() {
        let enabled = response.mechanisms.iter().map(ToString::to_string).collect();
        let kind = WireErrorKind::SaslMechanismNotEnabled { mechanism: mechanism.name(), enabled };
        return Err(connection.error(DOING, kind));
    }
    ApiError::check(response.error_code, None, "SASL handshake")
        .map_err(|error| connection.error(DOING, error.into()))
}

async fn authenticate(
    connection: &mut Connection,
    message: Vec<u8>,
    deadline: Deadline,
) -> Result<Bytes, WireError> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(message));
    let response = connection.call_as(DOING, &request, 2, deadline).await?;
    let said = response.error_message.as_ref().map(ToString::to_string);
    if response.error_code == ResponseError::SaslAuthenticationFailed.code() {
        let message = said.unwrap_or_else(|| "the broker gave no reason".to_owned());
        return Err(connection.error(DOING, WireErrorKind::AuthenticationFailed { message }));
    }
    ApiError::check(response.error_code, said.as_deref(), "SASL authentication")
        .map_err(|error| connection.error(DOING, error.into()))?;
    Ok(response.auth_bytes)
}

/// Deriving takes milliseconds of pure computing, so it leaves the async threads alone. The lock is held
/// meanwhile on purpose: whoever waits for it will find the answer instead of deriving it again.
async fn derive(
    client: ScramClient,
    server_first: Bytes,
    cache: SharedSaltedPasswords,
) -> Result<ServerFinalExpected, ScramError> {
    let derived = tokio::task::spawn_blocking(move || {
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        client.handle_server_first_cached(&mut cache, &server_first)
    });
    match derived.await {
        Ok(result) => result,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

fn scram_error(connection: &Connection, error: ScramError) -> WireError {
    let kind = match &error {
        ScramError::ServerSignature { .. } => WireErrorKind::ServerNotGenuine,
        ScramError::ServerRefused { .. } => {
            WireErrorKind::AuthenticationFailed { message: error.to_string() }
        }
        _ => WireErrorKind::Protocol("the SCRAM exchange failed".to_owned()),
    };
    WireError { source: Some(Box::new(error)), ..connection.error(DOING, kind) }
}
