//! How others reach the jobtracker. A front translates and does not decide.
//!
//! - [`jobs`]: gRPC for job clients.
//! - [`workers`]: gRPC for workers, one stream each.
//! - [`web`]: pages and JSON.
//! - [`timeline`]: a picture of a job's run.

pub mod check;
mod escape;
pub mod jobs;
pub mod json;
pub mod timeline;
pub mod web;
pub mod workers;

/// The largest message a front takes. A submission with a million splits fits.
pub const MESSAGE_BYTES_MAX: usize = 256 << 20;
