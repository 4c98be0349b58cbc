//! Numbers, truth values and nothing.

use std::io::Write;

use super::{DecodeError, Record, Scratch};

/// First bytes up to this one are small numbers themselves; a larger one says how many bytes follow.
const LAST_SMALL: u8 = 0xf7;

/// Appends one to nine bytes, fewer for smaller numbers. A longer encoding begins with a larger
/// byte and is only used for larger numbers, so order is preserved.
#[inline]
fn encode_u64(value: u64, out: &mut Vec<u8>) {
    if value <= u64::from(LAST_SMALL) {
        out.push(value as u8);
        return;
    }
    let bytes = value.to_be_bytes();
    let skipped = (value.leading_zeros() / 8) as usize;
    out.push(LAST_SMALL + (8 - skipped) as u8);
    out.extend_from_slice(&bytes[skipped..]);
}

#[inline]
fn decode_u64(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let Some((&first, rest)) = bytes.split_first() else { return Err(DecodeError(0, "u64")) };
    if first <= LAST_SMALL {
        *bytes = rest;
        return Ok(u64::from(first));
    }
    let count = usize::from(first - LAST_SMALL);
    let Some((number, rest)) = rest.split_at_checked(count) else {
        return Err(DecodeError(bytes.len(), "u64"));
    };
    let mut wide = [0; 8];
    wide[8 - count..].copy_from_slice(number);
    *bytes = rest;
    Ok(u64::from_be_bytes(wide))
}

fn take<'a, const N: usize>(
    bytes: &mut &'a [u8],
    name: &'static str,
) -> Result<&'a [u8; N], DecodeError> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(DecodeError(bytes.len(), name))?;
    *bytes = rest;
    Ok(taken)
}

macro_rules! copied_record {
    ($type:ty, $name:literal,
     encode($value:ident, $out:ident) $encode:block, decode($bytes:ident) $decode:block,
     print($shown:ident, $text:ident) $print:block) => {
        impl Record for $type {
            type Ref<'a> = $type;
            type Owned = $type;

            #[inline]
            fn encode($value: $type, $out: &mut Vec<u8>) $encode

            #[inline]
            fn decode<'a>(
                mut bytes: &'a [u8],
                scratch: &'a Scratch,
            ) -> Result<$type, DecodeError> {
                let value = Self::decode_part(&mut bytes, scratch)?;
                if bytes.is_empty() { Ok(value) } else { Err(DecodeError(bytes.len(), $name)) }
            }

            #[inline]
            fn decode_part<'a>(
                $bytes: &mut &'a [u8],
                _: &'a Scratch,
            ) -> Result<$type, DecodeError> $decode

            #[inline]
            fn to_owned(value: $type) -> $type {
                value
            }

            #[inline]
            fn borrow(owned: &$type) -> $type {
                *owned
            }

            #[inline]
            fn print($shown: $type, $text: &mut Vec<u8>) -> bool $print
        }
    };
}

/// Appends a number in decimal.
#[inline]
fn print_u64(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn print_i64(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    print_u64(value.unsigned_abs(), out);
}

copied_record!(u64, "u64",
    encode(value, out) { encode_u64(value, out) },
    decode(bytes) { decode_u64(bytes) },
    print(value, out) { print_u64(value, out); true });

copied_record!(u32, "u32",
    encode(value, out) { encode_u64(u64::from(value), out) },
    decode(bytes) {
        let before = bytes.len();
        Self::try_from(decode_u64(bytes)?).map_err(|_| DecodeError(before, "u32"))
    },
    print(value, out) { print_u64(u64::from(value), out); true });

// The sign bit is flipped so that negative numbers come first.
copied_record!(i64, "i64",
    encode(value, out) {
        out.extend_from_slice(&((value as u64) ^ (1 << 63)).to_be_bytes());
    },
    decode(bytes) { Ok((u64::from_be_bytes(*take(bytes, "i64")?) ^ (1 << 63)) as Self) },
    print(value, out) { print_i64(value, out); true });

copied_record!(i32, "i32",
    encode(value, out) {
        out.extend_from_slice(&((value as u32) ^ (1 << 31)).to_be_bytes());
    },
    decode(bytes) { Ok((u32::from_be_bytes(*take(bytes, "i32")?) ^ (1 << 31)) as Self) },
    print(value, out) { print_i64(i64::from(value), out); true });

copied_record!(u16, "u16",
    encode(value, out) { out.extend_from_slice(&value.to_be_bytes()) },
    decode(bytes) { Ok(Self::from_be_bytes(*take(bytes, "u16")?)) },
    print(value, out) { print_u64(u64::from(value), out); true });

copied_record!(u8, "u8",
    encode(value, out) { out.push(value) },
    decode(bytes) { Ok(take::<1>(bytes, "u8")?[0]) },
    print(value, out) { print_u64(u64::from(value), out); true });

copied_record!(i16, "i16",
    encode(value, out) {
        out.extend_from_slice(&((value as u16) ^ (1 << 15)).to_be_bytes());
    },
    decode(bytes) { Ok((u16::from_be_bytes(*take(bytes, "i16")?) ^ (1 << 15)) as Self) },
    print(value, out) { print_i64(i64::from(value), out); true });

copied_record!(i8, "i8",
    encode(value, out) { out.push((value as u8) ^ (1 << 7)) },
    decode(bytes) { Ok((take::<1>(bytes, "i8")?[0] ^ (1 << 7)) as Self) },
    print(value, out) { print_i64(i64::from(value), out); true });

// IEEE total order: the bits of positive numbers already compare right, those of negative ones
// compare backwards.
copied_record!(f64, "f64",
encode(value, out) {
    let bits = value.to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | (1 << 63) };
    out.extend_from_slice(&ordered.to_be_bytes());
},
decode(bytes) {
    let ordered = u64::from_be_bytes(*take(bytes, "f64")?);
    let bits = if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered };
    Ok(Self::from_bits(bits))
},
print(value, out) {
    write!(out, "{value:?}").expect("invariant: writing to a Vec can't fail");
    true
});

copied_record!(f32, "f32",
encode(value, out) {
    let bits = value.to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | (1 << 31) };
    out.extend_from_slice(&ordered.to_be_bytes());
},
decode(bytes) {
    let ordered = u32::from_be_bytes(*take(bytes, "f32")?);
    let bits = if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered };
    Ok(Self::from_bits(bits))
},
print(value, out) {
    write!(out, "{value:?}").expect("invariant: writing to a Vec can't fail");
    true
});

copied_record!(bool, "bool",
encode(value, out) { out.push(u8::from(value)) },
decode(bytes) {
    match take::<1>(bytes, "bool")?[0] {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError(1, "bool")),
    }
},
print(value, out) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
    true
});

copied_record!((), "()",
    encode(_value, _out) {},
    decode(_bytes) { Ok(()) },
    print(_value, _out) { false });
