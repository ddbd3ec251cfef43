//! Why a node's process is gone: told apart by what the kernel, the JVM and we ourselves have written.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::log::log_tail;
use crate::runtime::memory;

/// Why a node has ended although nobody stopped it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Death {
    /// The kernel killed it because machine or control group had no memory left; its own words, where they can be read.
    KernelMemory(Option<String>),
    /// Its heap was full; it ended by itself, as `ExitOnOutOfMemoryError` says.
    HeapFull,
    /// `cluster kill` ended it.
    Killed,
    /// A signal that we did not send, by its number.
    Signal(i32),
    /// It ended with this code.
    Code(i32),
    /// Nobody can tell: another run had started it.
    Unknown,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KernelMemory(words) => {
                f.write_str("was killed by the kernel, because the memory was exhausted")?;
                if let Some(words) = words {
                    write!(f, " ({words})")?;
                }
                f.write_str("; stop other programs, give the machine or container more memory, or lower `kafka.heap_mib`")
            }
            Self::HeapFull => f.write_str(
                "has ended by itself, because its heap was full (java.lang.OutOfMemoryError); give it a larger one: \
                 `kafka.heap_mib`, `kafka.zookeeper_heap_mib` or `registry.heap_mib`",
            ),
            Self::Killed => f.write_str("was killed by `cluster kill`"),
            Self::Signal(9) => f.write_str("was killed by SIGKILL, which this tool did not send"),
            Self::Signal(number) => write!(f, "was ended by signal {number}, which this tool did not send"),
            Self::Code(code) => write!(f, "has ended by itself with code {code}; `cluster logs` shows why"),
            Self::Unknown => f.write_str("has ended by itself; `cluster logs` shows its end"),
        }
    }
}

impl Death {
    /// Whether it was for want of memory.
    pub fn is_memory(&self) -> bool {
        matches!(self, Self::KernelMemory(_) | Self::HeapFull)
    }
}

/// Why the process with this pid is gone. `record` is the node's record, `console` what its process printed.
pub fn cause_of_death(pid: u32, code: Option<i32>, record: &Path, console: &Path) -> Death {
    if read_number(&mark(record)) == Some(pid.into()) {
        return Death::Killed;
    }
    let printed = log_tail(console, 200).unwrap_or_default();
    if printed.contains("Terminating due to java.lang.OutOfMemoryError") {
        return Death::HeapFull;
    }
    if let Some(words) = kernel_words(pid) {
        return Death::KernelMemory(Some(words));
    }
    let more_kills = || memory::kills_of_group() > read_number(&kills(record));
    match code {
        Some(code) if code == 128 + 9 && more_kills() => Death::KernelMemory(None),
        Some(code) if code > 128 => Death::Signal(code - 128),
        Some(code) => Death::Code(code),
        // The kernel leaves no time for a last word.
        None if more_kills() && !printed.contains("shut down completed") => Death::KernelMemory(None),
        None => Death::Unknown,
    }
}

/// Remembers at a start what has to be known at a death.
pub(super) fn born(record: &Path) {
    let _ = fs::remove_file(mark(record));
    let _ = match memory::kills_of_group() {
        Some(number) => write_number(&kills(record), number),
        None => fs::remove_file(kills(record)),
    };
}

/// Remembers that we killed it.
pub(super) fn killed(record: &Path, pid: u32) {
    let _ = write_number(&mark(record), pid.into());
}

fn mark(record: &Path) -> PathBuf {
    record.with_file_name("killed-by-command")
}

fn kills(record: &Path) -> PathBuf {
    record.with_file_name("kills-before")
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn write_number(path: &Path, number: u64) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{number}")
}

/// What the kernel wrote when it killed this process for want of memory; none where its log may not be read.
fn kernel_words(pid: u32) -> Option<String> {
    /// The log holds some thousand entries; more are a fault of ours.
    const MOST: usize = 50_000;
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).ok()?;
    let mut log = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg").ok()?;
    let mut entry = [0; 8192];
    let mut last = None;
    for _ in 0..MOST {
        match log.read(&mut entry) {
            Ok(0) => break,
            Ok(length) => {
                let text = String::from_utf8_lossy(&entry[..length]);
                last = words_about(&text, pid).or(last);
            }
            // The oldest entries were overwritten while we read.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Err(_) => break,
        }
    }
    last
}

/// `Memory cgroup out of memory: Killed process 123 (java) total-vm:...` of an entry of the kernel's log.
fn words_about(entry: &str, pid: u32) -> Option<String> {
    let (_, message) = entry.split_once(';')?;
    let message = message.lines().next()?;
    let about = message.contains(&format!("Killed process {pid} "))
        && message.to_lowercase().contains("out of memory");
    about.then(|| message.split(" total-vm").next().unwrap_or(message).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (record, console) = (folder.path().join("process.json"), folder.path().join("console.log"));
        (folder, record, console)
    }

    #[test]
    fn a_full_heap_and_a_blow_of_ours_are_told_from_a_strangers_signal() {
        let (_folder, record, console) = folder();
        let cause = |code| cause_of_death(4_000_000, code, &record, &console);
        born(&record);
        assert_eq!(cause(Some(137)), Death::Signal(9));
        assert_eq!(cause(Some(1)), Death::Code(1));
        assert_eq!(cause(None), Death::Unknown);
        write_text(&console, "Terminating due to java.lang.OutOfMemoryError: Java heap space\n");
        assert_eq!(cause(Some(3)), Death::HeapFull);
        killed(&record, 4_000_000);
        assert_eq!(cause(Some(137)), Death::Killed);
        killed(&record, 4_000_001);
        assert_eq!(cause(Some(3)), Death::HeapFull, "the mark is of another process");
    }

    #[test]
    fn a_kill_that_the_group_counted_since_the_start_is_the_kernels() {
        let (_folder, record, console) = folder();
        // Only where the kernel counts at all.
        let Some(now) = memory::kills_of_group() else { return };
        born(&record);
        assert_eq!(cause_of_death(4_000_000, Some(137), &record, &console), Death::Signal(9));
        if now > 0 {
            write_number(&kills(&record), now - 1).unwrap();
            assert_eq!(cause_of_death(4_000_000, Some(137), &record, &console), Death::KernelMemory(None));
        }
    }

    #[test]
    fn the_kernels_words_are_read() {
        let entry = "3,812,94512,-;Memory cgroup out of memory: Killed process 123 (java) total-vm:99kB, anon-rss:1kB\n SUBSYSTEM=x\n";
        assert_eq!(
            words_about(entry, 123).unwrap(),
            "Memory cgroup out of memory: Killed process 123 (java)"
        );
        assert_eq!(words_about(entry, 12), None);
        assert_eq!(words_about("6,1,1,-;Killed process 123 (java)", 123), None);
    }

    fn write_text(path: &Path, text: &str) {
        use std::io::Write as _;
        OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }
}
