//! Files as a git revision has them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::OpsError;

/// How long git gets for one answer; it reads from disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// The schema files below a folder, or one file, as a revision has them: path below the folder, and text.
///
/// # Errors
/// When git is not there, the folder is in no repository, or there is no such revision.
pub(super) async fn files_at(revision: &str, path: &Path) -> Result<BTreeMap<String, String>, OpsError> {
    if revision.is_empty() || revision.starts_with('-') {
        return Err(OpsError::refused(format!("`{revision}` is no revision of git's")));
    }
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let commit = format!("{revision}^{{commit}}");
    asked(folder, &["rev-parse", "--quiet", "--verify", &commit]).await.map_err(|_| {
        OpsError::refused(format!(
            "git knows no revision `{revision}` here, or {} lies in no repository",
            folder.display()
        ))
    })?;
    let listed = asked(folder, &["ls-tree", "-r", "--name-only", "-z", revision, "--", "."]).await?;
    let mut files = BTreeMap::new();
    for name in listed.split('\0').filter(|name| name.ends_with(".avsc")) {
        let text = asked(folder, &["show", &format!("{revision}:./{name}")]).await?;
        files.insert(name.to_owned(), text);
    }
    Ok(files)
}

async fn asked(folder: &Path, words: &[&str]) -> Result<String, OpsError> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let failed = |why: String| OpsError::refused(format!("`git {}` {why}", words.join(" ")));
    let running = command.output();
    let output = tokio::time::timeout(PATIENCE, running)
        .await
        .map_err(|_| failed(format!("did not end within {} s", PATIENCE.as_secs())))?
        .map_err(|error| failed(format!("cannot be started ({error}): install git")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(format!("failed: {said}")));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("gave something that is no text".to_owned()))
}
