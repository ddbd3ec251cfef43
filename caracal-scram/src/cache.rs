//! Remembers salted passwords, for a caller that logs in as the same users over and over: a derivation at 16384
//! iterations costs some 10 ms, everything else of a log-in microseconds.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use secrecy::{SecretSlice, SecretString};
use zeroize::Zeroizing;

use crate::derive::same;
use crate::error::ScramError;
use crate::mechanism::Mechanism;
use crate::{credential, prepare};

/// Salted passwords of earlier log-ins, for [`handle_server_first_cached`].
///
/// A plain value that its owner keeps and drops; dropping wipes it. An entry is found again only by the same
/// password, salt, iterations and mechanism, so a changed or a wrong password never profits from the right one's
/// entry. It keeps the latest [`CAPACITY`](Self::CAPACITY) derivations; brokers share a user's credential, so a
/// user costs one.
///
/// [`handle_server_first_cached`]: crate::ScramClient::handle_server_first_cached
#[derive(Default)]
pub struct SaltedPasswordCache {
    entries: VecDeque<Entry>,
    derivations: u64,
}

struct Entry {
    /// Digest of everything that the derivation depends on. The caller holds the password itself in memory, so
    /// a digest of it next to the salted password gives nothing away.
    input: SecretSlice<u8>,
    salted: SecretSlice<u8>,
}

impl SaltedPasswordCache {
    /// How many derivations are kept; the oldest goes first. A server chooses its salts, so without an end one
    /// could fill the memory.
    pub const CAPACITY: usize = 256;

    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many derivations were made because they were not in the cache.
    #[must_use]
    pub fn derivations(&self) -> u64 {
        self.derivations
    }

    pub(crate) fn salted(
        &mut self,
        mechanism: Mechanism,
        password: &SecretString,
        salt: &[u8],
        rounds: NonZeroU32,
    ) -> Result<SecretSlice<u8>, ScramError> {
        let input = input(mechanism, prepare::password(password)?, salt, rounds);
        if let Some(entry) = self.entries.iter().find(|entry| same(&entry.input, &input)) {
            return Ok(entry.salted.clone());
        }
        let salted = credential::salted(mechanism, password, salt, rounds)?;
        self.derivations += 1;
        if self.entries.len() == Self::CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { input, salted: salted.clone() });
        Ok(salted)
    }
}

impl fmt::Debug for SaltedPasswordCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaltedPasswordCache")
            .field("entries", &self.entries.len())
            .field("derivations", &self.derivations)
            .finish_non_exhaustive()
    }
}

fn input(mechanism: Mechanism, password: &[u8], salt: &[u8], rounds: NonZeroU32) -> SecretSlice<u8> {
    let mut digest = Context::new(&SHA256);
    digest.update(&[mechanism.kafka_type().unsigned_abs()]);
    digest.update(&rounds.get().to_be_bytes());
    // The salt's digest has a fixed length, so no byte can count as salt once and as password another time.
    digest.update(ring::digest::digest(&SHA256, salt).as_ref());
    digest.update(password);
    let mut bytes = Zeroizing::new([0; SHA256_OUTPUT_LEN]);
    bytes.copy_from_slice(digest.finish().as_ref());
    bytes.to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Iterations;

    #[test]
    fn entries_are_found_by_the_whole_input_and_bounded() {
        let rounds = Iterations::MIN.rounds();
        let (right, wrong) = (SecretString::from("pencil"), SecretString::from("pencils"));
        let mut cache = SaltedPasswordCache::new();
        let mut salted = |mechanism, password: &SecretString, salt: &[u8]| {
            let cached = cache.salted(mechanism, password, salt, rounds).unwrap();
            let derived = credential::salted(mechanism, password, salt, rounds).unwrap();
            assert!(same(&cached, &derived));
            cache.derivations()
        };
        assert_eq!(salted(Mechanism::ScramSha256, &right, b"salt"), 1);
        assert_eq!(salted(Mechanism::ScramSha256, &right, b"salt"), 1);
        assert_eq!(salted(Mechanism::ScramSha256, &wrong, b"salt"), 2);
        assert_eq!(salted(Mechanism::ScramSha512, &right, b"salt"), 3);
        assert_eq!(salted(Mechanism::ScramSha256, &right, b"salts"), 4);
        assert_eq!(salted(Mechanism::ScramSha256, &right, b"salt"), 4);
    }
}
