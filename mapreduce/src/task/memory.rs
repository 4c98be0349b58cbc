//! Moving few bytes without a call, and asking for large pages where much memory is walked at random.

/// The most bytes that [`append_short`] copies inline.
const SHORT: usize = 32;
/// A large page on the machines that matter.
const HUGE_PAGE: usize = 2 << 20;
/// Room for at least one large page, wherever it begins.
const LEAST_HUGE_BYTES: usize = 2 * HUGE_PAGE;

/// Appends bytes that are usually few: two moves that may overlap instead of a call that finds out how many
/// there are.
#[inline]
pub(crate) fn append_short(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.len() > SHORT {
        out.extend_from_slice(bytes);
        return;
    }
    out.reserve(SHORT);
    let length = out.len();
    // SAFETY: room for SHORT bytes behind `length` was just made, and `bytes` has at most so many; a shared
    // slice and the room of a uniquely borrowed vector don't overlap.
    unsafe {
        move_short(bytes.as_ptr(), out.as_mut_ptr().add(length), bytes.len());
        out.set_len(length + bytes.len());
    }
}

/// Copies `bytes` to the front of `out`, which is as long or longer.
#[inline]
pub(crate) fn copy_short(bytes: &[u8], out: &mut [u8]) {
    let out = &mut out[..bytes.len()];
    if bytes.len() > SHORT {
        out.copy_from_slice(bytes);
    } else {
        // SAFETY: both slices have `bytes.len()` bytes, at most SHORT, and one is borrowed uniquely.
        unsafe { move_short(bytes.as_ptr(), out.as_mut_ptr(), bytes.len()) }
    }
}

/// Copies at most [`SHORT`] bytes by moves of one size from both ends.
///
/// # Safety
/// `from` must be readable and `to` writable for `count` bytes, and they must not overlap.
#[inline]
unsafe fn move_short(from: *const u8, to: *mut u8, count: usize) {
    /// # Safety
    /// As [`move_short`], with at least `size_of::<T>()` and at most twice as many bytes.
    #[inline]
    unsafe fn both_ends<T>(from: *const u8, to: *mut u8, count: usize) {
        let last = count - size_of::<T>();
        // SAFETY: both moves lie within the `count` bytes.
        unsafe {
            let front = from.cast::<T>().read_unaligned();
            let back = from.add(last).cast::<T>().read_unaligned();
            to.cast::<T>().write_unaligned(front);
            to.add(last).cast::<T>().write_unaligned(back);
        }
    }
    // SAFETY: each branch checks what the move needs; the caller vouches for the rest.
    unsafe {
        match count {
            16.. => both_ends::<u128>(from, to, count),
            8.. => both_ends::<u64>(from, to, count),
            4.. => both_ends::<u32>(from, to, count),
            2.. => both_ends::<u16>(from, to, count),
            1 => *to = *from,
            0 => {}
        }
    }
}

/// Asks the processor to bring the element at `at`, if there is one, into its caches.
#[inline]
pub(crate) fn prefetch<T>(elements: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(element) = elements.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE belongs to every x86-64; a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(element).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (elements, at);
}

/// Makes room for so many elements more, on large pages, where the system gives that much.
pub(crate) fn reserve_huge<T>(room: &mut Vec<T>, more: usize) {
    if room.try_reserve_exact(more).is_ok() {
        want_huge_pages(room);
    }
}

/// Asks the system to back the vector's room with large pages. Call it before the room is written to.
pub(crate) fn want_huge_pages<T>(room: &mut Vec<T>) {
    let bytes = room.capacity() * size_of::<T>();
    if bytes < LEAST_HUGE_BYTES {
        return;
    }
    let start = (room.as_mut_ptr() as usize).next_multiple_of(HUGE_PAGE);
    let end = (room.as_ptr() as usize + bytes) / HUGE_PAGE * HUGE_PAGE;
    // SAFETY: the range lies within the vector's own allocation; the advice changes no contents.
    // It is advice only: small pages work, too.
    let _ = unsafe {
        rustix::mm::madvise(
            std::ptr::with_exposed_provenance_mut(start),
            end - start,
            rustix::mm::Advice::LinuxHugepage,
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_copies_are_copies() {
        let bytes: Vec<u8> = (1..=80).collect();
        for count in 0..bytes.len() {
            let mut out = b"before".to_vec();
            append_short(&bytes[..count], &mut out);
            assert_eq!(out, [b"before", &bytes[..count]].concat());
            let mut field = [0; 80];
            copy_short(&bytes[..count], &mut field);
            assert_eq!(field[..count], bytes[..count]);
            assert!(field[count..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn large_rooms_can_be_used_after_the_advice() {
        let mut room: Vec<u64> = Vec::with_capacity(LEAST_HUGE_BYTES);
        want_huge_pages(&mut room);
        room.resize(1000, 7);
        assert_eq!(room.iter().sum::<u64>(), 7000);
    }
}
