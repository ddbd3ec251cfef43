//! `bootstrap.checkpoint`: three batches of records, the middle one with the metadata.
//!
//! Layout by KIP-630 (a snapshot is a log: header and footer are control records) and KIP-631 (metadata
//! records: frame version 1, then the record's number, its version and its fields in the compact encoding of
//! KIP-482). Records' schemas: `FeatureLevelRecord.json` (12), `UserScramCredentialRecord.json` (11),
//! `AccessControlEntryRecord.json` (18).

use bytes::{BufMut as _, Bytes, BytesMut};
use caracal_scram::ScramCredential;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::records::{
    Compression, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::admin::AclBinding;

const FEATURE_LEVEL: u8 = 12;
const USER_SCRAM_CREDENTIAL: u8 = 11;
const ACCESS_CONTROL_ENTRY: u8 = 18;
/// Control records of a snapshot: key version 0, then the type.
const SNAPSHOT_HEADER: i16 = 3;
const SNAPSHOT_FOOTER: i16 = 4;

/// Records that cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[error("the first metadata records cannot be encoded: {why}; this is a fault of the tool")]
#[non_exhaustive]
pub struct EncodeError {
    /// What the encoder says.
    pub why: String,
}

/// The bytes of a `bootstrap.checkpoint` with these features, users and access rules, written at `millis` (of 1970).
///
/// It holds keys of users: a private file.
///
/// # Errors
/// [`EncodeError`], never seen.
pub fn checkpoint(
    features: &[(&str, i16)],
    users: &[(&str, ScramCredential)],
    rules: &[AclBinding],
    millis: i64,
) -> Result<Bytes, EncodeError> {
    let mut values: Vec<Bytes> = features.iter().map(|(name, level)| feature(name, *level)).collect();
    values.extend(users.iter().map(|(name, credential)| user(name, credential)));
    values.extend(rules.iter().map(rule));
    let last = i64::try_from(values.len()).unwrap_or(i64::MAX);
    let header = [control(SNAPSHOT_HEADER, header_value(), 0, millis)];
    let data: Vec<Record> =
        (1..).zip(values).map(|(offset, value)| record(offset, millis, None, value, false)).collect();
    let footer = [control(SNAPSHOT_FOOTER, Bytes::from_static(&[0, 0, 0]), last + 1, millis)];
    let mut bytes = BytesMut::new();
    for batch in [&header[..], &data, &footer] {
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut bytes, batch, &options)
            .map_err(|error| EncodeError { why: error.to_string() })?;
    }
    Ok(bytes.freeze())
}

/// Version 0, last contained time stamp 0, no tagged fields: nothing came before a bootstrap snapshot.
fn header_value() -> Bytes {
    Bytes::from_static(&[0; 11])
}

fn control(kind: i16, value: Bytes, offset: i64, millis: i64) -> Record {
    let mut key = BytesMut::new();
    key.put_i16(0);
    key.put_i16(kind);
    record(offset, millis, Some(key.freeze()), value, true)
}

fn record(offset: i64, millis: i64, key: Option<Bytes>, value: Bytes, control: bool) -> Record {
    // Records of one batch count their sequence on; the first one says that there is none.
    let sequence = if control { NO_SEQUENCE } else { i32::try_from(offset - 2).unwrap_or(i32::MAX) };
    Record {
        transactional: false,
        control,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence,
        timestamp: millis,
        key,
        value: Some(value),
        headers: IndexMap::new(),
    }
}

/// Frame version 1, the record's number, its version 0.
fn begin(number: u8) -> BytesMut {
    BytesMut::from(&[1, number, 0][..])
}

fn feature(name: &str, level: i16) -> Bytes {
    let mut value = begin(FEATURE_LEVEL);
    put_compact(&mut value, name.as_bytes());
    value.put_i16(level);
    value.put_u8(0);
    value.freeze()
}

fn user(name: &str, credential: &ScramCredential) -> Bytes {
    let mut value = begin(USER_SCRAM_CREDENTIAL);
    put_compact(&mut value, name.as_bytes());
    value.put_i8(credential.mechanism().kafka_type());
    put_compact(&mut value, credential.salt());
    put_compact(&mut value, credential.stored_key().expose_secret());
    put_compact(&mut value, credential.server_key().expose_secret());
    value.put_i32(i32::try_from(credential.iterations()).unwrap_or(i32::MAX));
    value.put_u8(0);
    value.freeze()
}

fn rule(binding: &AclBinding) -> Bytes {
    let mut value = begin(ACCESS_CONTROL_ENTRY);
    value.put_slice(Uuid::new_v4().as_bytes());
    value.put_i8(binding.resource_type);
    put_compact(&mut value, binding.resource_name.as_bytes());
    value.put_i8(binding.pattern_type);
    put_compact(&mut value, binding.principal.as_bytes());
    put_compact(&mut value, binding.host.as_bytes());
    value.put_i8(binding.operation);
    value.put_i8(binding.permission);
    value.put_u8(0);
    value.freeze()
}

/// The length plus one as an unsigned varint, then the bytes.
fn put_compact(into: &mut BytesMut, bytes: &[u8]) {
    let mut length = bytes.len() + 1;
    while length >= 0x80 {
        into.put_u8(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    into.put_u8(u8::try_from(length).unwrap_or_default());
    into.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use caracal_scram::{Iterations, Mechanism};

    use super::*;

    /// What `kafka-storage format` of 3.9.2 wrote for the same users, salts and passwords, but for the time
    /// stamps and what depends on them (the checksums).
    const KAFKAS_3_9_2: &str = include_str!("checkpoint-3.9.2.hex");
    /// The same of 4.3.1.
    const KAFKAS_4_3_1: &str = include_str!("checkpoint-4.3.1.hex");

    fn credential(password: &str, iterations: u32) -> ScramCredential {
        let iterations = Iterations::new(iterations).unwrap();
        let password = password.to_owned().into();
        ScramCredential::derive_with_salt(Mechanism::ScramSha512, &password, b"1234567890123456", iterations)
            .unwrap()
    }

    /// The bytes with checksum and time stamps of every batch set to zero.
    fn without_time(bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let mut at = 0;
        while at < bytes.len() {
            let length = u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
            bytes[at + 17..at + 21].fill(0);
            bytes[at + 27..at + 43].fill(0);
            at += 12 + length;
        }
        assert_eq!(at, bytes.len(), "the last batch is not whole");
        bytes
    }

    #[test]
    fn byte_for_byte_what_kafkas_own_tool_writes() {
        for (version, kafkas) in [("3.9.2", KAFKAS_3_9_2), ("4.3.1", KAFKAS_4_3_1)] {
            let kafkas = hex::decode(kafkas.split_whitespace().collect::<String>()).unwrap();
            let users =
                [("alice", credential("alice-secret", 4096)), ("bob", credential("bobs-secret", 16384))];
            let ours =
                checkpoint(super::super::features(version).unwrap(), &users, &[], 1_795_604_844_513).unwrap();
            assert_eq!(hex::encode(without_time(&ours)), hex::encode(without_time(&kafkas)), "{version}");
        }
    }

    #[test]
    fn long_fields_have_long_lengths() {
        let mut bytes = BytesMut::new();
        put_compact(&mut bytes, &[7; 300]);
        assert_eq!(&bytes[..3], &[0xad, 0x02, 7]);
        assert_eq!(bytes.len(), 302);
    }
}
