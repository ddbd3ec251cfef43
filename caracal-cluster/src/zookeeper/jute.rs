//! Jute, ZooKeeper's encoding: big-endian numbers, and length-prefixed strings, buffers and vectors.
//!
//! | jute | bytes |
//! |---|---|
//! | `boolean` | one byte, 0 or 1 |
//! | `int`, `long` | 4 or 8 bytes, big-endian |
//! | `ustring`, `buffer` | `int` length (-1: null), then the bytes (UTF-8 for a string) |
//! | `vector<T>` | `int` count (-1: null), then the elements |
//! | record | its fields one after the other |
//!
//! The records are those of ZooKeeper's `zookeeper.jute`; [`crate::zookeeper::client`] cites each.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes that are not what a record needs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JuteError {
    /// The frame ended inside a field.
    #[error("the frame ends inside a {0}")]
    Short(&'static str),
    /// A length is negative or larger than the frame.
    #[error("a {what} claims a length of {length}")]
    Length {
        /// What kind of field.
        what: &'static str,
        /// The length as sent.
        length: i32,
    },
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Text,
}

/// Reads fields off the front of a frame.
#[derive(Clone, Debug)]
pub struct Reader {
    rest: Bytes,
}

/// Appends fields to a message.
#[derive(Debug, Default)]
pub struct Writer {
    message: BytesMut,
}

impl Reader {
    /// Reads this frame.
    pub fn new(frame: Bytes) -> Self {
        Self { rest: frame }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// A `boolean`.
    ///
    /// # Errors
    /// [`JuteError::Short`].
    pub fn boolean(&mut self) -> Result<bool, JuteError> {
        Ok(self.array::<1>("boolean")? != [0])
    }

    /// An `int`.
    ///
    /// # Errors
    /// [`JuteError::Short`].
    pub fn int(&mut self) -> Result<i32, JuteError> {
        Ok(i32::from_be_bytes(self.array("int")?))
    }

    /// A `long`.
    ///
    /// # Errors
    /// [`JuteError::Short`].
    pub fn long(&mut self) -> Result<i64, JuteError> {
        Ok(i64::from_be_bytes(self.array("long")?))
    }

    /// A `buffer`; a null one reads as none. It shares the frame's memory.
    ///
    /// # Errors
    /// [`JuteError::Short`] or [`JuteError::Length`].
    pub fn buffer(&mut self) -> Result<Option<Bytes>, JuteError> {
        let length = self.int()?;
        if length == -1 {
            return Ok(None);
        }
        let wrong = JuteError::Length { what: "buffer", length };
        let length = usize::try_from(length).map_err(|_| wrong.clone())?;
        if length > self.rest.len() { Err(wrong) } else { Ok(Some(self.rest.split_to(length))) }
    }

    /// A `ustring`; a null one reads as empty.
    ///
    /// # Errors
    /// [`JuteError`].
    pub fn string(&mut self) -> Result<String, JuteError> {
        let bytes = self.buffer()?.unwrap_or_default();
        String::from_utf8(bytes.to_vec()).map_err(|_| JuteError::Text)
    }

    /// A `vector`; a null one reads as empty. Memory grows with the elements that are there, not with the
    /// count that is claimed.
    ///
    /// # Errors
    /// [`JuteError`].
    pub fn vector<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, JuteError>,
    ) -> Result<Vec<T>, JuteError> {
        let length = self.int()?;
        if length < -1 {
            return Err(JuteError::Length { what: "vector", length });
        }
        let mut elements = Vec::new();
        for _ in 0..length.max(0) {
            if self.rest.is_empty() {
                return Err(JuteError::Length { what: "vector", length });
            }
            elements.push(element(self)?);
        }
        Ok(elements)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], JuteError> {
        let found = self.rest.first_chunk::<N>().copied().ok_or(JuteError::Short(what))?;
        self.rest = self.rest.slice(N..);
        Ok(found)
    }
}

impl Writer {
    /// A `boolean`.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.message.put_u8(u8::from(value));
        self
    }

    /// An `int`.
    pub fn int(&mut self, value: i32) -> &mut Self {
        self.message.put_i32(value);
        self
    }

    /// A `long`.
    pub fn long(&mut self, value: i64) -> &mut Self {
        self.message.put_i64(value);
        self
    }

    /// A `buffer`.
    ///
    /// # Panics
    /// Above 2 GiB, which no caller can hold: paths, ACLs and credentials are short.
    pub fn buffer(&mut self, value: &[u8]) -> &mut Self {
        let length = i32::try_from(value.len()).expect("a field below 2 GiB");
        self.int(length).message.put_slice(value);
        self
    }

    /// A `ustring`.
    pub fn string(&mut self, value: &str) -> &mut Self {
        self.buffer(value.as_bytes())
    }

    /// A `vector`'s count; its elements follow.
    pub fn count(&mut self, elements: usize) -> &mut Self {
        self.int(i32::try_from(elements).expect("a short vector"))
    }

    /// The message.
    pub fn finish(self) -> Bytes {
        self.message.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_have_the_documented_bytes() {
        let mut writer = Writer::default();
        writer.int(-2).long(1).boolean(true).string("/a").buffer(b"xy").count(0);
        let message = writer.finish();
        assert_eq!(
            hex::encode(&message),
            "fffffffe0000000000000001010000000 22f6100000002787900000000".replace(' ', "")
        );
        let mut reader = Reader::new(message);
        assert_eq!(reader.int(), Ok(-2));
        assert_eq!(reader.long(), Ok(1));
        assert_eq!(reader.boolean(), Ok(true));
        assert_eq!(reader.string(), Ok("/a".to_owned()));
        assert_eq!(reader.buffer().unwrap().as_deref(), Some(&b"xy"[..]));
        assert_eq!(reader.vector(Reader::int), Ok(vec![]));
        assert_eq!(reader.int(), Err(JuteError::Short("int")));
    }

    #[test]
    fn null_is_minus_one() {
        let mut reader = Reader::new(Bytes::from_static(&[0xff; 8]));
        assert_eq!(reader.buffer(), Ok(None));
        assert_eq!(reader.vector(Reader::int), Ok(vec![]));
    }

    #[test]
    fn lies_about_lengths_are_refused_without_memory() {
        let lie = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
        assert!(matches!(Reader::new(lie.clone()).buffer(), Err(JuteError::Length { .. })));
        assert!(Reader::new(lie).vector(Reader::boolean).is_err());
        let negative = Bytes::from_static(&[0xff, 0xff, 0xff, 0xfe]);
        assert!(matches!(Reader::new(negative.clone()).buffer(), Err(JuteError::Length { length: -2, .. })));
        assert!(Reader::new(negative).vector(Reader::int).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(Bytes::from(bytes.clone()));
            if let Ok(strings) = reader.vector(Reader::string) {
                prop_assert!(strings.len() * 4 <= bytes.len());
            }
            let mut reader = Reader::new(Bytes::from(bytes.clone()));
            if let Ok(Some(buffer)) = reader.buffer() {
                prop_assert!(buffer.len() + 4 <= bytes.len());
            }
        }

        #[test]
        fn what_is_written_is_read(text in ".{0,40}", number: i64, data: Vec<u8>) {
            let mut writer = Writer::default();
            writer.string(&text).long(number).buffer(&data);
            let mut reader = Reader::new(writer.finish());
            prop_assert_eq!(reader.string().unwrap(), text);
            prop_assert_eq!(reader.long().unwrap(), number);
            prop_assert_eq!(reader.buffer().unwrap().unwrap(), data);
            prop_assert_eq!(reader.remaining(), 0);
        }
    }
}
