//! Length-prefixed frames: four bytes of length, big-endian, then that many bytes.
//!
//! Kafka's protocol and ZooKeeper's both use them. The length is a claim of the peer, so it is checked
//! against a limit, and memory grows only with the bytes that really arrive.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The largest frame that is accepted from a broker or a ZooKeeper server, in bytes.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

/// How much memory is reserved at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// A frame's length makes no sense.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the peer announced a frame of {announced} bytes, allowed are 0 to {limit} (is it the right port?)")]
#[non_exhaustive]
pub struct FrameTooLarge {
    /// What was announced; negative lengths are as sent.
    pub announced: i32,
    /// The limit in bytes.
    pub limit: usize,
}

/// The length that a frame's first four bytes announce.
///
/// # Errors
/// [`FrameTooLarge`] when it is negative or above `limit`.
pub fn frame_length(prefix: [u8; 4], limit: usize) -> Result<usize, FrameTooLarge> {
    let announced = i32::from_be_bytes(prefix);
    match usize::try_from(announced) {
        Ok(length) if length <= limit => Ok(length),
        _ => Err(FrameTooLarge { announced, limit }),
    }
}

/// Reads one frame without its prefix.
///
/// # Errors
/// Those of the reader; `InvalidData` around [`FrameTooLarge`]; `UnexpectedEof` when the peer stopped.
pub async fn read_frame<R: AsyncRead + Unpin>(reader: &mut R, limit: usize) -> io::Result<Bytes> {
    let mut prefix = [0; 4];
    reader.read_exact(&mut prefix).await?;
    let length =
        frame_length(prefix, limit).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut frame = BytesMut::with_capacity(length.min(PIECE));
    while frame.len() < length {
        let missing = length - frame.len();
        frame.reserve(missing.min(PIECE));
        if (&mut *reader).take(missing as u64).read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame.freeze())
}

/// Puts the length in front of a message.
///
/// # Errors
/// `InvalidInput` for a message that does not fit a 31-bit length.
pub fn framed(message: &[u8]) -> io::Result<Bytes> {
    let length = i32::try_from(message.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a request above 2 GiB"))?;
    let mut frame = BytesMut::with_capacity(message.len() + 4);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn a_frame_goes_round() {
        let sent = framed(b"hello").unwrap();
        assert_eq!(&sent[..], b"\0\0\0\x05hello");
        assert_eq!(&read_frame(&mut &sent[..], 5).await.unwrap()[..], b"hello");
    }

    #[tokio::test]
    async fn a_lie_about_the_length_costs_no_memory() {
        let mut lying: &[u8] = b"\x7f\xff\xff\xffabc";
        let error = read_frame(&mut lying, MAX_FRAME).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let mut short: &[u8] = b"\x00\x10\x00\x00abc";
        let error = read_frame(&mut short, MAX_FRAME).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn text_of_another_protocol_is_no_frame() {
        assert!(frame_length(*b"HTTP", MAX_FRAME).is_err());
        assert!(frame_length([0xff; 4], MAX_FRAME).is_err());
        assert_eq!(frame_length([0, 0, 0, 0], MAX_FRAME), Ok(0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            if let Ok(frame) = runtime.block_on(read_frame(&mut &bytes[..], 64)) {
                prop_assert!(frame.len() <= 64);
                prop_assert_eq!(&frame[..], &bytes[4..4 + frame.len()]);
            }
        }
    }
}
