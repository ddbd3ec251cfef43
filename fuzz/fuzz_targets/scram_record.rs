//! Kafka's text for a credential: what is read must be written again as something that reads the same.

#![no_main]

use caracal_scram::{Mechanism, ScramCredential};
use libfuzzer_sys::fuzz_target;
use secrecy::ExposeSecret as _;

fuzz_target!(|record: &str| {
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let Ok(read) = ScramCredential::from_kafka_record(mechanism, record) else { continue };
        let written = read.to_kafka_record();
        let again =
            ScramCredential::from_kafka_record(mechanism, written.expose_secret()).expect("our own record");
        assert_eq!(again.to_kafka_record().expose_secret(), written.expose_secret());
    }
});
