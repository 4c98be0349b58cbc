//! How keys and values are written in Hadoop's own files: its `Writable` types.

use anyhow::{Result, bail};

use crate::record::{Record, Text};

/// A record type that can be stored as one of Hadoop's `Writable` classes, in a
/// [`SequenceFileOutput`](crate::SequenceFileOutput) for instance.
///
/// | here | in Hadoop |
/// | --- | --- |
/// | [`Text`], `String` | `Text` |
/// | `Vec<u8>` | `BytesWritable` |
/// | `i8`, `i16`, `i32`, `i64` | `ByteWritable`, `ShortWritable`, `IntWritable`, `LongWritable` |
/// | `u64` | `LongWritable`; larger numbers than it can hold are an error |
/// | `f32`, `f64`, `bool` | `FloatWritable`, `DoubleWritable`, `BooleanWritable` |
/// | `()` | `NullWritable` |
///
/// `i64` and `u64` read `IntWritable`, too. Implement it for types of your own to read and write classes
/// of your own.
pub trait Writable: Record {
    /// The class that is written.
    const CLASS: &'static str;

    /// Whether values of this class can be read.
    #[must_use]
    fn reads(class: &str) -> bool {
        class == Self::CLASS
    }

    /// Appends the value as `Writable.write` does.
    ///
    /// # Errors
    /// When the class can't hold the value.
    fn write(value: Self::Ref<'_>, out: &mut Vec<u8>) -> Result<()>;

    /// Reads a value that takes all of `bytes`.
    ///
    /// # Errors
    /// When they are not one of a class that can be read.
    fn read(bytes: &[u8]) -> Result<Self::Ref<'_>>;
}

/// Appends a number as Hadoop's `WritableUtils.writeVLong` does: small ones in one byte.
pub(crate) fn put_vlong(value: i64, out: &mut Vec<u8>) {
    if (-112..=127).contains(&value) {
        out.push(value as u8);
        return;
    }
    let (magnitude, base) = if value < 0 { (!value, -120i8) } else { (value, -112) };
    let count = 8 - magnitude.leading_zeros() as usize / 8;
    out.push((base - count as i8) as u8);
    out.extend_from_slice(&magnitude.to_be_bytes()[8 - count..]);
}

/// Reads what [`put_vlong`] wrote; also says how many bytes it took. `None` if `bytes` end before.
pub(crate) fn vlong(bytes: &[u8]) -> Option<(i64, usize)> {
    let first = *bytes.first()? as i8;
    if first >= -112 {
        return Some((i64::from(first), 1));
    }
    let (count, negative) = if first >= -120 {
        (-112 - i32::from(first), false)
    } else {
        (-120 - i32::from(first), true)
    };
    let count = count as usize;
    let mut wide = [0; 8];
    wide[8 - count..].copy_from_slice(bytes.get(1..=count)?);
    let magnitude = i64::from_be_bytes(wide);
    Some((if negative { !magnitude } else { magnitude }, 1 + count))
}

/// The bytes behind their length.
fn text(bytes: &[u8]) -> Result<&[u8]> {
    match vlong(bytes) {
        Some((length, taken)) if usize::try_from(length) == Ok(bytes.len() - taken) => {
            Ok(&bytes[taken..])
        }
        _ => bail!("{} bytes are not a Text", bytes.len()),
    }
}

fn put_text(value: &[u8], out: &mut Vec<u8>) {
    put_vlong(value.len() as i64, out);
    out.extend_from_slice(value);
}

impl Writable for Text {
    const CLASS: &'static str = "org.apache.hadoop.io.Text";

    fn write(value: &[u8], out: &mut Vec<u8>) -> Result<()> {
        put_text(value, out);
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<&[u8]> {
        text(bytes)
    }
}

impl Writable for String {
    const CLASS: &'static str = <Text as Writable>::CLASS;

    fn write(value: &str, out: &mut Vec<u8>) -> Result<()> {
        put_text(value.as_bytes(), out);
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<&str> {
        Ok(std::str::from_utf8(text(bytes)?)?)
    }
}

impl Writable for Vec<u8> {
    const CLASS: &'static str = "org.apache.hadoop.io.BytesWritable";

