//! Queues as they are configured: sections of `hfs.toml`, or the same as JSON in
//! `HFS_JOBTRACKER_QUEUES`.
//!
//! ```toml
//! [jobtracker.queues.etl]
//! weight = 3
//! min-share = 4
//! max-running-jobs = 10
//! policy = "fifo"
//! acl-submit-job = "ann,bob etl"
//! acl-administer-jobs = "ann"
//! ```

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::access::{Acl, QueueAcls};
use crate::job::DEFAULT_QUEUE;
use crate::scheduler::{Policy, QueueSettings};

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct QueueConfig {
    /// Its share against other queues.
    pub weight: u32,
    /// Processors (vcores) that it gets before others get more than theirs.
    pub min_share: u32,
    /// Jobs that run at once; more wait. 0: no bound.
    pub max_running_jobs: u32,
    /// How its jobs take turns; absent: as the jobtracker's `scheduling` says.
    pub policy: Option<Policy>,
    /// Who may submit: `user,user group,group`, or `*`.
    pub acl_submit_job: String,
    /// Who may kill jobs of others and change their priority.
    pub acl_administer_jobs: String,
}

impl Default for QueueConfig {
    fn default() -> Self {
        let everybody = "*".to_owned();
        Self {
            weight: 1,
            min_share: 0,
            max_running_jobs: 0,
            policy: None,
            acl_submit_job: everybody.clone(),
            acl_administer_jobs: everybody,
        }
    }
}

/// The queues, by name. The queue `default` is always there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Queues(BTreeMap<String, QueueConfig>);

impl Default for Queues {
    fn default() -> Self {
        Self([(DEFAULT_QUEUE.to_owned(), QueueConfig::default())].into())
    }
}

impl<'de> Deserialize<'de> for Queues {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Table(BTreeMap<String, serde_json::Value>),
            Text(String),
        }
        let table = match Written::deserialize(from)? {
            Written::Table(table) => table,
            Written::Text(text) => serde_json::from_str(&text).map_err(|e| {
                D::Error::custom(format!(
                    "it is not queues as JSON, {{\"etl\":{{\"weight\":3}}}}: {e}"
                ))
            })?,
        };
        let mut queues = Self::default().0;
        for (name, value) in table {
            let odd = |c: char| !(c.is_alphanumeric() || "-_.".contains(c));
            if name.is_empty() || name.contains(odd) {
                return Err(D::Error::custom(format!("'{name}' can't be the name of a queue")));
            }
            let queue: QueueConfig = serde_json::from_value(value)
                .map_err(|e| D::Error::custom(format!("the queue {name}: {e}")))?;
            if queue.weight == 0 {
                return Err(D::Error::custom(format!(
                    "the queue {name}: its weight must be at least 1"
                )));
            }
            queues.insert(name, queue);
        }
        Ok(Self(queues))
    }
}

impl Queues {
    /// What the scheduler is told of them.
    #[must_use]
    pub fn settings(&self, usual: Policy) -> BTreeMap<String, QueueSettings> {
        let settings = |queue: &QueueConfig| QueueSettings {
            weight: queue.weight,
            min_share: queue.min_share,
            max_running_jobs: queue.max_running_jobs,
            policy: queue.policy.unwrap_or(usual),
        };
        self.0.iter().map(|(name, queue)| (name.clone(), settings(queue))).collect()
    }

    /// Who may do what in them.
    #[must_use]
    pub fn acls(&self) -> BTreeMap<String, QueueAcls> {
        let acls = |queue: &QueueConfig| QueueAcls {
            submit: Acl::parse(&queue.acl_submit_job),
            administer: Acl::parse(&queue.acl_administer_jobs),
        };
        self.0.iter().map(|(name, queue)| (name.clone(), acls(queue))).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_table_and_json_mean_the_same() {
        let table = serde_json::json!({"etl": {"weight": 3, "policy": "fifo"}});
        let queues: Queues = serde_json::from_value(table.clone()).unwrap();
        let text = serde_json::Value::String(table.to_string());
        assert_eq!(serde_json::from_value::<Queues>(text).unwrap(), queues);
        let settings = queues.settings(Policy::Fair);
        assert_eq!(settings.len(), 2, "the default queue is there, too");
        assert_eq!((settings["etl"].weight, settings["etl"].policy), (3, Policy::Fifo));
        let again = serde_json::to_value(&queues).unwrap();
        assert_eq!(serde_json::from_value::<Queues>(again).unwrap(), queues);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            (r#"{"etl": {"wait": 3}}"#, "wait"),
            (r#"{"etl": {"weight": 0}}"#, "weight"),
            (r#"{"a b": {}}"#, "a b"),
            ("etl", "JSON"),
        ] {
            let why = serde_json::from_value::<Queues>(text.into()).unwrap_err().to_string();
            assert!(why.contains(part), "{why}");
        }
    }
}
