//! Which neighbouring keys a reducer sees as one group: secondary sort.
//!
//! Keys sort by their whole encoding. A grouping takes a part of it, and neighbours with equal parts
//! form a group, as with Hadoop's grouping comparator. So the values of a group come sorted by the
//! rest of their keys, without anybody collecting them.

use crate::partition::{Partitioner, hash};
use crate::record::Record;

/// Takes the part of a key that decides its group. Give it to
/// [`Builder::group_by`](crate::Builder::group_by).
///
/// Keys with equal parts must be neighbours in the order of the encoded keys, as they are when the
/// part is a front part. Keys that are not neighbours are never in one group.
///
/// ```
/// use hfs_mapreduce::{Grouping, Text};
///
/// /// Groups dates as `2024-06-30` by their year.
/// #[derive(Clone, Copy)]
/// struct ByYear;
///
/// impl Grouping<Text> for ByYear {
///     fn part<'k>(&self, encoded: &'k [u8]) -> &'k [u8] {
///         encoded.get(..4).unwrap_or(encoded)
///     }
/// }
///
/// assert_eq!(ByYear.part(b"2024-06-30"), b"2024");
/// ```
pub trait Grouping<K: Record>: Clone + Send + Sync + 'static {
    /// Whether a group is a key; true only for [`WholeKey`].
    const WHOLE: bool = false;

    /// The part of an encoded key (see [`Record::encode`]) that decides its group.
    fn part<'k>(&self, encoded: &'k [u8]) -> &'k [u8];
}

/// Every key is a group of its own: what a job does unless it says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct WholeKey;

impl<K: Record> Grouping<K> for WholeKey {
    const WHOLE: bool = true;

    #[inline]
    fn part<'k>(&self, encoded: &'k [u8]) -> &'k [u8] {
        encoded
    }
}

/// Groups keys that are tuples by their first element.
///
/// ```
/// use hfs_mapreduce::{
///     Emit, First, Job, Line, Mapper, Reducer, Result, Reverse, Text, TextInput, Values,
/// };
///
/// /// Lines as `user amount`.
/// #[derive(Clone)]
/// struct Payments;
///
/// impl Mapper for Payments {
///     type Input = TextInput;
///     type Key = (Text, Reverse<u64>);
///     type Value = ();
///
///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Self::Key, ()>) -> Result<()> {
///         let text = std::str::from_utf8(line.bytes)?;
///         let Some((user, amount)) = text.split_once(' ') else { return Ok(()) };
///         out.emit((user.as_bytes(), amount.parse()?), ())
///     }
/// }
///
/// /// Each user's largest payment: the first of the group.
/// #[derive(Clone)]
/// struct Largest;
///
/// impl Reducer<(Text, Reverse<u64>), ()> for Largest {
///     type OutKey = Text;
///     type OutValue = u64;
///
///     fn reduce(
///         &mut self,
///         (user, amount): (&[u8], u64),
///         _: &mut Values<'_, '_, ()>,
///         out: &mut impl Emit<Text, u64>,
///     ) -> Result<()> {
///         out.emit(user, amount)
///     }
/// }
///
/// let job = Job::map(Payments)
///     .group_by(First)
///     .reduce(Largest)
///     .input("/payments")
///     .output("/largest")
///     .build()?;
/// # anyhow::Ok(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct First;

/// Groups keys that are tuples by their first two elements.
///
/// ```
/// use hfs_mapreduce::{FirstTwo, Grouping, Record};
///
/// let mut key = Vec::new();
/// <(u8, u8, u64)>::encode((1, 2, 3), &mut key);
/// assert_eq!(Grouping::<(u8, u8, u64)>::part(&FirstTwo, &key), [1, 2]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct FirstTwo;

/// What `skip` goes past at the front of a key; the whole key where it is none of that type.
fn front(encoded: &[u8], skip: impl FnOnce(&mut &[u8]) -> bool) -> &[u8] {
    let mut rest = encoded;
    if skip(&mut rest) { &encoded[..encoded.len() - rest.len()] } else { encoded }
}

macro_rules! group_by_first {
    ($($rest:ident),+) => {
        impl<A: Record, $($rest: Record),+> Grouping<(A, $($rest),+)> for First {
            #[inline]
            fn part<'k>(&self, encoded: &'k [u8]) -> &'k [u8] {
                front(encoded, |rest| A::skip_part(rest).is_ok())
            }
        }
    };
}

macro_rules! group_by_first_two {
    ($($rest:ident),+) => {
        impl<A: Record, B: Record, $($rest: Record),+> Grouping<(A, B, $($rest),+)> for FirstTwo {
            #[inline]
            fn part<'k>(&self, encoded: &'k [u8]) -> &'k [u8] {
                front(encoded, |rest| A::skip_part(rest).is_ok() && B::skip_part(rest).is_ok())
            }
        }
    };
}

group_by_first!(B);
group_by_first!(B, C);
group_by_first!(B, C, D);
group_by_first_two!(C);
group_by_first_two!(C, D);

/// Spreads groups evenly by a hash of the part that decides them, so that no group is torn apart.
/// [`Builder::group_by`](crate::Builder::group_by) chooses it.
#[derive(Debug, Clone, Copy, Default)]
pub struct GroupPartitioner<G>(pub G);

impl<K: Record, G: Grouping<K>> Partitioner<K> for GroupPartitioner<G> {
    #[inline]
    fn partition(&self, _key: K::Ref<'_>, encoded: &[u8], partitions: u32) -> u32 {
        crate::partition::spread(hash(self.0.part(encoded)), partitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Reverse, Text};
    use proptest::prelude::*;

    fn encoded<R: Record>(value: R::Ref<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        R::encode(value, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn parts_are_equal_exactly_when_the_elements_are(
            a in prop::collection::vec(prop_oneof![Just(0u8), Just(255u8), Just(1u8)], 0..5),
            b in prop::collection::vec(prop_oneof![Just(0u8), Just(255u8), Just(1u8)], 0..5),
            x in 0i32..3, y in 0i32..3, p in any::<u64>(), q in any::<u64>(),
        ) {
            type Pair = (Text, Reverse<u64>);
            let (one, two) = (encoded::<Pair>((&a, p)), encoded::<Pair>((&b, q)));
            let by = |key| Grouping::<Pair>::part(&First, key);
            prop_assert_eq!(by(&one) == by(&two), a == b);

            type Triple = (i32, Text, u64);
            let (one, two) = (encoded::<Triple>((x, &a, p)), encoded::<Triple>((y, &b, q)));
            let by = |key| Grouping::<Triple>::part(&FirstTwo, key);
            prop_assert_eq!(by(&one) == by(&two), (x, &a) == (y, &b));
            let by = |key| Grouping::<Triple>::part(&First, key);
            prop_assert_eq!(by(&one) == by(&two), x == y);
            let to = |key| Partitioner::<Triple>::partition(&GroupPartitioner(First), (x, &a, p), key, 7);
            prop_assert!(x != y || to(&one) == to(&two));
        }

        #[test]
        fn any_bytes_have_a_part(bytes in prop::collection::vec(any::<u8>(), 0..16)) {
            prop_assert!(bytes.starts_with(Grouping::<(Text, u8, u64)>::part(&FirstTwo, &bytes)));
            prop_assert!(bytes.starts_with(Grouping::<(u64, u64)>::part(&First, &bytes)));
        }
    }
}