    fn write(value: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let Ok(length) = i32::try_from(value.len()) else {
            bail!("a BytesWritable holds less than 2 GiB, not {} bytes", value.len());
        };
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value);
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<&[u8]> {
        match bytes.split_first_chunk() {
            Some((length, rest)) if u32::from_be_bytes(*length) as usize == rest.len() => Ok(rest),
            _ => bail!("{} bytes are not a BytesWritable", bytes.len()),
        }
    }
}

macro_rules! number_writable {
    ($($type:ty, $class:literal;)+) => {
        $(impl Writable for $type {
            const CLASS: &'static str = concat!("org.apache.hadoop.io.", $class);

            fn write(value: $type, out: &mut Vec<u8>) -> Result<()> {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(())
            }

            fn read(bytes: &[u8]) -> Result<$type> {
                match bytes.try_into() {
                    Ok(bytes) => Ok(<$type>::from_be_bytes(bytes)),
                    Err(_) => bail!("{} bytes are not a {}", bytes.len(), $class),
                }
            }
        })+
    };
}

number_writable! {
    i8, "ByteWritable";
    i16, "ShortWritable";
    i32, "IntWritable";
    f32, "FloatWritable";
    f64, "DoubleWritable";
}

impl Writable for i64 {
    const CLASS: &'static str = "org.apache.hadoop.io.LongWritable";

    fn reads(class: &str) -> bool {
        class == Self::CLASS || class == <i32 as Writable>::CLASS
    }

    fn write(value: i64, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<i64> {
        if let Ok(bytes) = bytes.try_into() {
            return Ok(i32::from_be_bytes(bytes).into());
        }
        match bytes.try_into() {
            Ok(bytes) => Ok(i64::from_be_bytes(bytes)),
            Err(_) => bail!("{} bytes are not a LongWritable", bytes.len()),
        }
    }
}

impl Writable for u64 {
    const CLASS: &'static str = <i64 as Writable>::CLASS;

    fn reads(class: &str) -> bool {
        <i64 as Writable>::reads(class)
    }

    fn write(value: u64, out: &mut Vec<u8>) -> Result<()> {
        match i64::try_from(value) {
            Ok(value) => <i64 as Writable>::write(value, out),
            Err(_) => bail!("a LongWritable can't hold {value}"),
        }
    }

    fn read(bytes: &[u8]) -> Result<u64> {
        let value = <i64 as Writable>::read(bytes)?;
        match value.try_into() {
            Ok(value) => Ok(value),
            Err(_) => bail!("{value} is negative and was to be read as a number from 0 on"),
        }
    }
}

impl Writable for bool {
    const CLASS: &'static str = "org.apache.hadoop.io.BooleanWritable";

    fn write(value: bool, out: &mut Vec<u8>) -> Result<()> {
        out.push(u8::from(value));
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<bool> {
        match bytes {
            [0] => Ok(false),
            [_] => Ok(true),
            _ => bail!("{} bytes are not a BooleanWritable", bytes.len()),
        }
    }
}

impl Writable for () {
    const CLASS: &'static str = "org.apache.hadoop.io.NullWritable";

    fn write((): (), _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<()> {
        if !bytes.is_empty() {
            bail!("{} bytes are not a NullWritable", bytes.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_numbers_have_hadoops_bytes() {
        // From the rule of WritableUtils: a first byte of -113 to -120 says how many bytes follow, -121 to
        // -128 the same of a negative number's complement.
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (-112, &[0x90]),
            (128, &[0x8f, 128]),
            (255, &[0x8f, 255]),
            (256, &[0x8e, 1, 0]),
            (-113, &[0x87, 112]),
            (-129, &[0x87, 128]),
            (i64::MAX, &[0x88, 0x7f, 255, 255, 255, 255, 255, 255, 255]),
            (i64::MIN, &[0x80, 0x7f, 255, 255, 255, 255, 255, 255, 255]),
        ] {
            let mut out = Vec::new();
            put_vlong(value, &mut out);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(vlong(&out), Some((value, out.len())));
            assert_eq!(vlong(&out[..out.len() - 1]), None);
        }
    }

    proptest! {
        #[test]
        fn short_numbers_read_back(value: i64, shift in 0u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_vlong(value, &mut out);
            prop_assert_eq!(vlong(&out), Some((value, out.len())));
        }

        #[test]
        fn values_read_back(bytes in prop::collection::vec(any::<u8>(), 0..300), number: i64) {
            let mut out = Vec::new();
            <Text as Writable>::write(&bytes, &mut out).unwrap();
            prop_assert_eq!(<Text as Writable>::read(&out).unwrap(), &bytes[..]);
            prop_assert!(<Text as Writable>::read(&out[..out.len() - 1]).is_err());
            out.clear();
            <Vec<u8> as Writable>::write(&bytes, &mut out).unwrap();
            prop_assert_eq!(<Vec<u8> as Writable>::read(&out).unwrap(), &bytes[..]);
            out.clear();
            <i64 as Writable>::write(number, &mut out).unwrap();
            prop_assert_eq!(<i64 as Writable>::read(&out).unwrap(), number);
            prop_assert_eq!(<u64 as Writable>::read(&out).is_ok(), number >= 0);
        }
    }
}
