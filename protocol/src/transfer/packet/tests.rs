#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing::hex;
use proptest::prelude::*;

const PLAIN: PacketHeader = PacketHeader {
    offset_in_block: 6,
    seqno: 1,
    last_packet_in_block: true,
    data_len: 0,
    sync_block: false,
};

#[test]
fn headers_have_the_known_bytes() {
    assert_eq!(
        PacketHeader::HEARTBEAT.encode_empty(),
        hex("00000004 0019 09 0000000000000000 11 ffffffffffffffff 1800 2500000000")
    );
    assert_eq!(
        PLAIN.encode_empty(),
        hex("00000004 0019 09 0600000000000000 11 0100000000000000 1801 2500000000")
    );
    let synced = PacketHeader { sync_block: true, ..PLAIN };
    assert_eq!(
        synced.encode_empty(),
        hex("00000004 001b 09 0600000000000000 11 0100000000000000 1801 2500000000 2801")
    );
}

#[test]
fn a_layout_finds_checksums_and_data() {
    let bytes = hex(
        "0000000e 0019 09 0000000000000000 11 0000000000000000 1800 2506000000 353dd8be 68656c6c6f0a",
    );
    let layout = PacketLayout::parse(&bytes).unwrap().unwrap();
    assert_eq!(layout.total, bytes.len());
    assert_eq!(bytes[layout.checksums_at..layout.data_at], hex("353dd8be"));
    assert_eq!(&bytes[layout.data_at..], b"hello\n");
    for cut in 0..layout.checksums_at {
        assert_eq!(PacketLayout::parse(&bytes[..cut]), Ok(None), "{cut}");
    }
}

#[test]
fn lengths_out_of_bounds_are_refused() {
    let parse = |text: &str| PacketLayout::parse(&hex(text));
    assert_eq!(parse("00000003 0019"), Err(PacketError::Length(3)));
    assert_eq!(parse("ffffffff 0019"), Err(PacketError::Length(u32::MAX)));
    assert_eq!(parse("00000004 ffff"), Err(PacketError::HeaderLength(u16::MAX)));
    let more_data_than_packet =
        "00000004 0019 09 0000000000000000 11 0000000000000000 1800 2506000000";
    assert_eq!(parse(more_data_than_packet), Err(PacketError::DataLength { packet: 4, data: 6 }));
}

#[test]
fn fields_come_in_any_order_and_unknown_ones_are_skipped() {
    let header =
        hex("2801 3203616263 2500000000 1801 11 0100000000000000 09 0600000000000000 4007");
    let decoded = PacketHeader::decode(&header).unwrap();
    assert_eq!(decoded, PacketHeader { sync_block: true, ..PLAIN });
}

proptest! {
    #[test]
    fn decode_undoes_encode(
        offset_in_block: u64, seqno: i64, last: bool, data_len in 0u32..1_000_000, sync: bool,
    ) {
        let header = PacketHeader {
            offset_in_block, seqno, last_packet_in_block: last, data_len, sync_block: sync,
        };
        let (bytes, used) = header.encode(12);
        let layout = PacketLayout::parse(&bytes[..used]).unwrap().unwrap();
        prop_assert_eq!(layout.header, header);
        prop_assert_eq!(layout.total, used + 12 + data_len as usize);
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        let _ = PacketHeader::decode(&bytes);
        let _ = PacketLayout::parse(&bytes);
    }
}
