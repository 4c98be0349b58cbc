//! One layer of settings: where it stands, and key by key what it says.

use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

/// Where a setting stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// One of Hadoop's XML files.
    Xml(PathBuf),
    /// A section of `hfs.toml`.
    Toml {
        /// The file.
        path: PathBuf,
        /// The section: the role's name.
        section: String,
    },
    /// The variable of this name.
    Environment(String),
    /// The flag of this name, `--rpc-port`.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "built-in default"),
            Self::Xml(path) => write!(f, "{}", path.display()),
            Self::Toml { path, section } if section.is_empty() => write!(f, "{}", path.display()),
            Self::Toml { path, section } => write!(f, "{} [{section}]", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value as it came: typed (TOML, flags) or as text whose type only the `Config` knows.
#[derive(Debug, Clone)]
pub(super) enum Written {
    Typed(Value),
    Text(String),
}

/// One setting of a layer.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) origin: Origin,
    /// The key of the `Config`, in kebab-case.
    pub(super) key: String,
    pub(super) value: Written,
}

impl Written {
    /// The JSON values that this may mean, most literal first.
    pub(super) fn readings(&self) -> Vec<Value> {
        let text = match self {
            Self::Typed(value) => return vec![value.clone()],
            Self::Text(text) => text,
        };
        let mut readings = vec![Value::String(text.clone())];
        if let Ok(scalar @ (Value::Bool(_) | Value::Number(_))) = serde_json::from_str(text.trim())
        {
            readings.push(scalar);
        }
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        readings.push(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()));
        readings
    }

    /// The value for people.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Typed(Value::String(text)) | Self::Text(text) => text.clone(),
            Self::Typed(value) => value.to_string(),
        }
    }
}
