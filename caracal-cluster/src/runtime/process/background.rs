//! Work that goes on after the command that began it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{has_ended, log, send_if, table};

/// Who such a process is: enough to know it again, also after its pid was given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pid: u32,
    start: u64,
}

impl Job {
    /// Asks it to end, and waits; says whether it has.
    pub(crate) async fn end(self, deadline: Duration) -> bool {
        let Self { pid, start } = self;
        // One that may not be signalled does not end either, which is what is told.
        let _ = send_if(pid, Signal::TERM, || table::runs(pid, start));
        has_ended("work in the background", pid, start, deadline).await
    }
}

/// Runs a program that nobody waits for: no input, output into a private file of its own, and a process group
/// of its own, so that the Ctrl-C of the next command does not reach it.
///
/// # Errors
/// When the file or the process cannot be made.
#[expect(clippy::disallowed_methods, reason = "the place where work in the background is started")]
pub(crate) fn in_background(program: &Path, arguments: &[OsString], log_file: &Path) -> io::Result<Job> {
    let mut output = log::open(log_file)?;
    log::begin(&mut output)?;
    let errors = output.try_clone()?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()?;
    // Not reaped yet, so the pid is in the table even if it has ended already.
    let pid = child.id();
    Ok(Job { pid, start: table::start_of(pid).unwrap_or_default() })
}
