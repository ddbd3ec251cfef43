//! Runs other programs from the workspace's folder, and keeps what they print while it is shown.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// A program that runs in the workspace's folder.
///
/// # Errors
/// When the folder cannot be entered.
pub(crate) fn program(name: impl AsRef<Path>) -> Result<Command> {
    let shell = Shell::new().context("the current folder is gone")?;
    shell.change_dir(root());
    let name = name.as_ref();
    Ok(cmd!(shell, "{name}").into())
}

/// The cargo that runs us, without what it told us about ourselves: build scripts that look at those
/// variables (ring's does) would run again, and everything above them be compiled again, each time that
/// cargo is run by hand and by us in turn.
///
/// # Errors
/// When the workspace's folder cannot be entered.
pub(crate) fn cargo() -> Result<Command> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = program(cargo)?;
    for (name, _) in std::env::vars_os() {
        let told = |prefix: &str| name.to_str().is_some_and(|name| name.starts_with(prefix));
        if told("CARGO_PKG_") || told("CARGO_MANIFEST_") || told("CARGO_BIN_") || told("CARGO_CRATE_") {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null());
    Ok(command)
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Whether it said that all is well.
    pub(crate) success: bool,
    /// What it printed on its standard output.
    pub(crate) stdout: String,
}

/// Runs a program to its end, shows what it prints at once, and keeps its standard output.
///
/// # Errors
/// When it cannot be started or its output cannot be read.
pub(crate) fn shown(mut command: Command) -> Result<Ended> {
    let name = command.get_program().to_owned();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} cannot be started", Path::new(&name).display()))?;
    let mut stdout = String::new();
    if let Some(pipe) = child.stdout.take() {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).context("its output cannot be read")? > 0 {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            std::io::stdout().flush().ok();
            stdout.push_str(&text);
            line.clear();
        }
    }
    let status = child.wait().context("its end cannot be awaited")?;
    Ok(Ended { success: status.success(), stdout })
}

/// Runs a program to its end without showing anything; its standard error only when it fails.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn quiet(mut command: Command) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("{name} cannot be started"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let arguments: Vec<&OsStr> = command.get_args().collect();
        anyhow::bail!(
            "{name} {arguments:?} failed ({})\n{stdout}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(stdout)
}

/// Where a program lies on the PATH.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
