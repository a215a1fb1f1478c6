//! The rights of a peer: root and the app's own user may do everything, members of `operators` may
//! read and act, members of `observers` may read, and all others may do nothing.
//!
//! An operator is not the app's user. Only the app's own user and root see and change what is run,
//! its user, and its environment.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use config::change::SpecChange;
use config::spec::AppSpec;
use ipc::control::{Method, Reply, Request};
use ipc::talk::BusRequest;

use serde::{Deserialize, Serialize};

use crate::sys::accounts;
use crate::sys::peer::Peer;

/// What others see of a secret.
const REDACTED: &str = "<redacted>";

/// What a connection may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::runtime) enum Rights {
    /// Root and the app's own user.
    Own,
    /// Read and act.
    Operate,
    /// Read.
    Observe,
    /// Nothing.
    None,
}

#[derive(Debug)]
struct Group {
    name: String,
    /// `None`: there is no such group, so nobody is in it.
    gid: Option<u32>,
}

/// The groups that may more than nothing.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Access {
    operators: Option<Group>,
    observers: Option<Group>,
}

impl Access {
    /// Whether this is what `spec` asks for.
    pub(in crate::runtime) fn is_of(&self, spec: &AppSpec) -> bool {
        let named = |group: &Option<Group>, wanted: &Option<String>| {
            group.as_ref().map(|group| &group.name) == wanted.as_ref()
        };
        named(&self.operators, &spec.operators) && named(&self.observers, &spec.observers)
    }

    /// Looks the groups up. Those that are not there are an error, and have no members.
    pub(in crate::runtime) fn of(spec: &AppSpec) -> (Self, Result<(), String>) {
        let mut known = Ok(());
        let mut group = |name: &Option<String>| {
            let name = name.clone()?;
            let gid = accounts::group(&name).map_err(|error| known = Err(error)).ok();
            Some(Group { name, gid })
        };
        let access = Self { operators: group(&spec.operators), observers: group(&spec.observers) };
        (access, known)
    }

    /// Lets them reach the socket: past its folder, and through its mode. Where two groups may, the
    /// mode cannot say so, and what the kernel tells of each peer decides alone.
    pub(in crate::runtime) fn admit(&self, socket: &Path) -> io::Result<()> {
        let group = match (&self.operators, &self.observers) {
            (None, None) => return set_mode(socket, 0o600),
            (Some(one), None) | (None, Some(one)) => one.gid,
            (Some(_), Some(_)) => None,
        };
        if let Some(folder) = socket.parent() {
            set_mode(folder, 0o755)?;
        }
        match group {
            Some(group) => {
                std::os::unix::fs::chown(socket, None, Some(group))?;
                set_mode(socket, 0o660)
            }
            None => set_mode(socket, 0o666),
        }
    }

    /// Lets those who may reach the socket read the logs as well; `operators` where there are two
    /// groups.
    pub(in crate::runtime) fn open_logs(&self, folder: &Path) -> io::Result<()> {
        let Some(group) = self.operators.as_ref().or(self.observers.as_ref()) else {
            return Ok(());
        };
        if let Some(all) = folder.parent() {
            set_mode(all, 0o751)?;
        }
        std::os::unix::fs::chown(folder, None, group.gid)
    }

    /// What this peer may.
    pub(in crate::runtime) fn rights(&self, peer: &Peer) -> Rights {
        let member = |group: &Option<Group>| {
            let gid = group.as_ref().and_then(|group| group.gid);
            gid.is_some_and(|gid| peer.groups.contains(&gid))
        };
        if peer.uid == 0 || peer.uid == nix::unistd::geteuid().as_raw() {
            Rights::Own
        } else if member(&self.operators) {
            Rights::Operate
        } else if member(&self.observers) {
            Rights::Observe
        } else {
            Rights::None
        }
    }

