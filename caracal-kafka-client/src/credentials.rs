//! Certificates, keys and passwords: read, checked and paired before librdkafka sees them, for its own errors
//! come late and say little.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret as _, SecretString};

use crate::connection::{Connection, Kind, Source, Tls};
use crate::error::ConnectError;

/// No file of a client is near this; it keeps a wrong path from filling the memory.
const FILE_MAX: u64 = 1 << 20;

const CERTIFICATE: &str = "client certificate";
const KEY: &str = "private key";

/// What was read. `Debug` shows none of it.
pub(crate) struct Credentials {
    /// CA, certificate and key as librdkafka takes them: what was checked is what it uses, should the files
    /// change meanwhile.
    pub(crate) pem: [SecretString; 3],
    pub(crate) password: SecretString,
    /// For the search for a cause when librdkafka names none; it has a TLS of its own.
    pub(crate) kafka_tls: Arc<ClientConfig>,
    /// For HTTPS to the registry.
    pub(crate) registry_tls: Arc<ClientConfig>,
    /// User name and password for the registry.
    pub(crate) registry_login: Option<(String, SecretString)>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// Blocking, but a matter of four small files.
    pub(crate) fn read(connection: &Connection) -> Result<Self, ConnectError> {
        let (tls, pem) = tls(&connection.tls)?;
        let password = password(&connection.password)?;
        let registry_tls = match &connection.registry_tls {
            Some(others) => self::tls(others)?.0,
            None => Arc::clone(&tls),
        };
        let login = connection.profile.registry.as_ref().and_then(|registry| registry.login.as_ref());
        let registry_login = match (login, &connection.registry_password) {
            (Some(login), Some(source)) => Some((login.username.clone(), self::password(source)?)),
            _ => None,
        };
        Ok(Self { pem, password, kafka_tls: tls, registry_tls, registry_login })
    }
}

impl Credentials {
    /// Whether brokers would see a difference.
    pub(crate) fn are(&self, others: &Self) -> bool {
        let same = |a: &SecretString, b: &SecretString| a.expose_secret() == b.expose_secret();
        same(&self.password, &others.password)
            && self.pem.iter().zip(&others.pem).all(|(ours, theirs)| same(ours, theirs))
    }
}

/// Checked although librdkafka checks too: it says little, and late. With it the texts of CA, certificate, key.
fn tls(sources: &Tls) -> Result<(Arc<ClientConfig>, [SecretString; 3]), ConnectError> {
    const CA: &str = "CA file";
    let (ca_file, certificate_file, key_file) =
        (sources.ca.place(), sources.certificate.place(), sources.key.place());
    let ca = text(CA, &sources.ca, false)?;
    let mut roots = RootCertStore::empty();
    let authorities = certificates(CA, &ca_file, &ca)?;
    // One that is trusted beside newer ones may have expired; when none is left, no broker can be trusted.
    let judged = authorities.iter().map(|authority| valid_now(CA, &ca_file, authority));
    judged.reduce(Result::or).unwrap_or(Ok(()))?;
    for certificate in authorities {
        roots.add(certificate).map_err(|error| content(CA, &ca_file, error.to_string()))?;
    }
    let certificate = text(CERTIFICATE, &sources.certificate, false)?;
    let chain = certificates(CERTIFICATE, &certificate_file, &certificate)?;
    let key = text(KEY, &sources.key, true)?;
    let parsed = private_key(&key_file, &key)?;
    let own = chain.first().map(|own| valid_now(CERTIFICATE, &certificate_file, own));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| content(CA, &ca_file, error.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, parsed)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                ConnectError::KeyMismatch { key: key_file.clone(), certificate: certificate_file.clone() }
            }
            other => content(KEY, &key_file, other.to_string()),
        })?;
    own.unwrap_or(Ok(()))?;
    Ok((Arc::new(tls), [ca, certificate, key]))
}

/// Whether a certificate's time has come and not passed, by this machine's clock.
fn valid_now(what: &'static str, path: &Path, certificate: &[u8]) -> Result<(), ConnectError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| content(what, path, "it is no X.509 certificate".into()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let (from, to) = (parsed.validity().not_before, parsed.validity().not_after);
    let why = if to.timestamp() < now {
        format!("has expired at {to}")
    } else if now < from.timestamp() {
        format!("is not valid before {from}")
    } else {
        return Ok(());
    };
    Err(ConnectError::Validity { what, path: path.to_owned(), why })
}

fn content(what: &'static str, path: &Path, why: String) -> ConnectError {
    ConnectError::Content { what, path: path.to_owned(), why }
}

fn certificates(
    what: &'static str,
    path: &Path,
    text: &SecretString,
) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let found = rustls_pemfile::certs(&mut text.expose_secret().as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(what, path, error.to_string()))?;
    if found.is_empty() {
        return Err(content(what, path, "it holds no PEM certificate".into()));
    }
    Ok(found)
}

fn private_key(path: &Path, text: &SecretString) -> Result<PrivateKeyDer<'static>, ConnectError> {
    // The parser's own error may quote the text, so it is left out.
    rustls_pemfile::private_key(&mut text.expose_secret().as_bytes())
        .ok()
        .flatten()
        .ok_or_else(|| content(KEY, path, "it holds no unencrypted PEM private key".into()))
}

fn password(source: &Source) -> Result<SecretString, ConnectError> {
    const WHAT: &str = "password file";
    let read = text(WHAT, source, true)?;
    let text = read.expose_secret();
    // One newline at a file's end is not part of it.
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(content(WHAT, &source.place(), "it is empty".into()));
    }
    if text.contains('\0') {
        return Err(content(WHAT, &source.place(), "it holds a zero byte".into()));
    }
    Ok(SecretString::from(text))
}

/// What a source says. Only a file can be open to others.
fn text(what: &'static str, source: &Source, private: bool) -> Result<SecretString, ConnectError> {
    let path = match source.kind() {
        Kind::Text(text) => return Ok(text.clone()),
        Kind::File(path) => path,
    };
    let text = String::from_utf8(read(what, path, private)?);
    text.map(SecretString::from).map_err(|_| content(what, path, "it is not UTF-8".into()))
}

fn read(what: &'static str, path: &Path, private: bool) -> Result<Vec<u8>, ConnectError> {
    let failed = |source| ConnectError::File { what, path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    if private {
        // Of the open file, not of the path: what is checked is what is read.
        only_ours(what, path, &file)?;
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(content(what, path, format!("it is larger than {FILE_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(unix)]
fn only_ours(what: &'static str, path: &Path, file: &File) -> Result<(), ConnectError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata =
        file.metadata().map_err(|source| ConnectError::File { what, path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(ConnectError::Permissions { what, path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn only_ours(_: &'static str, _: &Path, _: &File) -> Result<(), ConnectError> {
    // Access lists have no mode to look at; the profile's directory is its owner's by default.
    Ok(())
}
