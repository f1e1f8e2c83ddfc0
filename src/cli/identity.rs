//! Becoming another user: of the server, which binds what only root may and becomes another before the first byte is
//! read, and of a command that runs as somebody else.
//!
//! Whatever of it fails ends the process: one that goes on as root where it was told not to is worse than none
//! (CVE-2013-4559, fault H9).

use std::ffi::CString;

use anyhow::{Context as _, bail, ensure};
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgid, getgrouplist, getgroups, getresgid, getresuid,
    getuid, setgroups, setresgid, setresuid,
};

use super::Failure;
use crate::config::quoted;

/// The user and the groups that the server is to have.
#[derive(Debug)]
pub(super) struct Identity {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    name: String,
}

impl Identity {
    /// Those of this user, with this group instead of the user's own where one is given; `None`: nobody asked.
    ///
    /// Both may be names or numbers. To look up a name may wait, so this is for the start.
    pub(super) fn find(
        user: Option<&str>,
        group: Option<&str>,
    ) -> Result<Option<Identity>, Failure> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        let number = user.and_then(|user| user.parse().ok()).map(Uid::from_raw);
        // One whom nobody has described needs a group that somebody says.
        let anonymous = number.filter(|uid| group.is_some() && User::from_uid(*uid) == Ok(None));
        let found = user
            .filter(|_| anonymous.is_none())
            .map(find_user)
            .transpose()?;
        let named = group.map(find_group).transpose()?;
        let known = found.as_ref().map(|user| user.uid);
        let uid = known.or(anonymous).unwrap_or_else(geteuid);
        let gid = named
            .or(found.as_ref().map(|user| user.gid))
            .unwrap_or_else(getegid);
        let groups = match &found {
            // Others that it is a member of, such as one that may read certificates.
            Some(user) => groups_of(user, gid)?,
            None => vec![gid],
        };
        let is_other = uid != geteuid() || gid != getegid();
        if is_other && !geteuid().is_root() {
            let (option, value) = match (user, group) {
                (Some(user), _) if uid != geteuid() => ("user", user),
                (_, group) => ("group", group.unwrap_or_default()),
            };
            return Err(Failure::usage(format_args!(
                "`{option} = {value:?}`: only root becomes another, and this process is user {}; start it as root, or without `{option}`",
                geteuid()
            )));
        }
        let name = user.map_or_else(|| uid.to_string(), ToOwned::to_owned);
        Ok(is_other.then_some(Identity {
            uid,
            gid,
            groups,
            name,
        }))
    }

    /// Becomes it, for good: supplementary groups first, while there is the right to change them, the user last.
    pub(super) fn assume(&self) -> anyhow::Result<()> {
        let Identity {
            uid,
            gid,
            groups,
            name,
        } = self;
        let to = format!("cannot become user {name}");
        setgroups(groups).with_context(|| format!("{to}: setgroups failed"))?;
        setresgid(*gid, *gid, *gid).with_context(|| format!("{to}: setresgid to {gid} failed"))?;
        setresuid(*uid, *uid, *uid).with_context(|| format!("{to}: setresuid to {uid} failed"))?;
        // What the calls have answered is not all: what they have done is looked at.
        let (uids, gids) = (getresuid()?, getresgid()?);
        ensure!(
            [uids.real, uids.effective, uids.saved] == [*uid; 3]
                && [gids.real, gids.effective, gids.saved] == [*gid; 3]
                && (getuid(), getgid()) == (*uid, *gid),
            "{to}: the kernel says that this process is another still"
        );
        let has = getgroups().with_context(|| format!("{to}: getgroups failed"))?;
        ensure!(
            has.iter().all(|group| groups.contains(group)),
            "{to}: it has groups left that are not the user's"
        );
        if !uid.is_root() && setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok()
        {
            bail!("{to}: it could become root again");
        }
        Ok(())
    }

    /// The name of the user that the process becomes.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The numbers of its user and its group, for a file that it is to own.
    pub(in crate::cli) fn owner(&self) -> (u32, u32) {
        (self.uid.as_raw(), self.gid.as_raw())
    }
}

fn find_user(name: &str) -> Result<User, Failure> {
    let wrong = |why: String| Failure::usage(format_args!("`user = {name:?}`: {why}"));
    let found = match name.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(name),
    };
    match found {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(wrong(format!(
            "there is no user {}; `useradd --system` makes one",
            quoted(name)
        ))),
        Err(error) => Err(wrong(format!("it cannot be looked up: {error}"))),
    }
}

fn find_group(name: &str) -> Result<Gid, Failure> {
    let wrong = |why: String| Failure::usage(format_args!("`group = {name:?}`: {why}"));
    let found = match name.parse() {
        Ok(number) => Group::from_gid(Gid::from_raw(number)),
        Err(_) => Group::from_name(name),
    };
    match found {
        Ok(Some(group)) => Ok(group.gid),
        // A number is one whether or not somebody has named it.
        Ok(None) if let Ok(number) = name.parse() => Ok(Gid::from_raw(number)),
        Ok(None) => Err(wrong(format!("there is no group {}", quoted(name)))),
        Err(error) => Err(wrong(format!("it cannot be looked up: {error}"))),
    }
}

fn groups_of(user: &User, gid: Gid) -> Result<Vec<Gid>, Failure> {
    let name = CString::new(user.name.as_str()).map_err(Failure::usage)?;
    let groups = getgrouplist(&name, gid);
    let groups = groups.with_context(|| format!("cannot look up the groups of {}", user.name))?;
    Ok(groups)
}
