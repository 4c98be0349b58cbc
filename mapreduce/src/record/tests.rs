#![allow(clippy::unwrap_used)]
use std::cmp::Reverse as Rev;
use std::fmt::Debug;

use proptest::prelude::*;

use super::*;
use crate::several::Side;

fn encoded<R: Record>(value: R::Ref<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    R::encode(value, &mut out);
    out
}

/// What goes in comes out, and bytes compare as values do, alone and as the first part of a pair.
fn check<R: Record>(a: R::Ref<'_>, b: R::Ref<'_>, order: std::cmp::Ordering)
where
    for<'a> R::Ref<'a>: Debug,
{
    let scratch = Scratch::default();
    let (bytes_a, bytes_b) = (encoded::<R>(a), encoded::<R>(b));
    assert_eq!(bytes_a.cmp(&bytes_b), order, "{a:?} and {b:?}");
    let back = R::decode(&bytes_a, &scratch).unwrap();
    assert_eq!(format!("{back:?}"), format!("{a:?}"));

    let (pair_a, pair_b) = (encoded::<(R, u64)>((a, 7)), encoded::<(R, u64)>((b, 7)));
    assert_eq!(pair_a.cmp(&pair_b), order, "as a part: {a:?} and {b:?}");
    let (back, seven) = <(R, u64)>::decode(&pair_a, &scratch).unwrap();
    assert_eq!((format!("{back:?}"), seven), (format!("{a:?}"), 7));
    let mut rest = &pair_a[..];
    R::skip_part(&mut rest).unwrap();
    assert_eq!(rest, encoded::<u64>(7), "skipped {a:?}");
    let owned = R::to_owned(a);
    assert_eq!(encoded::<R>(R::borrow(&owned)), bytes_a);
}

proptest! {
    #[test]
    fn bytes_keep_their_order(
        a in prop::collection::vec(prop_oneof![Just(0u8), Just(255u8), any::<u8>()], 0..12),
        b in prop::collection::vec(prop_oneof![Just(0u8), Just(255u8), any::<u8>()], 0..12),
    ) {
        check::<Text>(&a, &b, a.cmp(&b));
        check::<Vec<u8>>(&a, &b, a.cmp(&b));
        check::<Reverse<Text>>(&a, &b, b.cmp(&a));
        check::<Option<Text>>(Some(&a), Some(&b), a.cmp(&b));
        check::<Option<Text>>(None, Some(&b), std::cmp::Ordering::Less);
        check::<Reverse<Option<Text>>>(None, Some(&b), std::cmp::Ordering::Greater);
        check::<Reverse<(Text, Reverse<Text>)>>((&a, &b), (&b, &a), (&b, Rev(&a)).cmp(&(&a, Rev(&b))));
        check::<OneOf<Text, u8>>(Side::First(&a), Side::First(&b), a.cmp(&b));
        check::<OneOf<u8, Text>>(Side::Second(&a), Side::Second(&b), a.cmp(&b));
        check::<OneOf<Text, Text>>(Side::First(&a), Side::Second(&b), std::cmp::Ordering::Less);
        check::<(Text, Text)>((&a, &b), (&b, &a), (&a, &b).cmp(&(&b, &a)));
    }

    #[test]
    fn strings_keep_their_order(a in ".{0,8}", b in ".{0,8}") {
        check::<String>(&a, &b, a.cmp(&b));
    }

    #[test]
    fn numbers_keep_their_order(a in any::<u64>(), b in any::<u64>(), shift in 0u32..64) {
        let (a, b) = (a >> shift, b >> (shift / 2));
        check::<u64>(a, b, a.cmp(&b));
        check::<u32>(a as u32, b as u32, (a as u32).cmp(&(b as u32)));
        check::<i64>(a as i64, b as i64, (a as i64).cmp(&(b as i64)));
        check::<i32>(a as i32, b as i32, (a as i32).cmp(&(b as i32)));
        check::<bool>(a % 2 == 1, b % 2 == 1, (a % 2).cmp(&(b % 2)));
        check::<u16>(a as u16, b as u16, (a as u16).cmp(&(b as u16)));
        check::<u8>(a as u8, b as u8, (a as u8).cmp(&(b as u8)));
        check::<i16>(a as i16, b as i16, (a as i16).cmp(&(b as i16)));
        check::<i8>(a as i8, b as i8, (a as i8).cmp(&(b as i8)));
        check::<Reverse<i64>>(a as i64, b as i64, (b as i64).cmp(&(a as i64)));
        check::<Reverse<Reverse<u64>>>(a, b, a.cmp(&b));
        check::<(u64, Reverse<u64>)>((a % 3, a), (b % 3, b), (a % 3, Rev(a)).cmp(&(b % 3, Rev(b))));
        check::<(u8, u8, u8, u64)>((1, a as u8, 2, b), (1, b as u8, 2, a), (a as u8, b).cmp(&(b as u8, a)));
        check::<[u8; 8]>(&a.to_be_bytes(), &b.to_be_bytes(), a.cmp(&b));
        check::<Reverse<[u8; 8]>>(&a.to_be_bytes(), &b.to_be_bytes(), b.cmp(&a));
        let (x, y) = (f32::from_bits(a as u32), f32::from_bits(b as u32));
        check::<f32>(x, y, x.total_cmp(&y));
        let (x, y) = (f64::from_bits(a), f64::from_bits(b));
        check::<f64>(x, y, x.total_cmp(&y));
        check::<(u64, i64)>((a, 1), (b, -1), (a, 1).cmp(&(b, -1)));
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        let scratch = Scratch::default();
        let _ = <(Text, u64, String)>::decode(&bytes, &scratch);
        let _ = <((Text, f64), u32)>::decode(&bytes, &scratch);
        let _ = <(Reverse<Text>, Option<u16>)>::decode(&bytes, &scratch);
        let _ = <(Text, [u8; 3])>::skip_part(&mut &bytes[..]);
    }
}

#[test]
fn printing_is_what_people_expect() {
    let mut out = Vec::new();
    assert!(<(Text, i64)>::print((b"a b", -12), &mut out));
    assert_eq!(out, b"a b\t-12");
    out.clear();
    assert!(!<()>::print((), &mut out));
    assert!(<((), u64)>::print(((), 20), &mut out));
    assert!(f64::print(0.5, &mut out));
    assert_eq!(out, b"200.5");
}
