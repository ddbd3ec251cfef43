#![doc = include_str!("../README.md")]

mod config;
mod connect;
mod consumer;
mod context;
mod credentials;
mod diagnose;
mod error;
mod producer;
mod record;
mod registry;
mod wire;

// The public interface.
pub use caracal_kafka_contract::{events, profile, schema};
pub use connect::{Kafka, Service, librdkafka_version};
pub use consumer::{ConsumeFrom, Consumer, ConsumerOptions, Group};
pub use error::{
    CommitError, ConnectError, EnqueueError, HandleError, NotWritten, ReceiveError, UnknownOutcome,
};
pub use producer::{CloseReport, Compression, Delivery, DeliveryHandle, Producer, ProducerOptions};
pub use record::{Position, RawRecord, Received, RecordHeader};
