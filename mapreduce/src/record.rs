//! Keys and values: borrowed in user code, bytes everywhere else.
//!
//! An encoding preserves order: comparing two encoded keys byte by byte gives the order of the
//! values. So the sort, the spills, the shuffle and the merges never decode a key.

mod fixed;
mod number;
mod one_of;
mod option;
mod reverse;
mod scratch;
#[cfg(test)]
mod tests;
mod text;
mod tuple;

pub use fixed::FixedBytes;
pub use one_of::OneOf;
pub use reverse::Reverse;
pub use scratch::Scratch;
pub use text::Text;

/// Bytes that are not the encoding of a value of this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes of map output are not a value of the expected type {1}")]
pub struct DecodeError(pub usize, pub &'static str);

/// A type of key or value. The type itself is only a name: user code sees [`Record::Ref`], which
/// borrows from the engine's buffers where that saves a copy.
///
/// Implemented for [`Text`] (bytes), `String`, `Vec<u8>`, `[u8; N]`, `bool`, the integers up to 64
/// bits, `f32`, `f64`, `()`, and for tuples of up to four, [`Option`] (none comes first) and
/// [`Reverse`] (the other way round) of these.
///
/// ```
/// use hfs_mapreduce::{Record, Reverse, Text};
///
/// fn encoded<R: Record>(value: R::Ref<'_>) -> Vec<u8> {
///     let mut bytes = Vec::new();
///     R::encode(value, &mut bytes);
///     bytes
/// }
///
/// // By user, and each user's largest amount first: comparing bytes is comparing keys.
/// type Key = (Text, Reverse<u64>);
/// assert!(encoded::<Key>((b"ada", 7)) < encoded::<Key>((b"ada", 3)));
/// assert!(encoded::<Key>((b"ada", 3)) < encoded::<Key>((b"bob", 9)));
/// ```
pub trait Record: Send + Sync + 'static {
    /// The value as user code sees it.
    type Ref<'a>: Copy;
    /// The value when it must outlive the buffers: what a combiner folds into.
    type Owned: Default + Send + Sync;

    /// Appends the encoding of a value that is the last of its record. Ends with the record.
    fn encode(value: Self::Ref<'_>, out: &mut Vec<u8>);

    /// Appends an encoding that also says where it ends, for all but the last part of a tuple.
    fn encode_part(value: Self::Ref<'_>, out: &mut Vec<u8>) {
        Self::encode(value, out);
    }

    /// Reads what [`Record::encode`] wrote. `scratch` holds what can't be borrowed from `bytes`.
    ///
    /// # Errors
    /// When `bytes` are not such an encoding.
    fn decode<'a>(bytes: &'a [u8], scratch: &'a Scratch) -> Result<Self::Ref<'a>, DecodeError>;

    /// Takes what [`Record::encode_part`] wrote off the front of `bytes`.
    ///
    /// # Errors
    /// When `bytes` don't begin with such an encoding.
    fn decode_part<'a>(
        bytes: &mut &'a [u8],
        scratch: &'a Scratch,
    ) -> Result<Self::Ref<'a>, DecodeError>;

    /// Takes what [`Record::encode_part`] wrote off the front of `bytes` without looking into it.
    ///
    /// # Errors
    /// When `bytes` don't begin with such an encoding.
    fn skip_part(bytes: &mut &[u8]) -> Result<(), DecodeError> {
        let scratch = Scratch::default();
        let mut rest: &[u8] = bytes;
        Self::decode_part(&mut rest, &scratch)?;
        let taken = bytes.len() - rest.len();
        *bytes = &bytes[taken..];
        Ok(())
    }

    /// Calls `use_bytes` with the encoding, made in `buffer` unless the value is its own encoding.
    #[inline]
    fn with_encoded<R>(
        value: Self::Ref<'_>,
        buffer: &mut Vec<u8>,
        use_bytes: impl FnOnce(&[u8]) -> R,
    ) -> R {
        buffer.clear();
        Self::encode(value, buffer);
        use_bytes(buffer)
    }

    /// Copies the value out of the buffers.
    fn to_owned(value: Self::Ref<'_>) -> Self::Owned;

    /// The copy as user code sees it.
    fn borrow(owned: &Self::Owned) -> Self::Ref<'_>;

    /// Bytes that a copy holds on the heap: they count against the sort memory.
    fn heap_bytes(_owned: &Self::Owned) -> usize {
        0
    }

    /// Appends the value as text output shows it. Returns false when it shows nothing at all, so
    /// that no separator is written either (`()`; Hadoop's `NullWritable`).
    fn print(value: Self::Ref<'_>, out: &mut Vec<u8>) -> bool;
}
