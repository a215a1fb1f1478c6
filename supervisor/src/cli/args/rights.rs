//! Who workers are, what they may and who may command: the keys of a file as flags, by the same
//! words and the same readers.

use clap::Args;
use config::privileges::{Limit, Privileges, RESOURCES, Resource, umask, within};
use config::said::SaidRights;

#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct RightsOptions {
    /// Run the workers as this user. Only root may.
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Run the workers with this group. Only root may. Default: the user's own.
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// A group besides those of the user. Only root may. May be repeated.
    #[arg(long, value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// The file mode creation mask of the workers, in octal: 027.
    #[arg(long, value_name = "MASK", value_parser = umask)]
    pub(crate) umask: Option<u16>,
    /// The CPU priority of the workers, -20 to 19 (least).
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = nice)]
    pub(crate) nice: Option<i8>,
    /// How readily the kernel kills a worker when memory runs out, -1000 to 1000 (first).
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = oom_score_adj)]
    pub(crate) oom_score_adj: Option<i16>,
    /// No program that a worker runs gains privileges by setuid or file capabilities.
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// A resource limit of the workers: nofile=65536, core=0, nproc=512:1024. May be repeated.
    #[arg(long, value_name = "NAME=LIMIT", value_parser = limit)]
    pub(crate) limits: Vec<(Resource, Limit)>,
    /// Members of this group may command the app.
    #[arg(long, value_name = "GROUP")]
    pub(crate) operators: Option<String>,
    /// Members of this group may look at the app.
    #[arg(long, value_name = "GROUP")]
    pub(crate) observers: Option<String>,
}

fn nice(text: &str) -> Result<i8, String> {
    within(text, -20, 19)
}

fn oom_score_adj(text: &str) -> Result<i16, String> {
    within(text, -1000, 1000)
}

fn limit(text: &str) -> Result<(Resource, Limit), String> {
    let (name, limit) = text.split_once('=').ok_or("expected NAME=LIMIT, as in nofile=65536")?;
    let Some((_, resource)) = RESOURCES.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = RESOURCES.iter().map(|(known, _)| *known).collect();
        return Err(format!("there is no limit {name:?}: choose one of {}", known.join(", ")));
    };
    Ok((*resource, limit.parse()?))
}

impl RightsOptions {
    pub(crate) fn said(self) -> SaidRights {
        let Self { user, group, groups, umask, nice, oom_score_adj, no_new_privs, .. } = self;
        let limits = self.limits.into_iter().collect();
        let Self { operators, observers, .. } = self;
        let privileges = Privileges { groups, umask, nice, oom_score_adj, no_new_privs, limits };
        SaidRights { user, group, privileges, operators, observers }
    }
}
