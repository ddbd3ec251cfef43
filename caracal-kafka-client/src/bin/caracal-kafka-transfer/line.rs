//! A record as a line of JSON: what `consume` prints and `produce` reads, so that one feeds the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::Message;
use rdkafka::message::Headers as _;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::avro::Decoder;
use crate::failure::Failure;

/// How bytes stand in JSON.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// JSON by the schema that the registry has.
    Avro,
    Base64,
    /// UTF-8; JSON that is no text is written as it is spelled.
    Text,
}

/// A header.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderLine {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<Encoding>,
}

/// A record.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) topic: Option<String>,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    /// Milliseconds since 1970.
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Json,
    pub(crate) key_encoding: Option<Encoding>,
    pub(crate) value: Json,
    pub(crate) value_encoding: Option<Encoding>,
    pub(crate) schema_id: Option<u32>,
    pub(crate) headers: Vec<HeaderLine>,
}

impl Line {
    /// A record that was read.
    pub(crate) fn of<M: Message>(
        message: &M,
        decoder: &mut Decoder,
        forced: Option<Encoding>,
    ) -> Result<Self, Failure> {
        let (key, key_encoding, _) = spelled(message.key(), decoder, forced)?;
        let (value, value_encoding, schema_id) = spelled(message.payload(), decoder, forced)?;
        let headers = message.headers().map(|headers| {
            let header = |header: rdkafka::message::Header<'_, &[u8]>| {
                let (value, encoding) =
                    header.value.map_or((None, None), |bytes| match std::str::from_utf8(bytes) {
                        Ok(text) => (Some(text.to_owned()), None),
                        Err(_) => (Some(STANDARD.encode(bytes)), Some(Encoding::Base64)),
                    });
                HeaderLine { name: header.key.to_owned(), value, encoding }
            };
            headers.iter().map(header).collect()
        });
        Ok(Self {
            topic: Some(message.topic().to_owned()),
            partition: Some(message.partition()),
            offset: Some(message.offset()),
            timestamp: message.timestamp().to_millis(),
            key,
            key_encoding,
            value,
            value_encoding,
            schema_id,
            headers: headers.unwrap_or_default(),
        })
    }

    /// A record that is to be written, out of a line that somebody gave.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| {
            format!("{error}; a line is an object with key, value, headers, partition, timestamp, or use --format text")
        })
    }
}

/// Bytes as JSON: Avro where a schema is known, text where they are text, else base64.
fn spelled(
    bytes: Option<&[u8]>,
    decoder: &mut Decoder,
    forced: Option<Encoding>,
) -> Result<(Json, Option<Encoding>, Option<u32>), Failure> {
    let Some(bytes) = bytes else { return Ok((Json::Null, None, None)) };
    if forced.is_none()
        && let Some((id, json)) = decoder.decode(bytes)?
    {
        return Ok((json, Some(Encoding::Avro), Some(id)));
    }
    Ok(match std::str::from_utf8(bytes) {
        Ok(text) if forced != Some(Encoding::Base64) => {
            (Json::String(text.to_owned()), Some(Encoding::Text), None)
        }
        _ if forced == Some(Encoding::Text) => {
            (Json::String(String::from_utf8_lossy(bytes).into_owned()), Some(Encoding::Text), None)
        }
        _ => (Json::String(STANDARD.encode(bytes)), Some(Encoding::Base64), None),
    })
}

/// JSON as bytes that are no Avro; none for null.
pub(crate) fn plain(json: &Json, encoding: Option<Encoding>) -> Result<Option<Vec<u8>>, String> {
    match (json, encoding) {
        (Json::Null, _) => Ok(None),
        (Json::String(text), Some(Encoding::Base64)) => {
            STANDARD.decode(text).map(Some).map_err(|_| "it is not base64".to_owned())
        }
        (_, Some(Encoding::Base64)) => Err("base64 must stand in a text".to_owned()),
        (Json::String(text), _) => Ok(Some(text.as_bytes().to_vec())),
        (other, _) => Ok(Some(other.to_string().into_bytes())),
    }
}

/// A header's value as bytes.
pub(crate) fn header_value(header: &HeaderLine) -> Result<Option<Vec<u8>>, String> {
    let text = header.value.as_ref().map(|value| Json::String(value.clone()));
    plain(&text.unwrap_or(Json::Null), header.encoding)
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        let headers = OwnedHeaders::new()
            .insert(Header { key: "text", value: Some(&b"x"[..]) })
            .insert(Header { key: "odd", value: Some(&[0xff_u8][..]) })
            .insert(Header { key: "none", value: None::<&[u8]> });
        let time = Timestamp::CreateTime(5);
        let odd = Some(vec![0xff, 0]);
        let message = OwnedMessage::new(odd, Some(b"k".to_vec()), "t".to_owned(), time, 3, 9, Some(headers));
        let line = Line::of(&message, &mut Decoder::new(None), None).unwrap();
        let again = Line::parse(&serde_json::to_string(&line).unwrap()).unwrap();
        assert_eq!(again, line);
        assert_eq!(plain(&line.key, line.key_encoding).unwrap(), Some(b"k".to_vec()));
        assert_eq!(plain(&line.value, line.value_encoding).unwrap(), Some(vec![0xff, 0]));
        let values: Vec<_> = line.headers.iter().map(|header| header_value(header).unwrap()).collect();
        assert_eq!(values, [Some(b"x".to_vec()), Some(vec![0xff]), None]);
        let text = Line::of(&message, &mut Decoder::new(None), Some(Encoding::Text)).unwrap();
        assert_eq!(text.value_encoding, Some(Encoding::Text));
    }

    #[test]
    fn a_line_is_strict() {
        assert!(Line::parse(r#"{"valeu":1}"#).unwrap_err().contains("valeu"));
        assert!(Line::parse("plain").unwrap_err().contains("--format text"));
        assert_eq!(plain(&serde_json::json!({"a": 1}), None).unwrap(), Some(br#"{"a":1}"#.to_vec()));
        assert!(plain(&serde_json::json!("?"), Some(Encoding::Base64)).is_err());
    }
}
