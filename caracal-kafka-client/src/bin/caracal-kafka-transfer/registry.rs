//! The schema registry's Confluent-compatible interface, one question at a time.

use std::time::Duration;

use caracal_kafka_client::profile::ConnectionProfile;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::failure::Failure;

/// A write goes through the registry's journal, and records do not wait for it often.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One registry. It blocks: records do not wait for schemas often.
pub(crate) struct Registry {
    url: String,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Registry {
    /// The profile's registry; none where the profile names none.
    pub(crate) fn of(profile: &ConnectionProfile) -> Result<Option<Self>, Failure> {
        let Some(endpoint) = &profile.registry else { return Ok(None) };
        // An error means that there is a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |error: String| Failure::cluster(format!("no way to the schema registry: {error}"));
        let mut builder = reqwest::Client::builder().no_proxy().connect_timeout(TIMEOUT).timeout(TIMEOUT);
        if endpoint.url.starts_with("https:") {
            builder = builder.tls_backend_preconfigured(tls(profile)?);
        }
        let client = builder.build().map_err(|error| failed(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        Ok(Some(Self { url: endpoint.url.trim_end_matches('/').to_owned(), client, runtime }))
    }

    /// A schema by the id that records carry.
    pub(crate) fn by_id(&self, id: u32) -> Result<Option<String>, Failure> {
        let found = self.ask(self.client.get(format!("{}/schemas/ids/{id}", self.url)))?;
        Ok(found.and_then(|found| found["schema"].as_str().map(str::to_owned)))
    }

    /// The subjects that hold a schema.
    pub(crate) fn subjects_of(&self, id: u32) -> Result<Vec<String>, Failure> {
        let found = self.ask(self.client.get(format!("{}/schemas/ids/{id}/versions", self.url)))?;
        let entries = found.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
        let mut subjects: Vec<String> =
            entries.iter().filter_map(|entry| entry["subject"].as_str().map(str::to_owned)).collect();
        subjects.sort();
        subjects.dedup();
        Ok(subjects)
    }

    /// The latest version of a subject: id and text.
    pub(crate) fn latest(&self, subject: &str) -> Result<Option<(u32, String)>, Failure> {
        let found = self.ask(self.client.get(format!("{}/subjects/{subject}/versions/latest", self.url)))?;
        Ok(found.and_then(|found| {
            let id = found["id"].as_u64().and_then(|id| u32::try_from(id).ok())?;
            Some((id, found["schema"].as_str()?.to_owned()))
        }))
    }

    /// Registers a schema; an equal one keeps its id.
    pub(crate) fn register(&self, subject: &str, schema: &str) -> Result<u32, Failure> {
        let url = format!("{}/subjects/{subject}/versions", self.url);
        let found = self.ask(self.client.post(url).json(&json!({ "schema": schema })))?;
        let id = found.as_ref().and_then(|found| found["id"].as_u64()).and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| Failure::cluster(format!("the registry gave no id for a schema of `{subject}`")))
    }

    /// The answer; none for what is not there.
    fn ask(&self, request: reqwest::RequestBuilder) -> Result<Option<Value>, Failure> {
        let asked = async {
            let answer = request.send().await?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        };
        let (status, body) = self.runtime.block_on(asked).map_err(|error| {
            let what = if error.is_timeout() { "does not answer in time" } else { "cannot be reached" };
            Failure::cluster(format!("the schema registry at {} {what}: {error}", self.url))
        })?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        if !status.is_success() {
            let said = value
                .and_then(|value| Some(value["message"].as_str()?.chars().take(300).collect::<String>()));
            let said = said.unwrap_or_default();
            return Err(Failure::cluster(format!("the schema registry refused with HTTP {status}: {said}")));
        }
        Ok(value)
    }
}

/// Mutual TLS by the files of the profile.
fn tls(profile: &ConnectionProfile) -> Result<rustls::ClientConfig, Failure> {
    let read = |path: std::path::PathBuf| {
        std::fs::read(&path).map_err(|error| Failure::file("reading", &path, &error))
    };
    // The parsers' own errors may quote what they read.
    let odd = |what: &str| Failure::usage(format!("the profile's {what} cannot be used"));
    let certificates = |path| {
        let text = read(path)?;
        rustls_pemfile::certs(&mut text.as_slice())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| odd("certificates"))
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(profile.ca_file())? {
        roots.add(certificate).map_err(|_| odd("CA file"))?;
    }
    let key = rustls_pemfile::private_key(&mut read(profile.key_file())?.as_slice()).ok().flatten();
    rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            certificates(profile.certificate_file())?,
            key.ok_or_else(|| odd("private key"))?,
        )
        .map_err(|_| odd("key and certificate"))
}
