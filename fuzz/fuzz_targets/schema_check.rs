//! Schemas as a registry hands them out: parsed, compared in each mode, never a panic; a schema follows itself.

#![no_main]

use caracal_kafka_client::schema::{Mode, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (String, String)| {
    let (old, new) = texts;
    let _ = check(&[old.as_str()], &new, Mode::FullTransitive);
    if let Ok(report) = check(&[new.as_str()], &new, Mode::Full) {
        assert!(report.is_compatible(), "{report}");
    }
});
