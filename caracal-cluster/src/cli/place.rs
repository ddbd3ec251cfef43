//! Where a cluster's nodes run: as asked for, as before, or as this machine allows.

use super::args::RuntimeChoice;
use crate::dir::DirError;
use crate::lifecycle::commands::Selection;
use crate::plan::containers;
use crate::runtime::docker::{self, EngineError, images};
use crate::spec::{ClusterSpec, RuntimeKind};

/// The runtime for a command, and the same as a sentence with the reason.
///
/// `auto` keeps what a cluster was made with. A new one gets containers where an engine answers and every image is
/// there already: a download of a gigabyte should be asked for (`--runtime docker`).
pub(super) async fn choose(
    selection: &Selection,
    choice: RuntimeChoice,
) -> Result<(Option<RuntimeKind>, String), DirError> {
    match choice {
        RuntimeChoice::Native => return Ok((Some(RuntimeKind::Native), "native, as asked for".to_owned())),
        RuntimeChoice::Docker => return Ok((Some(RuntimeKind::Docker), "docker, as asked for".to_owned())),
        RuntimeChoice::Auto => {}
    }
    if let Some(record) = selection.root.cluster(&selection.wanted()).read_record()? {
        return Ok((None, format!("{}, as the cluster was made", record.runtime)));
    }
    // What is wrong about a description is told by whoever makes the cluster.
    let described = selection.spec_file.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
    let text = described.unwrap_or_default();
    let spec = ClusterSpec::parse_with(&text, "", &selection.overrides).unwrap_or_default();
    Ok(match missing(&spec).await {
        Ok((engine, missing)) if missing.is_empty() => {
            (Some(RuntimeKind::Docker), format!("docker: engine {engine} answers and every image is here"))
        }
        Ok((engine, missing)) => (
            Some(RuntimeKind::Native),
            format!(
                "native: engine {engine} answers, but {} is not here; `--runtime docker` pulls it, `cargo xtask image \
                 build` makes one for `--images local`",
                missing.join(", ")
            ),
        ),
        Err(EngineError::NotPermitted { .. }) => {
            (Some(RuntimeKind::Native), "native: the container engine may not be used by you".to_owned())
        }
        Err(EngineError::NotBuilt) => {
            (Some(RuntimeKind::Native), "native: built without containers".to_owned())
        }
        Err(_) => (Some(RuntimeKind::Native), "native: no container engine answers".to_owned()),
    })
}

async fn missing(spec: &ClusterSpec) -> Result<(String, Vec<String>), EngineError> {
    let engine = docker::answers().await?;
    let missing = images::missing(&containers::images(spec, spec.registry.flavor.version())).await?;
    Ok((engine.engine, missing))
}
