#![allow(clippy::unwrap_used)]
use super::*;
use crate::transfer::checksum::DataChecksum;
use crate::transfer::packet_buffer::PacketBuffer;
use proptest::prelude::*;

/// A stream that gives out a few bytes at a time.
struct Dribble<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let given = self.bytes.len().min(self.step).min(out.len());
        out[..given].copy_from_slice(&self.bytes[..given]);
        self.bytes = &self.bytes[given..];
        Ok(given)
    }
}

fn stream_of(lengths: &[usize]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut packets = Vec::new();
    let mut offset = 0;
    for (seqno, length) in lengths.iter().enumerate() {
        let mut buffer = PacketBuffer::new(DataChecksum::default(), (*length).max(1));
        let data: Vec<u8> = (0..*length).map(|index| (index * 31 + seqno) as u8).collect();
        buffer.push(&data);
        packets.push(buffer.finish(offset, seqno as i64, false, false).to_vec());
        offset += *length as u64;
    }
    (packets.concat(), packets)
}

#[test]
fn large_packets_take_few_reads_and_little_memory() {
    struct Counted<'a>(&'a [u8], usize);
    impl Read for Counted<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            Read::read(&mut self.0, out)
        }
    }
    let (bytes, packets) = stream_of(&[1 << 20; 8]);
    let mut reader = PacketReader::new(Counted(&bytes, 0));
    for packet in &packets {
        assert_eq!(reader.next_packet().unwrap().unwrap().bytes(), packet);
    }
    assert!(reader.next_packet().unwrap().is_none());
    assert!(reader.stream().1 < 24, "{} reads for 8 packets", reader.stream().1);
    assert!(reader.buffer.len() < 2 << 20, "{} bytes", reader.buffer.len());
}

#[test]
fn a_claimed_length_alone_allocates_little() {
    let header = PacketHeader {
        offset_in_block: 0,
        seqno: 0,
        last_packet_in_block: false,
        data_len: 15 << 20,
        sync_block: false,
    };
    let (bytes, used) = header.encode(0);
    let mut reader = PacketReader::new(&bytes[..used]);
    assert_eq!(reader.next_packet().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(reader.buffer.len() <= FIRST_READ_BYTES);
}

proptest! {
    #[test]
    fn packets_read_back_however_their_bytes_arrive(
        lengths in prop::collection::vec(0usize..200_000, 0..6), step in 1usize..100_000,
    ) {
        let (bytes, packets) = stream_of(&lengths);
        let leftover = bytes.len().min(step / 3);
        let dribble = Dribble { bytes: &bytes[leftover..], step: step.max(500) };
        let mut reader = PacketReader::with_leftover(dribble, &bytes[..leftover]);
        for packet in &packets {
            let read = reader.next_packet().unwrap().unwrap();
            prop_assert_eq!(read.bytes(), packet.as_slice());
            let offset = read.header().offset_in_block;
            let aligned = offset % 512 == 0;
            if aligned {
                let verified =
                    DataChecksum::default().verify_chunks(read.data(), read.checksums(), offset);
                prop_assert_eq!(verified, Ok(()));
            }
        }
        prop_assert!(reader.next_packet().unwrap().is_none());
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        let mut reader = PacketReader::new(bytes.as_slice());
        while let Ok(Some(_)) = reader.next_packet() {}
    }
}

#[tokio::test]
async fn the_async_reader_gives_the_same_packets() {
    let (bytes, packets) = stream_of(&[0, 1, 512, 70_000, 3, 1 << 20]);
    let mut reader = AsyncPacketReader::with_leftover(&bytes[20..], BytesMut::from(&bytes[..20]));
    for expected in &packets {
        let packet = reader.next_packet().await.unwrap().unwrap();
        let layout = PacketLayout::parse(expected).unwrap().unwrap();
        assert_eq!(packet.header, layout.header);
        assert_eq!(packet.checksums, expected[layout.checksums_at..layout.data_at]);
        assert_eq!(packet.data, expected[layout.data_at..]);
    }
    assert!(reader.next_packet().await.unwrap().is_none());
    let mut cut = AsyncPacketReader::new(&bytes[..10]);
    assert_eq!(cut.next_packet().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
