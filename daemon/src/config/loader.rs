//! Lays the layers over each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::layer::{Origin, Setting, Written};
use super::xml::{XmlKey, read_xml};
use super::{ConfigError, nearest};

/// The sections an `hfs.toml` may have: one file can configure every role of a machine.
const SECTIONS: [&str; 4] = ["namenode", "datanode", "jobtracker", "worker"];

/// Collects the places where settings of a role stand.
#[derive(Debug, Clone)]
pub struct Loader<'a> {
    role: &'a str,
    toml_file: Option<PathBuf>,
    hadoop: Option<(PathBuf, &'a [XmlKey])>,
    environment: Vec<(String, String)>,
    flags: Option<&'a ArgMatches>,
}

/// A role's configuration and where each setting came from.
#[derive(Debug, Clone)]
pub struct Loaded<C> {
    /// What is in force.
    pub config: C,
    /// By key; keys at their default are not in it.
    pub origins: BTreeMap<String, Origin>,
}

impl<'a> Loader<'a> {
    /// `role` names the section of `hfs.toml` and, in capitals, the variables.
    #[must_use]
    pub fn new(role: &'a str) -> Self {
        Self { role, toml_file: None, hadoop: None, environment: Vec::new(), flags: None }
    }

    /// Reads this `hfs.toml`, which must exist.
    #[must_use]
    pub fn toml_file(mut self, path: Option<&Path>) -> Self {
        self.toml_file = path.map(Path::to_owned);
        self
    }

    /// Reads `core-site.xml` and `hdfs-site.xml` in `dir`, if they are there, for the keys that the role maps.
    #[must_use]
    pub fn hadoop_dir(mut self, dir: Option<&Path>, keys: &'a [XmlKey]) -> Self {
        self.hadoop = dir.map(|dir| (dir.to_owned(), keys));
        self
    }

    /// Takes the variables that begin with `HFS_<ROLE>_`. Pass `std::env::vars_os()`.
    #[must_use]
    pub fn environment<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<std::ffi::OsString>,
        V: Into<std::ffi::OsString>,
    {
        self.environment = variables
            .into_iter()
            .filter_map(|(n, v)| Some((n.into().into_string().ok()?, v.into().into_string().ok()?)))
            .collect();
        self
    }

    /// Takes what was typed on the command line. The command must have been augmented with the `Config`'s
    /// `Args`; what clap fills in by default does not count as typed.
    #[must_use]
    pub fn flags(mut self, matches: &'a ArgMatches) -> Self {
        self.flags = Some(matches);
        self
    }

    /// Lays the layers over each other, each setting checked as it goes in.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn load<C>(&self) -> Result<Loaded<C>, ConfigError>
    where
        C: Default + Serialize + DeserializeOwned + clap::Args,
    {
        let role = self.role.to_owned();
        let not_plain = |message: String| ConfigError::NotPlainData { role: role.clone(), message };
        let Value::Object(mut settings) =
            serde_json::to_value(C::default()).map_err(|e| not_plain(e.to_string()))?
        else {
            return Err(not_plain("it is not a struct".to_owned()));
        };
        let mut config = C::default();
        let mut origins = BTreeMap::new();
        let mut layers = self.xml_settings()?;
        layers.extend(self.toml_settings()?);
        layers.extend(self.environment_settings());
        layers.extend(self.flags_settings::<C>(&settings).map_err(not_plain)?);
        for setting in layers {
            config = put::<C>(&mut settings, &setting)?;
            origins.insert(setting.key, setting.origin);
        }
        Ok(Loaded { config, origins })
    }

    fn xml_settings(&self) -> Result<Vec<Setting>, ConfigError> {
        let mut settings = Vec::new();
        let Some((dir, keys)) = &self.hadoop else { return Ok(settings) };
        for name in ["core-site.xml", "hdfs-site.xml"] {
            let path = dir.join(name);
            let Some(properties) = read_xml(&path)? else { continue };
            for key in *keys {
                let Some(value) = properties.get(key.hadoop) else { continue };
                let origin = Origin::Xml(path.clone());
                let ours = (key.convert)(value).map_err(|message| ConfigError::Value {
                    origin: origin.clone(),
                    key: key.hadoop.to_owned(),
                    value: value.clone(),
                    message,
                })?;
                settings.push(Setting {
                    origin,
                    key: key.key.to_owned(),
                    value: Written::Text(ours),
                });
            }
        }
        Ok(settings)
    }

