//! All end-to-end tests in one program, which is linked once.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod bench;
mod cluster;
mod examples;
mod faults;
mod file_systems;
mod files;
mod formats;
mod independent_client;
mod jobs;
mod model;
mod quickstart;
mod scheduling;
mod streaming;
mod task_faults;
mod tera;
mod timeline;
