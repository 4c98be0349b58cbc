//! The format of a segment file, and how its end is told from its damage. `docs/formats.md` has the diagrams.
//!
//! Each record says where in its batch it stands. A batch is written only after the one before it was synced, so a good
//! record of a *later* batch proves that everything before that batch was once durable: if something there is bad now, the
//! disk has lost what was promised. Without such a proof a bad record is the end of what the last write before a crash got done,
//! whatever order the disk wrote its sectors in, and nobody was ever told that it is durable.

use hfs_protocol::ids::TxId;

/// The first bytes of every segment.
pub const MAGIC: [u8; 8] = *b"hfsedits";
/// The version of the format: 1 is the first, since 0.1.
pub const VERSION: u32 = 1;
/// The header's size in bytes.
pub const HEADER_BYTES: usize = 128;
/// The longest cluster id that fits into the header.
pub const MAX_CLUSTER_ID_BYTES: usize = 96;
/// What a record has before its payload.
pub const RECORD_HEADER_BYTES: usize = 20;
/// No payload is longer; a longer one is damage.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;
/// No segment is longer than this, give or take one batch.
pub const MAX_SEGMENT_BYTES: u64 = 64 << 20;
/// What a segment's name begins with; the number of its first entry follows, in twenty digits.
pub const PREFIX: &str = "edits_";

/// The name of the segment that begins with `first`.
#[must_use]
pub fn file_name(first: TxId) -> String {
    format!("{PREFIX}{:020}", first.0)
}

/// The first entry of a segment, from its name.
#[must_use]
pub fn first_of(name: &str) -> Option<TxId> {
    let digits = name.strip_prefix(PREFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok().map(TxId)).flatten()
}

/// The header of a segment.
#[must_use]
pub fn encode_header(cluster_id: &str, first: TxId) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&first.0.to_le_bytes());
    let id = &cluster_id.as_bytes()[..cluster_id.len().min(MAX_CLUSTER_ID_BYTES)];
    header[20] = id.len() as u8;
    header[21..21 + id.len()].copy_from_slice(id);
    let crc = crc32fast::hash(&header[..HEADER_BYTES - 4]);
    header[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Checks a header against what it should be.
///
/// # Errors
/// A sentence without the file's name.
pub fn check_header(bytes: &[u8], cluster_id: &str, first: TxId) -> Result<(), String> {
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        return Err(format!("it has {} bytes, less than a header", bytes.len()));
    };
    let stored = u32_at(header, HEADER_BYTES - 4);
    if header[..8] != MAGIC || crc32fast::hash(&header[..HEADER_BYTES - 4]) != stored {
        return Err("its header is not one of a journal segment, or damaged".to_owned());
    }
    let version = u32_at(header, 8);
    if version != VERSION {
        return Err(format!(
            "it has format {version}, and this hfs knows formats up to {VERSION}; start the version of hfs that wrote it"
        ));
    }
    if header != encode_header(cluster_id, first) {
        let id = header.get(21..21 + usize::from(header[20])).unwrap_or_default();
        return Err(format!(
            "it begins with operation {} of cluster {}, not with operation {first} of cluster {cluster_id}",
            u64_at(header, 12),
            String::from_utf8_lossy(id)
        ));
    }
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Puts a record in line: everything but its place in the batch and its checksum, which [`seal_batch`] fills in.
pub fn push_record(batch: &mut Vec<u8>, txid: TxId, payload: &[u8]) {
    batch.reserve(RECORD_HEADER_BYTES + payload.len());
    batch.extend_from_slice(&[0; 4]);
    // The journal refuses longer payloads before this.
    batch.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    batch.extend_from_slice(&txid.0.to_le_bytes());
    batch.extend_from_slice(&[0; 4]);
    batch.extend_from_slice(payload);
}

/// Completes the records of a batch that is about to be written with one write.
pub fn seal_batch(batch: &mut [u8]) {
    let (mut at, mut place) = (0, 0_u32);
    while at < batch.len() {
        let end = at + RECORD_HEADER_BYTES + u32_at(batch, at + 4) as usize;
        batch[at + 16..at + 20].copy_from_slice(&place.to_le_bytes());
        let crc = crc32fast::hash(&batch[at + 4..end]);
        batch[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        at = end;
        place += 1;
    }
}

/// The mark at the end of a segment that was finished in peace: a record without payload that bears the number of the next
/// entry. It proves that all before it was durable.
#[must_use]
pub fn end_mark(next: TxId) -> Vec<u8> {
    let mut mark = Vec::new();
    push_record(&mut mark, next, &[]);
    seal_batch(&mut mark);
    mark
}

struct Record {
    txid: u64,
    /// The first entry of its batch.
    batch: u64,
    end: usize,
}

/// The record at an offset, if there is a good one.
fn record_at(bytes: &[u8], at: usize) -> Result<Record, &'static str> {
    let header =
        bytes.get(at..at + RECORD_HEADER_BYTES).ok_or("the file ends within a record's header")?;
    let length = u32_at(header, 4) as usize;
    if length > MAX_PAYLOAD_BYTES {
        return Err("a record claims more bytes than any has");
    }
    let end = at + RECORD_HEADER_BYTES + length;
    let body = bytes.get(at + 4..end).ok_or("the file ends within a record")?;
    if crc32fast::hash(body) != u32_at(header, 0) {
        return Err("a record's checksum does not fit");
    }
    let txid = u64_at(header, 8);
    let batch =
        txid.checked_sub(u32_at(header, 16).into()).ok_or("a record's place does not fit")?;
    Ok(Record { txid, batch, end })
}

/// How a segment ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// After a good record, with nothing or only zeros after it.
    Clean {
        /// Where the good bytes end.
        offset: usize,
        /// Whether the segment was finished in peace.
        finished: bool,
    },
    /// In the middle of a write that a crash cut off. What follows `offset` was never reported durable.
    Torn {
        /// Where the good bytes end.
        offset: usize,
        /// What is wrong there.
        why: &'static str,
    },
    /// Something durable is lost: there is a later good record that proves it.
    Damaged {
        /// Where the damage is.
        offset: usize,
        /// What is wrong there.
        why: &'static str,
        /// Where the record is that proves it.
        proof: usize,
    },
}

