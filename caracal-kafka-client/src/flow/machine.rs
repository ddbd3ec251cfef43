//! Which record of a group member is handled when. Records of one key are handled one after the other
//! in the order of their offsets, also through retries; others overtake them, up to a window in which
//! a restart would see records again. Beyond it the partition is paused.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use slab::Slab;

use super::{Ledger, Moment, Random, RetryPolicy};

/// Bounds of a [`Machine`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Handlers at work at once; at least 1.
    pub(crate) concurrency: usize,
    /// Records of a partition from the first unsettled one to the newest; at least 2.
    pub(crate) window: usize,
}

/// What the caller does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Hand the record to the handler, then [`Machine::finished`].
    Handle(usize),
    /// Write the record to the dead letters, then [`Machine::dead_lettered`].
    DeadLetter(usize),
}

/// How handling ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It is handled.
    Done,
    /// It failed; another attempt may help.
    Retry,
    /// It failed, and no attempt will help.
    DeadLetter,
    /// It was not the record's fault: again later, without counting.
    Postpone,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// In its lane, in `ready`, or waiting for its time.
    Idle,
    /// With the caller.
    Out,
    /// With the caller, and its partition is gone: whatever comes back changes nothing.
    Orphan,
}

struct Entry<J> {
    lane: Lane,
    offset: i64,
    state: State,
    /// Attempts that failed.
    failed: u32,
    /// Attempts to write the dead letter, once it has come to that.
    letters: Option<u32>,
    postponed: u32,
    job: J,
}

/// A partition and a hash of the key. Two keys with one hash only wait for each other.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Lane {
    partition: i32,
    key: u64,
}

#[derive(Debug, Default)]
struct Partition {
    ledger: Ledger,
    /// Records with the caller.
    out: usize,
    paused: bool,
    /// Nothing more is started: the partition is about to leave.
    held: bool,
}

/// The state of one group member's records; `J` is what the caller keeps with each.
pub(crate) struct Machine<J> {
    limits: Limits,
    policy: RetryPolicy,
    random: Random,
    partitions: HashMap<i32, Partition>,
    entries: Slab<Entry<J>>,
    /// Lanes with a record under way, and those behind it.
    lanes: HashMap<Lane, VecDeque<usize>, BuildHasherDefault<Mix>>,
    ready: VecDeque<usize>,
    letters: VecDeque<usize>,
    /// By time; `serial` tells an entry from a later one in the same place.
    waiting: BinaryHeap<Reverse<(Moment, usize, u64)>>,
    serials: HashMap<usize, u64, BuildHasherDefault<Mix>>,
    serial: u64,
    running: usize,
    pauses: Vec<(i32, bool)>,
}

impl<J> Machine<J> {
    pub(crate) fn new(limits: Limits, policy: RetryPolicy, random: Random) -> Self {
        let limits = Limits { concurrency: limits.concurrency.max(1), window: limits.window.max(2) };
        Self {
            limits,
            policy,
            random,
            partitions: HashMap::new(),
            entries: Slab::new(),
            lanes: HashMap::default(),
            ready: VecDeque::new(),
            letters: VecDeque::new(),
            waiting: BinaryHeap::new(),
            serials: HashMap::default(),
            serial: 0,
            running: 0,
            pauses: Vec::new(),
        }
    }

    /// The partition is this member's from now on.
    pub(crate) fn assign(&mut self, partition: i32) {
        self.partitions.entry(partition).or_default();
    }

