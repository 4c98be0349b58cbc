//! Sets owner and group (HDFS `FSDirAttrOp.setOwner`).

use std::sync::Arc;

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::INodeId;

use crate::namesystem::Namespace;
use crate::namesystem::access;
use crate::namesystem::codec::record;
use crate::namesystem::inode::Perm;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Ctx, Effect, Proposal, Result, fail};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// File or directory.
    pub path: &'a str,
    /// The new owner; `None` leaves it.
    pub user: Option<&'a str>,
    /// The new group; `None` leaves it.
    pub group: Option<&'a str>,
}

record! {
    /// Sets owner and group.
    pub struct SetOwner {
        /// File or directory.
        pub inode: INodeId,
        /// The new owner.
        pub user: Option<Arc<str>>,
        /// The new group.
        pub group: Option<Arc<str>>,
    }
}

/// Decides about a request.
///
/// # Errors
/// `NotFound`; `AccessDenied` for whoever is neither owner nor superuser, for an owner who gives the file away, or to a
/// group that is not the owner's.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<()>> {
    let path = ns.path(request.path)?;
    let Some(slot) = ns.resolve(&path, ctx.caller)?.slot() else {
        return fail(ErrorKind::NotFound, format!("File does not exist: {path}"));
    };
    access::require_owner(&ns.tree, slot, ctx.caller)?;
    let caller = ctx.caller;
    let user = request.user.filter(|user| !user.is_empty());
    let group = request.group.filter(|group| !group.is_empty());
    if !caller.superuser {
        if user.is_some_and(|user| *user != *caller.user) {
            return fail(
                ErrorKind::AccessDenied,
                format!(
                    "User {} is not a super user (non-super user cannot change owner).",
                    caller.user
                ),
            );
        }
        if let Some(group) =
            group.filter(|group| !caller.groups.iter().any(|mine| **mine == **group))
        {
            return fail(
                ErrorKind::AccessDenied,
                format!("User {} does not belong to {group}", caller.user),
            );
        }
    }
    ns.require_names()?;
    if user.is_none() && group.is_none() {
        return Proposal::unchanged(());
    }
    let op = SetOwner {
        inode: ns.tree.get(slot).id,
        user: user.map(Into::into),
        group: group.map(Into::into),
    };
    Ok(Proposal { entry: ctx.stamp(op), answer: () })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &SetOwner,
    _time_ms: u64,
    _effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find(op.inode)?;
    let perm = ns.tree.get(slot).perm;
    let user = op.user.as_deref().map_or(Ok(perm.user()), |user| ns.intern(user))?;
    let group = op.group.as_deref().map_or(Ok(perm.group()), |group| ns.intern(group))?;
    ns.tree.get_mut(slot).perm = Perm::new(user, group, perm.mode());
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::namesystem::testing::{Fixture, alice};

    #[test]
    fn an_owner_may_choose_among_its_groups_and_give_nothing_away() {
        let mut fixture = Fixture::new();
        fixture.mkdirs("/a");
        let ask = |fixture: &Fixture, user, group| {
            let request = Request { path: "/a", user, group };
            check(&fixture.ns, &request, &fixture.ctx())
        };
        let proposal = ask(&fixture, Some("alice"), None).unwrap();
        fixture.carry_out(proposal);
        fixture.caller = alice();
        let error = ask(&fixture, Some("bob"), None).unwrap_err();
        assert!(error.message.contains("User alice is not a super user"), "{error}");
        let error = ask(&fixture, None, Some("wheel")).unwrap_err();
        assert_eq!(error.message, "User alice does not belong to wheel");
        let proposal = ask(&fixture, Some("alice"), Some("staff")).unwrap();
        fixture.carry_out(proposal);
        let status = fixture.stat("/a");
        assert_eq!((&*status.owner, &*status.group), ("alice", "staff"));
        fixture.caller = crate::namesystem::Caller::user("bob", &[]);
        let error = ask(&fixture, None, Some("staff")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::AccessDenied);
        fixture.assert_recoverable();
    }
}
