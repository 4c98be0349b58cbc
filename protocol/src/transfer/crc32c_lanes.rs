//! CRC-32C of many chunks at once.
//!
//! The processor's CRC instruction takes a new word every cycle but answers three cycles later, so
//! one chunk alone leaves two thirds of it idle. Chunks are independent: four of them are computed
//! side by side. A chunk that has no three fellows goes through the `crc32c` crate.

/// How many chunks are computed side by side.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const LANES: usize = 4;

/// How far ahead of the chunks being computed memory is asked for, bytes. Four short streams side
/// by side are no pattern the processor foresees: without this, data that is not in its caches is
/// checked at a third of the speed.
#[cfg(target_arch = "x86_64")]
const PREFETCH_BYTES: usize = 2048;

/// Calls `visit` with the CRC-32C of each chunk of `data` in order, the last one maybe shorter,
/// until it returns `false`.
pub fn for_each_chunk(data: &[u8], chunk_len: usize, mut visit: impl FnMut(u32) -> bool) {
    let mut rest = data;
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if lanes_available() {
        while let Some((group, after)) = rest.split_at_checked(LANES * chunk_len) {
            // SAFETY: `lanes_available` has found the CRC instructions on this processor.
            let crcs = unsafe { lanes(group, chunk_len) };
            for crc in crcs {
                if !visit(crc) {
                    return;
                }
            }
            rest = after;
        }
    }
    for chunk in rest.chunks(chunk_len) {
        if !visit(crc32c::crc32c(chunk)) {
            return;
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn lanes_available() -> bool {
    std::arch::is_x86_feature_detected!("sse4.2")
}

#[cfg(target_arch = "aarch64")]
fn lanes_available() -> bool {
    std::arch::is_aarch64_feature_detected!("crc")
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The CRC-32C of the four chunks of `chunk_len` bytes that make up `group`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn lanes(group: &[u8], chunk_len: usize) -> [u32; LANES] {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_crc32_u8, _mm_crc32_u64, _mm_prefetch};
    let (a, rest) = group.split_at(chunk_len);
    let (b, rest) = rest.split_at(chunk_len);
    let (c, d) = rest.split_at(chunk_len);
    let d = &d[..chunk_len];
    let mut crcs = [u64::from(u32::MAX); LANES];
    let mut at = 0;
    while at + 8 <= chunk_len {
        // One cache line (64 bytes) of the four streams together is used up every 16 bytes.
        if at.is_multiple_of(16) {
            let ahead = group.as_ptr().wrapping_add(4 * at + PREFETCH_BYTES);
            // SAFETY: a prefetch reads nothing the program can see and never faults, whatever the
            // address; the pointer is computed without claiming that it lies inside the slice.
            #[allow(unused_unsafe, reason = "older compilers of our range call it unsafe")]
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast())
            };
        }
        crcs[0] = _mm_crc32_u64(crcs[0], word(a, at));
        crcs[1] = _mm_crc32_u64(crcs[1], word(b, at));
        crcs[2] = _mm_crc32_u64(crcs[2], word(c, at));
        crcs[3] = _mm_crc32_u64(crcs[3], word(d, at));
        at += 8;
    }
    let mut crcs = crcs.map(|crc| crc as u32);
    for index in at..chunk_len {
        crcs[0] = _mm_crc32_u8(crcs[0], a[index]);
        crcs[1] = _mm_crc32_u8(crcs[1], b[index]);
        crcs[2] = _mm_crc32_u8(crcs[2], c[index]);
        crcs[3] = _mm_crc32_u8(crcs[3], d[index]);
    }
    crcs.map(|crc| !crc)
}

/// The CRC-32C of the four chunks of `chunk_len` bytes that make up `group`.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "crc")]
fn lanes(group: &[u8], chunk_len: usize) -> [u32; LANES] {
    use std::arch::aarch64::{__crc32cb, __crc32cd};
    let (a, rest) = group.split_at(chunk_len);
    let (b, rest) = rest.split_at(chunk_len);
    let (c, d) = rest.split_at(chunk_len);
    let d = &d[..chunk_len];
    let mut crcs = [u32::MAX; LANES];
    let mut at = 0;
    while at + 8 <= chunk_len {
        crcs[0] = __crc32cd(crcs[0], word(a, at));
        crcs[1] = __crc32cd(crcs[1], word(b, at));
        crcs[2] = __crc32cd(crcs[2], word(c, at));
        crcs[3] = __crc32cd(crcs[3], word(d, at));
        at += 8;
    }
    for index in at..chunk_len {
        crcs[0] = __crc32cb(crcs[0], a[index]);
        crcs[1] = __crc32cb(crcs[1], b[index]);
        crcs[2] = __crc32cb(crcs[2], c[index]);
        crcs[3] = __crc32cb(crcs[3], d[index]);
    }
    crcs.map(|crc| !crc)
}
