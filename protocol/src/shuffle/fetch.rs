//! What a reducer and a shuffle server say to each other.

use std::str;

/// The first four bytes of a request; the last is the protocol's version.
const REQUEST_MAGIC: [u8; 4] = *b"HSF\x01";
/// The first four bytes of an answer.
const ANSWER_MAGIC: [u8; 4] = *b"HSA\x01";
/// Bytes of a request before the attempt id.
const REQUEST_HEAD_BYTES: usize = 20;
/// Bytes of an answer before a refusal's message.
pub const ANSWER_HEAD_BYTES: usize = 28;
/// The longest attempt id that a server accepts.
pub const MAX_ATTEMPT_ID_BYTES: usize = 256;
/// The longest message of a refusal.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// Asks for the run of one partition of one map attempt.
///
/// ```text
/// "HSF" 1 | partition u32 | offset u64 | zero u16 | length of the id u16 | attempt id
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// The map attempt, as `attempt_..._m_..._n`.
    pub attempt_id: String,
    /// The reducer's partition.
    pub partition: u32,
    /// Bytes of the run that the reducer has already.
    pub offset: u64,
}

/// Why a server does not send a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// The worker has no output of this attempt (any more): its map must run again.
    NotFound,
    /// Too many fetches at once: ask again soon.
    Busy,
    /// The segment can't be read or is damaged: its map must run again.
    Damaged,
    /// The request makes no sense to the server.
    BadRequest,
}

impl RefusalReason {
    const fn code(self) -> u16 {
        match self {
            Self::NotFound => 1,
            Self::Busy => 2,
            Self::Damaged => 3,
            Self::BadRequest => 4,
        }
    }

    const fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::NotFound),
            2 => Some(Self::Busy),
            3 => Some(Self::Damaged),
            4 => Some(Self::BadRequest),
            _ => None,
        }
    }
}

/// What comes before the bytes, or instead of them.
///
/// ```text
/// "HSA" 1 | code u16 | length of the message u16 | run length u64 | records u64 | crc32 u32 | message
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchAnswer {
    /// `length - offset` bytes of the run follow.
    Found {
        /// Bytes of the whole run.
        length: u64,
        /// Records of the whole run.
        records: u64,
        /// CRC-32 of the whole run.
        crc32: u32,
    },
    /// Nothing follows; the connection stays usable.
    Refused {
        /// What the reducer can do about it.
        reason: RefusalReason,
        /// A sentence for a person.
        message: String,
    },
}

/// Bytes that are no message of the shuffle. The connection can't be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The peer speaks something else.
    #[error("the peer does not speak the shuffle protocol, version 1")]
    Foreign,
    /// A length is above its bound.
    #[error("a shuffle message has a field of {length} bytes, more than the {limit} allowed")]
    TooLong {
        /// What the message says.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// A text is not UTF-8.
    #[error("a shuffle message has a text that is not UTF-8")]
    NotUtf8,
    /// An answer with a code that this version does not know.
    #[error("a shuffle answer has the unknown code {0}")]
    UnknownCode(u16),
}

impl FetchRequest {
    /// Appends the request.
    pub fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(self.attempt_id.len() <= MAX_ATTEMPT_ID_BYTES);
        out.extend_from_slice(&REQUEST_MAGIC);
        out.extend_from_slice(&self.partition.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(self.attempt_id.len() as u16).to_le_bytes());
        out.extend_from_slice(self.attempt_id.as_bytes());
    }

    /// The request at the front of `bytes` and how many bytes it takes; `None` when more must
    /// arrive first.
    ///
    /// # Errors
    /// When this is no request; then close the connection.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, FetchError> {
        check_magic(bytes, REQUEST_MAGIC)?;
        let Some(head) = bytes.get(..REQUEST_HEAD_BYTES) else { return Ok(None) };
        let id_bytes = usize::from(u16::from_le_bytes([head[18], head[19]]));
        if id_bytes > MAX_ATTEMPT_ID_BYTES {
            return Err(FetchError::TooLong { length: id_bytes, limit: MAX_ATTEMPT_ID_BYTES });
        }
        let size = REQUEST_HEAD_BYTES + id_bytes;
        let Some(id) = bytes.get(REQUEST_HEAD_BYTES..size) else { return Ok(None) };
        let attempt_id = str::from_utf8(id).map_err(|_| FetchError::NotUtf8)?.to_owned();
        let partition = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        Ok(Some((Self { attempt_id, partition, offset: u64_at(head, 8) }, size)))
    }
}

