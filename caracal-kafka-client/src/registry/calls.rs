//! The questions that are put to a registry, over HTTP.

use std::collections::HashSet;
use std::fmt;
#[cfg(feature = "in-memory")]
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use schema_registry_converter::async_impl::schema_registry::{SrSettings, perform_sr_call};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, RawRegisteredSchema, SrCall};
use secrecy::{ExposeSecret as _, SecretString};

use crate::credentials::Credentials;
use crate::error::ConnectError;
use crate::schema::Schema;

/// How long a service waits for one answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Most schemas that one may refer to, those that these refer to included.
const REFERENCES: usize = 100;

/// Confluent's error codes of a registry without the subject, and of a subject without the version.
const SUBJECT_NOT_FOUND: u32 = 40401;
const VERSION_NOT_FOUND: u32 = 40402;

/// What a registry says of a schema.
pub(super) type Found = RawRegisteredSchema;

/// One registry, and how to be let in.
pub(super) struct Calls {
    pub(super) url: String,
    /// Put before the subjects of references.
    namespace: String,
    way: Way,
}

/// How it is reached.
enum Way {
    Http {
        settings: SrSettings,
        http: reqwest::Client,
    },
    #[cfg(feature = "in-memory")]
    Memory(Arc<super::memory::Memory>),
}

/// The settings would show the log-in.
impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why there is no answer, or not the one that was hoped for.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    NoSubject(String),
    /// There is none, and asking again will not change that.
    #[error("{0}")]
    NoSchema(String),
    /// What there is cannot be used, and asking again will not change that.
    #[error("{0}")]
    Useless(String),
    /// The registry could not be asked.
    #[error("{0}")]
    Failed(String),
}

