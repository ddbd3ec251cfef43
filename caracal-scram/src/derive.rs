//! RFC 5802 section 3: from a password to keys, proofs and signatures. Bytes in, bytes out.

use std::num::NonZeroU32;

use ring::{digest, hmac, pbkdf2};
use secrecy::{ExposeSecret as _, SecretSlice};
use zeroize::Zeroizing;

use crate::mechanism::Mechanism;

/// The three primitives of one mechanism, all on the same hash.
pub(crate) struct Suite {
    pub(crate) pbkdf2: pbkdf2::Algorithm,
    pub(crate) hmac: hmac::Algorithm,
    pub(crate) digest: &'static digest::Algorithm,
}

impl Mechanism {
    pub(crate) fn suite(self) -> Suite {
        match self {
            Self::ScramSha256 => {
                Suite { pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256, hmac: hmac::HMAC_SHA256, digest: &digest::SHA256 }
            }
            Self::ScramSha512 => {
                Suite { pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512, hmac: hmac::HMAC_SHA512, digest: &digest::SHA512 }
            }
        }
    }
}

impl Suite {
    /// `SaltedPassword := Hi(password, salt, i)`: the costly step.
    pub(crate) fn salted_password(
        &self,
        password: &[u8],
        salt: &[u8],
        rounds: NonZeroU32,
    ) -> SecretSlice<u8> {
        let mut salted = vec![0; self.digest.output_len()];
        pbkdf2::derive(self.pbkdf2, rounds, salt, password, &mut salted);
        salted.into()
    }

    /// `ClientKey := HMAC(SaltedPassword, "Client Key")`.
    pub(crate) fn client_key(&self, salted: &SecretSlice<u8>) -> SecretSlice<u8> {
        self.sign(salted, b"Client Key").into()
    }

    /// `StoredKey := H(ClientKey)`.
    pub(crate) fn stored_key(&self, client_key: &[u8]) -> SecretSlice<u8> {
        digest::digest(self.digest, client_key).as_ref().to_vec().into()
    }

    /// `ServerKey := HMAC(SaltedPassword, "Server Key")`.
    pub(crate) fn server_key(&self, salted: &SecretSlice<u8>) -> SecretSlice<u8> {
        self.sign(salted, b"Server Key").into()
    }

    /// `ClientProof := ClientKey XOR HMAC(StoredKey, AuthMessage)`.
    pub(crate) fn client_proof(&self, salted: &SecretSlice<u8>, auth_message: &[u8]) -> Vec<u8> {
        let client_key = self.client_key(salted);
        let stored_key = self.stored_key(client_key.expose_secret());
        xor(client_key.expose_secret(), &self.sign(&stored_key, auth_message))
    }

    /// Whether `proof` was made with the client key behind `stored_key`, in constant time.
    pub(crate) fn proof_fits(&self, stored_key: &SecretSlice<u8>, auth_message: &[u8], proof: &[u8]) -> bool {
        if proof.len() != self.digest.output_len() {
            return false;
        }
        let client_key = Zeroizing::new(xor(proof, &self.sign(stored_key, auth_message)));
        same(&self.stored_key(&client_key), stored_key)
    }

    /// `HMAC(key, message)`; the server's signature with the server key.
    pub(crate) fn sign(&self, key: &SecretSlice<u8>, message: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hmac, key.expose_secret()), message).as_ref().to_vec()
    }

    /// Whether `signature` is `HMAC(key, message)`, in constant time.
    pub(crate) fn signature_fits(&self, key: &SecretSlice<u8>, message: &[u8], signature: &[u8]) -> bool {
        hmac::verify(&hmac::Key::new(self.hmac, key.expose_secret()), message, signature).is_ok()
    }
}

/// Whether two secrets are equal, in time that does not tell where they differ.
///
/// ring offers its comparison for MACs only, so the MACs of both are compared, under a key that does not matter.
pub(crate) fn same(left: &SecretSlice<u8>, right: &SecretSlice<u8>) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"caracal-scram comparison");
    let right = hmac::sign(&key, right.expose_secret());
    hmac::verify(&key, left.expose_secret(), right.as_ref()).is_ok()
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(left, right)| left ^ right).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    /// RFC 5802 section 5 has its example in SHA-1 only, which no Kafka mechanism uses; the formulas are the same.
    #[test]
    fn rfc_5802_example() {
        let sha1 = Suite {
            pbkdf2: pbkdf2::PBKDF2_HMAC_SHA1,
            hmac: hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            digest: &digest::SHA1_FOR_LEGACY_USE_ONLY,
        };
        let salt = BASE64.decode("QSXCR+Q6sek8bf92").unwrap();
        let auth_message = b"n=user,r=fyko+d2lbbFgONRv9qkxdawL,\
            r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,\
            c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j";
        let salted = sha1.salted_password(b"pencil", &salt, NonZeroU32::new(4096).unwrap());
        let proof = sha1.client_proof(&salted, auth_message);
        assert_eq!(BASE64.encode(&proof), "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=");
        let signature = sha1.sign(&sha1.server_key(&salted), auth_message);
        assert_eq!(BASE64.encode(signature), "rmF9pqV8S7suAoZWja4dJRkFsKQ=");
        let stored_key = sha1.stored_key(sha1.client_key(&salted).expose_secret());
        assert!(sha1.proof_fits(&stored_key, auth_message, &proof));
        assert!(!sha1.proof_fits(&stored_key, &auth_message[1..], &proof));
        assert!(!sha1.proof_fits(&stored_key, auth_message, &proof[1..]));
    }

    #[test]
    fn secrets_are_the_same_only_when_equal() {
        let secret = |bytes: &[u8]| SecretSlice::<u8>::from(bytes.to_vec());
        assert!(same(&secret(b"key"), &secret(b"key")));
        assert!(!same(&secret(b"key"), &secret(b"kez")) && !same(&secret(b"key"), &secret(b"keys")));
    }
}
