//! The user that a worker runs as: names and numbers from the system's user database.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use serde::{Deserialize, Serialize};

/// The user to run as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The supplementary groups of the user. Only the group itself for a number that is not in the
    /// user database.
    pub(crate) groups: Vec<u32>,
}

/// Looks up the user, and the group if it is not to be the user's own. Each is a name or a number.
pub(crate) fn resolve(user: &str, named: Option<&str>) -> Result<Identity, String> {
    let known = match User::from_name(user) {
        Ok(Some(known)) => Some(known),
        Ok(None) => by_number(user)?,
        Err(error) => return Err(format!("cannot look up user {user}: {}", error.desc())),
    };
    let (uid, own_gid, name) = match known {
        Some(known) => (known.uid.as_raw(), Some(known.gid.as_raw()), Some(known.name)),
        None => (user.parse().map_err(|_| format!("no such user: {user}"))?, None, None),
    };
    let gid = match (named, own_gid) {
        (Some(name), _) => group(name)?,
        (None, Some(gid)) => gid,
        (None, None) => {
            return Err(format!("user {user} has no entry in the user database; name a group too"));
        }
    };
    let groups = match name.and_then(|name| CString::new(name).ok()) {
        Some(name) => getgrouplist(&name, Gid::from_raw(gid))
            .map_err(|error| format!("cannot look up the groups of {user}: {}", error.desc()))?,
        None => vec![Gid::from_raw(gid)],
    };
    let groups = groups.into_iter().map(Gid::as_raw).collect();
    Ok(Identity { uid, gid, groups })
}

fn by_number(user: &str) -> Result<Option<User>, String> {
    let uid: u32 = user.parse().map_err(|_| format!("no such user: {user}"))?;
    User::from_uid(Uid::from_raw(uid))
        .map_err(|error| format!("cannot look up user {user}: {}", error.desc()))
}

/// Looks up a group, a name or a number.
pub(crate) fn group(group: &str) -> Result<u32, String> {
    match Group::from_name(group) {
        Ok(Some(known)) => Ok(known.gid.as_raw()),
        Ok(None) => group.parse().map_err(|_| format!("no such group: {group}")),
        Err(error) => Err(format!("cannot look up group {group}: {}", error.desc())),
    }
}

/// Whether this process may do what root may, as far as the user id tells.
pub(crate) fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Whether this process already runs as that user, so that nothing has to change.
pub(crate) fn is_ourselves(identity: &Identity) -> bool {
    !is_root()
        && Uid::effective().as_raw() == identity.uid
        && Gid::effective().as_raw() == identity.gid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_refusals() {
        let root = resolve("root", None).unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(resolve("0", None).unwrap(), root);
        assert_eq!(resolve("root", Some("4321")).unwrap().gid, 4321);
        let unnamed = resolve("54321", Some("root")).unwrap();
        assert_eq!(unnamed, Identity { uid: 54321, gid: 0, groups: vec![0] });
        assert_eq!(resolve("banana", None).unwrap_err(), "no such user: banana");
        assert_eq!(resolve("root", Some("banana")).unwrap_err(), "no such group: banana");
        assert!(resolve("54321", None).unwrap_err().contains("name a group"));
    }
}
