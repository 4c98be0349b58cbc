//! All end-to-end tests in one program, which is linked once.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod quickstart;
