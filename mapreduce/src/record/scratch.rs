//! Memory for the few decoded values that can't be borrowed.

use std::cell::RefCell;

/// Holds decoded bytes that differ from their encoding (a text with a zero byte inside a tuple).
/// Filled through a shared reference so that several decoded values can live side by side; emptied
/// between groups.
#[derive(Debug, Default)]
pub struct Scratch {
    pieces: RefCell<Vec<Box<[u8]>>>,
}

impl Scratch {
    /// Keeps `bytes` until [`Scratch::clear`].
    pub fn keep(&self, bytes: Vec<u8>) -> &[u8] {
        let piece = bytes.into_boxed_slice();
        let kept: *const [u8] = &*piece;
        self.pieces.borrow_mut().push(piece);
        // SAFETY: a boxed slice stays where it is when the vector of boxes grows, and it is dropped
        // only by `clear` or by dropping `self`, which both need that no borrow of `self` is alive.
        unsafe { &*kept }
    }

    /// Forgets everything kept.
    pub fn clear(&mut self) {
        self.pieces.get_mut().clear();
    }
}
