//! A dead letter's headers: whatever a record carries and a handler says, they are bounded and do not grow when the record
//! dies again. And the trace context that the same headers may carry.

#![no_main]

use caracal_kafka_client::{RecordHeader, TraceContext, fuzzing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<(String, Option<Vec<u8>>)>, String, String, i64, u32)| {
    let (headers, kind, message, time, attempts) = input;
    let headers: Vec<RecordHeader> =
        headers.into_iter().map(|(name, value)| RecordHeader { name, value }).collect();
    if let Some(found) = TraceContext::of(&headers) {
        let text = found.to_string();
        let read: TraceContext = text.parse().expect("what was read can be written");
        assert_eq!(read.to_string(), text);
    }
    let kept = headers.len();
    let once = fuzzing::dead_letter(headers, &kind, &message, time, attempts);
    assert!(once.len() <= kept + 13, "{} headers of {kept}", once.len());
    let again = fuzzing::dead_letter(once.clone(), &kind, &message, time, attempts);
    assert_eq!(once, again, "it grows");
});
