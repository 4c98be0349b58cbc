//! What belongs to one task alone.

/// Something that a clone does not have: mappers and reducers are cloned for their tasks.
pub(super) struct Own<T>(pub(super) Option<T>);

impl<T> Clone for Own<T> {
    fn clone(&self) -> Self {
        Self(None)
    }
}
