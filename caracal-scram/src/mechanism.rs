//! The two mechanisms and the cost of a derivation: the values that every other module is told, never guesses.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::error::ScramError;

/// A SCRAM mechanism that Kafka offers, by its SASL name (RFC 5802 section 4, RFC 7677).
///
/// [`Display`](fmt::Display) and [`FromStr`] speak the registered name, as `sasl.mechanism` has it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Mechanism {
    /// `SCRAM-SHA-256`, RFC 7677; keys of 32 bytes.
    ScramSha256,
    /// `SCRAM-SHA-512`, the same exchange with SHA-512; keys of 64 bytes.
    ScramSha512,
}

impl Mechanism {
    /// Every mechanism, weakest first.
    pub const ALL: [Self; 2] = [Self::ScramSha256, Self::ScramSha512];

    /// The registered SASL name, e.g. `SCRAM-SHA-512`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    /// Length in bytes of the mechanism's hash, hence of the salted password and of every key.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::ScramSha256 => 32,
            Self::ScramSha512 => 64,
        }
    }

    /// Kafka's number for the mechanism in `AlterUserScramCredentials` and in KRaft's records (KIP-554).
    #[must_use]
    pub const fn kafka_type(self) -> i8 {
        match self {
            Self::ScramSha256 => 1,
            Self::ScramSha512 => 2,
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mechanism {
    type Err = ScramError;

    fn from_str(name: &str) -> Result<Self, ScramError> {
        Self::ALL
            .into_iter()
            .find(|mechanism| mechanism.name() == name)
            .ok_or_else(|| ScramError::UnknownMechanism { given: name.escape_debug().take(64).collect() })
    }
}

/// How many rounds of PBKDF2 a new credential costs, within the bounds that Kafka sets.
///
/// Kafka's tools refuse fewer than 4096 and more than 16384; the default is the most it takes, since the cost
/// falls on whoever guesses passwords.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Iterations(NonZeroU32);

impl Iterations {
    /// The most that Kafka lets its tools write: 16384.
    pub const MAX: Self = Self(NonZeroU32::new(16_384).unwrap());
    /// The least that a broker logs in with: 4096, also RFC 7677's minimum.
    pub const MIN: Self = Self(NonZeroU32::new(4096).unwrap());

    /// Checks `rounds` against Kafka's bounds.
    ///
    /// # Errors
    ///
    /// [`ScramError::IterationsOutOfRange`] outside [`MIN`](Self::MIN)..=[`MAX`](Self::MAX).
    pub fn new(rounds: u32) -> Result<Self, ScramError> {
        NonZeroU32::new(rounds)
            .map(Self)
            .filter(|iterations| (Self::MIN..=Self::MAX).contains(iterations))
            .ok_or(ScramError::IterationsOutOfRange { given: rounds })
    }

    /// The number of rounds.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0.get()
    }

    pub(crate) const fn rounds(self) -> NonZeroU32 {
        self.0
    }
}

impl Default for Iterations {
    fn default() -> Self {
        Self::MAX
    }
}

impl fmt::Display for Iterations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Iterations> for u32 {
    fn from(iterations: Iterations) -> Self {
        iterations.count()
    }
}

impl TryFrom<u32> for Iterations {
    type Error = ScramError;

    fn try_from(rounds: u32) -> Result<Self, ScramError> {
        Self::new(rounds)
    }
}

/// The most rounds that a server or a stored record may ask of us. Kafka's tools stop at 16384, but a broker
/// takes what it finds; beyond this it is a server that wants to keep a client busy (RFC 5802 section 9).
pub(crate) const MOST_ROUNDS: u32 = 1_000_000;

/// Rounds found in a message or in a record, if they are neither too cheap to be safe nor absurd.
pub(crate) fn rounds_found(rounds: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(rounds).filter(|n| (Iterations::MIN.count()..=MOST_ROUNDS).contains(&n.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_nothing_else_is_a_name() {
        for mechanism in Mechanism::ALL {
            assert_eq!(mechanism.to_string().parse::<Mechanism>().unwrap(), mechanism);
        }
        for other in ["", "SCRAM-SHA-1", "scram-sha-512", "SCRAM-SHA-512 ", "PLAIN"] {
            assert!(other.parse::<Mechanism>().is_err(), "{other:?}");
        }
    }

    #[test]
    fn iterations_keep_to_kafkas_bounds() {
        for good in [4096, 10_000, 16_384] {
            assert_eq!(Iterations::new(good).unwrap().count(), good);
        }
        for bad in [0, 1, 4095, 16_385, u32::MAX] {
            assert!(
                matches!(Iterations::new(bad), Err(ScramError::IterationsOutOfRange { given }) if given == bad)
            );
        }
    }

    #[test]
    fn found_rounds_may_exceed_what_kafkas_tools_write_but_not_without_end() {
        assert!(rounds_found(4096).is_some() && rounds_found(1_000_000).is_some());
        assert!(
            rounds_found(0).is_none() && rounds_found(4095).is_none() && rounds_found(1_000_001).is_none()
        );
    }
}
