//! Tests of the journal and of recovery.
