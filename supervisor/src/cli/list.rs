//! `list`: all apps in one table. One that hangs holds nobody up.

use std::thread;

use ipc::control::AppStatus;

use super::args::ListArgs;
use super::exit::{Exit, Failure};
use super::output;
use super::probe;
use super::{Session, table};
use crate::home::Home;

/// So many primaries are asked at the same time.
const AT_ONCE: usize = 32;

pub(super) fn run(args: &ListArgs, session: &mut Session) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    let mut apps = Vec::new();
    for looked in look_at(&session.home, &session.home.apps()?) {
        match looked {
            Ok(app) => apps.extend(app),
            // Others' apps that are none of this user's business.
            Err(failure) if failure.exit == Exit::NotPermitted && session.home.is_others() => {}
            Err(failure) => {
                output::complain(&failure);
                exit = exit.or_worse(failure.exit);
            }
        }
    }
    if args.json {
        session.out.json(&apps)?;
    } else if apps.is_empty() && exit != Exit::Done {
        // Why has been said.
    } else if apps.is_empty() {
        output::remark("no apps; start one with: supervisor start -i max -- COMMAND");
    } else {
        let text = table::of_apps(&apps, session.out.width());
        session.out.line(text);
    }
    Ok(exit)
}

/// The state of each app; `None` where there was none after all.
pub(super) fn look_at(home: &Home, names: &[String]) -> Vec<Result<Option<AppStatus>, Failure>> {
    let mut looked = Vec::with_capacity(names.len());
    for some in names.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let looks: Vec<_> =
                some.iter().map(|name| scope.spawn(move || probe::status(home, name))).collect();
            for look in looks {
                looked.push(
                    look.join()
                        .unwrap_or_else(|_| Err(Failure::failed("looking at an app failed"))),
                );
            }
        });
    }
    looked
}
