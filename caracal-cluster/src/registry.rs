//! The schema registry's Confluent-compatible interface, as far as a cluster needs it.
//!
//! Reads are answered from the registry's memory: Apicurio does so before it has replayed its journal, Confluent's only
//! after that, but also where its group has chosen nobody who may write (a write is answered with status 500 then). A write
//! goes through the journal and is answered once it came back. So only a write proves that a registry of either flavour is
//! ready: [`Registry::set_compatibility`] is that write, and it is the one that the plan wants anyway.

mod subjects;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

pub use self::subjects::SubjectVersion;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// What the registry refuses, or why it does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// It cannot be reached.
    #[error("the schema registry at {url} does not answer")]
    Unreachable {
        /// Its address.
        url: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// It answered with an error.
    #[error("the schema registry refused to {doing} with status {status}: {message}{hint}")]
    Refused {
        /// What was asked.
        doing: String,
        /// HTTP status.
        status: u16,
        /// Its own words, shortened.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// Its answer is not what the interface promises.
    #[error("the schema registry's answer to `{doing}` is not what the interface promises")]
    Unexpected {
        /// What was asked.
        doing: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

impl RegistryError {
    /// Whether asking again later can help: it is starting, or not up at all.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 404,
            Self::Unexpected { .. } => false,
        }
    }
}

/// A schema as the registry holds it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// Its id, which every record carries.
    pub id: i32,
    /// Its version below the subject.
    #[serde(default)]
    pub version: i32,
    /// Its text.
    #[serde(default)]
    pub schema: String,
}

/// A registry.
#[derive(Clone, Debug)]
pub struct Registry {
    url: String,
    client: reqwest::Client,
}

impl Registry {
    /// The registry at a base address, `http://localhost:8081/apis/ccompat/v7`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(url: &str) -> Result<Self, RegistryError> {
        // Where another crate of the same build has turned reqwest's TLS on without a provider (the client
        // does), reqwest asks for the process-wide one, and panics when there is none. This is plain HTTP.
        // An error means that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            // A registry on loopback is never behind a proxy, whatever the environment says.
            .no_proxy()
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(10))
            .build()
            .map_err(|source| RegistryError::Unreachable { url: url.to_owned(), source })?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), client })
    }

    /// Its base address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every subject.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn subjects(&self) -> Result<Vec<String>, RegistryError> {
        self.read("list subjects", self.client.get(self.path(&["subjects"]))).await
    }

    /// The id under which a schema is registered below a subject; none when it is not.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn lookup(
        &self,
        subject: &str,
        schema: &str,
    ) -> Result<Option<RegisteredSchema>, RegistryError> {
        let request = self.client.post(self.path(&["subjects", subject])).json(&json!({ "schema": schema }));
        match self.read("look a schema up", request).await {
            Err(RegistryError::Refused { status: 404, .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Registers a schema below a subject; an equal one keeps its id.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] with status 409 when it is incompatible with the one before.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<i32, RegistryError> {
        let request = self
            .client
            .post(self.path(&["subjects", subject, "versions"]))
            .json(&json!({ "schema": schema }));
        let registered: RegisteredSchema =
            self.read(&format!("register a schema for {subject}"), request).await?;
        Ok(registered.id)
    }

    /// The cluster-wide compatibility level.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn compatibility(&self) -> Result<String, RegistryError> {
        let answer: Value =
            self.read("read the compatibility level", self.client.get(self.path(&["config"]))).await?;
        let level = answer.get("compatibilityLevel").or_else(|| answer.get("compatibility"));
        Ok(level.and_then(Value::as_str).unwrap_or("NONE").to_owned())
    }

    /// Sets the cluster-wide compatibility level: a write, so its answer proves that the journal has been
    /// replayed.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn set_compatibility(&self, level: &str) -> Result<(), RegistryError> {
        let request = self.client.put(self.path(&["config"])).json(&json!({ "compatibility": level }));
        self.read::<Value>("set the compatibility level", request).await.map(drop)
    }

    /// Whether a schema could be registered below a subject as its next version. Changes nothing.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn is_compatible(&self, subject: &str, schema: &str) -> Result<bool, RegistryError> {
        const DOING: &str = "check a schema's compatibility";
        #[derive(Deserialize)]
        struct Answer {
            is_compatible: bool,
        }
        let path = self.path(&["compatibility", "subjects", subject, "versions", "latest"]);
        let answer: Answer =
            self.read(DOING, self.client.post(path).json(&json!({ "schema": schema }))).await?;
        Ok(answer.is_compatible)
    }

    fn path(&self, parts: &[&str]) -> String {
        let mut url = self.url.clone();
        for part in parts {
            url.push('/');
            // Subjects are topic names with a suffix; only what a topic may hold and a few more come here.
            for byte in part.bytes() {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'~') {
                    url.push(char::from(byte));
                } else {
                    url.push('%');
                    url.push_str(&hex::encode_upper([byte]));
                }
            }
        }
        url
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        doing: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<T, RegistryError> {
        let unreachable = |source| RegistryError::Unreachable { url: self.url.clone(), source };
        let response =
            request.header(reqwest::header::ACCEPT, CONTENT_TYPE).send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            let status = status.as_u16();
            return Err(RegistryError::Refused {
                doing: doing.to_owned(),
                status,
                message: message_of(&body),
                hint: hint(status),
            });
        }
        serde_json::from_slice(&body)
            .map_err(|source| RegistryError::Unexpected { doing: doing.to_owned(), source })
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        409 => "; the schema breaks the compatibility level: give new fields a default, or use a new subject",
        422 => "; the schema itself is not valid",
        _ => "",
    }
}

/// The registry's own words, at most 300 characters.
fn message_of(body: &[u8]) -> String {
    let text = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|value| Some(value.get("message")?.as_str()?.to_owned()))
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    text.chars().take(300).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_path_segment() {
        let registry = Registry::new("http://localhost:8081/apis/ccompat/v7/").unwrap();
        assert_eq!(
            registry.path(&["subjects", "a/b c-value"]),
            "http://localhost:8081/apis/ccompat/v7/subjects/a%2Fb%20c-value"
        );
    }

    #[test]
    fn an_error_body_is_shortened_and_made_printable() {
        assert_eq!(message_of(br#"{"error_code":409,"message":"no\u0007"}"#), "no");
        assert_eq!(message_of("x".repeat(1000).as_bytes()).len(), 300);
    }

    #[tokio::test]
    async fn nobody_there_is_transient() {
        let error = Registry::new("http://127.0.0.1:9").unwrap().subjects().await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
}
