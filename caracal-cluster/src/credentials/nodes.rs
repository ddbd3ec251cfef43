//! The files of a node: its configuration from the plan, its keys and passwords from the credentials.

use std::collections::BTreeMap;
use std::path::Path;

use caracal_pki::{store, stores};
use ring::digest;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Credentials, CredentialsError};
use crate::dir::{ClusterDir, DirError};
use crate::plan::{ListenerPlan, METRICS, NodePlan, SecretContent};

/// The entry of a node's digests that is no file: where it listens, which its peers have to know.
pub const LISTENERS: &str = "listeners";

/// The entry that is no file either: what its container is made from.
pub const CONTAINER: &str = "container";

/// The files of one node.
#[derive(Clone, Debug)]
pub struct NodeFiles<'a> {
    credentials: &'a Credentials<'a>,
    node: &'a NodePlan,
}

impl<'a> NodeFiles<'a> {
    /// The files of a node.
    pub fn new(credentials: &'a Credentials<'a>, node: &'a NodePlan) -> Self {
        Self { credentials, node }
    }

    /// Paths, relative to the node's directory, of files that are missing or differ from the plan.
    ///
    /// # Errors
    /// When a credential that a file is made from is missing.
    pub fn differing(&self) -> Result<Vec<String>, CredentialsError> {
        let mut paths = Vec::new();
        for (path, text) in self.contents()? {
            let there = self.dir().node(&self.node.name).join(&path);
            let equal = there.exists()
                && store::read_private(&there).is_ok_and(|now| now[..] == *text.expose_secret().as_bytes());
            if !equal {
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// Writes every file that is missing or differs; returns their paths.
    ///
    /// # Errors
    /// When a file cannot be written or a credential is missing.
    pub fn write(&self) -> Result<Vec<String>, CredentialsError> {
        let home = self.dir().node(&self.node.name);
        for folder in ["config", "secrets", "data", "logs", "run", "run/tmp"] {
            store::create_private_dir(&home.join(folder)).map_err(DirError::from)?;
        }
        let mut written = Vec::new();
        for (path, text) in self.contents()? {
            if self.dir().write(&home.join(&path), text.expose_secret().as_bytes())? {
                written.push(path);
            }
        }
        Ok(written)
    }

    /// Writes one file, if it is missing or differs.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_one(&self, path: &str) -> Result<bool, CredentialsError> {
        let contents = self.contents()?;
        let (_, text) = contents.iter().find(|(known, _)| known == path).ok_or_else(|| {
            CredentialsError::Missing { path: format!("a plan for {path} of {}", self.node.name) }
        })?;
        let there = self.dir().node(&self.node.name).join(path);
        Ok(self.dir().write(&there, text.expose_secret().as_bytes())?)
    }

    /// SHA-256 of every planned file, by path, and of the node's [`LISTENERS`]: what a start remembers and a
    /// later look compares.
    ///
    /// # Errors
    /// When a credential is missing.
    pub fn digests(&self) -> Result<BTreeMap<String, String>, CredentialsError> {
        let listener = |listener: &ListenerPlan| {
            let ListenerPlan { name, bind, advertised_host, advertised_port, .. } = listener;
            format!("{name} {bind} {advertised_host}:{advertised_port}\n")
        };
        // No other node has to do with the metrics' port, which stands in the node's own arguments too.
        let shared = self.node.listeners.iter().filter(|listener| listener.name.as_str() != METRICS);
        let listeners: String = shared.map(listener).collect();
        let container = self
            .node
            .container
            .as_ref()
            .map(|container| (CONTAINER.to_owned(), format!("{container:?}").into()));
        let contents =
            self.contents()?.into_iter().chain([(LISTENERS.to_owned(), listeners.into())]).chain(container);
        Ok(contents
            .map(|(path, text)| {
                (path, hex::encode(digest::digest(&digest::SHA256, text.expose_secret().as_bytes())))
            })
            .collect())
    }

    fn dir(&self) -> &ClusterDir {
        self.credentials.dir
    }

    fn contents(&self) -> Result<Vec<(String, SecretString)>, CredentialsError> {
        let mut contents: Vec<(String, SecretString)> = self
            .node
            .files
            .iter()
            .map(|file| (file.path.clone(), SecretString::from(file.text.clone())))
            .collect();
        for secret in &self.node.secrets {
            contents.push((secret.path.clone(), self.secret(&secret.content)?));
        }
        Ok(contents)
    }

    fn secret(&self, content: &SecretContent) -> Result<SecretString, CredentialsError> {
        match content {
            SecretContent::KeystorePem(id) => Ok(stores::keystore_pem(&self.credentials.issued(id)?)),
            SecretContent::TruststorePem(cas) => {
                let pems = cas
                    .iter()
                    .map(|ca| self.credentials.authority_pem(*ca))
                    .collect::<Result<Vec<_>, _>>()?;
                let pems: Vec<&str> = pems.iter().map(String::as_str).collect();
                let text = stores::truststore_pem(&pems).map_err(|source| CredentialsError::Pki {
                    what: format!("the trust store of {}", self.node.name),
                    source: Box::new(source),
                })?;
                Ok(SecretString::from(text))
            }
            SecretContent::Password(user) => self.credentials.expect_password(user),
            SecretContent::Properties(text) => self.fill_passwords(text),
        }
    }

    /// Puts passwords where a text says `@{password:USER}`.
    fn fill_passwords(&self, text: &str) -> Result<SecretString, CredentialsError> {
        const OPEN: &str = "@{password:";
        let mut parts = text.split(OPEN);
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let Some((user, rest)) = part.split_once('}') else {
                filled.push_str(OPEN);
                filled.push_str(part);
                continue;
            };
            let user = user
                .parse()
                .map_err(|_| CredentialsError::Missing { path: format!("password of {user}") })?;
            filled.push_str(self.credentials.expect_password(&user)?.expose_secret());
            filled.push_str(rest);
        }
        Ok(SecretString::from(filled))
    }
}

/// SHA-256 of a file, in hexadecimal; none when it cannot be read.
pub fn file_digest(path: &Path) -> Option<String> {
    let bytes = store::read_private(path).ok()?;
    Some(hex::encode(digest::digest(&digest::SHA256, &bytes)))
}
