//! Length-delimited messages: a varint length, then that many bytes of a protobuf message.
//!
//! Both Hadoop protocols and the task socket frame single messages this way (Java
//! `writeDelimitedTo`). Decoding is pure; the readers below take exactly one message from a
//! stream and never a byte more, so what follows the message stays with the caller.

use std::io::{self, Read};

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest varint length prefix: five bytes hold any `u32`.
pub const MAX_PREFIX_BYTES: usize = 5;

/// How much is allocated for an announced message before its bytes have arrived.
const FIRST_ALLOCATION_BYTES: usize = 64 * 1024;

/// Why bytes are not a delimited message.
#[derive(Debug, thiserror::Error)]
pub enum DelimitedError {
    /// The length prefix exceeds what the caller allows.
    #[error("a message of {length} bytes was announced, but at most {limit} are accepted here")]
    TooLong {
        /// The announced length, bytes.
        length: u64,
        /// The limit it exceeds, bytes.
        limit: usize,
    },
    /// The length prefix is longer than any length can be, or is cut short.
    #[error("the length before a message is not a varint of at most {MAX_PREFIX_BYTES} bytes")]
    BadLength,
    /// Fewer bytes than the prefix announced.
    #[error("a message of {length} bytes was announced, but only {found} follow")]
    Truncated {
        /// The announced length, bytes.
        length: usize,
        /// The bytes present.
        found: usize,
    },
    /// The message's bytes do not decode.
    #[error("the message can't be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
}

impl From<DelimitedError> for io::Error {
    fn from(error: DelimitedError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Reads the length prefix at the start of `bytes` without consuming it: the length and how many
/// bytes the prefix takes, or `None` when more bytes are needed.
///
/// # Errors
/// [`DelimitedError::BadLength`] or [`DelimitedError::TooLong`].
pub fn peek_length(bytes: &[u8], limit: usize) -> Result<Option<(usize, usize)>, DelimitedError> {
    let mut length = 0u64;
    for (index, byte) in bytes.iter().take(MAX_PREFIX_BYTES).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return match usize::try_from(length) {
                Ok(fits) if fits <= limit => Ok(Some((fits, index + 1))),
                _ => Err(DelimitedError::TooLong { length, limit }),
            };
        }
    }
    if bytes.len() >= MAX_PREFIX_BYTES { Err(DelimitedError::BadLength) } else { Ok(None) }
}

