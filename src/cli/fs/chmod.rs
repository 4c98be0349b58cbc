//! `chmod`, `chown` and `chgrp`: who may do what.

use clap::Args;

use super::shell::{Complaint, Done, Item, Shell};

/// Changes permissions: octal (755, 1777) or symbolic (u+rwx,go-w,a=rX,+t).
#[derive(Debug, Clone, Args)]
pub struct Chmod {
    /// Change what is below directories, too
    #[arg(short = 'R')]
    pub recursive: bool,
    /// The permissions
    #[arg(allow_hyphen_values = true)]
    pub mode: String,
    /// Files and directories; globs are expanded
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Chmod {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        let mode = match Mode::parse(&self.mode) {
            Some(mode) => mode,
            None => {
                return shell.complain(&Complaint(format!(
                    "chmod : mode '{}' does not match the expected pattern.",
                    self.mode
                )));
            }
        };
        shell
            .each_deep(&self.paths, self.recursive, async |Item { target, status }| {
                let bits = mode.apply(status.permission, status.is_dir());
                if bits == status.permission {
                    return Ok(());
                }
                target.fs.set_permission(&target.path, bits).await.map_err(|e| target.complaint(&e))
            })
            .await;
    }
}

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    Octal(u16),
    Symbolic(Vec<Clause>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    /// The classes it is about: bits of 0o700, 0o070, 0o007.
    who: u16,
    operator: char,
    /// rwx in the lowest three bits.
    bits: u16,
    /// `X`: execution, only for directories and files that someone may execute.
    conditional_execute: bool,
    sticky: bool,
}

impl Mode {
    fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.chars().all(|c| c.is_digit(8)) {
            let bits = u16::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o1777)?;
            return Some(Self::Octal(bits));
        }
        text.split(',').map(Clause::parse).collect::<Option<Vec<_>>>().map(Self::Symbolic)
    }

    fn apply(&self, old: u16, is_dir: bool) -> u16 {
        match self {
            // Three octal digits leave the sticky bit as Hadoop does: cleared.
            Self::Octal(bits) => *bits,
            Self::Symbolic(clauses) => clauses.iter().fold(old, |bits, c| c.apply(bits, is_dir)),
        }
    }
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        let at = text.find(['+', '-', '='])?;
        let (classes, rest) = text.split_at(at);
        let mut who = 0;
        for class in classes.chars() {
            who |= match class {
                'u' => 0o700,
                'g' => 0o070,
                'o' => 0o007,
                'a' => 0o777,
                _ => return None,
            };
        }
        let mut rest = rest.chars();
        let operator = rest.next()?;
        let mut clause = Self {
            who: if who == 0 { 0o777 } else { who },
            operator,
            bits: 0,
            conditional_execute: false,
            sticky: false,
        };
        for letter in rest {
            match letter {
                'r' => clause.bits |= 4,
                'w' => clause.bits |= 2,
                'x' => clause.bits |= 1,
                'X' => clause.conditional_execute = true,
                't' => clause.sticky = true,
                _ => return None,
            }
        }
        Some(clause)
    }

    fn apply(&self, old: u16, is_dir: bool) -> u16 {
        let execute = self.conditional_execute && (is_dir || old & 0o111 != 0);
        let bits = self.bits | u16::from(execute);
        let mut change = (bits * 0o111) & self.who;
        if self.sticky {
            change |= 0o1000;
        }
        match self.operator {
            '+' => old | change,
            '-' => old & !change,
            _ => (old & !self.who) | change,
        }
    }
}

/// Changes the owner, the group or both: OWNER, OWNER:GROUP or :GROUP.
#[derive(Debug, Clone, Args)]
pub struct Chown {
    /// Change what is below directories, too
    #[arg(short = 'R')]
    pub recursive: bool,
    /// The new owner and group
    #[arg(value_name = "OWNER[:GROUP]")]
    pub owner: String,
    /// Files and directories; globs are expanded
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Chown {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        let (owner, group) = match self.owner.split_once(':') {
            Some((owner, group)) => (owner, group),
            None => (self.owner.as_str(), ""),
        };
        change_owner(shell, &self.paths, self.recursive, owner, group).await;
    }
}

/// Changes the group.
#[derive(Debug, Clone, Args)]
pub struct Chgrp {
    /// Change what is below directories, too
    #[arg(short = 'R')]
    pub recursive: bool,
    /// The new group
    pub group: String,
    /// Files and directories; globs are expanded
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Chgrp {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        change_owner(shell, &self.paths, self.recursive, "", &self.group).await;
    }
}

async fn change_owner(shell: &Shell, paths: &[String], deep: bool, owner: &str, group: &str) {
    let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let (owner, group) = (some(owner), some(group));
    if owner.is_none() && group.is_none() {
        return shell.complain(&Complaint("name a new owner, a new group or both".to_owned()));
    }
    shell
        .each_deep(paths, deep, async |Item { target, .. }| -> Done {
            target
                .fs
                .set_owner(&target.path, owner.as_deref(), group.as_deref())
                .await
                .map_err(|e| target.complaint(&e))
        })
        .await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn changed(mode: &str, old: u16, is_dir: bool) -> u16 {
        Mode::parse(mode).unwrap().apply(old, is_dir)
    }

    #[test]
    fn octal_modes() {
        assert_eq!(changed("755", 0, false), 0o755);
        assert_eq!(changed("1777", 0, true), 0o1777);
        assert_eq!(Mode::parse("788"), None);
        assert_eq!(Mode::parse("2777"), None);
    }

    #[test]
    fn symbolic_modes() {
        assert_eq!(changed("u+x", 0o644, false), 0o744);
        assert_eq!(changed("go-rwx", 0o755, false), 0o700);
        assert_eq!(changed("a=r,u+w", 0o777, false), 0o644);
        assert_eq!(changed("+t", 0o777, true), 0o1777);
        assert_eq!(changed("-t", 0o1777, true), 0o777);
        assert_eq!(changed("a+X", 0o644, false), 0o644);
        assert_eq!(changed("a+X", 0o644, true), 0o755);
        assert_eq!(changed("-w", 0o666, false), 0o444);
        assert_eq!(Mode::parse("u~x"), None);
        assert_eq!(Mode::parse(""), None);
    }
}
