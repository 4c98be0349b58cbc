//! Files, directories and archives that every task of a job finds in its working directory: Hadoop's
//! distributed cache.
//!
//! They are named by properties, as in Hadoop: [`conf::CACHE_FILES`] and [`conf::CACHE_ARCHIVES`] by
//! paths of the job's file system, [`conf::LOCAL_FILES`] and [`conf::LOCAL_ARCHIVES`] (the options
//! `-files` and `-archives`) by paths of the submitter's machine. `path#name` says the name in the
//! working directory; without it, it is the last part of the path.
//!
//! What lies on the submitter's machine is brought into the job's staging directory. A worker brings
//! each item to its node once for a job, and each attempt has links to them.

mod here;
mod submit;
mod working_dir;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use hfs_client::{FsUrl, localize};

use crate::conf::{self, Conf};

pub(crate) use here::localize_here;
pub(crate) use submit::{forget, is_staged, submit_items, upload_dir};
pub(crate) use working_dir::WorkingDir;

/// Where an item lies before the job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A path of the submitter's machine.
    Local(String),
    /// A path of the job's file system.
    Job(String),
    /// A path of another file system.
    Other(FsUrl),
}

/// An item as a property names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) place: Place,
    /// Its name in the working directory.
    pub(crate) link: String,
    pub(crate) archive: bool,
}

impl Item {
    /// The path, wherever it lies.
    pub(crate) fn path(&self) -> &str {
        match &self.place {
            Place::Local(path) | Place::Job(path) => path,
            Place::Other(url) => url.path(),
        }
    }
}

/// The items that a job's properties name. Names must not collide: two things can't have one name in
/// a directory. One item that is named twice is one.
pub(crate) fn items(conf: &Conf) -> Result<Vec<Item>> {
    let properties = [
        (conf::LOCAL_FILES, true, false),
        (conf::CACHE_FILES, false, false),
        (conf::LOCAL_ARCHIVES, true, true),
        (conf::CACHE_ARCHIVES, false, true),
    ];
    let mut named: BTreeMap<String, Item> = BTreeMap::new();
    let mut items = Vec::new();
    for (property, local, archive) in properties {
        let words = conf.get(property).unwrap_or_default().split(',').map(str::trim);
        for word in words.filter(|word| !word.is_empty()) {
            let item = item(word, local, archive)
                .with_context(|| format!("'{word}' in the property {property} is no cache item"))?;
            match named.get(&item.link) {
                Some(other) if *other == item => continue,
                Some(other) => bail!(
                    "{} and {} would both have the name '{}' in the tasks' working directory; give \
                     one another name with #NAME",
                    other.path(),
                    item.path(),
                    item.link
                ),
                None => {}
            }
            named.insert(item.link.clone(), item.clone());
            items.push(item);
        }
    }
    Ok(items)
}

fn item(word: &str, local: bool, archive: bool) -> Result<Item> {
    let (path, name) = match word.split_once('#') {
        Some((path, name)) => (path, Some(name)),
        None => (word, None),
    };
    let place = if FsUrl::is_url(path) {
        let url: FsUrl = path.parse()?;
        if url.authority().is_some() {
            Place::Other(url)
        } else {
            Place::Job(url.path().to_owned())
        }
    } else if let Some(path) = path.strip_prefix("file:") {
        Place::Local(format!("/{}", path.trim_start_matches('/')))
    } else if local {
        Place::Local(path.to_owned())
    } else {
        Place::Job(path.to_owned())
    };
    let trimmed = path.trim_end_matches('/');
    let link = name.unwrap_or_else(|| trimmed.rsplit('/').next().unwrap_or_default()).to_owned();
    if link.is_empty() || link == "." || link == ".." || link.contains('/') || link.contains('\0') {
        bail!("'{link}' can't be its name in a directory; say another with #NAME");
    }
    if archive && !localize::is_archive(trimmed) {
        bail!("an archive's name must end with .tar, .tar.gz, .tgz, .zip or .jar");
    }
    Ok(Item { place, link, archive })
}

/// Adds a word to a list of words that commas part.
pub(crate) fn append(conf: &mut Conf, property: &str, word: &str) {
    let list = match conf.get(property).filter(|list| !list.is_empty()) {
        Some(list) => format!("{list},{word}"),
        None => word.to_owned(),
    };
    conf.set(property, list);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(properties: &[(&str, &str)]) -> Result<Vec<Item>> {
        items(&properties.iter().copied().collect())
    }

    #[test]
    fn items_lie_where_their_property_and_scheme_say() {
        let found = of(&[
            (conf::LOCAL_FILES, "a/map.py, hdfs:///x/y#z,"),
            (conf::CACHE_FILES, "/stop/words.txt,hdfs://other:8020/w#w2,file:///etc/hosts"),
            (conf::CACHE_ARCHIVES, "/a/lib.tar.gz#lib"),
        ])
        .unwrap();
        let shown: Vec<_> = found.iter().map(|i| (i.path(), i.link.as_str(), i.archive)).collect();
        assert_eq!(
            shown,
            [
                ("a/map.py", "map.py", false),
                ("/x/y", "z", false),
                ("/stop/words.txt", "words.txt", false),
                ("/w", "w2", false),
                ("/etc/hosts", "hosts", false),
                ("/a/lib.tar.gz", "lib", true),
            ]
        );
        assert!(matches!(found[0].place, Place::Local(_)));
        assert!(matches!(found[1].place, Place::Job(_)));
        assert!(matches!(found[2].place, Place::Job(_)));
        assert!(matches!(found[3].place, Place::Other(_)));
        assert!(matches!(found[4].place, Place::Local(_)));
        assert_eq!(of(&[]).unwrap(), []);
    }

    #[test]
    fn names_can_not_collide_or_lead_elsewhere() {
        let error = of(&[(conf::CACHE_FILES, "/a/x,/b/x")]).unwrap_err().to_string();
        assert!(error.contains("/a/x and /b/x would both have the name 'x'"), "{error}");
        assert_eq!(of(&[(conf::CACHE_FILES, "/a/x,/a/x")]).unwrap().len(), 1);
        for word in ["/a/x#..", "/a#b/c", "/", "/a#", "/a/.."] {
            assert!(of(&[(conf::CACHE_FILES, word)]).is_err(), "{word}");
        }
        let error = format!("{:#}", of(&[(conf::LOCAL_ARCHIVES, "a.rar")]).unwrap_err());
        assert!(error.contains("'a.rar'") && error.contains(".tar.gz"), "{error}");
    }
}
