//! The machine against a model of a topic, a group of two members and a dead-letter topic: any order of failures,
//! rebalances and crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const PARTITIONS: i32 = 2;
const RECORDS: i64 = 12;
const KEYS: i64 = 3;
const MEMBERS: usize = 2;

fn machine(concurrency: usize, window: usize) -> Machine<i64> {
    let policy = RetryPolicy::default().with_attempts(3).with_first_pause(Duration::from_millis(10));
    Machine::new(Limits { concurrency, window }, policy, Random::seeded(1))
}

fn key(offset: i64) -> u64 {
    (offset % KEYS).unsigned_abs()
}

/// What the outside has: topic positions, commits, settled records; and two members that share the partitions.
struct World {
    members: Vec<Machine<i64>>,
    owner: BTreeMap<i32, usize>,
    now: Duration,
    position: BTreeMap<i32, i64>,
    /// Where each partition began when it was assigned last.
    begin: BTreeMap<i32, i64>,
    committed: BTreeMap<i32, i64>,
    paused: BTreeSet<i32>,
    /// With a caller, by member and number: whether it is a dead letter, and its place.
    out: BTreeMap<(usize, usize), (bool, i32, i64)>,
    orphans: BTreeSet<(usize, usize)>,
    settled: BTreeSet<(i32, i64)>,
    /// Of those, the ones since the partition was assigned.
    settled_here: BTreeSet<(i32, i64)>,
    /// The newest record started, by partition and key, since the assignment.
    started: BTreeMap<(i32, u64), i64>,
}

impl World {
    fn new(concurrency: usize, window: usize) -> Self {
        let mut world = Self {
            members: (0..MEMBERS).map(|_| machine(concurrency, window)).collect(),
            owner: BTreeMap::new(),
            now: Duration::ZERO,
            position: BTreeMap::new(),
            begin: BTreeMap::new(),
            committed: BTreeMap::new(),
            paused: BTreeSet::new(),
            out: BTreeMap::new(),
            orphans: BTreeSet::new(),
            settled: BTreeSet::new(),
            settled_here: BTreeSet::new(),
            started: BTreeMap::new(),
        };
        (0..PARTITIONS).for_each(|partition| world.assign(partition, 0));
        world
    }

    fn assign(&mut self, partition: i32, member: usize) {
        self.members[member].assign(partition);
        self.owner.insert(partition, member);
        let begin = self.committed.get(&partition).copied().unwrap_or(0);
        self.position.insert(partition, begin);
        self.begin.insert(partition, begin);
        self.settled_here.retain(|(of, _)| *of != partition);
        self.started.retain(|(of, _), _| *of != partition);
        self.paused.remove(&partition);
    }

    /// The partition goes to a member, which may be the one that has it.
    fn rebalance(&mut self, partition: i32, to: usize) {
        let from = self.owner[&partition];
        self.members[from].hold(partition);
        let idle = self.members[from].is_idle(partition);
        let theirs = self.out.iter().filter(|((of, _), (_, part, _))| *of == from && *part == partition);
        let theirs: Vec<(usize, usize)> = theirs.map(|(id, _)| *id).collect();
        assert_eq!(idle, theirs.iter().all(|id| self.orphans.contains(id)));
        self.members[from].revoke(partition);
        self.orphans.extend(theirs);
        self.assign(partition, to);
    }

    /// A process dies: all but the topic, the commits and the effects is gone, and the other one takes over.
    fn crash(&mut self, member: usize, concurrency: usize, window: usize) {
        self.members[member] = machine(concurrency, window);
        self.out.retain(|(of, _), _| *of != member);
        self.orphans.retain(|(of, _)| *of != member);
        for partition in 0..PARTITIONS {
            if self.owner[&partition] == member {
                self.assign(partition, (member + 1) % MEMBERS);
            }
        }
    }

