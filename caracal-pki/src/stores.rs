//! Key stores and trust stores, PEM and PKCS#12, that a JVM (17 or newer), OpenSSL 3 and rustls read.
//!
//! Everything here is made in memory; [`store`](crate::store) writes it.
//!
//! ```
//! use caracal_pki::{CertificateAuthority, DistinguishedName, KeyAlgorithm, Validity, stores};
//! use secrecy::SecretString;
//!
//! # let now = time::OffsetDateTime::now_utc();
//! let name = DistinguishedName::common_name("caracal data CA");
//! let ca = CertificateAuthority::create(name, KeyAlgorithm::EcdsaP256, Validity::days_from(now, 365))?;
//! let password = SecretString::from("a-generated-password");
//! let trust_store = stores::truststore_pkcs12(&[("data-ca", ca.certificate_pem())], &password)?;
//! # assert!(!trust_store.is_empty());
//! # Ok::<(), caracal_pki::PkiError>(())
//! ```

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Issued, PkiError, pem, x509};

/// Rounds of PBKDF2 and of the PKCS#12 key derivation: what the JDK itself takes. The passwords of these
/// stores are generated, so more rounds would add time and no strength.
const ITERATIONS: u32 = 10_000;

/// Key and chain in one PEM text, as Kafka (`ssl.keystore.type=PEM`) and ZooKeeper want it.
#[must_use]
pub fn keystore_pem(issued: &Issued) -> SecretString {
    let (key, chain) = (issued.key_pem().expose_pem(), issued.chain_pem());
    // Reserved at once: a growing string would leave copies of the key behind.
    let mut text = String::with_capacity(key.len() + chain.len());
    text.push_str(key);
    text.push_str(chain);
    SecretString::from(text)
}

/// CA certificates in one PEM text. Every certificate of the input is parsed and written anew, so neither
/// a key nor a remark that stands beside or inside them gets into a file that everybody may read.
///
/// # Errors
/// [`PkiError::MalformedPem`] when one of the texts holds no certificate, a section that is cut off, or
/// one that is not a certificate from its first to its last octet.
pub fn truststore_pem(certificates: &[&str]) -> Result<String, PkiError> {
    if certificates.is_empty() {
        return Err(PkiError::MalformedPem {
            what: "a trust store's certificates",
            reason: "none was given, and a trust store without certificates trusts nobody",
            source: None,
        });
    }
    let mut text = String::new();
    for pem in certificates {
        for certificate in pem::certificates(pem.as_bytes())? {
            x509::parse(&certificate)?;
            text.push_str(&pem::encode_certificate(&certificate));
        }
    }
    Ok(text)
}

/// A PKCS#12 key store: one key entry with its chain, `ca_pems` at the chain's end.
///
/// Encrypted with PBES2 (PBKDF2 with HMAC-SHA-256, AES-256-CBC), sealed with HMAC-SHA-256; key and store
/// have the same password, the only arrangement that every reader understands.
///
/// # Errors
/// [`PkiError::Pkcs12`] for an alias or password that not every reader takes, [`PkiError::MalformedPem`].
pub fn keystore_pkcs12(
    alias: &str,
    issued: &Issued,
    ca_pems: &[&str],
    password: &SecretString,
) -> Result<Vec<u8>, PkiError> {
    check_alias(alias)?;
    let mut chain = issued.chain().to_vec();
    for pem in ca_pems {
        for certificate in pem::certificates(pem.as_bytes())? {
            if !chain.contains(&certificate) {
                chain.push(certificate);
            }
        }
    }
    let chain = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>();
    let key = PrivateKey::from_der(&issued.key_pem().to_pkcs8()?);
    // Ties the key to its certificate inside the file; any octets unique in it do.
    let link = issued.serial_hex();
    let entry = PrivateKeyChain::new(link, key.map_err(failed)?, chain.map_err(failed)?);
    let mut store = KeyStore::new();
    store.add_entry(alias, KeyStoreEntry::PrivateKeyChain(entry));
    write(&store, password)
}

/// A PKCS#12 trust store of CA certificates by alias. Each has the attribute by which the JDK knows a
/// trusted certificate; without it a JVM would see an empty store. Of each text the first certificate
/// counts.
///
/// # Errors
/// As [`keystore_pkcs12`], and [`PkiError::Pkcs12`] when there is no entry or an alias twice: a JVM does
/// not tell upper from lower case in it.
pub fn truststore_pkcs12(entries: &[(&str, &str)], password: &SecretString) -> Result<Vec<u8>, PkiError> {
    if entries.is_empty() {
        return Err(unfit("a trust store without certificates trusts nobody, and a JVM refuses it"));
    }
    let mut store = KeyStore::new();
    for (alias, pem) in entries {
        check_alias(alias)?;
        let alias = alias.to_lowercase();
        if store.entry(&alias).is_some() {
            return Err(unfit("two entries have the same alias"));
        }
        let certificates = pem::certificates(pem.as_bytes())?;
        let first = certificates.first().map(AsRef::as_ref).unwrap_or_default();
        x509::parse(first)?;
        store.add_entry(&alias, KeyStoreEntry::Certificate(Certificate::from_der(first).map_err(failed)?));
    }
    write(&store, password)
}

fn write(store: &KeyStore, password: &SecretString) -> Result<Vec<u8>, PkiError> {
    let password = password.expose_secret();
    // JDK 17 takes printable ASCII only, keytool wants six characters.
    if password.len() < 6 || !password.bytes().all(|octet| (0x20..0x7f).contains(&octet)) {
        return Err(unfit("its password must be six or more printable ASCII characters"));
    }
    store
        .writer(password)
        .encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256)
        .encryption_iterations(ITERATIONS)
        .mac_algorithm(MacAlgorithm::HmacSha256)
        .mac_iterations(ITERATIONS)
        .write()
        .map_err(failed)
}

fn check_alias(alias: &str) -> Result<(), PkiError> {
    let fits = |character: char| !character.is_control() && u32::from(character) <= 0xffff;
    if alias.trim().is_empty() || !alias.chars().all(fits) {
        return Err(unfit("an alias must not be empty, nor hold control characters or ones beyond U+FFFF"));
    }
    Ok(())
}

const fn unfit(reason: &'static str) -> PkiError {
    PkiError::Pkcs12 { reason, source: None }
}

fn failed(error: p12_keystore::error::Error) -> PkiError {
    PkiError::Pkcs12 { reason: "the key or a certificate does not fit in", source: Some(error.into()) }
}
