//! Everything that can go wrong with a credential or a log-in, worded for the person who reads it.
//!
//! No variant carries a password, a key, or a piece of either: errors end in logs.

use crate::mechanism::{MOST_ROUNDS, Mechanism};

/// Why a credential could not be made or read, or why a log-in failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// A name that is no SCRAM mechanism of Kafka's.
    #[error("unknown SASL mechanism {given:?}: Kafka's are SCRAM-SHA-256 and SCRAM-SHA-512, in capitals")]
    UnknownMechanism {
        /// The name as given, cut after 64 characters.
        given: String,
    },

    /// A cost that Kafka's tools would not write.
    #[error("{given} iterations are outside of what Kafka takes: choose 4096 to 16384")]
    IterationsOutOfRange {
        /// The number as given.
        given: u32,
    },

    /// A password of no characters, with which no JVM client can log in.
    #[error("the password is empty: is the file or variable it comes from empty?")]
    PasswordEmpty,

    /// A password with characters that SASLprep (RFC 4013) prohibits.
    #[error(
        "the password holds characters that SASLprep (RFC 4013) prohibits, e.g. a line end, a control character, \
         an emoji, or right-to-left mixed with left-to-right text: choose another, best of printable ASCII"
    )]
    PasswordProhibited,

    /// A password that SASLprep (RFC 4013) would change, so that clients would disagree about it.
    #[error(
        "SASLprep (RFC 4013) would change the password, and Kafka's own clients do not apply it, so one client \
         could log in with it and another not: choose another, best of printable ASCII"
    )]
    PasswordNotNormal,

    /// A user name that a broker's parser would refuse, or that is not the same to every client.
    #[error(
        "user name {username:?} cannot log in at a Kafka broker: use one or more printable ASCII characters"
    )]
    UsernameInvalid {
        /// The name as given, cut after 64 characters.
        username: String,
    },

    /// A salt of no bytes.
    #[error("the salt is empty: give random bytes, 16 or more")]
    SaltEmpty,

    /// A nonce that cannot stand in a message (RFC 5802 section 7: printable ASCII, no comma).
    #[error("the nonce is not printable ASCII without a comma, or it is empty")]
    NonceInvalid,

    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    RandomUnavailable,

    /// Text that is not Kafka's record of a credential of this mechanism.
    #[error("not a {mechanism} credential as Kafka writes it: {problem}")]
    Record {
        /// The mechanism under which the record was found.
        mechanism: Mechanism,
        /// Which part is wrong and how; never a value.
        problem: &'static str,
    },

    /// A message of the server that cannot be understood.
    #[error(
        "log-in of {username:?} by {mechanism}: the {message} message is malformed: {problem}; is the other side \
         a Kafka broker's SASL listener?"
    )]
    ServerMessage {
        /// The mechanism of the exchange.
        mechanism: Mechanism,
        /// Who was logging in.
        username: String,
        /// Which message: `server-first` or `server-final`.
        message: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// The server answered to another client's nonce: a mixed-up connection or a replay.
    #[error(
        "log-in of {username:?} by {mechanism}: the server's nonce does not continue ours; the answer belongs to \
         another exchange (a mixed-up connection or a replay)"
    )]
    NonceMismatch {
        /// The mechanism of the exchange.
        mechanism: Mechanism,
        /// Who was logging in.
        username: String,
    },

    /// The server asks for too cheap or too costly a derivation.
    #[error(
        "log-in of {username:?} by {mechanism}: the server asks for {given} iterations, 4096 to {MOST_ROUNDS} are \
         accepted; write the user's credential again with 4096 to 16384"
    )]
    ServerIterations {
        /// The mechanism of the exchange.
        mechanism: Mechanism,
        /// Who was logging in.
        username: String,
        /// The number that the server asked for.
        given: u32,
    },

    /// The server refused the log-in by an `e=` attribute (RFC 5802 section 7).
    #[error(
        "log-in of {username:?} by {mechanism} refused by the server: {error:?}; wrong password, or no such user \
         with this mechanism"
    )]
    ServerRefused {
        /// The mechanism of the exchange.
        mechanism: Mechanism,
        /// Who was logging in.
        username: String,
        /// The server's word for it, cut after 64 characters.
        error: String,
    },

    /// The server could not prove that it knows the user's credential.
    #[error(
        "log-in of {username:?} by {mechanism}: the server's signature is wrong; it does not hold this user's \
         credential, so it is not the broker it claims to be: do not send it anything"
    )]
    ServerSignature {
        /// The mechanism of the exchange.
        mechanism: Mechanism,
        /// Who was logging in.
        username: String,
    },

    /// Server side: a client's message that cannot be understood.
    #[error("the {message} message is malformed: {problem}")]
    ClientMessage {
        /// Which message: `client-first` or `client-final`.
        message: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// Server side: the client could not prove that it knows the password.
    #[error("the proof of {username:?} does not fit the credential: wrong password or wrong mechanism")]
    ClientProof {
        /// Who was logging in.
        username: String,
    },
}
