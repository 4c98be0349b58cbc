//! Values that may be missing.

use super::{DecodeError, Record, Scratch};

/// First byte of a missing value: it comes before every other.
const NONE: u8 = 0;
/// First byte of a value that is there.
const SOME: u8 = 1;

/// Missing values come first; they are printed as nothing.
impl<T: Record> Record for Option<T> {
    type Ref<'a> = Option<T::Ref<'a>>;
    type Owned = Option<T::Owned>;

    #[inline]
    fn encode(value: Self::Ref<'_>, out: &mut Vec<u8>) {
        match value {
            None => out.push(NONE),
            Some(value) => {
                out.push(SOME);
                T::encode(value, out);
            }
        }
    }

    #[inline]
    fn encode_part(value: Self::Ref<'_>, out: &mut Vec<u8>) {
        match value {
            None => out.push(NONE),
            Some(value) => {
                out.push(SOME);
                T::encode_part(value, out);
            }
        }
    }

    #[inline]
    fn decode<'a>(bytes: &'a [u8], scratch: &'a Scratch) -> Result<Self::Ref<'a>, DecodeError> {
        match bytes.split_first() {
            Some((&NONE, [])) => Ok(None),
            Some((&SOME, rest)) => Ok(Some(T::decode(rest, scratch)?)),
            _ => Err(DecodeError(bytes.len(), "Option")),
        }
    }

    #[inline]
    fn decode_part<'a>(
        bytes: &mut &'a [u8],
        scratch: &'a Scratch,
    ) -> Result<Self::Ref<'a>, DecodeError> {
        match bytes.split_first() {
            Some((&NONE, rest)) => {
                *bytes = rest;
                Ok(None)
            }
            Some((&SOME, rest)) => {
                *bytes = rest;
                Ok(Some(T::decode_part(bytes, scratch)?))
            }
            _ => Err(DecodeError(bytes.len(), "Option")),
        }
    }

    fn to_owned(value: Self::Ref<'_>) -> Self::Owned {
        value.map(T::to_owned)
    }

    fn borrow(owned: &Self::Owned) -> Self::Ref<'_> {
        owned.as_ref().map(T::borrow)
    }

    fn heap_bytes(owned: &Self::Owned) -> usize {
        owned.as_ref().map_or(0, T::heap_bytes)
    }

    fn print(value: Self::Ref<'_>, out: &mut Vec<u8>) -> bool {
        value.is_some_and(|value| T::print(value, out))
    }
}
