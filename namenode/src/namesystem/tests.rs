//! Tests of the namesystem as a whole.