    /// Why somebody may do nothing at all.
    pub(in crate::runtime) fn refusal(&self) -> String {
        let groups = [&self.operators, &self.observers].into_iter().flatten();
        let groups: Vec<&str> = groups.map(|group| group.name.as_str()).collect();
        match groups.is_empty() {
            true => "only the app's own user and root may".to_owned(),
            false => {
                let groups = groups.join(" and ");
                format!("only the app's own user, root and the members of {groups} may")
            }
        }
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

impl Rights {
    /// The least that a request takes. Every one is named: a new one is nobody's by oversight.
    fn needed(request: &Request) -> Self {
        match request {
            Request::Status
            | Request::Spec
            | Request::WaitReady
            | Request::Subscribe
            | Request::Bus(BusRequest::Metrics) => Self::Observe,
            // Which changes, see `refuse_change`.
            Request::Configure {
                method:
                    Method::Rolling { .. } | Method::BlueGreen { .. } | Method::Hard | Method::Adopt,
                ..
            }
            | Request::Reload { .. }
            | Request::Restart { .. } => Self::Operate,
            Request::Start
            | Request::Stop { .. }
            | Request::Delete { .. }
            | Request::Scale { .. }
            | Request::ReplaceWorker { .. }
            | Request::Rollout { .. }
            | Request::Rollback
            | Request::Signal { .. }
            | Request::Send { .. }
            | Request::ReopenLogs
            | Request::Bus(BusRequest::Emit { .. } | BusRequest::Trigger { .. }) => Self::Operate,
            // Another program in our place, with all our secrets; and what the app is set to.
            Request::Upgrade { .. }
            | Request::Bus(BusRequest::Share { .. })
            | Request::Configure { method: Method::SharedValues, .. } => Self::Own,
        }
    }

    /// Why this request is refused, if it is.
    pub(in crate::runtime) fn refuse(self, request: &Request) -> Option<String> {
        let why = match (self, Self::needed(request)) {
            (Self::None, _) => "this user may not ask",
            (Self::Own, _)
            | (Self::Operate, Self::Operate | Self::Observe)
            | (Self::Observe, Self::Observe) => return None,
            (Self::Observe, _) => {
                "this user may look and not act: only the app's own user, root and its operators \
                 may"
            }
            (Self::Operate, _) => {
                "this user may act and not change what is run: only the app's own user and root may"
            }
        };
        Some(why.to_owned())
    }

    /// The answer as far as it is for these eyes: values of the environment are secret.
    pub(in crate::runtime) fn shown(self, reply: &Reply) -> Option<Reply> {
        let Reply::Spec(spec) = reply else { return None };
        if self == Self::Own {
            return None;
        }
        let mut spec = spec.clone();
        spec.redact(REDACTED);
        Some(Reply::Spec(spec))
    }

    /// Why this change of the app is refused, if it is. An operator may have the app's own file
    /// read again and may change nothing else: the owner alone chooses what runs.
    pub(in crate::runtime) fn refuse_change(
        self,
        request: &Request,
        own: &AppSpec,
    ) -> Option<String> {
        let what = match (self, request) {
            (Self::Operate, Request::Configure { change, .. }) => what_it_changes(change, own)?,
            (
                Self::Operate,
                Request::Reload { spec: Some(_), .. } | Request::Restart { spec: Some(_), .. },
            ) => "this command is of an older build and brings a spec of its own",
            _ => return None,
        };
        Some(format!("{what}: only the app's own user and root may change what is run"))
    }
}

/// What of the change goes beyond reading the app's own file again.
fn what_it_changes(change: &SpecChange, own: &AppSpec) -> Option<&'static str> {
    if change.file.is_some() && change.file != own.source {
        Some("that is not the file that the app came from")
    } else if change.profile.is_some() && change.profile != own.profile {
        Some("that is not the profile that the app was started with")
    } else if change.written.is_some() {
        Some("this says what is run instead of the app's file")
    } else if change.exports.is_some() {
        Some("only the app's own user says what a program exports")
    } else if !change.variables.is_empty() {
        Some("only the app's own user says what the file's variables are")
    } else if !change.env.is_empty() || change.inherited.is_some() {
        Some("this sets variables of the workers")
    } else if change.as_written && own.overrides.is_some() {
        Some("this drops flags of the command line")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::change::Written;

    fn access(operators: Option<u32>, observers: Option<u32>) -> Access {
        let named =
            |gid: Option<u32>| gid.map(|gid| Group { name: gid.to_string(), gid: Some(gid) });
        Access { operators: named(operators), observers: named(observers) }
    }

    #[test]
    fn rights_follow_user_and_groups() {
        let peer = |uid, groups: &[u32]| Peer { uid, groups: groups.to_vec() };
        let access = access(Some(70_001), Some(70_002));
        assert_eq!(access.rights(&peer(0, &[])), Rights::Own);
        assert_eq!(access.rights(&peer(nix::unistd::geteuid().as_raw(), &[])), Rights::Own);
        assert_eq!(access.rights(&peer(70_000, &[70_002, 70_001])), Rights::Operate);
        assert_eq!(access.rights(&peer(70_000, &[70_002])), Rights::Observe);
        assert_eq!(access.rights(&peer(70_000, &[70_000])), Rights::None);
        assert_eq!(Access::default().rights(&peer(70_000, &[70_001])), Rights::None);
    }

    #[test]
    fn reading_is_not_acting() {
        let stop = Request::Stop { fast: false };
        assert_eq!(Rights::Operate.refuse(&stop), None);
        assert!(Rights::Observe.refuse(&stop).unwrap().contains("look and not act"));
        assert_eq!(Rights::Observe.refuse(&Request::Status), None);
        assert_eq!(Rights::Observe.refuse(&Request::Bus(BusRequest::Metrics)), None);
        assert!(Rights::None.refuse(&Request::Status).is_some());
        let upgrade = Request::Upgrade { binary: Some("/tmp/mine".into()) };
        let share = Request::Bus(BusRequest::Share { shared: None });
        for owners in [upgrade, share] {
            assert_eq!(Rights::Own.refuse(&owners), None);
            assert!(Rights::Operate.refuse(&owners).unwrap().contains("what is run"));
            assert!(Rights::Observe.refuse(&owners).unwrap().contains("look and not act"));
        }
    }

    #[test]
    fn secrets_are_for_the_owner() {
        let mut spec = AppSpec::new("web", vec!["true".into()], "/".into());
        spec.env.insert("TOKEN".into(), "hunter2".into());
        let reply = Reply::Spec(Box::new(spec));
        assert_eq!(Rights::Own.shown(&reply), None);
        let shown = format!("{:?}", Rights::Operate.shown(&reply).unwrap());
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn an_operator_cannot_change_what_is_run() {
        let mut own = AppSpec::new("web", vec!["true".into()], "/".into());
        own.source = Some("/etc/web.toml".into());
        own.overrides = Some(Box::default());
        let configure = |change| Request::Configure { change, method: Method::Hard };
        let nothing = SpecChange::default;
        let again = SpecChange { file: own.source.clone(), ..nothing() };
        for harmless in [
            configure(nothing()),
            configure(again),
            Request::Reload { spec: None, pool: None },
            Request::Status,
        ] {
            assert_eq!(Rights::Operate.refuse_change(&harmless, &own), None, "{harmless:?}");
        }
        for change in [
            configure(SpecChange { file: Some("/tmp/mine.toml".into()), ..nothing() }),
            configure(SpecChange { env: vec![("A".into(), "1".into())], ..nothing() }),
            configure(SpecChange { as_written: true, ..nothing() }),
            configure(SpecChange {
                written: Some(Written { spec: Box::new(own.clone()), counted: [].into() }),
                ..nothing()
            }),
            Request::Reload { spec: Some(Box::new(own.clone())), pool: None },
            Request::Restart { hard: true, spec: Some(Box::new(own.clone())) },
        ] {
            let refusal = Rights::Operate.refuse_change(&change, &own);
            assert!(refusal.unwrap().contains("own user"), "{change:?}");
            assert_eq!(Rights::Own.refuse_change(&change, &own), None);
        }
        let method = Method::SharedValues;
        let share = Request::Configure { change: SpecChange::default(), method };
        assert!(Rights::Operate.refuse(&share).unwrap().contains("what is run"));
    }
}
