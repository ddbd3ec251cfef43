//! The process table of this machine, as far as nodes are concerned.

use std::{
    ffi::OsString,
    time::{Duration, SystemTime},
};

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

use super::Identity;

/// First mark: the cluster.
pub(super) const CLUSTER_MARK: &str = "-Dcaracal.cluster.id=";
/// Second mark: the node.
pub(super) const NODE_MARK: &str = "-Dcaracal.node=";

/// A living process with marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pid: u32,
    pub(super) parent: Option<u32>,
    pub(super) start: u64,
    pub(super) started: SystemTime,
    pub(super) rss_bytes: u64,
    pub(super) paused: bool,
    pub(super) cluster_id: String,
    pub(super) node: String,
}

impl Seen {
    pub(super) fn identity(&self) -> Identity {
        Identity {
            pid: self.pid,
            start: self.start,
            cluster_id: self.cluster_id.clone(),
            node: self.node.clone(),
        }
    }
}

/// Every living process of this user that bears marks.
pub(super) fn marked() -> Vec<Seen> {
    refreshed(ProcessesToUpdate::All).processes().values().filter_map(seen).collect()
}

/// The process with this pid, if it lives, is this user's, and bears marks.
pub(super) fn look(pid: u32) -> Option<Seen> {
    let pid = Pid::from_u32(pid);
    refreshed(ProcessesToUpdate::Some(&[pid])).process(pid).and_then(seen)
}

/// Whether the process with this pid and start time still runs. A zombie does not.
pub(super) fn runs(pid: u32, start: u64) -> bool {
    #[cfg(target_os = "linux")]
    return stat(pid).is_some_and(|(state, began)| began == start && !matches!(state, 'Z' | 'X'));
    #[cfg(not(target_os = "linux"))]
    return {
        let system = refreshed(ProcessesToUpdate::Some(&[Pid::from_u32(pid)]));
        let process = system.process(Pid::from_u32(pid));
        process.is_some_and(|process| process.start_time() == start && lives(process))
    };
}

/// When the process with this pid started, be it a zombie by now.
pub(super) fn start_of(pid: u32) -> Option<u64> {
    #[cfg(target_os = "linux")]
    return stat(pid).map(|(_, start)| start);
    #[cfg(not(target_os = "linux"))]
    return refreshed(ProcessesToUpdate::Some(&[Pid::from_u32(pid)]))
        .process(Pid::from_u32(pid))
        .map(Process::start_time);
}

/// The names of cluster and node in a process's arguments: both marks, one right after the other, each an
/// argument of its own. So neither an editor nor a `sh -c` that mentions them is taken for a node.
pub(super) fn marks_in(args: &[OsString]) -> Option<(&str, &str)> {
    args.windows(2).find_map(|pair| {
        let cluster_id = pair[0].to_str()?.strip_prefix(CLUSTER_MARK)?;
        let node = pair[1].to_str()?.strip_prefix(NODE_MARK)?;
        (!cluster_id.is_empty() && !node.is_empty()).then_some((cluster_id, node))
    })
}

fn refreshed(which: ProcessesToUpdate<'_>) -> System {
    let kind = ProcessRefreshKind::nothing()
        .with_cmd(UpdateKind::Always)
        .with_user(UpdateKind::Always)
        .with_memory();
    let mut system = System::new();
    system.refresh_processes_specifics(which, true, kind.without_tasks());
    system
}

fn seen(process: &Process) -> Option<Seen> {
    let ours = process.effective_user_id().is_some_and(|user| **user == rustix::process::geteuid().as_raw());
    // Threads are in Linux's table too, with the arguments of their process.
    if !ours || process.thread_kind().is_some() || !lives(process) {
        return None;
    }
    let (cluster_id, node) = marks_in(process.cmd())?;
    let pid = process.pid().as_u32();
    Some(Seen {
        pid,
        parent: process.parent().map(Pid::as_u32),
        start: start_of(pid)?,
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(process.start_time()),
        rss_bytes: process.memory(),
        paused: process.status() == ProcessStatus::Stop,
        cluster_id: cluster_id.to_owned(),
        node: node.to_owned(),
    })
}

fn lives(process: &Process) -> bool {
    !matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead)
}

/// State and start time (in ticks since boot) out of `/proc/<pid>/stat`, see proc(5).
///
/// Not sysinfo's start time: that is in seconds, and counted from a boot time that moves when the clock is set.
#[cfg(target_os = "linux")]
fn stat(pid: u32) -> Option<(char, u64)> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

#[cfg(target_os = "linux")]
fn parse_stat(text: &str) -> Option<(char, u64)> {
    // The second field is the name, in parentheses, and may hold spaces and parentheses itself.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn stat_is_read_also_with_a_strange_name() {
        let numbers: Vec<_> = (4..=30).map(|n| n.to_string()).collect();
        let text = format!("1 (a) Z (b)) S {}\n", numbers.join(" "));
        assert_eq!(parse_stat(&text), Some(('S', 22)));
        assert_eq!(parse_stat("1 (a"), None);
        assert_eq!(parse_stat("1 (a) S 4 5"), None);
    }

    proptest! {
        #[test]
        fn marks_are_found_wherever_they_stand_and_only_whole(
            before in vec("[a-z-]{0,8}", 0..4), after in vec(".{0,8}", 0..4),
            cluster in "[a-z0-9-]{1,12}", node in "[a-z0-9-]{1,12}",
        ) {
            let all = |middle: Vec<OsString>| -> Vec<OsString> {
                let before = before.iter().map(OsString::from);
                before.chain(middle).chain(after.iter().map(OsString::from)).collect()
            };
            let [first, second] = super::super::marks(&cluster, &node);
            let found = all(vec![first.clone(), second.clone()]);
            prop_assert_eq!(marks_in(&found), Some((cluster.as_str(), node.as_str())));
            // One argument that mentions both, the wrong order, something between them, one alone.
            let mut joined = first.clone();
            joined.push(" ");
            joined.push(&second);
            let between = vec![first.clone(), "x".into(), second.clone()];
            for not_found in [vec![joined], vec![second.clone(), first.clone()], between, vec![first.clone()], vec![second]] {
                let args = all(not_found);
                // What comes after may be anything, also the missing half.
                if !after.iter().any(|text| text.starts_with(NODE_MARK)) {
                    prop_assert_eq!(marks_in(&args), None);
                }
            }
        }
    }
}
