//! The client side of the exchange (RFC 5802 section 3) as values that can only be used in order:
//! [`ScramClient`] -> [`ServerFinalExpected`] -> logged in.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{SecretSlice, SecretString};

use crate::cache::SaltedPasswordCache;
use crate::error::ScramError;
use crate::mechanism::{Mechanism, rounds_found};
use crate::message::{self, ServerFinal, ServerFirst};
use crate::{credential, prepare, random};

/// No channel binding: Kafka offers none, its TLS is checked by the layer below.
const GS2_HEADER: &str = "n,,";

/// A log-in that has not begun: send [`first_message`](Self::first_message), then hand over the answer.
///
/// ```
/// use caracal_scram::{Iterations, Mechanism, ScramClient, ScramCredential, ScramServer};
///
/// let (mechanism, password) = (Mechanism::ScramSha512, "correct horse battery staple".into());
/// let client = ScramClient::new(mechanism, "producer", &password)?;
/// assert!(client.first_message().starts_with(b"n,,n=producer,r="));
///
/// // Here the crate's own server answers, elsewhere a broker does.
/// let credential = ScramCredential::derive(mechanism, &password, Iterations::MIN)?;
/// let server = ScramServer::new(&credential)?.handle_client_first(&client.first_message())?;
/// let client = client.handle_server_first(server.first_message())?;
/// let answer = server.verify(client.final_message())?;
/// client.verify(&answer)?; // only now the server is known to know the password
/// # Ok::<(), caracal_scram::ScramError>(())
/// ```
pub struct ScramClient {
    exchange: Exchange,
    password: SecretString,
    nonce: String,
}

impl ScramClient {
    /// Prepares a log-in with a random nonce.
    ///
    /// # Errors
    ///
    /// [`ScramError::UsernameInvalid`] for a name that no broker would read, a password that is empty or not the
    /// same to every client, [`ScramError::RandomUnavailable`].
    pub fn new(mechanism: Mechanism, username: &str, password: &SecretString) -> Result<Self, ScramError> {
        Self::danger_with_nonce(mechanism, username, password, &random::nonce()?)
    }

    /// Prepares a log-in with the given nonce: for test vectors. A nonce must never be used twice: whoever saw the first
    /// log-in could replay it.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`ScramError::NonceInvalid`].
    pub fn danger_with_nonce(
        mechanism: Mechanism,
        username: &str,
        password: &SecretString,
        nonce: &str,
    ) -> Result<Self, ScramError> {
        let sasl_name = prepare::sasl_name(username)?;
        prepare::password(password)?;
        if !message::is_nonce(nonce) {
            return Err(ScramError::NonceInvalid);
        }
        let first_bare = format!("n={sasl_name},r={nonce}");
        let exchange = Exchange { mechanism, username: username.to_owned(), first_bare };
        Ok(Self { exchange, password: password.clone(), nonce: nonce.to_owned() })
    }

    /// The first message to send: `n,,n=user,r=nonce`.
    #[must_use]
    pub fn first_message(&self) -> Vec<u8> {
        format!("{GS2_HEADER}{}", self.exchange.first_bare).into_bytes()
    }

    /// Takes the server's first message, derives the keys (at 16384 iterations some 10 ms of computing, so not
    /// on a thread that others wait for), and makes the proof.
    ///
    /// # Errors
    ///
    /// A malformed message, a nonce that does not continue ours, iterations below 4096 or above a million.
    pub fn handle_server_first(self, server_first: &[u8]) -> Result<ServerFinalExpected, ScramError> {
        self.respond(server_first, credential::salted)
    }

    /// As [`handle_server_first`](Self::handle_server_first), but derives only what is not yet in `cache`.
    ///
    /// # Errors
    ///
    /// As [`handle_server_first`](Self::handle_server_first).
    pub fn handle_server_first_cached(
        self,
        cache: &mut SaltedPasswordCache,
        server_first: &[u8],
    ) -> Result<ServerFinalExpected, ScramError> {
        self.respond(server_first, |mechanism, password, salt, rounds| {
            cache.salted(mechanism, password, salt, rounds)
        })
    }

