//! The values of one key, as a reducer sees them.

use std::marker::PhantomData;

use crate::record::{Record, Scratch};
use crate::task::merge::Merger;

/// Iterator over the values of one key. They are decoded one by one from the sorted runs, never
/// collected, so a key may have more values than fit into memory.
#[derive(Debug)]
pub struct Values<'m, 'a, V: Record> {
    merger: &'m mut Merger<'a>,
    scratch: &'m Scratch,
    key: &'a [u8],
    taken: u64,
    /// Why the values end early: data that can't be read. The task fails with it when the reducer
    /// returns.
    error: Option<anyhow::Error>,
    value: PhantomData<V>,
}

impl<'m, 'a, V: Record> Values<'m, 'a, V> {
    pub(crate) fn new(merger: &'m mut Merger<'a>, scratch: &'m Scratch, key: &'a [u8]) -> Self {
        Self { merger, scratch, key, taken: 0, error: None, value: PhantomData }
    }

    /// Skips the values that were not taken; says how many there were in all.
    pub(crate) fn finish(mut self) -> anyhow::Result<u64> {
        while self.error.is_none() && self.next_bytes().is_some() {}
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.taken),
        }
    }

    #[inline]
    fn next_bytes(&mut self) -> Option<&'a [u8]> {
        let (key, value) = self.merger.peek()?;
        if key != self.key {
            return None;
        }
        self.taken += 1;
        if let Err(error) = self.merger.advance() {
            self.error = Some(error);
        }
        Some(value)
    }
}

impl<'m, V: Record> Iterator for Values<'m, '_, V> {
    type Item = V::Ref<'m>;

    #[inline]
    fn next(&mut self) -> Option<V::Ref<'m>> {
        if self.error.is_some() {
            return None;
        }
        let bytes = self.next_bytes()?;
        match V::decode(bytes, self.scratch) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error = Some(error.into());
                None
            }
        }
    }
}
