//! How much memory this machine gives us: its own, and what control groups leave of it.

use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// Memory of this machine, in MiB.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MachineMemory {
    /// The most that all of our processes together may have.
    pub total_mib: u64,
    /// What can still be had, page cache that can be given back included.
    pub available_mib: u64,
    /// Whether a control group (of a container, a service) is what limits it, and not the machine.
    pub by_group: bool,
}

/// What this process and its children can have.
pub fn machine_memory() -> MachineMemory {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let machine = (system.total_memory(), system.available_memory());
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let read = |path: &Path| fs::read_to_string(path).ok();
    let group = group_memory(&groups, &read);
    let (total, available) =
        group.map_or(machine, |(limit, left)| (machine.0.min(limit), machine.1.min(left)));
    let by_group = group.is_some_and(|(limit, left)| limit < machine.0 || left < machine.1);
    MachineMemory { total_mib: total >> 20, available_mib: available >> 20, by_group }
}

/// The smallest limit of our control group and those above it, and the least that any of them leaves.
fn group_memory(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<(u64, u64)> {
    let (root, path, files) = memory_group(groups)?;
    let mut found: Option<(u64, u64)> = None;
    let mut place = root.join(path.trim_start_matches('/'));
    loop {
        if let Some((limit, left)) = files.headroom(&place, read) {
            let (least, most) = found.unwrap_or((u64::MAX, u64::MAX));
            found = Some((least.min(limit), most.min(left)));
        }
        if place == root || !place.pop() {
            return found;
        }
    }
}

/// Our group in the hierarchy that has the memory controller.
fn memory_group(groups: &str) -> Option<(PathBuf, &str, Files)> {
    let of = |line: &str| -> Option<(String, usize)> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        Some((controllers.to_owned(), line.len() - path.len()))
    };
    let mut unified = None;
    for line in groups.lines() {
        let Some((controllers, at)) = of(line) else { continue };
        if controllers.split(',').any(|controller| controller == "memory") {
            return Some((Path::new(GROUPS).join("memory"), &line[at..], Files::First));
        }
        if controllers.is_empty() {
            unified = Some((PathBuf::from(GROUPS), &line[at..], Files::Second));
        }
    }
    unified
}

/// The two interfaces of control groups.
#[derive(Clone, Copy)]
enum Files {
    First,
    Second,
}

impl Files {
    /// Limit and what is left of it, in bytes; none without a limit.
    fn headroom(self, group: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Option<(u64, u64)> {
        let (limit, usage, inactive) = match self {
            Self::First => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            Self::Second => ("memory.max", "memory.current", "inactive_file"),
        };
        let number = |name: &str| read(&group.join(name))?.trim().parse::<u64>().ok();
        // Without a limit there is a word, or a number beyond every machine.
        let limit = number(limit).filter(|limit| *limit < 1 << 50)?;
        let cache = read(&group.join("memory.stat")).and_then(|text| value_of(&text, inactive)).unwrap_or(0);
        let used = number(usage)?.saturating_sub(cache);
        Some((limit, limit.saturating_sub(used)))
    }

    fn events(self) -> &'static str {
        match self {
            Self::First => "memory.oom_control",
            Self::Second => "memory.events",
        }
    }
}

/// How many processes of our control group the kernel has killed for want of memory; none where it is not told.
pub(super) fn kills_of_group() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let (root, path, files) = memory_group(&groups)?;
    let text = fs::read_to_string(root.join(path.trim_start_matches('/')).join(files.events())).ok()?;
    value_of(&text, "oom_kill")
}

/// The number behind a word at a line's begin.
fn value_of(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn found(groups: &str, files: &[(&str, &str)]) -> Option<(u64, u64)> {
        let files: BTreeMap<String, String> =
            files.iter().map(|(path, text)| (format!("{GROUPS}/{path}"), (*text).to_owned())).collect();
        group_memory(groups, &|path| files.get(path.to_str()?).cloned())
    }

    #[test]
    fn the_narrowest_group_above_us_counts_and_cache_is_not_in_use() {
        let second = [
            ("a/memory.max", "1000\n"),
            ("a/memory.current", "900\n"),
            ("a/memory.stat", "anon 5\ninactive_file 300\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.current", "1\n"),
        ];
        assert_eq!(found("0::/a/b\n", &second), Some((1000, 400)));
        let first = [("memory/x/memory.limit_in_bytes", "500"), ("memory/x/memory.usage_in_bytes", "600")];
        assert_eq!(found("9:name=systemd:/\n4:memory:/x\n0::/", &first), Some((500, 0)));
    }

    #[test]
    fn without_a_limit_there_is_none() {
        assert_eq!(found("0::/a\n", &[("a/memory.max", "max"), ("a/memory.current", "1")]), None);
        let huge =
            [("memory/memory.limit_in_bytes", "9223372036854771712"), ("memory/memory.usage_in_bytes", "1")];
        assert_eq!(found("4:memory:/\n", &huge), None);
        assert_eq!(found("", &[]), None);
    }

    #[test]
    fn events_of_either_kind_are_read() {
        assert_eq!(value_of("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(value_of("low 0\noom 1\noom_kill 2\noom_group_kill 0\n", "oom_kill"), Some(2));
        assert_eq!(value_of("low 0\n", "oom_kill"), None);
    }

    #[test]
    fn this_machine_has_some() {
        let memory = machine_memory();
        assert!(memory.total_mib > 0 && memory.available_mib <= memory.total_mib, "{memory:?}");
    }
}