impl Fault {
    /// Whether asking again may help.
    pub(crate) const fn passes(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl Calls {
    pub(super) fn new(
        url: &str,
        credentials: &Credentials,
        namespace: String,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let url = url.trim_end_matches('/').to_owned();
        let failed = |why: String| ConnectError::Registry { url: url.clone(), why };
        let mut headers = HeaderMap::new();
        if let Some((user, password)) = &credentials.registry_login {
            headers.insert(AUTHORIZATION, basic(user, password).map_err(failed)?);
        }
        // No proxy: the registry stands beside the brokers, and no proxy leads to those either.
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured((*credentials.registry_tls).clone())
                .default_headers(headers.clone())
                .no_proxy()
                .connect_timeout(timeout)
                .timeout(timeout)
        };
        let http = builder().build().map_err(|error| failed(chain(&error)))?;
        let settings = SrSettings::new_builder(url.clone())
            .no_proxy()
            .set_timeout(timeout)
            .build_with(builder())
            .map_err(|error| failed(text(&error)))?;
        Ok(Self { url, namespace, way: Way::Http { settings, http } })
    }

    #[cfg(feature = "in-memory")]
    pub(super) fn in_memory(memory: Arc<super::memory::Memory>) -> Self {
        Self { url: "memory".into(), namespace: String::new(), way: Way::Memory(memory) }
    }

    pub(super) fn qualified(&self, subject: &str) -> String {
        format!("{}{subject}", self.namespace)
    }

    pub(super) async fn ping(&self) -> Result<(), ConnectError> {
        let failed = |why: String| ConnectError::Registry { url: self.url.clone(), why };
        let http = match &self.way {
            Way::Http { http, .. } => http,
            #[cfg(feature = "in-memory")]
            Way::Memory(_) => return Ok(()),
        };
        let answer = http.get(format!("{}/schemas/types", self.url)).send().await.map_err(|error| {
            let why = chain(&error);
            let next = next_step(&self.url, &why);
            failed(format!("{why}; {next}"))
        })?;
        let status = answer.status();
        if matches!(status.as_u16(), 401 | 403) {
            return Err(failed(format!(
                "it does not let this service in (HTTP {status}): give the profile `registry.login`, or correct it"
            )));
        }
        let types: Vec<String> = match answer.json().await {
            Ok(types) if status.is_success() => types,
            _ => {
                return Err(failed(format!(
                    "it answers HTTP {status}, but not as a schema registry does; `registry.url` must be where \
                     Confluent's REST API begins, for Apicurio with /apis/ccompat/v7"
                )));
            }
        };
        if !types.iter().any(|kind| kind == "AVRO") {
            return Err(failed("it does not know AVRO".into()));
        }
        Ok(())
    }

    /// Id and version of a schema at a subject, by its content.
    pub(super) async fn find(
        &self,
        subject: &str,
        body: &serde_json::Value,
        normalize: bool,
    ) -> Result<Found, Fault> {
        match &self.way {
            Way::Http { http, .. } => {
                let path = format!("/subjects/{}", segment(subject));
                Self::answer(http.post(self.posted(&path, normalize)).json(body)).await
            }
            #[cfg(feature = "in-memory")]
            Way::Memory(memory) => memory.find(subject, body),
        }
    }

    pub(super) async fn register(
        &self,
        subject: &str,
        body: &serde_json::Value,
        normalize: bool,
    ) -> Result<Found, Fault> {
        match &self.way {
            Way::Http { http, .. } => {
                let path = format!("/subjects/{}/versions", segment(subject));
                Self::answer(http.post(self.posted(&path, normalize)).json(body)).await
            }
            #[cfg(feature = "in-memory")]
            Way::Memory(memory) => memory.register(subject, body),
        }
    }

    /// Not the library's calls: they know nothing of `normalize`.
    fn posted(&self, path: &str, normalize: bool) -> String {
        format!("{}{path}{}", self.url, if normalize { "?normalize=true" } else { "" })
    }

    /// Any other question, for those who ask by hand.
    pub(super) async fn get(&self, path: &str) -> Result<serde_json::Value, Fault> {
        match &self.way {
            Way::Http { http, .. } => Self::answer(http.get(format!("{}{path}", self.url))).await,
            #[cfg(feature = "in-memory")]
            Way::Memory(_) => Err(Fault::Failed("a registry in memory is not asked by hand".into())),
        }
    }

    async fn answer<T: serde::de::DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, Fault> {
        let sent = request.send().await;
        let answer = sent.map_err(|error| Fault::Failed(chain(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return answer.json().await.map_err(|error| Fault::Failed(chain(&error)));
        }
        let told = answer.json::<RawError>().await.ok();
        let why = match &told {
            Some(told) => format!("HTTP {status}: {}", told.message),
            None => format!("HTTP {status}"),
        };
        Err(sorted(told.map(|told| told.error_code), why))
    }

    pub(super) async fn latest(&self, subject: &str) -> Result<Found, Fault> {
        match &self.way {
            Way::Http { settings, .. } => asked(settings, SrCall::GetLatest(subject)).await,
            #[cfg(feature = "in-memory")]
            Way::Memory(memory) => memory.latest(subject),
        }
    }

    pub(super) async fn by_id(&self, id: u32) -> Result<Found, Fault> {
        match &self.way {
            Way::Http { settings, .. } => asked(settings, SrCall::GetById(id)).await,
            #[cfg(feature = "in-memory")]
            Way::Memory(memory) => memory.by_id(id),
        }
    }

    async fn by_version(&self, subject: &str, version: u32) -> Result<Found, Fault> {
        match &self.way {
            Way::Http { settings, .. } => {
                asked(settings, SrCall::GetBySubjectAndVersion(subject, version)).await
            }
            #[cfg(feature = "in-memory")]
            Way::Memory(memory) => memory.by_version(subject, version),
        }
    }

    /// The schema with everything that it refers to.
    pub(super) async fn graph(&self, found: &Found) -> Result<Schema, Fault> {
        // Absent means Avro, as it did before there was anything else.
        if found.schema_type.as_deref().is_some_and(|kind| kind != "AVRO") {
            return Err(Fault::Useless("it is no Avro schema".into()));
        }
        // Depth first, each once, so that every text uses only those before it.
        let mut texts = Vec::new();
        let mut seen = HashSet::new();
        let mut open = vec![(found.clone(), 0)];
        while let Some((schema, next)) = open.pop() {
            match schema.references.as_ref().and_then(|references| references.get(next)) {
                Some(reference) => {
                    let (subject, version) = (reference.subject.clone(), reference.version);
                    open.push((schema, next + 1));
                    if seen.insert((subject.clone(), version)) {
                        if seen.len() > REFERENCES {
                            return Err(Fault::Useless(format!(
                                "it refers to more than {REFERENCES} schemas"
                            )));
                        }
                        open.push((self.by_version(&subject, version).await?, 0));
                    }
                }
                None => texts.push(schema.schema.ok_or_else(|| Fault::Useless("it has no text".into()))?),
            }
        }
        let own = texts.pop().unwrap_or_default();
        Schema::parse_with(&own, &texts).map_err(|error| Fault::Useless(error.to_string()))
    }
}

async fn asked(settings: &SrSettings, call: SrCall<'_>) -> Result<Found, Fault> {
    perform_sr_call(settings, call).await.map_err(|error| fault(&error))
}

/// What to do about a registry that gave no answer.
fn next_step(url: &str, why: &str) -> &'static str {
    let why = why.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if says(&["invalidcontenttype", "corrupt message"]) {
        "its port does not speak TLS: `registry.url` must begin with http://"
    } else if says(&["unknownissuer", "badsignature"]) {
        "take the certificates of the registry's own CA (`registry.tls.ca_file`)"
    } else if says(&["not valid for", "notvalidforname"]) {
        "use a name in `registry.url` that its certificate has"
    } else if says(&["expired", "notvalidyet", "not valid yet"]) {
        "have its certificate issued again, and check this machine's clock"
    } else if says(&["received fatal alert"]) {
        "it refused this client's certificate: `registry.tls` must name one that it trusts"
    } else if url.starts_with("http://") && says(&["invalid http", "message completed", "reset by peer"]) {
        "what listens there speaks no plain HTTP: if it speaks TLS, `registry.url` must begin with https://"
    } else {
        "start the registry, or correct `registry.url`"
    }
}

/// RFC 7617.
fn basic(user: &str, password: &SecretString) -> Result<HeaderValue, String> {
    let pair = SecretString::from(format!("{user}:{}", password.expose_secret()));
    let coded = base64::engine::general_purpose::STANDARD.encode(pair.expose_secret());
    let mut value = HeaderValue::from_str(&format!("Basic {coded}"))
        .map_err(|_| "the registry's log-in cannot be sent".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A subject as one part of a path; topics and records have letters, digits, `.`, `_` and `-` only.
pub(super) fn segment(subject: &str) -> String {
    let mut out = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

fn sorted(code: Option<u32>, why: String) -> Fault {
    match code {
        Some(SUBJECT_NOT_FOUND | VERSION_NOT_FOUND) => Fault::NoSubject(why),
        // The registry's own "no such schema", by whatever sub-code of 404.
        Some(code) if code / 100 == 404 => Fault::NoSchema(why),
        _ => Fault::Failed(why),
    }
}

fn fault(error: &SRCError) -> Fault {
    let told = std::error::Error::source(error).and_then(|source| source.downcast_ref::<RawError>());
    sorted(told.map(|told| told.error_code), text(error))
}

fn text(error: &SRCError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{}: {}", error.error, chain(source)),
        None => error.error.clone(),
    }
}

/// An error with its causes: the outermost alone says "error sending request" and no more.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