/// Takes one message's bytes from the front of `buffer`, or `None` when more bytes are needed.
///
/// # Errors
/// [`DelimitedError`] when the prefix is bad or over `limit` bytes.
pub fn decode_bytes(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, DelimitedError> {
    let Some((length, prefix)) = peek_length(buffer, limit)? else { return Ok(None) };
    if buffer.len() - prefix < length {
        return Ok(None);
    }
    buffer.advance(prefix);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Takes one message from the front of `buffer`, or `None` when more bytes are needed.
///
/// # Errors
/// [`DelimitedError`] when the prefix is bad, over `limit` bytes, or the message does not decode.
pub fn decode<M: Message + Default>(
    buffer: &mut BytesMut,
    limit: usize,
) -> Result<Option<M>, DelimitedError> {
    match decode_bytes(buffer, limit)? {
        Some(bytes) => Ok(Some(M::decode(bytes)?)),
        None => Ok(None),
    }
}

/// Takes one delimited message's bytes from a frame that must hold all of it.
///
/// # Errors
/// [`DelimitedError`] when the prefix is bad or announces more than the frame holds.
pub fn take_bytes(frame: &mut Bytes) -> Result<Bytes, DelimitedError> {
    let (length, prefix) = peek_length(frame, usize::MAX)?.ok_or(DelimitedError::BadLength)?;
    frame.advance(prefix);
    if frame.len() < length {
        return Err(DelimitedError::Truncated { length, found: frame.len() });
    }
    Ok(frame.split_to(length))
}

/// Takes one delimited message from a frame that must hold all of it.
///
/// # Errors
/// [`DelimitedError`] when it does not.
pub fn take<M: Message + Default>(frame: &mut Bytes) -> Result<M, DelimitedError> {
    Ok(M::decode(take_bytes(frame)?)?)
}

/// The message with its length prefix.
#[must_use]
pub fn encode<M: Message>(message: &M) -> Vec<u8> {
    message.encode_length_delimited_to_vec()
}

fn exact_length(prefix: &[u8], limit: usize) -> Result<Option<usize>, DelimitedError> {
    Ok(peek_length(prefix, limit)?.map(|(length, _)| length))
}

/// Reads exactly one message from a blocking stream. The prefix is read byte by byte so that
/// nothing after the message is taken: give it a `BufReader` where that costs.
///
/// # Errors
/// What the stream fails with; `UnexpectedEof` inside a message; `InvalidData` for a bad prefix, a
/// length over `limit` bytes or a message that does not decode.
pub fn read<M: Message + Default>(stream: &mut impl Read, limit: usize) -> io::Result<M> {
    let mut prefix = [0u8; MAX_PREFIX_BYTES];
    let mut filled = 0;
    let length = loop {
        stream.read_exact(&mut prefix[filled..=filled])?;
        filled += 1;
        if let Some(length) = exact_length(&prefix[..filled], limit)? {
            break length;
        }
    };
    let mut body = Vec::with_capacity(length.min(FIRST_ALLOCATION_BYTES));
    stream.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(cut_short(length, body.len()));
    }
    M::decode(Bytes::from(body)).map_err(|error| DelimitedError::from(error).into())
}

/// Reads exactly one message from an async stream: the twin of [`read`].
///
/// # Errors
/// As [`read`].
pub async fn read_async<M: Message + Default>(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<M> {
    let mut prefix = [0u8; MAX_PREFIX_BYTES];
    let mut filled = 0;
    let length = loop {
        prefix[filled] = stream.read_u8().await?;
        filled += 1;
        if let Some(length) = exact_length(&prefix[..filled], limit)? {
            break length;
        }
    };
    let mut body = BytesMut::with_capacity(length.min(FIRST_ALLOCATION_BYTES));
    let mut rest = stream.take(length as u64);
    while body.len() < length {
        if rest.read_buf(&mut body).await? == 0 {
            return Err(cut_short(length, body.len()));
        }
    }
    M::decode(body.freeze()).map_err(|error| DelimitedError::from(error).into())
}

fn cut_short(length: usize, found: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the stream ended after {found} of a message's {length} bytes"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::proto::hadoop::hdfs::ExtendedBlockProto;
    use proptest::prelude::*;

    fn block(pool: &str, id: u64) -> ExtendedBlockProto {
        ExtendedBlockProto {
            pool_id: pool.into(),
            block_id: id,
            generation_stamp: 1001,
            num_bytes: Some(7),
        }
    }

    #[test]
    fn readers_take_exactly_one_message() {
        let mut bytes = encode(&block("BP-1", 5));
        bytes.extend_from_slice(b"rest");
        let mut stream = bytes.as_slice();
        let read_back: ExtendedBlockProto = read(&mut stream, 100).unwrap();
        assert_eq!((read_back, stream), (block("BP-1", 5), &b"rest"[..]));
        let error = read::<ExtendedBlockProto>(&mut bytes.as_slice(), 3).unwrap_err();
        assert!(error.to_string().contains("at most 3 are accepted"), "{error}");
        let error = read::<ExtendedBlockProto>(&mut &bytes[..5], 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_huge_announced_length_allocates_nothing() {
        let mut stream: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0x07, 1, 2, 3];
        let error = read::<ExtendedBlockProto>(&mut stream, usize::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let mut stream: &[u8] = &[0xff; 9];
        let error = read::<ExtendedBlockProto>(&mut stream, usize::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn decode_undoes_encode_however_the_bytes_arrive(
            pool in "\\PC{0,300}", id: u64, cut in 0usize..200,
        ) {
            let bytes = encode(&block(&pool, id));
            let cut = cut.min(bytes.len());
            let mut buffer = BytesMut::from(&bytes[..cut]);
            if cut < bytes.len() {
                prop_assert!(decode::<ExtendedBlockProto>(&mut buffer, 4096).unwrap().is_none());
                buffer.extend_from_slice(&bytes[cut..]);
            }
            let decoded = decode::<ExtendedBlockProto>(&mut buffer, 4096).unwrap();
            prop_assert_eq!(decoded, Some(block(&pool, id)));
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode::<ExtendedBlockProto>(&mut BytesMut::from(&bytes[..]), 1 << 20);
            let _ = take::<ExtendedBlockProto>(&mut Bytes::from(bytes.clone()));
            let _ = read::<ExtendedBlockProto>(&mut bytes.as_slice(), 1 << 20);
        }
    }
}
