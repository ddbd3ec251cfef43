//! The files that a profile names: read, checked and paired before librdkafka sees their paths, for
//! its own errors come late and say little.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use secrecy::SecretString;

use crate::error::ConnectError;
use crate::profile::ConnectionProfile;

/// No file of a client is near this; it keeps a wrong path from filling the memory.
const FILE_MAX: u64 = 1 << 20;

/// What was read. `Debug` shows paths only.
pub(crate) struct Credentials {
    pub(crate) ca_file: PathBuf,
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
    pub(crate) password: SecretString,
    /// For HTTPS to the registry; brokers are reached by librdkafka's own TLS.
    pub(crate) registry_tls: Arc<ClientConfig>,
    /// User name and password for the registry.
    pub(crate) registry_login: Option<(String, SecretString)>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("ca_file", &self.ca_file)
            .field("certificate_file", &self.certificate_file)
            .field("key_file", &self.key_file)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Blocking, but a matter of four small files.
    pub(crate) fn read(profile: &ConnectionProfile) -> Result<Self, ConnectError> {
        let (ca_file, certificate_file) = (profile.ca_file(), profile.certificate_file());
        let (key_file, password_file) = (profile.key_file(), profile.password_file());
        // librdkafka takes paths as text; a changed one would be another file's, or nobody's.
        for (what, path) in
            [("CA file", &ca_file), ("client certificate", &certificate_file), ("private key", &key_file)]
        {
            if path.to_str().is_none() {
                return Err(content(what, path, "its path is not UTF-8, and librdkafka needs that".into()));
            }
        }
        // Checked although librdkafka reads the files itself: it says little, and late.
        let tls = tls(&ca_file, &certificate_file, &key_file)?;
        let password = password(&password_file)?;
        let (mut registry_tls, mut registry_login) = (tls, None);
        if let Some(registry) = &profile.registry {
            let file = |path: &Path| profile.base_dir.join(path);
            if let Some(files) = &registry.tls {
                registry_tls =
                    self::tls(&file(&files.ca_file), &file(&files.certificate_file), &file(&files.key_file))?;
            }
            if let Some(login) = &registry.login {
                let password = self::password(&file(&login.password_file))?;
                registry_login = Some((login.username.clone(), password));
            }
        }
        Ok(Self { ca_file, certificate_file, key_file, password, registry_tls, registry_login })
    }
}

fn tls(ca_file: &Path, certificate_file: &Path, key_file: &Path) -> Result<Arc<ClientConfig>, ConnectError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("CA file", ca_file)? {
        roots.add(certificate).map_err(|error| content("CA file", ca_file, error.to_string()))?;
    }
    let chain = certificates("client certificate", certificate_file)?;
    let key = private_key(key_file)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| content("CA file", ca_file, error.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                ConnectError::KeyMismatch { key: key_file.into(), certificate: certificate_file.into() }
            }
            other => content("private key", key_file, other.to_string()),
        })?;
    Ok(Arc::new(tls))
}

fn content(what: &'static str, path: &Path, why: String) -> ConnectError {
    ConnectError::Content { what, path: path.to_owned(), why }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let text = read(what, path, false)?;
    let found = rustls_pemfile::certs(&mut text.as_slice())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(what, path, error.to_string()))?;
    if found.is_empty() {
        return Err(content(what, path, "it holds no PEM certificate".into()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConnectError> {
    const WHAT: &str = "private key";
    let text = secrecy::SecretSlice::from(read(WHAT, path, true)?);
    // The parser's own error may quote the text, so it is left out.
    rustls_pemfile::private_key(&mut secrecy::ExposeSecret::expose_secret(&text))
        .ok()
        .flatten()
        .ok_or_else(|| content(WHAT, path, "it holds no unencrypted PEM private key".into()))
}

fn password(path: &Path) -> Result<SecretString, ConnectError> {
    const WHAT: &str = "password file";
    let mut text = String::from_utf8(read(WHAT, path, true)?)
        .map_err(|_| content(WHAT, path, "it is not UTF-8".into()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(content(WHAT, path, "it is empty".into()));
    }
    if text.contains('\0') {
        return Err(content(WHAT, path, "it holds a zero byte".into()));
    }
    Ok(SecretString::from(text))
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
