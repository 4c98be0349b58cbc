//! Path patterns as Hadoop has them: `*`, `?`, `[abc]`, `[a-z]`, `[^...]`, `{a,b}`, `\x`.

use anyhow::Result;

use super::FileInfo;
use super::system::System;

/// The most paths that alternatives in braces may give: `{a,b}{a,b}...` doubles with each.
const MAX_ALTERNATIVES: usize = 1024;

pub(super) fn expand(system: &System, pattern: &str) -> Result<Vec<FileInfo>> {
    let mut found = Vec::new();
    for pattern in alternatives(pattern)? {
        let absolute = pattern.starts_with('/');
        let mut paths = vec![if absolute { "/".to_owned() } else { ".".to_owned() }];
        for component in pattern.split('/').filter(|part| !part.is_empty()) {
            paths = descend(system, &paths, component)?;
        }
        for path in paths {
            found.extend(system.status(&path)?);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup();
    Ok(found)
}

fn descend(system: &System, parents: &[String], component: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for parent in parents {
        if !component.contains(['*', '?', '[', '\\']) {
            let path = join(parent, component);
            if system.status(&path)?.is_some() {
                paths.push(path);
            }
            continue;
        }
        if system.status(parent)?.is_some_and(|info| info.is_dir) {
            let entries = system.list(parent)?;
            let matching = entries.iter().filter(|entry| matches(component, entry.name()));
            paths.extend(matching.map(|entry| join(parent, entry.name())));
        }
    }
    Ok(paths)
}

fn join(parent: &str, name: &str) -> String {
    if parent.ends_with('/') { format!("{parent}{name}") } else { format!("{parent}/{name}") }
}

/// Replaces the first pair of braces by each of its alternatives, and so on.
fn alternatives(pattern: &str) -> Result<Vec<String>> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(pattern) = open.pop() {
        let braces = pattern.find('{').and_then(|start| {
            let length = pattern[start..].find('}')?;
            Some((start, start + length))
        });
        match braces {
            None => done.push(pattern),
            Some((start, end)) => open.extend(
                pattern[start + 1..end]
                    .split(',')
                    .map(|choice| format!("{}{choice}{}", &pattern[..start], &pattern[end + 1..])),
            ),
        }
        anyhow::ensure!(
            done.len() + open.len() <= MAX_ALTERNATIVES,
            "the pattern has more than {MAX_ALTERNATIVES} alternatives; name a directory instead"
        );
    }
    done.sort();
    Ok(done)
}

/// Whether a name without slashes matches a pattern without braces.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // The classic scan: on a mismatch, let the last `*` take one more character.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
            continue;
        }
        match one(&pattern[p..], name[n]) {
            Some(used) => {
                p += used;
                n += 1;
            }
            None => match star {
                Some((star_p, star_n)) => {
                    star = Some((star_p, star_n + 1));
                    p = star_p + 1;
                    n = star_n + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// How many characters of the pattern match this one, if they do.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match *pattern.first()? {
        '?' => Some(1),
        '\\' if pattern.len() > 1 => (pattern[1] == c).then_some(2),
        '[' => {
            let end = 2 + pattern.get(2..)?.iter().position(|&c| c == ']')?;
            let negated = matches!(pattern[1], '^' | '!');
            let set = &pattern[1 + usize::from(negated)..end];
            let mut found = false;
            let mut at = 0;
            while at < set.len() {
                if at + 2 < set.len() && set[at + 1] == '-' {
                    found |= (set[at]..=set[at + 2]).contains(&c);
                    at += 3;
                } else {
                    found |= set[at] == c;
                    at += 1;
                }
            }
            (found != negated).then_some(end + 1)
        }
        literal => (literal == c).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Files;
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txt.gz", false),
            ("a*b*c", "aXbXbXc", true),
            ("?", "ä", true),
            ("part-[0-9]?", "part-1x", true),
            ("part-[^0-9]", "part-1", false),
            ("[", "[", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn braces_are_alternatives() {
        assert_eq!(
            alternatives("/a/{x,y}/{1,2}").unwrap(),
            ["/a/x/1", "/a/x/2", "/a/y/1", "/a/y/2"]
        );
        assert!(alternatives(&"{a,b}".repeat(30)).is_err());
    }

    #[test]
    fn local_files_are_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.txt", "b.txt", "c.log"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let found = Files::local().glob(&format!("{}/*.txt", dir.path().display())).unwrap();
        assert_eq!(found.iter().map(FileInfo::name).collect::<Vec<_>>(), ["a.txt", "b.txt"]);
        let error = Files::local().glob(&format!("{}/*.csv", dir.path().display())).unwrap_err();
        assert!(error.to_string().contains("does not exist"), "{error}");
    }
}
