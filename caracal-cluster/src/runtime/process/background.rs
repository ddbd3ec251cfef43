//! Work that goes on after the command that began it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::log;

/// Runs a program that nobody waits for: no input, output into a private file of its own, and a process group
/// of its own, so that the Ctrl-C of the next command does not reach it.
///
/// # Errors
/// When the file or the process cannot be made.
#[expect(clippy::disallowed_methods, reason = "the place where work in the background is started")]
pub(crate) fn in_background(program: &Path, arguments: &[OsString], log_file: &Path) -> io::Result<()> {
    let mut output = log::open(log_file)?;
    log::begin(&mut output)?;
    let errors = output.try_clone()?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map(drop)
}
