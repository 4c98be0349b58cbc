//! Who may do what: the one function that decides (HDFS `FSPermissionChecker`).

use hfs_protocol::error::ErrorKind;

use super::inode::Inode;
use super::tree::Tree;
use super::types::{Caller, Result, fail};

/// Deleting or renaming an entry of such a directory is for the entry's owner, the directory's owner and the superuser.
pub const STICKY: u16 = 0o1000;
/// The bits of a mode that the namespace keeps.
pub const MODE_MASK: u16 = 0o1777;

/// A set of rights, in the bits of a mode's triple: 4 read, 2 write, 1 execute (HDFS `FsAction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(pub u16);

impl Access {
    /// Nothing: true for everybody who can reach the path.
    pub const NONE: Self = Self(0);
    /// Enter a directory.
    pub const EXECUTE: Self = Self(1);
    /// Change a file, or a directory's entries.
    pub const WRITE: Self = Self(2);
    /// Read a file, or a directory's entries.
    pub const READ: Self = Self(4);
    /// List a directory.
    pub const READ_EXECUTE: Self = Self(5);
    /// Everything.
    pub const ALL: Self = Self(7);

    /// The name HDFS prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 & 7 {
            0 => "NONE",
            1 => "EXECUTE",
            2 => "WRITE",
            3 => "WRITE_EXECUTE",
            4 => "READ",
            5 => "READ_EXECUTE",
            6 => "READ_WRITE",
            _ => "ALL",
        }
    }
}

/// Whether `caller` has the rights `want` on `inode`. Owner, else group, else other: the first that fits
/// decides alone, as POSIX has it.
#[must_use]
pub fn allowed(tree: &Tree, inode: &Inode, caller: &Caller, want: Access) -> bool {
    if caller.superuser {
        return true;
    }
    let mode = inode.perm.mode();
    let owner = tree.names().get(inode.perm.user());
    let group = tree.names().get(inode.perm.group());
    let shift = if **owner == *caller.user {
        6
    } else if caller.groups.iter().any(|mine| **mine == **group) {
        3
    } else {
        0
    };
    (mode >> shift) & want.0 == want.0
}

/// Requires the rights `want` on the inode in `slot`.
///
/// # Errors
/// `AccessDenied` in HDFS's words: user, access, path, owner, group and mode.
pub fn require(tree: &Tree, slot: u32, caller: &Caller, want: Access) -> Result<()> {
    let inode = tree.get(slot);
    if allowed(tree, inode, caller, want) {
        return Ok(());
    }
    let path = tree.path_of_slot(slot);
    fail(
        ErrorKind::AccessDenied,
        format!(
            "Permission denied: user={}, access={}, inode=\"{path}\":{}:{}:{}",
            caller.user,
            want.name(),
            tree.names().get(inode.perm.user()),
            tree.names().get(inode.perm.group()),
            mode_text(inode)
        ),
    )
}

/// Requires that `caller` owns the inode or is the superuser.
///
/// # Errors
/// `AccessDenied` with the path.
pub fn require_owner(tree: &Tree, slot: u32, caller: &Caller) -> Result<()> {
    let inode = tree.get(slot);
    if caller.superuser || **tree.names().get(inode.perm.user()) == *caller.user {
        return Ok(());
    }
    let path = tree.path_of_slot(slot);
    fail(
        ErrorKind::AccessDenied,
        format!("Permission denied. user={} is not the owner of inode={path}", caller.user),
    )
}

/// Requires the right to take the entry in `slot` out of its directory: write access to the directory, and if that is
/// sticky, to own one of both.
///
/// # Errors
/// `AccessDenied` with the paths.
pub fn require_removal(tree: &Tree, slot: u32, caller: &Caller) -> Result<()> {
    if caller.superuser {
        return Ok(());
    }
    let entry = tree.get(slot);
    let dir_slot = entry.parent();
    require(tree, dir_slot, caller, Access::WRITE)?;
    let dir = tree.get(dir_slot);
    let owns = |inode: &Inode| **tree.names().get(inode.perm.user()) == *caller.user;
    if dir.perm.mode() & STICKY == 0 || owns(dir) || owns(entry) {
        return Ok(());
    }
    fail(
        ErrorKind::AccessDenied,
        format!(
            "Permission denied by sticky bit: user={}, path=\"{}\":{}:{}:{}, parent=\"{}\":{}:{}:{}",
            caller.user,
            tree.path_of_slot(slot),
            tree.names().get(entry.perm.user()),
            tree.names().get(entry.perm.group()),
            mode_text(entry),
            tree.path_of_slot(dir_slot),
            tree.names().get(dir.perm.user()),
            tree.names().get(dir.perm.group()),
            mode_text(dir)
        ),
    )
}

/// A mode as `ls` prints it.
fn mode_text(inode: &Inode) -> String {
    let mode = inode.perm.mode();
    let mut text = String::from(if inode.is_dir() { "d" } else { "-" });
    for shift in [6, 3, 0] {
        let triple = mode >> shift;
        text.push(if triple & 4 != 0 { 'r' } else { '-' });
        text.push(if triple & 2 != 0 { 'w' } else { '-' });
        text.push(match (triple & 1 != 0, shift == 0 && mode & STICKY != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => 't',
            (false, true) => 'T',
        });
    }
    text
}
