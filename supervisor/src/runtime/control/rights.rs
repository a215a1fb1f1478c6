//! Who may ask the primary what: root and the app's own user everything, members of `operators`
//! may read and act, members of `observers` may read, everybody else nothing.
//!
//! Whoever may act for the app is not thereby the app's user: what is run, as whom and with which
//! environment is told and changed only by the app's own user and root.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use config::Reader;
use config::cpus::Cpus;
use config::spec::AppSpec;
use ipc::control::{Reply, Request};
use ipc::talk::BusRequest;

use serde::{Deserialize, Serialize};

use crate::sys::peer::Peer;
use crate::sys::users;

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
            let gid = users::group(&name).map_err(|error| known = Err(error)).ok();
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
        if peer.uid == 0 || peer.uid == rustix::process::geteuid().as_raw() {
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
            // Whose spec is believed, see `vet`.
            Request::Reload { .. } | Request::Restart { .. } => Self::Operate,
            Request::Start
            | Request::Stop { .. }
            | Request::Delete { .. }
            | Request::Scale { .. }
            | Request::Signal { .. }
            | Request::Send { .. }
            | Request::ReopenLogs
            | Request::Bus(BusRequest::Emit { .. } | BusRequest::Trigger { .. }) => Self::Operate,
            // Another program in our place, with all our secrets; and what the app is set to.
            Request::Upgrade { .. } | Request::Bus(BusRequest::Share { .. }) => Self::Own,
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

    /// The request as it is carried out. An operator's spec is not believed: it stands for the
    /// app's own file as that is now, which we read ourselves.
    pub(in crate::runtime) fn vet(
        self,
        request: Request,
        own: &AppSpec,
    ) -> Result<Request, String> {
        let (sent, hard, pool) = match request {
            _ if self == Self::Own => return Ok(request),
            Request::Reload { spec: Some(sent), pool } => (sent, None, pool),
            Request::Restart { hard, spec: Some(sent) } => (sent, Some(hard), None),
            other => return Ok(other),
        };
        let spec = Some(Box::new(as_written(&sent, own)?));
        Ok(match hard {
            None => Request::Reload { spec, pool },
            Some(hard) => Request::Restart { hard, spec },
        })
    }
}

/// The app's own file as it is now, if that is what was sent.
fn as_written(sent: &AppSpec, own: &AppSpec) -> Result<AppSpec, String> {
    let no =
        |why: &str| Err(format!("{why}: only the app's own user and root may change what is run"));
    let Some(source) = own.source.as_ref() else {
        return no("this app did not come from a file");
    };
    // Reading a fifo would stop the loop until somebody writes to it.
    if !source.is_file() {
        return no("the file of this app is not a regular file any more");
    }
    let reader = Reader::new(&Cpus::read()).profile(own.profile.as_deref());
    let read = |path: &PathBuf| reader.load(path);
    let found = read(source).map_err(|report| report.to_string().trim_end().to_owned())?;
    let Some(mut spec) = found.into_iter().find(|spec| spec.name == own.name) else {
        return no("the app is not in its file any more");
    };
    for pool in &mut spec.pools {
        if let Some(sent) = sent.pools.iter().find(|sent| sent.name == pool.name) {
            pool.wanted = sent.wanted;
            pool.wanted_because.clone_from(&sent.wanted_because);
        }
    }
    // The flags that were given beside the file stay. The sender saw them without their secrets.
    let overrides = own.overrides.as_deref().cloned().unwrap_or_default();
    let (mut shown, mut redacted) = (spec.clone(), overrides.clone());
    redacted.redact(REDACTED);
    redacted.attach(&mut shown, &Cpus::read());
    overrides.attach(&mut spec, &Cpus::read());
    for spec in [&mut shown, &mut spec] {
        // The number of workers is an operator's to choose.
        spec.wanted = sent.wanted;
        spec.wanted_because.clone_from(&sent.wanted_because);
    }
    if shown != *sent {
        return no("that is not what the app's file says");
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(access.rights(&peer(rustix::process::geteuid().as_raw(), &[])), Rights::Own);
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
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.toml");
        std::fs::write(&file, "command = \"sh\"\nname = \"web\"\n").unwrap();
        let read = || Reader::new(&Cpus::read()).load(&file).unwrap().remove(0);
        let own = read();
        std::fs::write(&file, "command = \"cat\"\nname = \"web\"\n").unwrap();
        let mut now = read();
        now.wanted = 7;
        let request = Request::Reload { spec: Some(Box::new(now.clone())), pool: None };
        assert_eq!(Rights::Operate.vet(request.clone(), &own), Ok(request));
        now.command = vec!["rm".into()];
        let request = Request::Restart { hard: true, spec: Some(Box::new(now)) };
        assert!(Rights::Operate.vet(request.clone(), &own).unwrap_err().contains("own user"));
        assert_eq!(Rights::Own.vet(request.clone(), &own), Ok(request.clone()));
        std::fs::remove_file(&file).unwrap();
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&file, mode).unwrap();
        let why = Rights::Operate.vet(request.clone(), &own).unwrap_err();
        assert!(why.contains("not a regular file"), "reading it would wait for ever: {why}");
        let mut typed = own;
        typed.source = None;
        assert!(Rights::Operate.vet(request, &typed).is_err());
        let plain = Request::Reload { spec: None, pool: None };
        assert_eq!(Rights::Operate.vet(plain.clone(), &typed), Ok(plain));
    }
}
