//! Frames: a 32-bit big-endian length, then that many bytes.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

/// Bytes of the length before each frame.
pub const LENGTH_BYTES: usize = 4;

/// The largest frame of either direction (HDFS `ipc.maximum.data.length` and
/// `ipc.maximum.response.length`), bytes.
pub const MAX_FRAME_BYTES: usize = 128 * 1024 * 1024;

/// A length no frame may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes was announced, but at most {limit} are accepted")]
pub struct FrameTooLong {
    /// The announced length, bytes.
    pub length: u32,
    /// The limit it exceeds, bytes.
    pub limit: usize,
}

/// Takes one frame from the front of `buffer`, or `None` when more bytes are needed.
///
/// # Errors
/// [`FrameTooLong`] when more than `max` bytes are announced.
pub fn decode(buffer: &mut BytesMut, max: usize) -> Result<Option<Bytes>, FrameTooLong> {
    let Some(prefix) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let announced = u32::from_be_bytes(*prefix);
    let length = announced as usize;
    if length > max {
        return Err(FrameTooLong { length: announced, limit: max });
    }
    if buffer.len() - LENGTH_BYTES < length {
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Begins a frame at the end of `out`: leaves room for its length. Give the result to [`end`].
#[must_use]
pub fn begin(out: &mut BytesMut) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    at
}

/// Ends the frame that [`begin`] began: writes its length.
///
/// # Panics
/// When the frame has 4 GiB or more; callers bound what they put into it.
pub fn end(out: &mut BytesMut, begun: usize) {
    let length = u32::try_from(out.len() - begun - LENGTH_BYTES).expect("a bounded frame");
    out[begun..begun + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Appends a message with its varint length.
pub fn put_delimited(out: &mut BytesMut, message: &impl Message) {
    message.encode_length_delimited(out).expect("a BytesMut grows to what a message needs");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_arrive() {
        let mut buffer = BytesMut::from(&b"GET / HTTP"[..]);
        let error = decode(&mut buffer, MAX_FRAME_BYTES).unwrap_err();
        assert!(error.to_string().starts_with("a frame of 1195725856 bytes"), "{error}");
    }

    proptest! {
        #[test]
        fn frames_read_back_however_they_arrive(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5),
            step in 1usize..100,
        ) {
            let mut stream = BytesMut::new();
            for body in &bodies {
                let begun = begin(&mut stream);
                stream.extend_from_slice(body);
                end(&mut stream, begun);
            }
            let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
            for piece in stream.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = decode(&mut buffer, 1000).unwrap() {
                    read.push(frame.to_vec());
                }
            }
            prop_assert_eq!(read, bodies);
        }
    }
}
