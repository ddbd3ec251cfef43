#![doc = include_str!("../README.md")]

mod avro;
mod clock;
mod codec;
mod config;
mod connect;
mod connection;
mod consumer;
mod context;
mod credentials;
mod dead_letter;
mod diagnose;
mod error;
mod fetch;
mod flow;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handler;
#[cfg(feature = "in-memory")]
mod in_memory;
mod keep;
mod look;
mod offline;
mod producer;
mod record;
mod registry;
mod replay;
mod run;
mod seek;
mod send;
mod share;
mod shutdown;
mod statistics;
mod trace;
mod transaction;
mod watchdog;
mod wire;

// The public interface.
pub use caracal_kafka_contract::{events, profile, schema};
pub use connect::{Kafka, Service, librdkafka_version};
pub use connection::{Connection, ConnectionBuilder, Source};
pub use consumer::{ConsumeFrom, Consumer, ConsumerOptions, Group};
pub use dead_letter::{DeadLetter, Failure};
pub use error::{
    CodecError, CommitError, ConnectError, EnqueueError, HandleError, NotWritten, ReceiveError, ReplayError,
    RunError, TransactionError, UnknownOutcome,
};
pub use flow::RetryPolicy;
pub use handler::{Handled, Handler, RunReport};
#[cfg(feature = "in-memory")]
pub use in_memory::{Fault, InMemory};
pub use offline::{EventDecoder, EventEncoder};
pub use producer::{
    BatchReport, CloseReport, Compression, Delivery, DeliveryHandle, Producer, ProducerOptions, RecordOptions,
};
pub use record::{Position, RawRecord, Received, RecordHeader};
pub use registry::{SchemaRegistry, SubjectStrategy, WriterSchema};
pub use replay::{ReplayReport, ReplayVerdict};
pub use seek::Seek;
pub use share::{ShareChange, ShareHook};
pub use shutdown::{Shutdown, ShutdownTrigger};
pub use statistics::{BrokerStatistics, ClientStatistics, PartitionStatistics};
pub use trace::{NoTraceContext, TraceContext};
pub use transaction::{Processed, TransactionOptions, TransactionReport, Transactions};