    fn respond(
        self,
        server_first: &[u8],
        salted: impl FnOnce(Mechanism, &SecretString, &[u8], NonZeroU32) -> Result<SecretSlice<u8>, ScramError>,
    ) -> Result<ServerFinalExpected, ScramError> {
        let Self { exchange, password, nonce } = self;
        let (text, server) = exchange.read("server-first", server_first, ServerFirst::parse)?;
        // The server must add something of its own, else an old answer could be played back.
        let continued = server.nonce.strip_prefix(&nonce).is_some_and(|added| !added.is_empty());
        if !continued || !message::is_nonce(server.nonce) {
            return Err(ScramError::NonceMismatch {
                mechanism: exchange.mechanism,
                username: exchange.username,
            });
        }
        let Some(rounds) = rounds_found(server.iterations) else {
            let Exchange { mechanism, username, .. } = exchange;
            return Err(ScramError::ServerIterations { mechanism, username, given: server.iterations });
        };

        let without_proof = format!("c={},r={}", BASE64.encode(GS2_HEADER), server.nonce);
        let auth_message = format!("{},{text},{without_proof}", exchange.first_bare);
        let suite = exchange.mechanism.suite();
        let salted = salted(exchange.mechanism, &password, &server.salt, rounds)?;
        let proof = BASE64.encode(suite.client_proof(&salted, auth_message.as_bytes()));
        Ok(ServerFinalExpected {
            final_message: format!("{without_proof},p={proof}").into_bytes(),
            server_key: suite.server_key(&salted),
            auth_message,
            exchange,
        })
    }
}

impl fmt::Debug for ScramClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exchange.debug("ScramClient", f)
    }
}

/// A log-in whose proof is ready: send [`final_message`](Self::final_message), then
/// [`verify`](Self::verify) the answer. Until that succeeds the server is unproven.
#[must_use = "the server is proven only by `verify`"]
pub struct ServerFinalExpected {
    exchange: Exchange,
    final_message: Vec<u8>,
    server_key: SecretSlice<u8>,
    auth_message: String,
}

impl ServerFinalExpected {
    /// The second and last message to send: `c=biws,r=nonce,p=proof`.
    #[must_use]
    pub fn final_message(&self) -> &[u8] {
        &self.final_message
    }

    /// Checks the server's last message: its signature proves that it holds the user's credential.
    ///
    /// # Errors
    ///
    /// [`ScramError::ServerRefused`] when the server says why it refuses, [`ScramError::ServerSignature`] when its
    /// signature is wrong, [`ScramError::ServerMessage`] when the message is neither.
    pub fn verify(self, server_final: &[u8]) -> Result<(), ScramError> {
        let Self { exchange, server_key, auth_message, .. } = self;
        let (_, answer) = exchange.read("server-final", server_final, ServerFinal::parse)?;
        let Exchange { mechanism, username, .. } = exchange;
        match answer {
            ServerFinal::Error(error) => {
                let error = error.chars().take(64).collect();
                Err(ScramError::ServerRefused { mechanism, username, error })
            }
            ServerFinal::Signature(signature) => {
                let fits = mechanism.suite().signature_fits(&server_key, auth_message.as_bytes(), &signature);
                if fits { Ok(()) } else { Err(ScramError::ServerSignature { mechanism, username }) }
            }
        }
    }
}

impl fmt::Debug for ServerFinalExpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exchange.debug("ServerFinalExpected", f)
    }
}

/// What both states know.
struct Exchange {
    mechanism: Mechanism,
    username: String,
    first_bare: String,
}

impl Exchange {
    fn read<'a, T>(
        &self,
        message: &'static str,
        bytes: &'a [u8],
        parse: impl FnOnce(&'a str) -> Result<T, &'static str>,
    ) -> Result<(&'a str, T), ScramError> {
        message::text(bytes).and_then(|text| Ok((text, parse(text)?))).map_err(|problem| {
            ScramError::ServerMessage {
                mechanism: self.mechanism,
                username: self.username.clone(),
                message,
                problem,
            }
        })
    }

    /// Who logs in and how, nothing that a proof could be made or guessed from.
    fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
