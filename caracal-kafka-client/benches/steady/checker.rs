//! Judges a run of transactions by what was sent, what was processed and what a reader of committed records saw.
//!
//! Pure, and tested with injected faults (`tests/exactly_once.rs`): a checker that finds nothing proves nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Partition and offset.
pub(crate) type Place = (i32, i64);

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Numbers of the events that were acknowledged.
    pub(crate) acknowledged: BTreeSet<i64>,
    /// Numbers of the events of which nobody knows.
    pub(crate) unknown: BTreeSet<i64>,
    /// How often the event at a place was processed.
    pub(crate) attempts: HashMap<Place, u32>,
    /// The results, as they were read, each partition in its order.
    pub(crate) outputs: Vec<Output>,
}

/// A result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Output {
    pub(crate) key: String,
    /// Where the event stood that it was made from.
    pub(crate) source: Place,
    /// That event's number.
    pub(crate) number: i64,
    /// Which attempt made it, from 1.
    pub(crate) attempt: u32,
}

/// What must not be.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Anomaly {
    /// An event that was acknowledged has no result.
    Lost(i64),
    /// An event has more than one.
    Duplicated(Place),
    /// The result is of an attempt that was followed by another one, so its transaction was not committed.
    Aborted(Place),
    /// A result of an event that was never sent or processed.
    Invented(i64),
    /// Of one key, a later event's result came before.
    OutOfOrder(i64),
}

/// Everything that is wrong, in order.
pub(crate) fn anomalies(history: &History) -> Vec<Anomaly> {
    let mut found = BTreeSet::new();
    let mut sources: BTreeMap<Place, u32> = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    let mut newest: HashMap<&str, i64> = HashMap::new();
    for output in &history.outputs {
        let (number, source) = (output.number, output.source);
        numbers.insert(number);
        let times = sources.entry(source).or_default();
        *times += 1;
        if *times > 1 {
            found.insert(Anomaly::Duplicated(source));
        }
        match history.attempts.get(&source) {
            Some(last) if *last == output.attempt => {}
            Some(_) => drop(found.insert(Anomaly::Aborted(source))),
            None => drop(found.insert(Anomaly::Invented(number))),
        }
        if !history.acknowledged.contains(&number) && !history.unknown.contains(&number) {
            found.insert(Anomaly::Invented(number));
        }
        // An event whose answer was lost may stand twice, the second time behind later ones; it is no result's fault.
        let newest = newest.entry(&output.key).or_insert(number);
        if number < *newest && !history.unknown.contains(&number) {
            found.insert(Anomaly::OutOfOrder(number));
        }
        *newest = number.max(*newest);
    }
    found.extend(history.acknowledged.difference(&numbers).copied().map(Anomaly::Lost));
    found.into_iter().collect()
}
