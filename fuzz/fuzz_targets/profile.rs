//! The connection profile that an administrator hands to a service: what is read can be written and read again.

#![no_main]

use caracal_kafka_contract::profile::ConnectionProfile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(profile) = ConnectionProfile::from_toml(text, "/base") {
        let written = profile.to_toml().expect("a profile that was read can be written");
        ConnectionProfile::from_toml(&written, "/base").expect("a profile that was written can be read");
    }
});
