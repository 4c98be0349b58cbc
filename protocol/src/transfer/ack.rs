//! Acks: what each packet of a write is answered with, one in order per packet (HDFS
//! `PipelineAck`).

use std::io::{self, Read};

use bytes::BytesMut;
use tokio::io::AsyncRead;

use crate::delimited::{self, DelimitedError};
use crate::proto::hadoop::hdfs::{PipelineAckProto, Status};
use crate::transfer::packet::HEARTBEAT_SEQNO;

/// The longest ack accepted, bytes: a pipeline has a handful of nodes.
pub const MAX_ACK_BYTES: usize = 4096;

/// The sequence number of an ack that answers no packet (HDFS `UNKOWN_SEQNO`).
pub const UNKNOWN_SEQNO: i64 = -2;

/// The bits of a flag that hold the status; the others hold congestion and slowness.
const FLAG_STATUS_BITS: u32 = 0xf;

/// The answer to one packet, seen from the node that sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineAck {
    /// The packet's sequence number.
    pub seqno: i64,
    /// The status of each node: the sender first, then those downstream.
    pub replies: Vec<Status>,
    /// How long the sender waited for the node downstream, nanoseconds; informational.
    pub downstream_ack_time_nanos: u64,
}

impl PipelineAck {
    /// An ack with no time measured.
    #[must_use]
    pub fn new(seqno: i64, replies: Vec<Status>) -> Self {
        Self { seqno, replies, downstream_ack_time_nanos: 0 }
    }

    /// An ack of a pipeline of `nodes` in which all went well.
    #[must_use]
    pub fn success(seqno: i64, nodes: usize) -> Self {
        Self::new(seqno, vec![Status::Success; nodes])
    }

    /// Puts this node's own status before the downstream node's ack.
    #[must_use]
    pub fn prepend(mut self, own: Status) -> Self {
        self.replies.insert(0, own);
        self
    }

    /// Whether every node wrote the packet.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.first_failure().is_none()
    }

    /// Whether this answers a heartbeat packet.
    #[must_use]
    pub fn is_heartbeat(&self) -> bool {
        self.seqno == HEARTBEAT_SEQNO
    }

    /// The first node that failed, counted from the sender, and how.
    #[must_use]
    pub fn first_failure(&self) -> Option<(usize, Status)> {
        self.replies.iter().copied().enumerate().find(|(_, status)| *status != Status::Success)
    }

    /// Whether the sender announces its planned restart (out of band).
    #[must_use]
    pub fn is_restart(&self) -> bool {
        self.replies.contains(&Status::OobRestart)
    }

    /// The delimited message. Send it with one write: some clients can't read a split length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        delimited::encode(&PipelineAckProto {
            seqno: self.seqno,
            reply: self.replies.iter().map(|status| *status as i32).collect(),
            downstream_ack_time_nanos: Some(self.downstream_ack_time_nanos),
            flag: self.replies.iter().map(|status| *status as u32).collect(),
        })
    }

    /// Takes one ack from the front of `buffer`, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`DelimitedError`].
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Self>, DelimitedError> {
        Ok(delimited::decode::<PipelineAckProto>(buffer, MAX_ACK_BYTES)?.map(Self::from))
    }

    /// Reads one ack from a blocking stream, exactly.
    ///
    /// # Errors
    /// As [`delimited::read`].
    pub fn read(stream: &mut impl Read) -> io::Result<Self> {
        delimited::read::<PipelineAckProto>(stream, MAX_ACK_BYTES).map(Self::from)
    }

    /// Reads one ack from an async stream, exactly.
    ///
    /// # Errors
    /// As [`delimited::read_async`].
    pub async fn read_async(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        delimited::read_async::<PipelineAckProto>(stream, MAX_ACK_BYTES).await.map(Self::from)
    }
}

impl From<PipelineAckProto> for PipelineAck {
    /// A flag's status counts where there is one, the reply otherwise; a status this version does
    /// not know is an error.
    fn from(ack: PipelineAckProto) -> Self {
        let status = |code: i32| Status::try_from(code).unwrap_or(Status::Error);
        let replies = ack
            .reply
            .iter()
            .enumerate()
            .map(|(index, reply)| match ack.flag.get(index) {
                Some(flag) => status((flag & FLAG_STATUS_BITS) as i32),
                None => status(*reply),
            })
            .collect();
        Self {
            seqno: ack.seqno,
            replies,
            downstream_ack_time_nanos: ack.downstream_ack_time_nanos.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;

    #[test]
    fn acks_have_the_known_bytes() {
        assert_eq!(
            PipelineAck::success(0, 3).encode(),
            hex("0f 0800 1000 1000 1000 1800 2203000000")
        );
        let heartbeat = PipelineAck::decode(&mut BytesMut::from(&hex("07 0801 1000 220100")[..]));
        assert_eq!(heartbeat.unwrap(), Some(PipelineAck::success(HEARTBEAT_SEQNO, 1)));
    }

    #[test]
    fn the_first_failure_is_found_and_flags_count() {
        let ack = PipelineAck::success(4, 1).prepend(Status::Success).prepend(Status::Success);
        assert!(ack.is_success());
        let ack = PipelineAckProto {
            seqno: 4,
            reply: vec![0, 0, 77],
            downstream_ack_time_nanos: None,
            flag: vec![0x20, 0x62],
        };
        let ack = PipelineAck::from(ack);
        assert_eq!(ack.replies, [Status::Success, Status::ErrorChecksum, Status::Error]);
        assert_eq!(ack.first_failure(), Some((1, Status::ErrorChecksum)));
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(seqno: i64, statuses in prop::collection::vec(0i32..14, 0..8)) {
            let replies = statuses.iter().map(|code| Status::try_from(*code).unwrap()).collect();
            let ack = PipelineAck { seqno, replies, downstream_ack_time_nanos: 12 };
            let mut buffer = BytesMut::from(&ack.encode()[..]);
            prop_assert_eq!(PipelineAck::decode(&mut buffer).unwrap(), Some(ack.clone()));
            prop_assert_eq!(PipelineAck::read(&mut ack.encode().as_slice()).unwrap(), ack);
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = PipelineAck::decode(&mut BytesMut::from(&bytes[..]));
        }
    }
}
