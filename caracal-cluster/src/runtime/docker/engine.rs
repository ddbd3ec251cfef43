//! The engine's interface, on a thread of its own.
//!
//! Whoever looks at a node does so in the middle of synchronous code, as with the process table; a question
//! takes the engine some milliseconds. All questions go through one background thread, because connections
//! belong to the executor that opened them.

use std::future::Future;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use bollard::Docker;
use tokio::runtime::{Builder, Runtime};

use super::error::EngineError;

/// The oldest interface that is driven: engine 20.10.
const OLDEST: (u32, u32) = (1, 41);

/// How long an engine may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(5);

/// What an engine says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct EngineVersion {
    /// Its version.
    pub engine: String,
    /// Its interface's version.
    pub api: String,
}

fn background() -> Result<&'static Runtime, EngineError> {
    static BACKGROUND: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let made = BACKGROUND.get_or_init(|| {
        let builder =
            Builder::new_multi_thread().worker_threads(1).thread_name("engine").enable_all().build();
        builder.map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|why| EngineError::Request {
        what: "starting a thread for the engine".to_owned(),
        why: why.clone(),
    })
}

/// The engine that the environment names (`DOCKER_HOST`), else the one at the usual socket.
async fn connect() -> Result<Docker, EngineError> {
    let docker = testcontainers::core::client::docker_client_instance().await;
    let docker = docker.map_err(|error| EngineError::unreachable(&error))?;
    // Newer clients are refused by older engines, so both agree first.
    let agreed = tokio::time::timeout(ANSWER, docker.negotiate_version()).await;
    agreed.map_err(|_| EngineError::silent(ANSWER))?.map_err(|error| EngineError::unreachable(&error))
}

/// Asks the engine something, from asynchronous code.
pub(super) async fn call<T, F>(question: impl FnOnce(Docker) -> F + Send + 'static) -> Result<T, EngineError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, EngineError>> + Send + 'static,
{
    let task = background()?.spawn(async move { question(connect().await?).await });
    task.await.map_err(|error| EngineError::Request {
        what: "asking the engine".to_owned(),
        why: error.to_string(),
    })?
}

/// Asks the engine something, from synchronous code. Blocking for some milliseconds.
pub(super) fn ask<T, F>(question: impl FnOnce(Docker) -> F + Send + 'static) -> Result<T, EngineError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, EngineError>> + Send + 'static,
{
    let (tell, hear) = mpsc::channel();
    background()?.spawn(async move {
        let answer = async { question(connect().await?).await }.await;
        // Nobody listens any more only when the whole process ends.
        let _ = tell.send(answer);
    });
    let lost = |error: mpsc::RecvError| EngineError::Request {
        what: "asking the engine".to_owned(),
        why: error.to_string(),
    };
    hear.recv().map_err(lost)?
}

/// The engine's version, if one answers that may be used.
///
/// # Errors
/// [`EngineError::Absent`], [`EngineError::NotPermitted`].
pub async fn answers() -> Result<EngineVersion, EngineError> {
    call(async move |docker| version(&docker).await).await
}

async fn version(docker: &Docker) -> Result<EngineVersion, EngineError> {
    let seen = docker.version().await.map_err(|error| EngineError::unreachable(&error))?;
    Ok(EngineVersion { engine: seen.version.unwrap_or_default(), api: seen.api_version.unwrap_or_default() })
}

/// Whether the engine is older than what is driven.
pub(super) async fn too_old(docker: &Docker) -> Result<Vec<String>, EngineError> {
    let seen = version(docker).await?;
    let parts: Vec<u32> = seen.api.split('.').filter_map(|part| part.parse().ok()).collect();
    let old = matches!(parts[..], [major, minor, ..] if (major, minor) < OLDEST);
    Ok(old.then(|| {
        format!(
            "the container engine {} speaks interface {}, at least {}.{} (20.10) is needed: update it, or use `--runtime native`",
            seen.engine, seen.api, OLDEST.0, OLDEST.1
        )
    }).into_iter().collect())
}
