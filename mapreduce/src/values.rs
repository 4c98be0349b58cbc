//! The values of one group of keys, as a reducer sees them.

use std::any::TypeId;
use std::marker::PhantomData;

use anyhow::anyhow;

use crate::record::{Record, Scratch};
use crate::task::merge::Merger;

/// The part of an encoded key that decides its group.
pub(crate) type GroupPart<'m> = &'m dyn Fn(&[u8]) -> &[u8];

/// Iterator over the values of one group: of one key, unless the job groups its keys
/// ([`Builder::group_by`](crate::Builder::group_by)). Values are decoded one by one from the sorted
/// runs, never collected, so a group may have more of them than fit into memory. They come in the
/// order of their keys.
pub struct Values<'m, 'a, V: Record> {
    source: &'m mut Merger<'a>,
    scratch: &'m Scratch,
    /// For the last key and value of [`Values::next_with_key`].
    with_key: Scratch,
    /// The first key, or the part of it that decides the group.
    group: &'a [u8],
    /// `None`: a group is a key.
    part: Option<GroupPart<'m>>,
    key_type: TypeId,
    taken: u64,
    /// Why the values end early: data that can't be read. The task fails with it when the reducer
    /// returns.
    error: Option<anyhow::Error>,
    value: PhantomData<V>,
}

impl<'m, 'a, V: Record> Values<'m, 'a, V> {
    /// The values of the keys of type `K` that are in one group with `key`, the next one of `source`.
    #[inline]
    pub(crate) fn new<K: Record>(
        source: &'m mut Merger<'a>,
        scratch: &'m Scratch,
        key: &'a [u8],
        part: Option<GroupPart<'m>>,
    ) -> Self {
        let group = part.map_or(key, |part| part(key));
        let key_type = TypeId::of::<K>();
        Self {
            source,
            scratch,
            with_key: Scratch::default(),
            group,
            part,
            key_type,
            taken: 0,
            error: None,
            value: PhantomData,
        }
    }

    /// The next value with its own key, which in a group of several keys need not be the one that
    /// `reduce` was given. `K` is the reducer's key; with another type the task fails. Key and value
    /// live until the next call, so that a group may be larger than memory whatever its keys are.
    ///
    /// ```
    /// # use hfs_mapreduce::{Emit, Reducer, Result, Text, Values};
    /// /// Numbers the visits of each user; keys are (user, time), grouped by user.
    /// #[derive(Clone)]
    /// struct Number;
    ///
    /// impl Reducer<(Text, u64), Text> for Number {
    ///     type OutKey = (Text, u64);
    ///     type OutValue = Text;
    ///
    ///     fn reduce(
    ///         &mut self,
    ///         (user, _): (&[u8], u64),
    ///         visits: &mut Values<'_, '_, Text>,
    ///         out: &mut impl Emit<(Text, u64), Text>,
    ///     ) -> Result<()> {
    ///         while let Some(((_, time), page)) = visits.next_with_key::<(Text, u64)>() {
    ///             out.emit((user, time), page)?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn next_with_key<K: Record>(&mut self) -> Option<(K::Ref<'_>, V::Ref<'_>)> {
        if self.error.is_some() {
            return None;
        }
        if TypeId::of::<K>() != self.key_type {
            let asked = std::any::type_name::<K>();
            self.error = Some(anyhow!("a reducer asked for keys of the type {asked}, not its own"));
            return None;
        }
        let (key, value) = self.next_bytes()?;
        self.with_key.clear();
        let decoded = K::decode(key, &self.with_key)
            .and_then(|key| Ok((key, V::decode(value, &self.with_key)?)));
        decoded.map_err(|error| self.error = Some(error.into())).ok()
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
    fn next_bytes(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (key, value) = self.source.peek()?;
        let same = match self.part {
            None => key == self.group,
            Some(part) => part(key) == self.group,
        };
        if !same {
            return None;
        }
        self.taken += 1;
        if let Err(error) = self.source.advance() {
            self.error = Some(error);
        }
        Some((key, value))
    }
}

impl<'m, V: Record> Iterator for Values<'m, '_, V> {
    type Item = V::Ref<'m>;

    #[inline]
    fn next(&mut self) -> Option<V::Ref<'m>> {
        if self.error.is_some() {
            return None;
        }
        let (_, value) = self.next_bytes()?;
        match V::decode(value, self.scratch) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error = Some(error.into());
                None
            }
        }
    }
}