    /// Starts nothing more of the partition; it is about to leave.
    pub(crate) fn hold(&mut self, partition: i32) {
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.held = true;
        }
    }

    /// Whether the caller has no record of the partition.
    pub(crate) fn is_idle(&self, partition: i32) -> bool {
        self.partitions.get(&partition).is_none_or(|partition| partition.out == 0)
    }

    /// The partition is not this member's any more. What is not committed will be somebody else's;
    /// returns how many records are with the caller and will be seen again.
    pub(crate) fn revoke(&mut self, partition: i32) -> usize {
        if self.partitions.remove(&partition).is_none() {
            return 0;
        }
        let ours: Vec<usize> =
            self.entries.iter().filter(|(_, e)| e.lane.partition == partition).map(|(id, _)| id).collect();
        let mut orphans = 0;
        for id in ours {
            match self.entries[id].state {
                State::Out => {
                    // Its lane stays closed until it comes back: the key may return with the partition.
                    self.entries[id].state = State::Orphan;
                    self.lanes.insert(self.entries[id].lane, VecDeque::new());
                    orphans += 1;
                }
                // What stood behind it goes like everything else.
                State::Orphan => {
                    self.lanes.insert(self.entries[id].lane, VecDeque::new());
                }
                State::Idle => {
                    self.entries.remove(id);
                    self.serials.remove(&id);
                }
            }
        }
        let entries = &self.entries;
        let stays = |id: &usize| entries.get(*id).is_some_and(|entry| entry.lane.partition != partition);
        self.ready.retain(stays);
        self.letters.retain(stays);
        let live: std::collections::HashSet<Lane> =
            entries.iter().map(|(_, entry)| entry.lane).filter(|lane| lane.partition == partition).collect();
        self.lanes.retain(|lane, _| lane.partition != partition || live.contains(lane));
        orphans
    }

    /// Takes a record. `false` when it was taken before or its partition is not this member's.
    pub(crate) fn take(&mut self, partition: i32, offset: i64, key: u64, job: J) -> bool {
        let Some(place) = self.partitions.get_mut(&partition).filter(|partition| !partition.held) else {
            return false;
        };
        if !place.ledger.take(offset) {
            return false;
        }
        if !place.paused && place.ledger.len() >= self.limits.window {
            place.paused = true;
            self.pauses.push((partition, true));
        }
        let lane = Lane { partition, key };
        let entry = Entry { lane, offset, state: State::Idle, failed: 0, letters: None, postponed: 0, job };
        let id = self.entries.insert(entry);
        match self.lanes.get_mut(&lane) {
            Some(behind) => behind.push_back(id),
            None => {
                self.lanes.insert(lane, VecDeque::new());
                self.ready.push_back(id);
            }
        }
        true
    }

    /// What to do now, if anything.
    pub(crate) fn next(&mut self, now: Moment) -> Option<Action> {
        self.wake(now);
        while let Some(id) = self.letters.pop_front() {
            if self.start(id) {
                return Some(Action::DeadLetter(id));
            }
        }
        while self.running < self.limits.concurrency {
            let id = self.ready.pop_front()?;
            if self.start(id) {
                self.running += 1;
                return Some(Action::Handle(id));
            }
        }
        None
    }

    /// When there will be something to do, if nobody reports anything before.
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        self.waiting.peek().map(|Reverse((at, ..))| *at)
    }

    /// What the caller keeps with a record that it has.
    pub(crate) fn job(&mut self, id: usize) -> Option<&mut J> {
        self.entries.get_mut(id).map(|entry| &mut entry.job)
    }

    /// Attempts of a record that have failed so far.
    pub(crate) fn failed(&self, id: usize) -> u32 {
        self.entries.get(id).map_or(0, |entry| entry.failed)
    }

    /// A handler ended. Returns the record's job when the record is settled by it.
    pub(crate) fn finished(&mut self, id: usize, verdict: Verdict, now: Moment) -> Option<J> {
        self.running = self.running.saturating_sub(1);
        let entry = self.come_back(id)?;
        match verdict {
            Verdict::Done => return self.settle(id),
            Verdict::Retry => {
                entry.failed += 1;
                let failed = entry.failed;
                match self.policy.pause(failed, &mut self.random) {
                    Some(pause) => self.wait(id, now + pause),
                    None => self.give_up(id),
                }
            }
            Verdict::DeadLetter => {
                entry.failed += 1;
                self.give_up(id);
            }
            Verdict::Postpone => {
                entry.postponed += 1;
                let postponed = entry.postponed;
                let pause = self.policy.any_pause(postponed, &mut self.random);
                self.wait(id, now + pause);
            }
        }
        None
    }

    /// The dead letter was acknowledged, or was not: then it is tried again, for ever, and nothing is
    /// committed. Returns the job of a settled record.
    pub(crate) fn dead_lettered(&mut self, id: usize, acknowledged: bool, now: Moment) -> Option<J> {
        let entry = self.come_back(id)?;
        if acknowledged {
            return self.settle(id);
        }
        let tried = entry.letters.unwrap_or(0) + 1;
        entry.letters = Some(tried);
        let pause = self.policy.any_pause(tried, &mut self.random);
        self.wait(id, now + pause);
        None
    }

    /// Partitions to pause (`true`) and to resume, in this order.
    pub(crate) fn pauses(&mut self) -> Vec<(i32, bool)> {
        std::mem::take(&mut self.pauses)
    }

    /// Partitions that are paused.
    pub(crate) fn paused(&self) -> BTreeSet<i32> {
        self.partitions.iter().filter(|(_, place)| place.paused).map(|(partition, _)| *partition).collect()
    }

    /// What the group should be told: partition and next offset.
    pub(crate) fn commits(&self) -> Vec<(i32, i64)> {
        let all = self.partitions.iter();
        all.filter_map(|(partition, place)| Some((*partition, place.ledger.committable()?))).collect()
    }

    /// The group was told, or was not.
    pub(crate) fn committed(&mut self, partition: i32, to: i64, told: bool) {
        if let Some(place) = self.partitions.get_mut(&partition) {
            if told { place.ledger.committed(to) } else { place.ledger.forget_commit() }
        }
    }

    /// Partitions of this member.
    pub(crate) fn partitions(&self) -> Vec<i32> {
        self.partitions.keys().copied().collect()
    }

    /// Records with the caller, orphans included.
    pub(crate) fn out(&self) -> usize {
        self.entries.iter().filter(|(_, entry)| entry.state != State::Idle).count()
    }

    /// Records that are taken and not settled.
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.partitions.values().map(|partition| partition.ledger.len()).sum()
    }

    fn start(&mut self, id: usize) -> bool {
        let Some(entry) = self.entries.get_mut(id) else { return false };
        let Some(place) = self.partitions.get_mut(&entry.lane.partition).filter(|place| !place.held) else {
            return false;
        };
        place.out += 1;
        entry.state = State::Out;
        true
    }

    /// Takes a record back from the caller; `None` for one whose partition has gone.
    fn come_back(&mut self, id: usize) -> Option<&mut Entry<J>> {
        let entry = self.entries.get(id)?;
        if entry.state == State::Orphan {
            let lane = entry.lane;
            self.entries.remove(id);
            self.advance(lane);
            return None;
        }
        if let Some(place) = self.partitions.get_mut(&entry.lane.partition) {
            place.out = place.out.saturating_sub(1);
        }
        let entry = self.entries.get_mut(id)?;
        entry.state = State::Idle;
        Some(entry)
    }

    fn settle(&mut self, id: usize) -> Option<J> {
        let Entry { lane, offset, job, .. } = self.entries.try_remove(id)?;
        if let Some(place) = self.partitions.get_mut(&lane.partition) {
            place.ledger.settle(offset);
            if place.paused && place.ledger.len() <= self.limits.window / 2 {
                place.paused = false;
                self.pauses.push((lane.partition, false));
            }
        }
        self.advance(lane);
        Some(job)
    }

    /// The next record of a lane, or its end.
    fn advance(&mut self, lane: Lane) {
        let Some(behind) = self.lanes.get_mut(&lane) else { return };
        match behind.pop_front() {
            Some(id) => self.ready.push_back(id),
            None => {
                self.lanes.remove(&lane);
            }
        }
    }

    fn give_up(&mut self, id: usize) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.letters = Some(0);
            self.letters.push_back(id);
        }
    }

    fn wait(&mut self, id: usize, until: Moment) {
        self.serial += 1;
        self.serials.insert(id, self.serial);
        self.waiting.push(Reverse((until, id, self.serial)));
    }

    fn wake(&mut self, now: Moment) {
        while let Some(Reverse((at, id, serial))) = self.waiting.peek().copied() {
            let stale = self.serials.get(&id) != Some(&serial);
            if at > now && !stale {
                return;
            }
            self.waiting.pop();
            if stale {
                continue;
            }
            self.serials.remove(&id);
            match self.entries.get(id).map(|entry| entry.letters.is_some()) {
                Some(true) => self.letters.push_back(id),
                Some(false) => self.ready.push_back(id),
                None => {}
            }
        }
    }
}

/// The keys are hashes already, so mixing them in is enough.
#[derive(Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_i32(&mut self, value: i32) {
        self.write_u64(u64::from(value.cast_unsigned()));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
