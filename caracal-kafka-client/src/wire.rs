//! Confluent's wire format of a value: a zero byte, the schema's id in four bytes, big-endian, then
//! the Avro datum. Pure; the registry's side is in `registry`.

const MAGIC: u8 = 0;

/// Bytes before the datum.
pub(crate) const HEADER: usize = 5;

pub(crate) fn header(schema_id: u32) -> [u8; HEADER] {
    let [a, b, c, d] = schema_id.to_be_bytes();
    [MAGIC, a, b, c, d]
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error(
        "its value has {0} bytes, and the schema's id alone takes 5: it was not written by a registry's serialiser"
    )]
    Short(usize),
    #[error("its value begins with {0:#04x} instead of 0x00: it was not written by a registry's serialiser")]
    Magic(u8),
}

/// Schema id and datum.
pub(crate) fn split(value: &[u8]) -> Result<(u32, &[u8]), FrameError> {
    match value {
        [MAGIC, a, b, c, d, datum @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        [first, ..] if *first != MAGIC => Err(FrameError::Magic(*first)),
        _ => Err(FrameError::Short(value.len())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_framed_is_split(id: u32, datum: Vec<u8>) {
            let mut value = header(id).to_vec();
            value.extend(&datum);
            prop_assert_eq!(split(&value), Ok((id, datum.as_slice())));
        }

        #[test]
        fn arbitrary_bytes_never_panic(value: Vec<u8>) {
            match split(&value) {
                Ok((id, datum)) => {
                    prop_assert_eq!(&value[..HEADER], header(id));
                    prop_assert_eq!(&value[HEADER..], datum);
                }
                Err(FrameError::Short(length)) => prop_assert!(length == value.len() && length < HEADER),
                Err(FrameError::Magic(first)) => prop_assert!(first != 0 && first == value[0]),
            }
        }
    }

    /// The same bytes as the crate that other Rust services use, so that both sides meet.
    #[test]
    fn agrees_with_the_converter() {
        use schema_registry_converter::schema_registry_common::get_payload;
        assert_eq!(get_payload(0x0102_0304, vec![9]), [&header(0x0102_0304)[..], &[9]].concat());
    }
}