    fn deliver(&mut self, partition: i32) {
        let owner = self.owner[&partition];
        let position = self.position.entry(partition).or_default();
        if *position < RECORDS && !self.paused.contains(&partition) {
            assert!(self.members[owner].take(partition, *position, key(*position), *position));
            *position += 1;
        }
        self.heed_pauses(owner);
    }

    fn heed_pauses(&mut self, member: usize) {
        for (partition, pause) in self.members[member].pauses() {
            if self.owner[&partition] != member {
                continue;
            }
            if pause {
                self.paused.insert(partition)
            } else {
                self.paused.remove(&partition)
            };
        }
    }

    fn start(&mut self, member: usize) -> Result<(), TestCaseError> {
        let Some(action) = self.members[member].next(self.now) else { return Ok(()) };
        let (letter, id) = match action {
            Action::Handle(id) => (false, id),
            Action::DeadLetter(id) => (true, id),
        };
        let offset = *self.members[member].job(id).expect("it was just given out");
        let partition = self.members[member].entries[id].lane.partition;
        prop_assert_eq!(self.owner[&partition], member, "it is another member's");
        for ((of, other), (_, part, at)) in &self.out {
            let together = *of == member && *part == partition && key(*at) == key(offset);
            prop_assert!(!together, "{} of the same key is under way", other);
        }
        for before in (self.begin[&partition]..offset).filter(|before| key(*before) == key(offset)) {
            let settled = self.settled_here.contains(&(partition, before));
            prop_assert!(settled, "{} comes before {} of its key", offset, before);
        }
        let newest = self.started.entry((partition, key(offset))).or_insert(offset);
        prop_assert!(*newest <= offset, "{} after {}", offset, newest);
        *newest = offset;
        prop_assert!(self.out.insert((member, id), (letter, partition, offset)).is_none());
        Ok(())
    }

    fn finish(&mut self, which: usize, how: u8) {
        let Some(id) = self.out.keys().nth(which % self.out.len().max(1)).copied() else { return };
        let Some((letter, partition, offset)) = self.out.remove(&id) else { return };
        let verdict = match how {
            1 | 3 => Verdict::Retry,
            5 => Verdict::Postpone,
            7 => Verdict::DeadLetter,
            _ => Verdict::Done,
        };
        let good = if letter { how.is_multiple_of(2) } else { verdict == Verdict::Done };
        let orphan = self.orphans.remove(&id);
        if good {
            // The effect is outside the process, also when the partition has gone.
            self.settled.insert((partition, offset));
            if !orphan {
                self.settled_here.insert((partition, offset));
            }
        }
        let (member, id) = id;
        if letter {
            self.members[member].dead_lettered(id, good, self.now);
        } else {
            self.members[member].finished(id, verdict, self.now);
        }
        self.heed_pauses(member);
    }

    fn commit(&mut self, member: usize, told: bool) -> Result<(), TestCaseError> {
        for (partition, to) in self.members[member].commits() {
            prop_assert_eq!(self.owner[&partition], member, "it is another member's");
            for offset in 0..to {
                let settled = self.settled.contains(&(partition, offset));
                prop_assert!(settled, "{}@{} would be lost", partition, offset);
            }
            if told {
                let before = self.committed.insert(partition, to);
                prop_assert!(before.is_none_or(|before| before <= to), "the group went back");
            }
            self.members[member].committed(partition, to, told);
        }
        Ok(())
    }

    fn step(&mut self, (what, which, how): (u8, u8, u8)) -> Result<(), TestCaseError> {
        let (partition, member) = (i32::from(which) % PARTITIONS, usize::from(which) / 2 % MEMBERS);
        match what {
            0..=3 => self.deliver(partition),
            4..=7 => self.start(self.owner[&partition])?,
            8..=10 => self.finish(usize::from(which), how),
            11 => self.now += Duration::from_millis(u64::from(which)),
            12 => self.commit(member, how.is_multiple_of(3))?,
            13 => self.rebalance(partition, member),
            _ => self.crash(member, 1 + usize::from(how), 3),
        }
        Ok(())
    }

