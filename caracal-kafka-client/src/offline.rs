//! Encoding and decoding without a connection.

use std::fmt;
use std::marker::PhantomData;

use crate::error::CodecError;
use crate::events::Event;
use crate::registry::{Decoder, Encoder};
use crate::schema::Schema;
use crate::wire;

/// Writes events of one type in Confluent's wire format, under a schema id that the caller knows: for
/// tests, tools and fixtures. A [`Producer`](crate::Producer) has its own, with the registry's id.
///
/// ```
/// use caracal_kafka_client::events::MeteringEvent;
/// use caracal_kafka_client::{EventDecoder, EventEncoder};
///
/// let encoder = EventEncoder::<MeteringEvent>::new(7)?;
/// let decoder = EventDecoder::<MeteringEvent>::of_own_schema(7)?;
/// let mut buffer = Vec::with_capacity(512);
/// for seed in 0..3 {
///     encoder.encode(&MeteringEvent::sample(seed), &mut buffer)?;
///     assert_eq!(buffer[..5], [0, 0, 0, 0, 7]);
///     assert_eq!(decoder.decode(&buffer)?, MeteringEvent::sample(seed));
/// }
/// # Ok::<(), caracal_kafka_client::CodecError>(())
/// ```
#[derive(Clone)]
pub struct EventEncoder<E> {
    encoder: Encoder,
    event: PhantomData<fn(E)>,
}

impl<E> fmt::Debug for EventEncoder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventEncoder").field("schema_id", &self.encoder.id).finish_non_exhaustive()
    }
}

impl<E: Event> EventEncoder<E> {
    /// By the event's own schema.
    ///
    /// # Errors
    /// [`CodecError`]: the event's schema is none.
    pub fn new(schema_id: u32) -> Result<Self, CodecError> {
        let encoder = Encoder::new::<E>(schema_id).map_err(|why| CodecError::schema::<E>(why))?;
        Ok(Self { encoder, event: PhantomData })
    }

    /// Replaces what is in `buffer`. A buffer that has room for it is enough: nothing else is allocated, as
    /// long as the type's fields stand in the schema's order.
    ///
    /// # Errors
    /// [`CodecError`]: a value that the schema has no place for. The field is named, its value is not.
    pub fn encode(&self, event: &E, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
        self.encoder.encode(event, buffer).map_err(CodecError::event::<E>)
    }
}

/// Reads events of one type from Confluent's wire format, by writer schemas that the caller knows.
/// See [`EventEncoder`].
pub struct EventDecoder<E> {
    decoder: Decoder,
    event: PhantomData<fn() -> E>,
}

impl<E> fmt::Debug for EventDecoder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventDecoder").finish_non_exhaustive()
    }
}

impl<E: Event> EventDecoder<E> {
    /// One that knows the event's own schema, under this id.
    ///
    /// # Errors
    /// [`CodecError`]: the event's schema is none.
    pub fn of_own_schema(schema_id: u32) -> Result<Self, CodecError> {
        let mut decoder = Decoder::new::<E>().map_err(CodecError::schema::<E>)?;
        let own = crate::registry::own::<E>().map_err(CodecError::schema::<E>)?;
        decoder.learn(schema_id, &own).map_err(CodecError::schema::<E>)?;
        Ok(Self { decoder, event: PhantomData })
    }

    /// Learns what records with this id were written with, and how it becomes the event's own schema.
    ///
    /// # Errors
    /// [`CodecError`]: the text is no Avro schema, or the event's schema cannot read what it writes.
    pub fn learn(&mut self, schema_id: u32, writer_schema: &str) -> Result<(), CodecError> {
        let schema =
            Schema::parse(writer_schema).map_err(|error| CodecError::schema::<E>(error.to_string()))?;
        self.decoder.learn(schema_id, &schema).map_err(CodecError::schema::<E>)
    }

    /// Reads one value. A mebibyte of it takes at most 64 MiB while it is read, whatever the bytes say.
    ///
    /// # Errors
    /// [`CodecError`]: not in Confluent's wire format, of a schema id that was not learnt, or bytes that
    /// are none of its schema.
    pub fn decode(&self, value: &[u8]) -> Result<E, CodecError> {
        let (id, datum) = wire::split(value).map_err(|error| CodecError::event::<E>(error.to_string()))?;
        self.decoder.decode(id, datum).map_err(CodecError::event::<E>)
    }
}
