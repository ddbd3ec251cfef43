//! Private keys: generating them, and bringing those of others into PKCS#8.

use std::fmt;
use std::str::FromStr;

use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{KeyAlgorithm, PkiError, pem};

/// A private key as PKCS#8 PEM text. Zeroed on drop; `Debug` shows a marker; no `Display`, not serialisable.
#[derive(Clone)]
pub struct PrivateKeyPem(Zeroizing<String>);

impl PrivateKeyPem {
    /// Reads the first private key of a PEM text: PKCS#8, SEC1 (`EC PRIVATE KEY`) or PKCS#1
    /// (`RSA PRIVATE KEY`). Kinds: ECDSA P-256 and P-384, RSA of 2048 to 4096 bits, Ed25519.
    ///
    /// # Errors
    /// [`PkiError::MalformedPem`] when there is no key or it is encrypted, [`PkiError::UnusableKey`] when
    /// its kind or form cannot be used; the texts say how to convert it.
    pub fn parse(text: &str) -> Result<Self, PkiError> {
        let pkcs8 = match pem::private_key(text.as_bytes())? {
            PrivateKeyDer::Pkcs8(key) => Zeroizing::new(key.secret_pkcs8_der().to_vec()),
            PrivateKeyDer::Pkcs1(key) => wrap(ALGORITHM_RSA, key.secret_pkcs1_der()),
            PrivateKeyDer::Sec1(key) => wrap_sec1(key.secret_sec1_der())?,
            _ => return Err(UNUSABLE),
        };
        // A key that cannot sign is better refused where it is read than where it is used.
        pair_of(&pkcs8)?;
        Ok(Self::from_pkcs8(&pkcs8))
    }

    /// The PEM text. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn expose_pem(&self) -> &str {
        &self.0
    }

    /// Generates a key; the pair for signing comes with it, so that nobody has to parse it again.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<(Self, SigningPair), PkiError> {
        let pair = match algorithm {
            KeyAlgorithm::EcdsaP256 => KeyPair::generate()
                .map(SigningPair)
                .map_err(|error| PkiError::KeyGeneration { algorithm, source: error.into() })?,
            KeyAlgorithm::Rsa2048 => generate_rsa(algorithm, 2048)?,
            KeyAlgorithm::Rsa3072 => generate_rsa(algorithm, 3072)?,
            KeyAlgorithm::Rsa4096 => generate_rsa(algorithm, 4096)?,
        };
        Ok((Self::from_pkcs8(pair.0.serialized_der()), pair))
    }

    /// The key in DER (PKCS#8).
    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        match pem::private_key(self.0.as_bytes())? {
            PrivateKeyDer::Pkcs8(key) => Ok(Zeroizing::new(key.secret_pkcs8_der().to_vec())),
            _ => Err(UNUSABLE),
        }
    }

    /// The pair for signing.
    pub(crate) fn to_pair(&self) -> Result<SigningPair, PkiError> {
        pair_of(&self.to_pkcs8()?)
    }

    fn from_pkcs8(der: &[u8]) -> Self {
        Self(pem::encode("PRIVATE KEY", der))
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKeyPem([private])")
    }
}

impl FromStr for PrivateKeyPem {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// rcgen's key pair, its copy of the key zeroed on drop.
pub(crate) struct SigningPair(KeyPair);

impl Drop for SigningPair {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PublicKeyData for SigningPair {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&self.0)
    }
}

impl SigningKey for SigningPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// Whether the pair's public half is the given `subjectPublicKey` (RSA: modulus and exponent, EC: point).
pub(crate) fn is_public_half(pair: &SigningPair, subject_public_key: &[u8]) -> bool {
    pair.der_bytes() == subject_public_key
}

/// Whether the pair is RSA: its certificates also get the key usage `keyEncipherment`.
pub(crate) fn is_rsa(pair: &SigningPair) -> bool {
    pair.0.is_compatible(&rcgen::PKCS_RSA_SHA256)
}

const UNUSABLE: PkiError = PkiError::UnusableKey {
    reason: "it is none of ECDSA P-256, ECDSA P-384, RSA (2048 to 4096 bits) or Ed25519, or it lacks its \
             public part; 'openssl pkey -in KEY -out NEW' adds a missing public part",
};

fn pair_of(pkcs8: &[u8]) -> Result<SigningPair, PkiError> {
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(pkcs8)).map(SigningPair).map_err(|_| UNUSABLE)
}

/// ring cannot generate RSA keys. The `rsa` crate only generates here; ring does the signing, so the
/// known timing weakness of `rsa` in private-key operations is not reachable.
fn generate_rsa(algorithm: KeyAlgorithm, bits: usize) -> Result<SigningPair, PkiError> {
    let failed = |source| PkiError::KeyGeneration { algorithm, source };
    let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits).map_err(|error| failed(error.into()))?;
    let pkcs8 = key.to_pkcs8_der().map_err(|error| failed(error.into()))?;
    pair_of(pkcs8.as_bytes())
}

