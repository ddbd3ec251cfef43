//! The checker of `cargo xtask bench restarts`, given histories with faults of every kind.

#[path = "../benches/steady/checker.rs"]
mod checker;

use checker::{Anomaly, History, Output, anomalies};
use proptest::prelude::*;

const PARTITIONS: i64 = 3;

/// A run without a fault: every fourth event was processed twice, and only the second attempt is visible.
fn sound(events: i64) -> History {
    let mut history = History::default();
    for number in 0..events {
        let source = ((number % PARTITIONS) as i32, number / PARTITIONS);
        let attempt = if number % 4 == 0 { 2 } else { 1 };
        history.acknowledged.insert(number);
        history.attempts.insert(source, attempt);
        history.outputs.push(Output { key: format!("k{}", source.0), source, number, attempt });
    }
    history
}

proptest! {
    #[test]
    fn a_sound_run_has_none(events in 1i64..200) {
        prop_assert_eq!(anomalies(&sound(events)), []);
    }

    /// Each kind at a place of its own: exactly that is found.
    #[test]
    fn each_injected_fault_is_found_and_named(at in 4usize..60, fault in 0u8..6) {
        let mut history = sound(64);
        let victim = history.outputs[at].clone();
        let expected = match fault {
            0 => {
                history.outputs.remove(at);
                Anomaly::Lost(victim.number)
            }
            1 => {
                history.outputs.insert(at, victim.clone());
                Anomaly::Duplicated(victim.source)
            }
            // A transaction that was aborted, and whose results were read all the same.
            2 => {
                history.attempts.insert(victim.source, victim.attempt + 1);
                Anomaly::Aborted(victim.source)
            }
            3 => {
                history.acknowledged.remove(&victim.number);
                Anomaly::Invented(victim.number)
            }
            4 => {
                history.attempts.remove(&victim.source);
                Anomaly::Invented(victim.number)
            }
            // With the one of the same key that comes next.
            _ => {
                history.outputs.swap(at, at + PARTITIONS as usize);
                Anomaly::OutOfOrder(victim.number)
            }
        };
        prop_assert_eq!(anomalies(&history), [expected]);
    }

    /// Both attempts are visible: the aborted one, and the event's result twice.
    #[test]
    fn an_aborted_attempt_beside_the_committed_one_is_two_faults(at in 1usize..15) {
        let mut history = sound(64);
        let victim = history.outputs[4 * at].clone();
        history.outputs.insert(4 * at, Output { attempt: 1, ..victim.clone() });
        prop_assert_eq!(
            anomalies(&history),
            [Anomaly::Duplicated(victim.source), Anomaly::Aborted(victim.source)]
        );
    }
}

/// What nobody knows may be there, or not, or late; that is no fault of the transactions.
#[test]
fn an_event_of_which_nobody_knows_may_be_there_or_not() {
    let mut history = sound(12);
    history.acknowledged.remove(&5);
    history.unknown.insert(5);
    assert_eq!(anomalies(&history), []);
    history.outputs.remove(5);
    assert_eq!(anomalies(&history), []);
}
