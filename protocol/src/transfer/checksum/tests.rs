#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing::hex;
use proptest::prelude::*;

fn patterned(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

#[test]
fn known_checksums() {
    assert_eq!(ChecksumType::Crc32c.compute(b"123456789"), 0xe306_9283);
    assert_eq!(ChecksumType::Crc32.compute(b"123456789"), 0xcbf4_3926);
    assert_eq!(DataChecksum::default().chunks(b"hello\n"), hex("353dd8be"));
    let sums = DataChecksum::default().chunks(&patterned(1300));
    assert_eq!(sums, hex("309c8681 3388a598 da0dcdd9"));
    assert_eq!(DataChecksum::default().composite(&sums, 1300), 0x32be_59a7);
}

#[test]
fn a_flipped_bit_is_found_in_its_chunk() {
    let checksum = DataChecksum::default();
    let data = patterned(5000);
    let sums = checksum.chunks(&data);
    assert_eq!(checksum.verify_chunks(&data, &sums, 1024), Ok(()));
    for at in [0, 511, 512, 2048, 4999] {
        let mut bad = data.clone();
        bad[at] ^= 1;
        let error = checksum.verify_chunks(&bad, &sums, 1024).unwrap_err();
        assert_eq!(error.offset, 1024 + (at as u64 / 512 * 512), "{at}");
    }
    assert!(checksum.verify_chunks(&data, &sums[..36], 0).is_err());
}

#[test]
fn an_append_begins_inside_a_chunk() {
    let checksum = DataChecksum::default();
    let data = patterned(700);
    let mut sums = checksum.chunks(&data[..212]);
    sums.extend_from_slice(&checksum.chunks(&data[212..]));
    assert_eq!(checksum.sums_len_at(300, 700), sums.len());
    assert_eq!(checksum.verify_chunks(&data, &sums, 300), Ok(()));
    let mut bad = data;
    bad[600] ^= 0x80;
    assert_eq!(checksum.verify_chunks(&bad, &sums, 300).unwrap_err().offset, 512);
}

#[test]
fn meta_headers_read_back_and_bad_ones_are_refused() {
    let checksum = DataChecksum::new(ChecksumType::Crc32, 4096).unwrap();
    let header = checksum.encode_meta_header();
    assert_eq!(header.to_vec(), hex("0001 01 00001000"));
    assert_eq!(DataChecksum::decode_meta_header(&header), Ok(checksum));
    let refused =
        |text: &str| DataChecksum::decode_meta_header(&hex(text).try_into().unwrap()).unwrap_err();
    assert_eq!(refused("0002 01 00001000"), ChecksumError::MetaVersion(2));
    assert_eq!(refused("0001 09 00001000"), ChecksumError::Type(9));
    assert_eq!(refused("0001 02 00000000"), ChecksumError::BytesPerChecksum(0));
}

proptest! {
    #[test]
    fn lanes_agree_with_one_checksum_at_a_time(
        data in prop::collection::vec(any::<u8>(), 0..9000), bpc in 1u32..1200,
    ) {
        for kind in [ChecksumType::Crc32, ChecksumType::Crc32c] {
            let checksum = DataChecksum::new(kind, bpc).unwrap();
            let expected: Vec<u8> = data
                .chunks(bpc as usize)
                .flat_map(|chunk| kind.compute(chunk).to_be_bytes())
                .collect();
            let sums = checksum.chunks(&data);
            prop_assert_eq!(&sums, &expected);
            prop_assert_eq!(checksum.verify_chunks(&data, &sums, 0), Ok(()));
            prop_assert_eq!(checksum.composite(&sums, data.len() as u64), kind.compute(&data));
        }
    }

    #[test]
    fn combine_is_concatenation(a: Vec<u8>, b: Vec<u8>) {
        for kind in [ChecksumType::Crc32, ChecksumType::Crc32c] {
            let both = [a.as_slice(), b.as_slice()].concat();
            let combined = kind.combine(kind.compute(&a), kind.compute(&b), b.len() as u64);
            prop_assert_eq!(combined, kind.compute(&both));
            prop_assert_eq!(kind.extend(kind.compute(&a), &b), kind.compute(&both));
        }
    }
}
