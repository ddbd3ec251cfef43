//! From a raw record to an event: the one place where a consumer meets schemas.

use std::sync::Arc;

use crate::error::{ConnectError, ReceiveError};
use crate::events::Event;
use crate::record::{RawRecord, Received};
use crate::registry::{Decoder, Registry};
use crate::wire;

/// Reads events of one type.
pub(crate) struct Codec {
    registry: Arc<Registry>,
    pub(crate) decoder: Decoder,
}

impl Codec {
    pub(crate) fn new<E: Event>(registry: Arc<Registry>, topic: &str) -> Result<Self, ConnectError> {
        let decoder = Decoder::new::<E>().map_err(|why| registry.fault(&format!("{topic}-value"), why))?;
        Ok(Self { registry, decoder })
    }

    /// The schema's id, and the event or why there is none. An error is one that passes by itself.
    pub(crate) async fn decode<E: Event>(
        &mut self,
        record: &RawRecord,
    ) -> Result<(u32, Result<E, String>), ReceiveError> {
        let Some(value) = &record.value else {
            return Ok((0, Err("it has no value (a tombstone)".into())));
        };
        let (id, datum) = match wire::split(value) {
            Ok(found) => found,
            Err(why) => return Ok((0, Err(why.to_string()))),
        };
        if !self.decoder.knows(id) {
            let writer = match self.registry.by_id(id).await {
                Ok(writer) => writer,
                Err(fault) if !fault.passes() => return Ok((id, Err(format!("its schema {id}: {fault}")))),
                Err(fault) => {
                    return Err(ReceiveError::Registry {
                        position: record.position.clone(),
                        schema_id: id,
                        url: self.registry.url().to_owned(),
                        why: fault.to_string(),
                    });
                }
            };
            if let Err(why) = self.decoder.learn(id, &writer) {
                return Ok((id, Err(format!("its schema {id} cannot be read by ours: {why}"))));
            }
        }
        Ok((id, self.decoder.decode(id, datum)))
    }

    /// The event, where the schema is known already and fits. Anything else is [`decode`](Self::decode)'s to explain.
    pub(crate) fn decode_now<E: Event>(&self, value: Option<&[u8]>) -> Option<(u32, E)> {
        let (id, datum) = wire::split(value?).ok()?;
        Some((id, self.decoder.decode(id, datum).ok()?))
    }
}

/// The event with what stands around it, without the bytes that it was read from.
pub(crate) fn received<E>(event: E, schema_id: u32, record: &RawRecord) -> Received<E> {
    Received {
        event,
        key: record.key.clone(),
        headers: record.headers.clone(),
        position: record.position.clone(),
        timestamp: record.timestamp,
        schema_id,
    }
}
