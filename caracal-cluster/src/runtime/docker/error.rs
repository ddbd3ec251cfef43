//! What goes wrong with a container engine, for the person who reads it.

#[cfg(feature = "docker")]
use std::{error::Error, io, time::Duration};

/// What goes wrong with a container engine.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No engine answers.
    #[error(
        "no container engine answers: {why}; start it (systemctl start docker, or `dockerd` as root), name another by DOCKER_HOST, or use `--runtime native`"
    )]
    Absent {
        /// What was seen instead.
        why: String,
    },
    /// One is there but must not be used.
    #[error(
        "the container engine may not be used by you: {why}; join the group `docker` (usermod -aG docker $USER) and log in again, or use `--runtime native`"
    )]
    NotPermitted {
        /// What was seen.
        why: String,
    },
    /// A container of that name belongs to somebody else.
    #[error(
        "a container named `{container}` is there and is not ours ({owner}); remove or rename it (docker rename {container} {container}-old), or use another cluster (`--name other`)"
    )]
    Foreign {
        /// The container.
        container: String,
        /// What is known about it.
        owner: String,
    },
    /// The network of that name, or its addresses, belong to somebody else.
    #[error("{what}; choose another one by `--subnet 172.30.0.0/16`")]
    Subnet {
        /// What is taken, and by whom.
        what: String,
    },
    /// A port that is to be published is taken.
    #[error(
        "{node} cannot be started: {why}; end what holds the port, or let free ports be chosen by `--ports auto`"
    )]
    Port {
        /// The node.
        node: String,
        /// The engine's words.
        why: String,
    },
    /// An image is not there and cannot be had.
    #[error(
        "the image {image} is not here and cannot be pulled: {why}; `cargo xtask image build` makes images from what is on this machine, which `--images local` takes, or name one that is here by `--images NAME`"
    )]
    Image {
        /// The image.
        image: String,
        /// Why not.
        why: String,
    },
    /// An image cannot carry a node.
    #[error("the image {image} cannot run {node}: {why}")]
    Unfit {
        /// The image.
        image: String,
        /// The node.
        node: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// This build has no containers.
    #[error("this program was built without containers (feature `docker`): use `--runtime native`")]
    NotBuilt,
    /// The node's plan is for another runtime.
    #[error("{node} has no container in its plan; this is a fault of the tool")]
    NotPlanned {
        /// The node.
        node: String,
    },
    /// Any other request that failed.
    #[error("{what} failed: {why}")]
    Request {
        /// What was asked.
        what: String,
        /// The engine's words.
        why: String,
    },
}

#[cfg(feature = "docker")]
impl EngineError {
    /// Why an engine cannot be reached.
    pub(super) fn unreachable(error: &(dyn Error + 'static)) -> Self {
        let why = words(error);
        if kinds(error).contains(&io::ErrorKind::PermissionDenied)
            || why.to_lowercase().contains("permission denied")
        {
            Self::NotPermitted { why }
        } else {
            Self::Absent { why }
        }
    }

    /// An engine that takes too long.
    pub(super) fn silent(after: Duration) -> Self {
        Self::Absent { why: format!("no answer within {} s", after.as_secs()) }
    }

    /// A request that failed.
    pub(super) fn request(what: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> Self {
        let what = what.into();
        move |error| Self::Request { what, why: words(&error) }
    }
}

#[cfg(feature = "docker")]
/// The innermost words of an error, which are the engine's own.
pub(super) fn words(error: &(dyn Error + 'static)) -> String {
    if let Some(bollard::errors::Error::DockerResponseServerError { message, .. }) = error.downcast_ref() {
        return message.trim().to_owned();
    }
    match error.source() {
        Some(source) => words(source),
        None => error.to_string(),
    }
}

#[cfg(feature = "docker")]
fn kinds(error: &(dyn Error + 'static)) -> Vec<io::ErrorKind> {
    let own = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let below = error.source().map(kinds).unwrap_or_default();
    own.into_iter().chain(below).collect()
}

#[cfg(feature = "docker")]
/// The engine's answer "there is none".
pub(super) fn is_absent(error: &bollard::errors::Error) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })
}

#[cfg(feature = "docker")]
/// The engine's answer "not now": a removal that is under way, a name that is taken.
pub(super) fn is_conflict(error: &bollard::errors::Error) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { status_code: 409, .. })
}

#[cfg(all(feature = "docker", test))]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_may_not_be_used_is_no_engine_that_is_missing() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(matches!(EngineError::unreachable(&denied), EngineError::NotPermitted { .. }));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = EngineError::unreachable(&refused);
        assert!(matches!(error, EngineError::Absent { .. }));
        assert!(error.to_string().contains("--runtime native"), "{error}");
    }

    #[test]
    fn the_engines_own_words_are_kept() {
        let error = bollard::errors::Error::DockerResponseServerError {
            status_code: 500,
            message: "driver failed\n".to_owned(),
        };
        assert_eq!(words(&error), "driver failed");
    }
}
