//! Bytes whose number is part of the type: no length, no escapes.

use super::{DecodeError, Record, Scratch};

/// `N` bytes that a combiner may fold into; zeros at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FixedBytes<const N: usize>(pub [u8; N]);

impl<const N: usize> Default for FixedBytes<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

/// Always `N` bytes: the cheapest key there is, alone and as a part.
impl<const N: usize> Record for [u8; N] {
    type Ref<'a> = &'a [u8; N];
    type Owned = FixedBytes<N>;

    #[inline]
    fn encode(value: &[u8; N], out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }

    #[inline]
    fn decode<'a>(bytes: &'a [u8], _: &'a Scratch) -> Result<&'a [u8; N], DecodeError> {
        bytes.try_into().map_err(|_| DecodeError(bytes.len(), "fixed bytes"))
    }

    #[inline]
    fn decode_part<'a>(bytes: &mut &'a [u8], _: &'a Scratch) -> Result<&'a [u8; N], DecodeError> {
        let (taken, rest) =
            bytes.split_first_chunk().ok_or(DecodeError(bytes.len(), "fixed bytes"))?;
        *bytes = rest;
        Ok(taken)
    }

    #[inline]
    fn with_encoded<R>(value: &[u8; N], _: &mut Vec<u8>, use_bytes: impl FnOnce(&[u8]) -> R) -> R {
        use_bytes(value)
    }

    fn to_owned(value: &[u8; N]) -> FixedBytes<N> {
        FixedBytes(*value)
    }

    fn borrow(owned: &FixedBytes<N>) -> &[u8; N] {
        &owned.0
    }

    fn print(value: &[u8; N], out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(value);
        true
    }
}
