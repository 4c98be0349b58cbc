//! Values of one of two types.

use std::marker::PhantomData;

use super::{DecodeError, Record, Scratch};
use crate::several::Side;

/// A value of one of two types; those of the first come first. User code sees a [`Side`].
pub struct OneOf<A, B>(PhantomData<fn(A, B)>);

/// The first byte of an encoding says which type follows.
const FIRST: u8 = 0;
const SECOND: u8 = 1;

impl<A: Record, B: Record> Record for OneOf<A, B> {
    type Ref<'a> = Side<A::Ref<'a>, B::Ref<'a>>;
    type Owned = Side<A::Owned, B::Owned>;

    #[inline]
    fn encode(value: Self::Ref<'_>, out: &mut Vec<u8>) {
        match value {
            Side::First(first) => {
                out.push(FIRST);
                A::encode(first, out);
            }
            Side::Second(second) => {
                out.push(SECOND);
                B::encode(second, out);
            }
        }
    }

    #[inline]
    fn encode_part(value: Self::Ref<'_>, out: &mut Vec<u8>) {
        match value {
            Side::First(first) => {
                out.push(FIRST);
                A::encode_part(first, out);
            }
            Side::Second(second) => {
                out.push(SECOND);
                B::encode_part(second, out);
            }
        }
    }

    #[inline]
    fn decode<'a>(bytes: &'a [u8], scratch: &'a Scratch) -> Result<Self::Ref<'a>, DecodeError> {
        match bytes.split_first() {
            Some((&FIRST, rest)) => Ok(Side::First(A::decode(rest, scratch)?)),
            Some((&SECOND, rest)) => Ok(Side::Second(B::decode(rest, scratch)?)),
            _ => Err(DecodeError(bytes.len(), "OneOf")),
        }
    }

    #[inline]
    fn decode_part<'a>(
        bytes: &mut &'a [u8],
        scratch: &'a Scratch,
    ) -> Result<Self::Ref<'a>, DecodeError> {
        let (&mark, rest) = bytes.split_first().ok_or(DecodeError(0, "OneOf"))?;
        let mut rest = rest;
        let value = match mark {
            FIRST => Side::First(A::decode_part(&mut rest, scratch)?),
            SECOND => Side::Second(B::decode_part(&mut rest, scratch)?),
            _ => return Err(DecodeError(bytes.len(), "OneOf")),
        };
        *bytes = rest;
        Ok(value)
    }

    fn to_owned(value: Self::Ref<'_>) -> Self::Owned {
        match value {
            Side::First(first) => Side::First(A::to_owned(first)),
            Side::Second(second) => Side::Second(B::to_owned(second)),
        }
    }

    fn borrow(owned: &Self::Owned) -> Self::Ref<'_> {
        match owned {
            Side::First(first) => Side::First(A::borrow(first)),
            Side::Second(second) => Side::Second(B::borrow(second)),
        }
    }

    fn heap_bytes(owned: &Self::Owned) -> usize {
        match owned {
            Side::First(first) => A::heap_bytes(first),
            Side::Second(second) => B::heap_bytes(second),
        }
    }

    fn print(value: Self::Ref<'_>, out: &mut Vec<u8>) -> bool {
        match value {
            Side::First(first) => A::print(first, out),
            Side::Second(second) => B::print(second, out),
        }
    }
}
