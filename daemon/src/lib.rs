//! The chassis of an hfs daemon: what every role needs and none of them is about.
//!
//! - [`config`]: settings in layers (defaults, `hfs.toml` or Hadoop's XML, environment, flags), each key checked.
//! - [`logging`]: one line a person can read per event.
//! - [`shutdown`]: a token that tells, guards that are waited for, a deadline.
//! - [`clock`]: time as an argument, so that a test can turn it.
//! - [`bind`], [`port_file`], [`lock_dir`]: claiming an address, telling others of it, claiming a directory.
//! - [`http`] and [`metrics`]: `/metrics`, `/healthz`, `/conf`, and the pages a role adds.
//! - [`storage`]: the seam of six methods between a log and its disk, with the disks that lie.
//!
//! Nothing here knows what a block or a job is.

pub mod bind;
pub mod clock;
pub mod config;
pub mod http;
pub mod lock_dir;
pub mod logging;
pub mod metrics;
pub mod port_file;
pub mod shutdown;
pub mod storage;