    /// Everything goes well from here on.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..2_000 {
            (0..PARTITIONS).for_each(|partition| self.deliver(partition));
            (0..MEMBERS).try_for_each(|member| self.start(member))?;
            self.finish(0, 0);
            self.finish(1, 0);
            self.now += Duration::from_millis(50);
        }
        (0..MEMBERS).try_for_each(|member| self.commit(member, true))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_lost_and_keys_stay_in_order(
        concurrency in 1usize..5,
        window in 2usize..9,
        steps in prop::collection::vec((0u8..15, any::<u8>(), 0u8..8), 0..250),
    ) {
        let mut world = World::new(concurrency, window);
        for step in steps {
            world.step(step)?;
            prop_assert!(world.members.iter().all(|member| member.running <= 8));
        }
        world.drain()?;
        for partition in 0..PARTITIONS {
            prop_assert_eq!(world.committed.get(&partition), Some(&RECORDS), "all is handled and committed");
        }
    }
}

#[test]
fn a_failed_record_waits_and_only_its_key_with_it() {
    let mut machine = machine(4, 8);
    machine.assign(0);
    for offset in 0..6 {
        assert!(machine.take(0, offset, key(offset), offset));
    }
    let now = Duration::ZERO;
    // 0, 1 and 2 have three different keys; 3, 4 and 5 stand behind them.
    let ids: Vec<_> = std::iter::from_fn(|| machine.next(now)).collect();
    assert_eq!(ids.len(), 3);
    let Action::Handle(first) = ids[0] else { panic!("{ids:?}") };
    machine.finished(first, Verdict::Retry, now);
    for id in &ids[1..] {
        let Action::Handle(id) = *id else { panic!("{ids:?}") };
        machine.finished(id, Verdict::Done, now);
    }
    let next: Vec<_> = std::iter::from_fn(|| machine.next(now)).collect();
    assert_eq!(next.len(), 2, "4 and 5, but not 3");
    assert!(machine.commits().is_empty(), "0 is open");
    let due = machine.wake_at().expect("a retry");
    assert!(machine.next(due - Duration::from_millis(1)).is_none());
    assert_eq!(machine.next(due), Some(Action::Handle(first)));
}

#[test]
fn after_the_last_attempt_the_dead_letter_comes_before_the_commit() {
    let mut machine = machine(1, 4);
    machine.assign(0);
    machine.take(0, 7, 1, 7);
    let mut now = Duration::ZERO;
    for _ in 0..3 {
        let Some(Action::Handle(id)) = machine.next(now) else { panic!("an attempt") };
        assert!(machine.finished(id, Verdict::Retry, now).is_none());
        now += Duration::from_secs(1);
    }
    for _ in 0..50 {
        let Some(Action::DeadLetter(id)) = machine.next(now) else { panic!("a dead letter") };
        assert_eq!(machine.failed(id), 3);
        assert!(machine.dead_lettered(id, false, now).is_none());
        assert!(machine.commits().is_empty(), "the dead letters are down");
        now += Duration::from_secs(60);
    }
    let Some(Action::DeadLetter(id)) = machine.next(now) else { panic!("a dead letter") };
    assert_eq!(machine.dead_lettered(id, true, now), Some(7));
    assert_eq!(machine.commits(), [(0, 8)]);
}

#[test]
fn a_full_window_pauses_and_resumes() {
    let mut machine = machine(1, 4);
    machine.assign(0);
    (0..4).for_each(|offset| assert!(machine.take(0, offset, 0, offset)));
    assert_eq!(machine.pauses(), [(0, true)]);
    for _ in 0..2 {
        let Some(Action::Handle(id)) = machine.next(Duration::ZERO) else { panic!("a record") };
        machine.finished(id, Verdict::Done, Duration::ZERO);
    }
    assert_eq!(machine.pauses(), [(0, false)]);
    assert_eq!(machine.open(), 2);
}