/// Shows the records of a segment in order, those before `next` left out, and tells how it ends. `next` is the entry after
/// the last one shown.
///
/// # Errors
/// What `see` says, with the record's offset.
pub fn scan<E>(
    bytes: &[u8],
    first: TxId,
    mut see: impl FnMut(TxId, &[u8]) -> Result<(), E>,
) -> Result<(TxId, End), (usize, E)> {
    let mut next = first.0;
    let mut at = HEADER_BYTES.min(bytes.len());
    loop {
        let rest = &bytes[at..];
        if rest.iter().all(|&byte| byte == 0) {
            return Ok((TxId(next), End::Clean { offset: at, finished: false }));
        }
        let why = match record_at(bytes, at) {
            Ok(record) if record.txid == next && record.end == at + RECORD_HEADER_BYTES => {
                let clean = bytes[record.end..].iter().all(|&byte| byte == 0);
                if clean {
                    return Ok((TxId(next), End::Clean { offset: record.end, finished: true }));
                }
                let why = "bytes follow the mark of the segment's end";
                return Ok((TxId(next), End::Damaged { offset: record.end, why, proof: at }));
            }
            Ok(record) if record.txid == next => {
                let payload = &bytes[at + RECORD_HEADER_BYTES..record.end];
                see(TxId(next), payload).map_err(|error| (at, error))?;
                next += 1;
                at = record.end;
                continue;
            }
            Ok(_) => "a record has another number than the next one",
            Err(why) => why,
        };
        let end = match proof_after(bytes, at, next) {
            Some(proof) => End::Damaged { offset: at, why, proof },
            None => End::Torn { offset: at, why },
        };
        return Ok((TxId(next), end));
    }
}

/// The offset of a good record at or after `from` whose batch was written after entry `next` was durable.
fn proof_after(bytes: &[u8], from: usize, next: u64) -> Option<usize> {
    // A record takes at least its header, so the numbers that may occur are bounded: checksums are hardly ever computed.
    let most = next.saturating_add((bytes.len() / RECORD_HEADER_BYTES) as u64 + 1);
    (from..bytes.len().saturating_sub(RECORD_HEADER_BYTES - 1)).find(|&at| {
        let txid = u64_at(bytes, at + 8);
        txid > next && txid <= most && record_at(bytes, at).is_ok_and(|record| record.batch > next)
    })
}
