//! What was taken from a partition and what of it is settled.

use std::collections::VecDeque;

/// One partition's records between the committed offset and the newest one taken.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// In the order of offsets; the first one is never settled.
    open: VecDeque<(i64, bool)>,
    /// One behind the last record below which everything is settled.
    settled_to: Option<i64>,
    /// What the group was told.
    committed: Option<i64>,
}

impl Ledger {
    /// Takes a record up. `false` for one that was taken before: a partition never goes back unless it
    /// is assigned anew.
    pub(crate) fn take(&mut self, offset: i64) -> bool {
        let newest = self.open.back().map(|(newest, _)| newest + 1).max(self.settled_to);
        if newest.is_some_and(|next| offset < next) {
            return false;
        }
        self.open.push_back((offset, false));
        true
    }

    /// A record is handled, or its dead letter is acknowledged.
    pub(crate) fn settle(&mut self, offset: i64) {
        let Ok(at) = self.open.binary_search_by_key(&offset, |(offset, _)| *offset) else { return };
        self.open[at].1 = true;
        while let Some((offset, true)) = self.open.front() {
            self.settled_to = Some(offset + 1);
            self.open.pop_front();
        }
    }

    /// The offset to commit, when the group does not know it yet: everything below is settled.
    pub(crate) fn committable(&self) -> Option<i64> {
        self.settled_to.filter(|to| self.committed.is_none_or(|committed| committed < *to))
    }

    /// The group was told.
    pub(crate) fn committed(&mut self, to: i64) {
        self.committed = self.committed.max(Some(to));
    }

    /// The group may not have been told after all.
    pub(crate) fn forget_commit(&mut self) {
        self.committed = None;
    }

    /// Records that a restart would see again.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gaps_and_order_do_not_matter() {
        let mut ledger = Ledger::default();
        // Kafka leaves gaps: transaction markers, compaction.
        for offset in [3, 4, 9, 12] {
            assert!(ledger.take(offset));
        }
        assert!(!ledger.take(9), "taken before");
        ledger.settle(9);
        ledger.settle(4);
        assert_eq!(ledger.committable(), None, "3 is open");
        ledger.settle(3);
        assert_eq!(ledger.committable(), Some(10));
        ledger.committed(10);
        assert_eq!(ledger.committable(), None);
        ledger.forget_commit();
        assert_eq!(ledger.committable(), Some(10));
        assert!(!ledger.take(9), "settled before");
        assert_eq!(ledger.len(), 1);
    }

    proptest! {
        #[test]
        fn never_above_an_open_record(steps in prop::collection::vec((any::<bool>(), 1i64..4, any::<prop::sample::Index>()), 1..200)) {
            let mut ledger = Ledger::default();
            let (mut open, mut next) = (BTreeSet::new(), 0);
            for (take, gap, which) in steps {
                if take || open.is_empty() {
                    next += gap;
                    prop_assert!(ledger.take(next));
                    open.insert(next);
                } else {
                    let offset = *which.get(&open.iter().collect::<Vec<_>>()).to_owned();
                    open.remove(&offset);
                    ledger.settle(offset);
                }
                let lowest = open.first().copied().unwrap_or(next + 1);
                if let Some(to) = ledger.committable() {
                    prop_assert!(to <= lowest, "{to} would skip {lowest}");
                    prop_assert!(!open.is_empty() || to == next + 1);
                    ledger.committed(to);
                }
            }
        }
    }
}
