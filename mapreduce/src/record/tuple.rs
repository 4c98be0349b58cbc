//! Pairs, triples and quadruples: compared part by part.

use super::{DecodeError, Record, Scratch};

fn print_part<A: Record>(value: A::Ref<'_>, first: bool, out: &mut Vec<u8>) -> bool {
    let before = out.len();
    if !first {
        out.push(b'\t');
    }
    let shown = A::print(value, out);
    if !shown {
        out.truncate(before);
    }
    shown
}

macro_rules! tuple_record {
    ($($part:ident $index:tt),+; $last:ident $last_index:tt) => {
        impl<$($part: Record,)+ $last: Record> Record for ($($part,)+ $last) {
            type Ref<'a> = ($($part::Ref<'a>,)+ $last::Ref<'a>);
            type Owned = ($($part::Owned,)+ $last::Owned);

            fn encode(value: Self::Ref<'_>, out: &mut Vec<u8>) {
                $($part::encode_part(value.$index, out);)+
                $last::encode(value.$last_index, out);
            }

            fn encode_part(value: Self::Ref<'_>, out: &mut Vec<u8>) {
                $($part::encode_part(value.$index, out);)+
                $last::encode_part(value.$last_index, out);
            }

            fn decode<'a>(
                mut bytes: &'a [u8],
                scratch: &'a Scratch,
            ) -> Result<Self::Ref<'a>, DecodeError> {
                Ok(($($part::decode_part(&mut bytes, scratch)?,)+ $last::decode(bytes, scratch)?))
            }

            fn decode_part<'a>(
                bytes: &mut &'a [u8],
                scratch: &'a Scratch,
            ) -> Result<Self::Ref<'a>, DecodeError> {
                Ok((
                    $($part::decode_part(bytes, scratch)?,)+
                    $last::decode_part(bytes, scratch)?,
                ))
            }

            fn skip_part(bytes: &mut &[u8]) -> Result<(), DecodeError> {
                $($part::skip_part(bytes)?;)+
                $last::skip_part(bytes)
            }

            fn to_owned(value: Self::Ref<'_>) -> Self::Owned {
                ($($part::to_owned(value.$index),)+ $last::to_owned(value.$last_index))
            }

            fn borrow(owned: &Self::Owned) -> Self::Ref<'_> {
                ($($part::borrow(&owned.$index),)+ $last::borrow(&owned.$last_index))
            }

            fn heap_bytes(owned: &Self::Owned) -> usize {
                $($part::heap_bytes(&owned.$index) +)+ $last::heap_bytes(&owned.$last_index)
            }

            fn print(value: Self::Ref<'_>, out: &mut Vec<u8>) -> bool {
                let mut shown = false;
                $(shown |= print_part::<$part>(value.$index, !shown, out);)+
                shown |= print_part::<$last>(value.$last_index, !shown, out);
                shown
            }
        }
    };
}

tuple_record!(A 0; B 1);
tuple_record!(A 0, B 1; C 2);
tuple_record!(A 0, B 1, C 2; D 3);