/// DER of AlgorithmIdentifier { rsaEncryption, NULL }.
const ALGORITHM_RSA: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// DER of AlgorithmIdentifier { id-ecPublicKey, prime256v1 }.
const ALGORITHM_P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07,
];
/// DER of AlgorithmIdentifier { id-ecPublicKey, secp384r1 }.
const ALGORITHM_P384: &[u8] = &[
    0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22,
];

/// ECPrivateKey (RFC 5915) says its curve by an optional field and by the length of the scalar. The length
/// tells the two curves that ring knows apart; a curve of the same length fails when ring checks the point.
fn wrap_sec1(sec1: &[u8]) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let scalar = value_of(0x30, sec1)
        .and_then(|(body, _)| value_of(0x02, body))
        .and_then(|(_version, rest)| value_of(0x04, rest));
    match scalar.map(|(scalar, _)| scalar.len()) {
        Some(32) => Ok(wrap(ALGORITHM_P256, sec1)),
        Some(48) => Ok(wrap(ALGORITHM_P384, sec1)),
        _ => Err(UNUSABLE),
    }
}

/// PrivateKeyInfo (RFC 5208) around a key.
fn wrap(algorithm: &[u8], key: &[u8]) -> Zeroizing<Vec<u8>> {
    let octets = 1 + length_of(key.len()).len() + key.len();
    let body = 3 + algorithm.len() + octets;
    let mut der = Zeroizing::new(Vec::with_capacity(body + 6));
    der.push(0x30);
    der.extend_from_slice(&length_of(body));
    der.extend_from_slice(&[0x02, 0x01, 0x00]);
    der.extend_from_slice(algorithm);
    der.push(0x04);
    der.extend_from_slice(&length_of(key.len()));
    der.extend_from_slice(key);
    der
}

fn length_of(length: usize) -> Vec<u8> {
    let octets = length.to_be_bytes();
    let significant = &octets[octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len() - 1)..];
    match significant {
        [short] if *short < 0x80 => vec![*short],
        long => {
            // At most eight octets, so the count fits.
            let count = u8::try_from(long.len()).unwrap_or(u8::MAX);
            [&[0x80 | count], long].concat()
        }
    }
}

/// The value of the DER element at the start of `der` if it has that tag, and what follows it.
fn value_of(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if octets.is_empty() || octets.len() > 4 {
            return None;
        }
        (octets.iter().fold(0_usize, |length, octet| (length << 8) | usize::from(*octet)), rest)
    };
    let (value, rest) = rest.split_at_checked(length)?;
    (found == tag).then_some((value, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn debug_shows_no_key() {
        let (key, _) = PrivateKeyPem::generate(KeyAlgorithm::EcdsaP256).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKeyPem([private])");
        assert!(key.expose_pem().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    }

    #[test]
    fn sec1_becomes_the_pkcs8_it_was_made_of() {
        let (key, pair) = PrivateKeyPem::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let pkcs8 = key.to_pkcs8().unwrap();
        // PrivateKeyInfo { version, algorithm, octet string with the SEC1 structure }
        let (body, _) = value_of(0x30, &pkcs8).unwrap();
        let (_, rest) = value_of(0x02, body).unwrap();
        let (_, rest) = value_of(0x30, rest).unwrap();
        let (sec1, _) = value_of(0x04, rest).unwrap();
        let read = PrivateKeyPem::parse(&pem::encode("EC PRIVATE KEY", sec1)).unwrap();
        assert!(is_public_half(&read.to_pair().unwrap(), pair.der_bytes()));
        assert_eq!(read.expose_pem(), key.expose_pem());
    }

    proptest! {
        #[test]
        fn arbitrary_der_never_panics(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
                prop_assert!(PrivateKeyPem::parse(&pem::encode(label, &octets)).is_err());
            }
        }
    }

    #[test]
    fn wrapping_is_well_formed() {
        // On both sides of each change in the form of a length.
        for length in [0, 1, 127, 128, 129, 255, 256, 257, 65_535, 65_536, 70_000] {
            let octets = vec![7; length];
            let der = wrap(ALGORITHM_RSA, &octets);
            let (body, rest) = value_of(0x30, &der).unwrap();
            assert!(rest.is_empty());
            let (_, rest) = value_of(0x02, body).unwrap();
            let (_, rest) = value_of(0x30, rest).unwrap();
            let (inner, rest) = value_of(0x04, rest).unwrap();
            assert!(rest.is_empty());
            assert_eq!(inner, octets);
        }
    }
}
