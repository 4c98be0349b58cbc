//! Keys in descending order.

use std::marker::PhantomData;

use super::{DecodeError, Record, Scratch};

/// Sorts as `K` does, the other way round: largest first. User code sees plain `K`s.
///
/// The encoding is the one of a part of a tuple with every bit flipped. Such an encoding says where
/// it ends, so none begins with another one, two of them differ in some byte, and flipping turns
/// their order around.
///
/// ```
/// use hfs_mapreduce::{Emit, Line, Mapper, Result, Reverse, Text, TextInput};
///
/// /// The longest lines first.
/// #[derive(Clone)]
/// struct Longest;
///
/// impl Mapper for Longest {
///     type Input = TextInput;
///     type Key = Reverse<u64>;
///     type Value = Text;
///
///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Reverse<u64>, Text>) -> Result<()> {
///         out.emit(line.bytes.len() as u64, line.bytes)
///     }
/// }
/// ```
pub struct Reverse<K>(PhantomData<fn(K)>);

fn flip(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

impl<K: Record> Record for Reverse<K> {
    type Ref<'a> = K::Ref<'a>;
    type Owned = K::Owned;

    #[inline]
    fn encode(value: K::Ref<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        K::encode_part(value, out);
        flip(&mut out[start..]);
    }

    fn decode<'a>(mut bytes: &'a [u8], scratch: &'a Scratch) -> Result<K::Ref<'a>, DecodeError> {
        let value = Self::decode_part(&mut bytes, scratch)?;
        if bytes.is_empty() { Ok(value) } else { Err(DecodeError(bytes.len(), "Reverse")) }
    }

    fn decode_part<'a>(
        bytes: &mut &'a [u8],
        scratch: &'a Scratch,
    ) -> Result<K::Ref<'a>, DecodeError> {
        let mut flipped = bytes.to_vec();
        flip(&mut flipped);
        let mut rest = scratch.keep(flipped);
        let value = K::decode_part(&mut rest, scratch)?;
        *bytes = &bytes[bytes.len() - rest.len()..];
        Ok(value)
    }

    fn to_owned(value: K::Ref<'_>) -> K::Owned {
        K::to_owned(value)
    }

    fn borrow(owned: &K::Owned) -> K::Ref<'_> {
        K::borrow(owned)
    }

    fn heap_bytes(owned: &K::Owned) -> usize {
        K::heap_bytes(owned)
    }

    fn print(value: K::Ref<'_>, out: &mut Vec<u8>) -> bool {
        K::print(value, out)
    }
}
