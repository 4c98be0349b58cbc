//! How many counters the code of a whole job may have. Each task is held to the limit by itself;
//! tasks that each have other counters exceed it together, and only here can that be seen.

use std::collections::BTreeMap;

use super::wishes::{COUNTERS_MAX, GROUPS_MAX, Wishes};

/// Groups that the engine itself keeps; their counters are few and do not count.
const ENGINE_GROUPS: [&str; 3] = ["TaskCounter", "FileSystemCounter", "JobCounter"];

/// Says which limit a job's counters exceed, in the words of Hadoop's `LimitExceededException`.
#[must_use]
pub fn exceeded(counters: &BTreeMap<(String, String), i64>, wishes: &Wishes) -> Option<String> {
    // Fewer of all than the limit are fewer of the user's, too: the usual case costs nothing.
    if counters.len() <= wishes.counters_max.min(wishes.groups_max) {
        return None;
    }
    let (mut count, mut groups, mut last) = (0, 0, "");
    for (group, _) in counters.keys() {
        if ENGINE_GROUPS.contains(&group.as_str()) {
            continue;
        }
        count += 1;
        if group != last {
            groups += 1;
            last = group;
        }
    }
    let sentence = |what: &str, count: usize, max: usize, property: &str| {
        format!(
            "Too many {what}: {count} max={max} over all tasks of the job; use fewer, or raise the \
             limit with -D {property}=..."
        )
    };
    if count > wishes.counters_max {
        return Some(sentence("counters", count, wishes.counters_max, COUNTERS_MAX));
    }
    let over = groups > wishes.groups_max;
    over.then(|| sentence("counter groups", groups, wishes.groups_max, GROUPS_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_users_counters_count() {
        let wishes = Wishes { counters_max: 2, groups_max: 2, ..Wishes::default() };
        let mut counters = BTreeMap::new();
        for (group, name) in [("TaskCounter", "A"), ("FileSystemCounter", "B"), ("mine", "a")] {
            counters.insert((group.to_owned(), name.to_owned()), 1);
        }
        counters.insert(("mine".to_owned(), "b".to_owned()), 1);
        assert_eq!(exceeded(&counters, &wishes), None);
        counters.insert(("yours".to_owned(), "b".to_owned()), 1);
        let why = exceeded(&counters, &wishes).unwrap();
        assert!(
            why.starts_with("Too many counters: 3 max=2") && why.contains(COUNTERS_MAX),
            "{why}"
        );
        let wishes = Wishes { counters_max: 9, groups_max: 1, ..Wishes::default() };
        let why = exceeded(&counters, &wishes).unwrap();
        assert!(why.starts_with("Too many counter groups: 2 max=1"), "{why}");
    }
}
