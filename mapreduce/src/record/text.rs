//! Texts and bytes.

use super::{DecodeError, Record, Scratch};

/// Bytes that are meant to be text and are printed as they are, as Hadoop's `Text`. They need not
/// be UTF-8: a file with a stray byte is counted, not refused.
#[derive(Debug, Clone, Copy)]
pub enum Text {}

/// Zero bytes inside a part are followed by this, so that [`END`] can't occur in it.
const ESCAPE: u8 = 0xff;
/// After a zero byte: the part ends. Smaller than every escaped zero, so a prefix sorts first.
const END: u8 = 0x00;

fn encode_bytes_part(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some(at) = memchr::memchr(0, rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(ESCAPE);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, END]);
}

fn decode_bytes_part<'a>(
    bytes: &mut &'a [u8],
    scratch: &'a Scratch,
) -> Result<&'a [u8], DecodeError> {
    let whole: &'a [u8] = bytes;
    let mut unescaped: Option<Vec<u8>> = None;
    let mut from = 0;
    loop {
        let zero = memchr::memchr(0, &whole[from..]).map(|at| from + at);
        let (Some(zero), Some(&after)) = (zero, zero.and_then(|zero| whole.get(zero + 1))) else {
            return Err(DecodeError(whole.len(), "text"));
        };
        match after {
            END => {
                *bytes = &whole[zero + 2..];
                return Ok(match unescaped {
                    None => &whole[..zero],
                    Some(mut text) => {
                        text.extend_from_slice(&whole[from..zero]);
                        scratch.keep(text)
                    }
                });
            }
            ESCAPE => {
                unescaped.get_or_insert_default().extend_from_slice(&whole[from..=zero]);
                from = zero + 2;
            }
            _ => return Err(DecodeError(whole.len(), "text")),
        }
    }
}

fn skip_bytes_part(bytes: &mut &[u8]) -> Result<(), DecodeError> {
    let mut from = 0;
    while let Some(zero) = memchr::memchr(0, &bytes[from..]).map(|at| from + at) {
        match bytes.get(zero + 1) {
            Some(&END) => {
                *bytes = &bytes[zero + 2..];
                return Ok(());
            }
            Some(&ESCAPE) => from = zero + 2,
            _ => break,
        }
    }
    Err(DecodeError(bytes.len(), "text"))
}

macro_rules! bytes_record {
    ($type:ty) => {
        impl Record for $type {
            type Ref<'a> = &'a [u8];
            type Owned = Vec<u8>;

            #[inline]
            fn encode(value: &[u8], out: &mut Vec<u8>) {
                out.extend_from_slice(value);
            }

            fn encode_part(value: &[u8], out: &mut Vec<u8>) {
                encode_bytes_part(value, out);
            }

            #[inline]
            fn decode<'a>(bytes: &'a [u8], _: &'a Scratch) -> Result<&'a [u8], DecodeError> {
                Ok(bytes)
            }

            fn decode_part<'a>(
                bytes: &mut &'a [u8],
                scratch: &'a Scratch,
            ) -> Result<&'a [u8], DecodeError> {
                decode_bytes_part(bytes, scratch)
            }

            #[inline]
            fn skip_part(bytes: &mut &[u8]) -> Result<(), DecodeError> {
                skip_bytes_part(bytes)
            }

            #[inline]
            fn with_encoded<R>(
                value: &[u8],
                _: &mut Vec<u8>,
                use_bytes: impl FnOnce(&[u8]) -> R,
            ) -> R {
                use_bytes(value)
            }

            fn to_owned(value: &[u8]) -> Vec<u8> {
                value.to_vec()
            }

            fn borrow(owned: &Vec<u8>) -> &[u8] {
                owned
            }

            fn heap_bytes(owned: &Vec<u8>) -> usize {
                owned.capacity()
            }

            #[inline]
            fn print(value: &[u8], out: &mut Vec<u8>) -> bool {
                out.extend_from_slice(value);
                true
            }
        }
    };
}

bytes_record!(Text);
bytes_record!(Vec<u8>);

fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError(bytes.len(), "String"))
}

impl Record for String {
    type Ref<'a> = &'a str;
    type Owned = Self;

    #[inline]
    fn encode(value: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(value.as_bytes());
    }

    fn encode_part(value: &str, out: &mut Vec<u8>) {
        encode_bytes_part(value.as_bytes(), out);
    }

    fn decode<'a>(bytes: &'a [u8], _: &'a Scratch) -> Result<&'a str, DecodeError> {
        utf8(bytes)
    }

    fn decode_part<'a>(bytes: &mut &'a [u8], scratch: &'a Scratch) -> Result<&'a str, DecodeError> {
        utf8(decode_bytes_part(bytes, scratch)?)
    }

    #[inline]
    fn skip_part(bytes: &mut &[u8]) -> Result<(), DecodeError> {
        skip_bytes_part(bytes)
    }

    #[inline]
    fn with_encoded<R>(value: &str, _: &mut Vec<u8>, use_bytes: impl FnOnce(&[u8]) -> R) -> R {
        use_bytes(value.as_bytes())
    }

    fn to_owned(value: &str) -> Self {
        value.into()
    }

    fn borrow(owned: &Self) -> &str {
        owned
    }

    fn heap_bytes(owned: &Self) -> usize {
        owned.capacity()
    }

    fn print(value: &str, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(value.as_bytes());
        true
    }
}
