//! Configuration in layers, the later over the earlier: the defaults of the role's `Config`, then Hadoop's
//! `core-site.xml` and `hdfs-site.xml` (only the keys the role maps), the role's section of `hfs.toml`, the
//! environment (`HFS_NAMENODE_RPC_PORT`), and flags.
//!
//! A key that nobody knows is an error with the place, the key and the nearest valid one: a misspelt setting that
//! is silently ignored costs a night. The XML files are the exception, because they are full of
//! keys meant for others.
//!
//! A role's `Config` is plain data: `Default`, serde with kebab-case keys, and clap's `Args` with the same field
//! names. [`Loader`] needs nothing else of it.

mod layer;
mod loader;
mod nearest;
mod units;
mod xml;

pub use layer::Origin;
pub use loader::{Loaded, Loader};
pub use nearest::nearest;
pub use units::{duration, format_duration, format_size, parse_duration, parse_size, size};
pub use xml::{XmlKey, read_xml};

use std::path::PathBuf;

/// What is wrong with a configuration. Each is a sentence that names the place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that can't be read.
    #[error("can't read configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is not what its name says.
    #[error("configuration {} is not valid: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said, with the line.
        message: String,
    },
    /// A key that the role does not have.
    #[error("{origin}: unknown key {key:?}{}", suggest(nearest.as_ref()))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key as written.
        key: String,
        /// The valid key that looks most like it.
        nearest: Option<String>,
    },
    /// A key whose value can't be used.
    #[error("{origin}: {key} = {value:?} is not usable: {message}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// Why not.
        message: String,
    },
    /// The `Config` type itself is not plain data: a mistake in hfs.
    #[error("the configuration of {role} is not plain data: {message}")]
    NotPlainData {
        /// The role.
        role: String,
        /// What serde said.
        message: String,
    },
}

fn suggest(nearest: Option<&String>) -> String {
    nearest.map(|key| format!("; did you mean {key:?}?")).unwrap_or_default()
}
