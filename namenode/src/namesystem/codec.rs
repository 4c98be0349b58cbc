//! How fields become bytes: LEB128 numbers, length-prefixed text, fields in order without tags. An operation's number says
//! which fields follow, and a changed operation gets a new number, so old journals stay readable.

use std::sync::Arc;

use hfs_protocol::ids::{BlockId, GenStamp, INodeId, TxId};

use super::types::{Block, RetryKey};

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within a field.
    #[error("the record ends within a field")]
    Short,
    /// Bytes follow the last field.
    #[error("{0} bytes follow the record's last field")]
    Long(usize),
    /// A number has more bits than its field.
    #[error("a number is larger than its field allows")]
    Overflow,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotText,
    /// A tag that this version does not know.
    #[error("unknown {what} {number}; it may have been written by a newer version of hfs")]
    Unknown {
        /// What the number should name.
        what: &'static str,
        /// The number.
        number: u64,
    },
}

/// A value that has a form in bytes.
pub(crate) trait Field: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn get(from: &mut &[u8]) -> Result<Self, DecodeError>;
}

pub(crate) fn take<'a>(from: &mut &'a [u8], count: usize) -> Result<&'a [u8], DecodeError> {
    let (head, tail) = from.split_at_checked(count).ok_or(DecodeError::Short)?;
    *from = tail;
    Ok(head)
}

impl Field for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn get(from: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(take(from, 1)?[0])
    }
}

impl Field for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn get(from: &mut &[u8]) -> Result<Self, DecodeError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = u8::get(from)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Overflow);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Overflow)
    }
}

macro_rules! narrow {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                u64::from(*self).put(out);
            }

            fn get(from: &mut &[u8]) -> Result<Self, DecodeError> {
                Self::try_from(u64::get(from)?).map_err(|_| DecodeError::Overflow)
            }
        }
    )*};
}
narrow!(u16, u32);

macro_rules! id {
    ($($type:ident),*) => {$(
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn get(from: &mut &[u8]) -> Result<Self, DecodeError> {
                u64::get(from).map($type)
            }
        }
    )*};
}
id!(INodeId, BlockId, GenStamp, TxId);

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn get(from: &mut &[u8]) -> Result<Self, DecodeError> {
        match u8::get(from)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Unknown { what: "truth value", number: other.into() }),
        }
    }
}

macro_rules! text {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                (self.len() as u64).put(out);
                out.extend_from_slice(self.as_bytes());
            }

            fn get(from: &mut &[u8]) -> Result<Self, DecodeError> {
                let length = usize::try_from(u64::get(from)?).map_err(|_| DecodeError::Short)?;
                let bytes = take(from, length)?;
                std::str::from_utf8(bytes).map(Into::into).map_err(|_| DecodeError::NotText)
            }
        }
    )*};
}
text!(Box<str>, Arc<str>);

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn get(from: &mut &[u8]) -> Result<Self, DecodeError> {
        bool::get(from)?.then(|| T::get(from)).transpose()
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for value in self {
            value.put(out);
        }
    }

    fn get(from: &mut &[u8]) -> Result<Self, DecodeError> {
        let count = u64::get(from)?;
        // A value has at least one byte: a count that promises more is a lie, and reserves nothing.
        if count > from.len() as u64 {
            return Err(DecodeError::Short);
        }
        (0..count).map(|_| T::get(from)).collect()
    }
}

impl Field for Block {
    fn put(&self, out: &mut Vec<u8>) {
        self.id.put(out);
        self.gen_stamp.put(out);
        self.len.put(out);
    }

    fn get(from: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { id: Field::get(from)?, gen_stamp: Field::get(from)?, len: Field::get(from)? })
    }
}

impl Field for RetryKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.client_id);
        self.call_id.cast_unsigned().put(out);
    }

    fn get(from: &mut &[u8]) -> Result<Self, DecodeError> {
        let client_id = take(from, 16)?.try_into().map_err(|_| DecodeError::Short)?;
        Ok(Self { client_id, call_id: u32::get(from)?.cast_signed() })
    }
}

/// Declares a struct whose form is its fields in order.
macro_rules! record {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl $crate::namesystem::codec::Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::namesystem::codec::Field::put(&self.$field, out);)*
            }

            fn get(from: &mut &[u8]) -> std::result::Result<Self, $crate::namesystem::codec::DecodeError> {
                Ok(Self { $($field: $crate::namesystem::codec::Field::get(from)?,)* })
            }
        }
    };
}
pub(crate) use record;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_texts_read_back(number in any::<u64>(), text in ".{0,40}", rest in any::<Vec<u8>>()) {
            let mut bytes = Vec::new();
            number.put(&mut bytes);
            Box::<str>::from(text.as_str()).put(&mut bytes);
            Some(number).put(&mut bytes);
            bytes.extend_from_slice(&rest);
            let mut from = bytes.as_slice();
            prop_assert_eq!(u64::get(&mut from).unwrap(), number);
            prop_assert_eq!(&*Box::<str>::get(&mut from).unwrap(), text.as_str());
            prop_assert_eq!(Option::<u64>::get(&mut from).unwrap(), Some(number));
            prop_assert_eq!(from, rest.as_slice());
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = Vec::<Box<str>>::get(&mut bytes.as_slice());
            let _ = Option::<Block>::get(&mut bytes.as_slice());
            let _ = RetryKey::get(&mut bytes.as_slice());
        }
    }
}
