//! Who may submit to a queue and who may change its jobs. Lists are written as in Hadoop
//! (`AccessControlList`): users and groups separated by commas, the two lists by a space, `*` for
//! everybody. Who a caller is he says himself, as everywhere in a cluster without Kerberos; his groups
//! are those of this machine.

use std::collections::{BTreeMap, BTreeSet};

/// Users and groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acl {
    everybody: bool,
    users: BTreeSet<String>,
    groups: BTreeSet<String>,
}

impl Acl {
    /// Reads `user,user group,group`; empty: nobody.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.trim() == "*" {
            return Self { everybody: true, ..Self::default() };
        }
        let list = |part: &str| {
            let names = part.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        };
        // " group" has no users: what stands before the first space are the users.
        let (users, groups) = text.split_once(' ').unwrap_or((text, ""));
        Self { everybody: false, users: list(users), groups: list(groups) }
    }

    /// Whether a user with these groups is in it.
    #[must_use]
    pub fn has(&self, caller: &Caller<'_>) -> bool {
        self.everybody
            || self.users.contains(caller.user)
            || (!self.groups.is_empty()
                && (caller.groups)(caller.user).iter().any(|group| self.groups.contains(group)))
    }
}

/// Who wants something.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// His name.
    pub user: &'a str,
    /// Finds the groups of a user; asked only when a list names groups.
    pub groups: &'a dyn Fn(&str) -> Vec<String>,
}

/// The two lists of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAcls {
    /// Who may submit (`acl-submit-job`).
    pub submit: Acl,
    /// Who may kill jobs of others and change their priority (`acl-administer-jobs`).
    pub administer: Acl,
}

/// All that is allowed.
#[derive(Debug, Clone)]
pub struct Access {
    /// By queue.
    pub queues: BTreeMap<String, QueueAcls>,
    /// Who may do everything.
    pub administrators: Acl,
    /// The user that the jobtracker runs as: he may, too.
    pub superuser: String,
}

impl Access {
    fn is_administrator(&self, caller: &Caller<'_>) -> bool {
        caller.user == self.superuser || self.administrators.has(caller)
    }

    /// Whether a job may be submitted.
    ///
    /// # Errors
    /// A sentence: there is no such queue, or its list does not have the caller.
    pub fn submit(&self, queue: &str, caller: &Caller<'_>) -> Result<(), Refused> {
        let Some(acls) = self.queues.get(queue) else {
            let names: Vec<&str> = self.queues.keys().map(String::as_str).collect();
            return Err(Refused::NoQueue(format!(
                "there is no queue '{queue}' (mapreduce.job.queuename); there are: {}",
                names.join(", ")
            )));
        };
        if acls.submit.has(caller) || acls.administer.has(caller) || self.is_administrator(caller) {
            return Ok(());
        }
        let user = caller.user;
        Err(Refused::NotAllowed(format!(
            "{user} may not submit jobs to the queue {queue}; its acl-submit-job does not have {user}"
        )))
    }

    /// Whether a job may be killed or changed: by its owner, and by those who administer its queue.
    ///
    /// # Errors
    /// A sentence that says who may.
    pub fn administer_job(
        &self,
        queue: &str,
        owner: &str,
        caller: &Caller<'_>,
    ) -> Result<(), Refused> {
        let in_queue = self.queues.get(queue).is_none_or(|acls| acls.administer.has(caller));
        if caller.user == owner || in_queue || self.is_administrator(caller) {
            return Ok(());
        }
        Err(Refused::NotAllowed(format!(
            "the job is {owner}'s; {} is not in acl-administer-jobs of its queue {queue}",
            caller.user
        )))
    }

    /// Whether workers may be drained.
    ///
    /// # Errors
    /// A sentence that says who may.
    pub fn administer_cluster(&self, caller: &Caller<'_>) -> Result<(), Refused> {
        if self.is_administrator(caller) {
            return Ok(());
        }
        Err(Refused::NotAllowed(format!(
            "{} is not in the jobtracker's administrators and may not drain workers",
            caller.user
        )))
    }
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue does not exist.
    #[error("{0}")]
    NoQueue(String),
    /// No list has the caller.
    #[error("{0}")]
    NotAllowed(String),
}

/// The groups that `/etc/passwd` and `/etc/group` give a user.
#[must_use]
pub fn system_groups(user: &str) -> Vec<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    groups_in(user, &passwd, &group)
}

fn groups_in(user: &str, passwd: &str, group: &str) -> Vec<String> {
    let own = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.first() == Some(&user)).then(|| fields.get(3).copied().unwrap_or_default())
    });
    let mut found = Vec::new();
    for line in group.lines() {
        let [name, _, gid, members] = line.split(':').collect::<Vec<_>>()[..] else { continue };
        if own == Some(gid) || members.split(',').any(|member| member == user) {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn groups(user: &str) -> Vec<String> {
        let passwd = "eve:x:1000:100::/home/eve:/bin/sh\n";
        let group = "users:x:100:\nstaff:x:50:bob,eve\nother:x:51:bob\n";
        groups_in(user, passwd, group)
    }

    fn caller(user: &str) -> Caller<'_> {
        Caller { user, groups: &groups }
    }

    #[test]
    fn groups_are_those_of_the_machine() {
        assert_eq!(groups("eve"), ["users", "staff"]);
        assert_eq!(groups("bob"), ["staff", "other"]);
        assert!(groups("nobody").is_empty());
    }

    #[test]
    fn a_list_has_users_groups_everybody_or_nobody() {
        let has = |list: &str, user| Acl::parse(list).has(&caller(user));
        assert!(has("*", "anyone"));
        assert!(has("ann,eve", "eve") && !has("ann", "eve"));
        assert!(has("ann staff", "bob") && has(" users", "eve") && !has(" users", "bob"));
        assert!(!has("", "eve") && !has(" ", "eve"));
    }

    #[test]
    fn owners_and_administrators_may_change_a_job() {
        let acls = |submit, administer| QueueAcls {
            submit: Acl::parse(submit),
            administer: Acl::parse(administer),
        };
        let access = Access {
            queues: [("etl".to_owned(), acls("ann", "bob"))].into(),
            administrators: Acl::parse("root"),
            superuser: "hfs".to_owned(),
        };
        assert!(access.submit("etl", &caller("ann")).is_ok());
        assert!(access.submit("etl", &caller("bob")).is_ok());
        let why = access.submit("etl", &caller("eve")).unwrap_err().to_string();
        assert!(why.contains("acl-submit-job"), "{why}");
        let why = access.submit("none", &caller("ann")).unwrap_err();
        assert!(matches!(&why, Refused::NoQueue(text) if text.contains("etl")), "{why}");
        for user in ["ann", "bob", "root", "hfs"] {
            assert!(access.administer_job("etl", "ann", &caller(user)).is_ok(), "{user}");
        }
        assert!(access.administer_job("etl", "ann", &caller("eve")).is_err());
        assert!(access.administer_cluster(&caller("hfs")).is_ok());
        assert!(access.administer_cluster(&caller("ann")).is_err());
    }
}