    fn toml_settings(&self) -> Result<Vec<Setting>, ConfigError> {
        let Some(path) = &self.toml_file else { return Ok(Vec::new()) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let syntax = |message: String| ConfigError::Syntax { path: path.clone(), message };
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| syntax(e.to_string()))?;
        let mut settings = Vec::new();
        for (section, content) in table {
            if !SECTIONS.contains(&section.as_str()) {
                return Err(ConfigError::UnknownKey {
                    origin: Origin::Toml { path: path.clone(), section: String::new() },
                    nearest: nearest(&section, SECTIONS).map(str::to_owned),
                    key: section,
                });
            }
            if section != self.role {
                continue;
            }
            let toml::Value::Table(content) = content else {
                return Err(syntax(format!("{section} must be a section: [{section}]")));
            };
            for (key, value) in content {
                let value = serde_json::to_value(value).map_err(|e| syntax(e.to_string()))?;
                let origin = Origin::Toml { path: path.clone(), section: section.clone() };
                settings.push(Setting { origin, key, value: Written::Typed(value) });
            }
        }
        Ok(settings)
    }

    fn environment_settings(&self) -> Vec<Setting> {
        let prefix = format!("HFS_{}_", self.role.to_ascii_uppercase());
        let mut settings = Vec::new();
        for (name, value) in &self.environment {
            let Some(key) = name.strip_prefix(&prefix) else { continue };
            settings.push(Setting {
                origin: Origin::Environment(name.clone()),
                key: key.to_ascii_lowercase().replace('_', "-"),
                value: Written::Text(value.clone()),
            });
        }
        settings
    }

    fn flags_settings<C>(&self, known: &Map<String, Value>) -> Result<Vec<Setting>, String>
    where
        C: Default + Serialize + clap::Args,
    {
        let Some(matches) = self.flags else { return Ok(Vec::new()) };
        let typed: Vec<&str> = matches
            .ids()
            .map(clap::Id::as_str)
            .filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
            .filter(|id| known.contains_key(&id.replace('_', "-")))
            .collect();
        if typed.is_empty() {
            return Ok(Vec::new());
        }
        let mut parsed = C::default();
        parsed.update_from_arg_matches(matches).map_err(|e| e.to_string())?;
        let values = serde_json::to_value(parsed).map_err(|e| e.to_string())?;
        Ok(typed
            .into_iter()
            .map(|id| {
                let key = id.replace('_', "-");
                Setting {
                    origin: Origin::Flag(format!("--{key}")),
                    value: Written::Typed(values.get(&key).cloned().unwrap_or_default()),
                    key,
                }
            })
            .collect())
    }
}

/// Puts one setting in and checks that the whole is still a `C`.
fn put<C: DeserializeOwned>(
    settings: &mut Map<String, Value>,
    setting: &Setting,
) -> Result<C, ConfigError> {
    let Some(former) = settings.get(&setting.key).cloned() else {
        return Err(ConfigError::UnknownKey {
            origin: setting.origin.clone(),
            key: setting.key.clone(),
            nearest: nearest(&setting.key, settings.keys().map(String::as_str)).map(str::to_owned),
        });
    };
    let mut complaint = String::new();
    for reading in setting.value.readings() {
        settings.insert(setting.key.clone(), reading);
        match serde_json::from_value(Value::Object(settings.clone())) {
            Ok(config) => return Ok(config),
            // The reading as plain text comes first, and its complaint says what was expected.
            Err(e) if complaint.is_empty() => complaint = e.to_string(),
            Err(_) => {}
        }
    }
    settings.insert(setting.key.clone(), former);
    Err(ConfigError::Value {
        origin: setting.origin.clone(),
        key: setting.key.clone(),
        value: setting.value.shown(),
        message: complaint,
    })
}

#[cfg(test)]
mod tests;
