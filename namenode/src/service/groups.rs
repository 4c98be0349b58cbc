//! Which groups a user belongs to, and who the superuser is.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Config;
use crate::namesystem::types::Caller;

/// How long an answer is kept (HDFS `hadoop.security.groups.cache.secs`: 300 s; files are cheap).
const CACHE_MS: u64 = 30_000;
/// Users kept. A client names its user freely, so this bounds what it can make us remember.
const CACHE_USERS: usize = 4_096;

/// When a caller was resolved, and to what.
type Cached = (u64, Arc<Caller>);

/// Resolves users: configured groups first, then this machine's `/etc/passwd` and `/etc/group`.
#[derive(Debug)]
pub struct Groups {
    /// The user this process runs as (HDFS: the superuser is whoever started the namenode).
    pub superuser: String,
    supergroup: String,
    configured: BTreeMap<String, Vec<Arc<str>>>,
    cache: Mutex<BTreeMap<Arc<str>, Cached>>,
}

impl Groups {
    /// Reads the settings and finds the superuser.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let configured = config
            .user_groups
            .iter()
            .filter_map(|entry| entry.split_once('='))
            .map(|(user, groups)| {
                let groups = groups.split(',').map(str::trim).filter(|g| !g.is_empty());
                (user.trim().to_owned(), groups.map(Arc::from).collect())
            })
            .collect();
        Self {
            superuser: process_user(),
            supergroup: config.supergroup.clone(),
            configured,
            cache: Mutex::new(BTreeMap::new()),
        }
    }

    /// The caller of this name.
    pub fn caller(&self, user: &Arc<str>, now_ms: u64) -> Arc<Caller> {
        let mut cache = self.cache.lock();
        if let Some((at, caller)) = cache.get(user)
            && now_ms.saturating_sub(*at) < CACHE_MS
        {
            return Arc::clone(caller);
        }
        let groups = match self.configured.get(&**user) {
            Some(groups) => groups.clone(),
            None => system_groups(user),
        };
        let superuser = **user == *self.superuser || groups.iter().any(|g| **g == *self.supergroup);
        let caller = Arc::new(Caller { user: Arc::clone(user), groups, superuser });
        if cache.len() >= CACHE_USERS {
            cache.clear();
        }
        cache.insert(Arc::clone(user), (now_ms, Arc::clone(&caller)));
        caller
    }
}

/// The name of the user this process runs as.
#[must_use]
pub fn process_user() -> String {
    let uid = rustix::process::geteuid().as_raw();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2).and_then(|id| id.parse::<u32>().ok()) == Some(uid))
        .and_then(|fields| fields.first().map(|name| (*name).to_owned()))
        .or_else(|| std::env::var("USER").ok())
        .unwrap_or_else(|| uid.to_string())
}

/// The groups `/etc/group` and `/etc/passwd` give a user; the primary one first.
fn system_groups(user: &str) -> Vec<Arc<str>> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    groups_in(user, &passwd, &group)
}

fn groups_in(user: &str, passwd: &str, group: &str) -> Vec<Arc<str>> {
    let primary = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&user))
        .and_then(|fields| fields.get(3).map(|gid| (*gid).to_owned()));
    let mut groups: Vec<Arc<str>> = Vec::new();
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields[..] else { continue };
        if primary.as_deref() == Some(gid) {
            groups.insert(0, name.into());
        } else if members.split(',').any(|member| member == user) {
            groups.push(name.into());
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_group_comes_first() {
        let passwd = "root:x:0:0::/root:/bin/sh\nalice:x:1000:100::/home/alice:/bin/sh\n";
        let group = "root:x:0:\nstaff:x:50:alice,bob\nusers:x:100:\n";
        let names: Vec<Arc<str>> = vec!["users".into(), "staff".into()];
        assert_eq!(groups_in("alice", passwd, group), names);
        assert!(groups_in("nobody", passwd, group).is_empty());
    }

    #[test]
    fn configured_groups_decide_and_the_supergroup_makes_superusers() {
        let config = Config {
            user_groups: vec!["eve=staff, supergroup".to_owned(), "bob=staff".to_owned()],
            ..Config::default()
        };
        let groups = Groups::new(&config);
        assert!(groups.caller(&"eve".into(), 0).superuser);
        let bob = groups.caller(&"bob".into(), 0);
        assert!(!bob.superuser);
        assert_eq!(bob.groups, vec![Arc::from("staff")]);
        let own: Arc<str> = process_user().into();
        assert!(groups.caller(&own, 0).superuser);
    }
}
