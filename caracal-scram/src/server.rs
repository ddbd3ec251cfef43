//! The server's half of the exchange: checks a client's proof against a credential. Brokers do this in
//! production; here it plays their part in tests, and checks a credential before a broker relies on it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::credential::ScramCredential;
use crate::error::ScramError;
use crate::message::{self, ClientFinal, ClientFirst};
use crate::{prepare, random};

/// A server that knows one credential and waits for a client's first message.
///
/// ```
/// use caracal_scram::{Iterations, Mechanism, ScramClient, ScramCredential, ScramServer};
///
/// let mechanism = Mechanism::ScramSha256;
/// let credential = ScramCredential::derive(mechanism, &"pencil".into(), Iterations::MIN)?;
/// let client = ScramClient::new(mechanism, "somebody", &"not pencil".into())?;
/// let server = ScramServer::new(&credential)?.handle_client_first(&client.first_message())?;
/// assert_eq!(server.username(), "somebody");
/// let client = client.handle_server_first(server.first_message())?;
/// assert!(server.verify(client.final_message()).is_err());
/// # Ok::<(), caracal_scram::ScramError>(())
/// ```
pub struct ScramServer<'a> {
    credential: &'a ScramCredential,
    nonce: String,
}

impl<'a> ScramServer<'a> {
    /// A server with a random nonce.
    ///
    /// # Errors
    ///
    /// [`ScramError::RandomUnavailable`].
    pub fn new(credential: &'a ScramCredential) -> Result<Self, ScramError> {
        Self::danger_with_nonce(credential, &random::nonce()?)
    }

    /// A server with the given nonce, which it appends to the client's: for test vectors. With a
    /// nonce that was used before, a recorded log-in could be replayed.
    ///
    /// # Errors
    ///
    /// [`ScramError::NonceInvalid`].
    pub fn danger_with_nonce(credential: &'a ScramCredential, nonce: &str) -> Result<Self, ScramError> {
        if !message::is_nonce(nonce) {
            return Err(ScramError::NonceInvalid);
        }
        Ok(Self { credential, nonce: nonce.to_owned() })
    }

    /// Takes the client's first message. Whose credential to look up is the caller's business:
    /// [`ServerExchange::username`] says who asks.
    ///
    /// # Errors
    ///
    /// [`ScramError::ClientMessage`].
    pub fn handle_client_first(self, client_first: &[u8]) -> Result<ServerExchange<'a>, ScramError> {
        let malformed = |problem| ScramError::ClientMessage { message: "client-first", problem };
        let text = message::text(client_first).map_err(malformed)?;
        let client = ClientFirst::parse(text).map_err(malformed)?;
        let username = prepare::username(client.sasl_name)
            .ok_or_else(|| malformed("the user name (n=) is empty, not ASCII, or wrongly escaped"))?;
        let nonce = format!("{}{}", client.nonce, self.nonce);
        let salt = BASE64.encode(&self.credential.salt);
        Ok(ServerExchange {
            credential: self.credential,
            username,
            gs2_header: client.gs2_header.to_owned(),
            client_first_bare: client.bare.to_owned(),
            first_message: format!("r={nonce},s={salt},i={}", self.credential.rounds),
            nonce,
        })
    }
}

impl fmt::Debug for ScramServer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramServer").field("credential", &self.credential).finish_non_exhaustive()
    }
}

/// A log-in in progress, seen by the server: send [`first_message`](Self::first_message), then
/// [`verify`](Self::verify) the client's answer.
pub struct ServerExchange<'a> {
    credential: &'a ScramCredential,
    username: String,
    gs2_header: String,
    client_first_bare: String,
    first_message: String,
    nonce: String,
}

impl ServerExchange<'_> {
    /// Who asks to be logged in, not yet proven.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The message to send: `r=nonce,s=salt,i=iterations`.
    #[must_use]
    pub fn first_message(&self) -> &[u8] {
        self.first_message.as_bytes()
    }

    /// Checks the client's proof and gives the last message to send: `v=signature`.
    ///
    /// # Errors
    ///
    /// [`ScramError::ClientMessage`] for a message that is malformed or of another exchange,
    /// [`ScramError::ClientProof`] for a wrong password.
    pub fn verify(self, client_final: &[u8]) -> Result<Vec<u8>, ScramError> {
        let malformed = |problem| ScramError::ClientMessage { message: "client-final", problem };
        let text = message::text(client_final).map_err(malformed)?;
        let client = ClientFinal::parse(text).map_err(malformed)?;
        if client.channel_binding != self.gs2_header.as_bytes() {
            return Err(malformed("the channel binding (c=) does not repeat the client-first message's"));
        }
        if client.nonce != self.nonce {
            return Err(malformed("the nonce (r=) is of another exchange"));
        }

        let auth_message =
            format!("{},{},{}", self.client_first_bare, self.first_message, client.without_proof);
        let suite = self.credential.mechanism.suite();
        if !suite.proof_fits(&self.credential.stored_key, auth_message.as_bytes(), &client.proof) {
            return Err(ScramError::ClientProof { username: self.username });
        }
        let signature = suite.sign(&self.credential.server_key, auth_message.as_bytes());
        Ok(format!("v={}", BASE64.encode(signature)).into_bytes())
    }
}

impl fmt::Debug for ServerExchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerExchange")
            .field("credential", &self.credential)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