impl FetchAnswer {
    /// Appends the answer. A refusal's message is cut to [`MAX_MESSAGE_BYTES`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (code, message, length, records, crc32) = match self {
            Self::Found { length, records, crc32 } => (0, "", *length, *records, *crc32),
            Self::Refused { reason, message } => {
                (reason.code(), truncated(message, MAX_MESSAGE_BYTES), 0, 0, 0)
            }
        };
        out.extend_from_slice(&ANSWER_MAGIC);
        out.extend_from_slice(&code.to_le_bytes());
        out.extend_from_slice(&(message.len() as u16).to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&records.to_le_bytes());
        out.extend_from_slice(&crc32.to_le_bytes());
        out.extend_from_slice(message.as_bytes());
    }

    /// The answer at the front of `bytes` and how many bytes it takes (the run not counted);
    /// `None` when more must arrive first.
    ///
    /// # Errors
    /// When this is no answer; then close the connection.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, FetchError> {
        check_magic(bytes, ANSWER_MAGIC)?;
        let Some(head) = bytes.get(..ANSWER_HEAD_BYTES) else { return Ok(None) };
        let code = u16::from_le_bytes([head[4], head[5]]);
        let message_bytes = usize::from(u16::from_le_bytes([head[6], head[7]]));
        if message_bytes > MAX_MESSAGE_BYTES {
            return Err(FetchError::TooLong { length: message_bytes, limit: MAX_MESSAGE_BYTES });
        }
        let size = ANSWER_HEAD_BYTES + message_bytes;
        let Some(message) = bytes.get(ANSWER_HEAD_BYTES..size) else { return Ok(None) };
        if code == 0 {
            let crc32 = u32::from_le_bytes([head[24], head[25], head[26], head[27]]);
            let found = Self::Found { length: u64_at(head, 8), records: u64_at(head, 16), crc32 };
            return Ok(Some((found, size)));
        }
        let reason = RefusalReason::from_code(code).ok_or(FetchError::UnknownCode(code))?;
        let message = str::from_utf8(message).map_err(|_| FetchError::NotUtf8)?.to_owned();
        Ok(Some((Self::Refused { reason, message }, size)))
    }
}

/// Foreign bytes are told apart at the first of them that differs: a peer that sends three bytes of
/// something else and waits must not hold the connection.
fn check_magic(bytes: &[u8], magic: [u8; 4]) -> Result<(), FetchError> {
    let have = bytes.len().min(magic.len());
    if bytes[..have] == magic[..have] { Ok(()) } else { Err(FetchError::Foreign) }
}

fn truncated(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_read_back_at_every_cut() {
        let request = FetchRequest {
            attempt_id: "attempt_1700000000000_0001_m_000007_0".into(),
            partition: 3,
            offset: 1 << 40,
        };
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(FetchRequest::decode(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(FetchRequest::decode(&bytes), Ok(Some((request, bytes.len()))));

        for answer in [
            FetchAnswer::Found { length: 7, records: 2, crc32: 0xdead_beef },
            FetchAnswer::Refused { reason: RefusalReason::Busy, message: "später".into() },
        ] {
            let mut bytes = Vec::new();
            answer.encode(&mut bytes);
            for cut in 0..bytes.len() {
                assert_eq!(FetchAnswer::decode(&bytes[..cut]), Ok(None), "cut at {cut}");
            }
            assert_eq!(FetchAnswer::decode(&bytes), Ok(Some((answer, bytes.len()))));
        }
    }

    #[test]
    fn garbage_is_refused_before_anything_is_allocated() {
        assert_eq!(FetchRequest::decode(b"GET / HTTP/1.1"), Err(FetchError::Foreign));
        assert_eq!(FetchRequest::decode(b"HX"), Err(FetchError::Foreign));
        let mut bytes = Vec::new();
        FetchRequest { attempt_id: String::new(), partition: 0, offset: 0 }.encode(&mut bytes);
        bytes[18..20].copy_from_slice(&u16::MAX.to_le_bytes());
        assert!(matches!(FetchRequest::decode(&bytes), Err(FetchError::TooLong { .. })));
        let mut bytes = Vec::new();
        FetchAnswer::Found { length: 1, records: 1, crc32: 1 }.encode(&mut bytes);
        bytes[4] = 99;
        assert_eq!(FetchAnswer::decode(&bytes), Err(FetchError::UnknownCode(99)));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let mut bytes = Vec::new();
        let message = "ä".repeat(MAX_MESSAGE_BYTES);
        FetchAnswer::Refused { reason: RefusalReason::Damaged, message }.encode(&mut bytes);
        let (answer, _) = FetchAnswer::decode(&bytes).unwrap().unwrap();
        let FetchAnswer::Refused { message, .. } = answer else { panic!("refused") };
        assert_eq!(message.len(), MAX_MESSAGE_BYTES);
    }
}
