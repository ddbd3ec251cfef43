//! A file of variables, as people write it: refused by its line or read, never a panic.

#![no_main]

use caracal_kafka_contract::profile::ConnectionProfile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = ConnectionProfile::from_env_text(text, "/base");
});
